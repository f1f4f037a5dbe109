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


def summary(clip: np.ndarray) -> np.ndarray:
    mfcc = librosa.feature.mfcc(y=clip, sr=24_000, n_mfcc=20, n_fft=1024, hop_length=1024)
    return np.concatenate([f(x, axis=1) for x in (mfcc, librosa.feature.delta(mfcc)) for f in (np.mean, np.std)])


def summaries(first_seed: int, n_clips: int) -> tuple[np.ndarray, np.ndarray]:
    seeds = range(first_seed, first_seed + n_clips)
    rows = [summary(generate_clip(category, seed, seconds=1.0)) for category in CATEGORIES for seed in seeds]
    return np.array(rows), np.repeat(list(CATEGORIES), n_clips)


def short_clip(category: str, seed: int, sample_rate: int = 24_000, seconds: float = 5.0) -> np.ndarray:
    return np.full(100, 0.1 + 1e-3 * seed / clips.CLIPS_PER_SEED, dtype=np.float32)


@settings(max_examples=20, deadline=None)
@given(
    st.sampled_from(sorted(CATEGORIES)), st.integers(0, 2**40), st.sampled_from([0.5, 1.0, 5.0]),
    st.sampled_from([16_000, 24_000, 44_100]),
)  # fmt: skip
def test_clips_are_repeatable_finite_and_audible_at_any_rate(category, seed, seconds, rate):
    clip = generate_clip(category, seed, rate, seconds)
    assert clip.dtype == np.float32 and clip.shape == (round(seconds * rate),)
    assert np.abs(clip).max() <= 1.0
    assert 0.008 <= np.sqrt(np.mean(clip**2)) <= 0.25
    np.testing.assert_array_equal(clip, generate_clip(category, seed, rate, seconds))


@pytest.mark.parametrize("category", CATEGORIES)
def test_no_two_clips_of_a_class_are_alike(category):
    clips = [generate_clip(category, seed, seconds=2.0) for seed in range(4)]
    spectra = [np.fft.rfft(clip / np.linalg.norm(clip), 2 * len(clip)) for clip in clips]
    for one, other in itertools.combinations(spectra, 2):
        assert np.abs(np.fft.irfft(one * other.conj())).max() < 0.9


def test_levels_differ_between_clips_and_some_short_sounds_are_padded():
    clips = [generate_clip("dog", seed, seconds=2.0) for seed in range(20)]
    levels = [np.sqrt(np.mean(clip**2)) for clip in clips]
    padded = [bool(np.all(clip[-4800:] == 0)) for clip in clips]
    assert max(levels) > 2 * min(levels)
    assert any(padded) and not all(padded)


def test_a_classifier_trained_on_one_seed_recognises_another():
    known, known_classes = summaries(0, 12)
    unknown, unknown_classes = summaries(10_000, 5)
    classifier = make_pipeline(StandardScaler(), SVC(C=10.0)).fit(known, known_classes)
    assert classifier.score(unknown, unknown_classes) >= 0.9


BAD = {"cat": ("cat", 0), "seed": ("dog", -1), "sample_rate": ("dog", 0, 8_000), "seconds": ("dog", 0, 24_000, 0.1)}


@pytest.mark.parametrize(("named", "arguments"), BAD.items())
def test_a_bad_request_names_the_parameter(arguments, named):
    with pytest.raises(InputError, match=named):
        generate_clip(*arguments)


def test_the_data_set_has_the_layout_of_esc50(tmp_path, monkeypatch):
    monkeypatch.setattr(clips, "generate_clip", short_clip)
    folder = write_dataset(tmp_path / "synthetic", 5, seed=3)
    table = pd.read_csv(folder / "meta" / "esc50.csv")
    assert list(table.columns) == ["filename", "fold", "target", "category", "esc10", "src_file", "take"]
    assert (table.groupby(["category", "fold"]).size() == 1).all() and len(table) == 50
    assert table["esc10"].all() and table["category"].map(CATEGORIES).equals(table["target"])
    assert sorted(os.listdir(folder / "audio")) == sorted(table["filename"])
    row = table.iloc[7]
    assert row["filename"] == f"{row['fold']}-s3x2-A-{row['target']}.wav"
    about = soundfile.info(folder / "audio" / row["filename"])
    assert (about.samplerate, about.frames, about.channels, about.subtype) == (24_000, 100, 1, "PCM_16")
    expected = short_clip(row["category"], 3 * clips.CLIPS_PER_SEED + 2)
    np.testing.assert_allclose(soundfile.read(folder / "audio" / row["filename"])[0], expected, atol=1.0 / 32_000)


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


def test_a_folder_with_other_files_is_left_alone_and_a_count_out_of_range_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(InputError, match="not a synthetic data set"):
        write_dataset(tmp_path, 1, seed=0)
    for count in (0, clips.CLIPS_PER_SEED + 1):
        with pytest.raises(InputError, match="clips_per_class"):
            write_dataset(tmp_path / "synthetic", count, seed=0)
    assert os.listdir(tmp_path) == ["thesis.txt"]
