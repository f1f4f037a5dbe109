"""The unigram baseline against shares made by hand."""

import numpy as np
import pytest

from envsound.base.errors import InputError
from envsound.systems.soundstorm.batches import CodeSet
from envsound.systems.soundstorm.objective import unigram_losses

TRAIN = CodeSet([np.array([[0, 0, 1, 0]]), np.array([[3, 3]])], np.array([0, 1]), ["dog", "rain", "fire"])
OVERALL = (np.array([3, 1, 0, 2]) + 1) / (6 + 4)  # as many made-up frames as codes, spread evenly


def test_frequencies_of_all_classes():
    losses = unigram_losses(TRAIN, 4, by_class=False)
    assert losses.shape == (3, 1, 4)
    assert np.allclose(np.exp(-losses), OVERALL)


def test_frequencies_of_each_class_are_drawn_to_those_of_all():
    shares = np.exp(-unigram_losses(TRAIN, 4, by_class=True))[:, 0]
    assert shares[0] == pytest.approx((np.array([3, 1, 0, 0]) + 4 * OVERALL) / 8)
    assert shares[1] == pytest.approx((np.array([0, 0, 0, 2]) + 4 * OVERALL) / 6)
    assert shares[2] == pytest.approx(OVERALL)  # a class that was never heard
    assert shares.sum(1) == pytest.approx(1)


def test_levels_are_apart():
    rng = np.random.default_rng(0)
    clips = [np.stack([np.zeros(500, int), rng.integers(8, size=500)]) for _ in range(4)]
    losses = unigram_losses(CodeSet(clips, np.array([0, 1, 0, 1]), ["dog", "rain"]), 8, by_class=True)
    assert losses[0, 0, 0] < 0.02 and losses[0, 1].mean() == pytest.approx(np.log(8), abs=0.05)


def test_a_code_beyond_the_codebook_is_named():
    with pytest.raises(InputError, match="code 3"):
        unigram_losses(TRAIN, 3, by_class=False)
