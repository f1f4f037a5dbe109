"""The chapters on the engine and on the transfer: what they show comes from their result files."""

import pandas as pd
from PIL import Image

from envsound.base.files import write_csv, write_json
from envsound.report.assets import Assets
from envsound.studies.transfer.page import NOTHING, stage_transfer


def result(tmp_path) -> str:
    return (tmp_path / "book" / "executed" / "transfer" / "result.txt").read_text()


def test_without_a_report_the_chapter_says_so(tmp_path):
    stage_transfer(tmp_path / "none", Assets(tmp_path / "book", [tmp_path]), tmp_path / "book")
    assert result(tmp_path).strip() == NOTHING


def test_the_chapter_shows_the_report(tmp_path):
    folder = tmp_path / "published" / "transfer"
    rows = [("environment", 0, "all", 5.0, 4.5, -0.5, 3.0), ("environment", 0, "0", 5.0, 4.5, -0.5, float("nan"))]
    columns = ["target", "seed", "level", "random", "speech", "difference", "head_start"]
    write_csv(folder / "transfer_final.csv", pd.DataFrame(rows, columns=columns))
    given = {"n_clips": 100, "clip_seconds": 2.0, "n_layers": 2, "dim": 256, "codec": "bundled", "seeds": [0],
             "pretraining_epochs": 9, "finetuning_epochs": 8}  # fmt: skip
    record = {"parameters": given, "facts": {"cut": "ESC-10", "speech": "synthetic speech"}, "commit": "abc"}
    write_json(folder / "provenance.json", {"steps": {"12_transfer_from_speech": record}})
    (folder / "figures").mkdir()
    Image.new("RGB", (4, 4)).save(folder / "figures" / "transfer.png")
    stage_transfer(folder, Assets(tmp_path / "book", [tmp_path]), tmp_path / "book")
    text = result(tmp_path)
    assert ":Speech: synthetic speech" in text and "9 of pretraining, 8 of fine-tuning" in text
    assert "```{figure}" in text and "-0.500" in text and "**helped**" in text
    assert text.count("| environment") == 1
