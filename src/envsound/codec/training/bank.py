"""All clips of a training on its device, and altered crops drawn from them there: no step waits for the host.

A crop is drawn where there is something to hear, played faster or slower, filtered by octaves and changed in level,
the alterations of `data.augmentation` that a graphics processor makes in about a millisecond.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from envsound.base.errors import InputError

FULL_SCALE = 32_767.0  # of int16
SPEED_STEPS = 512  # speeds, and so positions between samples, are multiples of 1 / 512: exact on every device
HALF_TAPS = 12  # samples on either side that the resampling filter sees
LOWEST_OCTAVE_HZ = 62.5
COPIES_AT_ONCE = 8


@dataclass(frozen=True)
class Alterations:
    """How crops differ from what was recorded; each share is of the crops."""

    speed_octaves: float = 0.25  # speed 2^U(-0.25, 0.25)
    speed_share: float = 0.8
    octave_db: float = 6.0  # gain of each octave band, uniform in -6..+6 dB
    octave_share: float = 0.6
    level_db: tuple[float, float] = (-10.0, 6.0)  # uniform, within full scale


class ClipBank:
    """Clips as 16-bit integers on one device; `draw` returns crops of `crop_samples` samples.

    Each clip is drawn equally often, at a start whose chance grows with the crop's level (rms + 0.01 of the clip's
    loudest crop). A clip is a loop where a crop needs more of it than there is.
    """

    def __init__(self, clips: Sequence[np.ndarray], sample_rate: int, crop_samples: int, device: torch.device | str):
        """clips: float32 [n_samples] in [-1, 1] each, of any length."""
        if not len(clips) or any(clip.ndim != 1 or clip.size == 0 for clip in clips):
            raise InputError(f"clips: {len(clips)}; expected at least one, each [n_samples] with samples in it")
        self.sample_rate, self.crop_samples, self.device = sample_rate, crop_samples, torch.device(device)
        self.samples = torch.cat([_as_int16(clip) for clip in clips]).to(self.device)
        lengths = np.array([len(clip) for clip in clips])
        stored = lengths + 2 * HALF_TAPS
        table = [self._starts(clip) for clip in clips]
        owner = np.repeat(np.arange(len(clips)), [len(starts) for starts, _ in table])
        chances = np.cumsum(np.concatenate([chance for _, chance in table]))
        self.chances = torch.from_numpy((chances / chances[-1]).astype(np.float32)).to(self.device)
        self.first = torch.from_numpy((np.cumsum(stored) - stored + 1)[owner]).to(self.device)
        self.lengths = torch.from_numpy(lengths[owner]).to(self.device)
        self.starts = torch.from_numpy(np.concatenate([starts for starts, _ in table])).to(self.device)
        self.octaves = octave_weights(crop_samples, sample_rate).to(self.device)

    def _starts(self, clip: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the starts of crops that end within the clip at any speed, and the chance of each."""
        reach = math.ceil(self.crop_samples * 2**Alterations.speed_octaves) + HALF_TAPS
        starts = np.arange(0, max(1, len(clip) - reach), max(1, self.crop_samples // 10))
        energy = np.concatenate([[0.0], np.cumsum(clip.astype(np.float64) ** 2)])
        ends = np.minimum(starts + self.crop_samples, len(clip))
        level = np.sqrt(np.maximum(energy[ends] - energy[starts], 0) / self.crop_samples)
        chance = level + 0.01 * level.max() + 1e-9
        return starts, chance / chance.sum()

    def draw(self, size: int, generator: torch.Generator, alter: Alterations | None = None) -> Tensor:
        """Return `size` crops, float32 [size, crop_samples] in [-1, 1]. generator: on the bank's device."""
        alter = alter or Alterations()
        uniform = torch.rand(5, size, generator=generator, device=self.device)
        rows = torch.searchsorted(self.chances, uniform[0]).clamp(max=len(self.chances) - 1)
        octaves = alter.speed_octaves * (2 * uniform[1] - 1) * (uniform[2] < alter.speed_share)
        crops = self._read(rows, torch.exp2(octaves))
        gains = torch.rand(size, self.octaves.shape[0], generator=generator, device=self.device)
        gains = alter.octave_db * (2 * gains - 1) * (uniform[3] < alter.octave_share)[:, None]
        low, high = alter.level_db
        return within_full_scale(filtered(crops, gains @ self.octaves), low + (high - low) * uniform[4])

    def _read(self, rows: Tensor, speed: Tensor) -> Tensor:
        """Resample crops by a windowed sinc, cut off below half the lower of both rates: [size, crop_samples].

        rows: places in the table of starts, int64 [size]; speed: float32 [size], above 1 is faster and higher. Speeds
        are multiples of 1 / SPEED_STEPS, so that a crop needs no more than SPEED_STEPS phases of its filter.
        """
        steps = torch.round(speed * SPEED_STEPS).long()
        position = steps[:, None] * torch.arange(self.crop_samples, device=self.device)  # in 1 / SPEED_STEPS samples
        whole = torch.div(position, SPEED_STEPS, rounding_mode="floor")
        phase = position - whole * SPEED_STEPS + SPEED_STEPS * torch.arange(len(rows), device=self.device)[:, None]
        weights = self._filters(steps).flatten(0, 1)[phase]  # [size, crop_samples, taps]
        place = self.first[rows][:, None] + (self.starts[rows][:, None] + whole) % self.lengths[rows][:, None]
        return (self.samples.unfold(0, 2 * HALF_TAPS, 1)[place] * weights).sum(-1) / FULL_SCALE

    def _filters(self, steps: Tensor) -> Tensor:
        """Return the resampling filters of each crop, float32 [size, SPEED_STEPS, 2 * HALF_TAPS]."""
        taps = torch.arange(1 - HALF_TAPS, HALF_TAPS + 1, device=self.device)
        phases = torch.arange(SPEED_STEPS, device=self.device) / SPEED_STEPS
        distance = taps - phases[:, None]
        cutoff = (SPEED_STEPS / steps).clamp(max=1.0)[:, None, None]
        return cutoff * torch.sinc(cutoff * distance) * torch.cos(math.pi / 2 / HALF_TAPS * distance).square()


def clips_and_copies(clips: Sequence[np.ndarray], sample_rate: int, n_copies: int, seed: int) -> Iterator[Tensor]:
    """Yield clips [1, n_samples] one by one, then altered crops as long as the longest, `n_copies` times as many.

    They come from the CPU in batches of COPIES_AT_ONCE, the same for the same seed.
    """
    bank = ClipBank(clips, sample_rate, max(len(clip) for clip in clips), "cpu")
    yield from (torch.from_numpy(clip)[None] for clip in clips)
    generator, left = torch.Generator().manual_seed(seed), n_copies * len(clips)
    while left > 0:
        yield bank.draw(min(left, COPIES_AT_ONCE), generator)
        left -= COPIES_AT_ONCE


def octave_weights(n_samples: int, sample_rate: int) -> Tensor:
    """Return how gains (dB) of octave bands from 62.5 Hz up spread over the bins of a clip: [n_octaves, n_bins].

    Linear over log frequency between the bands' centres and constant beyond the outermost.
    """
    n_octaves = math.ceil(math.log2(sample_rate / 2 / LOWEST_OCTAVE_HZ))
    frequency = np.maximum(np.fft.rfftfreq(n_samples, 1 / sample_rate), 1.0)
    place = np.clip(np.log2(frequency / LOWEST_OCTAVE_HZ), 0, n_octaves - 1)
    distance = np.abs(place - np.arange(n_octaves)[:, None])
    return torch.from_numpy(np.maximum(0, 1 - distance).astype(np.float32))


def filtered(clips: Tensor, gains_db: Tensor) -> Tensor:
    """Filter clips [batch, n_samples] with zero phase by a gain (dB) for each Fourier bin, [batch, n_bins]."""
    return torch.fft.irfft(torch.fft.rfft(clips) * 10 ** (gains_db / 20), n=clips.shape[1])


def within_full_scale(clips: Tensor, level_db: Tensor) -> Tensor:
    """Change the level of clips [batch, n_samples] by dB [batch], less where a peak would pass 1."""
    highest = 1 / clips.abs().amax(1).clamp(min=1e-6)
    return clips * torch.minimum(10 ** (level_db / 20), highest)[:, None]


def _as_int16(clip: np.ndarray) -> Tensor:
    """Return a clip as int16 with HALF_TAPS samples of its loop on either side."""
    looped = np.take(clip, np.arange(-HALF_TAPS, len(clip) + HALF_TAPS), mode="wrap")
    return torch.from_numpy(np.round(np.clip(looped, -1.0, 1.0) * FULL_SCALE).astype(np.int16))
