"""Whose clips are whose: the two lists of licences, what counts as free, and the recordings that ship."""

import re
import runpy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from envsound.base.errors import InputError
from envsound.base.files import read_csv
from envsound.base.paths import find_root
from envsound.data.audio import read_clip
from envsound.data.licences import COLUMNS, FREE, licence_key, read_licences, trainable

ROOT = find_root(Path(__file__).parent)
make_material = runpy.run_path(str(ROOT / "tools" / "make_material.py"))["make_material"]
LICENSE = """# ESC-50
- [1-1-A.ogg]: clip derived from bark (old) [1].wav (http://www.freesound.org/people/a/sounds/1/) by nice by name [CC0]
- [1-1-B.ogg]:  clip derived from "Rain, heavy" (http://www.freesound.org/people/a/sounds/1/) by a [CC-BY]
- [2-3-A.ogg]: clip derived from c (http://www.freesound.org/people/c/sounds/3/) by c [CC-Sampling+]
"""
NAMES = ["1-1-A-0.wav", "1-1-B-10.wav", "2-3-A-0.wav"]


@pytest.fixture
def esc50(tmp_path) -> Path:
    """Return a folder of ESC-50 with three clips of 6 s at 44.1 kHz, one of them not free."""
    folder = tmp_path / "esc50"
    for part in ("meta", "audio"):
        (folder / part).mkdir(parents=True)
    rows = {"filename": NAMES, "fold": [1, 1, 2], "target": [0, 10, 0], "category": ["dog", "rain", "dog"]}
    pd.DataFrame(rows | {"esc10": True, "src_file": 1, "take": "A"}).to_csv(folder / "meta" / "esc50.csv", index=False)
    (folder / "LICENSE").write_text(LICENSE)
    for number, name in enumerate(NAMES):
        clip = np.random.default_rng(number).normal(0, 0.1, (6 * 44_100, 2))
        soundfile.write(folder / "audio" / name, clip, 44_100)
    return folder


def test_the_list_of_esc50_is_read_with_titles_that_hold_brackets(esc50):
    listed = read_licences(esc50)
    assert list(listed.columns) == COLUMNS and listed["licence"].tolist() == ["CC0", "CC-BY", "CC-Sampling+"]
    assert listed["title"].tolist() == ["bark (old) [1].wav", '"Rain, heavy"', "c"]
    assert listed["author"].tolist() == ["nice by name", "a", "c"] and listed["url"][2].endswith("/people/c/sounds/3/")


def test_free_clips_are_told_by_their_own_licence_and_the_held_out_fold_is_left_out(esc50):
    table = pd.DataFrame({"filename": [*NAMES, "9-9-A-1.wav"], "fold": [1, 1, 2, 2]})
    licences = read_licences(esc50)
    assert trainable(table, licences, 0)["filename"].tolist() == NAMES[:2]
    assert trainable(table, licences, 1).empty
    assert licence_key("1-100032-A-0.ogg") == "1-100032-A" and licence_key("dog.wav") == "dog.wav"


def test_a_folder_without_a_list_or_with_an_empty_one_is_one_clear_error(tmp_path):
    with pytest.raises(InputError, match=r"LICENSE: cannot be read .* expected ESC-50's LICENSE file, or attribution"):
        read_licences(tmp_path)
    (tmp_path / "LICENSE").write_text("no clip\n")
    with pytest.raises(InputError, match="LICENSE: lists no clip"):
        read_licences(tmp_path)
    (tmp_path / "attribution.csv").write_text("clip,licence\n1-1-A,CC0\n")
    with pytest.raises(InputError, match=r"attribution\.csv: lacks the column title"):
        read_licences(tmp_path)


def test_material_is_made_of_the_free_clips_alone_and_sounds_like_them(esc50, tmp_path):
    folder = tmp_path / "made" / "material"
    make_material(esc50, folder)
    listing = read_csv(folder / "meta" / "esc50.csv")
    assert listing["filename"].tolist() == ["1-1-A-0.ogg", "1-1-B-10.ogg"]
    assert sorted(path.name for path in (folder / "audio").iterdir()) == listing["filename"].tolist()
    assert read_licences(folder).equals(read_licences(esc50).iloc[:2])
    for name, made in zip(NAMES, listing["filename"], strict=False):
        facts = soundfile.info(folder / "audio" / made)
        assert (facts.samplerate, facts.channels, facts.subtype, facts.frames) == (24_000, 1, "VORBIS", 120_000)
        clip, original = read_clip(folder / "audio" / made), read_clip(esc50 / "audio" / name, max_seconds=5.0)
        assert np.corrcoef(clip, original)[0, 1] > 0.9
    with pytest.raises(InputError, match="material: exists"):
        make_material(esc50, folder)


def test_material_of_a_damaged_folder_is_not_begun(esc50, tmp_path):
    (esc50 / "audio" / NAMES[1]).write_bytes(b"RIFF")
    with pytest.raises(InputError, match=r"1-1-B-10\.wav is unreadable"):
        make_material(esc50, tmp_path / "material")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["esc50"]


def test_the_recordings_that_ship_are_the_free_ones_of_esc10_each_with_its_author():
    folder = ROOT / "data" / "material"
    listing, licences = read_csv(folder / "meta" / "esc50.csv"), read_licences(folder)
    assert listing.groupby("fold").size().to_dict() == {1: 79, 2: 79, 3: 80, 4: 80, 5: 80}
    assert listing["category"].nunique() == 10 and not {"1-40730-A-1.ogg", "2-96460-A-1.ogg"} & set(listing["filename"])
    files = {path.name: path.stat().st_size for path in (folder / "audio").iterdir()}
    assert set(files) == set(listing["filename"]) and 11.5e6 < sum(files.values()) < 12.5e6
    assert set(map(licence_key, files)) == set(licences["clip"]) and set(licences["licence"]) == set(FREE)
    assert licences["author"].str.len().min() > 0 and licences["title"].str.len().min() > 0
    assert licences["url"].str.match(r"https?://(www\.)?freesound\.org/").all()
    assert re.search(r"233 are CC0", (folder / "README.md").read_text()) and (licences["licence"] == "CC0").sum() == 233
