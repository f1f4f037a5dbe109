"""Presets: named sets of parameters. `paper.yml` holds every key, every other file only what differs."""

import ast
import copy
import difflib
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from envsound.base.errors import InputError
from envsound.base.files import visible
from envsound.run.limits import check_together, check_value

FOLDER = Path("notebooks/presets")
BASE = "paper"
WIRING = ("run_dir", "preset", "fold", "seed")  # given by the pipeline, never by a preset
RUNS = Path("data/runs")


def load_preset(name: str, folder: str | Path = FOLDER) -> dict[str, Any]:
    """Return every parameter of the preset `name`, flat, in the order of paper.yml.

    A preset's own values replace those of its parent, named by the key `base` (default: paper).
    Raises InputError for an unknown preset, an unknown key, a value of the wrong type, or one that cannot be.
    """
    folder = Path(folder)
    values = read_settings_file(folder / f"{BASE}.yml")
    for path, changes in _lineage(name, folder):
        for key, value in changes.items():
            if key not in values:
                raise InputError(f"{path}: unknown key {key!r}; expected {nearest(key, values)}")
            values[key] = checked(value, values[key], f"{path}: {key}")
            check_value(key, values[key], f"{path}: {key}")
    check_together(values, f"preset {name}")
    return values


def base_of(name: str, folder: str | Path = FOLDER) -> str:
    """Return the name of the preset that `name` differs from, "" for the one that holds every key."""
    return "" if name == BASE else str(read_settings_file(_find(name, Path(folder))).get("base", BASE))


def run_dir(preset: str, fold: int | str, seed: int | str) -> str:
    """Return the folder of one run, such as data/runs/demo/fold1_seed0."""
    return (RUNS / preset / f"fold{fold}_seed{seed}").as_posix()


def preset_names(folder: str | Path = FOLDER) -> list[str]:
    """Return the names of all presets in `folder`, sorted."""
    return [path.stem for path in visible(folder, "*.yml")]


def nearest(word: str, known: Any) -> str:
    """Return what an error message suggests for `word`: the known word most like it, else all of them."""
    close = difflib.get_close_matches(str(word), list(known), n=1, cutoff=0.5)
    return f"perhaps {close[0]!r}" if close else f"one of: {', '.join(known)}"


def checked(value: Any, example: Any, label: str) -> Any:
    """Return `value` in the type of `example` (an int becomes a float where a float is expected).

    `label` names the value in the InputError raised for any other type. The elements of a list are compared
    with the first element of the example, where it has one. A mapping holds changes of the example: what it does not
    name stays.
    """
    if isinstance(example, list):
        if not isinstance(value, list):
            raise InputError(f"{label}: {value!r} is {_kind(value)}; expected a list")
        return [checked(item, example[0], label) if example else item for item in value]
    if isinstance(example, float) and type(value) is int:
        return float(value)
    if type(value) is not type(example):
        raise InputError(f"{label}: {value!r} is {_kind(value)}; expected {_kind(example)}")
    return example | value if isinstance(value, dict) else value


def notebook_parameters(notebook: str | Path) -> dict[str, Any]:
    """Return the names and default values that a notebook's cell tagged `parameters` declares.

    Raises InputError when there is not exactly one such cell, or when a default is not a plain literal.
    """
    cells = json.loads(Path(notebook).read_text(encoding="utf-8"))["cells"]
    tagged = [cell for cell in cells if "parameters" in cell["metadata"].get("tags", [])]
    if len(tagged) != 1:
        raise InputError(f"{notebook}: {len(tagged)} cells tagged 'parameters'; expected one")
    found = {}
    for statement in ast.parse("".join(tagged[0]["source"])).body:
        target = statement.target if isinstance(statement, ast.AnnAssign) else None
        if not isinstance(target, ast.Name) or statement.value is None:
            found_instead = ast.unparse(statement)
            raise InputError(f"{notebook}: {found_instead!r} in its parameters; expected name: type = value")
        try:
            found[target.id] = ast.literal_eval(statement.value)
        except ValueError:
            raise InputError(f"{notebook}: the default of {target.id} is not a plain value") from None
    return found


def _lineage(name: str, folder: Path) -> list[tuple[Path, dict[str, Any]]]:
    """Return (file, differences) of the preset `name` and its parents below paper, the eldest first."""
    chain, seen = [], set()
    while name != BASE:
        path = _find(name, folder)
        if name in seen:
            raise InputError(f"{path}: its base leads back to itself; expected a chain that ends at {BASE}")
        seen.add(name)
        changes = read_settings_file(path)
        base = changes.pop("base", BASE)
        name = checked(base, BASE, f"{path}: base")
        chain.insert(0, (path, changes))
    return chain


def _find(name: str, folder: Path) -> Path:
    path, known = folder / f"{name}.yml", preset_names(folder)
    if not re.fullmatch(r"[\w.-]+", name):
        raise InputError(f"preset {name!r}: expected a name of letters, digits, dots, dashes and underscores")
    if name not in known:
        raise InputError(f"preset {name!r}: no such file as {path}; expected {nearest(name, known)}")
    return path


class _Loader(yaml.SafeLoader):
    """YAML in which every key is text, and none is there twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[str, Any]:
        """Return the pairs of a mapping. Raises InputError for a key that is no text, or there a second time."""
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = self.construct_object(key_node, deep=True)
            line = f"line {key_node.start_mark.line + 1}"
            if not isinstance(key, str):
                raise InputError(f"{line}: the key {key!r} is {_kind(key)}; expected text, in quotes where need be")
            if key in found:
                raise InputError(f"{line}: the key {key!r} is there a second time; expected each once")
            found[key] = self.construct_object(value_node, deep=True)
        return found


@cache
def _parse(path: Path, text: str) -> Any:
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from None
    except (InputError, ValueError, RecursionError) as error:  # ValueError: a date that cannot be
        raise InputError(f"{path}: {error or 'nested too deep'}") from None


def read_settings_file(path: str | Path) -> dict[str, Any]:
    """Return what a YAML file of settings holds: a mapping, every key text and there once.

    Raises InputError when the file is missing, no text in UTF-8, no YAML, or holds something else.
    """
    path = Path(path)
    try:
        values = _parse(path, path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; expected settings in YAML") from None
    except (OSError, UnicodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); expected text in UTF-8") from None
    if not isinstance(values, dict):
        raise InputError(f"{path}: holds {_kind(values)}; expected keys with values")
    return copy.deepcopy(values)  # the parsed text is kept


def _kind(value: Any) -> str:
    kinds = {str: "text", bool: "true or false", int: "an integer", float: "a number", list: "a list"}
    kinds[dict] = "a mapping"
    return kinds.get(type(value), "nothing" if value is None else type(value).__name__)
