"""How recognisers learnt: every epoch of every round, the one that was taken, and what fine-tuning changed."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from envsound.base.files import write_csv
from envsound.studies.recognition.figures import training_figure
from envsound.studies.recognition.history import COLUMNS, findings_history, history_table
from envsound.studies.recognition.scores import Recognised

NAMES = ["Conformer, tuned", "log-mel CNN", "MFCC, SVM"]
SUMMARY = pd.DataFrame({"recogniser": NAMES, "kind": ["conformer_finetuned", "cnn", "mfcc_svm"]})


def epochs(folder: Path, file: str, accuracies: list[float], first: int = 1) -> None:
    count = len(accuracies)
    table = {"epoch": range(first, first + count), "loss": 1.0, "accuracy": accuracies, "cross_entropy": 2.0}
    write_csv(folder / file, pd.DataFrame(table))


@pytest.fixture
def history(tmp_path):
    for fold, accuracies in enumerate(([0.5, 0.4, 0.4], [0.4, 0.6, 0.6]), start=1):
        epochs(tmp_path / "conformer_tuned" / f"fold{fold}_seed0", "history.csv", accuracies, first=0)
        epochs(tmp_path / "log_mel_cnn" / f"fold{fold}_seed0", "training.csv", [0.1, 0.2])
    folds = pd.DataFrame([(name, fold, 0) for name in NAMES for fold in (1, 2)], columns=["recogniser", "fold", "seed"])
    return history_table(Recognised(folds, pd.DataFrame()), tmp_path)


def test_every_epoch_has_a_row_and_one_a_round_was_taken(history):
    assert list(history.columns) == COLUMNS and len(history) == 2 * 3 + 2 * 2
    taken = history[history["chosen"]]
    assert taken[["recogniser", "fold", "epoch"]].to_numpy().tolist() == [
        [NAMES[0], 1, 0], [NAMES[0], 2, 1], [NAMES[1], 1, 2], [NAMES[1], 2, 2],
    ]  # fmt: skip


def test_what_fine_tuning_changed_is_told(history):
    text = findings_history(history, SUMMARY)
    assert text.startswith("*Conformer, tuned*: before fine-tuning 45.0% of the validation clips")
    assert "after its best epoch 50.0%, means over 2 rounds; in 1 of them the start" in text and "CNN" not in text
    assert findings_history(history[history["epoch"] > 0], SUMMARY) == ""


def test_a_training_that_watched_nothing_has_no_rows(tmp_path):
    epochs(tmp_path / "log_mel_cnn" / "fold1_seed0", "training.csv", [np.nan, np.nan])
    folds = pd.DataFrame([(NAMES[1], 1, 0)], columns=["recogniser", "fold", "seed"])
    empty = history_table(Recognised(folds, pd.DataFrame()), tmp_path)
    assert empty.empty and findings_history(empty, SUMMARY) == ""
    assert not training_figure(empty).axes


def test_the_figure_has_a_panel_a_recogniser_and_a_line_a_round(history):
    axes = training_figure(history).axes
    assert [ax.get_title(loc="left") for ax in axes] == NAMES[:2]
    assert all(len(ax.lines) == 4 for ax in axes)  # a line and a dot a round
