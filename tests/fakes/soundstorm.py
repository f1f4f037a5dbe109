"""A masked model and a codec so small that a clip takes milliseconds, and a training that tests start, kill, resume."""

import numpy as np
import pytest
import torch

from envsound.codec.fourier import FourierCodec, FourierConfig
from envsound.codec.stored import StoredCodec
from envsound.systems.soundstorm.batches import CodeSet
from envsound.systems.soundstorm.checkpoints import Checkpoint
from envsound.systems.soundstorm.conformer import MaskedConformer, ModelConfig
from envsound.systems.soundstorm.training import Trainer, TrainingConfig

CPU = torch.device("cpu")
SMALL_CODEC = "hash-of-small"
TINY = ModelConfig(n_levels=3, codebook_size=16, dim=32, n_layers=1, n_heads=2, conv_kernel=5, dropout=0.1, n_classes=2)


def small_codec(n_levels: int = 2) -> StoredCodec:
    """An untrained codec of 16 codes a level."""
    shape = {"dim": 16, "hidden": 16, "n_encoder_blocks": 1, "n_decoder_blocks": 1, "latent_dim": 4}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        codec = FourierCodec(FourierConfig(**shape, n_levels=n_levels, codebook_size=16))
    return StoredCodec(codec, "small", SMALL_CODEC)


def small_checkpoint(n_levels: int = 2, n_classes: int = 2) -> Checkpoint:
    """An untrained model of its codes."""
    shape = {"dim": 16, "n_layers": 1, "n_heads": 2, "conv_kernel": 5, "n_classes": n_classes}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = MaskedConformer(ModelConfig(n_levels=n_levels, codebook_size=16, **shape)).eval()
    return Checkpoint(model, ["dog", "rain"][:n_classes], {"codec_hash": SMALL_CODEC})


def code_set(n=10, seed=0):
    """Random codes of 5 to 19 frames."""
    rng = np.random.default_rng(seed)
    codes = [rng.integers(16, size=(3, rng.integers(5, 20))).astype(np.int16) for _ in range(n)]
    return CodeSet(codes, rng.integers(2, size=n), ["dog", "rain"])


def plan(folder, shape=TINY, **changes):
    """The arguments of a `Trainer` whose epochs have three steps."""
    config = TrainingConfig(**{"num_epochs": 2, "batch_size": 4, "lr": 3e-3, "precision": "32-true"} | changes)
    sets = {"train": code_set(), "validation": code_set(4, seed=1)}
    return sets | {"model_config": shape, "config": config, "run_dir": folder, "device": CPU, "codec_hash": "abc"}


def trainer(folder, shape=TINY, **changes):
    return Trainer(**plan(folder, shape, **changes))


def killed_at(victim: Trainer, step: int) -> None:
    """Begin a training, of a masked or a language model, and end it before a step as Ctrl-C does."""
    take_step = victim._train_step

    def dying_step(rows):
        if victim.progress.step == step:
            raise KeyboardInterrupt
        return take_step(rows)

    victim._train_step = dying_step
    with pytest.raises(KeyboardInterrupt):
        victim.fit()
