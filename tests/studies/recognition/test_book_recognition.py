"""The chapter on recognising sounds: tables that fit the page, what the codec has met, goals, and what was tried."""

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
from fakes.recognition import Knower, codec_that_met, made_up_clips

from envsound.base.files import read_csv, write_csv, write_json
from envsound.metrics.published import PUBLISHED
from envsound.report.assets import Assets
from envsound.studies.recognition import page
from envsound.studies.recognition.answers import NOTHING, QUESTIONS, answers_lines
from envsound.studies.recognition.recognisers import KINDS, load_recognisers, recogniser_names
from envsound.studies.recognition.report import run_report
from envsound.studies.recognition.rounds import cross_validation
from envsound.studies.recognition.tables import CITED
from envsound.studies.recognition.tried import KINDS as ORDER
from envsound.studies.recognition.tried import tried_lines

ROOT = Path(__file__).parents[3]
LONG = "Conformer, environment, frozen, weighted layers"  # the longest name of notebooks/studies/recognisers
WIDEST = 130  # characters of a row; what is wider is scrolled


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """data/published/recognition with a run on ESC-50, and another of the same rows."""
    place = tmp_path_factory.mktemp("published") / "recognition"
    shutil.copyfile(ROOT / PUBLISHED, place.parent / PUBLISHED.name)
    shutil.copyfile(ROOT / CITED, place.parent / CITED.name)
    codec = codec_that_met(place.parent / "codec", ["2-200-A", "2-201-A", "2-210-A"])
    rounds = cross_validation(made_up_clips(4, 3))
    rows = [Knower("MFCC, SVM", 0.9, refit=True), Knower(LONG, 0.5, codec=codec), Knower("absent", here=False)]
    for name, starts in (("esc50", ("random", "random")), ("trial", ("random", "environment"))):
        run_report(rows, rounds, place / name, benchmark="esc50", n_resamples=50)
        summary = read_csv(place / name / "recognition.csv")
        summary.loc[summary["recogniser"] == LONG, "kind"] = "conformer_frozen"
        write_csv(place / name / "recognition.csv", summary)
        settings = {
            LONG: {"first": {"start": starts[1]}, "lr": 0.01, "device": name},
            "MFCC, SVM": {"start": starts[0]},
        }
        write_json(place / name / "provenance.json", {"steps": {"07_classify": {"facts": {"recognisers": settings}}}})
    return place


def staged(folder: Path, book: Path) -> dict[str, str]:
    page.stage_recognition(folder, Assets(book, [folder]), book)
    return {path.stem: path.read_text() for path in (book / "executed/classification").glob("*.txt")}


def tables(text: str) -> list[list[list[str]]]:
    blocks = re.findall(r"(?:^\|.*\|$\n?)+", text, flags=re.MULTILINE)
    return [[line.strip("|").split(" | ") for line in block.splitlines()] for block in blocks]


@pytest.mark.parametrize("there", [True, False])
def test_tables_are_whole_and_fit_the_page(folder, tmp_path, there):
    nothing = tmp_path / "nothing" / "recognition"
    nothing.mkdir(parents=True)
    for name in (PUBLISHED.name, CITED.name):
        shutil.copyfile(ROOT / "data/published" / name, nothing.parent / name)
    pages = staged(folder if there else nothing, tmp_path / "book")
    found = [table for text in pages.values() for table in tables(text)]
    assert len(found) == (10 if there else 4)
    for table in found:
        assert len({len(row) for row in table}) == 1 and all(len(row) > 1 for row in table)
        assert max(sum(len(cell) + 3 for cell in row) for row in table[2:]) <= WIDEST
    for text in pages.values():
        assert "nan" not in text.lower().replace("finan", "") and text.count("::::{div}") == text.count("\n::::\n")
        assert text.count("````{dropdown}") == text.count("\n````\n")


def test_sources_and_reasons_stand_below_the_table_not_in_it(folder, tmp_path):
    page = staged(folder, tmp_path)["esc50"]
    header = tables(page)[0][0]
    assert [cell.strip() for cell in header] == [
        "recogniser", "accuracy (%)", "sd over folds", "learns from", "not met (%)"
    ]  # fmt: skip
    assert "- Not run here: absent (its weights are elsewhere)." in page and "| people (cited) | 81.3 |" in page
    assert "- *BEATs, fine-tuned*: Chen et al. 2022; also learnt from: AudioSet; five official folds." in page
    assert "seconds" not in page


def test_every_round_is_shown_and_the_first_can_be_left_out(folder, tmp_path):
    folds = read_csv(folder / "esc50" / "recognition_folds.csv").groupby("recogniser")["accuracy"].apply(list)
    table = next(rows for rows in tables(staged(folder, tmp_path)["esc50"]) if rows[0][-1].strip() == "but 1")
    assert [cell.strip() for cell in table[0]] == ["recogniser", "1", "2", "3", "but 1"]
    for row in table[2:]:
        first, *others = folds[row[0].strip()]
        expected = [first, *others, sum(others) / len(others)]
        assert [float(cell) for cell in row[1:]] == [round(100 * value, 1) for value in expected]


def test_what_the_codec_has_met_is_told_by_round_and_row(folder, tmp_path):
    page = staged(folder, tmp_path)["esc50"]
    assert "met: 0 of 12 in round 1, 3 of 12 in round 2, 0 of 12 in round 3." in page
    assert f"| {LONG} | codes | 45.5 (" in page and "| MFCC, SVM | sound |" in page
    row = next(row for table in tables(page) for row in table if LONG in row[0] and row[1] == "codes")
    assert row[3:5] == ["100.0", "50.0"] and re.match(r"-?\d+\.\d \(", row[5])


def test_goals_that_are_not_reached_come_with_what_may_be_in_the_way(folder, tmp_path):
    page = staged(folder, tmp_path)["goals"]
    assert f"| {LONG} | 50.0 (" in page and "| 45.5 | 72.3 | not reached |" in page
    assert "What may be in the way of the goals that were not reached." in page and "**UrbanSound8K**" in page
    without = "\n".join(page.goals_lines(tmp_path, ROOT / PUBLISHED))
    assert "not run here" in without and "in the way" not in without


def test_what_was_tried_are_all_rows_of_all_runs_with_the_settings_that_differ(folder):
    (table,) = tables("\n".join(tried_lines(folder)))
    assert [row[:2] for row in table[2:]] == [
        [f" {LONG}", "esc50"], [f" {LONG}", "trial"], [" MFCC, SVM", "esc50"], [" MFCC, SVM", "trial"]
    ]  # fmt: skip
    assert [row[-1].strip() for row in table[2:]] == ["first.start = random", "first.start = environment", "–", "–"]
    assert set(ORDER) == set(KINDS)


def test_the_chapter_types_no_result():
    text = (ROOT / "book" / "classification.md").read_text()
    prose = re.sub(r"\{\{.*?\}\}|```.*?```", "", text, flags=re.DOTALL)
    assert not re.search(r"\d\s*%(?! intervals)|\d\.\d", prose)
    for item in ("frozen", "finetuned"):
        assert f"{{{{ published.accuracy_esc50_{item}.test.value }}}}" in text


def test_questions_are_about_rows_that_there_are():
    folder = ROOT / "notebooks" / "recognisers"
    names = {row.name for row in load_recognisers(recogniser_names(folder), {"device": "cpu"}, folder)}
    assert {name for question in QUESTIONS for name in (question.row, question.other)} <= names


def test_a_pair_of_rows_answers_whichever_comes_first_in_the_table():
    question = QUESTIONS[0]
    columns = ["recogniser_a", "recogniser_b", "difference", "low", "high"]

    def rows_of(*folds: int) -> pd.DataFrame:
        return pd.DataFrame({"recogniser": [question.row, question.other], "n_train_folds": folds})

    for low, high, answer in ((0.01, 0.05, "It does"), (-0.05, -0.01, "It finds less"), (-0.01, 0.05, "Open")):
        forward = pd.DataFrame([(question.row, question.other, (low + high) / 2, low, high)], columns=columns)
        backward = pd.DataFrame([(question.other, question.row, -(low + high) / 2, -high, -low)], columns=columns)
        (line, _) = answers_lines(forward, rows_of(4, 4))
        assert [line, ""] == answers_lines(backward, rows_of(4, 4)) and "folds" not in line
        assert answer in line and f"({100 * low:.1f} to {100 * high:.1f})" in line
        assert answers_lines(forward, rows_of(3, 4))[0].endswith(" The first learns from 3 folds, the second from 4.")
    assert answers_lines(pd.DataFrame(columns=columns), rows_of(4, 4)) == [NOTHING]
