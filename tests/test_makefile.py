"""What `make` runs, without running it."""

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def make(*arguments: str, **environment: str) -> str:
    """Return what make would run, without running it."""
    clean = {key: value for key, value in os.environ.items() if key not in ("MAKEFLAGS", "MAKELEVEL", "DATA")}
    result = subprocess.run(
        ["make", "--dry-run", *arguments], cwd=ROOT, env=clean | environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.replace("\\\n", " ")


def test_study_is_the_demo_by_default_and_passes_what_it_is_given():
    command = make("study")
    assert "preset=demo" in command and "fold=1 seed=0" in command and "data_dir" not in command
    command = make("study", "PRESET=esc10", "DATA=/my data/ESC-50", "FOLD=2", "SEED=3", "CORES=4")
    for part in ("--cores 4 ", "preset=esc10", "fold=2 seed=3", r"'data_dir= '\''/my data/ESC-50'\'' '"):
        assert part in command
    assert "--forcerun book -- book" in make("book", "PRESET=tiny")


PATHS = ["/my data/x", "/it's", '/a "b"', "/a: b", "/a #1", "/{x}", "~/x", "/$$HOME", "1e5", "no", "/`ls`"]


@pytest.mark.parametrize("path", PATHS)
def test_any_folder_of_recordings_reaches_snakemake_as_it_is(path):
    from snakemake.cli import parse_config

    (command,) = [line for line in make("study", f"DATA={path}").splitlines() if " -m snakemake " in line]
    given = [word for word in shlex.split(command) if word.startswith("data_dir=")]
    assert parse_config(given) == {"data_dir": path.replace("$$", "$")}


def test_a_home_folder_that_may_not_be_written_is_replaced(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    for home in ("/proc/none", str(tmp_path)):
        command = ["make", "--no-print-directory", "--eval", "show: ; @echo $$HOME", "show"]
        shown = subprocess.run(command, cwd=tmp_path, env=os.environ | {"HOME": home}, capture_output=True, text=True)
        assert Path(shown.stdout.strip()) == (tmp_path if home == str(tmp_path) else tmp_path / ".snakemake" / "home")
        assert Path(shown.stdout.strip()).is_dir()


def test_lab_opens_for_root_too():
    assert ("--allow-root" in make("lab")) == (os.geteuid() == 0)


def test_help_lists_every_command():
    shown = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for command in ("setup", "study", "plan", "book", "test", "lint", "lab", "lock", "unlock", "clean"):
        assert f"make {command} " in shown


def test_set_up_says_which_python_is_needed_when_there_is_none(tmp_path):
    (tmp_path / "tools").mkdir()
    shutil.copy(ROOT / "tools" / "set_up.sh", tmp_path / "tools")
    command = ["sh", str(tmp_path / "tools" / "set_up.sh")]
    result = subprocess.run(command, env=os.environ | {"PYTHON": "false"}, capture_output=True, text=True)
    assert result.returncode == 1
    assert "No suitable Python found: Python 3.11, 3.12 or 3.13" in result.stderr
    assert not (tmp_path / ".venv").exists()
