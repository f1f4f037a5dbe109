"""Side-by-side timing of the published 2 x 512 model, ours against the usual implementation: `make bench`.

Both sides run in one process, turn by turn, on the same numbers of frames and of passes of the model. A table is
printed and written as json with the machine, the median of every time, and the arithmetic limit: the matrix
products' floating-point operations over the rate at which this machine multiplies large matrices.
"""

import argparse
import contextlib
import io
import platform
import resource
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from envsound.benchmark_peer import Peer
from envsound.conformer import MaskedConformer, ModelConfig
from envsound.decoding import DecodingConfig, decode
from envsound.device import choose_device, describe_device
from envsound.files import write_json
from envsound.masking import draw_training_mask
from envsound.provenance import commit, versions
from envsound.training import masked_loss

N_FRAMES, BATCH, FIRST_STEPS = 375, 8, 12  # 5 s at 75 frames/s; passes: 12 at level 0, one at each finer level
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
TASKS = ("training step", "sample 1 clip", "sample 8 clips")
PEER_FOLDER = ".bench"


class Ours:
    """The study's model behind the peer's two methods."""

    name = "envsound"

    def __init__(self) -> None:
        self.model = MaskedConformer(ModelConfig())
        self.draws = torch.Generator().manual_seed(0)

    def n_parameters(self) -> int:
        """Return the number of trainable parameters."""
        return self.model.n_parameters()

    def loss(self, codes: Tensor) -> Tensor:
        """Return the training loss of codes int64 [batch, n_levels, n_frames]."""
        valid = torch.ones(len(codes), codes.shape[2], dtype=torch.bool, device=codes.device)
        mask = draw_training_mask(codes, valid, self.model.mask_token, self.draws)
        return torch.stack(masked_loss(self.model, mask, codes, valid, None)).sum() / mask.targets.sum()

    def sample(self, batch: int, n_frames: int) -> Tensor:
        """Return sampled codes of `batch` clips."""
        config = DecodingConfig((FIRST_STEPS, *[1] * 7))
        return decode(self.model, [n_frames] * batch, list(range(batch)), config)


@dataclass
class Side:
    """One implementation on one device, with an optimizer."""

    system: Ours | Peer
    device: torch.device

    def __post_init__(self) -> None:
        self.system.model.to(self.device)
        self.optimizer = torch.optim.Adam(self.system.model.parameters(), lr=1e-4)
        self.codes = torch.randint(1024, (BATCH, 8, N_FRAMES), device=self.device)

    def run(self, task: str, precision: str) -> None:
        """Do a task once."""
        half = precision == "bfloat16"
        with quiet(), torch.autocast(self.device.type, torch.bfloat16, enabled=half):
            if task == "training step":
                self._train()
            else:
                self.system.model.eval()
                self.system.sample(1 if task == "sample 1 clip" else BATCH, N_FRAMES)
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def _train(self) -> None:
        self.system.model.train()
        loss = self.system.loss(self.codes)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.system.model.parameters(), 1.0)
        self.optimizer.step()

    def flops(self, task: str) -> int:
        """Return the floating-point operations of the matrix products of a task."""
        counter = FlopCounterMode(display=False)
        with counter:
            self.run(task, "float32")
        return counter.get_total_flops()


@contextlib.contextmanager
def quiet():
    """Keep the peer's progress bars and warnings off the screen."""
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


def seconds_of(run: Callable[[], None]) -> float:
    """Return the wall time of one call."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def turn_by_turn(runs: Sequence[Callable[[], None]], n_runs: int) -> list[float]:
    """Return the median time of each of `runs`, called in turn `n_runs` times after one call to warm up."""
    for run in runs:
        run()
    times = [[seconds_of(run) for run in runs] for _ in range(n_runs)]
    return [statistics.median(column) for column in zip(*times, strict=True)]


def multiplication_rate(device: torch.device, precision: str, size: int = 2048, n_runs: int = 5) -> float:
    """Return the floating-point operations per second of a product of two size x size matrices."""
    a, b = (torch.randn(size, size, device=device, dtype=PRECISIONS[precision]) for _ in range(2))

    def run() -> None:
        a @ b
        if device.type == "cuda":
            torch.cuda.synchronize()

    return 2 * size**3 / turn_by_turn([run], n_runs)[0]


def measure(sides: dict[str, Side], n_runs: int, on_row: Callable[[dict[str, Any]], None]) -> list[dict[str, Any]]:
    """Time every task in every precision; return rows, each also given to `on_row` as soon as it is there."""
    device = sides["ours"].device
    rates = {precision: multiplication_rate(device, precision) for precision in PRECISIONS}
    rows = []
    for task in TASKS:
        flops = sides["ours"].flops(task)
        for precision in PRECISIONS:
            runs = [lambda side=side, p=precision, t=task: side.run(t, p) for side in sides.values()]
            ours, peer = turn_by_turn(runs, n_runs)
            limit = flops / rates[precision]
            row = {"task": task, "precision": precision, "ours_s": ours, "peer_s": peer, "ratio": peer / ours}
            row |= {"flops": flops, "limit_s": limit, "share_of_limit": limit / ours}
            rows.append(row)
            on_row(row)
        rows.append(best_row(task, rows))
        on_row(rows[-1])
    return rows


def best_row(task: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the row that sets the faster precision of one side against the faster one of the other."""
    mine = [row for row in rows if row["task"] == task]
    ours, peer = (min(mine, key=lambda row, side=side: row[side]) for side in ("ours_s", "peer_s"))
    words = f"best: {ours['precision']} against {peer['precision']}"
    row = {"task": task, "precision": words, "ours_s": ours["ours_s"], "peer_s": peer["peer_s"]}
    row["ratio"] = row["peer_s"] / row["ours_s"]
    return row | {key: ours[key] for key in ("flops", "limit_s", "share_of_limit")}


def peak_megabytes(side: str, task: str, device: torch.device, peer_folder: str) -> float:
    """Return the peak memory of a task in a process of its own, less that of the process before the task."""
    command = [sys.executable, "-m", "envsound.benchmark", "--memory", f"{side}/{task}", "--device", device.type]
    result = subprocess.run([*command, "--peer", peer_folder], capture_output=True, text=True, check=True)
    return float(result.stdout.split()[-1])


def print_peak(side: Side, task: str) -> None:
    """Print how much memory (MiB) a task adds to this process at its peak."""

    def used() -> float:
        if side.device.type == "cuda":
            return torch.cuda.max_memory_allocated() / 2**20
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    before = used()
    side.run(task, "float32")
    print(used() - before)


def make_side(name: str, device: torch.device, peer_folder: str) -> Side:
    """Return the side called "ours" or "peer"."""
    system = (
        Ours() if name == "ours" else Peer(peer_folder, dim=512, depth=2, heads=8, kernel=31, first_steps=FIRST_STEPS)
    )
    return Side(system, device)


def line(row: dict[str, Any]) -> str:
    """Return one printed line of the table."""
    times = f"{row['ours_s']:9.3f} {row['peer_s']:9.3f} {row['ratio']:7.1f}"
    return f"{row['task']:16} {row['precision']:36} {times} {row['limit_s']:9.3f} {row['share_of_limit']:6.0%}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", default=PEER_FOLDER, help="folder the peer was installed into")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--runs", type=int, default=5, help="timed runs of each task")
    parser.add_argument("--out", default="data/runs/benchmark.json")
    parser.add_argument("--memory", default="", help="side/task: print its peak memory and stop")
    options = parser.parse_args(arguments)
    device = choose_device(options.device)
    if options.memory:
        side, task = options.memory.split("/")
        print_peak(make_side(side, device, options.peer), task)
        return
    sides = {name: make_side(name, device, options.peer) for name in ("ours", "peer")}
    sizes = {name: side.system.n_parameters() for name, side in sides.items()}
    print(f"{describe_device(device)}; {sides['ours'].system.name} {sizes['ours'] / 1e6:.1f} M, ", end="")
    print(
        f"{sides['peer'].system.name} {sizes['peer'] / 1e6:.1f} M parameters; medians of {options.runs} runs, seconds"
    )
    print(f"{'task':16} {'precision':36} {'ours':>9} {'peer':>9} {'ratio':>7} {'limit':>9} {'of it':>6}")
    rows = measure(sides, options.runs, lambda row: print(line(row), flush=True))
    memory = {f"{name}/{task}": peak_megabytes(name, task, device, options.peer) for name in sides for task in TASKS}
    for name, megabytes in memory.items():
        print(f"peak memory {name:24} {megabytes:8.0f} MiB")
    facts = {"device": describe_device(device), "platform": platform.platform(), "commit": commit()}
    facts |= {"versions": versions(), "peer": sides["peer"].system.name, "n_runs": options.runs, "n_parameters": sizes}
    shape = {"n_frames": N_FRAMES, "batch": BATCH, "steps_per_level": [FIRST_STEPS, *[1] * 7]}
    write_json(Path(options.out), facts | shape | {"rows": rows, "peak_mib": memory})
    print(f"Written to {options.out}")


if __name__ == "__main__":
    main()
