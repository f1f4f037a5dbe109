"""Diversity by hand, and that it sees a model which repeats itself."""

import numpy as np
import pandas as pd
import pytest

from envsound.base.errors import InputError
from envsound.evaluation.diversity import ALL, COLUMNS, MEAN, distances, diversity_table, spread, standardised
from envsound.metrics.resampling import resample_counts

METRICS = ["a", "b", "constant"]


def clips(system: str, seed: int, n: int = 40, scale: float = 1.0) -> pd.DataFrame:
    """Clips of two classes that lie 10 apart, `scale` wide within a class."""
    rng = np.random.default_rng(seed)
    category = np.array(["dog", "rain"] * (n // 2))
    values = rng.normal(0, scale, (n, 2)) + 10 * (category == "rain")[:, None]
    facts = {"system": system, "run": "", "clip": [f"{seed} {k}" for k in range(n)], "category": category}
    return pd.DataFrame(facts | {"a": values[:, 0], "b": values[:, 1], "constant": 5.0})


def table(*sides: pd.DataFrame) -> pd.DataFrame:
    found = diversity_table(pd.concat([clips("real", 0), *sides], ignore_index=True), METRICS, n_resamples=200)
    assert list(found.columns) == COLUMNS
    return found.set_index(["system", "category"])


def test_distances_are_root_mean_squares_over_what_both_clips_define():
    points = np.array([[0.0, 0.0], [3.0, 4.0], [np.nan, 1.0], [np.nan, np.nan]])
    found = distances(points)
    assert found[0, 1] == pytest.approx(np.sqrt(12.5))
    assert found[0, 2] == 1 and found[1, 2] == 3
    assert np.isnan(found[3]).all() and np.array_equal(found, found.T, equal_nan=True)


def test_spread_is_the_mean_over_pairs_of_different_clips():
    distance = np.array([[0.0, 1, 2], [1, 0, 6], [2, 6, 0]])
    counts = np.array([[1, 1, 1], [2, 1, 0], [0, 1, 2], [3, 0, 0]])
    assert spread(distance, counts) == pytest.approx([3, 1, 6, np.nan], nan_ok=True)
    distance = distances(np.random.default_rng(0).normal(size=(8, 3)))
    counts = resample_counts(8, 4000, np.random.default_rng(1))
    whole = spread(distance, np.ones((1, 8)))[0]
    assert np.mean(spread(distance, counts)) == pytest.approx(whole, rel=0.02)  # no narrower than the clips


def test_metrics_count_in_standard_deviations_of_the_real_clips():
    rows = pd.concat([clips("real", 0), clips("generated", 1, scale=3)], ignore_index=True)
    points = standardised(rows, METRICS)
    assert points.shape == (80, 2)  # the constant says nothing
    assert points[:40].mean(axis=0) == pytest.approx(0, abs=1e-12)
    assert points[:40].std(axis=0, ddof=1) == pytest.approx(1)
    with pytest.raises(InputError, match="none varies"):
        standardised(rows, ["constant"])


def test_real_clips_are_as_varied_as_real_clips_and_a_wider_class_by_how_much():
    found = table(clips("real_other", 1), clips("generated", 2, scale=2))
    assert found.loc[("real", MEAN), "ratio"] == found.loc[("real", "dog"), "ratio"] == 1
    floor, wide = found.loc[("real_other", MEAN)], found.loc[("generated", MEAN)]
    assert floor["ratio_low"] < 1 < floor["ratio_high"]
    assert wide["ratio"] == pytest.approx(2, rel=0.2) and wide["ratio_low"] > 1.5
    assert wide["n"] == 40 and found.loc[("generated", "dog"), "n_real"] == 20


def test_a_copied_clip_has_no_spread_within_its_class_but_between_classes():
    copied = clips("copy", 3)
    copied[["a", "b"]] = copied.groupby("category")[["a", "b"]].transform("first")
    found = table(copied)
    assert found.loc[("copy", MEAN), ["spread", "ratio", "ratio_high"]].tolist() == [0, 0, 0]
    assert found.loc[("copy", ALL), "ratio"] > 0.5


def test_undefined_clips_are_left_out_and_a_class_of_one_or_none_has_no_spread():
    made = clips("generated", 5)
    made.loc[made["category"] == "dog", METRICS] = np.nan
    made.loc[0, METRICS] = 1.0
    found = table(made)
    assert set(found.loc["generated"].index) == {ALL, "rain", MEAN}
    assert found.loc[("generated", MEAN), "n"] == 20 and found.loc[("generated", ALL), "n"] == 21
    found = table(clips("generated", 4).assign(category=""))
    assert set(found.loc["generated"].index) == {ALL}


def test_two_clips_of_a_class_have_a_spread_and_no_interval():
    made = clips("generated", 6, n=4)
    found = table(made).loc["generated"]
    assert found["ratio"].notna().all()
    assert found.loc[["dog", MEAN], ["ratio_low", "ratio_high"]].isna().all(axis=None)
    assert found.loc[ALL, "ratio_low"] < found.loc[ALL, "ratio"] < found.loc[ALL, "ratio_high"]
