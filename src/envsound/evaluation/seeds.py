"""What listeners say of a model trained again with other seeds: the same judges and real clips, each run by itself."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from envsound.evaluation.run_sides import MODEL, REAL, Sides
from envsound.evaluation.sides import Source, from_samples
from envsound.evaluation.spaces.embeddings import Embedding, NotRun
from envsound.evaluation.spaces.tables import measure_distances
from envsound.evaluation.truth import (
    ACCURACY_COLUMNS,
    MIX_COLUMNS,
    Classifier,
    Mix,
    Trainer,
    accuracy_table,
    hear_classes,
    train_on_mixes,
)
from envsound.run.record import RunSettings

QUANTITIES = {  # columns of distances.csv, and two accuracies: how they are called
    "kad": "KAD",
    "fad": "FAD",
    "fad_infinity": "FAD∞",
    "precision": "precision",
    "recall": "recall",
    "accuracy": "generated clips heard as asked",
    "accuracy_taught": "real clips recognised after learning from generated ones",
}
DISTANCES = ("kad", "fad", "fad_infinity", "precision", "recall")
SHARES = ("precision", "recall", "accuracy", "accuracy_taught")
TOLD = ("kad", "accuracy", "accuracy_taught")  # in sentences; the table has them all
SPREAD = ["mean", "sd", "lowest", "highest", "n_runs"]
Numbers = dict[tuple[str, str], float]  # by quantity and judge


@dataclass(frozen=True)
class Judges:
    """Who judges every run: embeddings, classifiers of real clips, and trainers that learn from generated ones.

    mix: how many generated clips of each class those learn from, None where they can learn from none; mix_seeds: one
    training each; seed: of the resamples.
    """

    embeddings: Sequence[Embedding | NotRun]
    classifiers: Mapping[str, Classifier]
    trainers: Mapping[str, Trainer]
    mix: Mix | None
    mix_seeds: Sequence[int] = (0,)
    seed: int = 0


def judge_run(run: RunSettings, sides: Sides, judges: Judges) -> Numbers:
    """Return what `numbers_of` says of the clips that a run has generated, against the real clips of `sides`."""
    model = from_samples(run.folder, run.clip_seconds)
    distances = measure_distances(
        {REAL: sides.by_system[REAL], MODEL: model},
        judges.embeddings,
        reference=REAL,
        sample_rate=sides.sample_rate,
        seed=judges.seed,
        by_class=False,
    )
    truth = pd.DataFrame(columns=ACCURACY_COLUMNS)
    if any(source.category for source in model):
        truth = accuracy_table(hear_classes({MODEL: model}, judges.classifiers, sides.sample_rate), by_class=False)
    return numbers_of(distances, truth, _training_table(model, sides, judges))


def numbers_of(distances: pd.DataFrame, truth: pd.DataFrame, training: pd.DataFrame, system: str = MODEL) -> Numbers:
    """Return the QUANTITIES of a system by quantity and judge, from rows of the tables of notebook 17.

    accuracy_taught is the mean over the seeds of the mix that holds generated clips alone.
    """
    found: Numbers = {}
    whole = distances[(distances["side"] == system) & (distances["category"] == "")]
    for name in DISTANCES:
        found |= {(name, row["embedding"]): row[name] for row in whole.to_dict("records") if pd.notna(row[name])}
    heard = truth[(truth["side"] == system) & (truth["category"] == "")]
    found |= {("accuracy", row["classifier"]): row["accuracy"] for row in heard.to_dict("records")}
    taught = training[training["mix"] == system].groupby("classifier", sort=False)["accuracy"].mean()
    return found | {("accuracy_taught", str(name)): float(value) for name, value in taught.items()}


def seeds_table(found: Mapping[int, Numbers]) -> pd.DataFrame:
    """Return listener_seeds.csv: a row for each quantity and judge, of every training seed the first run's numbers.

    found: numbers by training seed, the main run's first. Columns: quantity, judge, seed_<n> for each training seed,
    and mean, sd (n - 1, NaN for one run), lowest and highest over the n_runs in which it is known.
    """
    columns = [f"seed_{seed}" for seed in found]
    rows = []
    for quantity, judge in next(iter(found.values())):
        values = np.array([numbers.get((quantity, judge), np.nan) for numbers in found.values()], dtype=float)
        known = values[~np.isnan(values)]
        sd = known.std(ddof=1) if known.size > 1 else np.nan
        spread = (known.mean(), sd, known.min(), known.max(), known.size)
        rows.append((quantity, judge, *values, *spread))
    return pd.DataFrame(rows, columns=["quantity", "judge", *columns, *SPREAD])


def shown(quantity: str, value: float) -> str:
    """Return a quantity as text: shares in percent, distances with two digits behind the point."""
    if pd.isna(value):
        return "–"
    return f"{value:.0%}" if quantity in SHARES else f"{value:.2f}"


def findings_seeds(table: pd.DataFrame, left_out: Sequence[str] = ()) -> str:
    """Return a Markdown list: mean, standard deviation and range over training seeds of the quantities TOLD.

    left_out: runs beside the first that were found and not taken, in words.
    """
    lines = [f"- left out: {words}" for words in left_out]
    if table.empty or table["n_runs"].max() < 2:
        return "\n".join(["- With one training seed, how much training itself varies is not known.", *lines])
    for row in table[table["quantity"].isin(TOLD)].to_dict("records"):
        mean, sd, low, high = (shown(row["quantity"], row[name]) for name in SPREAD[:4])
        text = f"- {QUANTITIES[row['quantity']]}, {row['judge']}: **{mean}** on average over {row['n_runs']:.0f} "
        lines.append(f"{text}training seeds, standard deviation {sd}, {low} to {high}")
    return "\n".join(lines)


def _training_table(model: Sequence[Source], sides: Sides, judges: Judges) -> pd.DataFrame:
    """Return what listeners learn from a run's clips; nothing where it has too few of a class for the mix."""
    n_made, mix = Counter(source.category for source in model), judges.mix
    if mix is None or min(n_made[source.category] for source in sides.training) < mix.n_per_class[MODEL]:
        return pd.DataFrame(columns=MIX_COLUMNS)
    held_out = sides.by_system[REAL]
    return train_on_mixes({MODEL: model}, held_out, [mix], judges.trainers, sides.sample_rate, judges.mix_seeds)
