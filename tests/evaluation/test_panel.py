"""A run judged by listeners: who may judge, which tables this makes, other training seeds, and the notebook."""

from dataclasses import replace
from functools import partial
from inspect import signature
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from fakes.codecs import noise, tone
from fakes.evaluations import class_training, class_truth, distances
from fakes.listened import SteadyCodec, make_listened_run
from fakes.notebooks import run_cells

from envsound.base.errors import InputError
from envsound.base.files import read_csv, read_json, write_csv
from envsound.evaluation import panel as module
from envsound.evaluation.compare import Report
from envsound.evaluation.controls import SYSTEMS
from envsound.evaluation.listeners.mfcc import train_recogniser
from envsound.evaluation.listeners.network import ListenerConfig
from envsound.evaluation.listeners.training import train_listener
from envsound.evaluation.memorisation import COPIED, THROUGH_CODEC
from envsound.evaluation.panel import (
    MAY_SELECT,
    REPORTS,
    ROLES,
    SAME,
    SPREAD,
    Panel,
    Selectors,
    evaluate_by_listeners,
    judge_run,
    numbers_of,
    read_selectors,
    seeds_table,
    train_panel,
)
from envsound.evaluation.sides import gather_sides
from envsound.evaluation.spaces.embeddings import NotRun, StatisticsEmbedding
from envsound.run.publish import LISTENERS
from envsound.run.record import read_settings

ROOT = Path(__file__).parents[2]
KEY = ("kad", "cnn")
SVM = "MFCC and SVM"
EPOCHS = 6  # of the network
SHAPE = ListenerConfig(n_mels=32, widths=(8, 16, 16), embedding_dim=12)


def stand_in(patch: pytest.MonkeyPatch) -> None:
    """Any run's codec is the steady one, and no network trained elsewhere is here."""
    patch.chdir(ROOT)
    for name in ("copies", "sides"):
        patch.setattr(f"envsound.evaluation.{name}.load_codec", lambda *_: SteadyCodec())
    patch.setattr(module, "pretrained_embeddings", lambda *_: [NotRun("AST", "no weights")])


@pytest.fixture(autouse=True)
def here(monkeypatch):
    stand_in(monkeypatch)


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """A run, its sides, the panel and the report."""
    folder = tmp_path_factory.mktemp("judged")
    run, more = (make_listened_run(folder / f"run{seed}", seed=seed) for seed in (0, 1))
    with pytest.MonkeyPatch.context() as patch:
        stand_in(patch)
        small = partial(train_listener, config=SHAPE)
        patch.setattr("envsound.evaluation.listeners.training.train_listener", small)
        sides = gather_sides(run, device="cpu")
        panel = train_panel(sides, EPOCHS, 1, 0, "", "", "cpu", folder / "listeners", folder / "embeddings")
        report = evaluate_by_listeners(sides, panel, more_runs=[more])
    return run, sides, panel, report


def test_who_chose_among_candidates_is_read_and_has_a_note(judged, tmp_path):
    samples = read_csv(judged[0] / "samples.csv")
    write_csv(tmp_path / "samples.csv", samples.assign(score=["a", *[None] * (len(samples) - 1)]))
    selectors = read_selectors(tmp_path, ["d"])
    assert selectors == Selectors(frozenset("ad"))
    same, other = (SimpleNamespace(content_hash=name) for name in "ab")
    assert selectors.note(same) == SAME and selectors.note(other) == selectors.note(SimpleNamespace()) == ""
    assert selectors.note(same, is_trained_anew=True) == Selectors().note(same) == ""


def test_the_hash_of_a_recogniser_follows_its_training_clips_and_classes():
    clips, names = [noise(4000), tone(4000, 300), noise(4000, seed=2), tone(4000, 500)], ["noise", "tone"] * 2
    first, again = (train_recogniser(clips, names, 16_000) for _ in range(2))
    others = train_recogniser([*clips[:3], tone(4000, 700)], names, 16_000)
    renamed = train_recogniser(clips, [f"a {name}" for name in names], 16_000)
    assert first.content_hash == again.content_hash and first.kind == SVM
    assert len({one.content_hash for one in (first, others, renamed)}) == 3


def test_no_network_that_chose_may_report(judged):
    _, sides, panel, report = judged
    for reporter in (panel.classifiers["cnn"], panel.embeddings[0]):
        with pytest.raises(InputError, match="selected the model"):
            evaluate_by_listeners(sides, panel, selected_by=[reporter.content_hash])
    assert (report["class_truth"]["note"] == "").all() and report.facts["selected_by"] == []


def test_every_system_is_in_every_table(judged, tmp_path):
    _, sides, panel, report = judged
    report.write(tmp_path)
    assert {f"{name}.csv" for name in report.tables} == {path.name for path in tmp_path.iterdir()} == set(LISTENERS)
    tables = {name: read_csv(tmp_path / f"{name}.csv") for name in report.tables}
    assert list(sides.by_system) == list(SYSTEMS)
    whole = tables["distances"]
    assert set(whole["side"]) == set(SYSTEMS) - {"real"} | {""} and set(whole["category"]) == {""}
    assert whole["embedding"].str.split(",").str[0].unique().tolist() == ["statistics", "cnn", "AST"]
    assert whole["note"].iloc[-1] == "not run here: no weights"
    assert set(tables["distances_by_class"]["category"]) == {"dog", "rain"}
    assert set(tables["class_truth"]["side"]) == set(SYSTEMS)
    assert set(tables["memorisation"]["side"]) == {"generated", THROUGH_CODEC, COPIED, ""}
    assert set(tables["nearest"]["side"]) == {"real", "generated", THROUGH_CODEC, COPIED}
    kad = whole[whole["embedding"].str.startswith("statistics")].set_index("side")["kad"]  # nothing is learnt
    assert max(kad["generated"], kad["real_other"]) < min(kad["shuffled"], kad["unigram"])
    copies = report["nearest"].query("side == @THROUGH_CODEC and space == 'log-mel'")
    assert set(copies["clip"]) == {f"copy of {source.name}" for source in sides.training} and len(copies) == 24
    facts = report.facts
    assert (facts["floor_fold"], facts["taught_folds"], facts["n_taught"], facts["n_training"]) == (3, [2], 12, 24)
    assert facts["n_clips"]["copy"] == 2 and facts["not_run_here"] == {"AST": "no weights"}
    assert facts["cnn_hash"] == panel.classifiers["cnn"].content_hash and facts["training_seeds"] == [0, 1]


def test_both_listeners_are_asked_and_one_alone_reports(judged):
    _, sides, _, report = judged
    truth, table = report["class_truth"], report["class_training"]
    assert truth.groupby("classifier")["role"].unique().str[0].to_dict() == ROLES
    assert sorted(ROLES.values()) == [MAY_SELECT, REPORTS] and ROLES["cnn"] == REPORTS
    svm = truth[(truth["classifier"] == "mfcc_svm") & (truth["category"] == "")].set_index("side")["accuracy"]
    assert svm["real"] == svm["generated"] == 1 > svm["noise"]
    assert len(sides.by_system["copy"]) == 12 and len(sides.distinct["copy"]) == 2  # a repeated clip is heard once
    counts = report["confusion"].groupby(["side", "classifier"])["n"].sum()
    assert counts["generated", "cnn"] == counts["real", "mfcc_svm"] == 12 and counts["copy", "cnn"] == 2
    rows, networks = (table[table["classifier"] == name].set_index("mix") for name in ("mfcc_svm", "cnn"))
    assert rows["n_training"].tolist() == [12, 24, 12, 12, 12, 36] and set(networks["n_training"]) == {12}
    assert rows.loc["generated", "accuracy"] == rows.loc["all real", "accuracy"] == 1 and set(rows["n"]) == {12}


@pytest.fixture(scope="module")
def svm_alone(judged):
    """The sides of the run, a panel without a network, and what it says of the run itself."""
    sides = judged[1]
    names, clips = ([one.category for one in sides.taught], [one.load(sides.sample_rate) for one in sides.taught])
    heard = train_recogniser(clips, names, sides.sample_rate)
    embeddings = [StatisticsEmbedding(), NotRun("AST", "no weights")]
    alone = Panel({"svm": heard}, embeddings, {"svm": train_recogniser})
    return sides, alone, judge_run(sides.run, sides, alone)


def test_numbers_are_those_of_the_systems_own_rows():
    rows = [class_training(), class_training().assign(accuracy=0.625), class_training().assign(mix="real")]
    found = numbers_of(distances(), class_truth(), pd.concat(rows))
    assert found["kad", "cnn, 2 components"] == 3 and found["fad_infinity", "cnn, 2 components"] == 27
    assert found["accuracy", "cnn"] == 0.5 and found["accuracy_taught", "cnn"] == 0.5  # the mean over its seeds
    assert not any(judge == "AST" for _, judge in found)


def test_a_further_training_seed_is_judged_as_the_first_is_and_no_other_run(judged, tmp_path):
    run, sides, panel, report = judged
    seeds = report["listener_seeds"]
    assert {*seeds["quantity"]} == {"kad", "precision", "recall", "accuracy", "accuracy_taught"}  # few clips: no FAD
    assert set(seeds["n_runs"]) == {2} and (seeds["seed_0"] != seeds["seed_1"]).any()
    again = judge_run(read_settings(run), sides, panel)
    values = seeds.set_index(["quantity", "judge"])["seed_0"]
    assert {key: pytest.approx(value) for key, value in values.items()} == again
    truth = report["class_truth"].set_index(["side", "classifier", "category"])["accuracy"]
    assert values["accuracy", "cnn"] == truth["generated", "cnn", ""]
    training = report["class_training"].set_index(["mix", "classifier"])["accuracy"]
    assert values["accuracy_taught", "cnn"] == training["generated", "cnn"]
    rows = report["distances"][report["distances"]["side"] == "generated"].set_index("embedding")["kad"]
    assert values["kad"].to_dict() == rows.to_dict()
    other = make_listened_run(tmp_path / "run", seed=1, preset="other")
    with pytest.raises(InputError, match=r"more_runs: .* has preset 'other'"):
        evaluate_by_listeners(sides, panel, more_runs=[other])


def test_every_run_is_judged_by_its_own_clips_and_what_it_cannot_say_is_left_open(svm_alone, tmp_path):
    sides, panel, own = svm_alone
    assert own["accuracy", "svm"] == own["accuracy_taught", "svm"] == 1 and own["kad", "statistics"] < 5
    exchanged = read_csv(sides.run.folder / "samples.csv")["category"].tolist()[::-1]
    run, found = make_listened_run(tmp_path / "other"), []
    labels = (exchanged, "", ["dog"] * 7 + ["rain"] * 5)  # of the same sounds
    for names in labels:
        write_csv(run / "samples.csv", read_csv(run / "samples.csv").assign(category=names))
        found.append(judge_run(replace(sides.run, folder=run), sides, panel))
    other, untold, few = found
    assert other["accuracy", "svm"] == other["accuracy_taught", "svm"] == 0 and set(own) == set(other)
    assert {quantity for quantity, _ in untold} == {"kad", "precision", "recall"}
    assert ("accuracy", "svm") in few and ("accuracy_taught", "svm") not in few
    table = seeds_table({0: own, 1: untold}).set_index("quantity")
    assert table.loc["accuracy", "n_runs"] == 1 and np.isnan(table.loc["accuracy", "sd"])


def test_the_spread_is_that_of_the_runs_that_know_a_number():
    table = seeds_table({3: {KEY: 1.0, ("recall", "cnn"): 0.5}, 5: {KEY: 4.0}, 9: {KEY: 1.0, ("fad", "x"): 2.0}})
    assert list(table.columns) == ["quantity", "judge", "seed_3", "seed_5", "seed_9", *SPREAD]
    assert table.iloc[0].tolist() == ["kad", "cnn", 1, 4, 1, 2, pytest.approx(np.sqrt(3)), 1, 4, 3]
    assert table.iloc[1, 2:].tolist() == pytest.approx([0.5, np.nan, np.nan, 0.5, np.nan, 0.5, 0.5, 1], nan_ok=True)
    assert len(table) == 2


def run_notebook(run: Path, folder: Path, **changed) -> None:
    """Execute notebook 17; caches are in `folder`, and no picture is drawn."""
    places = {"listener_dir": folder / "listeners", "embedding_dir": folder / "embeddings"}
    given = {"run_dir": str(run), "listener_epochs": EPOCHS, "mix_epochs": 1, "n_pairs": 1, "device": "cpu"}
    given |= {"train_panel": partial(train_panel, **places), "show_figure": lambda _: None}
    run_cells(ROOT / "notebooks" / "evaluation" / "17_evaluate_by_listeners.ipynb", given | changed)


def test_the_notebook_runs_on_a_finished_run_and_trains_nothing_twice(judged, monkeypatch):
    run, _, _, report = judged
    asked, drawn = [], []

    def never(*_, **__):
        raise AssertionError("again")

    def evaluate(sides, panel, **given):
        asked.append(signature(evaluate_by_listeners).bind(sides, panel, **given).arguments["more_runs"])
        return report

    monkeypatch.setattr("envsound.evaluation.listeners.training.train_listener", never)
    monkeypatch.setattr("envsound.evaluation.spaces.embeddings.StatisticsEmbedding.embed", never)
    stubs = {"evaluate_by_listeners": evaluate, "save_figure": lambda _, *place: drawn.append(place)}
    run_notebook(run, run.parent, more_runs=[str(run.parent / "run1")], **stubs)
    assert asked == [[str(run.parent / "run1")]] and all((run / f"{name}.csv").is_file() for name in report.tables)
    assert drawn == [(run / "figures", f"listener_{name}") for name in ("distances", "confusion", "nearest")]
    written = read_json(run / "provenance" / "17_evaluate_by_listeners.json")
    assert written["parameters"]["mix_epochs"] == 1 and written["facts"]["roles"] == ROLES
    assert written["facts"]["training_seeds"] == [0, 1] and written["facts"]["runs_left_out"] == []
    assert written["facts"]["copies"] == {} and not (run / "copies.csv").exists()  # its codes are no patches
    assert len(list((run / "nearest_pairs").glob("*.wav"))) == 6


def test_a_control_that_passes_for_new_stops_the_notebook_before_it_writes(judged, tmp_path):
    run = make_listened_run(tmp_path / "run")
    blind = Report({"memorisation": judged[3]["memorisation"].assign(copies_found=False)})
    stubs = {"train_panel": lambda *_: None, "evaluate_by_listeners": lambda *_, **__: blind}
    with pytest.raises(InputError, match="copies of training clips were not found out in log-mel"):
        run_notebook(run, tmp_path, **stubs)
    assert not [*run.rglob("memorisation.csv"), *run.rglob("17_evaluate_by_listeners.json")]
