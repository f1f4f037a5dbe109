"""Where the study lives on disk."""

import os
import tempfile
from pathlib import Path

from envsound.base.errors import InputError

MATERIAL = Path("data") / "material"  # the recordings that ship, below the root


def find_root(start: Path | None = None) -> Path:
    """Return the repository root: the nearest folder at or above `start` that holds `notebooks/presets`.

    Without `start`, that of the working directory; outside any repository that of this package, if it lies in one.
    Raises InputError when there is none.
    """
    places = [start.resolve()] if start else [Path.cwd(), Path(__file__).resolve()]
    for folder in (folder for place in places for folder in (place, *place.parents)):
        if (folder / "notebooks" / "presets").is_dir():
            return folder
    raise InputError(f"{places[0]}: not inside the study's repository (no folder above it holds notebooks/presets)")


def shipped(path: str | Path) -> Path:
    """Return where a file or folder that ships lies: in the repository of this package, else in that at hand."""
    try:
        return find_root(Path(__file__).parent) / path
    except InputError:
        return find_root() / path


def material_folder() -> Path:
    """Return the folder of the recordings that ship, as called from the working directory where it lies below that.

    Raises InputError outside the repository.
    """
    folder, here = find_root() / MATERIAL, Path.cwd()
    return folder.relative_to(here) if folder.is_relative_to(here) else folder


def home_that_may_be_written() -> None:
    """Where the home folder may not be written, let this process and those it starts have one among temporary files.

    Jupyter, matplotlib and Snakemake keep their own there, and none of it is part of a result.
    """
    home = Path.home()
    if not (home.is_dir() and os.access(home, os.W_OK)):
        os.environ["HOME"] = tempfile.mkdtemp(prefix="envsound-home-")


def go_to_root() -> Path:
    """Make the repository root the working directory, so that a notebook runs from wherever it was opened."""
    root = find_root()
    os.chdir(root)
    return root


def taken_to_root(*paths: str) -> list[str]:
    """Make the repository root the working directory, and return paths that a user gave as they are called there.

    A path that names something in the working directory of before stays that; any other is meant in the repository.
    """
    given = [Path(path).expanduser() for path in paths]
    here = [path.absolute() if str(text) and path.exists() else path for text, path in zip(paths, given, strict=True)]
    root = go_to_root()
    there = [path.relative_to(root) if path.is_relative_to(root) else path for path in here]
    return [str(path) if text else "" for text, path in zip(paths, there, strict=True)]
