"""Which clips a model learns from, which are watched, and which stand for real sound."""

import pandas as pd

from envsound.base.errors import InputError


def recorded(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a codes.csv that stand for recordings as they are: all but augmented copies.

    Whatever speaks of real sound uses these; training alone uses all rows. A table without the column `copy` has none.
    """
    return table[table["copy"] == 0] if "copy" in table else table


def split_folds(table: pd.DataFrame, fold: int, train_folds: list[int]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Split codes.csv into training rows and held-out rows (those of `fold`).

    train_folds: empty means every other fold. Augmented copies are training rows like any other.
    Raises InputError when a fold is not there or is on both sides, or when there are copies of held-out clips.
    """
    there = sorted(int(one) for one in table.fold.unique())
    wanted = train_folds or [other for other in there if other != fold]
    if fold in wanted:
        raise InputError(f"train_folds={wanted}: holds the held-out fold {fold}")
    missing = [f for f in [fold, *wanted] if f not in there]
    if missing:
        raise InputError(f"fold {missing}: not among the folds of the recordings, {there}")
    return table[table.fold.isin(wanted)], _unaltered(table[table.fold == fold], f"fold={fold}")


def training_sets(
    table: pd.DataFrame, fold: int, train_folds: list[int], validation_fold: int = 0
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows to train on and those whose loss is watched.

    With a validation fold, one of the training folds, that is the one to watch, and it is not trained on. Without,
    the held-out fold is watched; then nothing may be chosen by its loss.
    Raises InputError when the validation fold is no training fold, leaves none to train on, or has augmented copies.
    """
    train, held_out = split_folds(table, fold, train_folds)
    if not validation_fold:
        return train, held_out
    there = sorted(train.fold.unique())
    if validation_fold not in there:
        raise InputError(f"validation_fold={validation_fold}: expected one of the training folds, {there}")
    if there == [validation_fold]:
        raise InputError(f"validation_fold={validation_fold}: no fold left to train on")
    chosen = train.fold == validation_fold
    return train[~chosen], _unaltered(train[chosen], f"validation_fold={validation_fold}")


def _unaltered(rows: pd.DataFrame, held_out: str) -> pd.DataFrame:
    """Return the rows; clips that are not trained on have no copies, and are mixed into none."""
    if len(recorded(rows)) < len(rows):
        raise InputError(f"{held_out}: codes.csv holds augmented copies of it; run notebook 01 with {held_out}")
    return rows
