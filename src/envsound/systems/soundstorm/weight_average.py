"""A moving average of a model's weights: what a model generates with it varies less from step to step."""

import copy

import torch
from torch import nn


class WeightAverage:
    """Holds `model`, a copy whose weights follow those of the model in training.

    decay, 0 to 1, is the share of the average that a step keeps. After n steps it is (1 + n) / (10 + n) where that
    is less, so that the random weights of the start are soon forgotten (as TensorFlow's moving average has it).
    """

    def __init__(self, model: nn.Module, decay: float):
        self.model, self.decay = copy.deepcopy(model).eval().requires_grad_(False), decay

    @torch.no_grad()
    def update(self, model: nn.Module, n_steps: int) -> None:
        """Move the average towards `model`, whose `n_steps`-th step (from 1) has just been taken."""
        kept = min(self.decay, (1 + n_steps) / (10 + n_steps))
        for average, weight in zip(self.model.parameters(), model.parameters(), strict=True):
            average.lerp_(weight, 1 - kept)
