"""The chapter on the domain gap and the publishing of its report."""

import re
from pathlib import Path

import pytest
from fakes.gaps import make_report

from envsound.book.build import build
from envsound.run.publish import kind_of, main, publish_report
from envsound.studies.transfer.book_gap import FIGURES, NOTHING

CHAPTER = Path(__file__).parents[3] / "book" / "domain_gap.md"


@pytest.fixture
def published(root):
    report = make_report(root / "data" / "runs" / "domain_gap" / "trial")
    return publish_report(report, root / "data" / "published" / "domain_gap", kind_of(report))


def fragment(pages: Path, name: str) -> str:
    return (pages / "domain_gap" / f"{name}.txt").read_text(encoding="utf-8")


def test_without_a_report_the_chapter_says_so_plainly(root):
    pages = build.stage([])
    assert fragment(pages, "sound") == NOTHING + "\n" and "has not been measured here" in NOTHING
    assert fragment(pages, "codes") == "*not measured*\n"


def test_the_chapter_includes_what_is_staged_and_types_no_result():
    text = CHAPTER.read_text(encoding="utf-8")
    for name in ("sound", "codes"):
        assert f"```{{include}} executed/domain_gap/{name}.txt\n```" in text
    assert not re.search(r"\d\.\d\d", text)


def test_a_report_becomes_origin_findings_tables_and_figures(root, published):
    pages = build.stage([])
    sound, codes = fragment(pages, "sound"), fragment(pages, "codes")
    assert ":Speech: synthetic speech, rule-based (espeak-ng 1.51, seed 0)" in sound
    assert ":Environmental sound: ESC-50 folder test" in sound and ":Bands up to: 11,025 Hz" in sound
    assert "0 clips of speech, 2 clips of environment" in sound and "the widest gap is in **" in sound
    assert "| measure | synthetic speech | recorded environmental sound | Cliff's delta | n | undefined |" in sound
    assert "30 and 40 | 0 and 0 |" in sound and "29 and 40 | 1 and 0 |" in sound
    assert "| 0 | Entropy (bit) | 2" in codes and "| 2 | Gained from the level above (bit) |" in codes
    link = re.search(r"{figure} (\S+)", sound)[1]
    assert (root / "book" / link).read_bytes() == b"png"
    assert set(FIGURES) == {"effects", "shares", "codes"} and "{figure}" not in codes  # this report has no such figure


def test_a_gap_report_is_no_page_of_results(root, published):
    pages = build.stage([])
    assert not (pages / "published_domain_gap.md").exists() and (pages / "published_nothing.md").is_file()


def test_a_report_is_published_without_paths_and_without_its_clips(root, published):
    names = {path.relative_to(published).as_posix() for path in published.rglob("*") if path.is_file()}
    assert names == {"gap.csv", "gap_codes.csv", "provenance.json", "figures/effects.png", "figures/shares.png"}
    assert "/home/me" not in (published / "provenance.json").read_text()


def test_the_command_line_publishes_a_gap_report_where_the_chapter_looks(root, capsys):
    run = make_report(root / "data" / "runs" / "domain_gap" / "esc50")
    assert main([str(run)]) == 0
    assert (root / "data" / "published" / "domain_gap" / "gap.csv").is_file()
    (run / "provenance.json").unlink()
    assert main([str(run)]) == 1 and "expected a finished report of notebook 11" in capsys.readouterr().err
