"""Recognisers that leave the generative model as it is: its layers, pooled over time, and a linear reading of them.

The whole clip is seen, all levels of it, and no class is given. What a model makes of a clip is computed once and kept.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from envsound.base.errors import InputError
from envsound.studies.recognition.code_sampling import load_clips
from envsound.studies.recognition.conformer import ConformerSettings
from envsound.studies.recognition.features import Compute, cached_features
from envsound.studies.recognition.pretraining import code_of
from envsound.studies.recognition.probe import linear_probe
from envsound.studies.recognition.readout_probe import train_readout
from envsound.studies.recognition.readouts import embed_codes, layer_states, pooled_statistics, seeded_readout
from envsound.studies.recognition.rounds import Clips, Fold
from envsound.studies.recognition.training import ClassifierSchedule
from envsound.systems.soundstorm.conformer import MaskedConformer


@dataclass(frozen=True)
class PooledConformer(ConformerSettings):
    """A model as it starts, and its layers pooled over the time of whole clips."""

    skip_repeats: bool = False  # leave out frames that repeat the one before in every level: digital silence

    def statistics(self, fold: Fold, seed: int, clips: Clips) -> np.ndarray:
        """Return mean and standard deviation over time of every layer, float32 [n_clips, n_states, 2, dim].

        Each clip is computed by itself, so that no other clip changes how its numbers are rounded.
        """
        weights = self.weights()
        facts = [weights.key(fold.train, seed), self.skip_repeats, self.reduced_precision]
        facts.append(code_of("readouts", "code_sampling"))
        depends_on = f"Conformer {' '.join(map(str, facts))}"
        return np.stack(cached_features(clips, self._measure(fold, seed), depends_on))

    def _measure(self, fold: Fold, seed: int) -> Compute:
        @cache
        def model() -> MaskedConformer:  # loaded, or trained, when the first clip asks for it
            return self.weights().model(fold.train, seed).to(self.place).eval()

        def measure(_: Path, codes_file: Path) -> np.ndarray:
            (codes,) = load_clips([codes_file], self.skip_repeats)
            batch, known = torch.from_numpy(codes.astype(np.int64))[None].to(self.place), model()
            with torch.no_grad(), self.autocast():
                layers = layer_states(known, embed_codes(known, batch))
                return pooled_statistics(layers)[0].cpu().numpy()

        return measure


@dataclass(frozen=True)
class FrozenConformer(PooledConformer):
    """A frozen model and a readout of its pooled statistics, trained by gradients as the published study's was.

    The defaults are the published ones; settings are those of `recognition_training.ClassifierSchedule`, too.
    """

    name: str = "Conformer, frozen"
    readout: str = "mean"  # mean | layers
    num_epochs: int = 50
    batch_size: int = 32  # clips
    lr: float = 5e-5  # highest
    warmup_fraction: float = 0.0
    weight_decay: float = 0.01
    label_smoothing: float = 0.0
    patience: int = 10  # epochs

    def __post_init__(self) -> None:
        super().__post_init__()
        self._schedule()  # so that what is out of range is named at once
        if self.readout not in ("mean", "layers"):
            raise InputError(f"readout={self.readout!r}: expected mean or layers of a frozen model")

    def _schedule(self) -> ClassifierSchedule:
        return ClassifierSchedule(**self.own(ClassifierSchedule), trunk_lr=0.0)

    def fit_and_score(self, fold: Fold, folder: Path, seed: int) -> np.ndarray:
        """See `recognition.Recogniser`; once the statistics are there it takes seconds, so `folder` stays empty."""
        train, watched = ((self.statistics(fold, seed, part), part.labels) for part in (fold.train, fold.validation))
        readout = self._readout(fold, seed)
        train_readout(readout, train, watched, self._schedule(), seed, self.name)
        test = torch.from_numpy(self.statistics(fold, seed, fold.test))
        with torch.no_grad():
            return readout.scores(test).double().softmax(1).numpy()

    def _readout(self, fold: Fold, seed: int) -> nn.Module:
        model = self.weights().model(fold.train, seed)
        return seeded_readout(self.readout, model, len(fold.train.categories), 0.0, seed)

    def settings(self) -> dict[str, Any]:
        """See `recognition.Recogniser`."""
        return self.settings_with("readout", "skip_repeats", ClassifierSchedule)


@dataclass(frozen=True)
class ProbedConformer(PooledConformer):
    """A frozen model read by a linear probe on mean and standard deviation over time of all its layers.

    The probe is `recognition_probe.linear_probe`, a logistic regression.
    """

    name: str = "Conformer, linear probe"
    skip_repeats: bool = True
    refit: bool = True  # on training and validation fold together, once the strength is chosen

    def fit_and_score(self, fold: Fold, folder: Path, seed: int) -> np.ndarray:
        """See `recognition.Recogniser`; `folder` stays empty."""

        def features(clips: Clips) -> np.ndarray:
            found = self.statistics(fold, seed, clips)
            return found.reshape(len(found), -1)

        return linear_probe(features, fold, self.refit)

    def settings(self) -> dict[str, Any]:
        """See `recognition.Recogniser`."""
        return self.settings_with("skip_repeats", "refit")
