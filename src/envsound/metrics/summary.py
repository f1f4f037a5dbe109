"""Means, standard deviations and differences of every metric, beside the published figures."""

from pathlib import Path

import numpy as np
import pandas as pd

from envsound.metrics.acoustic import ACOUSTIC, METRICS, PAIRWISE
from envsound.metrics.published import PUBLISHED, published_value, read_published

TABLE_COLUMNS = [
    "metric", "n_real", "real_mean", "real_sd", "n_generated", "generated_mean", "generated_sd",
    "n_codec", "codec_mean", "codec_sd", "difference_percent", "n_undefined_real", "n_undefined_generated",
    "published_real", "published_generated", "published_difference_percent",
]  # fmt: skip


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


def readable(table: pd.DataFrame, digits: int = 4) -> pd.DataFrame:
    """Return a table for display: numbers at `digits` significant digits, "–" where there is none."""
    shown = table.copy()
    for name in shown.columns:
        if pd.api.types.is_float_dtype(shown[name]):
            shown[name] = [_number(value, digits) for value in shown[name]]
    return shown


def findings_metrics(table: pd.DataFrame) -> str:
    """Return one or two Markdown sentences on a summary table: where the two sides differ most and least.

    The six acoustic metrics are ranked by the difference of the means in standard deviations of the real
    clips.
    """
    shift = (table["generated_mean"] - table["real_mean"]).abs() / table["real_sd"]
    rows = table.assign(shift=shift)[np.isfinite(shift) & (table["metric"] != "duration_s")].sort_values("shift")
    if rows.empty:
        return "No acoustic metric varies over the real clips, so no difference can be put on its scale."
    least, most = rows.iloc[0], rows.iloc[-1]
    counts = f"n = {most['n_generated']:.0f} generated, {most['n_real']:.0f} real"
    text = f"In standard deviations of the real clips, **{_label(most)}** differs most: {_difference(most)}"
    text += f"; {_label(least)} least: {_difference(least)} ({counts})." if len(rows) > 1 else f" ({counts})."
    return text + _codec_sentence(most)


def findings_figures(training: pd.DataFrame, pairs: pd.DataFrame, published: str | Path = PUBLISHED) -> str:
    """Return two Markdown sentences: where the validation loss went, and how far the pairs are apart."""
    curves = training[(training["split"] == "validation") & training["loss"].notna()].sort_values("epoch")
    curves = curves.assign(level=curves["level"].astype(str))
    total = curves.loc[curves["level"] == "all", "loss"]
    levels = curves[curves["level"] != "all"].groupby("level")["loss"].last()
    distance = pairs["log_spectral_distance"].dropna()
    value = published_value(read_published(published), "log_spectral_distance", "pair")
    return (
        f"The validation loss goes from {total.iloc[0]:.2f} to **{total.iloc[-1]:.2f} nat** in "
        f"{training['epoch'].nunique()} epochs (a uniform guess: {np.log(1024):.2f}); by level it ends "
        f"between {levels.min():.2f} (level {levels.idxmin()}) and {levels.max():.2f} (level "
        f"{levels.idxmax()}). Over {len(distance)} pairs the log spectral distance is "
        f"{distance.mean():.2f} neper on average (published: {value:.2f}); the two clips of a pair are "
        "different sounds, so even a perfect model is not at 0."
    )


def _codec_sentence(row: pd.Series) -> str:
    if not row["n_codec"]:
        return ""
    change = difference_percent(row["real_mean"], row["codec_mean"])
    return f" The codec alone moves {_label(row)} by {change:+.1f}%, which is not the model's doing."


def _label(row: pd.Series) -> str:
    return METRICS[row["metric"]].label


def _difference(row: pd.Series) -> str:
    text = f"{row['shift']:.2f} sd, {row['difference_percent']:+.1f}%"
    published = row["published_difference_percent"]
    return text if np.isnan(published) else f"{text} (published {published:+.1f}%)"


def _number(value: float, digits: int) -> str:
    if not np.isfinite(value):
        return "–"
    return f"{value:.0f}" if abs(value) >= 10**digits else f"{value:.{digits}g}"


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
