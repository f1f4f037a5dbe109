"""Anybody's two folders: at which rate they are measured, what is left out and named, and that nothing is touched."""

import os
import re
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile

from envsound.base.errors import InputError
from envsound.base.files import write_wav
from envsound.evaluation import folders as module
from envsound.evaluation.compare import measure_side
from envsound.evaluation.folders import evaluate_folders, results_folder
from envsound.evaluation.sides import from_folder
from envsound.metrics.extended import PER_CLIP

ROOT = Path(__file__).parents[2]
RATE = 16_000
TABLES = {"metrics", "pairs", "table_metrics", "skipped", "evaluation", "evaluation_by_class", "diversity",
          "evaluation_clips"}  # fmt: skip


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)


def noise(seed: int, n_samples: int = 4800) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, n_samples).clip(-1, 1)


@pytest.fixture
def compare(tmp_path):
    """Compares two folders with few resamples and a cache of its own."""
    return partial(evaluate_folders, n_resamples=5, cache_dir=tmp_path / "cache")


@pytest.fixture
def places(tmp_path) -> tuple[Path, Path]:
    """Generated: 44.1 kHz flac and 16 kHz wav in folders, names with spaces. Real: 48 kHz wav, 22.05 kHz stereo ogg."""
    made, real = tmp_path / "made", tmp_path / "real"
    write_wav(real / "a.wav", noise(0, 14_400), 48_000)
    soundfile.write(real / "b b.ogg", np.stack([noise(1), noise(2)], 1), 22_050)
    (made / "deep er" / "ж").mkdir(parents=True)
    soundfile.write(made / "deep er" / "ж" / "дождь 1.flac", noise(3), 44_100)
    write_wav(made / "c.wav", noise(4), RATE)
    (made / "notes.txt").write_text("not audio")
    return made, real


def contents(folder) -> dict:
    return {path: (path.stat().st_mtime_ns, path.is_file() and path.read_bytes()) for path in folder.rglob("*")}


def test_all_is_measured_at_the_lowest_rate_and_nothing_is_written_there(places, compare, tmp_path):
    before = [contents(place) for place in places]
    report = compare(*places)
    rows, expected = report["metrics"], measure_side(from_folder(places[1]), "real", RATE)
    for name in expected.columns:  # what the serial measurement gives
        mine = rows.loc[rows["side"] == "real", name].tolist()
        assert mine == (pytest.approx(expected[name].tolist()) if name == "peak" else expected[name].tolist()), name
    assert list(rows.columns) == list(expected.columns)
    assert "rms" not in compare(*places, metrics=["zcr"])["metrics"]
    clips = report["evaluation_clips"]
    assert report.facts["sample_rate_hz"] == RATE and report["skipped"].empty and set(report.tables) == TABLES
    assert list(clips["clip"]) == ["a.wav", "b b.ogg", "generated/c.wav", "generated/deep er/ж/дождь 1.flac"]
    assert list(clips["category"]) == ["", "", "", "deep er/ж"]
    assert clips["duration_s"].to_numpy() == pytest.approx([0.3, 4800 / 22_050, 0.3, 4800 / 44_100], abs=1e-4)
    assert "16000 Hz" in report.notes[0] and "of 2 pairs" in report.notes[-1]
    report.write(tmp_path / "out")
    assert {path.stem for path in (tmp_path / "out").iterdir()} == TABLES
    assert [contents(place) for place in places] == before


def test_what_cannot_be_compared_is_named_with_its_reason_and_has_no_say_in_the_rate(places, compare):
    made, real = places
    for name in ("empty.wav", "empty too.wav"):
        (made / name).write_bytes(b"")
    write_wav(made / "silent.wav", np.zeros(2400), 8_000)
    write_wav(made / "hiss.wav", np.full(4800, 2.0**-16), 48_000)
    write_wav(made / "short.wav", noise(5, 800), RATE)
    write_wav(made / "telegraph.wav", noise(6, 500), 1_000)
    report = compare(made, real)
    skipped, reasons = report["skipped"], report["skipped"].set_index("clip")["reason"]
    assert set(skipped["side"]) == {"generated"} and report.facts["sample_rate_hz"] == RATE
    assert set(reasons.index) == {"empty.wav", "empty too.wav", "silent.wav", "hiss.wav", "short.wav", "telegraph.wav"}
    assert reasons["silent.wav"] == reasons["hiss.wav"] == "silent"
    assert reasons["short.wav"] == "too short: 0.05 s, below 0.1 s"
    assert reasons["telegraph.wav"] == "stored at 1000 Hz, below 2000 Hz"
    assert "unreadable" in reasons["empty too.wav"] and "empty" not in reasons["empty too.wav"]
    note = next(note for note in report.notes if note.startswith("Left out"))
    assert note.startswith("Left out of generated, 6 of 8: `empty too.wav` (unreadable") and "\n" not in note
    facts = report.facts["sides"]["generated"]
    assert (facts["n_compared"], facts["stored_rates_hz"]) == (2, [RATE, 44_100])
    assert facts["folder"].endswith("/made") and report.facts["n_skipped"] == 6


def test_nothing_is_dropped_without_a_name(places, compare, tmp_path):
    made, real = places
    for suffix in ("webm", "m4a", "WMA", "mp4", "mka", "amr"):
        (made / f"phone.{suffix}").write_bytes(b"no sound that libsndfile opens")
    (made / "gone.wav").symlink_to(tmp_path / "nowhere.wav")
    write_wav(tmp_path / "disk" / "d.wav", noise(11), RATE)
    (made / "rain").symlink_to(tmp_path / "disk")
    write_wav(made / ".ipynb_checkpoints" / "c.wav", noise(12), RATE)
    report = compare(made, real)
    reasons = report["skipped"].set_index("clip")["reason"]
    assert set(reasons.index) == {"gone.wav", *(f"phone.{one}" for one in ("webm", "m4a", "WMA", "mp4", "mka", "amr"))}
    assert reasons.pop("gone.wav") == "broken link: it leads nowhere" and reasons.str.startswith("unreadable").all()
    clips = report["evaluation_clips"].set_index("clip")["category"]
    assert clips["generated/rain/d.wav"] == "rain" and len(clips) == 5


def test_files_above_full_scale_are_named_with_their_peak(places, compare):
    soundfile.write(places[1] / "sixteen bits as floats.wav", 30_000 * noise(8), RATE, subtype="FLOAT")
    (note,) = [note for note in compare(*places).notes if note.startswith("Limited")]
    assert note.startswith("Limited to full scale in real, 1 files: `sixteen bits as floats.wav` (peak 1")


def test_clips_are_judged_by_the_part_that_is_compared_and_requests_that_cannot_be_met_refused(
    places, compare, tmp_path
):
    write_wav(places[0] / "late.wav", np.append(np.zeros(RATE), noise(7)), RATE)
    assert compare(*places, clip_seconds=0.2)["skipped"]["reason"].tolist() == ["silent in its first 0.2 s"]
    assert compare(*places)["skipped"].empty
    write_wav(tmp_path / "none" / "a.wav", np.zeros(4800), RATE)
    with pytest.raises(InputError, match=r"generated: none of its 1 files .*a\.wav: silent"):
        compare(tmp_path / "none", places[1])
    with pytest.raises(InputError, match="is not a folder"):
        compare(tmp_path / "nowhere", places[1])
    with pytest.raises(InputError, match="min_seconds=-1"):
        compare(*places, min_seconds=-1)


def test_clips_of_one_name_are_resampled_by_themselves_and_one_clip_a_side_leaves_diversity_out(compare, tmp_path):
    for side, first in (("real", 10), ("made", 20)):
        for number in range(6):
            write_wav(tmp_path / "twins" / side / f"{number}.wav", noise(first + number) * (1 + number), RATE)
        write_wav(tmp_path / "few" / side / "a.wav", noise(first), RATE)
    report = compare(tmp_path / "twins" / "made", tmp_path / "twins" / "real")
    names = report["evaluation_clips"].groupby("system")["clip"].agg(set)
    assert len(names["real"]) == 6 and not names["real"] & names["generated"]
    assert set(report["evaluation"]["run"]) == {"", "twins/made"}
    assert report["diversity"]["ratio"].notna().any()
    report = compare(tmp_path / "few" / "made", tmp_path / "few" / "real")
    assert report["diversity"].empty and len(report["evaluation"]) == 2 * len(PER_CLIP)


def test_more_subfolders_than_a_table_holds_are_compared_as_one(compare, tmp_path, monkeypatch):
    for number in range(4):
        write_wav(tmp_path / "many" / f"class {number % 2}" / f"{number}.wav", noise(30 + number), RATE)
    both = tmp_path / "many", tmp_path / "many"
    assert set(compare(*both)["evaluation_by_class"]["category"]) == {"class 0", "class 1"}
    monkeypatch.setattr(module, "MOST_CLASSES", 1)
    assert compare(*both)["evaluation_by_class"].empty


def test_names_that_are_no_text_or_no_line_are_shown_as_escapes(places, compare):
    made, real = places
    write_wav(made / "two\nlines.wav", noise(9), RATE)
    with suppress(OSError):  # not every file system takes such a name
        (made / os.fsdecode(b"bad \xff.wav")).write_bytes((made / "c.wav").read_bytes())
    report = compare(made, real)
    assert r"two\nlines.wav" in set(report["metrics"]["clip"])
    assert all(text.isprintable() for text in (*report["skipped"]["clip"], *report["skipped"]["reason"]))


def test_results_of_equal_names_in_other_places_do_not_meet(tmp_path):
    folder = results_folder(tmp_path / "a" / "x", "data/runs/demo/fold1_seed0/samples")
    assert re.fullmatch(r"data/runs/folders/a_x_against_fold1_seed0_samples-[0-9a-f]{6}", folder.as_posix())
    assert folder != results_folder(tmp_path / "b" / "a" / "x", "data/runs/demo/fold1_seed0/samples")
    for awkward in ("/", str(tmp_path / ("long " * 60)), str(tmp_path / "звук"), str(tmp_path / "\udcff")):
        found = results_folder(awkward, awkward)
        assert found.parent == folder.parent and len(found.name) < 150 and found.name.isascii()
