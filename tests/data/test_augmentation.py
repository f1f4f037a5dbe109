"""Changes of a clip against their formulas, and versions that depend on seed, clip and number alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envsound.data.augmentation import (
    CHANCES,
    FILTER_DB,
    LEVEL_DB,
    SPEED_OCTAVES,
    Recipe,
    level,
    looped,
    octave_bands,
    plan,
    render,
    shift,
    spectral_filter,
    speed,
    within_full_scale,
)

RATE = 24_000
CHANGES = tuple(CHANCES)


def noise(n_samples: int = 6000, seed: int = 0, peak: float = 0.2) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-peak, peak, n_samples).astype(np.float32)


def tone(hz: float, n_samples: int = 24_000) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(n_samples) / RATE)).astype(np.float32)


def loudest_hz(clip: np.ndarray) -> float:
    return float(np.argmax(np.abs(np.fft.rfft(clip * np.hanning(len(clip)))))) * RATE / len(clip)


def energy_db(clip: np.ndarray) -> float:
    return 10 * np.log10(np.sum(np.square(clip, dtype=np.float64)))


def test_level_is_exact_in_decibels_and_a_shift_moves_every_sample_and_loses_none():
    clip = noise()
    for level_db in (-12.0, 0.0, 6.0):
        assert energy_db(level(clip, level_db)) - energy_db(clip) == pytest.approx(level_db, abs=1e-5)
    assert shift(clip, 3).tolist() == [*clip[-3:].tolist(), *clip[:-3].tolist()]
    assert looped(np.array([1.0, 2.0, 3.0]), 7).tolist() == [1, 2, 3, 1, 2, 3, 1]


@pytest.mark.parametrize("octaves", [*SPEED_OCTAVES, 0.1])
def test_speed_moves_events_and_pitch_alike_and_keeps_the_length(octaves):
    late = tone(1000) * (np.arange(24_000) >= 12_000)  # begins half way
    moved, factor = speed(late.astype(np.float32), RATE, octaves), 2**octaves
    begins = int(np.argmax(np.abs(moved) > 0.25))
    assert moved.shape == late.shape and begins == pytest.approx(12_000 / factor, abs=20)
    assert loudest_hz(moved[begins : begins + 8000]) == pytest.approx(1000 * factor, abs=5)
    if octaves > 0:  # starts again, silent, when it has been played
        end = round(24_000 / factor)
        assert np.abs(moved[end - 200 : end - 50]).max() > 0.4 and np.abs(moved[end + 50 :]).max() < 0.01


def test_what_a_faster_clip_has_above_half_the_rate_does_not_come_back_mirrored():
    assert energy_db(speed(tone(11_500), RATE, 0.25)) < energy_db(tone(11_500)) - 40


def test_the_filter_has_its_level_at_each_band_an_octave_below_half_the_rate():
    assert octave_bands(RATE).tolist() == [62.5, 125, 250, 500, 1000, 2000, 4000, 8000]
    assert octave_bands(16_000)[-1] == 4000
    levels = [-6, 6, -4, 4, -2, 2, 5, -5]
    for hz, level_db in zip(octave_bands(RATE), levels, strict=True):
        clip = tone(hz)
        assert energy_db(spectral_filter(clip, RATE, levels)) - energy_db(clip) == pytest.approx(level_db, abs=0.2)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(*FILTER_DB), min_size=8, max_size=8))
def test_the_filter_never_leaves_the_range_of_its_levels(levels):
    before, after = (np.abs(np.fft.rfft(clip)) for clip in (noise(), spectral_filter(noise(), RATE, levels)))
    gains_db = 20 * np.log10(after / before)
    assert gains_db.shape == (3001,) and gains_db.min() >= min(levels) - 0.05 and gains_db.max() <= max(levels) + 0.05


def test_a_clip_beyond_full_scale_is_scaled_not_cut():
    assert within_full_scale(np.array([0.5, -2.0, 1.5], dtype=np.float32)).tolist() == [0.25, -1.0, 0.75]
    assert np.array_equal(within_full_scale(noise()), noise())


def recipe(*changes: str, copy: int = 1) -> Recipe:
    return Recipe(0, "a", copy, changes)


@pytest.mark.parametrize("changes", [*([change] for change in CHANGES), CHANGES])
@pytest.mark.parametrize("peak", [0.05, 1.0])
def test_a_version_is_another_clip_of_the_same_length_within_full_scale(changes, peak):
    clip = noise(peak=peak)
    for copy in range(1, 6):
        made = render(clip, RATE, recipe(*changes, copy=copy))
        assert made.dtype == np.float32 and made.shape == clip.shape and np.isfinite(made).all()
        assert np.abs(made).max() <= 1 and not np.allclose(made, clip, atol=1e-4)


@pytest.mark.parametrize("n_samples", [1, 7, 501])
def test_very_short_and_silent_clips_are_rendered(n_samples):
    for clip in (noise(n_samples), np.zeros(n_samples, dtype=np.float32)):
        assert render(clip, RATE, recipe(*CHANGES)).shape == (n_samples,)


def test_levels_fill_their_range_up_to_full_scale_and_speeds_theirs():
    def levels(clip: np.ndarray) -> list[float]:
        made = [render(clip, RATE, recipe("level", copy=n)) for n in range(1, 200)]
        return [energy_db(one) - energy_db(clip) for one in made]

    clip, loud = noise(peak=0.1), noise(peak=0.8)
    assert [min(levels(clip)), max(levels(clip))] == pytest.approx(LEVEL_DB, abs=0.5)
    headroom = -20 * np.log10(np.abs(loud).max())
    assert headroom - 0.5 < max(levels(loud)) <= headroom + 1e-3
    heard = [loudest_hz(render(tone(1000, 6000), RATE, recipe("speed", copy=n))) for n in range(1, 100)]
    assert np.log2([min(heard) / 1000, max(heard) / 1000]) == pytest.approx(SPEED_OCTAVES, abs=0.03)


def test_equal_seed_clip_and_number_give_the_same_version():
    clip = noise()
    first = render(clip, RATE, plan(3, "a", 2, CHANGES))
    np.random.default_rng(9).random(5)
    assert np.array_equal(first, render(clip, RATE, plan(3, "a", 2, CHANGES[::-1])))
    for seed, clip_id, copy in ((4, "a", 2), (3, "b", 2), (3, "a", 1)):
        assert not np.array_equal(first, render(clip, RATE, plan(seed, clip_id, copy, CHANGES)))


def test_every_change_is_made_as_often_as_its_chance_says_and_at_least_one():
    plans = [plan(0, f"clip {number}", 1, CHANGES) for number in range(600)]
    assert all(list(made.changes) == [c for c in CHANGES if c in made.changes] for made in plans)
    shares = [np.mean([change in made.changes for made in plans]) for change in CHANGES]
    assert shares == pytest.approx(list(CHANCES.values()), abs=0.06)
    assert all(plan(0, f"clip {number}", 1, ["filter", "shift"]).changes for number in range(200))


def test_a_change_is_the_same_whichever_others_are_allowed():
    for copy in range(1, 20):
        full, alone = plan(0, "a", copy, CHANGES), plan(0, "a", copy, ["speed"])
        assert alone.changes == ("speed",) and full.generator("speed").random() == alone.generator("speed").random()
