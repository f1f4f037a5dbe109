"""Makes the classifier that ships: trained on ESC-10 at full bandwidth, measured on a fold it never heard, with a card.

`envsound classify --train <folder of ESC-50>` writes data/classifier. Only recordings whose own licence is CC BY or CC0
are learnt from, each a second time through a narrower band, since much that people classify lacks ESC-50's bandwidth.
"""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import soxr

from envsound.base.device import choose_device, describe_device
from envsound.base.errors import InputError
from envsound.base.files import write_csv, write_json, write_text
from envsound.base.text import markdown_table
from envsound.data.audio import SAMPLE_RATE
from envsound.data.licences import read_licences, trainable
from envsound.data.recordings import Recordings, load_recordings
from envsound.evaluation.listeners.network import Listener, ListenerConfig
from envsound.evaluation.listeners.shipped import CARD, FILE
from envsound.evaluation.listeners.training import ListenerTraining, train_listener
from envsound.metrics.tests import wilson
from envsound.run.provenance import commit, versions

FULL_RATE = 44_100  # Hz, lowest of a recording at full bandwidth
NARROW_RATES = (8_000, 11_025, 16_000)  # Hz, whose halves are the bands that training clips are narrowed to
MEASURED_RATES = (SAMPLE_RATE, 16_000, 8_000)  # Hz, of the held-out clips
RECIPE = ListenerTraining(n_epochs=40, equaliser_db=6.0)
LARGEST = 2_000_000  # bytes of the finished file
SCORE_COLUMNS = ("rate_hz", "n", "n_right", "accuracy", "low", "high")


@dataclass(frozen=True)
class Material:
    """What is learnt from and what is measured: rows of `recordings.table`; the first have licence, author and url."""

    recordings: Recordings
    learnt: pd.DataFrame
    held_out: pd.DataFrame


def load_material(data_dir: str | Path, held_out_fold: int) -> Material:
    """Return the material from a folder in ESC-50's layout with its LICENSE.

    Raises InputError when recordings lack bandwidth, a licence list is missing, or a side has no clip of some class.
    """
    recordings = load_recordings("esc50", str(data_dir), esc10_only=True)
    if (lowest := recordings.report["sample_rate_hz"].min()) < FULL_RATE:
        raise InputError(f"{data_dir}: has recordings of {lowest} Hz; expected full bandwidth, {FULL_RATE} Hz or more")
    learnt = trainable(recordings.table, read_licences(data_dir), held_out_fold)
    held_out = recordings.table[recordings.table["fold"] == held_out_fold].reset_index(drop=True)
    classes = set(recordings.table["category"])
    for words, side in (("to learn from", learnt), (f"in fold {held_out_fold}", held_out)):
        if absent := sorted(classes - set(side["category"])):
            raise InputError(f"{data_dir}: no clip of {absent[0]!r} {words}; expected some of every class")
    return Material(recordings, learnt, held_out)


def narrowed(clip: np.ndarray, sample_rate: int, narrow_rate: int) -> np.ndarray:
    """Return a clip [n_samples] at `sample_rate` Hz without what a recording at `narrow_rate` Hz would not have."""
    if narrow_rate >= sample_rate:
        return clip
    narrow = soxr.resample(clip, sample_rate, narrow_rate, quality="HQ")
    back = soxr.resample(narrow, narrow_rate, sample_rate, quality="HQ")[: len(clip)]
    return np.pad(back, (0, len(clip) - len(back))).astype(np.float32)


def train(material: Material, training: ListenerTraining, config: ListenerConfig, device: str = "auto") -> Listener:
    """Train on every clip as it is and once narrowed, to a band drawn from the seed; the last epoch is kept."""
    rate, rows = material.recordings.sample_rate, material.learnt
    draws = np.random.default_rng(training.seed)
    clips = [material.recordings.load(clip_id) for clip_id in rows["clip_id"]]
    narrow = [narrowed(clip, rate, int(draws.choice(NARROW_RATES))) for clip in clips]
    return train_listener([*clips, *narrow], [*rows["category"]] * 2, rate, training, config=config, device=device)


def measure(listener: Listener, material: Material) -> list[dict[str, float]]:
    """Return the held-out clips named right at each of MEASURED_RATES: SCORE_COLUMNS, with Wilson's 95% interval."""
    clips = [material.recordings.load(clip_id) for clip_id in material.held_out["clip_id"]]
    truth, hears, rows = material.held_out["category"].to_numpy(), listener.sample_rate, []
    for rate in MEASURED_RATES:
        right = int((np.array(listener.predict([narrowed(clip, hears, rate) for clip in clips], hears)) == truth).sum())
        row = (rate, len(truth), right, right / len(truth), *wilson(right, len(truth)))
        rows.append(dict(zip(SCORE_COLUMNS, row, strict=True)))
    return rows


def ship(listener: Listener, card: dict[str, Any], learnt: pd.DataFrame, folder: str | Path) -> None:
    """Write classifier, card, README and attribution. Raises InputError when the file is larger than LARGEST."""
    folder = Path(folder)
    listener.save(folder / FILE)
    if (size := (folder / FILE).stat().st_size) > LARGEST:
        raise InputError(f"{folder / FILE}: {size} bytes; expected {LARGEST} at most, so make the network smaller")
    write_csv(folder / "attribution.csv", learnt[["clip", "category", "fold", "licence", "author", "url"]])
    write_json(folder / CARD, card)
    write_text(folder / "README.md", readme(card))


def readme(card: Mapping[str, Any]) -> str:
    """Return the classifier's README in Markdown; every number in it comes from the card."""
    training, recipe = card["training"], card["training"]["recipe"]
    rows = [
        [f"{row['rate_hz'] / 2000:g} kHz", f"{row['n_right']} of {row['n']}", f"{row['accuracy']:.0%}",
         f"{row['low']:.0%} to {row['high']:.0%}"]
        for row in card["held_out"]
    ]  # fmt: skip
    table = "\n".join(markdown_table(["bandwidth", "right", "accuracy", "95% interval"], rows))
    return f"""# The classifier that ships

`{FILE}`: a convolutional network on log-mel spectra ({card["n_parameters"] / 1e6:.2f} million weights in 16 bit,
`src/envsound/evaluation/listeners/network.py`) that names {len(card["categories"])} classes:
{", ".join(card["categories"])}. It hears {card["sample_rate"]} Hz; `envsound.classify` brings any recording to that.

- Content hash (SHA-256): `{card["content_hash"]}`
- Trained on: {card["material"]}; outside fold {card["held_out_fold"]}, clip licence CC BY or CC0
  ({training["n_clips"]} clips; licence, author and source of each in `attribution.csv`).
- Held out: fold {card["held_out_fold"]}. Nothing was chosen by it; the last epoch is kept.
- Made by: `{training["command"]}`, {recipe["n_epochs"]} epochs, seed {recipe["seed"]}, in {training["minutes"]:.0f}
  minutes on {training["device"]}.

## Measured on the held-out clips

{table}

The interval is that over clips (Wilson). *Bandwidth*: the clips without anything above it, as a recording at twice that
rate would have them.

## What it is for, and what not

It names the nearest of its classes, whatever it is given: a recording of anything else gets one of them, too, and a
probability says nothing about that. It must not judge what it was used to choose. Not for alarms or evidence.

## Licence

The weights are released under CC BY 4.0. The recordings they were trained on are CC BY or CC0; please keep
`attribution.csv` with them.
"""


def make(
    data_dir: str | Path, folder: str | Path, training: ListenerTraining = RECIPE,
    config: ListenerConfig | None = None, held_out_fold: int = 1, device: str = "auto", command: str = "",
) -> dict[str, Any]:  # fmt: skip
    """Train, measure and ship a classifier; return its card. command: what the card says it was made by."""
    material = load_material(data_dir, held_out_fold)
    started = time.perf_counter()
    listener = train(material, training, config or ListenerConfig(), device)
    minutes = (time.perf_counter() - started) / 60
    made = {"command": command, "minutes": minutes, "device": describe_device(choose_device(device))}
    card = {
        "content_hash": listener.content_hash,
        "categories": listener.categories,
        "sample_rate": listener.sample_rate,
        "n_parameters": sum(weight.numel() for weight in listener.network.parameters()),
        "config": asdict(listener.network.config),
        "training": made | {"recipe": listener.facts["training"], "n_clips": len(material.learnt)},
        "material": material.recordings.cut,
        "held_out_fold": held_out_fold,
        "held_out": measure(listener, material),
        "commit": commit(),
        "versions": versions(),
    }
    ship(listener, card, material.learnt, folder)
    return card
