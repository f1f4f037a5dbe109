"""Whether the published "SNR" is a signal-to-noise ratio: what it goes with, and what true noise does to it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from tqdm.auto import tqdm

from envsound.base.errors import InputError
from envsound.data.audio import read_clip
from envsound.data.recordings import Recordings
from envsound.metrics.acoustic import acoustic
from envsound.metrics.published import PUBLISHED, published_value, read_published
from envsound.metrics.resampling import INTERVAL, resample_counts

COLUMNS = ["measure", "kind", "rate_hz", "true_snr_db", "n", "value", "low", "high", "sd", "published"]
RHO, METRIC, SLOPE, NOISE = "rho_snr_centroid", "snr_db", "slope", "white_noise"
WORDS = {
    RHO: "rank correlation of the SNR with the centroid",
    METRIC: "the SNR of clips with white noise added (dB)",
    SLOPE: "change of the SNR for each dB of the true ratio (a signal-to-noise ratio: 1)",
    NOISE: "the SNR of white noise alone (dB)",
}
NOISE_SECONDS = 5


def audit_snr(
    recordings: Recordings,
    clips: pd.DataFrame,
    kind: str,
    true_snrs_db: Sequence[float],
    n_noise_clips: int,
    seed: int = 0,
    n_resamples: int = 1000,
    published: str | Path = PUBLISHED,
) -> pd.DataFrame:
    """Return audit_snr.csv in columns COLUMNS; `measure` is one of WORDS.

    clips: the metrics of every clip at each rate, from `audit_rates.measure_rates`. At each rate: Spearman's rank
    correlation over all clips with its 95% percentile interval over resampled clips; for `n_noise_clips` of them the
    metric's mean, its interval and its standard deviation over clips, without noise (true_snr_db NaN) and with white
    noise at each true ratio, the recording itself counted as signal; the slope of the metric on the true ratio, mean of
    the slopes of each clip; and the metric of white noise. Raises InputError for fewer than two ratios.
    """
    if len(set(true_snrs_db)) < 2:
        raise InputError(f"true_snrs_db={list(true_snrs_db)}: expected at least two different ratios in dB")
    study = read_published(published)
    rates = list(dict.fromkeys(clips["rate_hz"]))
    analysed = published_value(study, "sample_rate", "real")
    chosen = noise_clips(recordings, clips, n_noise_clips, seed)
    rows = []
    for place, rate in enumerate(rates):
        draws = np.random.default_rng([seed, place])
        rho = published_value(study, "spearman_snr_centroid", "real") if rate == analysed else np.nan
        found = _correlation(clips[clips["rate_hz"] == rate], draws, n_resamples) | {"published": rho}
        noisy = add_noise(recordings, chosen, rate, true_snrs_db, seed)
        alone = acoustic(draws.standard_normal(NOISE_SECONDS * rate), rate)["snr_db"]
        at = [found, *_by_ratio(noisy, true_snrs_db, draws, n_resamples), {"measure": NOISE, "n": 1, "value": alone}]
        rows += [{"kind": kind, "rate_hz": int(rate)} | row for row in at]
    return pd.DataFrame(rows, columns=COLUMNS)


def noise_clips(recordings: Recordings, clips: pd.DataFrame, n: int, seed: int) -> pd.DataFrame:
    """Return the rows of `n` clips whose metric is defined, drawn from the classes in turn.

    Raises InputError when there is none.
    """
    defined = clips.groupby("clip_id")["snr_db"].apply(lambda values: values.notna().all())
    table = recordings.table[recordings.table["clip_id"].isin(defined.index[defined])]
    if table.empty or n < 1:
        raise InputError(f"n_noise_clips={n}: {len(table)} clips are not silent; expected at least one of each")
    order = np.random.default_rng([seed, len(table)]).permutation(len(table))
    shuffled = table.iloc[order]
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


def findings_snr(table: pd.DataFrame) -> str:
    """Return Markdown sentences on audit_snr.csv: the rank correlation, and what a decibel of true noise does."""
    rho = table[table["measure"] == RHO]
    parts = [f"{_interval(row)} at {row['rate_hz']:,} Hz" for row in rho.to_dict("records")]
    text = f"Over {rho.iloc[0]['n']} {rho.iloc[0]['kind']} the rank correlation of the SNR with the spectral centroid "
    text += f"is {' and '.join(parts)}"
    published = rho["published"].dropna()
    for place, value in published.items():
        text += f" (published: {value:.3f} at {rho.loc[place, 'rate_hz']:,} Hz)"
    text += ". "
    slope = table[table["measure"] == SLOPE].iloc[0]
    text += f"With white noise added to {slope['n']} of them, one dB of the true ratio moves it by {_interval(slope)} "
    text += f"dB at {slope['rate_hz']:,} Hz; a signal-to-noise ratio would move by 1. "
    return text + _spread_sentence(table[(table["measure"] == METRIC) & (table["rate_hz"] == slope["rate_hz"])])


def _spread_sentence(rows: pd.DataFrame) -> str:
    noisy = rows.dropna(subset=["true_snr_db"])
    clean = noisy.loc[noisy["true_snr_db"].idxmax()]
    return (
        f"At one and the same true ratio of {clean['true_snr_db']:g} dB it is {clean['value']:.1f} dB on average, "
        f"with a standard deviation of {clean['sd']:.1f} dB over clips."
    )


def _interval(row: Any) -> str:
    return f"**{row['value']:.2f}** ({row['low']:.2f} to {row['high']:.2f})"


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
