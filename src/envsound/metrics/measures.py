"""What tells speech from other sound, measured on one clip: bands, harmonicity, onsets, modulation and crest.

All arithmetic is float64. No measure depends on the level of a clip, except through its own 16-bit noise.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from math import gcd

import librosa
import numpy as np
import pandas as pd
from scipy import fft, signal

from envsound.base.errors import InputError
from envsound.data.audio import SAMPLE_RATE
from envsound.metrics.acoustic import Labelled

BAND_EDGES_HZ = (0, 300, 3500, 5000)  # the last band reaches up to `max_hz`
MODULATION_EDGES_HZ = (0.5, 1, 2, 4, 8, 16, 32, 64)
SYLLABLES_HZ = (2, 8)  # where the envelope of speech has most of its power
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


@dataclass(frozen=True)
class Measure(Labelled):
    """How a measure is written and read: words, unit, and what it is."""

    meaning: str


BANDS: dict[str, Measure] = {
    "share_below_300_hz": Measure("Energy below 300 Hz", "", "share of the energy; Welch's spectrum, constant removed"),
    "share_300_3500_hz": Measure("Energy 300 to 3500 Hz", "", "the band of the telephone, where vowels are"),
    "share_3500_5000_hz": Measure("Energy 3500 to 5000 Hz", "", "share of the energy"),
    "share_above_5000_hz": Measure("Energy above 5000 Hz", "", "up to half the lowest rate among all sources"),
}
MODULATION: dict[str, Measure] = {
    f"modulation_{low:g}_{high:g}_hz": Measure(
        f"Modulation {low:g} to {high:g} Hz", "", "share of the envelope's power between 0.5 and 64 Hz"
    )
    for low, high in pairwise(MODULATION_EDGES_HZ)
}
SINGLE: dict[str, Measure] = {
    "harmonicity": Measure("Harmonicity", "", "highest peak of the autocorrelation at 60 to 500 Hz, 1 is periodic"),
    "onset_rate_hz": Measure("Onset rate", "1/s", "onsets in the flux of the log-mel spectrum, a second"),
    "modulation_2_8_hz": Measure(
        "Modulation 2 to 8 Hz", "", "the rate of syllables; share as in the bands of modulation"
    ),
    "crest_db": Measure("Crest", "dB", "peak over root mean square"),
}
MEASURES: dict[str, Measure] = BANDS | SINGLE | MODULATION


def sounding(clip: np.ndarray) -> slice:
    """Return the samples of a clip between digital silence at its start and end; an empty slice when all is silent.

    ESC-50 pads short recordings with zeros, which belong to no sound. `clip`: float [n_samples], full scale 1.
    """
    loud = np.flatnonzero(np.abs(clip) > SILENT)
    return slice(int(loud[0]), int(loud[-1]) + 1) if loud.size else slice(0, 0)


def measure_clip(clip: np.ndarray, sample_rate: int = SAMPLE_RATE, max_hz: float | None = None) -> dict[str, float]:
    """Return every measure of MEASURES for the sounding part of a clip, float [n_samples] in [-1, 1].

    sample_rate: Hz, above 10,000 and a multiple of 8. max_hz: energy above it is left out of the bands (half the rate
    when None). What a clip leaves undefined is NaN: everything for digital silence, the modulation of less than 1 s.
    Raises InputError when the clip is empty, not 1-D or not finite, or a number is out of range.
    """
    clip = np.asarray(clip, dtype=np.float64)
    if clip.ndim != 1 or clip.size == 0 or not np.isfinite(clip).all():
        raise InputError(f"clip: shape {clip.shape}; expected finite samples [n_samples]")
    max_hz = sample_rate / 2 if max_hz is None else max_hz
    if not BAND_EDGES_HZ[-1] < max_hz <= sample_rate / 2:
        raise InputError(f"max_hz={max_hz:g}: expected above {BAND_EDGES_HZ[-1]} and at most half of {sample_rate} Hz")
    x = clip[sounding(clip)]
    x = x - x.mean() if x.size else x
    if np.abs(x).max(initial=0) <= SILENT:
        return dict.fromkeys(MEASURES, float("nan"))
    modulation = modulation_shares(x, sample_rate)
    low, high = (MODULATION_EDGES_HZ.index(edge) for edge in SYLLABLES_HZ)
    return {
        **dict(zip(BANDS, band_shares(x, sample_rate, max_hz), strict=True)),
        "harmonicity": harmonicity(x, sample_rate),
        "onset_rate_hz": onset_rate(x, sample_rate),
        "modulation_2_8_hz": float(modulation[low:high].sum()),
        "crest_db": crest_db(x),
        **dict(zip(MODULATION, modulation.tolist(), strict=True)),
    }


def measure_clips(
    clips: Iterable[np.ndarray], sample_rate: int = SAMPLE_RATE, max_hz: float | None = None
) -> pd.DataFrame:
    """Return one row of `measure_clip` for each clip, taken one at a time. Raises InputError as that does."""
    return pd.DataFrame([measure_clip(clip, sample_rate, max_hz) for clip in clips], columns=list(MEASURES))


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


def modulation_shares(x: np.ndarray, sample_rate: int) -> np.ndarray:
    """Return the share of the envelope's power in each octave of MODULATION_EDGES_HZ, float [n_bands], sum 1.

    The mean of `envelope` is removed, and its spectrum taken once over the whole clip with a Hann window. A clip of T
    seconds does not resolve modulations below 1 / T. NaN for a clip shorter than 1 s or of constant envelope.
    """
    if x.size < SHORTEST_MODULATED_S * sample_rate:
        return np.full(len(MODULATION), np.nan)
    return envelope_shares(envelope(x, sample_rate))


def envelope_shares(slow: np.ndarray) -> np.ndarray:
    """Return `modulation_shares` of a clip whose `envelope` is `slow`, float [n] at 200 Hz."""
    window = signal.windows.hann(slow.size, sym=False)
    wave = (slow - np.average(slow, weights=window)) * window
    if np.linalg.norm(wave) < LEAST_MODULATED * np.linalg.norm(slow * window):
        return np.full(len(MODULATION), np.nan)
    n = max(slow.size, round(ENVELOPE_PADDED_S * ENVELOPE_HZ))
    power = np.abs(np.fft.rfft(wave, n)) ** 2
    bands = np.digitize(np.fft.rfftfreq(n, 1 / ENVELOPE_HZ), MODULATION_EDGES_HZ) - 1
    inside = (bands >= 0) & (bands < len(MODULATION))
    sums = np.bincount(bands[inside], weights=power[inside], minlength=len(MODULATION))
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
