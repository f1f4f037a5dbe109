"""Sounds whose class can be heard: ticks, cries and rain, with chance in all else; and any clips as sources."""

from collections.abc import Sequence

import numpy as np
import soxr

from envsound.evaluation.sides import Source

CLASSES = ("cry", "rain", "tick")


def sound(category: str, seed: int, sample_rate: int, seconds: float = 1.0) -> np.ndarray:
    """Return a sound of one of CLASSES, float32 [n_samples] in [-1, 1]; no two seeds give the same."""
    maker = {"cry": cry, "rain": rain, "tick": tick}[category]
    clip = maker(np.random.default_rng([seed, CLASSES.index(category)]), sample_rate, round(seconds * sample_rate))
    return (0.5 * clip / np.abs(clip).max()).astype(np.float32)


def cry(rng: np.random.Generator, sample_rate: int, n_samples: int) -> np.ndarray:
    """A tone with overtones whose pitch wavers about 300 to 600 Hz, louder and softer twice a second."""
    time = np.arange(n_samples) / sample_rate
    pitch = rng.uniform(300, 600) * (1 + 0.05 * np.sin(2 * np.pi * rng.uniform(4, 7) * time))
    phase = 2 * np.pi * np.cumsum(pitch) / sample_rate
    voice = sum(np.sin(k * phase) / k for k in (1, 2, 3))
    return voice * (0.6 + 0.4 * np.sin(2 * np.pi * (2 * time + rng.random()))) + 0.01 * rng.standard_normal(n_samples)


def rain(rng: np.random.Generator, sample_rate: int, n_samples: int) -> np.ndarray:
    """White noise, a little duller or brighter each time."""
    noise = rng.standard_normal(n_samples)
    return noise + rng.uniform(-0.4, 0.4) * np.roll(noise, 1)


def tick(rng: np.random.Generator, sample_rate: int, n_samples: int) -> np.ndarray:
    """Short bursts of noise that come back every 0.1 to 0.2 s."""
    time = np.arange(n_samples) / sample_rate
    since = (time + rng.random()) % rng.uniform(0.1, 0.2)  # s, since the last tick
    return rng.standard_normal(n_samples) * np.exp(-since / 0.004) + 1e-3 * rng.standard_normal(n_samples)


def as_sources(
    clips: Sequence[np.ndarray],
    sample_rate: int,
    categories: Sequence[str] = (),
    folds: Sequence[int] = (),
    names: Sequence[str] = (),
) -> list[Source]:
    """Return clips in memory, float [n_samples] each at `sample_rate` Hz, as sources; another rate is resampled.

    categories, folds, names: one for each clip, or none at all.
    """

    def load(clip: np.ndarray, rate: int) -> np.ndarray:
        return clip if rate == sample_rate else soxr.resample(clip, sample_rate, rate, quality="HQ")

    n = len(clips)
    facts = zip(clips, names or map("clip {}".format, range(n)), categories or [""] * n, folds or [0] * n, strict=True)
    return [
        Source(name, lambda rate, clip=clip: load(clip, rate), sample_rate, category=category, fold=int(fold))
        for clip, name, category, fold in facts
    ]
