"""Sounds kept in a run: what systems learn from that read the waveform itself, in place of codes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError

from envsound.base.errors import InputError
from envsound.base.files import sha256_bytes
from envsound.base.tensors import read_tensors, write_tensors
from envsound.codec import Codec
from envsound.codec.codes import encode_recordings
from envsound.data.finding import check_taught
from envsound.data.folds import training_sets
from envsound.data.recordings import Recordings
from envsound.run.contract import read_table

FILE, KIND = "sounds.safetensors", "sounds"
FULL_SCALE = 32_767


@dataclass(frozen=True)
class Sounds:
    """Clips, float32 [n_samples] in [-1, 1] each, with their clip_id and classes, at one sample rate (Hz)."""

    clips: list[np.ndarray]
    names: list[str]
    categories: list[str]
    sample_rate: int

    def digest(self) -> str:
        """Return a hash of all that is in them."""
        parts = [*self.names, *self.categories, str(self.sample_rate), *(sha256_bytes(c.tobytes()) for c in self.clips)]
        return sha256_bytes("\0".join(parts).encode())

    def of_class(self, category: str) -> list[np.ndarray]:
        """Return the clips of a class."""
        return [clip for clip, own in zip(self.clips, self.categories, strict=True) if own == category]


def keep_sounds(recordings: Recordings, settings: Mapping[str, Any], codec: Codec, run: Path) -> pd.DataFrame:
    """Write every clip as 16 bit into the run, so that training needs no audio library; return its codes.csv.

    Raises InputError when altered copies are asked for: such a system learns from recordings as they are.
    """
    if settings["augment_copies"]:
        raise InputError(f"augment_copies={settings['augment_copies']}: expected 0 of a system that learns from sound")
    names = recordings.table["clip_id"]
    clips = {name: torch.from_numpy(np.rint(recordings.load(name) * FULL_SCALE).astype(np.int16)) for name in names}
    write_tensors(Path(run) / FILE, clips, KIND, {"sample_rate": recordings.sample_rate})
    return encode_recordings(recordings, codec)


def load_sounds(settings: Mapping[str, Any], run: Path) -> tuple[Sounds, Sounds]:
    """Return the clips to learn and those to watch. Raises InputError where they are not there, or teach not all."""
    table = read_table(run, "recordings")
    learnt, watched = training_sets(table, settings["fold"], settings["train_folds"], settings["validation_fold"])
    check_taught(learnt, table)
    return sounds_named(learnt["clip_id"], run), sounds_named(watched["clip_id"], run)


def sounds_named(names: Iterable[str], run: Path) -> Sounds:
    """Return the clips of a run by their clip_id. Raises InputError when they are not there."""
    path = Path(run) / FILE
    categories = read_table(run, "recordings").set_index("clip_id")["category"]
    try:
        kept, header = read_tensors(path, KIND)
        clips = {name: kept[name].numpy().astype(np.float32) / FULL_SCALE for name in names}
        return Sounds([*clips.values()], [*clips], [categories[name] for name in clips], header["sample_rate"])
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise InputError(f"{path}: cannot be used ({error}); expected what notebook 01 leaves") from None
