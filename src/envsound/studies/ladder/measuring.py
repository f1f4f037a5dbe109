"""What rungs are worth: heard by judges, distances, copies, metrics, all on the validation fold, beside controls.

The judges are those of `evaluation.judges`, taught without the fold that the study tests on: the network by the folds
that teach the rungs, and so kinder to them, and a probe by the validation fold alone, which no rung has met.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from envsound.base.files import write_wav
from envsound.codec import load_codec
from envsound.codec.base import Codec
from envsound.codec.codes import decode
from envsound.data.folds import recorded, split_folds
from envsound.evaluation.controls import draw_like, make_controls
from envsound.evaluation.copies import chain_clips
from envsound.evaluation.judges import CNN, TRAINING, B, teach_judges
from envsound.evaluation.listeners.training import ListenerTraining
from envsound.evaluation.overview import COLUMNS, measure, said
from envsound.studies.ladder.climbing import VALIDATION_FOLD, Climb, Rung

CONTROLS = ("codec", "bigram", "unigram")  # of `evaluation.controls`, and the chains of columns
Table = pd.DataFrame


def report(
    climb: Climb,
    rungs: Sequence[Rung],
    learnt: Table,
    package: str | Path,
    training: ListenerTraining = TRAINING,
    seed: int = 0,
    n_jobs: int = 1,
) -> tuple[Table, dict[str, Any]]:
    """Return rungs.csv of rungs that have been climbed, and what the record keeps: folds, clips, judges.

    learnt: what `Climb.climb` returned; package: where `make judge` has put aiSFX, without which one judge judges.
    """
    base, rows = climb.base, climb.recorded()
    codec = load_codec(base["codec"], base["codec_weights"], climb.device.type)
    folds = VALIDATION_FOLD, base["train_folds"]
    known = recorded(rows[rows["fold"].isin([VALIDATION_FOLD, *base["train_folds"]])]).reset_index(drop=True)
    taught = teach_judges(known, codec, VALIDATION_FOLD, package, training, device=climb.device.type)
    judges = [one for one in taught if one.name in (B, CNN)]
    sides = {rung.name: climb.samples(rung) for rung in rungs}
    sides |= controls(rows, *folds, codec, climb.folder / "controls", seed)
    measured = measure(sides, rows, *folds, codec, judges, seed, n_jobs)
    facts = {"data_cut": climb.recordings.cut, "train_folds": folds[1], "validation_fold": folds[0]}
    facts |= {"n_samples": base["n_samples"], "judges": said(judges), "codec_hash": codec.content_hash}
    return with_rungs(measured, rungs, learnt), facts


def controls(
    rows: Table, fold: int, train_folds: Sequence[int], codec: Codec, folder: Path, seed: int
) -> dict[str, Table]:
    """Write clips that need no model, one for each recording of the validation fold, and return them by name.

    rows: of codes.csv. Those of CONTROLS, and chains of whole columns, with copying and without, through the codec.
    """
    train, held_out = split_folds(recorded(rows), fold, list(train_folds))
    made = make_controls(held_out, train, draw_like(train, held_out, seed), codec, folder / "counted", seed)
    seconds = float(held_out["seconds"].max())
    made = made.assign(filename=made["clip"], seconds=seconds)
    made.loc[made["system"] != "codec", "fold"] = 0  # drawn by counting: no judge has met such a clip
    sides = {name: made[made["system"] == name].reset_index(drop=True) for name in CONTROLS}
    for name, clips in chain_clips(train, held_out, codec, seed).items():
        place = folder / name
        table = held_out[["filename", "category", "seconds"]].assign(fold=0)
        table["path"] = [(place / f"{Path(clip.name).stem}.wav").as_posix() for clip in clips]
        for clip, path in zip(clips, table["path"], strict=True):
            if not Path(path).is_file():
                write_wav(path, decode(clip.codings[0], seconds, codec), codec.sample_rate)
        sides[name] = table
    return sides


def with_rungs(measured: Table, rungs: Sequence[Rung], learnt: Table) -> Table:
    """Return `measured` with what each rung is, `group`, `changes`, and what its training took; empty for controls."""
    named = pd.DataFrame([{"side": one.name, "group": one.group, "changes": one.words} for one in rungs])
    facts = named.merge(learnt.rename(columns={"rung": "side"}), on="side")
    table = measured.merge(facts, on="side", how="left").fillna({"group": "", "changes": ""})
    order = ["side", "group", "changes", *(name for name in facts if name not in ("side", "group", "changes"))]
    return table[[*order, *COLUMNS[1:]]]
