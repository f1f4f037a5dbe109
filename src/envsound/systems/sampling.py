"""Generating clips with any system: what to ask for, one wav and one table row each, and going on after a kill."""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import pandas as pd
from torch import Tensor
from tqdm.auto import tqdm

from envsound.base.cache import Format, stored, warn_of_damage
from envsound.base.device import choose_device
from envsound.base.errors import InputError
from envsound.base.files import read_json, remove_written, write_json, write_wav
from envsound.base.paths import find_root
from envsound.base.text import file_name
from envsound.codec import Codec
from envsound.codec.codes import load_codes, save_codes
from envsound.data.audio import read_clip
from envsound.run.contract import codes_beside
from envsound.run.identity import digest
from envsound.run.presets import FOLDER as PRESETS
from envsound.run.presets import load_preset, nearest, run_dir
from envsound.systems.base import Request, System, load_recipe

RECORD = "request.json"  # in a folder of samples: what they were asked for
TRAINING = "02_train_model"  # the step of a run that leaves a model


@runtime_checkable
class DrawsCodes(Protocol):
    """A `System` that draws codes, which its codec makes sound of."""

    codec: Codec

    def codes(self, requests: Sequence[Request]) -> Iterator[Tensor]:
        """Yield codes, int64 [n_levels, n_frames], for each request."""
        ...

    def sound(self, codes: Tensor) -> np.ndarray:
        """Return the clip of codes [n_levels, n_frames], float32 [n_samples]."""
        ...


class ReadsText(Protocol):
    """A `System` whose conditions hold "text"."""

    def told(self, text: str) -> tuple[str, str]:
        """Return a text as the system can follow it, and a line on words that it does not know, "" where it knows all.

        Raises InputError when it can follow nothing of it.
        """
        ...


class Made(NamedTuple):
    """A generated clip, float32 [n_samples], and the codes int64 [n_levels, n_frames] of a system that draws them."""

    clip: np.ndarray
    codes: np.ndarray | None = None


def make(system: System, requests: Sequence[Request]) -> Iterator[Made]:
    """Yield what a system makes of each request."""
    if not isinstance(system, DrawsCodes):
        yield from map(Made, system.generate(requests))
        return
    for codes in system.codes(requests):
        yield Made(system.sound(codes), codes.cpu().numpy())


class Score(Protocol):
    """Says how good clips, float32 [n_samples] each, are as sounds of their classes: float [n_clips], higher is better.

    content_hash changes with whatever decides that.
    """

    content_hash: str

    def __call__(self, clips: Sequence[np.ndarray], categories: Sequence[str]) -> np.ndarray: ...


@dataclass(frozen=True)
class Selection:
    """How many candidates are made of a clip, and which is kept: the one that `score` likes best.

    The score comes from whoever asks, so that no system knows a judge; one candidate asks for none.
    Raises InputError for fewer than one candidate, or several without a score.
    """

    n_candidates: int = 1
    score: Score | None = None

    def __post_init__(self) -> None:
        if self.n_candidates < 1 or (self.n_candidates > 1 and self.score is None):
            raise InputError(f"n_candidates={self.n_candidates}: expected 1 or more, with a score to choose by above 1")

    def facts(self) -> dict[str, int | str]:
        """Return what samples.csv says of it: n_candidates and, where one was chosen, the hash of the score."""
        return {"n_candidates": self.n_candidates, "score": self.score.content_hash if self.n_candidates > 1 else ""}

    def make(self, system: System, requests: Sequence[Request]) -> Iterator[Made]:
        """Yield the chosen candidate of each request.

        The first candidate is the clip of the request itself; the others' seeds are drawn from its seed.
        """
        n = self.n_candidates
        if n == 1:
            yield from make(system, requests)
            return
        made = make(system, [one for request in requests for one in _candidates(request, n)])
        for request in requests:
            some = [next(made) for _ in range(n)]
            yield some[int(np.argmax(self.score([one.clip for one in some], [request.category] * n)))]


ONE_CANDIDATE = Selection()


@dataclass(frozen=True)
class Looped:
    """A system whose clips go on at their beginning where they end.

    Each is made `fade_seconds` longer, and what is too long fades out over its beginning, at equal power. Raises
    InputError for a clip that is shorter than that.
    """

    system: System
    fade_seconds: float = 0.5

    @property
    def name(self) -> str:
        return self.system.name

    @property
    def sample_rate(self) -> int:
        return self.system.sample_rate

    @property
    def content_hash(self) -> str:
        return digest([self.system.content_hash, f"loop {self.fade_seconds}"])

    def generate(self, requests: Sequence[Request]) -> Iterator[np.ndarray]:
        """Yield a clip for each request, float32 [n_samples]."""
        fade = round(self.fade_seconds * self.sample_rate)
        rise = np.sin(np.linspace(0, np.pi / 2, fade, endpoint=False, dtype=np.float32))
        fall = np.cos(np.linspace(0, np.pi / 2, fade, endpoint=False, dtype=np.float32))
        for request in requests:
            if request.seconds < self.fade_seconds:
                raise InputError(f"seconds={request.seconds}: expected {self.fade_seconds} or more of a loop")
        longer = [dataclasses.replace(one, seconds=one.seconds + self.fade_seconds) for one in requests]
        for clip in self.system.generate(longer):
            loop = clip[:-fade].copy()
            loop[:fade] = (clip[:fade] * rise + clip[-fade:] * fall).clip(-1, 1)
            yield loop

    def describe(self, request: Request) -> dict[str, Any]:
        """Return what the system says of a clip, and that it is a loop."""
        return self.system.describe(request) | {"loop": True}


def _candidates(request: Request, n: int) -> list[Request]:
    others = np.random.SeedSequence([request.seed, 3]).generate_state(n - 1)
    return [request, *(dataclasses.replace(request, seed=int(seed)) for seed in others)]


def load_trained(place: str, device: str = "auto") -> System:
    """Return the trained system of a run: its folder, or the name of its preset for fold 1 and seed 0.

    Raises InputError when there is no such run, or its model is not trained.
    """
    run = _run(place)
    settings = trained_settings(run, place) | {"device": device}
    return load_recipe(settings["system"]).load(settings, run, choose_device(device))


def trained_settings(run: str | Path, place: str = "") -> dict[str, Any]:
    """Return all of a preset's values as a run was trained by them. Raises InputError for a run without a model.

    place: what the run was called by whoever asked, for the message.
    """
    record = Path(run) / "provenance.json"
    step = read_json(record)["steps"].get(TRAINING) if record.is_file() else None
    if step is None:
        message = f"{run} holds no trained model; expected a run, or the preset of one"
        raise InputError(f"system={place or str(run)!r}: {message}")
    return load_preset(step["parameters"]["preset"], find_root() / PRESETS) | step["parameters"]


def _run(place: str) -> Path:
    own = Path(place).expanduser()
    return own if own.is_dir() else find_root() / run_dir(place, 1, 0)


def check_told(system: System, requests: Sequence[Request]) -> None:
    """Raise InputError for a request that tells a system what it cannot be told."""
    given = {"audio": lambda one: one.like, "text": lambda one: one.text}
    words = {"audio": "goes on from no recording", "text": "is told no text"}
    for condition, told in given.items():
        if condition not in system.conditions and any(map(told, requests)):
            raise InputError(f"{system.name}: {words[condition]}; expected requests without")


def plan_requests(
    n_samples: int,
    seed: int,
    categories: Sequence[str],
    category: str,
    train_seconds: np.ndarray,
    sample_seconds: float,
) -> list[Request]:
    """Decide class, length and seed of every clip.

    categories: the system's classes, empty when it is told none; category: "" takes them in turn. Lengths (s) are
    `sample_seconds`, or drawn from the training clips' `train_seconds` when that is 0.
    Raises InputError when the category is not one of the system's or a number is too small.
    """
    if n_samples < 1 or sample_seconds < 0:
        given = f"n_samples={n_samples}, sample_seconds={sample_seconds}"
        raise InputError(f"{given}: expected at least 1 clip, and a length of 0 s (as the training clips) or above")
    if category and category not in categories:
        known = nearest(category, categories) if categories else "none: the model is unconditional"
        raise InputError(f"category={category!r}: not a class of the model; expected {known}")
    asked = [category] if category else (list(categories) or [""])
    rng = np.random.default_rng([seed, 1])
    lengths = np.full(n_samples, sample_seconds) if sample_seconds else rng.choice(train_seconds, n_samples)
    seeds = np.random.SeedSequence([seed, 2]).generate_state(n_samples)
    requests = []
    for index in range(n_samples):
        name = asked[index % len(asked)]
        stem = f"{index:04d}_{file_name(name)}" if name else f"{index:04d}"
        requests.append(Request(f"{stem}.wav", name, float(lengths[index]), int(seeds[index])))
    return requests


def generate_clips(
    system: System,
    requests: Sequence[Request],
    folder: str | Path,
    replace: bool = False,
    selection: Selection = ONE_CANDIDATE,
) -> pd.DataFrame:
    """Generate every requested clip into `folder` and return the rows of samples.csv (see `run.contract`).

    Codes go beside the clips of a system that draws them (see `contract.codes_beside`). Clips that an interrupted call
    with the same requests, system and selection left behind are kept. Raises InputError, and writes nothing, when the
    folder holds the clips of another request, unless these may be replaced, or files that are nobody's clips, or when
    a request names a recording that cannot be read.
    """
    chosen = selection.facts()
    rows = [
        {"filename": r.filename, "category": r.category, "seed": r.seed} | system.describe(r) | chosen for r in requests
    ]
    asked = {"requests": [asdict(one) for one in requests], "system": system.content_hash} | chosen
    folder = _claim(Path(folder), asked, replace)
    missing = [request for request in requests if not _is_whole(folder / request.filename, system)]
    missing.sort(key=lambda request: request.seconds)  # clips of similar length share a batch
    with tqdm(total=len(requests), initial=len(requests) - len(missing), desc="sampling", unit="clip") as bar:
        for request, (clip, codes) in zip(missing, selection.make(system, missing), strict=True):
            if codes is not None:
                save_codes(codes_beside(folder / request.filename), codes, system.codec.content_hash, len(clip))
            write_wav(folder / request.filename, clip, system.sample_rate)
            bar.update()
    return pd.DataFrame(rows)


def _is_whole(file: Path, system: System) -> bool:
    """Say whether an earlier call left a clip, with the codes of a system that draws them; warn of a damaged one."""
    if not file.exists():
        return False
    try:
        read_clip(file, system.sample_rate)
        if isinstance(system, DrawsCodes):
            load_codes(codes_beside(file), system.codec.content_hash)
    except InputError as error:
        warn_of_damage(file, error)
        return False
    return True


def _claim(folder: Path, asked: dict, replace: bool) -> Path:
    """Return the folder, empty or with clips of the same request and system, beside which others' files stay."""
    record = folder / RECORD
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise InputError(f"{folder}: is a link or a file; expected the name of a folder of its own")
    if folder.exists() and any(folder.iterdir()):
        if not record.is_file():
            raise InputError(f"{folder}: holds files that are no clips of a request; expected an empty folder")
        before = stored(record, RECORDED)
        if before != asked and not replace:
            raise InputError(f"{folder}: holds the clips of another request; name another folder, or remove them")
        if before != asked:
            _remove_clips(folder, before)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(record, asked)
    return folder


def _remove_clips(folder: Path, asked: dict | None) -> None:
    """Delete the clips of an earlier request with their codes, and nothing else; without its record, all such names."""
    numbered = "[0-9]" * 4 + "*.wav"
    names = [one["filename"] for one in asked["requests"]] if asked else [path.name for path in folder.glob(numbered)]
    files = [path for name in names for path in (folder / name, codes_beside(folder / name))]
    remove_written(folder, [path.relative_to(folder).as_posix() for path in files])


def _read_record(path: Path) -> dict:
    """Read what a folder's clips were asked for. Raises ValueError when that is not what it says."""
    found = read_json(path)
    if not isinstance(found, dict) or not all("filename" in one for one in found.get("requests", [{}])):
        raise ValueError("no record of requests")
    return found


RECORDED = Format(".json", _read_record, write_json)
