"""A finished run that can be evaluated in seconds: two classes that differ in their spectrum, clips of 0.2 s."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from envsound.base.files import write_csv, write_json, write_wav
from envsound.codec.codes import save_codes

RATE = 24_000  # Hz, of generated clips
CLASSES = ("dog", "rain")
HASH = "a" * 64


class SteadyCodec:
    """A codec whose decoder holds 320 samples at 0.001 times the code of level 0, in turns up and down."""

    name, sample_rate, frame_rate, n_levels, codebook_size, content_hash = "steady", RATE, 75, 2, 1024, HASH

    def __init__(self, content_hash: str = HASH):
        self.content_hash = content_hash

    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        return (codes[:, 0].float() * 1e-3).repeat_interleave(320, dim=-1) * (-1) ** torch.arange(codes.shape[2] * 320)


def sound(category: str, seed: int, n_samples: int = 4800) -> np.ndarray:
    """Noise, smoothed for a dog."""
    noise = np.random.default_rng(seed).normal(0, 0.1, n_samples)
    return np.convolve(noise, np.full(16, 0.25), "same") if category == "dog" else noise


def codes_of(seed: int) -> np.ndarray:
    """The codes of a recording, int [2, 15]."""
    return np.random.default_rng(seed).integers(0, 900, (2, 15))


def make_listened_run(
    folder: Path, n_folds: int = 3, per_class: int = 6, told: bool = True, recorded_hz: int = RATE, **trained
) -> Path:
    """Write a run below `folder` and return it: fold 1 is held out, `per_class` clips of each class in every fold.

    Samples: `per_class` of each class, without a class unless `told`; of other training seeds they are other sounds.
    trained: further parameters of notebook 02.
    """
    rows, raw = [], folder.parent / "recordings"
    for number in range(n_folds * per_class * len(CLASSES)):
        category, fold = CLASSES[number % 2], number // (per_class * len(CLASSES)) + 1
        path, codes_file = raw / f"r{number:02d}.wav", raw / f"r{number:02d}.safetensors"
        write_wav(path, sound(category, number, recorded_hz // 5), recorded_hz)
        save_codes(codes_file, codes_of(number), HASH, 4800)
        rows.append((path.stem, path.name, path, fold, category, 15, 0.19, codes_file))
    names = ["clip_id", "filename", "path", "fold", "category", "n_frames", "seconds", "codes_file"]
    write_csv(folder / "codes.csv", pd.DataFrame(rows, columns=names))
    samples = pd.DataFrame({"filename": [f"{n:02d}.wav" for n in range(2 * per_class)], "seed": 0, "seconds": 0.2})
    first, asked = 500 + 50 * trained.get("seed", 0), list(CLASSES) * per_class
    for number, (name, category) in enumerate(zip(samples["filename"], asked, strict=True)):
        write_wav(folder / "samples" / name, sound(category, first + number), RATE)
    write_csv(folder / "samples.csv", samples.assign(category=asked if told else ""))
    given = {
        "01_encode_clips": {"codec": "steady", "clip_seconds": 5.0, "dataset": "folder"},
        "02_train_model": {"preset": "tiny", "fold": 1, "seed": 0, "train_folds": [], "validation_fold": 0} | trained,
        "03_sample_clips": {"seed": trained.get("seed", 0), "guidance_scale": 2.0},
    }
    steps = {name: {"parameters": values, "facts": {"codec_hash": HASH}} for name, values in given.items()}
    for name, record in steps.items():
        write_json(folder / "provenance" / f"{name}.json", record)
    write_json(folder / "provenance.json", {"steps": steps})
    return folder
