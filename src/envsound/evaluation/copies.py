"""Copies of training clips, found even when disguised: in codes at every shift in time, and in log-mel.

A generated clip is compared with every version of every clip that its model learnt from. What tells a copy is how many
of its sounding codes one version has at its best shift, and for how many columns on end three of four codes are equal;
what real held-out clips have by chance stands beside it. Codes of a clip that is late by part of a column differ, so it
is coded at quarters of a column. A change of level moves codes, not the log-mel distance of `memorisation`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from envsound.base.errors import InputError
from envsound.codec.patches import PatchCodec, column_loudness, sounding
from envsound.evaluation.memorisation import RANGE_DB, level_distances

QUARTERS = 4  # shifts of a column at which a clip is coded
ALIKE = 3  # of four codes: columns so much alike make a run
N_BANDS = 20  # of log-mel, each a mean of four mel bands and of a column's frames
BLOCK = 2048  # shifts whose runs are looked for at once


class Copied(NamedTuple):
    """What of a clip one training version has: share of sounding codes, columns on end, and which versions (places)."""

    share: float
    share_of: int
    run: int
    run_of: int


class TrainedCodes:
    """The codes of all versions of the clips that a model learnt from, int [n_levels, n_columns] each, to be searched.

    Where each code stands is kept sorted, so that only equal codes are ever looked at: a search for a clip of 94 columns
    among 3,500 versions takes hundredths of a second.
    """

    def __init__(self, clips: Sequence[np.ndarray], codebook_size: int, longest: int) -> None:
        """longest: columns of the longest clip that is looked for. Raises InputError when there is no version."""
        if not clips:
            raise InputError("trained: no clip to compare with; expected at least one")
        self.gap, self.size = longest, codebook_size  # silence between versions: no shift touches two of them
        lengths = np.array([clip.shape[1] for clip in clips])
        self.starts = self.gap + np.concatenate([[0], np.cumsum(lengths + self.gap)[:-1]])
        self.length = int(self.starts[-1] + lengths[-1] + self.gap)
        self.codes = np.full((len(clips[0]), self.length), -1, dtype=np.int16)
        for start, clip in zip(self.starts, clips, strict=True):
            self.codes[:, start : start + clip.shape[1]] = clip
        self.order = [np.argsort(level, kind="stable") for level in self.codes]
        self.bounds = [
            np.searchsorted(level[order], np.arange(codebook_size + 1))
            for level, order in zip(self.codes, self.order, strict=True)
        ]

    def find(self, codes: np.ndarray, heard: np.ndarray) -> Copied:
        """Return the most that one version has of a clip, int [n_levels, n_columns]; heard: its sounding columns, bool.

        The share counts the codes of sounding columns; a run is of sounding columns that follow one another. Raises
        InputError for a clip longer than `longest`.
        """
        if codes.shape[1] > self.gap:
            raise InputError(f"codes: {codes.shape[1]} columns; expected {self.gap} at most")
        equal = self._equal_codes(codes, heard)
        best = int(equal.argmax())
        run, run_at = self._longest_run(codes, heard, equal)
        share = equal[best] / (len(codes) * max(int(heard.sum()), 1))
        return Copied(float(share), self._version(best), run, self._version(run_at))

    def _equal_codes(self, codes: np.ndarray, heard: np.ndarray) -> np.ndarray:
        """Count equal codes for each place where column 0 of the clip may lie, int [length + n_columns]."""
        shifts = []
        for level, (order, bounds) in enumerate(zip(self.order, self.bounds, strict=True)):
            for column in np.flatnonzero(heard):
                code = codes[level, column]
                shifts.append(order[bounds[code] : bounds[code + 1]] - column + codes.shape[1])
        found = np.concatenate([*shifts, np.empty(0, np.int64)])
        return np.bincount(found, minlength=self.length + codes.shape[1])

    def _longest_run(self, codes: np.ndarray, heard: np.ndarray, equal: np.ndarray) -> tuple[int, int]:
        """Return the longest run and the shift where it is, as an index of `equal`.

        Shifts with the most equal codes come first: one with fewer than ALIKE for each column of the best run so far has
        no longer one.
        """
        order = np.flatnonzero(equal >= ALIKE)
        order = order[np.argsort(-equal[order], kind="stable")]
        padded = np.pad(self.codes, ((0, 0), (codes.shape[1], codes.shape[1])), constant_values=-1)
        columns, best, where = np.arange(codes.shape[1]), 0, int(equal.argmax())
        for start in range(0, len(order), BLOCK):
            block = order[start : start + BLOCK]
            block = block[equal[block] >= ALIKE * (best + 1)]
            if not block.size:
                break
            same = (padded[:, block[:, None] + columns] == codes[:, None]).sum(0)  # [n_shifts, n_columns]
            runs = _runs((same >= ALIKE) & heard)
            if runs.max() > best:
                best, where = int(runs.max()), int(block[runs.argmax()])
        return best, where

    def _version(self, shift: int) -> int:
        """Return which version a clip touches at a shift, an index of `equal`."""
        return max(int(np.searchsorted(self.starts, shift - 1, side="right")) - 1, 0)


def _runs(alike: np.ndarray) -> np.ndarray:
    """Return the longest run of true values in each row of bool [n, n_columns], int [n]."""
    run = np.zeros(len(alike), dtype=np.int64)
    longest = run.copy()
    for column in alike.T:
        run = (run + 1) * column
        longest = np.maximum(longest, run)
    return longest


def codings(clip: np.ndarray, codec: PatchCodec) -> list[np.ndarray]:
    """Return the codes of a clip, float32 [n_samples], begun 0 to 3 quarters of a column later."""
    quarter = codec.config.column // QUARTERS
    later = [torch.from_numpy(clip[shift * quarter :]) for shift in range(QUARTERS)]
    return [codec.encode(part[None])[0].cpu().numpy() for part in later]


def sounding_columns(codes: np.ndarray, codec: PatchCodec) -> np.ndarray:
    """Say which columns of codes [n_levels, n_columns] sound, bool [n_columns]."""
    return sounding(column_loudness(torch.from_numpy(codes), codec.quantizer.vectors)).cpu().numpy()


def level_map(codes: np.ndarray, codec: PatchCodec) -> np.ndarray:
    """Return levels of codes [n_levels, n_columns] in dB above their floor, float64 [N_BANDS, n_columns], 0 to RANGE_DB.

    The floor is RANGE_DB below the loudest point, so that a change of level changes nothing (as `memorisation.level_map`).
    """
    power = codec.quantizer.decode(torch.from_numpy(codes.astype(np.int64))[None].to(codec.device))[0].exp()
    power = power.unflatten(0, (-1, codec.config.patch_frames)).unflatten(2, (N_BANDS, -1)).mean((1, 3)).T
    return (10 * torch.log10(power / power.max()) + RANGE_DB).clamp(min=0).double().cpu().numpy()
