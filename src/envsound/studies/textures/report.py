"""The report of the study of textures: which trainings it is of, its tables, and the sounds that go with it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from envsound.base.device import choose_device
from envsound.base.errors import InputError
from envsound.base.files import read_csv, read_json, write_csv, write_ogg
from envsound.base.text import file_name
from envsound.codec import load_codec
from envsound.data.recordings import load_recordings
from envsound.run.presets import load_preset
from envsound.studies.textures.measuring import (
    STEP_TRAIN,
    generation_table,
    interpolation_table,
    leak_table,
    reconstruction_table,
    run_sounds,
)
from envsound.studies.textures.source import BY_RECORDING, COMBINED, RANDOM, source_tables, split_seconds
from envsound.systems.base import Request
from envsound.systems.sampling import load_trained
from envsound.systems.textures.system import Texture

HEARD_SECONDS, MOST_BYTES = 1.5, 180_000  # of a sound that is published, and of all of them
PRIORS = ("normal", "trajectory")  # of the first model, beside its chain
TEXTURES = ("rain", "sea_waves", "thunderstorm")  # of the source
SOURCE_PRESETS = {"DDSP": "ddsp", "NoiseBand": "noiseband",
                  "EnCodec 16, plain": "encodec16-plain", "EnCodec 128, plain": "encodec128-plain"}  # fmt: skip


@dataclass(frozen=True)
class SourceData:
    """Recordings for the source's tables, in ESC-50's layout, none where `data_dir` is "": at `sample_rate` (Hz).

    presets: models by what the tables call them; n_steps: of each training; scopes: what models are taught, by split
    (see `source.source_tables`).
    """

    data_dir: str = ""
    categories: Sequence[str] = TEXTURES
    sample_rate: int = 16_000
    presets: Mapping[str, str] = field(default_factory=lambda: dict(SOURCE_PRESETS))
    scopes: Mapping[str, Sequence[str]] = field(
        default_factory=lambda: {BY_RECORDING: [COMBINED, *TEXTURES], RANDOM: [COMBINED]}
    )
    n_steps: int = 200


def make_report(
    runs: Mapping[str, str], folder: Path, n_clips: int, n_pairs: int, seed: int, device: str, cache_dir: Path,
    source: SourceData,
) -> dict[str, Any]:  # fmt: skip
    """Write the tables of a report, and its sounds, into a folder; return what the record keeps.

    runs: folders of trained runs by what the report calls them, texture models and others; all share the sounds of the
    first. The first texture model is also asked with each of PRIORS. Raises InputError when none is one.
    """
    systems = {name: load_trained(place, device) for name, place in runs.items()}
    textures = {name: system for name, system in systems.items() if isinstance(system, Texture)}
    if not textures:
        raise InputError(f"runs={list(runs)}: none is a texture model; expected one at least")
    first = next(iter(textures))
    learnt, held_out = run_sounds(Path(runs[first]))
    for prior in PRIORS:
        asked = replace(textures[first].options, prior=prior)
        systems[f"{first}, {prior}"] = replace(textures[first], options=asked, sounds=learnt)
    codec, rows = load_codec("patches", device=device), read_csv(Path(runs[first]) / "codes.csv")
    between, curves = interpolation_table(held_out, textures, n_pairs)
    generated, by_class = generation_table(
        systems, rows, learnt, held_out, codec, cache_dir, n_clips, seed, [*textures]
    )
    tables = {
        "kept": reconstruction_table(held_out, learnt, textures, codec, seed),
        "leak": leak_table(learnt, held_out, seed=seed),
        "between": between,
        "curves": curves,
        "models": models_table(runs),
        "generated": generated,
        "by_class": by_class,
        "sounds": keep_sounds(textures, sorted(set(held_out.categories)), folder / "sounds", seed),
    }
    if source.data_dir:
        tables["source"] = source_report(source, folder / "source", seed, choose_device(device))
    for name, table in tables.items():
        write_csv(folder / f"{name}.csv", table)
    cut = read_json(Path(runs[first]) / "provenance.json")["steps"]["01_encode_clips"]["facts"].get("data_cut")
    return {"data_cut": cut, "n_learnt": len(learnt.clips), "n_held_out": len(held_out.clips), "n_clips": n_clips}


def source_report(source: SourceData, folder: Path, seed: int, device: torch.device) -> pd.DataFrame:
    """Return the source's tables (see `source.source_tables`); fold 1 is held out. Trainings lie in the folder."""
    recordings = load_recordings(
        "esc50", source.data_dir, categories=source.categories, sample_rate=source.sample_rate
    )
    steps = {"max_steps": source.n_steps, "num_epochs": source.n_steps, "watch_every": source.n_steps, "seed": seed}
    presets = {name: load_preset(preset) | steps for name, preset in source.presets.items()}
    splits = {name: split for name, split in split_seconds(recordings, 1, seed).items() if name in source.scopes}
    return source_tables(splits, presets, folder, device, source.scopes)


def models_table(runs: Mapping[str, str]) -> pd.DataFrame:
    """Return what each training was: model, n_parameters, steps, training_seconds, numbers a second, nats, device."""
    names = ("n_parameters", "steps", "training_seconds", "latents_per_second", "kl_nats_an_atom")
    rows = []
    for name, place in runs.items():
        step = read_json(Path(place) / "provenance.json")["steps"][STEP_TRAIN]
        found = {"training_seconds": step["seconds"], "steps": 1} | step["facts"]
        device = found.get("device_used", step["device"])
        rows.append({"model": name} | {key: found.get(key, np.nan) for key in names} | {"device": device})
    return pd.DataFrame(rows)


def keep_sounds(textures: Mapping[str, Texture], categories: list[str], folder: Path, seed: int) -> pd.DataFrame:
    """Write a short clip of every class by every model, as Ogg, while they fit in MOST_BYTES: file, category, words.

    Of trainings that differ in their seed alone the first is heard.
    """
    rows, size, heard = [], 0, set()
    for name, system in textures.items():
        if system.options in heard:
            continue
        heard.add(system.options)
        for category in categories:
            clip = next(system.generate([Request("", category, HEARD_SECONDS, seed)]))
            path = folder / f"{file_name(name)}_{category}.ogg".replace(" ", "_")
            write_ogg(path, clip, system.sample_rate)
            size += path.stat().st_size
            if size > MOST_BYTES:
                path.unlink()
                return pd.DataFrame(rows)
            rows.append({"file": path.name, "category": category, "words": name})
    return pd.DataFrame(rows)
