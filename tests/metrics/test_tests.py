"""Tests of two sets of clips against their tables and by hand; of pairs against scipy, and by what they find."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from envsound.base.errors import InputError
from envsound.base.files import read_csv, write_csv
from envsound.metrics.acoustic import ACOUSTIC
from envsound.metrics.tests import (
    COMPARISONS,
    KS_COLUMNS,
    benjamini_hochberg,
    exchanges,
    headline,
    holm,
    ks_table,
    ks_test,
    ks_threshold,
    largest_gaps,
    paired_ks_test,
    wilson,
)

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)


def clips(shift: float = 2.0, sides: tuple[str, ...] = ("real", "generated", "codec", "real_other")) -> pd.DataFrame:
    """Rows as in metrics.csv: 40 real clips a side, 50 generated ones `shift` standard deviations away."""
    rng = np.random.default_rng(0)
    frames = []
    for side in sides:
        n, mean = (50, shift) if side == "generated" else (40, 0)
        values = {name: rng.normal(mean, 1, n) for name in ACOUSTIC}
        frames.append(pd.DataFrame({"side": side} | values | {"duration_s": 5.0}))
    return pd.concat(frames, ignore_index=True)


def test_thresholds_are_those_of_the_tables():
    assert ks_threshold(80, 100) == pytest.approx(0.204, abs=5e-4)
    assert ks_threshold(100, 100) == pytest.approx(0.192, abs=5e-4)
    assert ks_threshold(100, 100, 0.01) == pytest.approx(1.628 * np.sqrt(0.02), abs=5e-4)
    assert np.isnan(ks_threshold(0, 10))
    with pytest.raises(InputError, match="alpha"):
        ks_threshold(10, 10, 1.0)


def test_ks_by_hand():
    # at 3 every value of a is passed, of b a quarter
    found = ks_test(np.array([1.0, 2, 3]), np.array([3.0, 4, 5, 6]))
    assert found["statistic"] == pytest.approx(0.75)
    assert (found["n_a"], found["n_b"], found["n_undefined"], found["note"]) == (3, 4, 0, "")
    apart = ks_test(np.arange(4.0), np.arange(4.0) + 10)
    assert apart["statistic"] == 1.0
    assert apart["p_value"] == pytest.approx(2 / 70)  # two of the 8 choose 4 orders are as extreme


def test_undefined_values_are_counted_and_left_out_and_a_constant_of_both_sides_says_nothing():
    found = ks_test(np.array([1.0, np.nan, 2]), np.array([np.nan, 1.0, 2]))
    assert (found["n_a"], found["n_b"], found["n_undefined"], found["statistic"]) == (2, 2, 2, 0.0)
    nothing = ks_test(np.array([np.nan]), np.array([1.0, 2]))
    assert np.isnan(nothing["statistic"]) and np.isnan(nothing["p_value"])
    assert "undefined for every clip" in nothing["note"]
    same = ks_test(np.full(5, 5.0), np.full(7, 5.0))  # degenerate only when both sides share the constant
    assert same["statistic"] == 0 and np.isnan(same["p_value"]) and "degenerate" in same["note"]
    assert ks_test(np.full(5, 5.0), np.full(7, 4.0))["statistic"] == 1.0


def test_adjusted_p_values_by_hand():
    p = np.array([0.04, 0.01, np.nan, 0.03])
    assert holm(p) == pytest.approx([0.06, 0.03, np.nan, 0.06], nan_ok=True)
    assert benjamini_hochberg(p) == pytest.approx([0.04, 0.03, np.nan, 0.04], nan_ok=True)
    assert np.isnan(holm(np.array([np.nan]))).all() and holm(np.array([])).size == 0


@pytest.mark.parametrize(("adjust", "method"), [(holm, "holm"), (benjamini_hochberg, "fdr_bh")])
def test_adjusted_p_values_are_those_of_statsmodels(adjust, method):
    for seed in range(2):
        p = np.random.default_rng(seed).choice([0.001, 0.01, 0.2, 0.9, 1.0], 12)
        assert np.array_equal(adjust(p), multipletests(p, method=method)[1])


def test_the_table_has_every_comparison_and_metric_and_holm_runs_within_each_comparison():
    ks = ks_table(clips())
    assert list(ks.columns) == KS_COLUMNS
    assert ks.groupby("comparison").size().to_dict() == dict.fromkeys(COMPARISONS, 7)
    first = ks.set_index(["comparison", "metric"])
    assert first.loc[("generated_vs_real", "zcr"), ["n_a", "n_b", "published_statistic"]].tolist() == [50, 40, 0.64]
    assert first.loc[("generated_vs_real", "duration_s"), "published_statistic"] == 0.0
    assert ks.loc[ks["comparison"] != "generated_vs_real", "published_statistic"].isna().all()
    assert pd.api.types.is_float_dtype(ks["statistic"])
    for _, rows in ks.groupby("comparison"):
        assert rows["p_holm"].to_numpy() == pytest.approx(holm(rows["p_value"].to_numpy()), nan_ok=True)
    assert (ks.loc[ks["comparison"] == "generated_vs_real", "p_holm"].iloc[:6] < 0.05).all()
    constant = ks[ks["metric"] == "duration_s"]
    assert constant[["p_value", "p_holm"]].isna().all(axis=None)  # the same in every clip: no member of the family
    without = ks_table(clips().drop(columns="duration_s"))["p_holm"]
    assert ks["p_holm"].dropna().tolist() == pytest.approx(without.tolist())


def test_sides_and_metrics_that_are_missing_are_left_out():
    ks = ks_table(clips(sides=("real", "generated")).drop(columns="rms"))
    assert set(ks["comparison"]) == {"generated_vs_real"}
    assert "rms" not in set(ks["metric"])
    with pytest.raises(InputError, match="only the sides real"):
        ks_table(clips(sides=("real",)))
    with pytest.raises(InputError, match="'real_vs_generated' is not known"):
        ks_table(clips(), ["real_vs_generated"])


def test_the_headline_counts_what_holm_rejects(tmp_path):
    write_csv(tmp_path / "ks.csv", ks_table(clips()))
    assert headline(read_csv(tmp_path / "ks.csv")).startswith("**6 of 6** metrics")
    assert headline(ks_table(clips(shift=0))).startswith("**0 of 6**")


# Clips and what became of them

whole = st.integers(-3, 3)
few = st.lists(st.tuples(whole, whole), min_size=2, max_size=6).filter(lambda pairs: len({*sum(pairs, ())}) > 1)


def distance(a, b, axis=-1) -> float:
    return stats.ks_2samp(a, b, axis=axis, method="asymp").statistic


@settings(max_examples=12, deadline=None)
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


def test_random_exchanges_are_those_of_the_seed_and_count_the_clips_themselves_as_one():
    a = np.arange(30.0)
    found = paired_ks_test(a + 100, a, n_swaps=99)
    assert (found["statistic"], found["p_value"]) == (1.0, 1 / 100)
    signs, _ = exchanges(30, 99, np.random.default_rng([0, 30]))
    b = np.random.default_rng(1).normal(15, 9, 30)
    count = np.sum(largest_gaps(a, b, signs) / 30 >= distance(a, b) - 1e-12)
    assert paired_ks_test(a, b, n_swaps=99)["p_value"] == (1 + count) / 100
    a, b = np.random.default_rng(2).normal(size=(2, 40))
    first, again, other = (paired_ks_test(a, b, seed)["p_value"] for seed in (0, 0, 1))
    assert paired_ks_test(b, a)["p_value"] == first == again != other


def test_a_small_change_of_every_clip_is_found_and_what_chance_changes_as_often_as_the_level_says():
    real = np.random.default_rng(0).normal(size=60)
    assert paired_ks_test(real + 0.2, real)["p_value"] < 0.01
    assert ks_test(real + 0.2, real)["p_value"] > 0.5
    rng, found = np.random.default_rng(0), []
    for _ in range(300):
        one, other = rng.normal(size=(2, 25)) + rng.normal(size=25)  # a pair shares its clip, and nothing else differs
        found.append(paired_ks_test(one, other, n_swaps=199)["p_value"])
    assert 0.01 <= np.mean(np.array(found) <= 0.05) <= 0.09


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


@pytest.mark.parametrize("count", [0, 4, 8])
def test_wilson_s_interval_solves_its_equation(count):
    """Both ends p satisfy (share - p)^2 = z^2 p (1 - p) / n."""
    n, z = 8, 1.959963984540054
    for end in wilson(count, n):
        assert (count / n - end) ** 2 == pytest.approx(z**2 * end * (1 - end) / n, abs=1e-12)
    assert wilson(8, 10) == pytest.approx((0.4901625, 0.9433178), abs=1e-6)
