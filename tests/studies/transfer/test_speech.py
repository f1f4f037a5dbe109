"""Folders of speech: layouts, folds by speaker, lengths from headers, and what is never followed or copied."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from fakes.espeak import install

from envsound.base.errors import InputError
from envsound.base.files import read_csv, read_json
from envsound.data.recordings import load_recordings
from envsound.studies.transfer import speech
from envsound.studies.transfer.speech import (
    load_speech,
    read_speech_folder,
    speaker_fold,
    speech_kind,
    write_speech_listing,
)

RATE = 16_000


def utterance(path: Path, seconds: float = 1.5, rate: int = RATE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.full(round(seconds * rate), 0.1), rate)
    return path


def libri(root: Path, n_speakers: int = 6, suffix: str = "flac", n: int = 2) -> Path:
    for speaker in range(100, 100 + n_speakers):
        for number in range(n):
            utterance(root / "train-clean-100" / str(speaker) / "7" / f"{speaker}-7-{number:04d}.{suffix}")
    return root


def vctk(root: Path) -> Path:
    for speaker in ("p225", "p226", "s5"):
        for microphone in (1, 2):
            utterance(root / "wav48_silence_trimmed" / speaker / f"{speaker}_001_mic{microphone}.flac", rate=48_000)
    return root


# Layouts


@pytest.mark.parametrize(("suffix", "layout"), [("flac", "LibriSpeech"), ("wav", "LibriTTS")])
def test_libri_folders_are_recognised_from_any_level(tmp_path, suffix, layout):
    root = libri(tmp_path / "corpus", suffix=suffix)
    for folder in (tmp_path, root, root / "train-clean-100"):
        found = read_speech_folder(folder)
        assert found.layout == layout and len(found.table) == 12 and found.table["speaker"].nunique() == 6
    assert (found.table["sample_rate_hz"] == RATE).all() and found.table["seconds"].to_list() == [1.5] * 12


def test_vctk_is_recognised_and_one_of_its_two_microphones_taken(tmp_path):
    root = vctk(tmp_path / "VCTK")
    for folder in (root, root / "wav48_silence_trimmed"):
        found = read_speech_folder(folder)
        assert found.layout == "VCTK" and sorted(found.table["speaker"]) == ["p225", "p226", "s5"]
        assert found.table["filename"].str.endswith("_mic1.flac").all() and found.left_out["second microphone"] == 3


def test_the_older_vctk_of_one_microphone_is_recognised(tmp_path):
    utterance(tmp_path / "wav48" / "p225" / "p225_001.wav")
    assert read_speech_folder(tmp_path).layout == "VCTK"


def test_another_layout_two_layouts_and_no_folder_are_one_clear_error(tmp_path):
    utterance(tmp_path / "flat" / "hello.wav")
    with pytest.raises(InputError, match="layout not recognised among its 1 wav"):
        read_speech_folder(tmp_path / "flat")
    libri(tmp_path / "both"), vctk(tmp_path / "both")
    with pytest.raises(InputError, match="12 files of LibriSpeech and 6 files of VCTK"):
        read_speech_folder(tmp_path / "both")
    with pytest.raises(InputError, match="no such folder"):
        read_speech_folder(tmp_path / "nowhere")
    with pytest.raises(InputError, match="n_utterances=-1"):
        read_speech_folder(tmp_path / "both", -1)


# What is kept


def test_only_utterances_of_1_to_30_s_are_kept_and_the_others_counted(tmp_path):
    root = libri(tmp_path, n_speakers=1, n=1) / "train-clean-100" / "100" / "7"
    for name, seconds in (("short", 0.9), ("least", 1.0), ("most", 30.0), ("long", 30.1)):
        utterance(root / f"{name}.flac", seconds, rate=1000)
    (root / "broken.flac").write_bytes(b"no sound")
    utterance(tmp_path / "readme.wav")
    found = read_speech_folder(tmp_path)
    assert sorted(Path(name).stem for name in found.table["filename"]) == ["100-7-0000", "least", "most"]
    counts = {"too short": 1, "too long": 1, "unreadable": 1, "not of the layout": 1}
    assert {reason: n for reason, n in found.left_out.items() if n} == counts
    assert "left out: 1 too short, 1 too long, 1 unreadable, 1 not of the layout" in found.describe()


def test_a_folder_with_nothing_to_keep_says_why(tmp_path):
    utterance(tmp_path / "1" / "2" / "a.wav", 0.5)
    with pytest.raises(InputError, match=r"no utterance of 1 to 30 s \(1 too short\)"):
        read_speech_folder(tmp_path)


def test_files_and_folders_that_lead_outside_are_not_followed(tmp_path):
    root = libri(tmp_path / "corpus", n_speakers=2)
    secret = utterance(tmp_path / "elsewhere" / "9" / "9" / "secret.flac")
    (root / "train-clean-100" / "100" / "7" / "linked.flac").symlink_to(secret)
    (root / "train-clean-100" / "999").symlink_to(tmp_path / "elsewhere" / "9")
    found = read_speech_folder(root)
    assert len(found.table) == 4 and found.left_out["outside the folder"] == 1
    assert not found.table["filename"].str.contains("secret|linked").any()


def test_only_headers_are_read(tmp_path, monkeypatch):
    def forbidden(*arguments, **settings):
        raise AssertionError("audio was read")

    libri(tmp_path)
    monkeypatch.setattr(speech.soundfile, "read", forbidden)
    assert len(read_speech_folder(tmp_path).table) == 12


def test_few_utterances_have_many_speakers_and_no_more_headers_are_read(tmp_path, monkeypatch):
    libri(tmp_path, n_speakers=6, n=3)
    read, info = [], soundfile.info
    monkeypatch.setattr(speech.soundfile, "info", lambda path: read.append(path) or info(path))
    found = read_speech_folder(tmp_path, 6)
    assert found.table["speaker"].nunique() == 6 == len(found.table) == len(read)
    more = read_speech_folder(tmp_path, 8)
    assert set(found.table["filename"]) < set(more.table["filename"])


# Folds


def test_folds_are_1_to_5_and_about_as_large():
    folds = [speaker_fold(str(number)) for number in range(1000)]
    assert set(folds) == {1, 2, 3, 4, 5} and all(150 < folds.count(fold) < 250 for fold in range(1, 6))


def test_folds_are_the_same_on_every_machine():
    assert [speaker_fold(name) for name in ("84", "p225", "en-us+m3")] == [5, 4, 1]


def test_no_speaker_is_in_two_folds_and_all_folds_are_used(tmp_path):
    table = read_speech_folder(libri(tmp_path, n_speakers=40)).table
    assert (table.groupby("speaker")["fold"].nunique() == 1).all() and set(table["fold"]) == {1, 2, 3, 4, 5}


# As recordings


def test_the_listing_is_read_by_load_recordings_without_a_copy(tmp_path):
    root = libri(tmp_path / "corpus")
    found = read_speech_folder(root)
    csv = write_speech_listing(found, tmp_path / "out")
    assert csv.is_absolute() and read_csv(csv)["category"].unique().tolist() == ["speech"]
    assert {path.name for path in (tmp_path / "out").rglob("*") if path.is_file()} == {"speech.csv", "speech.json"}
    recordings = load_recordings("folder", data_dir=str(root), csv_name=str(csv), clip_seconds=1.0)
    assert list(recordings.table["fold"]) == list(found.table["fold"]) and recordings.bad_clips.empty
    assert all(Path(path).is_relative_to(root) for path in recordings.table["path"])
    assert recordings.load(recordings.table["clip_id"][0]).shape == (24_000,)
    about = read_json(tmp_path / "out" / "speech.json")
    assert about["layout"] == "LibriSpeech" and about["n_speakers"] == 6 and str(tmp_path) not in str(about)


def test_a_speech_folder_is_called_recorded_and_its_cut_says_what_was_left_out(tmp_path):
    root = libri(tmp_path / "corpus")
    utterance(root / "train-clean-100" / "100" / "7" / "short.flac", 0.2)
    recordings = load_speech(str(root), tmp_path / "work", 0, clip_seconds=1.0)
    assert len(recordings.table) == 12 and recordings.cut.startswith("recorded speech, folder corpus")
    assert "LibriSpeech layout" in recordings.cut and "1 too short" in recordings.cut
    assert (speech_kind(str(root)), speech_kind("")) == ("recorded speech", "synthetic speech")


def test_without_a_folder_the_speech_is_synthetic_and_called_so(tmp_path, monkeypatch):
    install(tmp_path / "bin", monkeypatch)
    recordings = load_speech("", tmp_path / "work", 5, seed=3, clip_seconds=1.0)
    assert len(recordings.table) == 5 and (recordings.table["category"] == "speech").all()
    assert recordings.cut.startswith("synthetic speech, rule-based (espeak-ng 1.51, seed 3)")
    assert "nothing above 11.025 kHz" in recordings.cut
