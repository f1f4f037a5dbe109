"""How time and memory of the study's model grow with the length of a clip, the batch and the depth.

Every point is measured in a process of its own and written to growth.csv at once, so that an interrupted measurement
goes on where it was: `python -m envsound.studies.speed.growth`.
"""

import argparse
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm.auto import tqdm

from envsound.base.device import choose_device, choose_precision
from envsound.base.errors import InputError, exit_code
from envsound.base.files import read_csv, write_csv
from envsound.report.style import save_figure
from envsound.run.machine import machine_name, write_record
from envsound.run.provenance import commit
from envsound.studies.speed.apart import ApartError, call_apart
from envsound.studies.speed.bench import OUT, turn_by_turn
from envsound.studies.speed.figures import growth_figure
from envsound.studies.speed.memory import PeakMemory
from envsound.studies.speed.sides import PRECISIONS, SAMPLE_BATCH, TRAIN, Work, make_side, warm_up
from envsound.systems.soundstorm.conformer import ModelConfig

FRAME_RATE = 75  # frames/s, of the codecs of the study
TASKS = {"sampling": SAMPLE_BATCH, "training step": TRAIN}
POINT = ["task", "clip_seconds", "batch", "n_layers"]
COLUMNS = [*POINT, "seconds", "fastest_s", "slowest_s", "peak_mib", "n_runs", "precision"]
COLUMNS += ["dim", "machine", "commit", "note"]
OUT_OF_MEMORY = "out of memory"
Measure = Callable[..., dict[str, Any]]  # `measure_point`, here or in a process of its own


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
    out_dir: str | Path = OUT,
    device: str = "auto",
    n_runs: int = 3,
    max_seconds: float = 60.0,
    precision: str = "auto",
    size: ModelConfig | None = None,
    sweeps: Sweeps | None = None,
    measure: Measure | None = None,
) -> pd.DataFrame:
    """Measure what growth.csv in `out_dir` lacks, and return it (columns COLUMNS); draws figures/growth.pdf and .png.

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
    waiting = [(task, *point) for point in points for task in TASKS if (task, *point) not in known]
    settings = {"n_runs": n_runs, "device": str(place), "precision": precision, "size": asdict(size)}
    with tqdm(total=len(points) * len(TASKS), desc="growth", unit="point") as bar:
        bar.update(bar.total - len(waiting))
        for point in waiting:
            named = dict(zip(POINT, point, strict=True))
            bar.set_postfix_str(f"{point[0]}, {point[1]:g} s x {point[2]}, {point[3]} layers")
            rows.append(named | _measured(measure, **named, **settings) | common | {"commit": code})
            write_csv(table, pd.DataFrame(rows, columns=COLUMNS))
            bar.update()
    found = pd.DataFrame(rows, columns=COLUMNS)
    save_figure(growth_figure(found), Path(out_dir) / "figures", "growth")
    write_record(out_dir, "growth", {"n_runs": n_runs, "precision": precision, "max_seconds": max_seconds}, place, code)
    return found


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
    warm_up("ours", TASKS[task], precision, work, place)
    memory = PeakMemory(place)
    side = make_side("ours", work, place)
    [times] = turn_by_turn([lambda: side.run(TASKS[task], precision)], n_runs)
    found = {"seconds": statistics.median(times), "fastest_s": min(times), "slowest_s": max(times)}
    return found | {"peak_mib": memory.added_mib()}


def _measure_apart(**point: Any) -> dict[str, Any]:
    return call_apart("envsound.studies.speed.growth:measure_point", **point)


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
            raise InputError(
                f"{table}: measured with {name} {', '.join(sorted(others))}, not {value}; use another folder"
            )
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the measurement from the command line; returns the exit status."""
    about = __doc__.splitlines()[0]
    parser = argparse.ArgumentParser(prog="python -m envsound.studies.speed.growth", description=about)
    parser.add_argument("--device", default="auto", help="auto, cuda, mps or cpu")
    parser.add_argument("--runs", type=int, default=3, help="timed runs of each point")
    parser.add_argument("--max-seconds", type=float, default=60.0, help="the longest clip")
    parser.add_argument("--precision", default="auto", help="auto, float32 or bfloat16")
    parser.add_argument("--out", default=OUT, help="folder for growth.csv and its figure")
    options = parser.parse_args(arguments)
    given = (options.out, options.device, options.runs, options.max_seconds, options.precision)
    return exit_code(lambda: grow(*given), f"Written to {options.out}/growth.csv")


if __name__ == "__main__":
    sys.exit(main())
