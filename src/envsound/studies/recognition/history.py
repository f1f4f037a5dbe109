"""How recognisers that learn by epochs got there: loss, and what they made of the validation fold, epoch by epoch."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from envsound.base.files import read_csv
from envsound.base.text import percent
from envsound.studies.recognition.rounds import folder_name
from envsound.studies.recognition.scores import Recognised, round_name

FILES = ("history.csv", "training.csv")  # that recognisers leave beside their scores
COLUMNS = ["recogniser", "fold", "seed", "epoch", "loss", "accuracy", "cross_entropy", "chosen"]
FINETUNED = "conformer_finetuned"


def history_table(found: Recognised, folder: str | Path) -> pd.DataFrame:
    """Return every epoch of every training in `folder`, which `recognition_scores.recognise` has filled: COLUMNS.

    epoch: 0 is the start, where it could be chosen. loss (nat) is of the training clips as they were changed;
    accuracy (0 to 1) and cross_entropy (nat) are on the validation fold. chosen: whether the weights of that epoch were
    taken: the highest accuracy, then the lowest cross-entropy, then the first.
    """
    rows = [row for one in found.folds.to_dict("records") for row in _epochs(one, Path(folder))]
    return pd.DataFrame(rows, columns=COLUMNS)


def _epochs(one: dict[str, Any], folder: Path) -> Iterator[dict[str, Any]]:
    place = folder / folder_name(one["recogniser"]) / round_name(one["fold"], one["seed"])
    path = next((place / name for name in FILES if (place / name).is_file()), None)
    if path is None:
        return
    about = {name: one[name] for name in ("recogniser", "fold", "seed")}
    epochs = read_csv(path)
    epochs = epochs[epochs["accuracy"].notna()].to_dict("records")  # NaN: nothing was watched
    best = max(epochs, key=lambda row: (row["accuracy"], -row["cross_entropy"]), default=None)  # the first of equals
    for row in epochs:
        yield about | {name: row[name] for name in COLUMNS[3:7]} | {"chosen": row["epoch"] == best["epoch"]}


def findings_history(history: pd.DataFrame, summary: pd.DataFrame) -> str:
    """Return what fine-tuning changed on the validation folds, in sentences; "" where none began at epoch 0."""
    kinds = summary.set_index("recogniser")["kind"]
    points = []
    for name, rows in history.groupby("recogniser", sort=False):
        if kinds.get(name) != FINETUNED or not (rows["epoch"] == 0).any():
            continue
        rounds = rows.groupby(["fold", "seed"])
        start = rows[rows["epoch"] == 0].set_index(["fold", "seed"])["accuracy"]
        later = rows[rows["epoch"] > 0].groupby(["fold", "seed"])["accuracy"].max()
        kept = int((rows[rows["chosen"]]["epoch"] == 0).sum())
        points.append(
            f"*{name}*: before fine-tuning {percent(start.mean())}% of the validation clips are named rightly, after "
            f"its best epoch {percent(later.mean())}%, means over {len(rounds)} rounds; in {kept} of them the start "
            "was better than every epoch and was taken."
        )
    return " ".join(points)
