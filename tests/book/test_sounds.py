"""The pages of sounds: generated clips beside real ones and beside their nearest training clips."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
from fakes.runs import make_run, players, staging, tone

from envsound.base.errors import InputError
from envsound.base.files import read_csv, write_csv
from envsound.book.sounds import stage_sounds

SPACES = ("log-mel", "cnn, 2 components")


def staged(root: Path, *runs: Path, page: str = "sounds") -> Path:
    """Return a page that holds what the book's page includes, where the book's page lies."""
    stage_sounds(staging(root, *runs))
    target = root / "book" / f"{page}.md"
    shutil.copyfile(root / "book" / "executed" / f"{page}.txt", target)
    return target


def test_sounds_stand_beside_real_ones_of_their_class(root):
    page = staged(root, make_run(root))
    text = page.read_text(encoding="utf-8")
    assert text.index("### dog") < text.index("000 ·") < text.index("real-0.wav") < text.index("### rain")
    assert "linked from the data folder" in text
    assert len(players(page)) == 4 and all(path.is_file() for path in players(page))


def test_a_class_whose_name_is_markup_is_shown_and_nothing_runs(root):
    run = make_run(root, categories=("<img src=x onerror=alert(1)>", "# | {x}"))
    text = staged(root, run).read_text(encoding="utf-8")
    assert "### \\<img src=x onerror=alert\\(1\\)\\>" in text and "### \\# \\| \\{x\\}" in text
    assert "<img" not in text.replace("\\<img", "")


def test_an_unconditional_run_gets_one_table(root):
    run = make_run(root, categories=())
    text = staged(root, run).read_text(encoding="utf-8")
    assert text.count('<table class="sounds">') == 1
    assert "###" not in text and "2 of 2 clips" in text and "real-1.wav" in text
    (run / "pairs.csv").unlink()
    assert "real-1.wav" not in staged(root, run).read_text(encoding="utf-8")


def test_recordings_that_are_not_here_are_said_to_be_missing(root):
    run = make_run(root)
    shutil.rmtree(root / "data" / "raw")
    page = staged(root, run)
    text = page.read_text(encoding="utf-8")
    assert "not on the machine that built this book" in text and "real-0.wav: not on this machine" in text
    assert len(players(page)) == 2  # the generated ones
    (run / "metrics.csv").unlink()
    assert "real-0.wav" not in staged(root, run).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["../../secret.wav", "/etc/hostname"])
def test_a_sample_name_that_leaves_the_run_is_refused(root, name):
    run = make_run(root)
    write_csv(run / "samples.csv", read_csv(run / "samples.csv").assign(filename=name))
    with pytest.raises(InputError, match="leads outside"):
        staged(root, run)


# Pairs


@pytest.fixture
def run(root) -> Path:
    """A run with the closest pair of two spaces."""
    run = make_run(root)
    rows = []
    for number, space in enumerate(SPACES):
        files = {f"{name}_file": f"{number}_{name}.wav" for name in ("clip", "nearest")}
        for place, file in enumerate(files.values()):
            tone(run / "nearest_pairs" / file, 300 + 100 * place + number)
        row = {"rank": 1, "side": "generated", "space": space, "clip": "g", "category": "sea_waves", "nearest": "t"}
        rows.append(row | {"nearest_category": "rain", "distance": 3.0, "relative": 0.5} | files)
    write_csv(run / "nearest_pairs" / "pairs.csv", pd.DataFrame(rows))
    return run


def with_pairs(run: Path, **columns: str) -> None:
    path = run / "nearest_pairs" / "pairs.csv"
    write_csv(path, read_csv(path).assign(**columns))


def test_pairs_of_the_readers_runs_are_heard_side_by_side(root, run):
    page = staged(root, run, page="nearest_pairs")
    text = page.read_text(encoding="utf-8")
    assert len(players(page)) == 4 and "sea waves · g" in text and "rain · t" in text and "<td>0.50</td>" in text
    assert all(f"### {space}" in text for space in SPACES)
    nearest = run / "nearest_pairs" / "0_nearest.wav"
    assert players(page)[1].read_bytes() == nearest.read_bytes()
    nearest.unlink()
    page = staged(root, run, page="nearest_pairs")
    assert "0_nearest.wav: not on this machine" in page.read_text(encoding="utf-8") and len(players(page)) == 3


def test_what_a_table_of_pairs_says_is_text_and_no_markup(root, run):
    with_pairs(run, space="<script>x</script>")
    text = staged(root, run, page="nearest_pairs").read_text(encoding="utf-8")
    assert "<script>" not in text and "### &lt;script&gt;x&lt;/script&gt;" in text


@pytest.mark.parametrize(("columns", "expected"), [
    ({"rank": "<script>"}, r"pairs\.csv: rank '<script>'"),
    ({"nearest_file": "../samples/000.wav"}, "leads outside"),
])  # fmt: skip
def test_a_pair_that_cannot_be_is_refused(root, run, columns, expected):
    with_pairs(run, **columns)
    with pytest.raises(InputError, match=expected):
        staged(root, run)
