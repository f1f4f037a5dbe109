"""The training objective: cross-entropy of the masked codes of each item's own level."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from envsound.systems.soundstorm.conformer import MaskedConformer
from envsound.systems.soundstorm.masking import TrainingMask


def level_scores(
    model: MaskedConformer, mask: TrainingMask, valid: Tensor, classes: Tensor | None
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Yield each level, which of its codes are targets, bool [batch, n_frames], and their scores.

    Scores are float32 [n_targets, codebook_size]. Only masked frames of each item's own level are targets (SoundStorm,
    Borsos et al. 2023, sec. 3.2); see `TrainingMask`. valid bool [batch, n_frames]; classes int64 [batch] or None.
    """
    states = model(mask.inputs, valid, classes)
    for level in range(model.config.n_levels):
        chosen = mask.targets & (mask.levels == level)[:, None]
        yield level, chosen, model.logits(states[chosen], level).float()


def masked_loss(
    model: MaskedConformer, mask: TrainingMask, codes: Tensor, valid: Tensor, classes: Tensor | None
) -> Tensor:
    """Return the summed cross-entropy (nat) of each level's targets: [n_levels].

    codes int64 [batch, n_levels, n_frames]; the rest as for `level_scores`.
    """
    sums = [
        F.cross_entropy(scores, codes[:, level][chosen], reduction="sum")
        for level, chosen, scores in level_scores(model, mask, valid, classes)
    ]
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
