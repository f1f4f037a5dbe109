"""Measuring codecs: each measure on sounds whose answer is known, then a whole table on a codec of toy size."""

import numpy as np
import pandas as pd
import pytest
import torch

from envsound.codecs import opus, report
from envsound.codecs.fourier import FourierCodec, FourierConfig
from envsound.codecs.opus import opus_available, through_opus
from envsound.codecs.report import (
    METRICS,
    codes_used,
    comb_share,
    measure_systems,
    mfcc_features,
    noise_like,
    systems,
    through_codec,
    train_recogniser,
)
from envsound.codecs.spectral_losses import log_mel_distance
from envsound.codecs.stored import StoredCodec
from envsound.errors import InputError

RATE = 24_000  # Hz
SHAPE = FourierConfig(
    dim=8, hidden=8, n_encoder_blocks=1, n_decoder_blocks=1, latent_dim=4, n_levels=2, codebook_size=8
)


def noise(n_samples: int, seed: int = 0, rms: float = 0.1) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(n_samples) * rms).astype(np.float32)


def tone(n_samples: int, hz: float, level: float = 0.3) -> np.ndarray:
    return (level * np.sin(2 * np.pi * hz * np.arange(n_samples) / RATE)).astype(np.float32)


def pulses(n_samples: int, per_second: float) -> np.ndarray:
    clip = np.zeros(n_samples, np.float32)
    clip[np.arange(0, n_samples, RATE / per_second).astype(int)] = 0.5
    return clip


@pytest.fixture(scope="module")
def codec() -> StoredCodec:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = FourierCodec(SHAPE)
        spread = torch.from_numpy(np.stack([noise(6400), tone(6400, 440)]))
        with torch.no_grad():
            model.quantizer.initialise(model.latents(spread).transpose(1, 2).flatten(0, 1))
    return StoredCodec(model, "toy", "0" * 64)


@pytest.fixture(scope="module")
def material() -> tuple[list[np.ndarray], list[str]]:
    """Two classes nobody can confuse: noise and tones, of unequal lengths."""
    clips = [noise(5000 + 100 * n, seed=n) for n in range(4)] + [tone(5000 + 100 * n, 300 + 50 * n) for n in range(4)]
    return clips, ["noise"] * 4 + ["tone"] * 4


@pytest.fixture(scope="module")
def recogniser(material):
    return train_recogniser(*material, RATE)


# The 75 Hz comb


def test_comb_share_of_white_noise_is_small():
    assert comb_share(noise(20 * RATE), RATE) == pytest.approx(2 / 75, rel=0.15)


def test_comb_share_of_a_pulse_train_at_the_frame_rate_is_nearly_all():
    clip = pulses(5 * RATE, 75)
    assert comb_share(clip - clip.mean(), RATE) == pytest.approx(1.0, abs=0.01)


def test_comb_share_of_a_pulse_train_at_another_rate_is_small():
    clip = pulses(5 * RATE, 80)  # meets the comb every 1,200 Hz only
    assert comb_share(clip - clip.mean(), RATE) < 0.1


def test_comb_share_follows_the_frame_rate_and_ignores_level():
    clip = tone(5 * RATE, 1050)  # 14 * 75 = 21 * 50
    assert comb_share(clip, RATE) == pytest.approx(comb_share(clip * 0.01, RATE), abs=1e-4)
    assert comb_share(clip, RATE, frame_rate=50) > 0.99
    assert comb_share(clip, RATE, frame_rate=80) < 0.01


def test_comb_share_leaves_out_an_offset_and_silence():
    assert comb_share(np.full(RATE, 0.5, np.float32), RATE) == pytest.approx(0, abs=1e-9)
    assert np.isnan(comb_share(np.zeros(RATE, np.float32), RATE))


# Distances


def test_log_mel_distance_of_a_clip_to_itself_is_zero():
    clip = torch.from_numpy(noise(RATE))[None]
    assert log_mel_distance(clip, clip, RATE) == 0


@pytest.mark.parametrize("gain", [0.1, 0.5, 2.0])
def test_log_mel_distance_of_a_gain_is_its_decibels(gain):
    clip = torch.from_numpy(noise(RATE))[None]
    expected = abs(20 * np.log10(gain))
    assert log_mel_distance(clip, gain * clip, RATE) == pytest.approx(expected, abs=1e-3)
    assert log_mel_distance(gain * clip, clip, RATE) == pytest.approx(expected, abs=1e-3)


def test_log_mel_distance_does_not_hear_below_its_floor():
    quiet = torch.from_numpy(noise(RATE, rms=1e-6))[None]
    assert log_mel_distance(quiet, torch.zeros_like(quiet), RATE) == 0


# Systems


@pytest.mark.parametrize("n_samples", [500, 6400])
def test_noise_has_the_length_and_rms_of_the_clip(n_samples):
    clip = tone(n_samples, 440)
    heard = noise_like(clip)
    assert heard.shape == clip.shape
    assert heard.dtype == np.float32
    assert np.sqrt(np.mean(heard**2)) == pytest.approx(np.sqrt(np.mean(clip**2)), rel=0.1)
    assert abs(np.corrcoef(heard, clip)[0, 1]) < 0.15
    assert np.array_equal(heard, noise_like(clip))
    assert not np.array_equal(heard, noise_like(clip, seed=1))


@pytest.mark.parametrize("n_samples", [319, 640, 1000])
def test_a_clip_keeps_its_length_through_the_codec(codec, n_samples):
    clip = noise(n_samples)
    heard = through_codec(clip, codec)
    assert heard.shape == clip.shape
    assert heard.dtype == np.float32
    assert np.array_equal(heard, through_codec(clip, codec, 2))
    assert not np.array_equal(heard, through_codec(clip, codec, 1))


def test_systems_name_the_levels_the_codec_has(codec, monkeypatch):
    monkeypatch.setattr(report, "opus_available", lambda: False)
    assert list(systems(codec)) == ["toy, 2 levels", "toy, 1 level", "white noise"]
    monkeypatch.setattr(report, "opus_available", lambda: True)
    named = ["toy, 2 levels", "toy, 1 level", "Opus, 6 kbit/s", "Opus, 12 kbit/s", "white noise"]
    assert list(systems(codec)) == named


@pytest.mark.skipif(not opus_available(), reason="opus-tools are not installed")
def test_opus_keeps_a_tone_its_length_and_its_place():
    clip = tone(RATE, 440)
    clip[: RATE // 2] = 0
    heard = through_opus(clip, RATE, 24)
    assert heard.shape == clip.shape
    assert heard.dtype == np.float32
    assert np.corrcoef(heard, clip)[0, 1] > 0.9
    assert np.sqrt(np.mean(heard[: RATE // 2 - 1000] ** 2)) < 0.01


@pytest.mark.skipif(not opus_available(), reason="opus-tools are not installed")
def test_opus_loses_more_at_fewer_bits():
    clip = tone(RATE, 440) + noise(RATE)
    real = torch.from_numpy(clip)[None]
    lost = [log_mel_distance(real, torch.from_numpy(through_opus(clip, RATE, kbps))[None], RATE) for kbps in (6, 48)]
    assert 0 < lost[1] < lost[0]


def test_opus_without_its_tools_says_what_to_install(monkeypatch):
    monkeypatch.setattr(opus.shutil, "which", lambda tool: None)
    assert not opus_available()
    with pytest.raises(InputError, match="install opus-tools"):
        through_opus(noise(100), RATE, 6)


def test_codes_used_counts_different_codes(codec):
    clips = [noise(640), tone(1000, 440)]
    codes = [codec.encode(torch.from_numpy(clip)[None])[0] for clip in clips]
    expected = [len({int(code) for piece in codes for code in piece[level]}) for level in range(2)]
    assert codes_used(codec, clips) == expected
    assert all(1 <= used <= 6 for used in expected)  # 2 + 4 frames


# Recognising


def test_features_are_finite_even_of_silence_and_short_clips():
    for clip in (np.zeros(5000, np.float32), noise(2100)):
        features = mfcc_features(clip, RATE)
        assert features.shape == (80,)
        assert np.isfinite(features).all()


def test_the_recogniser_tells_noise_from_tones(recogniser):
    clips = [noise(6000, seed=99), tone(6000, 410), noise(5500, seed=98), tone(5500, 330)]
    guessed = recogniser.predict([mfcc_features(clip, RATE) for clip in clips])
    assert guessed.tolist() == ["noise", "tone", "noise", "tone"]


# The table


def test_measure_systems(codec, material, recogniser, monkeypatch):
    monkeypatch.setattr(report, "opus_available", lambda: False)
    clips, categories = material
    table = measure_systems(codec, clips, categories, recogniser)
    columns = ["system", "log_mel_distance", "comb_share", "recognised", *(f"ks_{name}" for name in METRICS)]
    assert list(table) == columns
    assert table["system"].tolist() == ["original", "toy, 2 levels", "toy, 1 level", "white noise"]
    original, noisy = table.iloc[0], table.iloc[-1]
    assert original["log_mel_distance"] == 0
    assert original["recognised"] == 1
    assert (original[columns[4:]] == 0).all()
    assert (table["log_mel_distance"][1:] > 1).all()
    assert noisy["recognised"] == 0.5  # only the noises
    assert noisy["ks_spectral_centroid_hz"] >= 0.5
    assert table[columns[4:]].astype(float).map(lambda value: 0 <= value <= 1).all(axis=None)


def test_a_silent_clip_leaves_the_comb_of_the_others(codec, material, recogniser, monkeypatch):
    monkeypatch.setattr(report, "systems", lambda codec: {"same": lambda clip: clip})
    clips = [material[0][0], np.zeros(5000, np.float32)]
    table = measure_systems(codec, clips, ["noise", "tone"], recogniser)
    assert table["comb_share"].tolist() == pytest.approx([comb_share(clips[0], RATE)] * 2)
    assert isinstance(table, pd.DataFrame)
