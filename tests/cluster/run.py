"""Run the preset tiny through profiles/slurm on a SLURM of this machine, and compare it with a local run.

    python tests/cluster/run.py --folds 5 --seeds 2

A training is killed and the node drained and resumed on the way. Works in a copy of the repository among temporary
files and is no part of `make test`. The exit status is 1 when a result differs or a run does not end; where SLURM
cannot be installed, a line says so and the status is 0.
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cluster.slurm import ask, cluster, install, jobs
from whole_runs import copied, environment, leftovers, results

RUNS = "data/runs/tiny"
N_GPUS = 2  # so many jobs with a GPU run at once
# The pauses of the profile are those of a busy cluster with slow disks.
ON_SLURM = ["--workflow-profile", "profiles/slurm", "--latency-wait", "5", "--slurm-no-account",
            "--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "4"]  # fmt: skip
LOCALLY = ["--cores", "all"]  # with as many threads as a job on the cluster's node finds there
BEGAN = time.monotonic()


def say(words: str) -> None:
    print(f"{time.monotonic() - BEGAN:6.0f} s  {words}", flush=True)


def start(folder: Path, options: list[str], n_folds: int, n_seeds: int) -> subprocess.Popen:
    """Start Snakemake on every step of the runs; what it says goes to cluster.log."""
    which = [f"folds={list(range(1, n_folds + 1))}", f"seeds={list(range(n_seeds))}"]
    command = [sys.executable, "-m", "snakemake", *options, "--config", "preset=tiny", *which, "--", "runs"]
    with (folder / "cluster.log").open("ab") as log:
        return subprocess.Popen(
            command, cwd=folder, env=environment(folder), stdout=log, stderr=log, start_new_session=True
        )


def stop(process: subprocess.Popen) -> None:
    """Kill a run that has not ended, with all that it started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def finish(process: subprocess.Popen, folder: Path, minutes: float) -> None:
    """Wait for a run. Exits with the end of its log when it fails or takes too long."""
    with suppress(subprocess.TimeoutExpired):
        process.wait(60 * minutes)
    if process.returncode != 0:
        stop(process)
        sys.exit(ends_of_logs(folder))


def ends_of_logs(folder: Path) -> str:
    """Return how the log of a run ends, and those of two of its jobs."""
    logs = [path.read_text()[-2000:] for path in sorted(folder.glob(".snakemake/slurm_logs/**/*.log"))[:2]]
    return "\n".join([(folder / "cluster.log").read_text()[-4000:], *logs])


def wait_for(happens: Callable[[], object], process: subprocess.Popen, folder: Path, what: str) -> object:
    """Return what a function returns once that is true. Exits with the ends of the logs when the run ends before."""
    while process.poll() is None:
        if found := happens():
            return found
        time.sleep(0.2)
    sys.exit(f"the run ended before {what}; its logs end with:\n{ends_of_logs(folder)}")


def in_state(state: str, rule: str = "") -> list[str]:
    """Return the ids of the jobs in a state, of one rule or of all."""
    return [name for name, (now, comment) in jobs().items() if now == state and rule in comment]


def kill_a_training(folder: Path, process: subprocess.Popen) -> None:
    """Kill every process of the first job that has saved the state of its training."""
    saved = wait_for(lambda: list(folder.glob(f"{RUNS}/*/checkpoints/*")), process, folder, "a training began")
    fold, seed = re.findall(r"\d+", saved[0].parents[1].name)
    victim = in_state("RUNNING", f"train_model_wildcards_tiny_{fold}_{seed}")[0]
    ask("scancel", "--full", "--signal=KILL", victim)
    wait_for(lambda: jobs()[victim][0] not in ("RUNNING", "COMPLETING"), process, folder, "its job had gone")
    state, comment = jobs()[victim]
    say(f"job {victim} ({comment}) killed: {state}")
    if state == "COMPLETED":
        sys.exit(f"job {victim} was over when it was killed")


def drain_and_resume(node: str, folder: Path, process: subprocess.Popen) -> None:
    """Take the node out of service, wait until nothing runs and something waits, and put it back."""
    wait_for(lambda: in_state("RUNNING"), process, folder, "a job ran")
    ask("scontrol", "update", f"nodename={node}", "state=drain", "reason=maintenance")
    wait_for(lambda: not in_state("RUNNING") and in_state("PENDING"), process, folder, "the node was empty")
    time.sleep(5)
    waiting, running = in_state("PENDING"), in_state("RUNNING")
    say(f"node drained: {', '.join(ask('sinfo', '--noheader', '--format=%N %T'))}; {len(waiting)} waiting")
    if running:
        sys.exit(f"jobs {running} began on a drained node")
    ask("scontrol", "update", f"nodename={node}", "state=resume")
    wait_for(lambda: in_state("RUNNING"), process, folder, "a job ran again")
    say("node resumed")


def on_slurm(folder: Path, n_folds: int, n_seeds: int, minutes: float) -> None:
    """Run the jobs on a cluster, with the two troubles, and say what became of each job."""
    with cluster(folder / "slurm", N_GPUS) as node:
        version = ask("sinfo", "--version")[0]
        say(f"{version}: {ask('sinfo', '--noheader', '--format=%N %T, %c CPUs, %m MB, %G')[0]}")
        process = start(folder, ON_SLURM, n_folds, n_seeds)
        try:
            kill_a_training(folder, process)
            drain_and_resume(node, folder, process)
            finish(process, folder, minutes)
        finally:
            stop(process)
        for line in ask("squeue", "--all", "--states=all", "--sort=i", "--format=%.4i %.10T %.6M %k"):
            print(line)
        states = [state for state, _ in jobs().values()]
        say(", ".join(f"{states.count(state)} jobs {state}" for state in sorted(set(states))))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=90.0, help="after which either run is given up")
    options = parser.parse_args()
    if why := install():
        print(f"No SLURM here, its test is skipped: {why}")
        return 0
    with tempfile.TemporaryDirectory(prefix="envsound-cluster-") as name:
        folder = copied(Path(name))
        on_slurm(folder, options.folds, options.seeds, options.minutes)
        found, stayed = results(folder / RUNS), leftovers(folder / "data")
        for made in ("data/runs", "data/cache"):
            shutil.rmtree(folder / made)
        finish(start(folder, LOCALLY, options.folds, options.seeds), folder, options.minutes)
        expected = results(folder / RUNS)
        say(f"local run: {len(expected)} files of {options.folds * options.seeds} runs")
    differing = [name for name in expected | found if expected.get(name) != found.get(name)]
    say(f"SLURM run: {len(found)} files, {len(differing)} differ from the local run's, {len(stayed)} leftovers")
    for name in differing[:20]:
        print(f"  differs: {name}")
    return int(bool(differing or stayed))


if __name__ == "__main__":
    sys.exit(main())
