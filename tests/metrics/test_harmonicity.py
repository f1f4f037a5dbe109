"""Harmonicity: tones and a sawtooth are periodic at their pitch, noise is not, and two sounds are compared."""

import math

import numpy as np
import pytest
import torch
from fakes.codecs import RATE, noise, tone

from envsound.metrics.harmonicity import harmonicity, periodicity


@pytest.mark.parametrize("hz", [123.0, 440.0, 1500.0])
def test_tones_and_sawtooths_are_periodic_at_their_pitch(hz):
    sawtooth = np.sum([tone(RATE, hz * k, 0.2 / k) for k in range(1, int(12_000 / hz))], axis=0)
    for clip in (tone(RATE, hz), sawtooth):
        share, pitch = periodicity(torch.from_numpy(clip)[None], RATE)
        assert share.min() > 0.9 and pitch.numpy() == pytest.approx(np.full(pitch.shape, hz), rel=5e-3)


def test_noise_is_not_periodic_and_noise_over_a_tone_halves_it():
    white = torch.from_numpy(noise(2 * RATE, rms=0.1))[None]
    assert periodicity(white, RATE)[0].mean() < 0.2
    mixed = white + torch.from_numpy(tone(2 * RATE, 300.0, 0.1 * math.sqrt(2)))[None]
    assert float(periodicity(mixed, RATE)[0].mean()) == pytest.approx(0.5, abs=0.06)


def test_silence_and_short_clips_have_no_pitch():
    for clip in (torch.zeros(1, RATE), torch.zeros(1, 10)):
        share, pitch = periodicity(clip, RATE)
        assert not share.any() and not pitch.any()


def test_harmonicity_is_compared_where_the_original_sounds():
    clip = np.concatenate([tone(RATE, 300.0), np.zeros(RATE, np.float32)])
    higher = np.concatenate([tone(RATE, 310.0), noise(RATE)])
    real, other = (torch.from_numpy(np.stack([x, np.zeros_like(x)])) for x in (clip, higher))
    values = harmonicity(real, other, RATE)
    assert float(values["harmonicity_original"][0]) > 0.95 and float(values["harmonicity_error"][0]) < 0.05
    assert float(values["pitch_agreement"][0]) < 0.1  # 57 cents higher
    assert float(harmonicity(real, real, RATE)["pitch_agreement"][0]) == 1
    assert all(math.isnan(float(value[1])) for value in values.values())
