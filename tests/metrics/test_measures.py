"""The measures of one clip, on sounds whose answer is known."""

import numpy as np
import pytest
from scipy import signal

from envsound.metrics.measures import MODULATION_EDGES_HZ, band_shares, envelope, envelope_shares, harmonicity

RATE = 24_000
TIME = np.arange(4 * RATE) / RATE  # s
NOISE = 0.1 * np.random.default_rng(0).standard_normal(TIME.size)
OCTAVES = MODULATION_EDGES_HZ[:-1]


def tone(hz: float) -> np.ndarray:
    return 0.3 * np.sin(2 * np.pi * hz * TIME)


def modulation(x: np.ndarray) -> dict[float, float]:
    """The share of the envelope's power in each octave, by its lower edge."""
    return dict(zip(OCTAVES, envelope_shares(envelope(x, RATE)), strict=True))


def test_white_noise_fills_bands_by_their_width_up_to_the_highest_frequency():
    for max_hz in (12_000, 8000):
        widths = np.array([300, 3200, 1500, max_hz - 5000])
        assert band_shares(NOISE, RATE, max_hz) == pytest.approx(widths / max_hz, abs=0.012)
    both = tone(1000) + 3 * tone(10_000)
    assert band_shares(both, RATE, 12_000)[1] < 0.2 and band_shares(both, RATE, 8000)[1] > 0.99


def test_what_repeats_is_harmonic_and_noise_is_not_and_loud_frames_count_more():
    saw = 0.3 * signal.sawtooth(2 * np.pi * 131 * TIME)
    for sound in (tone(97), tone(480), tone(3000), saw):
        assert harmonicity(sound, RATE) > 0.95
    dull = signal.sosfilt(signal.butter(4, 100, fs=RATE, output="sos"), NOISE)
    assert harmonicity(NOISE, RATE) < 0.15
    assert harmonicity(dull, RATE) < 0.5  # smooth, but no period
    assert 0.2 < harmonicity(saw + 3 * NOISE, RATE) < 0.8
    assert np.isnan(harmonicity(np.zeros(RATE), RATE))
    pulses, half = np.zeros(TIME.size), TIME.size // 2
    pulses[:: RATE // 20] = 1.0  # 20 a second is out of the range of pitch
    assert harmonicity(pulses + 1e-3 * NOISE, RATE) < 0.2
    loud_tone = np.concatenate([tone(200)[:half], 0.01 * NOISE[half:]])
    loud_noise = np.concatenate([0.01 * tone(200)[:half], NOISE[half:]])
    assert harmonicity(loud_tone, RATE) > 0.95 and harmonicity(loud_noise, RATE) < 0.15


@pytest.mark.parametrize("carrier", [NOISE, np.sign(tone(150)) * 0.1])
@pytest.mark.parametrize(("hz", "octave"), [(1.4, 1), (5.0, 4)])
def test_a_modulated_sound_has_its_power_at_the_rate_of_modulation(carrier, hz, octave):
    shares = modulation(carrier * (1 + np.sin(2 * np.pi * hz * TIME)))
    assert shares[octave] > 0.85 and sum(shares.values()) == pytest.approx(1)


def test_the_power_of_steady_noise_lies_in_fast_modulations_and_a_tone_has_none():
    shares = modulation(NOISE)
    assert shares[2] + shares[4] < 0.15 and shares[32] > 0.3
    assert np.isnan(list(modulation(tone(150)).values())).all()
