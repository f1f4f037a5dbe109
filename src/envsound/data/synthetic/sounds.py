"""Sound design of the ten ESC-10 classes: one function per class, drawing a different scene at every call.

Each function takes a random generator, a number of samples and a sample rate (Hz), and returns a float array
[n_samples] of arbitrary level; `envsound.data.synthetic.clips` sets levels and adds the recording's background.
"""

from collections.abc import Callable

import numpy as np

from envsound.data.synthetic.blocks import (
    Rng,
    add_at,
    amplitude,
    bubble,
    contour,
    equalise,
    formant_filter,
    harmonics,
    modes,
    poisson_times,
    rise_and_fall,
    room,
    scatter,
    shaped_noise,
    strike_and_fade,
    unit,
    unit_peak,
    voice_pitch,
    wander,
)


def in_sequence(
    rng: Rng,
    n_samples: int,
    sample_rate: int,
    n_events: int,
    gaps: tuple[float, float],
    make: Callable[[], np.ndarray],
) -> np.ndarray:
    """Return a track [n_samples] of up to `n_events` events of differing strength, `gaps` (s) apart."""
    track, seconds = np.zeros(n_samples), n_samples / sample_rate
    onset = rng.uniform(0.0, 0.12) * seconds
    for _ in range(n_events):
        if onset >= 0.9 * seconds:
            break
        event = make() * rng.uniform(0.6, 1.0)
        add_at(track, event, onset, sample_rate)
        onset += len(event) / sample_rate + rng.uniform(*gaps)
    return track


def hoarse(rng: Rng, source: np.ndarray, amount: float) -> np.ndarray:
    """Mix a voiced source [n_samples] with breath noise at `amount` times its level."""
    return unit(source) + amount * rng.standard_normal(len(source))


def dog(rng: Rng, n_samples: int, sample_rate: int) -> np.ndarray:
    """Barks: a glottal source whose pitch leaps up and falls, through a mouth that opens and closes."""
    size = rng.uniform(0.75, 1.35)
    pitch, breath, length = (
        520.0 * size**1.5 * rng.uniform(0.7, 1.2),
        rng.uniform(0.15, 0.6),
        rng.uniform(0.1, 0.26),
    )

    def bark() -> np.ndarray:
        n = int(length * rng.uniform(0.85, 1.2) * sample_rate)
        curve = voice_pitch(rng, pitch * np.array([0.65, 1.1, 1.0, 0.6]), n, sample_rate, 0.04, times=[0, 0.25, 0.6, 1])
        source = hoarse(rng, harmonics(curve, sample_rate, 4.0), breath)
        mouth = size * np.outer([800, 1500, 2900], [0.7, 1.1, 1.0, 0.7])
        voice = formant_filter(source, sample_rate, mouth, [220, 300, 500], [0, -5, -20])
        return unit_peak(voice * rise_and_fall(n, sample_rate, 0.015, 0.6 * length))

    gaps = (0.05, 0.25) if rng.random() < 0.4 else (0.25, 0.9)
    track = in_sequence(rng, n_samples, sample_rate, int(rng.integers(1, 8)), gaps, bark)
    return room(rng, track, sample_rate, rng.uniform(0.15, 0.9), rng.uniform(0.1, 0.5))


def rooster(rng: Rng, n_samples: int, sample_rate: int) -> np.ndarray:
    """A crow of four syllables, the last long and falling, with strong harmonics and rough onsets."""
    pitch, pace, breath = rng.uniform(480, 800), rng.uniform(0.8, 1.25), rng.uniform(0.05, 0.25)
    throat, rough = rng.uniform(0.85, 1.2), rng.uniform(0.1, 0.5)
    song = [(0.18, [0.6, 0.85, 0.75]), (0.13, [0.8, 0.92, 0.85]), (0.24, [0.85, 1.1, 1.0])]
    song.append((rng.uniform(0.7, 1.2), [0.95, 1.25, 1.15, 1.0, 0.55]))

    def syllable(seconds: float, values: list[float]) -> np.ndarray:
        n = int(seconds * pace * sample_rate)
        curve = voice_pitch(rng, pitch * np.array(values), n, sample_rate, 0.015)
        doubling = rough * np.linspace(1.0, 0.2, n) * np.cos(np.pi * np.cumsum(curve) / sample_rate)
        source = hoarse(rng, harmonics(curve, sample_rate, 2.0) * (1.0 + doubling), breath)
        beak = throat * np.outer([1350, 2500, 4200], [0.75, 1.05, 1.0, 0.8])
        voice = formant_filter(source, sample_rate, beak, [300, 400, 700], [0, -13, -24])
        return unit_peak(voice) * rise_and_fall(n, sample_rate, 0.03, 0.35 * seconds * pace)

    def crow() -> np.ndarray:
        levels = np.array([0.5, 0.6, 0.8, 1.0]) * rng.uniform(0.8, 1.2, 4)
        pause = np.zeros(int(rng.uniform(0.015, 0.06) * sample_rate))
        parts = [level * syllable(*part) for level, part in zip(levels, song, strict=True)]
        return np.concatenate([piece for part in parts for piece in (part, pause)])

    track = in_sequence(rng, n_samples, sample_rate, int(rng.integers(1, 3)), (0.4, 1.2), crow)
    return room(rng, track, sample_rate, rng.uniform(0.2, 1.2), rng.uniform(0.05, 0.4))


def rain(rng: Rng, n_samples: int, sample_rate: int) -> np.ndarray:
    """A wash of far drops under a Poisson process of near ones: impacts and rising bubbles."""
    low, high = rng.uniform(-16, 8), rng.uniform(-4, 5)
    bands = [(60, low), (400, 0.4 * low - 2), (1500, -4), (3500, -5), (6500, -9 + high), (11500, -19 + high)]
    wash = shaped_noise(rng, n_samples, sample_rate, bands) * (1.0 + 0.08 * wander(rng, n_samples, sample_rate, 1.0))
    low, high = sorted(rng.uniform(900, 7000, 2))
    bubbles = [
        bubble(rng.uniform(low, high + 500), rng.uniform(0.008, 0.04), rng.uniform(0.02, 0.2), sample_rate)
        for _ in range(12)
    ]
    clicks = [
        rng.standard_normal(n) * strike_and_fade(n, sample_rate, 0.0004, 0.6 * n / sample_rate)
        for n in (rng.uniform(0.002, 0.009, 12) * sample_rate).astype(int) + 8
    ]
    rate = np.exp(rng.uniform(np.log(25), np.log(500)))
    times = poisson_times(rng, rate * np.exp(0.3 * wander(rng, n_samples, sample_rate, 0.7)), n_samples, sample_rate)
    drops = scatter(rng, times, rng.lognormal(0.0, 0.75, len(times)), bubbles + clicks, n_samples)
    near = room(rng, unit(drops), sample_rate, 0.3, 0.3)
    rumble = shaped_noise(rng, n_samples, sample_rate, [(20, 0), (90, -4), (300, -25), (1000, -60)])
    return wash + amplitude(rng.uniform(-16, -2)) * near + amplitude(rng.uniform(-25, 0)) * rumble


def sea_waves(rng: Rng, n_samples: int, sample_rate: int) -> np.ndarray:
    """Breaking waves: noise that swells and falls back, the hiss of foam following each roar."""
    time, start = np.arange(n_samples) / sample_rate, -rng.uniform(0.0, 5.0)
    roar, hiss = np.full(n_samples, rng.uniform(0.1, 0.35)), np.full(n_samples, rng.uniform(0.05, 0.25))
    while start < time[-1]:
        rise, fall, strength = rng.uniform(0.5, 1.8), rng.uniform(0.7, 2.5), rng.lognormal(0.0, 0.3)
        since = np.maximum(time - start, 0.0)
        roar += strength * (since / rise) ** 2 * np.exp(2.0 * (1.0 - since / rise))
        late = np.maximum(since - 0.6 * rise, 0.0)
        hiss += strength * (1.0 - np.exp(-((late / 0.5) ** 2))) * np.exp(-late / fall)
        start += rng.uniform(2.5, 7.0)
    tilt = rng.uniform(-3, 4)
    low = shaped_noise(rng, n_samples, sample_rate, [(60, -12), (200, -1), (600, 0), (1500, -6), (6000, -26)])
    high = shaped_noise(
        rng, n_samples, sample_rate, [(300, -22), (1200, -4), (3500, 0), (7000, -5), (11500, -16 + tilt)]
    )
    foam = high * (1.0 + 0.15 * wander(rng, n_samples, sample_rate, 15.0))
    churn = np.exp(rng.uniform(0.1, 0.35) * wander(rng, n_samples, sample_rate, rng.uniform(6.0, 14.0)))
    return churn * (roar * low + amplitude(rng.uniform(-14, -4) + tilt) * hiss * foam)


def crackling_fire(rng: Rng, n_samples: int, sample_rate: int) -> np.ndarray:
    """Flames as a rumble and a faint hiss; crackles as Poisson snaps of heavy-tailed strength."""
    rumble = shaped_noise(rng, n_samples, sample_rate, [(20, 0), (80, -4), (200, -16), (600, -40), (3000, -60)])
    flutter = np.exp(0.35 * wander(rng, n_samples, sample_rate, 5.0))
    hiss = shaped_noise(rng, n_samples, sample_rate, [(200, -8), (1500, -5), (5000, 0), (11000, -10)])
    snaps = []
    for fade in rng.uniform(0.002, 0.016, 16):
        n = int(1.3 * fade * sample_rate) + 8
        centre = np.exp(rng.uniform(np.log(900), np.log(7500)))
        bands = [(centre / 4, -22), (centre, 0), (2.0 * centre, -12)]
        snaps.append(
            unit_peak(shaped_noise(rng, n, sample_rate, bands) * strike_and_fade(n, sample_rate, 0.0003, fade))
        )
    flurry = np.exp(0.9 * wander(rng, n_samples, sample_rate, 2.0))
    times = poisson_times(rng, np.exp(rng.uniform(np.log(6), np.log(45))) * flurry, n_samples, sample_rate)
    strengths = np.minimum((1.0 - rng.random(len(times))) ** (-1.0 / 1.3), 60.0)
    crackle = room(rng, scatter(rng, times, strengths, snaps, n_samples), sample_rate, 0.25, 0.2)
    bed = amplitude(rng.uniform(-3, 14)) * rumble * flutter + amplitude(rng.uniform(-9, 0)) * hiss
    return unit(bed) + amplitude(rng.uniform(-8, 3)) * unit(crackle)


def crying_baby(rng: Rng, n_samples: int, sample_rate: int) -> np.ndarray:
    """Cries of a second or so in rising and falling arcs, a short infant vocal tract, a gasp between them."""
    pitch, tract, breath = rng.uniform(330, 560), rng.uniform(0.88, 1.15), rng.uniform(0.1, 0.45)
    length, tremor, shake = rng.uniform(0.45, 1.2), rng.uniform(5.0, 9.0), rng.uniform(0.0, 0.04)
    bright = rng.uniform(-4, 4)

    def cry() -> np.ndarray:
        """One cry and the gasp after it."""
        n = int(length * rng.uniform(0.6, 1.3) * sample_rate)
        arc = pitch * np.array([0.8, 1.1, rng.uniform(0.95, 1.25), 1.0, 0.75])
        vibrato = np.exp(shake * np.sin(2.0 * np.pi * tremor * np.arange(n) / sample_rate))
        curve = voice_pitch(rng, arc, n, sample_rate, 0.02) * vibrato
        source = hoarse(rng, harmonics(curve, sample_rate, 2.5), breath)
        mouth = tract * np.outer([1100, 2900, 5200], [0.8, 1.05, 1.1, 1.0, 0.8])
        voice = formant_filter(source, sample_rate, mouth, [350, 500, 900], [0, 1 + bright, -8 + bright])
        gasp_size = int(rng.uniform(0.12, 0.3) * sample_rate)
        gasp = shaped_noise(rng, gasp_size, sample_rate, [(500, -20), (2500, 0), (5000, -3), (9000, -15)])
        gasp *= amplitude(rng.uniform(-45, -22)) * rise_and_fall(gasp_size, sample_rate, 0.08, 0.1)
        return np.concatenate([unit_peak(voice * rise_and_fall(n, sample_rate, 0.06, 0.15)), gasp])

    track = in_sequence(rng, n_samples, sample_rate, 9, (0.02, 0.5), cry)
    return room(rng, track, sample_rate, rng.uniform(0.15, 0.6), rng.uniform(0.1, 0.4))


def sneezing(rng: Rng, n_samples: int, sample_rate: int) -> np.ndarray:
    """A gasp or two, a held breath, then a burst of turbulent air that ends in a short falling voice."""
    pitch, body = rng.uniform(140, 380), rng.uniform(0.9, 1.25)

    def gasp() -> np.ndarray:
        """Air drawn in, half voiced."""
        n = int(rng.uniform(0.2, 0.5) * sample_rate)
        breath = shaped_noise(rng, n, sample_rate, [(300, -15), (1200, -3), (2500, 0), (8000, -12)])
        curve = voice_pitch(rng, pitch * np.array([1.0, 1.3, 1.5]), n, sample_rate, 0.03)
        voice = formant_filter(
            unit(harmonics(curve, sample_rate, 5.0)),
            sample_rate,
            body * np.outer([750, 1300, 2700], [0.9, 1.1]),
            [150, 200, 300],
            [0, -6, -16],
        )
        voiced = breath + rng.uniform(0.0, 2.0) * unit(voice)
        return amplitude(rng.uniform(-34, -18)) * voiced * rise_and_fall(n, sample_rate, 0.7 * n / sample_rate, 0.04)

    def burst() -> np.ndarray:
        """The blast of air and the voice it ends in."""
        hiss_seconds, n = rng.uniform(0.08, 0.22), int(rng.uniform(0.3, 0.6) * sample_rate)
        centre = rng.uniform(2500, 4500)
        bands = [(150, -30), (centre / 3, -10), (centre, 0), (2.0 * centre, -2), (11500, -10)]
        blast = shaped_noise(rng, n, sample_rate, bands) * strike_and_fade(n, sample_rate, 0.006, 2.0 * hiss_seconds)
        curve = voice_pitch(rng, pitch * np.array([1.6, 1.3, 0.7]), n, sample_rate, 0.04)
        source = hoarse(rng, harmonics(curve, sample_rate, 4.0), rng.uniform(0.3, 1.0))
        mouth = body * np.outer([500, 1400, 2600], [1.3, 1.0, 0.8])
        voice = unit(formant_filter(source, sample_rate, mouth, [150, 250, 400], [0, -6, -14]))
        tail = voice * rise_and_fall(n, sample_rate, hiss_seconds, 0.25)
        return unit_peak(blast + rng.uniform(0.15, 0.8) * tail)

    def sneeze() -> np.ndarray:
        held = np.zeros(int(rng.uniform(0.03, 0.25) * sample_rate))
        return np.concatenate([*(gasp() for _ in range(rng.integers(0, 3))), held, burst()])

    track = in_sequence(rng, n_samples, sample_rate, int(rng.integers(1, 3)), (0.3, 1.0), sneeze)
    return room(rng, track, sample_rate, rng.uniform(0.15, 0.7), rng.uniform(0.15, 0.6))


def clock_tick(rng: Rng, n_samples: int, sample_rate: int) -> np.ndarray:
    """An escapement: alternating ticks and tocks, each a few tiny impacts on the modes of the case."""
    rate, frequencies = np.exp(rng.uniform(np.log(1.0), np.log(5.5))), rng.uniform(900, 6500, 8)
    frequencies[:2] = rng.uniform(350, 1200, 2)
    fades = rng.uniform(0.012, 0.09, 8) * np.sqrt(1500.0 / frequencies)
    gains = rng.lognormal(0.0, 0.6, 8)
    sounds = [
        modes(frequencies * shift, fades, gains * rng.lognormal(0.0, 0.4, 8), sample_rate)
        for shift in (1.0, rng.uniform(0.88, 1.0))
    ]
    offsets, strengths = (
        np.append(0.0, rng.uniform(0.003, 0.03, 3)),
        np.append(1.0, rng.uniform(0.05, 0.6, 3)),
    )
    track = np.zeros(n_samples)
    limp, first = rng.uniform(-0.06, 0.06), rng.uniform(0.0, min(1.0 / rate, 0.5 * n_samples / sample_rate))
    for index, onset in enumerate(np.arange(first, n_samples / sample_rate, 1.0 / rate)):
        for offset, strength in zip(offsets, strengths * rng.uniform(0.85, 1.0, 4), strict=True):
            add_at(track, strength * sounds[index % 2], onset + limp * (index % 2) / rate + offset, sample_rate)
    track = unit_peak(room(rng, track, sample_rate, rng.uniform(0.1, 0.5), rng.uniform(0.1, 0.5)))
    hum = rng.uniform(0, 30)
    bands = [(50, hum), (300, 0.3 * hum), (1200, 0), (5000, -10), (11000, -18)]
    return unit(track) + amplitude(rng.uniform(-24, -8)) * shaped_noise(rng, n_samples, sample_rate, bands)


def helicopter(rng: Rng, n_samples: int, sample_rate: int) -> np.ndarray:
    """A rotor: a thump at every passing blade, air noise pulsing with it, the tail rotor's hum."""
    drift = 1.0 + 0.012 * wander(rng, n_samples, sample_rate, 0.4)
    blade = rng.uniform(10.0, 26.0) * drift
    n_harmonics = int(rng.uniform(12, 45))
    slap = harmonics(blade, sample_rate, rng.uniform(1.0, 4.0), n_harmonics, 0.35 * rng.standard_normal(n_harmonics))
    phase = 2.0 * np.pi * np.cumsum(blade) / sample_rate + rng.uniform(0, 6.28)
    pulse = np.exp(rng.uniform(0.8, 3.5) * (np.cos(phase) - 1.0))
    far = rng.uniform(-12, 5)
    bands = [
        (40, -10),
        (150, 0),
        (400, -4),
        (1000, -11),
        (2500, -19 + far),
        (6000, -32 + 1.5 * far),
        (11500, -46 + far),
    ]
    air = shaped_noise(rng, n_samples, sample_rate, bands) * (0.2 + pulse)
    hum = harmonics(rng.uniform(4.0, 5.5) * blade, sample_rate, rng.uniform(3.0, 7.0), 12)
    thump = unit(equalise(slap, sample_rate, [(15, -14), (60, -2), (150, 0), (500, -6), (2000, -20)]))
    swell = np.exp(0.3 * wander(rng, n_samples, sample_rate, 0.5))
    mix = amplitude(rng.uniform(-10, 3)) * thump + unit(air) + amplitude(rng.uniform(-22, -8)) * unit(hum)
    return swell * mix


def chainsaw(rng: Rng, n_samples: int, sample_rate: int) -> np.ndarray:
    """A two-stroke engine: uneven firing pulses through exhaust and body, and the chain's rattle."""
    top, idle = rng.uniform(95, 190), rng.uniform(38, 60)
    throttle = 0.85 + 0.15 * wander(rng, n_samples, sample_rate, 0.8)
    if rng.random() < 0.45:
        throttle = 0.45 + 1.0 * wander(rng, n_samples, sample_rate, rng.uniform(0.4, 1.2))
    throttle = np.clip(throttle, 0.0, 1.0)
    firing = (idle + (top - idle) * throttle) * np.exp(0.012 * wander(rng, n_samples, sample_rate, 40.0))
    pulses = harmonics(firing, sample_rate, 2.0, 45, 1.5 * rng.standard_normal(45))
    uneven = 1.0 + 0.3 * wander(rng, n_samples, sample_rate, 0.5 * float(np.mean(firing)))
    phase = 2.0 * np.pi * np.cumsum(firing) / sample_rate
    chain_bands = [(150, -14), (500, -4), (1500, 0), (4000, -1), (8000, -6), (11500, -12)]
    chain = shaped_noise(rng, n_samples, sample_rate, chain_bands) * (0.4 + np.exp(1.5 * (np.cos(phase) - 1.0)))
    engine = unit(pulses) * uneven + amplitude(rng.uniform(-14, -2)) * unit(chain)
    exhaust = [rng.uniform(140, 280), rng.uniform(450, 900), rng.uniform(1200, 2200), rng.uniform(2800, 4800)]
    tilt = rng.uniform(-6, 4)
    shaped = formant_filter(
        engine,
        sample_rate,
        [[f, f] for f in exhaust],
        [120, 250, 600, 1500],
        [4, 0, -2 + tilt / 2, -3 + tilt],
        -18.0,
    )
    load = 0.2 + 0.8 * contour([0.0, 0.6, 1.0], 101)[(100 * throttle).astype(int)]
    return room(rng, unit(shaped) * load, sample_rate, rng.uniform(0.2, 0.8), rng.uniform(0.1, 0.4))
