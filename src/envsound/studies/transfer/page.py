"""The book's page on the transfer from speech, from a published report of notebook 12."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from envsound.base.files import read_csv
from envsound.base.text import NO_NUMBER, markdown_table, number, wide
from envsound.report.facts import Facts, step_record
from envsound.report.fragments import Staging, field_list, not_published
from envsound.run.publish import ReportKind

PAGE = "studies/transfer.md"
REPORT = "transfer"  # the folder in data/published that holds such a report
REPORTS = (ReportKind(("transfer.csv", "transfer_final.csv"), "a finished report of notebook 12"),)
STEP = "12_transfer_from_speech"
WORDS = "Loss on watched clips over the epochs of fine-tuning, from random and from pretrained weights; a line a seed."


def stage(book: Staging) -> None:
    """Write what the page includes, executed/transfer/result.txt: a box that says so where there is no report."""
    folder = book.published / REPORT
    lines = not_published("report of a transfer")
    if (folder / "transfer_final.csv").is_file():
        picture = book.figure(folder / "figures" / "transfer.png", WORDS, PAGE, REPORT)
        lines = [*field_list(_origin(folder)), *picture, *wide(result_table(_final(folder)))]
        lines += book.downloads(sorted(folder.glob("*.csv")), PAGE)
    book.write("transfer/result.txt", lines)


def facts(published: Path) -> Mapping[str, Any]:
    """Return `transfer`: target -> random, speech, difference (nat, means over seeds) and head_start (their median)."""
    folder, found = published / REPORT, Facts()
    if (folder / "transfer_final.csv").is_file():
        for target, rows in _final(folder).groupby("target"):
            means = rows[["random", "speech", "difference"]].mean()
            found[target] = Facts({name: f"{value:.3f}" for name, value in means.items()})
            found[target]["head_start"] = _epoch(rows["head_start"].median())
    return {"transfer": found}


def result_table(final: pd.DataFrame) -> list[str]:
    """Return the losses after the last epoch, all levels, by target and seed, as a Markdown table."""
    header = ["target", "seed", "from random weights", "from speech", "difference", "head start"]
    rows = [
        [row["target"], str(row["seed"]), number(row["random"], 4), number(row["speech"], 4),
         f"{row['difference']:+.3f}", _epoch(row["head_start"])]
        for row in final.to_dict("records")
    ]  # fmt: skip
    return markdown_table(header, rows)


def _final(folder: Path) -> pd.DataFrame:
    final = read_csv(folder / "transfer_final.csv")
    return final[final["level"].astype(str) == "all"]


def _epoch(value: float) -> str:
    return NO_NUMBER if pd.isna(value) else f"{value:.0f}"


def _origin(folder: Path) -> dict[str, Any]:
    given, found, made = step_record(folder, STEP)
    return {
        "Speech": found.get("speech"),
        "Environmental sound": found.get("cut"),
        "Material": f"{given['n_clips']} clips of {given['clip_seconds']:g} s of either kind to fine-tune on",
        "Model": f"{given['n_layers']} x {given['dim']}, not told classes; codec {given['codec']}",
        "Epochs": f"{given['pretraining_epochs']} of pretraining, {given['finetuning_epochs']} of fine-tuning",
        "Seeds": ", ".join(map(str, given["seeds"])),
        **made,
    }
