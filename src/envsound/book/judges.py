"""What the page on judges includes: their ladders, what they heard in every system, and clips of each to be heard."""

from pathlib import Path

import pandas as pd

from envsound.base.files import read_csv, visible
from envsound.base.text import NO_NUMBER, plain
from envsound.report.fragments import Staging, table_of, with_interval

PAGE, FOLDER = "judges.md", "judges"
NOTHING = "*Not run here: no published report of judges.*"
WORDS = (
    "What every judge hears rightly. Left: all classes, from recordings down to codes drawn by class. Right: classes "
    "with a course in time, and sound that has none, where no judge may be above the dotted line; decoys new to all of "
    "them are on grey. A judge that was not admitted is drawn open. Bars are 95% intervals."
)
SHARES = "{:.0%}"
REPORTING = "probe B"  # taught by recordings that no generator has met


def stage_judges(book: Staging) -> None:
    """Write ladder.txt, judged.txt, by_class.txt and sounds.txt in judges/ from data/published/judges."""
    folders = [path.parent for path in visible(book.published / FOLDER, "*/ladder.csv")]
    ladder, judged, by_class, sounds = [], [], [], []
    for folder in folders:
        ladder += book.figure(folder / "figures" / "ladder.png", WORDS, PAGE, f"judges-{folder.name}")
        ladder += table_of(verdict_rows(read_csv(folder / "ladder.csv")))
        if (folder / "judged.csv").is_file():
            judged += table_of(judged_rows(read_csv(folder / "judged.csv")))
        if (folder / "judged_by_class.csv").is_file():
            by_class += table_of(class_rows(read_csv(folder / "judged_by_class.csv")))
        sounds += players(book, folder / "clips")
    pieces = {"ladder": ladder, "judged": judged, "by_class": by_class, "sounds": sounds}
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
        row = {"system": str(system)}
        for judge in judges:
            found = of_system[of_system["judge"] == judge].to_dict("records")
            row[judge] = f"{found[0]['accuracy']:.0%} of {found[0]['n']:.0f}" if found else NO_NUMBER
            row[f"{judge}, of real"] = with_interval(found[0], "share", SHARES) if found else NO_NUMBER
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


def players(book: Staging, folder: Path) -> list[str]:
    """Return a table of the clips in `folder`/<system>/<class>/: a row for each system, a column for each class."""
    found = [(path.parent.parent.name, path.parent.name, path) for path in visible(folder, "*/*/*.ogg")]
    classes = sorted({category for _, category, _ in found})
    rows: dict[str, dict[str, str]] = {}
    for system, category, path in found:
        empty = {plain(name.replace("_", " ")): NO_NUMBER for name in classes}
        row = rows.setdefault(system, {"system": plain(system)} | empty)
        play = book.assets.player(path, f"judges-{folder.parent.name}", book.book_dir / PAGE, clip=path.name)
        row[plain(category.replace("_", " "))] = play or NO_NUMBER
    return table_of([*rows.values()])
