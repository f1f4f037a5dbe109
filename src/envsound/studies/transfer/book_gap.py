"""The book's chapter on the domain gap: its numbers and figures, from a published report of notebook 11."""

from pathlib import Path
from typing import Any

import pandas as pd

from envsound.base.files import read_csv, read_json, write_text
from envsound.base.text import markdown_table, number, wide
from envsound.metrics.measures import MEASURES
from envsound.report.assets import Assets
from envsound.report.facts import NOT_MEASURED, run_origin
from envsound.studies.transfer.domain_gap import CODE_MEASURES, DOMAINS, findings_gap

GAP_REPORT = "domain_gap"  # the folder in data/published, and in data/runs, that holds such reports
FRAGMENTS = "domain_gap"  # the folder in executed/ whose files the chapter includes
NOTHING = """:::{admonition} Nothing published yet
This copy of the repository holds no `data/published/domain_gap/`: the gap has not been measured here, and this page has
no number. The commands at the end of it make some.
:::"""
FIGURES = {
    "effects": "Cliff's delta of each measure, with its 95% interval over resampled clips.",
    "shares": "Shares of energy by frequency band, and of the envelope's power by octave of modulation: medians.",
    "codes": "Entropy and cross-entropies of the codes, by level.",
}


def stage_gap(folder: str | Path, assets: Assets, book_dir: str | Path) -> None:
    """Write the fragments that the chapter includes: executed/domain_gap/sound.txt and codes.txt.

    `folder` is data/published/domain_gap; where it holds no report the first is a box that says so, the second a line.
    """
    folder, book_dir = Path(folder), Path(book_dir)
    sound, codes = [NOTHING], [f"*{NOT_MEASURED}*"]
    if (folder / "gap.csv").is_file() and (folder / "gap_codes.csv").is_file():
        page = book_dir / "domain_gap.md"
        gap, gap_codes = read_csv(folder / "gap.csv"), read_csv(folder / "gap_codes.csv")
        sound = [*origin(folder), "", findings_gap(gap, gap_codes), ""]
        sound += [*_figure(folder, "effects", assets, page), *gap_table(gap), *_figure(folder, "shares", assets, page)]
        codes = [*_figure(folder, "codes", assets, page), *code_table(gap_codes)]
    for name, lines in (("sound", sound), ("codes", codes)):
        write_text(book_dir / "executed" / FRAGMENTS / f"{name}.txt", "\n".join(lines) + "\n")


def origin(folder: Path) -> list[str]:
    """Return what was measured, with what and where, as a field list; nothing without a record."""
    if not (folder / "provenance.json").is_file():
        return []
    facts: dict[str, Any] = {}
    for step in read_json(folder / "provenance.json")["steps"].values():
        facts |= step.get("facts", {})
    run = run_origin(folder)
    fields = {
        "Speech": facts.get("speech_cut"),
        "Environmental sound": facts.get("data_cut"),
        "Digital silence, left out": ", ".join(f"{facts.get(f'n_silent_{d}', '–')} clips of {d}" for d in DOMAINS),
        "Bands up to": f"{number(facts['max_hz'])} Hz" if "max_hz" in facts else None,
        "Codec": facts.get("codec"),
        "Seed": run.get("seed"),
        "Commit": run.get("commit"),
        "Machine": run.get("device"),
    }
    return [f":{name}: {value}" for name, value in fields.items() if value is not None]


def gap_table(gap: pd.DataFrame) -> list[str]:
    """Return gap.csv as a Markdown table."""
    first = gap.iloc[0]
    header = ["measure", first["speech_kind"], first["environment_kind"], "Cliff's delta", "n", "undefined"]
    rows = [[MEASURES[row["measure"]].axis_label, *_cells(row), *_counts(row)] for row in gap.to_dict("records")]
    return wide(markdown_table(header, rows))


def code_table(gap_codes: pd.DataFrame) -> list[str]:
    """Return gap_codes.csv as a Markdown table, level after level."""
    first = gap_codes.iloc[0]
    header = ["level", "measure", first["speech_kind"], first["environment_kind"], "Cliff's delta", "n"]
    rows = [
        [str(row["level"]), CODE_MEASURES[row["measure"]].axis_label, *_cells(row), _counts(row)[0]]
        for row in gap_codes.to_dict("records")
    ]
    return wide(markdown_table(header, rows))


def _cells(row: dict[str, Any]) -> list[str]:
    """Return both values with their intervals, and Cliff's delta with its own."""
    cells = [_interval(*(row[f"{domain}{part}"] for part in ("", "_low", "_high"))) for domain in DOMAINS]
    delta, low, high = (row[f"cliffs_delta{part}"] for part in ("", "_low", "_high"))
    return [*cells, "–" if pd.isna(delta) else f"{delta:+.2f} ({low:+.2f} to {high:+.2f})"]


def _interval(value: float, low: float, high: float) -> str:
    return "–" if pd.isna(value) else f"{number(value, 3)} ({number(low, 3)} to {number(high, 3)})"


def _counts(row: dict[str, Any]) -> list[str]:
    return [" and ".join(number(int(row[f"{part}_{domain}"])) for domain in DOMAINS) for part in ("n", "n_undefined")]


def _figure(folder: Path, name: str, assets: Assets, page: Path) -> list[str]:
    link = assets.link(folder / "figures" / f"{name}.png", "domain-gap", page)
    words = FIGURES[name]
    return [f"```{{figure}} {link}", f":alt: {words}", ":width: 100%", "", words, "```", ""] if link else []
