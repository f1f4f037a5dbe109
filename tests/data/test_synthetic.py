"""The synthetic data set: deterministic, audible, varied, recognisable, and written whole or not at all."""

import itertools
import os

import librosa
import numpy as np
import pandas as pd
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from envsound.base.errors import InputError
from envsound.data.synthetic import clips
from envsound.data.synthetic.clips import CATEGORIES, generate_clip, write_dataset

ESC10_TARGETS = {
    "dog": 0,
    "rooster": 1,
    "rain": 10,
    "sea_waves": 11,
    "crackling_fire": 12,
    "crying_baby": 20,
    "sneezing": 21,
    "clock_tick": 38,
    "helicopter": 40,
    "chainsaw": 41,
}


def summary(clip: np.ndarray) -> np.ndarray:
    mfcc = librosa.feature.mfcc(y=clip, sr=24_000, n_mfcc=20, n_fft=1024, hop_length=1024)
    return np.concatenate([f(x, axis=1) for x in (mfcc, librosa.feature.delta(mfcc)) for f in (np.mean, np.std)])


def summaries(first_seed: int, n_clips: int) -> tuple[np.ndarray, np.ndarray]:
    seeds = range(first_seed, first_seed + n_clips)
    rows = [summary(generate_clip(category, seed)) for category in CATEGORIES for seed in seeds]
    return np.array(rows), np.repeat(list(CATEGORIES), n_clips)


def short_clip(category: str, seed: int, sample_rate: int = 24_000, seconds: float = 5.0) -> np.ndarray:
    return np.full(100, 0.1 + 1e-3 * seed / clips.CLIPS_PER_SEED, dtype=np.float32)


def test_the_classes_have_the_esc50_targets():
    assert CATEGORIES == ESC10_TARGETS


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(sorted(CATEGORIES)), st.integers(0, 2**40), st.sampled_from([0.5, 1.0, 5.0]))
def test_clips_are_repeatable_finite_and_audible(category, seed, seconds):
    clip = generate_clip(category, seed, seconds=seconds)
    assert clip.dtype == np.float32 and clip.shape == (round(seconds * 24_000),)
    assert np.abs(clip).max() <= 1.0
    assert 0.008 <= np.sqrt(np.mean(clip**2)) <= 0.25
    np.testing.assert_array_equal(clip, generate_clip(category, seed, seconds=seconds))


@pytest.mark.parametrize("sample_rate", [16_000, 44_100])
@pytest.mark.parametrize("category", CATEGORIES)
def test_other_sample_rates_give_the_same_kind_of_clip(category, sample_rate):
    clip = generate_clip(category, 1, sample_rate=sample_rate, seconds=2.0)
    assert clip.shape == (2 * sample_rate,) and np.isfinite(clip).all() and np.std(clip) > 0.005


@pytest.mark.parametrize("category", CATEGORIES)
def test_no_two_clips_of_a_class_are_alike(category):
    clips = [generate_clip(category, seed) for seed in range(6)]
    spectra = [np.fft.rfft(clip / np.linalg.norm(clip), 2 * len(clip)) for clip in clips]
    for one, other in itertools.combinations(spectra, 2):
        assert np.abs(np.fft.irfft(one * other.conj())).max() < 0.9


def test_levels_differ_between_clips_and_some_short_sounds_are_padded():
    clips = [generate_clip("dog", seed) for seed in range(20)]
    levels = [np.sqrt(np.mean(clip**2)) for clip in clips]
    padded = [bool(np.all(clip[-12_000:] == 0)) for clip in clips]
    assert max(levels) > 2 * min(levels)
    assert any(padded) and not all(padded)


def test_a_classifier_trained_on_one_seed_recognises_another():
    known, known_classes = summaries(0, 12)
    unknown, unknown_classes = summaries(10_000, 5)
    classifier = make_pipeline(StandardScaler(), SVC(C=10.0)).fit(known, known_classes)
    assert classifier.score(unknown, unknown_classes) >= 0.9


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("cat", 0), "cat"),
        (("dog", -1), "seed"),
        (("dog", 0, 8_000), "sample_rate"),
        (("dog", 0, 24_000, 0.1), "seconds"),
    ],
)
def test_a_bad_request_names_the_parameter(arguments, named):
    with pytest.raises(InputError, match=named):
        generate_clip(*arguments)


def test_the_data_set_has_the_layout_of_esc50(tmp_path):
    folder = write_dataset(tmp_path / "synthetic", 5, seed=3)
    table = pd.read_csv(folder / "meta" / "esc50.csv")
    assert list(table.columns) == ["filename", "fold", "target", "category", "esc10", "src_file", "take"]
    assert (table.groupby(["category", "fold"]).size() == 1).all() and len(table) == 50
    assert table["esc10"].all() and table["category"].map(CATEGORIES).equals(table["target"])
    assert sorted(os.listdir(folder / "audio")) == sorted(table["filename"])
    row = table.iloc[7]
    assert row["filename"] == f"{row['fold']}-s3x2-A-{row['target']}.wav"
    about = soundfile.info(folder / "audio" / row["filename"])
    assert (about.samplerate, about.frames, about.channels, about.subtype) == (24_000, 120_000, 1, "PCM_16")
    clip, _ = soundfile.read(folder / "audio" / row["filename"])
    expected = generate_clip(row["category"], 3 * clips.CLIPS_PER_SEED + 2)
    np.testing.assert_allclose(clip, expected, atol=1.0 / 32_000)


def test_a_complete_data_set_is_reused_and_another_one_replaced(tmp_path, monkeypatch):
    monkeypatch.setattr(clips, "generate_clip", short_clip)
    folder = write_dataset(tmp_path / "synthetic", 2, seed=0)
    before = (folder / "dataset.json").stat().st_mtime_ns
    assert write_dataset(folder, 2, seed=0) == folder
    assert (folder / "dataset.json").stat().st_mtime_ns == before
    lost = next((folder / "audio").iterdir())
    lost.unlink()
    write_dataset(folder, 2, seed=0)
    assert lost.is_file()
    write_dataset(folder, 1, seed=4)
    assert len(list((folder / "audio").glob("*-s4x0-A-*.wav"))) == len(os.listdir(folder / "audio")) == 10
    assert os.listdir(tmp_path) == ["synthetic"]


def test_an_interrupted_write_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(category, seed, sample_rate):
        if category == "rain":
            raise KeyboardInterrupt
        return short_clip(category, seed)

    monkeypatch.setattr(clips, "generate_clip", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_dataset(tmp_path / "synthetic", 1, seed=0)
    assert os.listdir(tmp_path) == []


def test_a_folder_with_other_files_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(InputError, match="not a synthetic data set"):
        write_dataset(tmp_path, 1, seed=0)
    assert os.listdir(tmp_path) == ["thesis.txt"]


@pytest.mark.parametrize("count", [0, clips.CLIPS_PER_SEED + 1])
def test_a_count_out_of_range_is_refused(tmp_path, count):
    with pytest.raises(InputError, match="clips_per_class"):
        write_dataset(tmp_path / "synthetic", count, seed=0)
