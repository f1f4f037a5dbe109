"""Rounds of cross-validation: official folds, nothing on two sides, and scores that are probabilities."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fakes.recognition import made_up_clips
from hypothesis import given, settings
from hypothesis import strategies as st

from envsound.base.errors import InputError
from envsound.studies.recognition import rounds
from envsound.studies.recognition.rounds import check_scores, clips_of, cross_validation


@given(st.integers(3, 10), st.integers(1, 3))
@settings(max_examples=20, deadline=None)
def test_every_clip_is_tested_once_and_never_seen_before(n_folds, n_per_class):
    clips = made_up_clips(n_per_class, n_folds)
    rounds = cross_validation(clips)
    assert sorted(file for one in rounds for file in one.test.files) == sorted(clips.files)
    for one in rounds:
        parts = [set(part.files) for part in (one.train, one.validation, one.test)]
        assert sum(map(len, parts)) == len(set.union(*parts)) == len(clips)
        assert set(one.train_and_validation.files) == parts[0] | parts[1]
        assert set(one.test.folds) == {one.number} and set(one.validation.folds) == {one.validation_fold}


def test_the_next_fold_in_cyclic_order_chooses():
    found = [(one.number, one.validation_fold) for one in cross_validation(made_up_clips(1, 5), [4, 2, 5])]
    assert found == [(4, 5), (2, 3), (5, 1)]


def test_folds_that_cannot_be_run_are_named():
    with pytest.raises(InputError, match=r"the clips have \[1, 2\]; expected at least 3"):
        cross_validation(made_up_clips(1, 2))
    with pytest.raises(InputError, match=r"there is no fold 6; expected some of \[1, 2, 3\]"):
        cross_validation(made_up_clips(1, 3), [6])
    clips = made_up_clips(1, 4)
    lacking = clips.rows((clips.labels != 2) | (clips.folds < 3))
    with pytest.raises(InputError, match="fold 1: no clip of 'dog' to train on"):
        cross_validation(lacking)


def test_rows_are_chosen_by_mask_and_by_index():
    clips = made_up_clips(2, 3)
    chosen = clips.rows(clips.labels == 1)
    assert len(chosen) == 6 and set(chosen.labels) == {1} and chosen.categories == clips.categories
    assert clips.rows([5, 0]).files == [clips.files[5], clips.files[0]]
    assert len(clips.rows(np.zeros(len(clips), bool))) == len(clips.rows([])) == 0


def test_the_digest_changes_with_codes_labels_and_folds_and_with_no_path():
    clips = made_up_clips(1, 3)
    moved = replace(clips, files=[Path("/elsewhere") / file for file in clips.files])
    assert moved.digest == clips.digest
    changed = {
        "codes_files": [Path("other.safetensors"), *clips.codes_files[1:]],
        "labels": np.roll(clips.labels, 1),
        "folds": np.roll(clips.folds, 1),
        "categories": ["a", "b", "c"],
    }
    digests = {replace(clips, **{name: value}).digest for name, value in changed.items()}
    assert len(digests | {clips.digest}) == 5


def test_parts_of_unequal_length_and_unknown_labels_are_refused():
    clips = made_up_clips(1, 3)
    with pytest.raises(InputError, match=r"lengths \[8, 9\]"):
        replace(clips, files=clips.files[1:])
    with pytest.raises(InputError, match="labels up to 2; expected 0 to 1"):
        replace(clips, categories=["a", "b"])


def test_clips_come_from_the_recordings_of_a_table_of_codes():
    rows = [("b.wav", "2.safetensors", 2, "rain", 0), ("a.wav", "1.safetensors", 1, "dog", 0)]
    rows.append(("a.wav", "3.safetensors", 1, "dog", 1))  # an augmented copy
    clips = clips_of(pd.DataFrame(rows, columns=["path", "codes_file", "fold", "category", "copy"]))
    assert clips.files == [Path("b.wav"), Path("a.wav")] and clips.categories == ["dog", "rain"]
    assert clips.labels.tolist() == [1, 0] and clips.folds.tolist() == [2, 1] and clips.labels.dtype == np.int64
    with pytest.raises(InputError, match="no recordings"):
        clips_of(pd.DataFrame(columns=["path", "codes_file", "fold", "category", "copy"]))


WRONG = [np.full((2, 3), 1 / 3), np.full((3, 3), 0.3), np.array([[1.5, -0.5, 0.0]] * 3), np.full((3, 3), np.nan)]


def test_scores_are_taken_as_they_are_unless_they_are_no_probabilities():
    fold = cross_validation(made_up_clips(1, 3))[0]
    assert check_scores(np.full((3, 3), 1 / 3, dtype=np.float32), fold, "x").dtype == np.float64
    for scores in WRONG:
        with pytest.raises(InputError, match="svm, fold 1: "):
            check_scores(scores, fold, "svm")


def test_features_are_computed_once_and_anew_when_what_they_depend_on_changes(tmp_path, monkeypatch):
    monkeypatch.setattr(rounds, "FEATURES", tmp_path)
    clips, computed = made_up_clips(1, 3, ["a"]), []
    first = clips.features(lambda file, _: computed.append(file) or np.array([len(computed)]), "x", 1)
    assert clips.features(None, "x", 1) == first == [1, 2, 3]
    clips.features(lambda file, _: computed.append(file) or np.zeros(1), "x", 2)
    assert len(computed) == 6
    with pytest.raises(InputError, match=r"\.wav: its y features are not finite"):
        clips.features(lambda *_: np.array([np.nan]), "y")
