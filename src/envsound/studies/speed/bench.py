"""Side-by-side timing of the published 2 x 512 model, ours against the usual implementation: `make bench`.

Both sides run in one process, turn by turn, on the same numbers of frames and of passes of the model. A table is
printed and written as json with the machine, the median of every time, the peak memory, the goals, and the arithmetic
limit: the operations of the model over the rate of the machine's fastest matrix product.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch

from envsound.base.device import choose_device
from envsound.base.errors import InputError, exit_code
from envsound.base.files import write_json
from envsound.run.machine import machine_facts, write_record
from envsound.run.provenance import commit
from envsound.studies.speed.apart import ApartError, call_apart
from envsound.studies.speed.goals import check_goals
from envsound.studies.speed.limits import Rate, count_flops, product_rate, product_shapes, profile_groups
from envsound.studies.speed.memory import PeakMemory
from envsound.studies.speed.sides import (
    COMPILED,
    PRECISIONS,
    SAMPLE_BATCH,
    SAMPLE_LONG,
    SAMPLE_ONE,
    TRAIN,
    Side,
    Work,
    make_side,
    warm_up,
)
from envsound.systems.soundstorm.conformer import ModelConfig

TASKS = (TRAIN, SAMPLE_ONE, SAMPLE_BATCH, SAMPLE_LONG)
OURS_ALONE = (SAMPLE_LONG,)
PEER_FOLDER = ".bench"
OUT = "data/runs/speed"
PROFILE_ROWS = 5  # printed of a profile; the json has all
Memory = Callable[[str, str, str], float | None]  # of a side, a task and a precision, in MiB


def bench(
    out_dir: str | Path = OUT,
    device: str = "auto",
    n_runs: int = 3,
    peer_folder: str | Path = "",
    compiled: bool = False,
    on_line: Callable[[str], None] = print,
    work: Work | None = None,
) -> dict[str, Any]:
    """Run the benchmark, write `out_dir`/bench.json and return what it holds.

    n_runs: timed runs of each task, after one to warm up. peer_folder: where soundstorm-pytorch was installed; "" times
    ours alone. compiled: time ours with torch.compile too. on_line gets every line of the table as soon as it is known.
    The json has the machine (see `machine.machine_facts`), commit, work, n_parameters, passes for a clip, rates, and:
    rows, one for each task and precision, and one for each task with `best`: task, precision, ours_s and peer_s
    (medians; with _runs_s all times), ratio (peer over ours), ours_mib and peer_mib (peak memory of a process that does
    nothing else, weights and optimizer included), flops, limit_s and share_of_limit (of ours); None for an absent side;
    goals, as `check_goals` returns them, each that is not met with a profile.
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
    for line in header(result):
        on_line(line)
    rates = {name: product_rate(place, name, product_shapes(work, place)) for name in PRECISIONS}
    result["rates"] = {name: asdict(rate) for name, rate in rates.items()}
    memory = memory_apart(place, str(peer_folder), work)
    result["rows"] = measure(sides, n_runs, rates, memory, lambda row: on_line(row_line(row)))
    result["passes"] = {name: side.passes(SAMPLE_ONE) for name, side in sides.items() if name != "compiled"}
    result["goals"] = with_profiles(check_goals(result["rows"], place.type), result["rows"], sides)
    for line in goal_lines(result):
        on_line(line)
    write_json(Path(out_dir) / "bench.json", result)
    write_record(out_dir, "bench", {"n_runs": n_runs, "compiled": compiled}, place, code)
    return result


def measure(
    sides: dict[str, Side],
    n_runs: int,
    rates: dict[str, Rate],
    memory: Memory,
    on_row: Callable[[dict[str, Any]], None],
) -> list[dict[str, Any]]:
    """Time every task in every precision; return rows, each also given to `on_row` as soon as it is there."""
    rows: list[dict[str, Any]] = []
    for task in TASKS:
        flops = count_flops(lambda task=task: sides["ours"].run(task, "float32"))  # no other in another precision
        for label, names in contests(task, sides).items():
            precision = label.removeprefix(COMPILED)
            runs = [lambda side=sides[name], p=precision, t=task: side.run(t, p) for name in names]
            times = dict(zip(names, turn_by_turn(runs, n_runs), strict=True))
            peaks = {name: memory(name, task, precision) for name in names}
            rows.append(timed_row(task, label, times, peaks, flops / rates[precision].flops_per_second))
            rows[-1]["flops"] = flops
            on_row(rows[-1])
        rows.append(best_row([row for row in rows if row["task"] == task]))
        on_row(rows[-1])
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
    """Return what measures the peak memory (MiB) of a side, a task and a precision, in a process of its own."""

    def peak(side: str, task: str, precision: str) -> float | None:
        place = {"device": str(device), "peer_folder": peer_folder, "work": asdict(work)}
        try:
            function = "envsound.studies.speed.bench:peak_mib"
            return call_apart(function, side=side, task=task, precision=precision, **place)
        except ApartError as error:
            if error.out_of_memory:
                return None
            raise

    return peak


def peak_mib(side: str, task: str, precision: str, device: str, peer_folder: str, work: dict[str, Any]) -> float:
    """Return the peak memory (MiB) of making a side and doing a task once, beyond the code and what it keeps.

    work: `asdict` of a Work. Measures the process it is called in.
    """
    place, size = choose_device(device), Work(**work | {"model": ModelConfig(**work["model"])})
    warm_up(side, task, precision, size, place, peer_folder)
    memory = PeakMemory(place)
    make_side(side, size, place, peer_folder).run(task, precision)
    return memory.added_mib()


def with_profiles(
    goals: list[dict[str, Any]], rows: Sequence[dict[str, Any]], sides: dict[str, Side]
) -> list[dict[str, Any]]:
    """Return the goals, with a profile of our best way to do the task for each that is not met.

    profile: precision; groups, as `profile_groups` returns them; and gpu_busy, on a GPU the share of the task's time in
    which it computes.
    """
    best, profiles = {row["task"]: row for row in rows if row["best"]}, {}
    for task in dict.fromkeys(goal["task"] for goal in goals if goal["met"] == "no"):
        label = best[task]["ours_precision"]
        side = sides["compiled" if label.startswith(COMPILED) else "ours"]
        precision = label.removeprefix(COMPILED)
        groups, seconds = profile_groups(lambda s=side, t=task, p=precision: s.run(t, p), side.device)
        busy = seconds / best[task]["ours_s"] if side.device.type == "cuda" else None
        profiles[task] = {"precision": label, "gpu_busy": busy, "groups": groups}
    return [goal | ({"profile": profiles[goal["task"]]} if goal["met"] == "no" else {}) for goal in goals]


def header(result: dict[str, Any]) -> list[str]:
    """Return the lines above the table."""
    sizes = [f"{result['sides'][name]} {n / 1e6:.1f} M parameters" for name, n in result["n_parameters"].items()]
    columns = f"{'ours':>9} {'peer':>9} {'ratio':>7} {'limit':>9} {'of it':>6} {'ours':>9} {'peer':>9}"
    return [
        f"{result['machine']}, {result['threads']} threads, torch {result['torch']}; {', '.join(dict.fromkeys(sizes))}",
        f"{'medians of ' + str(result['n_runs']) + ' runs':62} {'seconds':>19} {'':24} {'peak MiB':>19}",
        f"{'task':24} {'precision':37} {columns}",
    ]


def row_line(row: dict[str, Any]) -> str:
    """Return one printed line of the table."""

    def cell(value: float | None, form: str, width: int) -> str:
        return format("-" if value is None else format(value, form), f">{width}")

    cells = [cell(row["ours_s"], ".3f", 9), cell(row["peer_s"], ".3f", 9), cell(row["ratio"], ".1f", 7)]
    cells += [cell(row["limit_s"], ".3f", 9), cell(row["share_of_limit"], ".0%", 6)]
    cells += [cell(row["ours_mib"], ".0f", 9), cell(row["peer_mib"], ".0f", 9)]
    return f"{row['task']:24} {row['precision']:37} " + " ".join(cells)


def goal_lines(result: dict[str, Any]) -> list[str]:
    """Return the printed lines below the table: passes of the model, goals, and profiles of those not met."""
    passes = ", ".join(f"{name} {n}" for name, n in result["passes"].items())
    lines = [f"passes of the model for a clip: {passes}"]
    for goal in result["goals"]:
        value = "-" if goal["value"] is None else f"{goal['value']:.1f}"
        lines.append(
            f"goal ({goal['machine']}): {goal['goal']} {goal['target']}: {value} {goal['unit']}, {goal['met']}"
        )
        profile = goal.get("profile", {"groups": []})
        lines += [f"    {row['share']:5.0%} {row['group']}" for row in profile["groups"][:PROFILE_ROWS]]
        if profile.get("gpu_busy") is not None:
            lines.append(f"    the GPU computes {profile['gpu_busy']:.0%} of the time")
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m envsound.studies.speed.bench", description=__doc__.splitlines()[0])
    parser.add_argument("--peer", default=PEER_FOLDER, help='folder the peer was installed into; "" leaves it out')
    parser.add_argument("--device", default="auto", help="auto, cuda, mps or cpu")
    parser.add_argument("--runs", type=int, default=3, help="timed runs of each task")
    parser.add_argument("--compile", action="store_true", help="time the model with torch.compile too")
    parser.add_argument("--out", default=OUT, help="folder for bench.json")
    options = parser.parse_args(arguments)
    given = (options.out, options.device, options.runs, options.peer, options.compile)
    show = partial(print, flush=True)
    return exit_code(lambda: bench(*given, on_line=show), f"Written to {options.out}/bench.json")


if __name__ == "__main__":
    sys.exit(main())
