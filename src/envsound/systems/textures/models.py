"""Variational autoencoders of sound textures: clips to a short vector for each atom of time, and back.

VAE-DDSP-NF and VAE-NoiseBand are recurrent networks around a synthesizer of noise; VAE-EnCodec is SEANet with the
quantizer left out. An atom is one frame of latents: 128 samples of the first two, 320 of the last. Latents of new clips
come from a chain over time for each class, fitted to those of its training clips.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise

import numpy as np
import torch
from scipy.fft import dct
from torch import Tensor, nn
from torch.nn import functional as F

from envsound.base.device import sent
from envsound.base.errors import InputError
from envsound.base.torchaudio_import import import_encodec
from envsound.codec.mel import mel_bank
from envsound.codec.spectra import frame_spectra
from envsound.systems.textures.synths import NoiseBands, filter_noise

HOP, FRAME, N_MELS, N_COEFFICIENTS = 128, 512, 128, 30
LOWEST_HZ, MEL_FLOOR = 20.0, 1e-5
FASTEST, RIDGE = 0.999, 1e-6  # largest eigenvalue of a chain's step, and what a covariance has at least
LEVEL_BIAS = -1.5  # of the last layer: amplitudes begin near those of quiet recordings
CHOICES = {"synth": ("ddsp", "noiseband", "encodec"), "loss": ("energy", "linear"),
           "prior": ("chain", "normal", "trajectory")}  # fmt: skip


@dataclass(frozen=True)
class TextureOptions:
    """What a texture model is told beside a preset's keys. Raises InputError for what cannot be."""

    synth: str = "noiseband"  # ddsp | noiseband | encodec
    n_latents: int = 16  # numbers an atom
    width: int = 128  # of the recurrent networks
    n_bands: int = 2048  # of noiseband
    n_blocks: int = 512  # of HOP samples, after which the noise of noiseband goes round
    n_filters: int = 8  # of encodec; 32 is the published width
    judge_channels: int = 8  # of encodec's discriminators
    judged_from: float = 0.0  # share of encodec's steps before its discriminators join; as published, none
    atom_seconds: float = 1.0  # s of sound that one item of a batch is
    loss: str = "energy"  # energy (the study's) | linear (as published)
    kl_weight: float = 0.3
    prior: str = "chain"  # chain | normal | trajectory: where latents of new clips come from

    def __post_init__(self) -> None:
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise InputError(f"options: {name}={getattr(self, name)!r}: expected one of {', '.join(known)}")
        sizes = self.n_latents, self.width, self.n_bands // 2, self.n_filters, self.judge_channels
        shares_fit = self.kl_weight >= 0 and 0 <= self.judged_from <= 1
        if min(sizes) < 1 or self.n_blocks * HOP < 4 * self.n_bands or not shares_fit or self.atom_seconds < 0.2:
            expected = "sizes from 1, a loop of 4 samples a band or more, atoms of 0.2 s or more, judged_from 0 to 1"
            raise InputError(f"options: {asdict(self)}: expected {expected}")


class Mfcc(nn.Module):
    """Mel-frequency cepstral coefficients in torch alone: 30 of 128 mels, frames of 512 samples, one every 128.

    Each coefficient is brought to mean 0 and deviation 1 over the training clips (`measure`). The public code has a
    layer norm over the coefficients instead, which takes the level away. Mels reach half the sample rate, not 8 kHz.
    """

    def __init__(self, sample_rate: int):
        super().__init__()
        bank = mel_bank(sample_rate, FRAME, N_MELS, LOWEST_HZ) * np.float32(sample_rate / FRAME)
        cosines = dct(np.eye(N_MELS, dtype=np.float32), axis=0, norm="ortho")[:N_COEFFICIENTS]
        self.register_buffer("bank", torch.from_numpy(bank), persistent=False)
        self.register_buffer("cosines", torch.from_numpy(cosines), persistent=False)
        self.register_buffer("window", torch.hann_window(FRAME), persistent=False)
        self.register_buffer("mean", torch.zeros(N_COEFFICIENTS))
        self.register_buffer("deviation", torch.ones(N_COEFFICIENTS))

    def forward(self, clips: Tensor) -> Tensor:
        """[batch, n_samples] -> [batch, n_frames, 30]."""
        power = frame_spectra(clips, self.window, HOP, FRAME // 2 + 1).abs().square() / self.window.square().sum()
        levels = torch.log(power @ self.bank.T + MEL_FLOOR)
        return (levels @ self.cosines.T - self.mean) / self.deviation

    def measure(self, clips: Tensor) -> None:
        """Take mean and deviation from training clips [batch, n_samples]."""
        values = self(clips).flatten(0, 1)
        self.mean += values.mean(0)
        self.deviation *= values.std(0).clamp(min=1e-3)


def mlp(n_in: int, width: int, n_layers: int = 3) -> nn.Sequential:
    """Return linear layers, each followed by a layer norm and a leaky rectifier."""
    sizes = [n_in, *[width] * n_layers]
    layers = [(nn.Linear(a, b), nn.LayerNorm(b), nn.LeakyReLU()) for a, b in pairwise(sizes)]
    return nn.Sequential(*[one for layer in layers for one in layer])


class NoiseTexture(nn.Module):
    """A recurrent autoencoder whose decoder sets a synthesizer of noise: VAE-DDSP-NF or VAE-NoiseBand."""

    hop = HOP

    def __init__(self, options: TextureOptions, sample_rate: int):
        super().__init__()
        self.bands = None
        if options.synth == "noiseband":
            self.bands = NoiseBands(options.n_bands, sample_rate, HOP, options.n_blocks)
        n_out, width = options.n_bands if self.bands else FRAME // 2 + 1, options.width
        self.mfcc = Mfcc(sample_rate)
        self.listen = nn.GRU(N_COEFFICIENTS, width, batch_first=True)
        self.describe = nn.Linear(width, 2 * options.n_latents)
        self.expand, self.unroll = mlp(options.n_latents, width), nn.GRU(width, width, batch_first=True)
        self.shape, self.last = mlp(width, width), nn.Linear(width, n_out)
        nn.init.constant_(self.last.bias, LEVEL_BIAS)

    def measure(self, clips: Tensor) -> None:
        """Take what coefficients are like from training clips [batch, n_samples]."""
        self.mfcc.measure(clips)

    def encode(self, clips: Tensor) -> tuple[Tensor, Tensor]:
        """Clips [batch, n_samples] -> mean and log-variance of latents, [batch, n_latents, n_frames] each."""
        heard, _ = self.listen(self.mfcc(clips))
        return self.describe(heard).transpose(1, 2).chunk(2, 1)

    def amplitudes(self, latents: Tensor) -> Tensor:
        """Latents [batch, n_latents, n_frames] -> magnitudes or amplitudes above 0, [batch, n_frames, n_out]."""
        unrolled, _ = self.unroll(self.expand(latents.transpose(1, 2)))
        return 2 * torch.sigmoid(self.last(self.shape(unrolled))) ** math.log(10) + 1e-7

    def decode(self, latents: Tensor, draws: torch.Generator) -> Tensor:
        """Latents [batch, n_latents, n_frames] -> clips [batch, n_frames * hop], with noise that `draws` decides."""
        amplitudes = self.amplitudes(latents)
        if self.bands is None:
            return filter_noise(amplitudes, HOP, draws)
        start = int(torch.randint(len(self.bands.blocks), (), generator=draws))
        return self.bands(amplitudes.transpose(1, 2), start)


class SeanetTexture(nn.Module):
    """EnCodec's encoder and decoder with its two LSTM layers, latents drawn instead of quantized: VAE-EnCodec."""

    ratios = (8, 5, 4, 2)
    hop = math.prod(ratios)

    def __init__(self, options: TextureOptions, sample_rate: int):
        super().__init__()
        modules, rules = import_encodec().modules, {"n_filters": options.n_filters, "ratios": list(self.ratios)}
        self.encoder = modules.SEANetEncoder(dimension=2 * options.n_latents, causal=True, **rules)
        self.decoder = modules.SEANetDecoder(dimension=options.n_latents, causal=True, **rules)

    def measure(self, clips: Tensor) -> None:
        """Scale every convolution so that its output for clips [batch, n_samples] has mean 0 and variance 1.

        The start that weight normalization was proposed with (Salimans and Kingma 2016, arXiv:1602.07868, sec. 3). From
        torch's own start a clip loses its effect from layer to layer, so that latents and sounds are the same for all.
        """
        layers = [one for one in self.modules() if hasattr(one, "weight_g")]
        hooks = [layer.register_forward_hook(_scaled) for layer in layers]
        self.decoder(self.encode(clips)[0])
        for hook in hooks:
            hook.remove()

    def encode(self, clips: Tensor) -> tuple[Tensor, Tensor]:
        """Clips [batch, n_samples] -> mean and log-variance of latents, [batch, n_latents, n_frames] each."""
        return self.encoder(F.pad(clips, (0, -clips.shape[1] % self.hop))[:, None]).chunk(2, 1)

    def decode(self, latents: Tensor, draws: torch.Generator) -> Tensor:
        """Latents [batch, n_latents, n_frames] -> clips [batch, n_frames * hop]; nothing is drawn."""
        return self.decoder(latents)[:, 0]


def _scaled(layer: nn.Module, _: tuple[Tensor, ...], made: Tensor) -> Tensor:
    """Bring a convolution's output [batch, n_channels, n_frames] to mean 0 and variance 1 by its gains and biases."""
    mean, deviation = made.mean((0, 2)), made.std((0, 2)).clamp(min=1e-5)
    if isinstance(layer, nn.ConvTranspose1d):  # its gains are of inputs: one for all
        deviation = deviation.mean().expand_as(mean)
        layer.weight_g /= deviation[0]
    else:
        layer.weight_g /= deviation[:, None, None]
    layer.bias.sub_(mean).div_(deviation)
    return (made - mean[:, None]) / deviation[:, None]


def make_model(options: TextureOptions, sample_rate: int, seed: int = 0) -> nn.Module:
    """Return an untrained model of some options; its weights come from the seed, and no global state moves."""
    kind = SeanetTexture if options.synth == "encodec" else NoiseTexture
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return kind(options, sample_rate)


def kl_nats(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return the divergence of latents from a standard normal in nats an atom: over latents a sum, else the mean."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1).mean()


def draw_latents(mean: Tensor, log_variance: Tensor, draws: torch.Generator) -> Tensor:
    """Return latents drawn from their distributions: mean + standard deviation * noise."""
    return mean + torch.exp(0.5 * log_variance) * sent(torch.randn(mean.shape, generator=draws), mean.device)


@dataclass(frozen=True)
class LatentChain:
    """A middle for each clip, and a vector autoregression of first order around it, float64.

    z[t + 1] - middle = step (z[t] - middle) + noise. mean: of the middles, [n_latents]; step: [n_latents, n_latents];
    spread, start and noise: matrices whose products with white noise have the covariance of the middles, of latents
    around theirs, and of what a step leaves open.
    """

    mean: np.ndarray
    spread: np.ndarray
    step: np.ndarray
    start: np.ndarray
    noise: np.ndarray

    def draw(self, n_frames: int, rng: np.random.Generator) -> np.ndarray:
        """Return latents float32 [n_latents, n_frames] that begin anywhere in the stationary distribution."""
        middle = self.mean + self.spread @ rng.standard_normal(len(self.mean))
        white = rng.standard_normal((n_frames, len(self.mean)))
        path = white @ self.noise.T
        path[0] = self.start @ white[0]
        for frame in range(1, n_frames):
            path[frame] += self.step @ path[frame - 1]
        return (path + middle).T.astype(np.float32)


def fit_chain(latents: Sequence[np.ndarray | Tensor]) -> LatentChain:
    """Return the chain of some clips' latents, [n_latents, n_frames] each, in closed form (Yule and Walker).

    Covariances of latents and of latents one frame apart are pooled over clips, each around its own mean: around one
    mean of all, the chain would wander within a second through what differs from recording to recording.
    """
    clips = [np.asarray(clip, dtype=np.float64) for clip in latents]
    middles = np.stack([clip.mean(1) for clip in clips], 1)
    around = [clip - middle[:, None] for clip, middle in zip(clips, middles.T, strict=True)]
    before = np.concatenate([clip[:, :-1] for clip in around], 1)
    after = np.concatenate([clip[:, 1:] for clip in around], 1)
    ridge, mean = RIDGE * np.eye(len(middles)), middles.mean(1)
    now = (before @ before.T + after @ after.T) / (2 * before.shape[1]) + ridge
    step = np.linalg.solve(now, before @ after.T / before.shape[1]).T
    step *= min(1.0, FASTEST / max(np.abs(np.linalg.eigvals(step)).max(), 1e-12))
    away = middles - mean[:, None]
    spread = _root(away @ away.T / len(clips))
    return LatentChain(mean, spread, step, _root(now), _root(now - step @ now @ step.T))


def _root(covariance: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
    return vectors * np.sqrt(values.clip(min=0))
