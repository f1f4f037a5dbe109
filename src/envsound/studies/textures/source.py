"""The source's two tables, made again: every model taught one class and all of them, on seconds split in two ways.

The source cuts recordings into seconds and splits those at random; here they are split by recording, and its way stands
beside, to size the leak. A training is a folder of its own that is gone on with when it was stopped.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from envsound.base.text import file_name
from envsound.data.recordings import Recordings
from envsound.studies.textures.measuring import in_seconds, reconstruction_table
from envsound.systems.base import read_options
from envsound.systems.kept import Sounds
from envsound.systems.textures.models import TextureOptions
from envsound.systems.textures.system import Texture
from envsound.systems.textures.training import TextureTrainer, TextureTraining

BY_RECORDING, RANDOM, COMBINED = "by recording", "random over seconds", "combined"
Split = tuple[Sounds, Sounds]


def split_seconds(recordings: Recordings, fold: int, seed: int) -> dict[str, Split]:
    """Return seconds of recordings to learn and to hold out: those of a fold, and as many drawn at random over all."""
    table = recordings.table
    clips = [in_seconds(recordings.load(name), recordings.sample_rate) for name in table["clip_id"]]
    owner = np.repeat(np.arange(len(table)), [len(parts) for parts in clips])
    seconds, held = np.concatenate(clips), table["fold"].to_numpy()[owner] == fold
    names = [f"{name}_{n}" for name, parts in zip(table["clip_id"], clips, strict=True) for n in range(len(parts))]
    drawn = np.random.default_rng(seed).permutation(held)

    def sounds(chosen: np.ndarray) -> Sounds:
        places = np.flatnonzero(chosen)
        classes = table["category"].iloc[owner[places]].tolist()
        return Sounds([*seconds[places]], [names[place] for place in places], classes, recordings.sample_rate)

    return {BY_RECORDING: (sounds(~held), sounds(held)), RANDOM: (sounds(~drawn), sounds(drawn))}


def of_scope(sounds: Sounds, scope: str) -> Sounds:
    """Return the sounds of a class, or all of them, COMBINED."""
    chosen = [place for place, own in enumerate(sounds.categories) if scope in (own, COMBINED)]
    parts = ([some[place] for place in chosen] for some in (sounds.clips, sounds.names, sounds.categories))
    return Sounds(*parts, sounds.sample_rate)


def trained_texture(
    settings: Mapping[str, Any], learnt: Sounds, watched: Sounds, folder: Path, device: torch.device
) -> Texture:
    """Return a model trained by a preset's settings, to be asked what it keeps of a clip; it has no prior."""
    plan = TextureTraining(**{field.name: settings[field.name] for field in fields(TextureTraining)})
    options = read_options(TextureOptions, settings)
    trainer = TextureTrainer(options, plan, learnt, watched, folder, device)
    trainer.fit()
    return Texture(trainer.model.eval(), {}, options, learnt.sample_rate, "")


def source_tables(
    splits: Mapping[str, Split],
    presets: Mapping[str, Mapping[str, Any]],
    folder: Path,
    device: torch.device,
    scopes: Mapping[str, Sequence[str]],
    train: Callable[..., Texture] = trained_texture,
) -> pd.DataFrame:
    """Return what models keep of seconds that they have not learnt, as `measuring.reconstruction_table` does.

    splits: of `split_seconds`; presets: settings by the model's name; scopes: for each split the classes that models
    are taught alone, and COMBINED. Its columns follow split and scope; what needs no model has the scope "".
    """
    tables = []
    for split, (learnt, watched) in splits.items():
        without = reconstruction_table(watched, learnt, {}, None)
        tables.append(without.assign(split=split, scope=""))
        for scope in scopes[split]:
            sides = of_scope(learnt, scope), of_scope(watched, scope)
            places = {name: folder / file_name(f"{split} {scope} {name}").replace(" ", "_") for name in presets}
            models = {name: train(settings, *sides, places[name], device) for name, settings in presets.items()}
            found = reconstruction_table(sides[1], sides[0], models, None)
            tables.append(found[found["side"].isin(models)].assign(split=split, scope=scope))
    return pd.concat(tables, ignore_index=True)
