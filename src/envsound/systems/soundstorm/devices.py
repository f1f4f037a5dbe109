"""Training on several GPUs (or, to test it, several processes on the CPU) from a notebook."""

import os
import socket
from pathlib import Path

import torch
from torch import multiprocessing

from envsound.base.errors import InputError
from envsound.systems.soundstorm.batches import CodeSet
from envsound.systems.soundstorm.codebooks import Codebooks
from envsound.systems.soundstorm.conformer import ModelConfig
from envsound.systems.soundstorm.training import Trainer, TrainingConfig


def trainer_on(
    n_devices: int,
    train: CodeSet,
    validation: CodeSet,
    model_config: ModelConfig,
    config: TrainingConfig,
    run_dir: str | Path,
    device: torch.device,
    codec_hash: str = "",
    codebooks: Codebooks | None = None,
) -> Trainer:
    """Return a `Trainer`; for several devices one that has been trained to the end, by one process each.

    The processes share out every batch and average their gradients, so the result is that of one process but for
    rounding and dropout. Raises InputError when there are fewer GPUs than asked for.
    """
    arguments = (train, validation, model_config, config, run_dir, device, codec_hash)
    if n_devices < 1 or (device.type == "cuda" and n_devices > torch.cuda.device_count()):
        raise InputError(f"devices={n_devices}: {torch.cuda.device_count()} GPUs here, expected 1 or more and no more")
    if n_devices > 1:
        multiprocessing.spawn(_train, (n_devices, _free_port(), arguments, codebooks), nprocs=n_devices)
    return Trainer(*arguments, codebooks=codebooks)


def _train(rank: int, n_processes: int, port: int, arguments: tuple, codebooks: Codebooks | None) -> None:
    os.environ |= {"LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    Trainer(*arguments, n_processes=n_processes, codebooks=codebooks).fit()
    torch.distributed.destroy_process_group()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
