"""Tensors with a header: equal content makes equal files, and another kind of file is not taken for one's own."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError
from safetensors.torch import save_file

from envsound.base.tensors import load_state, read_header, read_tensors, save_state, write_tensors

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


@settings(max_examples=40, deadline=None)
@given(place=st.floats(0, 0.999), cut=st.booleans())
def test_a_state_comes_back_and_any_damage_to_it_is_named_and_nothing_else_comes(tmp_path_factory, place, cut):
    path = tmp_path_factory.mktemp("state") / "state.pt"
    assert load_state(path) is None
    save_state(path, {"step": 3, "weights": TENSORS["b"]})
    found, content = load_state(path), path.read_bytes()
    assert found["step"] == 3 and torch.equal(found["weights"], TENSORS["b"])
    at = int(place * len(content))
    path.write_bytes(content[:at] if cut else content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    with pytest.warns(UserWarning, match=r"state\.pt: damaged"):
        assert load_state(path) is None
