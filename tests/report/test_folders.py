"""The report on two folders: its notebook runs on them, what it shows is in one file, and no name in it is markup."""

import shutil
from argparse import ArgumentParser
from functools import partial
from pathlib import Path

import nbformat
import numpy as np
import papermill
import pytest
import soundfile
from fakes.notebooks import run_cells

from envsound.base.files import read_csv, read_json, write_wav
from envsound.evaluation.folders import evaluate_folders, results_folder
from envsound.report import folders as module
from envsound.report.folders import NOTEBOOK, clip_players

REPOSITORY = Path(__file__).parents[2]
STUDY = Path("data") / "published" / "published_study.csv"
AWKWARD = "<img src=x onerror=alert(1)> & $x_ `y`.wav"


@pytest.fixture
def places(tmp_path, root) -> tuple[Path, Path]:
    """Two folders; the (empty) repository is the working directory."""
    (root / STUDY).parent.mkdir(parents=True)
    shutil.copyfile(REPOSITORY / STUDY, root / STUDY)
    made, real = tmp_path / "made by $m$ <b>", tmp_path / "recorded"
    real.mkdir()
    for number in range(3):
        noise = np.random.default_rng(number).normal(0, 0.1, (30_000, 2))
        write_wav(made / "dog" / f"{number}.wav", noise[:8000, 0], 16_000)
        soundfile.write(real / f"{number}.flac", noise, 44_100)
    write_wav(made / AWKWARD, noise[:8000, 1], 22_050)
    (real / "broken.mp3").write_bytes(b"ID3")
    return made, real


def test_the_notebook_compares_any_two_folders(places, tmp_path):
    made, real = places
    compared = partial(evaluate_folders, cache_dir=tmp_path / "cache")
    given = {"generated": str(made), "real": str(real), "n_resamples": 5, "n_jobs": 1, "evaluate_folders": compared}
    scope = run_cells(REPOSITORY / NOTEBOOK, given)
    folder = results_folder(made, real)
    assert scope["folder"] == folder and set(read_csv(folder / "skipped.csv")["clip"]) == {"broken.mp3"}
    assert len(list((folder / "figures").glob("*.png"))) == 3
    facts = read_json(folder / "provenance.json")["steps"]["evaluate_folders"]["facts"]
    assert facts["sample_rate_hz"] == 16_000 and facts["n_clips"] == {"generated": 4, "real": 3}
    players = clip_players(scope["report"]["evaluation_clips"], folder)
    assert players.count("<audio") == 7 and "<img" not in players and "../" in players


def command(*words) -> int:
    parser = ArgumentParser()
    module.add_arguments(parser)
    return module.run(parser.parse_args([str(word) for word in words]))


def test_the_report_is_the_executed_notebook_with_its_words_and_without_its_code(places, root, monkeypatch, capsys):
    asked = []

    def execute(notebook, executed, parameters, **_):
        asked.append(parameters)
        cell = nbformat.v4.new_code_cell("secret = 1", outputs=[nbformat.v4.new_output("stream", text="told apart")])
        nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# Two"), cell]), executed)

    def fail(*_, **__):
        raise papermill.PapermillExecutionError(0, 1, "x", "InputError", "nowhere: is not a folder", [])

    monkeypatch.setattr(papermill, "execute_notebook", execute)
    assert command(*places, "--seconds", "5", "--jobs", "1") == 0
    report = root / results_folder(*places) / "report.html"
    assert str(report) in capsys.readouterr().out
    text = report.read_text(encoding="utf-8")
    assert "Two" in text and "told apart" in text and "secret" not in text
    given = dict(zip(("generated", "real"), map(str, places), strict=True))
    assert asked == [given | {"clip_seconds": 5.0, "n_resamples": 1000, "n_jobs": 1}]
    monkeypatch.setattr(papermill, "execute_notebook", fail)
    assert command("nowhere", places[1]) == 1
    assert "error: nowhere: is not a folder (see " in capsys.readouterr().err
