"""What notebook 00 does around the training of a codec: lets it be watched, and ships it with a card."""

import base64
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from envsound.base.errors import InputError
from envsound.base.files import atomic_path, write_csv, write_json, write_text
from envsound.codec.base import Autoencoder, Codec
from envsound.codec.stored import StoredCodec
from envsound.codec.systems import write_examples
from envsound.codec.training.trainer import CodecTrainer
from envsound.data.recordings import Recordings
from envsound.report.players import example_players
from envsound.report.style import save_figure
from envsound.run.provenance import commit, versions
from envsound.studies.codec_report.figures import learning_curves
from envsound.studies.codec_report.tables import systems_table

SHORTEST_PIECE = 1.0  # s; a piece has to hold at least one step
GENERATORS = {
    "fourier": "The spectrum of a frame goes in, ConvNeXt blocks at the frame rate work on it, and out come magnitude, "
    "phase\nand a filter for noise (`src/envsound/codec/fourier.py`).",
    "seanet": "EnCodec's generator: strided convolutions and an LSTM in the time domain\n"
    "(`src/envsound/codec/seanet.py`).",
}


def watched_clips(recordings: Recordings, table: pd.DataFrame, every: int) -> Tensor:
    """Return every `every`-th clip of a table, padded with silence to one length: float32 [n, n_samples]."""
    clips = [recordings.load(clip) for clip in table.clip_id[::every]]
    longest = max(len(clip) for clip in clips)
    return torch.from_numpy(np.stack([np.pad(clip, (0, longest - len(clip))) for clip in clips]))


def train_in_pieces(
    trainer: CodecTrainer, max_minutes: float, piece_minutes: float, show: Callable[[CodecTrainer], object]
) -> Autoencoder:
    """Train to the end or for `max_minutes`, calling `show` after every `piece_minutes` and at the end.

    What an earlier run has left is shown first. Raises InputError when a piece has no length.
    """
    if piece_minutes <= 0:
        raise InputError(f"piece_minutes={piece_minutes}: expected more than 0")
    deadline = time.perf_counter() + max_minutes * 60
    if trainer.step:
        show(trainer)
    while trainer.step < trainer.training.n_steps and (left := deadline - time.perf_counter()) > 0:
        trainer.run(min(left, max(piece_minutes * 60, SHORTEST_PIECE)))
        show(trainer)
    return trainer.codec


def snapshot(trainer: CodecTrainer, recordings: Recordings, table: pd.DataFrame, folder: str | Path) -> str:
    """Draw the curves so far, and let one held-out clip of each class (rows of `table`) be heard as the codec gives it.

    Figure and sounds are written below `folder`; returned is HTML for a notebook, the figure inside it.
    """
    marks = (trainer.quantize_step, trainer.adversary_step)
    *_, png = save_figure(learning_curves(pd.DataFrame(trainer.history), marks), Path(folder) / "figures", "training")
    with torch.random.fork_rng():  # copy.deepcopy refuses weight-normalised layers between two training steps
        copied = type(trainer.codec)(trainer.codec.config)
    copied.load_state_dict(trainer.codec.state_dict())
    codec = StoredCodec(copied.to(trainer.device), trainer.codec.generator, "")  # which freezes its model
    sounds = Path(folder) / "players"
    examples = write_examples(codec, codec.name, recordings, table, sounds, table["category"].nunique())
    image = base64.b64encode(png.read_bytes()).decode()
    players = example_players(examples, sounds, "notebooks/codec")
    return f'<img width="720" src="data:image/png;base64,{image}">{players}'


def make_card(
    codec: Codec, trainer: CodecTrainer, training: dict[str, Any], systems: pd.DataFrame, used: list[int], cut: str
) -> dict[str, Any]:
    """Return the card of a trained codec as plain values: what it is, what made it, what it measures on unheard clips.

    training: its material (in words), held_out_fold and device; systems: rows of `measuring.measure_systems`; used:
    codes used per level; cut: the held-out clips in words.
    """
    plan, facts = trainer.training, ("sample_rate", "frame_rate", "n_levels", "codebook_size", "content_hash")
    learnt = {
        "command": "papermill notebooks/codec/00_train_codec.ipynb out.ipynb -p data_dir <folder of ESC-50> "
        f"-p generator {trainer.codec.generator} -p n_steps {plan.n_steps} -p seed {plan.seed} -p ship_dir data/codec",
        "generator": trainer.codec.generator,
        "config": asdict(trainer.codec.config),
        "minutes": trainer.seconds / 60,
        **{name: getattr(plan, name) for name in ("n_steps", "batch_size", "crop_seconds", "lr", "seed")},
        "last": trainer.history[-1],
    }
    return {
        "name": codec.name,
        "n_parameters": trainer.codec.n_parameters(),
        **{name: getattr(codec, name) for name in facts},
        "training": learnt | training,
        "commit": commit(),
        "versions": versions(),
        "held_out": {"cut": cut, "codes_used_per_level": used, "systems": systems.to_dict("records")},
    }


def ship(trainer: CodecTrainer, weights: str | Path, folder: str | Path, card: dict, material: pd.DataFrame) -> str:
    """Copy a fully trained codec to `folder`, say so, and write what belongs to it.

    That is training.csv (losses and vital signs over the steps), card.json, README.md and attribution.csv (clip,
    licence, author, url of every training clip, rows of `material`). An empty `folder` ships nothing. Raises InputError
    when training is not complete: half a codec must not take the place of a whole one.
    """
    if not str(folder):
        return f"Not shipped: no `ship_dir`. A preset uses this codec with `codec: {weights}`."
    if trainer.step < (n_steps := trainer.training.n_steps):
        raise InputError(f"codec: {trainer.step} of {n_steps} steps trained; run the notebook again first")
    folder = Path(folder)
    with atomic_path(folder / "bundled.safetensors") as temporary:
        shutil.copyfile(weights, temporary)
    write_csv(folder / "training.csv", pd.DataFrame(trainer.history))
    write_csv(folder / "attribution.csv", material[["clip", "category", "fold", "licence", "author", "url"]])
    write_json(folder / "card.json", card)
    write_text(folder / "README.md", readme(card, len(material)))
    return f"Shipped to `{folder}`."


def readme(card: dict[str, Any], n_clips: int) -> str:
    """Return the codec's README in Markdown; every number in it comes from the card."""
    training, held_out = card["training"], card["held_out"]
    bits = card["frame_rate"] * card["n_levels"] * (card["codebook_size"] - 1).bit_length()
    systems = "\n".join(systems_table(pd.DataFrame(held_out["systems"])))
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

{systems}

*log-mel*: mean absolute difference of log-mel levels in dB, floor -80 dB; lower is closer. *recognised*: share of clips
whose class an SVM on MFCC statistics, trained on the real clips of the other folds, gets right; it is wrong about some
originals too. *comb*: share of energy within 1 Hz of multiples of the frame rate; more than the original is a buzz.
*KS*: largest Kolmogorov-Smirnov distance among the six acoustic metrics, against the originals.
Codes used of each level, of {card["codebook_size"]}: {", ".join(str(n) for n in held_out["codes_used_per_level"])}.

## Licence

The weights are released under CC BY 4.0. The recordings they were trained on are CC BY or CC0; please keep
`attribution.csv` with them.
"""
