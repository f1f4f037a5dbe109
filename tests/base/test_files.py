"""Files that are whole or not there, tables that come back as they went, names that stay in a folder."""

import hashlib
import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from envsound.base import files
from envsound.base.errors import InputError
from envsound.base.files import (
    atomic_path,
    inside,
    read_csv,
    read_json,
    remove_written,
    sha256_bytes,
    sha256_file,
    visible,
    write_csv,
    write_json,
    write_tables,
    write_text,
    write_wav,
)

SOURCE = str(Path(files.__file__).parents[2])


def test_hashes_are_sha256(tmp_path):
    content = os.urandom(300_000)
    (tmp_path / "file").write_bytes(content)
    assert sha256_file(tmp_path / "file") == sha256_bytes(content) == hashlib.sha256(content).hexdigest()


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    write_text(tmp_path / "sub" / "file.txt", "old")
    with pytest.raises(RuntimeError), atomic_path(tmp_path / "sub" / "file.txt") as temporary:
        temporary.write_text("half of the ne")
        raise RuntimeError
    assert [path.name for path in (tmp_path / "sub").iterdir()] == ["file.txt"]
    assert (tmp_path / "sub" / "file.txt").read_text() == "old"


def test_content_is_on_the_disk_before_its_name_is(tmp_path, monkeypatch):
    calls, fsync, rename = [], os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (calls.append("fsync"), fsync(handle)))
    monkeypatch.setattr(os, "replace", lambda *names: (calls.append("rename"), rename(*names)))
    write_text(tmp_path / "a.txt", "whole")
    assert calls == ["fsync", "rename"]


def test_what_a_killed_process_left_is_swept_and_no_data_and_what_a_running_one_writes_stays(tmp_path):
    code = "import os, signal, sys\nfrom envsound.base.files import atomic_path\n"
    code += f"with atomic_path({str(tmp_path / 'step.json')!r}):\n    os.kill(os.getpid(), signal.SIGKILL)"
    assert subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": SOURCE}).returncode == -9
    (left,) = tmp_path.iterdir()
    assert left.suffix == ".json" and visible(tmp_path, "*.json") == []
    with atomic_path(tmp_path / "other.json") as mine:
        assert {path.name for path in tmp_path.iterdir()} == {mine.name}
        subprocess.run([sys.executable, "-c", code.replace("os.kill(os.getpid(), signal.SIGKILL)", "pass")],
                       env=os.environ | {"PYTHONPATH": SOURCE}, check=True)  # fmt: skip
        assert mine.exists()
    assert {path.name for path in tmp_path.iterdir()} == {"other.json", "step.json"}


@pytest.mark.parametrize("stem", ["x" * 240, "ж" * 110])
def test_the_longest_names_can_be_written(tmp_path, stem):
    write_text(tmp_path / f"{stem}.txt", "whole")
    assert (tmp_path / f"{stem}.txt").read_text() == "whole"


def test_hidden_files_and_folders_are_no_data(tmp_path):
    for name in ("b.yml", "a/c.yml", ".x.yml", "._b.yml", ".ipynb_checkpoints/b.yml", "a/.hidden/d.yml"):
        write_text(tmp_path / name, "")
    assert visible(tmp_path, "**/*.yml") == [tmp_path / "a/c.yml", tmp_path / "b.yml"]
    assert visible(tmp_path / ".ipynb_checkpoints", "*") == [tmp_path / ".ipynb_checkpoints/b.yml"]
    assert visible(tmp_path / "none", "*") == []


def test_only_what_was_written_is_removed_and_nothing_behind_a_link(tmp_path):
    for name in ("a.wav", "b.wav", "mine.wav"):
        write_text(tmp_path / "made" / name, "")
    remove_written(tmp_path / "made", ["a.wav", "b.wav", "gone.wav"])
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["mine.wav"]
    (tmp_path / "link").symlink_to(tmp_path / "made")
    with pytest.raises(InputError, match="link: is a link"):
        remove_written(tmp_path / "link", ["mine.wav"])
    with pytest.raises(InputError, match="leads outside"):
        remove_written(tmp_path / "made", ["../made.wav"])


def test_a_write_appears_at_once_and_can_be_shared(tmp_path):
    with atomic_path(tmp_path / "file.txt") as temporary:
        temporary.write_text("new")
        assert not (tmp_path / "file.txt").exists() and temporary.suffix == ".txt"
    assert [path.name for path in tmp_path.iterdir()] == ["file.txt"]
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE((tmp_path / "file.txt").stat().st_mode) == 0o666 & ~umask


def test_json_comes_back_and_bad_json_is_named(tmp_path):
    write_json(tmp_path / "a.json", {"lr": 1e-4, "path": tmp_path})
    assert read_json(tmp_path / "a.json") == {"lr": 1e-4, "path": str(tmp_path)}
    (tmp_path / "b.json").write_text("{")
    with pytest.raises(InputError, match=r"b\.json: not valid JSON"):
        read_json(tmp_path / "b.json")
    (tmp_path / "b.json").write_bytes(b"\xff\xfe{")
    with pytest.raises(InputError, match=r"b\.json: not valid JSON"):
        read_json(tmp_path / "b.json")
    with pytest.raises(InputError, match=r"c\.json: no such file"):
        read_json(tmp_path / "c.json")


def test_a_table_comes_back_as_it_went(tmp_path):
    text = {"clip_id": ["007", "NA"], "category": ["", ""], "remark": ["", "None"], "opus": ["", ""], "like": ["", ""]}
    numbers = {"value": [0.1 + 0.2, np.nan], "undefined": [np.nan, np.nan], "count": [3, 4]}
    frame = pd.DataFrame(text | numbers)
    write_tables(tmp_path, {"table": frame})
    found = read_csv(tmp_path / "table.csv")
    pd.testing.assert_frame_equal(found, frame, check_dtype=False)
    assert found["value"].iloc[0] == 0.1 + 0.2 and found["undefined"].dtype == float


@settings(max_examples=30, deadline=None)
@given(values=st.lists(st.floats(allow_nan=False, allow_infinity=True), min_size=1, max_size=20))
def test_numbers_come_back_exactly(tmp_path_factory, values):
    path = tmp_path_factory.mktemp("numbers") / "table.csv"
    write_csv(path, pd.DataFrame({"value": values}))
    assert read_csv(path)["value"].tolist() == values


def test_a_table_that_is_missing_or_empty_is_named(tmp_path):
    with pytest.raises(InputError, match=r"table\.csv: no such file; run the notebook that makes it first"):
        read_csv(tmp_path / "table.csv")
    (tmp_path / "table.csv").touch()
    with pytest.raises(InputError, match=r"table\.csv: not a readable csv"):
        read_csv(tmp_path / "table.csv")


def test_wav_is_16_bit_and_limited_to_full_scale(tmp_path):
    clip = np.array([0.0, 0.5, -0.25, 3.0, -3.0], dtype=np.float32)
    write_wav(tmp_path / "clip.wav", clip, 24_000)
    found, rate = soundfile.read(tmp_path / "clip.wav")
    assert rate == 24_000 and soundfile.info(tmp_path / "clip.wav").subtype == "PCM_16"
    assert np.abs(found - np.clip(clip, -1, 1)).max() < 1e-4


@pytest.mark.parametrize("name", ["a.wav", "sub/a.wav", "sub/../a.wav", "..a.wav"])
def test_names_inside_a_folder_are_allowed(tmp_path, name):
    assert inside(tmp_path, name).is_relative_to(tmp_path.resolve())


@pytest.mark.parametrize("name", ["../a.wav", "sub/../../a.wav", "/etc/hostname", "", ".", "link/a.wav", "a\0.wav"])
def test_names_that_lead_outside_are_refused(tmp_path, name):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "link").symlink_to(tmp_path)
    with pytest.raises(InputError, match="leads outside"):
        inside(tmp_path / "folder", name)
