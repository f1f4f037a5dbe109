"""How often each test clip is named rightly, and how much a mean over them would vary with other clips."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from envsound.metrics.effects import resample_counts


def right_table(clips: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each test clip: clip, fold, source, category, and for each recogniser how often it was right.

    The share of seeds, 0 to 1; NaN where a recogniser has not heard the clip.
    """
    keys = ["clip", "fold", "source", "category"]
    shares = clips.assign(is_right=clips["is_right"].astype(float))
    return shares.pivot_table("is_right", keys, "recogniser", aggfunc="mean").reset_index()


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
