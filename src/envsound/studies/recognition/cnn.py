"""The convolutional baseline: the network of `evaluation.listeners.network`, trained for one round."""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F

from envsound.base.errors import InputError
from envsound.base.files import write_csv
from envsound.data.audio import read_clip
from envsound.evaluation.listeners.network import ListenerConfig, ListenerNetwork, hear, mel_spectra, window_samples
from envsound.evaluation.listeners.training import ListenerTraining, Resume, train_network
from envsound.run.identity import digest
from envsound.studies.recognition.rounds import Clips, Fold, code_of


@dataclass(frozen=True)
class CnnRecogniser:
    """A residual network on log-mel spectra with SpecAugment, mixup and random filters; a clip is judged whole.

    Shorter clips go round in training and are masked beyond their end in the test. The parameters that
    `ListenerConfig` and `ListenerTraining` have, too, mean what they mean there. Frames are averaged in groups of
    `pooled_frames` before the network sees them: at 24 kHz one lasts 21 ms then, which halves the work.
    """

    kind: ClassVar[str] = "cnn"
    name: str = "log-mel CNN"
    sample_rate: int = 24_000  # Hz, at which clips are heard
    clip_seconds: float = 5.0  # s, to which they are cut
    pooled_frames: int = 2  # of 10 to 20 ms that become one
    n_mels: int = 64
    widths: tuple[int, ...] = (32, 64, 128, 256)  # channels of each stage
    embedding_dim: int = 256
    dropout: float = 0.3
    n_epochs: int = 80
    batch_size: int = 32  # clips
    lr: float = 3e-3  # peak of the one-cycle schedule
    weight_decay: float = 0.05
    label_smoothing: float = 0.1
    mixup: float = 0.4  # both parameters of the Beta distribution
    gain_db: float = 6.0  # dB, largest change of level
    equaliser_db: float = 6.0  # dB, largest change of a band's level
    transposed_bands: int = 2  # furthest move of the spectrum
    n_masks: int = 2  # of each kind
    time_mask: float = 0.1  # longest, as a share of the window
    frequency_mask: float = 0.15  # widest, as a share of the bands
    precision: str = "auto"  # float32 on a CPU in any case
    refit: bool = False  # on training and validation fold together, up to the epoch chosen; twice the work
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.pooled_frames < 1:
            raise InputError(f"pooled_frames={self.pooled_frames}: expected 1 or more")
        self._plan(seed=0)  # so that what is out of range is named at once

    def settings(self) -> dict[str, Any]:
        """See `rounds.Recogniser`."""
        return {key: value for key, value in asdict(self).items() if key != "device"}

    def fit_and_score(self, fold: Fold, folder: Path, seed: int) -> np.ndarray:
        """See `rounds.Recogniser`; the state is kept after every epoch, and the history in training.csv."""
        validation = (self.spectra(fold.validation), torch.from_numpy(fold.validation.labels))
        network, facts = self._train(fold.train, folder / "training.pt", seed, validation)
        write_csv(folder / "training.csv", pd.DataFrame(facts["history"]))
        if self.refit:
            both = fold.train_and_validation
            network, _ = self._train(both, folder / "refit.pt", seed, stop_after=facts["epoch"])
        scores = hear(network, self.spectra(fold.test))[1]
        return scores.double().softmax(1).numpy()

    def spectra(self, clips: Clips) -> list[Tensor]:
        """Return the mel magnitudes of each clip, float32 [n_mels, n_frames], its frames averaged in groups.

        The last group may be smaller.
        """

        def measure(file: Path, _: Path) -> np.ndarray:
            clip = read_clip(file, self.sample_rate, self.clip_seconds)
            (spectrum,) = mel_spectra([clip], self.sample_rate, self.n_mels)
            return F.avg_pool1d(spectrum, self.pooled_frames, ceil_mode=True).numpy()

        depends_on = (self.sample_rate, self.clip_seconds, self.n_mels, self.pooled_frames, code_of(__name__))
        return [torch.from_numpy(spectrum) for spectrum in clips.features(measure, "log-mel", *depends_on)]

    def _train(
        self, clips: Clips, state: Path, seed: int, watched: tuple[list[Tensor], Tensor] | None = None, **options: int
    ) -> tuple[ListenerNetwork, dict[str, Any]]:
        """Train on clips, going on from `state` when it was made with the same clips, settings, seed and code."""
        hop = window_samples(self.sample_rate) // 4 * self.pooled_frames
        window = round(self.clip_seconds * self.sample_rate / hop)
        settings = json.dumps(self.settings(), sort_keys=True)
        resume = Resume(state, digest([clips.digest, settings, str(seed), str(options), code_of(__name__)]))
        config, training = self._plan(seed)
        return train_network(
            self.spectra(clips), clips.labels, len(clips.categories), window, training, watched, config, self.device,
            resume=resume, **options,
        )  # fmt: skip

    def _plan(self, seed: int) -> tuple[ListenerConfig, ListenerTraining]:
        """Return the network's shape and its training, from the parameters that they have, too."""
        shape, own = ({field.name: getattr(self, field.name) for field in fields(other) if hasattr(self, field.name)}
                      for other in (ListenerConfig, ListenerTraining))  # fmt: skip
        return ListenerConfig(**shape), ListenerTraining(**own, seed=seed, window_seconds=self.clip_seconds)
