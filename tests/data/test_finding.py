"""Where recordings lie: rows led to files under any spelling, folders walked, and what follows their content."""

import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import soundfile

from envsound.base.errors import InputError
from envsound.base.files import write_text
from envsound.data import finding
from envsound.data.finding import audio_folders, check_recordings, files_below, find_audio
from envsound.data.recordings import load_recordings
from envsound.run.presets import load_preset

ROOT = Path(__file__).parents[2]
HEAD = "filename,fold,target,category,esc10\n"


def test_a_file_is_found_in_the_first_folder_around_the_csv_or_under_another_suffix(tmp_path):
    folders = [tmp_path / "audio", tmp_path]
    (tmp_path / "audio").mkdir()
    (tmp_path / "meta" / "audio").mkdir(parents=True)
    around = audio_folders(tmp_path, tmp_path / "meta" / "clips.csv")
    assert around == [tmp_path / name for name in ("audio", "meta/audio", "meta", ".")]
    for name in ("audio/a.wav", "a.wav", "b.ogg", "c.5.flac"):
        (tmp_path / name).touch()
    assert find_audio("a.wav", folders) == (tmp_path / "audio" / "a.wav", "")
    assert find_audio("audio/a.wav", folders)[0] == tmp_path / "audio" / "a.wav"
    assert find_audio("b.wav", folders) == (tmp_path / "b.ogg", "other suffix: b.ogg stands in")
    assert find_audio("c.5", folders)[0] == tmp_path / "c.5.flac"
    assert find_audio("d.wav", folders) == (None, "no such file")


NFC, NFD = (unicodedata.normalize(form, "chien aboyé") for form in ("NFC", "NFD"))


@pytest.mark.parametrize("row, there, remark", [
    ("a.wav", "a.WAV", ""),
    ("a.wav", "a.Ogg", "other suffix: a.Ogg stands in"),
    (f"{NFC}.wav", f"{NFD}.wav", ""),
    (f"{NFD}.wav", f"{NFC}.FLAC", f"other suffix: {NFC}.FLAC stands in"),
    (f"{NFC}/a.wav", f"{NFD}/a.wav", ""),
    (f"{NFC}/{NFC}.wav", f"{NFD}/{NFD}.WAV", ""),
])  # fmt: skip
def test_names_are_found_however_a_system_spells_them(tmp_path, row, there, remark):
    write_text(tmp_path / there, "")
    found, said = find_audio(row, [tmp_path])
    assert found == tmp_path / there and said == remark


@pytest.mark.parametrize("suffix", finding.UNREADABLE)
def test_a_file_that_only_another_program_opens_is_named(tmp_path, suffix):
    write_text(tmp_path / f"a{suffix.upper()}", "")
    words = f"unreadable: a{suffix.upper()} is of a kind that libsndfile does not open"
    assert find_audio("a.wav", [tmp_path]) == (None, words)


def test_a_link_that_leads_nowhere_and_a_name_that_no_file_can_have_are_named(tmp_path):
    (tmp_path / "a.wav").symlink_to(tmp_path / "gone.wav")
    assert find_audio("a.wav", [tmp_path]) == (None, "broken link: a.wav leads nowhere")
    assert find_audio("x" * 300 + ".wav", [tmp_path])[1].startswith("unreadable: File name too long")


@pytest.mark.parametrize(
    "name", ["../secret.wav", "a/../../secret.wav", "/etc/hostname", "x\0", "..", "link/../../s.wav"]
)
def test_a_name_that_leads_outside_is_never_opened(tmp_path, name, monkeypatch):
    inside_folder = tmp_path / "data"
    inside_folder.mkdir()
    (tmp_path / "secret.wav").touch()
    (inside_folder / "link").symlink_to(tmp_path)
    monkeypatch.setattr(Path, "open", lambda *_: pytest.fail("a file was opened"))
    assert find_audio(name, [inside_folder]) == (None, "file name leads outside the folder")
    assert find_audio("", [inside_folder]) == (None, "row has no file name")


def noise(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.1 * np.random.default_rng(seed).standard_normal(2400), 24_000)
    return path


def test_the_user_s_own_links_are_followed(tmp_path):
    """As git-annex and data disks have them: a link for each file, or for the folder."""
    noise(tmp_path / "disk" / "a.wav"), noise(tmp_path / "objects" / "SHA256-1.wav")
    (tmp_path / "set" / "audio").mkdir(parents=True)
    (tmp_path / "set" / "audio" / "dogs").symlink_to(tmp_path / "disk")
    (tmp_path / "set" / "audio" / "b.wav").symlink_to(tmp_path / "objects" / "SHA256-1.wav")
    write_text(tmp_path / "set" / "meta" / "esc50.csv", HEAD + "dogs/a.wav,1,0,dog,True\nb.wav,2,0,dog,True\n")
    assert len(load_recordings("esc50", str(tmp_path / "set")).table) == 2


def test_every_file_below_a_folder_is_found_once_and_what_cannot_be_is_named(tmp_path):
    for name in ("set/dog/a.wav", "disk/cat/b.wav", "set/.trash/c.wav", "set/.ipynb_checkpoints/d.wav", "set/._a.wav"):
        write_text(tmp_path / name, "")
    (tmp_path / "set" / "a cat").symlink_to(tmp_path / "disk" / "cat")
    (tmp_path / "set" / "dog again").symlink_to(tmp_path / "set" / "dog")
    (tmp_path / "disk" / "cat" / "back").symlink_to(tmp_path / "set")
    (tmp_path / "set" / "dog" / "gone.wav").symlink_to(tmp_path / "nowhere")
    found = files_below(tmp_path / "set", lambda path: path.suffix == ".wav")
    assert [path.relative_to(tmp_path / "set").as_posix() for path in found] == [
        "a cat/b.wav", "dog/a.wav", "dog/gone.wav"
    ]  # fmt: skip


def test_a_folder_that_may_not_be_opened_is_among_what_is_found(tmp_path, monkeypatch):
    write_text(tmp_path / "locked" / "a.wav", "")
    scan = os.scandir

    def refuse(place):
        if Path(place).name == "locked":
            raise PermissionError(13, "Permission denied", str(place))
        return scan(place)

    monkeypatch.setattr(os, "scandir", refuse)
    assert files_below(tmp_path, lambda path: True) == [tmp_path / "locked"]


# -- what follows the recordings ----------------------------------------------------------------------------


@pytest.fixture
def values(tmp_path, monkeypatch):
    """The values of a preset on a data set of two clips in subfolders, one of them a link."""
    preset = load_preset("tiny", ROOT / "notebooks" / "presets")
    monkeypatch.chdir(tmp_path)
    noise(tmp_path / "set" / "audio" / "sub" / "a.wav"), noise(tmp_path / "disk" / "b.wav")
    (tmp_path / "set" / "audio" / "b.wav").symlink_to(tmp_path / "disk" / "b.wav")
    write_text(tmp_path / "set/meta/esc50.csv", HEAD + "sub/a.wav,1,0,dog,True\nb.wav,2,0,dog,True\n")
    return preset | {"data_dir": "set", "categories": []}


def test_the_fingerprint_follows_the_csv_and_the_content_of_what_it_leads_to_and_nothing_else(values, tmp_path):
    first = finding.recordings_fingerprint(values)
    for name in ("set/audio/.DS_Store", "set/audio/.ipynb_checkpoints/x.wav", "set/audio/notes.txt"):
        write_text(tmp_path / name, "no data")
    os.utime(tmp_path / "disk" / "b.wav", (1, 1))
    assert finding.recordings_fingerprint(values) == first
    seen = {first}
    for number, name in enumerate(("set/audio/sub/a.wav", "disk/b.wav", "set/meta/esc50.csv"), 1):
        path = tmp_path / name
        write_text(path, path.read_text() + "\n") if path.suffix == ".csv" else noise(path, number)  # as many bytes
        seen.add(finding.recordings_fingerprint(values))
        assert len(seen) == number + 1, name
    (tmp_path / "disk" / "b.wav").unlink()
    assert finding.recordings_fingerprint(values) not in seen


def test_recordings_that_ship_are_watched_unless_a_folder_takes_their_place(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    ships, paper = load_preset("demo"), load_preset("paper")
    assert finding.recordings_table(ships) == ["data/material/meta/esc50.csv"] and finding.recordings_table(paper) == []
    with pytest.raises(InputError, match=r"meta/esc50\.csv: no such file"):
        finding.recordings_table(ships | {"data_dir": str(tmp_path)})
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(InputError, match=f"^{tmp_path}/sounds/meta"):
        finding.recordings_table(ships | {"data_dir": "~/sounds"})


@pytest.mark.parametrize("change, message", [
    ({"train_folds": [3]}, r"fold \[3\]: not among the folds"),
    ({"train_folds": [1, 2]}, "holds the held-out fold 1"),
    ({"validation_fold": 2}, "no fold left to train on"),
    ({"validation_fold": 7}, "validation_fold=7"),
    ({"real_folds": [4]}, "folds=\\[4\\]: 4 not in the csv"),
    ({"categories": ["cat"]}, "cat not in the csv"),
])  # fmt: skip
def test_what_the_csv_does_not_hold_is_told_before_anything_runs(values, change, message):
    check_recordings(values, [1, 2])
    with pytest.raises(InputError, match=message):
        check_recordings(values | change, [1])
    with pytest.raises(InputError, match=r"fold \[5\]"):
        check_recordings(values, [5])


def test_a_class_that_no_training_clip_teaches_is_refused_where_the_model_is_told_the_class(values, tmp_path):
    path = tmp_path / "set" / "meta" / "esc50.csv"
    write_text(path, path.read_text() + "b.wav,1,1,cat,True\n")
    check_recordings(values | {"class_conditional": False}, [1])
    with pytest.raises(InputError, match="cat has no clip in the training folds"):
        check_recordings(values | {"class_conditional": True}, [1])
