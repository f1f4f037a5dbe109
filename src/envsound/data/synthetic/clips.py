"""Synthetic recordings of the ten ESC-10 classes, so that the study runs without any download."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from envsound.base.errors import InputError
from envsound.base.files import read_json, write_csv, write_json, write_wav
from envsound.data.synthetic import sounds as sounds
from envsound.data.synthetic.blocks import Rng, amplitude, rms, shaped_noise, soft_limit, unit

GENERATOR_VERSION = 1  # raised whenever the same seed would give other clips
N_FOLDS = 5
CLIPS_PER_SEED = 10_000  # a data set numbers its clips seed * CLIPS_PER_SEED + index
LOWEST_RMS, HIGHEST_RMS = 0.01, 0.22


class Sound(NamedTuple):
    """How a class is made: its ESC-50 target, its generator, its level and how often a clip ends early."""

    target: int
    make: Callable[[Rng, int, int], np.ndarray]
    median_rms: float  # close to the real class at 24 kHz
    spread: float  # standard deviation of ln(rms)
    ends_early: float  # share of clips padded with zeros, as short recordings are in ESC-50


SOUNDS: dict[str, Sound] = {
    "dog": Sound(0, sounds.dog, 0.092, 0.45, 0.5),
    "rooster": Sound(1, sounds.rooster, 0.107, 0.35, 0.5),
    "rain": Sound(10, sounds.rain, 0.085, 0.45, 0.0),
    "sea_waves": Sound(11, sounds.sea_waves, 0.098, 0.25, 0.0),
    "crackling_fire": Sound(12, sounds.crackling_fire, 0.032, 0.8, 0.0),
    "crying_baby": Sound(20, sounds.crying_baby, 0.100, 0.35, 0.1),
    "sneezing": Sound(21, sounds.sneezing, 0.061, 0.35, 0.6),
    "clock_tick": Sound(38, sounds.clock_tick, 0.016, 0.5, 0.0),
    "helicopter": Sound(40, sounds.helicopter, 0.165, 0.3, 0.0),
    "chainsaw": Sound(41, sounds.chainsaw, 0.155, 0.35, 0.0),
}
CATEGORIES: dict[str, int] = {name: sound.target for name, sound in SOUNDS.items()}


def ambience(rng: Rng, n_samples: int, sample_rate: int) -> np.ndarray:
    """Return a recording's background noise [n_samples] at root mean square 1, dull or bright by chance."""
    dull = rng.uniform(6, 34)
    bands = [(30, dull), (150, 0.5 * dull), (1000, 0), (5000, -10), (11000, -20)]
    return shaped_noise(rng, n_samples, sample_rate, bands)


def set_level(clip: np.ndarray, level: float) -> np.ndarray:
    """Scale a clip [n_samples] to root mean square `level`, or less where its peaks would be too high."""
    peak = float(np.max(np.abs(clip)))
    gain = min(level / rms(clip), 1.6 / peak)
    return soft_limit(clip * max(gain, 1.1 * LOWEST_RMS / rms(clip)))


def check_request(category: str, seed: int, sample_rate: int, seconds: float) -> None:
    """Raise InputError, naming the parameter, unless a clip can be made from this request."""
    if category not in SOUNDS:
        raise InputError(f"category {category!r}: not a synthetic class; expected one of {', '.join(SOUNDS)}")
    if seed < 0:
        raise InputError(f"seed {seed}: negative; expected a whole number of 0 or more")
    if not 16_000 <= sample_rate <= 96_000:
        raise InputError(f"sample_rate {sample_rate}: out of range; expected 16000 to 96000 Hz")
    if not 0.5 <= seconds <= 60.0:
        raise InputError(f"seconds {seconds}: out of range; expected 0.5 to 60 s")


def generate_clip(category: str, seed: int, sample_rate: int = 24_000, seconds: float = 5.0) -> np.ndarray:
    """Return one synthetic clip, float32 [n_samples] in [-1, 1]; the same arguments give the same clip.

    Pitch, rate, level, onsets, lengths and room differ from seed to seed. Some clips of the short classes end
    early and are padded with zeros. `sample_rate` is in Hz (16000 to 96000), `seconds` from 0.5 to 60.
    Raises InputError for an unknown category or a parameter out of range.
    """
    check_request(category, seed, sample_rate, seconds)
    sound = SOUNDS[category]
    rng = np.random.default_rng([sound.target, seed])
    n_samples = round(seconds * sample_rate)
    ends_early = rng.random() < sound.ends_early
    n_recorded = int(n_samples * rng.uniform(0.35, 0.85)) if ends_early else n_samples
    scene = unit(sound.make(rng, n_recorded, sample_rate))
    scene += amplitude(rng.uniform(-52.0, -26.0)) * ambience(rng, n_recorded, sample_rate)
    level = np.clip(sound.median_rms * np.exp(sound.spread * rng.standard_normal()), LOWEST_RMS, HIGHEST_RMS)
    clip = set_level(np.pad(scene, (0, n_samples - n_recorded)), float(level))
    return clip.astype(np.float32)


def dataset_rows(clips_per_class: int, seed: int) -> pd.DataFrame:
    """Return the table of a synthetic data set in ESC-50's columns; folds 1 to 5 in turn in each class."""
    rows = [
        {
            "filename": f"{index % N_FOLDS + 1}-s{seed}x{index}-A-{target}.wav",
            "fold": index % N_FOLDS + 1,
            "target": target,
            "category": category,
            "esc10": True,
            "src_file": f"s{seed}x{index}",
            "take": "A",
        }
        for category, target in CATEGORIES.items()
        for index in range(clips_per_class)
    ]
    return pd.DataFrame(rows)


def is_complete(folder: Path, description: dict, names: pd.Series) -> bool:
    """Tell whether `folder` already holds the data set of this description with all its files."""
    about = folder / "dataset.json"
    if not about.is_file() or not (folder / "meta" / "esc50.csv").is_file():
        return False
    return read_json(about) == description and all((folder / "audio" / name).is_file() for name in names)


def publish(finished: Path, folder: Path) -> None:
    """Move a finished folder to its place; an older synthetic data set there gives way."""
    umask = os.umask(0)
    os.umask(umask)
    finished.chmod(0o777 & ~umask)
    if (folder / "dataset.json").is_file():
        old = Path(tempfile.mkdtemp(prefix=f".{folder.name}-old-", dir=folder.parent))
        os.replace(folder, old)
        os.replace(finished, folder)
        shutil.rmtree(old)
    else:
        os.replace(finished, folder)


def write_dataset(folder: str | Path, clips_per_class: int, seed: int, sample_rate: int = 24_000) -> Path:
    """Write `clips_per_class` clips of 5 s of every class in the layout of ESC-50 and return the folder.

    `meta/esc50.csv`, `audio/*.wav` (16 bit) and `dataset.json` are written beside the folder and moved into
    place at the end, so an interruption leaves nothing. A complete folder made with the same arguments is
    reused, one made with others is replaced. Data sets of different `seed` share no clip.
    Raises InputError when a number is out of range or the folder holds something else.
    """
    folder = Path(folder)
    check_request("dog", seed, sample_rate, 5.0)
    if not 1 <= clips_per_class <= CLIPS_PER_SEED:
        raise InputError(f"clips_per_class {clips_per_class}: out of range; expected 1 to {CLIPS_PER_SEED}")
    table = dataset_rows(clips_per_class, seed)
    description = {
        "generator": "envsound.data.synthetic.clips",
        "version": GENERATOR_VERSION,
        "seed": seed,
        "clips_per_class": clips_per_class,
        "sample_rate_hz": sample_rate,
    }
    if is_complete(folder, description, table["filename"]):
        return folder
    if folder.exists() and any(folder.iterdir()) and not (folder / "dataset.json").is_file():
        raise InputError(f"{folder}: holds files that are not a synthetic data set; expected a new or empty folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        write_clips(temporary, table, seed, sample_rate)
        write_json(temporary / "dataset.json", description)
        try:
            publish(temporary, folder)
        except OSError:  # another process may have been faster
            if not is_complete(folder, description, table["filename"]):
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def write_clips(folder: Path, table: pd.DataFrame, seed: int, sample_rate: int) -> None:
    """Write the table and the clip of each of its rows into `folder`."""
    write_csv(folder / "meta" / "esc50.csv", table)
    for row in tqdm(table.itertuples(), total=len(table), desc="synthetic clips", unit="clip"):
        index = int(row.src_file.split("x")[1])
        clip = generate_clip(row.category, seed * CLIPS_PER_SEED + index, sample_rate)
        write_wav(folder / "audio" / row.filename, clip, sample_rate)
