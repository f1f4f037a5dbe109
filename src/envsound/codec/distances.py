"""How far a decoded clip is from its original: spectral distances, SI-SDR, the frame-rate comb, levels by band."""

from collections.abc import Sequence

import numpy as np
import torch

from envsound.base.errors import InputError
from envsound.codec.training.losses import log_mel_distance, magnitude

STFT_WINDOWS = (256, 512, 1024, 2048)  # samples
STFT_FLOOR = 1e-4  # -80 dB; white noise of rms 1 has magnitudes about 0.6 at every window length
BANDS = ((0, 300), (300, 1000), (1000, 3500), (3500, 5000), (5000, 8000), (8000, 12000))  # Hz
BAND_WINDOW = 1024  # samples
FLOOR_DB = -80.0  # dB re full scale: magnitudes and band levels below it count as silence
LOWEST_DB = -120.0  # dB re full scale: what a decoded band of digital silence counts as
SOUNDING_DB = 40.0  # below the loudest column of its clip, a column no longer counts as sounding
EVERYTHING = (0, 10**9)  # Hz, the band that holds every frequency


def log_mel(real: np.ndarray, other: np.ndarray, sample_rate: int) -> float:
    """Return `training.losses.log_mel_distance` of two clips [n_samples], in dB."""
    return log_mel_distance(*(_padded(clip) for clip in _pair(real, other)), sample_rate)


def stft_distance(real: np.ndarray, other: np.ndarray) -> float:
    """Return the multi-scale STFT distance of two clips [n_samples], in nepers (1 neper is 8.7 dB).

    The mean over windows of 256, 512, 1024 and 2048 samples of mean |ln(|S| + 1e-4) - ln(|S'| + 1e-4)| over all
    frames and bins, with S the short-time spectrum of `training.losses.magnitude` (Hann, hop a quarter of the window,
    divided by the root of the window length). A clip of digital silence against itself is 0.
    """
    clips = [_padded(clip) for clip in _pair(real, other)]
    levels = ([torch.log(magnitude(clip, window) + STFT_FLOOR) for clip in clips] for window in STFT_WINDOWS)
    return float(np.mean([float((one - another).abs().mean()) for one, another in levels]))


def si_sdr_db(real: np.ndarray, other: np.ndarray) -> float:
    """Return the scale-invariant signal-to-distortion ratio of `other` against `real` [n_samples], in dB.

    Le Roux et al. 2019, "SDR - half-baked or well done?", eq. 3: with both means removed, the part of `other` along
    `real` over the part at right angles to it. Infinite for the clip itself, NaN when either clip is silent.
    """
    x, y = (clip - clip.mean() for clip in (side.astype(np.float64) for side in _pair(real, other)))
    energy = float(x @ x)
    if energy == 0 or not y.any():
        return float("nan")
    target = (float(y @ x) / energy) * x
    along, across = float(target @ target), float((y - target) @ (y - target))
    with np.errstate(divide="ignore"):
        return float(10 * (np.log10(along) - np.log10(across)))


def sounding_columns(clips: torch.Tensor, n_columns: int) -> torch.Tensor:
    """Say which columns of clips [batch, n_samples] sound, within SOUNDING_DB of a clip's loudest: bool [batch, n].

    A column's level is the mean square of its samples; a clip of silence has no sounding column.
    """
    size = -(-clips.shape[1] // n_columns)
    padded = torch.nn.functional.pad(clips, (0, size * n_columns - clips.shape[1]))
    power = padded.unflatten(1, (n_columns, size)).square().mean(2)
    loudest = power.amax(1, keepdim=True)
    return (power > 0) & (power >= loudest * 10 ** (-SOUNDING_DB / 10))


def comb_share(clip: np.ndarray, sample_rate: int, frame_rate: float = 75.0) -> float:
    """Return the share of a clip's energy within 1 Hz of a multiple of the codec's frame rate (Hz).

    Evenly spread energy gives 2 / 75 = 0.027, and a little more in short clips (0.029 in 5 s); a codec that buzzes
    at its frame rate gives far more. NaN for silence.
    """
    power = np.abs(np.fft.rfft(clip.astype(np.float64))) ** 2
    frequency = np.fft.rfftfreq(len(clip), 1 / sample_rate)
    near = (np.abs(frequency - frame_rate * np.round(frequency / frame_rate)) <= 1.0) & (frequency > frame_rate / 2)
    return float(power[near].sum() / power.sum()) if power.any() else float("nan")


def bands_below(sample_rate: int) -> tuple[tuple[int, int], ...]:
    """Return the bands (low, high) in Hz that a sample rate reaches into, the last cut at half of it."""
    nyquist = sample_rate // 2
    return tuple((low, min(high, nyquist)) for low, high in BANDS if low < nyquist)


def band_levels_db(clip: np.ndarray, sample_rate: int, bands: Sequence[tuple[int, int]] = BANDS) -> np.ndarray:
    """Return the level of a clip [n_samples] in each band, dB re full scale (mean square 1): float [n_bands].

    The mean squares of bands that cover 0 Hz to half the sample rate add up to that of the clip (Parseval); a band
    holds its lower edge, not its upper one, except half the sample rate. Digital silence is minus infinity.
    """
    power = np.abs(np.fft.rfft(clip.astype(np.float64))) ** 2
    power[1 : (len(clip) + 1) // 2] *= 2  # every bin but 0 Hz and half the rate stands for two
    frequency = np.fft.rfftfreq(len(clip), 1 / sample_rate)
    mean_squares = [power[_in_band(frequency, band, sample_rate)].sum() / len(clip) ** 2 for band in bands]
    with np.errstate(divide="ignore"):
        return 10 * np.log10(np.array(mean_squares))


def band_level_differences(
    real: np.ndarray, other: np.ndarray, sample_rate: int, bands: Sequence[tuple[int, int]] = BANDS
) -> np.ndarray:
    """Return how much louder `other` is than `real` in each band, dB: float [n_bands].

    NaN where the original band is below -80 dB re full scale: there is nothing to keep. A decoded band below -120 dB
    counts as -120 dB.
    """
    levels, others = (band_levels_db(clip, sample_rate, bands) for clip in _pair(real, other))
    heard = levels >= FLOOR_DB
    return np.subtract(np.maximum(others, LOWEST_DB), levels, out=np.full(len(bands), np.nan), where=heard)


def band_distances(
    real: np.ndarray, other: np.ndarray, sample_rate: int, bands: Sequence[tuple[int, int]] = BANDS
) -> np.ndarray:
    """Return the mean absolute difference in dB of two clips' spectrograms within each band: float [n_bands].

    Hann windows of 1024 samples, hop 256, over all frames and the bins of the band; magnitudes below 1e-4 (-80 dB)
    count as 1e-4.
    """
    floor = 10 ** (FLOOR_DB / 20)
    spectra = [magnitude(_padded(clip), BAND_WINDOW).clamp(min=floor) for clip in _pair(real, other)]
    difference = (20 * (spectra[0].log10() - spectra[1].log10()).abs())[0].mean(dim=1).numpy()  # [n_bins]
    frequency = np.fft.rfftfreq(BAND_WINDOW, 1 / sample_rate)
    return np.array([difference[_in_band(frequency, band, sample_rate)].mean() for band in bands], dtype=np.float64)


def _in_band(frequency: np.ndarray, band: tuple[int, int], sample_rate: int) -> np.ndarray:
    low, high = band
    return (frequency >= low) & ((frequency < high) | (high >= sample_rate / 2))


def _pair(real: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if real.ndim != 1 or real.shape != other.shape or real.size == 0:
        raise InputError(f"clips: shapes {real.shape} and {other.shape}; expected two clips [n_samples] of one length")
    return real, other


def _padded(clip: np.ndarray) -> torch.Tensor:
    """Return a clip as [1, n_samples], lengthened with zeros to the longest window: shorter ones have no spectrum."""
    lacking = max(0, max(STFT_WINDOWS) - clip.size)
    return torch.from_numpy(np.pad(clip, (0, lacking)).astype(np.float32))[None]
