"""Who is held out, who listens, how fast codecs are, and the whole report from recordings to files, by every door."""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import papermill
import pytest
import torch
from fakes.codecs import RATE, SampleCodec, noise, tone, toy_model

from envsound.base.errors import InputError
from envsound.base.files import read_csv, read_json, write_csv, write_wav
from envsound.base.paths import find_root
from envsound.codec import systems
from envsound.codec.stored import save_codec
from envsound.data.recordings import load_recordings
from envsound.report.players import example_players
from envsound.studies.codec_report import command
from envsound.studies.codec_report import report as module
from envsound.studies.codec_report.report import (
    ClipList,
    codec_makers,
    measure_codec,
    measure_speed,
    split,
    train_listeners,
)

FIGURES = {"levels", "classes", "bands", "class_bands", "codebooks"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Recordings of two classes in two folds, three clips of each."""
    folder, rows = tmp_path_factory.mktemp("recordings"), []
    for number in range(12):
        category, fold = ("noise", "tone")[number % 2], 1 + number // 6
        clip = noise(5000, seed=number) if category == "noise" else tone(5000, 300 + 40 * number)
        write_wav(folder / "audio" / f"{number}.wav", clip, RATE)
        rows.append({"filename": f"{number}.wav", "category": category, "fold": fold})
    write_csv(folder / "clips.csv", pd.DataFrame(rows))
    return folder


@pytest.fixture(scope="module")
def recordings(folder):
    return load_recordings("folder", str(folder), "clips.csv")


@pytest.fixture
def fakes(monkeypatch):
    """The codecs of a report are fakes, and Opus halves what it is given."""
    codecs = {"sample": SampleCodec(4), "coarse": SampleCodec(1)}
    makers = {name: lambda device, codec=codec: codec for name, codec in codecs.items()}
    monkeypatch.setattr(module, "codec_makers", lambda *names: makers)
    for one in (module, systems):
        monkeypatch.setattr(one, "opus_available", lambda: True)
    monkeypatch.setattr(systems, "through_opus", lambda clip, rate, kbps: clip / 2)


def test_the_held_out_fold_is_apart_from_the_others(recordings):
    others, mine = split(recordings, 1)
    assert set(mine["fold"]) == {1} and set(others["fold"]) == {2} and len(mine) == len(others) == 6
    clips = ClipList(recordings, mine["clip_id"])
    assert len(clips) == 6 and np.array_equal(clips[3], recordings.load(mine["clip_id"][3]))


def test_a_fold_that_is_not_there_alone_or_has_a_class_of_its_own_is_refused(recordings, folder):
    with pytest.raises(InputError, match="held_out_fold=3: the recordings have folds 1, 2"):
        split(recordings, 3)
    with pytest.raises(InputError, match="expected it and another"):
        split(load_recordings("folder", str(folder), "clips.csv", folds=[1]), 1)
    table = recordings.table
    only = replace(recordings, table=table[(table["fold"] == 1) | (table["category"] == "tone")])
    with pytest.raises(InputError, match="class 'noise'"):
        split(only, 1)


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
    assert list(codec_makers("bundled", ["runs/seanet/codec.safetensors", "mine.safetensors"])) == [
        "bundled", "seanet", "mine"
    ]  # fmt: skip
    with pytest.raises(InputError, match="called bundled, bundled; expected different names"):
        codec_makers("bundled", ["a/bundled.safetensors"])
    monkeypatch.setattr(module, "weights_here", lambda weights: Path("/cache/encodec.th"))
    for make in codec_makers("bundled", ["mine.safetensors"]).values():
        make("cpu")
    assert asked == [
        ("bundled", "", "cpu"), ("mine.safetensors", "", "cpu"), ("encodec_24khz", "/cache/encodec.th", "cpu")
    ]  # fmt: skip


def test_speed_has_one_row_for_each_codec_and_device(monkeypatch):
    devices = []
    makers = {name: lambda device: devices.append(device) or SampleCodec(1) for name in ("one", "other")}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    rows = measure_speed(makers, seconds=0.5, repeats=2)
    assert rows["codec"].tolist() == ["one", "other"] and devices == ["cpu", "cpu"]
    whole = rows["encode_seconds"] + rows["decode_seconds"]
    assert rows["real_time_factor"].tolist() == pytest.approx((0.5 / whole).tolist()) and (whole > 0).all()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(module, "describe_device", lambda device: f"a {device.type}")
    rows = measure_speed(makers, seconds=0.1, repeats=1)
    assert rows["device_name"].tolist() == ["a cpu", "a cpu", "a cuda", "a cuda"]


def test_a_report_writes_every_table_and_what_made_it(recordings, fakes, tmp_path):
    report = measure_codec(recordings, tmp_path, n_examples=2, device="cpu")
    tables = ["by_class", "ceiling", "clips", "codebook", "speed", "systems"]
    assert sorted(path.stem for path in tmp_path.glob("*.csv")) == tables
    systems_csv = read_csv(tmp_path / "systems.csv")
    named = ["sample, 4 levels", "sample, 2 levels", "sample, 1 level", "coarse, 1 level"]
    assert systems_csv["system"].tolist() == ["original", *named, "Opus, 6 kbit/s", "Opus, 12 kbit/s", "white noise"]
    assert len(read_csv(tmp_path / "clips.csv")) == 8 * 6 and report.system == "sample, 4 levels"
    assert set(read_csv(tmp_path / "codebook.csv")["codec"]) == {"sample", "coarse"}
    assert report.facts["n_held_out"] == report.facts["n_heard_by_listeners"] == 6
    assert report.facts["codecs"] == {"sample": "4".zfill(64), "coarse": "1".zfill(64)}
    assert len(report.examples) == 2 and (tmp_path / "examples" / "examples.csv").is_file()
    shown = example_players(report.examples, tmp_path / "examples", tmp_path)
    assert shown.count('<audio controls preload="none"') == 6 and "sample, 1.2 kbit/s" in shown
    assert "Opus was not installed" in example_players(report.examples.assign(opus=""), tmp_path)
    assert "No examples" in example_players(report.examples[:0], tmp_path)


@pytest.fixture(scope="module")
def own(tmp_path_factory) -> str:
    """The file of a toy codec."""
    path = tmp_path_factory.mktemp("codec") / "own.safetensors"
    save_codec(path, toy_model())
    return str(path)


def test_the_notebook_measures_a_codec_of_ones_own(folder, own, tmp_path):
    run = tmp_path / "run"
    given = {"codec": own, "dataset": "folder", "data_dir": str(folder), "csv_name": "clips.csv", "device": "cpu"}
    given |= {"esc10_only": False, "listener_epochs": 0, "n_examples": 2, "run_dir": str(run)}
    notebook = find_root() / "notebooks" / "codec" / "08_measure_codec.ipynb"
    quiet = {"kernel_name": "python3", "cwd": str(find_root()), "progress_bar": False}
    papermill.execute_notebook(str(notebook), str(tmp_path / "08.ipynb"), given, **quiet)
    check_report(run)


def test_the_command_measures_the_same_or_shows_the_codec_s_facts(folder, own, tmp_path, capsys):
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    known = ["--codec", own, "--device", "cpu"]
    assert command.run(parser.parse_args([*known, "--card"])) == 0
    assert "| levels | 2 |" in capsys.readouterr().out
    source = ["--dataset", "folder", "--data-dir", str(folder), "--csv-name", "clips.csv", "--listener-epochs", "0"]
    assert command.run(parser.parse_args([*known, *source, "--run-dir", str(tmp_path)])) == 0
    assert "| own, 2 levels |" in capsys.readouterr().out
    check_report(tmp_path)
    assert command.run(parser.parse_args([*known, *source, "--fold", "7"])) == 1
    assert "held_out_fold=7" in capsys.readouterr().err


def check_report(run: Path) -> None:
    assert {path.stem for path in run.glob("figures/*.png")} == FIGURES
    record = read_json(run / "provenance.json")["steps"]["08_measure_codec"]
    assert record["facts"]["n_held_out"] == 6 and record["parameters"]["held_out_fold"] == 1
    assert "own, 2 levels" in read_csv(run / "systems.csv")["system"].tolist()
