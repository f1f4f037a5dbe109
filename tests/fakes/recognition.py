"""Clips to recognise, made in milliseconds, and recognisers whose every answer is known."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from fakes.codecs import tone

from envsound.base.errors import NotHere
from envsound.base.files import sha256_file, write_csv, write_json, write_wav
from envsound.codec.codes import save_codes
from envsound.studies.recognition.rounds import Clips, Fold

RATE = 24_000  # Hz
HASH = "c" * 64
PITCHES_HZ = {"chainsaw": 300.0, "clock_tick": 1_200.0, "dog": 4_000.0}


def made_up_clips(n_per_class: int = 4, n_folds: int = 5, categories: Sequence[str] = tuple(PITCHES_HZ)) -> Clips:
    """Return clips whose files are names alone: `n_per_class` of each category in each fold."""
    folds, labels, files = [], [], []
    for fold in range(1, n_folds + 1):
        for label in range(len(categories)):
            for number in range(n_per_class):
                folds.append(fold)
                labels.append(label)
                files.append(Path(f"audio/{fold}-{fold}{label}{number}-A-{label}.wav"))
    codes = [Path(f"codes/{file.stem}.safetensors") for file in files]
    return Clips(files, codes, np.array(labels), np.array(folds), list(categories))


def sounding_clips(folder: Path, n_per_class: int = 2, n_folds: int = 3, seconds: float = 0.3) -> Clips:
    """Return clips that are there: a tone of its class's pitch each, and codes that tell the class just as well."""
    clips, draws = made_up_clips(n_per_class, n_folds), np.random.default_rng(0)
    files, codes_files = [], []
    for number, label in enumerate(clips.labels):
        files.append(folder / clips.files[number])
        pitch = list(PITCHES_HZ.values())[label] * draws.uniform(0.97, 1.03)
        noise = 0.01 * draws.standard_normal(round(seconds * RATE))
        write_wav(files[-1], tone(round(seconds * RATE), pitch) + noise, RATE)
        codes = draws.integers(4 * label, 4 * label + 4, size=(4, 12))
        codes_files.append(folder / "codes" / f"{number:064x}.safetensors")
        save_codes(codes_files[-1], codes, HASH, round(seconds * RATE))
    return Clips(files, codes_files, clips.labels, clips.folds, clips.categories)


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
