"""Recognisers without a generative model: linear and kernel classifiers of features that stay as they are."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from scipy.special import softmax
from sklearn.base import ClassifierMixin, clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from envsound.base.errors import InputError
from envsound.codec import load_codec
from envsound.codec.base import Codec
from envsound.codec.codes import load_codes
from envsound.data.audio import read_clip
from envsound.evaluation.listeners.mfcc import mfcc_features
from envsound.evaluation.spaces.pretrained import PretrainedEmbedding, load_ast
from envsound.studies.recognition.rounds import Clips, Fold, code_of

STRENGTHS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)  # C of scikit-learn: the smaller, the more regularised
MAX_ITERATIONS = 200  # steps of L-BFGS; what a weak regularisation would still change after them is overfitting
PENALTIES = (1.0, 3.0, 10.0, 30.0, 100.0)  # C of the support vector machine
WIDTHS = (0.3, 1.0, 3.0)  # its gamma times the number of features

Features = Callable[[Clips], np.ndarray]  # clips -> float [n_clips, n_features]
Scores = Callable[[Any, np.ndarray], np.ndarray]  # a classifier, features -> probabilities [n_clips, n_classes]


def choose_and_score(
    candidates: Sequence[ClassifierMixin], features: Features, fold: Fold, refit: bool, scores: Scores
) -> np.ndarray:
    """Fit every candidate on the clips to train on, choose one by the validation clips, and score the test clips.

    The one with the most right answers wins, then the one of the lowest cross-entropy, then the first. refit: it is
    fitted again on training and validation clips together, now that nothing is left to choose.
    Returns probabilities, float64 [n_test, n_classes].
    """
    train, validation = features(fold.train), features(fold.validation)
    fitted = [_fitted(candidate, train, fold.train.labels) for candidate in candidates]
    ranks = [_rank(scores(one, validation), fold.validation.labels) for one in fitted]
    best = fitted[max(range(len(fitted)), key=lambda place: (ranks[place], -place))]
    if refit:
        both = fold.train_and_validation
        best = _fitted(best, np.concatenate([train, validation]), both.labels)
    return scores(best, features(fold.test)).astype(np.float64)


def _fitted(candidate: ClassifierMixin, features: np.ndarray, labels: np.ndarray) -> ClassifierMixin:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a candidate that needs more steps is no worse a candidate
        return clone(candidate).fit(features, labels)


def _rank(probabilities: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Return what to choose by, the higher the better: the share of right answers, and minus the cross-entropy."""
    right = float(np.mean(probabilities.argmax(1) == labels))
    return right, -float(log_loss(labels, probabilities.clip(1e-12, 1), labels=np.arange(probabilities.shape[1])))


def linear_probe(features: Features, fold: Fold, refit: bool = True) -> np.ndarray:
    """Return class probabilities, float64 [n_test, n_classes], of multinomial logistic regression on features.

    Features are standardised by the clips to train on; the strength of regularisation is chosen on the validation fold.
    """
    machines = (LogisticRegression(C=strength, max_iter=MAX_ITERATIONS) for strength in STRENGTHS)
    candidates = [make_pipeline(StandardScaler(), machine) for machine in machines]
    return choose_and_score(candidates, features, fold, refit, lambda one, points: one.predict_proba(points))


def vote_shares(machine: ClassifierMixin, features: np.ndarray) -> np.ndarray:
    """Return numbers that sum to 1 and have the order of a machine's decision values, [n_clips, n_classes].

    Their softmax, for machines that have no probabilities; these are not calibrated.
    """
    values = machine.decision_function(features)
    values = np.stack([-values, values], 1) if values.ndim == 1 else values  # two classes have one value
    return softmax(values, axis=1)


@dataclass(frozen=True)
class MfccSvm:
    """A support vector machine with a Gaussian kernel on mean and spread of 20 MFCCs and their differences."""

    kind: ClassVar[str] = "mfcc_svm"
    name: str = "MFCC, SVM"
    sample_rate: int = 24_000  # Hz, at which clips are heard
    clip_seconds: float = 5.0  # s, to which they are cut
    refit: bool = True  # on training and validation fold together, once C and gamma are chosen

    def settings(self) -> dict[str, Any]:
        """See `rounds.Recogniser`."""
        return asdict(self) | {"penalties": PENALTIES, "widths": WIDTHS}

    def fit_and_score(self, fold: Fold, folder: Path, seed: int) -> np.ndarray:
        """See `rounds.Recogniser`; nothing is random, and nothing takes long enough to be kept."""
        code = code_of("envsound.evaluation.listeners.mfcc")

        def measure(file: Path, _: Path) -> np.ndarray:
            return mfcc_features(read_clip(file, self.sample_rate, self.clip_seconds), self.sample_rate)

        def features(clips: Clips) -> np.ndarray:
            return np.stack(clips.features(measure, "MFCC", self.sample_rate, self.clip_seconds, code))

        n_features = features(fold.validation).shape[1]
        machines = (SVC(C=penalty, gamma=width / n_features) for penalty in PENALTIES for width in WIDTHS)
        candidates = [make_pipeline(StandardScaler(), machine) for machine in machines]
        return choose_and_score(candidates, features, fold, self.refit, vote_shares)


@dataclass(frozen=True)
class CodecProbe:
    """A linear probe on a codec's latents: what is left of a recording in its codes, before any model.

    Features are mean and standard deviation over frames of the sum of the code vectors.
    """

    kind: ClassVar[str] = "codec_probe"
    name: str = "codec latents, linear probe"
    codec: str = "patches"  # as in `codec.load_codec`; the one that made the codes
    codec_weights: str = ""
    refit: bool = True  # on training and validation fold together, once the strength is chosen
    device: str = "auto"

    def settings(self) -> dict[str, Any]:
        """See `rounds.Recogniser`."""
        return _settings(self)

    def fit_and_score(self, fold: Fold, folder: Path, seed: int) -> np.ndarray:
        """See `rounds.Recogniser`; nothing is random, and nothing takes long enough to be kept."""
        codec = _codec(self.codec, self.codec_weights, self.device)

        def features(clips: Clips) -> np.ndarray:
            code = code_of(__name__)
            return np.stack(clips.features(lambda _, file: latent_statistics(codec, file), "codec latents", code))

        return linear_probe(features, fold, self.refit)


@dataclass(frozen=True)
class AstProbe:
    """A linear probe on the Audio Spectrogram Transformer (Gong et al. 2021), trained on AudioSet by its authors.

    It is frozen here, while its own result on ESC-50 is fine-tuned. It hears 16 kHz. weights: a folder; "" is the local
    Hugging Face cache. Nothing is downloaded: without transformers or the weights, NotHere is raised.
    """

    kind: ClassVar[str] = "ast_probe"
    name: str = "AST (AudioSet), linear probe"
    weights: str = ""
    clip_seconds: float = 5.0  # s
    refit: bool = True
    device: str = "auto"

    def settings(self) -> dict[str, Any]:
        """See `rounds.Recogniser`."""
        return _settings(self)

    def fit_and_score(self, fold: Fold, folder: Path, seed: int) -> np.ndarray:
        """See `rounds.Recogniser`. Raises NotHere when the network is not on this machine."""
        network = _ast(self.weights, self.device)
        depends_on = (network.content_hash, self.clip_seconds, code_of("envsound.evaluation.spaces.pretrained"))

        def embed(file: Path, _: Path) -> np.ndarray:
            clip = read_clip(file, network.sample_rate, self.clip_seconds)
            return network.embed([clip], network.sample_rate)[0]

        return linear_probe(lambda clips: np.stack(clips.features(embed, "AST", *depends_on)), fold, self.refit)


def latent_statistics(codec: Codec, codes_file: str | Path) -> np.ndarray:
    """Return mean and standard deviation over frames of a clip's latents as its codes have them, float32 [2 dim].

    Raises InputError when another codec made the codes, or the codec has no `dequantise`.
    """
    if not hasattr(codec, "dequantise"):
        raise InputError(f"codec {codec.name}: has no method dequantise; expected one, to turn codes into latents")
    codes = load_codes(codes_file, codec.content_hash)
    latents = codec.dequantise(torch.from_numpy(codes.astype(np.int64))[None])[0]  # [dim, n_frames]
    return torch.cat([latents.mean(1), latents.std(1, correction=0)]).float().cpu().numpy()


def _settings(probe: CodecProbe | AstProbe) -> dict[str, Any]:
    return {key: value for key, value in asdict(probe).items() if key != "device"} | {"strengths": STRENGTHS}


@cache
def _codec(name: str, weights: str, device: str) -> Codec:
    return load_codec(name, weights, device)


@cache
def _ast(weights: str, device: str) -> PretrainedEmbedding:
    return load_ast(weights, device)
