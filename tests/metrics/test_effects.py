"""Effect sizes against their definitions, intervals against resampling by hand, and the families of the tests."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from envsound.base.errors import InputError
from envsound.metrics.effects import (
    CLASS_COLUMNS,
    COLUMNS,
    SEED_COLUMNS,
    UNTESTED,
    Sample,
    class_table,
    cliffs_delta,
    effect_table,
    effects,
    resampled_effects,
    seed_table,
    summary,
)
from envsound.metrics.resampling import Resamples, resample_counts, two_way_bootstrap
from envsound.metrics.tests import PAIRED, TWO_SAMPLE, benjamini_hochberg, holm, ks_test, paired_ks_test

METRICS = ["rms", "zcr"]
pytestmark = pytest.mark.filterwarnings("error")
whole = st.lists(st.integers(-3, 3), min_size=1, max_size=12)


def sample(values, n_resamples: int = 20, seed: int = 0) -> Sample:
    values = np.asarray(values, dtype=float)
    return Sample(values, resample_counts(values.size, n_resamples, np.random.default_rng(seed)))


def clips(shifts: dict[tuple[str, str], float], n: int = 30) -> pd.DataFrame:
    """A table of clips: for each system and run, n clips of two classes whose metrics are shifted."""
    tables = []
    for number, ((system, run), shift) in enumerate(shifts.items()):
        rng = np.random.default_rng(number)
        values = {name: rng.normal(shift, 1, n) for name in METRICS}
        names = [f"{number} {clip}" for clip in range(n)]
        facts = {"system": system, "run": run, "clip": names, "category": ["dog", "rain"] * (n // 2)}
        tables.append(pd.DataFrame(facts | values))
    return pd.concat(tables, ignore_index=True)


SHIFTS = {("real", ""): 0, ("real_other", ""): 0, ("generated", "a"): 2, ("generated", "b"): 3}


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return effect_table(clips(SHIFTS), METRICS, n_resamples=50)


@settings(deadline=None)
@given(whole, whole)
def test_cliffs_delta_is_the_mean_sign_of_all_differences(a, b):
    expected = np.sign(np.subtract.outer(a, b)).mean()
    assert cliffs_delta(np.array(a), np.array(b)) == pytest.approx(expected, abs=1e-12)
    assert cliffs_delta(np.array(b), np.array(a)) == pytest.approx(-expected, abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(whole, whole, st.integers(0, 9))
def test_effects_of_resamples_are_those_of_the_clips_they_hold(a, b, seed):
    one, other = sample(a, seed=seed), sample(b, seed=seed + 10)
    found = resampled_effects(one.defined(), other.defined())
    for place in range(20):
        drawn = [np.repeat(part.values, part.counts[place]) for part in (one, other)]
        assert found[0, place] == pytest.approx(cliffs_delta(*drawn), abs=1e-12)
        assert found[1, place] == pytest.approx(stats.wasserstein_distance(*drawn), abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=12), st.integers(0, 9))
def test_a_summary_is_of_the_clips_and_its_ends_of_the_resamples(values, seed):
    one = sample(values, 50, seed)
    found = summary(one)
    drawn = [np.repeat(one.values, counts) for counts in one.counts]
    for name, of in (("mean", np.mean), ("sd", lambda x: np.std(x, ddof=1)), ("median", np.median)):
        assert found[name] == pytest.approx(of(one.values), abs=1e-6)
        ends = np.percentile([of(x) for x in drawn], (2.5, 97.5))
        assert [found[f"{name}_low"], found[f"{name}_high"]] == pytest.approx(ends, abs=1e-6)


def test_undefined_values_are_counted_and_left_out():
    found = summary(sample([1.0, np.nan, 3.0]))
    assert (found["n"], found["n_undefined"], found["mean"], found["median"]) == (2, 1, 2, 2)
    assert summary(sample([np.nan])) == {"n": 0, "n_undefined": 1}
    assert effects(sample([np.nan]), sample([1.0])) == {"n_real": 1}
    assert np.isnan(summary(sample([1.0]))["sd"]) and np.isnan(cliffs_delta(np.array([]), np.array([1.0])))


def test_the_wasserstein_distance_of_a_shift_is_the_shift():
    real = sample(np.arange(40.0), 200, 1)
    found = effects(sample(np.arange(40.0) + 100, 200, 2), real)
    assert found["wasserstein"] == pytest.approx(100)
    assert found["wasserstein_in_sd"] == pytest.approx(100 / np.arange(40).std(ddof=1))
    assert found["wasserstein_low"] < 100 < found["wasserstein_high"]
    assert found["cliffs_delta"] == found["cliffs_delta_low"] == found["cliffs_delta_high"] == 1
    assert np.abs(resampled_effects(real.defined(), sample(-np.arange(40.0), 200, 2).defined())[0]).max() <= 1


def test_the_interval_of_two_draws_of_one_distribution_reaches_no_difference():
    draws = [sample(np.random.default_rng(seed).normal(size=60), 400, seed) for seed in (0, 1)]
    found = effects(*draws)
    assert found["wasserstein_low"] < 0.05
    assert found["cliffs_delta_low"] < 0 < found["cliffs_delta_high"]
    assert found["cliffs_delta_high"] - found["cliffs_delta_low"] == pytest.approx(4 * np.sqrt(1 / 3 / 30), rel=0.25)


def test_resamples_hold_as_many_clips_and_a_clip_and_its_reconstruction_share_them():
    resamples = Resamples(0, 10)
    first = resamples.of(["a", "b", "c"])
    assert first.shape == (10, 3) and (first.sum(axis=1) == 3).all()
    assert resamples.of(["a", "b", "c"]) is first
    assert not np.array_equal(resamples.of(["d", "e", "f"]), first)
    with pytest.raises(InputError, match="at least one"):
        resample_counts(0, 10, np.random.default_rng(0))
    real = clips({("real", ""): 0})
    same = real.assign(system="codec", rms=real["rms"] + 0.01)
    other = same.assign(clip="x" + same["clip"])
    paired, apart = (effect_table(pd.concat([real, rows]), ["rms"], n_resamples=200).iloc[1] for rows in (same, other))
    width = [row["cliffs_delta_high"] - row["cliffs_delta_low"] for row in (paired, apart)]
    assert paired["cliffs_delta"] == apart["cliffs_delta"] and width[0] < width[1] / 5


def test_a_row_for_each_system_run_and_metric_none_for_real_and_holm_over_the_metrics_of_a_run(table):
    assert list(table.columns) == COLUMNS and len(table) == 4 * 2
    again, other = (effect_table(clips(SHIFTS), METRICS, seed, 50) for seed in (0, 1))
    assert table.equals(again) and not table.equals(other)
    real = table[table["system"] == "real"]
    assert real[["cliffs_delta", "wasserstein", "ks", "p_value", "p_holm", "n_real"]].isna().all(axis=None)
    rows = table.set_index(["system", "run", "metric"])
    values = clips(SHIFTS).groupby(["system", "run"])["zcr"]
    expected = ks_test(values.get_group(("generated", "a")), values.get_group(("real", "")))
    assert rows.loc[("generated", "a", "zcr"), "ks"] == expected["statistic"]
    assert rows.loc[("generated", "b", "rms"), "cliffs_delta"] > 0.8
    assert (table["note"] == "").all()
    for _, rows in table[table["system"] != "real"].groupby(["system", "run"]):
        assert rows["p_holm"].to_numpy() == pytest.approx(holm(rows["p_value"].to_numpy()))


def test_benjamini_and_hochberg_run_over_classes_and_metrics():
    table = class_table(clips(SHIFTS), METRICS, n_resamples=5)
    assert list(table.columns) == CLASS_COLUMNS
    assert set(table["category"]) == {"dog", "rain"} and set(table["n"]) == {15}
    for _, rows in table[table["system"] != "real"].groupby(["system", "run"]):
        assert len(rows) == 4
        assert rows["p_bh"].to_numpy() == pytest.approx(benjamini_hochberg(rows["p_value"].to_numpy()))
    rows = clips(SHIFTS)
    rows.loc[rows["system"] == "generated", "category"] = ""
    rows.loc[rows["system"] == "real_other", "category"] = "cat"
    assert class_table(rows, METRICS, n_resamples=5).empty  # no class has real clips and others
    with pytest.raises(InputError, match="none of the system 'real'"):
        effect_table(rows[rows["system"] != "real"], METRICS)


def test_a_constant_is_noted_and_a_metric_undefined_throughout_leaves_gaps():
    rows = clips(SHIFTS).assign(duration_s=5.0, gone=np.nan)
    table = effect_table(rows, ["duration_s", "gone", "rms"], n_resamples=5).set_index(["system", "run", "metric"])
    assert "degenerate" in table.loc[("generated", "a", "duration_s"), "note"]
    assert np.isnan(table.loc[("generated", "a", "gone"), "cliffs_delta"])
    assert np.isnan(table.loc[("generated", "a", "duration_s"), "wasserstein_in_sd"])
    assert table.loc[("generated", "a", "rms"), "p_holm"] < 0.01
    assert table.loc[("generated", "a", "duration_s"), ["p_value", "p_holm"]].isna().all()


def test_a_metric_that_is_asked_for_is_described_and_in_no_family_of_tests():
    rng = np.random.default_rng(0)
    rows = clips(SHIFTS).assign(duration_s=rng.normal(size=120))
    with_it = effect_table(rows, [*METRICS, "duration_s"], n_resamples=5, untested=["duration_s"])
    asked = with_it[(with_it["metric"] == "duration_s") & (with_it["system"] != "real")]
    assert asked[["mean", "cliffs_delta", "wasserstein"]].notna().all(axis=None) and (asked["note"] == UNTESTED).all()
    assert asked[["ks", "p_value", "p_holm", "threshold_5_percent"]].isna().all(axis=None)
    without = effect_table(rows, METRICS, n_resamples=5)
    kept = with_it[with_it["metric"] != "duration_s"].reset_index(drop=True)
    pd.testing.assert_frame_equal(kept[["p_value", "p_holm"]], without[["p_value", "p_holm"]])
    by_class = class_table(rows, [*METRICS, "duration_s"], n_resamples=5, untested=["duration_s"])
    assert by_class.loc[by_class["metric"] == "duration_s", "p_bh"].isna().all()


# Pairs


def with_reconstructions(by: float = 0.3, seed: int = 0) -> pd.DataFrame:
    """Real clips, the same through a codec that adds a little, in another order, and others just like these."""
    real = clips({("real", ""): 0})
    codec = real.assign(system="codec", rms=real["rms"] + by).sample(frac=1, random_state=seed)
    return pd.concat([real, codec, codec.assign(system="floor", clip="x" + codec["clip"])], ignore_index=True)


def test_the_reference_s_own_clips_are_tested_in_pairs_and_others_as_two_samples():
    rows = with_reconstructions()
    table = effect_table(rows, ["rms"], seed=3, n_resamples=5).set_index("system")
    assert table["test"].to_dict() == {"real": "", "codec": PAIRED, "floor": TWO_SAMPLE}
    real, codec = (rows[rows["system"] == name].set_index("clip")["rms"] for name in ("real", "codec"))
    expected = paired_ks_test(codec.to_numpy(), real[codec.index].to_numpy(), seed=3)
    found = table.loc["codec"]
    assert [found["ks"], found["p_value"], found["threshold_5_percent"]] == [
        expected[name] for name in ("statistic", "p_value", "threshold_5_percent")
    ]
    assert table.loc["floor", "ks"] == found["ks"] and table.loc["floor", "p_value"] > 0.2 > 0.02 > found["p_value"]


def test_pairs_are_pairs_within_a_class_too_and_clips_that_repeat_or_lack_one_are_none():
    table = class_table(with_reconstructions(2), ["rms"], n_resamples=5)
    assert set(table.loc[table["system"] == "codec", "test"]) == {PAIRED}
    assert (table.loc[table["system"] == "codec", "p_bh"] < 0.05).all()
    rows = with_reconstructions()
    codec = rows["system"] == "codec"
    repeated = rows.assign(clip=rows["clip"].where(~codec, rows["clip"].iloc[0]))
    for changed in (repeated, rows.drop(index=rows.index[codec][0])):
        table = effect_table(changed, ["rms"], n_resamples=5).set_index("system")
        assert table.loc["codec", "test"] == TWO_SAMPLE


def test_training_seeds_are_summarised_by_hand(table):
    seeds = seed_table(table)
    assert list(seeds.columns) == SEED_COLUMNS and list(seeds["metric"]) == METRICS
    rows = table.query("system == 'generated' and metric == 'zcr'")
    row = seeds.iloc[1]
    assert row["n_runs"] == 2
    assert row["mean_mean"] == pytest.approx(rows["mean"].mean())
    assert row["ks_sd"] == pytest.approx(rows["ks"].std())
    assert (row["median_lowest"], row["median_highest"]) == (rows["median"].min(), rows["median"].max())
    alone = seed_table(table[table["run"] != "b"])
    assert (alone["n_runs"] == 1).all() and alone["mean_sd"].isna().all()


def test_one_clip_says_nothing_of_others_and_has_no_interval():
    one, many = (Sample(np.arange(n, dtype=float), resample_counts(n, 20, np.random.default_rng(0))) for n in (1, 5))
    row = summary(one)
    assert row["mean"] == 0 and np.isnan([row["mean_low"], row["mean_high"]]).all()
    for pair in ((one, many), (many, one)):
        found = effects(*pair)
        assert np.isfinite(found["cliffs_delta"]) and np.isfinite(found["wasserstein"])
        ends = [found[f"{name}_{end}"] for name in ("cliffs_delta", "wasserstein") for end in ("low", "high")]
        assert np.isnan(ends).all()
    assert np.isnan(two_way_bootstrap(np.array([[0.5, np.nan]]), np.random.default_rng(0), 20)[1:]).all()
