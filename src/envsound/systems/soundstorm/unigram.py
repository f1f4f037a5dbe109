"""What a model is worth that knows nothing but how often each code occurs: the baseline of the training curves."""

import numpy as np

from envsound.base.errors import InputError
from envsound.systems.soundstorm.batches import CodeSet


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
