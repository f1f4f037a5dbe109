"""Clips of codes whose class can be read from them, as a data set of four folds for recognisers."""

from pathlib import Path

import numpy as np

from envsound.codec.codes import save_codes
from envsound.studies.recognition.rounds import Clips, Fold, cross_validation

N_LEVELS, CODEBOOK_SIZE, N_CLASSES = 3, 12, 3
CODEC_HASH = "c" * 64


def coded_clips(folder: Path, per_class: int = 4, folds: int = 4) -> Clips:
    """Return clips with cached codes of 14 to 30 frames; those of class k draw codes from 4k to 4k + 3 alone."""
    draws, rows = np.random.default_rng(0), []
    for fold in range(1, folds + 1):
        for label in range(N_CLASSES):
            for number in range(per_class):
                size = (N_LEVELS, int(draws.integers(14, 31)))
                path = folder / f"clip{fold}{label}{number}.safetensors"
                save_codes(path, 4 * label + draws.integers(4, size=size), CODEC_HASH, 320 * size[1])
                rows.append((path, label, fold))
    files, labels, of_fold = zip(*rows, strict=True)
    wavs = [path.with_suffix(".wav") for path in files]
    return Clips(wavs, list(files), np.array(labels), np.array(of_fold), ["bark", "rain", "wind"])


def first_round(folder: Path) -> Fold:
    """Return the round whose test fold is 1; 2 is the validation fold."""
    return cross_validation(coded_clips(folder), [1])[0]
