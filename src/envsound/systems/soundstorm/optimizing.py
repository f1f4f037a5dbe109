"""How weights move: the optimizer, the course of its learning rate, and the average that follows the weights."""

import copy
import math

import torch
from torch import nn

from envsound.systems.soundstorm.plan import TrainingConfig

LEAST_SHARE = 0.02  # of the highest learning rate, at the end of the cosine


def make_optimizer(model: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """Return Adam, or AdamW (Loshchilov & Hutter 2019) that leaves vectors (norms and biases) undecayed, as GPT-3's."""
    fused = next(model.parameters()).is_cuda
    given = {"lr": config.lr, "betas": tuple(config.betas), **({"fused": True} if fused else {})}
    if config.optimizer == "adam":
        return torch.optim.Adam(model.parameters(), **given)
    matrices = [weight for weight in model.parameters() if weight.ndim > 1]
    vectors = [weight for weight in model.parameters() if weight.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, **given)


def make_schedule(
    optimizer: torch.optim.Optimizer, config: TrainingConfig, n_steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """Return the schedule of a training of `n_steps` steps."""
    if config.schedule == "cosine":
        n_warmup = config.warmup_steps or round(config.warmup_fraction * n_steps)
        return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: cosine_share(step, n_warmup, n_steps))
    total = max(n_steps + 1, 3)  # a step up and a step down at least
    fraction = config.warmup_steps / total if config.warmup_steps else config.warmup_fraction
    warmup = min(max(fraction, 2 / total), 1.0)  # a rise of less than one step has no slope
    return torch.optim.lr_scheduler.OneCycleLR(optimizer, config.lr, total_steps=total, pct_start=warmup)


def cosine_share(step: int, n_warmup: int, n_steps: int) -> float:
    """Return which share of the highest learning rate a step (from 0) takes.

    A line up over `n_warmup` steps, then half a cosine down to LEAST_SHARE (Loshchilov & Hutter 2017, without
    restarts).
    """
    rising = (step + 1) / max(n_warmup, 1)
    if rising < 1:
        return rising
    done = min(max(step - n_warmup, 0) / max(n_steps - n_warmup, 1), 1.0)
    return LEAST_SHARE + (1 - LEAST_SHARE) * (1 + math.cos(math.pi * done)) / 2


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
        torch._foreach_lerp_(list(self.model.parameters()), list(model.parameters()), 1 - kept)
