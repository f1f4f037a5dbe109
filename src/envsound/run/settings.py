"""What a notebook was given: its preset, differences from it, and what its own parameters cell says; checked, merged.

    chosen = settle(globals(), also=["ff_mult", "dropout"])
    chosen.table()  # which value came from where
    chosen.lr       # or chosen["lr"]; chosen.only("lr", "dim") for several

A parameter of the cell that is None is as the preset has it; any other value wins, whether papermill or a reader put
it there. `also` names what the notebook uses of the preset besides; when one of all these changes, the pipeline runs
the notebook again.
"""

import ast
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from envsound.base.errors import InputError
from envsound.run.identity import code_cells, digest
from envsound.run.limits import check_together, check_value
from envsound.run.presets import WIRING, checked, load_preset, nearest, notebook_parameters, run_dir

PATHS = ("data_dir", "codec", "codec_weights", "initial_checkpoint", "checkpoint")  # in which ~ is a home folder
INJECTED = "# Parameters"  # how the cell begins that papermill puts below the parameters cell
NOT_OF_PRESETS = (*WIRING, "settings", "replace")
NO_CHANGE = ("data_dir", "codec_weights", "codec_weights_sha256", "device", "devices", "sample_batch_size")


class Chosen(Mapping):
    """The values that a notebook works with, by name, as items or as attributes, and where each came from."""

    def __init__(self, values: Mapping[str, Any], origins: Mapping[str, str], preset: Mapping[str, Any]) -> None:
        self._values, self._origins, self._preset = dict(values), origins, preset

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in self._values:
            raise AttributeError(f"{name!r}: no parameter of this notebook; expected a name in its cell or in `also`")
        return self._values[name]

    def only(self, *names: str) -> dict[str, Any]:
        """Return some of the values."""
        return {name: self._values[name] for name in names}

    @property
    def folder(self) -> Path:
        """The run's folder; one inside it for a request that differs from the preset, named after what it changes.

        What only says where the data lie and on which machine to compute is no difference.
        """
        changes = {name: self[name] for name, value in self._preset.items() if self[name] != value}
        changes = {name: value for name, value in changes.items() if name not in NO_CHANGE}
        name = f"{'_'.join(changes)[:60]}-{digest([repr(changes)])[:8]}"
        return Path(self["run_dir"], "requests", name) if changes else Path(self["run_dir"])

    def table(self) -> pd.DataFrame:
        """Return a row for each parameter: its value, where that came from, and what the preset has if it differs."""
        rows = {}
        for name, value in self._values.items():
            other = self._preset.get(name, value)
            rows[name] = [repr(value), self._origins[name], "" if other == value else repr(other)]
        return pd.DataFrame.from_dict(rows, orient="index", columns=["value", "from", "in the preset"])


def settle(notebook: dict[str, Any], also: Sequence[str] = ()) -> Chosen:
    """Return the values of a notebook that begins with `preset`, `settings`, `run_dir`, `fold` and `seed`.

    notebook: its `globals()`. Later wins: the preset, `settings`, the cell's own values. Raises InputError for a name
    that is unknown, or a value of another type than the preset's, before the notebook has touched anything.
    """
    declared = notebook["__annotations__"]
    _check_injected(notebook, also)
    name = checked(notebook["preset"], "", "parameter preset")
    full = load_preset(name)
    own = [key for key in declared if key not in NOT_OF_PRESETS]
    _check_known((*own, *also), full, "of this notebook")
    settings = checked(notebook["settings"], {}, "parameter settings")
    _check_known(settings, full, "in settings")
    preset = {key: full[key] for key in (*own, *also)}
    given = {key: checked(value, full[key], f"settings: {key}") for key, value in settings.items()}
    there = {key: checked(notebook[key], full[key], f"parameter {key}") for key in own if notebook[key] is not None}
    values = {key: there.get(key, given.get(key, value)) for key, value in preset.items()}
    values |= {key: os.path.expanduser(value) for key, value in values.items() if key in PATHS}
    wiring = {key: checked(notebook[key], declared[key](), f"parameter {key}") for key in WIRING}
    for key, value in given.items():
        check_value(key, value, f"settings: {key}")
    for key, value in (there | wiring).items():
        check_value(key, value, f"parameter {key}")
    check_together(full | given | there)
    wiring["run_dir"] = os.path.expanduser(wiring["run_dir"]) or run_dir(name, wiring["fold"], wiring["seed"])
    origins = dict.fromkeys(wiring, "notebook") | {key: f"preset {name}" for key in values}
    origins |= {key: "settings" for key, value in given.items() if key in preset and value != preset[key]}
    return Chosen(wiring | values, origins | dict.fromkeys(there, "notebook"), preset)


def check_parameters(notebook: dict[str, Any]) -> None:
    """Raise InputError for a value that cannot be, and for a name that papermill gave and the parameters cell lacks.

    notebook: its `globals()`, of which all parameters have types.
    """
    for name in notebook.get("__annotations__", {}):
        if notebook.get(name) is not None:
            check_value(name, notebook[name], f"parameter {name}")
    _check_injected(notebook)


def _check_injected(notebook: dict[str, Any], beside: Sequence[str] = ()) -> None:
    """Raise InputError when papermill was given a name that the parameters cell lacks; it only warns itself.

    beside: names that may be given in `settings` instead.
    """
    known = list(notebook.get("__annotations__", {}))
    cells = [text for text in notebook.get("In", []) if text.startswith(INJECTED)]
    for statement in ast.parse(cells[-1]).body if cells else []:
        for target in getattr(statement, "targets", []):
            if target.id in beside:
                raise InputError(f"parameter {target.id!r}: not in the parameters cell; expected it inside settings")
            _check_known([target.id], (*known, *beside), "to this notebook")


def used_names(notebook: str | Path) -> list[str]:
    """Return which of a preset's values a notebook uses: those of its parameters cell, and `also` of `settle`."""
    calls = [node for cell in code_cells(notebook) if "settle(" in cell for node in ast.walk(ast.parse(cell))]
    lists = [k.value for node in calls if isinstance(node, ast.Call) for k in node.keywords if k.arg == "also"]
    own = [name for name in notebook_parameters(notebook) if name not in NOT_OF_PRESETS]
    return own + [name for names in lists for name in ast.literal_eval(names)]


def parameters_for(notebook: str | Path, values: Mapping[str, Any], /, **wiring: Any) -> dict[str, Any]:
    """Return what to give a notebook: the `wiring`, and as settings those of a preset's `values` that it uses."""
    return wiring | {"settings": {name: values[name] for name in used_names(notebook)}}


def _check_known(names: Iterable[str], known: Collection[str], where: str) -> None:
    for name in names:
        if name not in known:
            raise InputError(f"parameter {name!r}: unknown {where}; expected {nearest(name, known)}")
