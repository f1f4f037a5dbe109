from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envsound.base.errors import InputError
from envsound.metrics.acoustic import ACOUSTIC
from envsound.metrics.published import PUBLISHED, published_ks, published_pair_means, published_value, read_published
from envsound.metrics.tests import (
    COMPARISONS,
    KS_COLUMNS,
    describe_comparisons,
    findings_ks,
    holm,
    ks_table,
    ks_test,
    ks_threshold,
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


def test_undefined_values_are_counted_and_left_out():
    found = ks_test(np.array([1.0, np.nan, 2]), np.array([np.nan, 1.0, 2]))
    assert (found["n_a"], found["n_b"], found["n_undefined"], found["statistic"]) == (2, 2, 2, 0.0)
    nothing = ks_test(np.array([np.nan]), np.array([1.0, 2]))
    assert np.isnan(nothing["statistic"]) and np.isnan(nothing["p_value"])
    assert "undefined for every clip" in nothing["note"]


def test_a_constant_is_noted_as_degenerate_only_when_both_sides_share_it():
    same = ks_test(np.full(5, 5.0), np.full(7, 5.0))
    assert same["statistic"] == 0 and np.isnan(same["p_value"])
    assert "degenerate" in same["note"]
    assert ks_test(np.full(5, 5.0), np.full(7, 4.0))["statistic"] == 1.0


def test_holm_by_hand():
    assert holm(np.array([0.04, 0.01, np.nan, 0.03])) == pytest.approx([0.06, 0.03, np.nan, 0.06], nan_ok=True)
    assert np.isnan(holm(np.array([np.nan]))).all()


@settings(max_examples=10, deadline=None)  # statsmodels collects garbage at every call
@given(st.lists(st.floats(0, 1), min_size=1, max_size=9))
def test_holm_never_lowers_a_p_value_nor_exceeds_bonferroni(p_values):
    p = np.array(p_values)
    adjusted = holm(p)
    assert (adjusted >= p - 1e-12).all()
    assert (adjusted <= np.minimum(1, len(p) * p) + 1e-12).all()
    assert adjusted[p.argmin()] == pytest.approx(min(1, len(p) * p.min()))


def test_the_table_has_every_comparison_and_metric():
    ks = ks_table(clips())
    assert list(ks.columns) == KS_COLUMNS
    assert len(ks) == 3 * 7
    assert ks.groupby("comparison").size().to_dict() == dict.fromkeys(COMPARISONS, 7)
    first = ks.set_index(["comparison", "metric"])
    assert first.loc[("generated_vs_real", "zcr"), "n_a"] == 50
    assert first.loc[("generated_vs_real", "zcr"), "n_b"] == 40
    assert first.loc[("generated_vs_real", "zcr"), "published_statistic"] == 0.64
    assert first.loc[("generated_vs_real", "duration_s"), "published_statistic"] == 0.0
    assert ks.loc[ks["comparison"] != "generated_vs_real", "published_statistic"].isna().all()
    assert pd.api.types.is_float_dtype(ks["statistic"])


def test_holm_runs_within_each_comparison():
    ks = ks_table(clips())
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


def test_findings_say_what_was_rejected_and_what_that_leaves_open():
    text = findings_ks(ks_table(clips()))
    assert "Generated against real: **6 of 6** informative tests reject" in text
    assert "n = 50 and 40" in text
    assert "not rejected it is not shown either" in text
    assert "0.30" in text  # the threshold of 40 against 40
    rejected = findings_ks(ks_table(clips(shift=9), ["generated_vs_real"]))
    assert "not shown either" not in rejected


def test_findings_survive_the_csv(tmp_path):
    ks = ks_table(clips(), ["generated_vs_real"])
    ks["note"] = ""
    ks.to_csv(tmp_path / "ks.csv", index=False)
    assert findings_ks(pd.read_csv(tmp_path / "ks.csv")) == findings_ks(ks)


def test_findings_without_an_informative_metric():
    rows = clips(sides=("real", "generated"))[["side", "duration_s"]]
    assert findings_ks(ks_table(rows)) == "Generated against real: no metric could be tested."


def test_comparisons_are_described_with_their_sizes_and_threshold():
    text = describe_comparisons(ks_table(clips()))
    assert "n = 50 and 40; one test rejects at 5% above D = 0.288" in text
    assert text.count("\n") == 2


def test_published_values_come_from_the_most_exact_source(tmp_path):
    study = read_published(PUBLISHED)
    assert published_value(study, "snr_db", "generated") == 23.1849
    assert published_value(study, "snr_db", "generated", "sd") == 3.5028
    assert published_value(study, "snr_db", "difference") == 54.89
    assert np.isnan(published_value(study, "loudness", "real"))
    assert published_ks(study, "spectral_rolloff_hz") != published_ks(study, "snr_db") == 0.63
    assert published_pair_means() == {"spectral_convergence": 1.54, "log_spectral_distance": 2.03}
    (tmp_path / "study.csv").write_text("item,side,sd\nx,y,1\n")
    with pytest.raises(InputError, match="lacks the column source"):
        read_published(tmp_path / "study.csv")
