"""How long the acoustic evaluation of notebook 14 takes, and how much memory, on clips that are made for it."""

import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from tqdm.auto import tqdm

from envsound.base.errors import InputError
from envsound.base.files import write_json, write_wav
from envsound.evaluation.compare import measure_clips, tables_of
from envsound.metrics.extended import PER_CLIP
from envsound.run.provenance import commit, machine_facts, usable_cores, write_record
from envsound.studies.speed.bench import PeakMemory, call_apart

NAME = "evaluation_speed"
RATES = {"real": 44_100, "generated": 24_000}  # Hz, as recordings of ESC-50 and clips of a model are stored
SMALL = 4  # times fewer clips a side in the first measurement of memory
Apart = Callable[..., dict[str, Any]]


@dataclass(frozen=True)
class Task:
    """What is evaluated: n clips a side of so many seconds and classes, with so many resamples."""

    n_clips: int = 400
    seconds: float = 5.0
    n_classes: int = 50
    n_resamples: int = 1000


def coloured_noise(rng: np.random.Generator, n_samples: int) -> np.ndarray:
    """Return noise [n_samples] of root mean square 1, white, brown (-6 dB an octave) or between, by chance."""
    spectrum = np.fft.rfft(rng.standard_normal(n_samples))
    noise = np.fft.irfft(spectrum * np.arange(1, len(spectrum) + 1) ** -rng.uniform(0, 1), n_samples)
    return noise / np.sqrt(np.mean(noise**2))


def make_clips(folder: str | Path, task: Task, seed: int = 0) -> None:
    """Write <side>/<number>.wav for both sides: noise of random colour and level whose loudness turns now and then."""
    for side, rate in RATES.items():
        n_samples = round(task.seconds * rate)
        for number in tqdm(range(task.n_clips), desc=f"making {side}", unit="clip", leave=False):
            rng = np.random.default_rng([seed, rate, number])
            turns = np.interp(np.linspace(0, 1, n_samples), np.linspace(0, 1, 12), rng.uniform(0.1, 1, 12))
            clip = 10 ** (rng.uniform(-40, -20) / 20) * turns * coloured_noise(rng, n_samples)
            write_wav(Path(folder) / side / f"{number:04d}.wav", clip, rate)


def clip_table(folder: str | Path, task: Task) -> pd.DataFrame:
    """Return the first n_clips of each side, as `measure_clips` takes them."""
    rows = [
        {"system": side, "run": "" if side == "real" else "made", "clip": f"{side}/{number:04d}.wav",
         "path": (Path(folder) / side / f"{number:04d}.wav").as_posix(),
         "category": f"class {number % task.n_classes}", "fold": 0}
        for side in RATES for number in range(task.n_clips)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def evaluate_once(folder: str, cache_dir: str, n_jobs: int, task: dict[str, Any]) -> dict[str, Any]:
    """Return measure_s, tables_s, their sum seconds, cpu_s, peak_mib and sample_rate_hz of one evaluation here.

    task: `asdict` of a Task. cpu_s: of all processes together; where the seconds times the number of processes are far
    more, something else was running. peak_mib: what this process adds to itself; with one job that is all there is.
    """
    size = Task(**task)
    memory, used, started = PeakMemory(torch.device("cpu")), sum(os.times()[:4]), time.perf_counter()
    clips, rate = measure_clips(clip_table(folder, size), size.seconds, cache_dir, n_jobs)
    measured = time.perf_counter()
    if (clips["problem"] != "").any():
        raise InputError(clips.loc[clips["problem"] != "", "problem"].iloc[0])
    tables_of(clips, 0, size.n_resamples)
    ended = time.perf_counter()
    times = {"measure_s": measured - started, "tables_s": ended - measured, "seconds": ended - started}
    times["cpu_s"] = sum(os.times()[:4]) - used
    return times | {"peak_mib": memory.added_mib(), "sample_rate_hz": rate}


def time_evaluation(
    out_dir: str | Path,
    n_jobs: int = 0,
    task: Task | None = None,
    seed: int = 0,
    on_line: Callable[[str], None] = print,
    apart: Apart | None = None,
) -> dict[str, Any]:
    """Time an evaluation, write `out_dir`/evaluation_speed.json and its record, and return what the json holds.

    n_jobs: processes that measure; 0 takes all cores. Every evaluation runs in a process of its own. The json has the
    machine (`machine_facts`), commit, task, n_jobs, n_metrics; cold and warm, as `evaluate_once` returns them,
    with the cache empty and full; memory: n_clips a side and peak_mib, measured with one job and an empty cache, for a
    quarter of the clips and for all. Raises InputError when n_jobs is negative or there are fewer than four clips.
    """
    task, n_jobs = task or Task(), n_jobs or usable_cores()
    if n_jobs < 1 or task.n_clips < SMALL:
        raise InputError(f"n_jobs={n_jobs}, n_clips={task.n_clips}: expected at least 1 process and {SMALL} clips")
    run, code, cpu = apart or partial(call_apart, evaluate_once), commit(), torch.device("cpu")
    result = machine_facts(cpu) | {"commit": code, "task": asdict(task), "n_jobs": n_jobs, "n_metrics": len(PER_CLIP)}
    on_line(f"{result['machine']}: 2 x {task.n_clips} clips of {task.seconds:g} s, {n_jobs} processes")
    with tempfile.TemporaryDirectory() as place:
        make_clips(place, task, seed)
        for state in ("cold", "warm"):
            found = run(folder=place, cache_dir=f"{place}/cache", n_jobs=n_jobs, task=asdict(task))
            on_line(f"{state}: {found['measure_s']:.1f} s measuring, {found['tables_s']:.1f} s comparing")
            result[state] = found
        result["memory"] = []
        for n_clips in (task.n_clips // SMALL, task.n_clips):
            part = replace(task, n_clips=n_clips)
            found = run(folder=place, cache_dir=f"{place}/cache{n_clips}", n_jobs=1, task=asdict(part))
            result["memory"].append({"n_clips": n_clips, "peak_mib": found["peak_mib"]})
            on_line(f"peak memory of one process, {n_clips} clips a side: {found['peak_mib']:.0f} MiB")
    write_json(Path(out_dir) / f"{NAME}.json", result)
    write_record(out_dir, NAME, {"n_jobs": n_jobs, "seed": seed, **asdict(task)}, cpu, code)
    return result
