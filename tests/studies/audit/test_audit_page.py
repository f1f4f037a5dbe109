"""The page on the audit: what it includes, what its prose names, and what publishing a new audit keeps."""

import re
import shutil
from pathlib import Path

import jinja2
import matplotlib
import numpy as np
import pytest
from fakes.audit import PUBLISHED

from envsound.base.files import read_csv, write_json
from envsound.report.assets import Assets
from envsound.report.facts import NOT_MEASURED, published_facts
from envsound.report.fragments import Staging
from envsound.run.publish import publish_report
from envsound.studies.audit import figures, page

TEXT = (PUBLISHED.parents[1] / "book" / page.PAGE).read_text(encoding="utf-8")
PROSE = re.sub(r"```.*?```", "", TEXT, flags=re.DOTALL)
TABLES = {name: read_csv(PUBLISHED / "audit" / f"audit_{name}.csv") for name in (*page.MADE, *page.FROZEN, "clips")}


@pytest.fixture
def published(tmp_path):
    shutil.copytree(PUBLISHED / "audit", tmp_path / "data" / "published" / "audit")
    return tmp_path / "data" / "published"


def staged(published: Path) -> dict[str, str]:
    book = published.parents[1] / "book"
    page.stage(Staging(published, book, Assets(book, [published])))
    return {path.name: path.read_text(encoding="utf-8") for path in (book / "executed" / "audit").iterdir()}


def rendered(published: Path) -> str:
    study = published_facts(PUBLISHED / "published_study.csv")
    return jinja2.Template(PROSE, undefined=jinja2.StrictUndefined).render(page.facts(published), published=study)


def test_the_page_includes_every_part_and_types_no_result(published):
    included = re.findall(r"```{include} \.\./executed/audit/(\S+)\n```", TEXT)
    assert sorted(included) == sorted(staged(published))
    assert not re.search(r"\d\.\d", PROSE)


def test_the_prose_has_every_number_it_names(published):
    write_json(published / "audit" / "codec.json", {"content_hash": "other", "training": {}})
    text = rendered(published)
    assert text.count(NOT_MEASURED) == 2  # what that codec was trained on
    training, audited = {"material": "731 clips", "held_out_fold": 1}, page._noted(published / "audit")["codec_hash"]
    write_json(published / "audit" / "codec.json", {"content_hash": audited, "training": training})
    text = rendered(published)
    assert NOT_MEASURED not in text and "–" not in text and "nan" not in text and "labels: 731 clips" in text
    for number in ("14 of 14", "0.321 (0.254 to 0.405)", "-50.9% (-63.7% to -42.2%)", "1 of 15", "starts at\n8.2"):
        assert number in text


def test_a_report_becomes_tables_and_figures(published):
    found = staged(published)
    assert ":Clips for what is re-run: ESC-50 folder" in found["origin.txt"]
    assert "| Spectral centroid, real | sd | 1392 | 1960 | public result file | differs | equals" in found["odd.txt"]
    assert re.search(r"\| a statement of the text[^|]*\| statement \| 0 \| 0 \| 0 \| 2 \|", found["checks.txt"])
    assert "| Spectral centroid (Hz) | 3,585 ± 1,830 |" in found["rates.txt"]
    assert "| padded with a valid code | 200 steps | constant | 0.073 |" in found["padding.txt"]
    assert "official folds, level 0, epoch best on the test fold | 73.9%" in found["protocol.txt"]
    assert "| duration | yes | 0 |" in found["ks.txt"] and "no; nearest 65.0%" in found["classes.txt"]
    link = re.search(r"{figure} (\S+)", found["figure_snr.txt"])[1]
    assert (published.parents[1] / "book" / link.removeprefix("../")).is_file()
    assert not [name for name, text in found.items() if "nan" in text]


def test_without_a_report_the_page_says_so_plainly(tmp_path):
    found = staged(tmp_path / "data" / "published")
    assert "Nothing published yet" in found["origin.txt"] and found["rates.txt"] == "*not run here*\n"
    assert NOT_MEASURED in rendered(tmp_path)


def test_the_counts_are_those_of_the_comparisons():
    counted = TABLES["figures"].groupby(["check", "quantity"])["verdict"].value_counts().unstack(fill_value=0)
    kept = TABLES["checks"].set_index(["check", "quantity"])[page.VERDICTS].sort_index()
    assert (kept == counted.reindex(columns=page.VERDICTS)).all(axis=None)
    classes = TABLES["classes"].query("group == 'class'")
    for basis, rows in classes.groupby(classes["basis"].str.replace(" ", "_")):
        row = TABLES["bases"].set_index("basis").loc[basis]
        assert row["apart"] == (rows["low"].to_numpy()[:, None] > rows["high"].to_numpy()).sum()
        assert row["impossible"].count("%") == (~rows["reachable"]).sum() and set(rows["n"]) == {row["n"]}


def test_a_new_audit_keeps_what_no_run_makes(published, tmp_path):
    run = tmp_path / "data" / "runs" / "audit" / "trial"
    for name in (*page.REPORTS[0].needed, "provenance.json", "figures/rates.png"):
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(published / "audit" / name, run / name)
    publish_report(run, published / "audit", page.REPORTS[0])
    assert all((published / "audit" / name).is_file() for name in page.REPORTS[0].frozen)
    assert not (published / "audit" / "figures" / "snr.png").exists()  # of this run there is none


def test_the_figures_say_what_they_show():
    absent = TABLES["rates"].assign(share=np.nan, note="not run here: the recordings are at 32,000 Hz")
    drawn = {
        "the same clips at 44.1 and 24 kHz": figures.rates_figure(TABLES["rates"]),
        "white noise alone": figures.snr_figure(TABLES["snr"], TABLES["clips"]),
        "uniform guess, ln 16": figures.padding_figure(TABLES["padding"], 8.2, 16),
        "published protocol": figures.protocol_figure(TABLES["protocol"]),
        "not run here: the recordings": figures.rates_figure(absent),
        "two rates: not run here": figures.rates_figure(absent[:0]),
    }
    for words, fig in drawn.items():
        assert words in " | ".join(text.get_text() for text in fig.findobj(matplotlib.text.Text))
