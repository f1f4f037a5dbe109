"""The unigram baseline against sums made by hand."""

import numpy as np
import pytest

from envsound.batches import CodeSet
from envsound.errors import InputError
from envsound.unigram import unigram_losses

TRAIN = CodeSet([np.array([[0, 0, 1, 0]]), np.array([[3, 3]])], np.array([0, 1]), ["dog", "rain"])
ASKED = CodeSet([np.array([[0, 3]]), np.array([[3]])], np.array([0, 1]), ["dog", "rain"])


def test_frequencies_of_all_classes():
    shares = (np.array([3, 1, 0, 2]) + 1) / (6 + 4)  # as many made-up frames as codes, spread evenly
    losses = unigram_losses(TRAIN, ASKED, 4, by_class=False).set_index("level")["loss"]
    expected = -np.log(shares[[0, 3, 3]]).mean()
    assert losses["0"] == pytest.approx(expected) and losses["all"] == pytest.approx(expected)


def test_frequencies_of_each_class_are_drawn_to_those_of_all():
    overall = (np.array([3, 1, 0, 2]) + 1) / 10
    dog, rain = (np.array([3, 1, 0, 0]) + 4 * overall) / 8, (np.array([0, 0, 0, 2]) + 4 * overall) / 6
    losses = unigram_losses(TRAIN, ASKED, 4, by_class=True).set_index("level")["loss"]
    assert losses["0"] == pytest.approx(-np.log([dog[0], dog[3], rain[3]]).mean())


def test_a_class_that_was_never_heard_has_the_frequencies_of_all():
    unheard = CodeSet([np.array([[0, 3]])], np.array([5]), list("abcdef"))
    assert unigram_losses(TRAIN, unheard, 4, True).equals(unigram_losses(TRAIN, unheard, 4, False))


def test_levels_are_apart_and_all_is_their_mean():
    rng = np.random.default_rng(0)
    clips = [np.stack([np.zeros(500, int), rng.integers(8, size=500)]) for _ in range(4)]
    side = CodeSet(clips, np.array([0, 1, 0, 1]), ["dog", "rain"])
    losses = unigram_losses(side, side, 8, by_class=True).set_index("level")["loss"]
    assert losses["0"] < 0.1 and losses["1"] == pytest.approx(np.log(8), abs=0.02)
    assert losses["all"] == pytest.approx((losses["0"] + losses["1"]) / 2)


def test_a_code_beyond_the_codebook_is_named():
    with pytest.raises(InputError, match="code 3"):
        unigram_losses(TRAIN, ASKED, 3, by_class=False)
