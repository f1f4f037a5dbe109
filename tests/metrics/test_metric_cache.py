"""Metrics of files: what is measured again, what is not, and what a file that cannot be read leaves."""

import numpy as np
import pytest

from envsound.base.errors import InputError
from envsound.base.files import write_wav
from envsound.data.audio import read_clip
from envsound.metrics.acoustic import cache
from envsound.metrics.cache import Request, cache_key, measure_files
from envsound.metrics.extended import PER_CLIP, measure

RATE = 24_000
REQUEST = Request(RATE)


@pytest.fixture
def files(tmp_path):
    paths = [tmp_path / f"{number}.wav" for number in range(3)]
    for number, path in enumerate(paths):
        write_wav(path, np.random.default_rng(number).normal(0, 0.1, 4800), RATE)
    return paths


@pytest.fixture
def measured(monkeypatch):
    """The files that were measured, in order."""
    seen, real = [], cache.measure_file
    monkeypatch.setattr(
        cache, "measure_file", lambda path, request: (seen.append(path.name), real(path, request))[1]
    )
    return seen


def test_rows_are_what_the_metrics_give_in_the_order_of_the_files(files, tmp_path):
    table = measure_files(files[::-1], REQUEST, tmp_path / "cache")
    assert list(table.columns) == ["path", *PER_CLIP, "problem"]
    assert list(table["path"]) == [str(path) for path in files[::-1]]
    for path, row in zip(files[::-1], table.to_dict("records"), strict=True):
        expected = measure(read_clip(path, RATE), RATE)
        assert [row[name] for name in PER_CLIP] == pytest.approx(list(expected.values()), nan_ok=True, abs=0)


def test_a_file_is_measured_once_and_again_when_its_bytes_change(files, tmp_path, measured):
    first = measure_files([*files, files[0]], REQUEST, tmp_path / "cache")
    again = measure_files([*files, files[0]], REQUEST, tmp_path / "cache")
    assert measured == ["0.wav", "1.wav", "2.wav"]
    assert first.equals(again)
    files[1].write_bytes(files[2].read_bytes())
    changed = measure_files(files, REQUEST, tmp_path / "cache")
    assert len(measured) == 3  # the bytes of file 2 are known
    assert changed["rms"].iloc[1] == changed["rms"].iloc[2]


def test_a_key_changes_with_file_rate_length_and_code():
    keys = {
        cache_key(sha, Request(rate, seconds), code)
        for sha in ("a", "b")
        for rate in (16_000, RATE)
        for seconds in (0, 5)
        for code in ("x", "y")
    }
    assert len(keys) == 16


def test_another_rate_or_length_is_measured_anew(files, tmp_path, measured):
    for request in (REQUEST, Request(16_000), Request(RATE, 0.1)):
        table = measure_files(files[:1], request, tmp_path / "cache")
    assert len(measured) == 3
    assert table["duration_s"].iloc[0] == pytest.approx(0.1)


@pytest.mark.parametrize("content", ["", "{", "[]", "3", '{"rms": 1}'])
def test_a_damaged_cache_file_is_made_again(files, tmp_path, measured, content):
    first = measure_files(files[:1], REQUEST, tmp_path / "cache")
    (kept,) = (tmp_path / "cache").iterdir()
    kept.write_text(content)
    assert measure_files(files[:1], REQUEST, tmp_path / "cache").equals(first)
    assert len(measured) == 2


def test_a_file_that_cannot_be_measured_has_its_problem_in_words(files, tmp_path):
    (tmp_path / "bad.wav").write_bytes(b"RIFF")
    table = measure_files([tmp_path / "bad.wav", files[0], tmp_path / "gone.wav"], REQUEST, tmp_path / "cache")
    assert table[list(PER_CLIP)].iloc[[0, 2]].isna().all(axis=None)
    assert "bad.wav" in table["problem"].iloc[0] and "no such file" in table["problem"].iloc[2]
    assert table["problem"].iloc[1] == ""


def test_silence_comes_back_from_the_cache_as_undefined(tmp_path):
    write_wav(tmp_path / "silent.wav", np.zeros(4800), RATE)
    for _ in range(2):
        row = measure_files([tmp_path / "silent.wav"], REQUEST, tmp_path / "cache").iloc[0]
        assert np.isnan(row["spectral_flux"]) and row["rms"] == 0 and row["problem"] == ""


def test_several_processes_give_the_same_table(files, tmp_path):
    alone, together = (measure_files(files, REQUEST, tmp_path / f"cache{n}", n_jobs=n) for n in (1, 2))
    assert alone.equals(together)
    with pytest.raises(InputError, match="n_jobs=0"):
        measure_files(files, REQUEST, tmp_path, n_jobs=0)
