"""Codes drawn by counting: each kind keeps just what it says of the codes it was taught."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envsound.base.errors import InputError
from envsound.codec.counting import Bigram, ColumnChain, draw_unigram, shuffled


@given(st.integers(0, 99))
@settings(deadline=None)
def test_shuffling_keeps_every_frame_whole(seed):
    rng = np.random.default_rng(seed)
    before = rng.integers(0, 900, (2, 15))
    assert sorted(map(tuple, shuffled(before, rng).T)) == sorted(map(tuple, before.T))


def test_codes_drawn_by_themselves_are_as_frequent_as_in_the_clips():
    clips = [np.array([[0, 0, 0, 1], [5, 6, 7, 8]])]
    drawn = draw_unigram(clips, 4000, np.random.default_rng(0))
    assert np.bincount(drawn[0]) / 4000 == pytest.approx([0.75, 0.25], abs=0.03)
    assert np.bincount(drawn[1])[5:] / 4000 == pytest.approx([0.25] * 4, abs=0.03)
    assert abs(np.corrcoef(drawn)[0, 1]) < 0.05  # levels by themselves


def test_a_code_is_followed_as_often_as_in_the_clips_with_witten_and_bells_share_for_the_rest():
    level = np.array([0, 1, 0, 1, 0, 2, 0, 1, 2])  # after 0: 1, 1, 2, 1; n = 4 with T = 2 different
    drawn = Bigram([np.stack([level, level])], 4).draw(40_000, np.random.default_rng(0))[0]
    after = drawn[1:][drawn[:-1] == 0]
    share = np.bincount(level) / level.size
    expected = (np.array([0, 3, 1]) + 2 * share) / 6
    assert np.bincount(after) / after.size == pytest.approx(expected, abs=0.02)


def test_a_chain_starts_like_a_clip_and_leaves_a_code_without_successor():
    clips = [np.array([[3, 1], [0, 0]]), np.array([[3, 2], [0, 0]])]
    for seed in range(8):
        drawn = Bigram(clips, 4).draw(12, np.random.default_rng(seed))
        assert drawn[0, 0] == 3 and set(drawn[0]) <= {1, 2, 3} and not drawn[1].any()
    with pytest.raises(InputError, match="one frame"):
        Bigram([np.zeros((2, 1), dtype=int)], 4)


@pytest.fixture
def chain() -> tuple[ColumnChain, dict]:
    """A chain over six clips whose columns are all different, and which column follows which."""
    rng = np.random.default_rng(0)
    clips = np.stack([rng.permutation(90) for _ in range(2)]).reshape(2, 6, 15).swapaxes(0, 1)
    follows = {tuple(clip[:, n]): tuple(clip[:, n + 1]) for clip in clips for n in range(14)}
    return ColumnChain(list(clips), rng.standard_normal((2, 90, 3))), follows


def test_a_chain_of_columns_copies_clips_unless_it_may_not(chain):
    columns, follows = chain
    known = set(follows) | set(follows.values())
    for copying in (True, False):
        drawn = [columns.draw(60, np.random.default_rng(seed), copying) for seed in range(5)]
        steps = [(tuple(a), tuple(b)) for codes in drawn for a, b in zip(codes.T, codes.T[1:], strict=False)]
        copied = np.mean([follows.get(a) == b for a, b in steps])
        assert {one for step in steps for one in step} <= known and drawn[0].shape == (2, 60)
        assert copied > 0.85 if copying else copied == 0
    assert np.array_equal(drawn[0], columns.draw(60, np.random.default_rng(0), False))
    with pytest.raises(InputError, match="two or more"):
        ColumnChain([np.zeros((2, 3), dtype=int)], np.zeros((2, 90, 3)))


def test_a_chain_that_may_not_copy_goes_on_from_columns_that_are_alike():
    low, high = np.array([[0, 1, 2, 3]]), np.array([[10, 11, 12, 13]])
    vectors = np.arange(16.0)[None, :, None]
    clips = [*[low] * 9, *[high] * 9]  # nine clips near each other, nine more far away
    for seed in range(5):
        drawn = ColumnChain(clips, vectors).draw(20, np.random.default_rng(seed), copying=False)
        assert (drawn < 5).all() or (drawn > 5).all()
