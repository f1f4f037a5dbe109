"""A recogniser that goes on training the generative model: a Conformer over all levels of codes, and attention.

Model and readout learn together, on codes that are cropped, hidden and mixed anew at every step, on a GPU. Killed, it
goes on after its last epoch and ends as if it had not been: draws depend on the seed and the step's number alone.
"""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm.auto import tqdm

from envsound.base.errors import InputError
from envsound.base.files import write_csv
from envsound.base.tensors import load_state, save_state
from envsound.run.identity import digest
from envsound.studies.recognition.conformer import (
    ConformerSettings,
    embed_codes,
    layer_states,
    load_clips,
    weighted_statistics,
)
from envsound.studies.recognition.rounds import Clips, Fold, code_of
from envsound.systems.soundstorm.batches import CodeSet, derive_seed, epoch_batches
from envsound.systems.soundstorm.conformer import MaskedConformer

STATE, KEPT = "training_state.pt", ("identity", "epoch", "history", "best", "best_weights")
HISTORY = ("epoch", "loss", "accuracy", "cross_entropy")
SCORED_AT_ONCE = 16  # windows
SMALLEST = 1e-40  # probability whose logarithm is still taken
GRAD_CLIP = 1.0  # global norm
LIMITS = (
    (lambda value: value > 0, "above 0", ("num_epochs", "batch_size", "lr", "trunk_lr")),
    (lambda value: value >= 0, "0 or more", ("weight_decay", "patience", "crop_frames", "mixup")),
    (lambda value: 0 <= value < 1, "0 to below 1", ("readout_dropout", "warmup_fraction", "label_smoothing",
                                                    "masked_share", "level_dropout")),
)  # fmt: skip


@dataclass(frozen=True)
class FinetunedConformer(ConformerSettings):
    """A Conformer that goes on learning, with AdamW, a cosine and an early stop, below a readout of attention.

    The epoch is chosen on validation clips, by accuracy and then by cross-entropy. A test clip is heard in even windows
    of `crop_frames`, whose probabilities are averaged.
    """

    kind: ClassVar[str] = "conformer_finetuned"
    name: str = "Conformer, fine-tuned"
    readout_dropout: float = 0.3
    num_epochs: int = 30
    batch_size: int = 16  # clips
    lr: float = 1e-3  # highest, of the readout
    trunk_lr: float = 3e-4  # highest, of the Conformer
    warmup_fraction: float = 0.1  # of the steps; the rates then fall on half a cosine to 0
    weight_decay: float = 0.05
    label_smoothing: float = 0.1
    patience: int = 10  # epochs without a better one before training ends; 0 = never
    crop_frames: int = 150  # length of the stretches seen, in training and in a test; 0 = whole clips
    skip_repeats: bool = True  # leave out frames that repeat the one before in every level: digital silence
    masked_share: float = 0.1  # of the codes, each hidden behind the mask token by itself
    level_dropout: float = 0.2  # chance that an item keeps only its first 1 to n_levels - 1 levels
    mixup: float = 0.3  # both parameters of the Beta distribution of an item's share; 0 = no mixing

    def __post_init__(self) -> None:
        super().__post_init__()
        for fits, expected, names in LIMITS:
            for name in names:
                if not fits(getattr(self, name)):
                    raise InputError(f"{name}={getattr(self, name)}: expected {expected}")
        if self.mixup and not self.crop_frames:
            raise InputError(f"mixup={self.mixup}: needs crop_frames, since clips of unequal length cannot be mixed")

    def fit_and_score(self, fold: Fold, folder: Path, seed: int) -> np.ndarray:
        """See `rounds.Recogniser`. `folder` holds the state of a training that goes on, and its history."""
        training = Tuning(self, fold, seed, Path(folder))
        training.fit()
        found = self.probabilities(training.classifier, load_clips(fold.test.codes_files, self.skip_repeats))
        (Path(folder) / STATE).unlink()
        return found.numpy()

    def classifier(self, train: Clips, seed: int) -> "CodeClassifier":
        """Return the model with an untrained readout, both drawn from `seed` alone."""
        model = self.model(train, seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            readout = AttentionReadout(model.config.dim, len(train.categories), self.readout_dropout)
        return CodeClassifier(model, readout).to(self.place)

    @torch.no_grad()
    def probabilities(self, classifier: "CodeClassifier", clips: Sequence[np.ndarray]) -> Tensor:
        """Return float64 [n_clips, n_classes]: the mean over each clip's windows, or of the whole clip at once."""
        windows = [even_windows(clip, self.crop_frames) for clip in clips]
        flat = [window for of_clip in windows for window in of_clip]
        found = []
        for first in range(0, len(flat), SCORED_AT_ONCE):
            codes, valid = padded(flat[first : first + SCORED_AT_ONCE], classifier.model.mask_token)
            with self.autocast():
                scores = classifier(CodeBatch(codes, valid, torch.empty(0)).to(self.place))
            found.append(scores.cpu().double().softmax(1))
        parts = torch.cat(found).split([len(of_clip) for of_clip in windows])
        return torch.stack([part.mean(0) for part in parts])


class AttentionReadout(nn.Module):
    """Frames of the last layer weighted by what they hold, then their mean and standard deviation, then linear.

    Attentive statistics pooling (Okabe et al. 2018, eq. 1 to 6): a bark between silences should not be averaged away.
    """

    def __init__(self, dim: int, n_classes: int, dropout: float = 0.0, hidden: int = 128):
        super().__init__()
        self.attention = nn.Sequential(nn.Linear(dim, hidden), nn.Tanh(), nn.Linear(hidden, 1))
        self.dropout = nn.Dropout(dropout)
        self.classes = nn.Linear(2 * dim, n_classes)

    def forward(self, states: Tensor, valid: Tensor) -> Tensor:
        """Return scores [batch, n_classes] of states [batch, n_frames, dim]; valid: bool [batch, n_frames]."""
        merits = self.attention(states)[..., 0].float().masked_fill(~valid, float("-inf"))
        pooled = weighted_statistics(states.float(), merits.softmax(1))
        return self.classes(self.dropout(pooled.flatten(1)))


class CodeBatch(NamedTuple):
    """What a classifier is trained on at one step.

    codes: int64 [batch, n_levels, n_frames] in 0..mask_token; valid: bool [batch, n_frames]; targets: float32 [batch,
    n_classes], the share of each class; share: float32 [batch], of each item itself, the rest being item `other`, int64
    [batch]. Both are None without mixing.
    """

    codes: Tensor
    valid: Tensor
    targets: Tensor
    share: Tensor | None = None
    other: Tensor | None = None

    def to(self, device: torch.device) -> "CodeBatch":
        """Return the same batch on a device."""
        return CodeBatch(*(None if part is None else part.to(device) for part in self))


class CodeClassifier(nn.Module):
    """A Conformer without its generative heads, and a readout of its last layer."""

    def __init__(self, model: MaskedConformer, readout: AttentionReadout):
        super().__init__()
        model.heads = nn.ModuleList()  # a fifth of the weights, and of no use here
        self.model, self.readout = model, readout

    def forward(self, batch: CodeBatch) -> Tensor:
        """Return class scores [batch, n_classes] of codes on this module's device."""
        embedded = embed_codes(self.model, batch.codes)
        if batch.share is not None:
            share = batch.share[:, None, None]
            embedded = share * embedded + (1 - share) * embedded[batch.other]
        return self.readout(layer_states(self.model, embedded, batch.valid)[-1], batch.valid)


def training_batch(
    codes: Sequence[np.ndarray], targets: np.ndarray, settings: FinetunedConformer, mask_token: int,
    draws: np.random.Generator,
) -> CodeBatch:  # fmt: skip
    """Return a batch of clips, codes int [n_levels, n_frames] each and targets [batch, n_classes], changed at random.

    Mixing is mixup (Zhang et al. 2018) of input embeddings, which the model does with `share` and `other`; every item
    keeps the larger part of itself. Crops of clips shorter than `crop_frames` go round them.
    """
    if settings.crop_frames:
        codes = [_crop(clip, settings.crop_frames, draws) for clip in codes]
    batch, valid = padded(codes, mask_token)
    hidden = torch.from_numpy(draws.random(batch.shape, dtype=np.float32) < settings.masked_share)
    n_items, n_levels, _ = batch.shape
    if n_levels > 1:
        few, kept = draws.random(n_items) < settings.level_dropout, draws.integers(1, n_levels, n_items)
        kept = torch.from_numpy(np.where(few, kept, n_levels))
        hidden |= (torch.arange(n_levels) >= kept[:, None])[..., None]
    batch, wanted = batch.masked_fill(hidden, mask_token), torch.from_numpy(np.asarray(targets, dtype=np.float32))
    if not settings.mixup:
        return CodeBatch(batch, valid, wanted)
    share = draws.beta(settings.mixup, settings.mixup, len(codes))
    share = torch.from_numpy(np.maximum(share, 1 - share).astype(np.float32))
    other = torch.from_numpy(draws.permutation(len(codes)))
    return CodeBatch(batch, valid, share[:, None] * wanted + (1 - share[:, None]) * wanted[other], share, other)


def padded(codes: Sequence[np.ndarray], mask_token: int) -> tuple[Tensor, Tensor]:
    """Return clips of codes [n_levels, n_frames] as int64 [batch, n_levels, longest], and bool [batch, longest]."""
    rows = np.arange(len(codes))
    return CodeSet(list(codes), np.zeros(len(codes), np.int64), []).batch(rows, mask_token)[:2]


def _crop(codes: np.ndarray, n_frames: int, draws: np.random.Generator) -> np.ndarray:
    length = codes.shape[1]
    start = draws.integers(length - n_frames + 1) if length >= n_frames else draws.integers(length)
    return codes[:, np.arange(start, start + n_frames) % length]


def even_windows(codes: np.ndarray, n_frames: int) -> list[np.ndarray]:
    """Cut codes [n_levels, n_clip_frames] into as few windows of `n_frames` frames as cover them, evenly spaced.

    A shorter clip is one window that goes round it. n_frames 0: the clip itself is the only window.
    """
    length = codes.shape[1]
    if not n_frames or length == n_frames:
        return [codes]
    if length < n_frames:
        return [codes[:, np.arange(n_frames) % length]]
    starts = np.linspace(0, length - n_frames, math.ceil(length / n_frames)).round().astype(int)
    return [codes[:, start : start + n_frames] for start in starts]


def rate_factor(step: int, n_steps: int, warmup_fraction: float) -> float:
    """Return the share of the highest learning rate at `step` (from 0) of `n_steps`: a line up, half a cosine down."""
    n_warm = round(warmup_fraction * n_steps)
    if step < n_warm:
        return (step + 1) / (n_warm + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - n_warm) / max(1, n_steps - n_warm)))


class Tuning:
    """One training of a recogniser's classifier; `fit` leaves it with the weights of its best epoch.

    folder: takes STATE after every epoch and training.csv. A state is gone on from when it was made from the same.
    """

    def __init__(self, settings: FinetunedConformer, fold: Fold, seed: int, folder: Path):
        self.settings, self.seed, self.folder = settings, seed, folder
        self.classifier = settings.classifier(fold.train, seed)
        files = (fold.train.codes_files, fold.validation.codes_files)
        self.clips, self.watched = (load_clips(part, settings.skip_repeats) for part in files)
        self.targets = np.eye(len(fold.train.categories), dtype=np.float32)[fold.train.labels]
        self.labels = torch.from_numpy(fold.validation.labels)
        made_from = (settings.settings(), settings.key(fold.train, seed), settings.computed_in, seed, code_of(__name__))
        self.identity = digest([*map(str, made_from), fold.train.digest, fold.validation.digest])
        groups = [{"params": list(part.parameters())} for part in (self.classifier.readout, self.classifier.model)]
        self.optimizer = torch.optim.AdamW(groups, weight_decay=settings.weight_decay)
        self.epoch, self.history, self.best, self.best_weights = 0, [], [0, -1.0, 0.0], {}
        self._resume()

    def fit(self) -> None:
        """Train to the end. Raises InputError when the loss is not finite."""
        place, n_epochs, patience = self.settings.place, self.settings.num_epochs, self.settings.patience or math.inf
        bar = tqdm(total=n_epochs, initial=self.epoch, desc=self.settings.name, unit="epoch", leave=False)
        with bar, torch.random.fork_rng(devices=[place] if place.type == "cuda" else []):
            while self.epoch < n_epochs and self.epoch - self.best[0] < patience:
                self._run_epoch()
                bar.update()
        self.classifier.load_state_dict(self.best_weights)
        self.classifier.eval()

    def _run_epoch(self) -> None:
        self.classifier.train()
        batches = list(epoch_batches(len(self.clips), self.settings.batch_size, self.seed, self.epoch))
        first, n_steps = self.epoch * len(batches), self.settings.num_epochs * len(batches)
        losses = [self._step(rows, first + number, n_steps) for number, rows in enumerate(batches)]
        self.epoch += 1
        self.classifier.eval()
        accuracy, cross_entropy = judged(self.settings.probabilities(self.classifier, self.watched), self.labels)
        row = (self.epoch, float(np.mean(losses)), accuracy, cross_entropy)
        self.history.append(dict(zip(HISTORY, row, strict=True)))
        if (accuracy, -cross_entropy) > (self.best[1], -self.best[2]):
            self.best = [self.epoch, accuracy, cross_entropy]
            self.best_weights = copy.deepcopy(self.classifier.state_dict())
        self._save()

    def _step(self, rows: np.ndarray, step: int, n_steps: int) -> float:
        settings, factor = self.settings, rate_factor(step, n_steps, self.settings.warmup_fraction)
        for group, highest in zip(self.optimizer.param_groups, (settings.lr, settings.trunk_lr), strict=True):
            group["lr"] = highest * factor
        torch.manual_seed(derive_seed(self.seed, step))  # of dropout
        draws, clips = np.random.default_rng(derive_seed(self.seed, step, 1)), [self.clips[row] for row in rows]
        batch = training_batch(clips, self.targets[rows], settings, self.classifier.model.mask_token, draws)
        with settings.autocast():
            scores = self.classifier(batch.to(settings.place))
        targets = batch.targets.to(settings.place)
        loss = F.cross_entropy(scores.float(), targets, label_smoothing=settings.label_smoothing)
        if not torch.isfinite(loss):
            raise InputError(f"{settings.name}: the loss is {loss.item()} at step {step}; try lower rates")
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_([one for group in self.optimizer.param_groups for one in group["params"]], GRAD_CLIP)
        self.optimizer.step()
        return loss.item()

    def _save(self) -> None:
        state = {name: getattr(self, name) for name in KEPT}
        state |= {"classifier": self.classifier.state_dict(), "optimizer": self.optimizer.state_dict()}
        write_csv(self.folder / "training.csv", pd.DataFrame(self.history, columns=HISTORY))
        save_state(self.folder / STATE, state)

    def _resume(self) -> None:
        state = load_state(self.folder / STATE, self.settings.place)
        if state is None or state["identity"] != self.identity:  # other settings, clips or code: start anew
            return
        for name in KEPT:
            setattr(self, name, state[name])
        self.classifier.load_state_dict(state["classifier"])
        self.optimizer.load_state_dict(state["optimizer"])


def judged(probabilities: Tensor, labels: Tensor) -> tuple[float, float]:
    """Return accuracy and cross-entropy (nat) of probabilities [n, n_classes] against labels int64 [n]."""
    right = (probabilities.argmax(1) == labels).double().mean()
    likelihood = probabilities[torch.arange(len(labels)), labels].clamp(min=SMALLEST)
    return float(right), float(-likelihood.log().mean())
