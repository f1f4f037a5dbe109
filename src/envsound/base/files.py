"""Files that are either whole or not there: hashing, atomic writes, and paths that stay inside a folder."""

import hashlib
import json
import os
import platform
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from envsound.base.errors import InputError

STEM = 40  # letters of a file's name that its temporary file shows
TEXT_COLUMNS = ("clip_id", "clip", "filename", "path", "codes_file", "category", "reason", "note")
TEXT_COLUMNS += ("original", "codec", "opus", "nearest_category", "like")


def sha256_bytes(data: bytes) -> str:
    """Return the SHA-256 of `data` as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: str | Path) -> str:
    """Return the SHA-256 of a file's content as 64 hexadecimal digits, read in pieces."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` on success, delete it on any error.

    What is renamed is on the disk already. Temporary files of processes that were killed are deleted. Raises InputError
    for a folder that nothing can be written in.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path.parent.absolute(), os.getpid())
        handle, name = tempfile.mkstemp(path.suffix, f"{_mark()}{os.getpid()}-{path.stem[:STEM]}-", path.parent)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); expected a folder that may be") from None
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # mkstemp makes files private; results are meant to be shared
        with temporary.open("rb") as written:
            os.fsync(written.fileno())  # else a machine that stops may leave the name without the content
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@cache
def _mark() -> str:
    """Return how names of temporary files begin that processes of this machine, or of this container, make."""
    namespace = Path("/proc/self/ns/pid")
    place = f"{platform.node()} {os.readlink(namespace) if namespace.is_symlink() else ''}"
    return f".tmp-{sha256_bytes(place.encode())[:8]}-"


@cache
def _sweep(folder: Path, process: int) -> None:
    """Delete the temporary files in a folder whose processes are no more; once for each folder and process."""
    for path in folder.glob(f"{_mark()}*"):
        maker = path.name.removeprefix(_mark()).partition("-")[0]
        if maker.isdecimal() and not _is_running(int(maker)):
            path.unlink(missing_ok=True)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # somebody else's
        return True
    return True


def visible(folder: str | Path, pattern: str) -> list[Path]:
    """Return the paths below a folder that match a pattern, sorted, but for hidden ones and what is in hidden folders.

    Those are no data: temporary files of a step that was killed, what editors and Jupyter keep, what systems add.
    """
    paths = sorted(Path(folder).glob(pattern))
    return [path for path in paths if not any(part.startswith(".") for part in path.relative_to(folder).parts)]


def remove_written(folder: str | Path, names: Iterable[str]) -> None:
    """Delete the files in a folder that an earlier call has written, by their names; others stay.

    Raises InputError when the folder is a link, behind which may be anybody's files.
    """
    if Path(folder).is_symlink():
        raise InputError(f"{folder}: is a link; expected a folder of its own for what is written and replaced there")
    for name in names:
        path = inside(folder, name)
        if path.is_file():
            path.unlink()


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
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError as error:  # wrong JSON, or no text
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


def write_ogg(path: str | Path, clip: np.ndarray, sample_rate: int) -> None:
    """Write a mono clip, float [n_samples], as Ogg Vorbis, atomically."""
    import soundfile  # see `write_wav`

    with atomic_path(path) as temporary:
        soundfile.write(temporary, clip, sample_rate, subtype="VORBIS", format="OGG")


def inside(folder: str | Path, name: str) -> Path:
    """Return `folder / name`, where `name` comes from an untrusted table.

    Raises InputError when the result would lie outside `folder` (absolute names, `..`, symbolic links).
    """
    root = Path(folder).resolve()
    path = root if "\0" in name else (root / name).resolve()
    if not path.is_relative_to(root) or path == root:
        raise InputError(f"file name {name!r}: leads outside {folder}; expected a name inside that folder")
    return path
