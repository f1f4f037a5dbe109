"""Which machine a speed was measured on, and the record beside such a measurement."""

import os
import platform
import re
from pathlib import Path
from typing import Any

import torch

from envsound.base.device import describe_device
from envsound.base.files import write_json
from envsound.run.provenance import merge, versions

CPU_INFO = Path("/proc/cpuinfo")


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

    Like `provenance.step`, without a date: the machine and the code count. commit: that of the measurement's start.
    """
    record = {"step": name, "parameters": parameters, "facts": {}, "commit": commit, "versions": versions()}
    record |= machine_facts(device)
    write_json(Path(folder) / "provenance" / f"{name}.json", record)
    merge(folder)
    return record
