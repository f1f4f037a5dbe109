"""Copies of the repository to run the pipeline in, and what such a run left, fit to be compared with another's."""

import os
import shutil
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
TREE = ("Snakefile", "_config.yml", "book", "data/classifier", "data/codec", "data/generator", "data/material",
        "data/published", "house.toml", "notebooks", "profiles", "pyproject.toml", "src")  # fmt: skip
TIMED = ["seconds"]  # columns of a training that no two runs share


def copied(folder: Path) -> Path:
    """Return a copy of what the pipeline needs."""
    made = ("_build", "executed", "audio", "generated")  # by the book, in its own folder
    for name in TREE:
        ignore = shutil.ignore_patterns("__pycache__", "*.egg-info", *(made if name == "book" else ()))
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=ignore)
        else:
            shutil.copy(ROOT / name, folder / name)
    return folder


def environment(folder: Path) -> dict[str, str]:
    """Return the environment of a process that imports the package from a copy, and the rest from where it was."""
    paths = [str(folder / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths)}


def results(folder: Path) -> dict[str, object]:
    """Return what a run left, by file: tables without times, sounds, weights and figures as bytes."""
    found: dict[str, object] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        if path.suffix == ".csv":
            table = pd.read_csv(path)
            found[name] = table.drop(columns=[one for one in TIMED if "epoch" in table]).to_csv(index=False)
        elif path.suffix in (".wav", ".safetensors", ".png"):
            found[name] = path.read_bytes()
    return found


def leftovers(folder: Path) -> list[Path]:
    """Return the temporary files of writers that were killed."""
    return [path for path in folder.rglob(".tmp-*") if path.is_file()]
