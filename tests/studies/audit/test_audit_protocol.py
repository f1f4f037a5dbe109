"""Protocols: leaks that are there, choices that help, and trainings that are read in two ways."""

import numpy as np
import pandas as pd
import pytest
import torch
from fakes.audit import PROTOCOL
from hypothesis import given, settings
from hypothesis import strategies as st

from envsound.base.errors import InputError
from envsound.codec.codes import save_codes
from envsound.studies.audit.protocol import (
    COLUMNS,
    COMPARISONS,
    RUN_COLUMNS,
    accuracy_by_epoch,
    audit_protocol,
    code_features,
    findings_protocol,
    random_folds,
    run_protocol,
    shared_sources,
)


def codes_table(tmp_path, n_folds: int = 3, name: str = "{fold}-{source}-A-{target}.wav") -> pd.DataFrame:
    """Codes of two classes; each recording has a code of its own at level 0, in three clips of one fold."""
    rng, rows = np.random.default_rng(0), []
    for fold in range(1, n_folds + 1):
        for target in range(2):
            for take in range(3):
                codes = rng.integers(16, size=(2, 30))
                codes[0, :20] = (fold * 2 + target) % 16
                filename = name.format(fold=fold, source=f"{fold}{target}", target=target)
                file = tmp_path / f"{fold}{target}{take}.safetensors"
                save_codes(file, codes, "abc", 30)
                rows.append({"filename": filename, "fold": fold, "category": "ab"[target], "codes_file": file})
    return pd.DataFrame(rows)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.sampled_from("abc"), max_size=40), st.integers(2, 5), st.integers(0, 9))
def test_random_folds_are_equal_within_each_class(categories, n_folds, seed):
    categories = categories + list("abc") * n_folds
    folds = random_folds(categories, n_folds, seed)
    assert set(folds) == set(range(1, n_folds + 1))
    for category in set(categories):
        counts = np.bincount(folds[np.asarray(categories) == category], minlength=n_folds + 1)[1:]
        assert counts.max() - counts.min() <= 1
    assert (folds == random_folds(categories, n_folds, seed)).all()


def test_random_folds_differ_by_seed_and_need_a_clip_for_each():
    categories = list("ab") * 20
    assert (random_folds(categories, 5, 0) != random_folds(categories, 5, 1)).any()
    with pytest.raises(InputError, match="n_folds=5: expected two or more, and a class with a clip for each"):
        random_folds(list("aabb"), 5, 0)


def test_a_leak_is_counted_over_the_clips_whose_recording_is_known():
    is_test = np.array([True, True, True, False, False])
    assert shared_sources(["1", "2", "", "1", "3"], is_test) == 0.5
    assert np.isnan(shared_sources(["", "", "", "1", "3"], is_test))


def test_features_are_square_roots_of_shares():
    features = code_features([np.array([[0, 0, 0, 1], [2, 2, 2, 2]])], 4)
    assert features.shape == (1, 2, 4) and features[0, 0, 0] == pytest.approx(np.sqrt(0.75)) and features[0, 1, 2] == 1


def test_a_classifier_learns_what_can_be_learnt_and_leaves_the_random_state_alone():
    rng = np.random.default_rng(0)
    classes = np.arange(60) % 2
    features = (rng.standard_normal((60, 4)) + 3 * classes[:, None]).astype(np.float32)
    parts = {"train": np.arange(60) < 40, "test": np.arange(60) >= 40}
    state = torch.random.get_rng_state()
    first = accuracy_by_epoch(features, classes, parts, PROTOCOL, seed=1)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert first["test"].shape == (PROTOCOL.n_epochs,) and first["test"][-1] > 0.8
    again = accuracy_by_epoch(features, classes, parts, PROTOCOL, seed=1)
    assert (first["test"] == again["test"]).all()


def test_one_training_is_read_in_two_ways(tmp_path, monkeypatch):
    fake = {"validation": np.array([0.1, 0.6, 0.6]), "test": np.array([0.9, 0.2, 0.5])}
    monkeypatch.setattr("envsound.studies.audit.protocol.accuracy_by_epoch", lambda *given: fake)
    runs = run_protocol(codes_table(tmp_path), PROTOCOL, 16, "recorded clips", "abc")
    assert list(runs.columns) == RUN_COLUMNS and len(runs) == 2 * 2 * 3 * 2  # splits, inputs, folds, seeds
    assert set(runs["on_test"]) == {0.9} and set(runs["on_validation"]) == {0.2}
    assert set(runs["epoch_on_validation"]) == {2} and set(runs["epoch_on_test"]) == {1}
    table = audit_protocol(runs, n_resamples=20).set_index("comparison")
    assert table.loc["epoch, all levels", "difference"] == pytest.approx(0.7)
    assert table.loc["random folds", "difference"] == 0 and set(table["n_test"]) == {18}


def test_folds_share_no_recording_and_random_ones_do(tmp_path):
    runs = run_protocol(codes_table(tmp_path), PROTOCOL, 16, "recorded clips", "abc")
    shared = runs.groupby("split")["shared_sources"].mean()
    assert shared["official"] == 0 and shared["random"] > 0.3
    assert (runs["on_test"] >= runs["on_validation"]).all() and (runs["n_train"] == 6).all()
    table = audit_protocol(runs, n_resamples=20)
    assert list(table.columns) == COLUMNS and list(table["comparison"]) == list(COMPARISONS)
    assert (table["low"] <= table["difference"] + 1e-9).all() and (table["difference"] <= table["high"] + 1e-9).all()
    text = findings_protocol(table)
    assert "3 folds and 2 seeds" in text and "clip of the same recording outside the test" in text


def test_the_test_fold_is_in_neither_of_the_other_parts(tmp_path, monkeypatch):
    seen = []

    def note(features, classes, parts, plan, seed):
        seen.append(parts)
        return {"validation": np.zeros(1), "test": np.zeros(1)}

    monkeypatch.setattr("envsound.studies.audit.protocol.accuracy_by_epoch", note)
    run_protocol(codes_table(tmp_path), PROTOCOL, 16, "x", "abc")
    for parts in seen:
        assert (parts["test"].astype(int) + parts["validation"] + parts["train"] == 1).all()
        assert all(part.any() for part in parts.values())


@pytest.mark.parametrize("name", ["clip{fold}{target}.wav", "{fold}-s{source}x4-A-{target}.wav"])
def test_names_without_a_recording_leave_random_folds_out(tmp_path, name):
    runs = run_protocol(codes_table(tmp_path, name=name), PROTOCOL, 16, "x", "abc")  # the second: as of synthetic clips
    assert set(runs["split"]) == {"official"}
    assert "not run here" in findings_protocol(audit_protocol(runs, n_resamples=20))


def test_two_folds_are_too_few(tmp_path):
    with pytest.raises(InputError, match="2 folds, 2 classes; expected at least three"):
        run_protocol(codes_table(tmp_path, n_folds=2), PROTOCOL, 16, "x", "abc")
