"""Files that are whole or not there, tables that come back as they went, names that stay in a folder."""

import hashlib
import os
import stat

import numpy as np
import pandas as pd
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from envsound.base.errors import InputError
from envsound.base.files import (
    atomic_path,
    inside,
    read_csv,
    read_json,
    sha256_bytes,
    sha256_file,
    write_csv,
    write_json,
    write_tables,
    write_text,
    write_wav,
)


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
    with pytest.raises(InputError, match=r"c\.json: no such file"):
        read_json(tmp_path / "c.json")


def test_a_table_comes_back_as_it_went(tmp_path):
    text = {"clip_id": ["007", "NA"], "category": ["", ""], "remark": ["", "None"]}
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
