"""The acoustic metrics of the published study, per clip and per pair of clips.

Formulas as reproduced from the study's public result files: six numbers from the waveform and from the
magnitude spectrum of the whole clip, two from a pair of such spectra, and the duration. All arithmetic is
float64. What silence leaves undefined is NaN.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from envsound.base.errors import InputError
from envsound.base.text import markdown_table

MAGNITUDE_FLOOR = 1e-10  # far below a 16-bit clip's own noise; keeps ln finite at bins that cancel exactly
ROLLOFF_SHARE = 0.85


@dataclass(frozen=True)
class Metric:
    """How a metric is written and read: label, unit ("" for a ratio), formula (LaTeX), what to beware of."""

    label: str
    unit: str
    formula: str
    note: str

    @property
    def axis_label(self) -> str:
        """The label with its unit, such as "Spectral centroid (Hz)"."""
        return f"{self.label} ({self.unit})" if self.unit else self.label


METRICS: dict[str, Metric] = {
    "snr_db": Metric(
        "SNR", "dB", r"$10\log_{10}\left(\overline{x^2}\,/\,\overline{(\Delta x)^2}\right)$",
        "a spectral tilt, not a signal-to-noise ratio: high for dull sounds, low for bright ones",
    ),
    "zcr": Metric(
        "Zero-crossing rate", "", r"$\sum\lvert\Delta\,\mathrm{sign}(x)\rvert\,/\,(2N)$",
        "crossings per sample; a sample that is exactly zero counts as half a step",
    ),
    "rms": Metric("RMS", "", r"$\sqrt{\overline{x^2}}$", "full scale is 1"),
    "spectral_entropy": Metric(
        "Spectral entropy", "nat", r"$-\sum p\ln p,\quad p = M/\sum M$",
        "over the whole clip, so it grows with the length of the clip; compare equal lengths",
    ),
    "spectral_centroid_hz": Metric(
        "Spectral centroid", "Hz", r"$\sum fM\,/\sum M$", "weighted by magnitude, not by energy",
    ),
    "spectral_rolloff_hz": Metric(
        "Spectral rolloff", "Hz", r"first $f$ where $\sum_{\le f} M \ge 0.85\sum M$",
        "85% of the summed magnitude, not of the energy",
    ),
    "duration_s": Metric(
        "Duration", "s", r"$N\,/\,f_s$", "says nothing when every clip has one length",
    ),
    "spectral_convergence": Metric(
        "Spectral convergence", "", r"$\lVert M_r - M_g\rVert\,/\,\lVert M_r\rVert$",
        "of a pair; 0 for equal spectra, about 1 or more for unrelated clips",
    ),
    "log_spectral_distance": Metric(
        "Log spectral distance", "neper", r"$\sqrt{\overline{(\ln M_r - \ln M_g)^2}}$",
        "of a pair; natural logarithm, so not in dB; unrelated clips never come near 0",
    ),
}  # fmt: skip
ACOUSTIC = tuple(METRICS)[:7]
PAIRWISE = tuple(METRICS)[7:]


def acoustic(clip: np.ndarray, sample_rate: float) -> dict[str, float]:
    """Return the six acoustic metrics of a clip and its duration.

    With x the clip, N its samples and M = |rfft(x)| over the whole clip:

    - `snr_db` 10 log10(mean(x^2) / mean(diff(x)^2)), dB: a spectral tilt, not a signal-to-noise ratio
    - `zcr` sum(|diff(sign(x))|) / (2 N), in [0, 1]
    - `rms` sqrt(mean(x^2))
    - `spectral_entropy` -sum(p ln p) with p = M / sum(M), nat
    - `spectral_centroid_hz` sum(f M) / sum(M), Hz
    - `spectral_rolloff_hz` the first f at which cumsum(M) reaches 0.85 sum(M), Hz
    - `duration_s` N / sample_rate, s

    `clip` is float [n_samples], `sample_rate` in Hz. A value the clip leaves undefined is NaN: the spectral
    ones of digital silence, the SNR of any clip without a change in it. Raises InputError when the clip is
    empty, not 1-D or not finite, or the rate is not positive.
    """
    x = checked_clip(clip)
    if not (np.isfinite(sample_rate) and sample_rate > 0):
        raise InputError(f"sample_rate={sample_rate!r}: expected a positive number of Hz")
    magnitude = np.abs(np.fft.rfft(x))  # [n_samples // 2 + 1]
    frequency = np.fft.rfftfreq(x.size, 1.0 / sample_rate)  # Hz
    return {
        "snr_db": _snr_db(x),
        "zcr": float(np.abs(np.diff(np.sign(x))).sum() / (2 * x.size)),
        "rms": float(np.sqrt(np.mean(x**2))),
        "spectral_entropy": _entropy(magnitude),
        "spectral_centroid_hz": _centroid(magnitude, frequency),
        "spectral_rolloff_hz": _rolloff(magnitude, frequency),
        "duration_s": float(x.size / sample_rate),
    }


def spectral_convergence(real: np.ndarray, generated: np.ndarray) -> float:
    """Return ||Mr - Mg|| / ||Mr|| of the whole-clip magnitude spectra; 0 for equal spectra, no upper bound.

    Both clips, float [n_samples] at one sample rate, are cut to the shorter length first. NaN when the real
    clip is silent over that length. Raises InputError for clips that are empty, not 1-D or not finite.
    """
    m_real, m_generated = _spectra(real, generated)
    norm = np.linalg.norm(m_real)
    return float(np.linalg.norm(m_real - m_generated) / norm) if norm > 0 else float("nan")


def log_spectral_distance(real: np.ndarray, generated: np.ndarray) -> float:
    """Return sqrt(mean((ln Mr - ln Mg)^2)) of the whole-clip magnitude spectra, in neper, not dB.

    Both clips, float [n_samples] at one sample rate, are cut to the shorter length first. Magnitudes below
    1e-10 count as 1e-10. NaN when either clip is silent over that length. Raises InputError as
    `spectral_convergence`.
    """
    m_real, m_generated = _spectra(real, generated)
    if not (m_real.any() and m_generated.any()):
        return float("nan")
    difference = np.log(np.maximum(m_real, MAGNITUDE_FLOOR)) - np.log(np.maximum(m_generated, MAGNITUDE_FLOOR))
    return float(np.sqrt(np.mean(difference**2)))


def checked_clip(clip: np.ndarray, name: str = "clip") -> np.ndarray:
    """Return a clip as float64 [n_samples].

    Raises InputError, with `name` in it, when the clip is empty, not 1-D, not of real numbers or not finite.
    """
    x = np.asarray(clip)
    if x.dtype.kind not in "fiu":
        raise InputError(f"{name}: has type {x.dtype}, expected real numbers")
    if x.ndim != 1:
        raise InputError(f"{name}: has shape {x.shape}, expected one mono clip [n_samples]")
    if x.size == 0:
        raise InputError(f"{name}: has no samples, expected at least one")
    x = x.astype(np.float64)
    if not np.isfinite(x).all():
        raise InputError(f"{name}: {np.count_nonzero(~np.isfinite(x))} of its {x.size} samples are NaN or infinite")
    return x


def chosen(names: list[str] | tuple[str, ...]) -> tuple[str, ...]:
    """Return the metric names asked for, in the order of METRICS; none asked for means all.

    Raises InputError for a name that is not a metric.
    """
    unknown = [name for name in names if name not in METRICS]
    if unknown:
        raise InputError(f"metrics: {unknown[0]!r} is not a metric; expected some of {', '.join(METRICS)}")
    return tuple(name for name in METRICS if name in names or not names)


def describe(metrics: Mapping[str, Metric] = METRICS) -> str:
    """Return a Markdown table of metrics: label, column, unit, formula, what to know of it.

    Neighbours that differ in their band alone share a row.
    """
    rows = []
    for (formula, note), group in groupby(metrics.items(), key=lambda item: (item[1].formula, item[1].note)):
        names, members = zip(*group, strict=True)
        ends = (0,) if len(names) == 1 else (0, -1)
        labels, columns = ([part[end] for end in ends] for part in ([m.label for m in members], names))
        shown = " … ".join(f"`{name}`" for name in columns)
        rows.append([" … ".join(labels), shown, members[0].unit or "1", formula, note])
    table = markdown_table(["metric", "column", "unit", "formula", "to know"], rows)
    return "\n".join(table).replace(" --: ", " :-- ")  # words, not numbers


def _snr_db(x: np.ndarray) -> float:
    power, step_power = np.mean(x**2), np.mean(np.diff(x) ** 2) if x.size > 1 else 0.0
    return float(10 * np.log10(power / step_power)) if power > 0 and step_power > 0 else float("nan")


def _entropy(magnitude: np.ndarray) -> float:
    total = magnitude.sum()
    if total == 0:
        return float("nan")
    p = magnitude / total
    p = p[p > 0]
    return float(abs(-np.sum(p * np.log(p))))  # abs: no negative zero for a single line


def _centroid(magnitude: np.ndarray, frequency: np.ndarray) -> float:
    total = magnitude.sum()
    return float(np.sum(frequency * magnitude) / total) if total > 0 else float("nan")


def _rolloff(magnitude: np.ndarray, frequency: np.ndarray) -> float:
    total = magnitude.sum()
    if total == 0:
        return float("nan")
    return float(frequency[np.argmax(np.cumsum(magnitude) >= ROLLOFF_SHARE * total)])


def _spectra(real: np.ndarray, generated: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x, y = checked_clip(real, "real"), checked_clip(generated, "generated")
    n_samples = min(x.size, y.size)
    return np.abs(np.fft.rfft(x[:n_samples])), np.abs(np.fft.rfft(y[:n_samples]))
