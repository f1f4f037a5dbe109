"""The floor: how much each of some typical log-mel patches is heard in a clip, and ridge regression.

Spherical k-means on whitened patches (Coates and Ng 2012), as Salamon and Bello 2015 learn features of city sounds.
Deviation: similarities are rectified before they are pooled over time by mean, standard deviation and maximum.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from sklearn.linear_model import RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from envsound.base.errors import InputError
from envsound.data.audio import read_clip
from envsound.evaluation.listeners.network import LOG_FLOOR, mel_spectra
from envsound.studies.recognition.baselines import choose_and_score, vote_shares
from envsound.studies.recognition.rounds import Clips, Fold, code_of

STRENGTHS = (1.0, 10.0, 100.0, 1_000.0, 10_000.0)  # alpha of the ridge regression
LEAST_VARIANCE = 1e-2  # added to that of each component before it is whitened
Bag = Callable[[np.ndarray], np.ndarray]  # levels [n_mels, n_frames] -> features [3 n_directions]


@dataclass(frozen=True)
class PatchBag:
    """A bag of typical patches, learnt from the clips to train on without their labels, and ridge regression."""

    kind: ClassVar[str] = "patch_bag"
    name: str = "bag of patches, ridge"
    sample_rate: int = 24_000  # Hz, at which clips are heard
    clip_seconds: float = 5.0  # s, to which they are cut
    n_mels: int = 40
    patch_frames: int = 8  # of 10 to 20 ms
    n_components: int = 64  # principal ones of a patch, which are whitened
    n_directions: int = 512  # typical patches
    n_patches: int = 40_000  # drawn to learn them from
    n_iterations: int = 15  # of k-means
    refit: bool = True  # on training and validation fold together, once the strength is chosen

    def __post_init__(self) -> None:
        for name in ("n_mels", "patch_frames", "n_components", "n_directions", "n_patches", "n_iterations"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}={getattr(self, name)}: expected 1 or more")

    def settings(self) -> dict[str, Any]:
        """See `rounds.Recogniser`."""
        return asdict(self) | {"strengths": STRENGTHS}

    def fit_and_score(self, fold: Fold, folder: Path, seed: int) -> np.ndarray:
        """See `rounds.Recogniser`; `folder` stays empty, what clips sound like is kept."""
        bag = self.bag(fold.train, seed)

        def features(clips: Clips) -> np.ndarray:
            return np.stack([bag(levels) for levels in self.levels(clips)])

        candidates = [make_pipeline(StandardScaler(), RidgeClassifier(alpha=strength)) for strength in STRENGTHS]
        return choose_and_score(candidates, features, fold, self.refit, vote_shares)

    def levels(self, clips: Clips) -> list[np.ndarray]:
        """Return each clip's log-mel levels, float32 [n_mels, n_frames], at least as many frames as a patch has."""

        def measure(file: Path, _: Path) -> np.ndarray:
            clip = read_clip(file, self.sample_rate, self.clip_seconds)
            levels = np.log(mel_spectra([clip], self.sample_rate, self.n_mels)[0].numpy() + LOG_FLOOR)
            return np.pad(levels, ((0, 0), (0, max(0, self.patch_frames - levels.shape[1]))), mode="edge")

        depends_on = (self.sample_rate, self.clip_seconds, self.n_mels, self.patch_frames, code_of(__name__))
        return clips.features(measure, "log-mel levels", *depends_on)

    def bag(self, train: Clips, seed: int) -> Bag:
        """Learn typical patches, drawn from `seed`; return what turns levels into how much each of them is heard."""
        draws, each = np.random.default_rng(seed), -(-self.n_patches // len(train))
        known = np.concatenate([draws.permutation(self._patches(one))[:each] for one in self.levels(train)])
        centre = known.mean(0)
        variances, axes = np.linalg.eigh(np.cov(known - centre, rowvar=False))
        variances, axes = variances[::-1][: self.n_components], axes[:, ::-1][:, : self.n_components]
        whiten = (axes / np.sqrt(variances.clip(0) + LEAST_VARIANCE)).astype(np.float32)
        points = _unit((known - centre) @ whiten)
        directions = draws.permutation(points)[: self.n_directions]
        for _ in range(self.n_iterations):
            nearness = points @ directions.T
            nearest = nearness.argmax(1)
            moved = np.zeros_like(directions)
            np.add.at(moved, nearest, points * nearness[np.arange(len(points)), nearest, None])
            directions = _unit(moved + 1e-3 * directions)  # one that nothing is near stays where it is

        def heard(levels: np.ndarray) -> np.ndarray:
            nearness = (_unit((self._patches(levels) - centre) @ whiten) @ directions.T).clip(0)
            return np.concatenate([nearness.mean(0), nearness.std(0), nearness.max(0)])

        return heard

    def _patches(self, levels: np.ndarray) -> np.ndarray:
        """Return every second patch, its mean level taken away, float32 [n_patches, n_mels * patch_frames]."""
        windows = np.lib.stride_tricks.sliding_window_view(levels, self.patch_frames, axis=1)[:, ::2]
        patches = windows.transpose(1, 0, 2).reshape(windows.shape[1], -1)
        return patches - patches.mean(1, keepdims=True)


def _unit(points: np.ndarray) -> np.ndarray:
    return points / np.linalg.norm(points, axis=1, keepdims=True).clip(1e-6)
