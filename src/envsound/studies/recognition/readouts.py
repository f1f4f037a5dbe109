"""From the states of a masked Conformer to class scores: which layers are read, and how frames become one vector.

The layers of a model are the sum of its code embeddings and the output of every block, [batch, n_frames, dim] each. No
class is ever given: the class embedding of a generative model would tell the answer.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from envsound.base.errors import InputError
from envsound.systems.soundstorm.conformer import MaskedConformer

LOWEST_VARIANCE = 1e-8  # where the gradient of a square root is still finite
STATISTICS = 2  # of each channel over time: mean and standard deviation


def embed_codes(model: MaskedConformer, codes: Tensor) -> Tensor:
    """Return the sum of the code embeddings, [batch, n_frames, dim]: codes int64 [batch, n_levels, n_frames]."""
    return torch.stack([embed(level) for embed, level in zip(model.embeddings, codes.unbind(1), strict=True)]).sum(0)


def layer_states(model: MaskedConformer, embedded: Tensor, valid: Tensor | None = None) -> list[Tensor]:
    """Return the states of every layer, n_layers + 1 of [batch, n_frames, dim]; the first is `embedded` itself.

    valid: bool [batch, n_frames], False on padded frames, whose states mean nothing; None: all are valid.
    Raises InputError for a model with classes: it may have learnt to expect the answer among its inputs.
    """
    if model.config.n_classes:
        raise InputError(
            f"model: trained to be told one of {model.config.n_classes} classes; expected one that was told none"
        )
    if valid is not None and bool(valid.all()):
        valid = None
    states = [embedded]
    for block in model.blocks:
        states.append(block(states[-1], valid))
    return states


def frame_weights(states: Tensor, valid: Tensor | None) -> Tensor:
    """Return equal weights of the valid frames of states [batch, n_frames, dim]: [batch, n_frames], rows sum to 1."""
    if valid is None:
        return states.new_full(states.shape[:2], 1 / states.shape[1])
    return valid.to(states.dtype) / valid.sum(1, keepdim=True)


def weighted_statistics(states: Tensor, weights: Tensor) -> Tensor:
    """Return mean and standard deviation over time, [batch, 2, dim], of states [batch, n_frames, dim].

    weights: [batch, n_frames], rows sum to 1; a frame of weight 0 counts for nothing, whatever its state holds.
    """
    weights = weights[..., None]
    states = states.masked_fill(weights == 0, 0.0)
    mean = (weights * states).sum(1)  # no matrix product, which mixed precision would round
    variance = (weights * (states - mean[:, None]).square()).sum(1)
    return torch.stack([mean, variance.clamp(min=LOWEST_VARIANCE).sqrt()], 1)


def pooled_statistics(layers: Sequence[Tensor], valid: Tensor | None = None) -> Tensor:
    """Return mean and standard deviation over the valid frames of every layer, float32 [batch, n_states, 2, dim]."""
    weights = frame_weights(layers[0].float(), valid)
    return torch.stack([weighted_statistics(states.float(), weights) for states in layers], 1)


class MeanReadout(nn.Module):
    """The mean over time of the last layer, and one linear layer: the published study's readout."""

    def __init__(self, n_states: int, dim: int, n_classes: int, dropout: float = 0.0):
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.classes = nn.Linear(dim, n_classes)

    def scores(self, statistics: Tensor) -> Tensor:
        """Return class scores [batch, n_classes] from `pooled_statistics`, [batch, n_states, 2, dim]."""
        return self.classes(self.dropout(statistics[:, -1, 0]))

    def forward(self, layers: Sequence[Tensor], valid: Tensor | None = None) -> Tensor:
        return self.scores(pooled_statistics(layers[-1:], valid))


class LayerReadout(nn.Module):
    """All layers, weighted, and one linear layer on mean and standard deviation over time.

    The weights are a softmax over one number a layer (ELMo, Peters et al. 2018, eq. 1; SUPERB, Yang et al. 2021).
    Deviation: the statistics of each layer are weighted, not the statistics of the weighted sum, so that those of a
    frozen model are computed once; of means both are the same.
    """

    def __init__(self, n_states: int, dim: int, n_classes: int, dropout: float = 0.0):
        super().__init__()
        self.mix = nn.Parameter(torch.zeros(n_states))
        self.dropout = nn.Dropout(dropout)
        self.classes = nn.Linear(STATISTICS * dim, n_classes)

    def scores(self, statistics: Tensor) -> Tensor:
        """Return class scores [batch, n_classes] from `pooled_statistics`, [batch, n_states, 2, dim]."""
        mixed = (self.mix.softmax(0)[:, None, None] * statistics).sum(1)  # [batch, 2, dim]
        return self.classes(self.dropout(mixed.flatten(1)))

    def forward(self, layers: Sequence[Tensor], valid: Tensor | None = None) -> Tensor:
        return self.scores(pooled_statistics(layers, valid))


class AttentionReadout(nn.Module):
    """Frames of the last layer weighted by what they hold, then their mean and standard deviation, then linear.

    Attentive statistics pooling (Okabe et al. 2018, eq. 1 to 6): a bark between silences should not be averaged away.
    """

    def __init__(self, n_states: int, dim: int, n_classes: int, dropout: float = 0.0, hidden: int = 128):
        super().__init__()
        self.attention = nn.Sequential(nn.Linear(dim, hidden), nn.Tanh(), nn.Linear(hidden, 1))
        self.dropout = nn.Dropout(dropout)
        self.classes = nn.Linear(STATISTICS * dim, n_classes)

    def forward(self, layers: Sequence[Tensor], valid: Tensor | None = None) -> Tensor:
        states = layers[-1]
        merits = self.attention(states)[..., 0].float()
        if valid is not None:
            merits = merits.masked_fill(~valid, float("-inf"))
        pooled = weighted_statistics(states.float(), merits.softmax(1))
        return self.classes(self.dropout(pooled.flatten(1)))


READOUTS = {"mean": MeanReadout, "layers": LayerReadout, "attention": AttentionReadout}


def seeded_readout(name: str, model: MaskedConformer, n_classes: int, dropout: float, seed: int) -> nn.Module:
    """Return an untrained readout for a model's layers, drawn from `seed` alone.

    Raises InputError for a name that is none of READOUTS.
    """
    if name not in READOUTS:
        raise InputError(f"readout={name!r}: expected one of {', '.join(READOUTS)}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return READOUTS[name](len(model.blocks) + 1, model.config.dim, n_classes, dropout)
