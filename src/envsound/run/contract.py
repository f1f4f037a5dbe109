"""What a finished run's folder holds, whatever system made it: its tables with their columns and units.

A run is `data/runs/<preset>/fold<fold>_seed<seed>/`. Whoever compares runs reads these files and nothing else, so any
system that writes them goes through the whole study (see `systems.base`). Sounds are `samples/<filename>`, 16-bit wav;
`provenance.json` says how each step was made (see `provenance`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from envsound.base.errors import InputError
from envsound.base.files import read_csv

SAMPLES = "samples"  # the folder of generated clips


@dataclass(frozen=True)
class Table:
    """A csv file of a run: who makes it, the columns that it must have and those it may have, each with its meaning."""

    file: str
    made_by: str
    columns: Mapping[str, str]
    optional: Mapping[str, str] = field(default_factory=dict)


CLIP = {"filename": "name of the recording", "category": "class, empty where there is none"}
TABLES = {
    "recordings": Table(
        "codes.csv",
        "01_encode_clips",
        CLIP
        | {
            "clip_id": "unique name of the clip",
            "path": "audio file",
            "fold": "cross-validation fold, from 1",
            "seconds": "length (s)",
        },
        {
            "target": "number of the class",
            "copy": "0 for a recording, else the number of its augmented copy",
            "n_frames": "length in frames of the system's representation",
            "codes_file": "its codes, of a system that has codes (see `codec.codes`)",
        },
    ),
    "training": Table(
        "training.csv",
        "02_train_model",
        {
            "epoch": "from 1",
            "level": "part of the loss, or all",
            "split": "train or validation",
            "loss": "of the system's own objective",
            "seconds": "of the epoch (s)",
        },
        {
            "n_masked": "codes that the loss is a mean over",
            "unigram": "loss of code frequencies on the same codes (nat)",
            "lr": "learning rate at the start of the epoch",
        },
    ),
    "samples": Table(
        "samples.csv",
        "03_sample_clips",
        CLIP | {"filename": "file below samples/", "seed": "what the clip was drawn with", "seconds": "length (s)"},
        {"...": "settings of the system, one column each"},
    ),
    "metrics": Table(
        "metrics.csv",
        "04_metrics",
        {
            "side": "real, generated, codec (ceiling) or real_other (floor)",
            "clip": "file",
            "category": "class",
            "fold": "of a recording; 0 for what is generated",
        },
        {"...": "a column for each metric, named with its unit (see `metrics.acoustic`), and `problem`"},
    ),
    "pairs": Table(
        "pairs.csv",
        "04_metrics",
        {"real": "recording", "generated": "clip compared with it", "category": "class of both"},
        {"...": "spectral convergence (ratio), log-spectral distance (nepers), energies and lengths (s)"},
    ),
    "summary": Table(
        "table_metrics.csv",
        "04_metrics",
        {"metric": "name with unit", "real_mean": "mean over real clips", "generated_mean": "over generated clips"},
        {"...": "standard deviations, counts, and the published study's values"},
    ),
    "ks": Table(
        "ks.csv",
        "05_ks_tests",
        {
            "comparison": "which two sides",
            "metric": "name with unit",
            "statistic": "Kolmogorov-Smirnov distance, 0 to 1",
            "p_value": "of the two-sample test",
            "p_holm": "corrected over the metrics",
            "threshold_5_percent": "distance that is significant at 5%",
        },
    ),
}


def codes_beside(clip: Path) -> Path:
    """Return the file of the codes that a generated clip was made of; it is there if its system draws codes."""
    return clip.parent / "codes" / f"{clip.stem}.safetensors"


def read_table(run: str | Path, name: str) -> pd.DataFrame:
    """Return a table of a run, such as "samples" (a key of TABLES).

    Raises InputError when the file is missing, or lacks a column that it must have.
    """
    table = TABLES[name]
    path = Path(run) / table.file
    rows = read_csv(path)
    absent = [column for column in table.columns if column not in rows]
    if absent:
        raise InputError(f"{path}: lacks the column {absent[0]!r} ({table.columns[absent[0]]}); see run/contract.py")
    return rows


def check_table(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return rows that a system made for a table. Raises InputError when a column is missing or there is no row."""
    absent = [column for column in TABLES[name].columns if column not in rows]
    if absent or rows.empty:
        lacking = f"the column {absent[0]!r}" if absent else "rows"
        raise InputError(f"{TABLES[name].file}: the system made it without {lacking}; see run/contract.py")
    return rows
