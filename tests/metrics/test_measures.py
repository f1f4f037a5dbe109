"""The measures of one clip, on sounds whose answer is known."""

import numpy as np
import pytest
from scipy import signal

from envsound.base.errors import InputError
from envsound.metrics.measures import BANDS, MEASURES, MODULATION, measure_clip, measure_clips, sounding

RATE = 24_000
TIME = np.arange(4 * RATE) / RATE  # s
NOISE = 0.1 * np.random.default_rng(0).standard_normal(TIME.size)


def tone(hz: float) -> np.ndarray:
    return 0.3 * np.sin(2 * np.pi * hz * TIME)


def dull_noise(hz: float) -> np.ndarray:
    return signal.sosfilt(signal.butter(4, hz, fs=RATE, output="sos"), NOISE)


# Bands


@pytest.mark.parametrize(("hz", "band"), zip((100, 1000, 4000, 8000), BANDS, strict=True))
def test_a_tone_is_in_its_band(hz, band):
    measured = measure_clip(tone(hz))
    assert measured[band] > 0.99 and sum(measured[name] for name in BANDS) == pytest.approx(1)


def test_white_noise_fills_bands_by_their_width_up_to_the_highest_frequency():
    widths = {"share_below_300_hz": 300, "share_300_3500_hz": 3200, "share_3500_5000_hz": 1500}
    for max_hz in (12_000, 8000):
        measured = measure_clip(NOISE, max_hz=max_hz)
        for band, width in widths.items():
            assert measured[band] == pytest.approx(width / max_hz, abs=0.012)
        assert measured["share_above_5000_hz"] == pytest.approx(1 - 5000 / max_hz, abs=0.012)


def test_what_lies_above_the_highest_frequency_does_not_count():
    both = tone(1000) + 3 * tone(10_000)
    assert measure_clip(both)["share_300_3500_hz"] < 0.2
    assert measure_clip(both, max_hz=8000)["share_300_3500_hz"] > 0.99


def test_a_constant_offset_is_no_sound_below_300_hz():
    assert measure_clip(tone(1000) + 0.5)["share_below_300_hz"] < 0.01


# Harmonicity


def test_what_repeats_is_harmonic_and_noise_is_not():
    saw = 0.3 * signal.sawtooth(2 * np.pi * 131 * TIME)
    for sound in (tone(97), tone(480), tone(3000), saw):
        assert measure_clip(sound)["harmonicity"] > 0.95
    assert measure_clip(NOISE)["harmonicity"] < 0.15
    assert measure_clip(dull_noise(100))["harmonicity"] < 0.5  # smooth, but no period
    mixed = measure_clip(saw + 3 * NOISE)["harmonicity"]
    assert 0.2 < mixed < 0.8


def test_a_period_out_of_the_range_of_pitch_is_not_harmonic():
    pulses = np.zeros(TIME.size)
    pulses[:: RATE // 20] = 1.0  # 20 a second
    assert measure_clip(pulses + 1e-3 * NOISE)["harmonicity"] < 0.2


def test_loud_frames_count_more_than_quiet_ones():
    half = TIME.size // 2
    loud_tone = np.concatenate([tone(200)[:half], 0.01 * NOISE[half:]])
    loud_noise = np.concatenate([0.01 * tone(200)[:half], NOISE[half:]])
    assert measure_clip(loud_tone)["harmonicity"] > 0.95 and measure_clip(loud_noise)["harmonicity"] < 0.15


# Onsets, crest, modulation


@pytest.mark.parametrize("rate", [2, 5])
def test_bursts_are_counted_as_onsets(rate):
    bursts = np.where((TIME * rate) % 1 < 0.05, NOISE, 1e-4 * NOISE)
    assert measure_clip(bursts)["onset_rate_hz"] == pytest.approx(rate, abs=0.6)


def test_crest_is_peak_over_root_mean_square():
    click = np.zeros(RATE)
    click[[0, 500, -1]] = [0.01, 1.0, 0.01]
    assert measure_clip(tone(500))["crest_db"] == pytest.approx(3.01, abs=0.01)
    assert measure_clip(click)["crest_db"] == pytest.approx(20 * np.log10(np.sqrt(RATE)), abs=0.1)


@pytest.mark.parametrize("carrier", [NOISE, np.sign(tone(150)) * 0.1])
@pytest.mark.parametrize(("hz", "band"), [(1.4, "modulation_1_2_hz"), (5.0, "modulation_4_8_hz")])
def test_a_modulated_sound_has_its_power_at_the_rate_of_modulation(carrier, hz, band):
    measured = measure_clip(carrier * (1 + np.sin(2 * np.pi * hz * TIME)))
    assert measured[band] > 0.85 and sum(measured[name] for name in MODULATION) == pytest.approx(1)
    assert (measured["modulation_2_8_hz"] > 0.85) == (hz == 5.0)


def test_the_power_of_steady_noise_lies_in_fast_modulations():
    measured = measure_clip(NOISE)
    assert measured["modulation_2_8_hz"] < 0.15 and measured["modulation_32_64_hz"] > 0.3


def test_a_steady_tone_and_a_short_clip_have_no_modulation():
    for clip in (tone(150), NOISE[: RATE // 2]):
        measured = measure_clip(clip)
        assert all(np.isnan(measured[name]) for name in (*MODULATION, "modulation_2_8_hz"))
        assert np.isfinite([measured[name] for name in (*BANDS, "harmonicity", "onset_rate_hz", "crest_db")]).all()


# What does not matter, and what is refused


def test_loudness_and_digital_silence_around_a_sound_change_nothing():
    plain = measure_clip(NOISE)
    for clip in (0.03 * NOISE, np.pad(NOISE, (5000, 70_000))):
        assert measure_clip(clip) == pytest.approx(plain, rel=1e-3)


def test_the_sounding_part_ends_at_the_last_sample_of_a_16_bit_step():
    clip = np.array([0, 1e-6, 0.1, 0, -0.1, 3e-5, 0])
    assert sounding(clip) == slice(2, 5) and sounding(np.zeros(4)) == slice(0, 0)


def test_silence_leaves_everything_undefined():
    for clip in (np.zeros(RATE), np.full(RATE, 0.2)):
        assert np.isnan(list(measure_clip(clip).values())).all()


def test_clips_are_measured_one_at_a_time_into_a_row_each():
    table = measure_clips(clip for clip in (NOISE, tone(200)[:3000]))
    assert list(table.columns) == list(MEASURES) and len(table) == 2
    assert table["harmonicity"][0] == measure_clip(NOISE)["harmonicity"] < table["harmonicity"][1]


@pytest.mark.parametrize(
    ("clip", "settings", "words"),
    [
        (np.zeros((2, 5)), {}, "clip"),
        (np.zeros(0), {}, "clip"),
        (np.array([0.1, np.nan]), {}, "finite"),
        (NOISE, {"max_hz": 4000}, "max_hz"),
        (NOISE, {"max_hz": 13_000}, "max_hz"),
        (NOISE, {"sample_rate": 8000}, "max_hz"),
    ],
)
def test_bad_input_is_named(clip, settings, words):
    with pytest.raises(InputError, match=words):
        measure_clip(clip, **settings)
