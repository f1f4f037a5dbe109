"""How far two sets of clips are apart in each metric: effect sizes, their intervals over resampled clips, tests."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from envsound.base.errors import InputError
from envsound.metrics.resampling import Resamples, in_blocks, percentiles
from envsound.metrics.tests import PAIRED, TWO_SAMPLE, benjamini_hochberg, holm, ks_test, paired_ks_test

SUMMARY = ("mean", "sd", "median")
EFFECTS = ("cliffs_delta", "wasserstein")
ENDS = ("", "_low", "_high")
UNTESTED = "not tested: asked for, not generated"
COLUMNS = [
    "system", "run", "metric", "n", "n_undefined", *[f"{name}{end}" for name in SUMMARY for end in ENDS],
    "n_real", *[f"{name}{end}" for name in EFFECTS for end in ENDS], "wasserstein_in_sd",
    "test", "ks", "p_value", "p_holm", "threshold_5_percent", "note",
]  # fmt: skip
CLASS_COLUMNS = ["category", *["p_bh" if name == "p_holm" else name for name in COLUMNS]]
SEED_COLUMNS = ["system", "metric", "n_runs", *[
    f"{name}_{part}" for name in (*SUMMARY, *EFFECTS, "ks") for part in ("mean", "sd", "lowest", "highest")
]]  # fmt: skip


@dataclass(frozen=True)
class Sample:
    """One metric of some clips: values float [n_clips], NaN where undefined; how often each resample holds each clip.

    counts: int [n_resamples, n_clips], rows as `resample_counts` draws them.
    """

    values: np.ndarray
    counts: np.ndarray

    def defined(self) -> "Sample":
        """Return the clips whose value is defined, in ascending order."""
        order = np.argsort(self.values, kind="stable")[: int(np.count_nonzero(~np.isnan(self.values)))]
        return Sample(self.values[order], self.counts[:, order])


def cliffs_delta(a: np.ndarray, b: np.ndarray) -> float:
    """Return P(a > b) - P(a < b) for values drawn from a [n_a] and b [n_b] (Cliff 1993), in [-1, 1]; NaN when empty."""
    if not len(a) or not len(b):
        return float("nan")
    ordered = np.sort(b)
    below, not_above = (np.searchsorted(ordered, a, side) for side in ("left", "right"))
    return float((below + not_above).mean() / len(b) - 1)


def summary(sample: Sample) -> dict[str, float]:
    """Return n, n_undefined, and mean, sd (n - 1) and median of the defined values with their 95% percentile intervals.

    Efron and Tibshirani 1993, section 13.3. What too few clips leave undefined is NaN.
    """
    kept = sample.defined()
    row: dict[str, float] = {"n": kept.values.size, "n_undefined": sample.values.size - kept.values.size}
    if not kept.values.size:
        return row
    whole = np.ones((1, kept.values.size), dtype=np.int64)
    point = _summaries(kept.values, whole)[:, 0]
    low, high = np.full((2, len(point)), np.nan)  # one clip says nothing of others
    if kept.values.size > 1:
        low, high = percentiles(in_blocks(lambda counts: _summaries(kept.values, counts), kept.counts))
    for place, name in enumerate(SUMMARY):
        row |= dict(zip((f"{name}{end}" for end in ENDS), (point[place], low[place], high[place]), strict=True))
    return row


def effects(sample: Sample, real: Sample) -> dict[str, float]:
    """Return Cliff's delta and the Wasserstein distance of a sample from the real one, with their 95% intervals.

    `cliffs_delta` is above 0 where the sample is higher; `wasserstein` is the area between the two cumulative
    distributions (Vallender 1974), in the metric's unit, and `wasserstein_in_sd` the same in standard deviations of the
    real clips. Delta has its percentile interval. Resampling adds to any distance that cannot fall below 0, so that of
    the Wasserstein distance is turned round the estimate and cut at 0 (the basic interval; Davison and Hinkley 1997,
    section 5.2); it may lie below the estimate, which sampling makes too large as well: read it beside the floor's.
    """
    a, b = sample.defined(), real.defined()
    row: dict[str, float] = {"n_real": b.values.size}
    if not a.values.size or not b.values.size:
        return row
    delta, distance = cliffs_delta(a.values, b.values), float(stats.wasserstein_distance(a.values, b.values))
    one = min(a.values.size, b.values.size) == 1  # which says nothing of others
    low, high = np.full((2, 2), np.nan) if one else percentiles(resampled_effects(a, b))
    row |= {"cliffs_delta": delta, "cliffs_delta_low": low[0], "cliffs_delta_high": high[0]}
    turned = [np.maximum(0.0, 2 * distance - end) for end in (high[1], low[1])]  # NaN stays NaN
    row |= {"wasserstein": distance, "wasserstein_low": turned[0], "wasserstein_high": turned[1]}
    spread = b.values.std(ddof=1) if b.values.size > 1 else 0.0
    return row | {"wasserstein_in_sd": distance / spread if spread > 0 else np.nan}


def resampled_effects(a: Sample, b: Sample) -> np.ndarray:
    """Return Cliff's delta and the Wasserstein distance of each pair of resamples, float [2, n_resamples].

    a, b: `Sample.defined`. NaN where a resample holds no clip.
    """
    pooled = np.unique(np.concatenate([a.values, b.values]))

    def effects_of(*counts: np.ndarray) -> np.ndarray:
        parts = [Sample(side.values, rows) for side, rows in zip((a, b), counts, strict=True)]
        shares = [_shares(part, pooled) for part in parts]  # [n_resamples, n_pooled] each
        below = [np.cumsum(part, axis=1) for part in shares]
        distance = np.abs(below[0] - below[1])[:, :-1] @ np.diff(pooled)
        delta = (shares[0] * (2 * below[1] - shares[1])).sum(axis=1) - 1  # 2 P(b < v) + P(b = v) - 1, over a
        return np.stack([delta.clip(-1, 1), distance])

    return in_blocks(effects_of, a.counts, b.counts)


def effect_table(
    clips: pd.DataFrame, metrics: Sequence[str], seed: int = 0, n_resamples: int = 1000, untested: Sequence[str] = ()
) -> pd.DataFrame:
    """Return a row for each system, run and metric of a table of clips, in columns COLUMNS.

    clips: columns system, run, clip and one for each metric; the system "real" is what the others are compared with,
    and has no effects itself. `ks` is the Kolmogorov-Smirnov distance and `test` how p was found: PAIRED, see
    `tests.paired_ks_test`, where a system's clips are the real ones, name by name, and else TWO_SAMPLE, see
    `tests.ks_test`. The family of Holm's correction is all tests of one system and run; metrics that are
    `untested`, as nothing generated decides them, or the same in every clip are not in it, and the note says so.
    Raises InputError without real clips.
    """
    table = _compared(clips, metrics, seed, n_resamples, untested)
    family = table.groupby(["system", "run"], sort=False)["p_value"]
    return table.assign(p_holm=family.transform(lambda p: holm(p.to_numpy())))[COLUMNS]


def class_table(
    clips: pd.DataFrame, metrics: Sequence[str], seed: int = 0, n_resamples: int = 1000, untested: Sequence[str] = ()
) -> pd.DataFrame:
    """Return `effect_table` within each class, in columns CLASS_COLUMNS; clips without a class are left out.

    Each class is compared with the real clips of that class. Benjamini and Hochberg's correction runs over all classes
    and metrics of one system and run. Empty when no class has both real clips and others.
    """
    known = set(clips.loc[clips["system"] == "real", "category"]) - {""}
    tables = []
    for category in sorted(known & set(clips.loc[clips["system"] != "real", "category"])):
        rows = clips[clips["category"] == category]
        tables.append(_compared(rows, metrics, seed, n_resamples, untested).assign(category=category))
    if not tables:
        return pd.DataFrame(columns=CLASS_COLUMNS)
    table = pd.concat(tables, ignore_index=True)
    family = table.groupby(["system", "run"], sort=False)["p_value"]
    return table.assign(p_bh=family.transform(lambda p: benjamini_hochberg(p.to_numpy())))[CLASS_COLUMNS]


def seed_table(table: pd.DataFrame, system: str = "generated") -> pd.DataFrame:
    """Return how the numbers of a system vary over its runs, one row for each metric, in columns SEED_COLUMNS.

    table: as `effect_table` returns it, one run for each training seed. The standard deviation (n - 1) is NaN for one
    run.
    """
    rows = []
    for metric, of_metric in table[table["system"] == system].groupby("metric", sort=False):
        row: dict[str, Any] = {"system": system, "metric": metric, "n_runs": of_metric["run"].nunique()}
        for name in (*SUMMARY, *EFFECTS, "ks"):
            values = of_metric[name]
            parts = (values.mean(), values.std(ddof=1), values.min(), values.max())
            row |= dict(zip((f"{name}_{part}" for part in ("mean", "sd", "lowest", "highest")), parts, strict=True))
        rows.append(row)
    return pd.DataFrame(rows, columns=SEED_COLUMNS)


def _compared(
    clips: pd.DataFrame, metrics: Sequence[str], seed: int, n_resamples: int, untested: Sequence[str]
) -> pd.DataFrame:
    """Return the rows of `effect_table` without any correction."""
    real = clips[clips["system"] == "real"]
    if real.empty:
        raise InputError("clips: none of the system 'real'; expected what the others are compared with")
    resamples = Resamples(seed, n_resamples)
    found = []
    for (system, run), rows in clips.groupby(["system", "run"], sort=False):
        named = {"system": system, "run": run}
        beside, test = _to_test_against(rows, real)
        for name in metrics:
            row = named | {"metric": name} | _row(rows, real, name, resamples)
            if system != "real":
                row |= {"note": UNTESTED} if name in untested else _tested(rows, beside, name, test, seed)
            found.append(row)
    table = pd.DataFrame(found).reindex(columns=[name for name in COLUMNS if name != "p_holm"])
    return table.astype({"p_value": float}).fillna({"note": "", "test": ""})


def _row(rows: pd.DataFrame, real: pd.DataFrame, name: str, resamples: Resamples) -> dict[str, Any]:
    sample = Sample(rows[name].to_numpy(dtype=np.float64), resamples.of(rows["clip"]))
    row: dict[str, Any] = summary(sample)
    if rows["system"].iloc[0] == "real":
        return row
    reference = Sample(real[name].to_numpy(dtype=np.float64), resamples.of(real["clip"]))
    return row | effects(sample, reference)


def _to_test_against(rows: pd.DataFrame, real: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Return the real clips and the test; for clips that are the real ones, name by name, these in their order."""
    if rows["clip"].duplicated().any() or sorted(rows["clip"]) != sorted(real["clip"]):
        return real, TWO_SAMPLE
    return real.set_index("clip").loc[rows["clip"]], PAIRED


def _tested(rows: pd.DataFrame, real: pd.DataFrame, name: str, test: str, seed: int) -> dict[str, Any]:
    values = (side[name].to_numpy(dtype=np.float64) for side in (rows, real))
    found = paired_ks_test(*values, seed) if test == PAIRED else ks_test(*values)
    kept = {key: found[key] for key in ("p_value", "threshold_5_percent", "note")}
    return kept | {"ks": found["statistic"], "test": test}


def _summaries(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return mean, sd and median of ascending values [n] that occur `counts` [n_resamples, n] times: [3, n_resamples].

    A median of an even number is the mean of the two in the middle; a sd of fewer than two is NaN.
    """
    n = counts.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = counts @ values / n
        squares = (counts * (values - mean[:, None]) ** 2).sum(axis=1)
        sd = np.sqrt(np.where(n > 1, squares / (n - 1), np.nan))
    reached = np.cumsum(counts, axis=1)
    lower = (2 * reached >= n[:, None]).argmax(axis=1)
    upper = (2 * reached > n[:, None]).argmax(axis=1)
    median = np.where(n > 0, (values[lower] + values[upper]) / 2, np.nan)
    return np.stack([mean, sd, median])


def _shares(sample: Sample, pooled: np.ndarray) -> np.ndarray:
    """Return the share of each resample at each of the pooled values: float [n_resamples, n_pooled]."""
    distinct, starts = np.unique(sample.values, return_index=True)
    counts = np.add.reduceat(sample.counts, starts, axis=1)
    n = counts.sum(axis=1, keepdims=True)
    shares = np.zeros((len(counts), pooled.size))
    shares[:, np.searchsorted(pooled, distinct)] = np.divide(counts, n, out=np.full(counts.shape, np.nan), where=n > 0)
    return shares
