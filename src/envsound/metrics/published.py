"""The published study's own figures, read from the project's table of them."""

from pathlib import Path

import numpy as np
import pandas as pd

from envsound.base.errors import InputError
from envsound.base.files import read_csv
from envsound.metrics.acoustic import PAIRWISE

PUBLISHED = Path("data") / "published" / "published_study.csv"
SOURCES = ("public result file", "paper table 2", "paper table 3", "recomputed")  # the most exact first


def read_published(path: str | Path = PUBLISHED) -> pd.DataFrame:
    """Return the table of published figures: item, side, value, sd, unit, source, note.

    Raises InputError when the file is missing or lacks a column.
    """
    table = read_csv(path)
    missing = {"item", "side", "value", "sd", "source"} - set(table.columns)
    if missing:
        raise InputError(f"{path}: lacks the column {sorted(missing)[0]}, expected item, side, value, sd and source")
    return table


def published_value(table: pd.DataFrame, item: str, side: str, column: str = "value") -> float:
    """Return one published figure from the most exact source that gives it; NaN when none does.

    `side` is real, generated, difference (percent) or pair; the result files are preferred to the printed
    tables.
    """
    rows = table[(table["item"] == item) & (table["side"] == side) & table[column].notna()]
    if rows.empty:
        return float("nan")
    rank = [next((r for r, name in enumerate(SOURCES) if source.startswith(name)), 9) for source in rows["source"]]
    return float(rows[column].iloc[int(np.argmin(rank))])


def published_pair_means(path: str | Path = PUBLISHED) -> dict[str, float]:
    """Return the published means of spectral_convergence and log_spectral_distance over pairs."""
    table = read_published(path)
    return {name: published_value(table, name, "pair") for name in PAIRWISE}


def published_ks(table: pd.DataFrame, metric: str) -> float:
    """Return the published Kolmogorov-Smirnov distance of a metric; NaN if none was published."""
    return published_value(table, "ks_" + metric.removesuffix("_s"), "pair")
