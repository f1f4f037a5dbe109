"""Fixtures that several test files use."""

import os
import shutil
from pathlib import Path

import pytest
import torch
from fakes.browser import FLAGS, unavailable

from envsound.book.printing import BROWSERS


@pytest.fixture
def root(tmp_path, monkeypatch):
    """An empty repository, as the working directory."""
    (tmp_path / "notebooks" / "presets").mkdir(parents=True)
    (tmp_path / "book").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def cases():
    """The folder of small files that others met faults with: cases/, beside the folder of real recordings."""
    folders = [folder / "cases" for folder in Path(os.environ.get("ENVSOUND_DATA") or "nowhere").parents]
    found = next((folder for folder in folders if folder.is_dir()), None)
    return found or pytest.skip("no such files: set ENVSOUND_DATA to a folder of recordings with cases/ beside it")


@pytest.fixture
def own_random_state():
    """Leave torch's random state as it was before the test."""
    with torch.random.fork_rng():
        yield


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium."""
    executable = next((path for path in map(shutil.which, BROWSERS) if path), None)
    if executable is None:
        unavailable(f"no browser was found (looked for {', '.join(BROWSERS)})")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=executable, args=FLAGS)
        yield chromium
        chromium.close()
