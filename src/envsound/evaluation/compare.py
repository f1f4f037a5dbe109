"""Finished runs beside real clips: who is compared with whom, at which rate, every clip's metrics, and their tables.

`evaluate_run` takes the published metrics of four sides. `real` and `generated` are the comparison; `codec`, the same
real clips through the codec, is the ceiling a model of codes can reach; `real_other`, as many real clips from other
folds, is the floor that chance alone gives. `evaluate_runs` takes every metric, and controls that need no model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from envsound.base.errors import InputError
from envsound.base.files import write_tables
from envsound.base.text import code_span
from envsound.codec import load_codec
from envsound.codec.codes import load_codes
from envsound.evaluation.controls import CEILING, SYSTEMS, draw_like
from envsound.evaluation.diversity import COLUMNS as DIVERSITY_COLUMNS
from envsound.evaluation.diversity import diversity_table
from envsound.evaluation.sides import (
    FLOOR,
    MODEL,
    REAL,
    Source,
    clips_of,
    common_rate,
    from_codes,
    from_file,
    from_rows,
    gather_clips,
    rates_of,
    recordings_of,
    samples_of,
)
from envsound.metrics.acoustic import ACOUSTIC, acoustic, chosen, log_spectral_distance, spectral_convergence
from envsound.metrics.effects import class_table, effect_table, seed_table
from envsound.metrics.extended import CACHE, FOUND, PER_CLIP, Request, measure_files
from envsound.metrics.published import PUBLISHED, summary_table
from envsound.metrics.tests import N_SWAPS
from envsound.run.record import RunSettings, read_runs, read_settings

ASKED_FOR = ("duration_s",)  # not generated: no test of it, and no part in how different clips are
BESIDE_COLUMNS = [
    "run", "fold", "metric", "n", "n_real", "cliffs_delta", "cliffs_delta_low", "cliffs_delta_high",
    "wasserstein_in_sd", "ks", "p_holm",
]  # fmt: skip
# What a model is to reach in every class.
LEVEL, KS = "level_db", "ks_{}"
LOUDER_DB, SHARE = 3.0, 0.25  # furthest from real clips: of the level, and of the metrics IN_TIME as a share
IN_TIME = ("envelope_correlation_s", "modulation_8_16_hz")
TOLD_BY = tuple(name for name in ACOUSTIC if name != "duration_s")  # the six metrics of the published study
GOAL_COLUMNS = ["category", "run", "quantity", "value", "real", "real_other", "difference", "limit", "met"]


@dataclass(frozen=True)
class Report:
    """What an evaluation found: tables by the names of their csv files, and facts for the provenance record.

    notes: what a reader must know, in Markdown.
    """

    tables: Mapping[str, pd.DataFrame]
    facts: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def __getitem__(self, name: str) -> pd.DataFrame:
        return self.tables[name]

    def write(self, folder: str | Path) -> None:
        """Write each table as csv into a folder."""
        write_tables(folder, self.tables)

    def listed(self) -> str:
        """Return the notes as a Markdown list."""
        return "\n".join(f"- {note}" for note in self.notes)


def draw_real(clips: pd.DataFrame, folds: Sequence[int], n: int, seed: int) -> pd.DataFrame:
    """Draw `n` rows of a table of recordings from the given folds, without replacement, in the table's order.

    All of them when the folds hold fewer. Raises InputError for a fold that is not there or n below 1.
    """
    present = sorted(int(fold) for fold in clips["fold"].unique())
    absent = [fold for fold in folds if fold not in present]
    if absent or not folds:
        raise InputError(f"real_folds={list(folds)}: expected some of the folds {present}")
    if n < 1:
        raise InputError(f"n_real={n}: expected at least 1")
    pool = clips[clips["fold"].isin(folds)]
    if len(pool) > n:
        rows = np.random.default_rng(seed).choice(len(pool), size=n, replace=False)
        pool = pool.iloc[np.sort(rows)]
    return pool.reset_index(drop=True)


def measure_side(clips: Sequence[Source], side: str, sample_rate: int, metrics: Sequence[str] = ()) -> pd.DataFrame:
    """Measure every clip of a side at `sample_rate` Hz: rows of metrics.csv, in order.

    `metrics` chooses among the acoustic ones (none: all). A clip that cannot be read is a row too: no
    samples, NaN for every metric, and its `problem` in words.
    """
    names = [name for name in chosen(metrics) if name in ACOUSTIC]
    return pd.DataFrame([
        {"side": side, "clip": source.name, "category": source.category, "fold": source.fold,
         "sample_rate_hz": sample_rate} | _measured(source, sample_rate, names)
        for source in tqdm(clips, desc=f"measuring {side}", unit="clip", leave=False)
    ])  # fmt: skip


def pair_clips(generated: pd.DataFrame, real: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Give each generated clip one real one, of its own category when it has one, drawn by `seed`.

    Both tables are rows of metrics.csv; unreadable clips are left out. Within a category no real clip serves
    twice before each has served once. Returns the columns real, generated, category, in the order of
    `generated`. Raises InputError when a side has no readable clip.
    """
    generated, real = (rows[rows["n_samples"] > 0].reset_index(drop=True) for rows in (generated, real))
    if generated.empty or real.empty:
        raise InputError("pairs: a side has no clip that can be read, expected at least one real and one generated")
    partners = draw_like(real, generated, seed, or_any=True)["clip"]
    return pd.DataFrame({"real": partners, "generated": generated["clip"], "category": generated["category"]})


def measure_pairs(
    pairs: pd.DataFrame, real: Sequence[Source], generated: Sequence[Source], sample_rate: int
) -> pd.DataFrame:
    """Measure pairs of clips at `sample_rate` Hz: the columns of pairs.csv (energy is the sum of squares)."""
    reals, others = ({source.name: source for source in side} for side in (real, generated))
    rows = []
    for row in tqdm(pairs.to_dict("records"), desc="measuring pairs", unit="pair", leave=False):
        x, y = reals[row["real"]].load(sample_rate), others[row["generated"]].load(sample_rate)
        rows.append(row | {
            "spectral_convergence": spectral_convergence(x, y),
            "log_spectral_distance": log_spectral_distance(x, y),
            "real_energy": float(np.sum(x.astype(np.float64) ** 2)),
            "generated_energy": float(np.sum(y.astype(np.float64) ** 2)),
            "real_duration_s": x.size / sample_rate,
            "generated_duration_s": y.size / sample_rate,
        })  # fmt: skip
    return pd.DataFrame(rows)


def paired_report(sides: Mapping[str, Sequence[Source]], rows: pd.DataFrame, rate: int, seed: int = 0) -> Report:
    """Pair generated with real, and summarise: the tables metrics (which are `rows`), pairs and table_metrics.

    rows: of metrics.csv, of all `sides`, which were measured at `rate` Hz.
    """
    pairs = pair_clips(rows[rows["side"] == MODEL], rows[rows["side"] == REAL], seed)
    pairs = measure_pairs(pairs, sides[REAL], sides[MODEL], rate)
    tables = {"metrics": rows, "pairs": pairs, "table_metrics": summary_table(rows, pairs, PUBLISHED)}
    notes = _notes(sides, rows, rate)
    facts = {"sample_rate_hz": rate, "n_clips": rows["side"].value_counts().to_dict(), "notes": notes}
    return Report(tables, facts, notes)


def evaluate_run(
    run_dir: str | Path,
    *,
    fold: int = 1,
    n_real: int = 100,
    real_folds: Sequence[int] = (),
    real_seed: int = 0,
    train_folds: Sequence[int] = (),
    metrics: Sequence[str] = (),
    clip_seconds: float = 5.0,
    codec: str = "patches",
    codec_weights: str = "",
    codec_weights_sha256: str = "",
    device: str = "auto",
) -> Report:
    """Evaluate a run in the published metrics and write the tables of `paired_report` into it.

    Generated clips are those of the run's samples.csv; real clips `n_real` of its codes.csv from `real_folds` (none:
    the held-out `fold`). codec: "" for no ceiling; the floor is drawn from `train_folds` (none: all other folds). All
    clips are cut to `clip_seconds` (0: whole), and measured at the lowest rate of any. metrics: some of the acoustic
    ones (none: all). Raises InputError for a request that cannot be met.
    """
    if clip_seconds < 0:
        raise InputError(f"clip_seconds={clip_seconds}: expected 0 or more")
    clips, folds = recordings_of(run_dir), list(real_folds) or [fold]
    drawn = draw_real(clips, folds, n_real, real_seed)
    sides = {REAL: from_rows(drawn, clip_seconds), MODEL: from_rows(samples_of(run_dir), clip_seconds)}
    if codec:
        loaded = load_codec(codec, codec_weights, device, codec_weights_sha256)
        load_codes(drawn["codes_file"].iloc[0], loaded.content_hash)  # another codec's codes fail here, at once
        sides[CEILING] = from_codes(drawn, loaded)
    others = sorted(set(train_folds or clips["fold"]) - set(folds))
    if others:
        sides[FLOOR] = from_rows(draw_real(clips, others, len(drawn), real_seed), clip_seconds)
    rate = common_rate(*sides.values())
    rows = [measure_side(sources, side, rate, metrics) for side, sources in sides.items()]
    report = paired_report(sides, pd.concat(rows, ignore_index=True), rate, real_seed)
    report.write(run_dir)
    return report


def measure_clips(
    clips: pd.DataFrame, max_seconds: float, cache_dir: str | Path = CACHE, n_jobs: int = 1
) -> tuple[pd.DataFrame, int]:
    """Return clips with every metric and `problem` beside them, and the rate in Hz at which all were measured.

    That is the lowest rate at which any of them is stored.
    """
    paths = list(dict.fromkeys(clips["path"]))
    rate = common_rate([from_file(path) for path in paths])
    measured = measure_files(paths, Request(rate, max_seconds), cache_dir, n_jobs)
    return clips.merge(measured.drop(columns=FOUND), on="path", how="left", validate="many_to_one"), rate


def tables_of(clips: pd.DataFrame, seed: int = 0, n_resamples: int = 1000) -> dict[str, pd.DataFrame]:
    """Return the tables of measured clips, by name: effects, by class, over training seeds, diversity, and the clips.

    clips: columns `sides.CLIP_COLUMNS`, PER_CLIP and problem, the system "real" among them. The table of diversity is
    empty where no metric varies over the real clips. What is ASKED_FOR is described, and neither tested nor part of
    diversity.
    """
    names = list(PER_CLIP)
    effects = effect_table(clips, names, seed, n_resamples, ASKED_FOR)
    try:
        diversity = diversity_table(clips, [name for name in names if name not in ASKED_FOR], seed, n_resamples)
    except InputError:
        diversity = pd.DataFrame(columns=DIVERSITY_COLUMNS)
    return {
        "evaluation": effects,
        "evaluation_by_class": class_table(clips, names, seed, n_resamples, ASKED_FOR),
        "evaluation_seeds": seed_table(effects),
        "diversity": diversity,
        "evaluation_clips": clips,
    }


def goals_by_class(by_class: pd.DataFrame) -> pd.DataFrame:
    """Return how far a model is from real clips in each class, from evaluation_by_class.csv: GOAL_COLUMNS.

    A row for each class, run and quantity, medians over clips: the level (rms, dB; `difference` in dB), the metrics
    IN_TIME (`difference` as a share of `real`), and the Kolmogorov-Smirnov distance to real clips in the six metrics of
    the published study, whose `real` is 0. real_other: of the real clips of other folds, which no model made. limit:
    what `difference` may be, either way; of a distance its threshold at 5%. met: "yes" or "no", "" where not known.
    Empty when no class has clips of a model.
    """
    keys = ["category", "metric"]
    real, other = (by_class[by_class["system"] == name].set_index(keys) for name in (REAL, FLOOR))
    rows = []
    for row in by_class[by_class["system"] == MODEL].to_dict("records"):
        place = row["category"], row["metric"]
        told = {"category": row["category"], "run": row["run"]}
        medians = [row["median"], *(side["median"].get(place, np.nan) for side in (real, other))]
        if row["metric"] == "rms":
            levels = [20 * np.log10(max(value, 1e-12)) for value in medians]
            rows.append(told | _goal(LEVEL, levels, levels[0] - levels[1], LOUDER_DB))
        if row["metric"] in IN_TIME:
            share = medians[0] / medians[1] - 1 if medians[1] else np.nan
            rows.append(told | _goal(row["metric"], medians, share, SHARE))
        if row["metric"] in TOLD_BY:
            distances = [row["ks"], 0.0, other["ks"].get(place, np.nan)]
            rows.append(told | _goal(KS.format(row["metric"]), distances, row["ks"], row["threshold_5_percent"]))
    return pd.DataFrame(rows, columns=GOAL_COLUMNS)


def evaluate_runs(
    run_dir: str | Path,
    more_runs: Sequence[str | Path] = (),
    seed: int = 0,
    n_resamples: int = 1000,
    n_jobs: int = 1,
    device: str = "auto",
    cache_dir: str | Path = CACHE,
) -> Report:
    """Evaluate a finished run, and further training seeds of it, in every metric of PER_CLIP; see `tables_of`.

    seed: of the floor, the controls and the resamples. Raises InputError when the runs do not belong together or one
    is not finished.
    """
    runs = read_runs(run_dir, more_runs)
    first = runs[0]
    codec = load_codec(first.codec, first.codec_weights, device, first.codec_weights_sha256)
    clips = gather_clips(runs, codec, Path(run_dir) / "controls", seed)
    clips, rate = measure_clips(clips, first.clip_seconds, cache_dir, n_jobs)
    counts = clips.groupby(["system", "run"], sort=False).size()
    facts = {
        "sample_rate_hz": rate,
        "n_clips": {" ".join(filter(None, key)): int(n) for key, n in counts.items()},
        "held_out_fold": first.fold,
        "train_folds": sorted(int(fold) for fold in set(clips.loc[clips["system"] == FLOOR, "fold"])),
        "codec": codec.name,
        "codec_hash": codec.content_hash,
        "training_seeds": [run.seed for run in runs],
        "problems": clips.loc[clips["problem"] != "", "problem"].drop_duplicates().tolist(),
        "n_metrics": len(PER_CLIP) - len(ASKED_FOR),
        "n_swaps": N_SWAPS,
    }
    tables = tables_of(clips, seed, n_resamples)
    return Report(tables | {"goals_by_class": goals_by_class(tables["evaluation_by_class"])}, facts)


def systems_in(clips: pd.DataFrame) -> pd.DataFrame:
    """Return the systems in a table of clips, in words, with their runs and numbers of clips."""
    counts = clips.groupby(["system", "run"], sort=False).size().reset_index(name="n")
    return counts.assign(what=counts["system"].map(SYSTEMS))


def runs_beside(
    run_dirs: Sequence[str | Path], seed: int = 0, n_resamples: int = 1000, n_jobs: int = 1,
    cache_dir: str | Path = CACHE,
) -> pd.DataFrame:  # fmt: skip
    """Return how far finished runs, of whatever presets, are from real clips: BESIDE_COLUMNS, a row a run and metric.

    Each run, called by the last two parts of its folder, is compared with all real clips of its own held-out fold, and
    Holm's correction is over its metrics. All clips are measured at the lowest rate of any, cut to the shortest length
    that any run was made with.
    """
    runs = [read_settings(folder) for folder in run_dirs]
    clips = pd.concat(map(_real_and_generated, runs), ignore_index=True)
    lengths = [run.clip_seconds for run in runs if run.clip_seconds]
    clips, _ = measure_clips(clips, min(lengths, default=0), cache_dir, n_jobs)
    tables = []
    for (name, rows), run in zip(clips.groupby("place", sort=False), runs, strict=True):
        table = effect_table(rows, list(PER_CLIP), seed, n_resamples, ASKED_FOR)
        tables.append(table[table["system"] == MODEL].assign(run=name, fold=run.fold))
    return pd.concat(tables, ignore_index=True)[BESIDE_COLUMNS]


def _real_and_generated(run: RunSettings) -> pd.DataFrame:
    table = recordings_of(run.folder)
    parts = [clips_of(REAL, table[table["fold"] == run.fold]), clips_of(MODEL, samples_of(run.folder))]
    return pd.concat(parts).assign(place="/".join(run.folder.parts[-2:]))


def _goal(quantity: str, values: list[float], difference: float, limit: float) -> dict[str, float | str]:
    """values: of the model, of real clips, of other real clips."""
    known = not (np.isnan(difference) or np.isnan(limit))
    met = ("yes" if abs(difference) <= limit else "no") if known else ""
    return {"quantity": quantity} | dict(zip(GOAL_COLUMNS[3:], [*values, difference, limit, met], strict=True))


def _measured(source: Source, sample_rate: int, names: Sequence[str]) -> dict[str, Any]:
    try:
        clip = source.load(sample_rate)
        values = acoustic(clip, sample_rate)
    except InputError as error:
        return {"n_samples": 0, "peak": np.nan, **dict.fromkeys(names, np.nan), "problem": str(error)}
    peak = float(np.abs(clip).max())
    return {"n_samples": clip.size, "peak": peak, **{name: values[name] for name in names}, "problem": ""}


def _notes(sides: Mapping[str, Sequence[Source]], rows: pd.DataFrame, rate: int) -> list[str]:
    """Return the common rate, how many clips each side has, which could not be measured, and classes without any."""
    stored = ", ".join(f"{side} {rates_of(clips)}" for side, clips in sides.items())
    notes = [f"Everything is measured at {rate} Hz, the lowest rate of any side (stored: {stored})."]
    notes.append(f"Clips: {', '.join(f'{side} n = {len(clips)}' for side, clips in sides.items())}.")
    for row in rows[rows["problem"] != ""].itertuples():
        notes.append(f"Not measured: {row.side} {code_span(row.clip)}: {row.problem}")
    real, generated = (set(rows.loc[rows["side"] == side, "category"]) - {""} for side in (REAL, MODEL))
    if generated - real:
        names = ", ".join(map(code_span, sorted(generated - real)))
        notes.append(f"No real clip of {names}: those are paired with any real clip.")
    return notes
