"""Schedules and training masks."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from envsound.base.errors import InputError
from envsound.systems.soundstorm.masking import draw_training_mask, frame_mask, n_masked_after

MASK = 1024


def test_schedule_known_values():
    assert [n_masked_after(k, 4, 100) for k in range(5)] == [100, 93, 71, 39, 0]
    assert n_masked_after(8, 12, 100) == 50  # cos(pi / 3) exactly one half, not 51


@settings(max_examples=30, deadline=None)
@given(n_steps=st.integers(1, 40), n_frames=st.integers(1, 3000))
def test_schedule_starts_full_ends_empty_and_never_grows(n_steps, n_frames):
    left = [n_masked_after(step, n_steps, n_frames) for step in range(n_steps + 1)]
    assert left[0] == n_frames and left[-1] == 0
    assert all(a >= b for a, b in pairwise(left))
    for step in range(1, n_steps):
        assert left[step] == pytest.approx(math.cos(math.pi * step / 2 / n_steps) * n_frames, abs=1)


@pytest.mark.parametrize("step, n_steps", [(-1, 4), (5, 4), (0, 0)])
def test_schedule_refuses_steps_outside(step, n_steps):
    with pytest.raises(InputError, match="n_steps"):
        n_masked_after(step, n_steps, 10)


def draw(lengths, seed=0, n_levels=8, **options):
    valid = frame_mask(torch.tensor(lengths))
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randint(MASK, (len(lengths), n_levels, valid.shape[1]), generator=generator)
    codes = codes.masked_fill(~valid[:, None], MASK)
    return codes, valid, draw_training_mask(codes, valid, MASK, generator, **options)


@settings(max_examples=30, deadline=None)
@given(lengths=st.lists(st.integers(1, 60), min_size=1, max_size=6), seed=st.integers(0, 1000))
def test_training_mask_follows_soundstorm(lengths, seed):
    codes, valid, mask = draw(lengths, seed)
    for item in range(len(lengths)):
        level, targets = int(mask.levels[item]), mask.targets[item]
        hidden = (mask.inputs[item] == MASK) & valid[item]
        assert targets.any() and not (targets & ~valid[item]).any()
        assert torch.equal(hidden[level], targets)  # the loss counts exactly the masked codes of the level
        assert not hidden[:level].any()  # coarser levels stay visible
        first_hidden = int(targets.float().argmax())
        if level + 1 < codes.shape[1]:
            finer = hidden[level + 1 :]
            assert (finer == finer[0]).all()  # finer levels share one cut ...
            cut = int(finer[0].float().argmax())
            assert finer[0][cut : lengths[item]].all() and cut <= first_hidden  # ... and all is hidden after it
        visible = ~hidden & valid[item]
        assert torch.equal(mask.inputs[item][visible], codes[item][visible])


def test_the_prompt_is_visible_at_the_finer_levels_too():
    """Its length is uniform in 0 .. n - 1: on average half of a finer level is visible, and that half comes first."""
    codes, _, mask = draw([50] * 600)
    items = torch.nonzero(mask.levels < codes.shape[1] - 1)[:, 0]
    visible = (mask.inputs[items, -1] != MASK).float()
    assert abs(float(visible.mean()) - 49 / 100) < 0.04
    assert (visible.diff(dim=1) <= 0).all()


def test_mask_rate_is_cosine():
    """E[cos(pi u / 2)] over u ~ U(0, 1) is 2 / pi when there is no prompt."""
    _, _, mask = draw([400] * 512, prompt_chance=0.0, levels=torch.zeros(512, dtype=torch.long))
    assert mask.targets.float().mean().item() == pytest.approx(2 / math.pi, abs=0.03)
    assert (mask.inputs[:, 1:] == MASK).all()  # nor is a finer code visible


def test_levels_are_uniform():
    _, _, mask = draw([4] * 4000)
    shares = torch.bincount(mask.levels, minlength=8) / 4000
    assert shares.min() > 0.10 and shares.max() < 0.15
