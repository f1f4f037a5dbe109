"""The report on recognising sounds: its files, its words, its figures, and the settings it is made from."""

import inspect
from pathlib import Path

import pandas as pd
import pytest
import yaml
from fakes.recognition import Knower, codec_that_met, made_up_clips

from envsound.base.errors import InputError
from envsound.base.files import read_csv, write_json
from envsound.base.text import percent
from envsound.evaluation.spaces.embeddings import NotRun
from envsound.report.assets import Assets
from envsound.report.style import save_figure
from envsound.run.presets import checked, notebook_parameters
from envsound.run.publish import publish_any
from envsound.studies.recognition import page, report
from envsound.studies.recognition.cnn import CnnRecogniser
from envsound.studies.recognition.figures import accuracy_figure, classes_figure
from envsound.studies.recognition.recognisers import KINDS, load_recognisers, make_recogniser, recogniser_names
from envsound.studies.recognition.report import (
    benchmark_of,
    findings_recognition,
    rounds_table,
    run_report,
    shown_summary,
)
from envsound.studies.recognition.rounds import cross_validation, folder_name
from envsound.studies.recognition.tables import CITED

ROOT = Path(__file__).parents[3]
ROUNDS = cross_validation(made_up_clips(4, 3))


def recognisers(folder: Path) -> tuple[Knower, Knower, Knower]:
    """Return one that hears sound, one that reads the codes of a codec in `folder`, and one that is not here."""
    codec = codec_that_met(folder / "codec", ["2-200-A", "2-201-A", "2-210-A"])
    return Knower(refit=True), Knower("half", 0.5, codec=codec), Knower("absent", here=False)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run's folder, and its report."""
    folder = tmp_path_factory.mktemp("runs") / "recognition" / "esc50"
    rows = recognisers(folder)
    report = run_report(rows, ROUNDS, folder, benchmark="esc50", n_resamples=50)
    save_figure(accuracy_figure(report.summary, report.found.folds), folder / "figures", "accuracy")
    facts = {"data_cut": "made-up clips", "recognisers": {one.name: one.settings() for one in rows}}
    step = {"parameters": {"codec": "bundled", "seeds": [0], "data_dir": "/home/me/ESC-50"}, "facts": facts}
    write_json(folder / "provenance.json", {"steps": {"07_classify": step | {"commit": "abc", "device": "CPU"}}})
    return folder, report


def test_every_table_is_written_and_read_back(finished):
    folder, report = finished
    for name, table in report.tables.items():
        kept = read_csv(folder / f"{name}.csv")
        if name == "recognition_clips":
            kept["source"] = kept["source"].astype(str)  # numbers, of ESC-50
        if name == "recognition_goals":  # nobody is of a kind that has a goal
            assert (kept["verdict"] == "not run here").all() and len(kept) == len(table) == 3
            continue
        pd.testing.assert_frame_equal(kept, table, check_dtype=False)
    assert report.best == "knower" and [one.name for one in report.found.not_run] == ["absent"]


def test_a_run_again_scores_nothing_and_finds_the_same(finished):
    folder, report = finished
    one, *others = recognisers(folder)
    again = run_report([one, *others], ROUNDS, folder, benchmark="esc50", n_resamples=50)
    assert not one.calls
    for name, table in report.tables.items():
        pd.testing.assert_frame_equal(again.tables[name], table)


def test_beside_another_version_of_the_clips(finished, tmp_path):
    folder, _ = finished
    report = run_report([Knower("half", 0.25)], ROUNDS, tmp_path, beside=folder, n_resamples=50)
    row = read_csv(tmp_path / "recognition_beside.csv").iloc[0]
    assert (row["recogniser"], row["here"], row["there"]) == ("half", 0.25, 0.5)
    assert set(report.summary["status"]) == {"measured"}
    with pytest.raises(InputError, match=r"recognition_clips\.csv: no such file"):
        run_report([Knower()], ROUNDS, tmp_path, beside=tmp_path / "nowhere")


def test_the_findings_name_the_best_its_lead_and_the_claim(finished):
    text = finished[1].findings
    assert text.startswith("**knower** names 100.0% of 36 test clips rightly")
    assert "It is 50.0 points above *half*, the next (" in text and "which leaves 0 out)" in text
    assert "picked out of 2 rows by these very test clips" in text and "the lead may well be smaller" in text
    assert "from one seed: how much other seeds would change it is not known." in text
    assert "Not run here: absent." in text and "come out not clearly different: 100.0% against 100.0%" in text
    assert "has met 3 of the 36 test clips" in text and "**published study, frozen** (72.3%): not run here." in text


def test_a_lead_that_could_turn_round_is_called_that_and_seeds_have_a_spread():
    summary = pd.DataFrame({"recogniser": ["a", "b"], "status": "measured", "accuracy": [0.5, 0.6], "low": 0.4,
                            "high": 0.7, "n_clips": 40, "n_folds": 5, "n_seeds": 3, "sd_seeds": 0.015})  # fmt: skip
    pairs = pd.DataFrame([("a", "b", -0.1, -0.25, 0.05)], columns=["recogniser_a", "recogniser_b", "difference",
                                                                   "low", "high"])  # fmt: skip
    text = findings_recognition(summary, pairs, pd.DataFrame({"recogniser": []}))
    assert "It is 10.0 points above *a*, the next (-5.0 to 25.0, which holds 0)" in text
    assert "Over 3 training seeds its standard deviation is 1.5 points." in text and "not known" not in text
    nothing = summary.assign(status="cited")
    assert findings_recognition(nothing, pairs, pd.DataFrame()) == "No recogniser could be run here."


def test_the_table_shows_the_best_first_and_says_what_is_cited(finished):
    shown = shown_summary(finished[1].summary).set_index("recogniser")
    assert shown.index[0] == "knower" and shown.index[-1] == "absent"
    assert shown["learns from"].to_dict() | {"people": "–", "absent": "–"} == shown["learns from"].to_dict()
    assert shown.loc[["knower", "half"], "learns from"].tolist() == ["2 folds", "1 fold"]
    assert shown.loc[["knower", "half", "people"], "not met (%)"].tolist() == ["100.0", "45.5", "–"]
    assert shown.loc["people", ["status", "accuracy (%)", "95% interval", "note"]].tolist() == [
        "cited", "81.3", "–", "Piczak 2015"
    ]  # fmt: skip
    assert shown.loc["absent", ["status", "accuracy (%)", "note"]].tolist() == [
        "not run here", "–", "its weights are elsewhere"
    ]  # fmt: skip


def test_a_share_is_rounded_alike_whatever_holds_it():
    assert percent(0.7745) == percent(pd.Series([0.7745])[0]) == percent(pd.Series([0.7745]).to_numpy()[0])
    assert percent(-0.0001) == "0.0" and percent(float("nan")) == "–"


def test_rounds_are_shown_with_their_sizes_and_what_the_codec_has_met(tmp_path):
    assert rounds_table(ROUNDS).iloc[2].tolist() == [3, 1, 12, 12, 12]
    codec = codec_that_met(tmp_path, ["2-200-A", "3-300-A", "3-301-A"])
    assert rounds_table(ROUNDS, codec).iloc[:, -1].tolist() == [0, 1, 2]
    assert rounds_table(ROUNDS, "encodec_24khz").iloc[:, -1].isna().all()


def test_results_are_cited_beside_the_recordings_they_belong_to():
    assert benchmark_of("esc50", True) == "esc10" and benchmark_of("esc50", False) == "esc50"
    assert benchmark_of("urbansound8k", False) == "urbansound8k"
    assert benchmark_of("synthetic", False) == benchmark_of("folder", False) == ""


def test_a_report_without_any_recogniser_has_no_best(tmp_path):
    report = run_report([Knower(here=False)], ROUNDS, tmp_path, n_resamples=10)
    assert report.findings == "No recogniser could be run here."
    with pytest.raises(InputError, match="none of them can run"):
        _ = report.best


def test_figures_show_folds_and_classes(finished, tmp_path):
    _, report = finished
    ax = accuracy_figure(report.summary, report.found.folds).axes[0]
    labels = [tick.get_text() for tick in ax.get_yticklabels()]
    bars = [line for line in ax.lines if (line.get_marker(), line.get_markersize()) == ("|", 9)]
    assert [line.get_xdata()[0] for line in bars] == [pytest.approx(100 * 15 / 33)]  # of 'half' alone
    assert labels[0] == "knower" and "people (cited)" in labels and "absent" not in labels
    classes = classes_figure(report.tables["recognition_classes"], "half")
    names = [tick.get_text() for tick in classes.axes[0].get_xticklabels()]
    assert names == ["chainsaw", "clock tick", "dog"] and len(classes.legends) == 1
    plain = report.tables["recognition_classes"].assign(published=float("nan"))
    assert not classes_figure(plain, "half").legends
    empty = report.summary[report.summary["status"] == "not run here"]
    absent = classes_figure(report.tables["recognition_classes"], "absent")
    for fig in (accuracy_figure(empty, report.found.folds), classes, absent):
        assert all(path.stat().st_size > 1000 for path in save_figure(fig, tmp_path, "x"))


# The chapter

PARTS = ("answers", "beside", "goals", "tried")


def staged(folder: Path, tmp_path: Path) -> dict[str, str]:
    page.stage_recognition(folder, Assets(tmp_path / "book", [tmp_path, folder]), tmp_path / "book")
    return {path.stem: path.read_text() for path in (tmp_path / "book/executed/classification").glob("*.txt")}


def test_without_a_report_the_chapter_says_so_and_shows_what_is_cited(tmp_path):
    (tmp_path / "published").mkdir()
    (tmp_path / "published" / CITED.name).write_bytes((ROOT / CITED).read_bytes())
    pages = staged(tmp_path / "published" / "recognition", tmp_path)
    assert set(pages) == {*page.BENCHMARKS, *PARTS}
    assert "Not run here" in pages["esc50"] and "| people | 81.3 | Piczak 2015 |" in pages["esc50"]
    assert "Nothing has been run here yet" in pages["tried"] and "not measured" in pages["goals"]
    assert "95.7" in pages["esc10"] and "69.8" in pages["urbansound8k"] and "not measured" in pages["beside"]


def test_the_chapter_shows_a_published_report(finished, tmp_path):
    folder, _ = finished
    published = publish_any(folder, page.REPORTS, tmp_path / "published/recognition/esc50")
    assert not (published / "recognition_clips.csv").exists() and "/home/me" not in (
        published / "provenance.json").read_text()  # fmt: skip
    text = staged(tmp_path / "published/recognition", tmp_path)["esc50"]
    assert ":Data cut: made-up clips" in text and ":Commit: abc" in text and "**knower**" in text
    assert text.count("```{figure}") == 1 and "| half | 50.0 (" in text and "| 1 fold | 45.5 |" in text
    assert "published as strong (%)" in text and "| knower | half | +50.0 (" in text


def test_what_the_missing_band_costs_is_a_table(tmp_path):
    table = pd.DataFrame([("cnn", 0.9, 0.85, 0.05, -0.01, 0.11, 400)],
                         columns=["recogniser", "here", "there", "difference", "low", "high", "n_clips"])  # fmt: skip
    table.to_csv(tmp_path / "beside.csv", index=False)
    text = "\n".join(page.beside_lines(tmp_path / "beside.csv"))
    assert "| cnn | 90.0 | 85.0 | +5.0 (-1.0 to +11.0) | 400 |" in text


def test_the_chapter_includes_every_fragment_and_no_other():
    text = (ROOT / "book" / "classification.md").read_text()
    included = {line.split("/")[-1].removesuffix(".txt") for line in text.splitlines() if "{include}" in line}
    assert included == {*page.BENCHMARKS, *PARTS}


# Settings


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks" / "classify").glob("*.yml")), ids=lambda path: path.stem)
def test_the_parameters_of_a_run_are_those_of_the_notebook(path):
    values, known = yaml.safe_load(path.read_text()), notebook_parameters(ROOT / "notebooks" / "studies" / "07_classify.ipynb")
    for name, value in values.items():
        checked(value, known[name], f"{path.name}: {name}")
    assert values["work_dir"] == f"data/runs/recognition/{path.stem}" and path.stem in page.BENCHMARKS
    assert set(values["recognisers"]) <= set(recogniser_names(ROOT / "notebooks" / "recognisers"))


def test_every_file_of_settings_is_a_row_of_its_own():
    folder = ROOT / "notebooks" / "recognisers"
    names = recogniser_names(folder)
    rows = load_recognisers(names, {"device": "cpu", "clip_seconds": 4.0}, folder)
    assert len({folder_name(row.name) for row in rows}) == len(names)
    cnn = rows[names.index("cnn")]
    assert isinstance(cnn, CnnRecogniser) and cnn.clip_seconds == 4.0 and cnn.device == "cpu"
    assert rows[names.index("cnn_refit")].refit and not cnn.refit


@pytest.mark.parametrize("kind", KINDS)
def test_every_setting_of_a_kind_has_a_default(kind):
    for name, parameter in inspect.signature(KINDS[kind]).parameters.items():
        assert parameter.default is not inspect.Parameter.empty, name


def test_settings_that_cannot_be_are_named(tmp_path):
    files = {
        "kindless": "name: x",
        "unknown": "kind: cnnn",
        "misspelt": "kind: cnn\nn_epoch: 3",
        "mistyped": "kind: cnn\nn_epochs: many",
        "broken": "kind: [",
        "one": "kind: mfcc_svm\nname: A b",
        "two": "kind: mfcc_svm\nname: a_b",
    }
    for name, text in files.items():
        (tmp_path / f"{name}.yml").write_text(text)
    expected = {
        "kindless": "has no kind",
        "unknown": "unknown kind 'cnnn'; expected perhaps 'cnn'",
        "misspelt": "unknown setting 'n_epoch' of a cnn; expected perhaps 'n_epochs'",
        "mistyped": "n_epochs: 'many' is text; expected an integer",
        "broken": "not valid YAML",
        "three": "recogniser 'three': no such file",
    }
    for name, words in expected.items():
        with pytest.raises(InputError, match=words):
            load_recognisers([name], folder=tmp_path)
    with pytest.raises(InputError, match="occurs 2 times"):
        load_recognisers(["one", "two"], folder=tmp_path)
    with pytest.raises(InputError, match="there are none"):
        load_recognisers([], folder=tmp_path)


def test_lists_become_tuples_of_the_right_type():
    assert make_recogniser("cnn", {"widths": [8, 16]}).widths == (8, 16)
    with pytest.raises(InputError, match="widths: 'a' is text"):
        make_recogniser("cnn", {"widths": ["a"]})


def test_what_cannot_run_is_in_the_provenance(finished):
    class Cut:
        cut, table, bad_clips = "made up", [1, 2], pd.DataFrame({"filename": ["bad.wav"]})

    facts = report.report_facts(Cut(), recognisers(finished[0]), finished[1])
    assert facts["not_run"] == {"absent": "its weights are elsewhere"} and facts["bad_clips"] == ["bad.wav"]
    assert facts["recognisers"]["half"] == {"share": 0.5} and finished[1].found.not_run[0] == NotRun(
        "absent", "its weights are elsewhere")  # fmt: skip
