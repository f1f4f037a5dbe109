"""The same clips measured again: at two sample rates, and with white noise, to see what the published "SNR" is.

The published study analysed its real clips at 44.1 kHz and its generated ones at 24 kHz. Recordings that hold less than
the higher rate are analysed at their own rate instead, never upsampled: sound that is not there would be invented.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from tqdm.auto import tqdm

from envsound.base.errors import InputError
from envsound.base.text import NOT_RUN
from envsound.data.audio import read_clip
from envsound.data.recordings import Recordings
from envsound.metrics.acoustic import ACOUSTIC, METRICS, acoustic
from envsound.metrics.published import PUBLISHED, published_ks, published_value, read_published
from envsound.metrics.resampling import INTERVAL, resample_counts
from envsound.metrics.tests import ks_test

RATE_COLUMNS = [
    "metric", "unit", "kind", "n", "n_undefined", "rate_high_hz", "rate_low_hz", "mean_high", "sd_high", "mean_low",
    "sd_low", "change", "change_low", "change_high", "ks", "published_ks", "published_real", "published_generated",
    "share", "share_low", "share_high", "note",
]  # fmt: skip
SNR_COLUMNS = ["measure", "kind", "rate_hz", "true_snr_db", "n", "value", "low", "high", "sd", "published"]
RHO, METRIC, SLOPE, NOISE = "rho_snr_centroid", "snr_db", "slope", "white_noise"  # measures of audit_snr.csv
SIDES, PUBLISHED_CLIPS = ("real", "generated"), 100  # of either side
SIX = ACOUSTIC[:6]  # without the duration
LEAST_ERRORS = 3.0  # of its standard errors: a published difference closer to 0 gives shares of any size
Rates = tuple[int, int]  # Hz, the higher one first


def rates_of(recordings: Recordings, published: Path = PUBLISHED) -> Rates:
    """Return the two rates (Hz) to compare: the published ones, the higher one cut to what every recording holds."""
    high, low = _published_rates(read_published(published))
    usable = recordings.report[recordings.report["status"] != "bad"]
    return min(high, int(usable["sample_rate_hz"].min())), low


def measure_rates(recordings: Recordings, rates: Rates) -> pd.DataFrame:
    """Return audit_clips.csv: the metrics of every clip at the higher rate (Hz), and at the lower where that is lower.

    Columns clip_id, category, rate_hz and SIX.
    """
    rows = []
    for rate in dict.fromkeys(rates) if rates[0] > rates[1] else rates[:1]:
        for row in tqdm(recordings.table.itertuples(), total=len(recordings.table), desc=f"{rate} Hz", unit="clip"):
            found = acoustic(read_clip(row.path, rate, recordings.clip_seconds), rate)
            named = {"clip_id": row.clip_id, "category": row.category, "rate_hz": rate}
            rows.append(named | {name: found[name] for name in SIX})
    return pd.DataFrame(rows)


def audit_rates(
    clips: pd.DataFrame, rates: Rates, kind: str, seed: int = 0, n_resamples: int = 1000, published: Path = PUBLISHED
) -> pd.DataFrame:
    """Return audit_rates.csv from `measure_rates`: a row for each of SIX, in RATE_COLUMNS; none without two rates.

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
        return pd.DataFrame(columns=RATE_COLUMNS)
    study = read_published(published)
    at_published = rates == _published_rates(study)
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
    return pd.DataFrame(rows, columns=RATE_COLUMNS)


def audit_snr(
    recordings: Recordings,
    clips: pd.DataFrame,
    kind: str,
    true_snrs_db: Sequence[float],
    n_noise_clips: int,
    seed: int = 0,
    n_resamples: int = 1000,
    published: Path = PUBLISHED,
) -> pd.DataFrame:
    """Return audit_snr.csv in SNR_COLUMNS; `measure` is RHO, METRIC, SLOPE or NOISE.

    clips: from `measure_rates`. At each rate: Spearman's rank correlation of the metric with the centroid over all
    clips, with its 95% percentile interval over resampled clips; for `n_noise_clips` of them the metric's mean, its
    interval and its standard deviation over clips, without noise (true_snr_db NaN) and with white noise at each true
    ratio, the recording itself counted as signal; the slope of the metric on the true ratio (1 for a signal-to-noise
    ratio), mean of the slopes of each clip; and the metric of white noise. Raises InputError for fewer than two ratios.
    """
    if len(set(true_snrs_db)) < 2:
        raise InputError(f"true_snrs_db={list(true_snrs_db)}: expected at least two different ratios in dB")
    study = read_published(published)
    chosen = noise_clips(recordings, clips, n_noise_clips, seed)
    rows = []
    for place, rate in enumerate(dict.fromkeys(clips["rate_hz"])):
        draws = np.random.default_rng([seed, place])
        analysed = rate == published_value(study, "sample_rate", "real")
        rho = published_value(study, "spearman_snr_centroid", "real") if analysed else np.nan
        found = _correlation(clips[clips["rate_hz"] == rate], draws, n_resamples) | {"published": rho}
        noisy = add_noise(recordings, chosen, rate, true_snrs_db, seed)
        alone = acoustic(draws.standard_normal(5 * rate), rate)["snr_db"]
        at = [found, *_by_ratio(noisy, true_snrs_db, draws, n_resamples), {"measure": NOISE, "n": 1, "value": alone}]
        rows += [{"kind": kind, "rate_hz": int(rate)} | row for row in at]
    return pd.DataFrame(rows, columns=SNR_COLUMNS)


def noise_clips(recordings: Recordings, clips: pd.DataFrame, n: int, seed: int) -> pd.DataFrame:
    """Return the rows of `n` clips whose metric is defined, from the classes in turn; InputError for none."""
    defined = clips.groupby("clip_id")["snr_db"].apply(lambda values: values.notna().all())
    table = recordings.table[recordings.table["clip_id"].isin(defined.index[defined])]
    if table.empty or n < 1:
        raise InputError(f"n_noise_clips={n}: {len(table)} clips are not silent; expected at least one of each")
    shuffled = table.iloc[np.random.default_rng([seed, len(table)]).permutation(len(table))]
    turn = shuffled.groupby("category").cumcount()
    return shuffled.iloc[np.argsort(turn.to_numpy(), kind="stable")][:n]


def add_noise(
    recordings: Recordings, chosen: pd.DataFrame, rate: int, true_snrs_db: Sequence[float], seed: int
) -> np.ndarray:
    """Return the metric of each clip without noise, then at each true ratio: float [n_clips, 1 + n_ratios], dB.

    Noise is white and Gaussian; a clip has the same noise at every ratio, only scaled. The ratio is that of the mean
    squares over the whole clip.
    """
    rows = []
    for place, row in enumerate(tqdm(list(chosen.itertuples()), desc=f"noise at {rate} Hz", unit="clip")):
        x = read_clip(row.path, rate, recordings.clip_seconds).astype(np.float64)
        noise = np.random.default_rng([seed, place]).standard_normal(x.size)
        noise *= np.sqrt(np.mean(x**2) / np.mean(noise**2))
        scales = [0.0, *(10 ** (-ratio / 20) for ratio in true_snrs_db)]
        rows.append([acoustic(x + scale * noise, rate)["snr_db"] for scale in scales])
    return np.array(rows)


def _published_rates(study: pd.DataFrame) -> Rates:
    high, low = (int(published_value(study, "sample_rate", side)) for side in SIDES)
    return high, low


def _paired(
    high: np.ndarray, low: np.ndarray, rng: np.random.Generator, n_resamples: int
) -> tuple[dict[str, float], np.ndarray]:
    """Return what a metric of the same clips is at two rates, where any is defined, and resampled changes."""
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
    error = np.sqrt(variance / PUBLISHED_CLIPS)
    if not abs(difference) >= LEAST_ERRORS * error:
        return found | {"note": "the published difference is too near 0 for its error, or has none"}
    drawn = changes / rng.normal(difference, error, changes.size)
    return found | dict(zip(("share_low", "share_high"), np.percentile(drawn, INTERVAL), strict=True))


def _correlation(clips: pd.DataFrame, rng: np.random.Generator, n_resamples: int) -> dict[str, Any]:
    pairs = clips[["snr_db", "spectral_centroid_hz"]].dropna().to_numpy()
    n = len(pairs)
    if n < 3:
        return {"measure": RHO, "n": n}
    drawn = (pairs[rng.integers(0, n, n)] for _ in range(n_resamples))
    resampled = [stats.spearmanr(*part.T).statistic for part in drawn if np.ptp(part, axis=0).all()]
    low, high = np.percentile(resampled, INTERVAL) if resampled else (np.nan, np.nan)
    return {"measure": RHO, "n": n, "value": stats.spearmanr(*pairs.T).statistic, "low": low, "high": high}


def _by_ratio(
    noisy: np.ndarray, true_snrs_db: Sequence[float], rng: np.random.Generator, n_resamples: int
) -> list[dict[str, Any]]:
    """Return the rows of the metric at each ratio, and of its slope, from `add_noise`."""
    counts = resample_counts(len(noisy), n_resamples, rng)
    slopes = np.polyfit(np.asarray(true_snrs_db, dtype=np.float64), noisy[:, 1:].T, 1)[0]  # of each clip
    columns = [(METRIC, ratio, noisy[:, place]) for place, ratio in enumerate((np.nan, *true_snrs_db))]
    rows = []
    for measure, ratio, values in (*columns, (SLOPE, np.nan, slopes)):
        low, high = np.percentile(counts @ values / len(values), INTERVAL)
        sd = values.std(ddof=1) if len(values) > 1 else np.nan
        row = {"measure": measure, "true_snr_db": ratio, "n": len(values), "value": values.mean()}
        rows.append(row | {"low": low, "high": high, "sd": sd})
    return rows
