"""The chapter on the ceiling and the page of its clips, staged from a report that was made up."""

import re
from pathlib import Path

import pytest
from fakes.codec_reports import make_report, write_examples
from fakes.runs import make_run, players, staging

from envsound.base.errors import InputError
from envsound.base.files import read_csv, write_csv
from envsound.run.publish import kind_of, publish_report
from envsound.studies.codec_report.page import FIGURES, REPORTS, facts, report_facts, stage

REPOSITORY = Path(__file__).parents[3]
PAGES = ("codec_report", "codec_report_tables")
CHAPTER = "".join((REPOSITORY / "book" / "studies" / f"{name}.md").read_text(encoding="utf-8") for name in PAGES)


def staged(root: Path, *runs: Path) -> Path:
    """Stage the chapter in the folder `root` and return the page of clips."""
    stage(staging(root, *runs))
    return root / "book" / "executed" / "studies" / "codec_clips.md"


@pytest.fixture
def published(root):
    report = make_report(root / "data" / "runs" / "codec" / "patches")
    folder = publish_report(report, root / "data/published/codec", kind_of(report, REPORTS))
    return folder


def test_facts_come_from_the_files(published):
    found = report_facts(published)
    assert found["own"]["log_mel_distance"] == "2.25" and found["own"]["recognised_cnn"] == "90%"
    assert found["system"]["opus_12_kbit_s"]["log_mel_distance"] == "3.90"
    assert found["system"]["white_noise"]["recognised_cnn"] == "10%"
    band = found["bands"]["b8000_12000"]
    assert band["all"]["level_difference_db"] == "-1.5" and band["n1"]["level_difference_db"] == "-8.5"
    assert band["all"]["n"] == "71" and band["all"]["n_left_out"] == "9" and found["high_band"] == "8000 to 12000"
    assert found["worst"]["category"] == "rain" and found["worst"]["log_mel_distance"] == "3.25"
    run = found["run"]
    assert (run["data_cut"], run["held_out_fold"], run["n_held_out"]) == ("ESC-50 folder test, esc10 only", "1", "80")
    assert "| mine, 8 levels | 2.25 | 0.23 | -20.00 | 90% | 3.0% | 0.10 |" in found["systems"]
    assert "| 8000 to 12000 | -8.5 | -7.5 | -6.5 | -5.5 | -4.5 | -3.5 | -2.5 | -1.5 | 71 | 9 |" in found["bands_table"]
    assert "| sea" not in found["classes"] and "| rain | 8 | 3.25 |" in found["classes"]
    assert found["codebook"].count("| mine |") == 8 and "| other | 1 | 300 | 59% | 200 |" in found["codebook"]
    assert "| mine | CPU test, 1 threads | 0.05 | 0.05 | 50 |" in found["speed"]
    assert "| mine, 8 levels | 80 | 80% (75 to 85%) | 10.0 | 0.5 |" in found["judged"]
    assert (
        "| dog | 90% | 80% | 60% | 40% | 30% | 20% |" in found["judged_classes"] and found["heard"]["original"] == "90%"
    )
    assert "| mine | 0 | 8.50 | 2.25 | – |" in found["predictability"]
    assert "| mine | 1 | 200 | 25% | 25% |" in found["stability"] and "| dog | 0.00 | 0.11 |" in found["periodic"]


def test_without_a_report_everything_is_unmeasured(root):
    found = facts(root / "data" / "published")
    row, band = found["ceiling"]["own"], found["ceiling"]["bands"]["b8000_12000"]["all"]
    for text in (found["ceiling"]["systems"], row["log_mel_distance"], band["n"]):
        assert str(text).strip("*") == "not measured"


def test_every_fact_the_chapter_asks_for_is_published():
    known = facts(REPOSITORY / "data" / "published")
    asked = re.findall(r"{{ ((?:ceiling)\.[\w.]+)", CHAPTER)
    assert len(asked) > 15
    for name in asked:
        value = known
        for part in name.split("."):
            value = value[part]
        assert "not measured" not in str(value), name


def test_figures_are_staged_where_the_chapter_includes_them(root, published):
    pages = staged(root).parents[1]
    for name in FIGURES:
        assert f"```{{include}} ../executed/ceiling/{name}.txt\n```" in CHAPTER
    link = re.search(r"{figure} (\S+)", (pages / "ceiling" / "levels.txt").read_text())[1]
    assert (root / "book" / link.removeprefix("../")).read_bytes() == b"png"
    assert "not measured" in (pages / "ceiling" / "codebooks.txt").read_text()  # the report has no such figure
    whole = (pages / "ceiling" / "whole.txt").read_text()
    assert "| mine, 8 levels | 80 | 80% (75% to 85%) | 0.5 |" in whole and "mine, 1 level" not in whole
    assert 'judged.csv" download' in whole and "not measured" in (pages / "ceiling" / "heard.txt").read_text()


def test_clips_are_shown_three_a_row_and_missing_ones_are_named(root):
    report = make_report(root / "data" / "runs" / "codec" / "patches")
    page = staged(root)
    text = page.read_text(encoding="utf-8")
    assert "Held-out recordings: fold 1 of ESC-50 folder test, esc10 only." in text
    heads = re.findall(r'<th style="color: var\(--es-(\w+)\)">([^<]+)</th>', text)
    assert heads == [("real", "Original"), ("codec", "mine, 6 kbit/s"), ("ink", "Opus, 6 kbit/s")]
    assert len(players(page)) == 5 and text.count("Opus was not installed") == 1 and "sea waves · 1-0-A" in text
    assert players(page)[0].read_bytes() == (report / "examples" / "0_original.wav").read_bytes()
    (report / "examples" / "0_codec.wav").unlink()
    page = staged(root)
    assert len(players(page)) == 4 and "0_codec.wav: not on this machine" in page.read_text(encoding="utf-8")


def test_clips_of_reports_and_runs_have_sections_of_their_own(root):
    run = make_run(root)
    write_examples(run / "codec_clips", 2)
    for name in ("trial", "seanet"):
        write_examples(make_report(root / f"data/runs/codec/{name}") / "examples", 3)
    page = staged(root, run)
    text = page.read_text(encoding="utf-8")
    heads = ["## The report seanet", "## The report trial", "## The run demo, fold1, seed0"]
    assert re.findall(r"## The .*", text) == heads
    assert len(players(page)) == 8 + 8 + 5


def test_without_clips_one_sentence_says_how_to_make_them_and_none_is_taken_from_elsewhere(root):
    make_report(root / "data" / "runs" / "codec" / "none", examples=0)
    page = staged(root)
    assert "envsound codec" in page.read_text(encoding="utf-8") and not players(page)
    report = make_report(root / "data" / "runs" / "codec" / "patches")
    examples = read_csv(report / "examples" / "examples.csv")
    write_csv(report / "examples" / "examples.csv", examples.assign(codec="../../../secret.wav"))
    with pytest.raises(InputError, match="leads outside"):
        staged(root)
