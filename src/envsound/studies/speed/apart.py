"""Calls a function in a process of its own: for what a process can find out about itself only once, its peak memory.

Command line: `python -m envsound.studies.speed.apart module:function '{"argument": 1}'` prints what the
function returns, as json.
"""

import importlib
import json
import subprocess
import sys
from typing import Any

KILLED = (-9, 137)  # what a process returns when the system ends it for want of memory


class ApartError(RuntimeError):
    """The process failed; `out_of_memory` says whether for want of memory. The message ends with its last words."""

    def __init__(self, words: str, out_of_memory: bool):
        super().__init__(words)
        self.out_of_memory = out_of_memory


def call_apart(function: str, **arguments: Any) -> Any:
    """Return what `function`, "module:name", returns for keyword arguments; both must be writable as json.

    Raises ApartError when the process fails.
    """
    command = [sys.executable, "-m", "envsound.studies.speed.apart", function, json.dumps(arguments)]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        last = result.stderr.strip().splitlines()[-1:] or [f"exit status {result.returncode}"]
        starved = result.returncode in KILLED or "out of memory" in result.stderr or "MemoryError" in result.stderr
        raise ApartError(f"{function}: {last[0]}", starved)
    return json.loads(result.stdout.splitlines()[-1])  # a library may have printed something before


def main() -> None:
    """Call the function that the command line names."""
    module, name = sys.argv[1].split(":")
    print(json.dumps(getattr(importlib.import_module(module), name)(**json.loads(sys.argv[2]))))


if __name__ == "__main__":
    main()
