"""What a judge hears through codecs, and how far off their clips are in its space: probe A, on activations of aiSFX."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import soxr

from envsound.base.errors import NotHere
from envsound.codec.systems import Clips, System
from envsound.data.recordings import Recordings
from envsound.evaluation.judges import teach_probes
from envsound.evaluation.sides import REAL, Source, from_rows
from envsound.evaluation.spaces.aisfx import load_aisfx
from envsound.evaluation.spaces.distances import distance_table
from envsound.evaluation.spaces.embeddings import Embedding, KeptEmbedding, NotRun, embed_clips
from envsound.metrics.tests import wilson
from envsound.studies.codec_report.tables import ALL

DISTANCES = ["fad", "kad", "kad_low", "kad_high"]
JUDGED_COLUMNS = ["system", "category", "n", "heard", "heard_low", "heard_high", *DISTANCES, "note"]


def aisfx_here(package: str | Path, device: str) -> Embedding | NotRun:
    """Return the embedding that `make judge` has put into `package`, or why it is not here; points are kept."""
    try:
        return KeptEmbedding(load_aisfx(package, device))
    except NotHere as error:
        return NotRun("aiSFX", str(error))


def judge_systems(
    measured: Sequence[System],
    recordings: Recordings,
    held_out: pd.DataFrame,
    embedding: Embedding | NotRun,
    held_out_fold: int,
    timed: Sequence[str],
) -> pd.DataFrame:
    """Send held-out clips through every system and let probe A hear them: JUDGED_COLUMNS.

    A row for each system and ALL classes, then for each class. heard: the share that probe A, taught by the other
    folds, hears as the clip's own class, with Wilson's 95% interval; FAD and KAD are to the clips of the other folds
    (of ALL classes alone). timed: see `judges.teach_probes`. Where the embedding is not here one row says why.
    """
    if isinstance(embedding, NotRun):
        return pd.DataFrame([{"note": f"not run here: {embedding.reason}"}], columns=JUDGED_COLUMNS)
    rate, rows = recordings.sample_rate, []
    real = from_rows(recordings.table, recordings.clip_seconds)
    probe = teach_probes(real, embedding, held_out_fold, rate, timed)[0].classifier
    clips = [recordings.load(clip_id) for clip_id in held_out["clip_id"]]
    others = [one for one in real if one.fold != held_out_fold]
    sides = {system.name: through(system, clips, held_out, rate) for system in measured}
    points = {name: embed_clips(part, embedding, rate, name) for name, part in {REAL: others, **sides}.items()}
    distances = distance_table(points, embedding.name, by_class=False).set_index("side")
    for name in sides:
        right = probe.pipeline.predict(points[name].vectors) == points[name].clips["category"].to_numpy()
        far = distances.loc[name, [*DISTANCES, "note"]].to_dict()
        rows.append({"system": name, "category": ALL} | heard(right) | far)
        for category in sorted(set(points[name].clips["category"])):
            of_class = (points[name].clips["category"] == category).to_numpy()
            rows.append({"system": name, "category": category} | heard(right[of_class]))
    return pd.DataFrame(rows, columns=JUDGED_COLUMNS)


def through(system: System, clips: Clips, rows: pd.DataFrame, sample_rate: int) -> list[Source]:
    """Return clips, float32 [n_samples] at `sample_rate` Hz, through a system, under the names of their `rows`."""

    def load(place: int, rate: int) -> np.ndarray:
        clip = system.change(clips[place][None])[0]
        return clip if rate == sample_rate else soxr.resample(clip, sample_rate, rate, quality="HQ")

    return [
        Source(row.filename, lambda rate, place=place: load(place, rate), sample_rate, row.category, int(row.fold))
        for place, row in enumerate(rows.itertuples())
    ]


def heard(right: np.ndarray) -> dict[str, float]:
    """Return n, the share of bool [n] that is right, and its Wilson interval."""
    n, n_right = len(right), int(right.sum())
    low, high = wilson(n_right, n)
    return {"n": n, "heard": n_right / n, "heard_low": low, "heard_high": high}
