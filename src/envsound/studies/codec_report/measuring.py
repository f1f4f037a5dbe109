"""Measuring a codec on clips it has never heard: beside its yardsticks, by class, by level and by frequency band."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm.auto import tqdm

from envsound.base.errors import InputError
from envsound.codec import distances
from envsound.codec.base import Codec
from envsound.codec.codes import code_usage, count_codes
from envsound.codec.counting import predictability
from envsound.codec.systems import ORIGINAL, Clips, System, equal_batches, systems, through_levels
from envsound.evaluation.listeners.mfcc import Listener
from envsound.metrics.acoustic import ACOUSTIC, acoustic
from envsound.metrics.harmonicity import harmonicity
from envsound.metrics.tests import ks_test, ks_threshold, wilson
from envsound.studies.codec_report.tables import ALL, listeners_in

METRICS = ACOUSTIC[:6]  # without the duration, which a codec keeps
DISTANCES = ("log_mel_distance", "stft_distance", "si_sdr_db", "comb_share")
COMB_HZ = 75.0  # frames a second of every decoder here; their edges are heard as a buzz at its multiples
PERIODIC = ("harmonicity_original", "harmonicity", "harmonicity_error", "pitch_agreement")
CODEBOOK_COLUMNS = ["codec", "level", "codebook_size", "n_frames", "codes_used", "used_share", "perplexity"]
LATER = {"one sample later": 1 / 24_000, "1.25 ms later": 0.00125}  # s
QUIETER, AGAIN = "1 dB quieter", "decoded and coded again"
CHANGES = (*LATER, QUIETER, AGAIN)
STABILITY_COLUMNS = ["codec", "level", "change", "n_codes", "kept", "perplexity"]


def measure_clips(
    measured: Sequence[System],
    clips: Clips,
    names: Sequence[str],
    categories: Sequence[str],
    sample_rate: int,
    listeners: Mapping[str, Listener] | None = None,
) -> pd.DataFrame:
    """Send every clip, float32 [n_samples], through every system: one row for each clip and system (clips.csv).

    Columns: system, clip (its name), category, log_mel_distance (dB), stft_distance (nepers), si_sdr_db, comb_share (at
    multiples of COMB_HZ), PERIODIC (see `metrics.harmonicity`), the six acoustic metrics of what comes out,
    and for each listener heard_as_<listener> (a class) and recognised_<listener> (whether that is the clip's own).
    Clips go through in batches of at most eight.
    """
    heard_by = listeners or {}
    found: dict[str, list[dict]] = {system.name: [] for system in measured}
    with tqdm(total=len(clips), desc="measuring systems", unit="clip") as bar:
        for places, batch in equal_batches(clips):
            known = [{"clip": names[place], "category": categories[place]} for place in places]
            for system in measured:
                heard = system.change(batch)
                guesses = {name: listener.predict(list(heard), sample_rate) for name, listener in heard_by.items()}
                periodic = harmonicity(*(torch.from_numpy(np.array(side)) for side in (batch, heard)), sample_rate)
                for row, (clip, other) in enumerate(zip(batch, heard, strict=True)):
                    values = {"system": system.name} | known[row] | _distances(clip, other, sample_rate)
                    values |= {name: float(periodic[name][row]) for name in PERIODIC}
                    values |= {f"heard_as_{name}": guess[row] for name, guess in guesses.items()}
                    own = known[row]["category"]
                    values |= {f"recognised_{name}": guess[row] == own for name, guess in guesses.items()}
                    found[system.name].append(values)
            bar.update(len(places))
    return pd.DataFrame([row for rows in found.values() for row in rows])


def _distances(real: np.ndarray, heard: np.ndarray, sample_rate: int) -> dict[str, float]:
    return {
        "log_mel_distance": distances.log_mel(real, heard, sample_rate),
        "stft_distance": distances.stft_distance(real, heard),
        "si_sdr_db": distances.si_sdr_db(real, heard),
        "comb_share": distances.comb_share(heard, sample_rate, COMB_HZ),
    } | _metrics(heard, sample_rate)


def _metrics(clip: np.ndarray, sample_rate: int) -> dict[str, float]:
    values = acoustic(clip, sample_rate)
    return {name: values[name] for name in METRICS}


def by_system(clip_rows: pd.DataFrame, measured: Sequence[System]) -> pd.DataFrame:
    """Return systems.csv from the rows of `measure_clips`: one row for each system, in the order of `measured`.

    Columns: system, codec, n_levels, kbps (nominal), n_clips; means of log_mel_distance and stft_distance over all
    clips, of si_sdr_db and comb_share over the n_<name> clips where they are finite, and si_sdr_db_median; means of
    PERIODIC over the clips that have something to judge; for each
    acoustic metric ks_<metric>, the Kolmogorov-Smirnov distance to the originals, and n_<metric>, the clips where it is
    defined; threshold_5_percent of one such test; and for each listener recognised_<listener>, the share of clips it
    names rightly, with the ends of its Wilson 95% interval in ..._low and ..._high. Raises InputError without the
    originals.
    """
    originals = clip_rows[clip_rows["system"] == ORIGINAL]
    if originals.empty:
        raise InputError(f"clips: no rows of the system {ORIGINAL!r}; expected it among the systems measured")
    table = []
    for system in measured:
        rows = clip_rows[clip_rows["system"] == system.name]
        known = {"system": system.name, "codec": system.codec, "n_levels": system.n_levels, "kbps": system.kbps}
        means = {"n_clips": len(rows), **{name: rows[name].mean() for name in DISTANCES[:2]}}
        for name in DISTANCES[2:]:
            finite = rows[name][np.isfinite(rows[name])]
            means |= {name: finite.mean(), f"n_{name}": len(finite)}
        means["si_sdr_db_median"] = rows["si_sdr_db"].median()
        means |= {name: rows[name].mean() for name in PERIODIC}
        table.append(known | means | ks_columns(originals, rows) | _recognised(rows))
    return pd.DataFrame(table)


def ks_columns(originals: pd.DataFrame, rows: pd.DataFrame) -> dict[str, float]:
    """Compare the six acoustic metrics of two sets of clips: ks_<metric>, n_<metric>, threshold_5_percent.

    n counts the clips of `rows` whose metric is defined; the threshold is that of the metric with the fewest clips. It
    is for two samples drawn apart: the same clips before and after a codec reject less often than 5%.
    """
    tests = {name: ks_test(originals[name].to_numpy(), rows[name].to_numpy()) for name in METRICS}
    found = {f"ks_{name}": test["statistic"] for name, test in tests.items()}
    found |= {f"n_{name}": test["n_b"] for name, test in tests.items()}
    fewest = (min(test[side] for test in tests.values()) for side in ("n_a", "n_b"))
    return found | {"threshold_5_percent": ks_threshold(*fewest)}


def _recognised(rows: pd.DataFrame) -> dict[str, float]:
    found = {}
    for listener in listeners_in(rows):
        right = int(rows[f"recognised_{listener}"].sum())
        low, high = wilson(right, len(rows))
        name = f"recognised_{listener}"
        found |= {name: right / len(rows), f"{name}_low": low, f"{name}_high": high}
    return found


def by_class(clip_rows: pd.DataFrame) -> pd.DataFrame:
    """Return by_class.csv: one row for each system and category, systems in order, categories sorted.

    Columns: system, category, n_clips, means of log_mel_distance, stft_distance and PERIODIC, the median of si_sdr_db,
    recognised_<listener>, and the largest of the six Kolmogorov-Smirnov distances to the originals of the class,
    ks_max, with its metric in ks_max_metric and threshold_5_percent of one such test.
    """
    table = []
    originals = clip_rows[clip_rows["system"] == ORIGINAL]
    for system, of_system in clip_rows.groupby("system", sort=False):
        for category, rows in of_system.groupby("category"):
            ks = ks_columns(originals[originals["category"] == category], rows)
            largest = max(METRICS, key=lambda name, ks=ks: np.nan_to_num(ks[f"ks_{name}"], nan=-1.0))
            row = {"system": system, "category": category, "n_clips": len(rows)}
            row |= {name: rows[name].mean() for name in (*DISTANCES[:2], *PERIODIC)}
            row["si_sdr_db"] = rows["si_sdr_db"].median()
            row |= {f"recognised_{name}": rows[f"recognised_{name}"].mean() for name in listeners_in(rows)}
            row |= {"ks_max": ks[f"ks_{largest}"], "ks_max_metric": largest}
            table.append(row | {"threshold_5_percent": ks["threshold_5_percent"]})
    return pd.DataFrame(table)


def codebook_use(codecs: Mapping[str, Codec], clips: Clips) -> pd.DataFrame:
    """Return codebook.csv: how much of every codebook the clips, float32 [n_samples], use.

    Columns: codec, level (0 is coarse), codebook_size, n_frames, codes_used, used_share (0 to 1) and perplexity, as
    many equally frequent codes as would carry the same information. Few clips cannot use many codes: read it with
    n_frames.
    """
    table = []
    for name, codec in codecs.items():
        counts = np.zeros((codec.n_levels, codec.codebook_size), dtype=np.int64)
        for _, batch in tqdm(equal_batches(clips), desc=f"codes of {name}", unit="batch"):
            codes = codec.encode(torch.from_numpy(batch)).cpu().numpy()  # [batch, n_levels, n_frames]
            counts += count_codes(codes, codec.codebook_size)
        sizes = {"codec": name, "codebook_size": codec.codebook_size, "n_frames": counts.sum(axis=1)}
        table.append(code_usage(counts).assign(**sizes))
    return pd.concat(table, ignore_index=True)[CODEBOOK_COLUMNS]


def measure_systems(codec: Codec, clips: Clips, categories: Sequence[str], recogniser: Listener) -> pd.DataFrame:
    """Measure a codec and its yardsticks on held-out clips: `by_system` with one listener, the originals first.

    `recognised`, with its interval, is the share of clips whose class the recogniser, trained on real clips, names.
    """
    measured = systems({codec.name: codec})
    names, heard_by = [str(place) for place in range(len(clips))], {"listener": recogniser}
    rows = measure_clips(measured, clips, names, categories, codec.sample_rate, heard_by)
    return by_system(rows, measured).rename(columns=lambda name: name.replace("recognised_listener", "recognised"))


def measure_ceiling(codec: Codec, clips: Clips, categories: Sequence[str]) -> pd.DataFrame:
    """Decode every clip, float32 [n_samples], with 1 to n_levels levels: ceiling.csv.

    A row for each number of levels, class and band. Columns: n_levels, category (or "all"), band ("0-300" Hz, or
    "all"), n_clips; level_difference_db, the mean over the n clips whose original has sound in the band (n_left_out
    have none) of 10 log10(energy decoded / energy of the original), and level_difference_db_median; distance_db, the
    mean over all clips of the band's `band_distances`. Rows of the band "all" have log_mel_distance (dB) too; those of
    band and class "all" ks_<metric>, the distance of each acoustic metric to the originals, and threshold_5_percent of
    one such test.
    """
    bands, metrics = _through_levels(codec, clips, categories)
    rows = []
    for n_levels, of_levels in bands.groupby("n_levels"):
        ks = ks_columns(*(metrics[metrics["n_levels"] == n] for n in (0, n_levels)))
        for category, of_class in ((ALL, of_levels), *of_levels.groupby("category")):
            for band, group in of_class.groupby("band", sort=False):
                row = {"n_levels": n_levels, "category": category, "band": band} | _summary(group)
                if band == ALL:
                    row["log_mel_distance"] = group["log_mel_distance"].mean()
                if band == ALL and category == ALL:
                    row |= {name: value for name, value in ks.items() if not name.startswith("n_")}
                rows.append(row)
    return pd.DataFrame(rows)


def _through_levels(codec: Codec, clips: Clips, categories: Sequence[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return what every number of levels makes of every clip: its bands, and its metrics (n_levels 0: the original)."""
    rate, levels = codec.sample_rate, list(range(1, codec.n_levels + 1))
    bands, metrics = [], []
    with tqdm(total=len(clips), desc="measuring levels", unit="clip") as bar:
        for places, batch in equal_batches(clips):
            metrics += [{"n_levels": 0} | _metrics(clip, rate) for clip in batch]
            for n_levels, decoded in zip(levels, through_levels(batch, codec, levels), strict=True):
                for place, clip, heard in zip(places, batch, decoded, strict=True):
                    known = {"n_levels": n_levels, "category": categories[place]}
                    bands += [known | row for row in _bands(clip, heard, rate)]
                    metrics.append({"n_levels": n_levels} | _metrics(heard, rate))
            bar.update(len(places))
    return pd.DataFrame(bands), pd.DataFrame(metrics)


def _bands(clip: np.ndarray, heard: np.ndarray, sample_rate: int) -> list[dict[str, str | float]]:
    bands = (*distances.bands_below(sample_rate), distances.EVERYTHING)
    names = [ALL if band == distances.EVERYTHING else f"{band[0]}-{band[1]}" for band in bands]
    changes = (distances.band_level_differences, distances.band_distances)
    found = (change(clip, heard, sample_rate, bands) for change in changes)
    columns = ("band", "level_difference_db", "distance_db")
    rows = [dict(zip(columns, values, strict=True)) for values in zip(names, *found, strict=True)]
    rows[-1]["log_mel_distance"] = distances.log_mel(clip, heard, sample_rate)
    return rows


def _summary(group: pd.DataFrame) -> dict[str, float]:
    heard = group["level_difference_db"].dropna()
    counts = {"n_clips": len(group), "n": len(heard), "n_left_out": len(group) - len(heard)}
    levels = {"level_difference_db": heard.mean(), "level_difference_db_median": heard.median()}
    return counts | levels | {"distance_db": group["distance_db"].mean()}


def changed(codec: Codec, clips: Tensor, codes: Tensor, change: str) -> Tensor:
    """Return clips [batch, n_samples] after a change, one of CHANGES; later clips begin with silence."""
    if change in LATER:
        n_later = max(1, round(LATER[change] * codec.sample_rate))
        return torch.nn.functional.pad(clips, (n_later, 0))[:, : clips.shape[1]]
    return clips * 10 ** (-1 / 20) if change == QUIETER else codec.decode(codes)[:, : clips.shape[1]].cpu()


def stability(codecs: Mapping[str, Codec], clips: Clips) -> pd.DataFrame:
    """Return stability.csv: the share of sounding columns' codes that a change of the sound leaves as they were.

    A row for each codec, level and change of CHANGES: STABILITY_COLUMNS. perplexity is that of the same columns' codes:
    a codec that always says the same is stable, too. clips: float32 [n_samples] each.
    """
    rows = []
    for name, codec in codecs.items():
        kept = np.zeros((len(CHANGES), codec.n_levels))
        counts = np.zeros((codec.n_levels, codec.codebook_size), dtype=np.int64)
        for _, batch in tqdm(equal_batches(clips), desc=f"stability of {name}", unit="batch"):
            sound = torch.from_numpy(batch)
            codes = codec.encode(sound)
            chosen = distances.sounding_columns(sound, codes.shape[2])
            counts += count_codes(codes.cpu().transpose(0, 1)[:, chosen].numpy(), codec.codebook_size)
            for place, change in enumerate(CHANGES):
                same = codec.encode(changed(codec, sound, codes, change)) == codes
                kept[place] += same.cpu().transpose(0, 1)[:, chosen].sum(1).numpy()
        n_codes, use = counts.sum(1), code_usage(counts)
        for place, change in enumerate(CHANGES):
            about = {"codec": name, "change": change, "n_codes": n_codes, "perplexity": use["perplexity"]}
            rows.append(pd.DataFrame({"level": range(codec.n_levels), "kept": kept[place] / n_codes, **about}))
    return pd.concat(rows, ignore_index=True)[STABILITY_COLUMNS]


def foretold(codecs: Mapping[str, Codec], training: Clips, clips: Clips) -> pd.DataFrame:
    """Return predictability.csv: bits that counting in training clips saves on sounding columns of other clips.

    A row for each codec and level, with the columns of `counting.predictability`: what a code costs by its frequency,
    and what knowing the code before, or that of the next lower level of the same column, saves.
    """
    rows = []
    for name, codec in codecs.items():
        known, asked = (_coded(codec, part, name) for part in (training, clips))
        sounding = [chosen for _, chosen in asked]
        codes = [[one for one, _ in part] for part in (known, asked)]
        found = predictability(*codes, sounding, codec.codebook_size, codec.n_levels)
        rows.append(found.assign(codec=name))
    return pd.concat(rows, ignore_index=True)


def _coded(codec: Codec, clips: Clips, name: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the codes of each clip, int [n_levels, n_columns], and which columns sound, bool [n_columns]."""
    found = []
    for _, batch in tqdm(equal_batches(clips), desc=f"counting codes of {name}", unit="batch", leave=False):
        sound = torch.from_numpy(batch)
        codes = codec.encode(sound).cpu()
        found += zip(codes.numpy(), distances.sounding_columns(sound, codes.shape[2]).numpy(), strict=True)
    return found
