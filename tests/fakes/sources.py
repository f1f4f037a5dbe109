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

    n = len(clips)
    facts = zip(clips, names or map("clip {}".format, range(n)), categories or [""] * n, folds or [0] * n, strict=True)
    return [
        Source(name, lambda rate, clip=clip: load(clip, rate), sample_rate, category=category, fold=int(fold))
        for clip, name, category, fold in facts
    ]
