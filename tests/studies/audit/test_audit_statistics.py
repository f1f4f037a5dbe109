"""What so many clips can say: p values from a distance alone, intervals, and accuracies that no count gives."""

import numpy as np
import pytest
from fakes.audit import STUDY
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from envsound.base.errors import InputError
from envsound.metrics.published import read_published
from envsound.metrics.tests import holm
from envsound.studies.audit.published_figures import read_as_printed
from envsound.studies.audit.statistics import (
    CLASS_COLUMNS,
    KS_COLUMNS,
    OPEN,
    SILENT,
    STANDS,
    accuracy_interval,
    audit_classes,
    audit_ks,
    distance_test,
    dkw_width,
    findings_classes,
    findings_ks,
    published_clips,
    separated_pairs,
)


@settings(max_examples=30, deadline=None)
@given(st.integers(3, 40), st.randoms(use_true_random=False))
def test_the_p_value_is_that_of_any_two_samples_with_this_distance(n, random):
    a, b = ([random.random() + shift for _ in range(n)] for shift in (0, 0.3))
    expected = stats.ks_2samp(a, b, method="exact")
    found = distance_test(float(expected.statistic), n)
    assert found["p_value"] == pytest.approx(expected.pvalue, rel=1e-9)


def test_no_distance_has_p_one_and_a_number_above_one_is_refused():
    assert distance_test(0.0, 100)["p_value"] == 1
    with pytest.raises(InputError, match=r"D=1\.5"):
        distance_test(1.5, 100)


def test_the_interval_of_a_distance_holds_the_true_one_nearly_always():
    rng, n, shift = np.random.default_rng(0), 50, 1.0
    true = 2 * stats.norm.cdf(shift / 2) - 1
    covered = 0
    for _ in range(200):
        a, b = rng.standard_normal(n), rng.standard_normal(n) + shift
        row = distance_test(float(stats.ks_2samp(a, b).statistic), n)
        covered += row["statistic_low"] <= true <= row["statistic_high"]
    assert covered >= 190
    assert dkw_width(100, 0.05) == pytest.approx(np.sqrt(np.log(40) / 200))


def test_all_six_published_tests_stand_and_the_duration_says_nothing():
    table = audit_ks(STUDY)
    assert list(table.columns) == KS_COLUMNS
    tested = table[table["verdict"] == STANDS]
    assert len(tested) == 6 and tested["in_paper"].sum() == 4 and set(tested["n_a"]) == {100}
    assert tested["p_holm"].to_numpy() == pytest.approx(holm(tested["p_value"].to_numpy()))
    silent = table[table["verdict"] == SILENT].iloc[0]
    assert silent["metric"] == "duration" and np.isnan(silent["p_holm"])
    text = findings_ks(table)
    assert "**6 of 6** tests" in text and "D = 0.45 in RMS" in text and "not why" in text


def test_a_small_distance_is_left_open_and_one_of_no_known_metric_is_refused(tmp_path):
    rows = ["item,side,value,sd,unit,source,note", "rms,real,0.1,0.1,1,paper table 2,"]
    (tmp_path / "a.csv").write_text("\n".join([*rows, "ks_rms,pair,0.10,,D,paper table 3,n=100 a side"]))
    assert list(audit_ks(tmp_path / "a.csv")["verdict"]) == [OPEN]
    (tmp_path / "b.csv").write_text("\n".join([*rows, "ks_rms,pair,0.10,,D,paper table 3,"]))
    with pytest.raises(InputError, match="a side"):
        audit_ks(tmp_path / "b.csv")
    rows.append("ks_rms,pair,0.10,,D,paper table 3,n=100 a side")
    (tmp_path / "c.csv").write_text("\n".join([*rows, "ks_duration,pair,0.00,,D,paper table 3,constant"]))
    assert list(audit_ks(tmp_path / "c.csv")["verdict"]) == [OPEN, SILENT]
    (tmp_path / "d.csv").write_text("\n".join([*rows, "ks_loudness,pair,0.70,,D,paper table 3,"]))
    with pytest.raises(InputError, match=r"ks_loudness: D=0\.7, expected 0 or a metric of the table of means"):
        audit_ks(tmp_path / "d.csv")


def test_an_accuracy_that_no_number_of_clips_gives_is_named():
    assert accuracy_interval("85", 40)["reachable"] and accuracy_interval("87", 40)["reachable"]  # 34; 35 is 87.5
    found = accuracy_interval("64", 40)
    assert not found["reachable"] and found["nearest"] == 0.65
    assert found["low"] < 0.64 < found["high"]
    assert accuracy_interval("64", 8)["high"] - accuracy_interval("64", 8)["low"] > 1.8 * (found["high"] - found["low"])


@pytest.mark.parametrize(
    ("percent", "n", "reachable"),
    [
        ("68", 40, True),  # 27 of 40 are 67.5, halves are rounded upward
        ("87", 66, True),  # 57 of 66 are 86.4 and nearer, but 58 are 87.9, which is cut to 87
        ("66", 23, False),  # 15 of 23 are 65.2: within one of 66, and neither rounded nor cut to it
        ("88", 40, True),
        ("72.3", 400, True),  # 289 of 400 are 72.25
        ("0", 7, True),
        ("100", 7, True),
    ],
)
def test_a_printed_accuracy_is_a_count_rounded_or_cut(percent, n, reachable):
    found = accuracy_interval(percent, n)
    assert found["reachable"] is reachable
    steps = 10 if "." in percent else 1  # of the last digit in a percent
    rounded = {np.floor(100 * steps * count / n + 0.5) / steps for count in range(n + 1)}
    cut = {(100 * steps * count // n) / steps for count in range(n + 1)}
    assert (float(percent) in rounded | cut) is reachable


def test_the_number_of_clips_is_read_from_the_notes():
    assert published_clips(read_as_printed(STUDY)) == published_clips(read_published(STUDY)) == 100


def test_the_published_classes_are_told_apart_by_more_clips_only():
    table = audit_classes(STUDY)
    assert list(table.columns) == CLASS_COLUMNS and len(table) == 2 * (6 + 3)
    assert separated_pairs(table, "one fold") == (0, 15)
    apart, pairs = separated_pairs(table, "five folds")
    assert 0 < apart < pairs == 15
    text = findings_classes(table)
    assert "0 of 15 pairs of classes have intervals apart over one fold (8 clips a class)" in text
    assert "No whole number of 40 clips (five folds) gives helicopter 64%" in text
