"""Training a listener: mel spectra computed once, changed anew at every step, and learnt with a one-cycle schedule."""

import copy
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm.auto import tqdm

from envsound.base import cache
from envsound.base.device import choose_device, choose_precision
from envsound.base.errors import InputError
from envsound.base.tensors import load_state, save_state
from envsound.evaluation.listeners.network import (
    Listener,
    ListenerConfig,
    ListenerNetwork,
    hear,
    load_listener,
    mel_spectra,
    window_samples,
)
from envsound.run.identity import module_hash

CACHE = cache.FOLDER / "listeners"
PRECISIONS = ("auto", "32-true", "bf16-mixed")
N_EQUALISED = 6  # points over the bands between which a random filter's level is a straight line in dB


@dataclass(frozen=True)
class ListenerTraining:
    """How a listener is trained.

    Masks are those of SpecAugment (Park et al. 2019) without time warping; mixing is mixup (Zhang et al. 2018), of
    magnitudes, as if both sounds were heard at once. Filters of random level by band are those of FilterAugment (Nam et
    al. 2022), its linear kind. Filters and transposition are off unless asked for.
    """

    n_epochs: int = 60
    batch_size: int = 32
    lr: float = 3e-3  # peak of the one-cycle schedule
    warmup_fraction: float = 0.2
    weight_decay: float = 0.05
    label_smoothing: float = 0.1
    mixup: float = 0.4  # both parameters of the Beta distribution of a clip's share; 0 = no mixing
    gain_db: float = 6.0  # dB, largest change of level either way
    equaliser_db: float = 0.0  # dB, largest change of a band's level either way
    transposed_bands: int = 0  # bands, furthest that a spectrum is moved up or down
    n_masks: int = 2  # of each kind
    time_mask: float = 0.1  # longest, as a share of the window
    frequency_mask: float = 0.15  # widest, as a share of the bands
    window_seconds: float = 5.0  # s, seen of each clip at a step
    precision: str = "auto"  # one of PRECISIONS; "auto" reduces it where a GPU multiplies bfloat16; never on a CPU
    seed: int = 0

    def __post_init__(self) -> None:
        if self.n_epochs < 1 or self.batch_size < 1 or not self.lr > 0 or not self.window_seconds > 0:
            raise InputError("n_epochs, batch_size, lr, window_seconds: expected each above 0")
        never_negative = ("weight_decay", "mixup", "gain_db", "n_masks", "equaliser_db", "transposed_bands")
        if min(getattr(self, name) for name in never_negative) < 0:
            raise InputError(f"{', '.join(never_negative)}: expected none below 0")
        for name in ("label_smoothing", "time_mask", "frequency_mask"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{name}={getattr(self, name)}: expected a share from 0 to below 1")
        if not 0 < self.warmup_fraction < 1:
            raise InputError(f"warmup_fraction={self.warmup_fraction}: expected a share between 0 and 1")
        if self.precision not in PRECISIONS:
            raise InputError(f"precision={self.precision!r}: expected one of {', '.join(PRECISIONS)}")


DEFAULT_TRAINING, DEFAULT_CONFIG = ListenerTraining(), ListenerConfig()


@dataclass(frozen=True)
class Resume:
    """Where the state of a training is kept after every epoch, and what it must have been made with to go on from it.

    identity: text that changes with the data, the parameters and the code.
    """

    path: Path
    identity: str


def train_listener(
    clips: Sequence[np.ndarray],
    categories: Sequence[str],
    sample_rate: int,
    training: ListenerTraining = DEFAULT_TRAINING,
    config: ListenerConfig = DEFAULT_CONFIG,
    device: torch.device | str = "auto",
) -> Listener:
    """Train a listener on clips, float [n_samples] each at `sample_rate` Hz, of the given categories.

    The last epoch is kept. The same arguments give the same listener, bit for bit, on one CPU with one number of
    threads. Raises InputError for clips, categories or a rate that cannot be used.
    """
    target = choose_device(str(device))
    names, classes = _classes(clips, categories)
    spectra = mel_spectra(clips, sample_rate, config.n_mels)
    window = round(training.window_seconds * sample_rate / (window_samples(sample_rate) // 4))
    network, facts = train_network(spectra, classes, len(names), window, training, None, config, target)
    return Listener(network, names, sample_rate, {"training": asdict(training), "n_clips": len(spectra)} | facts)


def kept_listener(
    clips: Sequence[np.ndarray],
    categories: Sequence[str],
    sample_rate: int,
    training: ListenerTraining = DEFAULT_TRAINING,
    device: str = "auto",
    cache_dir: str | Path = CACHE,
) -> Listener:
    """Return `train_listener` of the same, trained once: the network is kept in `cache_dir`, see `cache.kept`.

    It depends on the clips in their order, their categories and rate, the settings, the code, torch and the kind of
    device; not on the number of threads, which moves the last digits.
    """
    parts = [[cache.clip_key(clip) for clip in clips], list(categories), int(sample_rate), asdict(training)]
    parts += [choose_device(device).type, torch.__version__, module_hash("envsound.evaluation.listeners.training")]
    form = cache.Format(".safetensors", partial(load_listener, device=device), lambda file, made: made.save(file))
    make = partial(train_listener, clips, categories, sample_rate, training, device=device)
    return cache.kept(cache_dir, parts, make, form)


def train_network(
    spectra: list[Tensor],
    classes: np.ndarray,
    n_classes: int,
    window: int,
    training: ListenerTraining = DEFAULT_TRAINING,
    watched: tuple[list[Tensor], Tensor] | None = None,
    config: ListenerConfig = DEFAULT_CONFIG,
    device: torch.device | str = "auto",
    stop_after: int = 0,
    resume: Resume | None = None,
) -> tuple[ListenerNetwork, dict[str, Any]]:
    """Train a network on mel magnitudes [n_mels, n_frames] each and their classes, int [n].

    window: frames seen of each clip at a step; watched: spectra and int64 classes that choose the epoch, by the most
    right answers, then the lowest cross-entropy, and are never those that a result is reported on (None: the last epoch
    is kept); stop_after: epochs after which the schedule of `n_epochs` is broken off (0: never).
    Returns the network and its facts: the epoch chosen, and the history.
    """
    target = choose_device(str(device))
    with torch.random.fork_rng(devices=[target] if target.type == "cuda" else []):
        torch.manual_seed(training.seed)
        network = ListenerNetwork(config, n_classes)
        network.set_statistics(spectra)
        network = network.to(target, memory_format=torch.channels_last)
        longest = max(spectrum.shape[1] for spectrum in spectra)
        n_frames = max(1, min(window, longest) // config.stride) * config.stride  # in whole strides
        sampler = Sampler(spectra, classes, n_classes, n_frames, training)
        facts = _Fit(network, sampler, watched, resume).run(stop_after or training.n_epochs)
    return network, facts


class Sampler:
    """Draws batches of changed spectra: shifted in time, louder or softer, and mixed in pairs."""

    def __init__(
        self, spectra: list[Tensor], classes: np.ndarray, n_classes: int, n_frames: int, training: ListenerTraining
    ):
        """spectra: mel magnitudes [n_mels, n_frames] each; classes: int [n]; n_frames: of every item of a batch."""
        self.spectra, self.training = spectra, training
        self.targets = F.one_hot(torch.from_numpy(classes), n_classes).float()
        self.n_frames = n_frames
        self.rng = np.random.default_rng(training.seed)

    @property
    def n_batches(self) -> int:
        return math.ceil(len(self.spectra) / self.training.batch_size)

    def epoch(self) -> list[np.ndarray]:
        """Return the rows of each batch of an epoch: every clip once, batches of nearly equal size."""
        return np.array_split(self.rng.permutation(len(self.spectra)), self.n_batches)

    def batch(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        """Return mel magnitudes [batch, n_mels, n_frames] and the share of each class in them [batch, n_classes]."""
        spectra, targets = torch.stack([self._window(self.spectra[row]) for row in rows]), self.targets[rows]
        gain_db = self.rng.uniform(-self.training.gain_db, self.training.gain_db, len(rows))
        spectra = spectra * _column(10 ** (gain_db / 20))[..., None]
        if self.training.equaliser_db:
            spectra = spectra * self._equalisers(len(rows), spectra.shape[1])[..., None]
        if self.training.mixup == 0:
            return spectra, targets
        share = self.rng.beta(self.training.mixup, self.training.mixup, len(rows))
        share, other = _column(np.maximum(share, 1 - share)), self.rng.permutation(len(rows))
        mixed = share[..., None] * spectra + (1 - share[..., None]) * spectra[other]
        return mixed, share * targets + (1 - share) * targets[other]

    def _window(self, spectrum: Tensor) -> Tensor:
        """Start anywhere in [n_mels, n_frames] and go round: a shift, a crop, or, of a short clip, repetitions.

        Transposed, the outermost band is repeated where nothing is known.
        """
        start = self.rng.integers(spectrum.shape[1])
        window = spectrum[:, torch.arange(start, start + self.n_frames) % spectrum.shape[1]]
        furthest = self.training.transposed_bands
        if not furthest:
            return window
        up = int(self.rng.integers(-furthest, furthest + 1))
        return window[(torch.arange(len(window)) - up).clamp(0, len(window) - 1)]

    def _equalisers(self, n_items: int, n_mels: int) -> Tensor:
        """Return random filters, float32 [n_items, n_mels] of gains, each level a line through N_EQUALISED points."""
        points, bands = np.linspace(0, n_mels - 1, N_EQUALISED), np.arange(n_mels)
        levels_db = self.rng.uniform(-self.training.equaliser_db, self.training.equaliser_db, (n_items, N_EQUALISED))
        filters_db = np.stack([np.interp(bands, points, levels) for levels in levels_db])
        return torch.from_numpy((10 ** (filters_db / 20)).astype(np.float32))

    def mask(self, levels: Tensor) -> Tensor:
        """Hide bands and frames of normalised levels [batch, n_mels, n_frames] behind their mean, which is 0."""
        levels = levels.clone()
        _, n_mels, n_frames = levels.shape
        for item in levels:
            for _ in range(self.training.n_masks):
                item[self._span(n_mels, self.training.frequency_mask)] = 0
                item[:, self._span(n_frames, self.training.time_mask)] = 0
        return levels

    def _span(self, length: int, widest: float) -> slice:
        width = self.rng.integers(round(widest * length) + 1)
        start = self.rng.integers(length - width + 1)
        return slice(start, start + width)


class _Fit:
    """A training under way: the network, and all that must be kept to go on with it."""

    def __init__(self, network: ListenerNetwork, sampler: Sampler, watched, resume: Resume | None):
        self.network, self.sampler, self.watched, self.resume = network, sampler, watched, resume
        training = sampler.training
        self.optimizer = torch.optim.AdamW(network.parameters(), lr=training.lr, weight_decay=training.weight_decay)
        n_steps = training.n_epochs * sampler.n_batches
        total_steps = max(n_steps, math.ceil(1 / training.warmup_fraction)) + 1  # torch divides by zero on fewer
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, training.lr, total_steps=total_steps, pct_start=training.warmup_fraction
        )
        self.history: list[dict[str, float]] = []
        self.best: dict[str, Any] = {}  # rank, epoch and weights of the best epoch so far
        self._load()

    def run(self, n_epochs: int) -> dict[str, Any]:
        """Train the network in place up to an epoch; return the epoch chosen and the history."""
        bar = tqdm(range(len(self.history) + 1, n_epochs + 1), desc="listener", unit="epoch")
        for epoch in bar:
            batches = self.sampler.epoch()
            losses = [_step(self.network, self.sampler, rows, self.optimizer, self.schedule) for rows in batches]
            row = {"epoch": epoch, "loss": float(np.mean(losses))} | _validate(self.network, self.watched)
            self.history.append(row)
            bar.set_postfix({name: f"{value:.3f}" for name, value in row.items() if name != "epoch"})
            self._choose(row)
            self._save()
        if not self.best:
            return {"epoch": n_epochs, "history": self.history}
        self.network.load_state_dict(self.best["weights"])
        return {"epoch": self.best["epoch"], "history": self.history}

    def _choose(self, row: dict[str, float]) -> None:
        if self.watched is None:
            return
        rank = [row["accuracy"], -row["cross_entropy"]]
        if not self.best or rank > self.best["rank"]:
            weights = copy.deepcopy(self.network.state_dict())
            self.best = {"rank": rank, "epoch": row["epoch"], "weights": weights}

    def _save(self) -> None:
        if self.resume is None:
            return
        device = self.network.band_mean.device
        state = {
            "identity": self.resume.identity,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "history": self.history,
            "best": self.best,
            "draws": json.dumps(self.sampler.rng.bit_generator.state),
            "dropout": torch.get_rng_state(),
            "dropout_cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        }
        save_state(self.resume.path, state)

    def _load(self) -> None:
        state = load_state(self.resume.path) if self.resume else None
        if state is None or state["identity"] != self.resume.identity:
            return
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.history, self.best = state["history"], state["best"]
        self.sampler.rng.bit_generator.state = json.loads(state["draws"])
        torch.set_rng_state(state["dropout"])
        if state["dropout_cuda"] is not None:
            torch.cuda.set_rng_state(state["dropout_cuda"], self.network.band_mean.device)


def reduces_precision(precision: str, device: torch.device) -> bool:
    """Say whether a convolutional network trains in bfloat16 on a device. On a CPU it never does.

    There oneDNN (of torch 2.13, on a CPU with AMX) turns a channels-last Conv2d of stride 2 whose output is one frame
    wide into NaN.
    """
    return device.type != "cpu" and choose_precision(precision, device) == "bf16-mixed"


def _step(network: ListenerNetwork, sampler: Sampler, rows: np.ndarray, optimizer, schedule) -> float:
    training, device = sampler.training, network.band_mean.device
    spectra, targets = sampler.batch(rows)
    with torch.no_grad():
        levels = sampler.mask(network.normalise(spectra.to(device)))
    network.train()
    with torch.autocast(device.type, torch.bfloat16, enabled=reduces_precision(training.precision, device)):
        scores = network(levels)[1]
    loss = F.cross_entropy(scores.float(), targets.to(device), label_smoothing=training.label_smoothing)
    if not torch.isfinite(loss):
        raise InputError(f"listener: the loss is {loss.item()}; try a lower lr ({training.lr})")
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    schedule.step()
    return loss.item()


def _validate(network: ListenerNetwork, watched: tuple[list[Tensor], Tensor] | None) -> dict[str, float]:
    if watched is None:
        return {}
    spectra, classes = watched
    scores = hear(network, spectra)[1]
    right = (scores.argmax(1) == classes).float().mean()
    return {"accuracy": right.item(), "cross_entropy": F.cross_entropy(scores, classes).item()}


def _classes(clips: Sequence[np.ndarray], categories: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """Return the category names in alphabetical order, and each clip's index among them."""
    if len(clips) != len(categories):
        raise InputError(f"categories: there are {len(categories)} for {len(clips)} clips, expected one for each")
    names = sorted(set(categories))
    if len(names) < 2:
        raise InputError(f"categories: {', '.join(names) or 'none'}; expected at least two different ones")
    return names, np.array([names.index(category) for category in categories])


def _column(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))[:, None]
