"""Training a FourierCodec: losses, schedule, checkpoints, and what to watch while it learns."""

import copy
import math
import pickle
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm.auto import tqdm

from envsound.codecs.crops import CropSampler
from envsound.codecs.discriminator import (
    MultiScaleDiscriminator,
    adversarial_loss,
    discriminator_loss,
    feature_loss,
)
from envsound.codecs.fourier import FourierCodec, FourierConfig
from envsound.codecs.quantizer import effective_rank, level_gains
from envsound.codecs.spectral_losses import log_mel_distance, spectral_loss
from envsound.errors import InputError
from envsound.files import atomic_path, write_csv


@dataclass(frozen=True)
class CodecTraining:
    """How a codec is trained. Shares are of `n_steps`."""

    n_steps: int = 2400
    batch_size: int = 12
    judged_items: int = 8  # of each batch; the discriminators cost more than the codec
    crop_seconds: float = 1.0  # s
    lr: float = 5e-4
    quantize_from: float = 0.12  # share of the steps trained before the quantizer is switched on
    adversary_from: float = 0.45  # share of the steps trained without discriminators
    level_dropout: float = 0.25  # chance that an item uses only its first levels
    commitment_weight: float = 0.5
    adversary_weight: float = 0.15
    feature_weight: float = 0.3
    grad_clip: float = 1.0
    seed: int = 0
    checkpoint_every: int = 100  # steps


class CodecTrainer:
    """Trains one codec on a list of clips; `run` may be stopped at any time and goes on from the last checkpoint."""

    def __init__(
        self,
        clips: list[np.ndarray],
        categories: list[str],
        held_out: Tensor,
        folder: str | Path,
        training: CodecTraining,
        config: FourierConfig | None = None,
        device: torch.device | None = None,
    ):
        """clips: float32 [n_samples] each; held_out: clips [n, n_samples] watched but never trained on."""
        torch.manual_seed(training.seed)
        self.training, self.folder = training, Path(folder)
        self.device = device or torch.device("cpu")
        self.codec = FourierCodec(config).to(self.device)
        self.adversary = MultiScaleDiscriminator().to(self.device)
        self.held_out = held_out.to(self.device)
        sample_rate, hop = self.codec.config.sample_rate, self.codec.config.hop
        crop_samples = round(training.crop_seconds * sample_rate)
        if crop_samples <= 0 or crop_samples % hop:
            raise InputError(f"crop_seconds={training.crop_seconds}: expected whole frames of {hop} samples")
        self.crops = CropSampler(clips, categories, crop_samples, training.seed)
        self.optimizers = [
            torch.optim.AdamW(module.parameters(), lr=training.lr, betas=(0.8, 0.99), weight_decay=1e-3)
            for module in (self.codec, self.adversary)
        ]
        self.step, self.history = 0, []
        self.quantizing = False
        self._resume()

    @property
    def quantize_step(self) -> int:
        return round(self.training.quantize_from * self.training.n_steps)

    @property
    def adversary_step(self) -> int:
        return round(self.training.adversary_from * self.training.n_steps)

    def run(self, max_seconds: float = float("inf")) -> FourierCodec:
        """Train to `n_steps`, or for `max_seconds`; return the codec. The history is written to training.csv."""
        started = time.perf_counter()
        with tqdm(total=self.training.n_steps, initial=self.step, desc="codec", unit="step") as bar:
            while self.step < self.training.n_steps and time.perf_counter() - started < max_seconds:
                values = self._train_step()
                self.step += 1
                bar.update()
                bar.set_postfix({key: f"{values[key]:.2f}" for key in ("spectral", "commitment")})
                if self.step % self.training.checkpoint_every == 0 or self.step == self.training.n_steps:
                    self.history.append({"step": self.step, **values, **self.watch()})
                    self._checkpoint()
        return self.codec

    def _train_step(self) -> dict[str, float]:
        self._set_lr()
        if self.step >= self.quantize_step and not self.quantizing:
            self._start_quantizing()
        real = self.crops.batch(self.training.batch_size).to(self.device)
        self.codec.train()
        with torch.autocast(self.device.type, torch.bfloat16):
            latents = self.codec.latents(real).float()
            quantized, commitment = latents, latents.new_zeros(())
            if self.quantizing:
                quantized, _, commitment = self.codec.quantizer(latents, self._draw_levels(len(real)))
            fake = self.codec.synthesise(quantized)
        spectral = spectral_loss(real, fake, self.codec.config.sample_rate)
        loss = spectral + self.training.commitment_weight * commitment
        values = {"spectral": spectral.item(), "commitment": commitment.item()}
        if self.step >= self.adversary_step:
            judged = self.training.judged_items
            values["discriminator"], judged_real = self._train_adversary(real[:judged], fake[:judged].detach())
            self.adversary.requires_grad_(False)
            judged_fake = self._judge(fake[:judged])
            self.adversary.requires_grad_(True)
            adversarial, feature = adversarial_loss(judged_fake), feature_loss(judged_real, judged_fake)
            loss = loss + self.training.adversary_weight * adversarial + self.training.feature_weight * feature
            values |= {"adversarial": adversarial.item(), "feature": feature.item()}
        self._optimize(0, self.codec, loss)
        return values

    def _judge(self, clips: Tensor) -> list:
        with torch.autocast(self.device.type, torch.bfloat16):
            return self.adversary(clips)

    def _train_adversary(self, real: Tensor, fake: Tensor) -> tuple[float, list]:
        """Return the loss, and the judgement of the real clips for feature matching to use again."""
        judged_real = self._judge(real)
        loss = discriminator_loss(judged_real, self._judge(fake))
        self._optimize(1, self.adversary, loss)
        return loss.item(), judged_real

    def _optimize(self, which: int, module: torch.nn.Module, loss: Tensor) -> None:
        if not torch.isfinite(loss):
            raise InputError(f"codec training: the loss is {loss.item()} at step {self.step}; try a lower lr")
        module.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), self.training.grad_clip)
        self.optimizers[which].step()

    def _set_lr(self) -> None:
        """Warm up over 2% of the steps, then fall along a cosine to 1% of the peak."""
        done = self.step / self.training.n_steps
        factor = min(1.0, done / 0.02 + 0.01) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self.training.lr * factor

    def _draw_levels(self, batch: int) -> Tensor:
        n_levels = self.codec.quantizer.n_levels
        levels = torch.randint(1, n_levels + 1, (batch,))
        return torch.where(torch.rand(batch) < self.training.level_dropout, levels, n_levels)

    @torch.no_grad()
    def _start_quantizing(self, n_batches: int = 16) -> None:
        self.codec.eval()
        latents = [
            self.codec.latents(self.crops.batch(self.training.batch_size).to(self.device)) for _ in range(n_batches)
        ]
        flat = torch.cat(latents).transpose(1, 2).flatten(0, 1)
        self.codec.quantizer.initialise(flat)
        self.quantizing = True

    @torch.no_grad()
    def watch(self) -> dict[str, float]:
        """Measure the held-out clips: log-mel distance (dB), latent rank, gain and used codes of every level."""
        self.codec.eval()
        latents = self.codec.latents(self.held_out)
        values = {"latent_rank": effective_rank(latents)}
        quantized = latents
        if self.quantizing:
            codes = self.codec.quantizer.encode(latents)
            quantized = self.codec.quantizer.decode(codes)
            gains = level_gains(latents, self.codec.quantizer)
            for level in range(self.codec.quantizer.n_levels):
                values[f"gain_db_{level}"] = float(gains[level])
                values[f"used_codes_{level}"] = int(codes[:, level].unique().numel())
        fake = self.codec.synthesise(quantized)
        real = torch.nn.functional.pad(self.held_out, (0, fake.shape[1] - self.held_out.shape[1]))
        values["log_mel_distance"] = log_mel_distance(real, fake, self.codec.config.sample_rate)
        return values

    def _checkpoint(self) -> None:
        state = {
            "training": asdict(self.training),
            "config": asdict(self.codec.config),
            "step": self.step,
            "history": copy.deepcopy(self.history),
            "quantizing": self.quantizing,
            "codec": self.codec.state_dict(),
            "averages": [self.codec.quantizer.counts, self.codec.quantizer.sums],
            "adversary": self.adversary.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "torch_rng": torch.get_rng_state(),
            "crop_rng": self.crops.state(),
        }
        with atomic_path(self.folder / "training_state.pt") as temporary:
            torch.save(state, temporary)
        write_csv(self.folder / "training.csv", pd.DataFrame(self.history))

    def _resume(self) -> None:
        path = self.folder / "training_state.pt"
        if not path.exists():
            return
        try:
            state = torch.load(path, map_location=self.device, weights_only=True)
        except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
            raise InputError(f"{path}: cannot be read ({error}); delete it to train from the start") from None
        if (state["training"], state["config"]) != (asdict(self.training), asdict(self.codec.config)):
            raise InputError(f"{path}: was trained with other parameters; choose another folder or delete it")
        self.step, self.history = state["step"], state["history"]
        self.quantizing = state["quantizing"]
        self.codec.load_state_dict(state["codec"])
        self.codec.quantizer.counts.copy_(state["averages"][0])
        self.codec.quantizer.sums.copy_(state["averages"][1])
        self.adversary.load_state_dict(state["adversary"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        torch.set_rng_state(state["torch_rng"].cpu())
        self.crops.restore(state["crop_rng"])
