"""Climbing the ladder: one model and one set of clips for each rung, which differs from a small base in one thing.

A rung that changes how codes are drawn shares the model of the base. What is done is not done again, so that a climb
which was stopped goes on, and two climbs of different rungs may run side by side.
"""

import re
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import soundfile
import torch
from tqdm.auto import tqdm

from envsound.base.errors import InputError
from envsound.base.files import read_csv, write_csv, write_ogg
from envsound.base.text import slug
from envsound.data.folds import recorded, split_folds
from envsound.data.recordings import Recordings, load_recordings
from envsound.data.speech import PROGRAM, load_speech
from envsound.evaluation.listeners.shipped import ClassScorer
from envsound.run.contract import SAMPLES
from envsound.run.limits import check_value
from envsound.run.presets import checked, load_preset, nearest, read_settings_file
from envsound.run.settings import used_names
from envsound.systems.base import load_recipe
from envsound.systems.sampling import Selection, generate_clips, plan_requests
from envsound.systems.soundstorm.checkpoints import chosen_checkpoint

PRESET = "ladder"
RUNGS = Path("notebooks/studies/ladder/rungs.yml")
VALIDATION_FOLD = 2  # held out of every rung; the ladder is judged on it, and fold 1 is not touched
HEARD_CLASS = "dog"  # whose first clip of each rung can be heard
BASE = "base"  # the rung that changes nothing
LEARNING = ("notebooks/01_encode_clips.ipynb", "notebooks/02_train_model.ipynb")  # what they use makes another model
NAME = re.compile(r"[a-z0-9][a-z0-9 ,.-]*")  # of a rung: it is the name of a folder, too
PRETRAINED = "pretrained_on"  # among a rung's changes: what its model learns first, of KINDS
KINDS = (OTHER_CLASSES, SPEECH) = ("other classes", "speech")
N_UTTERANCES = 800  # of speech to choose from: half of the spoken sentences are shorter than a clip
SUMMED = ("n_steps", "training_seconds")  # over what a rung learns first, and then
FACTS = ["rung", "n_steps", "n_parameters", "training_seconds", "validation_loss", "gain_on_bigram"]


@dataclass(frozen=True)
class Rung:
    """One question to the recipe: which group it belongs to, its name, and what it changes of the base's parameters."""

    group: str
    name: str
    changes: Mapping[str, Any]
    pretrained_on: str = ""  # what its model learns first, of KINDS

    @property
    def words(self) -> str:
        """The changes as "key: value", "nothing" where there is none."""
        first = {PRETRAINED: self.pretrained_on} if self.pretrained_on else {}
        return ", ".join(f"{key}: {value}" for key, value in (first | dict(self.changes)).items()) or "nothing"


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
    rungs = [_rung(group, str(name), changes or {}) for group in found for name, changes in found[group].items()]
    values = load_preset(PRESET) | {"seed": 0}
    for rung in rungs:
        if not NAME.fullmatch(rung.name) or [one.name for one in rungs].count(rung.name) > 1:
            raise InputError(f"{file}: rung {rung.name!r}: expected small letters, digits, spaces, each name once")
        if rung.pretrained_on and rung.pretrained_on not in KINDS:
            known = ", ".join(KINDS)
            raise InputError(f"{file}: rung {rung.name!r}: {PRETRAINED}={rung.pretrained_on!r}: expected {known}")
        for key, value in rung.changes.items():
            if key not in values:
                raise InputError(f"{file}: rung {rung.name!r}: unknown parameter {key!r}; {nearest(key, values)}")
            label = f"{file}: rung {rung.name!r}: {key}"
            check_value(key, checked(value, values[key], label), label)
    return [rung for rung in rungs if not groups or rung.group in groups]


def _rung(group: str, name: str, changes: Mapping[str, Any]) -> Rung:
    others = {key: value for key, value in changes.items() if key != PRETRAINED}
    return Rung(group, name, others, str(changes.get(PRETRAINED, "")))


class Climb:
    """The rungs' models and clips below a folder: models/<rung>/ as runs are, clips/<rung>/samples and samples.csv."""

    def __init__(
        self,
        recordings: Recordings,
        folder: str | Path,
        device: torch.device,
        preset: str = PRESET,
        first: Mapping[str, Recordings] | None = None,
        **given: Any,
    ) -> None:
        """first: what rungs may learn before, by kind; given: parameters that all rungs share, such as `n_samples`."""
        self.recordings, self.folder, self.device, self.first = recordings, Path(folder), device, first or {}
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
                before = self._pretrained(rung.pretrained_on) if rung.pretrained_on else {}
                facts = self._train(model, settings | self._start(rung), self.recordings)
                facts |= {name: facts[name] + before[name] for name in before if name in SUMMED}
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
        return rung.name if rung.pretrained_on or learnt & set(rung.changes) else BASE

    def possible(self, rungs: Sequence[Rung]) -> tuple[list[Rung], list[str]]:
        """Return the rungs of which is at hand what they learn first, and the names of the others."""
        found = [rung for rung in rungs if rung.pretrained_on in ("", *self.first)]
        return found, [rung.name for rung in rungs if rung not in found]

    def _start(self, rung: Rung) -> dict[str, str]:
        if not rung.pretrained_on:
            return {}
        return {"initial_checkpoint": str(chosen_checkpoint(self._first_folder(rung.pretrained_on)))}

    def _first_folder(self, kind: str) -> Path:
        return self.folder / "models" / f"first, {kind}"

    def _pretrained(self, kind: str) -> dict[str, Any]:
        """Train the base on as many clips of another kind as teach it, and return its facts."""
        base = self.base
        taught, _ = split_folds(self.recordings.table, base["fold"], base["train_folds"])
        folds = base["train_folds"][0], base["fold"]
        clips = same_amount(self.first[kind], len(taught), len(taught) // 6, folds, base["seed"])
        return self._train(self._first_folder(kind), base | {"train_folds": [folds[0]]}, clips)

    def _train(self, run: Path, settings: Mapping[str, Any], recordings: Recordings) -> dict[str, Any]:
        recipe, table = load_recipe(settings["system"]), run / "codes.csv"
        if not table.is_file():
            write_csv(table, recipe.prepare(recordings, settings, run))
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


def first_recordings(
    kinds: Collection[str], others_dir: str, speech_dir: str, work_dir: str | Path, clip_seconds: float
) -> dict[str, Recordings]:
    """Return what is at hand to learn first, of some KINDS.

    others_dir: ESC-50, of which the classes outside ESC-10 are taken; "": none. speech_dir: see `load_speech`; "" is
    synthetic speech, where espeak-ng is installed. work_dir takes the listing of the speech.
    """
    found = {}
    if OTHER_CLASSES in kinds and others_dir:
        everything = load_recordings("esc50", others_dir, clip_seconds=clip_seconds)
        others = everything.table[~everything.table["esc10"].astype(bool)].reset_index(drop=True)
        found[OTHER_CLASSES] = replace(everything, table=others)
    if SPEECH in kinds and (speech_dir or shutil.which(PROGRAM)):
        found[SPEECH] = load_speech(speech_dir, work_dir, N_UTTERANCES, clip_seconds=clip_seconds)
    return found


def same_amount(recordings: Recordings, n_taught: int, n_watched: int, folds: tuple[int, int], seed: int) -> Recordings:
    """Return so many clips of full length, drawn by `seed`, in two folds: those that teach, and those watched.

    Raises InputError when there are too few.
    """
    table = recordings.table
    whole = table[table["n_samples"] == round(recordings.clip_seconds * recordings.sample_rate)]
    wanted = n_taught + n_watched
    if len(whole) < wanted:
        given = f"{recordings.cut}: {len(whole)} clips of {recordings.clip_seconds:g} s or more"
        raise InputError(f"{given}; expected at least {wanted}, as many as the base learns from and some to watch")
    rows = np.random.default_rng(seed).permutation(len(whole))[:wanted]
    chosen = whole.iloc[rows].assign(fold=np.repeat(folds, (n_taught, n_watched)))
    return replace(recordings, table=chosen.reset_index(drop=True))


def said(first: Mapping[str, Recordings], left_out: Sequence[str]) -> dict[str, str]:
    """Return what was learnt first, in words by kind, and which rungs were left out for want of it."""
    words = {name: recordings.cut for name, recordings in first.items()}
    return words | ({"left out": ", ".join(left_out)} if left_out else {})


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
