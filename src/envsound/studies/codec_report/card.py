"""The card of a trained codec: what it is, what made it, and what it measures on clips it never heard."""

from pathlib import Path
from typing import Any

import pandas as pd

from envsound.base.files import write_csv, write_json, write_text
from envsound.codec.base import Codec
from envsound.run.provenance import commit, versions
from envsound.studies.codec_report.tables import systems_table

GENERATORS = {
    "fourier": (
        "The spectrum of a frame goes in, ConvNeXt blocks at the frame rate work on it, and out come magnitude, phase\n"
        "and a filter for noise (`src/envsound/codec/fourier.py`)."
    ),
    "seanet": (
        "EnCodec's generator: strided convolutions and an LSTM in the time domain\n(`src/envsound/codec/seanet.py`)."
    ),
}


def make_card(
    codec: Codec, n_parameters: int, training: dict[str, Any], table: pd.DataFrame, used: list[int], cut: str
) -> dict[str, Any]:
    """Return the card as plain values.

    table: rows of `report.measure_systems`; used: codes used per level; cut: the held-out clips in words.
    """
    distance = table.set_index("system")["log_mel_distance"]
    held_out = {
        "cut": cut,
        "log_mel_distance_8_levels": float(distance[f"{codec.name}, 8 levels"]),
        "log_mel_distance_1_level": float(distance[f"{codec.name}, 1 level"]),
        "opus_6_kbps": _or_none(distance, "Opus, 6 kbit/s"),
        "opus_12_kbps": _or_none(distance, "Opus, 12 kbit/s"),
        "codes_used_per_level": used,
        "systems": table.to_dict("records"),
    }
    return {
        "name": codec.name,
        "n_parameters": n_parameters,
        "sample_rate": codec.sample_rate,
        "frame_rate": codec.frame_rate,
        "n_levels": codec.n_levels,
        "codebook_size": codec.codebook_size,
        "content_hash": codec.content_hash,
        "training": training,
        "commit": commit(),
        "versions": versions(),
        "held_out": held_out,
    }


def _or_none(distance: pd.Series, system: str) -> float | None:
    return float(distance[system]) if system in distance.index else None


def write_card(folder: str | Path, card: dict[str, Any], material: pd.DataFrame) -> None:
    """Write card.json, README.md and attribution.csv (clip, licence, author, url of every training clip)."""
    folder = Path(folder)
    write_csv(folder / "attribution.csv", material[["clip", "category", "fold", "licence", "author", "url"]])
    write_json(folder / "card.json", card)
    write_text(folder / "README.md", readme(card, len(material)))


def readme(card: dict[str, Any], n_clips: int) -> str:
    """Return the codec's README in Markdown; every number in it comes from the card."""
    training, held_out = card["training"], card["held_out"]
    bits = card["frame_rate"] * card["n_levels"] * (card["codebook_size"] - 1).bit_length()
    rows = pd.DataFrame(held_out["systems"])
    return f"""# The bundled codec

`bundled.safetensors`: {card["n_parameters"] / 1e6:.1f} million weights in 16 bit, {card["n_levels"]} levels of
{card["codebook_size"]} codes at {card["frame_rate"]} frames/s ({bits / 1000:g} kbit/s), {card["sample_rate"]} Hz mono.
{GENERATORS[training["generator"]]} It lets the whole study run offline. It is not EnCodec: a small network
that has heard {n_clips} clips.

- Content hash (SHA-256): `{card["content_hash"]}`
- Trained on: {training["material"]} ({n_clips} clips; licence, author and source of each in `attribution.csv`).
- Held out: {held_out["cut"]}. No clip of fold {training["held_out_fold"]}, of any class, was trained on. **Every other
  fold has been heard by this codec**, so results on those folds are not held out as far as the codec is concerned.
- Made by: `{training["command"]}`, {training["n_steps"]} steps of {training["batch_size"]} crops of
  {training["crop_seconds"]:g} s, seed {training["seed"]}, on {training["device"]}.

## Measured on the held-out clips

{systems_table(rows)}

- *log-mel*: mean absolute difference of log-mel levels in dB, floor -80 dB; lower is closer.
- *recognised*: share of clips whose class an SVM on MFCC statistics, trained on the real clips of the other folds, gets
  right. A modest listener: it is wrong about some originals too.
- *comb*: share of energy within 1 Hz of multiples of the frame rate; a codec that buzzes has more than the original.
- *KS*: largest Kolmogorov-Smirnov distance among the six acoustic metrics, against the originals.

Codes used of each level, of {card["codebook_size"]}: {", ".join(str(n) for n in held_out["codes_used_per_level"])}.

## Licence

The weights are released under CC BY 4.0. The recordings they were trained on are CC BY or CC0; please keep
`attribution.csv` with them.
"""
