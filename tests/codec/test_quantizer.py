"""The residual quantizer: what its codes say, what its gradients reach, and how its codebooks move."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from envsound.codec.quantizer import ResidualQuantizer, effective_rank, kmeans, level_gains, nearest

DIM = 6
N_LEVELS = 4
ALL = torch.full((3,), N_LEVELS)


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def fitted(n_codes: int = 16, **options) -> tuple[ResidualQuantizer, torch.Tensor]:
    """Return a quantizer placed on made-up latents [3, DIM, 50], and these latents."""
    quantizer = ResidualQuantizer(n_levels=N_LEVELS, codebook_size=n_codes, dim=DIM, **options)
    latents = torch.randn(3, DIM, 50)
    quantizer.initialise(latents.transpose(1, 2).flatten(0, 1))
    return quantizer, latents


def errors(quantizer: ResidualQuantizer, latents: torch.Tensor, codes: torch.Tensor) -> list[torch.Tensor]:
    """Return the mean squared residual after each level."""
    levels = range(1, quantizer.n_levels + 1)
    return [(latents - quantizer.decode(codes[:, :n])).square().mean() for n in levels]


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999))
def test_nearest_is_the_smallest_distance(seed):
    generator = torch.Generator().manual_seed(seed)
    vectors, codebook = (torch.randn(n, DIM, generator=generator) for n in (20, 7))
    assert torch.equal(nearest(vectors, codebook), torch.cdist(vectors, codebook).argmin(1))


def test_every_level_leaves_a_smaller_residual():
    quantizer, latents = fitted()
    codes = quantizer.encode(latents)
    assert codes.shape == (3, N_LEVELS, 50) and codes.dtype == torch.int64
    left = [latents.square().mean(), *errors(quantizer, latents, codes)]
    assert all(after < 0.8 * before for before, after in pairwise(left))


def test_in_training_an_item_is_the_sum_of_the_levels_it_uses_and_pays_for_what_is_left():
    quantizer, latents = fitted()
    n_levels = torch.tensor([1, 3, N_LEVELS])
    quantized, codes = quantizer.eval()(latents, n_levels)[0], quantizer.encode(latents)
    for item, n in enumerate(n_levels):
        torch.testing.assert_close(quantized[item], quantizer.decode(codes[item : item + 1, :n])[0])
    loss = quantizer(latents, ALL)[1]
    torch.testing.assert_close(loss, torch.stack(errors(quantizer, latents, codes)).mean())


def test_codebooks_move_in_training_alone_and_only_those_of_levels_in_use():
    quantizer, latents = fitted()
    before = quantizer.codebooks.clone()
    quantizer.eval()(latents + 1, ALL)
    assert torch.equal(quantizer.codebooks, before)
    quantizer.train()(latents + 1, torch.tensor([2, 1, 2]))
    assert (quantizer.codebooks != before).flatten(1).any(1).tolist() == [True, True, False, False]


def test_straight_through_gradient_is_the_identity():
    quantizer, latents = fitted()
    upstream = torch.randn_like(latents.requires_grad_())
    quantizer(latents, torch.tensor([1, 2, N_LEVELS]))[0].backward(upstream)
    torch.testing.assert_close(latents.grad, upstream)


@pytest.mark.parametrize("level", range(N_LEVELS))
def test_commitment_reaches_the_latents_from_each_level_alone(level):
    quantizer, latents = fitted()
    quantizer.eval()
    latents.requires_grad_()
    losses = [quantizer(latents, torch.full((3,), n))[1] for n in (level + 1, level)]
    (gradient,) = torch.autograd.grad(losses[0] - losses[1], latents)  # all but this level's loss cancels
    residual = latents.detach() - quantizer.decode(quantizer.encode(latents)[:, : level + 1])
    expected = 2 * residual / latents.numel() / N_LEVELS
    assert expected.abs().max() > 0
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-7)


def test_update_is_the_moving_average():
    quantizer = ResidualQuantizer(n_levels=1, codebook_size=2, dim=1, decay=0.9)
    quantizer.codebooks[0] = torch.tensor([[0.0], [10.0]])
    quantizer.sums.copy_(quantizer.codebooks)
    quantizer(torch.tensor([[[1.0, 3.0, 2.0, 12.0]]]), torch.tensor([1]))
    # relative counts 2 * (3, 1) / 4 and sums 2 * (6, 12) / 4
    torch.testing.assert_close(quantizer.counts[0], torch.tensor([0.9 + 0.15, 0.9 + 0.05]))
    torch.testing.assert_close(quantizer.codebooks[0], torch.tensor([[0.3 / 1.05], [(9.0 + 0.6) / 0.95]]))


def test_dead_codes_are_replaced_and_stay_so():
    quantizer, latents = fitted()
    far = torch.full((8, DIM), 100.0)
    quantizer.codebooks[0, :8] = far
    quantizer.counts[0, :8] = quantizer.dead_share  # the next update finds them unused
    quantizer.sums[0, :8] = far * quantizer.dead_share
    quantizer.train()(latents, ALL)
    vectors = latents.transpose(1, 2).reshape(-1, DIM)
    gaps = (quantizer.codebooks[0, :8, None] - vectors).abs().amax(2).min(1).values
    assert gaps.max() < 1e-5  # each is now a vector of the batch
    for _ in range(3):
        quantizer(latents, ALL)
        assert quantizer.codebooks[0].abs().max() <= vectors.abs().max()
    assert (quantizer.counts[0, :8] > quantizer.dead_share).all()


def test_kmeans_recovers_separated_clusters():
    true_centres = torch.tensor([[10.0, 0.0], [-10.0, 0.0], [0.0, 10.0], [0.0, -10.0]])
    vectors = (true_centres[:, None] + 0.1 * torch.randn(4, 100, 2)).flatten(0, 1)
    centres, counts = kmeans(vectors, 16)
    assert counts.sum() == len(vectors)
    assert torch.cdist(true_centres, centres).min(1).values.max() < 0.3
    assert torch.cdist(vectors, centres).min(1).values.max() < 0.5
    few, counts = kmeans(torch.tensor([[0.0], [4.0], [8.0]]), 10)  # fewer vectors than codes
    assert few.shape == (10, 1) and counts.shape == (10,) and set(few.flatten().tolist()) <= {0.0, 4.0, 8.0}


def test_initialise_leaves_no_code_dead_at_once():
    quantizer, _ = fitted(n_codes=64)
    assert (quantizer.counts >= quantizer.dead_share * 0.999).all()
    torch.testing.assert_close(quantizer.sums, quantizer.codebooks * quantizer.counts[..., None])


def test_bfloat16_latents_are_quantized_in_float32():
    quantizer, latents = fitted()
    coarse = latents.bfloat16()
    assert torch.equal(quantizer.encode(coarse), quantizer.encode(coarse.float()))
    found = (*quantizer(coarse, ALL), quantizer.decode(quantizer.encode(coarse)), quantizer.codebooks)
    assert {one.dtype for one in found} == {torch.float32}
    torch.testing.assert_close(quantizer.eval()(coarse, ALL)[1], quantizer(coarse.float(), ALL)[1])


def test_level_gains_of_made_up_latents():
    quantizer = ResidualQuantizer(n_levels=3, codebook_size=2, dim=2)
    quantizer.codebooks[0] = torch.tensor([[3.0, 0.0], [-3.0, 0.0]])
    quantizer.codebooks[1] = torch.tensor([[0.0, 1.0], [0.0, -1.0]])
    quantizer.codebooks[2] = 0.0  # adds nothing, though its code 0 is in use
    signs = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 3)  # every combination once
    latents = torch.stack([3 * signs[:, 0] + 0.1 * signs[:, 2], signs[:, 1]])[None]
    expected = [10 * math.log10(10.01 / 1.01), 10 * math.log10(1.01 / 0.01), 0.0]
    assert level_gains(latents, quantizer).tolist() == pytest.approx(expected, abs=1e-3)


def test_effective_rank_is_between_one_and_the_dimension_and_ignores_scale():
    direction = torch.randn(2, 1, 300) * torch.randn(1, 8, 1) + torch.randn(1, 8, 1)
    assert effective_rank(direction) == pytest.approx(1.0, abs=0.01)
    assert effective_rank(torch.randn(2, 8, 5000)) == pytest.approx(8.0, abs=0.05)
    latents = torch.randn(2, 8, 300) * torch.arange(1, 9)[:, None]
    assert 1 < effective_rank(latents) < 8
    assert effective_rank(latents * 100) == pytest.approx(effective_rank(latents), rel=1e-4)
