"""The classifier that ships with the study: says which of the ten classes of ESC-10 a recording sounds like.

`envsound.classify("dog.wav")` from Python, `envsound classify dog.wav rain.mp3` from a shell. Its card,
data/classifier/README.md, says what it learnt from and how often it is right.
"""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from envsound.base.errors import InputError, exit_code
from envsound.base.files import read_json, sha256_file
from envsound.base.paths import go_to_root, shipped
from envsound.data.audio import read_clip

if TYPE_CHECKING:
    from envsound.evaluation.listeners.network import Listener

NAME, HELP = "classify", "say which of ten classes of sound recordings hold"
EXAMPLE = "envsound classify dog.wav rain.mp3 --top 3"
FOLDER = Path("data") / "classifier"
FILE, CARD = "classifier.safetensors", "card.json"
WINDOW_SECONDS = 5.0  # s, as long as what it was trained on
MAKE = "envsound classify --train"


class Heard(NamedTuple):
    """A class and its probability, 0 to 1, among the classes that the classifier knows."""

    category: str
    probability: float


def classify(path: str | Path, top: int = 5, folder: str | Path | None = None) -> list[Heard]:
    """Return the `top` most probable classes of a recording, the most probable first.

    Any sample rate, length and number of channels, in a format that libsndfile reads. A recording longer than
    WINDOW_SECONDS is heard in parts, whose probabilities are averaged. folder: None is that of the one that ships.
    Raises InputError when the recording or the classifier cannot be read, or `top` is below 1.
    """
    if top < 1:
        raise InputError(f"top={top}: expected 1 or more classes")
    listener = load_shipped(folder)
    mean = _probabilities(listener, read_clip(path, listener.sample_rate))
    order = np.argsort(-mean, kind="stable")[:top]
    return [Heard(listener.categories[place], float(mean[place])) for place in order]


def class_scores(
    clips: Sequence[np.ndarray], categories: Sequence[str], sample_rate: int, folder: str | Path | None = None
) -> np.ndarray:
    """Return how probable the classifier finds each clip's own class, float64 [n_clips], 0 to 1.

    clips: float32 [n_samples] at `sample_rate` Hz, each heard as `classify` hears a recording; categories: a class for
    each. Raises InputError for another rate than the classifier's, or a class that it does not know.
    """
    listener = load_shipped(folder)
    unknown = sorted(set(categories) - set(listener.categories))
    if unknown or sample_rate != listener.sample_rate:
        given = f"class {unknown[0]!r}" if unknown else f"sample_rate={sample_rate}"
        words = f"one of {', '.join(listener.categories)}, at {listener.sample_rate} Hz"
        raise InputError(f"{given}: nothing that the shipped classifier knows; expected {words}")
    places = [listener.categories.index(category) for category in categories]
    return np.array([_probabilities(listener, clip)[place] for clip, place in zip(clips, places, strict=True)])


def _probabilities(listener: "Listener", clip: np.ndarray) -> np.ndarray:
    """Return the mean probability of each class over the parts of a clip, float64 [n_classes]."""
    parts = windows(clip, round(WINDOW_SECONDS * listener.sample_rate))
    return listener.probabilities(parts, listener.sample_rate).mean(0, dtype=np.float64)


def windows(clip: np.ndarray, longest: int) -> list[np.ndarray]:
    """Cut a clip [n_samples] into few parts of nearly equal length, `longest` at most; silent ones beside others go."""
    parts = np.array_split(clip, -(-len(clip) // longest))
    return [part for part in parts if part.any()] or parts


def load_shipped(folder: str | Path | None = None) -> "Listener":
    """Return the classifier in `folder`, or the one that ships, checked against its card's SHA-256; kept in memory.

    Raises InputError when it is missing, or its file is not the one that the card describes.
    """
    return _load(Path(folder or shipped(FOLDER)))


@cache
def _load(folder: Path) -> "Listener":
    from envsound.evaluation.listeners.network import load_listener  # needs torch

    path = folder / FILE
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected the classifier that `{MAKE}` makes")
    expected, found = read_json(folder / CARD).get("content_hash"), sha256_file(path)
    if found != expected:
        raise InputError(f"{path}: SHA-256 is {found}; expected {expected}, as on its card")
    return load_listener(path, "cpu")


def add_arguments(parser: ArgumentParser) -> None:
    """Declare what `envsound classify` takes: recordings, or the folder to make the classifier from."""
    parser.add_argument("files", nargs="*", metavar="FILE", help="recordings")
    parser.add_argument("--top", type=int, default=5, metavar="N", help="classes to name")
    parser.add_argument("--train", metavar="FOLDER", help="make the classifier again, from ESC-50 at 44.1 kHz")
    parser.add_argument("--to", default=str(FOLDER), metavar="FOLDER", help="where --train writes it")
    parser.add_argument("--epochs", type=int, default=40, help="of --train")
    parser.add_argument("--seed", type=int, default=0, help="of --train")
    parser.add_argument("--held-out-fold", type=int, default=1, help="that --train learns nothing from")
    parser.add_argument("--device", default="auto", help="of --train: auto, cpu, cuda or mps")


def run(options: Namespace) -> int:
    """Print one line for each file, or make the classifier; return 1 when something cannot be read, else 0."""
    if bool(options.files) == bool(options.train):
        print(f"error: {NAME}: expected recordings, or --train and a folder", file=sys.stderr)
        return 1
    if options.train:
        return exit_code(lambda: _train(options), f"Shipped to {options.to}.")
    failed = 0
    for file in options.files:
        try:
            heard = classify(file, options.top)
            print(f"{file}: " + ", ".join(f"{category} {probability:.0%}" for category, probability in heard))
        except InputError as error:
            print(f"error: {error}", file=sys.stderr)
            failed = 1
    return failed


def _train(options: Namespace) -> None:
    from envsound.evaluation.classify_training import RECIPE, make

    data_dir = Path(options.train).absolute()
    go_to_root()
    fold, recipe = options.held_out_fold, replace(RECIPE, n_epochs=options.epochs, seed=options.seed)
    told = f"{MAKE} <folder of ESC-50> --epochs {options.epochs} --seed {options.seed} --held-out-fold {fold}"
    make(data_dir, options.to, recipe, None, fold, options.device, told)
