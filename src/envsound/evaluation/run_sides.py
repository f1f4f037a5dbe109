"""Who is compared where listeners judge: the systems of the extended evaluation as sides, and who taught the listeners.

The floor differs from that of `evaluation_report`. There it is drawn from all folds the model was trained on; but a
network that learnt from clips does not hear them as it hears new ones, and would give a false floor. Here it is one
whole fold, and no listener learns from that fold.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import pandas as pd

from envsound.base.errors import InputError
from envsound.base.files import read_csv
from envsound.codec import load_codec
from envsound.data.folds import recorded, training_sets
from envsound.evaluation.controls import SYSTEMS, draw_like
from envsound.evaluation.sides import Source, common_rate, from_codes, from_file, from_recordings
from envsound.evaluation.tables import gather_clips
from envsound.run.record import RunSettings, read_settings

MOST_KEPT = 512  # recordings in memory at once: about 250 MB of clips of 5 s at 24 kHz
REAL, FLOOR, MODEL = "real", "real_other", "generated"


@dataclass(frozen=True)
class Sides:
    """The clips of a comparison, each read when it is asked for.

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


def gather_sides(run_dir: str | Path, seed: int = 0, floor_fold: int = 0, device: str = "auto") -> Sides:
    """Return the sides of a finished run; controls that `evaluation_report` has made for this seed are used again.

    floor_fold: 0 takes the validation fold where the run has one, else the last of its training folds; a run of a
    single training fold has no floor. Raises InputError when the run is not finished, or the fold is neither.
    """
    run = read_settings(run_dir)
    codec = load_codec(run.codec, run.codec_weights, device, run.codec_weights_sha256)
    clips = gather_clips([run], codec, Path(run_dir) / "controls", seed)
    table = recorded(read_csv(run.folder / "codes.csv"))
    train, _ = training_sets(table, run.fold, list(run.train_folds), run.validation_fold)
    floor_fold = _floor_fold(train, run, floor_fold)
    held_out = table[table["fold"] == run.fold].reset_index(drop=True)
    rows = {str(system): of_system for system, of_system in clips.groupby("system", sort=False) if system != FLOOR}
    if floor_fold:
        floor = draw_like(table[table["fold"] == floor_fold].reset_index(drop=True), held_out, seed)
        rows[FLOOR] = floor.assign(clip=floor["filename"])
    rows = {system: rows[system] for system in SYSTEMS if system in rows}
    by_system = {system: _sources(of_system, run.clip_seconds) for system, of_system in rows.items()}
    by_system[REAL] = remembered(by_system[REAL])
    training = remembered(from_recordings(train, run.clip_seconds))
    return Sides(
        run=run,
        by_system=by_system,
        distinct={system: _sources(part.drop_duplicates("path"), run.clip_seconds) for system, part in rows.items()},
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


def _floor_fold(train: pd.DataFrame, run: RunSettings, asked: int) -> int:
    """Return the fold whose clips are the floor, 0 when all folds are needed to teach the listeners."""
    folds = sorted(int(fold) for fold in train["fold"].unique())
    allowed = [*folds, run.validation_fold] if run.validation_fold else folds
    if asked and asked not in allowed:
        raise InputError(f"floor_fold={asked}: expected 0 or one of the folds {allowed}")
    chosen = asked or run.validation_fold or folds[-1]
    return 0 if folds == [chosen] else chosen


def _sources(rows: pd.DataFrame, max_seconds: float) -> list[Source]:
    """Return the clips of rows with the columns path, clip, category and fold."""
    return [from_file(row.path, row.clip, row.category, int(row.fold), max_seconds) for row in rows.itertuples()]
