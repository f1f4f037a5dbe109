"""What a model is to reach in every class, from a table by class whose numbers are known."""

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from envsound.base.files import read_csv
from envsound.base.paths import find_root
from envsound.evaluation.compare import GOAL_COLUMNS, KS, LEVEL, TOLD_BY, goals_by_class

EMPTY = pd.DataFrame(columns=["category", "system", "run", "metric", "median", "ks", "threshold_5_percent"])


def by_class(metric: str, real: float, model: float, other: float = 1.0, ks: float = 0.5) -> pd.DataFrame:
    rows = [("dog", "real", "", metric, real, np.nan, np.nan), ("dog", "real_other", "", metric, other, 0.25, 0.6),
            ("dog", "generated", "mine", metric, model, ks, 0.6), ("dog", "noise", "", metric, 9, 1, 0.6)]  # fmt: skip
    return pd.DataFrame(rows, columns=EMPTY.columns)


def found(table: pd.DataFrame, quantity: str) -> dict:
    rows = table[table["quantity"] == quantity]
    assert len(rows) == 1 and list(table) == GOAL_COLUMNS
    return rows.iloc[0].to_dict()


@pytest.mark.parametrize(("model", "met"), [(0.1412, "yes"), (0.1413, "no"), (0.0707, "no"), (0.0709, "yes")])
def test_a_level_is_within_3_db(model, met):
    row = found(goals_by_class(by_class("rms", 0.1, model, other=1.0)), LEVEL)
    assert row["met"] == met and row["real"] == pytest.approx(-20) and row["real_other"] == pytest.approx(0)
    assert row["difference"] == pytest.approx(20 * np.log10(model / 0.1))


@pytest.mark.parametrize(("model", "met"), [(0.25, "yes"), (0.2501, "no"), (0.1501, "yes"), (0.1499, "no")])
def test_the_course_in_time_is_within_a_quarter_of_real_clips(model, met):
    row = found(goals_by_class(by_class("modulation_8_16_hz", 0.2, model)), "modulation_8_16_hz")
    assert row["met"] == met and row["difference"] == pytest.approx(model / 0.2 - 1)


def test_a_distance_is_beside_its_threshold_and_that_of_other_real_clips():
    for ks, met in ((0.6, "yes"), (0.61, "no"), (np.nan, "")):
        row = found(goals_by_class(by_class("zcr", 1.0, 1.0, ks=ks)), KS.format("zcr"))
        assert (row["met"], row["real"], row["real_other"], row["limit"]) == (met, 0, 0.25, 0.6)
    assert goals_by_class(by_class("rms", 1.0, 1.0))["quantity"].tolist() == [LEVEL, KS.format("rms")]
    assert goals_by_class(by_class("duration_s", 1.0, 1.0)).empty and len(TOLD_BY) == 6


def test_what_cannot_be_compared_is_not_met_nor_missed():
    row = found(goals_by_class(by_class("envelope_correlation_s", 0.0, 1.0)), "envelope_correlation_s")
    assert np.isnan(row["difference"]) and row["met"] == ""
    assert goals_by_class(EMPTY).empty and list(goals_by_class(EMPTY)) == GOAL_COLUMNS


def test_the_published_goals_are_those_of_the_published_table_by_class():
    folder = find_root() / "data" / "published" / "esc10"
    table = goals_by_class(read_csv(folder / "evaluation_by_class.csv"))
    published = read_csv(folder / "goals_by_class.csv").fillna({"met": ""})
    assert_frame_equal(table, published, check_exact=False, rtol=1e-4, atol=1e-4, check_dtype=False)
