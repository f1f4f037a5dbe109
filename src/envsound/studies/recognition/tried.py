"""What was tried in recognising sounds: every row of every published report, with the settings that tell rows apart."""

from pathlib import Path
from typing import Any

import pandas as pd

from envsound.base.files import read_csv, read_json
from envsound.base.text import markdown_table, number, percent, wide

STEP = "07_classify"
NOTHING = "*Nothing has been run here yet.*"
NOT_TOLD = ("name", "device")  # no settings of a method
KINDS = ["cnn", "mfcc_svm", "ast_probe", "codec_probe", "conformer_frozen", "conformer_probe", "conformer_finetuned"]


def tried_lines(folder: Path) -> list[str]:
    """Return every measured row of the reports in `folder` as a Markdown table, by kind and then the best first.

    The last column has the settings in which rows of the same kind differ, from the report's provenance.
    """
    rows = [row for report in sorted(folder.glob("*/recognition.csv")) for row in _rows_of(report)]
    if not rows:
        return [NOTHING]
    cells = []
    for row in sorted(rows, key=lambda row: (_place(row["kind"]), row["run"], -row["accuracy"])):
        told = _differing(row, [other for other in rows if other["kind"] == row["kind"]])
        numbers = [percent(row["accuracy"]), f"{row['n_folds']:.0f}", f"{row['n_seeds']:.0f}"]
        cells.append([row["recogniser"], row["run"], *numbers, "; ".join(told) or "–"])
    header = ["recogniser", "run", "accuracy (%)", "rounds", "seeds", "settings that differ"]
    return wide(markdown_table(header, cells), "notes names")


def _rows_of(report: Path) -> list[dict[str, Any]]:
    record = report.with_name("provenance.json")
    facts = read_json(record)["steps"].get(STEP, {}).get("facts", {}) if record.is_file() else {}
    settings, table = facts.get("recognisers", {}), read_csv(report)
    return [
        row | {"run": report.parent.name, "settings": _flat(settings.get(row["recogniser"], {}))}
        for row in table[table["status"] == "measured"].to_dict("records")
    ]


def _flat(settings: dict[str, Any], before: str = "") -> dict[str, Any]:
    """Return nested settings as one level, their names joined by dots."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        found |= _flat(value, f"{before}{name}.") if isinstance(value, dict) else {f"{before}{name}": value}
    return found


def _differing(row: dict[str, Any], kind: list[dict[str, Any]]) -> list[str]:
    """Return the settings of a row of which its kind has several values, as "name = value"."""
    told = []
    for name, value in row["settings"].items():
        values = {str(other["settings"][name]) for other in kind if name in other["settings"]}
        if len(values) > 1 and name not in NOT_TOLD:
            told.append(f"{name.replace('_', ' ')} = {_shown(value)}")
    return told


def _shown(value: Any) -> str:
    if pd.api.types.is_list_like(value):
        return ", ".join(map(_shown, value))
    return number(value) if isinstance(value, bool | int | float) else str(value)[:40] or "none"


def _place(kind: str) -> int:
    return KINDS.index(kind) if kind in KINDS else len(KINDS)
