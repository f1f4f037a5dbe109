"""One store for what is computed once: each value is kept in a file that is named after all that it depends on."""

import json
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from envsound.base.errors import InputError
from envsound.base.files import atomic_path, read_json, sha256_bytes, write_json

FOLDER = Path("data/cache")
Value = TypeVar("Value")


@dataclass(frozen=True)
class Format:
    """How a value lies in its file: the suffix, and what reads and writes it.

    `read` raises OSError, ValueError, EOFError or InputError for a file that is missing or damaged.
    """

    suffix: str
    read: Callable[[Path], Any]
    write: Callable[[Path, Any], None]


def key(*parts: Any) -> str:
    """Return 64 hexadecimal digits that change with any of `parts`, which json can write."""
    return sha256_bytes(json.dumps(parts).encode())


def clip_key(clip: np.ndarray) -> str:
    """Return 64 hexadecimal digits that change with the samples of a clip, float [n_samples]."""
    return sha256_bytes(np.asarray(clip, dtype=np.float32).tobytes())


def version_of(package: str) -> str:
    """Return the version of an installed package, or "absent"."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "absent"


def libraries(*packages: str) -> str:
    """Return installed packages with their versions, such as "numpy 2.4.6, torch absent"; a part of many keys."""
    return ", ".join(f"{package} {version_of(package)}" for package in packages)


def stored(file: Path, form: Format) -> Any | None:
    """Return what a file of the store holds; None when it is missing, or damaged, of which a line warns."""
    if not file.is_file():
        return None
    try:
        return form.read(file)
    except (OSError, ValueError, EOFError, InputError) as error:
        warn_of_damage(file, error)
        return None


def warn_of_damage(file: str | Path, error: Exception) -> None:
    """Warn that a file which an earlier call left is damaged, and that its content is made anew."""
    reason = " ".join(str(error).split()) or type(error).__name__
    warnings.warn(f"{file}: damaged ({reason}); made again", stacklevel=3)


def kept(folder: str | Path, parts: list[Any], make: Callable[[], Value], form: Format) -> Value:
    """Return the value that depends on `parts` and nothing else: from `folder`, or made by `make` and kept there.

    A file that cannot be read is made anew. Nothing has to be thrown away when something changes: the name differs.
    """
    file = Path(folder) / f"{key(*parts)}{form.suffix}"
    value = stored(file, form)
    if value is None:
        value = make()
        form.write(file, value)
    return value


def kept_all(
    folder: str | Path, parts: Sequence[list[Any]], make: Callable[[list[int]], Iterable[Value]], form: Format
) -> list[Value]:
    """Return the values that depend on each of `parts`, as `kept` does for one.

    make: gets the places of those that are missing, each value once, and yields them in that order; each is kept as
    soon as it is there.
    """
    files = [Path(folder) / f"{key(*one)}{form.suffix}" for one in parts]
    place = {file: number for number, file in enumerate(files)}
    values = {file: stored(file, form) for file in place}
    missing = [file for file in place if values[file] is None]
    for file, value in zip(missing, make([place[file] for file in missing]) if missing else (), strict=True):
        form.write(file, value)
        values[file] = value
    return [values[file] for file in files]


def _write_array(file: Path, array: np.ndarray) -> None:
    with atomic_path(file) as temporary:
        np.save(temporary, array, allow_pickle=False)


def _read_checked(file: Path) -> Any:
    """Read a value that `_write_checked` wrote. Raises ValueError when it is not as it was written."""
    found = read_json(file)
    if not isinstance(found, dict) or found.get("sha256") != key(found.get("value")):
        raise ValueError("its checksum does not match")
    return found["value"]


def _write_checked(file: Path, value: Any) -> None:
    write_json(file, {"value": value, "sha256": key(value)})


ARRAY = Format(".npy", lambda file: np.load(file, allow_pickle=False), _write_array)
JSON = Format(".json", _read_checked, _write_checked)
