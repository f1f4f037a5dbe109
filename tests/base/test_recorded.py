"""Functions recorded for a GPU: the same result on a CPU, and nothing that a recording could not hold."""

import pytest
import torch

from envsound.base.recorded import Recorded

PLACES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]


@pytest.mark.parametrize("place", PLACES)
def test_each_call_is_that_of_the_function_with_the_seed_set_before_it(place):
    draws, there = torch.Generator(place), torch.arange(4.0, device=place)

    def noisy(x):
        return [x * 2 + torch.rand(x.shape, generator=draws, device=place), torch.rand(3, device=place)]

    expected = []
    for seed in (3, 5):
        draws.manual_seed(seed)
        torch.manual_seed(seed)
        expected.append(noisy(there + seed))
    again = Recorded(noisy, [there], [draws])
    for seed, found in zip((3, 5), expected, strict=True):
        draws.manual_seed(seed)
        torch.manual_seed(seed)
        for ours, theirs in zip(again(there + seed), found, strict=True):
            assert torch.equal(ours, theirs)
    assert torch.equal(there, torch.arange(4.0, device=place))


@pytest.mark.parametrize("place", PLACES)
def test_gradients_are_those_of_the_call(place):
    weight, x = torch.ones(3, device=place, requires_grad=True), torch.arange(3.0, device=place)

    def step(x):
        weight.grad = None
        (weight * x).square().sum().backward()
        return [weight.grad]

    recorded = Recorded(step, [x])
    for factor in (1.0, 2.0):
        assert torch.equal(recorded(factor * x)[0], 2 * (factor * x).square())
