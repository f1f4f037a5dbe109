"""Files that are either whole or not there: hashing, atomic writes, and paths that stay inside a folder."""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from envsound.base.errors import InputError

TEXT_COLUMNS = ("clip_id", "clip", "filename", "path", "codes_file", "category", "reason", "note")


def sha256_bytes(data: bytes) -> str:
    """Return the SHA-256 of `data` as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: str | Path) -> str:
    """Return the SHA-256 of a file's content as 64 hexadecimal digits, read in pieces."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` on success, delete it on any error."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # mkstemp makes files private; results are meant to be shared
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    write_text(path, json.dumps(value, indent=2, default=str) + "\n")


def read_json(path: str | Path) -> Any:
    """Read a JSON file. Raises InputError naming the file when it is missing or not JSON."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: not valid JSON ({error})") from None


def write_csv(path: str | Path, frame: pd.DataFrame) -> None:
    """Write a table without its index, atomically; floats keep enough digits to be read back exactly."""
    with atomic_path(path) as temporary:
        frame.to_csv(temporary, index=False)


def write_tables(folder: str | Path, tables: Mapping[str, pd.DataFrame]) -> None:
    """Write each table of a report as `folder`/<name>.csv, see `write_csv`."""
    for name, table in tables.items():
        write_csv(Path(folder) / f"{name}.csv", table)


def read_csv(path: str | Path) -> pd.DataFrame:
    """Read a table written by `write_csv`; empty text stays empty text, other empty cells become NaN.

    Columns named in TEXT_COLUMNS are read as text even where they look like numbers or hold nothing.
    Raises InputError when the file is missing or not a csv.
    """
    try:
        types = dict.fromkeys(TEXT_COLUMNS, str)
        frame = pd.read_csv(path, dtype=types, keep_default_na=False, na_values=[""], float_precision="round_trip")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; run the notebook that makes it first") from None
    except ValueError as error:  # pandas' parser errors and wrong encodings are ValueErrors
        raise InputError(f"{path}: not a readable csv ({error})") from None
    text = frame.select_dtypes(include=["object", "string"]).columns
    return frame.fillna(dict.fromkeys(text, ""))


def write_wav(path: str | Path, clip: np.ndarray, sample_rate: int) -> None:
    """Write a mono clip, float [n_samples], limited to [-1, 1], as 16-bit wav, atomically."""
    import soundfile  # here, so that training, which meets no sound, needs no reader of sound

    with atomic_path(path) as temporary:
        soundfile.write(temporary, np.clip(clip, -1.0, 1.0), sample_rate, subtype="PCM_16", format="WAV")


def inside(folder: str | Path, name: str) -> Path:
    """Return `folder / name`, where `name` comes from an untrusted table.

    Raises InputError when the result would lie outside `folder` (absolute names, `..`, symbolic links).
    """
    root = Path(folder).resolve()
    path = root if "\0" in name else (root / name).resolve()
    if not path.is_relative_to(root) or path == root:
        raise InputError(f"file name {name!r}: leads outside {folder}; expected a name inside that folder")
    return path
