"""How far several people agree who judge the same things: Krippendorff's alpha."""

import numpy as np

from envsound.base.errors import InputError

LEVELS = ("nominal", "interval")


def krippendorff_alpha(ratings: np.ndarray, level: str) -> float:
    """Return Krippendorff's alpha of ratings [n_raters, n_units]; NaN marks what a rater did not judge.

    1 is agreement without exception, 0 what chance gives; it can be negative. level "nominal": values are names,
    written as numbers, that agree or not; "interval": disagreement is the squared difference. Units with fewer than
    two ratings say nothing and are left out. NaN when nothing is left or all ratings are the same. Krippendorff
    (2011), Computing Krippendorff's Alpha-Reliability. Raises InputError for another level or shape.
    """
    ratings = np.asarray(ratings, dtype=np.float64)
    if level not in LEVELS:
        raise InputError(f"level={level!r}: expected one of {', '.join(LEVELS)}")
    if ratings.ndim != 2:
        raise InputError(f"ratings: shape {ratings.shape}; expected [n_raters, n_units]")
    units = [unit[~np.isnan(unit)] for unit in ratings.T]
    units = [unit for unit in units if len(unit) > 1]
    if not units:
        return float("nan")
    pairwise = _unequal_pairs if level == "nominal" else _squared_differences
    everything = np.concatenate(units)
    n = len(everything)
    observed = sum(pairwise(unit) / (len(unit) - 1) for unit in units) / n
    expected = pairwise(everything) / (n * (n - 1))
    return float(1 - observed / expected) if expected > 0 else float("nan")


def _unequal_pairs(values: np.ndarray) -> float:
    """Return how many ordered pairs of values differ."""
    _, counts = np.unique(values, return_counts=True)
    return float(len(values) ** 2 - (counts**2).sum())


def _squared_differences(values: np.ndarray) -> float:
    """Return the sum of (a - b)^2 over all ordered pairs of values."""
    return float(2 * len(values) * ((values - values.mean()) ** 2).sum())
