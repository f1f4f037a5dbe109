"""What a model is worth that knows nothing but how often each code occurs: the baseline of the training curves."""

import numpy as np
import pandas as pd

from envsound.batches import CodeSet
from envsound.errors import InputError


def unigram_losses(train: CodeSet, validation: CodeSet, codebook_size: int, by_class: bool) -> pd.DataFrame:
    """Return the cross-entropy (nat) of the validation codes under the frequencies of the training codes.

    Columns level ("0", "1", .. and "all", their mean) and loss. With `by_class` each class has frequencies of its
    own, drawn towards those of all classes by as many made-up frames as there are codes; those of all classes are
    drawn towards a uniform guess in the same way. Every frame counts, since a frequency does not depend on the mask.
    Raises InputError when a code is not below `codebook_size`.
    """
    n_levels = train.codes[0].shape[0]
    overall = _counts(train.codes, n_levels, codebook_size)
    overall = _shares(overall, np.full_like(overall, 1 / codebook_size), codebook_size)
    sums, n_frames = np.zeros(n_levels), 0
    for label in np.unique(validation.classes):
        shares = overall
        if by_class:
            known = [codes for codes, of in zip(train.codes, train.classes, strict=True) if of == label]
            shares = _shares(_counts(known, n_levels, codebook_size), overall, codebook_size)
        asked = [codes for codes, of in zip(validation.codes, validation.classes, strict=True) if of == label]
        sums -= (_counts(asked, n_levels, codebook_size) * np.log(shares)).sum(1)
        n_frames += sum(codes.shape[1] for codes in asked)
    losses = sums / n_frames
    levels = [*map(str, range(n_levels)), "all"]
    return pd.DataFrame({"level": levels, "loss": [*losses, losses.mean()]})


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
