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

HISTORY = ["epoch", "level", "split", "loss", "n_masked", "unigram", "lr", "seconds"]  # of training.csv
IGNORED = -100  # in the place of a code that is no target


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
    model: MaskedConformer,
    mask: TrainingMask,
    codes: Tensor,
    valid: Tensor,
    classes: Tensor | None,
    smoothing: float = 0.0,
) -> Tensor:
    """Return the summed cross-entropy (nat) of each level's targets: [n_levels].

    codes int64 [batch, n_levels, n_frames]; smoothing: the share of a target that is spread over all codes (Szegedy et
    al. 2016); the rest as for `level_scores`.
    """
    sums = [
        F.cross_entropy(scores, codes[:, level][chosen], reduction="sum", label_smoothing=smoothing)
        for level, chosen, scores in level_scores(model, mask, valid, classes)
    ]
    return torch.stack(sums)


def dense_losses(
    model: MaskedConformer,
    mask: TrainingMask,
    codes: Tensor,
    valid: Tensor | None,
    classes: Tensor | None,
    smoothing: float = 0.0,
) -> Tensor:
    """Return the cross-entropy (nat) of every frame, 0 where it is no target: float32 [batch, n_frames].

    As `masked_loss`, with scores for all frames in one product: nothing's shape depends on what is masked, so that a
    GPU is never waited for. valid: None where no frame is padded.
    """
    states = model(mask.inputs, valid, classes)
    weights, biases = zip(*(model.head(level) for level in range(model.config.n_levels)), strict=True)
    weight, bias = (torch.stack(one).index_select(0, mask.levels) for one in (weights, biases))
    scores = torch.bmm(states, weight.transpose(1, 2)).float() + bias[:, None]
    own = mask.levels[:, None, None].expand(-1, 1, codes.shape[2])
    targets = codes.gather(1, own)[:, 0].masked_fill(~mask.targets, IGNORED)
    losses = F.cross_entropy(
        scores.flatten(0, 1), targets.flatten(), reduction="none", ignore_index=IGNORED, label_smoothing=smoothing
    )
    return losses.view_as(targets)


def by_level(values: Tensor, levels: Tensor, n_levels: int) -> Tensor:
    """Add up values [batch, n_frames] of items at `levels` [batch]: [n_levels]."""
    return values.new_zeros(n_levels).index_add_(0, levels, values.sum(1))


class MaskedObjective(nn.Module):
    """`masked_loss` as a module of plain tensors: one forward pass holds all that several processes agree on."""

    def __init__(self, model: MaskedConformer, smoothing: float = 0.0, dense: bool = False):
        """dense: compute it by `dense_losses`."""
        super().__init__()
        self.model, self.smoothing, self.dense = model, smoothing, dense

    def forward(
        self,
        inputs: Tensor,
        targets: Tensor,
        levels: Tensor,
        codes: Tensor,
        valid: Tensor | None,
        classes: Tensor | None,
    ) -> Tensor:
        """Return the summed cross-entropy (nat) of each level's targets, as `masked_loss` does: [n_levels].

        inputs, codes: int64 [batch, n_levels, n_frames], codes with masks and without; targets: bool [batch, n_frames];
        levels, classes: int64 [batch]; valid: bool [batch, n_frames].
        """
        given = self.model, TrainingMask(inputs, targets, levels), codes, valid, classes, self.smoothing
        if self.dense:
            return by_level(dense_losses(*given), levels, self.model.config.n_levels)
        return masked_loss(*given)


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


def history_rows(
    epoch: int, split: str, totals: np.ndarray, unigram: dict[str, float], facts: dict[str, float]
) -> list[dict]:
    """Turn loss sums and counts [n_levels, 2] into rows of training.csv: each level, then "all".

    unigram: the loss of each level's code frequencies on the same clips, where known; facts: lr and seconds.
    """
    levels = [*((str(level), *row) for level, row in enumerate(totals)), ("all", *totals.sum(0))]
    return [
        {
            "epoch": epoch,
            "level": level,
            "split": split,
            "loss": float(loss / count) if count else float("nan"),
            "n_masked": int(count),
            "unigram": unigram.get(level, float("nan")),
            **facts,
        }
        for level, loss, count in levels
    ]
