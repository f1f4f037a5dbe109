"""Short training crops: balanced over classes, drawn where there is something to hear, at varied gain."""

import json

import numpy as np
import torch
from torch import Tensor

from envsound.base.errors import InputError


class CropSampler:
    """Draws crops of `crop_samples` samples from clips (float32 [n_samples] each, of any length).

    A class is drawn uniformly, then one of its clips, then a start with a chance that grows with the crop's level
    (rms + 0.01 of the clip's loudest); the gain is uniform in -12..+6 dB, bounded so that no peak passes 1.
    """

    def __init__(self, clips: list[np.ndarray], categories: list[str], crop_samples: int, seed: int):
        if not clips or len(clips) != len(categories):
            raise InputError(f"clips: {len(clips)} for {len(categories)} categories; expected as many, at least one")
        self.crop_samples = crop_samples
        self.clips = [np.pad(clip, (0, max(0, crop_samples - len(clip)))) for clip in clips]
        self.rows = [np.flatnonzero(np.array(categories) == name) for name in sorted(set(categories))]
        self.hop = max(1, crop_samples // 10)
        self.chances = [self._start_chances(clip) for clip in self.clips]
        self.rng = np.random.default_rng(seed)

    def _start_chances(self, clip: np.ndarray) -> np.ndarray:
        energy = np.concatenate([[0.0], np.cumsum(clip.astype(np.float64) ** 2)])
        starts = np.arange(0, len(clip) - self.crop_samples + 1, self.hop)
        level = np.sqrt(np.maximum(energy[starts + self.crop_samples] - energy[starts], 0) / self.crop_samples)
        chance = level + 0.01 * level.max() + 1e-9
        return chance / chance.sum()

    def batch(self, size: int) -> Tensor:
        """Return `size` crops, float32 [size, crop_samples] in [-1, 1]."""
        return torch.from_numpy(np.stack([self._crop() for _ in range(size)]))

    def _crop(self) -> np.ndarray:
        row = self.rng.choice(self.rows[self.rng.integers(len(self.rows))])
        start = self.rng.choice(len(self.chances[row]), p=self.chances[row]) * self.hop
        crop = self.clips[row][start : start + self.crop_samples]
        gain = 10 ** (self.rng.uniform(-12, 6) / 20)
        peak = np.abs(crop).max()
        return (crop * min(gain, 1 / max(peak, 1e-6))).astype(np.float32)

    def state(self) -> str:
        """Return the state of the random generator as text."""
        return json.dumps(self.rng.bit_generator.state)

    def restore(self, state: str) -> None:
        """Continue from a state that `state` returned."""
        self.rng.bit_generator.state = json.loads(state)
