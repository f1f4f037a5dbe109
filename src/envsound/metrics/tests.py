"""Two-sample Kolmogorov-Smirnov tests: do two sets of clips follow one distribution, and what stays open."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from envsound.base.errors import InputError
from envsound.metrics.acoustic import ACOUSTIC, METRICS
from envsound.metrics.published import PUBLISHED, published_ks, read_published

COMPARISONS = ("generated_vs_real", "codec_vs_real", "real_other_vs_real")
COMPARISON_WORDS = {
    "generated_vs_real": "generated against real",
    "codec_vs_real": "the same real clips through the codec (ceiling)",
    "real_other_vs_real": "real clips of other folds (floor)",
}
KS_COLUMNS = [
    "comparison", "metric", "n_a", "n_b", "n_undefined", "statistic", "p_value", "p_holm",
    "threshold_5_percent", "published_statistic", "note",
]  # fmt: skip
ALPHA = 0.05


def ks_threshold(n_a: int, n_b: int, alpha: float = ALPHA) -> float:
    """Return the distance above which one test of n_a against n_b values rejects at level alpha.

    c(alpha) sqrt((n_a + n_b) / (n_a n_b)) with c = sqrt(-ln(alpha / 2) / 2), 1.358 at 5%: the large-sample
    limit (Smirnov 1948), for one test alone. NaN when a sample is empty. Raises InputError when alpha is not
    between 0 and 1.
    """
    if not 0 < alpha < 1:
        raise InputError(f"alpha={alpha}: expected a level between 0 and 1")
    if min(n_a, n_b) < 1:
        return float("nan")
    return float(np.sqrt(-np.log(alpha / 2) / 2) * np.sqrt((n_a + n_b) / (n_a * n_b)))


def ks_test(a: np.ndarray, b: np.ndarray) -> dict[str, float | int | str]:
    """Compare two samples [n_a] and [n_b]: D, two-sided p, counts, 5% threshold, a note on odd cases.

    NaNs are left out and counted in `n_undefined`. Samples that all share one value give D = 0, an empty
    sample gives NaN; p is NaN in either case, so that neither counts in a family of tests, and the note says why.
    """
    a, b = (np.asarray(values, dtype=np.float64) for values in (a, b))
    n_undefined = int(np.isnan(a).sum() + np.isnan(b).sum())
    a, b = a[~np.isnan(a)], b[~np.isnan(b)]
    row = {"n_a": a.size, "n_b": b.size, "n_undefined": n_undefined}
    row |= {"threshold_5_percent": ks_threshold(a.size, b.size), "note": ""}
    if min(a.size, b.size) == 0:
        return row | {"statistic": np.nan, "p_value": np.nan, "note": "undefined for every clip of a side"}
    if np.ptp(np.concatenate([a, b])) == 0:
        return row | {"statistic": 0.0, "p_value": np.nan, "note": "degenerate: every clip has the same value"}
    result = stats.ks_2samp(a, b)
    return row | {"statistic": float(result.statistic), "p_value": float(result.pvalue)}


def holm(p_values: np.ndarray) -> np.ndarray:
    """Return Holm's adjusted p values [n_tests] (Holm 1979); a NaN stays NaN, outside the family."""
    return _adjusted(p_values, "holm")


def benjamini_hochberg(p_values: np.ndarray) -> np.ndarray:
    """Return p values [n_tests] adjusted for the share of false discoveries (Benjamini and Hochberg 1995).

    A NaN stays NaN, outside the family. They hold that share for independent and for positively dependent tests.
    """
    return _adjusted(p_values, "fdr_bh")


def ks_table(
    metrics: pd.DataFrame, comparisons: Sequence[str] = COMPARISONS, published: str | Path = PUBLISHED
) -> pd.DataFrame:
    """Return ks.csv from rows of metrics.csv: one test per comparison and metric that the rows hold.

    A comparison is named a_vs_b after two sides; one whose sides are not both there is left out. Holm's
    correction runs over the metrics of each comparison. The published statistic stands beside
    generated_vs_real only. Raises InputError for a comparison that is not one of COMPARISONS, or when none of
    them can be made.
    """
    unknown = [name for name in comparisons if name not in COMPARISONS]
    if unknown:
        raise InputError(f"comparisons: {unknown[0]!r} is not known; expected some of {', '.join(COMPARISONS)}")
    study = read_published(published)
    tables = [_comparison(metrics, name, study) for name in COMPARISONS if name in comparisons]
    tables = [table for table in tables if not table.empty]
    if not tables:
        sides = ", ".join(sorted(metrics["side"].unique()))
        raise InputError(f"comparisons={list(comparisons)}: the metrics hold only the sides {sides}")
    return pd.concat(tables, ignore_index=True)


def describe_comparisons(ks: pd.DataFrame) -> str:
    """Return a Markdown list of the comparisons in a KS table with their sizes and 5% threshold."""
    lines = []
    for name, rows in ks.groupby("comparison", sort=False):
        n_a, n_b = rows["n_a"].max(), rows["n_b"].max()
        threshold = ks_threshold(n_a, n_b)
        words = COMPARISON_WORDS[name]
        size = f"n = {n_a} and {n_b}"
        lines.append(f"- `{name}`: {words}; {size}; one test rejects at 5% above D = {threshold:.3f}")
    return "\n".join(lines)


def findings_ks(ks: pd.DataFrame, alpha: float = ALPHA) -> str:
    """Return Markdown sentences on a KS table: what Holm rejects at `alpha`, and what stays open."""
    sentences = [_verdict(rows, name, alpha) for name, rows in ks.groupby("comparison", sort=False)]
    kept = ks[(ks["p_holm"] >= alpha) & (ks["note"].fillna("") == "")]
    if not kept.empty:
        sentences.append(
            "Where equality is not rejected it is not shown either: at these n even one test "
            f"misses distances under about D = {kept['threshold_5_percent'].max():.2f}."
        )
    return " ".join(sentences)


def _adjusted(p_values: np.ndarray, method: str) -> np.ndarray:
    p_values = np.asarray(p_values, dtype=np.float64)
    adjusted, tested = np.full_like(p_values, np.nan), ~np.isnan(p_values)
    if tested.any():
        adjusted[tested] = multipletests(p_values[tested], method=method)[1]
    return adjusted


def _comparison(metrics: pd.DataFrame, name: str, study: pd.DataFrame) -> pd.DataFrame:
    a, b = (metrics[metrics["side"] == side] for side in name.split("_vs_"))
    names = [metric for metric in ACOUSTIC if metric in metrics.columns]
    if a.empty or b.empty or not names:
        return pd.DataFrame(columns=KS_COLUMNS)
    rows = [{"comparison": name, "metric": metric} | ks_test(a[metric], b[metric]) for metric in names]
    table = pd.DataFrame(rows)
    table["p_holm"] = holm(table["p_value"].to_numpy())
    is_published = name == "generated_vs_real"
    table["published_statistic"] = [published_ks(study, m) if is_published else np.nan for m in names]
    return table[KS_COLUMNS]


def wilson(count: float, n: int) -> tuple[float, float]:
    """Return the Wilson 95% interval of a share of `count` in `n` (Wilson 1927), both ends in 0 to 1."""
    low, high = proportion_confint(count, n, alpha=0.05, method="wilson")
    return float(low), float(high)


def capitalised(text: str) -> str:
    """Return a text with a capital first letter and the rest as it is."""
    return text[:1].upper() + text[1:]


def _verdict(rows: pd.DataFrame, name: str, alpha: float) -> str:
    informative = rows[rows["note"].fillna("") == ""]
    words = COMPARISON_WORDS[name]
    if informative.empty:
        return f"{capitalised(words)}: no metric could be tested."
    rejected = informative[informative["p_holm"] < alpha]
    top = informative.loc[informative["statistic"].idxmax()]
    text = f"{capitalised(words)}: **{len(rejected)} of {len(informative)}** informative tests reject equality "
    text += f"at {100 * alpha:g}% after Holm (n = {top['n_a']} and {top['n_b']}); the largest distance is "
    return text + f"D = {top['statistic']:.2f} in {METRICS[top['metric']].label}{_published(top)}."


def _published(row: pd.Series) -> str:
    value = row["published_statistic"]
    return "" if np.isnan(value) else f" (published: {value:.2f})"
