"""Which codes are hidden: the cosine schedule, SoundStorm's training masks, and frame masks for uneven lengths.

And what else training does to codes: turning clips round in time, and putting near codes in the place of visible ones.
"""

import math
from dataclasses import dataclass, replace

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

    def rows(self, rows) -> "TrainingMask":
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
    u: Tensor | None = None,
) -> TrainingMask:
    """Hide codes the way SoundStorm trains (Borsos et al. 2023, sec. 3.2).

    codes int [batch, n_levels, n_frames]; valid bool [batch, n_frames] from `frame_mask`. For each item: a prompt cut
    t ~ U{0..n-1} (with chance `prompt_chance`, else t = 0: no prompt), a level q ~ U{0..n_levels-1} (or the given
    `levels` [batch]), and u ~ U(0, 1) (or the given `u` [batch]). At level q each frame from t on is masked with
    probability cos(pi u / 2), at least one; finer levels are masked from t on; coarser levels and the prompt stay
    visible at every level. Padded frames hold the mask token in every level and are never targets.
    All is drawn and computed on the generator's device, and the result lies on that of the codes.
    Deviation: SoundStorm draws a prompt for every item, since it is always prompted when it decodes.
    """
    batch, n_levels, n_frames = codes.shape
    device, place = codes.device, generator.device
    valid = valid.to(place)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, device=place)

    cut = (uniform(batch) * valid.sum(1)).long() * (uniform(batch) < prompt_chance)
    drawn_levels = torch.randint(n_levels, (batch,), generator=generator, device=place)
    levels = drawn_levels if levels is None else levels.to(place)
    drawn_u = uniform(batch)
    rate = torch.cos((drawn_u if u is None else u.to(place)) * math.pi / 2)
    after_cut = (torch.arange(n_frames, device=place) >= cut[:, None]) & valid
    noise = uniform(batch, n_frames)
    targets = after_cut & (noise < rate[:, None])
    least = noise.masked_fill(~after_cut, 2.0).argmin(1)  # the frame that would be masked first
    targets.scatter_(1, least[:, None], True)

    level_index = torch.arange(n_levels, device=place)[None, :, None]
    hidden = (level_index > levels[:, None, None]) & after_cut[:, None]
    hidden |= (level_index == levels[:, None, None]) & targets[:, None]
    hidden |= ~valid[:, None]
    inputs = codes.long().masked_fill(hidden.to(device), mask_token)
    return TrainingMask(inputs, targets.to(device), levels.to(device))


def draw_levels(n_items: int, shares: Tensor, generator: torch.Generator) -> Tensor:
    """Return a level for each item, int64 [n_items], drawn by `shares` [n_levels], which add up to 1.

    The shares lie on the generator's device.
    """
    drawn = torch.rand(n_items, generator=generator, device=generator.device)
    return torch.bucketize(drawn, shares.cumsum(0)[:-1], right=True)


def rolled(codes: Tensor, valid: Tensor, generator: torch.Generator) -> Tensor:
    """Return codes [batch, n_levels, n_frames] with each clip turned round in time by a number of frames of its own.

    What leaves at the end of a clip comes in at its start; padded frames stay where they are.
    """
    batch, n_levels, n_frames = codes.shape
    lengths = valid.sum(1, keepdim=True).to(generator.device)
    by = (torch.rand(batch, 1, generator=generator, device=generator.device) * lengths).long()
    places = torch.arange(n_frames, device=generator.device)[None]
    source = torch.where(places < lengths, (places - by) % lengths.clamp(min=1), places).to(codes.device)
    return codes.gather(2, source[:, None].expand(-1, n_levels, -1))


def with_near_codes(mask: TrainingMask, near: Tensor, share: float, generator: torch.Generator) -> TrainingMask:
    """Return a mask with a share of the visible codes replaced by near ones, so that a model learns to forgive.

    near: int64 [n_levels, codebook_size, n_near], the codes nearest to each. Targets stay as they are.
    """
    inputs, place = mask.inputs, generator.device
    n_levels, codebook_size, n_near = near.shape
    drawn = torch.rand(inputs.shape, generator=generator, device=place).to(inputs.device)
    which = torch.randint(n_near, inputs.shape, generator=generator, device=place).to(inputs.device)
    level = torch.arange(n_levels, device=inputs.device)[None, :, None]
    other = near[level, inputs.clamp(max=codebook_size - 1), which]
    return replace(mask, inputs=torch.where((drawn < share) & (inputs < codebook_size), other, inputs))
