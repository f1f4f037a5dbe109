"""Continuation, variation, inpainting and long clips keep what they must and fill the rest."""

import pytest
import torch
from fakes.soundstorm import small_checkpoint

from envsound.base.errors import InputError
from envsound.systems.soundstorm.decoding import DecodingConfig
from envsound.systems.soundstorm.editing import Editor


@pytest.fixture(scope="module")
def editor() -> Editor:
    return Editor(small_checkpoint(n_levels=3).model, DecodingConfig((3, 1, 1), fine_temperature=1.0), category=1)


@pytest.fixture
def codes() -> torch.Tensor:
    return torch.randint(16, (3, 20), generator=torch.Generator().manual_seed(1))


@pytest.fixture
def asked(monkeypatch) -> list[torch.Tensor]:
    """Return what the editor asks its model for, call by call: codes with the mask token in gaps."""
    calls, fill = [], Editor.fill
    monkeypatch.setattr(Editor, "fill", lambda *call: calls.append(call[1].clone()) or fill(*call))
    return calls


def test_a_continuation_begins_with_the_recording(editor, codes):
    longer = editor.continuation(codes, 7, seed=0)
    assert longer.shape == (3, 27) and torch.equal(longer[:, :20], codes) and longer.max() < 16
    assert torch.equal(longer, editor.continuation(codes, 7, seed=0))
    assert not torch.equal(longer, editor.continuation(codes, 7, seed=1))


@pytest.mark.parametrize(("share", "n_new"), [(0.1, 2), (0.5, 10), (1.0, 20)])
def test_a_variation_renews_its_share_of_frames_at_every_level(editor, codes, share, n_new, asked):
    varied = editor.variation(codes, share, seed=3)
    hidden = asked[0] == 16
    assert hidden.all(0).sum() == hidden.any(0).sum() == n_new
    assert torch.equal(varied[~hidden], codes[~hidden])


@pytest.mark.parametrize(("first", "last"), [(0, None), (1, 2), (2, 2)])
def test_inpainting_fills_the_gap_at_the_levels_asked_for(editor, codes, first, last):
    filled = editor.inpainting(codes, 5, 12, 0, first, last)
    changed = (filled != codes).nonzero()
    assert len(changed) > 0 and filled.max() < 16
    assert changed[:, 0].min() >= first and (last is None or changed[:, 0].max() <= last)
    assert changed[:, 1].min() >= 5 and changed[:, 1].max() < 12


@pytest.mark.parametrize("n_frames", [1, 8, 9, 30])
def test_long_clips_have_their_length_and_fit_the_window(editor, n_frames, asked):
    done = []
    codes = editor.long_clip(n_frames, seed=2, window=8, overlap=3, on_window=done.append)
    assert codes.shape == (3, n_frames) and codes.max() < 16 and done[-1] == n_frames
    assert max(known.shape[1] for known in asked) <= 8
    for known, end in zip(asked[1:], done, strict=False):  # each window sees the end of the one before
        assert torch.equal(known[:, :3], codes[:, end - 3 : end]) and (known[:, 3:] == 16).all()
    assert torch.equal(codes, editor.long_clip(n_frames, seed=2, window=8, overlap=3))


@pytest.mark.parametrize(
    "call",
    [
        lambda e, c: e.continuation(c, 0, 0),
        lambda e, c: e.continuation(c[:2], 3, 0),
        lambda e, c: e.continuation(c + 5, 3, 0),
        lambda e, c: e.variation(c, 0.0, 0),
        lambda e, c: e.variation(c, 1.1, 0),
        lambda e, c: e.inpainting(c, 5, 5, 0),
        lambda e, c: e.inpainting(c, 5, 21, 0),
        lambda e, c: e.inpainting(c, 5, 9, 0, 2, 1),
        lambda e, c: e.inpainting(c, 5, 9, 0, 0, 3),
        lambda e, c: e.long_clip(10, 0, window=4, overlap=4),
        lambda e, c: e.long_clip(0, 0, window=4, overlap=2),
    ],
)
def test_impossible_edits_are_refused(editor, codes, call):
    with pytest.raises(InputError, match="expected"):
        call(editor, codes)
