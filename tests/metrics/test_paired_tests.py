"""The permutation test within pairs, against scipy's, by its symmetries, and by what it finds and does not find."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from envsound.base.errors import InputError
from envsound.metrics.paired_tests import exchanges, largest_gaps, paired_ks_test
from envsound.metrics.tests import ks_test

whole = st.integers(-3, 3)
few = st.lists(st.tuples(whole, whole), min_size=2, max_size=6).filter(lambda pairs: len({*sum(pairs, ())}) > 1)


def distance(a, b, axis=-1) -> float:
    return stats.ks_2samp(a, b, axis=axis, method="asymp").statistic


@settings(max_examples=30, deadline=None)
@given(few)
def test_of_few_pairs_all_exchanges_are_taken_as_scipy_does(pairs):
    a, b = np.array(pairs, dtype=float).T
    found = paired_ks_test(a, b)
    kind = dict(permutation_type="samples", alternative="greater", n_resamples=10_000, vectorized=False)
    expected = stats.permutation_test((a, b), distance, **kind)
    assert found["statistic"] == pytest.approx(distance(a, b)) == pytest.approx(expected.statistic)
    assert found["p_value"] == pytest.approx(expected.pvalue)


@settings(max_examples=20, deadline=None)
@given(st.integers(15, 40), st.integers(0, 99))
def test_the_distance_after_an_exchange_is_that_of_the_exchanged_clips(n, seed):
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 9, (2, n)).astype(float)
    signs, is_all = exchanges(n, 5, rng)
    assert signs.shape == (n, 5) and set(np.unique(signs)) <= {-1, 1} and not is_all
    for sign, gap in zip(signs.T, largest_gaps(a, b, signs), strict=True):
        swapped = np.where(sign > 0, a, b), np.where(sign > 0, b, a)
        assert gap / n == pytest.approx(distance(*swapped))


def test_random_exchanges_count_the_clips_themselves_as_one():
    a = np.arange(30.0)
    found = paired_ks_test(a + 100, a, n_swaps=99)
    assert (found["statistic"], found["p_value"]) == (1.0, 1 / 100)
    signs, _ = exchanges(30, 99, np.random.default_rng([0, 30]))
    b = np.random.default_rng(1).normal(15, 9, 30)
    count = np.sum(largest_gaps(a, b, signs) / 30 >= distance(a, b) - 1e-12)
    assert paired_ks_test(a, b, n_swaps=99)["p_value"] == (1 + count) / 100


def test_a_small_change_of_every_clip_is_found_where_two_samples_show_nothing():
    real = np.random.default_rng(0).normal(size=60)
    assert paired_ks_test(real + 0.2, real)["p_value"] < 0.01
    assert ks_test(real + 0.2, real)["p_value"] > 0.5


def test_what_chance_alone_changes_is_rejected_as_often_as_the_level_says():
    rng, found = np.random.default_rng(0), []
    for _ in range(300):
        one, other = rng.normal(size=(2, 25)) + rng.normal(size=25)  # a pair shares its clip, and nothing else differs
        found.append(paired_ks_test(one, other, n_swaps=199)["p_value"])
    assert 0.01 <= np.mean(np.array(found) <= 0.05) <= 0.09


def test_one_seed_gives_one_p_and_sides_may_be_exchanged():
    a, b = np.random.default_rng(2).normal(size=(2, 40))
    first, again, other = (paired_ks_test(a, b, seed)["p_value"] for seed in (0, 0, 1))
    assert first == again and first != other
    assert paired_ks_test(b, a)["p_value"] == first


@settings(max_examples=20, deadline=None)
@given(few)
def test_no_more_than_one_exchange_in_twenty_exceeds_the_threshold(pairs):
    a, b = np.array(pairs, dtype=float).T
    signs, is_all = exchanges(a.size, 9999, np.random.default_rng(0))
    gaps, threshold = largest_gaps(a, b, signs) / a.size, paired_ks_test(a, b)["threshold_5_percent"]
    assert is_all and len({*map(tuple, signs.T)}) == 2**a.size
    assert np.mean(gaps > threshold + 1e-12) <= 0.05 < np.mean(gaps >= threshold - 1e-12)


def test_pairs_that_are_undefined_are_left_out_and_a_constant_says_nothing():
    found = paired_ks_test(np.array([1, np.nan, 3.0, 4]), np.array([1, 2.0, np.nan, 5]))
    assert (found["n_a"], found["n_b"], found["n_undefined"], found["note"]) == (2, 2, 2, "")
    nothing = paired_ks_test(np.array([np.nan]), np.array([1.0]))
    assert np.isnan(nothing["p_value"]) and "undefined" in nothing["note"]
    same = paired_ks_test(np.full(5, 2.0), np.full(5, 2.0))
    assert same["statistic"] == 0 and np.isnan(same["p_value"]) and "degenerate" in same["note"]
    assert set(same) | {"p_value"} == set(ks_test(np.arange(3.0), np.arange(3.0)))  # in place of one another


@pytest.mark.parametrize(("a", "b", "n"), [(np.ones(3), np.ones(4), 9), (np.ones((2, 2)), np.ones((2, 2)), 9),
                                           (np.ones(3), np.ones(3), 0)])  # fmt: skip
def test_what_is_no_pairs_is_refused(a, b, n):
    with pytest.raises(InputError, match="two equal lengths"):
        paired_ks_test(a, b, n_swaps=n)
