"""Sides made of anybody's files: what cannot be compared is named and left out, all else measured at one rate."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from envsound.base.errors import InputError
from envsound.base.text import code_span, printable
from envsound.evaluation.sides import Source
from envsound.evaluation.tables import CLIP_COLUMNS, EvaluationReport, tables_of
from envsound.metrics.extended import CACHE, LOWEST_RATE, PER_CLIP, Request, measure, measure_files
from envsound.metrics.measures import SILENT

PARAMETERS = {"generated": "generated_dir", "real": "real_dir"}
SKIPPED_COLUMNS = ["side", "clip", "reason"]
MOST_CLASSES = 60  # subfolders compared one by one; with more, clips are compared whatever their subfolder
LEFT_OUT = "Left out of"  # how a note on such files begins
NAMED = 8  # files that a note names; skipped.csv and the report name all


@dataclass(frozen=True)
class Measuring:
    """How files are measured: cut to max_seconds (s; 0: whole), left out below min_seconds (s), by n_jobs processes."""

    max_seconds: float = 0.0
    min_seconds: float = 0.1
    n_jobs: int = 1
    cache_dir: str | Path = CACHE


@dataclass(frozen=True)
class MeasuredSides:
    """What is compared, and what is not.

    sources: of each side the clips compared; clips: a row for each of them, columns side, clip, category, fold, path
    and PER_CLIP; skipped: columns SKIPPED_COLUMNS; sample_rate: Hz, at which all were measured; n_found: files of each
    side.
    """

    sources: dict[str, list[Source]]
    clips: pd.DataFrame
    skipped: pd.DataFrame
    sample_rate: int
    n_found: dict[str, int]


def measure_sides(sides: dict[str, list[Source]], how: Measuring) -> MeasuredSides:
    """Measure every clip of every side at the lowest rate at which any clip that is compared is stored.

    Left out is what cannot be read, is stored below LOWEST_RATE, has no sample above one step of 16 bits, or is shorter
    than `how.min_seconds`. Raises InputError when that leaves a side without a clip.
    """
    found = [(side, source) for side, sources in sides.items() for source in sources]
    rate, lowest = 0, _lowest_rate([source for _, source in found])
    while lowest > rate:  # again only where a file that is left out had the lowest rate
        rate = lowest
        rows = _measured([source for _, source in found], rate, how)
        reasons = [_reason(source, row, how) for (_, source), row in zip(found, rows, strict=True)]
        table = pd.DataFrame([
            {"side": side, "clip": source.name, "category": source.category, "fold": source.fold,
             "path": source.path, **{name: row[name] for name in PER_CLIP}, "reason": reason}
            for (side, source), row, reason in zip(found, rows, reasons, strict=True)
        ])  # fmt: skip
        _check_sides(sides, table)
        kept = (table["reason"] == "").tolist()
        lowest = _lowest_rate([source for (_, source), is_kept in zip(found, kept, strict=True) if is_kept])
    compared = {side: [] for side in sides}
    for (side, source), is_kept in zip(found, kept, strict=True):
        compared[side] += [source] * is_kept
    clips = table[kept].drop(columns="reason").reset_index(drop=True)
    skipped = table.loc[[not is_kept for is_kept in kept], SKIPPED_COLUMNS].reset_index(drop=True)
    return MeasuredSides(compared, clips, skipped, rate, {side: len(sources) for side, sources in sides.items()})


def metric_rows(measured: MeasuredSides, names: Sequence[str]) -> pd.DataFrame:
    """Return rows of metrics.csv for the clips compared, with the acoustic metrics `names`."""
    clips = measured.clips
    rows = clips[["side", "clip", "category", "fold"]].assign(
        sample_rate_hz=measured.sample_rate,
        n_samples=(clips["duration_s"] * measured.sample_rate).round().astype(int),
        peak=10 ** (clips["peak_dbfs"] / 20),
    )
    return pd.concat([rows, clips[list(names)]], axis=1).assign(problem="")


def effect_report(measured: MeasuredSides, run: str, seed: int = 0, n_resamples: int = 1000) -> EvaluationReport:
    """Return the tables of `evaluation_report.tables_of` for the clips compared; there are no training seeds.

    run: what the generated side is called. Its clips are resampled by themselves, even where a real one has their name.
    A class is a subfolder that both sides have; of more than MOST_CLASSES none is compared by itself.
    """
    clips = measured.clips.rename(columns={"side": "system"})
    is_generated = clips["system"] == "generated"
    if len(set(clips.loc[is_generated, "category"]) & set(clips.loc[~is_generated, "category"])) > MOST_CLASSES:
        clips = clips.assign(category="")
    clips = clips.assign(
        run=np.where(is_generated, run, ""),
        clip=np.where(is_generated, "generated/" + clips["clip"], clips["clip"]),
        problem="",
    )
    report = tables_of(clips[[*CLIP_COLUMNS, *PER_CLIP, "problem"]], seed, n_resamples)
    return replace(report, evaluation_seeds=report.evaluation_seeds.iloc[:0])


def skipped_notes(measured: MeasuredSides) -> list[str]:
    """Return a line of Markdown for each side of which files are left out: how many, their names and why."""
    notes = []
    for side, rows in measured.skipped.groupby("side", sort=False):
        named = [f"{code_span(row.clip)} ({row.reason})" for row in rows.head(NAMED).itertuples()]
        more = f" and {len(rows) - NAMED} more, see skipped.csv" if len(rows) > NAMED else ""
        notes.append(f"{LEFT_OUT} {side}, {len(rows)} of {measured.n_found[side]}: {', '.join(named)}{more}.")
    return notes


def side_facts(measured: MeasuredSides, folders: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Return what each side is: folder, files found and compared, rates (Hz) they are stored at, durations (s)."""
    facts = {}
    for side, sources in measured.sources.items():
        seconds = measured.clips.loc[measured.clips["side"] == side, "duration_s"]
        facts[side] = {
            "folder": folders.get(side, ""),
            "n_found": measured.n_found[side],
            "n_compared": len(sources),
            "stored_rates_hz": sorted({source.sample_rate for source in sources}),
            "shortest_s": float(seconds.min()),
            "median_s": float(seconds.median()),
            "longest_s": float(seconds.max()),
            "total_s": float(seconds.sum()),
        }
    return facts


def _lowest_rate(sources: Sequence[Source]) -> int:
    rates = [source.sample_rate for source in sources if source.sample_rate >= LOWEST_RATE]
    if not rates:
        raise InputError(f"no clip of any side can be read; expected audio files of at least {LOWEST_RATE} Hz")
    return min(rates)


def _measured(sources: Sequence[Source], rate: int, how: Measuring) -> list[dict[str, Any]]:
    """Return the metrics and the problem of each clip, in order; what is no file is decoded here."""
    paths = [source.path for source in sources if source.path]
    of_files = iter(measure_files(paths, Request(rate, how.max_seconds), how.cache_dir, how.n_jobs).to_dict("records"))
    return [next(of_files) if source.path else _decoded(source, rate) for source in sources]


def _decoded(source: Source, rate: int) -> dict[str, Any]:
    try:
        return measure(source.load(rate), rate) | {"problem": ""}
    except InputError as error:
        return dict.fromkeys(PER_CLIP, np.nan) | {"problem": str(error)}


def _reason(source: Source, row: dict[str, Any], how: Measuring) -> str:
    """Return why a clip is left out, "" when it is compared."""
    if 0 < source.sample_rate < LOWEST_RATE:
        return f"stored at {source.sample_rate} Hz, below {LOWEST_RATE} Hz"
    if row["problem"]:
        return printable(row["problem"].removeprefix(f"{source.path}: "))
    if not row["peak_dbfs"] > 20 * np.log10(SILENT):
        return "silent" + (f" in its first {how.max_seconds:g} s" if how.max_seconds else "")
    if row["duration_s"] < how.min_seconds:
        return f"too short: {row['duration_s']:.3g} s, below {how.min_seconds:g} s"
    return ""


def _check_sides(sides: dict[str, list[Source]], table: pd.DataFrame) -> None:
    for side in sides:
        rows = table[table["side"] == side]
        if (rows["reason"] != "").all():
            first = f" (first: {rows['clip'].iloc[0]}: {rows['reason'].iloc[0]})" if len(rows) else ""
            name = PARAMETERS.get(side, side)
            raise InputError(f"{name}: none of its {len(rows)} files can be compared{first}; expected sound in one")
