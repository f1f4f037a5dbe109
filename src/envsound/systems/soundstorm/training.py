"""Training the masked model: a plain loop on Lightning Fabric that can be killed and goes on where it was."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import LightningEnvironment
from torch import Tensor
from tqdm.auto import tqdm

from envsound.base.device import choose_precision
from envsound.base.errors import InputError
from envsound.base.files import sha256_file, write_csv
from envsound.base.recorded import Recorded
from envsound.base.tensors import load_state, save_state
from envsound.run.identity import module_hash
from envsound.systems.soundstorm.batches import CodeSet, HeldCodes, derive_seed, epoch_batches
from envsound.systems.soundstorm.checkpoints import Checkpoint, save_checkpoint, start_from
from envsound.systems.soundstorm.codebooks import Codebooks, start_from_codebooks, start_heads
from envsound.systems.soundstorm.conformer import MaskedConformer, ModelConfig
from envsound.systems.soundstorm.masking import TrainingMask, draw_levels, draw_training_mask, rolled, with_near_codes
from envsound.systems.soundstorm.objective import (
    HISTORY,
    MaskedObjective,
    by_level,
    history_rows,
    masked_loss,
    unigram_losses,
)
from envsound.systems.soundstorm.optimizing import WeightAverage, make_optimizer, make_schedule
from envsound.systems.soundstorm.plan import Progress, TrainingConfig, check_fit
from envsound.systems.soundstorm.told import Described

SAVE_SECONDS = 300.0  # s between two savings of the state within an epoch


class Trainer:
    """Trains a MaskedConformer on a run's codes; keeps `training.csv` and checkpoints in the run's folder.

    `checkpoints/last.safetensors` holds the weights after the last epoch, `best.safetensors` (with a validation fold)
    those of the epoch with the lowest validation loss. A new Trainer on the same folder goes on after the last step
    that was saved: every random draw depends on the seed and the number of the step alone, so that an interrupted run
    ends with the same weights as an uninterrupted one.
    """

    def __init__(
        self,
        train: CodeSet,
        validation: CodeSet,
        model_config: ModelConfig,
        config: TrainingConfig,
        run_dir: str | Path,
        device: torch.device,
        codec_hash: str = "",
        n_processes: int = 1,
        codebooks: Codebooks | None = None,
        texts: tuple[Described, Described] | None = None,
        told: Mapping[str, Any] | None = None,
    ):
        """n_processes above 1: this process is one of those that `system.trainer_on` has started.

        codebooks: the codec's code vectors, for a config that asks for them. texts: of both sets, for a model that is
        told texts; told: facts that its file keeps, such as which encoder they are from.
        """
        self.train_set, self.validation_set = train, validation
        self.config, self.codec_hash, self.codebooks = config, codec_hash, codebooks
        check_fit(config, model_config, codebooks is not None, texts is not None)
        self.folder, self.table = Path(run_dir) / "checkpoints", Path(run_dir) / "training.csv"
        self.precision = choose_precision(config.precision, device)
        strategy = "ddp" if n_processes > 1 else "auto"
        given = {"devices": n_processes, "precision": self.precision}
        given["plugins"] = LightningEnvironment()  # within a job of SLURM, Fabric would take its one task for all
        self.fabric = Fabric(accelerator=device.type, strategy=strategy, **given)
        self.fabric.launch()
        torch.manual_seed(config.seed)
        model = _first_model(model_config, config, codec_hash, codebooks, train.categories).to(self.fabric.device)
        optimizer, on_gpu = make_optimizer(model, config), self.fabric.device.type == "cuda"
        objective = MaskedObjective(model, config.label_smoothing, dense=on_gpu)
        self.objective, self.optimizer = self.fabric.setup(objective, optimizer)
        self.model = model
        self.told = dict(told or {})
        self.learnt = replace(train, classes=np.arange(len(train))) if texts else train  # numbers, whose texts are told
        self.held = HeldCodes(self.learnt, self.fabric.device, model.mask_token) if on_gpu else None
        drawn_on = self.fabric.device if on_gpu else torch.device("cpu")
        self.draws, self._step = torch.Generator(drawn_on), None
        self.texts = [one.to(drawn_on) for one in texts or ()]
        self.near = codebooks.near.to(drawn_on) if config.near_share else None
        self.shares = torch.tensor(config.level_shares, device=drawn_on) if config.level_shares else None
        self.average = WeightAverage(model, config.ema_decay) if config.ema_decay else None
        self.steps_per_epoch = math.ceil(len(train) / config.batch_size)
        self.schedule = make_schedule(optimizer, config, config.num_epochs * self.steps_per_epoch)
        self.baseline = self._baseline()
        self.progress, self.identity = Progress(), self._identity()
        self._resume()
        if config.compile:
            for block in model.blocks:
                block.compile(dynamic=True)  # clips differ in length

    @property
    def used_model(self) -> MaskedConformer:
        """The model that is validated and saved: the moving average, if there is one."""
        return self.average.model if self.average else self.model

    @property
    def finished(self) -> bool:
        progress, config = self.progress, self.config
        patient = not config.patience or progress.epoch - progress.best_epoch < config.patience
        return (
            progress.epoch >= config.num_epochs or 0 < config.max_steps <= progress.step or not patient
        ) and progress.batch == 0

    def fit(self) -> pd.DataFrame:
        """Train to the end and return the history, as in training.csv (columns HISTORY)."""
        quiet = not self.fabric.is_global_zero
        with tqdm(
            total=self.config.num_epochs, initial=self.progress.epoch, desc="training", unit="epoch", disable=quiet
        ) as bar:
            while not self.finished:
                self._run_epoch(quiet)
                bar.update()
                last = self.progress.history[-2 * (self._n_levels + 1) :]
                seen = {row["split"]: f"{row['loss']:.3f}" for row in last}
                rate = [f"{len(self.train_set) * self.config.watch_every / row['seconds']:.1f}" for row in last[-1:]]
                bar.set_postfix(seen | dict(zip(["clips/s"], rate, strict=False)))
        return pd.DataFrame(self.progress.history, columns=HISTORY)

    @property
    def _n_levels(self) -> int:
        return self.model.config.n_levels

    def _run_epoch(self, quiet: bool) -> None:
        progress, config = self.progress, self.config
        started, before, saved = time.perf_counter(), progress.seconds, time.perf_counter()
        if progress.batch == 0 and not progress.totals:
            progress.lr, progress.totals = self.schedule.get_last_lr()[0], [[0.0, 0.0]] * self._n_levels
        totals = torch.tensor(progress.totals, dtype=torch.float64, device=self.fabric.device)
        self.objective.train()
        batches = list(epoch_batches(len(self.train_set), config.batch_size, config.seed, progress.epoch))
        name = f"epoch {progress.epoch + 1}"
        for rows in tqdm(batches[progress.batch :], desc=name, leave=False, disable=quiet):
            if 0 < config.max_steps <= progress.step:
                break
            totals += self._train_step(rows)
            progress.batch += 1
            if self.held is None:
                self._check_finite(totals)
            if time.perf_counter() - saved > SAVE_SECONDS:
                progress.totals, progress.seconds = totals.tolist(), before + time.perf_counter() - started
                self._save_state()
                saved = time.perf_counter()
        self._check_finite(totals)
        progress.epoch, progress.batch, progress.totals = progress.epoch + 1, 0, totals.tolist()
        if progress.epoch % config.watch_every == 0 or self.finished:
            self._close_epoch(totals.cpu().numpy(), self.validate(), before + time.perf_counter() - started)
        else:
            progress.seconds = before + time.perf_counter() - started

    def _check_finite(self, totals: Tensor) -> None:
        if not bool(totals.isfinite().all()):
            raise InputError(
                f"training: the loss is not finite at step {self.progress.step}; try a lower lr ({self.config.lr})"
            )

    def _close_epoch(self, train: np.ndarray, validation: np.ndarray, seconds: float) -> None:
        progress = self.progress
        progress.seconds, progress.totals = 0.0, []
        facts = {"lr": progress.lr, "seconds": round(seconds, 3)}
        progress.history += history_rows(progress.epoch, "train", train, {}, facts)
        progress.history += history_rows(progress.epoch, "validation", validation, self.baseline, facts)
        loss = progress.history[-1]["loss"]
        if self.config.validation_fold and loss < progress.best_loss:
            progress.best_loss, progress.best_epoch = loss, progress.epoch
            self._save_model("best")
        self._save_model("last")
        self._save_state()

    def _train_step(self, rows: np.ndarray) -> Tensor:
        """Take one optimizer step; return the loss sum and count of every level, float64 [n_levels, 2]."""
        step, recorded = self.progress.step, self._recorded(rows)
        self.draws.manual_seed(derive_seed(self.config.seed, step))
        torch.manual_seed(derive_seed(self.config.seed, step, 1 + self.fabric.global_rank))  # of dropout
        if recorded is None:
            totals = self._gradients(*self._batch(rows))
        else:
            totals, *gradients = recorded(self.held.places(rows))
            for weight, gradient in zip(self.model.parameters(), gradients, strict=True):
                weight.grad = gradient
        self.optimizer.step()
        self.schedule.step()
        self.progress.step += 1
        if self.average:
            self.average.update(self.model, self.progress.step)
        return totals

    def _recorded(self, rows: np.ndarray) -> Recorded | None:
        """Return what does the next step in one call, or None where steps differ in shape.

        Whole batches of held clips of the greatest length are recorded, in one piece and process, blocks not compiled.
        """
        config, held = self.config, self.held
        if held is None or config.compile or len(self._pieces(len(rows))) > 1 or self.fabric.world_size > 1:
            return None
        longest = int(held.lengths.max())
        if len(rows) < config.batch_size or held.lengths[rows].min() < longest:
            return None
        if self._step is None:

            def step(places: Tensor) -> list[Tensor]:
                codes, _, classes = held.chosen(places, longest)
                totals = self._gradients(codes, None, classes)
                return [totals, *(weight.grad for weight in self.model.parameters())]

            self._step = Recorded(step, [held.places(rows)], [self.draws])
        return self._step

    def _batch(self, rows: np.ndarray) -> tuple[Tensor, Tensor | None, Tensor]:
        """Return codes, valid frames and classes of some training clips.

        No valid frames (None) where the clips are held and equally long.
        """
        if self.held is None:
            return self.learnt.batch(rows, self.model.mask_token)
        codes, valid, classes = self.held.batch(rows)
        return codes, None if self.held.even(rows) else valid, classes

    def _gradients(self, codes: Tensor, valid: Tensor | None, classes: Tensor) -> Tensor:
        """Leave the gradients of a batch in the weights, clipped; return its loss sums and counts as `_totals`."""
        on_gpu = self.held is not None
        self.optimizer.zero_grad(set_to_none=True)
        mask, codes, classes = self._masked(codes, valid, classes)
        n_masked = mask.targets.sum() if on_gpu else int(mask.targets.sum())
        pieces = self._pieces(len(codes))
        summed = torch.zeros(self._n_levels, device=self.fabric.device)
        for number, piece in enumerate(pieces):
            with self.fabric.no_backward_sync(self.objective, enabled=number < len(pieces) - 1):
                part, *given = self._piece(mask, codes, valid, classes, piece)
                sums = self.objective(part.inputs, part.targets, part.levels, *given)
                self.fabric.backward(sums.sum() * (self.fabric.world_size / n_masked))  # processes are averaged
            summed += sums.detach()
        clip = self.config.grad_clip
        self.fabric.clip_gradients(self.objective, self.optimizer, max_norm=clip, error_if_nonfinite=not on_gpu)
        return self._totals(summed, mask)

    def _masked(self, codes: Tensor, valid: Tensor | None, classes: Tensor) -> tuple[TrainingMask, Tensor, Tensor]:
        """Return a draw of masks, the codes they hide, and the classes that are told, on the device of `draws`."""
        config, draws, token = self.config, self.draws, self.model.mask_token
        if valid is None:
            valid = torch.ones(len(codes), codes.shape[2], dtype=torch.bool, device=codes.device)
        dropped = torch.rand(len(codes), generator=draws, device=draws.device) < config.class_dropout
        classes = self.texts[0].drawn(classes, draws) if self.texts else classes
        classes = classes.masked_fill(dropped[:, None] if self.texts else dropped, self.model.no_class)
        codes = rolled(codes, valid, draws) if config.roll else codes.long()
        levels = None if self.shares is None else draw_levels(len(codes), self.shares, draws)
        mask = draw_training_mask(codes, valid, token, draws, config.prompt_chance, levels)
        if self.near is not None:
            mask = with_near_codes(mask, self.near, config.near_share, draws)
        return mask, codes, classes

    def _pieces(self, n_rows: int) -> list[slice]:
        """Return the rows of a batch that this process computes, in `accumulate` pieces; one may be empty."""
        parts = np.array_split(np.arange(n_rows), self.fabric.world_size * self.config.accumulate)
        ends = np.cumsum([len(part) for part in parts])
        pieces = [slice(int(end) - len(part), int(end)) for part, end in zip(parts, ends, strict=True)]
        return pieces[self.fabric.global_rank :: self.fabric.world_size]

    def _piece(
        self, mask: TrainingMask, codes: Tensor, valid: Tensor | None, classes: Tensor, rows: slice
    ) -> tuple[TrainingMask, Tensor, Tensor | None, Tensor | None]:
        """Return what the objective takes for some rows of a batch, on the device."""
        place = self.fabric.device
        told = classes[rows].to(place) if self.texts or self.model.config.n_classes else None
        return mask.rows(rows).to(place), codes[rows].to(place), valid if valid is None else valid[rows].to(place), told

    def _totals(self, summed: Tensor, mask: TrainingMask) -> Tensor:
        """Return loss sum and count of every level over all processes, [n_levels, 2]; `mask` is the whole batch's."""
        summed = self.fabric.all_reduce(summed, reduce_op="sum").double()
        counts = by_level(mask.targets.double(), mask.levels, self._n_levels)
        return torch.stack([summed, counts.to(summed.device)], 1)

    @torch.no_grad()
    def validate(self) -> np.ndarray:
        """Return loss sum and count per level on the validation clips, float [n_levels, 2].

        Clip i is asked for level i mod n_levels or, with `every_level`, for all of them, with masks drawn from the seed
        alone: the same task every epoch. It is described by its first text.
        """
        model, totals = self.used_model.eval(), torch.zeros(self._n_levels, 2, dtype=torch.float64)
        for mask, codes, valid, classes, rows in self._validation_batches():
            given = codes, valid, self.texts[1].first(rows) if self.texts else classes
            with self.fabric.autocast():
                parts = (self._piece(mask, *given, piece) for piece in self._pieces(len(mask.levels)))
                summed = torch.stack([masked_loss(model, *part) for part in parts]).sum(0)
            totals += self._totals(summed, mask).cpu()
        self._check_finite(totals)
        return totals.numpy()

    def _validation_batches(self) -> Iterator[tuple[TrainingMask, Tensor, Tensor, Tensor, np.ndarray]]:
        """Yield mask, codes, valid frames, classes and rows of each batch of validation clips."""
        draws = torch.Generator().manual_seed(derive_seed(self.config.seed, -1))
        for start in range(0, len(self.validation_set), self.config.batch_size):
            rows = np.arange(start, min(start + self.config.batch_size, len(self.validation_set)))
            codes, valid, classes = self.validation_set.batch(rows, self.model.mask_token)
            chance, token = self.config.prompt_chance, self.model.mask_token
            asked = [torch.full((len(rows),), level) for level in range(self._n_levels)]
            for levels in asked if self.config.every_level else [torch.from_numpy(rows % self._n_levels)]:
                yield draw_training_mask(codes, valid, token, draws, chance, levels), codes, valid, classes, rows

    def _baseline(self) -> dict[str, float]:
        """Return the loss (nat) of code frequencies on the very codes that `validate` asks for, by level and "all"."""
        shape = self.model.config
        losses = torch.from_numpy(unigram_losses(self.train_set, shape.codebook_size, shape.n_classes > 0))
        totals = torch.zeros(shape.n_levels, 2, dtype=torch.float64)
        for mask, codes, _, classes, _ in self._validation_batches():
            for level, targets, item, label in zip(mask.levels, mask.targets, codes, classes, strict=True):
                cost = losses[label, level][item[level][targets]]
                totals[level] += torch.tensor([cost.sum(), cost.numel()])
        sums, counts = totals.T
        return {str(level): float(sums[level] / counts[level]) for level in range(shape.n_levels)} | {
            "all": float(sums.sum() / counts.sum())
        }

    def _identity(self) -> dict:
        """What a checkpoint must agree with for training to go on from it."""
        return {
            "training": asdict(self.config),
            "model": asdict(self.model.config),
            "codec_hash": self.codec_hash,
            "train": self.train_set.digest(),
            "validation": self.validation_set.digest(),
            "code": module_hash("envsound.systems.soundstorm.training"),
            "initial": sha256_file(self.config.initial_checkpoint) if self.config.initial_checkpoint else "",
            "precision": self.precision,
            "codebooks": self.codebooks.digest() if self.codebooks else "",
            "texts": [one.digest() for one in self.texts],
        }

    def _save_model(self, name: str) -> None:
        if self.fabric.is_global_zero:
            facts = {"epoch": self.progress.epoch, "step": self.progress.step, "codec_hash": self.codec_hash}
            facts["window"] = max(codes.shape[1] for codes in self.train_set.codes)
            checkpoint = Checkpoint(self.used_model, self.train_set.categories, facts | self.told)
            save_checkpoint(self.folder / f"{name}.safetensors", checkpoint)

    def _save_state(self) -> None:
        if not self.fabric.is_global_zero:
            return
        state = {
            "identity": self.identity,
            "progress": asdict(self.progress),
            "model": self.model.state_dict(),
            "average": self.average.model.state_dict() if self.average else None,
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
        }
        write_csv(self.table, pd.DataFrame(self.progress.history, columns=HISTORY))
        save_state(self.folder / "training_state.pt", state)

    def _resume(self) -> None:
        path = self.folder / "training_state.pt"
        state = load_state(path, self.fabric.device)
        if state is None or state["identity"] != self.identity:  # other parameters, codes or code: start anew
            if self.fabric.is_global_zero:
                for stale in (path, self.folder / "best.safetensors"):
                    stale.unlink(missing_ok=True)
            self.fabric.barrier()
            return
        self.progress = Progress(**state["progress"])
        self.model.load_state_dict(state["model"])
        if self.average:
            self.average.model.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        if self.progress.batch == 0:  # a kill may have come between the files of one save
            self._save_model("last")
            self._save_state()


def _first_model(
    shape: ModelConfig,
    config: TrainingConfig,
    codec_hash: str,
    codebooks: Codebooks | None,
    categories: Sequence[str],
) -> MaskedConformer:
    """Return the model that training begins with, on the CPU."""
    model = MaskedConformer(shape)
    if config.start_from_codes:
        start_from_codebooks(model, codebooks, torch.Generator().manual_seed(config.seed))
        start_heads(model)
    if config.initial_checkpoint:
        start_from(model, config.initial_checkpoint, codec_hash, categories)
    return model
