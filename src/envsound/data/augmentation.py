"""Altered versions of a clip: four changes that keep what a sound is and vary how it sounds.

No change alters a clip's length: a clip is treated as a loop, and where samples are missing it starts again. Silence is
never added, for a model of masked codes learns silence all too easily. A change may leave full scale; `render`, which
chains them, then scales the clip down. Nothing is cut off at full scale.

Speed and level are those of Ko et al. (2015), "Audio augmentation for speech recognition", over a wider range; random
filters those of Takahashi et al. (2016), "Deep convolutional neural networks and data augmentation for acoustic event
detection".
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy
import soxr
from scipy.fft import irfft, next_fast_len, rfft, rfftfreq

CHANCES = {"speed": 0.8, "shift": 0.7, "filter": 0.6, "level": 1.0}  # of each change, in the order they are applied
LIBRARIES = f"numpy {np.__version__}, scipy {scipy.__version__}, soxr {soxr.__version__}"
SPEED_OCTAVES = (-0.25, 0.25)
FILTER_DB = (-6.0, 6.0)
LEVEL_DB = (-10.0, 6.0)
LOWEST_BAND = 62.5  # Hz, centre of the lowest octave band


def speed(clip: np.ndarray, sample_rate: int, octaves: float) -> np.ndarray:
    """Return a clip [n_samples] at `sample_rate` Hz played 2^octaves times as fast, as long as before.

    By resampling (soxr, HQ), so that every frequency is multiplied too. The end of a slower clip is cut; a faster one
    starts again.
    """
    played = soxr.resample(clip, sample_rate * 2.0**octaves, sample_rate, quality="HQ")
    return looped(played, len(clip)) if len(played) else clip


def shift(clip: np.ndarray, n_samples: int) -> np.ndarray:
    """Return a clip [n_samples] that starts `n_samples` later; what leaves at the end comes in at the start.

    Circular, so that no sound is lost and no silence added: energy and whole-clip magnitude spectrum stay as they are.
    """
    return np.roll(clip, n_samples)


def octave_bands(sample_rate: int) -> np.ndarray:
    """Return the centres (Hz) of the octave bands from 62.5 Hz to below half the sample rate (Hz)."""
    n_bands = int(np.ceil(np.log2(sample_rate / 2 / LOWEST_BAND)))
    return LOWEST_BAND * 2.0 ** np.arange(n_bands)


def spectral_filter(clip: np.ndarray, sample_rate: int, levels_db: Sequence[float]) -> np.ndarray:
    """Return a clip [n_samples] filtered with zero phase by one level (dB) for each of the `octave_bands`.

    The gain is linear in dB over log frequency between the bands' centres and constant beyond the outermost.
    Raises ValueError when the numbers of levels and bands differ.
    """
    n_fft = next_fast_len(len(clip), real=True)
    frequencies = np.maximum(rfftfreq(n_fft, 1.0 / sample_rate), LOWEST_BAND)
    gain_db = np.interp(np.log(frequencies), np.log(octave_bands(sample_rate)), levels_db)
    gains = (10.0 ** (gain_db / 20)).astype(np.float32)
    return irfft(rfft(clip, n_fft) * gains, n_fft)[: len(clip)].astype(np.float32)


def level(clip: np.ndarray, level_db: float) -> np.ndarray:
    """Return a clip [n_samples] made louder by `level_db` dB: times 10^(level_db / 20)."""
    return (clip * 10.0 ** (level_db / 20)).astype(np.float32)


def looped(clip: np.ndarray, n_samples: int) -> np.ndarray:
    """Return the first `n_samples` of a clip that starts again whenever it ends."""
    return np.resize(clip, n_samples)


def within_full_scale(clip: np.ndarray) -> np.ndarray:
    """Return a clip [n_samples], divided by its peak where that is above 1."""
    peak = np.abs(clip).max(initial=0.0)
    return clip / peak if peak > 1 else clip


@dataclass(frozen=True)
class Recipe:
    """How one version of a clip is made: everything but the samples. changes: some of CHANCES, in that order."""

    seed: int
    clip_id: str
    copy: int
    changes: tuple[str, ...]

    def generator(self, change: str) -> np.random.Generator:
        """Return the source of chance of one change, the same whichever others are made."""
        return _generator(self.seed, self.clip_id, self.copy, change)


def plan(seed: int, clip_id: str, copy: int, augment: Sequence[str]) -> Recipe:
    """Return the recipe of a clip's version number `copy` (from 1 up).

    augment: the changes drawn from, some of CHANCES, each made with its chance, but at least one. Every draw depends on
    seed, clip_id, copy and the change it is for, and on nothing else.
    """
    draws = {
        change: _generator(seed, clip_id, copy, f"{change}?").random() / chance
        for change, chance in CHANCES.items()
        if change in augment
    }
    lowest = min(draws.values())
    return Recipe(seed, clip_id, copy, tuple(name for name, draw in draws.items() if draw < 1 or draw == lowest))


def render(clip: np.ndarray, sample_rate: int, recipe: Recipe) -> np.ndarray:
    """Return the version of a clip that a recipe describes, float32 in [-1, 1] with as many samples.

    clip: float32 [n_samples] at `sample_rate` Hz.
    """
    for change in recipe.changes:
        clip = within_full_scale(_changed(clip, sample_rate, change, recipe.generator(change)))
    return np.ascontiguousarray(clip, dtype=np.float32)


def _changed(clip: np.ndarray, sample_rate: int, change: str, rng: np.random.Generator) -> np.ndarray:
    match change:
        case "speed":
            return speed(clip, sample_rate, rng.uniform(*SPEED_OCTAVES))
        case "shift":
            return shift(clip, int(rng.integers(len(clip))))
        case "filter":
            return spectral_filter(clip, sample_rate, rng.uniform(*FILTER_DB, len(octave_bands(sample_rate))))
        case "level":
            return level(clip, rng.uniform(LEVEL_DB[0], min(LEVEL_DB[1], _headroom_db(clip))))


def _headroom_db(clip: np.ndarray) -> float:
    """Return by how much a clip can be raised before it leaves full scale."""
    peak = float(np.abs(clip).max(initial=0.0))
    return -20 * np.log10(peak) if peak > 0 else np.inf


def _generator(*parts: int | str) -> np.random.Generator:
    return np.random.default_rng(int(hashlib.sha256(json.dumps(parts).encode()).hexdigest(), 16))
