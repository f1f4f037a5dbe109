"""A codec's report, made up in a few milliseconds: the files notebook 08 leaves, with very short sounds."""

from pathlib import Path

import numpy as np
import pandas as pd
from fakes.runs import METRIC_NAMES, provenance, tone

from envsound.base.files import write_csv, write_json
from envsound.codec.systems import EXAMPLE_COLUMNS

SYSTEMS = (
    ("original", "", 0, 0.0, 0.95),
    ("mine, 8 levels", "mine", 8, 2.25, 0.9),
    ("mine, 1 level", "mine", 1, 3.5, 0.6),
    ("other, 2 levels", "other", 2, 2.75, 0.8),
    ("other, 1 level", "other", 1, 3.75, 0.5),
    ("Opus, 6 kbit/s", "", 0, 9.5, 0.3),
    ("Opus, 12 kbit/s", "", 0, 3.9, 0.7),
    ("white noise", "", 0, 20.0, 0.1),
)
CLASSES = ("dog", "rain")


def systems() -> pd.DataFrame:
    """Return systems.csv: a codec with 8 levels and one, another, Opus and noise."""
    rows = pd.DataFrame(SYSTEMS, columns=["system", "codec", "n_levels", "log_mel_distance", "recognised_cnn"])
    metrics = {f"ks_{metric}": 0.1 for metric in METRIC_NAMES}
    ends = {"recognised_cnn_low": rows.recognised_cnn - 0.05, "recognised_cnn_high": rows.recognised_cnn + 0.04}
    rows = rows.assign(n_clips=80, stft_distance=rows.log_mel_distance / 10, comb_share=0.03, **metrics, **ends)
    return rows.assign(si_sdr_db=np.where(rows.n_levels > 0, -20.0, np.nan))


def by_class() -> pd.DataFrame:
    """Return by_class.csv; rain is farther away than dog."""
    rows = systems()[["system", "log_mel_distance", "stft_distance", "recognised_cnn"]]
    rows = rows.assign(harmonicity_error=rows.log_mel_distance / 20)
    rows = rows.assign(n_clips=8, si_sdr_db=-20.0, ks_max=0.4, ks_max_metric="zcr", threshold_5_percent=0.68)
    classes = [rows.assign(category=name, log_mel_distance=rows.log_mel_distance + n) for n, name in enumerate(CLASSES)]
    return pd.concat(classes).sort_index(kind="stable").reset_index(drop=True)


def ceiling(n_levels: int = 8) -> pd.DataFrame:
    """Return ceiling.csv; the highest band loses a decibel for every level that is missing, and 1.5 besides."""
    rows = [
        (level, category, band, level - n_levels - 1.5 if band == "8000-12000" else 0.25)
        for level in range(1, n_levels + 1)
        for category in ("all", *CLASSES)
        for band in ("0-300", "8000-12000", "all")
    ]
    table = pd.DataFrame(rows, columns=["n_levels", "category", "band", "level_difference_db"])
    return table.assign(n_clips=80, n=71, n_left_out=9, distance_db=5.0)


def codebook() -> pd.DataFrame:
    """Return codebook.csv of two codecs."""
    rows = [("mine", level, 1024, 30_000, 900, 900 / 1024, 700.0) for level in range(8)]
    rows += [("other", level, 512, 30_000, 300, 300 / 512, 200.0) for level in range(2)]
    names = ["codec", "level", "codebook_size", "n_frames", "codes_used", "used_share", "perplexity"]
    return pd.DataFrame(rows, columns=names)


def judged() -> pd.DataFrame:
    """Return judged.csv: 90% of the originals, and a tenth less for each system after them."""
    rows = [
        {
            "system": name,
            "category": category,
            "n": 80,
            "heard": 0.9 - place / 10,
            "fad": 10.0 * place,
            "kad": place / 2,
        }
        for place, (name, *_) in enumerate(SYSTEMS)
        for category in ("all", *CLASSES)
    ]
    table = pd.DataFrame(rows)
    return table.assign(heard_low=table.heard - 0.05, heard_high=table.heard + 0.05, note="")


def stability() -> pd.DataFrame:
    """Return stability.csv of a codec with two levels, the second of which does not stay."""
    rows = [
        ("mine", level, change, 3000, 0.75 - level / 2, 200.0) for change in ("later", "quieter") for level in (0, 1)
    ]
    return pd.DataFrame(rows, columns=["codec", "level", "change", "n_codes", "kept", "perplexity"])


def predictability() -> pd.DataFrame:
    """Return predictability.csv of a codec with two levels, the second of which nothing foretells."""
    rows = [("mine", 0, 3000, 8.5, 2.25, np.nan), ("mine", 1, 3000, 9.5, 0.0, 0.125)]
    names = ["codec", "level", "n_codes", "bits_alone", "saved_by_previous", "saved_by_lower"]
    return pd.DataFrame(rows, columns=names)


def make_report(folder: Path, examples: int = 2) -> Path:
    """Write a whole report into `folder` (data/runs/codec/<name>) and return it."""
    speed = {"codec": "mine", "device": "cpu", "device_name": "CPU test, 1 threads", "clip_seconds": 5.0,
             "n_repeats": 5, "encode_seconds": 0.05, "decode_seconds": 0.05, "real_time_factor": 50.0}  # fmt: skip
    tables = {
        "systems": systems(), "by_class": by_class(), "ceiling": ceiling(), "codebook": codebook(),
        "speed": pd.DataFrame([speed]), "judged": judged(), "stability": stability(),
        "predictability": predictability(),
        "clips": pd.DataFrame({"system": ["original"], "clip": ["a.wav"], "category": ["dog"]}),
    }  # fmt: skip
    for name, table in tables.items():
        write_csv(folder / f"{name}.csv", table)
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    for name in ("levels", "classes", "bands", "class_bands"):
        for kind in ("png", "pdf"):
            (folder / "figures" / f"{name}.{kind}").write_bytes(kind.encode())
    write_examples(folder / "examples", examples)
    given = {"dataset": "esc50", "data_dir": "/home/me/ESC-50-test", "held_out_fold": 1, "seed": 0}
    given |= {"other_codecs": ["/home/me/other.safetensors"]}
    facts = {"data_cut": "ESC-50 folder test, esc10 only", "n_held_out": 80, "n_heard_by_listeners": 320}
    write_json(folder / "provenance.json", provenance("08_measure_codec", given, facts))
    return folder


def write_examples(folder: Path, n: int) -> None:
    """Write `n` examples; the last has no sound from Opus."""
    rows = []
    for number in range(n):
        kinds = ("original", "codec", "opus") if number < n - 1 else ("original", "codec")
        names = {kind: tone(folder / f"{number}_{kind}.wav", 300 + 50 * number).name for kind in kinds}
        rates = {"codec_name": "mine", "codec_kbps": 6.0, "opus_kbps": 6}
        rows.append({"clip": f"1-{number}-A", "category": "sea_waves", "opus": "", **names, **rates})
    write_csv(folder / "examples.csv", pd.DataFrame(rows, columns=EXAMPLE_COLUMNS))
