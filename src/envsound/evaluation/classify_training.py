"""Makes the classifier that ships: trained on ESC-10 at full bandwidth, measured on a fold it never heard, with a card.

`envsound classify --train` writes data/classifier. Only recordings whose own licence is CC BY or CC0 are learnt from:
as they are, through a narrower band, since much that people classify lacks ESC-50's bandwidth, and through the codec of
the generator that ships. Decoys of the same codes (`evaluation.decoys`) teach it to refuse, so that it can choose among
generated candidates and is not won by noise of the right colour.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import soxr

from envsound.base.device import choose_device, describe_device
from envsound.base.errors import InputError
from envsound.base.files import write_csv, write_json, write_text
from envsound.base.paths import material_folder
from envsound.base.text import markdown_table
from envsound.codec.base import Codec
from envsound.codec.codes import encode_recordings
from envsound.data.audio import SAMPLE_RATE
from envsound.data.licences import read_licences, trainable
from envsound.data.recordings import load_recordings
from envsound.evaluation.decoys import HELD_BACK, KINDS, NONE, TAUGHT, Decoys, of_classes
from envsound.evaluation.judges import TIMED, lessons
from envsound.evaluation.listeners.network import Listener, ListenerConfig
from envsound.evaluation.listeners.shipped import CARD, FILE
from envsound.evaluation.listeners.training import ListenerTraining, train_listener
from envsound.evaluation.sides import Source, from_rows
from envsound.evaluation.spaces.embeddings import SourceClips
from envsound.metrics.tests import wilson
from envsound.run.provenance import commit, versions

NARROW_RATES = (8_000, 11_025, 16_000)  # Hz, whose halves are the bands that training clips are narrowed to
MEASURED_RATES = (SAMPLE_RATE, 16_000, 8_000)  # Hz, of the held-out clips
RECIPE = ListenerTraining(n_epochs=40, equaliser_db=6.0)
LARGEST = 2_000_000  # bytes of the finished file
CODEC, CODES = "patches", Path("data") / "cache" / "codes"  # of the generator that ships
DECOYS = {kind: KINDS[kind] for kind in (*TAUGHT, *HELD_BACK)}  # that are to be refused
SCORE_COLUMNS = ("n", "n_right", "accuracy", "low", "high", "refused")


@dataclass(frozen=True)
class Material:
    """What is learnt from and what is measured: rows of codes.csv; the first have licence, author and url.

    timed: the classes whose sound has a course in time, which teach refusing. cut: the recordings in words.
    """

    learnt: pd.DataFrame
    held_out: pd.DataFrame
    codec: Codec
    timed: Sequence[str]
    held_out_fold: int
    cut: str


def load_material(
    data_dir: str | Path,
    codec: Codec,
    held_out_fold: int = 1,
    timed: Sequence[str] = TIMED,
    codes_dir: str | Path = CODES,
) -> Material:
    """Return the recordings that ship, or those of a folder in ESC-50's layout with its LICENSE, and their codes.

    Raises InputError when recordings lack bandwidth, a licence list is missing, or a side has no clip of some class.
    """
    recordings = load_recordings("material", str(data_dir), esc10_only=True)
    place = data_dir or material_folder()
    if (lowest := recordings.report["sample_rate_hz"].min()) < SAMPLE_RATE:
        raise InputError(f"{place}: has recordings of {lowest} Hz; expected full bandwidth, {SAMPLE_RATE} Hz or more")
    learnt = trainable(recordings.table, read_licences(place), held_out_fold)
    held_out = recordings.table[recordings.table["fold"] == held_out_fold]
    classes = set(recordings.table["category"])
    for words, side in (("to learn from", learnt), (f"in fold {held_out_fold}", held_out)):
        if absent := sorted(classes - set(side["category"])):
            raise InputError(f"{place}: no clip of {absent[0]!r} {words}; expected some of every class")
    codes = encode_recordings(recordings, codec, codes_dir)
    learnt = codes.merge(learnt[["filename", "clip", "licence", "author", "url"]], on="filename")
    held_out = codes[codes["fold"] == held_out_fold].reset_index(drop=True)
    return Material(learnt, held_out, codec, tuple(timed), held_out_fold, recordings.cut)


def narrowed(clip: np.ndarray, sample_rate: int, narrow_rate: int) -> np.ndarray:
    """Return a clip [n_samples] at `sample_rate` Hz without what a recording at `narrow_rate` Hz would not have."""
    if narrow_rate >= sample_rate:
        return clip
    narrow = soxr.resample(clip, sample_rate, narrow_rate, quality="HQ")
    back = soxr.resample(narrow, narrow_rate, sample_rate, quality="HQ")[: len(clip)]
    return np.pad(back, (0, len(clip) - len(back))).astype(np.float32)


def train(material: Material, training: ListenerTraining, config: ListenerConfig, device: str = "auto") -> Listener:
    """Train on `judges.lessons` and every clip narrowed, to a band drawn from the seed; the last epoch is kept."""
    sources, names = lessons(material.learnt, material.codec, material.timed, training.seed)
    draws, rate = np.random.default_rng(training.seed), material.codec.sample_rate
    narrow = [_narrow(one, int(draws.choice(NARROW_RATES))) for one in _recordings(material.learnt)]
    clips, names = SourceClips([*sources, *narrow], rate), [*names, *material.learnt["category"]]
    return train_listener(clips, names, rate, training, config=config, device=device)


def measure(listener: Listener, material: Material, seed: int = 0) -> dict[str, list[dict[str, Any]]]:
    """Return what is heard in held-out clips, at each of MEASURED_RATES and through the codec, and in decoys of them.

    Decoys, of the kinds DECOYS, are made of the classes with a course in time. SCORE_COLUMNS of each: those heard as
    their own class with Wilson's 95% interval, and the share refused, which is right for decoys alone.
    """
    rows, rate = material.held_out, material.codec.sample_rate
    real, decoys = _recordings(rows), Decoys(rows, material.codec, seed)
    found = [{"rate_hz": narrow} | _score(listener, [_narrow(one, narrow) for one in real], rate)
             for narrow in MEASURED_RATES]  # fmt: skip
    coded = _score(listener, decoys.sources("codec", rows), rate)
    timed = of_classes(rows, material.timed)
    refused = [{"kind": kind} | _score(listener, decoys.sources(kind, timed), rate) for kind in DECOYS]
    return {"held_out": found, "through_codec": [coded], "decoys": refused}


def _recordings(rows: pd.DataFrame) -> list[Source]:
    return from_rows(rows, float(rows["seconds"].max()))


def _narrow(source: Source, narrow_rate: int) -> Source:
    def load(sample_rate: int) -> np.ndarray:
        return narrowed(source.load(sample_rate), sample_rate, narrow_rate)

    return replace(source, load=load)


def _score(listener: Listener, sources: Sequence[Source], sample_rate: int) -> dict[str, float]:
    heard = np.array(listener.predict(SourceClips(sources, sample_rate), sample_rate))
    n, right = len(sources), int((heard == np.array([one.category for one in sources])).sum())
    row = (n, right, right / n, *wilson(right, n), float((heard == NONE).mean()))
    return dict(zip(SCORE_COLUMNS, row, strict=True))


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
    named = [name for name in card["categories"] if name != NONE]
    sides = [(f"recordings, {row['rate_hz'] / 2000:g} kHz", row) for row in card["held_out"]]
    sides += [("through the codec", row) for row in card["through_codec"]]
    sides += [(f"decoys: {DECOYS[row['kind']]}", row) for row in card["decoys"]]
    rows = [
        [words, f"{row['n_right']} of {row['n']}", f"{row['accuracy']:.0%}", f"{row['low']:.0%} to {row['high']:.0%}",
         f"{row['refused']:.0%}"]
        for words, row in sides
    ]  # fmt: skip
    table = "\n".join(markdown_table(["clips", "as their class", "share", "95% interval", NONE], rows))
    return f"""# The classifier that ships

`{FILE}`: a convolutional network on log-mel spectra ({card["n_parameters"] / 1e6:.2f} million weights in 16 bit,
`src/envsound/evaluation/listeners/network.py`) that names {len(named)} classes, or *{NONE}*:
{", ".join(named)}. It hears {card["sample_rate"]} Hz; `envsound.classify` brings any recording to that. It also chooses
the best of several generated candidates.

- Content hash (SHA-256): `{card["content_hash"]}`
- Trained on: {card["material"]}; outside fold {card["held_out_fold"]}, clip licence CC BY or CC0
  ({training["n_clips"]} clips; licence, author and source of each in `attribution.csv`), as they are, through a
  narrower band and through the codec `{card["codec"]}`; for *{NONE}*, decoys of the same clips' codes.
- Held out: fold {card["held_out_fold"]}. Nothing was chosen by it; the last epoch is kept.
- Made by: `{training["command"]}`, {recipe["n_epochs"]} epochs, seed {recipe["seed"]}, in {training["minutes"]:.0f}
  minutes on {training["device"]}.

## Measured on the held-out clips

{table}

The interval is that over clips (Wilson). *kHz*: the clips without anything above it, as a recording at twice that rate
would have them. *Decoys* are made of the codes of the classes whose sound has a course in time
({", ".join(card["timed"])}) and have lost that course: they are to be refused.
Blocks and halves taught it nothing.

## What it is for, and what not

*{NONE}* was taught by decoys of its own classes, so it refuses noise of the right colour, not every other sound: a
recording of something else may get the nearest of its classes, and a probability says nothing about that. It must not
judge what it was used to choose. Not for alarms or evidence.

## Licence

The weights are released under CC BY 4.0. The recordings they were trained on are CC BY or CC0; please keep
`attribution.csv` with them.
"""


def make(
    material: Material, folder: str | Path, training: ListenerTraining = RECIPE,
    config: ListenerConfig | None = None, device: str = "auto", command: str = "",
) -> dict[str, Any]:  # fmt: skip
    """Train, measure and ship a classifier; return its card. command: what the card says it was made by."""
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
        "material": material.cut,
        "codec": material.codec.name,
        "timed": list(material.timed),
        "held_out_fold": material.held_out_fold,
        **measure(listener, material, training.seed),
        "commit": commit(),
        "versions": versions(),
    }
    ship(listener, card, material.learnt, folder)
    return card
