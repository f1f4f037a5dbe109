"""Where the study lives on disk."""

import os
from pathlib import Path

from envsound.base.errors import InputError


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


def go_to_root() -> Path:
    """Make the repository root the working directory, so that a notebook runs from wherever it was opened."""
    root = find_root()
    os.chdir(root)
    return root
