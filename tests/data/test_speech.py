"""Speech: folders of it, and what espeak-ng is asked for where there is none; a stand-in speaks in its place."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from fakes.espeak import install

from envsound.base.errors import InputError
from envsound.base.files import read_csv
from envsound.data import speech
from envsound.data.speech import SPEAKERS, load_speech, plan, read_speech_folder, speak, speaker_fold

RATE = 2000


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
    for name in ("p225/p225_001_mic1", "p225/p225_001_mic2", "p226/p226_001_mic1", "s5/s5_001_mic1"):
        utterance(root / "wav48_silence_trimmed" / f"{name}.flac")
    return root


@pytest.fixture
def calls(tmp_path, monkeypatch):
    """The file in which the stand-in for espeak-ng notes its calls."""
    return install(tmp_path / "bin", monkeypatch)


def asked(calls) -> list[list[str]]:
    return [line.split("|") for line in calls.read_text().splitlines()]


@pytest.mark.parametrize(("suffix", "layout"), [("flac", "LibriSpeech"), ("WAV", "LibriTTS")])
def test_libri_folders_are_recognised_from_any_level(tmp_path, suffix, layout):
    root = libri(tmp_path / "corpus", suffix=suffix)
    for folder in (tmp_path, root, root / "train-clean-100"):
        table, words = read_speech_folder(folder)
        assert len(table) == 12 and table["speaker"].nunique() == 6
        assert words == f"{layout} layout: 12 utterances of 6 speakers, 0.01 h"
    assert (table["sample_rate_hz"] == RATE).all() and table["seconds"].to_list() == [1.5] * 12


def test_vctk_is_recognised_and_one_of_its_two_microphones_taken(tmp_path):
    root = vctk(tmp_path / "VCTK")
    for folder in (root, root / "wav48_silence_trimmed"):
        table, words = read_speech_folder(folder)
        assert words.startswith("VCTK") and words.endswith("left out: 1 second microphone")
        assert sorted(table["speaker"]) == ["p225", "p226", "s5"] and table["filename"].str.endswith("_mic1.flac").all()


def test_another_layout_two_layouts_and_no_folder_are_one_clear_error(tmp_path):
    utterance(tmp_path / "flat" / "hello.wav")
    libri(tmp_path / "both"), vctk(tmp_path / "both")
    utterance(tmp_path / "short" / "1" / "2" / "a.wav", 0.5)
    for folder, message in (
        ("flat", "layout not recognised"), ("both", "12 files of LibriSpeech and 4 files of VCTK"),
        ("nowhere", "no such folder"), ("short", r"no utterance of 1 to 30 s \(1 too short\)"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=message):
            read_speech_folder(tmp_path / folder)
    with pytest.raises(InputError, match="n_utterances=-1"):
        read_speech_folder(tmp_path / "both", -1)


def test_utterances_of_1_to_30_s_below_the_folder_are_kept_and_the_others_counted(tmp_path):
    root = libri(tmp_path / "corpus", n_speakers=1, n=1)
    chapter = root / "train-clean-100" / "100" / "7"
    for name, seconds in (("short", 0.9), ("least", 1.0), ("most", 30.0), ("long", 30.1)):
        utterance(chapter / f"{name}.flac", seconds)
    (chapter / "broken.flac").write_bytes(b"no sound")
    utterance(root / "readme.wav")
    (chapter / "linked.flac").symlink_to(utterance(tmp_path / "elsewhere" / "9" / "9" / "secret.flac"))
    (root / "train-clean-100" / "999").symlink_to(tmp_path / "elsewhere" / "9")
    table, words = read_speech_folder(root)
    assert sorted(Path(name).stem for name in table["filename"]) == ["100-7-0000", "least", "most"]
    assert all(f"1 {why}" in words for why in ("not of the layout", "too short", "too long", "unreadable", "outside"))


def test_few_utterances_have_many_speakers_and_only_their_headers_are_read(tmp_path, monkeypatch):
    libri(tmp_path, n_speakers=6, n=3)
    read, info = [], soundfile.info
    monkeypatch.setattr(speech.soundfile, "info", lambda path: read.append(path) or info(path))
    monkeypatch.setattr(speech.soundfile, "read", None)  # calling it would fail
    few = read_speech_folder(tmp_path, 6)[0]
    assert few["speaker"].nunique() == 6 == len(few) == len(read)
    assert set(few["filename"]) < set(read_speech_folder(tmp_path, 8)[0]["filename"])


def test_folds_are_by_speaker_the_same_on_every_machine_and_about_as_large():
    folds = [speaker_fold(str(number)) for number in range(1000)]
    assert all(150 < folds.count(fold) < 250 for fold in range(1, 6)) and {*map(speaker_fold, SPEAKERS)} == set(folds)
    assert [speaker_fold(name) for name in ("84", "p225", "en-us+m3")] == [5, 4, 1]


def test_a_folder_is_read_without_a_copy_and_its_cut_says_what_was_left_out(tmp_path):
    root = libri(tmp_path / "corpus")
    utterance(root / "train-clean-100" / "100" / "7" / "short.flac", 0.2)
    recordings = load_speech(str(root), tmp_path / "work", 0, clip_seconds=1.0)
    table = recordings.table
    assert {path.name for path in (tmp_path / "work").rglob("*") if path.is_file()} == {"speech.csv"}
    assert len(table) == 12 and recordings.bad_clips.empty and set(table["category"]) == {"speech"}
    assert list(table["fold"]) == [speaker_fold(name.split("/")[1]) for name in table["filename"]]
    assert all(Path(path).is_relative_to(root) for path in table["path"])
    assert recordings.cut.startswith("recorded speech, folder corpus") and "1 too short" in recordings.cut


def test_without_a_folder_the_speech_is_synthetic_and_called_so(tmp_path, calls):
    recordings = load_speech("", tmp_path / "work", 5, seed=3, clip_seconds=1.0)
    assert len(recordings.table) == 5 and (recordings.table["category"] == "speech").all()
    assert recordings.cut.startswith("synthetic speech, rule-based (espeak-ng 1.51, seed 3)")


def test_the_same_seed_asks_for_the_same_and_speakers_take_turns():
    plans = [plan(3, n) for n in range(len(SPEAKERS) + 1)]
    assert plans[:20] == [plan(3, n) for n in range(20)] and plans[0] != plan(4, 0)
    speakers = [one.speaker for one in plans]
    assert set(speakers) == set(SPEAKERS) and speakers[0] == speakers[-1] and len(set(speakers)) == len(SPEAKERS)
    for name, (low, high) in (("rate_wpm", speech.RATES_WPM), ("pitch", speech.PITCHES)):
        values = [getattr(one, name) for one in plans]
        assert low <= min(values) < low + 9 and high - 9 < max(values) <= high
    once, again = plan(1, 5), plan(1, 5, scale=3.0)  # another attempt changes the text alone
    assert len(again.text.split()) > 1.5 * len(once.text.split()) and replace(again, text=once.text) == once


@pytest.mark.parametrize("text", [speech.english_text, speech.syllable_text])
def test_texts_have_about_the_words_asked_for_and_end_as_sentences_do(text):
    for n in (1, 7, 30):
        made = text(np.random.default_rng(n), n)
        assert n <= len(made.split()) <= n + 14 and made[-1] in ".?" and made[0].isalpha()
        assert not set(made) - set("abcdefghijklmnopqrstuvwxyz ',.?")


def test_a_folder_holds_wav_files_a_listing_and_what_they_are_and_whole_files_are_kept(tmp_path, calls):
    folder = tmp_path / "speech"
    assert speech.write_synthetic_speech(folder, 4, seed=0) == "synthetic speech, rule-based (espeak-ng 1.51, seed 0)"
    table = read_csv(folder / "meta" / "speech.csv")
    assert list(table["fold"]) == [speaker_fold(speaker) for speaker in table["speaker"]]
    about = soundfile.info(folder / "audio" / table["filename"][0])
    assert (about.samplerate, about.channels, about.subtype) == (22_050, 1, "PCM_16")
    assert about.frames / 22_050 == pytest.approx(table["seconds"][0]) and table["seconds"].between(1, 10).all()
    assert asked(calls)[0] == [plan(0, 0).speaker, str(plan(0, 0).rate_wpm), str(plan(0, 0).pitch), plan(0, 0).text]
    first, second, *_ = sorted((folder / "audio").iterdir())
    stamp, whole = first.stat().st_mtime_ns, second.read_bytes()
    second.write_bytes(whole[:1000])
    calls.unlink()
    speech.write_synthetic_speech(folder, 5, seed=0)
    assert [row[0] for row in asked(calls)] == [plan(0, 1).speaker, plan(0, 4).speaker]
    assert first.stat().st_mtime_ns == stamp and second.read_bytes() == whole
    assert len(read_csv(folder / "meta" / "speech.csv")) == 5 == len(list((folder / "audio").iterdir()))


def test_an_utterance_of_the_wrong_length_is_asked_for_again(tmp_path, monkeypatch):
    for slower in (0.05, 8.0):
        calls, folder = install(tmp_path / f"bin{slower}", monkeypatch, slower=slower), tmp_path / f"speech{slower}"
        speech.write_synthetic_speech(folder, 1, seed=0)
        assert len(asked(calls)) > 1 and read_csv(folder / "meta" / "speech.csv")["seconds"].between(1, 10).all()


@pytest.mark.parametrize(
    ("fault", "words"),
    [({"broken": "yes"}, "voice does not exist"), ({"level": 0}, "no sound"), ({"slower": 40}, "expected 1 to 10 s")],
)
def test_a_program_that_fails_is_silent_or_never_ends_is_one_clear_error(tmp_path, monkeypatch, fault, words):
    install(tmp_path / "bin", monkeypatch, **fault)
    with pytest.raises(InputError, match=words):
        speech.write_synthetic_speech(tmp_path / "speech", 1, seed=0)
    assert not list((tmp_path / "speech" / "audio").iterdir())


def test_without_espeak_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="install Debian's espeak-ng"):
        speech.write_synthetic_speech(tmp_path / "speech", 1, seed=0)
    with pytest.raises(InputError, match="cannot be run"):
        speak(str(tmp_path / "espeak-ng"), plan(0, 0), tmp_path / "none.wav")
    assert not any(tmp_path.iterdir())


def test_what_another_seed_began_is_left_alone_and_so_are_other_files(tmp_path, calls):
    speech.write_synthetic_speech(tmp_path / "speech", 1, seed=0)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    for folder, n, seed, message in (
        ("speech", 1, 1, "begun with another seed"), ("mine", 1, 0, "not synthetic speech"),
        ("new", 0, 0, "n_utterances=0"), ("new", 100_001, 0, "n_utterances"), ("new", 1, -1, "seed=-1"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=message):
            speech.write_synthetic_speech(tmp_path / folder, n, seed)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")
def test_the_real_program_has_every_voice_and_variant_and_speaks_the_same_text_alike(tmp_path):
    unheard = {*(name for speaker in SPEAKERS for name in speaker.split("+"))}
    for index in range(len(SPEAKERS)):
        one, path = plan(0, index), tmp_path / f"{index}.wav"
        if unheard & set(one.speaker.split("+")):
            assert 0.5 < speak("espeak-ng", one, path) < 20
            unheard -= set(one.speaker.split("+"))
    assert not unheard and soundfile.info(tmp_path / "0.wav").samplerate == 22_050
    speak("espeak-ng", plan(0, 0), tmp_path / "again.wav")
    assert (tmp_path / "again.wav").read_bytes() == (tmp_path / "0.wav").read_bytes()
