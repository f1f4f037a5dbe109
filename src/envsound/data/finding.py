"""Where recordings lie: a csv's names led to files, all files below a folder, a hash that follows what they hold."""

import os
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd

from envsound.base import cache
from envsound.base.errors import InputError
from envsound.base.files import sha256_file
from envsound.base.paths import MATERIAL
from envsound.data.audio import SUFFIXES
from envsound.data.folds import training_sets
from envsound.data.listing import ESC50_COLUMNS, FOLDER_COLUMNS, choose, read_listing, without_suffix
from envsound.run.identity import digest

UNREADABLE = (  # of sound that libsndfile does not open
    ".m4a", ".m4b", ".mp4", ".aac", ".wma", ".webm", ".mka", ".mkv", ".amr", ".3gp", ".mov", ".avi", ".ac3", ".ape",
    ".wv", ".mpc", ".tta", ".dts", ".ra", ".spx",
)  # fmt: skip
OFFICIAL_CSV = {"esc50": "meta/esc50.csv", "urbansound8k": "metadata/UrbanSound8K.csv"}


def required_columns(dataset: str, esc10_only: bool = False) -> tuple[str, ...]:
    """Return the columns that a data set's csv must have."""
    columns = FOLDER_COLUMNS if dataset in ("folder", "urbansound8k") else ESC50_COLUMNS
    return (*columns, "esc10") if esc10_only and "esc10" not in columns else columns


def audio_folders(data_dir: Path, csv_path: Path) -> list[Path]:
    """Return the folders where a listing's files are looked for, in that order."""
    places = [data_dir / "audio", csv_path.parent / "audio", csv_path.parent, data_dir]
    return [place for place in dict.fromkeys(places) if place.is_dir()]


def find_audio(filename: str, folders: Sequence[Path]) -> tuple[Path | None, str]:
    """Return (path, remark) of a row's file: the first of `folders` that has it, under any audio suffix.

    Letters may be composed otherwise, the suffix in capitals: names differ so between systems. The user's own
    links are followed. path is None when there is no such file or its name leads out of the folders, and remark says
    why; else remark names the file that stands in for one with another suffix, or is "".
    """
    name = os.path.normpath(filename)
    if not filename:
        return None, "row has no file name"
    if "\0" in name or os.path.isabs(name) or name.split(os.sep)[0] in ("..", "."):
        return None, "file name leads outside the folder"
    stem, own = without_suffix(name), name.removeprefix(without_suffix(name))
    try:
        for suffixes in ([own], SUFFIXES):
            for folder in folders:
                found = _look(folder, stem, suffixes)
                if found is not None and found.is_file():
                    other = found.relative_to(folder).as_posix()
                    return found, "" if suffixes == [own] else f"other suffix: {other} stands in"
        left = [found for folder in folders if (found := _look(folder, stem, [own, *SUFFIXES, *UNREADABLE]))]
    except OSError as error:
        return None, f"unreadable: {error.strerror}"
    if not left:
        return None, "no such file"
    if left[0].is_symlink() and not left[0].exists():
        return None, f"broken link: {left[0].name} leads nowhere"
    return None, f"unreadable: {left[0].name} is of a kind that libsndfile does not open"


def _look(folder: Path, stem: str, suffixes: Sequence[str]) -> Path | None:
    """Return the first file or link below a folder with a stem and one of some suffixes, as it is called there."""
    direct = folder / f"{stem}{suffixes[0]}"
    if direct.is_file():
        return direct
    *parents, last = Path(stem).parts
    for part in parents:
        folder = folder / (part if (folder / part).is_dir() else _names(folder).get(_key(part), part))
    names = _names(folder)
    found = next((names[_key(last + suffix)] for suffix in suffixes if _key(last + suffix) in names), None)
    return None if found is None else folder / found


def _key(name: str) -> str:
    stem, suffix = os.path.splitext(unicodedata.normalize("NFC", name))
    return stem + suffix.lower()


def _names(folder: Path) -> dict[str, str]:
    """Return the names in a folder, by what they have in common with other spellings of themselves."""
    return _listed(folder, folder.stat().st_mtime_ns) if folder.is_dir() else {}


@lru_cache(maxsize=64)
def _listed(folder: Path, changed: int) -> dict[str, str]:
    return {_key(name): name for name in sorted(os.listdir(folder))}


def files_below(folder: Path, is_wanted: Callable[[Path], bool]) -> list[Path]:
    """Return the wanted files and broken links below a folder, and the folders that may not be opened, sorted.

    Folders that are links are followed, each folder once; hidden files and folders are left out.
    """
    found: list[Path] = []
    closed: list[OSError] = []
    waiting, seen = [folder], set()
    while waiting:
        for place, folders, names in os.walk(waiting.pop(0), onerror=closed.append):
            about = os.stat(place)
            if (about.st_dev, about.st_ino) in seen:
                folders.clear()
                continue
            seen.add((about.st_dev, about.st_ino))
            folders[:] = [name for name in folders if not name.startswith(".")]
            waiting += [Path(place, name) for name in sorted(folders) if os.path.islink(Path(place, name))]
            paths = [Path(place, name) for name in names if not name.startswith(".")]
            found += [path for path in paths if (path.is_file() or not path.exists()) and is_wanted(path)]
    return sorted([*found, *(Path(error.filename) for error in closed if Path(error.filename) != folder)])


def recordings_table(values: Mapping[str, Any]) -> list[str]:
    """Return the csv that describes a preset's recordings, a list of one, or of none where they are to be downloaded.

    Raises InputError when the folder has no such csv.
    """
    folder = _recordings_folder(values)
    if folder is None:
        return []
    table = folder / _csv_name(values)
    if not table.is_file():
        raise InputError(f"{table}: no such file; expected a data_dir that holds {_csv_name(values)}")
    return [table.as_posix()]


def recordings_fingerprint(values: Mapping[str, Any]) -> str:
    """Return a hash of a preset's csv of recordings and of the content of every file that it leads to.

    Files whose size and time are as they were are not read again. Raises InputError when the csv cannot be used.
    """
    parts = []
    for table in map(Path, recordings_table(values)):
        folders = audio_folders(_recordings_folder(values), table)
        names = read_listing(table, required_columns(_layout(values), values["esc10_only"]))["filename"]
        found = {name: find_audio(name, folders)[0] for name in names}
        hashes = _hashes([path for path in found.values() if path])
        parts += [sha256_file(table), *(f"{name} {hashes.get(path, '')}" for name, path in found.items())]
    return digest(parts)


def _hashes(paths: Sequence[Path]) -> dict[Path, str]:
    """Return the hash of each file's content, kept with its size and time in the store; "" for one not to be opened."""
    store = cache.FOLDER / "recordings.json"
    before = cache.stored(store, cache.JSON) or {}
    now, found = dict(before), {}
    for path in paths:
        about = path.stat()
        state = [about.st_size, about.st_mtime_ns]
        known = before.get(str(path.absolute()), [])
        try:
            found[path] = known[2] if known[:2] == state else sha256_file(path)
        except OSError:
            found[path] = ""
        now[str(path.absolute())] = [*state, found[path]]
    if now != before:
        cache.JSON.write(store, now)
    return found


def check_recordings(values: Mapping[str, Any], folds: Sequence[int]) -> None:
    """Raise InputError for what a preset asks of recordings that their csv does not hold, before anything runs.

    Classes, folds to train on, to hold out, to choose by and to compare with; and classes that nothing would teach.
    """
    for table in recordings_table(values):
        rows = read_listing(table, required_columns(_layout(values), values["esc10_only"]))
        rows = choose(rows, values["esc10_only"], (), values["categories"])
        choose(rows, False, values["real_folds"])
        for fold in folds:
            learnt, _ = training_sets(rows, fold, values["train_folds"], values["validation_fold"])
            if values["class_conditional"]:
                check_taught(learnt, rows)


def check_taught(learnt: pd.DataFrame, clips: pd.DataFrame) -> None:
    """Raise InputError for a class of the clips that a model which is told the class would learn nothing of."""
    untaught = sorted(set(clips["category"]) - set(learnt["category"]))
    if untaught:
        raise InputError(
            f"categories: {', '.join(untaught)} has no clip in the training folds; expected classes in several folds, "
            "or the others named in categories"
        )


def _layout(values: Mapping[str, Any]) -> str:
    return "esc50" if values["dataset"] == "material" else values["dataset"]


def _csv_name(values: Mapping[str, Any]) -> str:
    return values["csv_name"] or OFFICIAL_CSV.get(_layout(values), OFFICIAL_CSV["esc50"])


def _recordings_folder(values: Mapping[str, Any]) -> Path | None:
    """Return the folder of the recordings, below the root where they ship; None where they are yet to be downloaded."""
    if values["data_dir"]:
        return Path(values["data_dir"]).expanduser()
    return MATERIAL if values["dataset"] == "material" else None
