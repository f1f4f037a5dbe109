"""A small stand-in for UrbanSound8K, in its layout: noise, named after two of its classes."""

from pathlib import Path

import numpy as np
import pandas as pd
import soundfile

from envsound.base.files import write_csv

RATE = 8_000  # Hz
COLUMNS = ["slice_file_name", "fsID", "start", "end", "salience", "fold", "classID", "class"]


def urbansound8k(folder: Path) -> Path:
    """Write ten folds of two clips into `folder` and return it: one of more than 4 s, one of .05 to .5 s."""
    rows = []
    for fold in range(1, 11):
        (folder / "audio" / f"fold{fold}").mkdir(parents=True)
        for target, (name, seconds) in enumerate([("dog_bark", 4.5), ("gun_shot", 0.05 * fold)]):
            file = f"{1000 + fold}-{target}-0-0.wav"
            noise = 0.1 * np.random.default_rng(fold).standard_normal(round(seconds * RATE))
            soundfile.write(folder / "audio" / f"fold{fold}" / file, noise, RATE)
            rows.append((file, 1000 + fold, 0.0, seconds, 1, fold, target, name))
    write_csv(folder / "metadata" / "UrbanSound8K.csv", pd.DataFrame(rows, columns=COLUMNS))
    return folder
