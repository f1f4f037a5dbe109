"""The one error a reader of this study is meant to see, and its kind for what a machine may lack."""

import sys
from collections.abc import Callable


class InputError(ValueError):
    """A request that cannot be met; the message names the file or parameter and what was expected."""


class NotHere(InputError):
    """A network that is not on this machine: its package is not installed, or its weights are not in the cache."""


def exit_code(run: Callable[[], object], done: str) -> int:
    """Run a command and print `done`; return 0, or 1 for an error of input or of the system, which is one line."""
    try:
        run()
    except (InputError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(done)
    return 0
