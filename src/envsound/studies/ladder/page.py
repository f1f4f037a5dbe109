"""The book's page on the ladder, from a published report of notebook 19."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from envsound.base.files import read_csv, read_json
from envsound.base.text import NO_NUMBER, slug
from envsound.report.facts import Facts, run_origin
from envsound.report.fragments import Staging, field_list, not_published, table_of, with_interval
from envsound.run.publish import ReportKind

REPORT = "ladder"  # the folder in data/published that holds such a report
SOUNDS = "sounds"  # of the rungs, one each, named by the slug of the rung
REPORTS = (ReportKind(("ladder.csv",), "a finished report of notebook 19", folder=REPORT, sounds=SOUNDS),)
STEP, PAGE, BASE = "19_climb_ladder", "studies/ladder.md", "base"
FIGURES = {
    "rungs": "Each rung of the ladder: share heard as asked, distance to recordings, longest copied run.",
    "recognition_and_copies": "Share heard as asked against the longest copied run, a point a rung.",
}


def stage(book: Staging) -> None:
    """Write what the page includes, executed/ladder/: result.txt, a table a group in rungs.txt, and controls.txt."""
    folder = book.published / REPORT
    if not (folder / "ladder.csv").is_file():
        for name in ("result", "rungs", "controls"):
            book.write(f"ladder/{name}.txt", not_published("climb of the ladder") if name == "result" else [])
        return
    ladder = read_csv(folder / "ladder.csv")
    pictures = [line for name, words in FIGURES.items() for line in _figure(book, folder, name, words)]
    book.write("ladder/result.txt", [*field_list(_origin(folder)), *pictures])
    rungs = ladder[ladder["group"] != ""]
    lines = []
    for group, rows in rungs.groupby("group", sort=False):
        lines += [f"### {str(group).capitalize()}", "", *rung_table(rows), "", *_players(book, folder, rows)]
    book.write("ladder/rungs.txt", lines)
    book.write("ladder/controls.txt", rung_table(ladder[ladder["group"] == ""]))


def facts(published: Path) -> Mapping[str, Any]:
    """Return `ladder`: rung or control -> its numbers, written out, with `heard` and `probe` as shares in per cent."""
    folder, found = published / REPORT, Facts()
    if (folder / "ladder.csv").is_file():
        for row in read_csv(folder / "ladder.csv").to_dict("records"):
            found[str(row["side"]).replace(" ", "_")] = Facts({name: _written(name, row) for name in row})
    return {"ladder": found}


def rung_table(rows: pd.DataFrame) -> list[str]:
    """Return rungs or controls as a Markdown table: recognition, distance, copies and spread, eight columns."""
    return table_of([_row(row) for row in rows.to_dict("records")])


def _row(row: Mapping[str, Any]) -> dict[str, str]:
    return {
        "rung": row["side"],
        "changes": row["changes"] or NO_NUMBER,
        "heard as asked": with_interval(row, "heard", "{:.0%}"),
        "probe, share of real": with_interval(row, "probe", "{:.0%}"),
        "KAD": with_interval(row, "kad", "{:.2f}"),
        "copied run (p90)": _written("run_p90", row),
        "spread of real": _written("diversity", row),
        "minutes": NO_NUMBER if pd.isna(row["training_seconds"]) else f"{row['training_seconds'] / 60:.0f}",
    }


def _written(name: str, row: Mapping[str, Any]) -> str:
    value = row[name]
    if isinstance(value, str):
        return value
    if pd.isna(value):
        return NO_NUMBER
    shares = ("heard", "probe", "refused", "precision", "recall")
    return f"{value:.0%}" if name.startswith(shares) else f"{value:.3g}" if value < 1000 else f"{value:,.0f}"


def _figure(book: Staging, folder: Path, name: str, words: str) -> list[str]:
    return book.figure(folder / "figures" / f"{name}.png", words, PAGE, REPORT)


def _players(book: Staging, folder: Path, rows: pd.DataFrame) -> list[str]:
    """Return a player for each rung whose sound is published: the same request, made by each."""
    found = [
        book.assets.player(folder / SOUNDS / f"{slug(name)}.ogg", REPORT, book.book_dir / PAGE, name)
        for name in rows["side"]
    ]
    players = [one for one in found if one]
    return ['<div class="player-grid">', *players, "</div>", ""] if players else []


def _origin(folder: Path) -> dict[str, Any]:
    record, run = read_json(folder / "provenance.json")["steps"][STEP], run_origin(folder)
    found = record["facts"]
    return {
        "Recordings": found.get("data_cut"),
        "Folds": f"{found.get('train_folds')} teach, {found.get('validation_fold')} judges; fold 1 is not touched",
        "Clips": f"{found.get('n_samples')} a rung, and one for each recording of a control",
        "Judges": found.get("judges"),
        "Commit": run.get("commit"),
        "Machine": run.get("device"),
    }
