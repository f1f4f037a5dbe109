"""The classifier that ships, as a listener: its file checked against its card, and how well clips fit their classes."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from envsound.base.errors import InputError
from envsound.base.files import read_json, sha256_file
from envsound.base.paths import shipped

if TYPE_CHECKING:
    from envsound.evaluation.listeners.network import Listener

FOLDER = Path("data") / "classifier"
FILE, CARD = "classifier.safetensors", "card.json"
WINDOW_SECONDS = 5.0  # s, as long as what it was trained on


@dataclass(frozen=True)
class ClassScorer:
    """Says how probable the classifier that ships finds each clip's own class: a score to choose candidates by.

    It may find a clip to be none of its classes, which leaves little for that clip's own. sample_rate: Hz, of the
    clips. It must not judge what it chose.
    """

    sample_rate: int

    @property
    def content_hash(self) -> str:
        """SHA-256 of the classifier's file."""
        return load_shipped().content_hash

    def __call__(self, clips: Sequence[np.ndarray], categories: Sequence[str]) -> np.ndarray:
        """Return probabilities, float64 [n_clips], of clips, float32 [n_samples], each as a sound of its category.

        Raises InputError for another rate than the classifier's, or a class that it does not know.
        """
        from envsound.evaluation.decoys import NONE  # needs torch

        listener = load_shipped()
        named = [category for category in listener.categories if category != NONE]
        unknown = sorted(set(categories) - set(named))
        if unknown or self.sample_rate != listener.sample_rate:
            given = f"class {unknown[0]!r}" if unknown else f"sample_rate={self.sample_rate}"
            expected = f"{', '.join(named)}, at {listener.sample_rate} Hz"
            raise InputError(f"{given}: nothing that the shipped classifier knows; expected one of {expected}")
        places = [listener.categories.index(category) for category in categories]
        heard = [mean_probabilities(listener, clip) for clip in clips]
        return np.array([own[place] for own, place in zip(heard, places, strict=True)])


def mean_probabilities(listener: "Listener", clip: np.ndarray) -> np.ndarray:
    """Return the probability of each class of a clip, float64 [n_classes]; parts of a long one are averaged."""
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
        raise InputError(f"{path}: no such file; expected the classifier that `envsound classify --train` makes")
    expected, found = read_json(folder / CARD).get("content_hash"), sha256_file(path)
    if found != expected:
        raise InputError(f"{path}: SHA-256 is {found}; expected {expected}, as on its card")
    return load_listener(path, "cpu")
