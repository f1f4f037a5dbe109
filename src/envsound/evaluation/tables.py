"""The extended evaluation of finished runs: who is compared, every clip measured, and the tables this makes."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from envsound.base.errors import InputError
from envsound.base.files import inside, read_csv, write_tables
from envsound.codec import load_codec
from envsound.codec.base import Codec
from envsound.data.folds import recorded, training_sets
from envsound.evaluation.controls import SYSTEMS, Material, draw_like, make_controls
from envsound.evaluation.diversity import COLUMNS as DIVERSITY_COLUMNS
from envsound.evaluation.diversity import MEAN, diversity_table
from envsound.evaluation.sides import common_rate, from_file, text_column
from envsound.metrics.effects import class_table, effect_table, seed_table
from envsound.metrics.extended import CACHE, PER_CLIP, Request, measure_files
from envsound.metrics.tests import ALPHA, N_SWAPS, PAIRED
from envsound.run.record import RunSettings, read_runs

TABLES = ("evaluation", "evaluation_by_class", "evaluation_seeds", "diversity", "evaluation_clips")
PAIRS_WORDS = "Pairs are the real clips themselves and what became of them: their test finds smaller changes. "
CLIP_COLUMNS = ["system", "run", "clip", "path", "category", "fold"]
ASKED_FOR = ("duration_s",)  # not generated: no test of it, and no part in how different clips are


@dataclass(frozen=True)
class EvaluationReport:
    """What an evaluation found, one table for each of TABLES, and facts for the provenance."""

    evaluation: pd.DataFrame
    evaluation_by_class: pd.DataFrame
    evaluation_seeds: pd.DataFrame
    diversity: pd.DataFrame
    evaluation_clips: pd.DataFrame
    facts: dict[str, Any] = field(default_factory=dict)

    def write(self, folder: str | Path) -> None:
        """Write each table as csv into a folder."""
        write_tables(folder, {name: getattr(self, name) for name in TABLES})


def gather_clips(runs: Sequence[RunSettings], codec: Codec, controls_dir: str | Path, seed: int) -> pd.DataFrame:
    """Return every clip of a comparison, columns CLIP_COLUMNS: real, floor, ceiling, controls, and each run's samples.

    Real clips are all of the held-out fold; those of the floor, and what controls are made of, are drawn from the folds
    the model was trained on, as many of each class. Control clips are written below `controls_dir`.
    """
    run = runs[0]
    table = recorded(read_csv(run.folder / "codes.csv"))
    train, _ = training_sets(table, run.fold, list(run.train_folds), run.validation_fold)
    held_out = table[table["fold"] == run.fold].reset_index(drop=True)
    drawn = draw_like(train, held_out, seed)
    controls = make_controls(Material(held_out, train, drawn), codec, controls_dir, seed)
    parts = [recordings("real", held_out), recordings("real_other", drawn), controls.assign(run="")]
    clips = pd.concat([*parts, *map(_samples, runs)], ignore_index=True)
    order = {name: place for place, name in enumerate(SYSTEMS)}
    return clips.sort_values("system", key=lambda names: names.map(order), kind="stable", ignore_index=True)[
        CLIP_COLUMNS
    ]


def measure_clips(
    clips: pd.DataFrame, max_seconds: float, cache_dir: str | Path = CACHE, n_jobs: int = 1
) -> tuple[pd.DataFrame, int]:
    """Return clips with every metric and `problem` beside them, and the rate in Hz at which all were measured.

    That is the lowest rate at which any of them is stored.
    """
    paths = list(dict.fromkeys(clips["path"]))
    rate = common_rate([from_file(path) for path in paths])
    measured = measure_files(paths, Request(rate, max_seconds), cache_dir, n_jobs)
    return clips.merge(measured, on="path", how="left", validate="many_to_one"), rate


def tables_of(clips: pd.DataFrame, seed: int = 0, n_resamples: int = 1000) -> EvaluationReport:
    """Return the tables of measured clips: columns CLIP_COLUMNS, PER_CLIP and problem, the system "real" among them.

    The table of diversity is empty where no metric varies over the real clips. What is ASKED_FOR is described, and
    neither tested nor part of diversity.
    """
    names = list(PER_CLIP)
    generated = [name for name in names if name not in ASKED_FOR]
    table = effect_table(clips, names, seed, n_resamples, ASKED_FOR)
    try:
        diversity = diversity_table(clips, generated, seed, n_resamples)
    except InputError:
        diversity = pd.DataFrame(columns=DIVERSITY_COLUMNS)
    return EvaluationReport(
        evaluation=table,
        evaluation_by_class=class_table(clips, names, seed, n_resamples, ASKED_FOR),
        evaluation_seeds=seed_table(table),
        diversity=diversity,
        evaluation_clips=clips,
        facts={"n_metrics": len(generated), "n_swaps": N_SWAPS},
    )


def evaluate_runs(
    run_dir: str | Path,
    more_runs: Sequence[str | Path] = (),
    seed: int = 0,
    n_resamples: int = 1000,
    n_jobs: int = 1,
    device: str = "auto",
    cache_dir: str | Path = CACHE,
) -> EvaluationReport:
    """Evaluate a finished run, and further training seeds of it, in every metric of PER_CLIP; see the tables' makers.

    seed: of the floor, the controls and the resamples. Raises InputError when the runs do not belong together or one
    is not finished.
    """
    runs = read_runs(run_dir, more_runs)
    first = runs[0]
    codec = load_codec(first.codec, first.codec_weights, device, first.codec_weights_sha256)
    clips = gather_clips(runs, codec, Path(run_dir) / "controls", seed)
    clips, rate = measure_clips(clips, first.clip_seconds, cache_dir, n_jobs)
    report = tables_of(clips, seed, n_resamples)
    counts = clips.groupby(["system", "run"], sort=False).size()
    facts = {
        "sample_rate_hz": rate,
        "n_clips": {" ".join(filter(None, key)): int(n) for key, n in counts.items()},
        "held_out_fold": first.fold,
        "train_folds": sorted(int(fold) for fold in set(clips.loc[clips["system"] == "real_other", "fold"])),
        "codec": codec.name,
        "codec_hash": codec.content_hash,
        "training_seeds": [run.seed for run in runs],
        "problems": clips.loc[clips["problem"] != "", "problem"].drop_duplicates().tolist(),
    }
    return replace(report, facts=facts | report.facts)


def describe_systems(clips: pd.DataFrame, left_out: Sequence[str] = ()) -> str:
    """Return a Markdown list of the systems in a table of clips, in words, with their runs and numbers of clips.

    left_out: runs beside the first that were found and not taken, in words.
    """
    lines = []
    for (system, run), rows in clips.groupby(["system", "run"], sort=False):
        words = f"{SYSTEMS[system]}, {run}" if run else SYSTEMS[system]
        lines.append(f"- `{system}`: {words}; n = {len(rows)}")
    lines += [f"- left out: {words}" for words in left_out]
    return "\n".join(lines)


def telling_apart(table: pd.DataFrame, alpha: float = ALPHA) -> pd.DataFrame:
    """Return how many metrics tell each system and run from real clips, from a table of `effects.effect_table`.

    Columns: system, run; n and n_real, clips, the most of any metric; test, see `effects.effect_table`; n_tests, of
    metrics that can be tested at all; n_apart, of those that the test rejects at `alpha` after Holm; apart, their
    names, the largest distance first.
    """
    rows = []
    for (system, run), group in _tested(table).groupby(["system", "run"], sort=False):
        apart = group[group["p_holm"] < alpha].sort_values("ks", ascending=False, kind="stable")["metric"]
        numbers = [int(group[name].max()) for name in ("n", "n_real")]
        rows.append((system, run, *numbers, group["test"].iloc[0], len(group), len(apart), list(apart)))
    return pd.DataFrame(rows, columns=["system", "run", "n", "n_real", "test", "n_tests", "n_apart", "apart"])


def findings_evaluation(report: EvaluationReport, alpha: float = ALPHA, model: str = "model") -> str:
    """Return Markdown sentences: how many metrics tell a system from real, where the model is furthest.

    model: what the system "generated" is called.
    """
    names, table, counts = SYSTEMS | {"generated": model}, _tested(report.evaluation), []
    if table.empty:
        return "No metric can be tested."
    for row in telling_apart(report.evaluation, alpha).itertuples():
        words = f"{names[row.system]}, {row.run}" if row.run else names[row.system]
        counts.append(f"{words} ({row.n} {'pairs' if row.test == PAIRED else 'clips'}): {row.n_apart}")
    n_tests, n_real = table.groupby(["system", "run"]).size().max(), int(table["n_real"].max())
    text = f"How many of {n_tests} metrics tell a system from {n_real} real clips, at {100 * alpha:g}% after Holm: "
    text += f"{'; '.join(counts)}. "
    if (table["test"] == PAIRED).any():
        text += PAIRS_WORDS
    rows = table[table["system"] == "generated"]
    if not rows.empty:
        top = rows.loc[rows["cliffs_delta"].abs().idxmax()]
        text += f"The {model} ({top['run']}) is furthest in **{PER_CLIP[top['metric']].label}**: Cliff's delta "
        text += f"{_interval(top, 'cliffs_delta', '+.2f')}. "
    text += " ".join(_spread_sentence(row) for _, row in _model_spread(report.diversity).iterrows())
    return text + _seeds_sentence(report.evaluation_seeds)


def _tested(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows whose test says something: the metric is defined on both sides, and not the same throughout."""
    return table[table["ks"].notna() & (table["note"] == "")]


def recordings(system: str, rows: pd.DataFrame) -> pd.DataFrame:
    """Return rows of a table of recordings as clips of a system: path, category, fold, system, run, clip."""
    return rows[["path", "category", "fold"]].assign(system=system, run="", clip=rows["filename"])


def _samples(run: RunSettings) -> pd.DataFrame:
    table = read_csv(run.folder / "samples.csv")
    if table.empty:
        raise InputError(f"{run.folder}/samples.csv: lists no sample; expected at least one")
    paths = [inside(run.folder / "samples", name).as_posix() for name in table["filename"]]
    found = {"path": paths, "category": text_column(table, "category"), "clip": table["filename"]}
    return pd.DataFrame(found).assign(system="generated", run=run.name, fold=0)


def _model_spread(diversity: pd.DataFrame) -> pd.DataFrame:
    rows = diversity[(diversity["system"] == "generated") & diversity["ratio"].notna()]
    return rows[rows["category"] == (MEAN if (rows["category"] == MEAN).any() else "all clips")]


def _spread_sentence(row: pd.Series) -> str:
    within = "clips of one class" if row["category"] == MEAN else "clips"
    return f"Its {within} ({row['run']}) lie {_interval(row, 'ratio', '.2f')} times as far apart as real ones."


def _seeds_sentence(seeds: pd.DataFrame) -> str:
    if seeds.empty:
        return ""
    if seeds["n_runs"].iloc[0] < 2:
        return " With one training seed, how much training itself varies is not known."
    widest = seeds.loc[(seeds["cliffs_delta_highest"] - seeds["cliffs_delta_lowest"]).idxmax()]
    return (
        f" Over {widest['n_runs']} training seeds Cliff's delta varies most in {PER_CLIP[widest['metric']].label}: "
        f"{widest['cliffs_delta_lowest']:+.2f} to {widest['cliffs_delta_highest']:+.2f}."
    )


def _interval(row: pd.Series, name: str, digits: str) -> str:
    ends = [row[f"{name}_low"], row[f"{name}_high"]]
    return f"{row[name]:{digits}}" + ("" if pd.isna(ends).any() else f" ({ends[0]:{digits}} to {ends[1]:{digits}})")
