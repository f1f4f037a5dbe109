"""Which codes are hidden: the cosine schedule, SoundStorm's training masks, and frame masks for uneven lengths."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from envsound.base.errors import InputError


def n_masked_after(step: int, n_steps: int, n_frames: int) -> int:
    """Return how many of a level's `n_frames` codes are still masked after decoding step `step` of `n_steps`.

    MaskGIT's cosine schedule (Chang et al. 2022, sec. 3.2): ceil(cos(pi step / (2 n_steps)) n_frames), and 0 after
    the last step. The published study calls this the number of codes to unmask; it is the number that stay masked,
    and it counts the frames of one level, not of all.
    """
    if n_steps < 1 or not 0 <= step <= n_steps:
        raise InputError(f"step={step} of n_steps={n_steps}: expected 0 <= step <= n_steps and n_steps >= 1")
    if step == n_steps:
        return 0
    exact = math.cos(math.pi * step / (2 * n_steps)) * n_frames
    return math.ceil(round(exact, 9))  # cos(pi / 3) is 0.5000000000000001 in floating point


def frame_mask(n_frames: Tensor, longest: int | None = None) -> Tensor:
    """Return which frames are real: int [batch] lengths -> bool [batch, longest], True before each clip's end."""
    longest = int(n_frames.max()) if longest is None else longest
    return torch.arange(longest, device=n_frames.device) < n_frames[:, None]


@dataclass(frozen=True)
class TrainingMask:
    """One draw of SoundStorm's masking for a batch.

    inputs: codes with hidden ones replaced by the mask token, int64 [batch, n_levels, n_frames].
    targets: bool [batch, n_frames], the masked frames of each item's own level, the only ones the loss counts.
    levels: int64 [batch], the level each item is trained on.
    """

    inputs: Tensor
    targets: Tensor
    levels: Tensor

    def rows(self, rows: np.ndarray) -> "TrainingMask":
        """Return the masks of some items of the batch."""
        return TrainingMask(self.inputs[rows], self.targets[rows], self.levels[rows])

    def to(self, device: torch.device) -> "TrainingMask":
        """Return the same masks on a device."""
        return TrainingMask(self.inputs.to(device), self.targets.to(device), self.levels.to(device))


def draw_training_mask(
    codes: Tensor,
    valid: Tensor,
    mask_token: int,
    generator: torch.Generator,
    prompt_chance: float = 1.0,
    levels: Tensor | None = None,
) -> TrainingMask:
    """Hide codes the way SoundStorm trains (Borsos et al. 2023, sec. 3.2).

    codes int [batch, n_levels, n_frames]; valid bool [batch, n_frames] from `frame_mask`. For each item: a prompt cut
    t ~ U{0..n-1} (with chance `prompt_chance`, else t = 0: no prompt), a level q ~ U{0..n_levels-1} (or the given
    `levels` [batch]), and u ~ U(0, 1). At level q each frame from t on is masked with probability cos(pi u / 2), at
    least one; finer levels are masked from t on; coarser levels and the prompt stay visible at every level.
    Padded frames hold the mask token in every level and are never targets.
    The draws come from `generator`, a CPU generator.
    Deviation: SoundStorm draws a prompt for every item, since it is always prompted when it decodes.
    """
    batch, n_levels, n_frames = codes.shape
    device = codes.device
    lengths = valid.sum(1).cpu()

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    cut = (uniform(batch) * lengths).long() * (uniform(batch) < prompt_chance)
    drawn_levels = torch.randint(n_levels, (batch,), generator=generator)
    levels = drawn_levels if levels is None else levels.cpu()
    rate = torch.cos(uniform(batch) * math.pi / 2)
    after_cut = (torch.arange(n_frames) >= cut[:, None]) & valid.cpu()
    noise = uniform(batch, n_frames)
    targets = after_cut & (noise < rate[:, None])
    least = noise.masked_fill(~after_cut, 2.0).argmin(1)  # the frame that would be masked first
    targets[torch.arange(batch), least] = True

    level_index = torch.arange(n_levels)[None, :, None]
    hidden = (level_index > levels[:, None, None]) & after_cut[:, None]
    hidden |= (level_index == levels[:, None, None]) & targets[:, None]
    hidden |= ~valid.cpu()[:, None]
    inputs = codes.long().masked_fill(hidden.to(device), mask_token)
    return TrainingMask(inputs, targets.to(device), levels.to(device))
