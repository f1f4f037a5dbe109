"""Altered copies of a clip: six changes that keep what a sound is and vary how it sounds.

Time stretching, pitch shifting and mixing in a second sound are those of Salamon and Bello (2017), "Deep convolutional
neural networks and data augmentation for environmental sound classification"; mixing two clips of one class and
filtering them at random are those of Takahashi et al. (2016), "Deep convolutional neural networks and data augmentation
for acoustic event detection". Unlike there, no change alters a clip's length: a clip is treated as a loop, and where
samples are missing it starts again. Silence is never added, for a model of masked codes learns silence all too easily.

A change may leave full scale; `render`, which chains them, then scales the clip down. Nothing is cut off at full scale.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

import librosa
import numpy as np
import scipy

from envsound.base.errors import InputError
from envsound.data.synthetic.blocks import amplitude, equalise

CHANGES = ("shift", "pitch", "stretch", "filter", "mix", "gain")  # in the order in which they are applied
LIBRARIES = f"numpy {np.__version__}, scipy {scipy.__version__}, librosa {librosa.__version__}"
CHANCE = 0.5  # of each change
GAIN_DB = (-12.0, 6.0)
SEMITONES = (-2.0, 2.0)
STRETCH = (0.8, 1.25)  # times as fast
FILTER_DB = (-6.0, 6.0)
SNR_DB = (0.0, 15.0)  # of a clip over the one that is mixed in
LOWEST_BAND = 62.5  # Hz, centre of the lowest octave band
WINDOW = 2048  # samples, of the phase vocoder


def gain(clip: np.ndarray, gain_db: float) -> np.ndarray:
    """Return a clip [n_samples] made louder by `gain_db` dB: times 10^(gain_db / 20)."""
    return (clip * amplitude(gain_db)).astype(np.float32)


def shift(clip: np.ndarray, n_samples: int) -> np.ndarray:
    """Return a clip [n_samples] that starts `n_samples` later; what leaves at the end comes in at the start.

    Circular, so that no sound is lost and no silence added: energy and whole-clip magnitude spectrum stay as they are.
    """
    return np.roll(clip, n_samples)


def pitch(clip: np.ndarray, sample_rate: int, semitones: float) -> np.ndarray:
    """Return a clip [n_samples] with every frequency times 2^(semitones / 12), as long as before.

    Phase vocoder and resampling (`librosa.effects.pitch_shift`). Lowered, it has nothing in the highest frequencies.
    """
    return librosa.effects.pitch_shift(clip, sr=sample_rate, n_steps=semitones, n_fft=_window(clip))


def stretch(clip: np.ndarray, rate: float) -> np.ndarray:
    """Return a clip [n_samples] played `rate` times as fast with its pitch kept, as long as before.

    Phase vocoder (`librosa.effects.time_stretch`). The end of a slower clip is cut; a faster one starts again.
    """
    return looped(librosa.effects.time_stretch(clip, rate=rate, n_fft=_window(clip)), len(clip))


def octave_bands(sample_rate: int) -> np.ndarray:
    """Return the centres (Hz) of the octave bands from 62.5 Hz to below half the sample rate (Hz)."""
    n_bands = int(np.ceil(np.log2(sample_rate / 2 / LOWEST_BAND)))
    return LOWEST_BAND * 2.0 ** np.arange(n_bands)


def spectral_filter(clip: np.ndarray, sample_rate: int, levels_db: Sequence[float]) -> np.ndarray:
    """Return a clip [n_samples] filtered with zero phase by one level (dB) for each of the `octave_bands`.

    The gain is linear in dB over log frequency between the bands' centres and constant beyond the outermost.
    """
    bands = list(zip(octave_bands(sample_rate), levels_db, strict=True))
    return equalise(clip, sample_rate, bands).astype(np.float32)


def mix(clip: np.ndarray, other: np.ndarray, snr_db: float) -> np.ndarray:
    """Return a clip [n_samples] with another added `snr_db` dB below it: 10 log10 of the ratio of their energies.

    The other one is cut, or looped, to the clip's length. Where one of the two is silent the clip is returned as it is.
    """
    added = looped(other, len(clip)).astype(np.float64)
    energy, added_energy = float(np.sum(np.square(clip, dtype=np.float64))), float(np.sum(added**2))
    if energy == 0 or added_energy == 0:
        return clip
    return (clip + added * np.sqrt(energy / added_energy) / amplitude(snr_db)).astype(np.float32)


def looped(clip: np.ndarray, n_samples: int) -> np.ndarray:
    """Return the first `n_samples` of a clip that starts again whenever it ends."""
    return np.resize(clip, n_samples)


def within_full_scale(clip: np.ndarray) -> np.ndarray:
    """Return a clip [n_samples], divided by its peak where that is above 1."""
    peak = np.abs(clip).max(initial=0.0)
    return clip / peak if peak > 1 else clip


@dataclass(frozen=True)
class Recipe:
    """How one copy of a clip is made: everything but the samples.

    changes: some of CHANGES, in that order; partner: the clip that is mixed in, "" without the change "mix".
    """

    seed: int
    clip_id: str
    copy: int
    changes: tuple[str, ...]
    partner: str = ""

    def generator(self, change: str) -> np.random.Generator:
        """Return the source of chance of one change, the same whichever others are made."""
        return _generator(self.seed, self.clip_id, self.copy, change)


def plan(seed: int, clip_id: str, copy: int, augment: Sequence[str], mates: Sequence[str]) -> Recipe:
    """Return the recipe of a clip's copy number `copy` (from 1 up).

    augment: the changes drawn from, each made with probability one half, but at least one. mates: the clips that may be
    mixed in, in any order; without one there is no "mix". Every draw depends on seed, clip_id, copy and the change it
    is for, and on nothing else; a further mate is either the partner or without effect.
    Raises InputError when no change is possible.
    """
    coins = {
        change: _generator(seed, clip_id, copy, f"{change}?").random()
        for change in CHANGES
        if change in augment and (change != "mix" or mates)
    }
    if not coins:
        raise InputError(
            f"augment={list(augment)}: clip {clip_id!r} is the only training clip of its category; "
            "expected a change besides mix"
        )
    lowest = min(coins.values())
    changes = tuple(change for change, coin in coins.items() if coin < CHANCE or coin == lowest)
    partner = min(mates, key=lambda mate: _digest(seed, clip_id, copy, mate)) if "mix" in changes else ""
    return Recipe(seed, clip_id, copy, changes, partner)


def render(clip: np.ndarray, sample_rate: int, recipe: Recipe, partner: np.ndarray | None = None) -> np.ndarray:
    """Return the copy of a clip, float32 [n_samples] in [-1, 1] at `sample_rate` Hz, that a recipe describes.

    partner: the clip named by `recipe.partner`. The copy has as many samples as the clip.
    """
    for change in recipe.changes:
        clip = within_full_scale(_change(clip, sample_rate, change, recipe.generator(change), partner))
    return np.ascontiguousarray(clip, dtype=np.float32)


def _change(
    clip: np.ndarray, sample_rate: int, change: str, rng: np.random.Generator, partner: np.ndarray | None
) -> np.ndarray:
    match change:
        case "shift":
            return shift(clip, int(rng.integers(len(clip))))
        case "pitch":
            return pitch(clip, sample_rate, rng.uniform(*SEMITONES))
        case "stretch":
            return stretch(clip, float(np.exp(rng.uniform(*np.log(STRETCH)))))
        case "filter":
            return spectral_filter(clip, sample_rate, rng.uniform(*FILTER_DB, len(octave_bands(sample_rate))))
        case "mix":
            return mix(clip, partner, rng.uniform(*SNR_DB))
        case "gain":
            return gain(clip, rng.uniform(GAIN_DB[0], min(GAIN_DB[1], _headroom_db(clip))))


def _headroom_db(clip: np.ndarray) -> float:
    """Return by how much a clip can be raised before it leaves full scale."""
    peak = float(np.abs(clip).max(initial=0.0))
    return -20 * np.log10(peak) if peak > 0 else np.inf


def _window(clip: np.ndarray) -> int:
    """Return the phase vocoder's window (samples, even), no longer than the clip where that has 16 samples."""
    return min(WINDOW, max(len(clip) // 2 * 2, 16))


def _generator(*parts: int | str) -> np.random.Generator:
    return np.random.default_rng(int(_digest(*parts), 16))


def _digest(*parts: int | str) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
