"""Measuring a codec on clips it has never heard, beside Opus, fewer levels and plain noise."""

from collections.abc import Callable, Sequence

import librosa
import numpy as np
import pandas as pd
import torch
from scipy.stats import ks_2samp
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from tqdm.auto import tqdm

from envsound.codecs.base import Codec
from envsound.codecs.opus import opus_available, through_opus
from envsound.codecs.spectral_losses import log_mel_distance
from envsound.metrics import acoustic

METRICS = ("snr_db", "zcr", "rms", "spectral_entropy", "spectral_centroid_hz", "spectral_rolloff_hz")
Clips = Sequence[np.ndarray]


def through_codec(clip: np.ndarray, codec: Codec, n_levels: int | None = None) -> np.ndarray:
    """Return a clip, float32 [n_samples], encoded and decoded with its first `n_levels` levels, same length."""
    codes = codec.encode(torch.from_numpy(clip)[None])[:, :n_levels]
    return codec.decode(codes)[0, : len(clip)].cpu().numpy()


def noise_like(clip: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return white noise with a clip's length and rms: what any codec must beat."""
    noise = np.random.default_rng([seed, len(clip)]).standard_normal(len(clip))
    return (noise * np.sqrt(np.mean(clip**2))).astype(np.float32)


def systems(codec: Codec) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """Return what is measured: the codec at 8, 4, 2, 1 levels (those it has), Opus where installed, and noise."""
    table = {
        f"{codec.name}, {n} level{'s' if n > 1 else ''}": lambda clip, n=n: through_codec(clip, codec, n)
        for n in (8, 4, 2, 1)
        if n <= codec.n_levels
    }
    if opus_available():
        for kbps in (6, 12):
            table[f"Opus, {kbps} kbit/s"] = lambda clip, kbps=kbps: through_opus(clip, codec.sample_rate, kbps)
    return table | {"white noise": noise_like}


def measure_systems(codec: Codec, clips: Clips, categories: Sequence[str], recogniser: Pipeline) -> pd.DataFrame:
    """Measure every system on held-out clips, float32 [n_samples] each; one row a system, the originals first.

    Columns: system, log_mel_distance (dB, mean over clips), comb_share, recognised (share of clips whose class the
    recogniser, trained on real clips, gets right), and ks_<metric> for the six acoustic metrics.
    """
    acoustics = _acoustics(clips, codec.sample_rate)
    original = {"system": "original", "log_mel_distance": 0.0}
    rows = [original | _judged(clips, clips, acoustics, categories, codec.sample_rate, recogniser)]
    for name, system in tqdm(systems(codec).items(), desc="systems", unit="system"):
        heard = [system(clip) for clip in clips]
        distances = [
            log_mel_distance(torch.from_numpy(real)[None], torch.from_numpy(fake)[None], codec.sample_rate)
            for real, fake in zip(clips, heard, strict=True)
        ]
        row = {"system": name, "log_mel_distance": float(np.mean(distances))}
        rows.append(row | _judged(clips, heard, acoustics, categories, codec.sample_rate, recogniser))
    return pd.DataFrame(rows)


def _judged(clips, heard, acoustics: pd.DataFrame, categories, sample_rate: int, recogniser: Pipeline) -> dict:
    guessed = recogniser.predict(np.stack([mfcc_features(clip, sample_rate) for clip in heard]))
    others = _acoustics(heard, sample_rate)
    distances = {f"ks_{name}": ks_2samp(acoustics[name].dropna(), others[name].dropna()).statistic for name in METRICS}
    shares = pd.Series([comb_share(clip, sample_rate) for clip in heard])
    return {
        "comb_share": float(shares.mean()),  # of the clips that are not silent
        "recognised": float(np.mean(guessed == np.array(categories))),
    } | distances


def _acoustics(clips: Clips, sample_rate: int) -> pd.DataFrame:
    return pd.DataFrame([acoustic(clip, sample_rate) for clip in clips])


def comb_share(clip: np.ndarray, sample_rate: int, frame_rate: float = 75.0) -> float:
    """Return the share of a clip's energy within 1 Hz of a multiple of the codec's frame rate (Hz).

    Evenly spread energy gives 2 / 75 = 0.027, and a little more in short clips (0.029 in 5 s); a codec that buzzes
    at its frame rate gives far more. NaN for silence.
    """
    power = np.abs(np.fft.rfft(clip.astype(np.float64))) ** 2
    frequency = np.fft.rfftfreq(len(clip), 1 / sample_rate)
    near = (np.abs(frequency - frame_rate * np.round(frequency / frame_rate)) <= 1.0) & (frequency > frame_rate / 2)
    return float(power[near].sum() / power.sum()) if power.any() else float("nan")


def codes_used(codec: Codec, clips: Clips) -> list[int]:
    """Return how many different codes of each level the clips use."""
    codes = [codec.encode(torch.from_numpy(clip)[None])[0] for clip in clips]
    return [int(level.unique().numel()) for level in torch.cat(codes, dim=1)]


def mfcc_features(clip: np.ndarray, sample_rate: int) -> np.ndarray:
    """Return mean and sd over time of 20 MFCCs and their differences, float [80]."""
    mfcc = librosa.feature.mfcc(y=clip, sr=sample_rate, n_mfcc=20)
    both = np.concatenate([mfcc, librosa.feature.delta(mfcc, mode="nearest")])
    return np.concatenate([both.mean(1), both.std(1)])


def train_recogniser(clips: Clips, categories: Sequence[str], sample_rate: int) -> Pipeline:
    """Train an SVM on the MFCC statistics of real clips: a modest listener that says what a sound is."""
    features = np.stack([mfcc_features(clip, sample_rate) for clip in clips])
    return make_pipeline(StandardScaler(), SVC(C=10.0)).fit(features, np.array(categories))
