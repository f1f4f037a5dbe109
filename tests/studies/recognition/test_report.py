"""The report on recognising sounds: rows from files of settings, scored once, its tables, figures and provenance."""

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from fakes.recognition import Knower, codec_that_met, made_up_clips
from fakes.urbansound8k import urbansound8k

from envsound.base.errors import InputError
from envsound.base.files import read_csv, read_json, write_csv, write_json
from envsound.base.paths import find_root
from envsound.codec import SHIPPED, load_codec
from envsound.codec.codes import encode_recordings, load_codes
from envsound.data.recordings import load_recordings
from envsound.report.style import save_figure
from envsound.run.presets import checked, notebook_parameters
from envsound.studies.recognition import figures, report
from envsound.studies.recognition.page import BENCHMARKS
from envsound.studies.recognition.report import KINDS, recognise, run_report
from envsound.studies.recognition.rounds import Clips, clips_of, cross_validation
from envsound.studies.recognition.tables import CITED, CLIP_COLUMNS, FOLD_COLUMNS, folder_name

ROOT = Path(__file__).parents[3]
ROUNDS = cross_validation(made_up_clips(2, 3))
ROWS = ROOT / report.FOLDER


# Scoring


def test_a_row_for_every_recogniser_fold_and_seed(tmp_path):
    rows = [Knower(), Knower("half", 0.5, refit=True), Knower("absent", here=False)]
    found = recognise(rows, ROUNDS, tmp_path, seeds=(0, 1))
    assert list(found.folds.columns) == FOLD_COLUMNS and list(found.clips.columns) == CLIP_COLUMNS
    assert found.names == ["knower", "half"] and len(found.folds) == 2 * 3 * 2 and len(found.clips) == 2 * 2 * 18
    assert found.not_run == {"absent": "its weights are elsewhere"}
    by = found.folds.groupby("recogniser", sort=False)[["accuracy", "n_test", "n_train", "n_train_folds"]]
    assert by.first().to_numpy().tolist() == by.last().to_numpy().tolist() == [[1, 6, 6, 1], [0.5, 6, 12, 2]]
    right = found.clips["category"] == found.clips["heard"]
    assert (right == found.clips["is_right"]).all() and found.clips["confidence"].to_numpy() == pytest.approx(0.8)


def test_what_is_finished_is_not_done_again_and_what_has_changed_is(tmp_path, monkeypatch):
    first, again = Knower(), Knower()
    recognise([first], ROUNDS[:2], tmp_path)
    found = recognise([again], ROUNDS, tmp_path)
    assert first.calls == [(1, 0), (2, 0)] and again.calls == [(3, 0)] and (found.folds["accuracy"] == 1).all()
    other = cross_validation(replace(made_up_clips(2, 3), categories=["a", "b", "c"]))
    changes = [(Knower(share=0.5), ROUNDS, (0,)), (Knower(), other, (0,)), (Knower(), ROUNDS, (1,))]
    changes += [(Knower(), [replace(each, validation_fold=9) for each in ROUNDS], (0,))]
    for one, rounds, seeds in changes:
        recognise([one], rounds, tmp_path, seeds)
        assert len(one.calls) == 3
    for file in tmp_path.rglob("*.json"):
        file.write_bytes(file.read_bytes()[:100])
    recognise([again], ROUNDS, tmp_path)
    assert len(again.calls) == 4
    monkeypatch.setattr(Knower, "fit_and_score", lambda *_: np.ones((6, 3)))
    with pytest.raises(InputError, match="other, fold 1"):
        recognise([Knower("other")], ROUNDS, tmp_path)
    assert not (tmp_path / "other").exists()  # what is no probability is not kept


# What a codec has met


def test_test_clips_that_the_codec_has_met_are_counted_for_those_who_read_its_codes(tmp_path):
    codec = codec_that_met(tmp_path / "codec", ["2-200-A", "2-211-A", "3-321-A-2"])
    rows = [Knower(codec=codec), Knower("sound"), Knower("unknown", codec="other.safetensors")]
    found = recognise(rows, ROUNDS, tmp_path / "scores")
    counts = found.folds.pivot(index="recogniser", columns="fold", values="codec_heard")
    assert counts.loc["knower"].tolist() == [0, 2, 1] and counts.loc["sound"].tolist() == [0, 0, 0]
    assert counts.loc["unknown"].isna().all()
    met = found.clips[(found.clips["recogniser"] == "knower") & (found.clips["codec_heard"] == 1)]
    assert sorted(met["source"]) == ["200", "211", "321"]
    assert found.folds.groupby("recogniser", sort=False)["codec"].first().tolist() == ["small", "none", "other"]
    assert report.rounds_table(ROUNDS, codec).to_numpy()[1:].tolist() == [[2, 3, 6, 6, 6, 2], [3, 1, 6, 6, 6, 1]]
    assert report.rounds_table(ROUNDS, "encodec_24khz").iloc[:, -1].isna().all()


def test_the_codec_that_ships_has_met_what_its_attribution_lists_and_nothing_of_the_fold_its_card_holds_out():
    folder = (find_root(Path(__file__).parent) / SHIPPED["patches"]).parent
    listed, card = read_csv(folder / "attribution.csv"), read_json(folder / "patches.json")
    held_out = card["training"]["held_out_fold"]
    files = [Path(f"{clip}-7.ogg") for clip in listed["clip"]]  # as in any copy of ESC-50, with the class at the end
    files += [Path(f"{held_out}-9{number}-A-7.ogg") for number in range(3)]
    zeros = np.zeros(len(files), int)
    heard = report.heard_clips(report.met_recordings("patches"), Clips(files, files, zeros, zeros, ["a"]))
    assert heard.tolist() == [1] * len(listed) + [0] * 3 and held_out not in set(listed["fold"])


def test_another_cut_of_a_recording_counts_as_met_and_what_is_not_known_is_not_called_unmet(tmp_path):
    codec = codec_that_met(tmp_path, ["3-55-A", "own_sound"])
    files = [Path(name) for name in ("3-55-B-1.wav", "4-55-C-1.ogg", "55-3-0-12.wav", "3-56-A-1.wav", "own_sound.wav")]
    clips = Clips(files, files, np.zeros(5, int), np.zeros(5, int), ["a"])
    assert report.heard_clips(report.met_recordings(codec), clips).tolist() == [1, 1, 1, 0, 1]
    assert report.clip_names([Path("a/x.wav"), Path("b/x.wav"), Path("b/y.ogg")]) == ["a/x", "b/x", "y"]
    assert report.met_recordings("") == frozenset() and report.met_recordings("encodec_24khz") is None
    listed = read_csv(tmp_path / "attribution.csv")
    write_csv(tmp_path / "attribution.csv", listed[["fold"]])
    with pytest.raises(InputError, match=r"attribution\.csv: names no clip"):
        report.met_recordings(codec)
    write_json(tmp_path / "card.json", {"content_hash": "of another codec"})
    assert report.met_recordings(codec) is None and np.isnan(report.heard_clips(None, clips)).all()


# The report


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run's folder, its tables, and its rows: one hears sound, one reads codes, one is not here."""
    folder = tmp_path_factory.mktemp("runs") / "esc50"
    codec = codec_that_met(folder / "codec", ["2-200-A", "2-201-A", "2-210-A"])
    rows = [Knower(refit=True), Knower("half", 0.5, codec=codec), Knower("absent", here=False)]
    for fold, accuracies in enumerate(([0.5, 0.4, 0.4], [0.4, 0.6, 0.6], [0.1, 0.2, 0.3]), start=1):
        epochs = {"epoch": [1, 2, 3], "loss": 1.0, "accuracy": accuracies, "cross_entropy": 2.0}
        write_csv(folder / "recognisers/half" / f"fold{fold}_seed0" / "training.csv", pd.DataFrame(epochs))
    return folder, run_report(rows, ROUNDS, folder, benchmark="esc50", n_resamples=50), rows


def test_every_table_is_written_and_read_back_and_a_run_again_finds_the_same(finished):
    folder, tables, (one, *others) = finished
    for name, table in tables.items():
        kept = read_csv(folder / f"{name}.csv")
        kept = kept.astype({"source": str}) if name == "recognition_clips" else kept  # numbers, of ESC-50
        pd.testing.assert_frame_equal(kept, table, check_dtype=False)
    one.calls.clear()
    again = run_report([one, *others], ROUNDS, folder, benchmark="esc50", n_resamples=50)
    assert not one.calls and report.best_of(again["recognition"]) == "knower"
    assert all(again[name].equals(table) for name, table in tables.items())


def test_every_epoch_has_a_row_and_one_a_round_was_taken(finished):
    history = finished[1]["recognition_training"]
    assert len(history) == 9 and set(history["recogniser"]) == {"half"}
    assert history.loc[history["chosen"], ["fold", "epoch"]].to_numpy().tolist() == [[1, 1], [2, 2], [3, 3]]
    (ax,) = figures.training_figure(history).axes
    assert ax.get_title(loc="left") == "half" and len(ax.lines) == 6  # a line and a dot a round
    assert not figures.training_figure(history.iloc[:0]).axes


def test_beside_another_version_of_the_clips_and_what_the_provenance_says(finished, tmp_path):
    run_report([Knower("half", 0.25)], ROUNDS, tmp_path, beside=finished[0], n_resamples=50)
    row = read_csv(tmp_path / "recognition_beside.csv").iloc[0]
    assert (row["recogniser"], row["there"]) == ("half", 0.5) and row["here"] < 0.5
    with pytest.raises(InputError, match=r"recognition_clips\.csv: no such file"):
        run_report([Knower()], ROUNDS, tmp_path, beside=tmp_path / "nowhere")
    cut = SimpleNamespace(cut="made up", table=[1, 2], bad_clips=pd.DataFrame({"filename": ["bad.wav"]}))
    facts = report.report_facts(cut, finished[2], finished[1]["recognition"])
    assert facts["not_run"] == {"absent": "its weights are elsewhere"} and facts["bad_clips"] == ["bad.wav"]
    assert facts["recognisers"]["half"] == {"share": 0.5}
    with pytest.raises(InputError, match="none of them can run"):
        report.best_of(run_report([Knower(here=False)], ROUNDS, tmp_path, n_resamples=10)["recognition"])


def test_figures_show_folds_and_classes(finished, tmp_path):
    tables = finished[1]
    accuracy = figures.accuracy_figure(tables["recognition"], tables["recognition_folds"])
    labels = [tick.get_text() for tick in accuracy.axes[0].get_yticklabels()]
    bars = [line for line in accuracy.axes[0].lines if (line.get_marker(), line.get_markersize()) == ("|", 9)]
    assert len(bars) == 1 and labels[0] == "knower" and "people (cited)" in labels and "absent" not in labels
    classes = figures.classes_figure(tables["recognition_classes"], "half")
    names = [tick.get_text() for tick in classes.axes[0].get_xticklabels()]
    assert names == ["chainsaw", "clock tick", "dog"] and len(classes.legends) == 1
    plain = tables["recognition_classes"].assign(published=float("nan"))
    assert not figures.classes_figure(plain, "half").legends
    confusion = figures.confusion_figure(tables["recognition_confusion"], "half")
    assert sorted(text.get_text() for text in confusion.axes[0].texts) == ["3", "3", "6", "6"]
    assert all(path.stat().st_size > 1000 for path in save_figure(accuracy, tmp_path, "x"))
    assert not figures.accuracy_figure(tables["recognition"].iloc[:0], tables["recognition_folds"]).axes
    for name, draw in (("classes", figures.classes_figure), ("confusion", figures.confusion_figure)):
        assert not draw(tables[f"recognition_{name}"], "absent").axes


def test_every_kind_takes_clips_of_any_length_and_the_ten_folds_of_urbansound8k_are_the_rounds(tmp_path, monkeypatch):
    for used in (SHIPPED["patches"].parent, Path("notebooks/presets"), CITED.parent):
        shutil.copytree(ROOT / used, tmp_path / used, ignore=shutil.ignore_patterns("esc10*", "figures", "clips"))
    monkeypatch.chdir(tmp_path)
    codec, folder = load_codec("patches", "", torch.device("cpu")), str(urbansound8k(tmp_path / "UrbanSound8K"))
    recordings = load_recordings("urbansound8k", folder, clip_seconds=4.0, sample_rate=codec.sample_rate)
    clips = clips_of(encode_recordings(recordings, codec))
    rounds = cross_validation(clips)
    assert [one.number for one in rounds] == list(range(1, 11)) and {len(one.test) for one in rounds} == {2}
    lengths = [load_codes(file).shape[1] for file in clips.codes_files]
    assert max(lengths) == 75 and min(lengths) == 1  # columns, at 18.75 a second
    shared = {"codec": "patches", "clip_seconds": 4.0, "device": "cpu"}
    rows = report.load_recognisers(
        ["codec_probe", "mfcc_svm", "patch_bag", "cnn_quick", "conformer_quick"], shared, ROWS
    )
    few = cross_validation(clips.rows(clips.folds <= 3))[:1]  # two clips to learn from
    tables = run_report(rows, few, tmp_path, n_resamples=20)
    assert len(tables["recognition_folds"]) == len(rows) and tables["recognition_folds"]["n_test"].eq(2).all()
    assert np.isfinite(tables["recognition_clips"]["confidence"]).all()


# Settings


@pytest.mark.parametrize("path", sorted((ROWS.parent / "classify").glob("*.yml")), ids=lambda path: path.stem)
def test_the_parameters_of_a_run_are_those_of_the_notebook(path):
    values, known = yaml.safe_load(path.read_text()), notebook_parameters(ROWS.parent / "07_classify.ipynb")
    for name, value in values.items():
        checked(value, known[name], f"{path.name}: {name}")
    assert values["work_dir"] == f"data/runs/recognition/{path.stem}" and path.stem in BENCHMARKS
    assert set(values["recognisers"]) <= set(report.recogniser_names(ROWS))
    cited = report.benchmark_of(values["dataset"], values.get("esc10_only", False))
    assert cited == BENCHMARKS[path.stem] and report.benchmark_of("material", True) == ""


def test_every_file_of_settings_is_a_row_of_its_own():
    names = report.recogniser_names(ROWS)
    rows = report.load_recognisers(names, {"device": "cpu", "clip_seconds": 4.0}, ROWS)
    assert len({folder_name(row.name) for row in rows}) == len(names) and {row.kind for row in rows} == set(KINDS)
    cnn = rows[names.index("cnn")]
    assert cnn.clip_seconds == 4.0 and cnn.device == "cpu" and not cnn.refit and rows[names.index("cnn_refit")].refit
    refitted = {row.kind for row in rows if len(set(report.learnt_from(row, ROUNDS[0]).folds.tolist())) == 2}
    assert refitted == {"codec_probe", "mfcc_svm", "patch_bag", "ast_probe", "conformer_probe", "cnn"}
    reads_codes = {row.kind for row in rows if hasattr(row, "codec")}
    assert reads_codes == {"codec_probe", "conformer_probe", "conformer_finetuned"}


BROKEN = [("name: x", "has no kind"), ("kind: cnnn", "unknown kind 'cnnn'"), ("kind: [", "not valid YAML")]
BROKEN += [("kind: cnn\nn_epoch: 3", "unknown setting 'n_epoch' of a cnn; expected perhaps 'n_epochs'")]
BROKEN += [("kind: cnn\nn_epochs: many", "n_epochs: 'many' is text"), ("kind: cnn\nwidths: [a]", "widths: 'a' is text")]


def test_settings_that_cannot_be_are_named(tmp_path):
    for text, words in BROKEN:
        (tmp_path / "broken.yml").write_text(text)
        with pytest.raises(InputError, match=words):
            report.load_recognisers(["broken"], folder=tmp_path)
    for name, row in (("one", "A b"), ("two", "a_b")):
        (tmp_path / f"{name}.yml").write_text(f"kind: mfcc_svm\nname: {row}")
    for names, words in ((["one", "two"], "occurs 2 times"), ([], "there are none"), (["three"], "no such file")):
        with pytest.raises(InputError, match=words):
            report.load_recognisers(names, folder=tmp_path)
    assert report.make_recogniser("cnn", {"widths": [8, 16]}).widths == (8, 16)
