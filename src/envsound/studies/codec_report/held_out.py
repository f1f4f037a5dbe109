"""The held-out clips of a codec report: who is held out, and who listens."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from envsound.base.device import choose_device, describe_device
from envsound.base.errors import InputError
from envsound.codec.base import Codec
from envsound.codec.opus import opus_available
from envsound.data.recordings import Recordings
from envsound.evaluation.listeners.mfcc import Listener, train_recogniser
from envsound.evaluation.listeners.training import ListenerTraining, train_listener


class ClipList(Sequence[np.ndarray]):
    """Clips of some recordings, float32 [n_samples] each, read from their files when they are asked for."""

    def __init__(self, recordings: Recordings, clip_ids: Sequence[str]):
        self.recordings, self.clip_ids = recordings, list(clip_ids)

    def __len__(self) -> int:
        return len(self.clip_ids)

    def __getitem__(self, place: int) -> np.ndarray:
        return self.recordings.load(self.clip_ids[place])


def split(recordings: Recordings, held_out_fold: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows of the other folds, which listeners learn from, and of the held-out fold, which is measured.

    Raises InputError when either has no clip or the held-out fold has a class that the others lack.
    """
    table = recordings.table
    held_out = table[table["fold"] == held_out_fold].reset_index(drop=True)
    others = table[table["fold"] != held_out_fold].reset_index(drop=True)
    if held_out.empty or others.empty:
        folds = ", ".join(str(fold) for fold in sorted(table["fold"].unique()))
        raise InputError(f"held_out_fold={held_out_fold}: the recordings have folds {folds}; expected it and another")
    unknown = sorted(set(held_out["category"]) - set(others["category"]))
    if unknown:
        raise InputError(f"held_out_fold={held_out_fold}: no clip of class {unknown[0]!r} outside it; expected some")
    return others, held_out


def train_listeners(
    recordings: Recordings, rows: pd.DataFrame, cnn_epochs: int = 0, seed: int = 0, device: str = "auto"
) -> dict[str, Listener]:
    """Train every listener on the same real clips, rows of `recordings.table`; the first of them is the main one.

    `cnn`, a network on log-mel spectra trained for `cnn_epochs`, is left out at 0; `mfcc_svm`, a vector machine,
    is always there. There are two because one alone may be deaf to just what the codec spoils.
    """
    clips, names = ClipList(recordings, rows["clip_id"]), list(rows["category"])
    listeners: dict[str, Listener] = {}
    if cnn_epochs:
        training = ListenerTraining(n_epochs=cnn_epochs, seed=seed)
        listeners["cnn"] = train_listener(clips, names, recordings.sample_rate, training, device=device)
    return listeners | {"mfcc_svm": train_recogniser(clips, names, recordings.sample_rate)}


def report_facts(
    recordings: Recordings, others: pd.DataFrame, held_out: pd.DataFrame, codecs: Mapping[str, Codec], device: str
) -> dict[str, Any]:
    """Return what the provenance of a report should say: data cut, counts, codecs, Opus, and the machine."""
    return {
        "data_cut": recordings.cut,
        "n_held_out": len(held_out),
        "n_heard_by_listeners": len(others),
        "codecs": {name: codec.content_hash for name, codec in codecs.items()},
        "opus": opus_available(),
        "device_used": describe_device(choose_device(device)),
    }
