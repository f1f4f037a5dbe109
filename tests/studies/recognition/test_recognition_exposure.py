"""Accuracy on the test clips that a codec has met in its own training, and on the others."""

import numpy as np
import pandas as pd
import pytest

from envsound.studies.recognition.exposure import EXPOSURE_COLUMNS, exposure_table, findings_exposure
from envsound.studies.recognition.scores import Recognised
from envsound.studies.recognition.tables import summary_table

MET = {1: [0] * 8, 2: [1] * 6 + [0] * 2, 3: [1] * 8}  # by fold
CODES, SOUND, TOO = "codes", "sound", "too"


def answers(right: dict[str, dict[int, list[int]]], codecs: dict[str, str], met=MET) -> Recognised:
    rows = [
        {"recogniser": name, "kind": "other", "codec": codecs[name], "seed": 0, "fold": fold, "clip": f"{fold}_{place}",
         "source": f"{fold}_{place}", "category": "dog", "heard": "dog", "is_right": bool(value), "n_train_folds": 2,
         "codec_heard": met[fold][place] if codecs[name] != "none" else 0, "seconds": 1.0}
        for name, folds in right.items()
        for fold, values in folds.items()
        for place, value in enumerate(values)
    ]  # fmt: skip
    clips = pd.DataFrame(rows)
    by = clips.groupby(["recogniser", "kind", "codec", "fold", "seed", "n_train_folds", "seconds"], sort=False)
    folds = by.agg(n_test=("is_right", "size"), accuracy=("is_right", "mean"), codec_heard=("codec_heard", "sum"))
    return Recognised(folds.reset_index(), clips)


@pytest.fixture(scope="module")
def found() -> Recognised:
    """A reader of codes that knows what was met, and two that hear sound."""
    right = {
        CODES: {1: [1, 1, 0, 0, 0, 0, 0, 0], 2: [1] * 6 + [0, 0], 3: [1] * 8},
        SOUND: {1: [1] * 4 + [0] * 4, 2: [1, 1, 1, 0, 0, 0, 1, 0], 3: [1, 0] * 4},
        TOO: {1: [1] * 8, 2: [1] * 8, 3: [1] * 8},
    }
    return answers(right, {CODES: "bundled", SOUND: "none", TOO: "none"})


def test_every_recogniser_is_scored_on_the_same_clips_met_and_not_met(found):
    table = exposure_table(found, n_resamples=200)
    assert list(table.columns) == EXPOSURE_COLUMNS
    assert (table["n_heard"] == 14).all() and (table["n_unheard"] == 10).all()
    assert table["accuracy_unheard"].tolist() == [2 / 10, 5 / 10, 1.0]  # over clips, not 1/8 as over folds
    assert table["accuracy_heard"].tolist() == [1.0, 7 / 14, 1.0]
    assert table["accuracy_unheard"].between(table["low_unheard"], table["high_unheard"]).all()


def test_clean_rounds_are_those_that_test_on_no_clip_that_was_met(found):
    table = exposure_table(found, n_resamples=50)
    assert (table["n_clean_folds"] == 1).all() and table["accuracy_clean"].tolist() == [0.25, 0.5, 1.0]


def test_the_advantage_is_what_met_clips_are_better_by_beyond_those_that_hear_sound(found):
    table = exposure_table(found, n_resamples=500)
    assert table.loc[CODES, "advantage"] == pytest.approx(0.8 - 0.0)
    assert 0.2 < table.loc[CODES, "low_advantage"] < 0.8 < table.loc[CODES, "high_advantage"] <= 1.3
    assert table.loc[[SOUND, TOO], "advantage"].isna().all()
    alone = answers({CODES: {1: [1] * 8, 2: [1] * 8, 3: [0] * 8}}, {CODES: "bundled"})
    row = exposure_table(alone, n_resamples=20).loc[CODES]
    assert np.isnan(row["advantage"]) and row["accuracy_unheard"] == 1.0


def test_easier_clips_are_no_advantage():
    easy = {1: [0] * 8, 2: [1] * 6 + [0] * 2, 3: [1] * 8}
    table = exposure_table(answers({CODES: easy, SOUND: easy}, {CODES: "b", SOUND: "none"}), n_resamples=100)
    row = table.loc[CODES]
    assert row["accuracy_heard"] == 1 and row["accuracy_unheard"] == 0
    assert row["advantage"] == row["low_advantage"] == row["high_advantage"] == 0


def test_nothing_is_said_without_codes_or_where_nothing_is_known():
    values = {1: [1] * 8, 2: [0] * 8, 3: [0] * 8}
    without = answers({SOUND: values}, {SOUND: "none"})
    in_part = {1: [0] * 8, 2: [0] * 8, 3: [np.nan] * 8}
    unknown = answers({CODES: values, SOUND: values}, {CODES: "x", SOUND: "none"}, in_part)
    assert exposure_table(without).isna().all(axis=None) and exposure_table(unknown).isna().all(axis=None)
    assert findings_exposure(summary_table(without, n_resamples=10)) == ""
    assert "(x) was trained on is not known" in findings_exposure(summary_table(unknown, n_resamples=10))


def test_a_codec_that_has_met_every_clip_or_none():
    values = {1: [1] * 8, 2: [0] * 8, 3: [0] * 8}
    for value, words in ((1, "No test clip is left"), (0, "has met none of the test clips")):
        met = {fold: [value] * 8 for fold in MET}
        summary = summary_table(answers({CODES: values}, {CODES: "b"}, met), n_resamples=10)
        assert words in findings_exposure(summary)
        assert (summary["n_clean_folds"] == (0 if value else 3)).all()


def test_the_sentences_count_what_was_met_and_set_codes_beside_sound(found):
    summary = summary_table(found, n_resamples=200)
    text = findings_exposure(summary)
    assert "has met 14 of the 24 test clips; in 1 of 3 rounds it has met none." in text
    assert "*codes* names 20.0% (" in text and "100.0% of those met; *too*, which hears no codes, 100.0% (" in text
    assert "having met a clip goes with a better result: 80.0 points (" in text
    even = summary.assign(low_advantage=-0.1)
    assert "having met a clip makes no clear difference: 80.0" in findings_exposure(even)
