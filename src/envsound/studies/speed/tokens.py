"""How fast the study's own tokens are made and learnt, decoder included, and whether memory stays where it is.

The generator that ships, 4 levels of 94 columns for 5 s, and a training of its shape; memory also by a tiny model.
"""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import torch
from tqdm.auto import tqdm

from envsound.base.device import choose_device
from envsound.base.errors import InputError
from envsound.base.files import write_csv
from envsound.run.provenance import commit, machine_name, write_record
from envsound.studies.speed.bench import call_apart, status_bytes, turn_by_turn
from envsound.systems.base import Request
from envsound.systems.soundstorm.batches import CodeSet
from envsound.systems.soundstorm.checkpoints import Checkpoint
from envsound.systems.soundstorm.conformer import MaskedConformer
from envsound.systems.soundstorm.generator import load_generator
from envsound.systems.soundstorm.plan import TrainingConfig
from envsound.systems.soundstorm.system import SoundStorm
from envsound.systems.soundstorm.training import Trainer

SECONDS, BATCHES, LEARNT = 5.0, (1, 16), 32  # of a clip; clips sampled at once; clips of a training step
STEPS = 4  # of a timed epoch of training
ENDLESS = {"tiny": 10_000, "shipped": 500}  # clips sampled while memory is watched, by model
LOOKS = 10  # at resident memory, evenly over them
TINY, TINY_SECONDS = {"dim": 32, "n_layers": 1, "n_heads": 2, "conv_kernel": 7}, 1.0
MAP = {"shipped": "the generator that ships, 5 s", "tiny": "a tiny model of as many levels, codes of 1 s"}


def measure_tokens(out_dir: str | Path, device: str = "auto", n_runs: int = 3) -> pd.DataFrame:
    """Write tokens.csv into `out_dir`, and return it. On a machine that does nothing else.

    Columns: task, batch, seconds (median of n_runs, after one to warm up), clips_per_second, precision, machine,
    commit. Raises InputError for n_runs below 1.
    """
    if n_runs < 1:
        raise InputError(f"n_runs={n_runs}: expected at least 1")
    place, code = choose_device(device), commit()
    rows = [*_sampling(place, n_runs), _training(place, n_runs)]
    table = pd.DataFrame(rows).assign(n_runs=n_runs, machine=machine_name(place), commit=code)
    write_csv(Path(out_dir) / "tokens.csv", table)
    write_record(out_dir, "tokens", {"n_runs": n_runs}, place, code)
    return table


def measure_memory(out_dir: str | Path, device: str = "auto", endless: dict[str, int] | None = None) -> pd.DataFrame:
    """Write memory.csv into `out_dir`, and return it: what `watch_memory` tells, a process for each model.

    endless: clips sampled while memory is watched, of ENDLESS. Columns: model, n_clips (sampled so far), resident_mib.
    """
    place, code, asked = choose_device(device), commit(), endless or ENDLESS
    watched = [call_apart(watch_memory, model=model, n_clips=n, device=str(place)) for model, n in asked.items()]
    table = pd.DataFrame([row for rows in watched for row in rows])
    write_csv(Path(out_dir) / "memory.csv", table)
    write_record(out_dir, "memory", {"endless": asked}, place, code)
    return table


def _sampling(place: torch.device, n_runs: int) -> Iterator[dict[str, Any]]:
    system = load_generator(device=place.type).system
    for batch in BATCHES:
        at_once = replace(system, batch_size=batch)
        asked = _requests(system, batch, 0, SECONDS)
        [times] = turn_by_turn([lambda system=at_once, asked=asked: list(system.generate(asked))], n_runs)
        yield _row("sample and decode", batch, times, str(system.decoding.precision).removeprefix("torch."))


def _requests(system: SoundStorm, n: int, first: int, length: float) -> list[Request]:
    names = system.categories
    return [Request(f"{seed}.wav", names[seed % len(names)], length, seed) for seed in range(first, first + n)]


def _training(place: torch.device, n_runs: int) -> dict[str, Any]:
    """Time epochs of a training of the shipped shape on random codes: how long a step takes does not depend on them."""
    system, draws = load_generator(device=place.type).system, np.random.default_rng(0)
    shape = system.checkpoint.model.config
    codes = draws.integers(shape.codebook_size, size=(STEPS * LEARNT, shape.n_levels, system.window), dtype=np.int16)
    clips = CodeSet([*codes], np.zeros(len(codes), np.int64), system.categories)
    watched = CodeSet([*codes[:1]], np.zeros(1, np.int64), system.categories)
    config = TrainingConfig(num_epochs=n_runs + 1, batch_size=LEARNT)
    with TemporaryDirectory() as folder:
        trainer = Trainer(clips, watched, shape, config, folder, place)
        history = trainer.fit()
    seconds = history.drop_duplicates("epoch")["seconds"].to_list()[1:]
    return _row("train", LEARNT, [one / STEPS for one in seconds], trainer.precision)


def _row(task: str, batch: int, times: Sequence[float], precision: str) -> dict[str, Any]:
    seconds = statistics.median(times)
    row = {"task": task, "batch": batch, "seconds": seconds, "clips_per_second": batch / seconds}
    return row | {"precision": precision}


def watch_memory(model: str, n_clips: int, device: str) -> list[dict[str, Any]]:
    """Sample n_clips and return model, n_clips and resident_mib (of this process) after each of LOOKS parts.

    model: "shipped", whose clips are decoded to sound, or "tiny", which draws codes alone. Linux alone tells resident
    memory; elsewhere it is None.
    """
    system, rows, done = load_generator(device=device).system, [], 0
    make, length = system.generate, SECONDS
    if model == "tiny":
        system = replace(system, checkpoint=_tiny(system))
        make, length = system.codes, TINY_SECONDS
    for part in np.array_split(np.arange(n_clips), LOOKS):
        asked = _requests(system, len(part), done, length)
        for _ in tqdm(make(asked), total=len(part), desc=f"{model}, {done}", leave=False):
            pass
        done += len(part)
        resident = status_bytes("VmRSS")
        rows.append({"model": MAP[model], "n_clips": done, "resident_mib": resident and resident / 2**20})
    return rows


def _tiny(system: SoundStorm) -> Checkpoint:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = MaskedConformer(replace(system.checkpoint.model.config, **TINY))
    place = next(system.checkpoint.model.parameters()).device
    return replace(system.checkpoint, model=model.to(place).eval())
