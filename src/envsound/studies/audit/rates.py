"""What the sample rate alone does to the six metrics: the very same clips, analysed at two rates.

The published study analysed its real clips at 44.1 kHz and its generated ones at 24 kHz. Recordings that hold less than
the higher rate are analysed at their own rate instead, never upsampled: sound that is not there would be invented.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from envsound.data.audio import read_clip
from envsound.data.recordings import Recordings
from envsound.metrics.acoustic import ACOUSTIC, METRICS, acoustic
from envsound.metrics.published import PUBLISHED, published_ks, published_value, read_published
from envsound.metrics.resampling import INTERVAL, resample_counts
from envsound.metrics.tests import ks_test
from envsound.studies.audit.statistics import published_clips

COLUMNS = [
    "metric", "unit", "kind", "n", "n_undefined", "rate_high_hz", "rate_low_hz", "mean_high", "sd_high", "mean_low",
    "sd_low", "change", "change_low", "change_high", "ks", "published_ks", "published_real", "published_generated",
    "share", "share_low", "share_high", "note",
]  # fmt: skip
SIDES = ("real", "generated")
SIX = ACOUSTIC[:6]  # without the duration
NOT_RUN = "not run here"
NEGLIGIBLE = 0.05  # of the published difference: a smaller share is no reason to doubt it
LEAST_ERRORS = 3.0  # of its standard errors: a published difference closer to 0 gives shares of any size
EXPLAINS, HIDES, LITTLE, UNDECIDED, UNKNOWN = "explains", "hides", "little", "undecided", "unknown"
WORDS = {
    EXPLAINS: "it **explains**, of the published difference, {}",
    HIDES: "it **hides** part of it, {}: at one rate the difference is larger",
    LITTLE: "it explains next to nothing of it, {}",
    UNDECIDED: "how much it explains is **left open**, {}",
    UNKNOWN: "no share can be given, {}",
}


def rates_of(recordings: Recordings, published: str | Path = PUBLISHED) -> tuple[int, int]:
    """Return the two rates (Hz) to compare: the published ones, the higher one cut to what every recording holds."""
    study = read_published(published)
    high, low = (int(published_value(study, "sample_rate", side)) for side in ("real", "generated"))
    usable = recordings.report[recordings.report["status"] != "bad"]
    return min(high, int(usable["sample_rate_hz"].min())), low


def measure_at(recordings: Recordings, rate: int) -> pd.DataFrame:
    """Return the six metrics of every clip at a rate in Hz: columns clip_id, category, rate_hz and SIX."""
    rows = []
    for row in tqdm(recordings.table.itertuples(), total=len(recordings.table), desc=f"{rate} Hz", unit="clip"):
        found = acoustic(read_clip(row.path, rate, recordings.clip_seconds), rate)
        named = {"clip_id": row.clip_id, "category": row.category, "rate_hz": rate}
        rows.append(named | {name: found[name] for name in SIX})
    return pd.DataFrame(rows)


def measure_rates(recordings: Recordings, rates: tuple[int, int]) -> pd.DataFrame:
    """Return audit_clips.csv: `measure_at` the higher and the lower rate; the higher alone where it is not above."""
    wanted = dict.fromkeys(rates) if rates[0] > rates[1] else rates[:1]
    return pd.concat([measure_at(recordings, rate) for rate in wanted], ignore_index=True)


def audit_rates(
    clips: pd.DataFrame,
    rates: tuple[int, int],
    kind: str,
    seed: int = 0,
    n_resamples: int = 1000,
    published: str | Path = PUBLISHED,
) -> pd.DataFrame:
    """Return audit_rates.csv from `measure_rates`: a row for each of SIX, in columns COLUMNS.

    Means and standard deviations (n - 1) of the clips that are defined at both rates; `change` is the mean at the lower
    rate less that at the higher, with its 95% percentile interval over resampled clips; `ks` is the Kolmogorov-Smirnov
    distance between the two rates, which would be 0 if the rate did not matter. `share` is the change over the
    published difference, generated less real: 0 where the rate explains nothing of it, 1 where it explains all; below 0
    the rate hides part of it. It is given at the published rates alone. Its interval also holds the sampling error of
    the published difference, drawn anew for each resample from a normal distribution with the published standard
    deviations and number of clips; there is none, and `note` says so, where that difference is less than LEAST_ERRORS
    standard errors from 0. kind: what the clips are, in words.
    """
    high, low = (clips[clips["rate_hz"] == rate].set_index("clip_id") for rate in rates)
    if rates[0] <= rates[1] or high.empty or low.empty:
        return pd.DataFrame(columns=COLUMNS)
    study = read_published(published)
    at_published = rates == tuple(int(published_value(study, "sample_rate", side)) for side in SIDES)
    rows = []
    for place, name in enumerate(SIX):
        rng = np.random.default_rng([seed, place])
        row = {"metric": name, "unit": METRICS[name].unit, "kind": kind}
        row |= {"rate_high_hz": rates[0], "rate_low_hz": rates[1]}
        found, changes = _paired(high[name].to_numpy(), low[name].reindex(high.index).to_numpy(), rng, n_resamples)
        row |= found | {f"published_{side}": published_value(study, name, side) for side in SIDES}
        row["published_ks"] = published_ks(study, name)
        row["note"] = "" if at_published else f"{NOT_RUN}: the recordings are at {rates[0]:,} Hz"
        rows.append(row | (_share(row, changes, study, rng) if at_published else {}))
    return pd.DataFrame(rows, columns=COLUMNS)


def findings_rates(table: pd.DataFrame, rates: tuple[int, int]) -> str:
    """Return Markdown sentences on audit_rates.csv: what the rate alone explains of the published differences."""
    if table.empty:
        return f"Two rates: {NOT_RUN}. The recordings are at {rates[0]:,} Hz, not above {rates[1]:,} Hz."
    first, top = table.iloc[0], table.loc[table["ks"].idxmax()]
    text = f"The same {first['n']} {first['kind']} at {first['rate_high_hz']:,} and at {first['rate_low_hz']:,} Hz are "
    text += f"up to D = {top['ks']:.2f} apart, in {METRICS[top['metric']].label}; only the rate differs. "
    if table["share"].isna().all():
        return text + f"What that explains of the published differences: {first['note']}."
    groups = {name: table[[share_verdict(row) == name for row in table.to_dict("records")]] for name in WORDS}
    parts = [words.format(_listed(groups[name])) for name, words in WORDS.items() if len(groups[name])]
    return text + "Of the rate alone: " + "; ".join(parts) + "."


def share_verdict(row: dict[str, Any]) -> str:
    """Return what the interval of a row's share says: EXPLAINS, HIDES, LITTLE, UNDECIDED, or UNKNOWN without a share.

    LITTLE needs both ends within NEGLIGIBLE of 0: an interval that merely holds 0 leaves it undecided.
    """
    low, high = row["share_low"], row["share_high"]
    if np.isnan(row["share"]):
        return UNKNOWN
    if low > NEGLIGIBLE:
        return EXPLAINS
    if high < -NEGLIGIBLE:
        return HIDES
    return LITTLE if low >= -NEGLIGIBLE and high <= NEGLIGIBLE else UNDECIDED


def share_words(row: dict[str, Any]) -> str:
    """Return a row's share in percent with its interval, or why there is none."""
    if np.isnan(row["share"]):
        return f"unknown ({row['note']})"
    if np.isnan(row["share_low"]):
        return f"{100 * row['share']:.0f}%, without an interval: {row['note']}"
    return f"{100 * row['share']:.0f}% ({100 * row['share_low']:.0f} to {100 * row['share_high']:.0f})"


def _paired(
    high: np.ndarray, low: np.ndarray, rng: np.random.Generator, n_resamples: int
) -> tuple[dict[str, float], np.ndarray]:
    """Return the statistics of a metric of the same clips at two rates, and the resampled changes [n_resamples].

    Both are empty of what cannot be had where no clip is defined at both.
    """
    defined = ~(np.isnan(high) | np.isnan(low))
    row: dict[str, float] = {"n": int(defined.sum()), "n_undefined": int((~defined).sum())}
    high, low = high[defined], low[defined]
    if not high.size:
        return row, np.empty(0)
    for name, values in (("high", high), ("low", low)):
        row |= {f"mean_{name}": values.mean(), f"sd_{name}": values.std(ddof=1) if values.size > 1 else np.nan}
    change = low - high
    resampled = resample_counts(change.size, n_resamples, rng) @ change / change.size
    row |= {"change": change.mean(), "ks": ks_test(high, low)["statistic"]}
    ends = dict(zip(("change_low", "change_high"), np.percentile(resampled, INTERVAL), strict=True))
    return row | ends, resampled


def _share(
    row: dict[str, Any], changes: np.ndarray, study: pd.DataFrame, rng: np.random.Generator
) -> dict[str, float | str]:
    """Return the share of the published difference that the change of rate makes, with the ends of its interval."""
    difference = row["published_generated"] - row["published_real"]
    if not changes.size or not abs(difference) > 0:
        return {"note": "no clip is defined at both rates" if not changes.size else "no difference is published"}
    found = {"share": row["change"] / difference}
    variance = sum(published_value(study, row["metric"], side, "sd") ** 2 for side in SIDES)
    error = np.sqrt(variance / published_clips(study))
    if not abs(difference) >= LEAST_ERRORS * error:
        return found | {"note": "the published difference is too near 0 for its error, or has none"}
    drawn = changes / rng.normal(difference, error, changes.size)
    return found | dict(zip(("share_low", "share_high"), np.percentile(drawn, INTERVAL), strict=True))


def _listed(rows: pd.DataFrame) -> str:
    return ", ".join(f"{METRICS[row['metric']].label} {share_words(row)}" for row in rows.to_dict("records"))
