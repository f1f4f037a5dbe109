"""The numbers the book's prose uses, read from result files, never typed."""

import html
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from envsound.base.errors import InputError
from envsound.base.files import read_csv, read_json
from envsound.base.text import number
from envsound.metrics.published import SOURCES, read_published
from envsound.studies.codec_report.tables import systems_table

NOT_MEASURED = "not measured"


class Facts(dict):
    """A tree of facts for the templates: a name nobody measured reads "not measured", at any depth."""

    def __missing__(self, key: str) -> "Facts":
        return Facts()

    def __str__(self) -> str:
        return NOT_MEASURED if not self else dict.__repr__(self)


def facts(value: Any) -> Any:
    """Return `value` (from JSON or YAML) as Facts, with every number written out; lists become "a, b, c"."""
    if isinstance(value, dict):
        return Facts({str(key): facts(item) for key, item in value.items()})
    if isinstance(value, list | tuple):
        return ", ".join(str(facts(item)) for item in value)
    if isinstance(value, bool | int | float):
        return number(value)
    return NOT_MEASURED if value is None else str(value)


def published_facts(path: str | Path) -> Facts:
    """Return the published study's figures as item -> side -> {value, sd, unit, source, note}.

    Where a figure has two sources, the more exact wins (result files before printed tables).
    """
    table = read_published(path).copy()
    rank = {source: place for place, source in enumerate(SOURCES)}
    table["rank"] = [next((rank[s] for s in SOURCES if source.startswith(s)), 9) for source in table["source"]]
    found = Facts()
    for row in table.sort_values("rank", ascending=False, kind="stable").to_dict("records"):
        cells = {key: "" if pd.isna(row.get(key)) else row[key] for key in ("value", "sd", "unit", "source", "note")}
        entry = Facts({key: number(cell) if isinstance(cell, float) else str(cell) for key, cell in cells.items()})
        found.setdefault(row["item"], Facts())[row["side"] or "all"] = entry
    return found


def result_facts(folder: str | Path) -> Facts:
    """Return a finished run's facts: `table` metric -> column -> text, `ks` comparison -> metric -> column ->
    text, and `run` as `run_origin` gives it. Missing files are left out.
    """
    folder, found = Path(folder), Facts()
    if (folder / "table_metrics.csv").is_file():
        rows = read_csv(folder / "table_metrics.csv").to_dict("records")
        found["table"] = Facts({row.pop("metric"): facts(row) for row in rows})
    if (folder / "ks.csv").is_file():
        found["ks"] = Facts()
        for row in read_csv(folder / "ks.csv").to_dict("records"):
            found["ks"].setdefault(row.pop("comparison"), Facts())[row.pop("metric")] = facts(row)
    if (folder / "provenance.json").is_file():
        found["run"] = facts(run_origin(folder))
    return found


def run_origin(folder: str | Path) -> dict[str, Any]:
    """Return where a run came from, out of its provenance.json.

    Keys: preset, fold, seed, dataset, data_dir, esc10_only, data_cut, n_parameters, codec_hash, commit,
    device, started, seconds (sum of all steps). What a record lacks is left out.

    Raises InputError when the file is missing or is not a provenance record.
    """
    record = read_json(Path(folder) / "provenance.json")
    steps = record.get("steps") if isinstance(record, dict) else None
    if not isinstance(steps, dict) or not all(isinstance(step, dict) for step in steps.values()):
        raise InputError(f"{Path(folder) / 'provenance.json'}: no steps in it, expected a provenance record")
    origin: dict[str, Any] = {}
    for step in steps.values():
        parameters, noted = step.get("parameters", {}), step.get("facts", {})
        for key in ("preset", "fold", "seed", "dataset", "data_dir", "esc10_only"):
            if parameters.get(key) not in (None, ""):
                origin.setdefault(key, parameters[key])
        for key in ("data_cut", "n_parameters", "codec_hash"):
            if key in noted:
                origin.setdefault(key, noted[key])
    origin["commit"] = _all_of(steps, "commit")
    used = {step["facts"]["device_used"] for step in steps.values() if "device_used" in step.get("facts", {})}
    origin["device"] = ", ".join(sorted(map(str, used))) or _all_of(steps, "device")
    origin["started"] = min((str(step["started"]) for step in steps.values() if step.get("started")), default="")
    origin["seconds"] = round(sum(float(step.get("seconds", 0)) for step in steps.values()), 1)
    return {key: value for key, value in origin.items() if value != ""}


def _all_of(steps: dict[str, dict], key: str) -> str:
    """Return the different values the steps have for `key`, in one line."""
    return ", ".join(sorted({str(step[key]) for step in steps.values() if step.get(key)}))


def card_table(card: Any, prefix: str = "") -> str:
    """Return nested facts as a two-column Markdown table, one row a leaf, names as "held out: log mel
    distance".
    """

    def leaves(tree: Facts, name: str) -> list[str]:
        rows = []
        for key, value in tree.items():
            if key == "last":  # the last line of a training history is for the notebook's curves
                continue
            path = f"{name}: {key}" if name else key
            text = html.escape(str(value), quote=False).replace("|", "\\|")
            rows += leaves(value, path) if isinstance(value, Facts) else [f"| {path.replace('_', ' ')} | {text} |"]
        return rows

    rows = leaves(card, prefix) if isinstance(card, Facts) else []
    return "\n".join(["| fact | value |", "| :-- | :-- |", *rows]) if rows else f"*{NOT_MEASURED}*"


def _codec_systems(path: Path) -> str:
    """Return the table of a codec's card, codec and yardsticks; "not measured" where there is no such card."""
    rows = read_json(path).get("held_out", {}).get("systems", []) if path.is_file() else []
    return systems_table(pd.DataFrame(rows)) if rows else f"*{NOT_MEASURED}*"


def notebook_links(book_dir: str | Path) -> Facts:
    """Return links to the staged notebooks by step: `n01` -> "[demo-fold1_seed0](executed/runs/...)".

    A step that has not been run reads "not run yet".
    """
    links = Facts({f"n{step:02d}": "not run yet" for step in range(7)})
    for step in range(7):
        paths = sorted(Path(book_dir).glob(f"executed/runs/*/{step:02d}_*.ipynb"))
        if paths:
            found = [f"[{path.parent.name}]({path.relative_to(book_dir).as_posix()})" for path in paths]
            links[f"n{step:02d}"] = ", ".join(found)
    return links


def book_facts(root: str | Path) -> dict[str, Any]:
    """Return the substitutions of the book.

    codec (its card), codec_training and codec_systems (tables of it), published (the published study),
    paper, demo, esc10 (presets), results (preset -> result_facts), steps (links to executed notebooks).
    `root` is the repository root. A file that is not there leaves its facts "not measured".
    """
    root = Path(root)
    found: dict[str, Any] = {"codec": Facts(), "published": Facts(), "results": Facts()}
    found["steps"] = notebook_links(root / "book")
    if (root / "data" / "codec" / "card.json").is_file():
        found["codec"] = facts(read_json(root / "data" / "codec" / "card.json"))
    found["codec_training"] = card_table(found["codec"]["training"])
    found["codec_systems"] = _codec_systems(root / "data" / "codec" / "card.json")
    if (root / "data" / "published" / "published_study.csv").is_file():
        found["published"] = published_facts(root / "data" / "published" / "published_study.csv")
    for preset in ("paper", "demo", "esc10"):
        path = root / "notebooks" / "presets" / f"{preset}.yml"
        found[preset] = facts(yaml.safe_load(path.read_text(encoding="utf-8")) or {}) if path.is_file() else Facts()
    for folder in sorted((root / "data" / "published").glob("*/")):
        if folder.is_dir():
            found["results"][folder.name] = result_facts(folder)
    return found
