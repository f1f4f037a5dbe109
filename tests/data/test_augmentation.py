"""Changes of a clip against their formulas, and copies that depend on seed, clip and number alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envsound.base.errors import InputError
from envsound.data.augmentation import (
    CHANCE,
    CHANGES,
    FILTER_DB,
    GAIN_DB,
    SNR_DB,
    Recipe,
    gain,
    looped,
    mix,
    octave_bands,
    pitch,
    plan,
    render,
    shift,
    spectral_filter,
    stretch,
    within_full_scale,
)

RATE = 24_000
MATES = ["b", "c", "d"]


def noise(n_samples: int = 6000, seed: int = 0, level: float = 0.2) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-level, level, n_samples).astype(np.float32)


def tone(hz: float, n_samples: int = 24_000) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(n_samples) / RATE)).astype(np.float32)


def loudest_hz(clip: np.ndarray) -> float:
    return float(np.argmax(np.abs(np.fft.rfft(clip * np.hanning(len(clip)))))) * RATE / len(clip)


def energy_db(clip: np.ndarray) -> float:
    return 10 * np.log10(np.sum(np.square(clip, dtype=np.float64)))


def test_gain_is_exact_in_decibels_and_a_shift_moves_every_sample_and_loses_none():
    clip = noise()
    for gain_db in (-12.0, 0.0, 6.0):
        assert energy_db(gain(clip, gain_db)) - energy_db(clip) == pytest.approx(gain_db, abs=1e-5)
    assert shift(clip, 3).tolist() == [*clip[-3:].tolist(), *clip[:-3].tolist()]


@pytest.mark.parametrize("semitones", [-2.0, 2.0])
def test_pitch_multiplies_frequencies_and_keeps_the_length(semitones):
    clip = tone(1000)
    moved = pitch(clip, RATE, semitones)
    assert loudest_hz(moved) == pytest.approx(1000 * 2 ** (semitones / 12), abs=5) and moved.shape == clip.shape


@pytest.mark.parametrize("rate", [0.8, 1.25])
def test_stretch_moves_events_and_keeps_pitch_and_length(rate):
    late = tone(1000) * (np.arange(24_000) >= 12_000)  # begins half way
    moved = stretch(late.astype(np.float32), rate)
    begins = int(np.argmax(np.abs(moved) > 0.25))
    assert moved.shape == late.shape and begins == pytest.approx(12_000 / rate, abs=700)
    assert loudest_hz(moved[begins : begins + 8000]) == pytest.approx(1000, abs=5)
    assert np.abs(stretch(tone(1000), rate)[-2000:]).max() > 0.3  # a faster clip starts again


def test_the_filter_has_its_level_at_each_band_an_octave_below_half_the_rate():
    assert octave_bands(RATE).tolist() == [62.5, 125, 250, 500, 1000, 2000, 4000, 8000]
    assert octave_bands(16_000)[-1] == 4000
    levels = [-6, 6, -4, 4, -2, 2, 5, -5]
    for hz, level in zip(octave_bands(RATE), levels, strict=True):
        clip = tone(hz)
        assert energy_db(spectral_filter(clip, RATE, levels)) - energy_db(clip) == pytest.approx(level, abs=0.2)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(*FILTER_DB), min_size=8, max_size=8))
def test_the_filter_never_leaves_the_range_of_its_levels(levels):
    before, after = (np.abs(np.fft.rfft(clip)) for clip in (noise(), spectral_filter(noise(), RATE, levels)))
    gains_db = 20 * np.log10(after / before)
    assert gains_db.shape == (3001,) and gains_db.min() >= min(levels) - 0.05 and gains_db.max() <= max(levels) + 0.05


@pytest.mark.parametrize("snr_db", [0.0, 7.5, 15.0])
@pytest.mark.parametrize("n_other", [2500, 6000, 9000])
def test_what_is_mixed_in_lies_below_the_clip_as_asked(snr_db, n_other):
    clip = noise()
    added = mix(clip, noise(n_other, seed=1, level=0.01), snr_db) - clip
    assert added.shape == clip.shape and energy_db(clip) - energy_db(added) == pytest.approx(snr_db, abs=0.01)
    assert looped(np.array([1.0, 2.0, 3.0]), 7).tolist() == [1, 2, 3, 1, 2, 3, 1]
    assert np.corrcoef(added, looped(noise(n_other, seed=1), 6000))[0, 1] > 0.999


def test_silence_is_not_mixed_and_a_clip_beyond_full_scale_is_scaled_not_cut():
    silent = np.zeros(6000, dtype=np.float32)
    assert np.array_equal(mix(noise(), silent, 3.0), noise()) and np.array_equal(mix(silent, noise(), 3.0), silent)
    assert within_full_scale(np.array([0.5, -2.0, 1.5], dtype=np.float32)).tolist() == [0.25, -1.0, 0.75]
    assert np.array_equal(within_full_scale(noise()), noise())


def recipe(*changes: str, copy: int = 1) -> Recipe:
    return Recipe(0, "a", copy, changes, "b" if "mix" in changes else "")


@pytest.mark.parametrize("changes", [*([change] for change in CHANGES), CHANGES])
@pytest.mark.parametrize("level", [0.05, 1.0])
def test_a_copy_is_another_clip_of_the_same_length_within_full_scale(changes, level):
    clip = noise(level=level)
    for copy in range(1, 6):
        made = render(clip, RATE, recipe(*changes, copy=copy), noise(4000, seed=1, level=1.0))
        assert made.dtype == np.float32 and made.shape == clip.shape and np.isfinite(made).all()
        assert np.abs(made).max() <= 1 and not np.allclose(made, clip, atol=1e-4)


@pytest.mark.parametrize("n_samples", [1, 7, 501])
def test_very_short_and_silent_clips_are_rendered(n_samples):
    for clip in (noise(n_samples), np.zeros(n_samples, dtype=np.float32)):
        assert render(clip, RATE, recipe(*CHANGES), noise(3)).shape == (n_samples,)


def test_gains_fill_their_range_up_to_full_scale_and_mixed_clips_that_of_ratios():
    def gains(clip: np.ndarray) -> list[float]:
        made = [render(clip, RATE, recipe("gain", copy=n)) for n in range(1, 200)]
        return [energy_db(one) - energy_db(clip) for one in made]

    clip, loud = noise(level=0.1), noise(level=0.8)
    assert [min(gains(clip)), max(gains(clip))] == pytest.approx(GAIN_DB, abs=0.5)
    headroom = -20 * np.log10(np.abs(loud).max())
    assert headroom - 0.5 < max(gains(loud)) <= headroom + 1e-3
    for copy in range(1, 30):
        added = render(clip, RATE, recipe("mix", copy=copy), noise(seed=1)) - clip
        assert SNR_DB[0] - 0.01 <= energy_db(clip) - energy_db(added) <= SNR_DB[1] + 0.01


def test_equal_seed_clip_and_number_give_the_same_copy():
    clip, other = noise(), noise(seed=1)
    first = render(clip, RATE, plan(3, "a", 2, CHANGES, MATES), other)
    np.random.default_rng(9).random(5)
    assert np.array_equal(first, render(clip, RATE, plan(3, "a", 2, CHANGES[::-1], MATES[::-1]), other))
    for seed, clip_id, copy in ((4, "a", 2), (3, "b", 2), (3, "a", 1)):
        assert not np.array_equal(first, render(clip, RATE, plan(seed, clip_id, copy, CHANGES, ["x"]), other))


def test_every_change_is_made_about_half_of_the_time_and_sounds_the_same_whichever_others_are_allowed():
    plans = [plan(0, f"clip {number}", 1, CHANGES, MATES) for number in range(600)]
    assert all(made.changes and list(made.changes) == [c for c in CHANGES if c in made.changes] for made in plans)
    shares = [np.mean([change in made.changes for made in plans]) for change in CHANGES]
    assert shares == pytest.approx([CHANCE] * len(CHANGES), abs=0.08)
    for copy in range(1, 20):
        full, alone = plan(0, "a", copy, CHANGES, MATES), plan(0, "a", copy, ["pitch"], [])
        assert alone.changes == ("pitch",)
        assert full.generator("pitch").random() == alone.generator("pitch").random()


def test_partners_are_mates_a_new_mate_changes_no_other_partner_and_without_one_there_is_no_mix():
    plans = [plan(0, f"clip {number}", 1, ["mix"], MATES) for number in range(60)]
    more = [plan(0, f"clip {number}", 1, ["mix"], ["new", *MATES]) for number in range(60)]
    assert {made.partner for made in plans} == set(MATES)
    assert all(new.partner in (old.partner, "new") for old, new in zip(plans, more, strict=True))
    assert 0 < sum(new.partner == "new" for new in more) < 40
    assert all("mix" not in plan(0, f"{n}", 1, CHANGES, []).changes for n in range(20))
    with pytest.raises(InputError, match="'a' is the only training clip of its category; expected a change besides"):
        plan(0, "a", 1, ["mix"], [])
