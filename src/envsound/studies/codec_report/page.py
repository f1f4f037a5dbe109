"""The book's chapter on the ceiling: its numbers and figures from a published codec report, its sounds from a run."""

import html
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from envsound.base.files import inside, read_csv, read_json, write_text
from envsound.base.text import markdown_table, number, wide
from envsound.report.assets import Assets
from envsound.report.facts import NOT_MEASURED, Facts, facts, run_origin
from envsound.run.publish import ReportKind
from envsound.studies.codec_report.ceiling import ALL
from envsound.studies.codec_report.examples import example_headings
from envsound.studies.codec_report.tables import listeners_in, systems_table

CODEC_REPORT = "codec"  # the folder in data/published, and in data/runs, that holds codec reports
CODEC_REPORTS = (CODEC_REPORT, "codec_variants")  # in data/published: the codec that ships, and one tried before it
REPORTS = (
    ReportKind(
        ("systems.csv", "ceiling.csv", "by_class.csv", "codebook.csv", "speed.csv", "goals.csv"),
        "a finished codec report",
        ("clips.csv",),
    ),
)
DISTANCES = ("log_mel_distance", "stft_distance", "si_sdr_db")
COLOURS = {"original": "real", "codec": "codec", "opus": "ink"}  # of the columns, as the stylesheet names them
FIGURES = {
    "levels": "Log-mel distance and recognised clips against the number of levels; bars are 95% intervals.",
    "classes": "Log-mel distance of every class, codecs with all their levels.",
    "bands": "Level against the original, and distance, of every frequency band, by number of levels.",
    "class_bands": "Level against the original of every class and frequency band, with all levels.",
    "codebooks": "Share of every level's codebook in use; the line is the goal.",
}
HOW = "`papermill notebooks/codec/08_measure_codec.ipynb out.ipynb -k python3 --cwd .`"
NO_CLIPS = (
    "No examples are on the machine that built this book. `make study PRESET=esc10 DATA=<folder>` writes twelve "
    f"held-out clips of its recordings, and so does {HOW} with `-p dataset esc50 -p data_dir <folder>`."
)


def codec_report_facts(folder: str | Path) -> Facts:
    """Return what the chapter says of a published codec report; empty where `folder` holds none.

    run: `run_origin`, with held_out_fold and n_held_out; systems, classes, bands_table, codebook, speed, goals:
    Markdown tables; own: the row of the codec measured, with all its levels, from systems.csv; system: name -> row;
    bands: "b8000_12000" -> "n1", "n2", ... and "all" -> level_difference_db (with its sign), distance_db, n,
    n_left_out; worst: the class whose log-mel distance is largest; high_band: its edges in words.
    """
    folder = Path(folder)
    if not (folder / "systems.csv").is_file() or not (folder / "ceiling.csv").is_file():
        return Facts()
    systems, ceiling = read_csv(folder / "systems.csv"), read_csv(folder / "ceiling.csv")
    found = Facts({"run": _origin(folder), "systems": "\n".join(wide(systems_table(systems).splitlines()))})
    found["system"] = Facts({_key(row["system"]): _row(row) for row in systems.to_dict("records")})
    own = systems[(systems["codec"] == systems.loc[systems["codec"] != "", "codec"].iloc[0])]
    own = own.loc[own["n_levels"].idxmax()]
    found["own"] = found["system"][_key(own["system"])]
    found["bands"], found["bands_table"] = _bands(ceiling), _bands_table(ceiling)
    found["high_band"] = ceiling.loc[ceiling["band"] != ALL, "band"].iloc[-1].replace("-", " to ")
    for name, make in (("codebook", _codebook_table), ("speed", _speed_table), ("goals", _goals_table)):
        found[name] = make(read_csv(folder / f"{name}.csv")) if (folder / f"{name}.csv").is_file() else _absent()
    if (folder / "by_class.csv").is_file():
        classes = read_csv(folder / "by_class.csv").query("system == @own.system")
        found["classes"] = _class_table(classes)
        found["worst"] = _row(classes.loc[classes["log_mel_distance"].idxmax()].to_dict())
    return found


def stage_figures(folder: str | Path, assets: Assets, book_dir: str | Path) -> None:
    """Write a fragment for each figure, `executed/ceiling/<name>.txt`, which the chapter includes.

    A figure that `folder`, a published report, does not hold is a line that says so.
    """
    book_dir = Path(book_dir)
    for name, words in FIGURES.items():
        link = assets.link(Path(folder) / "figures" / f"{name}.png", "codec-report", book_dir / "ceiling.md")
        shown = [f"```{{figure}} {link}", f":alt: {words}", ":width: 100%", "", words, "```"] if link else [_absent()]
        write_text(book_dir / "executed" / "ceiling" / f"{name}.txt", "\n".join(shown) + "\n")


class CodecClipsPage:
    """Writes executed/codec_clips.md: held-out clips as original, through the codec and through Opus.

    The sounds are copied from codec reports and from the book's runs on this machine; none is part of the repository.
    """

    def __init__(self, assets: Assets, page: Path) -> None:
        self.assets, self.page = assets, page

    def write(self, reports: str | Path, runs: Sequence[str | Path] = ()) -> str:
        """Return the page's Markdown; `reports` is the folder of codec reports, data/runs/codec, `runs` the book's."""
        found = [path.parent for path in sorted(Path(reports).glob("*/examples/examples.csv"))]
        found += [Path(run) / "codec_clips" for run in runs if (Path(run) / "codec_clips" / "examples.csv").is_file()]
        lines = ["# The codec, clip by clip", "", INTRODUCTION, ""]
        sections = [section for folder in found if (section := self.section(folder))]
        for section in sections:
            lines += section
        return "\n".join(lines if sections else [*lines, NO_CLIPS, ""]) + "\n"

    def section(self, folder: Path) -> list[str]:
        """Return the part of one report or run, whose sounds are in `folder`; nothing when it has none."""
        examples = read_csv(folder / "examples.csv")
        if examples.empty:
            return []
        headings, rows = example_headings(examples), []
        for row in examples.to_dict("records"):
            label = f"{row['category'].replace('_', ' ')} · {row['clip']}"
            cells = [self.cell(folder, str(row[kind] or ""), label) for kind in headings]
            rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
        head = "".join(_heading(COLOURS[kind], words) for kind, words in headings.items())
        table = [f'<table class="sounds"><thead><tr>{head}</tr></thead><tbody>', *rows, "</tbody></table>", ""]
        made, run = folder.parent.name, folder.parent.parent.name
        title = f"The report {made}" if folder.name == "examples" else f"The run {run}, {made.replace('_', ', ')}"
        return [f"## {title}", "", self.note(folder.parent), "", *table]

    def cell(self, folder: Path, name: str, label: str) -> str:
        """Return a player, or words where there is no sound. Raises InputError for a name that leaves the folder."""
        if not name:
            return '<em class="absent">Opus was not installed</em>'
        group = f"codec-{folder.parent.parent.name}-{folder.parent.name}"
        player = self.assets.player(inside(folder, name), group, self.page, label)
        return player or f'<em class="absent">{html.escape(name)}: not on this machine</em>'

    def note(self, folder: Path) -> str:
        """Return what the clips are: recordings or synthetic stand-ins, and of which cut."""
        origin = _origin(folder)
        kind = "**Synthetic** stand-ins, not recordings" if origin["dataset"] == "synthetic" else "Held-out recordings"
        cut = f"fold {origin.get('held_out_fold', origin.get('fold'))} of {origin['data_cut']}"
        return f"{kind}: {cut}. The first of each class, then the second; none was picked by ear."


def _heading(colour: str, words: str) -> str:
    return f'<th style="color: var(--es-{colour})">{html.escape(words)}</th>'


def _origin(folder: Path) -> Facts:
    """Return `run_origin` of a report, with the fold and the number of clips it measured."""
    if not (folder / "provenance.json").is_file():
        return Facts()
    found: dict[str, Any] = run_origin(folder)
    for step in read_json(folder / "provenance.json")["steps"].values():
        for part, key in (("parameters", "held_out_fold"), ("facts", "n_held_out"), ("facts", "n_heard_by_listeners")):
            if key in step.get(part, {}):
                found[key] = step[part][key]
    return facts(found)


def _row(row: dict[str, Any]) -> Facts:
    """Return a row as facts: shares as percentages, distances with two digits."""
    return Facts({str(name): _shown(str(name), value) for name, value in row.items()})


def _shown(name: str, value: Any) -> str:
    if name.startswith(("recognised_", "comb_share")) and not pd.isna(value):
        return f"{value:.0%}"
    return _fixed(value) if name in DISTANCES else facts(value)


def _key(name: str) -> str:
    """Return a system's name as a template can write it, such as "opus_12_kbit_s"."""
    return "_".join("".join(c if c.isalnum() else " " for c in name.lower()).split())


def _bands(ceiling: pd.DataFrame) -> Facts:
    rows = ceiling[ceiling["category"] == ALL]
    found, most = Facts(), rows["n_levels"].max()
    for row in rows.to_dict("records"):
        cells = Facts({name: facts(row[name]) for name in ("distance_db", "n", "n_left_out")})
        cells["level_difference_db"] = _signed(row["level_difference_db"])
        band = found.setdefault("b" + row["band"].replace("-", "_"), Facts())
        band[f"n{row['n_levels']}"] = cells
        if row["n_levels"] == most:
            band[ALL] = cells
    return found


def _bands_table(ceiling: pd.DataFrame) -> str:
    rows = ceiling[(ceiling["category"] == ALL) & (ceiling["band"] != ALL)]
    levels = sorted(rows["n_levels"].unique())
    header = ["band (Hz)", *[f"{n} level{'s' if n > 1 else ''}" for n in levels], "n", "left out"]
    body = []
    for band, group in rows.groupby("band", sort=False):
        cells = group.set_index("n_levels")
        changes = [_signed(cells.loc[n, "level_difference_db"]) for n in levels]
        counts = [f"{cells[name].iloc[0]:.0f}" for name in ("n", "n_left_out")]
        body.append([band.replace("-", " to "), *changes, *counts])
    return "\n".join(wide(markdown_table(header, body)))


def _class_table(rows: pd.DataFrame) -> str:
    listeners = listeners_in(rows)
    header = ["class", "n", "log-mel (dB)", "STFT (nepers)", "SI-SDR (dB)"]
    header += [*[f"recognised ({name})" for name in listeners], "KS"]
    body = [
        [
            row["category"].replace("_", " "), number(int(row["n_clips"])),
            *[_fixed(row[name]) for name in DISTANCES],
            *[f"{row[f'recognised_{name}']:.0%}" for name in listeners], _fixed(row["ks_max"]),
        ]
        for row in rows.to_dict("records")
    ]  # fmt: skip
    return "\n".join(wide(markdown_table(header, body)))


def _codebook_table(rows: pd.DataFrame) -> str:
    return _table(rows, {
        "codec": ("codec", str), "level": ("level", str), "codes in use": ("codes_used", number),
        "share": ("used_share", "{:.0%}".format), "perplexity": ("perplexity", "{:.0f}".format),
    })  # fmt: skip


def _speed_table(rows: pd.DataFrame) -> str:
    two_digits = partial(number, digits=2)
    return _table(rows, {
        "codec": ("codec", str), "device": ("device_name", str),
        "encode (s)": ("encode_seconds", two_digits), "decode (s)": ("decode_seconds", two_digits),
        "seconds of sound a second": ("real_time_factor", "{:.0f}".format),
    })  # fmt: skip


def _table(rows: pd.DataFrame, columns: dict[str, tuple[str, Callable[[Any], str]]]) -> str:
    """Return a table in Markdown; `columns` maps a heading to a column of `rows` and what writes its values."""
    body = [[write(row[name]) for name, write in columns.values()] for row in rows.to_dict("records")]
    return "\n".join(wide(markdown_table(list(columns), body)))


def _goals_table(rows: pd.DataFrame) -> str:
    body = [
        [row["goal"], row["target"], f"{_fixed(row['value'])} {row['unit']}".strip(), row["met"]]
        for row in rows.to_dict("records")
    ]
    return "\n".join(wide(markdown_table(["goal", "target", "measured", "met"], body)))


def _absent() -> str:
    return f"*{NOT_MEASURED}*"


def _fixed(value: float) -> str:
    return f"{value:.2f}" if np.isfinite(value) else "–"


def _signed(value: float) -> str:
    return f"{value:+.1f}" if np.isfinite(value) else "–"


INTRODUCTION = """Held-out clips as recorded, through the codec with all its levels, and through Opus at the rate
nearest to the codec's own. Whatever you miss in the middle column, no model of these codes can bring back. Recordings
are never part of this repository: they are linked from the machine that built the book."""
