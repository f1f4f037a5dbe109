"""How soon a system that is asked for a clip has its first sound, and how long it takes for all of it."""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pandas as pd

from envsound.base.device import describe_device
from envsound.systems.base import Request
from envsound.systems.language.system import Language
from envsound.systems.soundstorm.system import SoundStorm

FIRST_SECONDS = 0.5  # of sound, that count as the first
IN_ORDER = ("delay", "parallel", "flattened")  # orders in which a clip's beginning is written first
COLUMNS = ["system", "batch", "clip_seconds", "first_sound_s", "seconds", "real_time_factor", "passes"]
COLUMNS += ["n_parameters", "precision", "device", "n_runs"]


def latency_table(
    systems: Mapping[str, SoundStorm],
    batches: Sequence[int] = (1, 8),
    clip_seconds: float = 5.0,
    n_runs: int = 5,
    clock: Callable[[], float] = time.perf_counter,
) -> pd.DataFrame:
    """Return how fast systems of codes make clips, decoder included: a row for each system and batch, COLUMNS.

    first_sound_s: s until the first FIRST_SECONDS of all clips of a batch can be heard, the least wait that a player
    has. A language model that writes a clip's beginning first has it after as many steps as a clip of that length
    takes, and no later code changes it; the masked model has nothing before its last pass.
    seconds: until the whole batch is there; real_time_factor: that by all the seconds of sound in the batch, so that 1
    is as fast as it plays, and less is faster (some divide by the length of one clip). passes: how often the network is
    called. Medians of `n_runs` after one to warm up; clock: returns s.
    """
    rows = []
    for name, system in systems.items():
        ordered = isinstance(system, Language) and system.checkpoint.model.config.pattern in IN_ORDER
        device = next(system.checkpoint.model.parameters()).device
        for batch in batches:
            at_once = replace(system, batch_size=batch)
            whole, passes = _timed(at_once, clip_seconds, batch, n_runs, clock)
            first = _timed(at_once, FIRST_SECONDS, batch, n_runs, clock)[0] if ordered else whole
            rows.append([name, batch, clip_seconds, first, whole, whole / (batch * clip_seconds), passes,
                         system.checkpoint.model.n_parameters(), str(system.decoding.precision).split(".")[-1],
                         describe_device(device), n_runs])  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS)


def _timed(
    system: SoundStorm, seconds: float, batch: int, n_runs: int, clock: Callable[[], float]
) -> tuple[float, int]:
    """Return the median time (s) that a batch of clips of a length takes, and the number of passes."""
    names, times = system.categories or [""], []
    for run in range(n_runs + 1):
        asked = [Request("", names[n % len(names)], seconds, 100 * run + n) for n in range(batch)]
        with _counted(system) as passes:
            started = clock()
            clips = list(system.generate(asked))  # as arrays, so that a device has done all of it
            times.append(clock() - started)
        assert len(clips) == batch and all(np.isfinite(clip).all() for clip in clips)
    return statistics.median(times[1:]), len(passes)


@contextmanager
def _counted(system: SoundStorm) -> Iterator[list[int]]:
    """Give a list that grows with every pass of a system's network."""
    passes: list[int] = []
    hook = system.checkpoint.model.register_forward_pre_hook(lambda *_: passes.append(1))
    try:
        yield passes
    finally:
        hook.remove()
