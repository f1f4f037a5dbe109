"""What notebook 00 does around the training of a codec: lets it be watched, and ships it with a card."""

import base64
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from envsound.base import cache
from envsound.base.errors import InputError
from envsound.base.files import atomic_path, write_csv, write_json, write_text
from envsound.codec.base import Codec
from envsound.codec.patches import PatchConfig, PatchQuantizer
from envsound.codec.stored import PATCHES, StoredCodec, generator_class, patch_codec, save_codec, save_patches
from envsound.codec.systems import write_examples
from envsound.codec.training.bank import clips_and_copies
from envsound.codec.training.calibration import calibrate_decoder, level_words, set_level
from envsound.codec.training.code_vectors import fit_patches
from envsound.codec.training.decoder import DecoderTrainer, DecoderTraining
from envsound.codec.training.trainer import CodecTrainer, CodecTraining
from envsound.data.recordings import Recordings
from envsound.report.players import example_players
from envsound.report.style import save_figure
from envsound.run.provenance import commit, versions
from envsound.studies.codec_report.figures import learning_curves
from envsound.studies.codec_report.tables import systems_table

Trainer = CodecTrainer | DecoderTrainer
SHORTEST_PIECE = 1.0  # s; a piece has to hold at least one step
GIVEN = ("codebook_size", "n_copies", "n_steps", "batch_size", "crop_seconds", "lr", "seed")  # to notebook 00
GENERATORS = {
    "patches": "Patches of a log-mel spectrogram are coded (`src/envsound/codec/patches.py`), no phase and no noise; a "
    "network\nmakes both (`src/envsound/codec/decoder.py`).",
    "fourier": "The spectrum of a frame goes in, ConvNeXt blocks at the frame rate work on it, and out come magnitude, "
    "phase\nand a filter for noise (`src/envsound/codec/fourier.py`).",
    "seanet": "EnCodec's generator: strided convolutions and an LSTM in the time domain\n"
    "(`src/envsound/codec/seanet.py`).",
}


def training_clips(recordings: Recordings, material: pd.DataFrame) -> list[np.ndarray]:
    """Return the clips to learn from, rows of a table, float32 [n_samples] each.

    Raises InputError when there is none, or one is shorter than a patch.
    """
    if material.empty:
        raise InputError(f"{recordings.cut}: no clip to learn from; expected some with a licence of CC BY or CC0")
    shortest = PatchConfig().column
    short = material[material["n_samples"] < shortest]
    if len(short):
        name, n_samples = short[["filename", "n_samples"]].iloc[0]
        raise InputError(f"{name}: {n_samples} samples; expected a patch of {shortest} or more to learn from")
    return [recordings.load(clip) for clip in material["clip_id"]]


def watched_clips(recordings: Recordings, table: pd.DataFrame, every: int) -> Tensor:
    """Return every `every`-th clip of a table, padded with silence to one length: float32 [n, n_samples].

    Raises InputError for an empty table.
    """
    clips = [recordings.load(clip) for clip in table.clip_id[::every]]
    if not clips:
        raise InputError(f"{recordings.cut}: no clip of ESC-10 in the held-out fold; expected some to measure with")
    longest = max(len(clip) for clip in clips)
    return torch.from_numpy(np.stack([np.pad(clip, (0, longest - len(clip))) for clip in clips]))


def make_trainer(
    generator: str,
    clips: Sequence[np.ndarray],
    categories: Sequence[str],
    held_out: Tensor,
    folder: str | Path,
    schedule: Mapping[str, Any],
    patches: Mapping[str, int],
    device: torch.device,
) -> Trainer:
    """Return what trains a codec: of patches its decoder, whose code vectors are fitted first, and kept in `folder`.

    schedule: n_steps, batch_size, crop_seconds, lr and seed; patches: codebook_size, and n_copies, the altered copies
    of each clip from which code vectors are made beside it. Raises InputError for any other generator.
    """
    if generator != PATCHES:
        network = generator_class(generator)
        plan = CodecTraining(**network.recipe | schedule)
        return CodecTrainer(network, list(clips), list(categories), held_out, folder, plan, device=device)
    config, seed = PatchConfig(codebook_size=patches["codebook_size"]), schedule["seed"]
    parts = [[cache.clip_key(clip) for clip in clips], asdict(config), patches["n_copies"], seed]
    copies = clips_and_copies(clips, config.sample_rate, patches["n_copies"], seed)
    make = lambda: fit_patches(copies, config, seed).vectors.numpy()  # noqa: E731
    quantizer = PatchQuantizer(config)
    quantizer.vectors.copy_(torch.from_numpy(cache.kept(folder, parts, make, cache.ARRAY)))
    lengths = {"crop_columns": max(1, round(schedule["crop_seconds"] * config.sample_rate / config.column))}
    plan = DecoderTraining(**{name: value for name, value in schedule.items() if name != "crop_seconds"} | lengths)
    return DecoderTrainer(clips, held_out, quantizer, folder, plan, device=device)


def train_in_pieces(
    trainer: Trainer, max_minutes: float, piece_minutes: float, show: Callable[[Trainer], object]
) -> None:
    """Train to the end or for `max_minutes`, calling `show` after every `piece_minutes` and at the end.

    What an earlier run has left is shown first. Raises InputError when a piece has no length.
    """
    if piece_minutes <= 0:
        raise InputError(f"piece_minutes={piece_minutes}: expected more than 0")
    deadline = time.perf_counter() + max_minutes * 60
    if trainer.step:
        show(trainer)
    while not trainer.finished and (left := deadline - time.perf_counter()) > 0:
        trainer.run(min(left, max(piece_minutes * 60, SHORTEST_PIECE)))
        show(trainer)


def codec_so_far(trainer: Trainer) -> Codec:
    """Return what has been learnt as a codec; the training goes on untouched."""
    if isinstance(trainer, DecoderTrainer):
        return patch_codec(trainer.quantizer, trainer.averaged)
    with torch.random.fork_rng():  # copy.deepcopy refuses weight-normalised layers between two training steps
        copied = type(trainer.codec)(trainer.codec.config)
    copied.load_state_dict(trainer.codec.state_dict())
    return StoredCodec(copied.to(trainer.device), trainer.codec.generator, "")  # which freezes its model


def snapshot(trainer: Trainer, recordings: Recordings, table: pd.DataFrame, folder: str | Path) -> str:
    """Draw the curves so far, and let one held-out clip of each class (rows of `table`) be heard as the codec gives it.

    Figure and sounds are written below `folder`; returned is HTML for a notebook, the figure inside it.
    """
    marks = () if isinstance(trainer, DecoderTrainer) else (trainer.quantize_step, trainer.adversary_step)
    *_, png = save_figure(learning_curves(pd.DataFrame(trainer.history), marks), Path(folder) / "figures", "training")
    codec, sounds = codec_so_far(trainer), Path(folder) / "players"
    examples = write_examples(codec, codec.name, recordings, table, sounds, table["category"].nunique())
    image = base64.b64encode(png.read_bytes()).decode()
    players = example_players(examples, sounds, "notebooks/codec")
    return f'<img width="720" src="data:image/png;base64,{image}">{players}'


def finish(trainer: Trainer, clips: Sequence[np.ndarray], path: str | Path) -> str:
    """Set the level of what has been learnt on its training clips, and write it; say in Markdown what the bias was."""
    if isinstance(trainer, CodecTrainer):
        words = set_level(trainer.codec, clips)
        save_codec(path, trainer.codec)
        return words
    decoder = deepcopy(trainer.averaged)
    words = level_words(calibrate_decoder(trainer.quantizer, decoder, clips), len(clips))
    save_patches(path, trainer.quantizer, decoder)
    return words


def make_card(
    codec: Codec, trainer: Trainer, training: dict[str, Any], systems: pd.DataFrame, used: list[int], cut: str
) -> dict[str, Any]:
    """Return the card of a trained codec as plain values: what it is, what made it, what it measures on unheard clips.

    The codec is called as its generator is. training: the values GIVEN, material (in words), held_out_fold and device;
    systems: rows of `measuring.measure_systems`; used: codes used per level; cut: the held-out clips in words.
    """
    facts = ("name", "sample_rate", "frame_rate", "n_levels", "codebook_size", "content_hash")
    given = {"generator": codec.name, **{name: training[name] for name in GIVEN}, "ship_dir": "data/codec"}
    learnt = {
        "command": "papermill notebooks/codec/00_train_codec.ipynb out.ipynb -p data_dir <folder of ESC-50> "
        + " ".join(f"-p {name} {value}" for name, value in given.items()),
        "generator": codec.name,
        "config": asdict(codec.config),
        "minutes": trainer.seconds / 60,
        "last": trainer.history[-1],
    }
    return {
        "n_parameters": sum(value.numel() for value in codec.model.state_dict().values()),
        **{name: getattr(codec, name) for name in facts},
        "training": learnt | training,
        "commit": commit(),
        "versions": versions(),
        "held_out": {"cut": cut, "codes_used_per_level": used, "systems": systems.to_dict("records")},
    }


def ship(trainer: Trainer, weights: str | Path, folder: str | Path, card: dict, material: pd.DataFrame) -> str:
    """Copy a fully trained codec to `folder`, say so, and write what belongs to it.

    Under the codec's name that is <name>.safetensors, <name>.json (its card) and <name>.md; beside them training.csv
    (losses and vital signs over the steps) and attribution.csv (clip, licence, author, url of every training clip, rows
    of `material`). An empty `folder` ships nothing. Raises InputError when training is not complete: half a codec must
    not take the place of a whole one.
    """
    if not str(folder):
        return f"Not shipped: no `ship_dir`. A preset uses this codec with `codec: {weights}`."
    if not trainer.finished:
        raise InputError(f"codec: {trainer.step} of {trainer.training.n_steps} steps trained; run the notebook again")
    folder, name = Path(folder), card["name"]
    with atomic_path(folder / f"{name}.safetensors") as temporary:
        shutil.copyfile(weights, temporary)
    write_csv(folder / "training.csv", pd.DataFrame(trainer.history))
    write_csv(folder / "attribution.csv", material[["clip", "category", "fold", "licence", "author", "url"]])
    write_json(folder / f"{name}.json", card)
    write_text(folder / f"{name}.md", readme(card, len(material)))
    return f"Shipped to `{folder}`."


def readme(card: dict[str, Any], n_clips: int) -> str:
    """Return the codec's README in Markdown; every number in it comes from the card."""
    training, held_out = card["training"], card["held_out"]
    bits = card["frame_rate"] * card["n_levels"] * (card["codebook_size"] - 1).bit_length()
    systems = "\n".join(systems_table(pd.DataFrame(held_out["systems"])))
    return f"""# The codec `{card["name"]}`

`{card["name"]}.safetensors`: {card["n_parameters"] / 1e6:.1f} million values in 16 bit, {card["n_levels"]} levels of
{card["codebook_size"]} codes at {card["frame_rate"]} frames/s ({bits / 1000:g} kbit/s), {card["sample_rate"]} Hz mono.
{GENERATORS[training["generator"]]} A small network that has heard {n_clips} clips.

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
