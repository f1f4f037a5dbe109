"""The loop that every classifier trained by gradients goes through: AdamW, a cosine, and an early stop.

The epoch is chosen on validation clips, by accuracy and then by cross-entropy. A training that was killed goes on after
its last epoch, and ends as one that was not: every random draw depends on the seed and the number of the step alone.
"""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from envsound.base.errors import InputError
from envsound.base.files import atomic_path, write_csv
from envsound.systems.soundstorm.batches import epoch_batches
from envsound.systems.soundstorm.training import derive_seed

STATE = "training_state.pt"
SMALLEST = 1e-40  # probability whose logarithm is still taken
HISTORY = ("epoch", "loss", "accuracy", "cross_entropy")

BatchLoss = Callable[[np.ndarray, np.random.Generator], Tensor]  # rows of a batch, draws of the step -> mean loss
Validation = Callable[[], tuple[float, float]]  # accuracy, cross-entropy (nat)


@dataclass(frozen=True)
class ClassifierSchedule:
    """How long and how fast a classifier learns; the defaults are the published study's."""

    num_epochs: int = 50
    batch_size: int = 32  # clips
    lr: float = 5e-5  # highest, of everything but a model that was there before
    trunk_lr: float = 5e-5  # highest, of the model below the readout; 0 = it is frozen
    warmup_fraction: float = 0.0  # of the steps; the rate then falls on half a cosine to 0
    weight_decay: float = 0.01
    label_smoothing: float = 0.0
    grad_clip: float = 1.0  # global norm
    patience: int = 10  # epochs without a better one before training ends; 0 = never

    def __post_init__(self) -> None:
        if self.num_epochs < 1 or self.batch_size < 1 or not self.lr > 0 or not self.grad_clip > 0:
            raise InputError("num_epochs, batch_size, lr, grad_clip: expected each above 0")
        if min(self.trunk_lr, self.weight_decay, self.patience) < 0:
            raise InputError("trunk_lr, weight_decay, patience: expected none below 0")
        if not 0 <= self.warmup_fraction < 1 or not 0 <= self.label_smoothing < 1:
            raise InputError(
                f"warmup_fraction={self.warmup_fraction}, label_smoothing={self.label_smoothing}: "
                "expected shares from 0 to below 1"
            )


def rate_factor(step: int, n_steps: int, warmup_fraction: float) -> float:
    """Return the share of the highest learning rate at `step` (from 0) of `n_steps`: a line up, half a cosine down."""
    n_warm = round(warmup_fraction * n_steps)
    if step < n_warm:
        return (step + 1) / (n_warm + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - n_warm) / max(1, n_steps - n_warm)))


class ClassifierTraining:
    """One training; `fit` leaves the module with the weights of its best epoch.

    folder: takes `training_state.pt` after every epoch and `history.csv`; None keeps nothing, for what takes seconds.
    A state is gone on from when its `identity`, plain values that say what is trained on what, is the same.
    """

    def __init__(
        self,
        module: nn.Module,
        groups: list[dict[str, Any]],
        n_clips: int,
        schedule: ClassifierSchedule,
        seed: int,
        folder: Path | None = None,
        identity: str = "",
    ):
        """groups: parameters and highest rate of each part of the module, as {"params": ..., "lr": ...}."""
        self.module, self.schedule, self.seed, self.n_clips = module, schedule, seed, n_clips
        self.parameters = [parameter for group in groups for parameter in group["params"]]
        self.optimizer = torch.optim.AdamW(groups, weight_decay=schedule.weight_decay)
        self.highest = [group["lr"] for group in groups]
        self.steps_per_epoch = math.ceil(n_clips / schedule.batch_size)
        self.folder, self.identity = folder, identity
        self.epoch, self.history, self.best, self.best_weights = 0, [], None, {}
        self._resume()

    @property
    def finished(self) -> bool:
        best_epoch = self.best[0] if self.best else 0
        patient = not self.schedule.patience or self.epoch - best_epoch < self.schedule.patience
        return self.epoch >= self.schedule.num_epochs or not patient

    def fit(
        self, batch_loss: BatchLoss, validate: Validation, name: str = "classifier", start_counts: bool = False
    ) -> pd.DataFrame:
        """Train to the end; return the history, columns HISTORY. Raises InputError when the loss is not finite.

        start_counts: the weights given are an epoch 0 to choose from, too, for a start that is no chance.
        """
        place = next(self.module.parameters()).device
        bar = tqdm(total=self.schedule.num_epochs, initial=self.epoch, desc=name, unit="epoch", leave=False)
        with bar, torch.random.fork_rng(devices=[place] if place.type == "cuda" else []):
            if start_counts and not self.history:
                self._judge(math.nan, validate)
            while not self.finished:
                self._run_epoch(batch_loss, validate)
                bar.update()
                bar.set_postfix({key: f"{self.history[-1][key]:.3f}" for key in HISTORY[1:]})
        self.module.load_state_dict(self.best_weights)
        self.module.eval()
        return pd.DataFrame(self.history, columns=HISTORY)

    def _run_epoch(self, batch_loss: BatchLoss, validate: Validation) -> None:
        self.module.train()
        batches = list(epoch_batches(self.n_clips, self.schedule.batch_size, self.seed, self.epoch))
        first = self.epoch * self.steps_per_epoch
        losses = [self._step(batch_loss, rows, first + number) for number, rows in enumerate(batches)]
        self.epoch += 1
        self._judge(float(np.mean(losses)), validate)
        self._save()

    def _judge(self, loss: float, validate: Validation) -> None:
        self.module.eval()
        accuracy, cross_entropy = validate()
        row = (self.epoch, loss, accuracy, cross_entropy)
        self.history.append(dict(zip(HISTORY, row, strict=True)))
        if self.best is None or (accuracy, -cross_entropy) > (self.best[1], -self.best[2]):
            self.best = [self.epoch, accuracy, cross_entropy]
            self.best_weights = copy.deepcopy(self.module.state_dict())

    def _step(self, batch_loss: BatchLoss, rows: np.ndarray, step: int) -> float:
        n_steps = self.schedule.num_epochs * self.steps_per_epoch
        factor = rate_factor(step, n_steps, self.schedule.warmup_fraction)
        for group, highest in zip(self.optimizer.param_groups, self.highest, strict=True):
            group["lr"] = highest * factor
        torch.manual_seed(derive_seed(self.seed, step))  # of dropout
        loss = batch_loss(rows, np.random.default_rng(derive_seed(self.seed, step, 1)))
        if not torch.isfinite(loss):
            raise InputError(f"classifier: the loss is {loss.item()} at step {step}; try lower rates, {self.highest}")
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, self.schedule.grad_clip)
        self.optimizer.step()
        return loss.item()

    def _save(self) -> None:
        if self.folder is None:
            return
        state = {
            "identity": self.identity,
            "epoch": self.epoch,
            "history": self.history,
            "best": self.best,
            "best_weights": self.best_weights,
            "module": self.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        write_csv(self.folder / "history.csv", pd.DataFrame(self.history, columns=HISTORY))
        with atomic_path(self.folder / STATE) as temporary:
            torch.save(state, temporary)

    def _resume(self) -> None:
        path = None if self.folder is None else self.folder / STATE
        if path is None or not path.exists():
            return
        place = next(self.module.parameters()).device
        state = torch.load(path, map_location=place, weights_only=True)
        if state["identity"] != self.identity:  # other settings, clips or code: start anew
            return
        self.epoch, self.history = state["epoch"], state["history"]
        self.best, self.best_weights = state["best"], state["best_weights"]
        self.module.load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimizer"])


def judged(probabilities: Tensor, labels: Tensor) -> tuple[float, float]:
    """Return accuracy and cross-entropy (nat) of probabilities [n, n_classes] against labels int64 [n]."""
    right = (probabilities.argmax(1) == labels).double().mean()
    likelihood = probabilities[torch.arange(len(labels)), labels].clamp(min=SMALLEST)
    return float(right), float(-likelihood.log().mean())
