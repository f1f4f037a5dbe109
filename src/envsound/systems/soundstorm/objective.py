"""The training objective, cross-entropy of the masked codes of each item's own level, and the loss of mere counting."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from envsound.base.errors import InputError
from envsound.systems.soundstorm.batches import CodeSet
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


def unigram_losses(train: CodeSet, codebook_size: int, by_class: bool) -> np.ndarray:
    """Return what each code costs under the frequencies of the training codes (nat).

    Shape [n_classes, n_levels, codebook_size]. With `by_class` each class has frequencies of its own, drawn towards
    those of all classes by as many made-up frames as there are codes; those of all classes are drawn towards a uniform
    guess in the same way, and without `by_class` every class has them. Raises InputError when a code is not below
    `codebook_size`.
    """
    n_levels, n_classes = train.codes[0].shape[0], len(train.categories)
    overall = _counts(train.codes, n_levels, codebook_size)
    overall = _shares(overall, np.full_like(overall, 1 / codebook_size), codebook_size)
    shares = np.broadcast_to(overall, (n_classes, *overall.shape)).copy()
    for label in range(n_classes) if by_class else ():
        known = [codes for codes, of in zip(train.codes, train.classes, strict=True) if of == label]
        shares[label] = _shares(_counts(known, n_levels, codebook_size), overall, codebook_size)
    return -np.log(shares)


def _counts(clips: list[np.ndarray], n_levels: int, codebook_size: int) -> np.ndarray:
    """Count the codes of clips [n_levels, n_frames]: float [n_levels, codebook_size]."""
    counts = np.zeros((n_levels, codebook_size))
    for codes in clips:
        if codes.max(initial=0) >= codebook_size:
            raise InputError(f"codebook_size={codebook_size}: the clips hold code {codes.max()}; expected all below")
        for level in range(n_levels):
            counts[level] += np.bincount(codes[level], minlength=codebook_size)
    return counts


def _shares(counts: np.ndarray, prior: np.ndarray, strength: float) -> np.ndarray:
    """Return shares that follow `prior` where few were counted: both [n_levels, codebook_size]."""
    return (counts + strength * prior) / (counts.sum(1, keepdims=True) + strength)
