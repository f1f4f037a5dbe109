"""Kolmogorov-Smirnov tests of two sets of clips, and of clips and what became of them, corrected over families."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

from envsound.base.errors import InputError
from envsound.metrics.acoustic import ACOUSTIC
from envsound.metrics.published import PUBLISHED, published_ks, read_published

COMPARISONS = ("generated_vs_real", "codec_vs_real", "real_other_vs_real")
KS_COLUMNS = [
    "comparison", "metric", "n_a", "n_b", "n_undefined", "statistic", "p_value", "p_holm",
    "threshold_5_percent", "published_statistic", "note",
]  # fmt: skip
ALPHA = 0.05
TWO_SAMPLE, PAIRED = "two-sample", "paired"
N_SWAPS = 9999  # random exchanges; the smallest p is then 1e-4, small enough for Holm over all metrics


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
    return _adjusted(p_values, lambda p: np.maximum.accumulate(p * np.arange(p.size, 0, -1)))


def benjamini_hochberg(p_values: np.ndarray) -> np.ndarray:
    """Return p values [n_tests] adjusted for the share of false discoveries (Benjamini and Hochberg 1995).

    A NaN stays NaN, outside the family. They hold that share for independent and for positively dependent tests.
    """
    return _adjusted(p_values, lambda p: np.minimum.accumulate((p / (np.arange(1, p.size + 1) / p.size))[::-1])[::-1])


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


def headline(ks: pd.DataFrame, alpha: float = ALPHA) -> str:
    """Return a Markdown sentence on ks.csv: how many metrics tell generated clips from real ones after Holm."""
    rows = ks[(ks["comparison"] == COMPARISONS[0]) & (ks["note"].fillna("") == "")]
    n_apart = int((rows["p_holm"] < alpha).sum())
    return f"**{n_apart} of {len(rows)}** metrics tell generated clips from real ones at {alpha:.0%} after Holm."


def paired_ks_test(a: np.ndarray, b: np.ndarray, seed: int = 0, n_swaps: int = N_SWAPS) -> dict[str, float | int | str]:
    """Compare two values [n] of each of n clips: D, p, counts, 5% threshold, a note on odd cases, as `ks_test` does.

    `ks_test` takes its samples for independent, and has next to no power where they are the same clips
    twice. If what was done to a clip does not matter, its two values may change places; p is the share of such
    exchanges, clip by clip, that leave a distance of D or more: of all 2^n exchanges where these are no more than
    `n_swaps` + 1, else (1 + count) / (1 + n_swaps) over `n_swaps` random ones (Phipson and Smyth 2010; the permutation
    of pairs is that of Lehmann and Romano 2005, section 15.2). threshold_5_percent: the distance that at most 5% of the
    exchanges exceed. Pairs of which one value is NaN are left out and counted in n_undefined. Where no pair is left or
    all values are equal, p is NaN and the note says why. Raises InputError for unequal shapes or no exchange.
    """
    a, b = (np.asarray(values, dtype=np.float64) for values in (a, b))
    if a.shape != b.shape or a.ndim != 1 or n_swaps < 1:
        raise InputError(f"a {a.shape}, b {b.shape}, n_swaps={n_swaps}: expected two equal lengths and one exchange")
    known = ~(np.isnan(a) | np.isnan(b))
    a, b = a[known], b[known]
    row = {"n_a": a.size, "n_b": b.size, "n_undefined": int((~known).sum()), "statistic": np.nan, "p_value": np.nan}
    row |= {"threshold_5_percent": np.nan, "note": ""}
    if not a.size:
        return row | {"note": "undefined for every pair"}
    if np.ptp(np.concatenate([a, b])) == 0:
        return row | {"statistic": 0.0, "note": "degenerate: every clip has the same value"}
    observed = largest_gaps(a, b, np.ones((a.size, 1), dtype=np.int8))[0]
    signs, is_all = exchanges(a.size, n_swaps, np.random.default_rng([seed, a.size]))
    swapped = largest_gaps(a, b, signs)
    count = int(np.count_nonzero(swapped >= observed))
    p_value = count / swapped.size if is_all else (1 + count) / (1 + swapped.size)
    threshold = np.quantile(swapped, 0.95, method="inverted_cdf") / a.size
    return row | {"statistic": observed / a.size, "p_value": p_value, "threshold_5_percent": float(threshold)}


def exchanges(n_pairs: int, n_swaps: int, rng: np.random.Generator) -> tuple[np.ndarray, bool]:
    """Return which pairs are exchanged, -1, and which not, 1: int8 [n_pairs, n_exchanges]; and whether these are all.

    All 2^n_pairs of them, when there are no more than n_swaps + 1; else n_swaps, drawn independently.
    """
    if 2**n_pairs <= n_swaps + 1:
        bits = (np.arange(2**n_pairs)[None] >> np.arange(n_pairs)[:, None]) & 1
        return (1 - 2 * bits).astype(np.int8), True
    return 2 * rng.integers(0, 2, (n_pairs, n_swaps), dtype=np.int8) - 1, False


def largest_gaps(a: np.ndarray, b: np.ndarray, signs: np.ndarray) -> np.ndarray:
    """Return n times the Kolmogorov-Smirnov distance of a [n] and b [n] after each exchange: int [n_exchanges].

    signs: as `exchanges` returns them. Whole numbers, so that equal distances are equal.
    """
    values = np.concatenate([a, b])
    order = np.argsort(values, kind="stable")
    is_last = np.append(np.diff(values[order]) > 0, True)  # of equal values; there alone the two shares are compared
    gap, largest = np.zeros((2, signs.shape[1]), dtype=np.int32)
    for place, last in zip(order, is_last, strict=True):
        (np.add if place < a.size else np.subtract)(gap, signs[place % a.size], out=gap)
        if last:
            np.maximum(largest, np.abs(gap), out=largest)
    return largest


def wilson(count: float, n: int) -> tuple[float, float]:
    """Return the Wilson 95% interval of a share of `count` in `n` (Wilson 1927), both ends in 0 to 1."""
    low, high = proportion_confint(count, n, alpha=0.05, method="wilson")
    return float(low), float(high)


def ratio_interval(count: float, n: int, other_count: float, other_n: int) -> tuple[float, float]:
    """Return the 95% interval of the ratio of two independent shares, of `count` in `n` to `other_count` in `other_n`.

    By the score test (Koopman 1984, with Miettinen and Nurminen's correction), which holds with none or all of a side.
    """
    low, high = confint_proportions_2indep(count, n, other_count, other_n, compare="ratio", method="score", alpha=0.05)
    return max(float(low), 0.0), float(high)


def _adjusted(p_values: np.ndarray, adjust: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Adjust the p values that are known; `adjust` takes them in ascending order.

    As statsmodels' `multipletests` does, which collects garbage at every call and so takes a hundred times as long.
    """
    p_values = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p_values)[: np.count_nonzero(~np.isnan(p_values))]  # a NaN comes last
    adjusted = np.full_like(p_values, np.nan)
    adjusted[order] = np.minimum(adjust(p_values[order]), 1)
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
