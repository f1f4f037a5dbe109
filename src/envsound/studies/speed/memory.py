"""How much memory a process adds, at its peak, to what it held at some moment."""

import re
import sys
from contextlib import suppress
from pathlib import Path

import torch

STATUS = Path("/proc/self/status")
RESET = Path("/proc/self/clear_refs")


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
        """Return the peak since this was made, less what was held then, in MiB."""
        peak = torch.cuda.max_memory_allocated(self.device) if self.device.type == "cuda" else peak_resident()
        return (peak - self.before) / 2**20


def peak_resident() -> int:
    """Return the largest resident memory of this process so far, in bytes.

    On Linux VmHWM, not getrusage, whose figure a process takes over from the one that started it.
    """
    found = re.search(r"VmHWM:\s*(\d+) kB", STATUS.read_text()) if STATUS.exists() else None
    if found:
        return int(found[1]) * 1024
    import resource  # not on every system

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # bytes on macOS, KiB elsewhere
