"""The csv beside a folder of audio: read, checked, filtered, each file led to its recording."""

import csv
import os
import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from envsound.base.errors import InputError
from envsound.data.audio import SUFFIXES

FOLDER_COLUMNS = ("filename", "category", "fold")
ESC50_COLUMNS = (*FOLDER_COLUMNS, "target", "esc10")
URBANSOUND_NAMES = {"slice_file_name": "filename", "class": "category", "classID": "target"}  # UrbanSound8K's own
CUT_FROM = (  # recordings have numbers: a name of the same form without one, such as 1-s0x4-A-0, tells of none
    re.compile(r"\d+-(\d+)-[A-Z]+(?:-\d+)?"),  # ESC-50 (Piczak 2015): fold-recording-take-class, or without the class
    re.compile(r"(\d+)-\d+-\d+-\d+"),  # UrbanSound8K (Salamon et al. 2014): recording-class-occurrence-slice
)
TRUTH = {"true": True, "1": True, "false": False, "0": False, "": False}


def read_listing(csv_path: str | Path, required: Sequence[str]) -> pd.DataFrame:
    """Read a csv of clips; return clip_id, filename, fold, category, target, esc10, repeated.

    clip_id is the file name without an audio suffix; repeated is True where an earlier row has that clip_id.
    A csv in UrbanSound8K's own columns is read as well; its files lie in a folder for each fold.
    Folds are ints. Where the csv has no target column, the target (int) is the class's rank in alphabetical
    order; where it has no esc10 column, esc10 is False.
    Raises InputError when the csv is missing, empty or unreadable, lacks a `required` column, or holds a fold
    or target that is no whole number, an esc10 other than True or False, or a row without a category.
    """
    rows = _read_text(csv_path)
    missing = [name for name in required if name not in rows.columns]
    if missing:
        raise InputError(
            f"{csv_path}: lacks the column {', '.join(missing)}; expected {', '.join(required)}, "
            f"found {', '.join(rows.columns)}"
        )
    if rows.empty:
        raise InputError(f"{csv_path}: has no rows; expected one for each clip")
    if (rows["category"] == "").any():
        row = int((rows["category"] == "").argmax())
        raise InputError(f"{csv_path}: row {row + 1} has no category; expected a class name in every row")
    classes = sorted(rows["category"].unique())
    listing = pd.DataFrame({"clip_id": [without_suffix(name) for name in rows["filename"]]})
    listing["repeated"] = listing["clip_id"].duplicated()
    listing["filename"] = rows["filename"]
    listing["fold"] = _whole_numbers(rows["fold"], csv_path)
    listing["category"] = rows["category"]
    listing["target"] = (
        _whole_numbers(rows["target"], csv_path) if "target" in rows else rows["category"].map(classes.index)
    )
    listing["esc10"] = _truths(rows["esc10"], csv_path) if "esc10" in rows else False
    return listing


def _read_text(csv_path: str | Path) -> pd.DataFrame:
    try:
        rows = pd.read_csv(csv_path, dtype=str, keep_default_na=False, encoding="utf-8-sig", index_col=False)
    except FileNotFoundError:
        raise InputError(f"{csv_path}: no such file; expected a csv of clips") from None
    except UnicodeError as error:
        raise InputError(f"{csv_path}: not text in UTF-8 ({error.reason}); expected a csv saved as UTF-8") from None
    except (OSError, ValueError) as error:  # pandas' parser errors are ValueErrors
        raise InputError(f"{csv_path}: not a readable csv ({str(error).strip()})") from None
    names = [name.strip() for name in _header(csv_path)]
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise InputError(f"{csv_path}: has the column {twice[0]} twice; expected each once")
    rows.columns = [str(name).strip() for name in rows.columns]
    rows = rows.fillna("").apply(lambda column: column.str.strip())
    if set(URBANSOUND_NAMES) | {"fold"} <= set(rows.columns):
        rows = rows.rename(columns=URBANSOUND_NAMES)
        rows["filename"] = "fold" + rows["fold"] + "/" + rows["filename"]
    return rows


def _header(csv_path: str | Path) -> list[str]:
    """Return the names of a csv's columns as they stand there; pandas tells equal ones apart by itself."""
    with open(csv_path, encoding="utf-8-sig", newline="") as stream:
        return next((row for row in csv.reader(stream) if row), [])


def without_suffix(filename: str) -> str:
    """Return a file's name without an audio suffix; any other suffix is part of it."""
    stem, suffix = os.path.splitext(filename)
    return stem if suffix.lower() in SUFFIXES else filename


def _whole_numbers(column: pd.Series, csv_path: str | Path) -> pd.Series:
    numbers = pd.to_numeric(column, errors="coerce")
    wrong = ~(numbers % 1 == 0)  # also true of what is no number at all, which is NaN here
    if wrong.any():
        row = int(wrong.argmax())
        raise InputError(f"{csv_path}: row {row + 1} has {column.name} {column.iloc[row]!r}; expected a whole number")
    return numbers.astype(int)


def _truths(column: pd.Series, csv_path: str | Path) -> pd.Series:
    truths = column.str.lower().map(TRUTH)
    if truths.isna().any():
        row = int(truths.isna().argmax())
        raise InputError(f"{csv_path}: row {row + 1} has esc10 {column.iloc[row]!r}; expected True or False")
    return truths.astype(bool)


def choose(
    listing: pd.DataFrame, esc10_only: bool = False, folds: Sequence[int] = (), categories: Sequence[str] = ()
) -> pd.DataFrame:
    """Return the rows of ESC-10 only, of some folds or of some classes; an empty sequence means all of them.

    Raises InputError for a fold or class that the listing does not have, and when no row is left.
    """
    _check_known("folds", folds, listing["fold"])
    _check_known("categories", categories, listing["category"])
    keep = pd.Series(True, index=listing.index)
    if esc10_only:
        keep &= listing["esc10"]
    if len(folds):
        keep &= listing["fold"].isin(folds)
    if len(categories):
        keep &= listing["category"].isin(categories)
    if not keep.any():
        raise InputError(
            f"esc10_only={esc10_only}, folds={list(folds)}, categories={list(categories)}: "
            f"none of the {len(listing)} clips of the csv is left; expected a choice that keeps some"
        )
    return listing[keep].reset_index(drop=True)


def _check_known(parameter: str, wanted: Sequence, column: pd.Series) -> None:
    known = sorted(column.unique())
    if isinstance(wanted, str):
        raise InputError(f"{parameter}={wanted!r}: expected a list")
    unknown = [value for value in wanted if value not in known]
    if unknown:
        raise InputError(
            f"{parameter}={list(wanted)}: {', '.join(map(str, unknown))} not in the csv; "
            f"expected some of {', '.join(map(str, known))}"
        )


def recording_of(filename: str | Path) -> str:
    """Return the number of the recording that a clip was cut from, by ESC-50's and UrbanSound8K's names; else "".

    filename: with or without its folder and suffix. Clips of one recording resemble each other: they are right or wrong
    together, and one heard in training tells of the other.
    """
    stem = re.sub(r"\.[A-Za-z]\w*$", "", Path(filename).name)
    found = next((match for pattern in CUT_FROM if (match := pattern.fullmatch(stem))), None)
    return found[1] if found else ""
