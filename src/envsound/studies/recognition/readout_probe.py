"""A linear probe that can go on learning with the model below it: all layers, standardised, and one linear layer.

A readout that starts from chance sends its first errors into the model and undoes what that has learnt; one that has
been fitted to the frozen model does not (linear probing, then fine-tuning: Kumar et al. 2022).
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from envsound.studies.recognition.readouts import pooled_statistics
from envsound.studies.recognition.training import ClassifierSchedule, ClassifierTraining, judged

SMALLEST_SPREAD = 1e-6  # of a feature over clips; one that varies less says nothing and stays 0


class ProbeReadout(nn.Module):
    """Mean and standard deviation over time of every layer, standardised by clips, and one linear layer.

    statistics: float32 [n_clips, n_states, 2, dim] of the clips that standardise, as `pooled_statistics` gives them.
    """

    def __init__(self, statistics: Tensor, n_classes: int, dropout: float = 0.0):
        super().__init__()
        self.register_buffer("centre", statistics.mean(0))
        spread = statistics.std(0, correction=0)
        self.register_buffer("spread", spread.masked_fill(spread < SMALLEST_SPREAD, torch.inf))
        self.dropout = nn.Dropout(dropout)
        self.classes = nn.Linear(statistics[0].numel(), n_classes)

    def scores(self, statistics: Tensor) -> Tensor:
        """Return class scores [batch, n_classes] from `pooled_statistics`, [batch, n_states, 2, dim]."""
        return self.classes(self.dropout(((statistics - self.centre) / self.spread).flatten(1)))

    def forward(self, layers: Sequence[Tensor], valid: Tensor | None = None) -> Tensor:
        return self.scores(pooled_statistics(layers, valid))


def fitted_probe(
    train: tuple[np.ndarray, np.ndarray],
    watched: tuple[np.ndarray, np.ndarray],
    n_classes: int,
    dropout: float,
    schedule: ClassifierSchedule,
    seed: int,
) -> ProbeReadout:
    """Return a probe that has learnt from `train`, at its best epoch on `watched`.

    train, watched: statistics float32 [n_clips, n_states, 2, dim] of a frozen model, and labels int64 [n_clips].
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        probe = ProbeReadout(torch.from_numpy(train[0]), n_classes, dropout)
    train_readout(probe, train, watched, schedule, seed, "linear probe")
    return probe


def train_readout(
    readout: nn.Module,
    train: tuple[np.ndarray, np.ndarray],
    watched: tuple[np.ndarray, np.ndarray],
    schedule: ClassifierSchedule,
    seed: int,
    name: str,
) -> None:
    """Train a readout of pooled statistics on `train`, and leave it at its best epoch on `watched`.

    readout: has `scores`, as those of `readouts` and the one above. train, watched: as in `fitted_probe`.
    """
    (statistics, labels), (others, other_labels) = (tuple(map(torch.from_numpy, part)) for part in (train, watched))

    def batch_loss(rows: np.ndarray, draws: np.random.Generator) -> Tensor:
        return F.cross_entropy(readout.scores(statistics[rows]), labels[rows], label_smoothing=schedule.label_smoothing)

    @torch.no_grad()
    def validate() -> tuple[float, float]:
        return judged(readout.scores(others).double().softmax(1), other_labels)

    groups = [{"params": list(readout.parameters()), "lr": schedule.lr}]
    ClassifierTraining(readout, groups, len(labels), schedule, seed).fit(batch_loss, validate, name)
