"""Augmented copies of the training clips: which clips get them, what their codes depend on, some to be heard."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from envsound.base.errors import InputError
from envsound.base.files import write_wav
from envsound.base.text import file_name
from envsound.data.augmentation import CHANCES, LIBRARIES, Recipe, plan, render
from envsound.data.folds import training_sets
from envsound.data.recordings import Recordings
from envsound.run.identity import module_hash


@dataclass(frozen=True)
class Copies:
    """The augmented copies of some recordings' training clips.

    table: one row for each copy, with the columns of `recordings.table` (filename and path are those of the recording,
        clip_id is its own, such as "1-100032-A-0+2"), copy (1, 2, ..), changes (names, joined by ", ") and depends_on,
        a text that changes with everything the copy depends on besides the recording's file. Empty without copies.
    recipes: the recipe of each clip_id.
    """

    recordings: Recordings
    table: pd.DataFrame
    recipes: dict[str, Recipe]
    _last: dict[str, np.ndarray] = field(default_factory=dict, init=False, repr=False, compare=False)

    def load(self, clip_id: str) -> np.ndarray:
        """Return one copy, float32 [n_samples] in [-1, 1], as long as its recording; or a recording as it is.

        Raises InputError for an unknown `clip_id`.
        """
        if clip_id not in self.recipes:
            return self.recordings.load(clip_id)
        recipe = self.recipes[clip_id]
        return render(self._recording(recipe.clip_id), self.recordings.sample_rate, recipe)

    def _recording(self, clip_id: str) -> np.ndarray:
        """Return a recording; the last one is kept, since its copies follow one another in the table."""
        if clip_id not in self._last:
            self._last.clear()
            self._last[clip_id] = self.recordings.load(clip_id)
        return self._last[clip_id]

    def facts(self) -> dict[str, Any]:
        """Return what the provenance record keeps: how many copies, of which folds, and the hash of the code."""
        folds = sorted(int(fold) for fold in self.table["fold"].unique())
        return {"n_copies": len(self.table), "augmented_folds": folds, "augmentation_code": _code()}


def plan_copies(
    recordings: Recordings,
    fold: int,
    train_folds: Sequence[int] = (),
    validation_fold: int = 0,
    augment_copies: int = 0,
    augment: Sequence[str] = tuple(CHANCES),
    augment_seed: int = 0,
) -> Copies:
    """Plan `augment_copies` copies of each training clip; each is made when it is loaded.

    Training clips are those of `data.folds.training_sets`: neither the held-out `fold` nor the validation fold counts.
    augment: names of changes, of which each copy gets some (see `data.augmentation`); augment_seed: of all draws.
    Raises InputError for an unknown change, none at all, a negative number, or folds that are not there.
    """
    unknown = sorted(set(augment) - set(CHANCES))
    if unknown or augment_copies < 0 or (augment_copies and not augment):
        wanted = f"a number from 0 up and, above 0, some of {', '.join(CHANCES)}"
        raise InputError(f"augment_copies={augment_copies}, augment={list(augment)}: expected {wanted}")
    if not augment_copies:
        return Copies(recordings, recordings.table.iloc[:0].assign(copy=0, changes="", depends_on=""), {})
    train, _ = training_sets(recordings.table, fold, list(train_folds), validation_fold)
    sources = train.loc[train.index.repeat(augment_copies)]
    recipes = [
        plan(augment_seed, clip_id, number % augment_copies + 1, augment)
        for number, clip_id in enumerate(sources["clip_id"])
    ]
    table = _with_copies(sources, recipes)
    shared = set(table["clip_id"]) & set(recordings.table["clip_id"])
    if shared:
        raise InputError(f"clip_id {min(shared)!r}: is that of a recording and of a copy; expected another file name")
    return Copies(recordings, table, dict(zip(table["clip_id"], recipes, strict=True)))


def write_copies(copies: Copies, folder: str | Path, n_clips: int = 2) -> pd.DataFrame:
    """Write `n_clips` recordings of different classes and a copy of each to `folder`, as 16-bit wav.

    Returns the columns category, recording and copy (names of the files) and changes; no row without copies.
    """
    turn = copies.table.groupby("category").cumcount()  # one of every class, then another of each, ...
    rows = []
    for row in copies.table.loc[turn.sort_values(kind="stable").index[:n_clips]].itertuples():
        sounds = {"recording": copies.recipes[row.clip_id].clip_id, "copy": row.clip_id}
        names = {kind: _file_of(clip_id) for kind, clip_id in sounds.items()}
        for kind, clip_id in sounds.items():
            write_wav(Path(folder) / names[kind], copies.load(clip_id), copies.recordings.sample_rate)
        rows.append({"category": row.category, **names, "changes": row.changes})
    return pd.DataFrame(rows, columns=["category", "recording", "copy", "changes"])


def _file_of(clip_id: str) -> str:
    name, plus, number = clip_id.replace("/", "_").partition("+")
    return f"{file_name(name)}{plus}{number}.wav"


def _with_copies(sources: pd.DataFrame, recipes: list[Recipe]) -> pd.DataFrame:
    """Return the table of copies, from a row of `recordings.table` and a recipe for each."""
    code = _code()
    return sources.reset_index(drop=True).assign(
        clip_id=[f"{recipe.clip_id}+{recipe.copy}" for recipe in recipes],
        copy=[recipe.copy for recipe in recipes],
        changes=[", ".join(recipe.changes) for recipe in recipes],
        depends_on=[_depends_on(code, recipe) for recipe in recipes],
    )


def _depends_on(code: str, recipe: Recipe) -> str:
    """Return a text that changes with all that a copy depends on besides the bytes of its recording."""
    return json.dumps([code, LIBRARIES, [recipe.seed, recipe.clip_id, recipe.copy, *recipe.changes]])


def _code() -> str:
    return module_hash("envsound.data.augmentation")
