"""How long the acoustic evaluation of notebook 14 takes, and how much memory, on clips that are made for it.

`python -m envsound.studies.speed.evaluation` makes 2 x 400 seeded clips of coloured noise in a temporary folder,
measures and compares them, with an empty cache and again with a full one, and prints what it took. Nothing else
should run meanwhile.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from tqdm.auto import tqdm

from envsound.base.errors import InputError, exit_code
from envsound.base.files import write_json, write_wav
from envsound.data.synthetic.blocks import amplitude
from envsound.data.synthetic.clips import ambience
from envsound.evaluation.tables import measure_clips, tables_of
from envsound.metrics.extended import PER_CLIP
from envsound.run.machine import machine_facts, usable_cores, write_record
from envsound.run.provenance import commit
from envsound.studies.speed.apart import call_apart
from envsound.studies.speed.memory import PeakMemory

OUT = "data/runs/evaluation_speed"
NAME = "evaluation_speed"
RATES = {"real": 44_100, "generated": 24_000}  # Hz, as recordings of ESC-50 and clips of a model are stored
TARGET_S, TARGET_CORES = 60.0, 2  # of 2 x 400 clips of 5 s, with an empty cache
SMALL = 4  # times fewer clips a side in the first measurement of memory
Apart = Callable[..., dict[str, Any]]


@dataclass(frozen=True)
class Task:
    """What is evaluated: n clips a side of so many seconds and classes, with so many resamples."""

    n_clips: int = 400
    seconds: float = 5.0
    n_classes: int = 50
    n_resamples: int = 1000


def make_clips(folder: str | Path, task: Task, seed: int = 0) -> None:
    """Write <side>/<number>.wav for both sides: noise of random colour and level whose loudness turns now and then."""
    for side, rate in RATES.items():
        n_samples = round(task.seconds * rate)
        for number in tqdm(range(task.n_clips), desc=f"making {side}", unit="clip", leave=False):
            rng = np.random.default_rng([seed, rate, number])
            turns = np.interp(np.linspace(0, 1, n_samples), np.linspace(0, 1, 12), rng.uniform(0.1, 1, 12))
            clip = amplitude(rng.uniform(-40, -20)) * turns * ambience(rng, n_samples, rate)
            write_wav(Path(folder) / side / f"{number:04d}.wav", clip, rate)


def clip_table(folder: str | Path, task: Task) -> pd.DataFrame:
    """Return the first n_clips of each side, as `evaluation_report.gather_clips` would."""
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
    tables_of(clips, 0, size.n_resamples)
    ended = time.perf_counter()
    if (clips["problem"] != "").any():
        raise InputError(clips.loc[clips["problem"] != "", "problem"].iloc[0])
    times = {"measure_s": measured - started, "tables_s": ended - measured, "seconds": ended - started}
    times["cpu_s"] = sum(os.times()[:4]) - used
    return times | {"peak_mib": memory.added_mib(), "sample_rate_hz": rate}


def benchmark(
    out_dir: str | Path = OUT,
    n_jobs: int = 0,
    task: Task | None = None,
    seed: int = 0,
    on_line: Callable[[str], None] = print,
    apart: Apart | None = None,
) -> dict[str, Any]:
    """Run the benchmark, write `out_dir`/evaluation_speed.json and its record, and return what the json holds.

    n_jobs: processes that measure; 0 takes all cores. Every evaluation runs in a process of its own. The json has the
    machine (`machine.machine_facts`), commit, task, n_jobs, n_metrics; cold and warm, as `evaluate_once` returns them,
    with the cache empty and full; memory: n_clips a side and peak_mib, measured with one job and an empty cache, for a
    quarter of the clips and for all; target_s, target_cores, and met, None for another task or number of processes than
    the target is for. Raises InputError when n_jobs is negative or there are fewer than four clips.
    """
    task, n_jobs = task or Task(), n_jobs or usable_cores()
    if n_jobs < 1 or task.n_clips < SMALL:
        raise InputError(f"n_jobs={n_jobs}, n_clips={task.n_clips}: expected at least 1 process and {SMALL} clips")
    run, code = apart or partial(call_apart, "envsound.studies.speed.evaluation:evaluate_once"), commit()
    cpu = torch.device("cpu")
    result = machine_facts(cpu) | {"commit": code, "task": asdict(task), "n_jobs": n_jobs, "n_metrics": len(PER_CLIP)}
    on_line(f"{result['machine']}: 2 x {task.n_clips} clips of {task.seconds:g} s, {n_jobs} processes")
    with tempfile.TemporaryDirectory() as place:
        make_clips(place, task, seed)
        for state in ("cold", "warm"):
            result[state] = run(folder=place, cache_dir=f"{place}/cache", n_jobs=n_jobs, task=asdict(task))
            on_line(time_line(state, result[state]))
        result["memory"] = []
        for n_clips in (task.n_clips // SMALL, task.n_clips):
            part = replace(task, n_clips=n_clips)
            found = run(folder=place, cache_dir=f"{place}/cache{n_clips}", n_jobs=1, task=asdict(part))
            result["memory"].append({"n_clips": n_clips, "peak_mib": found["peak_mib"]})
            on_line(f"peak memory of one process, {n_clips} clips a side: {found['peak_mib']:.0f} MiB")
    result |= verdict(result, task)
    on_line(f"target {TARGET_S:g} s on {TARGET_CORES} cores: {VERDICTS[result['met']]}")
    write_json(Path(out_dir) / f"{NAME}.json", result)
    write_record(out_dir, NAME, {"n_jobs": n_jobs, "seed": seed, **asdict(task)}, cpu, code)
    return result


VERDICTS = {True: "met", False: "not met", None: "set for another task or number of processes"}


def verdict(result: dict[str, Any], task: Task) -> dict[str, Any]:
    """Return target_s, target_cores and met."""
    met = result["cold"]["seconds"] < TARGET_S if task == Task() and result["n_jobs"] == TARGET_CORES else None
    return {"target_s": TARGET_S, "target_cores": TARGET_CORES, "met": met}


def time_line(state: str, found: dict[str, Any]) -> str:
    """Return one printed line: an evaluation's time and its parts."""
    parts = f"{found['measure_s']:.1f} s measuring, {found['tables_s']:.1f} s comparing, {found['cpu_s']:.1f} s of CPU"
    return f"{state:5}{found['seconds']:7.1f} s: {parts}, at {found['sample_rate_hz']} Hz"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line; returns the exit status."""
    words = __doc__.splitlines()[0]
    parser = argparse.ArgumentParser(prog="python -m envsound.studies.speed.evaluation", description=words)
    parser.add_argument("--clips", type=int, default=Task.n_clips, help="clips a side")
    parser.add_argument("--seconds", type=float, default=Task.seconds, help="length of a clip")
    parser.add_argument("--jobs", type=int, default=0, help="processes that measure; 0 takes all cores")
    parser.add_argument("--out", default=OUT, help=f"folder for {NAME}.json")
    options = parser.parse_args(arguments)
    task, show = Task(options.clips, options.seconds), partial(print, flush=True)
    return exit_code(
        lambda: benchmark(options.out, options.jobs, task, on_line=show), f"Written to {options.out}/{NAME}.json"
    )


if __name__ == "__main__":
    sys.exit(main())
