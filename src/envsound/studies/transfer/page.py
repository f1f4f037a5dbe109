"""The book's chapter on the transfer from speech, from a published report of notebook 12."""

from pathlib import Path

from envsound.base.files import read_csv, read_json, write_text
from envsound.base.text import markdown_table, number, wide
from envsound.report.assets import Assets
from envsound.report.facts import run_origin
from envsound.run.publish import ReportKind
from envsound.studies.transfer.transfer import findings_transfer

TRANSFER_REPORT = "transfer"  # the folder in data/published, and in data/runs, that holds such reports
REPORTS = (ReportKind(("transfer.csv", "transfer_final.csv"), "a finished report of notebook 12"),)
STEP = "12_transfer_from_speech"
WORDS = "Loss on watched clips over the epochs of fine-tuning, from random and from pretrained weights; a line a seed."
NOTHING = """:::{admonition} Nothing published yet
This copy of the repository holds no `data/published/transfer/`: the transfer has not been run here, and this page has
no number. The commands at the end of it run it.
:::"""


def stage_transfer(folder: str | Path, assets: Assets, book_dir: str | Path) -> None:
    """Write what the chapter includes, executed/transfer/result.txt: a box that says so where there is no report.

    `folder` is data/published/transfer.
    """
    folder, book_dir = Path(folder), Path(book_dir)
    lines = [NOTHING]
    if (folder / "transfer_final.csv").is_file() and (folder / "provenance.json").is_file():
        lines = [*_origin(folder), "", *_result(folder, assets, book_dir / "transfer.md")]
    write_text(book_dir / "executed" / "transfer" / "result.txt", "\n".join(lines) + "\n")


def _origin(folder: Path) -> list[str]:
    record = read_json(folder / "provenance.json")["steps"][STEP]
    given, run = record["parameters"], run_origin(folder)
    fields = {
        "Speech": record["facts"].get("speech"),
        "Environmental sound": record["facts"].get("cut"),
        "Material": f"{given['n_clips']} clips of {given['clip_seconds']:g} s of either kind to fine-tune on",
        "Model": f"{given['n_layers']} x {given['dim']}, not told classes; codec {given['codec']}",
        "Epochs": f"{given['pretraining_epochs']} of pretraining, {given['finetuning_epochs']} of fine-tuning",
        "Seeds": ", ".join(map(str, given["seeds"])),
        "Commit": run.get("commit"),
        "Machine": run.get("device"),
    }
    return [f":{name}: {value}" for name, value in fields.items() if value is not None]


def _result(folder: Path, assets: Assets, page: Path) -> list[str]:
    final = read_csv(folder / "transfer_final.csv").astype({"level": str})
    epochs = read_json(folder / "provenance.json")["steps"][STEP]["parameters"]["finetuning_epochs"]
    link = assets.link(folder / "figures" / "transfer.png", "transfer", page)
    figure = [f"```{{figure}} {link}", f":alt: {WORDS}", ":width: 100%", "", WORDS, "```", ""] if link else []
    header = ["target", "seed", "from random weights", "from speech", "difference", "head start"]
    rows = [
        [row["target"], str(row["seed"]), number(row["random"], 4), number(row["speech"], 4),
         f"{row['difference']:+.3f}", "–" if row["head_start"] != row["head_start"] else f"{row['head_start']:.0f}"]
        for row in final[final["level"] == "all"].to_dict("records")
    ]  # fmt: skip
    return [findings_transfer(final, epochs), "", *figure, *wide(markdown_table(header, rows))]
