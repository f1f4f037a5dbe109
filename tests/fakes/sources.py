"""Clips in memory as the sources of a comparison."""

from collections.abc import Sequence

import numpy as np
import soxr

from envsound.evaluation.sides import Source


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

    return [
        Source(
            name=names[number] if len(names) else f"clip {number}",
            load=lambda rate, clip=clip: load(clip, rate),
            sample_rate=sample_rate,
            category=categories[number] if len(categories) else "",
            fold=int(folds[number]) if len(folds) else 0,
        )
        for number, clip in enumerate(clips)
    ]
