"""Tokens without phase: patches of a log-mel spectrogram, each band coded by its nearest code vector.

A clip becomes 80 mel bands at 75 frames/s; 4 frames x 20 bands are one patch, and the four patches of 4 frames, low to
high, are the codec's levels: 18.75 columns/s of 4 codes, .75 kbit/s at 1,024 codes. A second stage codes what the first
left of each patch: four more levels, 1.5 kbit/s. Phase and the realisation of noise, which fill seven eighths of a
waveform codec's codes and which no model can learn, are not coded. A decoder makes them.
"""

import hashlib
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from envsound.codec.base import Codec, gate_silence, limit_peaks
from envsound.codec.mel import mel_means
from envsound.codec.quantizer import nearest
from envsound.codec.spectra import coded_bins, frame_spectra

LIMITER_RADIUS = 120  # samples, 5 ms
SOUNDING_DB = 40.0  # below the loudest column of its clip, a column no longer counts as sounding
LOG_FLOOR = math.log(1e-8)  # of the power of a mel band, -80 dB: white noise of unit variance has power 1


@dataclass(frozen=True)
class PatchConfig:
    """What is coded; stored beside the code vectors."""

    sample_rate: int = 24_000  # Hz
    hop: int = 320  # samples, 75 frames/s
    n_fft: int = 1280  # samples
    n_mels: int = 80
    low_hz: float = 30.0
    max_hz: float = 11_400.0  # recordings brought down from a higher rate end there
    patch_frames: int = 4
    n_levels: int = 4  # of one stage: bands of n_mels // n_levels mel bands each
    codebook_size: int = 1024

    @property
    def n_bins(self) -> int:
        """Number of Fourier bins up to `max_hz`."""
        return coded_bins(self.sample_rate, self.n_fft, self.max_hz)

    @property
    def column(self) -> int:
        """Samples that one column of codes stands for."""
        return self.hop * self.patch_frames

    @property
    def dim(self) -> int:
        """Values in a patch."""
        return self.patch_frames * self.n_mels // self.n_levels

    def mel_weights(self) -> Tensor:
        """Return the weight of each coded bin in each mel band, adding up to 1 in a band: float32 [n_mels, n_bins]."""
        means = mel_means(self.sample_rate, self.n_fft, self.n_mels, self.low_hz, self.max_hz)
        return torch.from_numpy(means[:, : self.n_bins])


class LogMel(nn.Module):
    """Log power in mel bands, in nepers of power: ln of each band's weighted mean, at least LOG_FLOOR."""

    def __init__(self, config: PatchConfig):
        super().__init__()
        self.config = config
        self.register_buffer("window", torch.hann_window(config.n_fft), persistent=False)
        self.register_buffer("weights", config.mel_weights().T.clone(), persistent=False)

    def forward(self, clips: Tensor) -> Tensor:
        """Map clips [batch, n_samples] to log-mel [batch, n_frames, n_mels], one frame per hop."""
        spectra = frame_spectra(clips, self.window, self.config.hop, self.config.n_bins)
        power = (spectra.real.square() + spectra.imag.square()) / self.window.square().sum()
        return torch.log(power @ self.weights).clamp(min=LOG_FLOOR)


def to_patches(log_mel: Tensor, config: PatchConfig) -> Tensor:
    """Cut log-mel [batch, n_frames, n_mels] into patches [batch, n_levels, n_columns, dim]; whole columns only.

    A patch lists its frames one after the other, each with its mel bands from low to high.
    """
    x = log_mel.unflatten(2, (config.n_levels, -1)).unflatten(1, (-1, config.patch_frames))
    return x.permute(0, 3, 1, 2, 4).flatten(3)  # [batch, column, frame, level, mel] -> [batch, level, column, dim]


def from_patches(patches: Tensor, config: PatchConfig) -> Tensor:
    """Put patches [batch, n_levels, n_columns, dim] together again: log-mel [batch, n_frames, n_mels]."""
    x = patches.unflatten(3, (config.patch_frames, -1)).permute(0, 2, 3, 1, 4)
    return x.flatten(3).flatten(1, 2)


class PatchCoder(nn.Module, ABC):
    """Clips to log-mel, log-mel to codes and back.

    Attributes: config; n_levels, codes in a column; log_mel, which maps clips to log-mel.
    """

    n_levels: int

    def __init__(self, config: PatchConfig):
        super().__init__()
        self.config, self.log_mel = config, LogMel(config)

    @property
    def device(self) -> torch.device:
        return self.log_mel.window.device

    def columns(self, clips: Tensor) -> Tensor:
        """Map clips [batch, n_samples], padded with silence to whole columns, to log-mel [batch, n_frames, n_mels]."""
        missing = -clips.shape[1] % self.config.column
        return self.log_mel(nn.functional.pad(clips, (0, missing)))

    @abstractmethod
    def encode(self, log_mel: Tensor) -> Tensor:
        """Code log-mel [batch, n_frames, n_mels] of whole columns: int64 [batch, n_levels, n_columns]."""

    @abstractmethod
    def decode(self, codes: Tensor) -> Tensor:
        """Return what codes [batch, 1..n_levels, n_columns] stand for, log-mel [batch, n_frames, n_mels].

        Bands of which no level is there are silent.
        """


class PatchQuantizer(PatchCoder):
    """Codes are the nearest code vectors.

    `vectors` [n_stages * n_levels, codebook_size, dim] hold those of every level: first of the bands' patches, low to
    high, then with a second stage of what the first leaves of them, in the same order.
    """

    def __init__(self, config: PatchConfig, n_stages: int = 1):
        super().__init__(config)
        self.n_levels = n_stages * config.n_levels
        self.register_buffer("vectors", torch.zeros(self.n_levels, config.codebook_size, config.dim))

    def encode(self, log_mel: Tensor) -> Tensor:
        """Code log-mel as every `PatchCoder` does."""
        bands = to_patches(log_mel.float(), self.config).transpose(0, 1).flatten(1, 2).unbind()
        left, levels = list(bands), []
        for level, vectors in enumerate(self.vectors):
            band = level % self.config.n_levels
            levels.append(nearest(left[band], vectors))
            left[band] = left[band] - vectors[levels[-1]]
        return torch.stack(levels, 1).unflatten(0, (len(log_mel), -1)).transpose(1, 2)

    def decode(self, codes: Tensor) -> Tensor:
        """Look codes up; what the stages of a band say is added."""
        n_bands = self.config.n_levels
        shape = (len(codes), n_bands, codes.shape[2], self.config.dim)
        patches = torch.full(shape, LOG_FLOOR, device=codes.device)
        for level, own in enumerate(codes.unbind(1)):
            found = self.vectors[level][own]
            patches[:, level % n_bands] = found if level < n_bands else patches[:, level % n_bands] + found
        return from_patches(patches, self.config)


def column_loudness(codes: Tensor, vectors: Tensor, n_bands: int) -> Tensor:
    """Return how loud columns of codes [..., n_levels, n_columns] are, nepers of power, float64 [..., n_columns].

    The powers of the bands are added up, each taken from the mean of its patch. vectors: those of the quantizer. Of
    several stages only the first, n_bands levels, is asked: later ones hold what it leaves, which is no power.
    """
    means = vectors[:n_bands].double().mean(2)  # [n_bands, codebook_size]
    bands = [own[chosen] for own, chosen in zip(means, codes[..., :n_bands, :].long().unbind(-2), strict=True)]
    return torch.stack(bands).logsumexp(0)


def sounding(loudness: Tensor) -> Tensor:
    """Say which columns of a clip sound, bool [n_columns]: within SOUNDING_DB of its loudest (nepers of power)."""
    return loudness >= loudness.max() - SOUNDING_DB / 10 * math.log(10)


class Decoder(Protocol):
    """What makes clips of log-mel."""

    def synthesise(self, log_mel: Tensor, noise: Tensor) -> Tensor:
        """Map log-mel [batch, n_frames, n_mels] and white noise [batch, n_samples] to clips [batch, n_samples]."""
        ...


class PatchCodec(Codec):
    """Patch tokens behind the study's codec interface, heard through any decoder of log-mel; a frame is a column."""

    def __init__(self, quantizer: PatchCoder, decoder: Decoder, name: str, content_hash: str):
        """decoder: an nn.Module that is a `Decoder`."""
        self.config = config = quantizer.config
        self.model = nn.ModuleDict({"quantizer": quantizer, "decoder": decoder}).eval().requires_grad_(False)
        self.quantizer, self.decoder = quantizer, decoder
        self.name, self.content_hash, self.device = name, content_hash, quantizer.device
        self.sample_rate, self.frame_rate = config.sample_rate, config.sample_rate / config.column
        self.n_levels, self.codebook_size = quantizer.n_levels, config.codebook_size

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """Decode codes [batch, 1..n_levels, n_columns] to clips [batch, n_columns * column] in [-1, 1].

        Peaks are limited, not clipped. The bands of missing levels are silent. Raises InputError for the mask token or
        any other value that is no code.
        """
        log_mel = self.dequantise(codes).transpose(1, 2)
        noise = column_noise(codes, self.config.column).to(self.device)
        clips = limit_peaks(self.decoder.synthesise(log_mel, noise), LIMITER_RADIUS)
        return gate_silence(clips.clamp(-1.0, 1.0), self.config.hop)

    def _encode(self, clips: Tensor) -> Tensor:
        return self.quantizer.encode(self.quantizer.columns(clips))

    def _vectors(self, codes: Tensor) -> Tensor:
        """Return the log-mel that codes stand for, `patch_frames` frames a column: [batch, n_mels, n_frames]."""
        return self.quantizer.decode(codes).transpose(1, 2)


def column_noise(codes: Tensor, column: int) -> Tensor:
    """Return the white noise that codes [batch, n_levels, n_columns] are decoded with: [batch, n_columns * column].

    Each column's `column` samples are seeded with its codes and its place. A clip so sounds the same in any batch, and
    a change of codes changes the sound only there.
    """
    generator, rows = torch.Generator(), []
    for clip in codes.cpu().short().numpy():
        for place, own in enumerate(clip.T):
            seed = hashlib.blake2b(own.tobytes() + place.to_bytes(4, "little"), digest_size=8).digest()
            generator.manual_seed(int.from_bytes(seed, "little") >> 1)
            rows.append(torch.randn(column, generator=generator))
    return torch.stack(rows).reshape(len(codes), -1)
