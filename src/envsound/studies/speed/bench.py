"""Times the study's model: beside the usual implementation, and as clips, batches and the model grow.

What a process can find out about itself only once, its peak memory, is measured in a process of its own. The arithmetic
limit of a time: the operations of the model over the rate of the machine's fastest matrix product.
"""

import json
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from tqdm.auto import tqdm

from envsound.base.device import choose_device, choose_precision
from envsound.base.errors import InputError
from envsound.base.files import read_csv, write_csv, write_json
from envsound.base.text import cell
from envsound.run.provenance import commit, machine_facts, machine_name, write_record
from envsound.studies.speed.sides import (
    COMPILED,
    PRECISIONS,
    SAMPLE_BATCH,
    SAMPLE_LONG,
    SAMPLE_ONE,
    TRAIN,
    Rate,
    Side,
    Work,
    count_flops,
    make_side,
    product_rate,
    product_shapes,
    warm_up,
)
from envsound.systems.soundstorm.conformer import ModelConfig

TASKS = (TRAIN, SAMPLE_ONE, SAMPLE_BATCH, SAMPLE_LONG)
OURS_ALONE = (SAMPLE_LONG,)
PRINTED = ("ours_s", "peer_s", "ratio", "limit_s", "ours_mib", "peer_mib")
Memory = Callable[[str, str, str], float | None]  # of a side, a task and a precision, in MiB

FRAME_RATE = 75  # frames/s, of the codecs of the study
GROWING = {"sampling": SAMPLE_BATCH, "training step": TRAIN}
POINT = ["task", "clip_seconds", "batch", "n_layers"]
COLUMNS = [*POINT, "seconds", "fastest_s", "slowest_s", "peak_mib", "n_runs", "precision"]
COLUMNS += ["dim", "machine", "commit", "note"]
OUT_OF_MEMORY = "out of memory"
Measure = Callable[..., dict[str, Any]]  # `measure_point`, here or in a process of its own

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
KILLED = (-9, 137)  # what a process returns when the system ends it for want of memory
CALL = "import json, pkgutil, sys; print(json.dumps(pkgutil.resolve_name(sys.argv[1])(**json.loads(sys.argv[2]))))"


class ApartError(RuntimeError):
    """The process failed; `out_of_memory` says whether for want of memory. The message ends with its last words."""

    def __init__(self, words: str, out_of_memory: bool):
        super().__init__(words)
        self.out_of_memory = out_of_memory


def call_apart(function: Callable[..., Any], **arguments: Any) -> Any:
    """Return what a function of a module returns for keyword arguments, called in a process of its own.

    What it takes and returns must be writable as json. Raises ApartError when the process fails.
    """
    name = f"{function.__module__}:{function.__qualname__}"
    result = subprocess.run([sys.executable, "-c", CALL, name, json.dumps(arguments)], capture_output=True, text=True)
    if result.returncode:
        last = result.stderr.strip().splitlines()[-1:] or [f"exit status {result.returncode}"]
        starved = result.returncode in KILLED or "out of memory" in result.stderr or "MemoryError" in result.stderr
        raise ApartError(f"{name}: {last[0]}", starved)
    return json.loads(result.stdout.splitlines()[-1])  # a library may have printed something before


class PeakMemory:
    """Watches a device's memory from its making on; a process should make one alone.

    On CUDA what torch allocates counts, elsewhere the resident memory of the whole process.
    """

    def __init__(self, device: torch.device):
        self.device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            self.before = torch.cuda.memory_allocated(device)
        else:
            with suppress(OSError):  # where it is refused, the peak of all that came before is the baseline
                RESET.write_text("5")  # Linux: the peak is now what is resident (proc(5))
            self.before = peak_resident()

    def added_mib(self) -> float:
        """Return the peak since this was made, less what was held then, in MiB, at least 0.

        The system counts pages in lots, so that a peak may seem a little below what was held.
        """
        peak = torch.cuda.max_memory_allocated(self.device) if self.device.type == "cuda" else peak_resident()
        return max(peak - self.before, 0) / 2**20


def peak_resident() -> int:
    """Return the largest resident memory of this process so far, in bytes.

    On Linux VmHWM, not getrusage, whose figure a process takes over from the one that started it.
    """
    found = status_bytes("VmHWM")
    if found is not None:
        return found
    import resource  # not on every system

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # bytes on macOS, KiB elsewhere


def status_bytes(name: str) -> int | None:
    """Return a size of this process that Linux keeps, such as VmRSS (proc(5)), in bytes; None elsewhere."""
    found = re.search(rf"{name}:\s*(\d+) kB", STATUS.read_text()) if STATUS.exists() else None
    return int(found[1]) * 1024 if found else None


def bench(
    out_dir: str | Path,
    device: str = "auto",
    n_runs: int = 3,
    peer_folder: str | Path = "",
    compiled: bool = False,
    on_line: Callable[[str], None] = print,
    work: Work | None = None,
) -> dict[str, Any]:
    """Time the model beside the peer, write `out_dir`/bench.json and return what it holds.

    Both sides run in one process, turn by turn, on the same numbers of frames and of passes of the model. n_runs: timed
    runs of each task, after one to warm up. peer_folder: where soundstorm-pytorch was installed; "" times ours alone.
    compiled: time ours with torch.compile too. on_line gets every line of the table as soon as it is known.
    The json has the machine (see `machine_facts`), commit, work, n_parameters, passes for a clip, rates, and rows, one
    for each task and precision, and one for each task with `best`: task, precision, ours_s and peer_s (medians; with
    _runs_s all times), ratio (peer over ours), ours_mib and peer_mib (peak memory of a process that does nothing else,
    weights and optimizer included), flops, limit_s and share_of_limit (of ours); None for an absent side.
    Raises InputError for n_runs below 1 or when the peer is not where it should be.
    """
    if n_runs < 1:
        raise InputError(f"n_runs={n_runs}: expected at least 1")
    place, work, code = choose_device(device), work or Work(), commit()
    names = ["ours", *(["peer"] if peer_folder else []), *(["compiled"] if compiled else [])]
    sides = {name: make_side(name, work, place, str(peer_folder)) for name in names}
    result = machine_facts(place) | {"commit": code, "n_runs": n_runs, "work": asdict(work)}
    result["sides"] = {name: side.system.name for name, side in sides.items()}
    result["n_parameters"] = {name: side.n_parameters() for name, side in sides.items()}
    on_line(f"{result['machine']}, {result['threads']} threads, torch {result['torch']}; medians of {n_runs} runs")
    on_line(_line("task", "precision", PRINTED))
    rates = {name: product_rate(place, name, product_shapes(work, place)) for name in PRECISIONS}
    result["rates"] = {name: asdict(rate) for name, rate in rates.items()}
    result["rows"] = measure(sides, n_runs, rates, memory_apart(place, str(peer_folder), work), on_line)
    result["passes"] = {name: side.passes(SAMPLE_ONE) for name, side in sides.items() if name != "compiled"}
    write_json(Path(out_dir) / "bench.json", result)
    write_record(out_dir, "bench", {"n_runs": n_runs, "compiled": compiled}, place, code)
    return result


def _line(task: str, precision: str, cells: Sequence[str]) -> str:
    return f"{task:24} {precision:37} " + " ".join(f"{text:>9}" for text in cells)


def measure(
    sides: dict[str, Side], n_runs: int, rates: dict[str, Rate], memory: Memory, on_line: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Time every task in every precision; return rows, each also printed by `on_line` as soon as it is there."""
    rows: list[dict[str, Any]] = []
    for task in TASKS:
        # No other in another precision.
        flops = count_flops(lambda task=task: sides["ours"].run(task, "float32", stepwise=True))
        of_task: list[dict[str, Any]] = []
        for label, names in contests(task, sides).items():
            precision = label.removeprefix(COMPILED)
            runs = [lambda side=sides[name], p=precision, t=task: side.run(t, p) for name in names]
            times = dict(zip(names, turn_by_turn(runs, n_runs), strict=True))
            peaks = {name: memory(name, task, precision) for name in names}
            row = timed_row(task, label, times, peaks, flops / rates[precision].flops_per_second)
            of_task.append(row | {"flops": flops})
            on_line(_line(task, label, [cell(row[name]) for name in PRINTED]))
        rows += [*of_task, best_row(of_task)]
        on_line(_line(task, rows[-1]["precision"], [cell(rows[-1][name]) for name in PRINTED]))
    return rows


def contests(task: str, sides: dict[str, Side]) -> dict[str, list[str]]:
    """Return which sides do a task in turn, by the precision they do it in."""
    first = [name for name in ("ours", "peer") if name in sides and not (name == "peer" and task in OURS_ALONE)]
    found = dict.fromkeys(PRECISIONS, first)
    return found | ({COMPILED + name: ["compiled"] for name in PRECISIONS} if "compiled" in sides else {})


def turn_by_turn(runs: Sequence[Callable[[], None]], n_runs: int) -> list[list[float]]:
    """Return the times (s) of each of `runs`, called in turn `n_runs` times after one call to warm up."""
    for run in runs:
        run()
    times = [[seconds_of(run) for run in runs] for _ in range(n_runs)]
    return [list(column) for column in zip(*times, strict=True)]


def seconds_of(run: Callable[[], None]) -> float:
    """Return the wall time of one call."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def timed_row(
    task: str, label: str, times: dict[str, list[float]], peaks: dict[str, float | None], limit: float
) -> dict[str, Any]:
    """Return a row of the table from the times (s) and peaks (MiB) of the sides; limit: of ours, in seconds."""
    row: dict[str, Any] = {"task": task, "precision": label, "best": False}
    for column, names in (("ours", ("ours", "compiled")), ("peer", ("peer",))):
        side = next((name for name in names if name in times), None)
        row[f"{column}_s"] = statistics.median(times[side]) if side else None
        row[f"{column}_runs_s"] = times[side] if side else None
        row[f"{column}_mib"] = peaks[side] if side else None
    row["ratio"] = row["peer_s"] / row["ours_s"] if row["peer_s"] else None
    return row | {"limit_s": limit, "share_of_limit": limit / row["ours_s"]}


def best_row(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the row that sets the fastest of one side against the fastest of the other, out of one task's rows."""
    ours = min(rows, key=lambda row: row["ours_s"])
    peer = min((row for row in rows if row["peer_s"]), key=lambda row: row["peer_s"], default=None)
    row = ours | {"best": True, "ours_precision": ours["precision"], "precision": f"best: {ours['precision']}"}
    if peer:
        row["precision"] += f" against {peer['precision']}"
        row |= {name: peer[name] for name in ("peer_s", "peer_runs_s", "peer_mib")}
        row["ratio"] = row["peer_s"] / row["ours_s"]
    return row


def memory_apart(device: torch.device, peer_folder: str, work: Work) -> Memory:
    """Return what measures the peak memory (MiB) of a side, a task and a precision; None where there is too little.

    On a GPU, where torch counts what it allocates, no process of its own is needed.
    """

    def _peak(side: str, task: str, precision: str) -> float | None:
        place = {"device": str(device), "peer_folder": peer_folder, "work": asdict(work)}
        if device.type == "cuda":
            return peak_mib(side=side, task=task, precision=precision, **place)
        try:
            return call_apart(peak_mib, side=side, task=task, precision=precision, **place)
        except ApartError as error:
            if error.out_of_memory:
                return None
            raise

    return _peak


def peak_mib(side: str, task: str, precision: str, device: str, peer_folder: str, work: dict[str, Any]) -> float:
    """Return the peak memory (MiB) of making a side and doing a task once, beyond the code and what it keeps.

    work: `asdict` of a Work. Measures the process it is called in.
    """
    place, size = choose_device(device), Work(**work | {"model": ModelConfig(**work["model"])})
    warm_up(side, task, precision, size, place, peer_folder)
    memory = PeakMemory(place)
    make_side(side, size, place, peer_folder).run(task, precision)
    return memory.added_mib()


@dataclass(frozen=True)
class Sweeps:
    """What is varied, one thing at a time; the first of each is the value that the other two keep."""

    lengths: tuple[float, ...] = (5.0, 10.0, 20.0, 30.0, 60.0)  # s
    batches: tuple[int, ...] = (1, 2, 4, 8, 16)
    depths: tuple[int, ...] = (2, 4, 8, 12)  # layers

    def points(self, max_seconds: float) -> list[tuple[float, int, int]]:
        """Return (clip_seconds, batch, n_layers) of each point, clips no longer than max_seconds, none twice.

        Raises InputError when max_seconds is below the shortest clip.
        """
        length, batch, depth = self.lengths[0], self.batches[0], self.depths[0]
        if max_seconds < length:
            raise InputError(f"max_seconds={max_seconds:g}: expected at least {length:g}, the shortest clip")
        found = [(seconds, batch, depth) for seconds in self.lengths if seconds <= max_seconds]
        found += [(length, other, depth) for other in self.batches]
        found += [(length, batch, other) for other in self.depths]
        return list(dict.fromkeys(found))


def grow(
    out_dir: str | Path,
    device: str = "auto",
    n_runs: int = 3,
    max_seconds: float = 60.0,
    precision: str = "auto",
    size: ModelConfig | None = None,
    sweeps: Sweeps | None = None,
    measure: Measure | None = None,
) -> pd.DataFrame:
    """Measure what growth.csv in `out_dir` lacks, and return it (columns COLUMNS).

    Every point is measured in a process of its own and written at once: interrupted, it goes on where it was.
    n_runs: timed runs of each point, after one to warm up; seconds is their median. max_seconds: the longest clip.
    precision: float32, bfloat16, or auto, which is bfloat16 where the hardware multiplies it. size: the model, but for
    its depth. peak_mib is the peak memory of weights, optimizer and all runs. A point that does not fit into memory is
    a row without times, with a note.
    Raises InputError when growth.csv is of another machine, model, precision or number of runs.
    """
    place, size, measure = choose_device(device), size or ModelConfig(), measure or _measure_apart
    precision = _precision(precision, place)
    points = (sweeps or Sweeps()).points(max_seconds)
    common = {"n_runs": n_runs, "precision": precision, "dim": size.dim, "machine": machine_name(place)}
    table, code = Path(out_dir) / "growth.csv", commit()
    rows = _rows_before(table, common)
    known = {tuple(row[name] for name in POINT) for row in rows}
    waiting = [(task, *point) for point in points for task in GROWING if (task, *point) not in known]
    settings = {"n_runs": n_runs, "device": str(place), "precision": precision, "size": asdict(size)}
    with tqdm(total=len(points) * len(GROWING), desc="growth", unit="point") as bar:
        bar.update(bar.total - len(waiting))
        for point in waiting:
            named = dict(zip(POINT, point, strict=True))
            bar.set_postfix_str(f"{point[0]}, {point[1]:g} s x {point[2]}, {point[3]} layers")
            rows.append(named | _measured(measure, **named, **settings) | common | {"commit": code})
            write_csv(table, pd.DataFrame(rows, columns=COLUMNS))
            bar.update()
    write_record(out_dir, "growth", {"n_runs": n_runs, "precision": precision, "max_seconds": max_seconds}, place, code)
    return pd.DataFrame(rows, columns=COLUMNS)


def measure_point(
    task: str,
    clip_seconds: float,
    batch: int,
    n_layers: int,
    n_runs: int,
    device: str,
    precision: str,
    size: dict[str, Any],
) -> dict[str, Any]:
    """Return seconds (median), fastest_s, slowest_s and peak_mib of one point, measured in this process.

    size: `asdict` of a ModelConfig.
    """
    place = choose_device(device)
    model = replace(ModelConfig(**size), n_layers=n_layers)
    work = Work(n_frames=max(1, round(clip_seconds * FRAME_RATE)), batch=batch, model=model)
    warm_up("ours", GROWING[task], precision, work, place)
    memory = PeakMemory(place)
    side = make_side("ours", work, place)
    [times] = turn_by_turn([lambda: side.run(GROWING[task], precision)], n_runs)
    found = {"seconds": statistics.median(times), "fastest_s": min(times), "slowest_s": max(times)}
    return found | {"peak_mib": memory.added_mib()}


def _measure_apart(**point: Any) -> dict[str, Any]:
    return call_apart(measure_point, **point)


def _measured(measure: Measure, **point: Any) -> dict[str, Any]:
    try:
        return measure(**point) | {"note": ""}
    except ApartError as error:
        if error.out_of_memory:
            return {"note": OUT_OF_MEMORY}
        raise


def _precision(name: str, device: Any) -> str:
    if name == "auto":
        return "bfloat16" if choose_precision("auto", device).startswith("bf16") else "float32"
    if name not in PRECISIONS:
        raise InputError(f"precision={name!r}: expected auto, float32 or bfloat16")
    return name


def _rows_before(table: Path, common: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rows that an earlier start has written. Raises InputError when they were measured otherwise."""
    if not table.exists():
        return []
    rows = read_csv(table).to_dict("records")
    for name, value in common.items():
        others = {str(row[name]) for row in rows} - {str(value)}
        if others:
            words = f"{name} {', '.join(sorted(others))}, not {value}"
            raise InputError(f"{table}: measured with {words}; use another folder")
    return rows
