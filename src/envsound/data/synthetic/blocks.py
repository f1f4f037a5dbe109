"""Building blocks of synthetic sound: shaped noise, grains, voiced sources, resonances and rooms.

Every function works on one-dimensional float arrays of samples and draws its chances from the generator it is
given. Frequencies are in Hz, times in seconds, gains in decibels where a name ends in `_db`.
"""

from collections.abc import Sequence

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft, rfftfreq
from scipy.interpolate import PchipInterpolator
from scipy.signal import istft, oaconvolve, stft

Rng = np.random.Generator
Bands = Sequence[tuple[float, float]]

LOWEST_HZ = 10.0


def amplitude(level_db: float | np.ndarray) -> np.ndarray:
    """Convert decibels to a factor on the amplitude: 10^(level_db / 20)."""
    return 10.0 ** (np.asarray(level_db) / 20.0)


def rms(clip: np.ndarray) -> float:
    """Return the root mean square of a clip [n_samples]."""
    return float(np.sqrt(np.mean(np.square(clip))))


def unit(clip: np.ndarray) -> np.ndarray:
    """Scale a clip [n_samples] to root mean square 1; silence stays silence."""
    return clip / max(rms(clip), 1e-12)


def unit_peak(clip: np.ndarray) -> np.ndarray:
    """Scale a clip [n_samples] to largest magnitude 1; silence stays silence."""
    return clip / max(float(np.max(np.abs(clip))), 1e-12)


def band_gain(frequencies: np.ndarray, bands: Bands) -> np.ndarray:
    """Return the amplitude gain at `frequencies` (Hz) of a curve drawn through (Hz, dB) points.

    The curve is linear in dB over log frequency and constant beyond its first and last point.
    """
    corner, level = np.array(bands, dtype=float).T
    return amplitude(np.interp(np.log(np.maximum(frequencies, LOWEST_HZ)), np.log(corner), level))


def equalise(clip: np.ndarray, sample_rate: int, bands: Bands) -> np.ndarray:
    """Filter a clip [n_samples] with zero phase by the gain curve through `bands`, (Hz, dB) points."""
    n_fft = next_fast_len(len(clip), real=True)
    spectrum = rfft(clip, n_fft) * band_gain(rfftfreq(n_fft, 1.0 / sample_rate), bands)
    return irfft(spectrum, n_fft)[: len(clip)]


def shaped_noise(rng: Rng, n_samples: int, sample_rate: int, bands: Bands) -> np.ndarray:
    """Return Gaussian noise [n_samples] of root mean square 1 with the spectrum `bands`, (Hz, dB) points."""
    return unit(equalise(rng.standard_normal(n_samples), sample_rate, bands))


def wander(rng: Rng, n_samples: int, sample_rate: int, rate_hz: float) -> np.ndarray:
    """Return a smooth random curve [n_samples] around 0, spread about 1, turning `rate_hz` times a second."""
    n_knots = max(4, int(np.ceil(n_samples / sample_rate * rate_hz)) + 3)
    knots = np.arange(n_knots) - rng.uniform(0.0, 1.0)
    curve = PchipInterpolator(knots, rng.standard_normal(n_knots))
    return curve(np.arange(n_samples) * (rate_hz / sample_rate))


def contour(values: Sequence[float], n_samples: int, times: Sequence[float] | None = None) -> np.ndarray:
    """Return a smooth curve [n_samples] through `values` at `times` (fractions of the whole)."""
    times = np.linspace(0.0, 1.0, len(values)) if times is None else times
    return PchipInterpolator(times, values)(np.linspace(0.0, 1.0, n_samples))


def rise_and_fall(n_samples: int, sample_rate: int, attack: float, release: float) -> np.ndarray:
    """Return an envelope [n_samples] in [0, 1]: raised-cosine rise of `attack` s, hold, fall of `release` s.

    Where the two do not fit they are shortened in proportion.
    """
    seconds = n_samples / sample_rate
    shrink = min(1.0, seconds / max(attack + release, 1e-9))
    time = (np.arange(n_samples) + 0.5) / sample_rate
    rise = np.clip(time / max(attack * shrink, 1e-4), 0.0, 1.0)
    fall = np.clip((seconds - time) / max(release * shrink, 1e-4), 0.0, 1.0)
    return np.sin(0.5 * np.pi * np.minimum(rise, fall)) ** 2


def strike_and_fade(n_samples: int, sample_rate: int, attack: float, fade: float) -> np.ndarray:
    """Return an envelope [n_samples] in [0, 1]: a rise of `attack` s, then a fall by 60 dB in `fade` s."""
    time = np.arange(n_samples) / sample_rate
    return np.minimum(1.0, (time + 1.0 / sample_rate) / attack) * np.exp(-6.9 * np.maximum(time - attack, 0.0) / fade)


def add_at(track: np.ndarray, event: np.ndarray, onset: float, sample_rate: int) -> None:
    """Add `event` to `track` in place from `onset` s on; what reaches beyond the end of the track is cut."""
    start = int(onset * sample_rate)
    stop = min(len(track), start + len(event))
    if start < stop:
        track[start:stop] += event[: stop - start]


def poisson_times(rng: Rng, rate: np.ndarray | float, n_samples: int, sample_rate: int) -> np.ndarray:
    """Return sorted times (samples, int) of a Poisson process of `rate` (1/s, may be [n_samples])."""
    expected = np.cumsum(np.broadcast_to(np.asarray(rate, dtype=float) / sample_rate, (n_samples,)))
    n_events = rng.poisson(expected[-1])
    return np.searchsorted(expected, np.sort(rng.uniform(0.0, expected[-1], n_events)))


def scatter(
    rng: Rng, times: np.ndarray, strengths: np.ndarray, templates: Sequence[np.ndarray], n_samples: int
) -> np.ndarray:
    """Return a track [n_samples] with a random template, scaled by its strength, at each time (samples)."""
    track = np.zeros(n_samples)
    choice = rng.integers(0, len(templates), len(times))
    for index, template in enumerate(templates):
        mine = choice == index
        position = times[mine, None] + np.arange(len(template))  # [n_events, n]
        weight = strengths[mine, None] * template
        track += np.bincount(position.ravel(), weight.ravel(), minlength=n_samples)[:n_samples]
    return track


def modes(frequencies: Sequence[float], fades: Sequence[float], gains: Sequence[float], sample_rate: int) -> np.ndarray:
    """Return the impulse response [n] of a bank of modes: damped sines falling by 60 dB in `fades` s.

    Modal synthesis as in van den Doel and Pai (1998), "The sounds of physical shapes". Modes above 0.45 of
    the sample rate are left out.
    """
    time = np.arange(int(1.1 * max(fades) * sample_rate) + 1) / sample_rate
    response = np.zeros(len(time))
    for frequency, fade, gain in zip(frequencies, fades, gains, strict=True):
        if frequency < 0.45 * sample_rate:
            response += gain * np.exp(-6.9 * time / fade) * np.sin(2.0 * np.pi * frequency * time)
    return response


def bubble(frequency: float, fade: float, rise: float, sample_rate: int) -> np.ndarray:
    """Return the sound [n] of an air bubble: a damped sine rising by `rise` (a fraction) as it fades.

    After van den Doel (2005), "Physically based models for liquid sounds".
    """
    time = np.arange(int(1.1 * fade * sample_rate) + 1) / sample_rate
    phase = 2.0 * np.pi * frequency * time * (1.0 + 0.5 * rise * time / fade)
    return np.exp(-6.9 * time / fade) * np.sin(phase)


def harmonics(
    pitch: np.ndarray,
    sample_rate: int,
    tilt_db: float,
    n_harmonics: int = 60,
    phases: np.ndarray | None = None,
) -> np.ndarray:
    """Return a band-limited periodic source [n_samples] of peak about 1 following `pitch` (Hz) [n_samples].

    Harmonic k has the level -`tilt_db` log2(k) dB. `phases` (radians) [n_harmonics] sets each one's starting
    phase; by default all are in phase: one pulse a period. Harmonics above 0.45 of the sample rate fade out.
    """
    step = np.exp(2j * np.pi * np.cumsum(pitch) / sample_rate).astype(np.complex64)
    n_harmonics = min(n_harmonics, int(0.48 * sample_rate / pitch.min()))
    turning, source = np.ones_like(step), np.zeros(len(pitch), dtype=np.float32)
    for k in range(1, n_harmonics + 1):
        turning = turning * step
        level = amplitude(-tilt_db * np.log2(k))
        partial = turning if phases is None else turning * np.complex64(np.exp(1j * phases[k - 1]))
        if k * pitch.max() > 0.45 * sample_rate:
            partial = partial * np.clip((0.48 * sample_rate - k * pitch) / (0.03 * sample_rate), 0.0, 1.0)
        source += np.float32(level) * partial.real
    return unit_peak(source.astype(float))


def voice_pitch(
    rng: Rng, values: Sequence[float], n_samples: int, sample_rate: int, jitter: float, **shape
) -> np.ndarray:
    """Return a pitch curve (Hz) [n_samples] through `values` (Hz), wavering by the fraction `jitter`."""
    log_pitch = contour(np.log(values), n_samples, **shape)
    drift = jitter * wander(rng, n_samples, sample_rate, 6.0)
    return np.exp(log_pitch + drift + 0.5 * jitter * wander(rng, n_samples, sample_rate, 70.0))


def formant_filter(
    source: np.ndarray,
    sample_rate: int,
    tracks: Sequence[Sequence[float]],
    widths: Sequence[float],
    levels_db: Sequence[float],
    floor_db: float = -45.0,
) -> np.ndarray:
    """Filter a source [n_samples] by resonances that move: one per row of `tracks`, centre frequencies (Hz).

    `tracks` holds for each formant its frequency at evenly spread moments; `widths` (Hz) and `levels_db` have
    one value per formant. The formants are parallel and applied in the short-time Fourier domain (16 ms
    windows); their magnitude is that of a second-order resonance to the power 1.5: skirts of 9 dB an octave.
    `floor_db` lets a little of the unfiltered source through.
    """
    window = 2 * int(0.008 * sample_rate)
    frequencies, _, spectrum = stft(source, sample_rate, nperseg=window, noverlap=window // 2)
    gain = np.full(spectrum.shape, amplitude(floor_db))
    for track, width, level in zip(tracks, widths, levels_db, strict=True):
        centre = contour(track, spectrum.shape[1])
        detuning = (frequencies[:, None] ** 2 - centre**2) / (np.maximum(frequencies[:, None], 1.0) * width)
        gain += amplitude(level) / (1.0 + detuning**2) ** 0.75
    _, filtered = istft(spectrum * gain, sample_rate, nperseg=window, noverlap=window // 2)
    return np.pad(filtered, (0, max(0, len(source) - len(filtered))))[: len(source)]


def room(rng: Rng, clip: np.ndarray, sample_rate: int, fade: float, wet: float) -> np.ndarray:
    """Place a clip [n_samples] in a room: six early reflections and an exponentially decaying tail of noise.

    `fade` is the reverberation time (s, 60 dB) at low frequencies, halved at high ones; `wet` is the level of
    the reflected sound relative to the direct sound (Moorer 1979, "About this reverberation business").
    """
    n_tail = max(2, int(fade * sample_rate))
    time = np.arange(n_tail) / sample_rate
    dull = shaped_noise(rng, n_tail, sample_rate, [(150, -6), (400, 0), (1500, -3), (8000, -24)])
    bright = shaped_noise(rng, n_tail, sample_rate, [(400, -24), (1500, -6), (4000, 0), (9000, -12)])
    tail = dull * np.exp(-6.9 * time / fade) + 0.5 * bright * np.exp(-13.8 * time / fade)
    tail *= np.minimum(1.0, time / 0.008)
    delays = (rng.uniform(0.003, 0.05, 6) * sample_rate).astype(int)
    np.add.at(tail, np.minimum(delays, n_tail - 1), rng.uniform(2.0, 6.0, 6) * rng.choice([-1.0, 1.0], 6))
    tail /= np.sqrt(np.sum(tail**2))
    return clip + wet * oaconvolve(clip, tail)[: len(clip)]


def soft_limit(clip: np.ndarray, ceiling: float = 0.97) -> np.ndarray:
    """Bend samples above half the ceiling smoothly so that all magnitudes stay below `ceiling`."""
    knee = 0.5 * ceiling
    excess = np.maximum(np.abs(clip) - knee, 0.0)
    return np.sign(clip) * (np.minimum(np.abs(clip), knee) + knee * np.tanh(excess / knee))
