"""A run judged by listeners: who may learn from what, which tables this makes, and the notebook that shows them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fakes.listened import SteadyCodec, make_listened_run

from envsound.base.errors import InputError
from envsound.base.files import read_csv, read_json, write_json
from envsound.evaluation.compare import panel, run_sides
from envsound.evaluation.controls import SYSTEMS
from envsound.evaluation.memorisation import COPIED, THROUGH_CODEC, Memorisation, check_control
from envsound.evaluation.nearest_pairs import write_nearest_pairs
from envsound.evaluation.panel import MAY_SELECT, REPORTS, ROLES, TABLES, evaluate_by_listeners, mixes_of, train_panel
from envsound.evaluation.run_sides import gather_sides, remembered
from envsound.evaluation.selectors import STEP
from envsound.evaluation.sides import Source
from envsound.evaluation.spaces.embeddings import NotRun
from envsound.run.publish import LISTENERS

ROOT = Path(__file__).parents[2]


def stand_in(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(run_sides, "load_codec", lambda *_: SteadyCodec())
    patch.setattr(panel, "pretrained_embeddings", lambda *_: [NotRun("AST", "no weights")])


@pytest.fixture(autouse=True)
def here(monkeypatch):
    """Any run's codec is the steady one, and the repository is the working directory."""
    monkeypatch.chdir(ROOT)
    stand_in(monkeypatch)


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """A run, its sides, the panel and the report."""
    folder = tmp_path_factory.mktemp("judged")
    run = make_listened_run(folder / "run")
    with pytest.MonkeyPatch.context() as patch:
        stand_in(patch)
        sides = gather_sides(run, device="cpu")
        caches = {"listener_dir": folder / "listeners"}
        panel = train_panel(sides, 8, device="cpu", embedding_dir=folder / "embeddings", **caches)
        more = [make_listened_run(folder / "run1", seed=1)]
        report = evaluate_by_listeners(sides, panel, 1, device="cpu", more_runs=more, **caches)
    return run, sides, panel, report


# Who is compared, and who teaches


def test_no_listener_learns_from_the_floor_or_from_held_out_clips(judged):
    _, sides, _, _ = judged
    assert list(sides.by_system) == list(SYSTEMS) and sides.floor_fold == 3
    assert {source.fold for source in sides.taught} == {2} and {source.fold for source in sides.training} == {2, 3}
    assert {source.fold for source in sides.by_system["real_other"]} == {3}
    assert {source.fold for source in sides.by_system["real"]} == {1}


def test_a_clip_that_is_repeated_is_heard_once(judged):
    _, sides, _, report = judged
    assert len(sides.by_system["copy"]) == 12 and len(sides.distinct["copy"]) == 2
    truth = report.class_truth.set_index(["side", "classifier", "category"])["n"]
    assert truth["copy", "cnn", ""] == 2 and truth["generated", "cnn", ""] == 12


@pytest.mark.parametrize(
    ("trained", "asked", "floor", "taught"),
    [({}, 2, 2, {3, 4}), ({"validation_fold": 2}, 0, 2, {3, 4}), ({"validation_fold": 2}, 3, 3, {4})],
)
def test_the_floor_is_the_validation_fold_or_the_one_asked_for(tmp_path, trained, asked, floor, taught):
    run = make_listened_run(tmp_path / "run", n_folds=4, per_class=2, **trained)
    sides = gather_sides(run, floor_fold=asked, device="cpu")
    assert sides.floor_fold == floor and {source.fold for source in sides.taught} == taught
    assert {source.fold for source in sides.by_system["real_other"]} == {floor}


def test_one_training_fold_leaves_no_floor(tmp_path):
    run = make_listened_run(tmp_path / "run", n_folds=2, per_class=2)
    sides = gather_sides(run, device="cpu")
    assert "real_other" not in sides.by_system and sides.floor_fold == 0
    assert {source.fold for source in sides.taught} == {2}
    with pytest.raises(InputError, match=r"floor_fold=1: expected 0 or one of the folds \[2\]"):
        gather_sides(run, floor_fold=1, device="cpu")


def test_a_recording_is_read_once_at_each_rate():
    asked = []
    sources = [Source("a", lambda rate: asked.append(rate) or np.zeros(3), category="dog", fold=2)]
    (kept,) = remembered(sources)
    assert [kept.load(rate).size for rate in (8000, 8000, 16_000, 8000)] == [3] * 4 and asked == [8000, 16_000]
    assert (kept.name, kept.category, kept.fold) == ("a", "dog", 2)


# Tables


def test_every_system_is_in_every_table(judged, tmp_path):
    _, _, _, report = judged
    report.write(tmp_path)
    tables = {name: read_csv(tmp_path / f"{name}.csv") for name in TABLES}
    others = set(SYSTEMS) - {"real"}
    distances = tables["distances"]
    assert set(distances["side"]) == others | {""} and set(distances["category"]) == {""}
    assert distances["embedding"].str.split(",").str[0].unique().tolist() == ["statistics", "cnn", "AST"]
    assert distances["note"].iloc[-1] == "not run here: no weights"
    assert set(tables["distances_by_class"]["category"]) == {"dog", "rain"}
    assert set(tables["class_truth"]["side"]) == set(SYSTEMS)
    assert set(tables["memorisation"]["side"]) == {"generated", THROUGH_CODEC, COPIED, ""}
    assert set(tables["nearest"]["side"]) == {"real", "generated", THROUGH_CODEC, COPIED}
    assert {f"{name}.csv" for name in TABLES} == set(LISTENERS)


def test_nearer_systems_have_smaller_distances_where_nothing_is_learnt(judged):
    rows = judged[3].distances
    kad = rows[rows["embedding"].str.startswith("statistics")].set_index("side")["kad"]
    assert max(kad["generated"], kad["real_other"]) < min(kad["shuffled"], kad["unigram"])


def test_both_listeners_are_asked_and_one_alone_reports(judged):
    truth = judged[3].class_truth
    assert truth.groupby("classifier")["role"].unique().str[0].to_dict() == ROLES
    assert sorted(ROLES.values()) == [MAY_SELECT, REPORTS] and ROLES["cnn"] == REPORTS
    svm = truth[(truth["classifier"] == "mfcc_svm") & (truth["category"] == "")].set_index("side")["accuracy"]
    assert svm["real"] == svm["generated"] == 1 > svm["noise"]


def test_confusion_counts_every_clip_once(judged):
    counts = judged[3].confusion.groupby(["side", "classifier"])["n"].sum()
    assert counts["generated", "cnn"] == counts["real", "mfcc_svm"] == 12 and counts["copy", "cnn"] == 2


def test_mixes_differ_in_kind_and_have_all_of_both_beside(judged):
    _, sides, _, report = judged
    names = ["real", "all real", "codec", "generated", "half real, half generated", "real and generated"]
    assert [mix.name for mix in mixes_of(sides)] == names
    table = report.class_training
    rows, networks = (table[table["classifier"] == name].set_index("mix") for name in ("mfcc_svm", "cnn"))
    assert list(networks.index) == [name for name in names if rows.loc[name, "n_training"] == 12]
    assert rows["n_training"].to_dict() == dict(zip(names, [12, 24, 12, 12, 12, 36], strict=True))
    assert rows.loc["generated", "accuracy"] == rows.loc["all real", "accuracy"] == 1 and set(rows["n"]) == {12}


def test_a_network_that_chose_the_settings_may_not_report(judged):
    _, sides, panel, _ = judged
    with pytest.raises(InputError, match="listener 'cnn': selected the model"):
        evaluate_by_listeners(sides, panel, 1, selected_by=[panel.cnn.content_hash], device="cpu")


def test_a_listener_whose_kind_judged_the_settings_is_flagged_and_the_record_says_so(judged, tmp_path, monkeypatch):
    _, sides, panel, report = judged
    assert (report.class_truth["note"] == "").all() and report.facts["selected_by"] == {"hashes": [], "kinds": []}
    record = {"steps": {STEP: {"facts": {"selected_by": {panel.classifiers["mfcc_svm"].kind: "of other clips"}}}}}
    write_json(tmp_path / "provenance.json", record)
    moved = replace(sides, run=replace(sides.run, folder=tmp_path))
    trained = report.class_training.drop(columns=["role", "note"])
    measured = Memorisation(report.nearest, report.memorisation)
    for name, known in (
        ("measure_distances", report.distances),
        ("measure_memorisation", measured),
        ("_training_table", trained),
    ):
        monkeypatch.setattr(panel, name, lambda *_, known=known, **__: known)
    flagged = evaluate_by_listeners(moved, panel, 1, device="cpu")
    for table in (flagged.class_truth, flagged.class_training):
        notes = table.groupby("classifier")["note"].unique().str[0]
        assert notes["cnn"] == "" and "another MFCC and SVM judged the decoding settings" in notes["mfcc_svm"]
    pd.testing.assert_frame_equal(flagged.class_truth.drop(columns="note"), report.class_truth.drop(columns="note"))
    assert flagged.facts["selected_by"] == {"hashes": ["of other clips"], "kinds": ["MFCC and SVM"]}


def test_codec_copies_are_as_many_as_there_are_training_clips(judged):
    _, sides, _, report = judged
    rows = report.nearest[(report.nearest["side"] == THROUGH_CODEC) & (report.nearest["space"] == "log-mel")]
    assert set(rows["clip"]) == {f"copy of {source.name}" for source in sides.training} and len(rows) == 24


def test_a_further_training_seed_is_judged_as_the_first_is(judged):
    report = judged[3]
    seeds = report.listener_seeds
    assert report.facts["training_seeds"] == [0, 1] and set(seeds["n_runs"]) == {2}
    assert {*seeds["quantity"]} == {"kad", "precision", "recall", "accuracy", "accuracy_taught"}  # few clips: no FAD
    assert seeds["seed_0"].tolist() == seeds["seed_1"].tolist() and (seeds["sd"] == 0).all()  # their clips are equal
    values = seeds.set_index(["quantity", "judge"])["seed_0"]
    truth = report.class_truth.set_index(["side", "classifier", "category"])["accuracy"]
    assert values["accuracy", "cnn"] == truth["generated", "cnn", ""]
    training = report.class_training.set_index(["mix", "classifier"])["accuracy"]
    assert values["accuracy_taught", "cnn"] == training["generated", "cnn"]
    rows = report.distances[report.distances["side"] == "generated"].set_index("embedding")["kad"]
    assert values["kad"].to_dict() == rows.to_dict()


def test_a_run_that_differs_in_more_than_its_seed_is_no_further_seed(judged, tmp_path):
    other = make_listened_run(tmp_path / "run", seed=1, preset="other")
    with pytest.raises(InputError, match=r"more_runs: .* has preset 'other'"):
        evaluate_by_listeners(*judged[1:3], 1, device="cpu", more_runs=[other])


def test_facts_say_who_learnt_from_what(judged):
    facts = judged[3].facts
    assert (facts["floor_fold"], facts["taught_folds"], facts["n_taught"], facts["n_training"]) == (3, [2], 12, 24)
    assert facts["n_clips"]["copy"] == 2 and facts["not_run_here"] == {"AST": "no weights"}
    assert facts["cnn_hash"] == judged[2].cnn.content_hash


def test_a_model_that_was_not_told_classes_can_teach_none(tmp_path):
    sides = gather_sides(make_listened_run(tmp_path / "run", per_class=2, told=False), device="cpu")
    assert mixes_of(sides) == []


# Copies


def test_copies_are_found_out_and_closest_pairs_written(judged, tmp_path):
    _, sides, _, report = judged
    check_control(report.memorisation)
    (tmp_path / "old.wav").write_bytes(b"")
    pairs = write_nearest_pairs(report.nearest, sides, tmp_path, n_pairs=2)
    assert len(pairs) == 6 and (pairs["side"] == "generated").all() and not (tmp_path / "old.wav").exists()
    assert len(list(tmp_path.glob("*.wav"))) == 12
    assert read_csv(tmp_path / "pairs.csv")["relative"].to_numpy() == pytest.approx(pairs["relative"])
    nearest = report.nearest.query("side == 'generated' and space == 'log-mel'")["relative"]
    assert pairs.query("space == 'log-mel'")["relative"].tolist() == sorted(nearest)[:2]
    with pytest.raises(InputError, match="n_pairs=-1"):
        write_nearest_pairs(report.nearest, sides, tmp_path, -1)


# The notebook


def run_notebook(run: Path, folder: Path, **changed) -> dict:
    """Execute the code cells of notebook 17 as the kernel would, without starting one; caches are in `folder`."""
    cells = json.loads((ROOT / "notebooks" / "evaluation" / "17_evaluate_by_listeners.ipynb").read_text())["cells"]
    scope: dict = {}
    places = {"listener_dir": folder / "listeners"}
    for cell in cells:
        if cell["cell_type"] != "code":
            continue
        exec("".join(cell["source"]), scope)
        if "parameters" in cell["metadata"].get("tags", []):
            scope |= {"run_dir": str(run), "listener_epochs": 8, "mix_epochs": 1, "n_pairs": 1, "device": "cpu"}
            scope["train_panel"] = lambda *a: train_panel(*a, **places, embedding_dir=folder / "embeddings")
            scope["evaluate_by_listeners"] = lambda *a, **k: evaluate_by_listeners(*a, **k, **places)
            scope |= changed
    return scope


def test_the_notebook_runs_on_a_finished_run_and_trains_nothing_twice(judged, monkeypatch):
    run, _, _, report = judged

    def never(*_, **__):
        raise AssertionError("again")

    monkeypatch.setattr("envsound.evaluation.listeners.cache.train_listener", never)
    monkeypatch.setattr("envsound.evaluation.spaces.embeddings.StatisticsEmbedding.embed", never)
    run_notebook(run, run.parent, more_runs=[str(run.parent / "run1")])
    for name in TABLES:
        numbers = getattr(report, name).select_dtypes("number")
        assert read_csv(run / f"{name}.csv")[list(numbers)].to_numpy() == pytest.approx(numbers.to_numpy(), nan_ok=True)
    names = ("listener_distances", "listener_confusion", "listener_nearest")
    assert {path.name for path in (run / "figures").iterdir()} == {f"{n}.{k}" for n in names for k in ("pdf", "png")}
    record = read_json(run / "provenance" / "17_evaluate_by_listeners.json")
    assert record["parameters"]["mix_epochs"] == 1 and record["facts"]["roles"] == ROLES
    assert record["facts"]["training_seeds"] == [0, 1] and record["facts"]["runs_left_out"] == []
    assert record["parameters"]["more_runs"] == [str(run.parent / "run1")]
    assert len(list((run / "nearest_pairs").glob("*.wav"))) == 6


def test_a_control_that_passes_for_new_stops_the_notebook_before_it_writes(judged, tmp_path):
    run = make_listened_run(tmp_path / "run")
    blind = replace(judged[3], memorisation=judged[3].memorisation.assign(copies_found=False))
    with pytest.raises(InputError, match="copies of training clips were not found out in log-mel"):
        run_notebook(run, judged[0].parent, evaluate_by_listeners=lambda *_, **__: blind)
    assert not (run / "memorisation.csv").exists()
    assert not (run / "provenance" / "17_evaluate_by_listeners.json").exists()
