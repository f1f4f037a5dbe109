"""What is measured on one clip beside the published metrics: bands, harmonicity, onsets, envelope and crest.

All arithmetic is float64. No measure depends on the level of a clip, except through its own 16-bit noise.
"""

from math import gcd

import librosa
import numpy as np
from scipy import fft, signal

BAND_EDGES_HZ = (0, 300, 3500, 5000)  # the last band reaches up to `max_hz`
MODULATION_EDGES_HZ = (0.5, 1, 2, 4, 8, 16, 32, 64)
PITCH_HZ = (60.0, 500.0)
SILENT = 2.0**-15  # one step of 16 bits: below it a sample counts as digital silence
SPECTRUM_SAMPLES = 2048
PITCH_FRAME_S, PITCH_HOP_S = 0.05, 0.02  # a frame holds three periods of the lowest pitch
PITCH_BLOCK = 64  # frames taken together, so that a long clip needs no more memory than a short one
ENVELOPE_HZ = 200  # rate of the energy envelope; twice the highest modulation and some room
ENVELOPE_PADDED_S = 4.0  # so that even a short clip has points in the lowest modulation band
SHORTEST_MODULATED_S = 1.0
LEAST_MODULATED = 1e-3  # deviation of the envelope over its size; below it, it counts as constant
ONSET_FFT, ONSET_HOP_S, ONSET_MELS = 1024, 0.01, 64


def band_shares(x: np.ndarray, sample_rate: int, max_hz: float) -> list[float]:
    """Return the share of the energy up to `max_hz` in each band of BAND_EDGES_HZ; they add up to 1.

    Welch's estimate with Hann windows of 2048 samples, half overlapped. x: float [n_samples], not all zero.
    """
    n = min(SPECTRUM_SAMPLES, x.size)
    frequency, power = signal.welch(x, sample_rate, window="hann", nperseg=n, detrend=False)
    kept = frequency <= max_hz
    bands = np.digitize(frequency[kept], BAND_EDGES_HZ) - 1
    sums = np.bincount(bands, weights=power[kept], minlength=len(BAND_EDGES_HZ))
    return (sums / sums.sum()).tolist() if sums.sum() > 0 else [float("nan")] * len(BAND_EDGES_HZ)


def crest_db(x: np.ndarray) -> float:
    """Return the peak over the root mean square of x [n_samples], not all zero, in dB: 0 for a square wave."""
    return float(20 * np.log10(np.abs(x).max() / np.sqrt(np.mean(x**2))))


def harmonicity(x: np.ndarray, sample_rate: int) -> float:
    """Return how periodic a sound is, in [0, 1]: 1 for any repeating wave, about 0.1 for white noise.

    In frames of 50 ms every 20 ms: the normalised cross-correlation of the frame with itself k samples later,
    sum x[n] x[n+k] / sqrt(sum x[n]^2 sum x[n+k]^2) over the n that both have (Talkin 1995, section 3), and of its local
    maxima at lags of 60 to 500 Hz the highest, 0 where there is none. Frames are averaged with their energy as weight.
    Dull noise has no maximum at a lag other than 0, so that it does not pass for a tone. A tone above 500 Hz repeats
    within the range too and counts as harmonic.
    """
    size, hop = round(PITCH_FRAME_S * sample_rate), round(PITCH_HOP_S * sample_rate)
    x = np.pad(x, (0, max(0, size - x.size)))
    frames = np.lib.stride_tricks.sliding_window_view(x, size)[::hop]
    first, last = int(sample_rate / PITCH_HZ[1]), int(np.ceil(sample_rate / PITCH_HZ[0]))
    found, weights = np.empty((2, len(frames)))
    for start in range(0, len(frames), PITCH_BLOCK):
        block = slice(start, start + PITCH_BLOCK)
        centred = frames[block] - frames[block].mean(axis=1, keepdims=True)
        found[block], weights[block] = repetition(centred, first, last), (centred**2).sum(axis=1)
    return float(np.average(found, weights=weights)) if weights.any() else float("nan")


def repetition(frames: np.ndarray, first: int, last: int) -> np.ndarray:
    """Return how well each frame repeats itself after `first` to `last` samples, float [n_frames] in [0, 1].

    The highest local maximum of the normalised cross-correlation of a frame with itself k samples later (see
    `harmonicity`), 0 where there is none. frames: float [n_frames, size], means removed; 1 <= first <= last < size - 1.
    """
    correlation = _correlation(frames, np.arange(first - 1, last + 2))
    inner = correlation[:, 1:-1]
    is_peak = (inner >= correlation[:, :-2]) & (inner > correlation[:, 2:])
    return np.where(is_peak, inner, 0.0).max(axis=1).clip(0, 1)


def onset_rate(x: np.ndarray, sample_rate: int) -> float:
    """Return the onsets a second that librosa finds in the flux of the log-mel spectrum (its `onset_detect`).

    64 mel bands, frames every 10 ms; its thresholds are relative to the strongest onset of the clip, and the clip is
    brought to peak 1 first, so that loudness plays no part. A steady sound so has its small fluctuations counted, and
    an onset at the very first frame is not seen.
    """
    hop = round(ONSET_HOP_S * sample_rate)
    padded = np.pad(x / np.abs(x).max(), (0, max(0, ONSET_FFT - x.size)))
    strength = librosa.onset.onset_strength(
        y=padded, sr=sample_rate, hop_length=hop, n_fft=ONSET_FFT, n_mels=ONSET_MELS
    )
    onsets = librosa.onset.onset_detect(onset_envelope=strength, sr=sample_rate, hop_length=hop)
    return len(onsets) * sample_rate / x.size


def envelope(x: np.ndarray, sample_rate: int) -> np.ndarray:
    """Return the envelope of x [n_samples]: the root of the energy x^2, low-passed and brought to 200 Hz.

    One broad band: what a narrow band does alone is not seen. Beyond its ends the sound counts as silence, which the
    low-pass lets into the first and last 10 samples, float [n_samples * 200 / sample_rate, rounded up].
    """
    shared = gcd(ENVELOPE_HZ, sample_rate)
    energy = signal.resample_poly(x**2, ENVELOPE_HZ // shared, sample_rate // shared)
    return np.sqrt(energy.clip(min=0))


def envelope_shares(slow: np.ndarray) -> np.ndarray:
    """Return the share of the power of an `envelope`, float [n] at 200 Hz, in each octave of MODULATION_EDGES_HZ.

    float [n_octaves], sum 1. The mean is removed, and the spectrum taken once over the whole clip with a Hann window. A
    clip of T seconds does not resolve modulations below 1 / T. NaN for a constant envelope.
    """
    n_octaves = len(MODULATION_EDGES_HZ) - 1
    window = signal.windows.hann(slow.size, sym=False)
    wave = (slow - np.average(slow, weights=window)) * window
    if np.linalg.norm(wave) < LEAST_MODULATED * np.linalg.norm(slow * window):
        return np.full(n_octaves, np.nan)
    n = max(slow.size, round(ENVELOPE_PADDED_S * ENVELOPE_HZ))
    power = np.abs(np.fft.rfft(wave, n)) ** 2
    bands = np.digitize(np.fft.rfftfreq(n, 1 / ENVELOPE_HZ), MODULATION_EDGES_HZ) - 1
    inside = (bands >= 0) & (bands < n_octaves)
    sums = np.bincount(bands[inside], weights=power[inside], minlength=n_octaves)
    return sums / sums.sum()


def _correlation(frames: np.ndarray, lags: np.ndarray) -> np.ndarray:
    """Return the normalised cross-correlation of frames [n_frames, size] with themselves, [n_frames, n_lags].

    lags: ascending. The transform is long enough that at these lags nothing wraps around.
    """
    size = frames.shape[1]
    n_fft = fft.next_fast_len(size + int(lags[-1]), real=True)
    spectrum = np.abs(fft.rfft(frames, n_fft)) ** 2
    products = fft.irfft(spectrum, n_fft)[:, lags]
    energy = np.pad(np.cumsum(frames**2, axis=1), ((0, 0), (1, 0)))  # [n_frames, size + 1]
    head, tail = energy[:, size - lags], energy[:, -1:] - energy[:, lags]
    scale = np.sqrt(head * tail)
    heard = scale > 1e-9 * energy[:, -1:]  # below this the products are rounding errors
    return np.divide(products, scale, out=np.zeros_like(products), where=heard)
