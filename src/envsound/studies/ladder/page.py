"""The book's page on the ladder, from a published report of notebook 19."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from envsound.base.files import read_csv
from envsound.base.text import NO_NUMBER, slug
from envsound.report.cards import Heard
from envsound.report.facts import Facts, step_record
from envsound.report.fragments import Staging, field_list, not_published, sound_row, with_interval
from envsound.run.publish import ReportKind

REPORT = "ladder"  # the folder in data/published that holds such a report
SOUNDS = "sounds"  # of the rungs, one each, named by the slug of the rung
REPORTS = (ReportKind(("rungs.csv",), "a finished report of notebook 19", folder=REPORT, sounds=SOUNDS),)
STEP, PAGE, TABLES = "19_climb_ladder", "studies/ladder.md", "studies/ladder_tables.md"
MOST_CHANGES, MADE = 5, "made by a model; no rights claimed"
FIGURES = {  # fragments, with their figures
    "result": ("rungs", "Each rung: share heard as asked, distance to recordings, codes of one training clip."),
    "copies": ("recognition_and_copies", "Share heard as asked against codes of one clip; some names are left out."),
}


def stage(book: Staging) -> None:
    """Write what the page includes, executed/ladder/: result.txt, rungs.txt, and sounds.txt, a card a rung."""
    folder = book.published / REPORT
    if not (folder / "rungs.csv").is_file():
        for name in (*FIGURES, "rungs", "sounds"):
            book.write(f"ladder/{name}.txt", not_published("climb of the ladder") if name == "result" else [])
        return
    ladder = read_csv(folder / "rungs.csv")
    for name, (figure, words) in FIGURES.items():
        lines = book.figure(folder / "figures" / f"{figure}.png", words, PAGE, REPORT)
        book.write(f"ladder/{name}.txt", [*(field_list(_origin(folder)) if name == "result" else []), *lines])
    book.write("ladder/rungs.txt", book.table(rung_rows(ladder), folder / "rungs.csv", TABLES, "names"))
    rungs = ladder.loc[ladder["group"] != "", "side"]
    sounds = [Heard(folder / SOUNDS / f"{slug(name)}.ogg", "dog", name, words=MADE) for name in rungs]
    book.write("ladder/sounds.txt", sound_row(book, sounds, TABLES))


def facts(published: Path) -> Mapping[str, Any]:
    """Return `ladder`: rung or control -> its numbers, written out, with `heard` and `probe` as shares in per cent."""
    folder, found = published / REPORT, Facts()
    if (folder / "rungs.csv").is_file():
        for row in read_csv(folder / "rungs.csv").to_dict("records"):
            found[str(row["side"])] = Facts({name: _written(name, row) for name in row})
    return {"ladder": found}


def rung_rows(ladder: pd.DataFrame) -> list[dict[str, str]]:
    """Return a row for each rung and control: recognition, distance, copies and spread."""
    return [
        {
            "rung": row["side"],
            "changes": _changes(row),
            "network": with_interval(row, "heard", "{:.0%}"),
            "probe, of real": with_interval(row, "probe", "{:.0%}"),
            "kernel distance": with_interval(row, "kad", "{:.1f}"),
            "copied run": _written("run_p90", row),
            "spread": _written("diversity", row),
        }
        for row in ladder.to_dict("records")
    ]


def _changes(row: Mapping[str, Any]) -> str:
    if not row["group"]:
        return "no model"
    n_changes = len(re.findall(r"\w+: ", row["changes"]))
    return row["changes"] if n_changes < MOST_CHANGES else f"{n_changes} parameters"


def _written(name: str, row: Mapping[str, Any]) -> str:
    value = row[name]
    if isinstance(value, str):
        return value
    if pd.isna(value):
        return NO_NUMBER
    if name.startswith(("heard", "probe", "refused", "precision", "recall", "share")):
        return f"{value:.0%}"
    digits = 0 if float(value).is_integer() or abs(value) >= 100 else 1 if abs(value) >= 2 else 2
    return f"{value:,.{digits}f}"


def _origin(folder: Path) -> dict[str, Any]:
    _, found, made = step_record(folder, STEP)
    return {
        "Recordings": found.get("data_cut"),
        "Folds": f"{found.get('train_folds')} teach, {found.get('validation_fold')} judges; fold 1 is not touched",
        "Clips": f"{found.get('n_samples')} a rung, and one for each recording of a control",
        "Judges": found.get("judges"),
        **made,
    }
