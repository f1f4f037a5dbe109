"""What the codec notebook shows while a codec learns, and shipping the result."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from envsound.codecs.base import Codec
from envsound.codecs.card import write_card
from envsound.codecs.report import through_codec
from envsound.codecs.training import CodecTrainer
from envsound.errors import InputError
from envsound.figures import DOUBLE_COLUMN, level_colours, new_figure, style
from envsound.files import atomic_path, write_wav
from envsound.players import player
from envsound.recordings import Recordings


def watched_clips(recordings: Recordings, table: pd.DataFrame, every: int) -> Tensor:
    """Return every `every`-th clip of a table, padded with silence to one length: float32 [n, n_samples]."""
    clips = [recordings.load(clip) for clip in table.clip_id[::every]]
    longest = max(len(clip) for clip in clips)
    return torch.from_numpy(np.stack([np.pad(clip, (0, longest - len(clip))) for clip in clips]))


def progress(trainer: CodecTrainer) -> str:
    """Return a Markdown sentence on how far training has come."""
    size = f"{trainer.codec.n_parameters() / 1e6:.1f} M parameters"
    if trainer.step < trainer.training.n_steps:
        return f"{size}; {trainer.step} of {trainer.training.n_steps} steps done. **Run this notebook again to go on.**"
    return f"{size}; all {trainer.step} steps done."


def curves(trainer: CodecTrainer) -> Figure:
    """Draw losses, held-out distance, latent rank and the gain of every level over the steps."""
    history = pd.DataFrame(trainer.history)
    with style():
        fig = new_figure(DOUBLE_COLUMN, 4.2)
        (losses, distance), (rank, gains) = fig.subplots(2, 2, sharex=True)
        for name in ("spectral", "adversarial", "feature"):
            if name in history:
                losses.plot(history["step"], history[name], label=name)
        losses.set(ylabel="loss of the last batch")
        losses.legend()
        distance.plot(history["step"], history["log_mel_distance"], color="#222222")
        distance.set(ylabel="held-out log-mel (dB)")
        rank.plot(history["step"], history["latent_rank"], color="#222222")
        rank.set(ylabel="effective rank of the latent", xlabel="step")
        names = [name for name in history if name.startswith("gain_db_")]
        for level, (name, colour) in enumerate(zip(names, level_colours(len(names)), strict=True)):
            gains.plot(history["step"], history[name], color=colour, label=str(level))
        gains.set(ylabel="gain of each level (dB)", xlabel="step")
        if names:
            gains.legend(title="level", ncols=2)
        for axis in (losses, distance, rank, gains):
            axis.axvline(trainer.quantize_step, color="0.6", lw=0.8, ls=":")
            axis.axvline(trainer.adversary_step, color="0.6", lw=0.8, ls="--")
        return fig


def held_out_players(codec: Codec, recordings: Recordings, table: pd.DataFrame, folder: Path) -> str:
    """Write one held-out clip of each class as it was and as decoded, and return linked players as HTML."""
    figures = []
    for row in table.groupby("category").head(1).itertuples():
        clip = recordings.load(row.clip_id)
        for kind, sound in (("original", clip), ("codec", through_codec(clip, codec))):
            path = folder / f"{row.clip_id}_{kind}.wav"
            write_wav(path, sound, codec.sample_rate)
            figures.append(player(path, f"{row.category}, {kind}", relative_to="notebooks"))
    return '<div class="players">' + "".join(figures) + "</div>"


def training_facts(trainer: CodecTrainer, cut: str, held_out_fold: int, device: str) -> dict[str, Any]:
    """Return what the card says of the training."""
    training = trainer.training
    return {
        "command": "papermill notebooks/00_train_codec.ipynb out.ipynb -p data_dir <folder of ESC-50>",
        "material": f"{cut}; outside fold {held_out_fold}, clip licence CC BY or CC0",
        "held_out_fold": held_out_fold,
        "n_steps": training.n_steps,
        "batch_size": training.batch_size,
        "crop_seconds": training.crop_seconds,
        "lr": training.lr,
        "seed": training.seed,
        "device": device,
        "last": trainer.history[-1],
    }


def ship(
    trainer: CodecTrainer,
    weights: str | Path,
    folder: str | Path,
    card: dict[str, Any],
    material: pd.DataFrame,
) -> None:
    """Copy a fully trained codec to `folder` with its card and attribution.

    Raises InputError when training is not complete: half a codec must not take the place of a whole one.
    """
    if trainer.step < trainer.training.n_steps:
        raise InputError(
            f"codec: {trainer.step} of {trainer.training.n_steps} steps trained; run the notebook again first"
        )
    with atomic_path(Path(folder) / "bundled.safetensors") as temporary:
        shutil.copyfile(weights, temporary)
    write_card(folder, card, material)


def findings(table: pd.DataFrame, name: str) -> str:
    """Return Markdown sentences on the held-out measurements, from the rows of `report.measure_systems`."""
    rows = table.set_index("system")
    all_levels, one_level = rows.loc[f"{name}, 8 levels"], rows.loc[f"{name}, 1 level"]
    opus = rows.loc["Opus, 6 kbit/s", "log_mel_distance"] if "Opus, 6 kbit/s" in rows.index else None
    beside = "Opus was not installed." if opus is None else f"Opus at 6 kbit/s is at {opus:.2f} dB."
    return (
        f"With 8 levels the held-out clips come back {all_levels.log_mel_distance:.2f} dB away, with one level "
        f"{one_level.log_mel_distance:.2f} dB. {beside} The recogniser names {all_levels.recognised:.0%} of the "
        f"decoded clips and {rows.loc['original', 'recognised']:.0%} of the originals."
    )
