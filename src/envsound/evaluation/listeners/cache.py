"""Listeners, trained once: the same clips, settings and code give the network that was kept."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path

import numpy as np
import torch

from envsound.base.device import choose_device
from envsound.base.errors import InputError
from envsound.base.files import sha256_bytes
from envsound.evaluation.listeners.network import Listener, load_listener
from envsound.evaluation.listeners.training import DEFAULT_TRAINING, ListenerTraining, train_listener
from envsound.evaluation.truth import Classifier, Trainer
from envsound.run.identity import module_hash

CACHE = Path("data/cache/listeners")


def cached_listener(
    clips: Sequence[np.ndarray],
    categories: Sequence[str],
    sample_rate: int,
    training: ListenerTraining = DEFAULT_TRAINING,
    device: str = "auto",
    cache_dir: str | Path = CACHE,
) -> Listener:
    """Return `train_listener` of clips, float [n_samples] each at `sample_rate` Hz, and keep it in `cache_dir`.

    A listener that is kept there is loaded; one whose file is damaged is trained again. Raises InputError as
    `train_listener` does.
    """
    file = Path(cache_dir) / f"{listener_key(clips, categories, sample_rate, training, device)}.safetensors"
    try:
        return load_listener(file, device)
    except InputError:  # missing or damaged
        listener = train_listener(clips, categories, sample_rate, training, device=device)
        listener.save(file)
        return listener


def cached_trainer(
    training: ListenerTraining = DEFAULT_TRAINING, device: str = "auto", cache_dir: str | Path = CACHE
) -> Trainer:
    """Return a trainer for `class_truth.train_on_mixes` that trains nothing twice; the seed is the trainer's."""

    def train(clips: Sequence[np.ndarray], categories: Sequence[str], sample_rate: int, seed: int) -> Classifier:
        return cached_listener(clips, categories, sample_rate, replace(training, seed=seed), device, cache_dir)

    return train


def listener_key(
    clips: Sequence[np.ndarray],
    categories: Sequence[str],
    sample_rate: int,
    training: ListenerTraining = DEFAULT_TRAINING,
    device: str = "auto",
) -> str:
    """Return 64 hexadecimal digits that change with anything a trained listener depends on.

    These are the clips in their order, their categories and rate, the settings, the code, torch, and the kind of
    device; not the number of threads, which moves the last digits.
    """
    contents = [sha256_bytes(np.asarray(clip, dtype=np.float32).tobytes()) for clip in clips]
    parts = [contents, list(categories), int(sample_rate), asdict(training), choose_device(device).type]
    parts += [_code(), torch.__version__]
    return sha256_bytes(json.dumps(parts).encode())


@cache
def _code() -> str:
    return module_hash("envsound.evaluation.listeners.training")
