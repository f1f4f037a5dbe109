"""Distances between a clip and what a codec made of it, on sounds whose answer is known."""

import numpy as np
import pytest
import torch
from fakes.codecs import RATE, noise, tone
from hypothesis import given, settings
from hypothesis import strategies as st

from envsound.base.errors import InputError
from envsound.codec import distances as module
from envsound.codec.distances import (
    BANDS,
    EVERYTHING,
    comb_share,
    log_mel,
    si_sdr_db,
    sounding_columns,
    stft_distance,
)
from envsound.codec.training.losses import log_mel_distance

SILENCE = np.zeros(RATE, np.float32)


def at_right_angles(clip: np.ndarray, seed: int) -> np.ndarray:
    """Noise with mean zero, without any part along the clip, with the clip's energy."""
    centred = clip.astype(np.float64) - clip.mean(dtype=np.float64)
    other = np.random.default_rng(seed).standard_normal(len(clip))
    other -= other.mean()
    other -= centred * (other @ centred) / (centred @ centred)
    return other * np.linalg.norm(centred) / np.linalg.norm(other)


@settings(max_examples=20, deadline=None)
@given(gain=st.floats(0.01, 2), db=st.floats(-30, 40), offset=st.floats(-0.2, 0.2), seed=st.integers(0, 99))
def test_si_sdr_of_a_scaled_clip_with_noise_at_right_angles_is_their_ratio(gain, db, offset, seed):
    clip = noise(2000, seed).astype(np.float64)
    spoilt = gain * (clip + 10 ** (-db / 20) * at_right_angles(clip, seed + 100)) + offset
    assert si_sdr_db(clip, spoilt) == pytest.approx(db, abs=1e-6)


def test_si_sdr_of_a_clip_to_itself_is_infinite_and_does_not_hear_an_offset_or_the_sign():
    clip = noise(2000).astype(np.float64)
    assert si_sdr_db(clip, clip) == np.inf
    assert si_sdr_db(clip, -clip) > 200 and si_sdr_db(clip + 0.3, clip) > 200


def test_si_sdr_of_silence_on_either_side_is_undefined():
    offset = np.full(RATE, 0.25, np.float32)  # and nothing but an offset
    for sides in ((SILENCE, noise(RATE)), (offset, noise(RATE)), (noise(RATE), SILENCE)):
        assert np.isnan(si_sdr_db(*sides))


@pytest.mark.parametrize("gain", [0.1, 0.5, 2.0])
def test_distances_of_a_gain_are_that_gain(gain):
    clip = noise(RATE)
    assert log_mel(clip, gain * clip, RATE) == pytest.approx(abs(20 * np.log10(gain)), abs=1e-3)
    assert stft_distance(clip, gain * clip) == pytest.approx(abs(np.log(gain)), rel=0.02)  # the floor takes a little
    assert stft_distance(gain * clip, clip) == stft_distance(clip, gain * clip)
    bands, change = (*BANDS, EVERYTHING), 20 * np.log10(gain)
    assert module.band_level_differences(clip, gain * clip, RATE, bands) == pytest.approx([change] * 7, abs=1e-6)
    assert module.band_distances(clip, gain * clip, RATE, bands) == pytest.approx([abs(change)] * 7, abs=0.03)


@pytest.mark.parametrize("clip", [noise(RATE), SILENCE, noise(100)], ids=["noise", "silence", "short"])
def test_distances_of_a_clip_to_itself_are_zero(clip):
    assert log_mel(clip, clip, RATE) == 0 and stft_distance(clip, clip) == 0
    assert (module.band_distances(clip, clip, RATE) == 0).all()


def test_log_mel_is_the_distance_that_reports_training_and_does_not_hear_below_its_floor():
    clip, other, quiet = noise(RATE), noise(RATE, seed=1), noise(RATE, rms=1e-6)
    both = (torch.from_numpy(side)[None] for side in (clip, other))
    assert log_mel(clip, other, RATE) == log_mel_distance(*both, RATE)
    assert log_mel(quiet, SILENCE, RATE) == 0 and stft_distance(quiet, SILENCE) < 0.02


@pytest.mark.parametrize("other", [noise(RATE - 1), noise(2 * RATE).reshape(2, -1)])
def test_clips_of_other_shapes_are_refused(other):
    for distance in (stft_distance, si_sdr_db):
        with pytest.raises(InputError, match="expected two clips"):
            distance(noise(RATE), other)


def test_comb_share_is_small_for_white_noise_and_nearly_all_for_pulses_at_the_frame_rate():
    assert comb_share(noise(20 * RATE), RATE) == pytest.approx(2 / 75, rel=0.15)
    at_rate, beside = np.zeros((2, 5 * RATE), np.float32)
    at_rate[:: RATE // 75], beside[:: RATE // 80] = 0.5, 0.5
    assert comb_share(at_rate, RATE) == pytest.approx(1.0, abs=0.01)
    assert comb_share(beside, RATE) < 0.1  # meets the comb every 1,200 Hz only


def test_comb_share_follows_the_frame_rate_and_ignores_level():
    clip = tone(5 * RATE, 1050)  # 14 * 75 = 21 * 50
    assert comb_share(clip, RATE) == pytest.approx(comb_share(clip * 0.01, RATE), abs=1e-4)
    assert comb_share(clip, RATE, frame_rate=50) > 0.99
    assert comb_share(clip, RATE, frame_rate=80) < 0.01
    assert comb_share(np.full(RATE, 0.5, np.float32), RATE) == pytest.approx(0, abs=1e-9)  # an offset
    assert np.isnan(comb_share(SILENCE, RATE))


@pytest.mark.parametrize("n_samples", [RATE, RATE + 1])
def test_the_bands_share_out_the_whole_energy(n_samples):
    clip = noise(n_samples) + np.float32(0.05)
    energies = 10 ** (module.band_levels_db(clip, RATE) / 10)
    assert energies.sum() == pytest.approx(np.mean(clip.astype(np.float64) ** 2), rel=1e-9)
    assert 10 ** (module.band_levels_db(clip, RATE, [EVERYTHING])[0] / 10) == pytest.approx(energies.sum(), rel=1e-9)


@pytest.mark.parametrize(("hz", "band"), [(299, 0), (300, 1), (1000, 2), (4999, 3), (5000, 4), (8000, 5), (12_000, 5)])
def test_a_tone_lies_in_one_band_which_holds_its_lower_edge(hz, band):
    clip = np.cos(2 * np.pi * hz * np.arange(RATE) / RATE)
    levels = module.band_levels_db(clip, RATE)
    assert levels.argmax() == band
    assert levels[band] == pytest.approx(0 if hz == RATE / 2 else 10 * np.log10(0.5), abs=1e-6)
    assert (np.delete(levels, band) < -200).all()


def test_a_band_without_sound_has_no_level_difference_and_a_lost_band_a_bounded_one():
    low = tone(RATE, 500)
    differences = module.band_level_differences(low, low + tone(RATE, 2000), RATE)
    assert differences[1] == pytest.approx(0, abs=1e-6)
    assert np.isnan(np.delete(differences, 1)).all()
    lost = module.band_level_differences(low, SILENCE, RATE)[1]
    assert lost == pytest.approx(-120 - 10 * np.log10(0.3**2 / 2), abs=1e-5)


def test_a_band_counts_from_80_decibels_below_full_scale_on():
    just = np.sqrt(2) * 10 ** (-80 / 20)
    for level, heard in ((1.01 * just, True), (0.99 * just, False)):
        clip = tone(RATE, 2000, level=level).astype(np.float64)
        assert np.isfinite(module.band_level_differences(clip, clip, RATE)[2]) == heard


def test_bands_end_at_half_the_sample_rate():
    assert module.bands_below(48_000) == BANDS and module.bands_below(16_000) == BANDS[:-1]
    assert module.bands_below(10_500)[-1] == (5000, 5250)


def test_a_column_sounds_within_40_db_of_the_loudest():
    clips = torch.ones(2, 400)
    clips[0, 100:200], clips[0, 200:300], clips[1] = 0.011, 0.009, 0
    assert sounding_columns(clips, 4).tolist() == [[True, True, False, True], [False] * 4]
