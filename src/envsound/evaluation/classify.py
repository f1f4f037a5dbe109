"""The classifier that ships with the study: says which of the ten classes of ESC-10 a recording sounds like.

`envsound.classify("dog.wav")` from Python, `python -m envsound.evaluation.classify dog.wav rain.mp3` from a shell. Its
card, data/classifier/README.md, says what it learnt from and how often it is right.
"""

import argparse
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from envsound.base.errors import InputError
from envsound.base.files import read_json, sha256_file
from envsound.base.paths import find_root
from envsound.data.audio import read_clip
from envsound.evaluation.listeners.network import BATCH_SIZE, Listener, load_listener

FOLDER = Path("data") / "classifier"
FILE, CARD = "classifier.safetensors", "card.json"
WINDOW_SECONDS = 5.0  # s, as long as what it was trained on
MAKE = "python -m envsound.evaluation.classify_training"


class Heard(NamedTuple):
    """A class and its probability, 0 to 1, among the classes that the classifier knows."""

    category: str
    probability: float


def classify(path: str | Path, top: int = 5, folder: str | Path | None = None) -> list[Heard]:
    """Return the `top` most probable classes of a recording, the most probable first.

    Any sample rate, length and number of channels, in a format that libsndfile reads. A recording longer than
    WINDOW_SECONDS is heard in parts of equal length, whose probabilities are averaged; parts of digital silence do not
    count beside others. folder: of the classifier; None is the one that ships.
    Raises InputError when the recording or the classifier cannot be read, or `top` is below 1.
    """
    if top < 1:
        raise InputError(f"top={top}: expected 1 or more classes")
    listener = load_shipped(folder)
    parts = windows(read_clip(path, listener.sample_rate), round(WINDOW_SECONDS * listener.sample_rate))
    batches = [parts[start : start + BATCH_SIZE] for start in range(0, len(parts), BATCH_SIZE)]
    found = np.concatenate([listener.probabilities(batch, listener.sample_rate) for batch in batches])
    mean = found.mean(0, dtype=np.float64)
    order = np.argsort(-mean, kind="stable")[:top]
    return [Heard(listener.categories[place], float(mean[place])) for place in order]


def windows(clip: np.ndarray, longest: int) -> list[np.ndarray]:
    """Cut a clip [n_samples] into as few parts of nearly equal length as are at most `longest` samples long.

    Parts whose samples are all zero are left out, unless all are.
    """
    parts = np.array_split(clip, -(-len(clip) // longest))
    return [part for part in parts if part.any()] or parts


def load_shipped(folder: str | Path | None = None) -> Listener:
    """Return the classifier in `folder`, or the one that ships, checked against its card's SHA-256; kept in memory.

    Raises InputError when it is missing, or its file is not the one that the card describes.
    """
    return _load(Path(folder) if folder is not None else shipped_folder())


@cache
def _load(folder: Path) -> Listener:
    path = folder / FILE
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected the classifier that `{MAKE}` makes")
    expected, found = read_json(folder / CARD).get("content_hash"), sha256_file(path)
    if found != expected:
        raise InputError(f"{path}: SHA-256 is {found}; expected {expected}, as on its card")
    return load_listener(path, "cpu")


def shipped_folder() -> Path:
    """Return where the classifier lies in the repository that this package, or the working directory, belongs to.

    Raises InputError outside any.
    """
    try:
        return find_root(Path(__file__).parent) / FOLDER
    except InputError:
        return find_root() / FOLDER


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line: print one line for each file; return 1 when one of them cannot be read."""
    parser = argparse.ArgumentParser(prog="python -m envsound.evaluation.classify", description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+", metavar="FILE", help="recordings")
    parser.add_argument("--top", type=int, default=5, help="classes to name")
    options = parser.parse_args(arguments)
    failed = 0
    for file in options.files:
        try:
            heard = classify(file, options.top)
            print(f"{file}: " + ", ".join(f"{category} {probability:.0%}" for category, probability in heard))
        except InputError as error:
            print(f"error: {error}", file=sys.stderr)
            failed = 1
    return failed


if __name__ == "__main__":
    sys.exit(main())
