"""The figures of the published study beside each other: the rules, on made-up tables and on the table itself."""

import re

import numpy as np
import pandas as pd
import pytest
from fakes.audit import STUDY
from hypothesis import given, settings
from hypothesis import strategies as st

from envsound.base.errors import InputError
from envsound.studies.audit.published_figures import (
    CHECKS,
    COLUMNS,
    FRAMES,
    NOTED,
    VERDICTS,
    audit_figures,
    count_verdicts,
    findings_figures,
    half_digit,
    read_as_printed,
)

HEADER = "item,side,value,sd,unit,source,note"
REAL, GENERATED = "rms,real,0.10,0.08,1,paper table 2,", "rms,generated,0.06,0.05,1,paper table 2,"


def audited(tmp_path, *rows: str) -> pd.DataFrame:
    path = tmp_path / "study.csv"
    path.write_text("\n".join([HEADER, *rows]) + "\n")
    return audit_figures(path)


def verdict(table: pd.DataFrame, **where: str) -> str:
    for name, value in where.items():
        table = table[table[name] == value]
    (found,) = table["verdict"]
    return found


@settings(deadline=None)
@given(st.decimals(-999, 999, places=3), st.integers(0, 3))
def test_a_number_agrees_with_its_own_rounding(number, digits):
    printed = f"{number:.{digits}f}"
    assert abs(float(printed) - float(number)) <= half_digit(printed) + 1e-9
    assert half_digit(printed) == pytest.approx(0.5 * 10**-digits)


def test_trailing_zeros_are_digits():
    assert (half_digit("0.80"), half_digit("3090"), half_digit("8.1")) == pytest.approx((0.005, 0.5, 0.05))


def test_a_printed_figure_agrees_within_its_last_digit_and_no_further(tmp_path):
    table = audited(tmp_path, REAL, "rms,real,0.1049,0.0861,1,public result file,")
    assert verdict(table, quantity="mean") == "agrees" and verdict(table, quantity="sd") == "differs"


def test_a_deviation_that_is_the_other_sides_mean_is_called_so(tmp_path):
    swapped = "rms,real,0.10,0.06,1,paper table 2,"
    table = audited(tmp_path, swapped, GENERATED, "rms,real,0.10,0.0861,1,public result file,")
    (detail,) = table.loc[table["quantity"] == "sd", "detail"]
    assert detail == "equals the printed mean of generated"
    plain = audited(tmp_path, REAL, GENERATED, "rms,real,0.10,0.0901,1,public result file,")
    assert set(plain.loc[plain["quantity"] == "sd", "detail"]) == {""}


@pytest.mark.parametrize(("percent", "expected"), [("-40.0", "agrees"), ("-36.0", "agrees"), ("-25.0", "differs")])
def test_a_difference_may_be_what_unrounded_means_give(tmp_path, percent, expected):
    # 0.055 / 0.105 to 0.065 / 0.095: between -47.6% and -31.6%
    table = audited(tmp_path, REAL, GENERATED, f"rms,difference,{percent},,percent,paper table 2,")
    assert verdict(table, check="difference") == expected
    (row,) = table[table["check"] == "difference"].to_dict("records")
    assert row["compared"] == pytest.approx(-40) and row["tolerance"] == pytest.approx(8.42 + 0.05, abs=0.01)


def test_a_metric_without_a_printed_test_is_missing_and_a_constant_is_no_test(tmp_path):
    rows = [REAL, "zcr,real,0.1,0.1,1,paper table 2,", "ks_rms,pair,0.45,,D,paper table 3,"]
    rows += ["ks_zcr,pair,0.64,,D,recomputed from files,absent", "ks_duration,pair,0.00,,D,paper table 3,degenerate"]
    table = audited(tmp_path, *rows)
    assert verdict(table, item="rms", check="tested") == "agrees"
    assert verdict(table, item="zcr", check="tested") == "missing"
    assert verdict(table, item="ks_duration") == "differs"


def test_rates_losses_units_and_cited_figures_are_judged_by_their_values(tmp_path):
    rates = ["sample_rate,real,{},,Hz,recomputed,", "sample_rate,generated,24000,,Hz,recomputed,"]
    above = "real_rolloff_above_12khz,real,5,,clips of 100,recomputed,"
    unequal = audited(tmp_path, rates[0].format(44100), rates[1], above)
    assert list(unequal["verdict"]) == ["differs", "differs"]
    assert list(audited(tmp_path, rates[0].format(24000), rates[1], above)["verdict"]) == ["agrees"]
    losses = audited(tmp_path, *(f"{name}_loss_first,train,{v},,nat,paper 5,"
                                 for name, v in (("a", 6.93), ("b", 6.98), ("c", 8.2))))  # fmt: skip
    assert list(losses["verdict"]) == ["agrees", "differs", "differs"] and losses["compared"][0] == np.log(1024)
    unit = audited(tmp_path, "lsd,pair,2.00,,dB in the paper; neper in fact,paper table 2,")
    assert unit["compared"][0] == pytest.approx(17.37, abs=0.01) and unit["verdict"][0] == NOTED
    cited = audited(tmp_path, "speed,reference,2,,s,paper 1,", "speed,cited,0.5,,s,Somebody,")
    assert verdict(cited, check="cited") == "differs"


def test_the_claims_that_can_be_computed_are(tmp_path):
    majority = ["codec_parameters_claim,model,,,,paper 5,", "codec_parameters,cited,{},,million,Somebody,"]
    majority.append("trainable_parameters,model,20,,million,paper 4,")
    for codec, expected in (("14", "differs"), ("30", "agrees")):
        table = audited(tmp_path, *(row.format(codec) for row in majority))
        assert verdict(table, check="claim") == expected
    formula = audited(tmp_path, "unmask_count_formula,method,,,,paper 3,counts those still masked")
    assert formula["printed"][0] > 5 * formula["compared"][0] and formula["verdict"][0] == "differs"


def test_what_is_only_in_a_note_is_noted_and_never_judged():
    table = audit_figures(STUDY)
    noted = table["verdict"] == NOTED
    assert set(table.loc[noted, "check"]) == {"statement", "unit"} and table.loc[noted, "detail"].ne("").all()
    assert not (~noted & table["check"].isin(["statement", "unit"])).any()
    assert {"pretraining_claim", "spectral_entropy"} <= set(table.loc[noted, "item"]) and FRAMES == 375


def test_text_that_is_no_number_is_refused(tmp_path):
    with pytest.raises(InputError, match="'about 3'; expected a decimal number"):
        audited(tmp_path, "rms,real,about 3,,1,paper table 2,")


# The table itself


def test_every_row_has_a_known_check_and_verdict():
    table = audit_figures(STUDY)
    assert list(table.columns) == COLUMNS and len(table) > 40
    assert set(table["check"]) <= set(CHECKS) and set(table["verdict"]) == set(VERDICTS)
    assert count_verdicts(table)[list(VERDICTS)].to_numpy().sum() == len(table)


def test_the_published_means_and_differences_are_confirmed_and_half_the_deviations_are_not():
    table = audit_figures(STUDY)
    files = table[(table["check"] == "result_file") & table["side"].isin(["real", "generated"])]
    assert (files[files["quantity"] == "mean"]["verdict"] == "agrees").sum() == 12
    odd = files[files["verdict"] == "differs"]
    assert len(odd) == 6 and set(odd["quantity"]) == {"sd"}
    assert set(odd.loc[odd["detail"] != "", "item"]) == {"spectral_centroid_hz", "spectral_rolloff_hz"}
    assert (table[table["check"] == "difference"]["verdict"] == "agrees").sum() == 6
    missing = table[(table["check"] == "tested") & (table["verdict"] == "missing")]
    assert list(missing["compared"]) == [0.62, 0.54]


def test_findings_count_what_the_table_holds():
    text = findings_figures(audit_figures(STUDY))
    assert "**14 of 14** printed means" in text and "**8 of 14** printed standard deviations" in text
    assert "**6 of 6** follow" in text and "2 of the standard deviations" in text
    assert "Spectral centroid and Spectral rolloff is not in the table of tests" in text


def test_numbers_are_read_as_they_are_printed():
    table = read_as_printed(STUDY)
    assert "8.10" in set(table["sd"]) and all(re.fullmatch(r"(-?\d+(\.\d+)?)?", text) for text in table["value"])
