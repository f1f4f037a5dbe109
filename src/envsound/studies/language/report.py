"""The report of the study of language models: tables of what is given, and sounds, in a folder."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from envsound.base.files import read_csv, read_json, write_csv
from envsound.codec.systems import through_codec
from envsound.data.audio import read_clip
from envsound.evaluation.judges import TRAINING
from envsound.evaluation.listeners.training import ListenerTraining
from envsound.run.record import read_settings
from envsound.studies.language.chroma import chroma_table
from envsound.studies.language.comparing import comparison_table, keep_sounds, settings_table, watched
from envsound.studies.language.following import followed_table, keep_told, word_table
from envsound.studies.language.latency import latency_table
from envsound.studies.language.learning import leak_tables, learnt_table, optimizer_table
from envsound.systems.base import Request, preset_codec
from envsound.systems.language.captions import FILE as CAPTIONS
from envsound.systems.language.captions import read_captions
from envsound.systems.sampling import load_trained, trained_settings

TABLES = ("compared", "settings", "latency", "learnt", "leak", "leak_curves", "optimizers")
TABLES += ("followed", "words", "chroma")


@dataclass(frozen=True)
class Inputs:
    """What a report is made of; what is empty is left out.

    compared: finished runs that are set side by side; told: runs of text models and, beside them, of others that are
    asked for the class, by what the report calls them; taught: a run, of a model that is told no text, whose codes,
    shape and plan the trainings of the leak and of the optimizers share, of `n_steps` each. n_seeds: of each text of a
    pair that differs in one word; n_timed: how often a clip is timed, of the runs of the first one's seed.
    """

    compared: Mapping[str, str]
    told: Mapping[str, str]
    taught: str
    n_steps: int
    n_seeds: int = 8
    n_timed: int = 5
    package: str = ".judge"
    training: ListenerTraining = TRAINING
    seed: int = 0
    n_jobs: int = 1


def make_report(given: Inputs, folder: Path, device: torch.device) -> dict[str, Any]:
    """Write the tables of a report, and its sounds, into a folder; return what the record keeps.

    compared.csv, settings.csv, latency.csv, learnt.csv and sounds.csv of `compared`; followed.csv, words.csv and
    chroma.csv of `told`, which adds to the sounds; leak.csv, leak_curves.csv and optimizers.csv of `taught`.
    """
    facts: dict[str, Any] = {"seed": given.seed}
    if given.compared:
        table, named = comparison_table(
            given.compared, folder, given.package, given.training, given.seed, given.n_jobs, device.type
        )
        runs = {name: run for name, run in given.compared.items() if trained_settings(run)["system"] == "language"}
        tables = {"compared": table, "learnt": learnt_table(runs)}
        tables["sounds"] = keep_sounds(given.compared, folder / "sounds")
        tables["settings"] = settings_table(_tried(given.compared), device.type, given.seed)
        first = read_settings(next(iter(given.compared.values())))
        timed = {name: run for name, run in given.compared.items() if read_settings(run).seed == first.seed}
        systems = {name: load_trained(run, device.type) for name, run in timed.items()}
        tables["latency"] = latency_table(systems, clip_seconds=first.clip_seconds, n_runs=given.n_timed)
        facts |= named | {"data_cut": _cut(next(iter(given.compared.values())))}
        _write(tables, folder)
    if given.told:
        tables = told_tables(given, folder / "sounds", device)
        if (folder / "sounds.csv").is_file():
            heard = read_csv(folder / "sounds.csv").fillna("").query("text == ''")
            tables["sounds"] = pd.concat([heard, tables["sounds"]], ignore_index=True)
        _write(tables, folder)
    if given.taught:
        leak, curves = leak_tables(given.taught, folder / "leak", given.n_steps, device, seed=given.seed)
        optimizers = optimizer_table(given.taught, folder / "optimizers", given.n_steps, device)
        _write({"leak": leak, "leak_curves": curves, "optimizers": optimizers}, folder)
        facts |= {"n_steps": given.n_steps}
    return facts


def tables_of(folder: Path) -> dict[str, pd.DataFrame]:
    """Return TABLES of a report by name; what it lacks is empty."""
    paths = {name: folder / f"{name}.csv" for name in TABLES}
    return {name: read_csv(path) if path.is_file() else pd.DataFrame() for name, path in paths.items()}


def told_tables(given: Inputs, sounds: Path, device: torch.device) -> dict[str, pd.DataFrame]:
    """Return followed, words, chroma and sounds, which go to a folder: what systems make of held-out captions.

    The captions are those of the first run that has any; for chroma each recording is compared with the clip that was
    made after its title, or its class.
    """
    systems = {name: load_trained(run, device.type) for name, run in given.told.items()}
    run = next(Path(run) for run in given.told.values() if (Path(run) / CAPTIONS).is_file())
    _, held_out = watched(run)
    seconds, captions = read_settings(run).clip_seconds, read_captions(run, held_out["clip_id"]).captions
    texts = {name: system for name, system in systems.items() if "text" in system.conditions}
    codec = preset_codec(trained_settings(run) | {"device": device.type})
    real = [read_clip(path, codec.sample_rate, seconds) for path in held_out["path"]]
    made = {"codec": [through_codec(clip, codec) for clip in real]}
    for name, system in systems.items():
        asked = []
        for place, (one, clip) in enumerate(zip(captions, real, strict=True)):
            told = {"text": one.of_kind("title")} if name in texts and _known(system, one.title) else {}
            length = len(clip) / codec.sample_rate
            asked.append(Request("", one.category, length, given.seed + place, **told))
        made[name] = [*system.generate(asked)]
    return {
        "followed": followed_table(systems, captions, seconds, given.seed),
        "words": word_table(texts, seconds, given.n_seeds, given.seed),
        "sounds": keep_told(texts, captions, seconds, sounds, given.seed),
        "chroma": chroma_table(real, [one.category for one in captions], made, codec.sample_rate, given.seed),
    }


def _known(system: Any, title: str) -> bool:
    """Say whether a system knows a word of a title; without, its recording is asked for by the class."""
    return len(system.encoder.unknown(title)) < len(title.split())


def _tried(runs: Mapping[str, str]) -> dict[str, str]:
    """Return the first run of each kind of system, of those that are told no text."""
    found: dict[str, tuple[str, str]] = {}
    for name, run in runs.items():
        settings = trained_settings(run)
        if not settings["options"].get("text"):
            found.setdefault(settings["system"], (name, run))
    return dict(found.values())


def _write(tables: Mapping[str, pd.DataFrame], folder: Path) -> None:
    for name, table in tables.items():
        write_csv(folder / f"{name}.csv", table)


def _cut(run: str | Path) -> str:
    return read_json(Path(run) / "provenance.json")["steps"]["01_encode_clips"]["facts"].get("data_cut")
