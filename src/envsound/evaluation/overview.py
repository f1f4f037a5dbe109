"""A row for each of some sides: heard by judges, distances, copies, metrics, beside real clips of a held-out fold.

Studies that set systems side by side make their tables of it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from envsound.codec.base import Codec
from envsound.codec.codes import load_codes
from envsound.data.folds import recorded, split_folds
from envsound.evaluation.compare import ASKED_FOR, measure_clips
from envsound.evaluation.copies import TrainedCodes, coded_clips, find_copies
from envsound.evaluation.diversity import MEAN, diversity_table
from envsound.evaluation.judges import CNN, Judge, judge_sides
from envsound.evaluation.sides import REAL, clips_of, from_rows
from envsound.evaluation.spaces.distances import measure_distances
from envsound.evaluation.spaces.embeddings import KeptEmbedding, NotRun, Reduced, StatisticsEmbedding, embed_clips
from envsound.metrics.effects import effect_table
from envsound.metrics.extended import PER_CLIP
from envsound.metrics.tests import ALPHA

NETWORK = {"n": "n", "accuracy": "heard", "low": "heard_low", "high": "heard_high", "refused": "refused"}
PROBE = {"share": "probe", "share_low": "probe_low", "share_high": "probe_high"}
DISTANCES = ["kad", "kad_low", "kad_high", "precision", "recall"]
COPIES = ["share_median", "run_median", "run_p90"]
MODES = {  # of the published study's failure modes, the metric whose Cliff's delta says how far off a side is
    "high_frequencies": "share_above_5000_hz",
    "smoothing": "modulation_8_16_hz",
    "evolution": "envelope_correlation_s",
}
TOLD_APART = ["mean_delta", "n_apart", "n_metrics", "largest_ks", "diversity"]
COLUMNS = ["side", *NETWORK.values(), *PROBE.values(), *DISTANCES, *COPIES, *TOLD_APART, *MODES]
Table = pd.DataFrame


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
    """Return COLUMNS, a row for each side and one for the real clips of the held-out fold.

    sides: tables of clips (filename, category, path, fold, seconds) by name; rows: of codes.csv, all recordings with
    the versions that teach. heard: the share that the network hears as what was asked for, probe: that of the probe,
    relative to what it hears of real clips; KAD and recall in the statistics of log-mel spectra; copies against all
    versions; mean_delta: the mean size of Cliff's delta over all metrics; n_apart: how many of n_metrics tell the side
    from real clips after Holm; largest_ks: the largest distance of Kolmogorov and Smirnov; diversity: spread within a
    class over that of real clips; MODES: Cliff's delta of one metric each.
    """
    train, real = split_folds(rows, fold, list(train_folds))
    everything = {REAL: real, **sides}
    found = _heard(sides, rows[rows["fold"].isin([fold, *train_folds])], codec, judges)
    found = found.join(_distances(everything, recorded(train), codec.sample_rate, seed), how="outer")
    found = found.join(_copies(everything, train, codec), how="outer")
    found = found.join(_metrics(everything, float(real["seconds"].max()), seed, n_jobs), how="outer")
    return found.loc[[*everything]].rename_axis("side").reset_index().reindex(columns=COLUMNS)


def said(judges: Sequence[Judge | NotRun]) -> str:
    """Return in words who judged, taught by which folds, and who is not here."""
    found = [f"{one.name}: not run here" if isinstance(one, NotRun) else _taught(one) for one in judges]
    return "; ".join(found)


def _taught(judge: Judge) -> str:
    name = "network" if judge.name == CNN else "probe on aiSFX"
    folds = ", ".join(map(str, judge.taught_by))
    return f"{name}, taught by fold{'s' if len(judge.taught_by) > 1 else ''} {folds}"


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
    effects = effect_table(clips, names, seed, 100).query("system != @REAL")
    deltas = effects.pivot(index="system", columns="metric", values="cliffs_delta")
    table = deltas[list(MODES.values())].set_axis(list(MODES), axis=1).assign(mean_delta=deltas.abs().mean(axis=1))
    tested = effects.assign(apart=effects["p_holm"] < ALPHA).groupby("system")
    table = table.assign(n_apart=tested["apart"].sum(), n_metrics=tested["ks"].count(), largest_ks=tested["ks"].max())
    spread = diversity_table(clips, names, seed, 100).set_index("category").loc[[MEAN]].set_index("system")["ratio"]
    return table.join(spread.rename("diversity"), how="outer")
