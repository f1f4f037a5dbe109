"""What tells whether a codec is learning or collapsing, measured on held-out clips while it trains."""

import torch
from torch import Tensor

from envsound.codecs.autoencoder import Autoencoder
from envsound.codecs.quantizer import effective_rank, level_gains
from envsound.codecs.spectral_losses import log_mel_distance

FRAME_RATE_TOLERANCE = 1.0  # Hz


@torch.no_grad()
def vital_signs(codec: Autoencoder, clips: Tensor, quantizing: bool) -> dict[str, float]:
    """Measure held-out clips [n, n_samples], all as long as the first.

    Returns log_mel_distance (dB), level_difference (dB, decoded minus original, median over clips), comb_share of
    the originals and of the decoded clips, latent_rank and, once the quantizer is on, gain_db, used_codes and
    perplexity of every level. Many used codes do not exclude a collapse: a latent of rank 2 keeps them all in use.
    Rank and gain do.
    """
    codec.eval()
    latents = codec.latents(clips)
    values: dict[str, float] = {"latent_rank": effective_rank(latents)}
    quantized = latents
    if quantizing:
        codes = codec.quantizer.encode(latents)
        quantized = codec.quantizer.decode(codes)
        gains = level_gains(latents, codec.quantizer)
        for level in range(codec.quantizer.n_levels):
            values[f"gain_db_{level}"] = float(gains[level])
            values[f"used_codes_{level}"] = int(codes[:, level].unique().numel())
            values[f"perplexity_{level}"] = perplexity(codes[:, level], codec.quantizer.codebook_size)
    decoded = codec.synthesise(quantized)
    real = torch.nn.functional.pad(clips, (0, decoded.shape[1] - clips.shape[1]))
    rate = codec.config.sample_rate
    values["log_mel_distance"] = log_mel_distance(real, decoded, rate)
    ratio = decoded.square().mean(1).clamp(min=1e-12) / real.square().mean(1).clamp(min=1e-12)
    values["level_difference"] = float(10 * torch.log10(ratio).median())
    values["comb_share_original"] = comb_share(real, rate, rate / codec.config.hop)
    values["comb_share"] = comb_share(decoded, rate, rate / codec.config.hop)
    return values


def perplexity(codes: Tensor, codebook_size: int) -> float:
    """Return exp(entropy in nats) of how often each code occurs in int64 codes of any shape: 1 to `codebook_size`."""
    share = torch.bincount(codes.flatten(), minlength=codebook_size) / codes.numel()
    return float(torch.exp(-(share * torch.log(share.clamp(min=1e-12))).sum()))


def comb_share(clips: Tensor, sample_rate: int, frame_rate: float) -> float:
    """Return the mean share of the energy of clips [n, n_samples] within 1 Hz of a multiple of the frame rate (Hz).

    Evenly spread energy gives about 2 / frame_rate; a decoder that repeats itself every frame gives far more.
    """
    power = torch.fft.rfft(clips.double()).abs().square()
    frequency = torch.fft.rfftfreq(clips.shape[1], 1 / sample_rate, dtype=torch.float64).to(clips.device)
    nearest = frame_rate * torch.round(frequency / frame_rate)
    near = ((frequency - nearest).abs() <= FRAME_RATE_TOLERANCE) & (frequency > frame_rate / 2)
    return float((power[:, near].sum(1) / power.sum(1).clamp(min=1e-12)).mean())
