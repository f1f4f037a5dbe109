"""Recognisers that go on training the generative model: a Conformer over all levels of codes, and a readout.

Model and readout learn together, on codes that may be cropped, hidden and mixed anew at every step. No class is told to
the model. `recognition_frozen` has the recognisers that leave it as it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional as F

from envsound.base.errors import InputError
from envsound.base.tensors import read_tensors, write_tensors
from envsound.run.identity import digest
from envsound.studies.recognition.code_sampling import (
    CodeAugmentation,
    CodeBatch,
    even_windows,
    load_clips,
    padded,
    training_batch,
)
from envsound.studies.recognition.frozen import PooledConformer
from envsound.studies.recognition.pretraining import code_of
from envsound.studies.recognition.readout_probe import fitted_probe
from envsound.studies.recognition.readouts import READOUTS, embed_codes, layer_states, seeded_readout
from envsound.studies.recognition.rounds import Fold
from envsound.studies.recognition.training import STATE, ClassifierSchedule, ClassifierTraining, judged
from envsound.systems.soundstorm.conformer import MaskedConformer

SCORED_AT_ONCE = 16  # windows or clips
ANSWER = "probabilities"
PROBE = "probe"  # the readout that is fitted to the frozen model first


class CodeClassifier(nn.Module):
    """A Conformer without its generative heads, and a readout. With `frozen` the Conformer stays as it is."""

    def __init__(self, model: MaskedConformer, readout: nn.Module, frozen: bool):
        super().__init__()
        model.heads = nn.ModuleList()  # a fifth of the weights, and of no use here
        self.model, self.readout, self.frozen = model.requires_grad_(not frozen), readout, frozen

    def train(self, mode: bool = True) -> "CodeClassifier":
        """Switch dropout on or off; a frozen model has none at any time."""
        super().train(mode)
        if self.frozen:
            self.model.eval()
        return self

    def forward(self, batch: CodeBatch) -> Tensor:
        """Return class scores [batch, n_classes] of codes on this module's device."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            embedded = embed_codes(self.model, batch.codes)
            if batch.share is not None:
                share = batch.share[:, None, None]
                embedded = share * embedded + (1 - share) * embedded[batch.other]
            layers = layer_states(self.model, embedded, batch.valid)
        return self.readout(layers, batch.valid)


@dataclass(frozen=True)
class FinetunedConformer(PooledConformer):
    """A Conformer that goes on learning with its readout; with `trunk_lr` 0 the readout alone learns.

    Settings are those of `ConformerSettings`, `recognition_training.ClassifierSchedule` and
    `code_sampling.CodeAugmentation`, and mean what they mean there. The readout "probe" is first fitted to whole
    clips as the model knows them at its start (see `readout_probe`), which counts as an epoch to choose from. A test
    clip is heard in even windows of `crop_frames`, whose probabilities are averaged. The defaults leave codes as they
    are: a probe of whole clips hears less in crops, and takes more epochs than a CPU has time for to make up for it.
    """

    name: str = "Conformer, fine-tuned"
    readout: str = PROBE  # mean | layers | attention | probe
    readout_dropout: float = 0.5
    probe_epochs: int = 60  # of the readout "probe" alone, of which the best is taken
    probe_lr: float = 1e-3  # highest, of the readout "probe" alone
    num_epochs: int = 1  # what two CPU cores have time for
    batch_size: int = 16  # clips
    lr: float = 2e-5  # highest, of the readout; five times as much undoes a probe of thousands of features
    trunk_lr: float = 2e-5  # highest, of the Conformer
    warmup_fraction: float = 0.1
    weight_decay: float = 0.05
    label_smoothing: float = 0.1
    patience: int = 4  # epochs
    crop_frames: int = 0  # whole clips
    skip_repeats: bool = True
    masked_share: float = 0.0
    level_dropout: float = 0.0
    mixup: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.schedule()  # so that what is out of range is named at once
        self.probe_schedule()
        self.augmentation()
        if self.readout not in (*READOUTS, PROBE):
            raise InputError(f"readout={self.readout!r}: expected one of {', '.join((*READOUTS, PROBE))}")

    def schedule(self) -> ClassifierSchedule:
        """Return the settings of the training loop."""
        return ClassifierSchedule(**self.own(ClassifierSchedule))

    def probe_schedule(self) -> ClassifierSchedule:
        """Return the settings of the training of the readout "probe" by itself, without warm-up or early stop."""
        return replace(self.schedule(), num_epochs=self.probe_epochs, lr=self.probe_lr, warmup_fraction=0.0, patience=0)

    def augmentation(self) -> CodeAugmentation:
        """Return how codes are changed."""
        return CodeAugmentation(**self.own(CodeAugmentation))

    def fit_and_score(self, fold: Fold, folder: Path, seed: int) -> np.ndarray:
        """See `recognition.Recogniser`. `folder` holds the state of a training that goes on, then the answer."""
        identity = self._identity(fold, seed)
        path = Path(folder) / f"{ANSWER}.safetensors"
        known = read_answer(path, identity)
        if known is None:
            known = self._train(fold, Path(folder), seed, identity)
            write_tensors(path, {ANSWER: torch.from_numpy(known)}, ANSWER, {"identity": identity})
            (Path(folder) / STATE).unlink(missing_ok=True)
        return known

    def _train(self, fold: Fold, folder: Path, seed: int, identity: str) -> np.ndarray:
        schedule, augmentation = self.schedule(), self.augmentation()
        classifier = self._classifier(fold, seed)
        clips = load_clips(fold.train.codes_files, augmentation.skip_repeats)
        watched = load_clips(fold.validation.codes_files, augmentation.skip_repeats)
        targets = np.eye(len(fold.train.categories), dtype=np.float32)[fold.train.labels]
        mask_token, labels = classifier.model.mask_token, torch.from_numpy(fold.validation.labels)

        def batch_loss(rows: np.ndarray, draws: np.random.Generator) -> Tensor:
            batch = training_batch([clips[row] for row in rows], targets[rows], augmentation, mask_token, draws)
            batch = batch.to(self.place)
            with self.autocast():
                scores = classifier(batch)
            return F.cross_entropy(scores.float(), batch.targets, label_smoothing=schedule.label_smoothing)

        def validate() -> tuple[float, float]:
            return judged(self._probabilities(classifier, watched), labels)

        groups = [{"params": list(classifier.readout.parameters()), "lr": schedule.lr}]
        if not classifier.frozen:
            groups.append({"params": list(classifier.model.parameters()), "lr": schedule.trunk_lr})
        training = ClassifierTraining(classifier, groups, len(clips), schedule, seed, folder, identity)
        training.fit(batch_loss, validate, self.name, start_counts=self.readout == PROBE)
        return self._probabilities(classifier, load_clips(fold.test.codes_files, augmentation.skip_repeats)).numpy()

    def _classifier(self, fold: Fold, seed: int) -> CodeClassifier:
        model = self.weights().model(fold.train, seed)
        return CodeClassifier(model, self._readout(fold, seed, model), frozen=self.trunk_lr == 0).to(self.place)

    def _readout(self, fold: Fold, seed: int, model: MaskedConformer) -> nn.Module:
        n_classes = len(fold.train.categories)
        if self.readout != PROBE:
            return seeded_readout(self.readout, model, n_classes, self.readout_dropout, seed)
        seen = [(self.statistics(fold, seed, clips), clips.labels) for clips in (fold.train, fold.validation)]
        return fitted_probe(*seen, n_classes, self.readout_dropout, self.probe_schedule(), seed)

    @torch.no_grad()
    def _probabilities(self, classifier: CodeClassifier, clips: Sequence[np.ndarray]) -> Tensor:
        """Return float64 [n_clips, n_classes]: the mean over each clip's windows, or of the whole clip at once."""
        windows = [even_windows(clip, self.crop_frames) for clip in clips]
        flat = [window for of_clip in windows for window in of_clip]
        found = []
        for first in range(0, len(flat), SCORED_AT_ONCE):
            codes, valid = padded(flat[first : first + SCORED_AT_ONCE], classifier.model.mask_token)
            batch = CodeBatch(codes, valid, torch.empty(0)).to(self.place)
            with self.autocast():
                scores = classifier(batch)
            found.append(scores.cpu().double().softmax(1))
        parts = torch.cat(found).split([len(of_clip) for of_clip in windows])
        return torch.stack([part.mean(0) for part in parts])

    def _identity(self, fold: Fold, seed: int) -> str:
        """Return a hash of all the answer depends on; of the test clips their codes alone."""
        parts = [repr(self.settings()), self.weights().key(fold.train, seed), str(seed), fold.train.digest]
        parts += [fold.validation.digest, self.reduced_precision, code_of("recognition_finetuned")]
        return digest([*map(str, parts), *(file.stem for file in fold.test.codes_files)])

    def settings(self) -> dict[str, Any]:
        """See `recognition.Recogniser`."""
        probe = ("probe_epochs", "probe_lr") if self.readout == PROBE else ()
        return self.settings_with("readout", "readout_dropout", *probe, ClassifierSchedule, CodeAugmentation)


def read_answer(path: Path, identity: str) -> np.ndarray | None:
    """Return stored probabilities, float64 [n, n_classes]; None when there are none of this identity."""
    try:
        tensors, header = read_tensors(path, ANSWER)
        return tensors[ANSWER].numpy().copy() if header["identity"] == identity else None
    except (OSError, SafetensorError, KeyError, ValueError):
        return None
