"""Runs beside each other: only what differs is named, effects have their intervals, and every class has its row."""

import numpy as np
import pandas as pd
import pytest
from fakes.runs import make_run, provenance, staging

from envsound import cli
from envsound.base.errors import InputError
from envsound.base.files import read_csv, write_csv, write_json
from envsound.report.comparison import comparison_lines, differing, effects_beside, metrics_beside, sounds_beside
from envsound.report.runs import Run


def finished(root, preset: str, offset: float, categories=("dog", "rain"), **parameters) -> Run:
    """A run whose generated clips have a metric `offset` above real ones."""
    run = make_run(root, preset, categories)
    draws = np.random.default_rng(0).normal(size=40)
    real = {"side": "real", "category": "dog", "duration_s": 5.0}
    sides = [real | {"clip": f"r{n}", "zcr": draws[n]} for n in range(40)]
    sides += [row | {"side": "generated", "clip": f"g{n}", "zcr": row["zcr"] + offset} for n, row in enumerate(sides)]
    write_csv(run / "metrics.csv", pd.DataFrame(sides))
    write_json(run / "provenance.json", provenance("03_sample_clips", {"preset": preset} | parameters, {}))
    return Run(run)


@pytest.fixture
def two(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = finished(tmp_path, "demo", 0.0, top_p=0.9, guidance_scale=2.0)
    return [first, finished(tmp_path, "mine", 5.0, ("dog", "<b>rain"), top_p=0.9, guidance_scale=1.0)]


def test_only_parameters_that_differ_are_named(two):
    table = differing(two)
    assert table.values.tolist() == [["guidance_scale", "2.0", "1.0"]]
    assert table.columns.tolist() == ["parameter", "demo, fold 1, seed 0", "mine, fold 1, seed 0"]


def test_effects_tell_the_same_from_what_lies_above(two):
    table = metrics_beside(two, n_resamples=100).set_index("run")
    same, above = (table.loc[one.title] for one in two)
    assert same["cliffs_delta"] == 0 and same["low"] < 0 < same["high"] and same["ks"] == 0
    assert above["cliffs_delta"] > 0.9 and above["low"] > 0.8 and above["p_holm"] < 1e-6
    assert set(table["metric"]) == {"zcr"}  # a length is asked for
    words = effects_beside(table.reset_index())
    assert words.columns.tolist() == ["metric", *(one.title for one in two)] and words.iloc[0, 2].startswith("+")


def test_every_class_has_a_row_and_a_gap_where_a_run_has_none(two):
    table = sounds_beside(two, lambda path, label: f"{path}|{label}").set_index("class")
    assert table.loc["dog", two[0].title] == "data/runs/demo/fold1_seed0/samples/000.wav|seed 7, 0.1 s"
    assert table.loc["rain", two[1].title] == "–" and table.loc["<b>rain", two[0].title] == "–"


def test_the_command_writes_a_page_whose_players_find_their_files(two, tmp_path, capsys):
    assert cli.main(["compare", *(str(one.folder) for one in two), "--out", "page"]) == 0
    text = (tmp_path / "page" / "index.html").read_text()
    assert "../data/runs/mine/fold1_seed0/samples/000.wav" in text and "&lt;b&gt;rain" in text and "<b>rain" not in text
    assert read_csv(tmp_path / "page" / "parameters.csv")["parameter"].tolist() == ["guidance_scale"]
    assert "guidance_scale" in capsys.readouterr().out


@pytest.mark.parametrize("case", ["one run", "no metrics", "other files"])
def test_what_cannot_be_compared_is_said_in_one_line(two, tmp_path, capsys, case):
    given, out = [str(one.folder) for one in two], tmp_path / "page"
    if case == "one run":
        given, named = given[:1], "expected two or more"
    elif case == "no metrics":
        (two[1].folder / "metrics.csv").unlink()
        named = "metrics.csv"
    else:
        write_csv(out / "mine.csv", pd.DataFrame({"a": [1]}))
        named = "holds other files"
    assert cli.main(["compare", *given, "--out", str(out)]) == 1
    said = capsys.readouterr().err
    assert named in said and said.count("\n") == 1 and not (out / "index.html").exists()


def test_a_sound_outside_its_run_is_refused(two):
    table = read_csv(two[0].folder / "samples.csv").assign(filename="../../other.wav")
    write_csv(two[0].folder / "samples.csv", table)
    with pytest.raises(InputError, match="leads outside"):
        sounds_beside(two, lambda path, label: path)


def test_the_book_shows_runs_beside_each_other_once_there_are_two(two, tmp_path):
    book = staging(tmp_path, *(one.folder for one in two))
    lines = comparison_lines(book, two, "runs.md")
    text = "\n".join(lines)
    assert "| guidance_scale | 2.0 | 1.0 |" in text and text.count("<audio") == 4
    assert comparison_lines(book, two[:1], "runs.md") == []
