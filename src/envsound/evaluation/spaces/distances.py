"""How far two sets of points are apart: Frechet distance and its extrapolation, kernel distance, precision and recall.

Points are embeddings of clips (`spaces.embeddings`), [n_clips, dim]; the unit of every resampling is the clip. The
tables at the end have every side of a comparison against the real one, in every embedding, and class by class.
Where both sides hold a fixed number of clips of every class, as folds of ESC-50 do, give `classes`: such sets are more
alike than sets drawn at random, and what takes them for the latter comes out too low, even below zero.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.spatial.distance import cdist, pdist
from tqdm.auto import tqdm

from envsound.base.errors import InputError
from envsound.evaluation.sides import REAL, Source
from envsound.evaluation.spaces.embeddings import Embedded, Embedding, NotRun, embed_clips
from envsound.metrics.resampling import INTERVAL
from envsound.metrics.tests import benjamini_hochberg, holm, wilson

KAD_SCALE = 100  # of the authors' toolkit, so that values are readable
N_SIZES, N_DRAWS = 15, 8  # of a line through Frechet distances, and draws at each size
MOST_CLIPS = 6000  # of both sides together: their kernel matrix takes 8 bytes a pair, 288 MB
BLOCK = 256  # rows of a matrix of distances, or of resampling weights, held at once
LEAST_CLIPS = {"kad": 5, "precision_recall": 10, "fad": 20, "fad_infinity": 30}  # on either side
LEAST_OF_CLASS = 5  # clips on either side, for sides to be taken class by class
DISTANCE_COLUMNS = [
    "embedding", "dim", "side", "category", "n_reference", "n",
    "fad", "fad_infinity", "fad_infinity_r2", "fad_infinity_both",
    "kad", "kad_low", "kad_high", "kad_chance", "kad_p", "kad_p_adjusted",
    "precision", "precision_low", "precision_high", "recall", "recall_low", "recall_high", "note",
]  # fmt: skip
Classes = tuple[Sequence[str], Sequence[str]]  # of each point of the reference, and of each of the other side


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
    both: bool = False,
    classes: Classes | None = None,
) -> tuple[float, float]:
    """Return the Frechet distance that infinitely many clips would have, and how straight the line is that leads there.

    Chong and Forsyth (2020), for audio Gui et al. (2024): distances of random subsets of `other` to the whole reference
    at 15 evenly spaced sizes from half of them to all, and a straight line in 1 / n through their means by size, whose
    intercept is the distance and which holds a share of their variance, the second number. Subsets are drawn
    without replacement: with it, as in the toolkit of Gui et al., the line leads to the distance of the clips at hand,
    bias and all. Each size is drawn 8 times, as our sets are small. `both` takes subsets of the same size of the
    reference too, whose own bias otherwise stays: with a few hundred reference clips it can be most of the distance.
    `classes`: every subset has the classes in proportion. The line is straight where n is well above the number of
    dimensions.
    Raises InputError for too few clips for so many different sizes, or classes that do not fit the points.
    """
    reference, other = _sides(reference, other)
    largest = min(len(reference), len(other)) if both else len(other)
    smallest = max(2, largest // 2)
    if largest - smallest + 1 < N_SIZES:
        raise InputError(f"{largest} clips: expected enough for {N_SIZES} different sizes from {smallest} on")
    labels, rng, rows = _labels(reference, other, classes), np.random.default_rng(seed), []
    for n in np.linspace(smallest, largest, N_SIZES).round().astype(int):
        drawn = [
            frechet_distance(
                _subset(reference, n, labels[0], rng) if both else reference, _subset(other, n, labels[1], rng)
            )
            for _ in range(N_DRAWS)
        ]
        rows.append({"n": int(n), "frechet": float(np.mean(drawn))})
    points = pd.DataFrame(rows)
    slope, value = np.polyfit(1 / points["n"], points["frechet"], 1)
    left = points["frechet"] - value - slope / points["n"]
    total = np.sum((points["frechet"] - points["frechet"].mean()) ** 2)
    return float(value), float(1 - np.sum(left**2) / total) if total else 1.0


def median_distance(points: np.ndarray) -> float:
    """Return the median Euclidean distance between two points of [n, dim]. Raises InputError when it is zero."""
    median = float(np.median(pdist(points))) if len(points) > 1 else 0.0
    if not median > 0:
        raise InputError(f"bandwidth: the median distance of the {len(points)} points is 0; expected different ones")
    return median


def kernel_distance(
    reference: np.ndarray,
    other: np.ndarray,
    seed: int | Sequence[int] = 0,
    n_resamples: int = 1000,
    classes: Classes | None = None,
) -> dict[str, float]:
    """Return the Kernel Audio Distance (KAD, Chung et al. 2025) of points [n, dim] to a reference [n_reference, dim].

    kad: 100 times the unbiased MMD^2 (Gretton et al. 2012, eq. 3) with the kernel exp(-|x - y|^2 / (2 h^2)), h the
    median distance of the reference; 0 on average for equal distributions and so at times negative. kad_low, kad_high:
    its 95% percentile interval, which draws clips with replacement and leaves out pairs of a clip with itself, which
    would make every resample look closer than it is. kad_chance: what 95% of random splits of all clips into two sets
    of these sizes stay below, and kad_p: the share of them that reach kad; both assume that no clip is on both sides.
    `classes`: clips are drawn and split class by class, and the mean over pairs is corrected for the fixed number of
    clips of each class.
    Raises InputError for fewer than two points a side or of a class on a side, more than 6000 together, or a reference
    of equal points.
    """
    reference, other = _sides(reference, other)
    n, m = len(reference), len(other)
    if n + m > MOST_CLIPS:
        raise InputError(f"{n} and {m} clips: expected at most {MOST_CLIPS} together; draw fewer")
    h = median_distance(reference)
    together = np.concatenate([reference, other])
    kernel = np.exp(cdist(together, together, "sqeuclidean") / (-2 * h**2))
    np.fill_diagonal(kernel, 0)  # pairs of a clip with itself
    labels = np.concatenate(_labels(reference, other, classes))
    strata = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    is_first = np.arange(n + m) < n
    if any(min(is_first[rows].sum(), (~is_first[rows]).sum()) < 2 for rows in strata):
        raise InputError("classes: one has fewer than two clips on a side; expected two or more of each on both")
    value = _mmd(kernel, is_first[None].astype(float), (~is_first)[None].astype(float), strata)[0]
    rng = np.random.default_rng(seed)
    splits, resamples = [], []
    for start in range(0, n_resamples, BLOCK):
        count = min(BLOCK, n_resamples - start)
        shuffled, drawn = np.zeros((count, n + m)), np.zeros((2, count, n + m))
        for rows in strata:
            shuffled[:, rows] = rng.permuted(np.tile(is_first[rows].astype(float), (count, 1)), axis=1)
            for side, part in enumerate((rows[is_first[rows]], rows[~is_first[rows]])):
                drawn[side][:, part] = rng.multinomial(len(part), np.full(len(part), 1 / len(part)), count)
        splits.append(_mmd(kernel, shuffled, 1 - shuffled, strata))
        resamples.append(_mmd(kernel, *drawn, strata))
    splits = np.concatenate(splits)
    low, high = np.nanpercentile(np.concatenate(resamples), INTERVAL)
    p_value = (1 + np.sum(splits >= value)) / (1 + n_resamples)
    values = {"kad": value, "kad_low": low, "kad_high": high, "kad_chance": np.percentile(splits, 95)}
    return {name: KAD_SCALE * float(number) for name, number in values.items()} | {"kad_p": float(p_value)}


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
        low, high = wilson(int(inside.sum()), len(inside))
        found |= {name: float(inside.mean()), f"{name}_low": low, f"{name}_high": high}
    return found


def distance_table(sides: Mapping[str, Embedded], embedding: str, seed: int = 0, by_class: bool = True) -> pd.DataFrame:
    """Return every other side's distances to the real one, the reference, in one embedding: DISTANCE_COLUMNS.

    A row for all clips of a side (category "") and, `by_class`, for each category that both sides have. The former
    takes clips class by class where both sides have five or more of every class. What too
    few clips allow (LEAST_CLIPS) is NaN and the note says so, as it does of clips that the reference has too, which
    make a side look nearer. kad_p_adjusted: Benjamini-Hochberg over the categories of a side; see `measure_distances`
    for the rest.
    """
    base, rows = sides[REAL], []
    for side, points in sides.items():
        if side == REAL:
            continue
        shared = set(base.clips["category"]) & set(points.clips["category"]) - {""} if by_class else ()
        for place, category in enumerate(tqdm(["", *sorted(shared)], desc=f"{embedding}: {side}", leave=False)):
            named = {"embedding": embedding, "side": side, "category": category, "note": _note(base, points, category)}
            classes = None if category else _classes(base, points)
            pair = base.of_class(category), points.of_class(category)
            rows.append(named | _distances(*pair, [seed, place], classes))
    table = pd.DataFrame(rows, columns=DISTANCE_COLUMNS)
    for _, grid in table[table["category"] != ""].groupby("side"):
        table.loc[grid.index, "kad_p_adjusted"] = benjamini_hochberg(grid["kad_p"].to_numpy())
    return table


def measure_distances(
    sides: Mapping[str, Sequence[Source]],
    embeddings: Sequence[Embedding | NotRun],
    sample_rate: int,
    seed: int = 0,
    by_class: bool = True,
) -> pd.DataFrame:
    """Return `distance_table` for every embedding; an embedding that is not run here has one row, whose note says so.

    sides: clips by the name of their side; all are read at `sample_rate` Hz.
    kad_p_adjusted of all clips of a side is Holm's, over the embeddings.
    """
    rows = []
    for embedding in embeddings:
        if isinstance(embedding, NotRun):
            named = {"embedding": embedding.name, "side": "", "category": ""}
            rows.append(named | {"note": f"not run here: {embedding.reason}"})
            continue
        points = {side: embed_clips(sources, embedding, sample_rate, side) for side, sources in sides.items()}
        rows += distance_table(points, embedding.name, seed, by_class).to_dict("records")
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


def _covariance_root(points: np.ndarray) -> np.ndarray:
    """Return R [min(n, dim), dim] with R^T R the covariance of points [n, dim]."""
    centred = (points - points.mean(axis=0)) / np.sqrt(len(points) - 1)
    return np.linalg.qr(centred, mode="r") if len(points) > points.shape[1] else centred


def _labels(reference: np.ndarray, other: np.ndarray, classes: Classes | None) -> list[np.ndarray]:
    """Return the class of each point of both sides; all are of one class when none are given."""
    labels = [np.asarray(of) for of in classes or ([""] * len(reference), [""] * len(other))]
    if [len(of) for of in labels] != [len(reference), len(other)]:
        raise InputError(f"classes: {len(labels[0])} and {len(labels[1])}; expected one for each point of either side")
    return labels


def _subset(points: np.ndarray, n: int, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return `n` of the points, drawn without replacement, with the classes in proportion."""
    turn = np.empty(len(points))
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        turn[rows] = (np.arange(len(rows)) + rng.random()) / len(rows)  # evenly spread over 0 to 1
    return points[np.argsort(turn, kind="stable")[:n]]


def _mmd(kernel: np.ndarray, first: np.ndarray, second: np.ndarray, strata: list[np.ndarray]) -> np.ndarray:
    """Return the unbiased MMD^2 of each pair of weightings [n_pairs, n_points] of a kernel whose diagonal is zero.

    A weight is how often a point is drawn. NaN where a single point of a class was drawn.
    """
    across = np.sum((first @ kernel) * second, axis=1) / (first.sum(axis=1) * second.sum(axis=1))
    return _within(kernel, first, strata) + _within(kernel, second, strata) - 2 * across


def _within(kernel: np.ndarray, weights: np.ndarray, strata: list[np.ndarray]) -> np.ndarray:
    """Return the mean of the kernel over pairs of one side, where each class keeps the share of pairs that it has.

    Pairs of a point with itself are left out; the other pairs of its class stand in for them.
    """
    total = np.sum((weights @ kernel) * weights, axis=1)
    for rows in strata:
        part = weights[:, rows]
        own, count = np.sum((part @ kernel[np.ix_(rows, rows)]) * part, axis=1), part.sum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            total += own * (count**2 / (count**2 - np.sum(part**2, axis=1)) - 1)
    return total / weights.sum(axis=1) ** 2


def _inside(manifold: np.ndarray, points: np.ndarray, k: int) -> np.ndarray:
    """Say of each point [n, dim] whether it lies in a ball of the manifold: bool [n]."""
    blocks = [manifold[start : start + BLOCK] for start in range(0, len(manifold), BLOCK)]
    inside = np.zeros(len(points), dtype=bool)
    for block in blocks:
        radii = np.partition(cdist(block, manifold), k, axis=1)[:, k]  # the smallest is 0, of the point itself
        inside |= (cdist(block, points) <= radii[:, None]).any(axis=0)
    return inside


def _classes(reference: Embedded, other: Embedded) -> Classes | None:
    """Return the categories of both sides, None unless both have enough clips of the same ones."""
    names = [side.clips["category"] for side in (reference, other)]
    counts = [name.value_counts() for name in names]
    alike = set(counts[0].index) == set(counts[1].index)
    if not alike or "" in counts[0].index or min(count.min() for count in counts) < LEAST_OF_CLASS:
        return None
    return names[0].to_numpy(), names[1].to_numpy()


def _distances(
    reference: np.ndarray, other: np.ndarray, seed: Sequence[int], classes: Classes | None
) -> dict[str, Any]:
    """Return the numbers of one row, as far as there are clips enough for them."""
    n = min(len(reference), len(other))
    row: dict[str, Any] = {"dim": other.shape[1], "n_reference": len(reference), "n": len(other)}
    if n >= LEAST_CLIPS["fad"]:
        row["fad"] = frechet_distance(reference, other)
    if n >= LEAST_CLIPS["fad_infinity"]:
        row["fad_infinity"], row["fad_infinity_r2"] = frechet_infinity(reference, other, seed, classes=classes)
        row["fad_infinity_both"], _ = frechet_infinity(reference, other, seed, both=True, classes=classes)
    if n >= LEAST_CLIPS["kad"] and np.median(pdist(reference)) > 0:
        row |= kernel_distance(reference, other, seed, classes=classes)
    if n >= LEAST_CLIPS["precision_recall"]:
        row |= precision_recall(reference, other)
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
    if not category and _classes(reference, other) is None:
        notes.append("not taken class by class: FAD-infinity and KAD are for clips drawn at random")
    unread = len(reference.problems) + len(other.problems)
    return "; ".join([*notes, *[f"{unread} clips could not be read"] * bool(unread)])
