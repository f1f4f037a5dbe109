"""Kill and interrupt the preset tiny and a sampling run at random moments, and compare what comes out with a calm run.

    python tests/soak/soak.py --kills 100 --interrupts 20 --minutes 120

Works in a copy of the repository among temporary files and is no part of `make test`: it takes hours on two cores.
Prints a line for each round; the exit status is 1 when a result differs, a run cannot go on, or a leftover stays.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from whole_runs import copied, environment, leftovers, results

SNAKEMAKE = [sys.executable, "-m", "snakemake", "--cores", "2", "--rerun-incomplete", "--config", "preset=tiny"]
PIPELINE = [*SNAKEMAKE, "--", "runs"]
SAMPLING = [sys.executable, "-m", "envsound.cli", "sample", "dog", "--count", "12", "--seconds", "2", "--out", "sounds"]
KINDS = {"pipeline": (PIPELINE, "data/runs/tiny"), "sampling": (SAMPLING, "sounds")}


def start(command: list[str], folder: Path) -> subprocess.Popen:
    one_thread = environment(folder) | {"OMP_NUM_THREADS": "1"}
    log = (folder / "soak.log").open("ab")
    return subprocess.Popen(command, cwd=folder, env=one_thread, stdout=log, stderr=log, start_new_session=True)


def stop(process: subprocess.Popen, how: signal.Signals) -> None:
    """Send a signal to a run and all that it started, and wait until every one of them is gone."""
    os.killpg(process.pid, how)
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    while True:  # children of a killed parent may live a moment longer
        try:
            os.killpg(process.pid, signal.SIGKILL)
            time.sleep(0.1)
        except ProcessLookupError:
            return


def unlock(folder: Path) -> None:
    """Release the folder after a run that was killed, as `make unlock` does."""
    subprocess.run([*SNAKEMAKE, "--unlock"], cwd=folder, env=environment(folder), capture_output=True)


def calm(kind: str, folder: Path) -> float:
    """Run to the end; return the seconds it took. Exits with the end of the log when the run fails."""
    command, _ = KINDS[kind]
    unlock(folder)
    began = time.monotonic()
    if start(command, folder).wait():
        sys.exit(f"{kind}: cannot go on; the log ends with:\n{(folder / 'soak.log').read_text()[-3000:]}")
    return time.monotonic() - began


def soak(n_kills: int, n_interrupts: int, minutes: float, seed: int) -> int:
    """Return the number of rounds that ended in other results than the calm run."""
    draws, wrong, ends = random.Random(seed), 0, time.monotonic() + 60 * minutes
    with tempfile.TemporaryDirectory(prefix="envsound-soak-") as name:
        folder = copied(Path(name))
        expected, length = {}, {}
        for kind, (_, out) in KINDS.items():
            length[kind] = calm(kind, folder)
            expected[kind] = results(folder / out)
            print(f"{kind}: {length[kind]:.0f} s in calm, {len(expected[kind])} files", flush=True)
        left = [signal.SIGKILL] * n_kills + [signal.SIGINT] * n_interrupts
        draws.shuffle(left)
        while left and time.monotonic() < ends:
            kind = draws.choice(list(KINDS))
            command, out = KINDS[kind]
            shutil.rmtree(folder / out)
            blows = [left.pop() for _ in range(min(len(left), draws.randint(5, 12)))]
            for blow in blows:
                process = start(command, folder)
                time.sleep(draws.uniform(0, length[kind] / 4))  # each goes on from the last, so that all steps are hit
                stop(process, blow)
                unlock(folder)
            calm(kind, folder)
            same, stayed = results(folder / out) == expected[kind], leftovers(folder / out)
            wrong += not same or bool(stayed)
            words = "equal" if same else "NOT EQUAL"
            print(f"{kind}: {len(blows)} blows, {words}, {len(stayed)} leftovers, {len(left)} to go", flush=True)
            for path in stayed:
                print(f"  left over: {path.relative_to(folder)}")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--interrupts", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=120.0, help="after which no new round begins")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    return int(soak(options.kills, options.interrupts, options.minutes, options.seed) > 0)


if __name__ == "__main__":
    sys.exit(main())
