"""A codec whose every layer runs at the frame rate: Fourier transform in, ConvNeXt blocks, Fourier transform out.

The idea is Vocos's (Siuzdak 2023, sec. 3): predict magnitude and phase once a frame instead of upsampling to the
waveform, which makes training tens of times cheaper than with a time-domain decoder such as SEANet. We add a second
magnitude that shapes white noise. At 6 kbit/s nobody can code the phase of rain; a decoder without a source of
noise has to give the same phase for the same latent, frame after frame, which is a buzz at the frame rate.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from envsound.codec.base import Autoencoder

LOG_FLOOR = 5e-4  # log(x + 5e-4) keeps silent crops from dominating
MAX_LOG_MAGNITUDE = 6.0
POWER_FLOOR = 1.3e-5  # of the likelihood: -80 dB at a window of 1280 samples
MAX_LOG_RATIO = 2.0  # beyond it the likelihood goes on as a straight line: one click must not outweigh a batch


@dataclass(frozen=True)
class FourierConfig:
    """The shape of a FourierCodec; stored beside its weights."""

    sample_rate: int = 24_000  # Hz
    hop: int = 320  # samples, 75 frames/s
    n_fft: int = 1280  # samples
    max_hz: float = 11_400.0  # bins above are not coded: recordings brought down from a higher rate end there
    dim: int = 256
    hidden: int = 768
    n_encoder_blocks: int = 6
    n_decoder_blocks: int = 8
    latent_dim: int = 64
    n_levels: int = 8
    codebook_size: int = 1024

    @property
    def n_bins(self) -> int:
        """Number of Fourier bins that are coded."""
        return min(int(self.max_hz * self.n_fft / self.sample_rate), self.n_fft // 2) + 1


class ConvNeXtBlock(nn.Module):
    """Depthwise convolution over time, then a two-layer network per frame, scaled and added (Liu et al. 2022)."""

    def __init__(self, dim: int, hidden: int, scale: float):
        super().__init__()
        self.depthwise = nn.Conv1d(dim, dim, kernel_size=7, padding=3, groups=dim)
        self.norm = nn.LayerNorm(dim)
        self.expand = nn.Linear(dim, hidden)
        self.contract = nn.Linear(hidden, dim)
        self.scale = nn.Parameter(torch.full((dim,), scale))

    def forward(self, x: Tensor) -> Tensor:  # [batch, n_frames, dim]
        h = self.depthwise(x.transpose(1, 2)).transpose(1, 2)
        h = self.contract(F.gelu(self.expand(self.norm(h))))
        return x + self.scale * h


class Stack(nn.Module):
    """A linear map into `dim`, ConvNeXt blocks, and a linear map out: [batch, n_frames, in] -> [..., out]."""

    def __init__(self, in_dim: int, out_dim: int, dim: int, hidden: int, n_blocks: int):
        super().__init__()
        self.enter = nn.Linear(in_dim, dim)
        self.norm_in = nn.LayerNorm(dim)
        self.blocks = nn.Sequential(*(ConvNeXtBlock(dim, hidden, 1 / n_blocks) for _ in range(n_blocks)))
        self.norm_out = nn.LayerNorm(dim)
        self.leave = nn.Linear(dim, out_dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.leave(self.norm_out(self.blocks(self.norm_in(self.enter(x)))))


class FourierCodec(Autoencoder):
    """The Fourier-domain generator; frame t is centred on its own `hop` samples."""

    generator, shape, stochastic = "fourier", FourierConfig, True

    def __init__(self, config: FourierConfig | None = None):
        super().__init__(config)
        config, sizes = self.config, (self.config.dim, self.config.hidden)
        self.encoder = Stack(3 * config.n_bins, config.latent_dim, *sizes, config.n_encoder_blocks)
        self.decoder = Stack(config.latent_dim, 3 * config.n_bins, *sizes, config.n_decoder_blocks)
        self.register_buffer("window", torch.hann_window(config.n_fft), persistent=False)

    def latents(self, clips: Tensor) -> Tensor:
        """Map clips [batch, n_samples] to latents [batch, latent_dim, n_frames]."""
        spectrum = self.spectrum(clips)
        magnitude = spectrum.abs()
        phase = spectrum / magnitude.clamp(min=1e-7)
        features = torch.cat([torch.log(magnitude + LOG_FLOOR), phase.real, phase.imag], dim=-1)
        return self.encoder(features).transpose(1, 2)

    def decode_latents(self, latents: Tensor) -> Tensor:
        """Map latents [batch, latent_dim, n_frames] to log-magnitude, phase and noise log-magnitude, 3 x n_bins."""
        return self.decoder(latents.transpose(1, 2)).float()

    def render(self, decoded: Tensor, noise: Tensor) -> Tensor:
        """Add the tonal part to the noise shaped frame by frame: [batch, n_frames, 3 * n_bins] -> clips."""
        log_magnitude, angle, log_noise = decoded.chunk(3, dim=-1)
        tonal = torch.polar(torch.exp(log_magnitude.clamp(max=MAX_LOG_MAGNITUDE)), angle)
        white = self.spectrum(noise) / self.window.square().sum().sqrt()  # every bin has power 1
        return self._istft(tonal + torch.exp(log_noise.clamp(max=MAX_LOG_MAGNITUDE)) * white)

    def likelihood_loss(self, decoded: Tensor, clips: Tensor) -> Tensor:
        """Return how unlikely clips [batch, n_samples] are under what the decoder expects (0: as likely as can be).

        Every bin is complex Gaussian noise whose variance P is the power of both parts together. Its negative
        log-likelihood is log P + |X|^2 / P, less its least value the Itakura-Saito divergence. The mean power is where
        it is least, and no noise is drawn to compute it: it teaches level and harmonics at once, where energy distances
        alone are slow to find a harmonic in the noise.
        """
        log_magnitude, _, log_noise = decoded.clamp(max=MAX_LOG_MAGNITUDE).chunk(3, dim=-1)
        expected = torch.exp(2 * log_magnitude) + torch.exp(2 * log_noise)
        power = self.spectrum(clips).abs().square()
        ratio = torch.log(power + POWER_FLOOR) - torch.log(expected + POWER_FLOOR)
        low = ratio.clamp(max=MAX_LOG_RATIO)
        slope = math.exp(MAX_LOG_RATIO) - 1
        return (torch.exp(low) - low - 1 + slope * (ratio - low)).mean()

    def spectrum(self, clips: Tensor) -> Tensor:
        """Return the coded bins of clips [batch, n_samples]: complex [batch, n_frames, n_bins], one frame per hop."""
        hop, n_fft = self.config.hop, self.config.n_fft
        edge = (n_fft - hop) // 2
        missing = self.n_frames(clips.shape[1]) * hop - clips.shape[1]
        padded = F.pad(clips, (edge, edge + missing))
        frames = padded.unfold(1, n_fft, hop) * self.window
        return torch.fft.rfft(frames)[..., : self.config.n_bins]

    def _istft(self, spectrum: Tensor) -> Tensor:
        """Complex [batch, n_frames, n_bins] -> [batch, n_frames * hop] by weighted overlap-add."""
        hop, n_fft = self.config.hop, self.config.n_fft
        edge = (n_fft - hop) // 2
        spectrum = F.pad(spectrum, (0, n_fft // 2 + 1 - self.config.n_bins))
        frames = torch.fft.irfft(spectrum, n=n_fft) * self.window
        weight = self.window.square().expand(1, frames.shape[1], n_fft)
        summed = self._overlap_add(frames) / self._overlap_add(weight).clamp(min=1e-6)
        return summed[:, edge:-edge]

    def _overlap_add(self, frames: Tensor) -> Tensor:
        hop, n_fft = self.config.hop, self.config.n_fft
        length = (frames.shape[1] - 1) * hop + n_fft
        summed = F.fold(frames.transpose(1, 2), output_size=(1, length), kernel_size=(1, n_fft), stride=(1, hop))
        return summed[:, 0, 0]
