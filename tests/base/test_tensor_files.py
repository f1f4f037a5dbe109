"""Tensors with a header: equal content makes equal files, and another kind of file is not taken for one's own."""

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from envsound.base.tensors import read_header, read_tensors, write_tensors

TENSORS = {"b": torch.arange(6).reshape(2, 3).T, "a": torch.ones(2, dtype=torch.float16)}
HEADER = {"shape": {"width": 3, "rates": [1, 2]}, "name": "x"}


def test_what_was_written_comes_back(tmp_path):
    write_tensors(tmp_path / "file", TENSORS, "model", HEADER)
    tensors, header = read_tensors(tmp_path / "file", "model")
    assert header == HEADER == read_header(tmp_path / "file", "model")
    assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)


def test_equal_content_makes_equal_files(tmp_path):
    """Several metadata entries would come out in another order about every second time."""
    for number in range(20):
        write_tensors(tmp_path / str(number), TENSORS, "model", dict(reversed(HEADER.items())))
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1


def test_other_files_are_refused(tmp_path):
    write_tensors(tmp_path / "file", TENSORS, "codec", HEADER)
    with pytest.raises(KeyError):
        read_tensors(tmp_path / "file", "model")
    for text in ("[1]", "not json"):
        save_file({"a": TENSORS["a"]}, tmp_path / "file", metadata={"model": text})
        with pytest.raises(ValueError, match=r"header|Expecting"):
            read_tensors(tmp_path / "file", "model")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SafetensorError):
        read_header(tmp_path / "file", "model")
    with pytest.raises(OSError, match="gone"):
        read_tensors(tmp_path / "gone", "model")
