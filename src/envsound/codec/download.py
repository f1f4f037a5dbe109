"""Downloading one file of known SHA-256, resuming where a dropped connection or a stopped run left off."""

import os
import time
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from filelock import FileLock
from tqdm.auto import tqdm

from envsound.base.errors import InputError
from envsound.base.files import sha256_file

RETRY_SECONDS = 1.0  # s before the second try; doubles from try to try
TIMEOUT_SECONDS = 30.0  # s without a byte before a connection counts as dropped
PIECE_BYTES = 1 << 17


class _Dropped(Exception):
    """The connection ended before the server had sent what it announced."""


def download(url: str, path: str | Path, sha256: str, progress: bool = True, attempts: int = 4) -> Path:
    """Download `url` to `path` unless it is already there with this SHA-256 (64 hex digits); return the path.

    The bytes go to `path` + ".part", which outlives a dropped connection or a killed process and is continued
    by an HTTP Range request (RFC 9110, section 14); a server that ignores Range is read again from the
    start. The file is checked and only then renamed, so `path` is whole or absent; a corrupt download is
    deleted. Several processes may ask for the same file at once: one downloads, the others wait. `attempts`
    bounds the tries in a row that bring no new bytes.
    Raises InputError naming url and path when the server cannot be reached, refuses, or sends something else.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(path.name + ".lock")):
        if path.exists() and sha256_file(path) == sha256:
            return path
        part = path.with_name(path.name + ".part")
        left_over = part.exists()
        _fetch_all(url, part, path, progress, attempts)
        if sha256_file(part) != sha256 and left_over:  # what an earlier run left may be what is wrong
            part.unlink()
            _fetch_all(url, part, path, progress, attempts)
        _check(url, part, path, sha256)
        os.replace(part, path)
    return path


def _fetch_all(url: str, part: Path, path: Path, progress: bool, attempts: int) -> None:
    """Fetch until `part` is as long as the server announces, or `attempts` tries in a row brought nothing."""
    most, failures = _size(part), 0
    while True:
        try:
            return _fetch(url, part, path.name, progress)
        except (OSError, HTTPException, _Dropped) as error:
            if _size(part) > most:
                most, failures = _size(part), 0
            failures += 1
            if failures >= attempts or _refused(error):
                raise InputError(
                    f"download of {url} to {path} failed ({type(error).__name__}: {error}); expected a complete file"
                ) from error
            time.sleep(RETRY_SECONDS * 2 ** (failures - 1))


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _refused(error: Exception) -> bool:
    """Return whether a server's answer is final (404, 403, ...), so that asking again is of no use."""
    return isinstance(error, HTTPError) and 400 <= error.code < 500 and error.code not in (408, 429)


def _fetch(url: str, part: Path, name: str, progress: bool) -> None:
    """Request the bytes that `part` lacks, once, and append them. Raises _Dropped when some are missing."""
    start = _size(part)
    headers = {"User-Agent": "envsound"} | ({"Range": f"bytes={start}-"} if start else {})
    try:
        response = urlopen(Request(url, headers=headers), timeout=TIMEOUT_SECONDS)
    except HTTPError as error:
        if error.code == 416 and start:  # nothing after `start`: complete, or another file (the check tells)
            return
        raise
    with response:
        resumed = response.headers.get("Content-Range", "").startswith(f"bytes {start}-")
        if response.status != 206 or not resumed:
            start = 0
        length = response.headers["Content-Length"]
        total = None if length is None else start + int(length)
        _copy(response, part, start, total, name, progress)
    if total is not None and _size(part) < total:
        raise _Dropped(f"the connection ended after {_size(part)} of {total} bytes")


def _copy(response: HTTPResponse, part: Path, start: int, total: int | None, name: str, progress: bool) -> None:
    bar = tqdm(total=total, initial=start, unit="B", unit_scale=True, desc=name, disable=not progress)
    with open(part, "ab" if start else "wb") as stream, bar:
        while piece := response.read1(PIECE_BYTES):
            stream.write(piece)
            bar.update(len(piece))


def _check(url: str, part: Path, path: Path, sha256: str) -> None:
    """Delete `part` and raise InputError unless it has the expected SHA-256."""
    actual, size = sha256_file(part), _size(part)
    if actual != sha256:
        part.unlink()
        raise InputError(
            f"download of {url} to {path}: the {size} bytes received have SHA-256 {actual}; "
            f"expected {sha256} (the corrupt download was deleted)"
        )
