"""Clips of codes as a classifier sees them: crops, hidden codes and mixtures in training, even windows in a test."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from envsound.base.errors import InputError
from envsound.codec.codes import load_codes
from envsound.systems.soundstorm.masking import frame_mask


@dataclass(frozen=True)
class CodeAugmentation:
    """How codes are changed anew at every training step; the defaults change nothing."""

    crop_frames: int = 0  # length of the stretches seen, in training and in a test; 0 = whole clips
    skip_repeats: bool = False  # leave out frames that repeat the one before in every level: digital silence
    masked_share: float = 0.0  # of the codes, each hidden behind the mask token by itself
    level_dropout: float = 0.0  # chance that an item keeps only its first 1 to n_levels - 1 levels
    mixup: float = 0.0  # both parameters of the Beta distribution of an item's share; 0 = no mixing

    def __post_init__(self) -> None:
        if self.crop_frames < 0 or self.mixup < 0:
            raise InputError(f"crop_frames={self.crop_frames}, mixup={self.mixup}: expected neither below 0")
        if not 0 <= self.masked_share < 1 or not 0 <= self.level_dropout <= 1:
            raise InputError(
                f"masked_share={self.masked_share}, level_dropout={self.level_dropout}: expected shares from 0 to 1"
            )
        if self.mixup and not self.crop_frames:
            raise InputError(f"mixup={self.mixup}: needs crop_frames, since clips of unequal length cannot be mixed")


@dataclass(frozen=True)
class CodeBatch:
    """What a classifier is trained on at one step.

    codes: int64 [batch, n_levels, n_frames] in 0..mask_token; valid: bool [batch, n_frames], or None for all;
    targets: float32 [batch, n_classes], the share of each class; share: float32 [batch], of each item itself, the rest
    being item `other`, int64 [batch]. Both are None without mixing.
    """

    codes: Tensor
    valid: Tensor | None
    targets: Tensor
    share: Tensor | None = None
    other: Tensor | None = None

    def to(self, device: torch.device) -> "CodeBatch":
        """Return the same batch on a device."""
        parts = (self.codes, self.valid, self.targets, self.share, self.other)
        return CodeBatch(*(None if part is None else part.to(device) for part in parts))


def without_repeats(codes: np.ndarray) -> np.ndarray:
    """Return codes [n_levels, n_frames] without the frames that repeat the one before in every level."""
    varied = np.ones(codes.shape[1], dtype=bool)
    varied[1:] = (codes[:, 1:] != codes[:, :-1]).any(0)
    return codes[:, varied]


def load_clips(codes_files: Sequence[Path], skip_repeats: bool) -> list[np.ndarray]:
    """Load codes, int16 [n_levels, n_frames] each, without repeated frames where asked for."""
    codes = [load_codes(file) for file in codes_files]
    return [without_repeats(clip) for clip in codes] if skip_repeats else codes


def training_batch(
    codes: Sequence[np.ndarray],
    targets: np.ndarray,
    augmentation: CodeAugmentation,
    mask_token: int,
    draws: np.random.Generator,
) -> CodeBatch:
    """Return a batch of clips, codes int [n_levels, n_frames] each and targets [batch, n_classes], changed at random.

    Mixing is mixup (Zhang et al. 2018) of input embeddings, which the model does with `share` and `other`; every item
    keeps the larger part of itself. Crops of clips shorter than `crop_frames` go round them.
    """
    if augmentation.crop_frames:
        batch = torch.from_numpy(np.stack([_crop(clip, augmentation.crop_frames, draws) for clip in codes])).long()
        valid = None
    else:
        batch, valid = padded(codes, mask_token)
    batch = _hidden(batch, augmentation, mask_token, draws)
    wanted = torch.from_numpy(np.asarray(targets, dtype=np.float32))
    if not augmentation.mixup:
        return CodeBatch(batch, valid, wanted)
    share = draws.beta(augmentation.mixup, augmentation.mixup, len(codes))
    share = torch.from_numpy(np.maximum(share, 1 - share).astype(np.float32))
    other = torch.from_numpy(draws.permutation(len(codes)))
    return CodeBatch(batch, valid, share[:, None] * wanted + (1 - share[:, None]) * wanted[other], share, other)


def _crop(codes: np.ndarray, n_frames: int, draws: np.random.Generator) -> np.ndarray:
    length = codes.shape[1]
    start = draws.integers(length - n_frames + 1) if length >= n_frames else draws.integers(length)
    return codes[:, np.arange(start, start + n_frames) % length]


def _hidden(codes: Tensor, augmentation: CodeAugmentation, mask_token: int, draws: np.random.Generator) -> Tensor:
    """Hide codes [batch, n_levels, n_frames] one by one, and the finer levels of some items."""
    batch, n_levels, _ = codes.shape
    hidden = torch.from_numpy(draws.random(codes.shape, dtype=np.float32) < augmentation.masked_share)
    if n_levels > 1:
        kept = np.where(draws.random(batch) < augmentation.level_dropout, draws.integers(1, n_levels, batch), n_levels)
        hidden |= (torch.arange(n_levels) >= torch.from_numpy(kept)[:, None])[..., None]
    return codes.masked_fill(hidden, mask_token)


def padded(codes: Sequence[np.ndarray], mask_token: int) -> tuple[Tensor, Tensor | None]:
    """Return clips of codes [n_levels, n_frames] as one batch int64 [batch, n_levels, longest] and its valid frames.

    valid is bool [batch, longest], or None where all clips have one length.
    """
    lengths = torch.tensor([clip.shape[1] for clip in codes])
    batch = torch.full((len(codes), codes[0].shape[0], int(lengths.max())), mask_token)
    for item, clip in zip(batch, codes, strict=True):
        item[:, : clip.shape[1]] = torch.from_numpy(clip.astype(np.int64))
    return batch, None if bool((lengths == lengths[0]).all()) else frame_mask(lengths)


def even_windows(codes: np.ndarray, n_frames: int) -> list[np.ndarray]:
    """Cut codes [n_levels, n_clip_frames] into as few windows of `n_frames` frames as cover them, evenly spaced.

    A shorter clip is one window that goes round it. n_frames 0: the clip itself is the only window.
    """
    length = codes.shape[1]
    if not n_frames or length == n_frames:
        return [codes]
    if length < n_frames:
        return [codes[:, np.arange(n_frames) % length]]
    starts = np.linspace(0, length - n_frames, math.ceil(length / n_frames)).round().astype(int)
    return [codes[:, start : start + n_frames] for start in starts]
