"""Each building block does what its name says, measured on its output."""

import numpy as np
import pytest

from envsound.data.synthetic import blocks

RATE = 24_000


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def level_db(clip: np.ndarray, low: float, high: float) -> float:
    power = np.abs(np.fft.rfft(clip)) ** 2
    frequency = np.fft.rfftfreq(len(clip), 1.0 / RATE)
    return float(10.0 * np.log10(power[(frequency >= low) & (frequency < high)].mean()))


def test_shaped_noise_follows_its_curve_a_line_in_decibels_over_log_frequency(rng):
    noise = blocks.shaped_noise(rng, 5 * RATE, RATE, [(500, 0), (2000, -20), (8000, -40)])
    assert blocks.rms(noise) == pytest.approx(1.0)
    assert level_db(noise, 100, 400) - level_db(noise, 1950, 2050) == pytest.approx(20.0, abs=1.0)
    assert level_db(noise, 1950, 2050) - level_db(noise, 8000, 11000) == pytest.approx(20.0, abs=1.0)
    gain = blocks.band_gain(np.array([0.0, 100.0, 200.0, 400.0, 9000.0]), [(100, 0), (400, -12)])
    np.testing.assert_allclose(20.0 * np.log10(gain), [0, 0, -6, -12, -12], atol=1e-9)


def test_poisson_times_have_the_rate_asked_for(rng):
    rate = np.repeat([0.0, 400.0], 10 * RATE)
    times = blocks.poisson_times(rng, rate, len(rate), RATE)
    assert len(times) == pytest.approx(4000, abs=4 * np.sqrt(4000))
    assert times.min() >= 10 * RATE - 1 and times.max() < len(rate)
    gaps = np.diff(times) / RATE
    assert np.std(gaps) == pytest.approx(np.mean(gaps), rel=0.1)


def test_grains_add_up_are_cut_at_the_end_and_none_is_silence(rng):
    track = blocks.scatter(rng, np.array([0, 1, 4]), np.array([1.0, 2.0, 5.0]), [np.array([1.0, 10.0])], 5)
    np.testing.assert_array_equal(track, [1.0, 12.0, 20.0, 0.0, 5.0])
    times = blocks.poisson_times(rng, 0.0, 100, RATE)
    assert not times.size and not blocks.scatter(rng, times, np.ones(0), [np.ones(3)], 100).any()
    track = np.zeros(10)
    blocks.add_at(track, np.ones(8), 6 / RATE, RATE)
    blocks.add_at(track, np.ones(8), 1.0, RATE)
    np.testing.assert_array_equal(track, [0] * 6 + [1] * 4)


def test_harmonics_lie_at_multiples_of_the_pitch_and_below_the_nyquist_frequency():
    source = blocks.harmonics(np.full(RATE, 700.0), RATE, tilt_db=6.0)
    spectrum = np.abs(np.fft.rfft(source))
    peaks = np.sort(np.argsort(spectrum)[-15:])
    np.testing.assert_array_equal(peaks, 700 * np.arange(1, 16))
    assert 20.0 * np.log10(spectrum[700] / spectrum[1400]) == pytest.approx(6.0, abs=0.1)
    assert spectrum[11_600:].max() < 1e-3 * spectrum[700]


def test_a_mode_rings_at_its_frequency_and_fades_by_60_db():
    ring = blocks.modes([1000.0, 23_000.0], [0.5, 0.5], [1.0, 1.0], RATE)
    assert np.argmax(np.abs(np.fft.rfft(ring, RATE))) == pytest.approx(1000, abs=1)
    start, end = (blocks.rms(ring[i : i + 240]) for i in (0, RATE // 2))
    assert 20.0 * np.log10(start / end) == pytest.approx(60.0, abs=1.0)


def test_a_bubble_rises_in_pitch():
    sound = blocks.bubble(1000.0, 0.4, 0.5, RATE)
    crossings = np.flatnonzero(np.diff(np.sign(sound)))
    assert np.diff(crossings)[-20:].mean() < 0.75 * np.diff(crossings)[:20].mean()


def test_a_moving_formant_is_followed(rng):
    voice = blocks.formant_filter(rng.standard_normal(RATE), RATE, [[1000, 4000]], [200], [0])
    assert voice.shape == (RATE,)
    early, late = voice[: RATE // 5], voice[-RATE // 5 :]
    assert level_db(early, 900, 1300) > level_db(early, 3700, 4100) + 12
    assert level_db(late, 3700, 4100) > level_db(late, 900, 1300) + 12


def test_a_room_answers_after_the_direct_sound_and_dies_away(rng):
    click = np.zeros(RATE)
    click[100] = 1.0
    heard = blocks.room(rng, click, RATE, fade=0.4, wet=0.5)
    assert np.abs(heard[:100]).max() < 1e-9 and heard[100] == pytest.approx(1.0, abs=0.05)
    assert np.sum(heard[101:] ** 2) == pytest.approx(0.25, rel=0.05)
    assert blocks.rms(heard[8500:9700]) < 0.01 * blocks.rms(heard[300:1500])


@pytest.mark.parametrize("seconds", [0.02, 0.5])
def test_envelopes_start_and_end_near_zero_and_stay_within_one(seconds):
    n_samples = int(seconds * RATE)
    envelope = blocks.rise_and_fall(n_samples, RATE, 0.1, 0.2)
    assert envelope[0] < 0.02 and envelope[-1] < 0.02 and 0.95 < envelope.max() <= 1.0
    struck = blocks.strike_and_fade(n_samples, RATE, 0.001, seconds)
    assert struck[-1] < 2e-3 and 0.98 < struck.max() <= 1.0


def test_the_limiter_keeps_quiet_samples_and_bounds_loud_ones():
    clip = np.array([-50.0, -0.4, 0.0, 0.2, 3.0])
    limited = blocks.soft_limit(clip)
    np.testing.assert_array_equal(limited[1:4], clip[1:4])
    assert np.abs(limited).max() <= 0.97 and limited[0] < limited[1]
