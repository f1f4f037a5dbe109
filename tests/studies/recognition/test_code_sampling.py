"""What a classifier sees of codes: crops, hidden codes and mixtures follow their settings; windows cover the clip."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from envsound.base.errors import InputError
from envsound.studies.recognition.code_sampling import (
    CodeAugmentation,
    even_windows,
    padded,
    training_batch,
    without_repeats,
)

MASK = 99


def counted(n_frames: int, n_levels: int = 4) -> np.ndarray:
    """Codes that say which frame they are of."""
    return np.tile(np.arange(n_frames, dtype=np.int16), (n_levels, 1))


def batch_of(augmentation: CodeAugmentation, n_clips: int = 60, n_frames: int = 20, seed: int = 0):
    targets = np.eye(n_clips, dtype=np.float32)
    clips = [counted(n_frames)] * n_clips
    return training_batch(clips, targets, augmentation, MASK, np.random.default_rng(seed))


def test_without_augmentation_a_batch_is_the_clips_padded():
    clips, targets = [counted(5), counted(3)], np.eye(2)
    batch = training_batch(clips, targets, CodeAugmentation(), MASK, np.random.default_rng(0))
    assert batch.codes[0].tolist() == counted(5).tolist()
    assert batch.codes[1, 0].tolist() == [0, 1, 2, MASK, MASK]
    assert batch.valid.tolist() == [[True] * 5, [True] * 3 + [False] * 2]
    assert batch.share is None and torch.equal(batch.targets, torch.eye(2))


def test_crops_are_stretches_and_of_short_clips_go_round():
    long = batch_of(CodeAugmentation(crop_frames=8)).codes[:, 0]
    assert long.shape == (60, 8) and (long.diff(dim=1) == 1).all()
    assert set(long[:, 0].tolist()) == set(range(13))
    short = batch_of(CodeAugmentation(crop_frames=30)).codes[:, 0]
    assert set(short.diff(dim=1).unique().tolist()) == {1, -19}


def test_the_share_of_hidden_codes_is_the_one_asked_for():
    hidden = batch_of(CodeAugmentation(crop_frames=20, masked_share=0.25), 200).codes == MASK
    assert hidden.float().mean().item() == pytest.approx(0.25, abs=0.02)
    assert not batch_of(CodeAugmentation(crop_frames=20)).codes.eq(MASK).any()


def test_level_dropout_hides_the_finest_levels_and_never_the_coarsest():
    hidden = batch_of(CodeAugmentation(crop_frames=20, level_dropout=0.5), 400).codes == MASK
    assert torch.equal(hidden.all(2), hidden.any(2))
    kept = (~hidden[:, :, 0]).sum(1)
    assert (hidden[:, :, 0].diff(dim=1) >= 0).all() and set(kept.tolist()) == {1, 2, 3, 4}
    assert (kept < 4).float().mean().item() == pytest.approx(0.5, abs=0.08)


def test_mixing_keeps_the_larger_part_and_mixes_targets_alike():
    batch = batch_of(CodeAugmentation(crop_frames=20, mixup=0.5))
    assert (batch.share >= 0.5).all() and sorted(batch.other.tolist()) == list(range(60))
    own = batch.targets[torch.arange(60), torch.arange(60)]
    torch.testing.assert_close(own[batch.other != torch.arange(60)], batch.share[batch.other != torch.arange(60)])
    torch.testing.assert_close(batch.targets.sum(1), torch.ones(60))


def test_one_seed_gives_one_batch():
    rich = CodeAugmentation(crop_frames=9, masked_share=0.2, level_dropout=0.3, mixup=0.4)
    one, again, other = batch_of(rich, seed=1), batch_of(rich, seed=1), batch_of(rich, seed=2)
    assert torch.equal(one.codes, again.codes) and torch.equal(one.targets, again.targets)
    assert not torch.equal(one.codes, other.codes)


@given(st.integers(1, 60), st.integers(1, 25))
def test_windows_have_one_length_and_cover_the_clip(n_clip, n_frames):
    found = even_windows(counted(n_clip), n_frames)
    assert {window.shape[1] for window in found} == {n_frames}
    assert {int(frame) for window in found for frame in window[0]} == set(range(n_clip))
    assert len(found) == max(1, -(-n_clip // n_frames))


def test_without_a_length_the_whole_clip_is_the_only_window():
    (window,) = even_windows(counted(7), 0)
    assert window.tolist() == counted(7).tolist()


def test_only_frames_that_repeat_in_every_level_are_left_out():
    codes = np.array([[1, 1, 1, 2, 2, 1], [5, 5, 6, 6, 6, 5]])
    assert without_repeats(codes).tolist() == [[1, 1, 2, 1], [5, 6, 6, 5]]


def test_clips_of_one_length_need_no_mask():
    assert padded([counted(4), counted(4)], MASK)[1] is None


WRONG = {"crop_frames": -1, "masked_share": 1.0, "level_dropout": 1.5, "mixup": 0.3}


@pytest.mark.parametrize(("name", "value"), WRONG.items())
def test_settings_out_of_range_are_named(name, value):
    with pytest.raises(InputError, match=name):
        CodeAugmentation(**{name: value})
