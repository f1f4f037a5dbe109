"""What the training notebook says of its curves."""

import pandas as pd
import pytest

from envsound.report.training_report import findings_training, model_facts, seconds_of
from envsound.systems.soundstorm.conformer import MaskedConformer, ModelConfig

LOSSES = {"train": [6.0, 4.0, 2.0], "validation": [6.5, 5.5, 5.9]}


@pytest.fixture
def history() -> pd.DataFrame:
    rows = [
        {"epoch": epoch, "level": level, "split": split, "loss": loss + 0.1 * (level == "1"), "unigram": 5.25,
         "seconds": 30.0}
        for split, losses in LOSSES.items()
        for epoch, loss in enumerate(losses, 1)
        for level in ("0", "1", "all")
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_the_losses_stand_beside_what_knows_less(history):
    text = findings_training(history, 1024)
    assert "3 epochs (1.5 minutes)" in text and "2.00 nat on training" in text and "5.90 nat on the watched" in text
    assert "alone cost 5.25" in text and "ln 1024 = 6.93" in text
    assert "0 is the easiest (5.90 nat) and 1 the hardest (6.00 nat)" in text


def test_nothing_is_chosen_on_the_held_out_fold(history):
    assert "lowest, 5.50, after epoch 2; the last epoch is used" in findings_training(history)
    assert "after epoch 2, which is the one that is used" in findings_training(history, validation_fold=3)
    falling = history[history["epoch"] < 3]
    assert "still falling" in findings_training(falling)


def test_an_epoch_is_counted_once(history):
    assert seconds_of(history) == 90.0


def test_the_size_of_a_model_is_that_of_its_weights():
    shape = ModelConfig(dim=64, n_heads=2)
    assert f"**{MaskedConformer(shape).n_parameters() / 1e6:.1f} M parameters**" in model_facts(shape)
