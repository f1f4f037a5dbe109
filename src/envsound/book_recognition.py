"""The book's chapter on recognising sounds: its tables and figures, from published reports of notebook 07."""

from pathlib import Path
from typing import Any

import pandas as pd

from envsound.book_assets import Assets
from envsound.book_facts import NOT_MEASURED, run_origin
from envsound.files import read_csv, read_json, write_text
from envsound.recognition_report import findings_recognition, percent, shown_summary
from envsound.recognition_tables import CITED, cited_table
from envsound.tables import dropdown, markdown_table, wide

RECOGNITION_REPORTS = "recognition"  # the folder in data/published, and in data/runs, that holds such reports
STEP = "07_classify"
BENCHMARKS = {  # names of the reports that the chapter shows, as notebooks/classify has them; whose cited rows go along
    "esc50": "esc50",
    "esc10": "esc10",
    "esc10_16k": "esc10",
    "urbansound8k": "urbansound8k",
}
NOTHING = "*Not run here: this copy of the repository holds no `data/published/recognition/{}/`.*"
FIGURES = {
    "accuracy": "Accuracy of every recogniser: mean and 95% interval over clips, and its folds.",
    "classes": "Accuracy by class of the best recogniser, with 95% Wilson intervals.",
    "confusion": "What each class (rows) was called (columns) by the best recogniser.",
}


def stage_recognition(folder: str | Path, assets: Assets, book_dir: str | Path) -> None:
    """Write what the chapter includes: executed/classification/<name>.txt for each of BENCHMARKS, and beside.txt.

    `folder` is data/published/recognition. Where a report is missing its file says so and shows what is cited.
    """
    folder, book_dir = Path(folder), Path(book_dir)
    page, target = book_dir / "classification.md", book_dir / "executed" / "classification"
    for name, benchmark in BENCHMARKS.items():
        lines = report_lines(folder / name, assets, page) if _is_there(folder / name) else [NOTHING.format(name), ""]
        if not _is_there(folder / name):
            lines += cited_lines(folder.parent / CITED.name, benchmark)
        write_text(target / f"{name}.txt", "\n".join(lines) + "\n")
    write_text(target / "beside.txt", "\n".join(beside_lines(folder / "esc10" / "recognition_beside.csv")) + "\n")


def report_lines(folder: Path, assets: Assets, page: Path) -> list[str]:
    """Return a report as Markdown: where it is from, what was found, its figures and tables."""
    summary, pairs = (read_csv(folder / f"{name}.csv") for name in ("recognition", "recognition_pairs"))
    claim = _optional(folder / "recognition_claim.csv")
    lines = [*_origin(folder), "", findings_recognition(summary, pairs, claim), ""]
    lines += _figure(folder, "accuracy", assets, page) + summary_lines(summary)
    lines += _figure(folder, "classes", assets, page) + claim_lines(claim)
    lines += dropdown("Every pair of recognisers", pairs_lines(pairs))
    return lines + dropdown("What is taken for what", _figure(folder, "confusion", assets, page))


def summary_lines(summary: pd.DataFrame) -> list[str]:
    """Return recognition.csv as a Markdown table, the best first; cited rows say so."""
    shown = shown_summary(summary)
    return wide(markdown_table(list(shown.columns), shown.astype(str).to_numpy().tolist()))


def claim_lines(claim: pd.DataFrame) -> list[str]:
    """Return the test of the published claim on strong and weak classes as a Markdown table; nothing when empty."""
    if claim.empty:
        return []
    header = ["recogniser", "published as strong (%)", "published as weak (%)", "difference", "clips"]
    rows = [
        [row["recogniser"], percent(row["strong"]), percent(row["weak"]), _difference(row),
         f"{row['n_strong']} and {row['n_weak']}"]
        for row in claim.to_dict("records")
    ]  # fmt: skip
    return wide(markdown_table(header, rows))


def pairs_lines(pairs: pd.DataFrame) -> list[str]:
    """Return recognition_pairs.csv as a Markdown table."""
    header = ["a", "b", "a minus b (points)", "clips only a has right", "only b"]
    rows = [
        [row["recogniser_a"], row["recogniser_b"], _difference(row), str(row["n_only_a"]), str(row["n_only_b"])]
        for row in pairs.to_dict("records")
    ]
    return wide(markdown_table(header, rows))


def beside_lines(path: Path) -> list[str]:
    """Return what the missing band costs as a Markdown table, from recognition_beside.csv of the full bandwidth."""
    table = _optional(path)
    if table.empty:
        return [f"*{NOT_MEASURED}*"]
    header = ["recogniser", "full bandwidth (%)", "nothing above 8 kHz (%)", "difference (points)", "clips"]
    rows = [
        [row["recogniser"], percent(row["here"]), percent(row["there"]), _difference(row), str(row["n_clips"])]
        for row in table.to_dict("records")
    ]
    return wide(markdown_table(header, rows))


def cited_lines(path: Path, benchmark: str) -> list[str]:
    """Return what others report on a benchmark as a Markdown table; nothing where there is no such table."""
    if not path.is_file():
        return []
    rows = cited_table(benchmark, path)
    cells = [
        [row["recogniser"], percent(row["accuracy"]), row["trained_on"] or "–", row["source"], row["note"]]
        for row in rows.to_dict("records")
    ]
    return wide(markdown_table(["cited", "accuracy (%)", "also learnt from", "source", "note"], cells)) if cells else []


def _is_there(folder: Path) -> bool:
    return all((folder / name).is_file() for name in ("recognition.csv", "recognition_pairs.csv"))


def _optional(path: Path) -> pd.DataFrame:
    return read_csv(path) if path.is_file() else pd.DataFrame({"recogniser": []})


def _origin(folder: Path) -> list[str]:
    if not (folder / "provenance.json").is_file():
        return []
    record = read_json(folder / "provenance.json")["steps"].get(STEP, {})
    facts, given, run = record.get("facts", {}), record.get("parameters", {}), run_origin(folder)
    fields: dict[str, Any] = {
        "Data cut": facts.get("data_cut"),
        "Codec": given.get("codec"),
        "Seeds": ", ".join(map(str, given.get("seeds", []))) or None,
        "Commit": run.get("commit"),
        "Machine": run.get("device"),
    }
    return [f":{name}: {value}" for name, value in fields.items() if value is not None]


def _difference(row: dict[str, Any]) -> str:
    value, low, high = (100 * row[name] for name in ("difference", "low", "high"))
    return f"{value:+.1f} ({low:+.1f} to {high:+.1f})"


def _figure(folder: Path, name: str, assets: Assets, page: Path) -> list[str]:
    link = assets.link(folder / "figures" / f"{name}.png", f"recognition-{folder.name}", page)
    words = FIGURES[name]
    return [f"```{{figure}} {link}", f":alt: {words}", ":width: 100%", "", words, "```", ""] if link else []
