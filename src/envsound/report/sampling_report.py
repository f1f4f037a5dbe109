"""What a sampling notebook shows: who was asked for what, players, and what was made."""

from pathlib import Path

import numpy as np
import pandas as pd

from envsound.codec import Codec
from envsound.data.folds import recorded, split_folds
from envsound.report.players import player


def request_table(samples: pd.DataFrame) -> pd.DataFrame:
    """Return clips and seconds by class, from the rows of samples.csv."""
    named = samples.assign(category=samples["category"].replace("", "(no class)"))
    return named.groupby("category")["seconds"].agg(clips="count", seconds="sum")


def sample_players(samples: pd.DataFrame, folder: str | Path, per_category: int = 1) -> str:
    """Return HTML players of the first `per_category` clips of each class, linked from the notebooks folder."""
    shown = samples.groupby("category", sort=True).head(per_category)
    players = [
        player(Path(folder) / row.filename, row.category or row.filename, relative_to="notebooks")
        for row in shown.itertuples()
    ]
    return '<div class="players">' + "".join(players) + "</div>"


def train_frames(codes: pd.DataFrame, fold: int, train_folds: list[int]) -> np.ndarray:
    """Return the lengths (frames) of the training clips in a run's codes.csv, each once whatever its copies."""
    return recorded(split_folds(codes, fold, train_folds)[0])["n_frames"].to_numpy()


def facts_of(samples: pd.DataFrame, codec: Codec, checkpoint_sha256: str) -> dict:
    """Return what the provenance record keeps of a sampling run."""
    return {
        "n_samples": len(samples),
        "audio_seconds": float(samples["seconds"].sum()),
        "codec": codec.name,
        "codec_hash": codec.content_hash,
        "checkpoint_sha256": checkpoint_sha256,
    }


def findings_sampling(samples: pd.DataFrame, seconds: float) -> str:
    """Return a Markdown sentence on what was generated; `seconds` is the wall time it took."""
    audio = float(samples["seconds"].sum())
    classes = samples.loc[samples["category"] != "", "category"].nunique()
    asked = f"{classes} classes" if classes else "no class"
    return (
        f"{len(samples)} clips ({audio:.0f} s of audio, asked for by {asked}) took {seconds:.0f} s, "
        f"{_passes(samples.iloc[0])}."
    )


def _passes(row: pd.Series) -> str:
    steps = [int(number) for number in row["steps_per_level"].split()]
    if row.get("entropy_budget", 0) > 0:
        return f"with as many passes as an entropy of {row['entropy_budget']:g} nats a pass asks for"
    if 0 in steps:
        return f"with one pass for each code at {steps.count(0)} of {len(steps)} levels"
    return f"{sum(steps)} passes of the model for each clip at each guidance branch"
