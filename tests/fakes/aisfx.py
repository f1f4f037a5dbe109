"""A stand-in for the package aisfx: the same files, a network of few random weights, a checkpoint like its own."""

from pathlib import Path

import numpy as np
import torch

WIDTH = 8  # channels, and numbers of a point
MODULE = """
import torch
from torch import nn


class Block(nn.Module):
    def __init__(self, n_out):
        super().__init__()
        self.conv1 = nn.Conv2d(1, n_out, 3, stride=8, padding=1)


class EmbeddingNet(nn.Module):
    def __init__(self, pool_type, ks, strd, hl1):
        super().__init__()
        self.conv_block1 = Block(hl1)

    def forward(self, x):
        return torch.relu(self.conv_block1.conv1(x[:, None])).mean(3).amax(2)
"""


def make_package(folder: Path, seed: int = 0) -> Path:
    """Write the package into a folder, as pip would, and return the folder."""
    models = folder / "aisfx" / "models"
    models.mkdir(parents=True)
    for place in (models.parent, models):
        (place / "__init__.py").write_text("")
    (models / "cnn2d.py").write_text(MODULE)
    generator = torch.Generator().manual_seed(seed)
    weights = {
        "embedding_net.conv_block1.conv1.weight": torch.randn(WIDTH, 1, 3, 3, generator=generator),
        "embedding_net.conv_block1.conv1.bias": torch.zeros(WIDTH),
        "fc.0.0.weight": torch.zeros(3, WIDTH),
    }
    torch.save((weights, {"a library": (np.int64(0), 3)}), models / "checkpoint.pth")
    return folder
