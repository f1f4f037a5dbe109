"""The bootstrap: resamples of clips with replacement, in blocks, and the intervals of what is computed on them.

Efron and Tibshirani 1993; the unit is the clip, or the recording that clips were cut from.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from envsound.base.errors import InputError

INTERVAL = (2.5, 97.5)  # percent
BLOCK = 2**18  # numbers; resamples are taken in blocks of so many, whatever the number of clips


@dataclass
class Resamples:
    """Resamples of systems' clips. Systems of the same clips, such as real and its reconstruction, share theirs.

    So an interval of the difference between such a pair does not hold the spread between clips twice.
    """

    seed: int
    n_resamples: int = 1000
    drawn: dict[tuple, np.ndarray] = field(default_factory=dict)

    def of(self, clips: Sequence[str]) -> np.ndarray:
        """Return counts int [n_resamples, n_clips] for clips of these names."""
        names = tuple(clips)
        if names not in self.drawn:
            rng = np.random.default_rng([self.seed, len(self.drawn)])
            self.drawn[names] = resample_counts(len(names), self.n_resamples, rng)
        return self.drawn[names]


def resample_counts(n_clips: int, n_resamples: int, rng: np.random.Generator) -> np.ndarray:
    """Return how often each clip occurs in each resample with replacement: int [n_resamples, n_clips], rows sum to n.

    Efron and Tibshirani 1993, chapter 6. Raises InputError when there is no clip or no resample.
    """
    if n_clips < 1 or n_resamples < 1:
        raise InputError(f"n_clips={n_clips}, n_resamples={n_resamples}: expected at least one of each")
    return rng.multinomial(n_clips, np.full(n_clips, 1 / n_clips), n_resamples).astype(np.int32)


def in_blocks(work: Callable[..., np.ndarray], *counts: np.ndarray) -> np.ndarray:
    """Return what `work` makes of resamples, float [n_numbers, n_resamples], some resamples at a time.

    counts: int [n_resamples, n_clips] each, of which `work` gets the same rows. So memory does not grow with the number
    of clips, but for the counts themselves.
    """
    n_rows = max(1, BLOCK // max(1, sum(part.shape[1] for part in counts)))
    starts = range(0, len(counts[0]), n_rows)
    return np.concatenate([work(*(part[start : start + n_rows] for part in counts)) for start in starts], axis=1)


def percentiles(values: np.ndarray) -> np.ndarray:
    """Return the ends of the interval of values [n_numbers, n_resamples]: float [2, n_numbers], NaN where all are."""
    if not np.isnan(values).any():
        return np.percentile(values, INTERVAL, axis=1)  # many times faster than with NaNs
    ends, defined = np.full((2, len(values)), np.nan), ~np.isnan(values).all(axis=1)
    if defined.any():
        ends[:, defined] = np.nanpercentile(values[defined], INTERVAL, axis=1)
    return ends


def resampled_means(
    right: pd.DataFrame, columns: Sequence[str], seed: int | Sequence[int], n_resamples: int
) -> dict[str, np.ndarray]:
    """Return the mean over folds of each column in each resample, float [n_resamples] by column.

    right: a row for each clip, with fold, source and the columns. Within a fold sources are drawn with replacement, all
    columns alike, so that differences between columns are paired.
    """
    rng = np.random.default_rng(seed)
    total = np.zeros((n_resamples, len(columns)))
    for _, rows in right.groupby("fold", sort=True):
        sums = rows.groupby("source", sort=True)[list(columns)].sum().to_numpy()
        sizes = rows.groupby("source", sort=True).size().to_numpy()
        counts = resample_counts(len(sizes), n_resamples, rng)
        total += counts @ sums / (counts @ sizes)[:, None]
    means = total / right["fold"].nunique()
    return {name: means[:, place] for place, name in enumerate(columns)}


def two_way_bootstrap(ratings: np.ndarray, rng: np.random.Generator, n_resamples: int) -> tuple[float, float, float]:
    """Return the mean of ratings [n_raters, n_items], NaN where there is none, and its 95% percentile interval.

    Rows and columns are both resampled, such as listeners and clips, or folds and seeds, so that the interval holds for
    others of either (the pigeonhole bootstrap of Owen 2007, which is on the safe side). A single rating has none.
    Raises InputError as `resample_counts` does.
    """
    known = ~np.isnan(ratings)
    raters, items = (resample_counts(n, n_resamples, rng) for n in ratings.shape)
    sums, counts = (
        ((raters @ part) * items).sum(axis=1) for part in (np.where(known, ratings, 0.0), known.astype(float))
    )
    means = sums[counts > 0] / counts[counts > 0]
    low, high = np.percentile(means, INTERVAL) if len(means) and known.sum() > 1 else (np.nan, np.nan)
    return float(ratings[known].mean()), float(low), float(high)
