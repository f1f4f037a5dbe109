"""What made a result is written beside it, once the result is there."""

import subprocess

import pytest
import torch

from envsound.base.errors import InputError
from envsound.base.files import read_json
from envsound.run import provenance


def test_a_step_records_what_made_it(tmp_path):
    with provenance.step(tmp_path, "02_train_model", {"lr": 1e-4, "seed": 3}) as record:
        record.facts["data_cut"] = "ten classes"
    found = read_json(tmp_path / "provenance" / "02_train_model.json")
    assert found["parameters"] == {"lr": 1e-4, "seed": 3}
    assert found["facts"] == {"data_cut": "ten classes"}
    assert found["versions"]["torch"] == torch.__version__ and found["device"].startswith("CPU")
    assert 0 <= found["seconds"] < 60 and found["started"].endswith("+00:00")
    assert {"step", "commit", "python", "platform"} <= set(found)


def test_steps_are_merged_in_order_and_replaced(tmp_path):
    for name, seed in (("04_metrics", 1), ("01_encode_clips", 1), ("04_metrics", 2)):
        with provenance.step(tmp_path, name, {"seed": seed}):
            pass
    merged = read_json(tmp_path / "provenance.json")
    assert merged["run"] == str(tmp_path) and list(merged["steps"]) == ["01_encode_clips", "04_metrics"]
    assert merged["steps"]["04_metrics"]["parameters"] == {"seed": 2}


def test_what_a_killed_step_left_is_no_record(tmp_path):
    for name in (".01_encode_clips-x1y2.json", ".tmp-0-1-01_encode_clips-x1y2.json"):
        (tmp_path / "provenance").mkdir(exist_ok=True)
        (tmp_path / "provenance" / name).write_text("{")
    with provenance.step(tmp_path, "02_train_model", {}):
        pass
    assert list(read_json(tmp_path / "provenance.json")["steps"]) == ["02_train_model"]


def test_a_failed_step_leaves_no_record(tmp_path):
    with pytest.raises(InputError), provenance.step(tmp_path, "01_encode_clips", {}):
        raise InputError("no such folder")
    assert list(tmp_path.iterdir()) == []


def test_the_step_s_own_device_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "describe_device", lambda device: f"described {device}")
    with provenance.step(tmp_path, "02_train_model", {}) as record:
        record.device = torch.device("cuda")
    assert read_json(tmp_path / "provenance" / "02_train_model.json")["device"] == "described cuda"


def test_commit_tells_changes_and_absence(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert provenance.commit() == "unknown"

    def git(*arguments):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *identity, *arguments], check=True, capture_output=True)

    git("init")
    (tmp_path / "notebooks" / "presets").mkdir(parents=True)
    (tmp_path / "file").write_text("one")
    result = tmp_path / "data" / "published" / "esc10" / "ks.csv"
    result.parent.mkdir(parents=True)
    result.write_text("one")
    git("add", "file", str(result))
    git("commit", "-m", "first")
    clean = provenance.commit()
    assert len(clean) == 40
    (tmp_path / "new").touch()
    result.write_text("two")
    assert provenance.commit() == clean  # results are not code
    (tmp_path / "file").write_text("two")
    assert provenance.commit() == clean + "+changes"


def test_a_git_that_hangs_or_belongs_to_somebody_else_tells_no_commit(tmp_path, monkeypatch):
    """As in a copy of the files alone, unpacked inside another repository."""
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    for words in (["init"], ["commit", "--allow-empty", "-m", "of somebody else"]):
        subprocess.run(["git", *identity, *words], cwd=tmp_path, check=True, capture_output=True)
    (tmp_path / "study" / "notebooks" / "presets").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "study")
    assert provenance.commit() == "unknown"
    (tmp_path / "notebooks" / "presets").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert len(provenance.commit()) == 40
    monkeypatch.setattr(provenance.subprocess, "run", hang)
    assert provenance.commit() == "unknown"


def hang(command, timeout, **_):
    raise subprocess.TimeoutExpired(command, timeout)


def test_an_absent_package_is_said_to_be_absent(monkeypatch):
    monkeypatch.setattr(provenance, "PACKAGES", ("torch", "no-such-package-here"))
    assert provenance.versions() == {"torch": torch.__version__, "no-such-package-here": "absent"}
