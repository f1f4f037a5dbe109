"""The orders in which a clip's codes are written, step by step (Copet et al. 2023, sec. 2.1: codebook patterns).

A clip's codes [n_levels, n_frames] become a sequence [n_levels, n_steps]. At a step every level has one code or none,
and the model, which sees all steps before, writes those of one step at once, as if they knew nothing of each other.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from envsound.base.errors import InputError

NONE = -1  # in the place of a frame: no code of this level at this step


@dataclass(frozen=True)
class Pattern:
    """An order by name.

    "delay": level k of frame t at step t + k, so that a frame's levels are written one after the other while the
    steps are hardly more than the frames; "parallel": all levels of a frame at one step; "flattened": one code a
    step, level by level within a frame; "coarse-first": level 0 of all frames, then all other levels frame by frame.
    Raises InputError for another name.
    """

    name: str
    n_levels: int

    def __post_init__(self) -> None:
        if self.name not in PATTERNS:
            raise InputError(f"pattern={self.name!r}: expected one of {', '.join(PATTERNS)}")

    def n_steps(self, n_frames: int) -> int:
        """Return the number of steps of a clip: 97 for 94 frames of four levels under "delay"."""
        return PATTERNS[self.name][0](n_frames, self.n_levels)

    def frames(self, lengths: Tensor, n_steps: int) -> Tensor:
        """Return the frame whose code stands at each place, NONE where none does: int64 [batch, n_levels, n_steps].

        lengths: frames of each clip, int64 [batch].
        """
        step = torch.arange(n_steps, device=lengths.device)
        level = torch.arange(self.n_levels, device=lengths.device)[:, None]
        length = lengths[:, None, None]
        frame = PATTERNS[self.name][1](step, level, length, self.n_levels)
        found = frame.expand(len(lengths), self.n_levels, n_steps)
        return found.masked_fill((found < 0) | (found >= length), NONE)

    def steps(self, level: int) -> slice:
        """Return the steps that may hold a code of a level."""
        return slice(level, None, self.n_levels) if self.name == "flattened" else slice(None)

    def sequence(self, codes: Tensor, lengths: Tensor, special: int) -> Tensor:
        """Return codes int64 [batch, n_levels, longest] as a sequence, with `special` where a step has no code."""
        frames = self.frames(lengths, self.n_steps(codes.shape[2]))
        return codes.gather(2, frames.clamp(min=0)).masked_fill(frames == NONE, special)

    def codes(self, sequence: Tensor, lengths: Tensor, longest: int, special: int) -> Tensor:
        """Return the codes int64 [batch, n_levels, longest] of a sequence; after a clip's end they are `special`."""
        frames = self.frames(lengths, sequence.shape[2])
        codes = sequence.new_full((*sequence.shape[:2], longest + 1), special)  # the last one for what is no code
        return codes.scatter(2, frames.masked_fill(frames == NONE, longest), sequence)[..., :longest]


def _flattened(step: Tensor, level: Tensor, length: Tensor, n_levels: int) -> Tensor:
    return (step // n_levels).masked_fill(step % n_levels != level, NONE)


PATTERNS = {  # by name: how many steps so many frames take, and the frame at a step, a level and a length
    "delay": (lambda n, n_levels: n + n_levels - 1, lambda step, level, length, n_levels: step - level),
    "parallel": (lambda n, n_levels: n, lambda step, level, length, n_levels: step),
    "flattened": (lambda n, n_levels: n * n_levels, _flattened),
    "coarse-first": (
        lambda n, n_levels: n if n_levels == 1 else 2 * n,
        lambda step, level, length, n_levels: torch.where(level == 0, step, step - length),
    ),
}
