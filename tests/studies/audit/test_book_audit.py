"""The chapter on the audit and the publishing of its report."""

import re
import shutil
from pathlib import Path

import pytest
from fakes.audit import STUDY, finished_audit, write_report

from envsound.base.errors import InputError
from envsound.base.files import write_json
from envsound.book.build import build
from envsound.run.publish import kind_of, publish_any, publish_report
from envsound.studies.audit.page import NOT_RUN, NOTHING, PARTS, REPORTS, codec_words
from envsound.studies.audit.run import TABLES

CHAPTER = Path(__file__).parents[3] / "book" / "audit.md"


@pytest.fixture
def published(root):
    (root / "data" / "published").mkdir(parents=True)
    shutil.copyfile(STUDY, root / "data" / "published" / "published_study.csv")
    report = write_report(finished_audit(), root / "data" / "runs" / "audit" / "trial")
    return publish_report(report, root / "data" / "published" / "audit", kind_of(report, REPORTS))


def fragment(pages: Path, name: str) -> str:
    return (pages / "audit" / f"{name}.txt").read_text(encoding="utf-8")


def test_without_a_report_the_chapter_says_so_plainly(root):
    pages = build.stage([])
    assert fragment(pages, "verdicts") == NOTHING + "\n"
    assert all(fragment(pages, part) == NOT_RUN + "\n" for part in PARTS[1:])


def test_the_chapter_includes_every_part_and_types_no_result():
    text = CHAPTER.read_text(encoding="utf-8")
    assert re.findall(r"```{include} executed/audit/(\w+)\.txt\n```", text) == list(PARTS)
    assert not re.search(r"\d\.\d\d|\d%", text)


def test_a_report_becomes_verdicts_findings_tables_and_figures(root, published):
    pages = build.stage([])
    top = fragment(pages, "verdicts")
    assert ":Clips for what is re-run: ESC-50 folder" in top and ":Commit: abc123" in top
    assert ":Seeds of the classifiers: 0, 1" in top and ":Seeds of the padding: 4, 5" in top
    assert top.index("### What stands") < top.index("### What does not stand") and "synthetic" not in top
    figures = fragment(pages, "figures")
    assert (
        "| Spectral centroid, real | sd | 1392 | 1960 | public result file | differs | equals the printed mean"
        in figures
    )
    link = re.search(r"{figure} (\S+)", figures)[1]
    assert (root / "book" / link).read_bytes() == b"png"
    assert "| Spectral centroid (Hz) |" in fragment(pages, "rates")
    assert "without noise | 44,100 Hz |" in fragment(pages, "snr")
    assert "| padded with a valid code | 4 steps | constant |" in fragment(pages, "padding")
    assert "official folds, level 0, epoch best on the test fold" in fragment(pages, "protocol")
    assert "| agrees | differs | missing | noted |" in figures
    assert re.search(r"\| a statement of the text[^|]*\| statement \| 0 \| 0 \| 0 \| 2 \|", figures)
    assert "What reading the text and the code noted" in top
    assert "what it was trained on is not known here" in fragment(pages, "protocol")  # no card in this repository
    intervals = fragment(pages, "intervals")
    assert "| duration | yes | 0 |" in intervals and "no; nearest" in intervals
    for part in PARTS:
        assert "nan" not in fragment(pages, part)


def test_the_codec_behind_the_classifiers_is_named_with_what_it_was_trained_on(tmp_path):
    card = {"content_hash": "ab", "training": {"material": "731 clips, CC BY or CC0", "held_out_fold": 1}}
    write_json(tmp_path / "card.json", card)
    text = codec_words({"codec": "bundled", "codec_hash": "ab"}, tmp_path / "card.json")
    assert "one codec (bundled)" in text and "on 731 clips, CC BY or CC0." in text and "every one but 1" in text
    other = codec_words({"codec": "mine", "codec_hash": "cd"}, tmp_path / "card.json")
    assert "codec mine; what it was trained on is not known" in other


def test_synthetic_clips_are_called_so_at_the_top(root, published):
    record = published / "provenance.json"
    record.write_text(record.read_text().replace("recorded clips", "synthetic clips"))
    assert "This audit used synthetic stand-ins" in fragment(build.stage([]), "verdicts")


def test_an_audit_is_no_page_of_results(root, published):
    assert not (build.stage([]) / "published_audit.md").exists()


def test_the_command_line_publishes_an_audit_where_the_chapter_looks(root):
    run = write_report(finished_audit(), root / "data" / "runs" / "audit" / "esc10")
    folder = publish_any(run, REPORTS)
    assert folder == Path("data/published/audit")
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    tables = {f"{name}.csv" for name in (*TABLES, "audit_clips", "audit_protocol_runs")}
    assert names == {*tables, "provenance.json", "figures/agreement.png", "figures/padding.png"}
    assert "/home/me" not in "".join(path.read_text() for path in folder.glob("*.*"))
    (run / "audit_snr.csv").unlink()
    with pytest.raises(InputError, match="expected a finished report of notebook 16"):
        publish_any(run, REPORTS)
