"""How far two sets of points are apart: Frechet distance and its extrapolation, kernel distance, precision and recall.

Points are embeddings of clips (`envsound.embeddings`), [n_clips, dim]; the unit of every resampling is the clip.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.spatial.distance import cdist, pdist
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint
from tqdm.auto import tqdm

from envsound.embeddings import Embedded, Embedding, NotRun, check_independent, embed_clips
from envsound.errors import InputError
from envsound.sides import Source, common_rate
from envsound.statistics import holm

KAD_SCALE = 100  # of the authors' toolkit, so that values are readable
FEWEST_SIZES = 10  # of a line through Frechet distances
MOST_CLIPS = 6000  # of both sides together: their kernel matrix takes 8 bytes a pair, 288 MB
BLOCK = 256  # rows of a matrix of distances, or of resampling weights, held at once
LEAST_CLIPS = {"kad": 5, "precision_recall": 10, "fad": 20, "fad_infinity": 30}  # on either side
INTERVAL = (2.5, 97.5)  # percent
DISTANCE_COLUMNS = [
    "embedding", "dim", "side", "category", "n_reference", "n",
    "fad", "fad_infinity", "fad_infinity_r2", "fad_infinity_both",
    "kad", "kad_low", "kad_high", "kad_chance", "kad_p", "kad_p_adjusted",
    "precision", "precision_low", "precision_high", "recall", "recall_low", "recall_high", "note",
]  # fmt: skip


@dataclass(frozen=True)
class Extrapolation:
    """A Frechet distance at infinitely many clips.

    value: intercept of the line through the distances over 1 / n; slope: distance times clips; r_squared: share of
    their variance on the line; points: columns n and frechet (mean over the draws of that size).
    """

    value: float
    slope: float
    r_squared: float
    points: pd.DataFrame


@dataclass(frozen=True)
class KernelDistance:
    """A kernel distance, 100 MMD^2: `value`, 0 on average for equal distributions and so at times negative.

    low, high: 95% percentile interval over resampled clips; chance: what 95% of random splits of all clips stay below;
    p_value: share of random splits that reach `value`; bandwidth: of the Gaussian kernel, in units of the embedding.
    """

    value: float
    low: float
    high: float
    chance: float
    p_value: float
    bandwidth: float


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Return the Frechet distance of Gaussians fitted to points a [n_a, dim] and b [n_b, dim], in squared units.

    |m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)) with means m and covariances C (n - 1), the FAD of Kilgour et al.
    (2019). With C = R^T R, tr (C_a C_b)^(1/2) is the sum of the singular values of R_a R_b^T (Mathiasen and Hvilshoj
    2020), which needs no root of a nearly singular matrix and works with fewer points than dimensions. With few points
    the result is too high. Raises InputError for fewer than two points a side or other dimensions.
    """
    a, b = _sides(a, b)
    roots = [_covariance_root(points) for points in (a, b)]
    shared = np.linalg.svd(roots[0] @ roots[1].T, compute_uv=False).sum()
    means = np.sum((a.mean(axis=0) - b.mean(axis=0)) ** 2)
    return float(max(means + sum(np.sum(root**2) for root in roots) - 2 * shared, 0.0))


def frechet_infinity(
    reference: np.ndarray,
    other: np.ndarray,
    seed: int | Sequence[int] = 0,
    n_sizes: int = 15,
    n_draws: int = 8,
    smallest: int = 0,
    both: bool = False,
) -> Extrapolation:
    """Return the Frechet distance that infinitely many clips would have, from a line over 1 / n.

    Chong and Forsyth (2020), for audio Gui et al. (2024): distances of random subsets of `other` to the whole reference
    at `n_sizes` evenly spaced sizes from `smallest` (0: half of them) to all, and a straight line in 1 / n through
    them. Subsets are drawn without replacement: with it, as in the toolkit of Gui et al., the line leads to the
    distance of the clips at hand, bias and all. Each size is drawn `n_draws` times, as our sets are small. `both` takes
    subsets of the same size of the reference too, whose own bias otherwise stays: with a few hundred reference clips it
    can be most of the distance. The line is straight where n is well above the number of dimensions.
    Raises InputError for n_sizes below 10, n_draws below 1 or too few clips for so many sizes.
    """
    reference, other = _sides(reference, other)
    largest = min(len(reference), len(other)) if both else len(other)
    smallest = smallest or max(2, largest // 2)
    if n_sizes < FEWEST_SIZES or n_draws < 1 or smallest < 2 or largest - smallest + 1 < n_sizes:
        raise InputError(
            f"n_sizes={n_sizes}, n_draws={n_draws}, sizes {smallest} to {largest}: expected at least {FEWEST_SIZES} "
            "different sizes of 2 or more, and a draw of each"
        )
    rng, rows = np.random.default_rng(seed), []
    for n in np.linspace(smallest, largest, n_sizes).round().astype(int):
        drawn = [
            frechet_distance(_subset(reference, n, rng) if both else reference, _subset(other, n, rng))
            for _ in range(n_draws)
        ]
        rows.append({"n": int(n), "frechet": float(np.mean(drawn))})
    points = pd.DataFrame(rows)
    slope, value = np.polyfit(1 / points["n"], points["frechet"], 1)
    left = points["frechet"] - value - slope / points["n"]
    total = np.sum((points["frechet"] - points["frechet"].mean()) ** 2)
    return Extrapolation(float(value), float(slope), float(1 - np.sum(left**2) / total) if total else 1.0, points)


def median_distance(points: np.ndarray) -> float:
    """Return the median Euclidean distance between two points of [n, dim]. Raises InputError when it is zero."""
    median = _median(points)
    if not median > 0:
        raise InputError(f"bandwidth: the median distance of the {len(points)} points is 0; expected different ones")
    return median


def kernel_distance(
    reference: np.ndarray,
    other: np.ndarray,
    seed: int | Sequence[int] = 0,
    n_resamples: int = 1000,
    bandwidth: float = 0.0,
) -> KernelDistance:
    """Return the Kernel Audio Distance (KAD, Chung et al. 2025) of points [n, dim] to a reference [n_reference, dim].

    100 times the unbiased MMD^2 (Gretton et al. 2012, eq. 3) with the kernel exp(-|x - y|^2 / (2 h^2)), h the median
    distance of the reference (`bandwidth` 0). The interval draws clips with replacement and leaves out pairs of a clip
    with itself, which would make every resample look closer than it is. `chance` and `p_value` come from random splits
    of all clips into two sets of these sizes, and assume that no clip is on both sides.
    Raises InputError for fewer than two points a side, more than 6000 together, or a reference of equal points.
    """
    reference, other = _sides(reference, other)
    n, m = len(reference), len(other)
    if n + m > MOST_CLIPS:
        raise InputError(f"{n} and {m} clips: expected at most {MOST_CLIPS} together; draw fewer")
    h = bandwidth or median_distance(reference)
    together = np.concatenate([reference, other])
    kernel = np.exp(cdist(together, together, "sqeuclidean") / (-2 * h**2))
    np.fill_diagonal(kernel, 0)  # pairs of a clip with itself
    is_first = np.arange(n + m) < n
    value = _weighted_mmd(kernel, is_first[None].astype(float), (~is_first)[None].astype(float))[0]
    rng = np.random.default_rng(seed)
    splits, resamples = [], []
    for start in range(0, n_resamples, BLOCK):
        count = min(BLOCK, n_resamples - start)
        shuffled = rng.permuted(np.tile(is_first, (count, 1)), axis=1)
        splits.append(_weighted_mmd(kernel, shuffled.astype(float), (~shuffled).astype(float)))
        drawn = np.zeros((2, count, n + m))
        drawn[0, :, :n] = rng.multinomial(n, np.full(n, 1 / n), count)
        drawn[1, :, n:] = rng.multinomial(m, np.full(m, 1 / m), count)
        resamples.append(_weighted_mmd(kernel, *drawn))
    splits = np.concatenate(splits)
    low, high = np.nanpercentile(np.concatenate(resamples), INTERVAL)
    p_value = (1 + np.sum(splits >= value)) / (1 + n_resamples)
    values = (KAD_SCALE * float(number) for number in (value, low, high, np.percentile(splits, 95)))
    return KernelDistance(*values, float(p_value), h)


def precision_recall(reference: np.ndarray, other: np.ndarray, k: int = 5) -> dict[str, float]:
    """Return improved precision and recall (Kynkaanniemi et al. 2019, eqs. 1 and 2) of points against a reference.

    precision: share of `other` [n, dim] within the distance of some reference point [n_reference, dim] to its k-th
    nearest other reference point, so how many clips look real; recall: the same with the roles exchanged, so how much
    of what is real occurs. `_low` and `_high`: 95% Wilson intervals, the other side's neighbourhoods taken as given.
    Both grow with k and depend on n: compare sets of like size. Raises InputError unless each side has more than k.
    """
    reference, other = _sides(reference, other)
    if k < 1 or min(len(reference), len(other)) <= k:
        raise InputError(f"k={k}: {len(reference)} and {len(other)} clips; expected k of 1 or more, and more clips")
    found = {}
    for name, manifold, points in (("precision", reference, other), ("recall", other, reference)):
        inside = _inside(manifold, points, k)
        low, high = proportion_confint(inside.sum(), len(inside), method="wilson")
        found |= {name: float(inside.mean()), f"{name}_low": float(low), f"{name}_high": float(high)}
    return found


def distance_table(
    sides: Mapping[str, Embedded], embedding: str, reference: str = "real", seed: int = 0, k: int = 5
) -> pd.DataFrame:
    """Return every other side's distances to the reference side in one embedding: DISTANCE_COLUMNS.

    A row for all clips of a side (category "") and one for each category that both sides have. What too few clips
    allow (LEAST_CLIPS) is NaN and the note says so, as it does of clips that the reference has too, which make a side
    look nearer. kad_p_adjusted: Benjamini-Hochberg over the categories of a side; see `measure_distances` for the rest.
    Raises InputError when the reference is not among the sides.
    """
    if reference not in sides:
        raise InputError(f"reference={reference!r}: expected one of the sides {', '.join(sides)}")
    base, rows = sides[reference], []
    for side, points in sides.items():
        if side == reference:
            continue
        shared = set(base.clips["category"]) & set(points.clips["category"]) - {""}
        for place, category in enumerate(tqdm(["", *sorted(shared)], desc=f"{embedding}: {side}", leave=False)):
            named = {"embedding": embedding, "side": side, "category": category, "note": _note(base, points, category)}
            rows.append(named | _distances(base.of_class(category), points.of_class(category), [seed, place], k))
    table = pd.DataFrame(rows, columns=DISTANCE_COLUMNS)
    for _, grid in table[table["category"] != ""].groupby("side"):
        table.loc[grid.index, "kad_p_adjusted"] = _adjusted(grid["kad_p"])
    return table


def measure_distances(
    sides: Mapping[str, Sequence[Source]],
    embeddings: Sequence[Embedding | NotRun],
    reference: str = "real",
    sample_rate: int = 0,
    selected_by: Sequence[str] = (),
    seed: int = 0,
    k: int = 5,
) -> pd.DataFrame:
    """Return `distance_table` for every embedding; an embedding that is not run here has one row, whose note says so.

    sides: clips by the name of their side; all are read at `sample_rate` Hz (0: the lowest at which any is stored).
    selected_by: content hashes of the networks that chose the model; none of them may report on it (InputError).
    kad_p_adjusted of all clips of a side is Holm's, over the embeddings.
    """
    check_independent(embeddings, selected_by)
    rate, rows = sample_rate or common_rate(*sides.values()), []
    for embedding in embeddings:
        if isinstance(embedding, NotRun):
            named = {"embedding": embedding.name, "side": "", "category": ""}
            rows.append(named | {"note": f"not run here: {embedding.reason}"})
            continue
        points = {side: embed_clips(sources, embedding, rate, side) for side, sources in sides.items()}
        rows += distance_table(points, embedding.name, reference, seed, k).to_dict("records")
    table = pd.DataFrame(rows, columns=DISTANCE_COLUMNS)
    for _, family in table[table["category"] == ""].groupby("side"):
        table.loc[family.index, "kad_p_adjusted"] = holm(family["kad_p"].to_numpy())
    return table


def _sides(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    a, b = (np.asarray(points, dtype=np.float64) for points in (a, b))
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise InputError(f"points: shapes {a.shape} and {b.shape}; expected [n, dim] of one dim, n of 2 or more")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise InputError("points: some are NaN or infinite; expected finite ones")
    return a, b


def _median(points: np.ndarray) -> float:
    return float(np.median(pdist(points))) if len(points) > 1 else 0.0


def _covariance_root(points: np.ndarray) -> np.ndarray:
    """Return R [min(n, dim), dim] with R^T R the covariance of points [n, dim]."""
    centred = (points - points.mean(axis=0)) / np.sqrt(len(points) - 1)
    return np.linalg.qr(centred, mode="r") if len(points) > points.shape[1] else centred


def _subset(points: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    return points[rng.choice(len(points), n, replace=False)]


def _weighted_mmd(kernel: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the unbiased MMD^2 of each pair of weightings [n_pairs, n_points] of a kernel whose diagonal is zero.

    A weight is how often a point is drawn. Pairs of a point with itself are neither in the kernel nor in the counts.
    NaN where one point alone was drawn.
    """
    seen = first @ kernel  # [n_pairs, n_points]
    within, across = np.sum(seen * first, axis=1), np.sum(seen * second, axis=1)
    pairs = [weights.sum(axis=1) ** 2 - np.sum(weights**2, axis=1) for weights in (first, second)]
    other = np.sum((second @ kernel) * second, axis=1)
    with np.errstate(invalid="ignore"):
        return within / pairs[0] + other / pairs[1] - 2 * across / (first.sum(axis=1) * second.sum(axis=1))


def _inside(manifold: np.ndarray, points: np.ndarray, k: int) -> np.ndarray:
    """Say of each point [n, dim] whether it lies in a ball of the manifold: bool [n]."""
    blocks = [manifold[start : start + BLOCK] for start in range(0, len(manifold), BLOCK)]
    inside = np.zeros(len(points), dtype=bool)
    for block in blocks:
        radii = np.partition(cdist(block, manifold), k, axis=1)[:, k]  # the smallest is 0, of the point itself
        inside |= (cdist(block, points) <= radii[:, None]).any(axis=0)
    return inside


def _distances(reference: np.ndarray, other: np.ndarray, seed: Sequence[int], k: int) -> dict[str, Any]:
    """Return the numbers of one row, as far as there are clips enough for them."""
    n = min(len(reference), len(other))
    row: dict[str, Any] = {"dim": other.shape[1], "n_reference": len(reference), "n": len(other)}
    if n >= LEAST_CLIPS["fad"]:
        row["fad"] = frechet_distance(reference, other)
    if n >= LEAST_CLIPS["fad_infinity"]:
        line = frechet_infinity(reference, other, seed)
        row |= {"fad_infinity": line.value, "fad_infinity_r2": line.r_squared}
        row["fad_infinity_both"] = frechet_infinity(reference, other, seed, both=True).value
    if n >= LEAST_CLIPS["kad"] and _median(reference) > 0:
        found = kernel_distance(reference, other, seed)
        row |= {"kad": found.value, "kad_low": found.low, "kad_high": found.high}
        row |= {"kad_chance": found.chance, "kad_p": found.p_value}
    if n >= max(LEAST_CLIPS["precision_recall"], k + 1):
        row |= precision_recall(reference, other, k)
    return row


def _note(reference: Embedded, other: Embedded, category: str) -> str:
    """Return what a reader must know about a row, "" when there is nothing."""
    n, dim = min(len(side.of_class(category)) for side in (reference, other)), other.vectors.shape[1]
    lacking = [name for name, least in LEAST_CLIPS.items() if n < least]
    notes = [f"too few clips for {', '.join(lacking)}"] * bool(lacking)
    if n >= LEAST_CLIPS["fad"] and n <= dim:
        notes.append("no more clips than dimensions: FAD is far too high")
    shared = len(set(reference.clips["clip"]) & set(other.clips["clip"]))
    if shared:
        notes.append(f"has {shared} clips of the reference: too near, and p does not hold")
    unread = len(reference.problems) + len(other.problems)
    return "; ".join([*notes, *[f"{unread} clips could not be read"] * bool(unread)])


def _adjusted(p_values: pd.Series) -> np.ndarray:
    """Return Benjamini and Hochberg's adjusted p values (1995); a NaN stays NaN, outside the family."""
    adjusted, tested = np.full(len(p_values), np.nan), p_values.notna().to_numpy()
    if tested.any():
        adjusted[tested] = multipletests(p_values[tested], method="fdr_bh")[1]
    return adjusted
