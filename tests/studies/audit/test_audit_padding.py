"""Padding: what is asked for, in which share, and that both ways are asked for the same codes of real frames."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from fakes.audit import CPU, PADDING, SHAPE, STUDY, TRAINING

from envsound.base.errors import InputError
from envsound.studies.audit.padding import (
    COLUMNS,
    EVALUATED,
    PaddingPlan,
    final_losses,
    findings_padding,
    pad,
    region_losses,
    run_padding,
    stretches,
    target_losses,
    untrained,
)
from envsound.systems.soundstorm.batches import CodeSet
from envsound.systems.soundstorm.masking import draw_training_mask
from envsound.systems.soundstorm.objective import masked_loss
from envsound.systems.soundstorm.training import Trainer


def clips(n: int, n_frames: int = 12, seed: int = 0) -> CodeSet:
    rng = np.random.default_rng(seed)
    codes = [rng.integers(16, size=(2, n_frames)).astype(np.int16) for _ in range(n)]
    return CodeSet(codes, np.zeros(n, np.int64), ["any"])


def row(rows: list[dict], targets: str) -> dict:
    return next(r for r in rows if r["targets"] == targets)


def test_padding_is_a_valid_code_in_every_level_and_keeps_the_published_proportion():
    padded = pad(clips(3), PADDING.n_padded)
    assert PADDING.n_padded == 33 and {codes.shape for codes in padded.codes} == {(2, 33)}
    assert all((codes[:, 12:] == 0).all() for codes in padded.codes)
    assert PaddingPlan(SHAPE, TRAINING, n_frames=375).n_padded == 1024


def test_the_share_of_constants_among_targets_is_that_among_frames():
    rows = region_losses(untrained(SHAPE, 0), clips(400), 33, True, seed=0)
    assert row(rows, "constant")["share"] == pytest.approx(1 - 12 / 33, abs=0.03)
    assert row(rows, "all")["n_targets"] == row(rows, "real")["n_targets"] + row(rows, "constant")["n_targets"]
    total = sum(row(rows, name)["loss"] * row(rows, name)["n_targets"] for name in ("real", "constant"))
    assert row(rows, "all")["loss"] == pytest.approx(total / row(rows, "all")["n_targets"])


def test_losses_by_region_are_those_of_the_training_objective_from_one_pass():
    model = untrained(SHAPE, 0).eval()
    codes, valid, _ = clips(6).batch(np.arange(6), 16)
    mask = draw_training_mask(codes, valid, 16, torch.Generator().manual_seed(0), 0.0)
    with torch.no_grad():
        losses, frames = target_losses(model, mask, codes, valid)
        assert losses.sum() == pytest.approx(float(masked_loss(model, mask, codes, valid, None).sum()), rel=1e-5)
    assert sorted(frames.tolist()) == sorted(mask.targets.nonzero()[:, 1].tolist())
    watched = Watched()
    region_losses(watched, clips(EVALUATED + 1), 33, True, seed=0)
    assert len(watched.seen) == 2  # a pass for each batch


class Watched(torch.nn.Module):
    """Stands in for a model: knows nothing, and notes what it was shown."""

    def __init__(self):
        super().__init__()
        self.weight, self.config, self.mask_token, self.seen = torch.nn.Parameter(torch.zeros(1)), SHAPE, 16, []

    def forward(self, codes, valid=None, classes=None):
        self.seen.append(codes)
        return torch.zeros(*codes.shape[::2], 16)

    def logits(self, states, level):
        return states


def test_both_ways_are_asked_for_the_same_codes_with_the_same_codes_visible():
    masks, padded = Watched(), Watched()
    found = [region_losses(model, clips(20), 33, is_padded, seed=1)
             for model, is_padded in ((masks, False), (padded, True))]  # fmt: skip
    assert row(found[0], "real")["n_targets"] == row(found[1], "real")["n_targets"] > 0
    assert {r["targets"] for r in found[0]} == {"all", "real"}
    assert [codes.shape[2] for codes in masks.seen] == [12, 12] and padded.seen[0].shape[2] == 33
    assert torch.equal(masks.seen[0], padded.seen[0][..., :12])


def test_a_model_that_knows_nothing_costs_a_uniform_guess():
    rows = region_losses(Watched(), clips(20), 33, True, seed=0)
    assert [r["loss"] for r in rows] == pytest.approx([np.log(16)] * 3, rel=1e-5)


def test_the_untrained_model_is_the_one_that_training_starts_from(tmp_path):
    state = torch.random.get_rng_state()
    mine = untrained(SHAPE, 3)
    assert torch.equal(torch.random.get_rng_state(), state)
    trainer = Trainer(clips(4), clips(4), SHAPE, PADDING.config(4, 3), tmp_path, CPU)
    for a, b in zip(mine.state_dict().values(), trainer.model.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_both_trainings_take_the_same_steps_and_are_not_done_twice(tmp_path, monkeypatch):
    given = (PADDING, clips(10, 20), clips(5, 20, seed=1), tmp_path, "recorded clips", CPU)
    table = run_padding(*given)
    assert list(table.columns) == COLUMNS and set(table["step"]) == {0, PADDING.n_steps}
    assert set(table["seed"]) == {0, 1} and np.isfinite(table["loss"]).all()
    monkeypatch.setattr("envsound.systems.soundstorm.training.Trainer._train_step", None)  # calling it would fail
    pd.testing.assert_frame_equal(run_padding(*given), table)
    with pytest.raises(InputError, match="n_frames=12: no clip is that long"):
        run_padding(PADDING, clips(4, 11), clips(4, 11), tmp_path / "b", "x", CPU)


def test_a_padded_training_looks_better_than_it_is(tmp_path):
    plan = PaddingPlan(SHAPE, TRAINING, n_frames=12, n_steps=60, seeds=(0,))
    final = final_losses(run_padding(plan, clips(24), clips(12, seed=1), tmp_path, "x", CPU)).iloc[0]
    assert final["padded_all"] < 0.75 * final["masks"]  # codes are random: nobody can know them
    assert final["padded_real"] > final["padded_all"] and final["share"] > 0.5


def test_stretches_leave_out_what_is_too_short():
    mixed = clips(4, 12)
    mixed.codes.append(np.zeros((2, 5), np.int16))
    assert [codes.shape for codes in stretches(mixed, 8, seed=0).codes] == [(2, 8)] * 4


def test_no_more_clips_are_watched_than_the_plan_says(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr("envsound.studies.audit.padding._train", lambda plan, sides, *given: seen.append(sides) or [])
    for n_watched, expected in ((3, 3), (50, 7)):
        run_padding(replace(PADDING, n_watched=n_watched), clips(9), clips(7, seed=1), tmp_path, "x", CPU)
        assert [len(side) for side in seen.pop()] == [9, expected]


def test_findings_name_shares_losses_and_the_published_first_loss():
    rows = [(v, 0, t, loss, share) for v, t, loss, share in
            (("masks", "real", 7.0, 1.0), ("padded", "all", 6.9, 1.0), ("padded", "real", 7.0, 0.4),
             ("padded", "constant", 6.8, 0.6))]  # fmt: skip
    rows += [("masks", 9, "real", 6.0, 1.0), ("padded", 9, "all", 2.5, 1.0), ("padded", 9, "real", 6.25, 0.4)]
    rows.append(("padded", 9, "constant", 0.1, 0.6))
    table = pd.DataFrame(rows, columns=["variant", "step", "targets", "loss", "share"]).assign(
        seed=0, kind="x", n_targets=9
    )
    text = findings_padding(table, 1024, STUDY)
    assert "**60%**" in text and "(63% of the published frames are)" in text and "After 9 steps" in text
    assert "**2.50 nat**" in text and "by seed: +0.25" in text
    assert "costs 7.00 nat" in text and "starts at 8.2" in text and "standard deviation of 1.6" in text


def test_a_plan_without_frames_steps_or_seeds_is_refused():
    for wrong in ({"n_frames": 1}, {"n_steps": 0}, {"n_watched": 0}, {"seeds": ()}):
        with pytest.raises(InputError, match="expected"):
            PaddingPlan(SHAPE, TRAINING, **wrong)
