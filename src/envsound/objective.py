"""The training objective: cross-entropy of the masked codes of each item's own level."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from envsound.conformer import MaskedConformer
from envsound.masking import TrainingMask


def masked_loss(
    model: MaskedConformer, mask: TrainingMask, codes: Tensor, valid: Tensor, classes: Tensor | None
) -> Tensor:
    """Return the summed cross-entropy (nat) of each level's masked codes: [n_levels].

    codes int64 [batch, n_levels, n_frames]; valid bool [batch, n_frames]; classes int64 [batch] or None. Only masked
    frames of each item's own level count (SoundStorm, Borsos et al. 2023, sec. 3.2); see `TrainingMask`.
    """
    states = model(mask.inputs, valid, classes)
    sums = []
    for level in range(model.config.n_levels):
        chosen = mask.targets & (mask.levels == level)[:, None]
        scores = model.logits(states[chosen], level).float()
        sums.append(F.cross_entropy(scores, codes[:, level][chosen], reduction="sum"))
    return torch.stack(sums)


class MaskedObjective(nn.Module):
    """`masked_loss` as a module of plain tensors: one forward pass holds all that several processes agree on."""

    def __init__(self, model: MaskedConformer):
        super().__init__()
        self.model = model

    def forward(
        self, inputs: Tensor, targets: Tensor, levels: Tensor, codes: Tensor, valid: Tensor, classes: Tensor | None
    ) -> Tensor:
        return masked_loss(self.model, TrainingMask(inputs, targets, levels), codes, valid, classes)
