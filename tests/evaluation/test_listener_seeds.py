"""What listeners say over training seeds: every number from the tables, every run's own clips, and the spread."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fakes.evaluations import class_training, class_truth, distances
from fakes.listened import SteadyCodec, make_listened_run

from envsound.base.files import read_csv, write_csv
from envsound.evaluation.compare import run_sides
from envsound.evaluation.run_sides import gather_sides
from envsound.evaluation.seeds import SPREAD, Judges, findings_seeds, judge_run, numbers_of, seeds_table
from envsound.evaluation.sides import from_recordings
from envsound.evaluation.spaces.embeddings import NotRun, StatisticsEmbedding
from envsound.evaluation.truth import Mix, recogniser_trainer
from envsound.run.record import read_settings

KEY = ("kad", "cnn")


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("seeds")


@pytest.fixture(scope="module")
def first(place):
    """The sides of a run and its judges: no network among them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_sides, "load_codec", lambda *_: SteadyCodec())
        sides = gather_sides(make_listened_run(place / "run"), device="cpu")
    svm, names = recogniser_trainer(), [source.category for source in sides.taught]
    heard = svm([source.load(sides.sample_rate) for source in sides.taught], names, sides.sample_rate, 0)
    embeddings = [StatisticsEmbedding(), NotRun("AST", "no weights")]
    return sides, Judges(embeddings, {"svm": heard}, {"svm": svm}, Mix("generated", {"generated": 6}))


def changed(place: Path, name: str, **columns) -> Path:
    """Another run with the same sounds, of which samples.csv says something else."""
    run = make_listened_run(place / name, seed=1)
    write_csv(run / "samples.csv", read_csv(run / "samples.csv").assign(**columns))
    return run


def test_numbers_are_those_of_the_systems_own_rows():
    training = pd.concat(
        [class_training(), class_training().assign(accuracy=0.625), class_training().assign(mix="real")]
    )
    found = numbers_of(distances(), class_truth(), training)
    assert found["kad", "cnn, 2 components"] == 3 and found["fad_infinity", "cnn, 2 components"] == 27
    assert found["accuracy", "cnn"] == 0.5 and found["accuracy_taught", "cnn"] == 0.5  # the mean over its seeds
    assert not any(judge == "AST" for _, judge in found)
    assert numbers_of(distances(), class_truth(), training, "codec")["kad", "cnn, 2 components"] == 2


def test_every_run_is_judged_by_its_own_clips(first, place):
    sides, judges = first
    own = judge_run(sides.run, sides, judges)
    assert own["accuracy", "svm"] == own["accuracy_taught", "svm"] == 1 and own["kad", "statistics"] < 5
    exchanged = read_csv(sides.run.folder / "samples.csv")["category"].tolist()[::-1]
    other = judge_run(read_settings(changed(place, "exchanged", category=exchanged)), sides, judges)
    assert other["accuracy", "svm"] == other["accuracy_taught", "svm"] == 0
    assert set(own) == set(other)


def test_what_a_run_cannot_say_is_left_open(first, place):
    sides, judges = first
    untold = judge_run(read_settings(changed(place, "untold", category="")), sides, judges)
    few = judge_run(read_settings(changed(place, "few", category=["dog"] * 7 + ["rain"] * 5)), sides, judges)
    none = judge_run(sides.run, sides, replace(judges, mix=None))
    assert {quantity for quantity, _ in untold} == {"kad", "precision", "recall"}
    for numbers in (few, none):
        assert ("accuracy", "svm") in numbers and ("accuracy_taught", "svm") not in numbers
    table = seeds_table({0: judge_run(sides.run, sides, judges), 1: untold}).set_index("quantity")
    assert table.loc["accuracy", "n_runs"] == 1 and np.isnan(table.loc["accuracy", "sd"])


def test_the_judges_of_all_runs_hear_the_same_real_clips(first):
    sides, judges = first
    table = read_csv(sides.run.folder / "codes.csv")
    louder = replace(sides, by_system=sides.by_system | {"real": from_recordings(table[table["fold"] == 2])})
    own, other = (judge_run(sides.run, part, judges) for part in (sides, louder))
    assert own["kad", "statistics"] != other["kad", "statistics"] and own["accuracy", "svm"] == other["accuracy", "svm"]


def test_the_spread_is_that_of_the_runs_that_know_a_number():
    table = seeds_table({3: {KEY: 1.0, ("recall", "cnn"): 0.5}, 5: {KEY: 4.0}, 9: {KEY: 1.0, ("fad", "x"): 2.0}})
    assert list(table.columns) == ["quantity", "judge", "seed_3", "seed_5", "seed_9", *SPREAD]
    assert table.iloc[0].tolist() == ["kad", "cnn", 1, 4, 1, 2, pytest.approx(np.sqrt(3)), 1, 4, 3]
    assert table.iloc[1, 2:].tolist() == pytest.approx([0.5, np.nan, np.nan, 0.5, np.nan, 0.5, 0.5, 1], nan_ok=True)
    assert len(table) == 2


def test_findings_give_the_spread_or_say_that_there_is_none():
    table = seeds_table(
        {0: {KEY: 1.0, ("accuracy", "cnn"): 0.4, ("fad", "cnn"): 3}, 1: {KEY: 2.0, ("accuracy", "cnn"): 0.5}}
    )
    text = findings_seeds(table, ["fold1_seed2: not finished"])
    assert "- KAD, cnn: **1.50** on average over 2 training seeds, standard deviation 0.71, 1.00 to 2.00" in text
    assert "- generated clips heard as asked, cnn: **45%**" in text and "FAD" not in text
    assert text.startswith("- left out: fold1_seed2: not finished\n")
    assert "- With one training seed" in findings_seeds(seeds_table({0: {KEY: 1.0}}))
