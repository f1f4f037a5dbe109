"""Who is held out, who listens, how fast codecs are, and the whole report from recordings to files, by every door."""

import argparse
from dataclasses import replace
from pathlib import Path
from unittest.mock import create_autospec

import numpy as np
import pytest
import torch
from fakes.codecs import RATE, SampleCodec, noise_and_tones, toy_model
from fakes.notebooks import run_cells

from envsound.base.errors import InputError
from envsound.base.files import read_csv, read_json
from envsound.base.paths import find_root
from envsound.codec import systems
from envsound.codec.stored import save_codec
from envsound.data.recordings import load_recordings
from envsound.report.players import example_players
from envsound.studies.codec_report import command, figures
from envsound.studies.codec_report import report as module
from envsound.studies.codec_report.report import ClipList, codec_makers, measure_speed, split, train_listeners

FIGURES = {"levels", "classes", "bands", "class_bands", "codebooks"}
CODECS = {"sample": SampleCodec(4), "coarse": SampleCodec(1)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Recordings of two classes in two folds, three clips of each."""
    return noise_and_tones(tmp_path_factory.mktemp("recordings"), 12, 6, 40)


@pytest.fixture(scope="module")
def recordings(folder):
    return load_recordings("folder", str(folder), "clips.csv")


@pytest.fixture(scope="module")
def measured(folder, tmp_path_factory):
    """The folder of the report that notebook 08 made of two fakes and of an Opus that halves what it is given; it."""
    run = tmp_path_factory.mktemp("run")
    given = {"codec": "sample", "dataset": "folder", "data_dir": str(folder), "csv_name": "clips.csv", "device": "cpu"}
    given |= {"esc10_only": False, "listener_epochs": 0, "n_examples": 2, "run_dir": str(run)}
    given |= {"package": "not here", "timed": ["tone"]}
    with pytest.MonkeyPatch.context() as patch:
        makers = {name: lambda device, codec=codec: codec for name, codec in CODECS.items()}
        patch.setattr(module, "codec_makers", lambda *names: makers)
        patch.setattr("envsound.codec.load_codec", lambda *names: CODECS["sample"])
        for one in (module, systems):
            patch.setattr(one, "opus_available", lambda: True)
        patch.setattr(systems, "through_opus", lambda clip, rate, kbps: clip / 2)
        scope = run_cells(find_root() / "notebooks" / "codec" / "08_measure_codec.ipynb", given)
    return run, scope["report"]


def test_the_held_out_fold_is_apart_from_the_others(recordings):
    others, mine = split(recordings, 1)
    assert set(mine["fold"]) == {1} and set(others["fold"]) == {2} and len(mine) == len(others) == 6
    clips = ClipList(recordings, mine["clip_id"])
    assert len(clips) == 6 and np.array_equal(clips[3], recordings.load(mine["clip_id"][3]))
    table = recordings.table  # a fold that is not there, is alone or has a class of its own is refused
    alone, only = table[table["fold"] == 1], table[(table["fold"] == 1) | (table["category"] == "tone")]
    for rows, fold, words in ((table, 3, "have folds 1, 2"), (alone, 1, "it and another"), (only, 1, "class 'noise'")):
        with pytest.raises(InputError, match=f"held_out_fold={fold}: .*{words}"):
            split(replace(recordings, table=rows), fold)


def test_the_network_comes_first_among_the_listeners(recordings, monkeypatch):
    asked = []
    monkeypatch.setattr(module, "train_listener", lambda *given, **more: asked.append((given[3], more)) or "network")
    others, mine = split(recordings, 1)
    assert list(train_listeners(recordings, others)) == ["mfcc_svm"] and not asked
    listeners = train_listeners(recordings, others, cnn_epochs=7, seed=3, device="cpu")
    assert list(listeners) == ["cnn", "mfcc_svm"] and listeners["cnn"] == "network"
    assert (asked[0][0].n_epochs, asked[0][0].seed, asked[0][1]) == (7, 3, {"device": "cpu"})
    heard = listeners["mfcc_svm"].predict(ClipList(recordings, mine["clip_id"]), RATE)
    assert np.mean(np.array(heard) == mine["category"]) > 0.8  # five of six, learnt from six


def test_makers_load_each_codec_by_name_and_encodec_only_where_it_is(monkeypatch):
    asked = []
    monkeypatch.setattr(module, "load_codec", lambda *arguments: asked.append(arguments))
    monkeypatch.setattr(module, "weights_here", lambda weights: None)
    names = list(codec_makers("patches", ["runs/seanet/codec.safetensors", "mine.safetensors"]))
    assert names == ["patches", "seanet", "mine"]
    with pytest.raises(InputError, match="called patches, patches; expected different names"):
        codec_makers("patches", ["a/patches.safetensors"])
    monkeypatch.setattr(module, "weights_here", lambda weights: Path("/cache/encodec.th"))
    for make in codec_makers("patches", ["mine.safetensors"]).values():
        make("cpu")
    files = {"patches": "", "mine.safetensors": "", "encodec_24khz": "/cache/encodec.th"}
    assert asked == [(name, file, "cpu") for name, file in files.items()]


def test_speed_has_one_row_for_each_codec_and_device(monkeypatch):
    devices = []
    makers = {name: lambda device: devices.append(device) or SampleCodec(1) for name in ("one", "other")}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(module, "describe_device", lambda device: f"a {device.type}")
    rows = measure_speed(makers, seconds=0.1, repeats=2)
    assert rows["codec"].tolist() == ["one", "other"] * 2 and devices == rows["device"].tolist()
    assert rows["device_name"].tolist() == ["a cpu", "a cpu", "a cuda", "a cuda"]
    whole = rows["encode_seconds"] + rows["decode_seconds"]
    assert rows["real_time_factor"].tolist() == pytest.approx((0.1 / whole).tolist()) and (whole > 0).all()


def test_the_notebook_writes_every_table_and_figure_and_what_made_it(measured):
    run, report = measured
    tables = {"by_class", "ceiling", "clips", "codebook", "judged", "predictability", "speed", "stability", "systems"}
    assert {path.stem for path in run.glob("*.csv")} == tables
    named = ["sample, 4 levels", "sample, 2 levels", "sample, 1 level", "coarse, 1 level"]
    everything = ["original", *named, "Opus, 6 kbit/s", "Opus, 12 kbit/s", "white noise"]
    assert read_csv(run / "systems.csv")["system"].tolist() == everything
    assert len(read_csv(run / "clips.csv")) == 8 * 6 and report.system == "sample, 4 levels"
    assert set(read_csv(run / "codebook.csv")["codec"]) == set(CODECS)
    assert {path.stem for path in run.glob("figures/*.png")} == FIGURES
    record = read_json(run / "provenance.json")["steps"]["08_measure_codec"]
    assert record["facts"]["n_held_out"] == record["facts"]["n_heard_by_listeners"] == 6
    assert record["facts"]["codecs"] == {name: codec.content_hash for name, codec in CODECS.items()}
    assert record["parameters"]["held_out_fold"] == 1
    assert len(report.examples) == 2 and (run / "examples" / "examples.csv").is_file()
    shown = example_players(report.examples, run / "examples", run)
    assert shown.count('<audio controls preload="none"') == 6 and "sample, 1.2 kbit/s" in shown
    assert "Opus was not installed" in example_players(report.examples.assign(opus=""), run)
    assert "No examples" in example_players(report.examples[:0], run)


def test_the_command_measures_the_same_or_shows_the_codec_s_facts(folder, measured, tmp_path, capsys, monkeypatch):
    save_codec(tmp_path / "own.safetensors", toy_model())
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    known = ["--codec", str(tmp_path / "own.safetensors"), "--device", "cpu", "--run-dir", str(tmp_path)]
    assert command.run(parser.parse_args([*known, "--card"])) == 0
    assert "| levels | 2 |" in capsys.readouterr().out
    source = ["--dataset", "folder", "--data-dir", str(folder), "--csv-name", "clips.csv", "--listener-epochs", "0"]
    assert command.run(parser.parse_args([*known, *source, "--fold", "7"])) == 1
    assert "held_out_fold=7" in capsys.readouterr().err
    report = measured[1]
    measure = create_autospec(module.measure_codec, return_value=report)
    monkeypatch.setattr(module, "measure_codec", measure)
    monkeypatch.setattr(figures, "save_figures", create_autospec(figures.save_figures))
    assert command.run(parser.parse_args([*known, *source])) == 0
    assert "| sample, 4 levels |" in capsys.readouterr().out
    asked = {"codec": known[1], "held_out_fold": 1, "listener_epochs": 0, "device": "cpu"}
    assert measure.call_args.kwargs.items() >= asked.items()
    assert read_json(tmp_path / "provenance.json")["steps"]["08_measure_codec"]["facts"] == report.facts
