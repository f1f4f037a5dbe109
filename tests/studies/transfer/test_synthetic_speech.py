"""Synthetic speech: what is asked of espeak-ng, and how its files are kept; a stand-in speaks in its place."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from fakes.espeak import install

from envsound.base.errors import InputError
from envsound.base.files import read_csv, read_json
from envsound.studies.transfer.espeak import (
    ENGLISH,
    LONGEST_S,
    PITCHES,
    RATES_WPM,
    SHORTEST_S,
    SPEAKERS,
    VARIANTS,
    describe_speech,
    english_text,
    plan,
    speak,
    syllable_text,
    write_synthetic_speech,
)
from envsound.studies.transfer.speech import speaker_fold


@pytest.fixture
def calls(tmp_path, monkeypatch):
    """The file in which the stand-in for espeak-ng notes its calls."""
    return install(tmp_path / "bin", monkeypatch)


def asked(calls) -> list[list[str]]:
    return [line.split("|") for line in calls.read_text().splitlines()]


# What is asked for


def test_the_same_seed_asks_for_the_same_and_another_for_something_else():
    assert [plan(3, n) for n in range(20)] == [plan(3, n) for n in range(20)]
    assert plan(3, 0) != plan(4, 0) and len({plan(3, n).text for n in range(20)}) == 20


def test_speakers_take_turns_and_every_fold_has_some():
    speakers = [plan(0, n).speaker for n in range(len(SPEAKERS) + 1)]
    assert set(speakers) == set(SPEAKERS) and speakers[0] == speakers[-1] and len(set(speakers)) == len(SPEAKERS)
    assert {speaker_fold(speaker) for speaker in SPEAKERS} == {1, 2, 3, 4, 5}
    assert {"m1", "f5"} < set(VARIANTS) and len({name.split("+")[0] for name in SPEAKERS} - set(ENGLISH)) > 10


def test_rates_and_pitches_span_their_range():
    plans = [plan(0, n) for n in range(100)]
    for values, (low, high) in (([p.rate_wpm for p in plans], RATES_WPM), ([p.pitch for p in plans], PITCHES)):
        assert low <= min(values) < low + 9 and high - 9 < max(values) <= high


def test_another_attempt_changes_only_the_text():
    once, again = plan(1, 5), plan(1, 5, scale=3.0)
    assert len(again.text.split()) > 1.5 * len(once.text.split())
    assert (once.speaker, once.rate_wpm, once.pitch) == (again.speaker, again.rate_wpm, again.pitch)


@pytest.mark.parametrize("text", [english_text, syllable_text])
def test_texts_have_about_the_words_asked_for_and_end_as_sentences_do(text):
    for n in (1, 7, 30):
        made = text(np.random.default_rng(n), n)
        assert n <= len(made.split()) <= n + 14 and made[-1] in ".?" and made[0].isalpha()
        assert not set(made) - set("abcdefghijklmnopqrstuvwxyz ',.?")


def test_negative_numbers_are_refused():
    for numbers in ((-1, 0), (0, -1)):
        with pytest.raises(InputError, match="expected 0 or more"):
            plan(*numbers)


# Files


def test_a_folder_holds_wav_files_a_listing_and_what_they_are(tmp_path, calls):
    folder = write_synthetic_speech(tmp_path / "speech", 6, seed=2)
    table = read_csv(folder / "meta" / "speech.csv")
    assert len(table) == 6 and (table["category"] == "speech").all()
    assert list(table["fold"]) == [speaker_fold(speaker) for speaker in table["speaker"]]
    about = soundfile.info(folder / "audio" / table["filename"][0])
    assert (about.samplerate, about.channels, about.subtype) == (22_050, 1, "PCM_16")
    assert about.frames / 22_050 == pytest.approx(table["seconds"][0])
    assert table["seconds"].between(SHORTEST_S, LONGEST_S).all()
    assert asked(calls)[0] == [plan(2, 0).speaker, str(plan(2, 0).rate_wpm), str(plan(2, 0).pitch), plan(2, 0).text]
    kept = read_json(folder / "speech.json")
    assert kept["kind"] == "synthetic speech, rule-based" and kept["espeak_ng"] == "1.51" and kept["seed"] == 2
    assert describe_speech(folder) == "synthetic speech, rule-based (espeak-ng 1.51, seed 2)"


def test_whole_files_are_kept_and_the_rest_is_made_again(tmp_path, calls):
    folder = write_synthetic_speech(tmp_path / "speech", 4, seed=0)
    first, second, *_ = sorted((folder / "audio").iterdir())
    stamp, whole = first.stat().st_mtime_ns, second.read_bytes()
    second.write_bytes(whole[:1000])
    calls.unlink()
    write_synthetic_speech(folder, 5, seed=0)
    assert [row[0] for row in asked(calls)] == [plan(0, 1).speaker, plan(0, 4).speaker]
    assert first.stat().st_mtime_ns == stamp and second.read_bytes() == whole
    assert len(read_csv(folder / "meta" / "speech.csv")) == 5 == len(list((folder / "audio").iterdir()))


@pytest.mark.parametrize("slower", [0.05, 8.0])
def test_an_utterance_of_the_wrong_length_is_asked_for_again(tmp_path, monkeypatch, slower):
    calls = install(tmp_path / "bin", monkeypatch, slower=slower)
    folder = write_synthetic_speech(tmp_path / "speech", 1, seed=0)
    assert len(asked(calls)) > 1
    assert read_csv(folder / "meta" / "speech.csv")["seconds"].between(SHORTEST_S, LONGEST_S).all()


def test_an_utterance_that_never_fits_is_an_error_that_leaves_no_file(tmp_path, monkeypatch):
    install(tmp_path / "bin", monkeypatch, slower=40)
    with pytest.raises(InputError, match=r"expected 1 to 10 s"):
        write_synthetic_speech(tmp_path / "speech", 1, seed=0)
    assert not list((tmp_path / "speech" / "audio").iterdir())


@pytest.mark.parametrize(("fault", "words"), [({"broken": "yes"}, "voice does not exist"), ({"level": 0}, "no sound")])
def test_a_failing_or_silent_program_is_one_clear_error(tmp_path, monkeypatch, fault, words):
    install(tmp_path / "bin", monkeypatch, **fault)
    with pytest.raises(InputError, match=words):
        write_synthetic_speech(tmp_path / "speech", 1, seed=0)
    assert not list((tmp_path / "speech" / "audio").iterdir())


def test_without_espeak_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="install Debian's espeak-ng"):
        write_synthetic_speech(tmp_path / "speech", 1, seed=0)
    assert not (tmp_path / "speech").exists()


def test_a_folder_of_another_seed_or_of_other_files_is_left_alone(tmp_path, calls):
    folder = write_synthetic_speech(tmp_path / "speech", 1, seed=0)
    with pytest.raises(InputError, match="begun with another seed"):
        write_synthetic_speech(folder, 1, seed=1)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(InputError, match="not synthetic speech"):
        write_synthetic_speech(tmp_path / "mine", 1, seed=0)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(("n_utterances", "seed"), [(0, 0), (100_001, 0), (1, -1)])
def test_numbers_out_of_range_are_refused(tmp_path, calls, n_utterances, seed):
    with pytest.raises(InputError, match="n_utterances"):
        write_synthetic_speech(tmp_path / "speech", n_utterances, seed)


# The real program, where it is installed


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")
def test_espeak_has_every_voice_and_variant_and_speaks_the_same_text_alike(tmp_path):
    unheard = {*(name for speaker in SPEAKERS for name in speaker.split("+"))}
    for index in range(len(SPEAKERS)):
        utterance, path = plan(0, index), tmp_path / f"{index}.wav"
        if unheard & set(utterance.speaker.split("+")):
            assert 0.5 < speak("espeak-ng", utterance, path) < 20
            unheard -= set(utterance.speaker.split("+"))
    assert not unheard and soundfile.info(tmp_path / "0.wav").samplerate == 22_050
    speak("espeak-ng", plan(0, 0), tmp_path / "again.wav")
    assert (tmp_path / "again.wav").read_bytes() == (tmp_path / "0.wav").read_bytes()
    speak("espeak-ng", replace(plan(0, 0), speaker=SPEAKERS[0]), tmp_path / "other.wav")
    assert (tmp_path / "other.wav").read_bytes() != (tmp_path / "0.wav").read_bytes()
    with pytest.raises(InputError, match="voice"):
        speak("espeak-ng", replace(plan(0, 0), speaker="nobody+m1"), tmp_path / "none.wav")
