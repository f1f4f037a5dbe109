"""What the audit is tried on: codes of two classes, in folds, with a code of its own for each recording."""

from pathlib import Path

import numpy as np
import pandas as pd

from envsound.codec.codes import save_codes

SIZE = 16  # of the codebook
PUBLISHED = Path(__file__).parents[2] / "data" / "published"


def codes_table(folder: Path, n_folds: int = 3, name: str = "{fold}-{source}-A-{target}.wav") -> pd.DataFrame:
    """Write codes int [2, 30] of three clips of a recording for each class and fold; return them as codes.csv."""
    rng, rows = np.random.default_rng(0), []
    for fold in range(1, n_folds + 1):
        for target in range(2):
            for take in range(3):
                codes = rng.integers(SIZE, size=(2, 30))
                codes[0, :20] = (fold * 2 + target) % SIZE
                filename = name.format(fold=fold, source=f"{fold}{target}", target=target)
                file = folder / f"{fold}{target}{take}.safetensors"
                save_codes(file, codes, "abc", 30)
                rows.append({"filename": filename, "fold": fold, "category": "ab"[target], "codes_file": file})
    return pd.DataFrame(rows)
