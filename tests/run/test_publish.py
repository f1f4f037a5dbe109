"""Publishing a run: what is copied, and what is not."""

import json

import numpy as np
import pandas as pd
import pytest
import soundfile
from fakes.codec_reports import make_report

from envsound.base.errors import InputError
from envsound.base.files import write_csv, write_wav
from envsound.run.publish import (
    LARGEST_OPTIONAL,
    TABLES,
    kind_of,
    main,
    publish,
    publish_report,
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


def test_copies_tables_figures_and_some_clips_without_loss(run_dir, tmp_path):
    folder = publish(run_dir, tmp_path / "published" / "demo", clips_per_category=1)
    clips = sorted(path.name for path in (folder / "clips").iterdir())
    assert clips == ["0_dog.flac", "2_rain.flac"]
    heard, _ = soundfile.read(folder / "clips" / "0_dog.flac", dtype="int16")
    made, _ = soundfile.read(run_dir / "samples" / "0_dog.wav", dtype="int16")
    assert np.array_equal(heard, made)
    assert (folder / "figures" / "ks.png").exists() and all((folder / name).exists() for name in TABLES)


def test_what_the_evaluation_found_goes_along_where_it_has_run(run_dir, tmp_path):
    (run_dir / "evaluation.csv").write_text("metric\n")
    (run_dir / "evaluation_clips.csv").write_text("path\n/home/me/a.wav\n")
    folder = publish(run_dir, tmp_path / "published")
    assert (folder / "evaluation.csv").exists() and not (folder / "diversity.csv").exists()
    assert not (folder / "evaluation_clips.csv").exists()  # it holds paths


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


def test_an_unfinished_run_is_refused_and_leaves_nothing(run_dir, tmp_path):
    (run_dir / "ks.csv").unlink()
    with pytest.raises(InputError, match=r"ks\.csv"):
        publish(run_dir, tmp_path / "published")
    assert not (tmp_path / "published").exists()
    assert main([str(run_dir), "--to", str(tmp_path / "published")]) == 1


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


# A codec's report


@pytest.fixture
def report(tmp_path):
    return make_report(tmp_path / "runs" / "codec" / "bundled")


def test_a_codec_report_is_published_without_a_single_sound(report, run_dir, tmp_path):
    kind = kind_of(report)
    assert kind.needed[0] == "systems.csv" and kind_of(run_dir) is None
    folder = publish_report(report, tmp_path / "published" / "codec", kind)
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    figures = {
        f"figures/{name}.{kind}" for name in ("levels", "classes", "bands", "class_bands") for kind in ("pdf", "png")
    }
    assert names == {*kind.needed, "clips.csv", "provenance.json"} | figures
    text = (folder / "provenance.json").read_text()
    assert "/home/me" not in text and str(tmp_path) not in text and "ESC-50-test" in text


def test_a_large_table_of_clips_and_stray_files_stay_behind(report, tmp_path):
    (report / "clips.csv").write_text("x" * (LARGEST_OPTIONAL + 1))
    (report / "figures" / "original.wav").write_bytes(b"sound")
    (report / "figures" / ".half.png").write_bytes(b"")
    folder = publish_report(report, tmp_path / "published", kind_of(report))
    assert not (folder / "clips.csv").exists()
    assert {path.suffix for path in (folder / "figures").iterdir()} == {".pdf", ".png"}
    assert not (folder / "figures" / ".half.png").exists()


@pytest.mark.parametrize(
    ("tables", "folder"),
    [
        (("gap.csv", "gap_codes.csv"), "domain_gap"),
        (("transfer.csv", "transfer_final.csv"), "transfer"),
        (("bench.json",), "speed"),
        (("growth.csv",), "speed"),
        (("bench.json", "growth.csv"), "speed"),
    ],
)
def test_the_other_reports_are_published_by_their_tables(tables, folder, tmp_path, monkeypatch, capsys):
    run = tmp_path / "runs" / folder / ("esc10" if folder != "speed" else "")
    (run / "figures").mkdir(parents=True)
    (run / "clip.wav").write_bytes(b"sound")
    for name in (*tables, "figures/x.png", "provenance.json"):
        (run / name).write_text("{}")
    monkeypatch.setattr("envsound.run.publish.go_to_root", lambda: None)
    monkeypatch.chdir(tmp_path)
    assert main([str(run)]) == 0, capsys.readouterr().err
    published = tmp_path / "data" / "published" / folder
    found = {path.relative_to(published).as_posix() for path in published.rglob("*") if path.is_file()}
    assert found == {*tables, "figures/x.png", "provenance.json"}


def test_the_command_line_knows_a_codec_report(report, tmp_path, capsys):
    target = tmp_path / "published" / "codec"
    assert main([str(report), "--to", str(target)]) == 0
    assert (target / "ceiling.csv").is_file() and str(target) in capsys.readouterr().out
    (report / "goals.csv").unlink()
    assert main([str(report), "--to", str(target)]) == 1
    assert "lacks goals.csv; expected a finished codec report" in capsys.readouterr().err
    assert (target / "goals.csv").is_file()  # the older copy is untouched
