"""From a run's table of codes to padded batches."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from envsound.base.device import sent
from envsound.base.errors import InputError
from envsound.data.folds import recorded
from envsound.systems.soundstorm.masking import frame_mask


@dataclass(frozen=True)
class CodeSet:
    """The codes of some clips, held in memory: a list of int16 [n_levels, n_frames], and a class for each."""

    codes: list[np.ndarray]
    classes: np.ndarray  # int64 [n_clips], an index into `categories`
    categories: list[str]
    n_copies: int = 0  # how many of the clips are augmented copies

    def __len__(self) -> int:
        return len(self.codes)

    def digest(self) -> str:
        """Return a hash of the codes and classes, 64 hexadecimal digits."""
        content = hashlib.sha256(json.dumps(self.categories).encode())
        for codes, label in zip(self.codes, self.classes, strict=True):
            content.update(f"{codes.shape} {label} ".encode() + np.ascontiguousarray(codes).tobytes())
        return content.hexdigest()

    def batch(self, rows: np.ndarray, mask_token: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return codes int64 [batch, n_levels, longest], valid frames bool [batch, longest] and classes [batch]."""
        chosen = [torch.from_numpy(self.codes[row].astype(np.int64)) for row in rows]
        lengths = torch.tensor([codes.shape[1] for codes in chosen])
        valid = frame_mask(lengths)
        padded = torch.full((len(chosen), chosen[0].shape[0], valid.shape[1]), mask_token)
        for item, codes in zip(padded, chosen, strict=True):
            item[:, : codes.shape[1]] = codes
        return padded, valid, torch.from_numpy(self.classes[rows])


class HeldCodes:
    """The codes of some clips, held on a device, so that a batch of them needs no copy and no wait."""

    def __init__(self, clips: CodeSet, device: torch.device, mask_token: int) -> None:
        codes, _, classes = clips.batch(np.arange(len(clips)), mask_token)
        self.lengths = np.array([one.shape[1] for one in clips.codes])
        self.device, self.codes, self.classes = device, codes.to(device), classes.to(device)
        self.lengths_there = torch.from_numpy(self.lengths).to(device)

    def places(self, rows: np.ndarray) -> Tensor:
        """Return the numbers of some clips on the device, int64 [n_rows]."""
        return sent(torch.from_numpy(rows), self.device)

    def batch(self, rows: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
        """Return codes, valid frames and classes as `CodeSet.batch` does, on the device."""
        return self.chosen(self.places(rows), int(self.lengths[rows].max()))

    def chosen(self, places: Tensor, longest: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return codes, valid frames and classes of the clips at `places`, of which the longest has so many frames."""
        return self.codes[places, :, :longest], frame_mask(self.lengths_there[places], longest), self.classes[places]

    def even(self, rows: np.ndarray) -> bool:
        """Say whether some clips are equally long, so that a batch of them has no padding."""
        return len(set(self.lengths[rows].tolist())) == 1


def load_code_set(table: pd.DataFrame, categories: list[str], codec_hash: str | None = None) -> CodeSet:
    """Load the codes of every row of a run's codes.csv.

    Raises InputError when the table is empty, a cache file is damaged, or it was made by another codec than
    `codec_hash`.
    """
    from envsound.codec.codes import load_codes  # here, so that training needs no reader of sound

    if table.empty:
        raise InputError("codes: no clip left; expected at least one in the chosen folds")
    codes = [load_codes(path, codec_hash) for path in table.codes_file]
    index = {name: number for number, name in enumerate(categories)}
    n_copies = len(table) - len(recorded(table))
    return CodeSet(codes, table.category.map(index).to_numpy(np.int64), categories, n_copies)


def epoch_batches(n_clips: int, batch_size: int, seed: int, epoch: int) -> Iterator[np.ndarray]:
    """Yield the rows of each batch of an epoch, shuffled by (seed, epoch) alone; the last may be smaller."""
    order = np.random.default_rng([seed, epoch]).permutation(n_clips)
    for start in range(0, n_clips, batch_size):
        yield order[start : start + batch_size]


def derive_seed(seed: int, *numbers: int) -> int:
    """Return a seed for one step (or for -1, the validation), that shares nothing with its neighbours'."""
    return int(np.random.SeedSequence([seed, *(number + 1 for number in numbers)]).generate_state(1)[0])
