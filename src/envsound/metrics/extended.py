"""Acoustic metrics beside the published ones: level, octave bands, and how a clip evolves in time; files at once.

All are taken over the whole clip, its silence included: a codec turns digital silence into near silence, so that to
cut silence away would treat the two sides of a comparison differently. What silence leaves undefined is NaN.
"""

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from envsound.base import cache
from envsound.base.errors import InputError
from envsound.base.files import sha256_file
from envsound.data.audio import RESAMPLER, BadClip, read, why_missing
from envsound.metrics.acoustic import ACOUSTIC, METRICS, Metric, acoustic, checked_clip
from envsound.metrics.measures import (
    ENVELOPE_HZ,
    LEAST_MODULATED,
    MODULATION_EDGES_HZ,
    SHORTEST_MODULATED_S,
    band_shares,
    crest_db,
    envelope,
    envelope_shares,
    harmonicity,
    onset_rate,
    repetition,
)
from envsound.run.identity import module_hash

CACHE = cache.FOLDER / "metrics"
CHUNK = 4  # files handed to a process at a time
OCTAVES_HZ = (63, 125, 250, 500, 1000, 2000, 4000, 8000)  # nominal centres; the exact ones halve down from 1000
ABOVE = "share_above_5000_hz"
LOWEST_RATE = 2000  # Hz; four samples in a period of the highest pitch that is looked for
LOWEST_RATE_ABOVE = 2 * 5000  # Hz; at or below it there is nothing above 5 kHz
FLUX_FRAME_S = 0.04  # frames follow one another without overlap
ENVELOPE_EDGE = 10  # samples of the envelope at either end that the low-pass has mixed with silence
REPETITION_S = (0.1, 2.0)  # lags at which loudness may repeat: steps, ticks, sirens, waves


LEVEL: dict[str, Metric] = {
    "peak_dbfs": Metric("Peak level", "dBFS", r"$20\log_{10}\max\lvert x\rvert$", "0 is full scale"),
    "crest_db": Metric(
        "Crest", "dB", r"$20\log_{10}(\max\lvert x\rvert\,/\,\mathrm{rms})$",
        "peak over root mean square; 0 for a square wave, 3.01 for a sine",
    ),
}  # fmt: skip
SPECTRUM: dict[str, Metric] = {
    ABOVE: Metric(
        "Energy above 5000 Hz", "", r"$\sum_{f>5\,\mathrm{kHz}}P\,/\sum P$", "up to half the rate; Welch 1967"
    ),
} | {
    f"octave_{hz}_hz": Metric(
        f"Octave at {hz} Hz", "", r"$\sum_{c/\sqrt2\le f<c\sqrt2}M^2\,/\sum M^2$",
        "share of the energy in the octave around c; constant removed; bands of IEC 61260-1:2014 with base 2",
    )
    for hz in OCTAVES_HZ
}  # fmt: skip
MODULATION: dict[str, Metric] = {
    f"modulation_{low:g}_{high:g}_hz": Metric(
        f"Modulation {low:g} to {high:g} Hz", "", r"$\sum_{\mathrm{octave}}\lvert E\rvert^2\,/\sum\lvert E\rvert^2$",
        "share of the envelope's power between 0.5 and 64 Hz; E: spectrum of the envelope",
    )
    for low, high in pairwise(MODULATION_EDGES_HZ)
}  # fmt: skip
TEMPORAL: dict[str, Metric] = {
    "harmonicity": Metric(
        "Harmonicity", "", r"$\max_k\,r(k)$",
        "highest peak of the autocorrelation at 60 to 500 Hz, 1 is periodic; Talkin 1995; tells tones from noise frame "
        "by frame",
    ),
    "onset_rate_hz": Metric(
        "Onset rate", "1/s", r"$n_\mathrm{onsets}\,/\,T$",
        "onsets in the flux of the log-mel spectrum, a second; librosa's onset_detect",
    ),
    "spectral_flux": Metric(
        "Spectral flux", "", r"$1-\sum M_t\cdot M_{t-1}\,/\sum\lVert M_t\rVert\lVert M_{t-1}\rVert$",
        "how much the spectrum changes its shape from one 40 ms to the next; after Tzanetakis and Cook 2002, "
        "weighted by level; 0 for a steady sound, 0.21 for white noise",
    ),
    "envelope_correlation_s": Metric(
        "Envelope correlation time", "s", r"first $\tau$ where $R(\tau)<1/e$",
        "how long loudness stays alike; R is the biased autocorrelation of the envelope (Box and Jenkins 1976)",
    ),
    "envelope_repetition": Metric(
        "Envelope repetition", "", r"$\max_{0.1\le\tau\le2\,\mathrm{s}} r(\tau)$",
        "highest peak of the envelope's normalised cross-correlation with itself; 1 when loudness repeats exactly",
    ),
} | MODULATION  # fmt: skip
EXTENDED: dict[str, Metric] = LEVEL | SPECTRUM | TEMPORAL
PER_CLIP: dict[str, Metric] = {name: METRICS[name] for name in ACOUSTIC} | EXTENDED
FOUND = "found_peak"
GROUPS: dict[str, tuple[str, ...]] = {
    "published": ACOUSTIC,
    "level": tuple(LEVEL),
    "spectrum": tuple(SPECTRUM),
    "time": tuple(TEMPORAL),
}


def measure(clip: np.ndarray, sample_rate: int) -> dict[str, float]:
    """Return every metric of PER_CLIP: those of `metrics.acoustic` and of `extended`. Raises InputError as they do."""
    return acoustic(clip, sample_rate) | extended(clip, sample_rate)


def extended(clip: np.ndarray, sample_rate: int) -> dict[str, float]:
    """Return every metric of EXTENDED for a clip, float [n_samples] in [-1, 1] at `sample_rate` Hz.

    Peak and crest are of the clip as it is; before anything else its mean is removed, as a constant is no sound. NaN:
    everything for digital silence, all but peak and crest for a constant, an octave that reaches beyond half the rate,
    the share above 5 kHz at 10 kHz and less, and for clips under 1 s what is taken from the envelope. Raises InputError
    when the clip is empty, not 1-D or not finite, or the rate not a whole number of at least 2,000.
    """
    x = checked_clip(clip)
    if sample_rate != int(sample_rate) or sample_rate < LOWEST_RATE:
        raise InputError(f"sample_rate={sample_rate!r}: expected a whole number of Hz, at least {LOWEST_RATE}")
    found = dict.fromkeys(EXTENDED, float("nan"))
    if x.any():
        found |= {"peak_dbfs": float(20 * np.log10(np.abs(x).max())), "crest_db": crest_db(x)}
    if np.ptp(x) == 0:
        return found
    x = x - x.mean()
    octaves = octave_shares(x, sample_rate)
    found |= {f"octave_{hz}_hz": share for hz, share in zip(OCTAVES_HZ, octaves.tolist(), strict=True)}
    if sample_rate > LOWEST_RATE_ABOVE:
        found[ABOVE] = band_shares(x, sample_rate, sample_rate / 2)[-1]
    found |= {
        "harmonicity": harmonicity(x, sample_rate),
        "onset_rate_hz": onset_rate(x, sample_rate),
        "spectral_flux": spectral_flux(x, sample_rate),
    }
    if x.size < SHORTEST_MODULATED_S * sample_rate:
        return found
    slow = envelope(x, sample_rate)
    return found | {
        "envelope_correlation_s": envelope_correlation_s(slow),
        "envelope_repetition": envelope_repetition(slow),
        **dict(zip(MODULATION, envelope_shares(slow).tolist(), strict=True)),
    }


@dataclass(frozen=True)
class Request:
    """What is done to every file: the rate in Hz it is brought to, and the length in s it is cut to (0: whole)."""

    sample_rate: int
    max_seconds: float = 0


def measure_files(
    paths: Sequence[str | Path], request: Request, cache_dir: str | Path = CACHE, n_jobs: int = 1
) -> pd.DataFrame:
    """Return a row for each of some audio files: columns path, the metrics of PER_CLIP, FOUND and problem.

    FOUND is the largest |x| before the clip was limited to 1. A file that cannot be read or measured has NaN metrics
    and its `problem`, "path: reason"; else that is "". Values are kept in `cache_dir`, one file for each (see
    `cache.kept_all`); equal files are measured once. `n_jobs` processes measure what is missing; each holds one clip at
    a time, whatever the number of files.
    Raises InputError when n_jobs is below 1.
    """
    if n_jobs < 1:
        raise InputError(f"n_jobs={n_jobs}: expected at least one process")
    hashes = {path: _hash(path) for path in paths}
    there = [path for path, found in hashes.items() if found]
    done_to_all = [int(request.sample_rate), float(request.max_seconds), RESAMPLER]
    done_to_all += [cache.libraries("numpy", "scipy", "librosa"), module_hash("envsound.metrics.extended")]
    parts = [[hashes[path], *done_to_all] for path in there]

    def make(places: list[int]) -> Iterator[dict[str, Any]]:
        with tqdm(total=len(places), desc="measuring clips", unit="clip") as bar:
            for row in _each([there[place] for place in places], request, n_jobs):
                bar.update()
                yield row

    found = dict(zip(there, cache.kept_all(cache_dir, parts, make, _MEASURED), strict=True))
    return pd.DataFrame([_row(path, found.get(path)) for path in paths], columns=["path", *PER_CLIP, FOUND, "problem"])


def measure_file(path: str | Path, request: Request) -> dict[str, Any]:
    """Return the metrics of one file and the `reason` for having none, without the path: equal files share both."""
    try:
        reading = read(path, request.sample_rate, request.max_seconds or None)
        values = measure(reading.clip, request.sample_rate) | {FOUND: reading.peak}
    except InputError as error:
        reason = error.reason if isinstance(error, BadClip) else str(error)
        return {name: None for name in (*PER_CLIP, FOUND)} | {"reason": reason}
    return {name: None if np.isnan(value) else value for name, value in values.items()} | {"reason": ""}


def octave_shares(x: np.ndarray, sample_rate: int) -> np.ndarray:
    """Return the share of the energy of x [n_samples] in each octave of OCTAVES_HZ, float [n_octaves].

    By Parseval's theorem from the spectrum of the whole clip. An octave holds c / sqrt(2) <= f < c sqrt(2) with centre
    c = 1000 * 2^k Hz; what lies outside all of them, below 44 Hz and above 11.3 kHz, is in the sum but in no share, so
    shares add up to 1 at most. NaN for an octave that reaches beyond half the rate.
    """
    power = np.abs(np.fft.rfft(x)) ** 2
    power[1 : (x.size + 1) // 2] *= 2  # every bin but 0 Hz and half the rate stands for two
    frequency = np.fft.rfftfreq(x.size, 1 / sample_rate)
    centres = 1000 * 2.0 ** np.arange(-4, 4)
    edges = np.append(centres / np.sqrt(2), centres[-1] * np.sqrt(2))
    inside = np.diff(np.searchsorted(frequency, edges))
    starts = np.searchsorted(frequency, edges[:-1])
    sums = np.array([power[start : start + n].sum() for start, n in zip(starts, inside, strict=True)])
    return np.where(edges[1:] <= sample_rate / 2, sums / power.sum(), np.nan)


def spectral_flux(x: np.ndarray, sample_rate: int) -> float:
    """Return how much the spectrum of x [n_samples] changes its shape over time, in [0, 1].

    1 - sum M_t . M_(t-1) / sum ||M_t|| ||M_(t-1)|| over magnitude spectra of Hann windows of 40 ms one after another,
    the mean of each removed. Tzanetakis and Cook (2002, section III-A) take the squared distance of the two normalised
    spectra, which is 2 - 2 cos; here it is half of that, with the product of the two levels as weight, so that what is
    near silence counts for as little as silence. White noise gives 1 - pi / 4, as its magnitudes are
    Rayleigh-distributed. NaN for a clip of less than two windows, or silent where two meet.
    """
    size = round(FLUX_FRAME_S * sample_rate)
    n_frames = x.size // size
    if n_frames < 2:
        return float("nan")
    frames = x[: n_frames * size].reshape(n_frames, size)
    frames = frames - frames.mean(axis=1, keepdims=True)
    magnitude = np.abs(np.fft.rfft(frames * np.hanning(size + 1)[:-1]))  # [n_frames, n_bins]
    level = np.linalg.norm(magnitude, axis=1)
    scale = level[1:] @ level[:-1]
    if scale == 0:
        return float("nan")
    return float(np.clip(1 - np.sum(magnitude[1:] * magnitude[:-1]) / scale, 0, 1))


def envelope_correlation_s(slow: np.ndarray) -> float:
    """Return the lag in s at which the envelope's autocorrelation first falls below 1/e: how long loudness stays alike.

    R(k) = sum e_t e_(t+k) / sum e_t^2 with the mean of e removed, the biased estimate (Box and Jenkins 1976, section
    2.1.5); between two lags the line between them counts. slow: `measures.envelope` of at least 1 s, float [n] at
    200 Hz. NaN for a constant envelope.
    """
    wave = _wave(slow)
    if wave is None:
        return float("nan")
    correlation = np.fft.irfft(np.abs(np.fft.rfft(wave, 2 * wave.size)) ** 2)[: wave.size]
    correlation /= correlation[0]
    level = np.exp(-1)
    after = int(np.argmax(correlation < level))  # there is one: all lags but 0 add up to -1/2
    before = correlation[after - 1]
    return float((after - 1 + (before - level) / (before - correlation[after])) / ENVELOPE_HZ)


def envelope_repetition(slow: np.ndarray) -> float:
    """Return how well the envelope repeats itself after 0.1 to 2 s, at most half the clip, in [0, 1].

    `measures.repetition` of the envelope with its mean removed: 1 for a clock, about 0.1 for noise. slow: as for
    `envelope_correlation_s`. NaN for a constant envelope.
    """
    wave = _wave(slow)
    if wave is None:
        return float("nan")
    first, last = (round(lag * ENVELOPE_HZ) for lag in REPETITION_S)
    return float(repetition(wave[None], first, min(last, wave.size // 2))[0])


def _wave(slow: np.ndarray) -> np.ndarray | None:
    """Return an envelope without its ends and its mean; None when it is constant."""
    slow = slow[ENVELOPE_EDGE:-ENVELOPE_EDGE]
    wave = slow - slow.mean()
    return wave if np.linalg.norm(wave) >= LEAST_MODULATED * np.linalg.norm(slow) else None


def _hash(path: str | Path) -> str:
    """Return the hash of a file's content; "" when it cannot be opened."""
    try:
        return sha256_file(path)
    except OSError:
        return ""


def _read(file: Path) -> dict[str, Any]:
    """Read the metrics of a file. Raises ValueError when they are not those of PER_CLIP: they are measured again."""
    found = cache.JSON.read(file)
    if not isinstance(found, dict) or set(found) != {*PER_CLIP, FOUND, "reason"}:
        raise ValueError(f"{file}: does not hold the metrics of a clip")
    return found


_MEASURED = cache.Format(".json", _read, cache.JSON.write)


def _each(paths: list[str | Path], request: Request, n_jobs: int) -> Iterator[dict[str, Any]]:
    """Measure files one after another, or by several processes.

    New processes are started afresh: a copy of this one would inherit torch's threads, and may wait for them forever.
    """
    work, n_jobs = partial(measure_file, request=request), min(n_jobs, len(paths))
    if n_jobs <= 1:
        yield from map(work, paths)
        return
    with ProcessPoolExecutor(n_jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(work, paths, chunksize=CHUNK)


def _why(path: str | Path) -> str:
    return "unreadable: it may not be opened" if Path(path).is_file() else why_missing(path)


def _row(path: str | Path, found: dict[str, Any] | None) -> dict[str, Any]:
    found = found or {"reason": _why(path)}
    values = {name: np.nan if found.get(name) is None else found[name] for name in (*PER_CLIP, FOUND)}
    return {"path": str(path), **values, "problem": f"{path}: {found['reason']}" if found["reason"] else ""}
