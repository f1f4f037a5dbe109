"""Transfer: equal amounts, everything equal but the start, and tables that say what the curves say."""

import numpy as np
import pandas as pd
import pytest
import torch

from envsound.base.errors import InputError
from envsound.studies.transfer.transfer import (
    COLUMNS,
    Target,
    TransferPlan,
    final_losses,
    findings_transfer,
    run_transfer,
    same_amount,
)
from envsound.systems.soundstorm.batches import CodeSet
from envsound.systems.soundstorm.checkpoints import load_checkpoint
from envsound.systems.soundstorm.conformer import ModelConfig
from envsound.systems.soundstorm.training import TrainingConfig

CPU = torch.device("cpu")
SHAPE = ModelConfig(n_levels=2, codebook_size=8, dim=16, n_layers=1, n_heads=2, conv_kernel=3, dropout=0.0)
CONFIG = TrainingConfig(num_epochs=2, batch_size=4, lr=3e-3, precision="32-true")


def clips(n: int, seed: int, lengths: tuple[int, int] = (6, 20)) -> CodeSet:
    draws = np.random.default_rng(seed)
    codes = [draws.integers(8, size=(2, draws.integers(*lengths))).astype(np.int16) for _ in range(n)]
    return CodeSet(codes, draws.integers(3, size=n), list("abc"))


def test_equal_amounts_are_stretches_of_the_clips():
    sides = [clips(30, 0), clips(12, 1, (10, 40))]
    taken = same_amount(sides, 8, 10, seed=3)
    for side, original in zip(taken, sides, strict=True):
        assert [codes.shape for codes in side.codes] == [(2, 10)] * 8
        whole = ["|" + ",".join(map(str, codes[0])) + "|" for codes in original.codes]
        stretches = [",".join(map(str, codes[0])) for codes in side.codes]
        assert all(any(stretch in text for text in whole) for stretch in stretches)
    again = same_amount(sides, 8, 10, seed=3)
    assert all((a == b).all() for a, b in zip(taken[0].codes, again[0].codes, strict=True))
    with pytest.raises(InputError, match="n_clips=13: only 12"):
        same_amount(sides, 13, 10, seed=3)


def test_the_starts_differ_in_their_weights_alone_and_nothing_is_done_twice(tmp_path, monkeypatch):
    targets = [Target("sound", clips(8, 2), clips(4, 3)), Target("speech", clips(8, 4), clips(4, 5))]
    plan = TransferPlan(SHAPE, CONFIG, CONFIG, seeds=(0, 1))
    losses = run_transfer(plan, Target("pretraining", clips(8, 6), clips(4, 7)), targets, tmp_path, CPU, "abc")
    assert list(losses.columns) == COLUMNS and np.isfinite(losses["loss"]).all()
    trainings = losses.groupby(["target", "start", "seed"], sort=False).size()
    assert len(trainings) == 2 * (1 + 2 * 2) and (trainings == 2 * 3).all()
    firsts = losses[(losses["target"] == "sound") & (losses["level"] == "all") & (losses["epoch"] == 1)]
    assert firsts.groupby("start")["loss"].nunique().to_dict() == {"random": 2, "speech": 2}
    facts = load_checkpoint(tmp_path / "seed1" / "sound_from_speech" / "checkpoints" / "last.safetensors", CPU).facts
    assert facts["step"] == 4
    monkeypatch.setattr("envsound.systems.soundstorm.training.Trainer._train_step", None)  # calling it would fail
    again = run_transfer(plan, Target("pretraining", clips(8, 6), clips(4, 7)), targets, tmp_path, CPU, "abc")
    pd.testing.assert_frame_equal(again, losses)


def curves(**ends: float) -> pd.DataFrame:
    rows = [
        {"target": "sound", "start": start, "seed": seed, "epoch": epoch, "level": "all",
         "loss": 7 + (end - 7) * epoch / 4, "unigram": 6.0}
        for start, end in ends.items() for seed in (0, 1) for epoch in (1, 2, 3, 4)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_final_losses_and_the_head_start():
    final = final_losses(curves(random=5.0, speech=4.0, pretraining=1.0))
    assert final["difference"].tolist() == [-1.0, -1.0]
    assert final["head_start"].tolist() == [3.0, 3.0]  # 7 - 3/4 * 3 = 4.75 is the first at or below 5
    assert "**helped**: 4.000 nat against 5.000" in findings_transfer(final, 4)
    worse = final_losses(curves(random=4.0, speech=5.0))
    assert worse["head_start"].isna().all() and "**harmed**" in findings_transfer(worse, 4)


def test_seeds_that_disagree_are_no_finding():
    final = final_losses(curves(random=5.0, speech=4.0)).assign(difference=[-0.1, 0.1])
    assert "no consistent difference" in findings_transfer(final, 4)
