"""White noise shaped in two ways: by a filter for each frame, or as a bank of fixed narrow bands of noise.

Frame t shapes the `hop` samples around its middle. Both know no phase, so that two renderings of the same settings
differ as two recordings of one rain do.
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from envsound.base.device import sent

LOWEST_HZ = 20.0  # middle of the lowest band
BESIDE = 4  # frames that shape noise beyond either end of a clip, so that its ends are as loud as the rest


def filter_noise(magnitudes: Tensor, hop: int, draws: torch.Generator) -> Tensor:
    """Return noise filtered frame by frame, [batch, n_frames * hop], after Engel et al. 2020 (DDSP, sec. 3.4).

    magnitudes: of the bins from 0 Hz to half the sample rate, [batch, n_frames, n_bins]. Each frame's are those of a
    zero-phase filter of 2 * (n_bins - 1) taps under a Hann window; noise of unit variance is cut into Hann windows of
    that length, filtered and added up again. Windows overlap by three quarters where that length is 4 * hop, and then
    equal magnitudes in all frames are one filter of the whole clip.
    """
    batch, n_frames, n_bins = magnitudes.shape
    size = 2 * (n_bins - 1)
    edges = magnitudes[:, :1].expand(-1, BESIDE, -1), magnitudes[:, -1:].expand(-1, BESIDE, -1)
    magnitudes = torch.cat([edges[0], magnitudes, edges[1]], 1)
    window = torch.hann_window(size, device=magnitudes.device)
    taps = torch.fft.irfft(magnitudes, n=size).roll(size // 2, -1) * window
    length, rim = magnitudes.shape[1] * hop, (size - hop) // 2
    noise = sent(torch.randn(batch, length, generator=draws), magnitudes.device)
    frames = F.pad(noise, (rim, rim)).unfold(1, size, hop) * window * (2 * hop / size)
    filtered = torch.fft.irfft(torch.fft.rfft(frames, 2 * size) * torch.fft.rfft(taps, 2 * size), n=2 * size)
    total = (magnitudes.shape[1] - 1) * hop + 2 * size
    summed = F.fold(filtered.transpose(1, 2), (1, total), (1, 2 * size), stride=(1, hop))[:, 0, 0]
    start = rim + size // 2 + BESIDE * hop
    return summed[:, start : start + n_frames * hop]


def band_weights(n_bands: int, sample_rate: int, frequencies: np.ndarray) -> np.ndarray:
    """Return the share of each frequency (Hz) that each band has, float64 [n_bands, n_frequencies]; shares add up to 1.

    Bands are triangles. Their middles are evenly spaced up to an eighth of the sample rate, and at equal ratios from
    there to its half, as in NoiseBandNet (Barahona-Rios and Collins 2024), whose bands are Kaiser filters instead.
    """
    corner, half = sample_rate / 8, n_bands // 2
    low = np.linspace(LOWEST_HZ, corner, half, endpoint=False)
    middles = np.concatenate([low, np.geomspace(corner, sample_rate / 2, n_bands - half)])
    place = np.interp(frequencies, middles, np.arange(n_bands), left=-1)
    return np.clip(1 - np.abs(place[None] - np.arange(n_bands)[:, None]), 0, 1)


class NoiseBands(nn.Module):
    """A bank of fixed bands of noise that go round in a loop; together they are white noise of unit variance."""

    def __init__(self, n_bands: int, sample_rate: int, hop: int, n_blocks: int, seed: int = 0):
        """n_blocks: length of the loop, in blocks of `hop` samples."""
        super().__init__()
        n_samples = n_blocks * hop
        phases = np.random.default_rng(seed).uniform(0, 2 * np.pi, n_samples // 2 + 1)
        white = torch.from_numpy(np.sqrt(n_samples) * np.exp(1j * phases)).to(torch.complex64)
        weights = band_weights(n_bands, sample_rate, np.fft.rfftfreq(n_samples, 1 / sample_rate))
        blocks = torch.empty(n_blocks, n_bands, hop)
        for start in range(0, n_bands, 64):
            some = torch.from_numpy(weights[start : start + 64]).float()
            bands = torch.fft.irfft(some * white, n=n_samples)
            blocks[:, start : start + 64] = bands.unflatten(1, (-1, hop)).transpose(0, 1)
        self.register_buffer("blocks", blocks, persistent=False)
        self.register_buffer("ramp", (torch.arange(hop) + 0.5) / hop, persistent=False)

    def forward(self, amplitudes: Tensor, start: int = 0) -> Tensor:
        """Return the bands at amplitudes [batch, n_bands, n_frames], added up: [batch, n_frames * hop].

        Amplitudes are interpolated linearly between the middles of frames, as `F.interpolate` does it. A sample is then
        a mean of two sums over bands, those at the amplitudes of the frames beside it: two batched products, in place
        of a tensor of every band at every sample. start: the block of the loop that the clip begins with.
        """
        n_blocks, _, hop = self.blocks.shape
        beside = F.pad(amplitudes, (1, 1), mode="replicate").permute(2, 0, 1)  # [n_frames + 2, batch, n_bands]
        left, made = beside.shape[0] - 1, []
        while left:
            done, first = beside.shape[0] - 1 - left, (start + beside.shape[0] - 1 - left) % n_blocks
            size = min(left, n_blocks - first)
            noise = self.blocks[first : first + size]
            before, after = (torch.bmm(beside[done + one : done + one + size], noise) for one in (0, 1))
            made.append(torch.lerp(before, after, self.ramp))  # [size, batch, hop]
            left -= size
        return torch.cat(made).transpose(0, 1).flatten(1)[:, hop // 2 : -(hop // 2)]
