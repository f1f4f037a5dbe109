"""A codec whose every layer runs at the frame rate: Fourier transform in, ConvNeXt blocks, Fourier transform out.

The idea is Vocos's (Siuzdak 2023, sec. 3): predict magnitude and phase once a frame instead of upsampling to the
waveform, which makes training tens of times cheaper than with a time-domain decoder such as SEANet.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from envsound.codecs.quantizer import ResidualQuantizer

LOG_FLOOR = 5e-4  # log(x + 5e-4) keeps silent crops from dominating


@dataclass(frozen=True)
class FourierConfig:
    """The shape of a FourierCodec; stored beside its weights."""

    sample_rate: int = 24_000  # Hz
    hop: int = 320  # samples, 75 frames/s
    n_fft: int = 1280  # samples
    dim: int = 256
    hidden: int = 768
    n_encoder_blocks: int = 6
    n_decoder_blocks: int = 8
    latent_dim: int = 64
    n_levels: int = 8
    codebook_size: int = 1024


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


class FourierCodec(nn.Module):
    """Encoder, residual quantizer and decoder between clips [batch, n_samples] and codes [batch, n_levels, n_frames].

    A clip is padded with silence to whole frames; frame t is centred on its own `hop` samples.
    """

    def __init__(self, config: FourierConfig | None = None):
        super().__init__()
        self.config = config = config or FourierConfig()
        n_bins = config.n_fft // 2 + 1
        shape = {"dim": config.dim, "hidden": config.hidden}
        self.encoder = Stack(3 * n_bins, config.latent_dim, n_blocks=config.n_encoder_blocks, **shape)
        self.quantizer = ResidualQuantizer(config.n_levels, config.codebook_size, config.latent_dim)
        self.decoder = Stack(config.latent_dim, 2 * n_bins, n_blocks=config.n_decoder_blocks, **shape)
        self.register_buffer("window", torch.hann_window(config.n_fft), persistent=False)

    def n_parameters(self) -> int:
        """Return the number of weights, codebooks included."""
        return sum(value.numel() for value in self.state_dict().values())

    def n_frames(self, n_samples: int) -> int:
        """Return the number of frames that cover `n_samples` samples."""
        return -(-n_samples // self.config.hop)

    def latents(self, clips: Tensor) -> Tensor:
        """Map clips [batch, n_samples] to latents [batch, latent_dim, n_frames]."""
        spectrum = self._stft(clips)
        magnitude = spectrum.abs()
        phase = spectrum / magnitude.clamp(min=1e-7)
        features = torch.cat([torch.log(magnitude + LOG_FLOOR), phase.real, phase.imag], dim=-1)
        return self.encoder(features).transpose(1, 2)

    def synthesise(self, latents: Tensor) -> Tensor:
        """Map latents [batch, latent_dim, n_frames] to clips [batch, n_frames * hop]."""
        log_magnitude, angle = self.decoder(latents.transpose(1, 2)).float().chunk(2, dim=-1)
        magnitude = torch.exp(log_magnitude.clamp(max=6.0))
        return self._istft(torch.polar(magnitude, angle))

    def encode(self, clips: Tensor) -> Tensor:
        """Encode clips [batch, n_samples] of one length to codes int64 [batch, n_levels, n_frames]."""
        return self.quantizer.encode(self.latents(clips))

    def decode(self, codes: Tensor) -> Tensor:
        """Decode codes [batch, 1..n_levels, n_frames] to clips [batch, n_frames * hop], in [-1, 1]."""
        return self.synthesise(self.quantizer.decode(codes)).clamp(-1.0, 1.0)

    def _stft(self, clips: Tensor) -> Tensor:
        """[batch, n_samples] -> complex [batch, n_frames, n_bins]; one frame per started hop."""
        hop, n_fft = self.config.hop, self.config.n_fft
        edge = (n_fft - hop) // 2
        missing = self.n_frames(clips.shape[1]) * hop - clips.shape[1]
        padded = F.pad(clips, (edge, edge + missing))
        frames = padded.unfold(1, n_fft, hop) * self.window
        return torch.fft.rfft(frames)

    def _istft(self, spectrum: Tensor) -> Tensor:
        """Complex [batch, n_frames, n_bins] -> [batch, n_frames * hop] by weighted overlap-add."""
        hop, n_fft = self.config.hop, self.config.n_fft
        edge = (n_fft - hop) // 2
        frames = torch.fft.irfft(spectrum, n=n_fft) * self.window
        weight = self.window.square().expand(1, frames.shape[1], n_fft)
        summed = self._overlap_add(frames) / self._overlap_add(weight).clamp(min=1e-6)
        return summed[:, edge:-edge]

    def _overlap_add(self, frames: Tensor) -> Tensor:
        hop, n_fft = self.config.hop, self.config.n_fft
        length = (frames.shape[1] - 1) * hop + n_fft
        summed = F.fold(frames.transpose(1, 2), output_size=(1, length), kernel_size=(1, n_fft), stride=(1, hop))
        return summed[:, 0, 0]
