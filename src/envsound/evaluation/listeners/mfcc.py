"""Listeners: classifiers trained on real clips that say what a decoded clip sounds like."""

from collections.abc import Sequence
from functools import cached_property
from typing import Protocol

import librosa
import numpy as np
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from envsound.base.files import sha256_bytes

Clips = Sequence[np.ndarray]
MFCC_SVM = "MFCC and SVM"  # the kind of listener below: its features and its classifier


class Listener(Protocol):
    """Anything that names the class of a clip."""

    def predict(self, clips: Clips, sample_rate: int) -> list[str]:
        """Return the name of the class each clip, float32 [n_samples] at `sample_rate` Hz, is heard as."""
        ...


class MfccListener:
    """A support vector machine on the mean and spread of MFCCs: a modest listener that says what a sound is.

    kind: its features and classifier in words, equal for all that differ in their training clips alone.
    """

    kind = MFCC_SVM

    def __init__(self, pipeline: Pipeline):
        self.pipeline = pipeline

    def predict(self, clips: Clips, sample_rate: int) -> list[str]:
        """Return the name of the class each clip is heard as; see `Listener.predict`."""
        features = np.stack([mfcc_features(clip, sample_rate) for clip in clips])
        return [str(name) for name in self.pipeline.predict(features)]

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 of all that was learnt: the scale of each feature, the support vectors and the names of classes."""
        scaler, machine = (step for _, step in self.pipeline.steps)
        learnt = [scaler.mean_, scaler.scale_, machine.support_vectors_, machine.dual_coef_, machine.intercept_]
        numbers = [sha256_bytes(np.ascontiguousarray(values).tobytes()) for values in learnt]
        return sha256_bytes("\n".join([self.kind, *map(str, machine.classes_), *numbers]).encode())


def mfcc_features(clip: np.ndarray, sample_rate: int) -> np.ndarray:
    """Return mean and sd over time of 20 MFCCs and their differences, float [80]."""
    mfcc = librosa.feature.mfcc(y=clip, sr=sample_rate, n_mfcc=20)
    both = np.concatenate([mfcc, librosa.feature.delta(mfcc, mode="nearest")])
    return np.concatenate([both.mean(1), both.std(1)])


def train_recogniser(clips: Clips, categories: Sequence[str], sample_rate: int, seed: int = 0) -> MfccListener:
    """Train an MfccListener on real clips, float32 [n_samples] each at `sample_rate` Hz, and their classes.

    It draws nothing: a `truth.Trainer` has a seed.
    """
    features = np.stack([mfcc_features(clip, sample_rate) for clip in clips])
    return MfccListener(make_pipeline(StandardScaler(), SVC(C=10.0)).fit(features, np.array(categories)))
