"""Chroma cosine similarity, as public code for MusicGen measures it, beside what chance and a codec reach.

A chromagram sums the power of a spectrum into the twelve pitch classes. That code takes windows of 16,384 samples,
a quarter of it apart, keeps only the strongest class of each frame ("one-hot"), and averages the cosine of a clip's
frames and its reference's: a share of frames with one strongest class in common. The published figure for sounds
without pitch stands without a level of chance; here are two, and the same cosine of whole frames ("plain").
"""

import math
from collections.abc import Mapping, Sequence

import librosa
import numpy as np
import pandas as pd

WINDOW, HOP = 2**14, 2**12  # samples; 0.68 and 0.17 s at 24 kHz
SAME_CLASS, ANY = "another recording of the class", "any other recording"
FORMS = ("one_hot", "plain")
Z = 1.96  # standard errors in half a 95% interval


def chromagram(clip: np.ndarray, sample_rate: int) -> np.ndarray:
    """Return power by pitch class of a clip, float64 [n_frames, 12], each frame's largest 1; all 0 for silence.

    clip: float [n_samples]; one that is shorter than a window has silence on either side.
    """
    missing = max(0, WINDOW - len(clip))
    padded = np.pad(np.asarray(clip, np.float64), (missing // 2, missing - missing // 2))
    power = np.abs(librosa.stft(padded, n_fft=WINDOW, hop_length=HOP, pad_mode="reflect")) ** 2
    classes = librosa.filters.chroma(sr=sample_rate, n_fft=WINDOW, tuning=0, dtype=np.float64) @ power
    classes = classes[:, : math.ceil(len(clip) / HOP)].T
    return classes / np.maximum(classes.max(axis=1, keepdims=True), 1e-6)


def similarity(a: np.ndarray, b: np.ndarray, sample_rate: int) -> dict[str, float]:
    """Return the cosine of two clips' frames, a mean, by FORMS; both are cut to the shorter one.

    A silent frame is one of the first class by `one_hot`, as in the public code, and unlike all others by `plain`.
    """
    length = min(len(a), len(b))
    first, second = (chromagram(clip[:length], sample_rate) for clip in (a, b))
    norms = np.maximum(np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1), 1e-8)
    equal = first.argmax(axis=1) == second.argmax(axis=1)
    return {"one_hot": float(equal.mean()), "plain": float(((first * second).sum(axis=1) / norms).mean())}


def chroma_table(
    real: Sequence[np.ndarray],
    categories: Sequence[str],
    made: Mapping[str, Sequence[np.ndarray]],
    sample_rate: int,
    seed: int = 0,
) -> pd.DataFrame:
    """Return how alike clips are to recordings in chroma: side, n, and each of FORMS with its 95% interval over pairs.

    real: recordings; made: by system, a clip for each. Beside them stand pairs of recordings: of one class, and any.
    """
    rng, pairs = np.random.default_rng(seed), {}
    for name, alike in ((SAME_CLASS, True), (ANY, False)):
        others = [
            [j for j, other in enumerate(categories) if j != i and (other == own or not alike)]
            for i, own in enumerate(categories)
        ]
        pairs[name] = [(real[i], real[rng.choice(some)]) for i, some in enumerate(others) if some]
    pairs |= {name: list(zip(clips, real, strict=True)) for name, clips in made.items()}
    rows = []
    for name, both in pairs.items():
        found = pd.DataFrame([similarity(a, b, sample_rate) for a, b in both])
        row = {"side": name, "n": len(found)}
        for form in FORMS:
            mean, error = found[form].mean(), Z * found[form].std() / math.sqrt(len(found))
            row |= {form: mean, f"{form}_low": mean - error, f"{form}_high": mean + error}
        rows.append(row)
    return pd.DataFrame(rows)
