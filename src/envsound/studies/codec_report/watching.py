"""What the codec notebook shows while a codec learns, and shipping the result."""

import shutil
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from IPython.display import HTML, DisplayHandle
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from envsound.base.errors import InputError
from envsound.base.files import atomic_path, write_csv, write_wav
from envsound.codec.autoencoder import Autoencoder
from envsound.codec.base import Codec
from envsound.codec.stored import StoredCodec
from envsound.codec.systems import through_codec
from envsound.codec.training.trainer import CodecTrainer
from envsound.data.recordings import Recordings
from envsound.report.players import player
from envsound.report.style import DOUBLE_COLUMN, level_colours, new_figure, save_figure, show_figure, style
from envsound.studies.codec_report.card import write_card

SHORTEST_PIECE = 1.0  # s; a piece has to hold at least one step


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


def train_in_pieces(
    trainer: CodecTrainer, max_minutes: float, piece_minutes: float, show: Callable[[CodecTrainer], None]
) -> Autoencoder:
    """Train to the end or for `max_minutes`, calling `show` after every `piece_minutes` and at the end.

    Raises InputError when a piece has no length.
    """
    if piece_minutes <= 0:
        raise InputError(f"piece_minutes={piece_minutes}: expected more than 0")
    deadline = time.perf_counter() + max_minutes * 60
    while trainer.step < trainer.training.n_steps and (left := deadline - time.perf_counter()) > 0:
        trainer.run(min(left, max(piece_minutes * 60, SHORTEST_PIECE)))
        show(trainer)
    return trainer.codec


class View:
    """Curves and held-out players below a notebook's cell, drawn anew each time `show` is called."""

    def __init__(self, recordings: Recordings, table: pd.DataFrame, folder: Path):
        self.recordings, self.table, self.folder = recordings, table, folder
        self.figure, self.players = DisplayHandle(), DisplayHandle()
        self.shown = False

    def show(self, trainer: CodecTrainer) -> None:
        """Draw the curves so far and let the held-out clips be heard as the codec gives them now."""
        image = show_figure(save_figure(curves(trainer), self.folder / "figures", "codec_training"))
        codec = StoredCodec(_snapshot(trainer.codec), trainer.codec.generator, "")  # which freezes its model
        players = HTML(held_out_players(codec, self.recordings, self.table, self.folder / "players"))
        (self.figure.update if self.shown else self.figure.display)(image)
        (self.players.update if self.shown else self.players.display)(players)
        self.shown = True


def _snapshot(codec: Autoencoder) -> Autoencoder:
    """Return a copy of a codec; copy.deepcopy refuses weight-normalised layers between two training steps."""
    with torch.random.fork_rng():
        copied = type(codec)(codec.config)
    copied.load_state_dict(codec.state_dict())
    return copied.to(codec.device)


PANELS = ("loss of the last batch", "held-out log-mel (dB)", "energy at n x frame rate")
PANELS += ("effective rank of the latent", "gain of each level (dB)", "perplexity of each level")


def curves(trainer: CodecTrainer) -> Figure:
    """Draw losses, held-out distance and comb, latent rank, and gain and perplexity of every level over the steps."""
    history = pd.DataFrame(trainer.history)
    with style():
        fig = new_figure(DOUBLE_COLUMN, 4.4)
        panels = dict(zip(PANELS, fig.subplots(2, 3, sharex=True).flat, strict=True))
        losses, distance, comb, rank, gain, perplexity = panels.values()
        _lines(losses, history, ["spectral", "waveform", "adversarial", "feature"])
        _lines(distance, history, ["log_mel_distance"])
        _lines(comb, history, ["comb_share", "comb_share_original"], ["decoded", "original"])
        _lines(rank, history, ["latent_rank"])
        for axis, start in ((gain, "gain_db_"), (perplexity, "perplexity_")):
            names = [name for name in history if name.startswith(start)]
            axis.set_prop_cycle(color=level_colours(max(len(names), 1)))
            _lines(axis, history, names, [name.removeprefix(start) for name in names])
        for label, axis in panels.items():
            axis.set(title=label, ylim=(min(0, axis.get_ylim()[0]), None))
            axis.axvline(trainer.quantize_step, color="0.6", lw=0.8, ls=":")
            axis.axvline(trainer.adversary_step, color="0.6", lw=0.8, ls="--")
        for axis in (rank, gain, perplexity):
            axis.set(xlabel="step")
        return fig


def _lines(axis: Axes, history: pd.DataFrame, names: list[str], labels: list[str] | None = None) -> None:
    for name, label in zip(names, labels or names, strict=True):
        if name in history:
            axis.plot(history["step"], history[name], label=label)
    if len(names) > 1 and axis.lines:
        axis.legend(ncols=2 if len(names) > 4 else 1)


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
        "command": "papermill notebooks/codec/00_train_codec.ipynb out.ipynb -p data_dir <folder of ESC-50> "
        f"-p generator {trainer.codec.generator} -p n_steps {training.n_steps} -p seed {training.seed} "
        "-p ship_dir data/codec",
        "generator": trainer.codec.generator,
        "config": asdict(trainer.codec.config),
        "minutes": trainer.seconds / 60,
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
) -> str:
    """Copy a fully trained codec to `folder` with its training.csv, card and attribution, and say so in Markdown.

    training.csv is the trainer's own: losses and vital signs over the steps. An empty `folder` ships nothing. Raises
    InputError when training is not complete: half a codec must not take the place of a whole one.
    """
    if not str(folder):
        return f"Not shipped: no `ship_dir`. A preset uses this codec with `codec: {weights}`."
    if trainer.step < trainer.training.n_steps:
        raise InputError(
            f"codec: {trainer.step} of {trainer.training.n_steps} steps trained; run the notebook again first"
        )
    with atomic_path(Path(folder) / "bundled.safetensors") as temporary:
        shutil.copyfile(weights, temporary)
    write_csv(Path(folder) / "training.csv", pd.DataFrame(trainer.history))
    write_card(folder, card, material)
    return f"Shipped to `{folder}`."


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
