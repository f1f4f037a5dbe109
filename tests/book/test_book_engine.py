"""The chapter on the engine: decoding settings and what training has learnt, from published runs."""

from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from envsound.base.files import write_csv, write_json
from envsound.book.engine import NO_SETTINGS, NO_TRAINING, settings_table, stage_runs, training_table
from envsound.report.assets import Assets
from envsound.studies.decoding.contest import BASE, CEILING, COLUMNS, FLOOR, REAL

CHAPTER = Path(__file__).parents[2] / "book" / "engine.md"
NOTHING = float("nan")


def settings() -> pd.DataFrame:
    def row(control: str, setting: str, n: int, passes: float, distance: float, accuracy: float) -> dict:
        measured = {"distance": distance, "accuracy": accuracy, "diversity": 0.5}
        ends = {
            f"{key}{end}": value + by for key, value in measured.items() for end, by in (("_low", -0.1), ("_high", 0.1))
        }
        facts = {"control": control, "setting": setting, "n": n, "passes": passes, "seconds_per_clip": passes / 10}
        return facts | measured | ends | {"furthest": "rms", "furthest_delta": -0.8}

    rows = [
        row(REAL, FLOOR, 80, NOTHING, 0.1, NOTHING),
        row(CEILING, CEILING, 80, NOTHING, 0.2, 0.7),
        row(BASE.control, BASE.name, 40, 19, 0.45, 0.6),
        row("steps at level 0", "one code a pass", 10, 382, 0.4, 0.8),
    ]
    return pd.DataFrame(rows)[COLUMNS]


def history() -> pd.DataFrame:
    rows = [(epoch, level, split, 7.0 - epoch / 2, 10, 6.25 if split == "validation" else NOTHING, 1e-4, 60.0)
            for epoch in (1, 2) for split in ("train", "validation") for level in ("0", "1", "all")]  # fmt: skip
    return pd.DataFrame(rows, columns=["epoch", "level", "split", "loss", "n_masked", "unigram", "lr", "seconds"])


@pytest.fixture
def published(tmp_path) -> Path:
    folder = tmp_path / "published" / "esc10"
    record = {"parameters": {}, "facts": {"data_cut": "ESC-10"}, "commit": "abc", "device": "CPU, 2 threads"}
    write_json(folder / "provenance.json", {"steps": {"01_encode_clips": record}})
    write_csv(folder / "training.csv", history())
    write_csv(folder / "ks.csv", pd.DataFrame({"metric": ["rms"]}))
    write_csv(folder / "decoding.csv", settings())
    (folder / "figures").mkdir()
    Image.new("RGB", (4, 4)).save(folder / "figures" / "decoding_settings.png")
    return folder.parent


def staged(published: Path, name: str) -> str:
    stage_runs(published, Assets(published.parent / "book", [published]), published.parent / "book")
    return (published.parent / "book" / "executed" / "engine" / f"{name}.txt").read_text()


def test_without_a_published_run_the_chapter_says_so(tmp_path):
    assert staged(tmp_path / "none", "settings").strip() == NO_SETTINGS
    assert staged(tmp_path / "none", "training").strip() == NO_TRAINING


def test_the_settings_of_a_run_are_shown_with_their_origin(published):
    text = staged(published, "settings")
    assert ":Data: ESC-10" in text and ":Machine: CPU, 2 threads" in text and "```{figure}" in text
    assert "Closest to real clips is **steps at level 0: one code a pass**, 0.40 (0.30 to 0.50) in 382 passes" in text
    assert text.index(FLOOR) < text.index("| base")


def test_a_value_that_was_not_measured_is_a_dash():
    floor, ceiling = settings_table(settings())[2:4]
    assert floor.split(" | ")[3:5] == ["–", "–"] and "| – |" in floor
    assert "70% (60% to 80%)" in ceiling and "(-0.80)" in ceiling


def test_what_was_learnt_is_the_last_epoch_beside_the_code_frequencies(published):
    assert training_table(history())[2] == "| 0 | 6.00 | 6.00 | 6.25 | -0.25 |"
    text = staged(published, "training")
    assert ":Training: 2 epochs in 2 minutes" in text and "| all | 6.00 |" in text


def test_a_folder_that_is_no_run_has_no_training_there(published):
    (published / "esc10" / "ks.csv").unlink()
    assert staged(published, "training").strip() == NO_TRAINING


def test_the_chapter_includes_both():
    text = CHAPTER.read_text(encoding="utf-8")
    for name in ("rules", "settings", "training"):
        assert f"```{{include}} executed/engine/{name}.txt\n```" in text
