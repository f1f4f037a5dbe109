"""A data set as clips: usable clips in the table, every clip in the report, bad requests refused."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from fakes.urbansound8k import urbansound8k

from envsound.base.errors import InputError
from envsound.base.files import write_csv
from envsound.base.paths import find_root
from envsound.data.recordings import load_recordings

RATE = 24_000


def noise(seconds: float, rate: int = RATE) -> np.ndarray:
    return 0.1 * np.random.default_rng(0).standard_normal(round(seconds * rate))


def esc50(folder: Path, rows: list[tuple], csv_name: str = "meta/esc50.csv") -> Path:
    """Write a csv in ESC-50's layout; rows are (filename, fold, target, category, esc10)."""
    columns = ["filename", "fold", "target", "category", "esc10"]
    write_csv(folder / csv_name, pd.DataFrame(rows, columns=columns))
    (folder / "audio").mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def mixed(tmp_path_factory) -> Path:
    """A folder with one clip of every kind, good and bad."""
    folder = tmp_path_factory.mktemp("mixed")
    audio = folder / "audio"
    audio.mkdir()
    soundfile.write(audio / "plain.wav", noise(1.0), RATE)
    soundfile.write(audio / "stereo.wav", np.stack([noise(1.0, 48_000)] * 2, axis=1), 48_000)
    soundfile.write(audio / "long.wav", noise(1.5), RATE)
    soundfile.write(audio / "short.wav", noise(0.5, 8_000), 8_000)
    soundfile.write(audio / "silent.wav", np.zeros(RATE), RATE)
    soundfile.write(audio / "loud.wav", np.full(RATE, 1.5), RATE, subtype="FLOAT")
    soundfile.write(audio / "moved.ogg", noise(1.0), RATE)
    soundfile.write(audio / "empty.wav", np.zeros(0), RATE)
    soundfile.write(audio / "nan.wav", np.where(np.arange(RATE) == 7, np.nan, 0.1), RATE, subtype="FLOAT")
    (audio / "junk.wav").write_bytes(b"no audio")
    (audio / "half.wav").write_bytes((audio / "plain.wav").read_bytes()[:9000])
    soundfile.write(folder.parent / "outside.wav", noise(1.0), RATE)
    good = ["plain", "stereo", "long", "short", "silent", "loud", "moved"]
    bad = ["empty", "nan", "junk", "half", "absent", "../../outside", "plain"]
    rows = [(f"{name}.wav", 1 + i % 2, 0, "dog", True) for i, name in enumerate(good)]
    rows += [(f"{name}.wav", 3, 1, "cat", False) for name in bad]
    return esc50(folder, rows)


@pytest.fixture(scope="module")
def recordings(mixed):
    return load_recordings("esc50", str(mixed), clip_seconds=1.0)


def test_the_table_holds_the_usable_clips_and_the_cut_is_named(recordings, mixed):
    table = recordings.table
    assert table["clip_id"].tolist() == ["plain", "stereo", "long", "short", "silent", "loud", "moved"]
    assert table["n_samples"].tolist() == [24_000] * 3 + [12_000] + [24_000] * 3
    assert table["seconds"].tolist() == [1.0] * 3 + [0.5] + [1.0] * 3
    assert table.columns.tolist() == [
        *("clip_id", "filename", "path", "fold", "category", "target", "esc10", "n_samples", "seconds")
    ]
    assert all(Path(path).is_file() for path in table["path"])
    assert recordings.cut == (
        f"ESC-50 folder {mixed.name}, 1 class, folds 1-2, 7 clips (7 more are bad), 8, 24, 48 kHz sources, "
        "resampled to 24 kHz, nothing above 4 kHz in the 8 kHz sources"
    )


@pytest.mark.parametrize(
    "name, status, reason",
    [
        ("plain", "ok", ""),
        ("stereo", "note", "mixed down: 2 channels; resampled: from 48000 Hz"),
        ("long", "note", "cut: 1.500 s long"),
        ("short", "note", "shorter: 0.500 s long; resampled: from 8000 Hz"),
        ("silent", "note", "digital silence: every sample is zero"),
        ("loud", "note", "limited: peak 1.50 is above full scale"),
        ("moved", "note", "other suffix: moved.ogg stands in"),
        ("empty", "bad", "zero samples"),
        ("nan", "bad", "not finite: 1 samples are NaN or infinite"),
        ("junk", "bad", "unreadable: "),
        ("half", "bad", "truncated: 8956 of 48000 bytes of audio"),
        ("absent", "bad", "no such file"),
        ("../../outside", "bad", "file name leads outside the folder"),
    ],
)
def test_the_report_names_every_clip_and_why(recordings, name, status, reason):
    row = recordings.report.set_index("filename").loc[[f"{name}.wav"]].iloc[0]
    assert row["status"] == status
    assert row["reason"] == reason or (name == "junk" and row["reason"].startswith(reason))


def test_the_report_holds_every_clip_once_with_the_facts_of_its_file(recordings):
    report = recordings.report
    twice = report[report["filename"] == "plain.wav"]
    assert twice[["status", "reason"]].to_numpy().tolist() == [["ok", ""], ["bad", "listed twice in the csv"]]
    assert report.columns.tolist() == [
        *("filename", "fold", "category", "status", "reason", "sample_rate_hz", "n_channels", "seconds")
    ]
    assert len(report) == 14 and len(recordings.bad_clips) == 7
    stereo = report.set_index("filename").loc["stereo.wav"]
    assert (stereo["sample_rate_hz"], stereo["n_channels"], stereo["seconds"]) == (48_000, 2, 1.0)
    assert report.set_index("filename").loc["absent.wav", ["sample_rate_hz", "seconds"]].isna().all()
    summary = recordings.report_summary().set_index(["status", "remark"])["clips"]
    assert summary["ok", "none"] == 1 and summary["note", "resampled"] == 2 and summary["bad", "truncated"] == 1
    counts = recordings.class_by_fold()
    assert counts.loc["dog", 1] == 4 and counts.loc["dog", 2] == 3 and counts.loc["total", "total"] == 7


def test_a_clip_is_loaded_as_it_was_counted(recordings):
    for row in recordings.table.itertuples():
        clip = recordings.load(row.clip_id)
        assert clip.dtype == np.float32 and clip.shape == (row.n_samples,) and np.abs(clip).max() <= 1
    assert not recordings.load("silent").any()
    with pytest.raises(InputError, match="clip_id='wolf': not one of the 7 clips"):
        recordings.load("wolf")


def test_no_file_outside_the_folder_is_read(mixed, monkeypatch):
    from envsound.data import audio

    opened = []
    parts = audio.parts_of
    monkeypatch.setattr(audio, "parts_of", lambda path: opened.append(path) or parts(path))
    load_recordings("esc50", str(mixed), clip_seconds=1.0)
    assert len(opened) == 11 and all(Path(path).resolve().is_relative_to(mixed) for path in opened)


def test_filters_reach_the_table(mixed):
    only = load_recordings("esc50", str(mixed), esc10_only=True, folds=[2], categories=["dog"], clip_seconds=1.0)
    assert only.table["clip_id"].tolist() == ["stereo", "short", "loud"] and len(only.report) == 3
    assert "esc10 only, fold 2, 3 clips" in only.cut


def test_a_plain_folder_with_its_csv_beside_the_audio(tmp_path):
    for name in ("wind.flac", "bell.flac"):
        soundfile.write(tmp_path / name, noise(0.2), RATE)
    rows = {"filename": ["wind.flac", "bell.flac"], "category": ["wind", "bell"], "fold": [1, 10]}
    write_csv(tmp_path / "clips.csv", pd.DataFrame(rows))
    found = load_recordings("folder", str(tmp_path), "clips.csv")
    assert found.table["target"].tolist() == [1, 0] and found.table["fold"].tolist() == [1, 10]
    assert found.cut.startswith(f"folder {tmp_path.name}, 2 classes, folds 1, 10, 2 clips, 24 kHz sources")
    with pytest.raises(InputError, match="lacks the column esc10"):
        load_recordings("folder", str(tmp_path), "clips.csv", esc10_only=True)
    with pytest.raises(InputError, match="lacks the column target, esc10"):
        load_recordings("esc50", str(tmp_path), "clips.csv")


def test_the_recordings_that_ship_are_found_from_anywhere_and_a_folder_takes_their_place(mixed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = load_recordings("material", folds=[1], categories=["rain", "dog"])
    assert found.cut.startswith("real clips, the free ones of ESC-10 as 24 kHz Vorbis (398 of 400), 2 classes, fold 1")
    assert len(found.table) == 16 and found.bad_clips.empty and (found.report["sample_rate_hz"] == RATE).all()
    monkeypatch.chdir(find_root(Path(__file__).parent))
    assert (
        load_recordings("material", folds=[1], categories=["dog"]).table["path"][0].startswith("data/material/audio/")
    )
    assert load_recordings("material", str(mixed)).cut.startswith(f"ESC-50 folder {mixed.name}")


def test_esc50_without_a_folder_is_downloaded(tmp_path, monkeypatch):
    folder = esc50(tmp_path / "esc50", [("a.wav", 1, 0, "dog", True)])
    soundfile.write(folder / "audio" / "a.wav", noise(0.2), RATE)
    monkeypatch.setattr("envsound.data.recordings.soundata_folder", lambda name, raw_dir: Path(raw_dir) / name)
    assert load_recordings("esc50", raw_dir=str(tmp_path)).table["clip_id"].tolist() == ["a"]


@pytest.mark.parametrize(
    "request_, message",
    [
        ({"dataset": "urban"}, "dataset='urban': expected one of material, esc50, urbansound8k, folder"),
        ({"dataset": "folder", "data_dir": ""}, "data_dir='': no such folder"),
        ({"data_dir": "no/such/folder"}, "data_dir='no/such/folder': no such folder"),
        ({"csv_name": "meta/other.csv"}, r"other\.csv: no such file"),
        ({"categories": ["wolf"]}, "wolf not in the csv; expected some of cat, dog"),
        ({"categories": ["cat"]}, r"none of its 7 clips can be used \(first: 'empty.wav', zero samples\)"),
        ({"clip_seconds": 0.0}, "clip_seconds=0.0"),
        ({"clip_seconds": "5"}, "clip_seconds='5'"),
        ({"data_dir": "~/no/such/folder"}, f"data_dir='{Path.home()}/no/such/folder': no such folder"),
        ({"sample_rate": 0}, "sample_rate=0"),
    ],
)
def test_a_bad_request_is_one_clear_error(mixed, request_, message):
    with pytest.raises(InputError, match=message):
        load_recordings(**({"dataset": "esc50", "data_dir": str(mixed)} | request_))


def test_real_recordings():
    folder = os.environ.get("ENVSOUND_DATA", "")
    if not folder:
        pytest.skip("no real recordings: set ENVSOUND_DATA to a folder holding meta/esc50.csv and audio/")
    found = load_recordings("esc50", folder, esc10_only=True, folds=[1])
    assert found.table["category"].nunique() == 10 and len(found.table) == len(found.report) >= 10
    assert found.bad_clips.empty and found.table["n_samples"].between(1, 120_000).all()
    clip = found.load(found.table["clip_id"].iloc[0])
    assert np.isfinite(clip).all() and 0 < np.abs(clip).max() <= 1


def test_urbansound8k_is_read_in_its_own_layout_and_a_missing_clip_named(tmp_path):
    urban = urbansound8k(tmp_path / "urban")
    found = load_recordings("urbansound8k", str(urban), clip_seconds=4.0)
    assert found.bad_clips.empty and len(found.table) == 20
    assert found.class_by_fold().loc[["dog_bark", "gun_shot"], list(range(1, 11))].to_numpy().tolist() == [[1] * 10] * 2
    assert found.table["clip_id"].iloc[2] == "fold2/1002-0-0-0" and found.table["target"].tolist() == [0, 1] * 10
    assert found.table["seconds"].max() == 4.0 and found.table["seconds"].min() == pytest.approx(0.05)
    assert found.cut.startswith(f"UrbanSound8K folder {urban.name}, 2 classes, folds 1-10, 20 clips, 8 kHz sources")
    rows = pd.read_csv(urban / "metadata" / "UrbanSound8K.csv")
    rows.loc[0, "slice_file_name"] = "gone.wav"
    write_csv(urban / "metadata" / "UrbanSound8K.csv", rows)
    found = load_recordings("urbansound8k", str(urban), clip_seconds=0.1)
    assert found.bad_clips["filename"].tolist() == ["fold1/gone.wav"]
    with pytest.raises(InputError, match="lacks the column esc10"):
        load_recordings("urbansound8k", str(urban), esc10_only=True)
