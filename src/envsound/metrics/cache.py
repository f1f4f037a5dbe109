"""Every metric of many audio files: measured once per file, rate and code, several files at a time, and kept."""

import json
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import pandas as pd
import scipy
from tqdm.auto import tqdm

from envsound.base.errors import InputError
from envsound.base.files import read_json, sha256_bytes, sha256_file, write_json
from envsound.data.audio import RESAMPLER, BadClip, read_clip
from envsound.metrics.extended import PER_CLIP, measure
from envsound.run.identity import module_hash

CACHE = Path("data/cache/metrics")
LIBRARIES = f"numpy {np.__version__}, scipy {scipy.__version__}, librosa {librosa.__version__}"
CHUNK = 4  # files handed to a process at a time


@dataclass(frozen=True)
class Request:
    """What is done to every file: the rate in Hz it is brought to, and the length in s it is cut to (0: whole)."""

    sample_rate: int
    max_seconds: float = 0


def measure_files(
    paths: Sequence[str | Path], request: Request, cache_dir: str | Path = CACHE, n_jobs: int = 1
) -> pd.DataFrame:
    """Return every metric of PER_CLIP for audio files: columns path, the metrics, and problem, one row for each path.

    A file that cannot be read or measured has NaN metrics and its `problem`, "path: reason"; else that is "". Values
    are kept in `cache_dir`, one file for each, named after all that they depend on (`cache_key`); equal files are
    measured once.
    `n_jobs` processes measure what is missing; each holds one clip at a time, whatever the number of files.
    Raises InputError when n_jobs is below 1.
    """
    if n_jobs < 1:
        raise InputError(f"n_jobs={n_jobs}: expected at least one process")
    code = module_hash("envsound.metrics.extended")
    kept = [_kept_as(path, request, code, cache_dir) for path in paths]
    missing = {file: path for path, file in zip(paths, kept, strict=True) if file is not None and not _is_whole(file)}
    with tqdm(total=len(paths), initial=len(paths) - len(missing), desc="measuring clips", unit="clip") as bar:
        for _ in _each(list(missing.items()), request, n_jobs):
            bar.update()
    rows = [_row(path, file) for path, file in zip(paths, kept, strict=True)]
    return pd.DataFrame(rows, columns=["path", *PER_CLIP, "problem"])


def cache_key(sha256: str, request: Request, code: str) -> str:
    """Return 64 hexadecimal digits that change with anything a file's metrics depend on.

    These are its bytes (`sha256`), the rate and length it is brought to and how, the code that measures (`code`, the
    hash of the modules), and the versions of the libraries it calls.
    """
    parts = [sha256, int(request.sample_rate), float(request.max_seconds), RESAMPLER, LIBRARIES, code]
    return sha256_bytes(json.dumps(parts).encode())


def measure_file(path: str | Path, request: Request) -> dict[str, Any]:
    """Return the metrics of one file and the `reason` for having none, without the path: equal files share both."""
    try:
        values = measure(read_clip(path, request.sample_rate, request.max_seconds or None), request.sample_rate)
    except InputError as error:
        reason = error.reason if isinstance(error, BadClip) else str(error)
        return {name: None for name in PER_CLIP} | {"reason": reason}
    return {name: None if np.isnan(value) else value for name, value in values.items()} | {"reason": ""}


def _kept_as(path: str | Path, request: Request, code: str, cache_dir: str | Path) -> Path | None:
    """Return the cache file of a path; None when there is nothing to hash."""
    try:
        return Path(cache_dir) / f"{cache_key(sha256_file(path), request, code)}.json"
    except OSError:
        return None


def _is_whole(file: Path) -> bool:
    """Say whether a cache file is there and holds what is asked of it; any other is measured again."""
    try:
        return set(read_json(file)) == {*PER_CLIP, "reason"}
    except (InputError, TypeError):
        return False


def _each(missing: list[tuple[Path, str | Path]], request: Request, n_jobs: int) -> Iterator[None]:
    """Measure files and keep their metrics, yielding after each.

    New processes are started afresh: a copy of this one would inherit torch's threads, and may wait for them forever.
    """
    work = partial(_measure_and_keep, request=request)
    if min(n_jobs, len(missing)) <= 1:
        yield from map(work, missing)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(n_jobs, len(missing)), mp_context=context) as pool:
        yield from pool.map(work, missing, chunksize=CHUNK)


def _measure_and_keep(job: tuple[Path, str | Path], request: Request) -> None:
    file, path = job
    write_json(file, measure_file(path, request))


def _row(path: str | Path, file: Path | None) -> dict[str, Any]:
    found = {"reason": "no such file, or it may not be opened"} if file is None else read_json(file)
    values = {name: np.nan if found.get(name) is None else found[name] for name in PER_CLIP}
    return {"path": str(path), **values, "problem": f"{path}: {found['reason']}" if found["reason"] else ""}
