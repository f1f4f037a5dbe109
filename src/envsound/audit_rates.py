"""What the sample rate alone does to the six metrics: the very same clips, analysed at two rates.

The published study analysed its real clips at 44.1 kHz and its generated ones at 24 kHz. Recordings that hold less than
the higher rate are analysed at their own rate instead, never upsampled: sound that is not there would be invented.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from envsound.audio import read_clip
from envsound.effects import INTERVAL, resample_counts
from envsound.metrics import ACOUSTIC, METRICS, acoustic
from envsound.published import PUBLISHED, published_ks, published_value, read_published
from envsound.recordings import Recordings
from envsound.statistics import ks_test

COLUMNS = [
    "metric", "unit", "kind", "n", "n_undefined", "rate_high_hz", "rate_low_hz", "mean_high", "sd_high", "mean_low",
    "sd_low", "change", "change_low", "change_high", "ks", "published_ks", "published_real", "published_generated",
    "share", "share_low", "share_high", "note",
]  # fmt: skip
SIX = ACOUSTIC[:6]  # without the duration
NOT_RUN = "not run here"
NEGLIGIBLE = 0.05  # of the published difference: a smaller share is no reason to doubt it


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
    the rate hides part of it. It is given at the published rates alone. kind: what the clips are, in words.
    """
    high, low = (clips[clips["rate_hz"] == rate].set_index("clip_id") for rate in rates)
    if rates[0] <= rates[1] or high.empty or low.empty:
        return pd.DataFrame(columns=COLUMNS)
    study = read_published(published)
    at_published = rates == tuple(int(published_value(study, "sample_rate", s)) for s in ("real", "generated"))
    rows = []
    for place, name in enumerate(SIX):
        rng = np.random.default_rng([seed, place])
        row = {"metric": name, "unit": METRICS[name].unit, "kind": kind}
        row |= {"rate_high_hz": rates[0], "rate_low_hz": rates[1]}
        row |= _paired(high[name].to_numpy(), low[name].reindex(high.index).to_numpy(), rng, n_resamples)
        row |= {f"published_{side}": published_value(study, name, side) for side in ("real", "generated")}
        row["published_ks"] = published_ks(study, name)
        row["note"] = "" if at_published else f"{NOT_RUN}: the recordings are at {rates[0]:,} Hz"
        rows.append(row | (_share(row) if at_published else {}))
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
    explained = table[table["share_low"] > NEGLIGIBLE].sort_values("share", ascending=False)
    hidden = table[table["share_high"] < -NEGLIGIBLE].sort_values("share")
    small = table.drop(index=[*explained.index, *hidden.index])
    parts = [f"it **explains**, of the published difference, {_listed(explained)}"] if len(explained) else []
    words = f"it **hides** part of it, {_listed(hidden)}: at one rate the difference is larger"
    parts += [words] if len(hidden) else []
    parts += [f"it explains little or nothing, {_listed(small)}"] if len(small) else []
    return text + "Of the rate alone: " + "; ".join(parts) + "."


def _paired(high: np.ndarray, low: np.ndarray, rng: np.random.Generator, n_resamples: int) -> dict[str, float]:
    """Return the statistics of a metric of the same clips at two rates; NaN where no clip is defined at both."""
    defined = ~(np.isnan(high) | np.isnan(low))
    row: dict[str, float] = {"n": int(defined.sum()), "n_undefined": int((~defined).sum())}
    high, low = high[defined], low[defined]
    if not high.size:
        return row
    for name, values in (("high", high), ("low", low)):
        row |= {f"mean_{name}": values.mean(), f"sd_{name}": values.std(ddof=1) if values.size > 1 else np.nan}
    change = low - high
    resampled = resample_counts(change.size, n_resamples, rng) @ change / change.size
    row |= {"change": change.mean(), "ks": ks_test(high, low)["statistic"]}
    return row | dict(zip(("change_low", "change_high"), np.percentile(resampled, INTERVAL), strict=True))


def _share(row: dict) -> dict[str, float]:
    """Return the share of the published difference that the change of rate makes, with the ends of its interval."""
    difference = row["published_generated"] - row["published_real"]
    if "change" not in row or not difference:
        return {}
    ends = sorted(row[name] / difference for name in ("change_low", "change_high"))
    return {"share": row["change"] / difference, "share_low": ends[0], "share_high": ends[1]}


def _listed(rows: pd.DataFrame) -> str:
    return ", ".join(
        f"{100 * row['share']:.0f}% in {METRICS[row['metric']].label} "
        f"({100 * row['share_low']:.0f} to {100 * row['share_high']:.0f})"
        for row in rows.to_dict("records")
    )
