"""Protocols: leaks that are there, choices that help, and trainings that are read in two ways."""

import numpy as np
import pytest
import torch
from fakes.audit import SIZE, codes_table
from hypothesis import given, settings
from hypothesis import strategies as st

from envsound.base.errors import InputError
from envsound.studies.audit import protocol
from envsound.studies.audit.protocol import ProtocolPlan, accuracy_by_epoch, audit_protocol, random_folds, run_protocol

PLAN = ProtocolPlan(n_epochs=3, seeds=(0, 1), hidden=8)


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
    assert (random_folds(list("ab") * 20, 5, seed) != random_folds(list("ab") * 20, 5, seed + 1)).any()


def test_leaks_are_counted_where_the_recording_is_known_and_features_are_square_roots_of_shares():
    is_test = np.array([True, True, True, False, False])
    assert protocol.shared_sources(["1", "2", "", "1", "3"], is_test) == 0.5
    assert np.isnan(protocol.shared_sources(["", "", "", "1", "3"], is_test))
    features = protocol.code_features([np.array([[0, 0, 0, 1], [2, 2, 2, 2]])], 4)
    assert features.shape == (1, 2, 4) and features[0, 0, 0] == pytest.approx(np.sqrt(0.75)) and features[0, 1, 2] == 1


def test_a_classifier_learns_what_can_be_learnt_and_leaves_the_random_state_alone():
    rng = np.random.default_rng(0)
    classes = np.arange(60) % 2
    features = (rng.standard_normal((60, 4)) + 3 * classes[:, None]).astype(np.float32)
    parts = {"train": np.arange(60) < 40, "test": np.arange(60) >= 40}
    state = torch.random.get_rng_state()
    first = accuracy_by_epoch(features, classes, parts, PLAN, seed=1)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert first["test"].shape == (PLAN.n_epochs,) and first["test"][-1] > 0.8
    assert (first["test"] == accuracy_by_epoch(features, classes, parts, PLAN, seed=1)["test"]).all()


def test_one_training_is_read_in_two_ways_and_its_parts_share_no_clip(tmp_path, monkeypatch):
    seen = []

    def fake(features, classes, parts, plan, seed):
        seen.append(parts)
        return {"validation": np.array([0.1, 0.6, 0.6]), "test": np.array([0.9, 0.2, 0.5])}

    monkeypatch.setattr(protocol, "accuracy_by_epoch", fake)
    runs = run_protocol(codes_table(tmp_path), PLAN, SIZE, "recorded clips", "abc")
    assert list(runs.columns) == protocol.RUN_COLUMNS and len(runs) == 2 * 2 * 3 * 2  # splits, inputs, folds, seeds
    assert set(runs["on_test"]) == {0.9} and set(runs["on_validation"]) == {0.2}
    assert set(runs["epoch_on_validation"]) == {2} and set(runs["epoch_on_test"]) == {1}
    for parts in seen:
        assert (parts["test"].astype(int) + parts["validation"] + parts["train"] == 1).all()
        assert all(part.any() for part in parts.values())
    table = audit_protocol(runs, n_resamples=20).set_index("comparison")
    assert table.loc["epoch, all levels", "difference"] == pytest.approx(0.7)
    assert table.loc["random folds", "difference"] == 0 and set(table["n_test"]) == {18}


def test_official_folds_share_no_recording_and_random_ones_do(tmp_path):
    runs = run_protocol(codes_table(tmp_path), PLAN, SIZE, "recorded clips", "abc")
    shared = runs.groupby("split")["shared_sources"].mean()
    assert shared["official"] == 0 and shared["random"] > 0.3
    assert (runs["on_test"] >= runs["on_validation"]).all() and (runs["n_train"] == 6).all()
    table = audit_protocol(runs, n_resamples=20)
    assert list(table.columns) == protocol.COLUMNS and list(table["comparison"]) == list(protocol.COMPARISONS)
    assert (table["low"] <= table["difference"] + 1e-9).all() and (table["difference"] <= table["high"] + 1e-9).all()


@pytest.mark.parametrize("name", ["clip{fold}{target}.wav", "{fold}-s{source}x4-A-{target}.wav"])
def test_names_without_a_recording_leave_random_folds_out(tmp_path, name):
    runs = run_protocol(codes_table(tmp_path, name=name), ProtocolPlan(1, (0,), 4), SIZE, "x", "abc")
    assert set(runs["split"]) == {"official"}
    assert not audit_protocol(runs, n_resamples=20)["comparison"].str.startswith("random").any()


def test_two_folds_or_no_epoch_are_too_few(tmp_path):
    with pytest.raises(InputError, match="2 folds, 2 classes; expected at least three"):
        run_protocol(codes_table(tmp_path, n_folds=2), PLAN, SIZE, "x", "abc")
    with pytest.raises(InputError, match="n_folds=5: expected two or more, and a class with a clip for each"):
        random_folds(list("aabb"), 5, 0)
    with pytest.raises(InputError, match="n_epochs"):
        ProtocolPlan(n_epochs=0)
