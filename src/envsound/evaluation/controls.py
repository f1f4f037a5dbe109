"""What every comparison shows beside a model: a floor, a ceiling, and clips that need no model to be made.

All but the reconstructions know the training folds alone, as a model does. They are written as 16-bit wav files at the
codec's rate, like generated clips, so that all are measured alike and can be heard.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import soxr
import torch
from tqdm.auto import tqdm

from envsound.base.cache import JSON, stored
from envsound.base.errors import InputError
from envsound.base.files import inside, read_csv, write_csv, write_json, write_wav
from envsound.codec.base import Codec
from envsound.codec.codes import load_codes
from envsound.codec.systems import noise_like
from envsound.data.audio import read_clip
from envsound.run.identity import digest, module_hash

CEILING = "codec"
SYSTEMS = {
    "real": "real, held-out fold",
    "real_other": "real, training folds (floor)",
    CEILING: "held-out clips through the codec (ceiling)",
    "generated": "model",
    "copy": "one training clip of each class, repeated",
    "shuffled": "codes of training clips, frames shuffled",
    "bigram": "codes drawn by class, each after the one before",
    "unigram": "codes drawn by class, each by itself",
    "noise": "white noise as loud as training clips",
}
AS_THEY_ARE = (CEILING, "copy")
CONTROLS = (CEILING, "copy", "shuffled", "bigram", "unigram", "noise")
COLUMNS = ["system", "clip", "path", "category", "fold", "source"]  # of controls.csv: filename in place of path


@dataclass(frozen=True)
class Material:
    """What controls are made of.

    held_out: rows of codes.csv, the real clips of the comparison; train: those of the training folds; drawn: rows of
    `train`, one for each held-out clip, as `draw_like` returns them.
    """

    held_out: pd.DataFrame
    train: pd.DataFrame
    drawn: pd.DataFrame


class Bigram:
    """Codes of each level after the code before, drawn as often as they occur in some clips; levels by themselves.

    After a code seen n times with T different successors a successor is drawn with chance n / (n + T), else a code by
    its overall share: Witten and Bell's interpolation (1991, method C). The first code
    is the first of one of the clips.
    """

    def __init__(self, clips: Sequence[np.ndarray], codebook_size: int) -> None:
        """Count the codes of clips, int [n_levels, n_frames] each. Raises InputError when none follows another."""
        self.first = np.stack([clip[:, 0] for clip in clips])  # [n_clips, n_levels]
        self.pooled = np.concatenate(clips, axis=1)  # [n_levels, n_codes]
        if self.pooled.shape[1] == len(clips):
            raise InputError(f"clips: all {len(clips)} have one frame; expected a code after another")
        before = np.concatenate([clip[:, :-1] for clip in clips], axis=1)
        after = np.concatenate([clip[:, 1:] for clip in clips], axis=1)
        order = np.argsort(before, axis=1, kind="stable")
        self.after = np.take_along_axis(after, order, axis=1)  # successors, grouped by the code before
        self.seen = np.stack([np.bincount(level, minlength=codebook_size) for level in before])
        self.start = np.cumsum(self.seen, axis=1) - self.seen
        pairs = [np.unique(np.stack(both), axis=1)[0] for both in zip(before, after, strict=True)]
        self.different = np.stack([np.bincount(level, minlength=codebook_size) for level in pairs])

    def draw(self, n_frames: int, rng: np.random.Generator) -> np.ndarray:
        """Return codes int [n_levels, n_frames]."""
        levels = np.arange(len(self.pooled))
        chance, place = rng.random((2, n_frames, len(levels)))
        codes = np.empty((len(levels), n_frames), dtype=np.int64)
        codes[:, 0] = self.first[rng.integers(0, len(self.first), len(levels)), levels]
        for frame in range(1, n_frames):
            now = codes[:, frame - 1]
            seen = self.seen[levels, now]
            follows = chance[frame] * (seen + self.different[levels, now]) < seen
            successor = np.minimum(self.start[levels, now] + (place[frame] * seen).astype(int), self.after.shape[1] - 1)
            anywhere = (place[frame] * self.pooled.shape[1]).astype(int)
            codes[:, frame] = np.where(follows, self.after[levels, successor], self.pooled[levels, anywhere])
        return codes


def draw_unigram(clips: Sequence[np.ndarray], n_frames: int, rng: np.random.Generator) -> np.ndarray:
    """Return codes int [n_levels, n_frames], each drawn by itself as often as it occurs in clips at its level."""
    pooled = np.concatenate(clips, axis=1)
    return np.take_along_axis(pooled, rng.integers(0, pooled.shape[1], (len(pooled), n_frames)), axis=1)


def shuffled(codes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return codes [n_levels, n_frames] with the frames in random order: a clip's sounds, and no course in time."""
    return codes[:, rng.permutation(codes.shape[1])]


def decode_clip(codes_file: str | Path, seconds: float, codec: Codec, sample_rate: int) -> np.ndarray:
    """Decode one clip's cached codes to float32 [n_samples] at `sample_rate` Hz, cut to `seconds`."""
    clip = decode(load_codes(codes_file, codec.content_hash), seconds, codec)
    return clip if sample_rate == codec.sample_rate else soxr.resample(clip, codec.sample_rate, sample_rate)


def decode(codes: np.ndarray, seconds: float, codec: Codec) -> np.ndarray:
    """Decode codes int [n_levels, n_frames] to float32 [n_samples] at the codec's rate, cut to `seconds`."""
    with torch.inference_mode():
        clip = codec.decode(torch.from_numpy(codes.astype(np.int64))[None])[0].float().cpu().numpy()
    return clip[: round(seconds * codec.sample_rate)]


def draw_like(pool: pd.DataFrame, like: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Return one row of `pool` for each row of `like`, of the same class, in that order.

    Within a class no row serves twice before each has served once. So a difference between the two has nothing to do
    with how many clips each class has. Raises InputError for a class that the pool lacks.
    """
    rng = np.random.default_rng(seed)
    chosen = np.empty(len(like), dtype=int)
    for category, rows in like.reset_index(drop=True).groupby("category", sort=True).groups.items():
        candidates = rng.permutation(np.flatnonzero(pool["category"] == category))
        if not candidates.size:
            raise InputError(f"category {category!r}: no clip in the training folds; expected at least one")
        chosen[rows] = np.resize(candidates, len(rows))
    return pool.iloc[chosen].reset_index(drop=True)


def make_controls(material: Material, codec: Codec, folder: str | Path, seed: int = 0) -> pd.DataFrame:
    """Write the clips of CONTROLS below `folder` and return a row for each: columns COLUMNS.

    `source` is the real clip behind it. controls.csv keeps the rows with a file's name below `folder` in place of its
    path, so that no file leads out of it. A folder that holds just what is asked for is used as it is: made from the
    same codes with the same codec, seed and code. Raises InputError when another codec made the codes.
    """
    folder = Path(folder)
    asked = {"codec_hash": codec.content_hash, "seed": seed, "code": module_hash("envsound.evaluation.controls")}
    for name in ("held_out", "train", "drawn"):
        rows = getattr(material, name)
        asked[name] = digest(f"{Path(row.codes_file).stem} {row.category}" for row in rows.itertuples())
    ready = _made_before(folder, asked)
    if ready is not None:
        return ready
    maker = _Maker(material, codec, seed)
    rows = [row for system in CONTROLS for row in _write(system, material, maker, folder)]
    table = pd.DataFrame(rows).astype({"clip": str})
    write_csv(folder / "controls.csv", table)
    write_json(folder / "controls.json", asked)
    return _with_paths(table, folder)


class _Maker:
    """Makes the clips of a control, one at a time; codes of a class are read once."""

    def __init__(self, material: Material, codec: Codec, seed: int) -> None:
        self.codec, self.seed = codec, seed
        self.train = dict(tuple(material.train.groupby("category")))
        self.read: dict[str, list[np.ndarray]] = {}
        self.bigrams: dict[str, Bigram] = {}

    def clip(self, system: str, row: Any, number: int) -> np.ndarray:
        """Return clip `number` of a control, float32 [n_samples], made from or beside a row of codes.csv."""
        rng = np.random.default_rng([self.seed, CONTROLS.index(system), number])
        if system == "noise":
            recording = read_clip(row.path, self.codec.sample_rate, row.seconds)
            return noise_like(recording, int(rng.integers(2**32)))
        if system in AS_THEY_ARE:
            return decode_clip(row.codes_file, row.seconds, self.codec, self.codec.sample_rate)
        return decode(self._codes(system, row, rng), row.seconds, self.codec)

    def _codes(self, system: str, row: Any, rng: np.random.Generator) -> np.ndarray:
        """Return codes int64 [n_levels, n_frames]."""
        if system == "shuffled":
            return shuffled(self._load(row), rng)
        if system == "unigram":
            return draw_unigram(self._of_class(row.category), int(row.n_frames), rng)
        if row.category not in self.bigrams:
            self.bigrams[row.category] = Bigram(self._of_class(row.category), self.codec.codebook_size)
        return self.bigrams[row.category].draw(int(row.n_frames), rng)

    def _of_class(self, category: str) -> list[np.ndarray]:
        if category not in self.read:
            self.read[category] = [self._load(row) for row in self.train[category].itertuples()]
        return self.read[category]

    def _load(self, row: Any) -> np.ndarray:
        return load_codes(row.codes_file, self.codec.content_hash).astype(np.int64)


def _write(system: str, material: Material, maker: _Maker, folder: Path) -> list[dict[str, Any]]:
    """Write the clips of one control and return their rows; a clip that is repeated is written once."""
    rows = material.held_out if system == CEILING else material.drawn
    rows = _one_of_each(rows) if system == "copy" else rows
    written: dict[Any, str] = {}
    found = []
    for number, row in enumerate(tqdm(rows.itertuples(), total=len(rows), desc=system, unit="clip", leave=False)):
        name = row.codes_file if system == "copy" else number
        if name not in written:
            written[name] = f"{system}/{len(written):04d}.wav"
            write_wav(folder / written[name], maker.clip(system, row, number), maker.codec.sample_rate)
        facts = {"category": row.category, "fold": int(row.fold), "source": row.filename}
        clip = row.filename if system == CEILING else f"{number:04d}"
        found.append({"system": system, "clip": clip, "filename": written[name]} | facts)
    return found


def _one_of_each(drawn: pd.DataFrame) -> pd.DataFrame:
    """Return rows in which each class has its first clip throughout."""
    first = drawn.drop_duplicates("category").set_index("category", drop=False)
    return first.loc[drawn["category"]].reset_index(drop=True)


def _made_before(folder: Path, asked: dict[str, Any]) -> pd.DataFrame | None:
    """Return controls.csv of a folder that holds what is asked for, None of any other."""
    if stored(folder / "controls.json", JSON) != asked:
        return None
    try:
        table = _with_paths(read_csv(folder / "controls.csv"), folder)
    except InputError:
        return None
    return table if all(Path(path).is_file() for path in table["path"]) else None


def _with_paths(table: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Return the rows of controls.csv in columns COLUMNS. Raises InputError for a name that leads out of `folder`."""
    paths = [inside(folder, name).as_posix() for name in table["filename"]]
    return table.assign(path=paths)[COLUMNS]
