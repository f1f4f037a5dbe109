"""Mel filter banks in numpy alone, so that training a codec needs no audio library.

The scale is that of Slaney's Auditory Toolbox (1998), librosa's default: linear below 1 kHz, logarithmic above.
"""

import numpy as np

HZ_PER_MEL = 200.0 / 3  # below the corner
CORNER_HZ = 1000.0
LOG_STEP = np.log(6.4) / 27.0  # of ln Hz a mel above the corner


def hz_to_mel(hz: float) -> float:
    """Return a frequency (Hz) on Slaney's mel scale."""
    if hz < CORNER_HZ:
        return hz / HZ_PER_MEL
    return CORNER_HZ / HZ_PER_MEL + float(np.log(hz / CORNER_HZ)) / LOG_STEP


def mel_to_hz(mels: np.ndarray) -> np.ndarray:
    """Return frequencies (Hz) of values on Slaney's mel scale, float64 [n]."""
    corner = CORNER_HZ / HZ_PER_MEL
    above = np.maximum(mels - corner, 0)
    return np.where(mels < corner, mels * HZ_PER_MEL, CORNER_HZ * np.exp(LOG_STEP * above))


def mel_edges(n_mels: int, low_hz: float, high_hz: float) -> np.ndarray:
    """Return the edges (Hz) of `n_mels` overlapping bands, float64 [n_mels + 2]: band b reaches from b to b + 2."""
    return mel_to_hz(np.linspace(hz_to_mel(low_hz), hz_to_mel(high_hz), n_mels + 2))


def mel_bank(
    sample_rate: int, n_fft: int, n_mels: int, low_hz: float = 0.0, high_hz: float | None = None
) -> np.ndarray:
    """Return triangular filters of unit area in Hz, float32 [n_mels, n_fft // 2 + 1]: those of `librosa.filters.mel`.

    high_hz: None takes half the sample rate (Hz).
    """
    edges = mel_edges(n_mels, low_hz, sample_rate / 2 if high_hz is None else high_hz)
    ramps = np.subtract.outer(edges, np.fft.rfftfreq(n_fft, 1 / sample_rate))  # [n_mels + 2, n_bins]
    widths = np.diff(edges)[:, None]
    rising, falling = -ramps[:-2] / widths[:-1], ramps[2:] / widths[1:]
    triangles = np.maximum(0, np.minimum(rising, falling)).astype(np.float32)
    return (triangles * (2.0 / (edges[2:] - edges[:-2]))[:, None]).astype(np.float32)


def mel_means(sample_rate: int, n_fft: int, n_mels: int, low_hz: float, high_hz: float) -> np.ndarray:
    """Return the same triangles as weights that add up to 1 in each band, float32 [n_mels, n_fft // 2 + 1].

    White noise has then exactly the level of a bin in every band, however few bins a band has.
    """
    bank = mel_bank(sample_rate, n_fft, n_mels, low_hz, high_hz).astype(np.float64)
    return (bank / bank.sum(axis=1, keepdims=True)).astype(np.float32)
