"""Short-time Fourier frames and back, and what a decoder that puts out spectra is rendered and judged by.

Frame t is centred on its own `hop` samples. Spectra are complex [batch, n_frames, n_bins] with the lowest `n_bins` bins
of a transform as long as the window, or real [batch, n_frames, 3 * n_bins] where a decoder puts them out: log-magnitude
and angle of a tonal part, log-magnitude of a part that shapes white noise.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

MAX_LOG_MAGNITUDE = 6.0
POWER_FLOOR = 1.3e-5  # of the likelihood: -80 dB at a window of 1280 samples
MAX_LOG_RATIO = 2.0  # beyond it the likelihood goes on as a straight line: one click must not outweigh a batch


def coded_bins(sample_rate: int, n_fft: int, max_hz: float) -> int:
    """Return how many of a transform's bins lie at or below `max_hz` Hz."""
    return min(int(max_hz * n_fft / sample_rate), n_fft // 2) + 1


def frame_spectra(clips: Tensor, window: Tensor, hop: int, n_bins: int) -> Tensor:
    """Return the lowest bins of clips [batch, n_samples]: complex [batch, n_frames, n_bins], one frame per hop.

    window: float32 [n_fft]. The last frame is filled with silence, as is what lies beyond either end.
    """
    n_fft = len(window)
    edge, n_frames = (n_fft - hop) // 2, -(-clips.shape[1] // hop)
    padded = F.pad(clips, (edge, edge + n_frames * hop - clips.shape[1]))
    return torch.fft.rfft(padded.unfold(1, n_fft, hop) * window)[..., :n_bins]


def from_spectra(spectra: Tensor, window: Tensor, hop: int) -> Tensor:
    """Complex [batch, n_frames, n_bins] -> [batch, n_frames * hop] by weighted overlap-add; higher bins are zero."""
    n_fft = len(window)
    edge = (n_fft - hop) // 2
    frames = torch.fft.irfft(F.pad(spectra, (0, n_fft // 2 + 1 - spectra.shape[-1])), n=n_fft) * window
    weight = window.square().expand(1, frames.shape[1], n_fft)
    summed = _overlap_add(frames, hop) / _overlap_add(weight, hop).clamp(min=1e-6)
    return summed[:, edge:-edge]


def tonal_and_noise(decoded: Tensor, noise: Tensor, window: Tensor, hop: int) -> Tensor:
    """Add the tonal part to the noise shaped frame by frame: [.., 3 * n_bins] -> complex [batch, n_frames, n_bins].

    noise: white, unit variance, [batch or 1, n_frames * hop].
    """
    log_magnitude, angle, log_noise = decoded.chunk(3, dim=-1)
    tonal = torch.polar(torch.exp(log_magnitude.clamp(max=MAX_LOG_MAGNITUDE)), angle)
    white = white_spectra(noise, window, hop, angle.shape[-1])
    return tonal + torch.exp(log_noise.clamp(max=MAX_LOG_MAGNITUDE)) * white


def white_spectra(noise: Tensor, window: Tensor, hop: int, n_bins: int) -> Tensor:
    """Return what `frame_spectra` gives of white noise of unit variance, scaled so that every bin has power 1."""
    return frame_spectra(noise, window, hop, n_bins) / window.square().sum().sqrt()


def expected_power(decoded: Tensor) -> Tensor:
    """Return the power of both parts together: [.., 3 * n_bins] -> [.., n_bins]."""
    log_magnitude, _, log_noise = decoded.clamp(max=MAX_LOG_MAGNITUDE).chunk(3, dim=-1)
    return torch.exp(2 * log_magnitude) + torch.exp(2 * log_noise)


def likelihood_loss(expected: Tensor, spectra: Tensor) -> Tensor:
    """Return how unlikely spectra are under the power that a decoder expects (0: as likely as can be).

    expected: power P [batch, n_frames, n_bins], the variance of complex Gaussian noise in every bin. Its negative
    log-likelihood is log P + |X|^2 / P, less its least value the Itakura-Saito divergence. The mean power is where
    it is least, and no noise is drawn to compute it: it teaches level and harmonics at once, where energy distances
    alone are slow to find a harmonic in the noise.
    """
    power = spectra.abs().square()
    ratio = torch.log(power + POWER_FLOOR) - torch.log(expected + POWER_FLOOR)
    low = ratio.clamp(max=MAX_LOG_RATIO)
    slope = math.exp(MAX_LOG_RATIO) - 1
    return (torch.exp(low) - low - 1 + slope * (ratio - low)).mean()


def _overlap_add(frames: Tensor, hop: int) -> Tensor:
    length = (frames.shape[1] - 1) * hop + frames.shape[2]
    kernel = (1, frames.shape[2])
    return F.fold(frames.transpose(1, 2), output_size=(1, length), kernel_size=kernel, stride=(1, hop))[:, 0, 0]
