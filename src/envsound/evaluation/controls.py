"""What every comparison shows beside a model: a floor, a ceiling, and clips that need no model to be made.

All but the reconstructions know the training folds alone, as a model does. They are written as 16-bit wav files at the
codec's rate, like generated clips, so that all are measured alike and can be heard.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from envsound.base.cache import JSON, stored
from envsound.base.errors import InputError
from envsound.base.files import inside, read_csv, write_csv, write_wav
from envsound.codec.base import Codec
from envsound.codec.codes import decode_clip
from envsound.codec.counting import CodeDraws
from envsound.codec.systems import noise_like
from envsound.data.audio import read_clip, stored_rate
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


def draw_like(pool: pd.DataFrame, like: pd.DataFrame, seed: int, or_any: bool = False) -> pd.DataFrame:
    """Return one row of `pool` for each row of `like`, of the same class, in that order.

    Within a class no row serves twice before each has served once. So a difference between the two has nothing to do
    with how many clips each class has. or_any: where there is no class, or the pool lacks it, any row serves; else
    raises InputError for a class that the pool lacks.
    """
    rng = np.random.default_rng(seed)
    chosen = np.empty(len(like), dtype=int)
    for category, rows in like.reset_index(drop=True).groupby("category", sort=True).groups.items():
        candidates = np.flatnonzero(pool["category"] == category)
        if or_any and not (category and candidates.size):
            candidates = np.arange(len(pool))
        if not candidates.size:
            raise InputError(f"category {category!r}: no clip in the training folds; expected at least one")
        chosen[rows] = np.resize(rng.permutation(candidates), len(rows))
    return pool.iloc[chosen].reset_index(drop=True)


def make_controls(
    held_out: pd.DataFrame, train: pd.DataFrame, drawn: pd.DataFrame, codec: Codec, folder: str | Path, seed: int = 0
) -> pd.DataFrame:
    """Write the clips of CONTROLS below `folder` and return a row for each: columns COLUMNS.

    held_out: rows of codes.csv, the real clips of the comparison; train: those of the training folds; drawn: rows of
    `train`, one for each held-out clip, as `draw_like` returns them.

    `source` is the real clip behind it. controls.csv keeps the rows with a file's name below `folder` in place of its
    path, so that no file leads out of it. A folder that holds just what is asked for is used as it is: made from the
    same codes with the same codec, seed and code. Raises InputError when another codec made the codes.
    """
    folder = Path(folder)
    asked = {"codec_hash": codec.content_hash, "seed": seed, "code": module_hash("envsound.evaluation.controls")}
    for name, rows in (("held_out", held_out), ("train", train), ("drawn", drawn)):
        asked[name] = digest(f"{Path(row.codes_file).stem} {row.category}" for row in rows.itertuples())
    ready = _made_before(folder, asked)
    if ready is not None:
        return ready
    draws = CodeDraws(train, codec)

    def clip(system: str, row: Any, number: int) -> np.ndarray:
        """Return clip `number` of a control, float32 [n_samples], made from or beside a row of codes.csv."""
        rng = np.random.default_rng([seed, CONTROLS.index(system), number])
        if system == "noise":
            return noise_like(read_clip(row.path, codec.sample_rate, row.seconds), int(rng.integers(2**32)))
        if system in AS_THEY_ARE:
            return decode_clip(row.codes_file, row.seconds, codec, codec.sample_rate)
        return draws.clip(system, row, rng)

    rows = []
    for system in CONTROLS:
        made_from = held_out if system == CEILING else drawn
        rows += _write(system, made_from, partial(clip, system), codec.sample_rate, folder)
    table = pd.DataFrame(rows).astype({"clip": str})
    write_csv(folder / "controls.csv", table)
    JSON.write(folder / "controls.json", asked)
    return _with_paths(table, folder)


def _write(
    system: str, rows: pd.DataFrame, clip: Callable[[Any, int], np.ndarray], sample_rate: int, folder: Path
) -> list[dict[str, Any]]:
    """Write the clips of one control and return their rows; a clip that is repeated is written once."""
    if system == "copy":  # each class has its first clip throughout
        first = rows.drop_duplicates("category").set_index("category", drop=False)
        rows = first.loc[rows["category"]].reset_index(drop=True)
    written: dict[Any, str] = {}
    found = []
    for number, row in enumerate(tqdm(rows.itertuples(), total=len(rows), desc=system, unit="clip", leave=False)):
        name = row.codes_file if system == "copy" else number
        if name not in written:
            written[name] = f"{system}/{len(written):04d}.wav"
            write_wav(folder / written[name], clip(row, number), sample_rate)
        facts = {"category": row.category, "fold": int(row.fold), "source": row.filename}
        title = row.filename if system == CEILING else f"{number:04d}"
        found.append({"system": system, "clip": title, "filename": written[name]} | facts)
    return found


def _made_before(folder: Path, asked: dict[str, Any]) -> pd.DataFrame | None:
    """Return controls.csv of a folder that holds what is asked for, None of any other."""
    if stored(folder / "controls.json", JSON) != asked:
        return None
    try:
        table = _with_paths(read_csv(folder / "controls.csv"), folder)
    except InputError:
        return None
    return table if all(stored_rate(path) for path in table["path"]) else None


def _with_paths(table: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Return the rows of controls.csv in columns COLUMNS. Raises InputError for a name that leads out of `folder`."""
    paths = [inside(folder, name).as_posix() for name in table["filename"]]
    return table.assign(path=paths)[COLUMNS]
