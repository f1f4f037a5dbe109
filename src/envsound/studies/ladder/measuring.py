"""What rungs are worth: heard by judges, distances, copies, metrics, all on the validation fold, beside controls.

The judges are those of `evaluation.judges`, taught without the fold that the study tests on: the network by the folds
that teach the rungs, and so kinder to them, and a probe by the validation fold alone, which no rung has met.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from envsound.base.files import write_wav
from envsound.codec import load_codec
from envsound.codec.base import Codec
from envsound.codec.codes import decode, load_codes
from envsound.data.folds import recorded, split_folds
from envsound.evaluation.compare import ASKED_FOR, measure_clips
from envsound.evaluation.controls import draw_like, make_controls
from envsound.evaluation.copies import TrainedCodes, chain_clips, coded_clips, find_copies
from envsound.evaluation.diversity import MEAN, diversity_table
from envsound.evaluation.judges import CNN, TRAINING, B, Judge, judge_sides, teach_judges
from envsound.evaluation.listeners.training import ListenerTraining
from envsound.evaluation.sides import REAL, clips_of, from_rows
from envsound.evaluation.spaces.distances import measure_distances
from envsound.evaluation.spaces.embeddings import KeptEmbedding, NotRun, Reduced, StatisticsEmbedding, embed_clips
from envsound.metrics.effects import effect_table
from envsound.metrics.extended import PER_CLIP
from envsound.studies.ladder.climbing import VALIDATION_FOLD, Climb, Rung

CONTROLS = ("codec", "bigram", "unigram")  # of `evaluation.controls`, and the chains of columns
NETWORK = {"n": "n", "accuracy": "heard", "low": "heard_low", "high": "heard_high", "refused": "refused"}
PROBE = {"share": "probe", "share_low": "probe_low", "share_high": "probe_high"}
DISTANCES = ["kad", "kad_low", "kad_high", "precision", "recall"]
COPIES = ["share_median", "run_median", "run_p90"]
MODES = {  # of the published study's failure modes, the metric whose Cliff's delta says how far off a rung is
    "high_frequencies": "share_above_5000_hz",
    "smoothing": "modulation_8_16_hz",
    "evolution": "envelope_correlation_s",
}
COLUMNS = ["side", *NETWORK.values(), *PROBE.values(), *DISTANCES, *COPIES, "mean_delta", "diversity", *MODES]
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


def measure(
    sides: Mapping[str, Table],
    rows: Table,
    fold: int,
    train_folds: Sequence[int],
    codec: Codec,
    judges: Sequence[Judge | NotRun],
    seed: int = 0,
    n_jobs: int = 1,
) -> Table:
    """Return COLUMNS, a row for each side and one for the real clips of the validation fold.

    sides: tables of clips (filename, category, path, fold, seconds) by name; rows: of codes.csv, all recordings with
    the versions that teach. heard: the share that the network hears as what was asked for, probe: that of the probe,
    relative to what it hears of real clips; KAD and recall in the statistics of log-mel spectra; copies against all
    versions; mean_delta: the mean size of Cliff's delta over all metrics; diversity: spread within a class over that of
    real clips; MODES: Cliff's delta of one metric each.
    """
    train, real = split_folds(rows, fold, list(train_folds))
    everything = {REAL: real, **sides}
    found = _heard(sides, rows[rows["fold"].isin([fold, *train_folds])], codec, judges)
    found = found.join(_distances(everything, recorded(train), codec.sample_rate, seed), how="outer")
    found = found.join(_copies(everything, train, codec), how="outer")
    found = found.join(_metrics(everything, float(real["seconds"].max()), seed, n_jobs), how="outer")
    return found.loc[[*everything]].rename_axis("side").reset_index().reindex(columns=COLUMNS)


def _heard(sides: Mapping[str, Table], rows: Table, codec: Codec, judges: Sequence[Judge | NotRun]) -> Table:
    parts = []
    for judge in judges:
        if isinstance(judge, NotRun):
            continue
        real = recorded(rows)[lambda own, taught=judge.taught_by: ~own["fold"].isin(taught)]
        new = {name: side for name, side in sides.items() if not set(side["fold"]) & set(judge.taught_by)}
        clips = {name: from_rows(side[side["category"] != ""]) for name, side in {REAL: real, **new}.items()}
        judged = judge_sides({name: own for name, own in clips.items() if own}, [judge], codec.sample_rate)
        table = judged.whole.set_index("system")
        asked = NETWORK if judge.name == CNN else PROBE
        parts.append(table[list(asked)].rename(columns=asked))
    return pd.concat(parts, axis=1)


def _distances(sides: Mapping[str, Table], train: Table, sample_rate: int, seed: int) -> Table:
    statistics = KeptEmbedding(StatisticsEmbedding())
    reference = embed_clips(from_rows(train), statistics, sample_rate, "train")
    reduced = Reduced(statistics, reference.vectors)
    clips = {name: from_rows(side) for name, side in sides.items()}
    table = measure_distances(clips, [reduced], sample_rate, seed, by_class=False)
    return table.set_index("side")[DISTANCES]


def _copies(sides: Mapping[str, Table], train: Table, codec: Any) -> Table:
    coded = {name: coded_clips(side, codec) for name, side in sides.items()}
    longest = max(codes.shape[1] for clips in coded.values() for clip in clips for codes in clip.codings)
    versions = [load_codes(file, codec.content_hash)[: codec.config.n_levels] for file in train["codes_file"]]
    search, rows = TrainedCodes(versions, codec.codebook_size, longest), {}
    for name, clips in coded.items():
        found = find_copies(name, clips, search, codec)
        runs = [one.run for one in found]
        rows[name] = [np.median([one.share for one in found]), np.median(runs), np.quantile(runs, 0.9)]
    return pd.DataFrame.from_dict(rows, orient="index", columns=COPIES)


def _metrics(sides: Mapping[str, Table], seconds: float, seed: int, n_jobs: int) -> Table:
    clips = pd.concat([clips_of(name, side) for name, side in sides.items()], ignore_index=True)
    clips, _ = measure_clips(clips, seconds, n_jobs=n_jobs)
    names = [name for name in PER_CLIP if name not in ASKED_FOR]
    effects = effect_table(clips, names, seed, 100)
    deltas = effects[effects["system"] != REAL].pivot(index="system", columns="metric", values="cliffs_delta")
    table = deltas[list(MODES.values())].set_axis(list(MODES), axis=1).assign(mean_delta=deltas.abs().mean(axis=1))
    spread = diversity_table(clips, names, seed, 100).set_index("category").loc[[MEAN]].set_index("system")["ratio"]
    return table.join(spread.rename("diversity"), how="outer")


def with_rungs(measured: Table, rungs: Sequence[Rung], learnt: Table) -> Table:
    """Return `measured` with what each rung is, `group`, `changes`, and what its training took; empty for controls."""
    named = pd.DataFrame([{"side": one.name, "group": one.group, "changes": one.words} for one in rungs])
    facts = named.merge(learnt.rename(columns={"rung": "side"}), on="side")
    table = measured.merge(facts, on="side", how="left").fillna({"group": "", "changes": ""})
    order = ["side", "group", "changes", *(name for name in facts if name not in ("side", "group", "changes"))]
    return table[[*order, *COLUMNS[1:]]]


def said(judges: Sequence[Judge | NotRun]) -> str:
    """Return in words who judged, taught by which folds, and who is not here."""
    found = [f"{one.name}: not run here" if isinstance(one, NotRun) else _taught(one) for one in judges]
    return "; ".join(found)


def _taught(judge: Judge) -> str:
    name = "network" if judge.name == CNN else "probe on aiSFX"
    folds = ", ".join(map(str, judge.taught_by))
    return f"{name}, taught by fold{'s' if len(judge.taught_by) > 1 else ''} {folds}"
