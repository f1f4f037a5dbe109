"""What made a result: parameters, seed, commit, versions, device, machine and wall time, written beside it."""

import os
import platform
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from envsound.base.cache import version_of
from envsound.base.device import choose_device, describe_device
from envsound.base.errors import InputError
from envsound.base.files import read_json, visible, write_json
from envsound.base.paths import find_root

RESULTS = ":(exclude,glob)data/published/*/**"
PACKAGES = ("torch", "encodec", "numpy", "scipy", "librosa", "soundfile", "soxr", "statsmodels", "papermill")
PACKAGES += ("transformers",)  # of the networks trained elsewhere, where it is installed
CPU_INFO = Path("/proc/cpuinfo")


@dataclass
class Step:
    """One pipeline step; `facts` takes whatever it finds worth recording (data cut, hashes, counts).

    `seconds` is its wall time, known once the step is over.
    """

    name: str
    parameters: dict[str, Any]
    facts: dict[str, Any] = field(default_factory=dict)
    device: torch.device | None = None
    seconds: float = 0.0


def versions() -> dict[str, str]:
    """Return the installed version of each package a result depends on ("absent" when it is not installed)."""
    return {package: version_of(package) for package in PACKAGES}


def commit() -> str:
    """Return the study's git commit, "+changes" appended when tracked files differ from it; "unknown" outside git.

    The folders of data/published do not count: they are what runs make, and no run reads them.
    """
    try:
        if Path(_git("rev-parse", "--show-toplevel")).resolve() != _root():
            return "unknown"  # a copy without a history of its own, inside somebody's repository
        head = _git("rev-parse", "HEAD")
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", RESULTS)
        return head + ("+changes" if changed else "")
    except (OSError, subprocess.SubprocessError):  # no git, no repository, or one that does not answer
        return "unknown"


def _root() -> Path:
    """Return the folder that the study's repository begins in; where there is none, the working directory."""
    try:
        return find_root().resolve()
    except InputError:
        return Path.cwd().resolve()


def _git(*arguments: str) -> str:
    result = subprocess.run(["git", *arguments], capture_output=True, text=True, check=True, timeout=20)
    return result.stdout.strip()


@contextmanager
def step(run_dir: str | Path, name: str, parameters: dict[str, Any]) -> Iterator[Step]:
    """Time a step of a run and write `provenance/<name>.json`, then merge all steps into `provenance.json`.

    Nothing is written when the step fails. `parameters` are the notebook's own values.
    """
    run_dir = Path(run_dir)
    current = Step(name, parameters)
    code = commit()  # before the step, which may take hours
    started, clock = datetime.now(UTC), time.perf_counter()
    yield current
    current.seconds = round(time.perf_counter() - clock, 3)
    record = {
        "step": name,
        "parameters": parameters,
        "facts": current.facts,
        "seconds": current.seconds,
        "started": started.isoformat(timespec="seconds"),
        "commit": code,
        "python": platform.python_version(),
        "platform": platform.platform(terse=True),
        "device": describe_device(current.device or choose_device("cpu")),
        "versions": versions(),
    }
    write_json(run_dir / "provenance" / f"{name}.json", record)
    merge(run_dir)


def merge(run_dir: str | Path) -> dict[str, Any]:
    """Merge the steps' records of a run into `provenance.json`, ordered by step name, and return them."""
    run_dir = Path(run_dir)
    steps = {path.stem: read_json(path) for path in visible(run_dir / "provenance", "*.json")}
    write_json(run_dir / "provenance.json", {"run": str(run_dir), "steps": steps})
    return steps


def processor_name() -> str:
    """Return the processor's name as the system has it, such as "AMD EPYC"."""
    found = re.search(r"model name\s*:\s*(.+)", CPU_INFO.read_text()) if CPU_INFO.exists() else None
    return found[1].strip() if found else platform.processor() or platform.machine()


def usable_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine_name(device: torch.device) -> str:
    """Return the hardware in one line, such as "AMD EPYC, 2 cores" or "NVIDIA H200; AMD EPYC, 16 cores".

    On a CPU "1 of 2 cores" where torch uses fewer threads than there are cores.
    """
    cores, threads = usable_cores(), torch.get_num_threads()
    used = f"{threads} of {cores}" if device.type == "cpu" and threads < cores else f"{cores}"
    host = f"{processor_name()}, {used} core{'s' if cores != 1 else ''}"
    return host if device.type == "cpu" else f"{describe_device(device)}; {host}"


def machine_facts(device: torch.device) -> dict[str, Any]:
    """Return what a speed depends on beside the code: hardware, cores, threads, system, Python and torch."""
    return {
        "machine": machine_name(device),
        "device": describe_device(device),
        "cores": usable_cores(),
        "threads": torch.get_num_threads(),
        "platform": platform.platform(terse=True),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def write_record(
    folder: str | Path, name: str, parameters: dict[str, Any], device: torch.device, commit: str
) -> dict[str, Any]:
    """Write what made a measurement into provenance.json, beside other steps of the folder, and return it.

    Like `step`, without a date: the machine and the code count. commit: that of the measurement's start.
    """
    record = {"step": name, "parameters": parameters, "facts": {}, "commit": commit, "versions": versions()}
    record |= machine_facts(device)
    write_json(Path(folder) / "provenance" / f"{name}.json", record)
    merge(folder)
    return record
