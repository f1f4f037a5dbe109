"""Safetensors files with a header, for codes, codecs, models and listeners; states that a training goes on from."""

import io
import json
import pickle
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import safe_open
from torch import Tensor

from envsound.base.cache import warn_of_damage
from envsound.base.files import atomic_path, sha256_bytes, sha256_file

DIGITS = 64  # of the checksum at the end of a state


def tensor_bytes(tensors: dict[str, Tensor], kind: str, header: dict[str, Any]) -> bytes:
    """Return the file's content: equal tensors and headers give equal bytes, so that a file is known by its hash.

    The header is one metadata entry, named after the kind of file: safetensors writes several in no fixed order.
    """
    return safetensors.torch.save(
        {name: value.detach().cpu().contiguous() for name, value in tensors.items()},
        metadata={kind: json.dumps(header, sort_keys=True)},
    )


def write_tensors(path: str | Path, tensors: dict[str, Tensor], kind: str, header: dict[str, Any]) -> None:
    """Write tensors with their header, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(tensor_bytes(tensors, kind, header))


def read_header(path: str | Path, kind: str) -> dict[str, Any]:
    """Return the header alone. Raises what `read_tensors` raises."""
    with safe_open(path, framework="pt") as stream:
        return _header(stream.metadata() or {}, kind)


def read_tensors(path: str | Path, kind: str, device: str = "cpu") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return tensors and header of a file that `write_tensors` wrote.

    Raises OSError or SafetensorError for a file that is missing or damaged; KeyError for another kind of file and
    ValueError for a header that is not JSON. Callers name the file and say what was expected.
    """
    with safe_open(path, framework="pt", device=device) as stream:
        metadata = stream.metadata() or {}
        tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
    return tensors, _header(metadata, kind)


def _header(metadata: dict[str, str], kind: str) -> dict[str, Any]:
    header = json.loads(metadata[kind])
    if not isinstance(header, dict):
        raise ValueError(f"its {kind} header is not a table of names and values")
    return header


def save_state(path: str | Path, state: dict[str, Any]) -> None:
    """Write what a training needs to go on, with its checksum, atomically."""
    with atomic_path(path) as temporary:
        torch.save(state, temporary)
        digest = sha256_file(temporary)
        with temporary.open("ab") as stream:
            stream.write(digest.encode())


def load_state(path: str | Path, device: str | torch.device = "cpu") -> dict[str, Any] | None:
    """Return what `save_state` wrote; None where there is nothing, or something damaged, of which a line warns."""
    if not Path(path).is_file():
        return None
    content = Path(path).read_bytes()
    try:
        if sha256_bytes(content[:-DIGITS]).encode() != content[-DIGITS:]:
            raise ValueError("its checksum does not match")
        return torch.load(io.BytesIO(content[:-DIGITS]), map_location=device, weights_only=True)
    except (ValueError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        warn_of_damage(path, error)
        return None
