"""Who is held out, who listens, the examples, and the whole report from recordings to files."""

import numpy as np
import pandas as pd
import papermill
import pytest
import soundfile
import torch
from fakes.codecs import RATE, SampleCodec, noise, tone

from envsound.base.errors import InputError
from envsound.base.files import read_csv, read_json, write_csv, write_wav
from envsound.base.paths import find_root
from envsound.codec import examples, held_out, measuring, systems
from envsound.codec.fourier import FourierCodec, FourierConfig
from envsound.codec.stored import save_codec
from envsound.data.recordings import load_recordings
from envsound.studies.codec_report.examples import example_players, opus_kbps, write_examples
from envsound.studies.codec_report.held_out import ClipList, split, train_listeners
from envsound.studies.codec_report.measure import measure_codec

ROOT = find_root()


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
    monkeypatch.setattr(measuring, "codec_makers", lambda *names: makers)
    monkeypatch.setattr(held_out, "opus_available", lambda: True)
    for module in (systems, examples):
        monkeypatch.setattr(module, "opus_available", lambda: True)
        monkeypatch.setattr(module, "through_opus", lambda clip, rate, kbps: clip / 2)


def test_the_held_out_fold_is_apart_from_the_others(recordings):
    others, mine = split(recordings, 1)
    assert set(mine["fold"]) == {1} and set(others["fold"]) == {2} and len(mine) == len(others) == 6
    clips = ClipList(recordings, mine["clip_id"])
    assert len(clips) == 6 and np.array_equal(clips[3], recordings.load(mine["clip_id"][3]))


def test_a_fold_that_is_not_there_or_alone_is_refused(recordings, folder):
    with pytest.raises(InputError, match="held_out_fold=3: the recordings have folds 1, 2"):
        split(recordings, 3)
    with pytest.raises(InputError, match="expected it and another"):
        split(load_recordings("folder", str(folder), "clips.csv", folds=[1]), 1)


def test_a_class_that_only_the_held_out_fold_has_is_refused(recordings):
    table = recordings.table
    only = recordings.__class__(table[(table["fold"] == 1) | (table["category"] == "tone")], *[
        getattr(recordings, name) for name in ("report", "cut", "sample_rate", "clip_seconds")
    ])  # fmt: skip
    with pytest.raises(InputError, match="class 'noise'"):
        split(only, 1)


def test_the_network_comes_first_among_the_listeners(recordings, monkeypatch):
    asked = []
    monkeypatch.setattr(held_out, "train_listener", lambda *given, **more: asked.append((given[3], more)) or "network")
    others, mine = split(recordings, 1)
    assert list(train_listeners(recordings, others)) == ["mfcc_svm"] and not asked
    listeners = train_listeners(recordings, others, cnn_epochs=7, seed=3, device="cpu")
    assert list(listeners) == ["cnn", "mfcc_svm"] and listeners["cnn"] == "network"
    assert (asked[0][0].n_epochs, asked[0][0].seed, asked[0][1]) == (7, 3, {"device": "cpu"})
    heard = listeners["mfcc_svm"].predict(ClipList(recordings, mine["clip_id"]), RATE)
    assert np.mean(np.array(heard) == mine["category"]) > 0.8  # five of six, learnt from six


@pytest.mark.parametrize(("n_levels", "expected"), [(8, 6), (40, 12), (100, 30)])
def test_opus_is_set_to_the_nearest_rate_it_has(n_levels, expected):
    assert opus_kbps(SampleCodec(n_levels)) == expected  # 0.3 kbit/s a level


def test_examples_take_classes_in_turn_and_forget_older_ones(recordings, fakes, tmp_path):
    (tmp_path / "old_original.wav").write_bytes(b"")
    _, mine = split(recordings, 1)
    examples = write_examples(SampleCodec(4), "sample", recordings, mine, tmp_path, 3)
    assert examples["category"].tolist() == ["noise", "tone", "noise"]
    assert read_csv(tmp_path / "examples.csv").equals(examples) and len(list(tmp_path.glob("*.wav"))) == 9
    first = examples.iloc[0]
    sounds = {kind: soundfile.read(tmp_path / first[kind])[0] for kind in ("original", "codec", "opus")}
    assert np.abs(sounds["codec"] - sounds["original"]).max() < 2e-4
    assert sounds["opus"] == pytest.approx(sounds["original"] / 2, abs=1e-4)


def test_players_are_linked_three_a_row(recordings, fakes, tmp_path, monkeypatch):
    _, mine = split(recordings, 1)
    shown = example_players(write_examples(SampleCodec(4), "mine", recordings, mine, tmp_path, 2), tmp_path, tmp_path)
    assert shown.count("<audio") == 6 and shown.count('preload="none"') == 6 and shown.count("<tr>") == 3
    assert "<th>mine, 1.2 kbit/s</th>" in shown and "<th>Opus, 6 kbit/s</th>" in shown
    monkeypatch.setattr(examples, "opus_available", lambda: False)
    shown = example_players(write_examples(SampleCodec(4), "mine", recordings, mine, tmp_path, 2), tmp_path, tmp_path)
    assert shown.count("<audio") == 4 and shown.count("not installed") == 2
    assert "No examples" in example_players(
        write_examples(SampleCodec(4), "m", recordings, mine, tmp_path, 0), tmp_path
    )
    with pytest.raises(InputError, match="n_examples=-1"):
        write_examples(SampleCodec(4), "m", recordings, mine, tmp_path, -1)


def test_a_report_writes_every_table_and_what_made_it(recordings, fakes, tmp_path):
    report = measure_codec(recordings, tmp_path, n_examples=2, device="cpu")
    tables = ["by_class", "ceiling", "clips", "codebook", "goals", "speed", "systems"]
    assert sorted(path.stem for path in tmp_path.glob("*.csv")) == tables
    systems_csv = read_csv(tmp_path / "systems.csv")
    named = ["sample, 4 levels", "sample, 2 levels", "sample, 1 level", "coarse, 1 level"]
    assert systems_csv["system"].tolist() == ["original", *named, "Opus, 6 kbit/s", "Opus, 12 kbit/s", "white noise"]
    assert len(read_csv(tmp_path / "clips.csv")) == 8 * 6 and report.system == "sample, 4 levels"
    assert set(read_csv(tmp_path / "codebook.csv")["codec"]) == {"sample", "coarse"}
    assert report.facts["n_held_out"] == report.facts["n_heard_by_listeners"] == 6
    assert report.facts["codecs"] == {"sample": "4".zfill(64), "coarse": "1".zfill(64)}
    assert "Measured on 6 clips" in report.findings() and "folder" in report.findings()
    assert len(report.examples) == 2 and (tmp_path / "examples" / "examples.csv").is_file()


def test_the_notebook_measures_a_codec_of_ones_own(folder, tmp_path):
    shape = dict(dim=8, hidden=8, n_encoder_blocks=1, n_decoder_blocks=1, latent_dim=4, n_levels=2, codebook_size=8)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_codec(tmp_path / "own.safetensors", FourierCodec(FourierConfig(**shape)))
    given = {
        "codec": str(tmp_path / "own.safetensors"), "dataset": "folder", "data_dir": str(folder),
        "csv_name": "clips.csv", "esc10_only": False, "listener_epochs": 0, "n_examples": 2,
        "run_dir": str(tmp_path / "run"), "device": "cpu",
    }  # fmt: skip
    quiet = {"kernel_name": "python3", "cwd": str(ROOT), "progress_bar": False}
    notebook = papermill.execute_notebook(
        str(ROOT / "notebooks" / "codec" / "08_measure_codec.ipynb"), str(tmp_path / "08.ipynb"), given, **quiet
    )
    run = tmp_path / "run"
    assert {"levels", "classes", "bands", "class_bands", "codebooks"} == {p.stem for p in run.glob("figures/*.png")}
    record = read_json(run / "provenance.json")["steps"]["08_measure_codec"]
    assert record["facts"]["n_held_out"] == 6 and record["parameters"]["held_out_fold"] == 1
    assert "own, 2 levels" in read_csv(run / "systems.csv")["system"].tolist()
    findings = notebook.cells[-1].outputs[0]["data"]["text/markdown"]
    assert "held-out clips come back" in findings and "Goals met" in findings
