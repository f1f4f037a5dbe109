"""The book's pages of sounds: generated clips beside real ones, and beside the training clips they come closest to."""

import html
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from pathlib import Path

import pandas as pd

from envsound.base.errors import InputError
from envsound.base.files import inside
from envsound.base.text import plain
from envsound.report.fragments import Staging, box
from envsound.report.runs import Run

MOST, PER_CLASS = 40, 4  # clips of a run without classes, and of each class: the first in order, none picked by ear
SOUNDS, PAIRS = "sounds.md", "nearest_pairs.md"  # pages
NOTHING = "`make study` makes the demo, `make study PRESET=esc10` the published run."
NO_PAIRS = "No run of this build has such pairs. Notebook 17 writes them into a run's folder."


def stage_sounds(book: Staging) -> None:
    """Write what the two pages include. Raises InputError for the name of a sound that leads outside its run."""
    beside_real = [line for run in book.runs for line in _beside_real(book, run)]
    beside_nearest = [line for run in book.runs for line in _beside_nearest(book, run)]
    book.write("sounds.txt", beside_real or box("Nothing to hear yet", NOTHING))
    book.write("nearest_pairs.txt", beside_nearest or box("Not run here", NO_PAIRS))


def _beside_real(book: Staging, run: Run) -> list[str]:
    samples, real = run.table("samples.csv"), run.real_clips()
    if samples.empty:
        return []
    lines = [f"## {plain(run.title)}", "", _what_is_right(book, run, real), ""]
    head = ["Generated", "Real"]
    names = sorted(set(samples["category"]) - {""})
    parts = {name: [clips[clips["category"] == name].head(PER_CLASS) for clips in (samples, real)] for name in names}
    if not parts:
        shown = samples.head(MOST)
        lines += [f"{len(shown)} of {len(samples)} clips, the first by number; none was picked by ear.", ""]
        parts = {"": [shown, _partners(run, shown, real)]}
    for name, (left, right) in parts.items():
        players = zip_longest(_generated(book, run, left), _real(book, run, right), fillvalue="")
        lines += [f"### {plain(name.replace('_', ' '))}", ""] if name else []
        lines += _grid(head, players)
    return lines


def _what_is_right(book: Staging, run: Run, real: pd.DataFrame) -> str:
    """Return what the reader must know of the real side: what it is, and whether it is here."""
    what = "The right-hand clips are recordings from the held-out fold."
    if any(map(book.assets.permits, real["path"])):
        return f"{what} They are linked from the data folder of the machine that built this book."
    where = run.origin.get("data_dir") or "the data folder"
    return f"{what} They are not on the machine that built this book ({plain(where)} is missing)."


def _partners(run: Run, samples: pd.DataFrame, real: pd.DataFrame) -> pd.DataFrame:
    """Return the real clip that the metrics gave each sample as its partner, empty where it has none."""
    pairs = run.table("pairs.csv")
    partner = dict(zip(pairs["generated"], pairs["real"], strict=True)) if len(pairs) else {}
    names = [partner.get(name, "") for name in samples["filename"]]
    return real.set_index("filename").reindex(names).reset_index()


def _generated(book: Staging, run: Run, samples: pd.DataFrame) -> list[str]:
    labels = [f"{Path(row.filename).stem} · {row.seconds:.1f} s · seed {row.seed}" for row in samples.itertuples()]
    paths = [inside(run.folder / "samples", str(name)) for name in samples["filename"]]
    return [_player(book, path, run.label, SOUNDS, label) for path, label in zip(paths, labels, strict=True)]


def _real(book: Staging, run: Run, clips: pd.DataFrame) -> list[str]:
    rows = clips.fillna("").itertuples()
    return [_player(book, row.path, f"{run.label}-real", SOUNDS, f"{row.filename} · {row.category.replace('_', ' ')}",
                    row.filename) if row.filename else "" for row in rows]  # fmt: skip


def _beside_nearest(book: Staging, run: Run) -> list[str]:
    pairs = run.table("nearest_pairs/pairs.csv")
    if pairs.empty:
        return []
    what = "The right-hand clips are recordings of the folds the model learnt from."
    lines = [f"## {plain(run.title)}", "", what, ""]
    for space, rows in pairs.groupby("space", sort=False):
        cells = [_pair(book, run, row) for row in rows.to_dict("records")]
        head = ["", "Generated", "Nearest training clip", "Relative"]
        lines += [f"### {html.escape(str(space))}", "", *_grid(head, cells)]
    return lines


def _pair(book: Staging, run: Run, row: dict) -> list[str]:
    folder, rank, cells = run.folder / "nearest_pairs", str(row["rank"]), []
    if not rank.isdecimal():
        raise InputError(f"{folder / 'pairs.csv'}: rank {rank!r}; expected a whole number")
    for column, category in (("clip", "category"), ("nearest", "nearest_category")):
        path = inside(folder, str(row[f"{column}_file"]))
        label = f"{str(row[category]).replace('_', ' ')} · {row[column]}"
        cells.append(_player(book, path, f"{run.label}-pairs", PAIRS, label, clip=str(row[column])))
    return [rank, *cells, f"{row['relative']:.2f}"]


def _player(book: Staging, path: str | Path, group: str, page: str, label: str, clip: str = "") -> str:
    """Return a player, with the credit of the recording `clip`, or words where the file is not on this machine."""
    play = book.assets.player(path, group, book.book_dir / page, label, clip) if str(path) else None
    return play or f'<em class="absent">{html.escape(Path(path).name)}: not on this machine</em>'


def _grid(head: Sequence[str], rows: Iterable[Iterable[str]]) -> list[str]:
    """Return an HTML table of players."""
    titles = "".join(f"<th>{title}</th>" for title in head)
    body = [f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows]
    return [f'<table class="sounds"><thead><tr>{titles}</tr></thead><tbody>', *body, "</tbody></table>", ""]
