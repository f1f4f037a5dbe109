"""Anybody's two folders of audio: what cannot be compared is named and left out, all else measured at one rate."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from envsound.base.errors import InputError
from envsound.base.text import code_span, printable, slug
from envsound.evaluation.compare import Report, paired_report, tables_of
from envsound.evaluation.sides import CLIP_COLUMNS, MODEL, REAL, Source, from_folder
from envsound.metrics.acoustic import ACOUSTIC, chosen
from envsound.metrics.extended import CACHE, FOUND, LOWEST_RATE, PER_CLIP, Request, measure_files
from envsound.metrics.measures import SILENT
from envsound.run.identity import digest

FOLDERS = Path("data") / "runs" / "folders"
NAME_LENGTH = 60  # letters of a folder's name that the name of its results keeps
SKIPPED_COLUMNS = ["side", "clip", "reason"]
MOST_CLASSES = 60  # subfolders compared one by one; with more, clips are compared whatever their subfolder
DURATIONS = {"shortest": "min", "median": "median", "longest": "max", "total": "sum"}  # of a side, and how
NAMED = 8  # files that a note names; skipped.csv names all


def evaluate_folders(
    generated: str | Path,
    real: str | Path,
    clip_seconds: float = 0.0,
    min_seconds: float = 0.1,
    metrics: Sequence[str] = (),
    seed: int = 0,
    n_resamples: int = 1000,
    n_jobs: int = 1,
    cache_dir: str | Path = CACHE,
) -> Report:
    """Compare the audio files below two folders, whatever their formats, rates and names; nothing is written.

    All are cut to `clip_seconds` (s; 0: whole) and measured at the lowest rate at which any that is compared is stored.
    Left out, and named in the table skipped, is what cannot be read, is stored below LOWEST_RATE, has no sample above
    one step of 16 bits, or is shorter than `min_seconds` (s). A class is a subfolder. The other tables are those of
    `compare.paired_report` in some of the acoustic metrics (none: all), and of `compare.tables_of`; seed: of the pairs
    and of the resamples. Raises InputError when a folder is not there or holds nothing that can be compared.
    """
    for name, value in (("clip_seconds", clip_seconds), ("min_seconds", min_seconds)):
        if value < 0:
            raise InputError(f"{name}={value}: expected 0 or more")
    sides = {REAL: from_folder(real, clip_seconds), MODEL: from_folder(generated, clip_seconds)}
    clips, skipped, rate = measure_sides(sides, clip_seconds, min_seconds, n_jobs, cache_dir)
    kept = {side: set(rows["path"]) for side, rows in clips.groupby("side")}
    compared = {side: [source for source in found if source.path in kept[side]] for side, found in sides.items()}
    rows = metric_rows(clips, rate, [name for name in chosen(metrics) if name in ACOUSTIC])
    report = paired_report(compared, rows, rate, seed)
    n_cut = int((report["pairs"]["real_duration_s"] != report["pairs"]["generated_duration_s"]).sum())
    cut = "Of a pair of unequal lengths only the first part is compared, as long as the shorter clip"
    notes = [*report.notes, *skipped_notes(skipped, sides), *limited_notes(clips)]
    notes += [f"{cut}: {n_cut} of {len(report['pairs'])} pairs."]
    facts = {"sides": side_facts(compared, clips, {REAL: real, MODEL: generated}), "notes": notes}
    facts = report.facts | facts | {"n_skipped": len(skipped)}
    tables = {"skipped": skipped} | effect_tables(clips, shown(generated), seed, n_resamples)
    return Report({**report.tables, **tables}, facts, notes)


def results_folder(generated: str | Path, real: str | Path) -> Path:
    """Return where the results of a comparison go: a folder in FOLDERS named after the folders compared.

    Its name ends with a mark of their whole paths, so that equal names in different places do not meet.
    """
    folders = [Path(name).expanduser().resolve() for name in (generated, real)]
    names = [slug("_".join(path.parts[-2:]))[:NAME_LENGTH] for path in folders]
    return FOLDERS / f"{'_against_'.join(names)}-{digest(printable(str(path)) for path in folders)[:6]}"


def shown(folder: str | Path) -> str:
    """Return the last two parts of a folder's path, as one shows them: the rest may be nobody's business."""
    return printable("/".join(Path(folder).expanduser().resolve().parts[-2:]))


def measure_sides(
    sides: dict[str, list[Source]], clip_seconds: float, min_seconds: float, n_jobs: int, cache_dir: str | Path
) -> tuple[pd.DataFrame, pd.DataFrame, int]:
    """Measure every clip of every side; return those compared, those left out (SKIPPED_COLUMNS), and the rate in Hz.

    clips: columns side, clip, category, fold, path, FOUND and PER_CLIP.
    """
    found = [(side, source) for side, sources in sides.items() for source in sources]
    rate, lowest = 0, _lowest_rate(source for _, source in found)
    while lowest > rate:  # again only where a file that is left out had the lowest rate
        rate = lowest
        measured = measure_files([source.path for _, source in found], Request(rate, clip_seconds), cache_dir, n_jobs)
        facts = [(side, one.name, one.category, one.fold) for side, one in found]
        table = pd.concat([pd.DataFrame(facts, columns=["side", "clip", "category", "fold"]), measured], axis=1)
        rows = zip(found, table.to_dict("records"), strict=True)
        table["reason"] = [_reason(source, row, clip_seconds, min_seconds) for (_, source), row in rows]
        for side in sides:
            _check_side(side, table[table["side"] == side])
        kept = table["reason"] == ""
        lowest = _lowest_rate(source for (_, source), is_kept in zip(found, kept, strict=True) if is_kept)
    clips = table.loc[kept, ["side", "clip", "category", "fold", "path", FOUND, *PER_CLIP]].reset_index(drop=True)
    return clips, table.loc[~kept, SKIPPED_COLUMNS].reset_index(drop=True), rate


def metric_rows(clips: pd.DataFrame, rate: int, names: Sequence[str]) -> pd.DataFrame:
    """Return rows of metrics.csv for the clips compared, measured at `rate` Hz, with the acoustic metrics `names`."""
    rows = clips[["side", "clip", "category", "fold"]].assign(
        sample_rate_hz=rate,
        n_samples=(clips["duration_s"] * rate).round().astype(int),
        peak=10 ** (clips["peak_dbfs"] / 20),
    )
    return pd.concat([rows, clips[list(names)]], axis=1).assign(problem="")


def effect_tables(clips: pd.DataFrame, run: str, seed: int = 0, n_resamples: int = 1000) -> dict[str, pd.DataFrame]:
    """Return the tables of `compare.tables_of` for the clips compared, but that of training seeds: there are none.

    run: what the generated side is called. Its clips are resampled by themselves, even where a real one has their name.
    A class is a subfolder that both sides have; of more than MOST_CLASSES none is compared by itself.
    """
    clips = clips.rename(columns={"side": "system"})
    is_generated = clips["system"] == MODEL
    if len(set(clips.loc[is_generated, "category"]) & set(clips.loc[~is_generated, "category"])) > MOST_CLASSES:
        clips = clips.assign(category="")
    clips = clips.assign(
        run=np.where(is_generated, run, ""),
        clip=np.where(is_generated, "generated/" + clips["clip"], clips["clip"]),
        problem="",
    )
    tables = tables_of(clips[[*CLIP_COLUMNS, *PER_CLIP, "problem"]], seed, n_resamples)
    return {name: table for name, table in tables.items() if name != "evaluation_seeds"}


def skipped_notes(skipped: pd.DataFrame, sides: dict[str, list[Source]]) -> list[str]:
    """Return a line of Markdown for each side of which files are left out: how many, their names and why."""
    notes = []
    for side, rows in skipped.groupby("side", sort=False):
        named = [f"{code_span(row.clip)} ({row.reason})" for row in rows.head(NAMED).itertuples()]
        more = f" and {len(rows) - NAMED} more, see skipped.csv" if len(rows) > NAMED else ""
        notes.append(f"Left out of {side}, {len(rows)} of {len(sides[str(side)])}: {', '.join(named)}{more}.")
    return notes


def limited_notes(clips: pd.DataFrame) -> list[str]:
    """Return a line of Markdown for each side of which files are louder than full scale, and were limited to it."""
    notes = []
    for side, rows in clips[clips[FOUND] > 1].groupby("side", sort=False):
        named = [f"{code_span(row.clip)} (peak {getattr(row, FOUND):.2f})" for row in rows.head(NAMED).itertuples()]
        more = f" and {len(rows) - NAMED} more" if len(rows) > NAMED else ""
        notes.append(f"Limited to full scale in {side}, {len(rows)} files: {', '.join(named)}{more}.")
    return notes


def side_facts(
    compared: dict[str, list[Source]], clips: pd.DataFrame, folders: dict[str, str | Path]
) -> dict[str, dict[str, Any]]:
    """Return what of each side is compared: folder, files, rates (Hz) they are stored at, durations (s)."""
    facts = {}
    for side, sources in compared.items():
        seconds = clips.loc[clips["side"] == side, "duration_s"]
        stored = sorted({source.sample_rate for source in sources})
        facts[side] = {"folder": shown(folders[side]), "n_compared": len(sources), "stored_rates_hz": stored}
        facts[side] |= {f"{name}_s": float(seconds.agg(how)) for name, how in DURATIONS.items()}
    return facts


def _lowest_rate(sources: Iterable[Source]) -> int:
    rates = [source.sample_rate for source in sources if source.sample_rate >= LOWEST_RATE]
    if not rates:
        raise InputError(f"no clip of any side can be read; expected audio files of at least {LOWEST_RATE} Hz")
    return min(rates)


def _reason(source: Source, row: dict[str, Any], clip_seconds: float, min_seconds: float) -> str:
    """Return why a clip is left out, "" when it is compared."""
    if 0 < source.sample_rate < LOWEST_RATE:
        return f"stored at {source.sample_rate} Hz, below {LOWEST_RATE} Hz"
    if row["problem"]:
        return printable(row["problem"].removeprefix(f"{source.path}: "))
    if not source.sample_rate:  # measured under another name
        return "its name cannot be opened"
    if not row["peak_dbfs"] > 20 * np.log10(SILENT):
        return "silent" + (f" in its first {clip_seconds:g} s" if clip_seconds else "")
    if row["duration_s"] < min_seconds:
        return f"too short: {row['duration_s']:.3g} s, below {min_seconds:g} s"
    return ""


def _check_side(side: str, rows: pd.DataFrame) -> None:
    if (rows["reason"] != "").all():
        first = rows.iloc[0]
        words = f"{side}: none of its {len(rows)} files can be compared (first: {first['clip']}: {first['reason']})"
        raise InputError(f"{words}; expected sound in one")
