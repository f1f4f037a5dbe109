"""What tells whether a codec is learning or collapsing, measured on held-out clips while it trains."""

import pandas as pd
import torch
from torch import Tensor

from envsound.codec.autoencoder import Autoencoder
from envsound.codec.distances import comb_share
from envsound.codec.quantizer import effective_rank, level_gains
from envsound.codec.training.losses import log_mel_distance
from envsound.codec.usage import code_usage, count_codes


@torch.no_grad()
def vital_signs(codec: Autoencoder, clips: Tensor, quantizing: bool) -> dict[str, float]:
    """Measure held-out clips [n, n_samples], all as long as the first.

    Returns log_mel_distance (dB), level_difference (dB, decoded minus original, median over clips), comb_share of
    the originals and of the decoded clips (means over those that are not silent), latent_rank and, once the
    quantizer is on, gain_db, used_codes and perplexity of every level. Many used codes do not exclude a collapse: a
    latent of rank 2 keeps them all in use. Rank and gain do.
    """
    codec.eval()
    latents = codec.latents(clips)
    values: dict[str, float] = {"latent_rank": effective_rank(latents)}
    quantized = latents
    if quantizing:
        codes = codec.quantizer.encode(latents)
        quantized = codec.quantizer.decode(codes)
        gains = level_gains(latents, codec.quantizer)
        usage = code_usage(count_codes(codes.cpu().numpy(), codec.quantizer.codebook_size))
        for level, gain in enumerate(gains.tolist()):
            values[f"gain_db_{level}"] = gain
            values[f"used_codes_{level}"] = int(usage["codes_used"][level])
            values[f"perplexity_{level}"] = float(usage["perplexity"][level])
    decoded = codec.synthesise(quantized)
    real = torch.nn.functional.pad(clips, (0, decoded.shape[1] - clips.shape[1]))
    rate = codec.config.sample_rate
    values["log_mel_distance"] = log_mel_distance(real, decoded, rate)
    ratio = decoded.square().mean(1).clamp(min=1e-12) / real.square().mean(1).clamp(min=1e-12)
    values["level_difference"] = float(10 * torch.log10(ratio).median())
    values["comb_share_original"] = _mean_comb_share(real, rate, rate / codec.config.hop)
    values["comb_share"] = _mean_comb_share(decoded, rate, rate / codec.config.hop)
    return values


def _mean_comb_share(clips: Tensor, sample_rate: int, frame_rate: float) -> float:
    shares = pd.Series([comb_share(clip, sample_rate, frame_rate) for clip in clips.cpu().numpy()])
    return float(shares.mean())  # without the NaN of silent clips
