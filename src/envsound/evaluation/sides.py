"""Where the clips of a comparison come from: each is loaded when it is measured, never all at once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
import soxr
import torch

from envsound.base.errors import InputError
from envsound.base.files import inside, read_csv
from envsound.base.text import printable
from envsound.codec import Codec
from envsound.codec.codes import load_codes
from envsound.data.audio import read_clip

AUDIO_SUFFIXES = {f".{name.lower()}" for name in soundfile.available_formats()} - {".raw"}
AUDIO_SUFFIXES |= {".aif", ".opus", ".oga", ".m4a", ".aac"}


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


def from_file(path: str | Path, name: str = "", category: str = "", fold: int = 0, max_seconds: float = 0) -> Source:
    """Return the source of one audio file, cut to `max_seconds` (0: whole) when it is loaded."""
    limit = max_seconds or None
    return Source(
        name=name or Path(path).name,
        load=lambda rate: read_clip(path, rate, limit),
        sample_rate=_stored_rate(path),
        category=category,
        fold=fold,
        path=str(path),
    )


def from_folder(folder: str | Path, max_seconds: float = 0) -> list[Source]:
    """Return every audio file below a folder, sorted by name; its category is its subfolder ("" at the top).

    Names and categories are `printable`.
    Files that soundfile cannot open count as audio only when their suffix says so: those are kept, so that
    the evaluation can name them. Raises InputError when the folder is missing or holds no audio.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise InputError(f"{folder}: is not a folder, expected a folder of audio files")
    found = [p for p in sorted(folder.rglob("*")) if p.is_file() and not p.name.startswith(".") and _is_audio(p)]
    if not found:
        raise InputError(f"{folder}: holds no file that soundfile can read, expected a folder of audio files")
    names = [path.relative_to(folder) for path in found]
    return [
        from_file(path, printable(name.as_posix()), printable(name.parent.as_posix().removeprefix(".")), 0, max_seconds)
        for path, name in zip(found, names, strict=True)
    ]


def from_samples(run_dir: str | Path, max_seconds: float = 0) -> list[Source]:
    """Return the generated clips that a run's samples.csv lists. Raises InputError when there are none."""
    table = read_csv(Path(run_dir) / "samples.csv")
    if table.empty:
        raise InputError(f"{run_dir}/samples.csv: lists no sample, expected at least one")
    folder = Path(run_dir) / "samples"
    return [
        from_file(inside(folder, name), name, category, 0, max_seconds)
        for name, category in zip(table["filename"], text_column(table, "category"), strict=True)
    ]


def from_recordings(clips: pd.DataFrame, max_seconds: float = 0) -> list[Source]:
    """Return the recordings that rows of a codes.csv table name."""
    return [from_file(row.path, row.filename, row.category, int(row.fold), max_seconds) for row in clips.itertuples()]


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


def decode_clip(codes_file: str | Path, seconds: float, codec: Codec, sample_rate: int) -> np.ndarray:
    """Decode one clip's cached codes to float32 [n_samples] at `sample_rate` Hz, cut to `seconds`."""
    codes = load_codes(codes_file, codec.content_hash).astype(np.int64)  # [n_levels, n_frames]
    with torch.inference_mode():
        clip = codec.decode(torch.from_numpy(codes)[None])[0].float().cpu().numpy()  # [n_samples]
    clip = clip[: round(seconds * codec.sample_rate)]
    return clip if sample_rate == codec.sample_rate else soxr.resample(clip, codec.sample_rate, sample_rate)


def common_rate(*sides: Sequence[Source]) -> int:
    """Return the lowest rate (Hz) at which any clip of any side is stored.

    Raises InputError when no clip can be read.
    """
    rates = [source.sample_rate for side in sides for source in side if source.sample_rate > 0]
    if not rates:
        raise InputError("no clip of either side can be read, expected audio files that soundfile opens")
    return min(rates)


def rates_of(sources: Sequence[Source]) -> str:
    """Return the rates a side is stored at, in words, such as "24000 Hz" or "44100 and 48000 Hz"."""
    rates = sorted({source.sample_rate for source in sources if source.sample_rate > 0})
    return (" and ".join(str(rate) for rate in rates) or "unknown") + " Hz"


def text_column(table: pd.DataFrame, name: str) -> list[str]:
    """Return a text column; one that is empty throughout a csv comes back from pandas as NaN, here as ""."""
    return table[name].fillna("").astype(str).tolist()


def _stored_rate(path: str | Path) -> int:
    try:
        return int(soundfile.info(str(path)).samplerate)
    except (RuntimeError, TypeError, OSError, UnicodeError):
        return 0


def _is_audio(path: Path) -> bool:
    return path.suffix.lower() in AUDIO_SUFFIXES or _stored_rate(path) > 0
