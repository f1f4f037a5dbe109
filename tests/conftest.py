"""Fixtures that several test files use."""

import pytest
import torch


@pytest.fixture
def root(tmp_path, monkeypatch):
    """An empty repository, as the working directory."""
    (tmp_path / "notebooks" / "presets").mkdir(parents=True)
    (tmp_path / "book").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def own_random_state():
    """Leave torch's random state as it was before the test."""
    with torch.random.fork_rng():
        yield
