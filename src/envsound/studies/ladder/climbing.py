"""Climbing the ladder: one model and one set of clips for each rung, which differs from a small base in one thing.

A rung that changes how codes are drawn shares the model of the base. What is done is not done again, so that a climb
which was stopped goes on, and two climbs of different rungs may run side by side.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import soundfile
import torch
from tqdm.auto import tqdm

from envsound.base.errors import InputError
from envsound.base.files import read_csv, write_csv, write_ogg
from envsound.base.text import slug
from envsound.data.folds import recorded, split_folds
from envsound.data.recordings import Recordings
from envsound.evaluation.listeners.shipped import ClassScorer
from envsound.run.contract import SAMPLES
from envsound.run.limits import check_value
from envsound.run.presets import checked, load_preset, nearest, read_settings_file
from envsound.run.settings import used_names
from envsound.systems.base import load_recipe
from envsound.systems.sampling import Selection, generate_clips, plan_requests

PRESET = "ladder"
RUNGS = Path("notebooks/studies/ladder/rungs.yml")
VALIDATION_FOLD = 2  # held out of every rung; the ladder is judged on it, and fold 1 is not touched
HEARD_CLASS = "dog"  # whose first clip of each rung can be heard
BASE = "base"  # the rung that changes nothing
LEARNING = ("notebooks/01_encode_clips.ipynb", "notebooks/02_train_model.ipynb")  # what they use makes another model
NAME = re.compile(r"[a-z0-9][a-z0-9 ,.-]*")  # of a rung: it is the name of a folder, too
FACTS = ["rung", "n_steps", "n_parameters", "training_seconds", "validation_loss", "gain_on_bigram"]


@dataclass(frozen=True)
class Rung:
    """One question to the recipe: which group it belongs to, its name, and what it changes of the base's parameters."""

    group: str
    name: str
    changes: Mapping[str, Any]

    @property
    def words(self) -> str:
        """The changes as "key: value", "nothing" where there is none."""
        return ", ".join(f"{key}: {value}" for key, value in self.changes.items()) or "nothing"


def read_rungs(file: str | Path = RUNGS, groups: Sequence[str] = ()) -> list[Rung]:
    """Return the rungs in a YAML file of groups, each with its rungs' changes by name; of some groups, or all ().

    Raises InputError for a file that is none, a group or a parameter that is unknown, or a name that cannot be one.
    """
    found = read_settings_file(file)
    if not all(isinstance(rungs, dict) for rungs in found.values()):
        raise InputError(f"{file}: expected groups, each with rungs by name")
    for group in groups:
        if group not in found:
            raise InputError(f"groups: {group!r} is none of {file}; expected {nearest(group, found)}")
    rungs = [Rung(group, str(name), changes or {}) for group in found for name, changes in found[group].items()]
    values = load_preset(PRESET) | {"seed": 0}
    for rung in rungs:
        if not NAME.fullmatch(rung.name) or [one.name for one in rungs].count(rung.name) > 1:
            raise InputError(f"{file}: rung {rung.name!r}: expected small letters, digits, spaces, each name once")
        for key, value in rung.changes.items():
            if key not in values:
                raise InputError(f"{file}: rung {rung.name!r}: unknown parameter {key!r}; {nearest(key, values)}")
            label = f"{file}: rung {rung.name!r}: {key}"
            check_value(key, checked(value, values[key], label), label)
    return [rung for rung in rungs if not groups or rung.group in groups]


class Climb:
    """The rungs' models and clips below a folder: models/<rung>/ as runs are, clips/<rung>/samples and samples.csv."""

    def __init__(
        self, recordings: Recordings, folder: str | Path, device: torch.device, preset: str = PRESET, **given: Any
    ) -> None:
        """given: parameters that all rungs share beside those of the preset, such as `n_samples`."""
        self.recordings, self.folder, self.device = recordings, Path(folder), device
        self.base = load_preset(preset) | {"fold": VALIDATION_FOLD, "seed": 0, "device": device.type} | given
        self.names = [name for notebook in LEARNING for name in used_names(notebook)]

    def climb(self, rungs: Sequence[Rung]) -> pd.DataFrame:
        """Train and sample each rung that has not been; return FACTS, a row a rung."""
        rows = []
        with tqdm(rungs, desc="rungs", unit="rung") as bar:
            for rung in bar:
                bar.set_postfix_str(rung.name)
                settings = self.base | dict(rung.changes)
                model = self.folder / "models" / self._teacher(rung)
                facts = self._train(model, settings)
                self._sample(rung, model, settings)
                rows.append({"rung": rung.name} | facts)
        return pd.DataFrame(rows, columns=FACTS)

    def samples(self, rung: Rung) -> pd.DataFrame:
        """Return the clips of a rung: filename, category, path, fold 0. Raises InputError where there are none yet."""
        folder = self.folder / "clips" / rung.name
        table = read_csv(folder / "samples.csv")
        return table.assign(path=[(folder / SAMPLES / name).as_posix() for name in table["filename"]], fold=0)

    def recorded(self) -> pd.DataFrame:
        """Return the rows of codes.csv that the base has: every recording, and the versions it learnt from."""
        return read_csv(self.folder / "models" / BASE / "codes.csv")

    def _teacher(self, rung: Rung) -> str:
        """Return the name of the rung whose model this one uses: the base's, unless it changes what is learnt."""
        learnt = {"seed", *self.names}
        return rung.name if learnt & set(rung.changes) else BASE

    def _train(self, run: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
        recipe, table = load_recipe(settings["system"]), run / "codes.csv"
        if not table.is_file():
            write_csv(table, recipe.prepare(self.recordings, settings, run))
        trained = recipe.train(settings, run, self.device)
        return _facts(trained.facts, run)

    def _sample(self, rung: Rung, model: Path, settings: Mapping[str, Any]) -> None:
        system = load_recipe(settings["system"]).load(settings, model, self.device)
        all_of_them, _ = split_folds(self.recorded(), settings["fold"], self.base["train_folds"])
        seconds = recorded(all_of_them)["seconds"].to_numpy()  # of the base, so that all rungs are asked the same
        asked = {name: settings[name] for name in ("n_samples", "seed", "category", "sample_seconds")}
        requests = plan_requests(categories=system.categories, train_seconds=seconds, **asked)
        selection = Selection(settings["n_candidates"], ClassScorer(system.sample_rate))
        folder = self.folder / "clips" / rung.name
        samples = generate_clips(system, requests, folder / SAMPLES, replace=True, selection=selection)
        write_csv(folder / "samples.csv", samples)


def _facts(found: Mapping[str, Any], run: Path) -> dict[str, Any]:
    """Return what the training of a rung took and reached: seconds, and losses in nat a code of the watched fold."""
    facts = {"n_steps": found["steps"]} | {name: found[name] for name in ("n_parameters", "training_seconds")}
    return facts | {"validation_loss": found["last_validation_loss"], "gain_on_bigram": _gain(run / "counting.csv")}


def _gain(table: Path) -> float:
    """Return by how many nat a code the model is below the bigram on sounding columns, mean over levels and rates."""
    counted = read_csv(table)
    sounding = counted[counted["columns"] == "sounding"]
    return float((sounding["bigram"] - sounding["model"]).mean())


def keep_sounds(climb: Climb, rungs: Sequence[Rung], folder: Path, category: str = HEARD_CLASS) -> None:
    """Write the first clip of a class of each rung as Ogg Vorbis, `folder`/<slug of the rung>.ogg.

    Of a rung that was not told classes its first clip.
    """
    for rung in rungs:
        samples = climb.samples(rung)
        first = samples.iloc[(samples["category"] != category).argmin()]
        clip, rate = soundfile.read(first["path"], dtype="float32")
        write_ogg(folder / f"{slug(rung.name)}.ogg", clip, rate)
