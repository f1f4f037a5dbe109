"""What judges say: whether their ladders admit them, for the page of definitions, and what they heard, for results."""

import re

import pandas as pd

from envsound.base.files import read_csv, visible
from envsound.base.text import NO_NUMBER, plain
from envsound.report.facts import judged_table
from envsound.report.fragments import Staging, with_interval

DEFINITIONS, RESULTS, NUMBERS, FOLDER = "definitions.md", "results.md", "numbers.md", "judges"
NOTHING = "*Not run here: no published report of judges.*"
WORDS = (
    "What every judge hears rightly. Left: all classes, from recordings down to codes drawn by class. Right: classes "
    "with a course in time, and sound that has none, where no judge may be above the dotted line; decoys new to all of "
    "them are on grey. A judge that was not admitted is drawn open. Bars are 95% intervals."
)
SHARES, OF_REAL = "{:.0%}", ", of real"
REAL = "real"  # the side of recordings
MODEL = "masked model"  # in the name of a system
REPORTING = "probe B"  # taught by recordings that no generator has met


def stage_judges(book: Staging) -> None:
    """Write ladder, judged, its short form reported, by_class and by_reporting, .txt in judges/."""
    folders = [path.parent for path in visible(book.published / FOLDER, "*/ladder.csv")]
    ladder, judged, reported, by_class, by_reporting = [], [], [], [], []
    for folder in folders:
        ladder += book.figure(folder / "figures" / "ladder.png", WORDS, DEFINITIONS, f"judges-{folder.name}")
        ladder += book.table(verdict_rows(read_csv(folder / "ladder.csv")), folder / "ladder.csv", DEFINITIONS, "notes")
        if (folder / "judged.csv").is_file():
            rows = judged_rows(judged_table(folder))
            judged += book.table(rows, folder / "judged.csv", NUMBERS, "names")
            reported += book.table(short_rows(rows), folder / "judged.csv", RESULTS, "names")
        if (table := folder / "judged_by_class.csv").is_file():
            by_class += book.table(class_rows(read_csv(table)), table, NUMBERS)
            by_reporting += book.table(reported_classes(read_csv(table)), table, RESULTS)
    pieces = {"ladder": ladder, "judged": judged, "reported": reported, "by_class": by_class}
    pieces |= {"by_reporting": by_reporting}
    for name, lines in pieces.items():
        book.write(f"{FOLDER}/{name}.txt", lines or [NOTHING])


def verdict_rows(ladder: pd.DataFrame) -> list[dict[str, str]]:
    """Return whether each judge was admitted, and why not, from ladder.csv."""
    rows = ladder.drop_duplicates(["codec", "judge"]).fillna("")
    columns = {"judge": "judge", "ladder of": "codec", "admitted": "admitted", "why not": "why"}
    return [{words: str(row[name]) for words, name in columns.items()} for row in rows.to_dict("records")]


def judged_rows(judged: pd.DataFrame) -> list[dict[str, str]]:
    """Return a row for each system, what each judge heard in it: the share, and relative to recordings.

    The judge that reports generators stands first.
    """
    judges, rows = sorted(judged["judge"].unique(), key=lambda name: name != REPORTING), []
    for system, of_system in judged.groupby("system", sort=False):
        row = {"system": "recordings" if system == REAL else str(system)}
        for judge in judges:
            found = of_system[of_system["judge"] == judge].to_dict("records")
            row[judge] = f"{found[0]['accuracy']:.0%} of {found[0]['n']:.0f}" if found else NO_NUMBER
            row[f"{judge}{OF_REAL}"] = with_interval(found[0], "share", SHARES) if found else NO_NUMBER
        rows.append(row)
    return rows


def class_rows(by_class: pd.DataFrame) -> list[dict[str, str]]:
    """Return a row for each class: the share that each judge heard in each system, with its interval, and refused."""
    rows: dict[str, dict[str, str]] = {}
    order = by_class.assign(later=by_class["judge"] != REPORTING).sort_values("later", kind="stable")
    for found in order.to_dict("records"):
        row = rows.setdefault(found["category"], {"class": plain(found["category"].replace("_", " "))})
        heard, refused = with_interval(found, "accuracy", SHARES), SHARES.format(found["refused"])
        row[f"{found['judge']}: {found['system']}"] = f"{heard}, refused {refused}"
    return [*rows.values()]


def reported_classes(by_class: pd.DataFrame) -> list[dict[str, str]]:
    """Return a row for each class: of how many clips of each system the judge that reports heard it, the best first."""
    own = by_class[by_class["judge"] == REPORTING]
    systems = sorted(own["system"].unique(), key=lambda name: (name != REAL, MODEL in name))
    share = own[own["system"].str.contains(MODEL)].groupby("category")["accuracy"].mean()
    rows = []
    for category in share.sort_values(ascending=False, kind="stable").index:
        row = {"class": category.replace("_", " ")}
        for system in systems:  # every class has each
            (found,) = own[(own["category"] == category) & (own["system"] == system)].to_dict("records")
            name = "recordings" if system == REAL else system
            row[name] = f"{found['accuracy']:.0%} of {found['n']:.0f}"
            if MODEL in system:
                row["refused"] = SHARES.format(found["refused"])
        rows.append(row)
    return rows


def short_rows(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """Return `judged_rows` without codecs at fewer levels, and of the judges that do not report the share alone."""
    whole = [row for row in rows if not re.search(r"(\d) of (?!\1)\d levels", row["system"])]
    kept = [name for name in (rows[0] if rows else ()) if REPORTING in name or not name.endswith(OF_REAL)]
    return [{name: row[name] for name in kept} for row in whole]
