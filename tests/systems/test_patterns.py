"""Every order of a clip's codes holds each code once, and can be undone."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from envsound.base.errors import InputError
from envsound.systems.language.patterns import NONE, PATTERNS, Pattern

SPECIAL = 99


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(sorted(PATTERNS)),
    n_levels=st.integers(1, 6),
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=3),
    seed=st.integers(0, 99),
)
def test_a_sequence_holds_every_code_once_and_can_be_undone(name, n_levels, lengths, seed):
    pattern, longest = Pattern(name, n_levels), max(lengths)
    codes = torch.randint(SPECIAL, (len(lengths), n_levels, longest), generator=torch.Generator().manual_seed(seed))
    codes.masked_fill_(torch.arange(longest) >= torch.tensor(lengths)[:, None, None], SPECIAL)
    sequence = pattern.sequence(codes, torch.tensor(lengths), SPECIAL)
    assert sequence.shape == (len(lengths), n_levels, pattern.n_steps(longest))
    assert ((sequence != SPECIAL).sum(2) == torch.tensor(lengths)[:, None]).all()
    assert torch.equal(pattern.codes(sequence, torch.tensor(lengths), longest, SPECIAL), codes)


@settings(max_examples=30, deadline=None)
@given(name=st.sampled_from(sorted(PATTERNS)), n_levels=st.integers(1, 5), n_frames=st.integers(1, 9))
def test_no_code_is_written_before_an_earlier_one_of_its_level_and_none_where_the_loss_does_not_look(
    name, n_levels, n_frames
):
    pattern = Pattern(name, n_levels)
    [frames] = pattern.frames(torch.tensor([n_frames]), pattern.n_steps(n_frames))
    for level, row in enumerate(frames):
        assert row[row != NONE].tolist() == list(range(n_frames))
        assert (row[pattern.steps(level)] != NONE).sum() == n_frames


@pytest.mark.parametrize(
    ("name", "n_steps", "order"),
    [
        ("delay", 97, [[1, 2, 3, 0, 0], [0, 1, 2, 3, 0], [0, 0, 1, 2, 3]]),
        ("parallel", 94, [[1, 2, 3], [1, 2, 3], [1, 2, 3]]),
        ("flattened", 376, [[1, 0, 0, 2, 0, 0, 3, 0, 0], [0, 1, 0, 0, 2, 0, 0, 3, 0], [0, 0, 1, 0, 0, 2, 0, 0, 3]]),
        ("coarse-first", 188, [[1, 2, 3, 0, 0, 0], [0, 0, 0, 1, 2, 3], [0, 0, 0, 1, 2, 3]]),
    ],
)
def test_the_orders_are_those_of_their_names(name, n_steps, order):
    assert Pattern(name, 4).n_steps(94) == n_steps
    assert (Pattern(name, 3).frames(torch.tensor([3]), len(order[0])) + 1)[0].tolist() == order


def test_a_shorter_clip_has_its_own_order_in_a_batch():
    pattern = Pattern("coarse-first", 2)
    both = pattern.frames(torch.tensor([4, 2]), 8)
    assert torch.equal(both[1, :, :4], pattern.frames(torch.tensor([2]), 4)[0]) and (both[1, :, 4:] == NONE).all()


def test_an_unknown_order_is_told():
    with pytest.raises(InputError, match="pattern='diagonal': expected one of delay, parallel, flattened, coarse"):
        Pattern("diagonal", 4)
