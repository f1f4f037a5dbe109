"""A codec whose every answer is known, and sounds to send through it."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from envsound.base.files import write_csv, write_wav
from envsound.codec.fourier import FourierCodec, FourierConfig
from envsound.codec.seanet import SeanetConfig

SMALL = {"latent_dim": 4, "n_levels": 2, "codebook_size": 8}
TOY = FourierConfig(dim=8, hidden=8, n_encoder_blocks=1, n_decoder_blocks=1, **SMALL)
TOY_SEANET = SeanetConfig(n_filters=2, **SMALL)
RATE = 24_000  # Hz
# Tones of three pitches and lengths to learn from, float32 [n_samples], and their classes.
CLIPS = [np.sin(np.arange(n) * f).astype(np.float32) * 0.5 for n, f in ((6000, 0.05), (4000, 0.2), (1000, 0.4))]
CATEGORIES = ["low", "high", "high"]


class SampleCodec:
    """Quantises every sample: each level takes what is left and cuts its range to a `codebook_size`th.

    With k levels a sample is off by at most codebook_size ** -k; what comes out is multiplied by `gain`. Its nominal
    frame rate of 75 Hz is not the true one, so that its bit rate looks like a codec's.
    """

    frame_rate, codebook_size, name = 75, 16, "sample"

    def __init__(self, n_levels: int = 4, gain: float = 1.0, sample_rate: int = RATE):
        self.n_levels, self.gain, self.sample_rate, self.calls = n_levels, gain, sample_rate, 0
        self.content_hash = f"{n_levels}".zfill(64)

    def n_frames(self, n_samples: int) -> int:
        return n_samples

    def encode(self, clips: Tensor, n_samples: Tensor | None = None) -> Tensor:
        self.calls += 1
        left, codes = clips.double(), []
        for level in range(self.n_levels):
            step = 2 / self.codebook_size ** (level + 1)
            codes.append(((left + step * 8) / step).floor().clamp(0, 15).long())
            left = left - self._value(codes[-1], level)
        return torch.stack(codes, dim=1)

    def _value(self, codes: Tensor, level: int) -> Tensor:
        return (codes.double() - 7.5) * 2 / self.codebook_size ** (level + 1)

    def decode(self, codes: Tensor) -> Tensor:
        values = [self._value(of_level, level) for level, of_level in enumerate(codes.unbind(1))]
        return (self.gain * sum(values)).float()


def noise(n_samples: int, seed: int = 0, rms: float = 0.1) -> np.ndarray:
    """White noise, float32 [n_samples]."""
    return (np.random.default_rng(seed).standard_normal(n_samples) * rms).astype(np.float32)


def tone(n_samples: int, hz: float, level: float = 0.3) -> np.ndarray:
    """A sine, float32 [n_samples]."""
    return (level * np.sin(2 * np.pi * hz * np.arange(n_samples) / RATE)).astype(np.float32)


def toy_model(seed: int = 0, shape: FourierConfig = TOY) -> FourierCodec:
    """An untrained generator of toy size; torch's random state stays as it was."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return FourierCodec(shape).eval()


def noise_and_tones(folder: Path, n: int, per_fold: int, step: float, n_samples: int = 5000) -> Path:
    """Write n recordings of two classes in turn, `per_fold` a fold, and clips.csv; tones rise by `step` Hz."""
    rows = []
    for number in range(n):
        category = ("noise", "tone")[number % 2]
        clip = noise(n_samples, seed=number) if category == "noise" else tone(n_samples, 300 + step * number)
        write_wav(folder / "audio" / f"{number}.wav", clip, RATE)
        rows.append({"filename": f"{number}.wav", "category": category, "fold": 1 + number // per_fold})
    write_csv(folder / "clips.csv", pd.DataFrame(rows))
    return folder
