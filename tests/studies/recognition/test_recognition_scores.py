"""Scoring every recogniser on every fold: once, kept with what made it, and in tables that say what happened."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes.recognition import Knower, codec_that_met, made_up_clips

from envsound.base.errors import InputError
from envsound.studies.recognition.names import clip_names, source_of
from envsound.studies.recognition.rounds import cross_validation
from envsound.studies.recognition.scores import CLIP_COLUMNS, FOLD_COLUMNS, recognise

ROUNDS = cross_validation(made_up_clips(2, 3))


def test_a_row_for_every_recogniser_fold_and_seed(tmp_path):
    found = recognise([Knower(), Knower("half", 0.5)], ROUNDS, tmp_path, seeds=(0, 1))
    assert list(found.folds.columns) == FOLD_COLUMNS and list(found.clips.columns) == CLIP_COLUMNS
    assert found.names == ["knower", "half"] and len(found.folds) == 2 * 3 * 2
    assert found.folds.groupby("recogniser")["accuracy"].unique().map(list).to_dict() == {
        "knower": [1.0],
        "half": [0.5],
    }
    assert (found.folds["n_test"] == 6).all() and (found.folds["n_train"] == 6).all()
    assert len(found.clips) == 2 * 2 * 18
    right = found.clips["category"] == found.clips["heard"]
    assert (right == found.clips["is_right"]).all() and found.clips["confidence"].to_numpy() == pytest.approx(0.8)


def test_a_refitted_recogniser_has_learnt_from_the_validation_clips_too(tmp_path):
    folds = recognise([Knower(), Knower("again", refit=True)], ROUNDS, tmp_path).folds.set_index("recogniser")
    assert set(folds.loc["knower", "n_train"]) == {6} and set(folds.loc["knower", "n_train_folds"]) == {1}
    assert set(folds.loc["again", "n_train"]) == {12} and set(folds.loc["again", "n_train_folds"]) == {2}


def test_test_clips_that_the_codec_has_met_are_counted_for_those_who_read_its_codes(tmp_path):
    codec = codec_that_met(tmp_path / "codec", ["2-200-A", "2-211-A", "3-321-A-2"])
    found = recognise([Knower(codec=codec), Knower("sound"), Knower("unknown", codec="other.safetensors")],
                      ROUNDS, tmp_path / "scores")  # fmt: skip
    counts = found.folds.pivot(index="recogniser", columns="fold", values="codec_heard")
    assert counts.loc["knower"].tolist() == [0, 2, 1] and counts.loc["sound"].tolist() == [0, 0, 0]
    assert counts.loc["unknown"].isna().all()
    met = found.clips[(found.clips["recogniser"] == "knower") & (found.clips["codec_heard"] == 1)]
    assert sorted(met["source"]) == ["200", "211", "321"]
    assert found.folds.groupby("recogniser")["codec"].first().to_dict() == {
        "knower": "small", "sound": "none", "unknown": "other"
    }  # fmt: skip


def test_what_is_finished_is_not_done_again(tmp_path):
    first = Knower()
    recognise([first], ROUNDS[:2], tmp_path)
    again = Knower()
    found = recognise([again], ROUNDS, tmp_path)
    assert first.calls == [(1, 0), (2, 0)] and again.calls == [(3, 0)]
    assert found.folds["accuracy"].tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("change", ["settings", "clips", "seed", "validation", "damage"])
def test_what_was_made_from_something_else_is_done_again(tmp_path, change):
    recognise([Knower()], ROUNDS, tmp_path)
    one, rounds, seeds = Knower(), ROUNDS, (0,)
    if change == "settings":
        one = Knower(share=0.5)
    elif change == "clips":
        rounds = cross_validation(replace(made_up_clips(2, 3), categories=["a", "b", "c"]))
    elif change == "seed":
        seeds = (1,)
    elif change == "validation":
        rounds = [replace(each, validation_fold=9) for each in ROUNDS]
    else:
        for file in tmp_path.rglob("*.npz"):
            file.write_bytes(file.read_bytes()[:100])
    recognise([one], rounds, tmp_path, seeds)
    assert len(one.calls) == 3


def test_a_recogniser_that_is_not_here_has_a_reason_and_no_rows(tmp_path):
    found = recognise([Knower(here=False), Knower("other")], ROUNDS, tmp_path)
    assert found.names == ["other"] and set(found.clips["recogniser"]) == {"other"}
    assert [(one.name, one.reason) for one in found.not_run] == [("knower", "its weights are elsewhere")]


def test_scores_that_are_no_probabilities_are_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(Knower, "fit_and_score", lambda *_: np.ones((6, 3)))
    with pytest.raises(InputError, match="knower, fold 1"):
        recognise([Knower()], ROUNDS, tmp_path)
    assert not list(tmp_path.rglob("*.npz"))


@pytest.mark.parametrize(
    ("clip", "source"),
    [("1-100032-A-0", "100032"), ("4-100032-B-41", "100032"), ("100032-3-0-12", "100032"), ("rain_2", "rain_2")],
)
def test_the_recording_a_clip_was_cut_from(clip, source):
    assert source_of(clip) == source


def test_clips_that_are_called_alike_keep_their_folders():
    assert clip_names([Path("a/x.wav"), Path("b/x.wav"), Path("b/y.ogg")]) == ["a/x", "b/x", "y"]
