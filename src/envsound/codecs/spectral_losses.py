"""Multi-scale spectral losses for training a codec, and the log-mel distance that reports it."""

from functools import cache

import librosa
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

LOG_FLOOR = 5e-4  # relative losses explode on silent crops without it
SCALES = ((256, 20), (512, 40), (1024, 80), (2048, 128))  # window in samples, mel bands


@cache
def mel_filters(sample_rate: int, n_fft: int, n_mels: int) -> Tensor:
    """Return librosa's mel filter bank scaled so that each band is a weighted mean, float32 [n_mels, n_fft // 2 + 1].

    librosa gives every band unit area in Hz; times the width of a bin, its weights add up to 1, so that white noise
    has the same level in every band as in every bin.
    """
    filters = librosa.filters.mel(sr=sample_rate, n_fft=n_fft, n_mels=n_mels) * (sample_rate / n_fft)
    return torch.from_numpy(filters.astype(np.float32))


def magnitude(clips: Tensor, n_fft: int) -> Tensor:
    """Return |STFT| of clips [batch, n_samples], Hann window, hop n_fft / 4: [batch, n_bins, n_frames].

    Scaled by 1 / sqrt(n_fft), so that white noise has the same level at every window length.
    """
    window = torch.hann_window(n_fft, device=clips.device)
    spectrum = torch.stft(clips, n_fft, n_fft // 4, window=window, normalized=True, return_complex=True)
    return spectrum.real.square().add(spectrum.imag.square()).add(1e-12).sqrt()


def spectral_loss(real: Tensor, fake: Tensor, sample_rate: int) -> Tensor:
    """Mean over SCALES of L1 between log-mel, log-STFT (half weight) and linear mel magnitudes of clips [batch, n]."""
    total = real.new_zeros(())
    for n_fft, n_mels in SCALES:
        filters = mel_filters(sample_rate, n_fft, n_mels).to(real.device)
        spectra = [magnitude(clips, n_fft) for clips in (real, fake)]
        mels = [filters @ spectrum for spectrum in spectra]
        total = total + F.l1_loss(_log(mels[1]), _log(mels[0]))
        total = total + 0.5 * F.l1_loss(_log(spectra[1]), _log(spectra[0]))
        total = total + F.l1_loss(mels[1], mels[0]) / mels[0].abs().mean().clamp(min=1e-3)
    return total / len(SCALES)


def _log(x: Tensor) -> Tensor:
    return torch.log(x + LOG_FLOOR)


def log_mel_distance(real: Tensor, other: Tensor, sample_rate: int) -> float:
    """Return the mean absolute difference in dB between log-mel spectra of clips [batch, n_samples].

    1024-sample Hann windows, hop 256, 80 bands; band magnitudes below 1e-4 (-80 dB) count as 1e-4.
    """
    filters = mel_filters(sample_rate, 1024, 80).to(real.device)
    levels = [20 * torch.log10((filters @ magnitude(clips, 1024)).clamp(min=1e-4)) for clips in (real, other)]
    return float(F.l1_loss(levels[0], levels[1]))
