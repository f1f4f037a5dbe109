"""Where the clips of a comparison come from: files, a folder or a run; each is loaded when it is measured, never all.

What a run's folder holds is read here (and in `run.contract`) alone. Who is compared: `gather_clips` for measuring,
`gather_sides` for listeners. These differ in the floor. To a network clips that it learnt from are not new, so that its
floor is one whole fold from which no listener learns; else it is drawn from all folds the model was trained on.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile

from envsound.base.errors import InputError
from envsound.base.files import inside
from envsound.base.text import printable
from envsound.codec import Codec, load_codec
from envsound.codec.codes import decode_clip
from envsound.data.audio import read_clip, stored_rate
from envsound.data.finding import UNREADABLE, files_below
from envsound.data.folds import recorded, training_sets
from envsound.evaluation.controls import SYSTEMS, draw_like, make_controls
from envsound.run.contract import SAMPLES, read_table
from envsound.run.record import RunSettings, read_settings

AUDIO_SUFFIXES = {f".{name.lower()}" for name in soundfile.available_formats()} - {".raw"}
AUDIO_SUFFIXES |= {".aif", ".opus", ".oga", *UNREADABLE}
MOST_KEPT = 512  # recordings in memory at once: about 250 MB of clips of 5 s at 24 kHz
REAL, FLOOR, MODEL = "real", "real_other", "generated"
CLIP_COLUMNS = ["system", "run", "clip", "path", "category", "fold"]


@dataclass(frozen=True)
class Source:
    """One clip of one side of a comparison.

    `load(rate)` returns it as float32 [n_samples], mono, at `rate` Hz, or raises InputError. `sample_rate` is
    what it was stored at (0 when unknown), `category` "" and `fold` 0 when it has none. `path` is its file, "" for what
    is decoded.
    """

    name: str
    load: Callable[[int], np.ndarray]
    sample_rate: int = 0
    category: str = ""
    fold: int = 0
    path: str = ""


@dataclass(frozen=True)
class Sides:
    """The clips that listeners compare, each read when it is asked for.

    by_system: the clips of each system, in the order of SYSTEMS; distinct: the same without repetitions, such as those
    of a copied clip; training: the recordings the model learnt from; reconstructed: the same through the codec;
    taught: the recordings that listeners learn from; floor_fold: whose clips are the floor, 0 where there is none;
    sample_rate: Hz, the lowest at which any clip is stored.
    """

    run: RunSettings
    by_system: dict[str, list[Source]]
    distinct: dict[str, list[Source]]
    training: list[Source]
    reconstructed: list[Source]
    taught: list[Source]
    floor_fold: int
    sample_rate: int


def from_file(path: str | Path, name: str = "", category: str = "", fold: int = 0, max_seconds: float = 0) -> Source:
    """Return the source of one audio file, cut to `max_seconds` (0: whole) when it is loaded."""
    limit = max_seconds or None
    return Source(
        name=name or Path(path).name,
        load=lambda rate: read_clip(path, rate, limit),
        sample_rate=stored_rate(path),
        category=category,
        fold=fold,
        path=str(path),
    )


def from_clips(clips: Sequence[np.ndarray], categories: Sequence[str], rate: int) -> list[Source]:
    """Return clips in memory, float32 [n_samples] at `rate` Hz, as sources that must be asked for at that rate."""
    return [
        Source(f"{place:03d}", lambda _, clip=clip: clip, rate, category)
        for place, (clip, category) in enumerate(zip(clips, categories, strict=True))
    ]


def from_folder(folder: str | Path, max_seconds: float = 0) -> list[Source]:
    """Return every audio file below a folder, sorted by name; its category is its subfolder ("" at the top).

    Names and categories are `printable`.
    Files that soundfile cannot open count as audio only when their suffix says so: those are kept, as are links that
    lead nowhere and folders that may not be opened, so that the evaluation can name them. Linked folders are followed.
    Raises InputError when the folder is missing or holds no audio.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise InputError(f"{folder}: is not a folder, expected a folder of audio files")
    found = files_below(folder, _is_audio)
    if not found:
        raise InputError(f"{folder}: holds no file that soundfile can read, expected a folder of audio files")
    names = [path.relative_to(folder) for path in found]
    return [
        from_file(path, printable(name.as_posix()), printable(name.parent.as_posix().removeprefix(".")), 0, max_seconds)
        for path, name in zip(found, names, strict=True)
    ]


def from_rows(rows: pd.DataFrame, max_seconds: float = 0) -> list[Source]:
    """Return the clips of rows with the columns path, category, fold, and clip (CLIP_COLUMNS) or filename."""
    names = rows["clip" if "clip" in rows else "filename"]
    facts = zip(rows["path"], names, rows["category"], rows["fold"], strict=True)
    return [from_file(path, name, category, int(fold), max_seconds) for path, name, category, fold in facts]


def from_codes(clips: pd.DataFrame, codec: Codec) -> list[Source]:
    """Return what the codec makes of the same recordings: their cached codes decoded, cut to their length."""
    return [
        Source(
            name=row.filename,
            load=lambda rate, row=row: decode_clip(row.codes_file, row.seconds, codec, rate),
            sample_rate=codec.sample_rate,
            category=row.category,
            fold=int(row.fold),
        )
        for row in clips.itertuples()
    ]


def common_rate(*sides: Sequence[Source]) -> int:
    """Return the lowest rate (Hz) at which any clip of any side is stored. Raises InputError when none can be read."""
    rates = [source.sample_rate for side in sides for source in side if source.sample_rate > 0]
    if not rates:
        raise InputError("no clip of either side can be read, expected audio files that soundfile opens")
    return min(rates)


def rates_of(sources: Sequence[Source]) -> str:
    """Return the rates a side is stored at, in words, such as "24000 Hz" or "44100 and 48000 Hz"."""
    rates = sorted({source.sample_rate for source in sources if source.sample_rate > 0})
    return (" and ".join(str(rate) for rate in rates) or "unknown") + " Hz"


def recordings_of(run_dir: str | Path) -> pd.DataFrame:
    """Return the rows of a run's codes.csv that stand for recordings as they are."""
    return recorded(read_table(run_dir, "recordings"))


def samples_of(run_dir: str | Path) -> pd.DataFrame:
    """Return the rows of a run's samples.csv with `path`, and fold 0.

    Raises InputError when it lists none, or one that lies outside the run.
    """
    table = read_table(run_dir, "samples")
    if table.empty:
        raise InputError(f"{run_dir}/samples.csv: lists no sample, expected at least one")
    return table.assign(path=[inside(Path(run_dir) / SAMPLES, name).as_posix() for name in table["filename"]], fold=0)


def clips_of(system: str, rows: pd.DataFrame, run: str = "") -> pd.DataFrame:
    """Return rows of a table of recordings or samples as clips of a system: CLIP_COLUMNS."""
    return rows[["path", "category", "fold"]].assign(system=system, run=run, clip=rows["filename"])[CLIP_COLUMNS]


def gather_clips(runs: Sequence[RunSettings], codec: Codec, controls_dir: str | Path, seed: int) -> pd.DataFrame:
    """Return every clip of a comparison, columns CLIP_COLUMNS: real, floor, ceiling, controls, and each run's samples.

    Real clips are all of the held-out fold; those of the floor, and what controls are made of, are drawn from the folds
    the model was trained on, as many of each class. Control clips are written below `controls_dir`.
    """
    held_out, train = _split(runs[0])
    drawn = draw_like(train, held_out, seed)
    controls = make_controls(held_out, train, drawn, codec, controls_dir, seed)
    parts = [clips_of(REAL, held_out), clips_of(FLOOR, drawn), controls.assign(run="")[CLIP_COLUMNS]]
    parts += [clips_of(MODEL, samples_of(run.folder), run.name) for run in runs]
    clips = pd.concat(parts, ignore_index=True)
    return clips.sort_values("system", key=lambda names: names.map([*SYSTEMS].index), kind="stable", ignore_index=True)


def gather_sides(run_dir: str | Path, seed: int = 0, floor_fold: int = 0, device: str = "auto") -> Sides:
    """Return the sides of a finished run; controls that `gather_clips` has had made for this seed are used again.

    floor_fold: 0 takes the validation fold where the run has one, else the last of its training folds; a run of a
    single training fold has no floor. Raises InputError when the run is not finished, or the fold is neither.
    """
    run = read_settings(run_dir)
    codec = load_codec(run.codec, run.codec_weights, device, run.codec_weights_sha256)
    clips = gather_clips([run], codec, Path(run_dir) / "controls", seed)
    held_out, train = _split(run)
    floor_fold = _floor_fold(train, run, floor_fold)
    rows = {str(system): of_system for system, of_system in clips.groupby("system", sort=False) if system != FLOOR}
    if floor_fold:
        table = recordings_of(run_dir)
        rows[FLOOR] = draw_like(table[table["fold"] == floor_fold].reset_index(drop=True), held_out, seed)
    rows = {system: rows[system] for system in SYSTEMS if system in rows}
    by_system = {system: from_rows(of_system, run.clip_seconds) for system, of_system in rows.items()}
    by_system[REAL] = remembered(by_system[REAL])
    training = remembered(from_rows(train, run.clip_seconds))
    return Sides(
        run=run,
        by_system=by_system,
        distinct={system: from_rows(part.drop_duplicates("path"), run.clip_seconds) for system, part in rows.items()},
        training=training,
        reconstructed=from_codes(train, codec),
        taught=[source for source in training if source.fold != floor_fold],
        floor_fold=floor_fold,
        sample_rate=common_rate(*by_system.values(), training),
    )


def remembered(sources: Sequence[Source]) -> list[Source]:
    """Return sources whose clips stay in memory once they are read, the last MOST_KEPT that were asked for.

    Recordings must be decoded and resampled, and are asked for a dozen times.
    """

    @lru_cache(maxsize=MOST_KEPT)
    def load(place: int, rate: int) -> np.ndarray:
        return sources[place].load(rate)

    return [replace(source, load=partial(load, place)) for place, source in enumerate(sources)]


def _split(run: RunSettings) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows of the held-out fold and those the model was trained on."""
    table = recordings_of(run.folder)
    train, _ = training_sets(table, run.fold, list(run.train_folds), run.validation_fold)
    return table[table["fold"] == run.fold].reset_index(drop=True), train


def _floor_fold(train: pd.DataFrame, run: RunSettings, asked: int) -> int:
    """Return the fold whose clips are the floor, 0 when all folds are needed to teach the listeners."""
    folds = sorted(int(fold) for fold in train["fold"].unique())
    allowed = [*folds, run.validation_fold] if run.validation_fold else folds
    if asked and asked not in allowed:
        raise InputError(f"floor_fold={asked}: expected 0 or one of the folds {allowed}")
    chosen = asked or run.validation_fold or folds[-1]
    return 0 if folds == [chosen] else chosen


def _is_audio(path: Path) -> bool:
    return path.suffix.lower() in AUDIO_SUFFIXES or stored_rate(path) > 0
