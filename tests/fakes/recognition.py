"""Clips to recognise, made in milliseconds, and recognisers whose every answer is known."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from fakes.codecs import tone

from envsound.base.errors import NotHere
from envsound.base.files import sha256_file, write_csv, write_json, write_wav
from envsound.codec.codes import save_codes
from envsound.studies.recognition.rounds import Clips, Fold, cross_validation

RATE = 24_000  # Hz
HASH = "c" * 64
N_LEVELS, CODEBOOK_SIZE = 3, 12  # of `coded_clips`
PITCHES_HZ = {"chainsaw": 300.0, "clock_tick": 1_200.0, "dog": 4_000.0}


def made_up_clips(n_per_class: int = 4, n_folds: int = 5, categories: Sequence[str] = tuple(PITCHES_HZ)) -> Clips:
    """Return clips whose files are names alone: `n_per_class` of each category in each fold."""
    places = [
        (fold, label, number)
        for fold in range(1, n_folds + 1)
        for label in range(len(categories))
        for number in range(n_per_class)
    ]
    files = [Path(f"audio/{fold}-{fold}{label}{number}-A-{label}.wav") for fold, label, number in places]
    folds, labels, _ = np.array(places).T
    return Clips(files, [Path(f"codes/{file.stem}.safetensors") for file in files], labels, folds, list(categories))


def sounding_clips(folder: Path, n_per_class: int = 2, n_folds: int = 3) -> Clips:
    """Return clips that are there: a tone of its class's pitch each, and codes that tell the class just as well."""
    clips, draws = made_up_clips(n_per_class, n_folds), np.random.default_rng(0)
    files = [folder / file for file in clips.files]
    codes_files = [folder / "codes" / f"{number:064x}.safetensors" for number in range(len(files))]
    for file, codes_file, label in zip(files, codes_files, clips.labels, strict=True):
        pitch = list(PITCHES_HZ.values())[label] * draws.uniform(0.97, 1.03)
        write_wav(file, tone(7200, pitch) + 0.01 * draws.standard_normal(7200), RATE)
        save_codes(codes_file, draws.integers(4 * label, 4 * label + 4, size=(4, 12)), HASH, 7200)
    return replace(clips, files=files, codes_files=codes_files)


def coded_clips(folder: Path) -> Clips:
    """Return four clips of three classes in each of four folds, with cached codes of 14 to 30 frames.

    Those of class k draw codes from 4k to 4k + 3 alone.
    """
    clips, draws = made_up_clips(n_folds=4), np.random.default_rng(0)
    files = [folder / file.name for file in clips.codes_files]
    for path, label in zip(files, clips.labels, strict=True):
        size = (N_LEVELS, int(draws.integers(14, 31)))
        save_codes(path, 4 * label + draws.integers(4, size=size), HASH, 320 * size[1])
    return replace(clips, codes_files=files)


def first_round(folder: Path) -> Fold:
    """Return the round of coded clips whose test fold is 1; 2 is the validation fold."""
    return cross_validation(coded_clips(folder), [1])[0]


def codec_that_met(folder: Path, clips: Sequence[str]) -> str:
    """Write what lies beside a codec that was trained on clips of these names; return the path of its weights."""
    weights = folder / "small.safetensors"
    folder.mkdir(parents=True, exist_ok=True)
    weights.write_bytes(b"weights")
    write_json(folder / "card.json", {"content_hash": sha256_file(weights)})
    write_csv(folder / "attribution.csv", pd.DataFrame({"clip": list(clips), "fold": 1}))
    return str(weights)


@dataclass
class Knower:
    """Knows the class of the clips it is told to know, by their names; calls every other one the class after it."""

    kind: ClassVar[str] = "other"
    name: str = "knower"
    share: float = 1.0  # of the test clips, the first ones
    here: bool = True
    codec: str = ""  # as in `codecs.load_codec`: it says that it reads its codes
    refit: bool = False
    calls: list[tuple[int, int]] = field(default_factory=list)

    def settings(self) -> dict[str, Any]:
        return {"share": self.share} | ({"refit": True} if self.refit else {})

    def fit_and_score(self, fold: Fold, folder: Path, seed: int) -> np.ndarray:
        if not self.here:
            raise NotHere("its weights are elsewhere")
        self.calls.append((fold.number, seed))
        n, n_classes = len(fold.test), len(fold.test.categories)
        heard = fold.test.labels.copy()
        heard[round(self.share * n) :] = (heard[round(self.share * n) :] + 1) % n_classes
        return np.eye(n_classes)[heard] * 0.7 + 0.3 / n_classes
