"""The page on recognising sounds: tables that fit it, what the codec has met, and numbers for its prose."""

import re
import shutil
from pathlib import Path

import pytest
from fakes.recognition import Knower, codec_that_met, made_up_clips

from envsound.base.files import read_csv, write_json
from envsound.metrics.published import PUBLISHED
from envsound.report.assets import Assets
from envsound.report.fragments import Staging
from envsound.report.style import save_figure
from envsound.run.publish import publish_report
from envsound.studies.recognition import page
from envsound.studies.recognition.figures import accuracy_figure
from envsound.studies.recognition.report import run_report
from envsound.studies.recognition.rounds import cross_validation
from envsound.studies.recognition.tables import CITED, folder_name

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "book" / page.PAGE).read_text()
LONG = "Conformer, environment, frozen, weighted layers"  # the longest name of a published row
WIDEST = 130  # characters of a row; what is wider is scrolled


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Path:
    """data/published with reports on ESC-50 and ESC-10, the second beside the first."""
    place = tmp_path_factory.mktemp("published")
    for path in (PUBLISHED, CITED):
        shutil.copyfile(ROOT / path, place / path.name)
    codec = codec_that_met(place / "codec", ["2-200-A", "2-201-A", "2-210-A"])
    rows = [Knower("MFCC, SVM", 0.9, refit=True), Knower(LONG, 0.5, codec=codec), Knower("absent", here=False)]
    for name, beside in (("esc50", ""), ("esc10", place.with_name("runs") / "esc50")):
        run, rounds = place.with_name("runs") / name, cross_validation(made_up_clips(4, 3))
        tables = run_report(rows, rounds, run, benchmark=name, n_resamples=50, beside=beside)
        drawn = accuracy_figure(tables["recognition"], tables["recognition_folds"])
        save_figure(drawn, run / "figures", "accuracy")
        facts = {"data_cut": "made-up clips", "recognisers": {one.name: {"lr": 0.01} for one in rows}}
        step = {"parameters": {"codec": "patches", "seeds": [0], "data_dir": "/home/me/ESC-50"}, "facts": facts}
        write_json(run / "provenance.json", {"steps": {page.STEP: step | {"commit": "abc", "device": "CPU"}}})
        publish_report(run, place / page.FOLDER / name, page.REPORTS[0])
    return place


def staged(published: Path, book: Path) -> dict[str, str]:
    page.stage(Staging(published, book, Assets(book, [published])))
    return {path.stem: path.read_text() for path in (book / "executed" / page.FOLDER).glob("*.txt")}


def tables(text: str) -> list[list[list[str]]]:
    blocks = re.findall(r"(?:^\|.*\|$\n?)+", text, flags=re.MULTILINE)
    return [[line.strip("|").split(" | ") for line in block.splitlines()] for block in blocks]


@pytest.mark.parametrize("there", [True, False])
def test_tables_are_whole_and_fit_the_page(published, tmp_path, there):
    nothing = tmp_path / "nothing"
    nothing.mkdir()
    shutil.copyfile(ROOT / CITED, nothing / CITED.name)
    pages = staged(published if there else nothing, tmp_path / "book")
    found = [table for text in pages.values() for table in tables(text)]
    assert len(found) == (12 if there else 4) and set(pages) == {*page.BENCHMARKS, "beside", "figure"}
    for table in found:
        assert len({len(row) for row in table}) == 1 and all(len(row) > 1 for row in table)
        assert max(sum(len(cell) + 3 for cell in row) for row in table[2:]) <= WIDEST
    for text in pages.values():
        assert "nan" not in text.lower().replace("finan", "") and text.count("::::{div}") == text.count("\n::::\n")
        assert text.count("````{dropdown}") == text.count("\n````\n")
    if not there:
        assert "Nothing published yet" in pages["esc50"] and "| people | 81.3 | Piczak 2015 |" in pages["esc50"]
        assert "not measured" in pages["beside"]


def test_a_published_report_is_shown_with_its_origin_sources_and_reasons(published, tmp_path):
    text = staged(published, tmp_path)["esc50"]
    assert ":Data cut: made-up clips" in text and ":Commit: abc" in text and text.count("```{figure}") == 1
    assert "/home/me" not in (published / page.FOLDER / "esc50" / "provenance.json").read_text()
    header = [cell.strip() for cell in tables(text)[0][0]]
    assert header == ["recogniser", "accuracy (%)", "sd over folds", "learns from", "not met (%)"]
    assert "- Not run here: absent (its weights are elsewhere)." in text and "| people (cited) | 81.3 |" in text
    assert "- *BEATs, fine-tuned*: Chen et al. 2022; also learnt from: AudioSet; five official folds." in text
    assert f"| MFCC, SVM | {LONG} | +" in text and "published as strong (%)" in text and "seconds" not in text


def test_every_round_is_shown_with_what_the_codec_has_met_and_the_first_can_be_left_out(published, tmp_path):
    text = staged(published, tmp_path)["esc50"]
    folds = read_csv(published / page.FOLDER / "esc50/recognition_folds.csv").groupby("recogniser")["accuracy"]
    table = next(rows for rows in tables(text) if rows[0][-1].strip() == "but 1")
    assert [cell.strip() for cell in table[0]] == ["recogniser", "1", "2", "3", "but 1"]
    for row in table[2:]:
        first, *others = folds.get_group(row[0].strip())
        assert [float(cell) for cell in row[1:]] == [round(100 * x, 1) for x in (first, *others, sum(others) / 2)]
    assert "met: 0 of 12 in round 1, 3 of 12 in round 2, 0 of 12 in round 3." in text
    row = next(row for table in tables(text) for row in table if LONG in row[0] and row[1] == "codes")
    assert row[2].startswith("45.5 (") and row[3:5] == ["100.0", "50.0"] and re.match(r"-?\d+\.\d \(", row[5])


def test_the_prose_has_numbers_of_every_row_and_pair(published):
    found = page.facts(published)["recognition"]["esc50"]
    row, pairs = found["rows"][folder_name(LONG)], found["pairs"]
    assert (row["accuracy"], row["n_heard"], row["n_clean_folds"]) == ("50.0", "3", "2") and row["strong"] == "25.0"
    assert pairs["mfcc_svm"][folder_name(LONG)].startswith("+") and pairs[folder_name(LONG)]["mfcc_svm"].startswith("-")
    assert (
        found["settings"][folder_name(LONG)]["lr"] == "0.01"
        and str(found["rows"]["nobody"]["accuracy"]) == "not measured"
    )


def test_every_number_that_the_page_names_is_published_here():
    found = page.facts(ROOT / "data" / "published")
    names = re.findall(r"\{\{ (recognition\.[\w.]+) \}\}", TEXT)
    for name in set(names):
        value = found
        for part in name.split("."):
            value = value[part]
        assert isinstance(value, str) and value, name
    assert len(set(names)) > 30


def test_the_page_types_no_result_and_includes_every_fragment():
    prose = re.sub(r"\{\{.*?\}\}|```.*?```", "", TEXT, flags=re.DOTALL)
    assert not re.search(r"\d\s*%(?! intervals)|\d\.\d", prose)
    lines = [line for line in TEXT.splitlines() if "{include} ../executed" in line]
    included = {line.split("/")[-1].removesuffix(".txt") for line in lines}
    assert included == {*page.BENCHMARKS, "beside"}
