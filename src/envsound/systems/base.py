"""What a generator of sound is: asked for clips it makes them, whatever it learnt from and however it works."""

import importlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import pandas as pd
import torch

from envsound.base.errors import InputError
from envsound.codec import Codec, load_codec
from envsound.data.recordings import Recordings
from envsound.run.presets import checked, nearest
from envsound.systems import SYSTEMS

Options = TypeVar("Options")


@dataclass(frozen=True)
class Request:
    """One clip to generate: its file, its class ("" for none), its length in s, and the seed that decides it.

    like: a recording that the clip begins with and goes on from for `seconds`; with a `share` above 0 it is the
    recording itself, in which so large a share of time is made anew. text: in place of the class, what it should sound
    like, in words. Raises InputError for a length or share that cannot be.
    """

    filename: str
    category: str
    seconds: float
    seed: int
    like: str = ""
    share: float = 0.0
    text: str = ""

    def __post_init__(self) -> None:
        if not 0 < self.seconds < math.inf:
            raise InputError(f"seconds={self.seconds}: expected more than 0")
        if not 0 <= self.share <= 1 or (self.share and not self.like):
            raise InputError(f"share={self.share}: expected 0 to 1, and a recording where it is above 0")


@dataclass(frozen=True)
class Trained:
    """What a training left: the rows of training.csv, and what the record of the step keeps (steps, clips, device)."""

    history: pd.DataFrame
    facts: dict[str, Any]


class System(Protocol):
    """A trained generator, loaded from a run or from shipped weights.

    sample_rate: Hz; content_hash: changes with all that decides a clip beside its request: weights, settings, code;
    categories: the classes it can be asked for, in its own order; conditions: what it can be told, of {"class", "text",
    "audio"}.
    """

    name: str
    sample_rate: int
    content_hash: str
    categories: list[str]
    conditions: frozenset[str]

    def generate(self, requests: Sequence[Request]) -> Iterator[np.ndarray]:
        """Yield a clip for each request, float32 [n_samples] in [-1, 1]; it depends on that request alone.

        Requests that name a recording are for systems whose `conditions` hold "audio", those with a text for systems
        whose conditions hold "text"; such a system takes a class for a text of its words.
        """
        ...

    def describe(self, request: Request) -> dict[str, Any]:
        """Return what samples.csv says of a clip beside its request: `seconds` as made, and the settings."""
        ...

    def reconstruct(self, clip: np.ndarray) -> np.ndarray | None:
        """Return what the system's own representation keeps of a clip, float32 [n_samples]; None where it has none."""
        ...

    def controls(self, run: Path) -> Mapping[str, Callable[[Any, np.random.Generator], np.ndarray]]:
        """Return what needs no model, by name: each makes a clip of the class and length of a row of `recordings`."""
        ...


class Recipe(Protocol):
    """How a system is made. `settings` are a preset's values by key; a recipe reads those it knows.

    about: in Markdown, what the model is, what it learns by, and how clips are drawn.
    """

    about: str

    def codec(self, settings: Mapping[str, Any]) -> Codec:
        """Return the codec of codes.csv: ceiling, controls and the search for copies speak of its codes."""
        ...

    def prepare(self, recordings: Recordings, settings: Mapping[str, Any], run: Path) -> pd.DataFrame:
        """Return codes.csv of a run (see `run.contract`), and leave what training reads."""
        ...

    def train(self, settings: Mapping[str, Any], run: Path, device: torch.device) -> Trained:
        """Train to the end, from where an interrupted call was; the history is a `training` of `run.contract`."""
        ...

    def load(self, settings: Mapping[str, Any], run: Path, device: torch.device) -> System:
        """Return the trained system of a run."""
        ...


def preset_codec(settings: Mapping[str, Any]) -> Codec:
    """Return the codec of a preset, on the device it names."""
    weights = settings["codec_weights"], settings["device"], settings["codec_weights_sha256"]
    return load_codec(settings["codec"], *weights)


def read_options(kind: type[Options], settings: Mapping[str, Any]) -> Options:
    """Return a system's own settings, a frozen dataclass with defaults, from the `options` of a preset.

    Raises InputError for a name that `kind` lacks, and for a value of another type than the default's.
    """
    known = {field.name: field.default for field in fields(kind) if field.default is not MISSING}
    unknown = [name for name in settings["options"] if name not in known]
    if unknown:
        raise InputError(f"options: {unknown[0]!r} is unknown; expected {nearest(unknown[0], known)}")
    given = {name: checked(value, known[name], f"options: {name}") for name, value in settings["options"].items()}
    return kind(**given)


def load_recipe(name: str) -> Recipe:
    """Return a recipe by its name in SYSTEMS, or as "module:object" of a system of one's own.

    Raises InputError for a name that is neither.
    """
    place = SYSTEMS.get(name, name)
    module, colon, attribute = place.partition(":")
    if not colon:
        raise InputError(f"system={name!r}: expected {nearest(name, SYSTEMS)}, or module:recipe of your own")
    try:
        return getattr(importlib.import_module(module), attribute)()
    except (ImportError, AttributeError) as error:
        raise InputError(f"system={name!r}: cannot be imported ({error})") from None
