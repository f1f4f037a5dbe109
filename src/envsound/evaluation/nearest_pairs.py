"""The generated clips that come closest to a training clip, written beside it to be heard on this machine.

One clip of each pair may be a recording: they stay in the run's folder and are never published.
"""

from pathlib import Path

import pandas as pd

from envsound.base.errors import InputError
from envsound.base.files import write_csv
from envsound.evaluation.memorisation import closest_pairs, write_pairs
from envsound.evaluation.run_sides import MODEL, Sides

FOLDER = "nearest_pairs"  # in a run


def write_nearest_pairs(nearest: pd.DataFrame, sides: Sides, folder: str | Path, n_pairs: int = 10) -> pd.DataFrame:
    """Write the `n_pairs` closest pairs of each space as wav files, with pairs.csv, and return that table.

    nearest: a row for each clip, side and space (`memorisation.NEIGHBOUR_COLUMNS`); pairs are ranked by the relative
    distance, by which the verdict goes. Older pairs in `folder` are removed. Raises InputError for n_pairs below 0.
    """
    if n_pairs < 0:
        raise InputError(f"n_pairs={n_pairs}: expected 0 or more")
    for old in Path(folder).glob("*.wav"):
        old.unlink()
    pairs = closest_pairs(nearest, MODEL, n_pairs)
    pairs = write_pairs(pairs, sides.by_system[MODEL], sides.training, folder, sides.sample_rate)
    write_csv(Path(folder) / "pairs.csv", pairs)
    return pairs
