"""Padding: what is asked for, in which share, and that both ways are asked for the same codes of real frames."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from fakes.audit import SIZE, codes_table

from envsound.base.errors import InputError
from envsound.studies.audit import padding
from envsound.studies.audit.padding import PaddingPlan, pad, region_losses, run_padding, stretches, untrained
from envsound.systems.soundstorm.batches import CodeSet
from envsound.systems.soundstorm.conformer import ModelConfig
from envsound.systems.soundstorm.masking import draw_training_mask
from envsound.systems.soundstorm.objective import masked_loss
from envsound.systems.soundstorm.training import Trainer, TrainingConfig

SHAPE = ModelConfig(n_levels=2, codebook_size=SIZE, dim=16, n_layers=1, n_heads=2, conv_kernel=3, dropout=0.0)
PLAN = PaddingPlan(SHAPE, TrainingConfig(batch_size=4, lr=3e-3, precision="32-true"), 12, n_steps=40, seeds=(0,))
CPU = torch.device("cpu")


def clips(n: int, n_frames: int = 12, seed: int = 0) -> CodeSet:
    codes = np.random.default_rng(seed).integers(SIZE, size=(n, 2, n_frames)).astype(np.int16)
    return CodeSet(list(codes), np.zeros(n, np.int64), ["any"])


class Watched(torch.nn.Module):
    """Stands in for a model: knows nothing, and notes what it was shown."""

    def __init__(self):
        super().__init__()
        self.weight, self.config, self.mask_token, self.seen = torch.nn.Parameter(torch.zeros(1)), SHAPE, SIZE, []

    def forward(self, codes, valid=None, classes=None):
        self.seen.append(codes)
        return torch.zeros(*codes.shape[::2], SIZE)

    def logits(self, states, level):
        return states


def test_padding_is_a_valid_code_in_every_level_and_keeps_the_published_proportion():
    padded = pad(clips(3), PLAN.n_padded)
    assert PLAN.n_padded == 33 and {codes.shape for codes in padded.codes} == {(2, 33)}
    assert all((codes[:, 12:] == 0).all() for codes in padded.codes)
    assert replace(PLAN, n_frames=375).n_padded == 1024
    for wrong in ({"n_frames": 1}, {"n_steps": 0}, {"n_watched": 0}, {"seeds": ()}):
        with pytest.raises(InputError, match="expected"):
            replace(PLAN, **wrong)


def test_the_share_of_constants_among_targets_is_that_among_frames():
    whole, real, constant = region_losses(untrained(SHAPE, 0), clips(200), 33, True, seed=0)
    assert constant["share"] == pytest.approx(1 - 12 / 33, abs=0.04)
    assert whole["n_targets"] == real["n_targets"] + constant["n_targets"]
    total = sum(part["loss"] * part["n_targets"] for part in (real, constant))
    assert whole["loss"] == pytest.approx(total / whole["n_targets"])


def test_losses_by_region_are_those_of_the_training_objective():
    model = untrained(SHAPE, 0).eval()
    codes, valid, _ = clips(6).batch(np.arange(6), SIZE)
    mask = draw_training_mask(codes, valid, SIZE, torch.Generator().manual_seed(0), 0.0)
    with torch.no_grad():
        losses, frames = padding.target_losses(model, mask, codes, valid)
        assert losses.sum() == pytest.approx(float(masked_loss(model, mask, codes, valid, None).sum()), rel=1e-5)
    assert sorted(frames.tolist()) == sorted(mask.targets.nonzero()[:, 1].tolist())


def test_both_ways_are_asked_for_the_same_codes_with_the_same_codes_visible():
    masks, padded = Watched(), Watched()
    short, long = (region_losses(model, clips(20), 33, model is padded, seed=1) for model in (masks, padded))
    assert [row["targets"] for row in short] == ["all", "real"]
    assert short[1]["n_targets"] == long[1]["n_targets"] > 0
    assert [codes.shape[2] for codes in masks.seen] == [12, 12]  # a pass for each batch
    assert torch.equal(masks.seen[0], padded.seen[0][..., :12]) and padded.seen[0].shape[2] == 33
    assert [row["loss"] for row in long] == pytest.approx([np.log(SIZE)] * 3, rel=1e-5)  # a uniform guess


def test_the_untrained_model_is_the_one_that_training_starts_from(tmp_path):
    state = torch.random.get_rng_state()
    mine = untrained(SHAPE, 3)
    assert torch.equal(torch.random.get_rng_state(), state)
    trainer = Trainer(clips(4), clips(4), SHAPE, PLAN.config(4, 3), tmp_path, CPU)
    for a, b in zip(mine.state_dict().values(), trainer.model.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_a_padded_training_looks_better_than_it_is_and_is_not_done_twice(tmp_path, monkeypatch):
    given = (codes_table(tmp_path), PLAN, 1, tmp_path / "work", "recorded clips", CPU, "abc")
    table = run_padding(*given)
    assert list(table.columns) == padding.COLUMNS and set(table["step"]) == {0, PLAN.n_steps}
    final = table[table["step"] > 0].set_index(["variant", "targets"])["loss"]
    assert final["padded", "all"] < 0.8 * final["padded", "real"] and np.isfinite(table["loss"]).all()
    monkeypatch.setattr(Trainer, "_train_step", None)  # calling it would fail
    pd.testing.assert_frame_equal(run_padding(*given), table)


def test_stretches_leave_out_what_is_too_short_and_are_no_more_than_asked_for(tmp_path, monkeypatch):
    mixed = clips(4, 12)
    mixed.codes.append(np.zeros((2, 5), np.int16))
    assert [codes.shape for codes in stretches(mixed, 8, seed=0).codes] == [(2, 8)] * 4
    with pytest.raises(InputError, match="n_frames=13: no clip is that long"):
        stretches(mixed, 13, seed=0)
    seen = []
    monkeypatch.setattr(padding, "_train", lambda plan, sides, *given: seen.append(sides) or [])
    run_padding(codes_table(tmp_path), replace(PLAN, n_watched=3), 2, tmp_path, "x", CPU, "abc")
    assert [len(side) for side in seen[0]] == [12, 3]
