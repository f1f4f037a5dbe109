"""Training the language model: the loop of the masked model, with a loss of its own, and more ways to move weights.

Nothing here reads sound: a training goes from arrays of codes to a file of weights, wherever torch is.
"""

import hashlib
import math
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import LightningEnvironment
from torch import Tensor, nn
from torch.nn import functional as F

from envsound.base.device import choose_precision
from envsound.base.errors import InputError
from envsound.base.files import write_csv
from envsound.base.recorded import Recorded
from envsound.codec.pairs import PairCounts
from envsound.run.identity import module_hash
from envsound.systems.language.transformer import LanguageConfig, LanguageModel, Text, save_language
from envsound.systems.soundstorm.batches import CodeSet, HeldCodes
from envsound.systems.soundstorm.checkpoints import Checkpoint
from envsound.systems.soundstorm.codebooks import Codebooks, start_from_codebooks
from envsound.systems.soundstorm.masking import rolled
from envsound.systems.soundstorm.objective import IGNORED, unigram_losses
from envsound.systems.soundstorm.optimizing import WeightAverage, make_optimizer, make_schedule
from envsound.systems.soundstorm.plan import TrainingConfig
from envsound.systems.soundstorm.training import HISTORY, Progress, Trainer

OPTIMIZERS, SCHEDULES = ("", "prodigy"), ("", "none", "step", "inverse-root")
STEP_FACTOR = 0.1  # of the learning rate, at each step of the schedule "step": torch's own


@dataclass(frozen=True)
class LanguagePlan:
    """How a language model learns: what any model of codes is told, and what this one knows beside.

    optimizer: "prodigy" (Mishchenko & Defazio 2024), which finds its own learning rate, of which lr is a factor; "" is
    that of `shared`. schedule: "none"; "step", a tenth every `step_every` steps; "inverse-root" of the step, after a
    rise over the warm-up; "" is that of `shared`. ema_every: steps between two moves of the weights' average.
    Raises InputError for another name or a number below 1.
    """

    shared: TrainingConfig
    optimizer: str = ""
    schedule: str = ""
    step_every: int = 4000
    ema_every: int = 1

    def __post_init__(self) -> None:
        for name, known in (("optimizer", OPTIMIZERS), ("schedule", SCHEDULES)):
            if getattr(self, name) not in known:
                words = ", ".join(filter(None, known))
                raise InputError(f"options: {name}={getattr(self, name)!r}: expected one of {words}, or none here")
        if self.step_every < 1 or self.ema_every < 1:
            raise InputError(f"options: step_every={self.step_every}, ema_every={self.ema_every}: expected 1 or more")


@dataclass(frozen=True)
class Texts:
    """What the clips of a set may be described by, one of several each time: vectors of all descriptions, float32
    [n_texts, n_tokens, text_dim]; which are there, bool [n_texts, n_tokens]; and the descriptions that each clip
    has, int64 [n_clips, n_choices]."""

    vectors: Tensor
    mask: Tensor
    choices: Tensor

    def to(self, device: torch.device) -> "Texts":
        """Return the same on a device."""
        return Texts(self.vectors.to(device), self.mask.to(device), self.choices.to(device))

    def digest(self) -> str:
        """Return a hash of all of them, 64 hexadecimal digits."""
        parts = [one.cpu().contiguous().numpy() for one in (self.vectors, self.mask, self.choices)]
        return hashlib.sha256(b"".join(str(one.shape).encode() + one.tobytes() for one in parts)).hexdigest()

    def of(self, rows: Tensor, which: Tensor, kept: Tensor) -> Text:
        """Return one description of each clip, bool [batch] `kept` of them; which: float [batch] in [0, 1)."""
        n_choices = self.choices.shape[1]
        chosen = self.choices[rows, (which * n_choices).long().clamp(max=n_choices - 1)]
        return Text(self.vectors[chosen], self.mask[chosen] & kept[:, None])


class LanguageObjective(nn.Module):
    """The cross-entropy of every code, given all that was written before it."""

    def __init__(self, model: LanguageModel, smoothing: float = 0.0):
        """smoothing: the share of a target that is spread over all codes."""
        super().__init__()
        self.model, self.smoothing = model, smoothing

    def forward(self, sequence: Tensor, classes: Tensor | None, vectors: Tensor | None, mask: Tensor | None) -> Tensor:
        """Return the summed cross-entropy (nat) of each level of a sequence [batch, n_levels, n_steps]: [n_levels]."""
        return language_losses(self.model, sequence, classes, vectors, mask, self.smoothing)


def language_losses(
    model: LanguageModel,
    sequence: Tensor,
    classes: Tensor | None,
    vectors: Tensor | None = None,
    mask: Tensor | None = None,
    smoothing: float = 0.0,
) -> Tensor:
    """Return what `LanguageObjective` does. Where the sequence holds the mask token, nothing is asked."""
    before = F.pad(sequence[..., :-1], (1, 0), value=model.mask_token)
    states = model(before, classes, None if vectors is None else Text(vectors, mask))
    sums = []
    for level in range(model.config.n_levels):
        steps = model.pattern.steps(level)
        targets, scores = sequence[:, level, steps], model.logits(states[:, steps], level).float()
        targets = targets.masked_fill(targets == model.mask_token, IGNORED)
        given = {"reduction": "sum", "ignore_index": IGNORED, "label_smoothing": smoothing}
        sums.append(F.cross_entropy(scores.flatten(0, 1), targets.flatten(), **given))
    return torch.stack(sums)


class LanguageTrainer(Trainer):
    """Trains a LanguageModel on codes; steps, savings, resumption and early stop are those of the masked model.

    Of `plan.shared` these have no meaning here: accumulate, prompt_chance, level_shares, near_share, every_level,
    compile and initial_checkpoint. The history has two columns beside the masked model's: `bigram`, what counting pairs
    in the training clips costs on the watched ones, and `perplexity`, the exponential of the loss.
    """

    def __init__(
        self,
        train: CodeSet,
        validation: CodeSet,
        config: LanguageConfig,
        plan: LanguagePlan,
        run_dir: str | Path,
        device: torch.device,
        codec_hash: str = "",
        codebooks: Codebooks | None = None,
        text: tuple[Texts, Texts] | None = None,
        told: dict[str, object] | None = None,
    ):
        """codebooks: the codec's code vectors, where `start_from_codes` asks for them. text: of both sets.

        told: facts that the file of the model keeps, such as which encoder its text is from.
        Raises InputError where code vectors or texts are asked for and not given, or the other way round.
        """
        if plan.shared.start_from_codes and codebooks is None:
            raise InputError("start_from_codes: needs the code vectors of the codec")
        if bool(config.text_dim) != (text is not None):
            raise InputError(f"text_dim={config.text_dim}: expected texts of that many numbers, or 0 and no texts")
        self.train_set, self.validation_set, self.config, self.plan = train, validation, plan.shared, plan
        self.codec_hash, self.codebooks, self.told = codec_hash, codebooks, told or {}
        self.folder, self.table = Path(run_dir) / "checkpoints", Path(run_dir) / "training.csv"
        self.precision = choose_precision(self.config.precision, device)
        plugin = LightningEnvironment()  # within a job of SLURM, Fabric would take its one task for the whole world
        self.fabric = Fabric(accelerator=device.type, devices=1, precision=self.precision, plugins=plugin)
        self.fabric.launch()
        place, self.text_marks = self.fabric.device, [one.digest() for one in text or ()]
        torch.manual_seed(self.config.seed)
        model = LanguageModel(config)
        if self.config.start_from_codes:
            start_from_codebooks(model, codebooks, torch.Generator().manual_seed(self.config.seed))
        self.model = model.to(place)
        self.texts = [one.to(place) for one in text or ()]
        optimizer = language_optimizer(self.model, plan)
        objective = LanguageObjective(self.model, self.config.label_smoothing)
        self.objective, self.optimizer = self.fabric.setup(objective, optimizer)
        self.classes = [torch.from_numpy(one.classes).to(place) for one in (train, validation)]
        self.held = held_numbers(train, place, self.model.mask_token) if place.type == "cuda" else None
        self.draws, self._step = torch.Generator(place if place.type == "cuda" else "cpu"), None
        decay = self.config.ema_decay
        self.average = RareAverage(self.model, decay, plan.ema_every) if decay else None
        self.steps_per_epoch = math.ceil(len(train) / self.config.batch_size)
        n_steps = self.config.num_epochs * self.steps_per_epoch
        n_steps = min(n_steps, self.config.max_steps) if self.config.max_steps else n_steps
        self.schedule = language_schedule(optimizer, plan, n_steps)
        self.baseline, self.bigram = counted_losses(train, validation, config)
        self.progress, self.identity = Progress(), self._identity()
        self._resume()

    def fit(self) -> pd.DataFrame:
        """Train to the end and return the history, as in training.csv."""
        super().fit()
        return self.history()

    def history(self) -> pd.DataFrame:
        """Return what training.csv holds so far: the columns of the masked model's, bigram, and perplexity."""
        rows = pd.DataFrame(self.progress.history, columns=HISTORY)
        pairs = rows["level"].map(self.bigram).where(rows["split"] == "validation")
        return rows.assign(bigram=pairs, perplexity=np.exp(rows["loss"]))

    def _recorded(self, rows: np.ndarray) -> Recorded | None:
        """Return what leaves the next step's gradients in one call, or None without a GPU and for a smaller batch."""
        held = self.held
        if held is None or len(rows) < self.config.batch_size:
            return None
        if self._step is None:
            longest = int(held.lengths.max())

            def step(places: Tensor) -> list[Tensor]:
                totals = self._gradients(*held.chosen(places, longest))
                return [totals, *(weight.grad for weight in self.model.parameters())]

            self._step = Recorded(step, [held.places(rows)], [self.draws])
        return self._step

    def _batch(self, rows: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
        """Return codes, valid frames and the numbers of some training clips."""
        if self.held is not None:
            return self.held.batch(rows)
        codes, valid, _ = self.train_set.batch(rows, self.model.mask_token)
        return codes, valid, torch.from_numpy(rows)

    def _gradients(self, codes: Tensor, valid: Tensor, numbers: Tensor) -> Tensor:
        """Leave the gradients of a batch in the weights, clipped; return its loss sums and counts [n_levels, 2].

        Of a share of the clips neither class nor text is told.
        """
        config, draws, place, on_gpu = self.config, self.draws, self.draws.device, self.held is not None
        self.optimizer.zero_grad(set_to_none=True)
        kept, which = torch.rand(2, len(codes), generator=draws, device=place)
        codes = rolled(codes, valid, draws) if config.roll else codes.long()
        sequence, n_frames, *told = self._told(codes, valid, numbers, 0, which, kept >= config.class_dropout)
        sums = self.objective(sequence, *told)
        self.fabric.backward(sums.sum() / (n_frames * self._n_levels))
        clip = config.grad_clip
        self.fabric.clip_gradients(self.objective, self.optimizer, max_norm=clip, error_if_nonfinite=not on_gpu)
        return torch.stack([sums.detach().double(), n_frames.double().expand_as(sums)], 1)

    def _told(
        self, codes: Tensor, valid: Tensor, numbers: Tensor, side: int, which: Tensor, kept: Tensor
    ) -> tuple[Tensor | None, ...]:
        """Return sequence, number of frames, classes, and vectors and mask of the text of clips, on the model's device.

        numbers: of the clips in their side, 0 learnt, 1 watched; which: float in [0, 1), of their descriptions; kept:
        whose class and text are told.
        """
        place, lengths = self.fabric.device, valid.sum(1)
        sequence = self.model.pattern.sequence(codes, lengths, self.model.mask_token).to(place)
        numbers, which, kept = numbers.to(place), which.to(place), kept.to(place)
        classes = self.classes[side][numbers].masked_fill(~kept, self.model.no_class)
        text = self.texts[side].of(numbers, which, kept) if self.texts else (None, None)
        return sequence, lengths.sum().to(place), classes if self.model.config.n_classes else None, *text

    @torch.no_grad()
    def validate(self) -> np.ndarray:
        """Return loss sum and count per level on the watched clips, each with its first description: [n_levels, 2]."""
        model, totals = self.used_model.eval(), torch.zeros(self._n_levels, 2, dtype=torch.float64)
        for start in range(0, len(self.validation_set), self.config.batch_size):
            rows = np.arange(start, min(start + self.config.batch_size, len(self.validation_set)))
            codes, valid, _ = self.validation_set.batch(rows, self.model.mask_token)
            first, all_kept = torch.zeros(len(rows)), torch.ones(len(rows), dtype=torch.bool)
            sequence, n_frames, *told = self._told(codes, valid, torch.from_numpy(rows), 1, first, all_kept)
            with self.fabric.autocast():
                sums = language_losses(model, sequence, *told)
            totals += torch.stack([sums.double(), n_frames.double().expand_as(sums)], 1).cpu()
        self._check_finite(totals)
        return totals.numpy()

    def _identity(self) -> dict:
        """What a saved state must agree with for training to go on from it."""
        return {
            "plan": asdict(self.plan),
            "model": asdict(self.model.config),
            "codec_hash": self.codec_hash,
            "sets": [self.train_set.digest(), self.validation_set.digest(), *self.text_marks],
            "code": _code(),
            "precision": self.precision,
            "codebooks": self.codebooks.digest() if self.codebooks else "",
        }

    def _save_model(self, name: str) -> None:
        facts = {"epoch": self.progress.epoch, "step": self.progress.step, "codec_hash": self.codec_hash}
        facts |= {"window": max(codes.shape[1] for codes in self.train_set.codes)} | self.told
        checkpoint = Checkpoint(self.used_model, self.train_set.categories, facts)
        save_language(self.folder / f"{name}.safetensors", checkpoint)

    def _save_state(self) -> None:
        super()._save_state()
        write_csv(self.table, self.history())


def held_numbers(clips: CodeSet, device: torch.device, mask_token: int) -> HeldCodes:
    """Return codes held on a device, with each clip's number in the place of its class."""
    return HeldCodes(replace(clips, classes=np.arange(len(clips))), device, mask_token)


class RareAverage(WeightAverage):
    """A `WeightAverage` that moves once in `every` steps."""

    def __init__(self, model: nn.Module, decay: float, every: int):
        super().__init__(model, decay)
        self.every = every

    def update(self, model: nn.Module, n_steps: int) -> None:
        """Move the average towards `model`, whose `n_steps`-th step (from 1) has just been taken, if it is time to."""
        n_moves, rest = divmod(n_steps, self.every)
        if not rest:
            super().update(model, n_moves)


def language_optimizer(model: nn.Module, plan: LanguagePlan) -> torch.optim.Optimizer:
    """Return the optimizer of a plan. Raises InputError where Prodigy is asked for and not installed."""
    if not plan.optimizer:
        return make_optimizer(model, plan.shared)
    try:
        from prodigyopt import Prodigy
    except ImportError:
        raise InputError("optimizer='prodigy': not installed; expected it from `pip install prodigyopt`") from None
    given = {"lr": plan.shared.lr, "betas": tuple(plan.shared.betas), "weight_decay": plan.shared.weight_decay}
    return Prodigy(model.parameters(), **given, safeguard_warmup=True)


def language_schedule(
    optimizer: torch.optim.Optimizer, plan: LanguagePlan, n_steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """Return the schedule of a training of `n_steps` steps."""
    if not plan.schedule:
        return make_schedule(optimizer, plan.shared, n_steps)
    n_warmup = plan.shared.warmup_steps or round(plan.shared.warmup_fraction * n_steps)
    shares = {
        "none": lambda step: 1.0,
        "step": lambda step: STEP_FACTOR ** (step // plan.step_every),
        "inverse-root": lambda step: min((step + 1) / max(n_warmup, 1), (max(n_warmup, 1) / (step + 1)) ** 0.5),
    }
    return torch.optim.lr_scheduler.LambdaLR(optimizer, shares[plan.schedule])


def counted_losses(
    train: CodeSet, watched: CodeSet, config: LanguageConfig
) -> tuple[dict[str, float], dict[str, float]]:
    """Return what codes of watched clips cost (nat) by counts of training clips, by level and "all".

    First by the frequency of each code, class by class for a model that is told the class (see `unigram_losses`); then
    by pairs of a code and the one before it at its level, where they were seen, and else by that frequency (see
    `PairCounts`). Pairs are counted in all classes together: class by class they are too few, and guess worse.
    """
    losses = unigram_losses(train, config.codebook_size, config.n_classes > 0)
    totals = np.zeros((config.n_levels, 3))  # unigram, bigram, number of codes
    for level in range(config.n_levels):
        before, after = (
            np.concatenate([np.empty(0, np.int64), *(codes[level, part] for codes in train.codes)])
            for part in (slice(None, -1), slice(1, None))
        )
        pairs = PairCounts(before, after, config.codebook_size)
        for clip, label in zip(watched.codes, watched.classes, strict=True):
            codes = clip[level]
            costs = losses[label, level][codes]
            chances = pairs.chances(codes[:-1], codes[1:], np.exp(-costs[1:]))
            totals[level] += costs.sum(), costs[0] - np.log(chances).sum(), len(codes)
    levels = {str(level): row for level, row in enumerate(totals)} | {"all": totals.sum(0)}
    return tuple({level: float(row[kind] / row[2]) for level, row in levels.items()} for kind in (0, 1))


@cache
def _code() -> str:
    return module_hash(__name__)
