"""Tables of distances in embedding space: every side against the real one, in every embedding, and class by class."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.spatial.distance import pdist
from statsmodels.stats.multitest import multipletests
from tqdm.auto import tqdm

from envsound.base.errors import InputError
from envsound.evaluation.sides import Source, common_rate
from envsound.evaluation.spaces.distances import (
    Classes,
    frechet_distance,
    frechet_infinity,
    kernel_distance,
    precision_recall,
)
from envsound.evaluation.spaces.embeddings import Embedded, Embedding, NotRun, check_independent, embed_clips
from envsound.metrics.tests import holm

LEAST_CLIPS = {"kad": 5, "precision_recall": 10, "fad": 20, "fad_infinity": 30}  # on either side
LEAST_OF_CLASS = 5  # clips on either side, for sides to be taken class by class
DISTANCE_COLUMNS = [
    "embedding", "dim", "side", "category", "n_reference", "n",
    "fad", "fad_infinity", "fad_infinity_r2", "fad_infinity_both",
    "kad", "kad_low", "kad_high", "kad_chance", "kad_p", "kad_p_adjusted",
    "precision", "precision_low", "precision_high", "recall", "recall_low", "recall_high", "note",
]  # fmt: skip


def distance_table(
    sides: Mapping[str, Embedded],
    embedding: str,
    reference: str = "real",
    seed: int = 0,
    k: int = 5,
    by_class: bool = True,
) -> pd.DataFrame:
    """Return every other side's distances to the reference side in one embedding: DISTANCE_COLUMNS.

    A row for all clips of a side (category "") and, `by_class`, for each category that both sides have. The former
    takes clips class by class (see `embedding_distances`) where both sides have five or more of every class. What too
    few clips allow (LEAST_CLIPS) is NaN and the note says so, as it does of clips that the reference has too, which
    make a side look nearer. kad_p_adjusted: Benjamini-Hochberg over the categories of a side; see `measure_distances`
    for the rest.
    Raises InputError when the reference is not among the sides.
    """
    if reference not in sides:
        raise InputError(f"reference={reference!r}: expected one of the sides {', '.join(sides)}")
    base, rows = sides[reference], []
    for side, points in sides.items():
        if side == reference:
            continue
        shared = set(base.clips["category"]) & set(points.clips["category"]) - {""} if by_class else ()
        for place, category in enumerate(tqdm(["", *sorted(shared)], desc=f"{embedding}: {side}", leave=False)):
            named = {"embedding": embedding, "side": side, "category": category, "note": _note(base, points, category)}
            classes = None if category else _classes(base, points)
            pair = base.of_class(category), points.of_class(category)
            rows.append(named | _distances(*pair, [seed, place], k, classes))
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
    by_class: bool = True,
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
        rows += distance_table(points, embedding.name, reference, seed, k, by_class).to_dict("records")
    table = pd.DataFrame(rows, columns=DISTANCE_COLUMNS)
    for _, family in table[table["category"] == ""].groupby("side"):
        table.loc[family.index, "kad_p_adjusted"] = holm(family["kad_p"].to_numpy())
    return table


def _classes(reference: Embedded, other: Embedded) -> Classes | None:
    """Return the categories of both sides, None unless both have enough clips of the same ones."""
    names = [side.clips["category"] for side in (reference, other)]
    counts = [name.value_counts() for name in names]
    alike = set(counts[0].index) == set(counts[1].index)
    if not alike or "" in counts[0].index or min(count.min() for count in counts) < LEAST_OF_CLASS:
        return None
    return names[0].to_numpy(), names[1].to_numpy()


def _distances(
    reference: np.ndarray, other: np.ndarray, seed: Sequence[int], k: int, classes: Classes | None
) -> dict[str, Any]:
    """Return the numbers of one row, as far as there are clips enough for them."""
    n = min(len(reference), len(other))
    row: dict[str, Any] = {"dim": other.shape[1], "n_reference": len(reference), "n": len(other)}
    if n >= LEAST_CLIPS["fad"]:
        row["fad"] = frechet_distance(reference, other)
    if n >= LEAST_CLIPS["fad_infinity"]:
        line = frechet_infinity(reference, other, seed, classes=classes)
        row |= {"fad_infinity": line.value, "fad_infinity_r2": line.r_squared}
        row["fad_infinity_both"] = frechet_infinity(reference, other, seed, both=True, classes=classes).value
    if n >= LEAST_CLIPS["kad"] and np.median(pdist(reference)) > 0:
        found = kernel_distance(reference, other, seed, classes=classes)
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
    if not category and _classes(reference, other) is None:
        notes.append("not taken class by class: FAD-infinity and KAD are for clips drawn at random")
    unread = len(reference.problems) + len(other.problems)
    return "; ".join([*notes, *[f"{unread} clips could not be read"] * bool(unread)])


def _adjusted(p_values: pd.Series) -> np.ndarray:
    """Return Benjamini and Hochberg's adjusted p values (1995); a NaN stays NaN, outside the family."""
    adjusted, tested = np.full(len(p_values), np.nan), p_values.notna().to_numpy()
    if tested.any():
        adjusted[tested] = multipletests(p_values[tested], method="fdr_bh")[1]
    return adjusted
