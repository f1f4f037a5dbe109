"""The published metrics by hand, against theory, and on clips that leave them undefined."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envsound.base.errors import InputError
from envsound.metrics.acoustic import (
    ACOUSTIC,
    METRICS,
    PAIRWISE,
    acoustic,
    chosen,
    describe,
    log_spectral_distance,
    spectral_convergence,
)

RATE = 24_000
pytestmark = pytest.mark.filterwarnings("error")


def noise(seed: int, n_samples: int = 2400) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, n_samples)


def sine(cycles: int, n_samples: int, amplitude: float = 0.5) -> np.ndarray:
    return amplitude * np.sin(2 * np.pi * cycles * (np.arange(n_samples) + 0.5) / n_samples)


def test_every_number_of_a_clip_worked_out_by_hand():
    # x = [1, -1, 2, 0]: diff = [-2, 3, -2], sign = [1, -1, 1, 0], rfft = [2, -1 + 1j, 4] at 0, 1, 2 Hz
    found = acoustic(np.array([1.0, -1.0, 2.0, 0.0]), 4)
    assert tuple(found) == ACOUSTIC and all(type(value) is float for value in found.values())
    magnitude = np.array([2.0, np.sqrt(2.0), 4.0])
    p = magnitude / magnitude.sum()
    assert found["snr_db"] == pytest.approx(10 * np.log10((6 / 4) / (17 / 3)), abs=1e-12)
    assert found["zcr"] == pytest.approx((2 + 2 + 1) / 8, abs=1e-15)
    assert found["rms"] == pytest.approx(np.sqrt(6 / 4), abs=1e-15)
    assert found["spectral_entropy"] == pytest.approx(-(p * np.log(p)).sum(), abs=1e-12)
    assert found["spectral_centroid_hz"] == pytest.approx((np.sqrt(2) + 8) / (6 + np.sqrt(2)), abs=1e-12)
    assert found["spectral_rolloff_hz"] == 2.0
    assert found["duration_s"] == 1.0


@pytest.mark.parametrize("cycles", [10, 440, 3000])
def test_a_sine_of_whole_cycles_is_one_spectral_line(cycles):
    n_samples = 24_000
    found, step = acoustic(sine(cycles, n_samples), RATE), 2 * np.sin(np.pi * cycles / n_samples)
    assert found["rms"] == pytest.approx(0.5 / np.sqrt(2), rel=1e-9)
    assert found["zcr"] == pytest.approx((2 * cycles - 1) / n_samples, abs=1e-12)
    assert found["snr_db"] == pytest.approx(-20 * np.log10(step), abs=0.01)
    assert found["spectral_centroid_hz"] == pytest.approx(cycles, rel=1e-6)
    assert found["spectral_rolloff_hz"] == cycles
    assert found["spectral_entropy"] == pytest.approx(0, abs=1e-6)


def test_white_noise_measures_as_theory_says():
    found = acoustic(noise(3, 120_000), RATE)
    assert found["snr_db"] == pytest.approx(-10 * np.log10(2), abs=0.05)
    assert found["zcr"] == pytest.approx(0.5, abs=0.01)
    assert found["rms"] == pytest.approx(0.1, rel=0.01)
    assert found["spectral_centroid_hz"] == pytest.approx(6000, rel=0.01)
    assert found["spectral_rolloff_hz"] == pytest.approx(0.85 * 12_000, rel=0.01)
    # M is Rayleigh: ln n - E[M ln M] / E[M] + ln E[M], which is ln n less 0.135
    euler = 0.5772156649
    expected = np.log(60_001) - (np.log(2) / 2 + 1 - np.log(2) - euler / 2) + np.log(np.sqrt(np.pi / 2))
    assert found["spectral_entropy"] == pytest.approx(expected, abs=0.01)


SPECTRAL = {"spectral_entropy", "spectral_centroid_hz", "spectral_rolloff_hz"}


@pytest.mark.parametrize(
    ("clip", "level", "undefined"),
    [
        (np.zeros(100, dtype=np.float32), 0, {"snr_db", *SPECTRAL}),
        (np.full(64, 0.25), 0.25, {"snr_db"}),
        (np.array([0.25]), 0.25, {"snr_db"}),
        (np.full(8, 1e-200), 0, {"snr_db"}),  # whose squares vanish
        (np.tile([1e-200, -1e-200], 8), 0, {"snr_db"}),
    ],
)
def test_what_silence_and_constants_leave_undefined_is_nan_without_a_warning(clip, level, undefined):
    found = acoustic(clip, RATE)
    assert {name for name, value in found.items() if np.isnan(value)} == undefined and found["rms"] == level
    if level:
        assert {found[name] for name in SPECTRAL} == {0}


@pytest.mark.parametrize(
    ("clip", "words"),
    [
        (np.array([]), "no samples"),
        (np.zeros((2, 10)), r"shape \(2, 10\)"),
        (np.array([0.1, np.nan]), "1 of its 2 samples"),
        (np.array([0.1, -np.inf]), "NaN or infinite"),
        (np.array(["a"]), "expected real numbers"),
    ],
)
def test_bad_clips_are_refused_by_every_metric(clip, words):
    with pytest.raises(InputError, match=words):
        acoustic(clip, RATE)
    for measure in (spectral_convergence, log_spectral_distance):
        with pytest.raises(InputError, match="real: .*" + words):
            measure(clip, noise(0))
        with pytest.raises(InputError, match="generated: .*" + words):
            measure(noise(0), clip)


@pytest.mark.parametrize("rate", [0, -1, np.nan, np.inf])
def test_a_rate_that_is_not_positive_is_refused(rate):
    with pytest.raises(InputError, match="sample_rate"):
        acoustic(noise(0), rate)


def test_float32_and_integer_clips_are_measured_in_double_precision():
    x = noise(1).astype(np.float32)
    assert acoustic(x, RATE) == acoustic(x.astype(np.float64), RATE)
    assert acoustic(np.array([3, -4, 5], dtype=np.int16), RATE)["rms"] == pytest.approx(np.sqrt(50 / 3))


def test_distances_of_a_pair_by_hand():
    # rfft of [1, 0] is [1, 1], of [1, 1] is [2, 0], of [3, 1] is [4, 2], of [2, 1] is [3, 1]
    one, both = np.array([1.0, 0.0]), np.array([1.0, 1.0])
    assert spectral_convergence(one, both) == pytest.approx(1.0)
    assert spectral_convergence(both, one) == pytest.approx(np.sqrt(2) / 2)
    expected = np.sqrt((np.log(4 / 3) ** 2 + np.log(2) ** 2) / 2)
    assert log_spectral_distance(np.array([3.0, 1.0]), np.array([2.0, 1.0])) == pytest.approx(expected, abs=1e-12)
    at_the_floor = np.sqrt((np.log(2) ** 2 + np.log(1e-10) ** 2) / 2)
    assert log_spectral_distance(both, one) == pytest.approx(at_the_floor, abs=1e-12)


def test_the_longer_clip_of_a_pair_is_cut_and_a_silent_one_leaves_gaps():
    x, y, silence = noise(0), noise(1), np.zeros(2400)
    longer = np.concatenate([y, noise(2)])
    assert spectral_convergence(x, longer) == spectral_convergence(x, y)
    assert log_spectral_distance(longer, x) == log_spectral_distance(y, x)
    assert np.isnan(spectral_convergence(silence, x)) and spectral_convergence(x, silence) == 1
    assert np.isnan([log_spectral_distance(silence, x), log_spectral_distance(x, silence)]).all()


seeds = st.integers(0, 2**32 - 1)
gains = st.floats(0.01, 100)


@settings(max_examples=30, deadline=None)
@given(seeds, gains, st.integers(2, 500))
def test_gain_scales_rms_and_nothing_else(seed, gain, n_samples):
    x = noise(seed, n_samples)
    before, after = acoustic(x, RATE), acoustic(gain * x, RATE)
    assert after["rms"] == pytest.approx(gain * before["rms"], rel=1e-9)
    for name in set(ACOUSTIC) - {"rms", "spectral_rolloff_hz"}:
        assert after[name] == pytest.approx(before[name], rel=1e-6, abs=1e-9)
    assert after["spectral_rolloff_hz"] == pytest.approx(before["spectral_rolloff_hz"], abs=RATE / n_samples)


@settings(max_examples=30, deadline=None)
@given(seeds, st.integers(1, 300), st.floats(8000, 96_000))
def test_values_stay_in_their_ranges_and_turning_a_clip_around_or_over_changes_nothing(seed, n_samples, rate):
    x = noise(seed, n_samples)
    found, n_bins = acoustic(x, rate), n_samples // 2 + 1
    assert 0 <= found["zcr"] <= 1
    assert 0 <= found["spectral_entropy"] <= np.log(n_bins) + 1e-9
    assert 0 <= found["spectral_centroid_hz"] <= rate / 2 + 1e-6
    assert 0 <= found["spectral_rolloff_hz"] <= rate / 2 + 1e-6
    for other in (x[::-1], -x):
        assert acoustic(other, rate) == pytest.approx(found, rel=1e-6, abs=rate / n_samples, nan_ok=True)


@settings(max_examples=30, deadline=None)
@given(seeds, seeds, gains)
def test_a_pair_is_as_far_apart_as_one_is_louder_and_the_log_distance_is_symmetric(first, second, gain):
    x, y = noise(first, 256), noise(second, 256)
    assert spectral_convergence(x, gain * x) == pytest.approx(abs(gain - 1), rel=1e-6, abs=1e-9)
    assert log_spectral_distance(x, gain * x) == pytest.approx(abs(np.log(gain)), rel=1e-6, abs=1e-9)
    assert log_spectral_distance(x, y) == pytest.approx(log_spectral_distance(y, x), rel=1e-12)


def test_metrics_are_chosen_in_their_order_and_described_with_a_warning_of_the_tilt():
    assert chosen([]) == (*ACOUSTIC, *PAIRWISE)
    assert chosen(["rms", "snr_db"]) == ("snr_db", "rms")
    with pytest.raises(InputError, match="'loudness' is not a metric"):
        chosen(["rms", "loudness"])
    text = describe()
    assert all(f"`{name}`" in text and METRICS[name].label in text for name in METRICS)
    assert "not a signal-to-noise ratio" in text
    assert METRICS["spectral_centroid_hz"].axis_label == "Spectral centroid (Hz)"
