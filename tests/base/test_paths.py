"""Where the study keeps its own where the home folder may not be written."""

import os
from pathlib import Path

from envsound.base.paths import home_that_may_be_written


def test_a_home_folder_that_may_not_be_written_is_replaced_and_another_left_alone(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    home_that_may_be_written()
    assert os.environ["HOME"] == str(tmp_path)
    for home in ("/proc/nowhere", str(tmp_path / "gone")):
        monkeypatch.setenv("HOME", home)
        home_that_may_be_written()
        (Path.home() / "test").write_text("written")
