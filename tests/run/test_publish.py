"""Publishing a run: what is copied, and what is not."""

import argparse
import json

import numpy as np
import pandas as pd
import pytest
import soundfile

from envsound.base.errors import InputError
from envsound.base.files import read_csv, write_csv, write_wav
from envsound.run.publish import (
    LARGEST_OPTIONAL,
    TABLES,
    ReportKind,
    add_arguments,
    kind_of,
    publish,
    publish_any,
    publish_report,
    run,
    without_paths,
)


@pytest.fixture
def run_dir(tmp_path):
    folder = tmp_path / "runs" / "demo" / "fold1_seed0"
    for name in TABLES:
        write_csv(folder / name, pd.DataFrame({"value": [1.0]}))
    samples = pd.DataFrame({"filename": ["0_dog.wav", "1_dog.wav", "2_rain.wav"], "category": ["dog", "dog", "rain"]})
    write_csv(folder / "samples.csv", samples)
    for name in samples["filename"]:
        write_wav(folder / "samples" / name, np.full(100, 0.5), 24_000)
    (folder / "figures").mkdir()
    (folder / "figures" / "ks.png").write_bytes(b"png")
    write_wav(folder / "reconstructions" / "real.wav", np.zeros(10), 24_000)
    steps = {"01": {"parameters": {"data_dir": "/home/me/ESC-50", "n": 3}}}
    (folder / "provenance.json").write_text(json.dumps({"run": str(folder), "steps": steps}))
    return folder


def test_copies_tables_figures_and_some_clips(run_dir, tmp_path):
    folder = publish(run_dir, tmp_path / "published" / "demo", clips_per_category=1)
    clips = sorted(path.name for path in (folder / "clips").iterdir())
    assert clips == ["0_dog.ogg", "2_rain.ogg"]
    heard, made = soundfile.info(folder / "clips" / "0_dog.ogg"), soundfile.info(run_dir / "samples" / "0_dog.wav")
    assert heard.frames == made.frames and heard.samplerate == made.samplerate and heard.subtype == "VORBIS"
    assert (folder / "figures" / "ks.png").exists() and all((folder / name).exists() for name in TABLES)


def test_the_command_takes_paths_from_where_it_is_called(run_dir, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shown").mkdir()
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    given = parser.parse_args(["runs/demo/fold1_seed0", "--to", "shown"])
    given.kinds = KINDS
    assert run(given) == 0 and (tmp_path / "shown" / "ks.csv").is_file()
    assert capsys.readouterr().out == f"{tmp_path / 'shown'}\n"


def test_what_the_evaluation_found_goes_along_where_it_has_run(run_dir, tmp_path):
    for name in ("evaluation.csv", "copies.csv"):
        (run_dir / name).write_text("metric\n")
    (run_dir / "evaluation_clips.csv").write_text("path\n/home/me/a.wav\n")
    folder = publish(run_dir, tmp_path / "published")
    assert (folder / "evaluation.csv").exists() and (folder / "copies.csv").exists()
    assert not (folder / "diversity.csv").exists()
    assert not (folder / "evaluation_clips.csv").exists()  # it holds paths


def test_of_a_large_table_six_digits_stay_and_nothing_else_changes(run_dir, tmp_path, monkeypatch):
    values = {"mean": [1 / 3, float("nan")], "high": [123456.789, 2e-9]}
    table = pd.DataFrame({"metric": ["rms", "zcr"], "n": [8, 9]} | values)
    write_csv(run_dir / "metrics.csv", table)
    monkeypatch.setattr("envsound.run.publish.LARGEST_EXACT", 50)
    kept = read_csv(publish(run_dir, tmp_path / "published") / "metrics.csv")
    assert kept["mean"].tolist()[0] == 0.333333 and kept["high"].tolist() == [123457.0, 2e-9]
    assert kept[["metric", "n"]].equals(table[["metric", "n"]]) and kept["mean"].isna().tolist() == [False, True]


def test_no_recording_and_no_path_of_this_machine_is_published(run_dir, tmp_path):
    folder = publish(run_dir, tmp_path / "published")
    assert not list(folder.rglob("real*"))
    text = (folder / "provenance.json").read_text()
    assert "/home/me" not in text and str(tmp_path) not in text and "ESC-50" in text


def test_publishing_again_replaces_the_older_copy(run_dir, tmp_path):
    target = tmp_path / "published"
    publish(run_dir, target)
    (target / "stale.csv").write_text("old")
    publish(run_dir, target)
    assert not (target / "stale.csv").exists()


def test_nobody_s_files_go_when_a_copy_is_replaced(run_dir, tmp_path):
    target = publish(run_dir, tmp_path / "published")
    (target / "clips" / "mine.txt").write_text("mine")
    (target / "thesis.docx").write_text("mine")
    publish(run_dir, target)
    assert (target / "clips" / "mine.txt").read_text() == (target / "thesis.docx").read_text() == "mine"
    (tmp_path / "documents").mkdir()
    (tmp_path / "documents" / "thesis.csv").write_text("mine")
    (tmp_path / "link").symlink_to(target)
    for place in (tmp_path / "documents", tmp_path / "link", tmp_path / "documents" / "thesis.csv"):
        with pytest.raises(InputError, match=f"{place.name}: is no published copy"):
            publish(run_dir, place)
    assert (tmp_path / "documents" / "thesis.csv").read_text() == "mine" and (target / "ks.csv").is_file()


def test_an_unfinished_run_is_refused_and_leaves_nothing(run_dir, tmp_path):
    (run_dir / "ks.csv").unlink()
    with pytest.raises(InputError, match=r"ks\.csv"):
        publish(run_dir, tmp_path / "published")
    assert not (tmp_path / "published").exists()


def test_an_error_half_way_leaves_the_older_copy_and_nothing_else(run_dir, tmp_path):
    folder = publish(run_dir, tmp_path / "published" / "demo")
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    samples = pd.read_csv(run_dir / "samples.csv").assign(filename="../secret.wav")
    write_csv(run_dir / "samples.csv", samples)
    with pytest.raises(InputError, match="leads outside"):
        publish(run_dir, folder)
    assert list(folder.parent.iterdir()) == [folder]
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_without_paths_keeps_everything_else():
    assert without_paths({"a": ["/x/y", 3, "data/z"], "b": None}) == {"a": ["y", 3, "data/z"], "b": None}
    assert without_paths(["../../other/ESC-50", "~/ESC-50", ""]) == ["ESC-50", "ESC-50", ""]


# Reports beside the study's runs

KINDS = (
    ReportKind(("bench.json", "table.csv"), "a finished bench", ("clips.csv",)),
    ReportKind(("growth.csv",), "a finished growth", (), "speed"),
    ReportKind(("rounds.csv",), "finished rounds", (), "rounds", keeps_name=True),
)


@pytest.fixture
def report(tmp_path):
    folder = tmp_path / "runs" / "bench" / "first"
    (folder / "figures").mkdir(parents=True)
    for name in ("bench.json", "table.csv", "clips.csv", "figures/x.png", "figures/x.pdf", "original.wav"):
        (folder / name).write_text("{}")
    (folder / "provenance.json").write_text(json.dumps({"at": "/home/me/ESC-50-test", "run": str(folder)}))
    return folder


def test_a_report_is_published_without_a_single_sound(report, run_dir, tmp_path):
    kind = kind_of(report, KINDS)
    assert kind is KINDS[0] and kind_of(run_dir, KINDS) is None
    folder = publish_report(report, tmp_path / "published" / "bench", kind)
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert names == {*kind.needed, *kind.optional, "provenance.json", "figures/x.png", "figures/x.pdf"}
    text = (folder / "provenance.json").read_text()
    assert "/home/me" not in text and str(tmp_path) not in text and "ESC-50-test" in text


def test_a_large_table_of_clips_and_stray_files_stay_behind(report, tmp_path):
    (report / "clips.csv").write_text("x" * (LARGEST_OPTIONAL + 1))
    (report / "figures" / "original.wav").write_bytes(b"sound")
    (report / "figures" / ".half.png").write_bytes(b"")
    folder = publish_report(report, tmp_path / "published", KINDS[0])
    assert not (folder / "clips.csv").exists()
    assert {path.name for path in (folder / "figures").iterdir()} == {"x.pdf", "x.png"}


@pytest.mark.parametrize("folder", ["sounds", "heard"])
def test_the_sounds_of_a_report_are_the_new_ones(report, folder, tmp_path):
    kind = ReportKind(("clips_summary.csv",), "a report", sounds=folder)
    write_csv(report / "clips_summary.csv", pd.DataFrame({"value": [1.0]}))
    (report / folder).mkdir(exist_ok=True)
    for words, names in ((b"old", ["rain.ogg", "dog.ogg"]), (b"new", ["rain.ogg"])):
        write_csv(report / f"{folder}.csv", pd.DataFrame({"file": names}))
        for name in names:
            (report / folder / name).write_bytes(words)
        target = publish_report(report, tmp_path / "published", kind)
    assert (target / folder / "rain.ogg").read_bytes() == b"new"
    # Of an earlier report; in a published folder of another name than `sounds` it may be anybody's.
    assert (target / folder / "dog.ogg").exists() == (folder != "sounds")
    write_csv(report / f"{folder}.csv", pd.DataFrame({"file": ["../clips_summary.csv"]}))
    with pytest.raises(InputError, match="leads outside"):
        publish_report(report, tmp_path / "published", kind)
    assert (target / folder / "rain.ogg").read_bytes() == b"new"


@pytest.mark.parametrize(
    ("tables", "folder"),
    [(("bench.json", "table.csv"), "bench"), (("growth.csv",), "speed"), (("rounds.csv",), "rounds/first")],
)
def test_a_report_goes_where_its_kind_says(tables, folder, tmp_path, monkeypatch):
    run = tmp_path / "runs" / "bench" / "first"
    (run / "figures").mkdir(parents=True)
    for name in (*tables, "provenance.json"):
        (run / name).write_text("{}")
    monkeypatch.chdir(tmp_path)
    assert publish_any(run, KINDS).as_posix() == f"data/published/{folder}"


def test_an_incomplete_report_is_refused_and_the_older_copy_stays(report, run_dir, tmp_path):
    target = publish_any(report, KINDS, tmp_path / "published")
    (report / "table.csv").unlink()
    with pytest.raises(InputError, match=r"lacks table\.csv; expected a finished bench"):
        publish_any(report, KINDS, target)
    assert (target / "table.csv").is_file()
    assert publish_any(run_dir, KINDS, target, 1) == target and (target / "ks.csv").is_file()
