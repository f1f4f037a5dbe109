"""A tiny training run that tests start, kill and resume."""

import numpy as np
import torch

from envsound.systems.soundstorm.batches import CodeSet
from envsound.systems.soundstorm.conformer import ModelConfig
from envsound.systems.soundstorm.training import Trainer
from envsound.systems.soundstorm.training import TrainingConfig

CPU = torch.device("cpu")
TINY = ModelConfig(n_levels=3, codebook_size=16, dim=32, n_layers=1, n_heads=2, conv_kernel=5, dropout=0.1, n_classes=2)


def code_set(n=10, seed=0, longest=20):
    rng = np.random.default_rng(seed)
    codes = [rng.integers(16, size=(3, rng.integers(5, longest))).astype(np.int16) for _ in range(n)]
    return CodeSet(codes, rng.integers(2, size=n), ["dog", "rain"])


def trainer(folder, num_epochs=4, batch_size=4, **changes):
    config = TrainingConfig(num_epochs=num_epochs, batch_size=batch_size, lr=3e-3, precision="32-true", **changes)
    return Trainer(code_set(), code_set(4, seed=1), TINY, config, folder, CPU, codec_hash="abc")
