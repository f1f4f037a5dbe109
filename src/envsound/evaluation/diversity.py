"""Diversity: how far the clips of one class lie from each other in all metrics, beside the real clips of that class."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from envsound.base.errors import InputError
from envsound.metrics.resampling import INTERVAL, Resamples, in_blocks

ALL = "all clips"
MEAN = "mean over classes"
LEAST_RESAMPLED = 3  # clips of a class; the one distance of two clips is the same in every resample
COLUMNS = ["system", "run", "category", "n", "n_real", "spread", "spread_real", "ratio", "ratio_low", "ratio_high"]


@dataclass(frozen=True)
class Spread:
    """How far `n` clips lie from each other: of the clips themselves, and of each resample, float [n_resamples]."""

    n: int
    value: float
    resampled: np.ndarray


def standardised(clips: pd.DataFrame, metrics: Sequence[str]) -> np.ndarray:
    """Return the metrics of each clip in standard deviations of the real clips around their mean: [n_clips, n_metrics].

    Metrics that do not vary over the real clips are left out. Raises InputError when none varies.
    """
    real = clips.loc[clips["system"] == "real", list(metrics)].to_numpy(dtype=np.float64)
    n_defined = np.count_nonzero(~np.isnan(real), axis=0)
    metrics = [name for name, n in zip(metrics, n_defined, strict=True) if n > 1]
    real = real[:, n_defined > 1]
    mean, spread = np.nanmean(real, axis=0), np.nanstd(real, axis=0, ddof=1)
    varies = spread > 1e-9 * np.abs(mean)  # less is rounding
    if not varies.any():
        raise InputError("metrics: none varies over the real clips; expected something to measure spread by")
    values = clips[metrics].to_numpy(dtype=np.float64)
    return (values[:, varies] - mean[varies]) / spread[varies]


def distances(points: np.ndarray) -> np.ndarray:
    """Return the distance of every pair of points [n, n_metrics]: [n, n], the root mean square over the metrics.

    Only metrics that both clips define count; NaN where there is none.
    """
    known = (~np.isnan(points)).astype(np.float64)
    filled = np.nan_to_num(points)
    squares = np.zeros((len(points), len(points)))
    for place in range(points.shape[1]):  # one metric at a time keeps the memory at n^2
        column = filled[:, place]
        squares += np.outer(known[:, place], known[:, place]) * (column[:, None] - column) ** 2
    shared = known @ known.T
    return np.sqrt(np.divide(squares, shared, out=np.full_like(squares, np.nan), where=shared > 0))


def spread(distance: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the mean distance of two different clips, float [n_resamples], from distances [n, n].

    counts: how often each resample holds each clip, int [n_resamples, n]. A clip drawn twice is no pair: it would make
    every resample look narrower than the clips it is drawn from. NaN where a resample holds fewer than two clips.
    """
    known = (~np.isnan(distance)).astype(np.float64)
    np.fill_diagonal(known, 0)
    filled = known * np.nan_to_num(distance)

    def sums(rows: np.ndarray) -> np.ndarray:
        drawn = rows.astype(np.float64)
        return np.stack([((drawn @ matrix) * drawn).sum(axis=1) for matrix in (filled, known)])

    total, pairs = in_blocks(sums, counts)
    return np.divide(total, pairs, out=np.full(len(counts), np.nan), where=pairs > 0)


def diversity_table(
    clips: pd.DataFrame, metrics: Sequence[str], seed: int = 0, n_resamples: int = 1000
) -> pd.DataFrame:
    """Return how spread the clips of each class are beside the real ones, in columns COLUMNS.

    clips: as `effects.effect_table` takes them. For each system and run a row of all its clips whatever their class,
    one for each class with at least two clips on either side, and the mean over those classes. `spread` is the mean
    distance of two different clips, in standard deviations of the real clips, as a root mean square over the metrics;
    `ratio` is spread / spread_real with its 95% percentile interval over resampled clips: 1 is as varied as real clips,
    0 a model that always says the same. A class of two clips has no interval, nor has a mean that it is in.
    Raises InputError without real clips or when no metric varies over them.
    """
    points, resamples = standardised(clips, metrics), Resamples(seed, n_resamples)
    groups = clips.reset_index(drop=True).groupby(["system", "run"], sort=False).indices
    categories = sorted(set(clips["category"]) - {""})
    is_of = {name: (clips["category"] == name).to_numpy() for name in categories}
    is_of = {ALL: np.ones(len(clips), dtype=bool)} | is_of
    names = clips["clip"].to_numpy()
    spreads = {
        key: {scope: _spread_of(points, names, rows[chosen[rows]], resamples) for scope, chosen in is_of.items()}
        for key, rows in groups.items()
    }
    real = next(found for (system, _), found in spreads.items() if system == "real")
    tables = []
    for (system, run), mine in spreads.items():
        shared = [scope for scope in categories if min(mine[scope].n, real[scope].n) > 1]
        scopes = {ALL: [ALL]} | {scope: [scope] for scope in shared} | ({MEAN: shared} if shared else {})
        for category, parts in scopes.items():
            row = _ratio([mine[part] for part in parts], [real[part] for part in parts])
            tables.append({"system": system, "run": run, "category": category} | row)
    return pd.DataFrame(tables, columns=COLUMNS)


def _spread_of(points: np.ndarray, names: np.ndarray, rows: np.ndarray, resamples: Resamples) -> Spread:
    """Return the spread of the clips in some rows; a clip that defines no metric is left out."""
    rows = rows[~np.isnan(points[rows]).all(axis=1)]
    if rows.size < 2:
        return Spread(rows.size, float("nan"), np.full(resamples.n_resamples, np.nan))
    distance = distances(points[rows])
    whole = float(spread(distance, np.ones((1, rows.size)))[0])
    return Spread(rows.size, whole, spread(distance, resamples.of(names[rows])))


def _ratio(mine: list[Spread], real: list[Spread]) -> dict[str, Any]:
    """Return the mean spreads of one class or several, and their ratio with its interval."""
    value, reference = (float(np.mean([part.value for part in side])) for side in (mine, real))
    row = {"n": sum(part.n for part in mine), "n_real": sum(part.n for part in real)}
    row |= {"spread": value, "spread_real": reference, "ratio": np.nan, "ratio_low": np.nan, "ratio_high": np.nan}
    if not reference > 0:
        return row
    row["ratio"] = value / reference
    if min(part.n for part in (*mine, *real)) >= LEAST_RESAMPLED:
        resampled, references = (np.stack([part.resampled for part in side]) for side in (mine, real))
        both = ~np.isnan(resampled + references)  # of a class whose resample holds one clip again and again, neither
        sums = [np.where(both, side, 0.0).sum(axis=0) for side in (resampled, references)]
        ratios = np.divide(*sums, out=np.full_like(sums[0], np.nan), where=sums[1] > 0)
        row["ratio_low"], row["ratio_high"] = np.nanpercentile(ratios, INTERVAL)
    return row
