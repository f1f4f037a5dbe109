"""The published study's own figures, read from the project's table of them, and ours beside them."""

from pathlib import Path

import numpy as np
import pandas as pd

from envsound.base.errors import InputError
from envsound.base.files import read_csv
from envsound.metrics.acoustic import ACOUSTIC, PAIRWISE

PUBLISHED = Path("data") / "published" / "published_study.csv"
TABLE_COLUMNS = [
    "metric", "n_real", "real_mean", "real_sd", "n_generated", "generated_mean", "generated_sd",
    "n_codec", "codec_mean", "codec_sd", "difference_percent", "n_undefined_real", "n_undefined_generated",
    "published_real", "published_generated", "published_difference_percent",
]  # fmt: skip
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


def summary_table(metrics: pd.DataFrame, pairs: pd.DataFrame, published: str | Path = PUBLISHED) -> pd.DataFrame:
    """Return table_metrics.csv: a row per acoustic metric in rows of metrics.csv, and per pairwise metric.

    Means and sample standard deviations (n - 1) are over defined values; n counts those, n_undefined the
    others. `difference_percent` is 100 (generated - real) / |real| of the means, NaN when the real mean is
    zero. A pairwise metric has its mean over pairs in the generated columns, as it belongs to no real clip
    alone.
    """
    study = read_published(published)
    acoustic_rows = [_acoustic_row(metrics, name, study) for name in ACOUSTIC if name in metrics.columns]
    pairwise_rows = [_pairwise_row(pairs, name, study) for name in PAIRWISE]
    return pd.DataFrame(acoustic_rows + pairwise_rows, columns=TABLE_COLUMNS)


def difference_percent(real: float, generated: float) -> float:
    """Return 100 (generated - real) / |real|, NaN when `real` is zero or either is NaN."""
    return float(100 * (generated - real) / abs(real)) if real else float("nan")


def _statistics(values: pd.Series, side: str) -> dict[str, float]:
    values = values.dropna()
    return {f"n_{side}": len(values), f"{side}_mean": values.mean(), f"{side}_sd": values.std(ddof=1)}


def _acoustic_row(metrics: pd.DataFrame, name: str, study: pd.DataFrame) -> dict[str, float | str]:
    sides = {side: metrics.loc[metrics["side"] == side, name] for side in ("real", "generated", "codec")}
    row: dict[str, float | str] = {"metric": name}
    for side, values in sides.items():
        row |= _statistics(values, side)
    row["difference_percent"] = difference_percent(row["real_mean"], row["generated_mean"])
    row["n_undefined_real"] = int(sides["real"].isna().sum())
    row["n_undefined_generated"] = int(sides["generated"].isna().sum())
    row["published_real"] = published_value(study, name, "real")
    row["published_generated"] = published_value(study, name, "generated")
    row["published_difference_percent"] = published_value(study, name, "difference")
    return row


def _pairwise_row(pairs: pd.DataFrame, name: str, study: pd.DataFrame) -> dict[str, float | str]:
    row = {"metric": name, "n_real": 0, "n_codec": 0, "n_undefined_real": 0}
    row |= _statistics(pairs[name], "generated")
    row["n_undefined_generated"] = int(pairs[name].isna().sum())
    row["published_generated"] = published_value(study, name, "pair")
    return row
