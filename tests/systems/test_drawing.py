"""Drawing codes: noise, restrictions, sampling, order of acceptance, entropy budget."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from envsound.systems.soundstorm.drawing import (
    ORDERS,
    Noise,
    acceptance_order,
    descending,
    draw,
    fixed_ranks,
    n_within_entropy,
    restrict,
)

INF = float("inf")


def noise_of(*lengths: int) -> Noise:
    return Noise([torch.Generator().manual_seed(7 + row) for row in range(len(lengths))], list(lengths))


def test_gumbel_noise_is_standard():
    noise = noise_of(200_000).gumbel(200_000)
    assert noise.mean().item() == pytest.approx(0.5772, abs=0.01)  # Euler's constant
    assert noise.var().item() == pytest.approx(torch.pi**2 / 6, abs=0.03)


def test_an_item_s_noise_depends_on_nothing_but_its_generator():
    together = noise_of(5, 3).uniform(5)
    alone = Noise([torch.Generator().manual_seed(8)], [3]).uniform(3)
    assert torch.equal(together[1, :3], alone[0]) and (together[1, 3:] == 0).all()


def test_sampling_follows_the_model():
    """Codes are drawn as often as softmax(scores / temperature) says."""
    scores = torch.tensor([2.0, 1.0, 0.0, -1.0]).expand(1, 20_000, 4)
    for temperature in (1.0, 2.0):
        drawn = draw(scores, temperature, noise_of(20_000))[0]
        shares = torch.bincount(drawn, minlength=4) / len(drawn)
        assert torch.allclose(shares, (scores[0, 0] / temperature).softmax(0), atol=0.015)
    some = torch.randn(2, 9, 6, generator=torch.Generator().manual_seed(0))
    assert torch.equal(draw(some, 0.0, noise_of(9, 9)), some.argmax(-1))  # without temperature, the most likely one


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 999), dead=st.lists(st.integers(0, 7), max_size=7, unique=True))
def test_codes_ruled_out_are_never_drawn(seed, dead):
    scores = torch.randn(1, 400, 8, generator=torch.Generator().manual_seed(seed)) * 3
    scores[..., dead] = -INF
    drawn = draw(scores, 1.0, noise_of(400))
    assert drawn.min() >= 0 and drawn.max() <= 7
    assert not set(drawn.flatten().tolist()) & set(dead)


def test_top_k_keeps_the_k_best():
    scores = torch.tensor([[0.0, 3.0, 1.0, 2.0]])
    assert torch.equal(restrict(scores, 2, 1.0), torch.tensor([[-INF, 3.0, -INF, 2.0]]))
    assert torch.equal(restrict(scores, 0, 1.0), scores) and torch.equal(restrict(scores, 9, 1.0), scores)


@pytest.mark.parametrize(("top_p", "kept"), [(0.01, 1), (0.5, 1), (0.51, 2), (0.8, 2), (0.81, 3), (0.96, 4), (1.0, 4)])
def test_top_p_keeps_the_smallest_set_that_is_likely_enough(top_p, kept):
    scores = torch.log(torch.tensor([[0.15, 0.5, 0.05, 0.3]]))
    assert restrict(scores, 0, top_p).isfinite().sum() == kept


def test_values_are_sorted_as_torch_sorts_them_bit_for_bit():
    scores = torch.randn(3, 9, 100, generator=torch.Generator().manual_seed(1)).half().float()  # some are equal
    scores[1, :, ::3] = -INF
    for some in (scores, scores.transpose(0, 1), scores.double()):
        assert torch.equal(descending(some), some.sort(dim=-1, descending=True).values)


def test_confidence_puts_the_surest_frames_first_and_the_unmasked_last():
    scores = torch.log(torch.tensor([[[0.6, 0.4], [0.9, 0.1], [0.5, 0.5], [0.99, 0.01]]]))
    masked = torch.tensor([[True, True, True, False]])
    drawn = torch.zeros(1, 4, dtype=torch.long)
    order = acceptance_order(scores, drawn, masked, "confidence", torch.zeros(1), noise_of(4))
    assert order.tolist() == [[1, 0, 2, 3]]


def test_random_order_is_even_and_deaf_to_the_scores():
    scores = torch.zeros(1, 3, 2)
    scores[0, 0, 0] = 50.0
    drawn, masked, noise = torch.zeros(1, 3, dtype=torch.long), torch.ones(1, 3, dtype=bool), noise_of(3)
    orders = [acceptance_order(scores, drawn, masked, "random", torch.zeros(1), noise)[0] for _ in range(900)]
    assert (torch.stack(orders) == 0).sum(0).tolist() == pytest.approx([300] * 3, abs=60)


def test_a_low_discrepancy_order_fills_time_evenly_and_starts_anywhere():
    """However many frames are accepted, gaps take three lengths at most (Steinhaus), never far from the mean."""
    ranks = fixed_ranks("low-discrepancy", 94, noise_of(94, 94))
    assert ranks[0].argmax() != ranks[1].argmax()
    for n in (6, 12, 31, 60):
        places = ranks[0].argsort(descending=True)[:n].sort().values
        gaps = set(places.diff().tolist())
        assert len(gaps) <= 3 and max(gaps) <= 3 * 94 / n


def test_an_order_that_a_clip_keeps_is_that_of_its_ranks_among_masked_frames():
    ranks, masked = torch.tensor([[0.1, 0.9, 0.5, 0.7]]), torch.tensor([[True, False, True, True]])
    scores, drawn = torch.zeros(1, 4, 2), torch.zeros(1, 4, dtype=torch.long)
    order = acceptance_order(scores, drawn, masked, "spans", torch.zeros(1), noise_of(4), ranks)
    assert order.tolist() == [[2, 3, 1, 0]]
    assert [name for name in ORDERS if fixed_ranks(name, 4, noise_of(4)) is None] == ["confidence", "random"]
    assert torch.equal(fixed_ranks("spans", 5, noise_of(5, 3))[1], noise_of(5, 3).uniform(5)[1])


@pytest.mark.parametrize(("budget", "expected"), [(0.0, 1), (0.69, 1), (0.70, 2), (1.39, 3), (100.0, 4)])
def test_entropy_budget_counts_all_but_the_largest(budget, expected):
    """Four frames of two equally likely codes have ln 2 nats each: k frames together ignore (k - 1) ln 2."""
    scores, position = torch.zeros(1, 4, 2), torch.tensor([[2, 0, 1, 3]])
    assert n_within_entropy(scores, position, torch.ones(1, 4, dtype=bool), budget).tolist() == [expected]


def test_sure_frames_cost_nothing_and_unmasked_ones_do_not_count():
    scores = torch.tensor([[[50.0, 0.0]] * 3 + [[0.0, 0.0]] * 2])
    masked = torch.tensor([[True, True, True, True, False]])
    assert n_within_entropy(scores, torch.arange(5)[None], masked, 0.1).tolist() == [4]
