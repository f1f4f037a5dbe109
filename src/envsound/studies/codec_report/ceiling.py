"""The ceiling: what is left of held-out clips with one level, two, ... all of them, by class and by frequency band."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from envsound.codec.base import Codec
from envsound.codec.distances import EVERYTHING, band_distances, band_level_differences, bands_below, log_mel
from envsound.codec.systems import Clips, equal_batches, through_levels
from envsound.metrics.acoustic import acoustic
from envsound.studies.codec_report.report import METRICS, ks_columns

ALL = "all"  # of classes, or of bands


def band_name(band: tuple[int, int]) -> str:
    """Return a band's name, such as "300-1000" (Hz)."""
    return ALL if band == EVERYTHING else f"{band[0]}-{band[1]}"


def measure_ceiling(codec: Codec, clips: Clips, categories: Sequence[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Decode every clip, float32 [n_samples], with 1 to n_levels levels; return its bands and its metrics.

    bands: n_levels, place (of the clip), category, band, level_difference_db (NaN where the original band is silent:
    see `band_level_differences`), distance_db (`band_distances`) and, in the band "all", log_mel_distance (dB).
    metrics: n_levels (0 is the original), place and the six acoustic metrics.
    """
    rate, levels = codec.sample_rate, list(range(1, codec.n_levels + 1))
    bands, metrics = [], []
    with tqdm(total=len(clips), desc="measuring levels", unit="clip") as bar:
        for places, batch in equal_batches(clips):
            metrics += [{"n_levels": 0, "place": p} | _six(clip, rate) for p, clip in zip(places, batch, strict=True)]
            for n_levels, decoded in zip(levels, through_levels(batch, codec, levels), strict=True):
                for place, clip, heard in zip(places, batch, decoded, strict=True):
                    known = {"n_levels": n_levels, "place": place}
                    bands += [known | {"category": categories[place]} | row for row in _bands(clip, heard, rate)]
                    metrics.append(known | _six(heard, rate))
            bar.update(len(places))
    return pd.DataFrame(bands), pd.DataFrame(metrics)


def _bands(clip: np.ndarray, heard: np.ndarray, sample_rate: int) -> list[dict[str, str | float]]:
    bands = (*bands_below(sample_rate), EVERYTHING)
    differences = band_level_differences(clip, heard, sample_rate, bands)
    rows = [
        {"band": band_name(band), "level_difference_db": difference, "distance_db": distance}
        for band, difference, distance in zip(
            bands, differences, band_distances(clip, heard, sample_rate, bands), strict=True
        )
    ]
    rows[-1]["log_mel_distance"] = log_mel(clip, heard, sample_rate)
    return rows


def _six(clip: np.ndarray, sample_rate: int) -> dict[str, float]:
    values = acoustic(clip, sample_rate)
    return {name: values[name] for name in METRICS}


def ceiling_table(bands: pd.DataFrame, metrics: pd.DataFrame) -> pd.DataFrame:
    """Return ceiling.csv from what `measure_ceiling` found: a row for each number of levels, class and band.

    Columns: n_levels, category (or "all"), band ("0-300" Hz, or "all"), n_clips; level_difference_db, the mean over the
    n clips whose original has sound in the band (n_left_out have none) of 10 log10(energy decoded / energy of the
    original), and level_difference_db_median; distance_db, the mean over all clips of the band's `band_distances`. Rows
    of the band "all" have log_mel_distance too; those of band and class "all" ks_<metric>, the distance of each
    acoustic metric to the originals, and threshold_5_percent of one such test.
    """
    rows = []
    everyone = bands.assign(category=ALL)
    for frame in (everyone, bands):
        for (n_levels, category, band), group in frame.groupby(["n_levels", "category", "band"], sort=True):
            row = {"n_levels": n_levels, "category": category, "band": band} | _summary(group)
            if band == ALL:
                row["log_mel_distance"] = group["log_mel_distance"].mean()
            if band == ALL and category == ALL:
                row |= _ks(metrics, n_levels)
            rows.append(row)
    table = pd.DataFrame(rows)
    order = {name: place for place, name in enumerate(bands["band"].unique())}
    place = table["band"].map(order)
    category = table["category"].where(table["category"] != ALL, "")  # all classes together come first
    keyed = table.assign(place=place, first=category).sort_values(["n_levels", "first", "place"])
    return keyed.drop(columns=["place", "first"]).reset_index(drop=True)


def _summary(group: pd.DataFrame) -> dict[str, float]:
    heard = group["level_difference_db"].dropna()
    return {
        "n_clips": len(group),
        "n": len(heard),
        "n_left_out": len(group) - len(heard),
        "level_difference_db": heard.mean(),
        "level_difference_db_median": heard.median(),
        "distance_db": group["distance_db"].mean(),
    }


def _ks(metrics: pd.DataFrame, n_levels: int) -> dict[str, float]:
    originals, heard = (metrics[metrics["n_levels"] == n] for n in (0, n_levels))
    compared = ks_columns(originals, heard)
    return {name: value for name, value in compared.items() if not name.startswith("n_")}
