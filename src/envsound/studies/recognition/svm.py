"""The classic baseline: a support vector machine on statistics of MFCCs, its parameters chosen on a validation fold."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import softmax
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from envsound.data.audio import read_clip
from envsound.evaluation.listeners.mfcc import mfcc_features
from envsound.run.identity import module_hash
from envsound.studies.recognition.features import cached_features
from envsound.studies.recognition.probe import choose_and_score
from envsound.studies.recognition.rounds import Clips, Fold

PENALTIES = (1.0, 3.0, 10.0, 30.0, 100.0)  # C
WIDTHS = (0.3, 1.0, 3.0)  # gamma times the number of features


@dataclass(frozen=True)
class MfccSvm:
    """A support vector machine with a Gaussian kernel on mean and spread of 20 MFCCs and their differences.

    sample_rate: Hz, at which clips are heard; clip_seconds: s, to which they are cut.
    """

    name: str = "MFCC, SVM"
    sample_rate: int = 24_000
    clip_seconds: float = 5.0
    refit: bool = True  # on training and validation fold together, once C and gamma are chosen

    def settings(self) -> dict[str, Any]:
        return asdict(self) | {"penalties": PENALTIES, "widths": WIDTHS}

    def fit_and_score(self, fold: Fold, folder: Path, seed: int) -> np.ndarray:
        """See `recognition.Recogniser`; nothing is random, and nothing takes long enough to be kept."""
        depends_on = f"MFCC {self.sample_rate} {self.clip_seconds} {module_hash('envsound.evaluation.listeners.mfcc')}"

        def measure(file: Path, _: Path) -> np.ndarray:
            return mfcc_features(read_clip(file, self.sample_rate, self.clip_seconds), self.sample_rate)

        def features(clips: Clips) -> np.ndarray:
            return np.stack(cached_features(clips, measure, depends_on))

        n_features = features(fold.validation).shape[1]
        candidates = [
            make_pipeline(StandardScaler(), SVC(C=penalty, gamma=width / n_features))
            for penalty in PENALTIES
            for width in WIDTHS
        ]
        return choose_and_score(candidates, features, fold, self.refit, vote_shares)


def vote_shares(machine: Pipeline, features: np.ndarray) -> np.ndarray:
    """Return numbers that sum to 1 and have the order of the machine's decision values, [n_clips, n_classes].

    Their softmax: a support vector machine has no probabilities, and these are not calibrated.
    """
    values = machine.decision_function(features)
    values = np.stack([-values, values], 1) if values.ndim == 1 else values  # two classes have one value
    return softmax(values, axis=1)
