"""What the Snakefile asks: where a run lives, what its notebooks are given, and when a step is out of date.

A step is out of date when the code of its notebook, a module the notebook uses, a parameter, the recordings
or the codec's weights change. File times, saved outputs, comments and layout of modules do not count.
"""

import argparse
import hashlib
import subprocess
import sys
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from envsound.base.errors import InputError
from envsound.base.files import visible
from envsound.base.paths import MATERIAL, taken_to_root
from envsound.run.identity import digest
from envsound.run.limits import check_value
from envsound.run.presets import base_of, load_preset, nearest, notebook_parameters, run_dir
from envsound.run.settings import parameters_for

NAME, HELP = "train", "make the codes of a preset's recordings and train its model on them"
EXAMPLE = "envsound train esc10 --data /data/ESC-50 --fold 2 --seed 1"
OVERRIDES = ("data_dir", "codec_weights", "codec_weights_sha256", "device")  # about the machine, not about the study
CODEC_FOLDER = Path("data/codec")
WEIGHT_FOLDERS = (CODEC_FOLDER, Path("data/classifier"), Path("data/generator"))  # with their cards


@dataclass(frozen=True)
class Request:
    """What to run: one preset on every pair of fold and seed."""

    preset: str
    folds: list[int]
    seeds: list[int]
    overrides: dict[str, Any] = field(default_factory=dict)

    def run_dirs(self) -> list[str]:
        """Return the folder of each run, folds outermost."""
        return [run_dir(self.preset, fold, seed) for fold in self.folds for seed in self.seeds]


    def finished_bases(self) -> list[str]:
        """Return the runs of the preset's base, of the same folds and seeds, that have been measured."""
        base = base_of(self.preset)
        folders = [run_dir(base, fold, seed) for fold in self.folds for seed in self.seeds] if base else []
        return [folder for folder in folders if Path(folder, "metrics.csv").is_file()]


def read_request(config: dict[str, Any]) -> Request:
    """Return the request in Snakemake's `--config` values.

    Known keys: preset, fold or folds, seed or seeds, and those of OVERRIDES.
    Raises InputError for an unknown key, preset or value.
    """
    known = ("preset", "fold", "folds", "seed", "seeds", *OVERRIDES)
    for key in config:
        if key not in known:
            raise InputError(f"--config {key}: unknown; expected {nearest(key, known)}")
        if isinstance(config[key], dict) or (key in OVERRIDES and isinstance(config[key], list)):
            raise InputError(f"--config {key}: {config[key]!r}; expected text, in quotes within quotes")
    preset = str(config.get("preset", "demo"))
    load_preset(preset)  # a misspelt name is an error here
    overrides = {key: str(config[key]) for key in OVERRIDES if config.get(key) not in (None, "")}
    for key in ("data_dir", "codec_weights"):
        if key in overrides:
            overrides[key] = str(Path(overrides[key]).expanduser())
    return Request(preset, _integers(config, "fold", 1), _integers(config, "seed", 0), overrides)


def values_of(preset: str, overrides: dict[str, Any]) -> dict[str, Any]:
    """Return a preset's parameters with the overrides in place."""
    return load_preset(preset) | overrides


def papermill_parameters(
    notebook: str | Path, preset: str, fold: int | str, seed: int | str, overrides: dict[str, Any]
) -> str:
    """Return what a notebook is given, as one line for `papermill -y`; it changes when the step has to run again.

    `settings` names every value that the notebook uses, so that a preset which is edited while a run is under way
    counts for the next one only. Written as YAML in flow style, not as JSON: papermill reads YAML, which takes JSON's
    `1e-05` for text. Only here may a notebook that has `replace` replace what an earlier request left in the folder.
    """
    wiring = {"run_dir": run_dir(preset, fold, seed), "preset": preset, "fold": int(fold), "seed": int(seed)}
    wiring |= {"replace": True} if "replace" in notebook_parameters(notebook) else {}
    given = parameters_for(notebook, values_of(preset, overrides), **wiring)
    return yaml.safe_dump(given, default_flow_style=True, sort_keys=False, width=2**31).strip()


def codec_fingerprint(values: dict[str, Any]) -> str:
    """Return a hash of the codec's weights where they are a file of this repository or one the user names."""
    named = (CODEC_FOLDER / f"{values['codec']}.safetensors", values["codec"], values["codec_weights"])
    files = [Path(name) for name in named if name and Path(name).is_file()]
    return digest([hashlib.sha256(path.read_bytes()).hexdigest() for path in files])


def book_sources(folder: str | Path = "book", published: str | Path = "data/published") -> list[str]:
    """Return the files the book is made of besides executed notebooks: pages, settings, presets, results."""
    made = ("_build", "executed", "_static/audio", "_static/generated")
    made_there = tuple(f"{Path(folder, part).as_posix()}/" for part in made)
    sources = (Path(folder), Path(published), *WEIGHT_FOLDERS, Path("notebooks/presets"))
    single = (Path("_config.yml"), Path("house.toml"), MATERIAL / "attribution.csv")  # whom players name
    paths = (*single, *(path for source in sources for path in visible(source, "**/*")))
    files = [path.as_posix() for path in paths if path.is_file()]
    return sorted(file for file in files if not file.startswith(made_there) and "__pycache__" not in file)


def _integers(config: dict[str, Any], name: str, default: int) -> list[int]:
    """Return the integers given as `name` (one) or `name`s (a list), without repeats."""
    value = config.get(f"{name}s", config.get(name, default))
    found = value if isinstance(value, list) else [value]
    for item in found:
        if not str(item).isdecimal():  # Snakemake passes the elements of a list as text
            raise InputError(f"--config {name}: {item!r}; expected an integer from 0 up, or a list of them")
        check_value(name, int(item), f"--config {name}")
    once = list(dict.fromkeys(int(item) for item in found))
    if len(once) < len(found):
        warnings.warn(f"--config {name}s: {found} names one twice; it runs once", stacklevel=2)
    return once


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `envsound train` takes."""
    parser.add_argument("preset", help="a file of notebooks/presets, such as demo")
    parser.add_argument("--fold", type=int, default=1, help="the fold held out of training (default: 1)")
    parser.add_argument("--seed", type=int, default=0, help="the training seed (default: 0)")
    parser.add_argument("--data", default="", metavar="FOLDER", help="recordings: a folder with meta/ and audio/")
    parser.add_argument("--device", default="", help="auto, cuda, mps or cpu (default: the preset's)")
    parser.add_argument("--cores", default="all", help="processor cores (default: all)")
    parser.add_argument("--all", action="store_true", help="go on with samples, metrics, tests and figures")


def run(options: argparse.Namespace) -> int:
    """Let Snakemake run what is due of a run's steps; return its exit status."""
    (data,) = taken_to_root(options.data)
    config = {"preset": options.preset, "fold": options.fold, "seed": options.seed}
    config |= {key: value for key, value in (("data_dir", data), ("device", options.device)) if value}
    request = read_request(config)
    target = "runs" if options.all else f"{request.run_dirs()[0]}/training.csv"
    command = [sys.executable, "-m", "snakemake", "--cores", options.cores, "--rerun-incomplete", "--config"]
    return subprocess.call([*command, *(f"{key}={quoted(value)}" for key, value in config.items()), "--", target])


def quoted(value: Any) -> str:
    """Return a value of `--config` as Snakemake, which strips quotes there and reads YAML, takes it for what it is."""
    return " '" + value.replace("'", "''") + "' " if isinstance(value, str) else str(value)
