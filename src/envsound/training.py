"""Training the masked model: a plain loop on Lightning Fabric that can be killed and goes on where it was."""

import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.nn import functional as F
from tqdm.auto import tqdm

from envsound.batches import CodeSet, epoch_batches
from envsound.checkpoints import Checkpoint, save_checkpoint
from envsound.code_identity import module_hash
from envsound.conformer import MaskedConformer, ModelConfig
from envsound.errors import InputError
from envsound.files import atomic_path, write_csv
from envsound.masking import TrainingMask, draw_training_mask

HISTORY = ["epoch", "level", "split", "loss", "n_masked", "lr", "seconds"]


@dataclass(frozen=True)
class TrainingConfig:
    """How the model is trained; the defaults are the published study's."""

    num_epochs: int = 100
    batch_size: int = 8
    lr: float = 1e-4  # peak of the one-cycle schedule
    warmup_fraction: float = 0.3
    grad_clip: float = 1.0  # global norm
    class_dropout: float = 0.1  # share of items trained without their class, for guidance
    prompt_chance: float = 1.0  # share of items with a visible prompt
    max_steps: int = 0  # optimizer steps; 0 = no bound beside the epochs
    precision: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.num_epochs < 1 or self.batch_size < 1 or self.lr <= 0:
            raise InputError("num_epochs, batch_size, lr: expected each above 0")
        if not 0 < self.warmup_fraction < 1:
            raise InputError(f"warmup_fraction={self.warmup_fraction}: expected a share between 0 and 1")


def choose_precision(name: str, device: torch.device) -> str:
    """Return Fabric's precision: "auto" is bf16-mixed where the hardware multiplies bfloat16, else 32-true."""
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "32-true"
    capability = getattr(torch.cpu, "get_capabilities", dict)() if device.type == "cpu" else {}
    return "bf16-mixed" if capability.get("avx512_bf16") or capability.get("amx_bf16") else "32-true"


def masked_loss(model: MaskedConformer, mask: TrainingMask, codes: Tensor, valid: Tensor, classes) -> list[Tensor]:
    """Return the summed cross-entropy (nat) of each level's masked codes, and count them: [(sum, n)] by level.

    Only masked frames of each item's own level count; see `TrainingMask`.
    """
    states = model(mask.inputs, valid, classes)
    sums = []
    for level in range(model.config.n_levels):
        chosen = mask.targets & (mask.levels == level)[:, None]
        scores = model.logits(states[chosen], level).float()
        sums.append(F.cross_entropy(scores, codes[:, level][chosen], reduction="sum"))
    return sums


class Trainer:
    """Trains a MaskedConformer on a run's codes and keeps `training.csv` and the last checkpoint of every epoch.

    A new Trainer on the same folder goes on after the last whole epoch. Every random draw depends on (seed, epoch)
    alone, so an interrupted run ends with the same weights as an uninterrupted one.
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
    ):
        self.train_set, self.validation_set = train, validation
        self.config, self.codec_hash = config, codec_hash
        self.folder, self.table = Path(run_dir) / "checkpoints", Path(run_dir) / "training.csv"
        self.precision = choose_precision(config.precision, device)
        self.fabric = Fabric(accelerator=device.type, devices=1, precision=self.precision)
        torch.manual_seed(config.seed)
        model = MaskedConformer(model_config)
        optimizer = torch.optim.Adam(model.parameters(), lr=config.lr, betas=(0.9, 0.999))
        self.model, self.optimizer = self.fabric.setup(model, optimizer)
        self.model.mark_forward_method("logits")
        self.steps_per_epoch = math.ceil(len(train) / config.batch_size)
        self.n_steps = config.num_epochs * self.steps_per_epoch
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, config.lr, total_steps=self.n_steps + 1, pct_start=config.warmup_fraction
        )
        self.epoch, self.step, self.history = 0, 0, []
        self.identity = self._identity()
        self._resume()

    @property
    def finished(self) -> bool:
        return self.epoch >= self.config.num_epochs or 0 < self.config.max_steps <= self.step

    def fit(self) -> pd.DataFrame:
        """Train to the end and return the history, as in training.csv (columns HISTORY)."""
        with tqdm(total=self.config.num_epochs, initial=self.epoch, desc="training", unit="epoch") as bar:
            while not self.finished:
                self._run_epoch()
                bar.update()
                last = {row["split"]: row["loss"] for row in self.history[-2 * (self._n_levels + 1) :]}
                bar.set_postfix({split: f"{loss:.3f}" for split, loss in last.items()})
        return pd.DataFrame(self.history, columns=HISTORY)

    @property
    def _n_levels(self) -> int:
        return self.model.config.n_levels

    def _run_epoch(self) -> None:
        started, seed = time.perf_counter(), derive_seed(self.config.seed, self.epoch)
        torch.manual_seed(seed)  # dropout
        draws = torch.Generator().manual_seed(seed)
        train = np.zeros((self._n_levels, 2))
        self.model.train()
        lr = self.schedule.get_last_lr()[0]
        batches = epoch_batches(len(self.train_set), self.config.batch_size, self.config.seed, self.epoch)
        for rows in tqdm(batches, total=self.steps_per_epoch, desc=f"epoch {self.epoch + 1}", leave=False):
            train += self._train_step(rows, draws)
            if 0 < self.config.max_steps <= self.step:
                break
        validation = self.validate()
        self.epoch += 1
        seconds = round(time.perf_counter() - started, 3)
        for split, totals in (("train", train), ("validation", validation)):
            self.history += history_rows(self.epoch, split, totals, lr, seconds)
        self._save()

    def _train_step(self, rows: np.ndarray, draws: torch.Generator) -> np.ndarray:
        """Take one optimizer step; return the loss sum and count of every level, float [n_levels, 2]."""
        codes, valid, classes = self._to_device(self.train_set.batch(rows, self.model.mask_token))
        dropped = torch.rand(len(rows), generator=draws) < self.config.class_dropout
        classes = classes.masked_fill(dropped.to(classes.device), self.model.no_class)
        mask = draw_training_mask(codes, valid, self.model.mask_token, draws, self.config.prompt_chance)
        sums, counts = self._losses(mask, codes, valid, classes)
        loss = torch.stack(sums).sum() / counts.sum()
        if not torch.isfinite(loss):
            raise InputError(
                f"training: the loss is {loss.item()} at step {self.step}; try a lower lr ({self.config.lr})"
            )
        self.optimizer.zero_grad(set_to_none=True)
        self.fabric.backward(loss)
        self.fabric.clip_gradients(self.model, self.optimizer, max_norm=self.config.grad_clip)
        self.optimizer.step()
        self.schedule.step()
        self.step += 1
        return np.stack([[float(s.detach()) for s in sums], counts], 1)

    def _losses(self, mask: TrainingMask, codes, valid, classes) -> tuple[list[Tensor], np.ndarray]:
        conditional = self.model.config.n_classes > 0
        sums = masked_loss(self.model, mask, codes, valid, classes if conditional else None)
        per_item = mask.targets.sum(1).cpu().numpy()
        counts = np.bincount(mask.levels.cpu().numpy(), weights=per_item, minlength=self._n_levels)
        return sums, counts

    def _to_device(self, batch: tuple[Tensor, ...]) -> list[Tensor]:
        return [tensor.to(self.fabric.device) for tensor in batch]

    @torch.no_grad()
    def validate(self) -> np.ndarray:
        """Return loss sum and count per level on the validation clips, float [n_levels, 2].

        Clip i is asked for level i mod n_levels, with masks drawn from the seed alone: the same task every epoch.
        """
        self.model.eval()
        draws = torch.Generator().manual_seed(derive_seed(self.config.seed, -1))
        totals = np.zeros((self._n_levels, 2))
        for start in range(0, len(self.validation_set), self.config.batch_size):
            rows = np.arange(start, min(start + self.config.batch_size, len(self.validation_set)))
            codes, valid, classes = self._to_device(self.validation_set.batch(rows, self.model.mask_token))
            levels = torch.from_numpy(rows % self._n_levels)
            mask = draw_training_mask(codes, valid, self.model.mask_token, draws, self.config.prompt_chance, levels)
            sums, counts = self._losses(mask, codes, valid, classes)
            totals += np.stack([[float(s) for s in sums], counts], 1)
        return totals

    def _identity(self) -> dict:
        """What a checkpoint must agree with for training to go on from it."""
        return {
            "training": asdict(self.config),
            "model": asdict(self.model.config),
            "codec_hash": self.codec_hash,
            "train": self.train_set.digest(),
            "validation": self.validation_set.digest(),
            "code": module_hash("envsound.training"),
            "precision": self.precision,
        }

    def _save(self) -> None:
        state = {
            "identity": self.identity,
            "epoch": self.epoch,
            "step": self.step,
            "history": self.history,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
        }
        write_csv(self.table, pd.DataFrame(self.history, columns=HISTORY))
        facts = {"epoch": self.epoch, "step": self.step, "codec_hash": self.codec_hash}
        checkpoint = Checkpoint(self.model.module, self.train_set.categories, facts)
        save_checkpoint(self.folder / "last.safetensors", checkpoint)
        with atomic_path(self.folder / "training_state.pt") as temporary:
            torch.save(state, temporary)

    def _resume(self) -> None:
        path = self.folder / "training_state.pt"
        if not path.exists():
            return
        state = torch.load(path, map_location=self.fabric.device, weights_only=True)
        if state["identity"] != self.identity:
            path.unlink()  # made by other parameters, codes or code: start anew
            return
        self.epoch, self.step, self.history = state["epoch"], state["step"], state["history"]
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self._save()  # a kill may have come between the files of one save


def derive_seed(seed: int, epoch: int) -> int:
    """Return a seed for one epoch that shares nothing with its neighbours'."""
    return int(np.random.SeedSequence([seed, epoch + 1]).generate_state(1)[0])


def history_rows(epoch: int, split: str, totals: np.ndarray, lr: float, seconds: float) -> list[dict]:
    """Turn loss sums and counts [n_levels, 2] into rows of training.csv: each level, then "all"."""
    levels = [*((str(level), *row) for level, row in enumerate(totals)), ("all", *totals.sum(0))]
    return [
        {
            "epoch": epoch,
            "level": level,
            "split": split,
            "loss": float(loss / count) if count else float("nan"),
            "n_masked": int(count),
            "lr": lr,
            "seconds": seconds,
        }
        for level, loss, count in levels
    ]
