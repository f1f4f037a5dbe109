"""Recognising sounds: the clips of a data set, the rounds of official cross-validation, and what a recogniser is.

Every recogniser goes through the same rounds: it is trained on all folds but two, makes its choices (an epoch, a
strength of regularisation) on one, and is scored once on the other. The published study chose on what it reported.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from envsound.base.cache import ARRAY, kept, libraries
from envsound.base.errors import InputError
from envsound.data.folds import recorded
from envsound.run.identity import digest, module_hash

FEWEST_FOLDS = 3  # one to train on, one to choose on, one to test on
SUM_TOLERANCE = 1e-6  # of a row of probabilities
FEATURES = Path("data/cache/features")
Compute = Callable[[Path, Path], np.ndarray]  # a clip's audio file and its file of codes -> an array


@cache
def code_of(module: str) -> str:
    """Return a hash of a module and all it uses; code does not change while it runs."""
    return module_hash(module)


@dataclass(frozen=True)
class Clips:
    """Some recordings of a data set.

    files: audio files; codes_files: cached codes of each (`codes.load_codes`); labels: int64 [n], index into
    categories; folds: int64 [n], official; categories: the same for all parts of a data set.
    """

    files: list[Path]
    codes_files: list[Path]
    labels: np.ndarray
    folds: np.ndarray
    categories: list[str]

    def __post_init__(self) -> None:
        lengths = {len(self.files), len(self.codes_files), len(self.labels), len(self.folds)}
        if len(lengths) != 1:
            raise InputError(f"clips: files, codes, labels and folds have lengths {sorted(lengths)}; expected one")
        if len(self.labels) and not 0 <= self.labels.min() <= self.labels.max() < len(self.categories):
            raise InputError(f"clips: labels up to {self.labels.max()}; expected 0 to {len(self.categories) - 1}")

    def __len__(self) -> int:
        return len(self.files)

    def rows(self, chosen: np.ndarray | Sequence[int]) -> "Clips":
        """Return the clips chosen by a boolean mask [n] or by indices, in that order."""
        chosen = np.asarray(chosen)
        index = np.flatnonzero(chosen) if chosen.dtype == bool else chosen.astype(np.int64)
        files, codes_files = ([part[row] for row in index] for part in (self.files, self.codes_files))
        return Clips(files, codes_files, self.labels[index], self.folds[index], self.categories)

    @property
    def digest(self) -> str:
        """A short hash that changes with any recording, its codes, its label or its fold.

        The names of cached codes stand for the audio files' bytes and for the codec (`codes.cache_key`).
        """
        rows = zip(self.codes_files, self.labels, self.folds, strict=True)
        return digest([*self.categories, *(f"{Path(codes).stem} {label} {fold}" for codes, label, fold in rows)])

    def features(self, compute: Compute, name: str, *depends_on: Any) -> list[np.ndarray]:
        """Return what `compute` makes of each clip, in order; only clips that the cache lacks are computed.

        depends_on: plain values that change with whatever the features depend on beside the recording, such as settings
        and the hash of the code; the name of its cached codes stands for the recording (see `digest`).
        Raises InputError when a feature is not finite.
        """
        found, parts = [], [name, *depends_on, libraries("numpy", "scipy", "librosa")]
        rows = zip(self.files, self.codes_files, strict=True)
        for row in tqdm(rows, total=len(self), desc=f"{name} features", unit="clip", leave=False):
            found.append(kept(FEATURES, [row[1].stem, *parts], lambda row=row: np.asarray(compute(*row)), ARRAY))
            if not np.isfinite(found[-1]).all():
                raise InputError(f"{row[0]}: its {name} features are not finite; expected a readable recording")
        return found


@dataclass(frozen=True)
class Fold:
    """One round of cross-validation.

    number: the test fold; validation_fold: one of the training folds, by which an epoch or a strength of
    regularisation is chosen; it is in `validation` and not in `train`.
    """

    number: int
    validation_fold: int
    train: Clips
    validation: Clips
    test: Clips

    @property
    def train_and_validation(self) -> Clips:
        """All clips but the test fold's: what a recogniser may be trained on again once its choices are made."""
        one, other = self.train, self.validation
        labels, folds = np.concatenate([one.labels, other.labels]), np.concatenate([one.folds, other.folds])
        return Clips(one.files + other.files, one.codes_files + other.codes_files, labels, folds, one.categories)


class Recogniser(Protocol):
    """Something that learns to name sounds. `name` is its row of the table, `kind` that of all its like.

    One that reads codes has `codec`, which made them; one with `refit` learns from the validation fold in the end.
    """

    name: str
    kind: str

    def fit_and_score(self, fold: Fold, folder: Path, seed: int) -> np.ndarray:
        """Train on `fold.train`, choose on `fold.validation`; return probabilities of `fold.test`, [n, n_classes].

        Checkpoints are kept in `folder`, and a killed training goes on from them. Test labels are not looked at.
        """

    def settings(self) -> dict[str, Any]:
        """Return everything that determines the result beside data and code, as JSON can hold it."""


def clips_of(codes_table: pd.DataFrame) -> Clips:
    """Return the recordings of a codes.csv (`codes.encode_recordings`) without copies; InputError for none."""
    table = recorded(codes_table)
    if table.empty:
        raise InputError("codes table: there are no recordings in it; expected at least one")
    categories = sorted(set(table["category"]))
    return Clips(
        [Path(path) for path in table["path"]],
        [Path(path) for path in table["codes_file"]],
        table["category"].map(categories.index).to_numpy(np.int64),
        table["fold"].to_numpy(np.int64),
        categories,
    )


def cross_validation(clips: Clips, folds: Sequence[int] = ()) -> list[Fold]:
    """Return the rounds whose test folds are `folds` (empty: all); the next one in cyclic order is to choose on.

    Raises InputError when there are fewer than two classes or three folds, an asked one is not among them, or a class
    of the data set is missing from the clips to train on.
    """
    if len(clips.categories) < 2:
        raise InputError(f"categories: the clips have {clips.categories} alone; expected two classes or more")
    present = sorted({int(fold) for fold in clips.folds})
    if len(present) < FEWEST_FOLDS:
        raise InputError(f"folds: the clips have {present}; expected at least {FEWEST_FOLDS} official folds")
    unknown = sorted(set(folds) - set(present))
    if unknown:
        raise InputError(f"folds: there is no fold {unknown[0]}; expected some of {present}")
    return [_round(clips, present, number) for number in folds or present]


def _round(clips: Clips, present: list[int], number: int) -> Fold:
    validation_fold = present[(present.index(number) + 1) % len(present)]
    train = clips.rows(~np.isin(clips.folds, (number, validation_fold)))
    absent = sorted(set(range(len(clips.categories))) - set(train.labels.tolist()))
    if absent:
        raise InputError(
            f"fold {number}: no clip of {clips.categories[absent[0]]!r} to train on; expected some of every class "
            f"outside folds {number} and {validation_fold}"
        )
    validation, test = (clips.rows(clips.folds == fold) for fold in (validation_fold, number))
    return Fold(number, validation_fold, train, validation, test)


def check_scores(scores: np.ndarray, fold: Fold, name: str) -> np.ndarray:
    """Return scores as float64 [n_test, n_classes]; raise InputError when they are no probabilities, row by row."""
    scores = np.asarray(scores, dtype=np.float64)
    expected = (len(fold.test), len(fold.test.categories))
    if scores.shape != expected:
        raise InputError(f"{name}, fold {fold.number}: scores of shape {scores.shape}; expected {expected}")
    if not np.isfinite(scores).all() or scores.min() < 0 or np.abs(scores.sum(1) - 1).max() > SUM_TOLERANCE:
        raise InputError(f"{name}, fold {fold.number}: expected probabilities that sum to 1 in each row")
    return scores
