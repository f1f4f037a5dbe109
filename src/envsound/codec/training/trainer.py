"""Training a codec: crops, schedule, checkpoints, and the vital signs that are watched while it learns."""

import copy
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm.auto import tqdm

from envsound.base.device import sent
from envsound.base.errors import InputError
from envsound.base.files import write_csv
from envsound.base.tensors import load_state, save_state
from envsound.codec.base import Autoencoder
from envsound.codec.codes import code_usage, count_codes
from envsound.codec.distances import comb_share
from envsound.codec.quantizer import as_vectors, effective_rank, level_gains
from envsound.codec.training.losses import (
    Balancer,
    MultiScaleDiscriminator,
    adversarial_loss,
    discriminator_loss,
    energy_losses,
    feature_loss,
    level_difference,
    log_mel_distance,
)

LOOK_EVERY = 10  # steps between two looks at the losses, for which a GPU has to be waited for


@dataclass(frozen=True)
class CodecTraining:
    """How a codec is trained. Shares are of `n_steps`; the four weights share out the gradient (see `Balancer`)."""

    n_steps: int = 3400
    batch_size: int = 12
    judged_items: int = 6  # of each batch; the discriminators cost more than the codec
    crop_seconds: float = 1.0  # s
    lr: float = 5e-4  # highest, of the codec
    judge_lr: float = 1e-3  # of the discriminators, which have few steps to learn in
    quantize_from: float = 0.06  # share of the steps trained before the quantizer is switched on
    adversary_from: float = 0.8  # share of the steps trained without discriminators
    heard_from: float = 0.85  # share after which the codec listens to them
    level_dropout: float = 0.25  # chance that an item uses only its first levels
    commitment_weight: float = 0.5  # outside the balancer: this loss does not pass through the output
    likelihood_weight: float = 2.0  # outside the balancer as well, of a decoder that has noise
    spectral_weight: float = 1.0
    waveform_weight: float = 0.1
    adversarial_weight: float = 0.1  # EnCodec has 3 and 3 here; its discriminators are large and know what to say,
    feature_weight: float = 0.3  # these are small and short of time: with 0.5 and 1 they undid what was learnt
    grad_clip: float = 1.0
    seed: int = 0
    checkpoint_every: int = 100  # steps


class CodecTrainer:
    """Trains one codec on a list of clips; `run` may be stopped at any time and goes on from the last checkpoint."""

    def __init__(
        self,
        codec: type[Autoencoder],
        clips: list[np.ndarray],
        categories: list[str],
        held_out: Tensor,
        folder: str | Path,
        training: CodecTraining,
        config: object | None = None,
        device: torch.device | None = None,
    ):
        """codec: the generator's class; clips: float32 [n_samples] each; held_out: clips [n, n_samples] to watch."""
        torch.manual_seed(training.seed)
        self.training, self.folder = training, Path(folder)
        self.device = device or torch.device("cpu")
        self.codec = codec(config).to(self.device)
        self.adversary = MultiScaleDiscriminator().to(self.device)
        self.held_out = held_out.to(self.device)
        sample_rate, hop = self.codec.config.sample_rate, self.codec.config.hop
        crop_samples = round(training.crop_seconds * sample_rate)
        if crop_samples <= 0 or crop_samples % hop:
            raise InputError(f"crop_seconds={training.crop_seconds}: expected whole frames of {hop} samples")
        self.crops = CropSampler(clips, categories, crop_samples, training.seed)
        names = ("spectral", "waveform", "adversarial", "feature")
        self.balancer = Balancer({name: getattr(training, f"{name}_weight") for name in names}, reference="spectral")
        self.optimizers = [
            torch.optim.AdamW(module.parameters(), lr=lr, betas=(0.8, 0.99), weight_decay=1e-3)
            for module, lr in ((self.codec, training.lr), (self.adversary, training.judge_lr))
        ]
        starts = (training.quantize_from, training.adversary_from, training.heard_from)
        self.quantize_step, self.adversary_step, self.heard_step = (round(one * training.n_steps) for one in starts)
        self.step, self.history, self.seconds = 0, [], 0.0
        self.quantizing = False
        self._resume()

    def run(self, max_seconds: float = float("inf")) -> Autoencoder:
        """Train to `n_steps`, or for `max_seconds`; return the codec. The history is written to training.csv."""
        started = time.perf_counter()
        before = self.seconds
        with tqdm(total=self.training.n_steps, initial=self.step, desc="codec", unit="step") as bar:
            while not self.finished and time.perf_counter() - started < max_seconds:
                losses = self._train_step()
                self.step += 1
                self.seconds = before + time.perf_counter() - started
                bar.update()
                due = self.step % self.training.checkpoint_every == 0 or self.finished
                if due or self.step % LOOK_EVERY == 0:
                    values = self._seen(losses)
                    bar.set_postfix({key: f"{values[key]:.2f}" for key in ("distance", "commitment")})
                if due:
                    held_out = vital_signs(self.codec, self.held_out, self.quantizing)
                    self.history.append({"step": self.step, "seconds": self.seconds, **values, **held_out})
                    self._checkpoint()
            self._checkpoint()
        return self.codec

    @property
    def finished(self) -> bool:
        """Whether all steps are done."""
        return self.step >= self.training.n_steps

    def _seen(self, losses: dict[str, Tensor]) -> dict[str, float]:
        """Return losses as numbers. Raises InputError when one is not finite."""
        values = dict(zip(losses, torch.stack([loss.float() for loss in losses.values()]).tolist(), strict=True))
        for name, value in values.items():
            if not math.isfinite(value):
                raise InputError(f"codec training: {name} is {value} by step {self.step}; try a lower lr")
        return values

    def _train_step(self) -> dict[str, Tensor]:
        """Take one step; return its losses, scalars on the device."""
        self._set_lr()
        if self.step >= self.quantize_step and not self.quantizing:
            self._start_quantizing()
        real = sent(self.crops.batch(self.training.batch_size), self.device)
        self.codec.train()
        fake, twin, commitment, likelihood = self._decode(real)
        losses = energy_losses(real, fake, twin, self.codec.config.sample_rate)
        gradients = {
            name: torch.autograd.grad(losses[name], fake, retain_graph=True)[0] for name in ("spectral", "waveform")
        }
        told = losses | {"commitment": commitment, "likelihood": likelihood}
        if self.step >= self.adversary_step:
            judged, more = self._judge(real, fake.detach())
            gradients |= judged
            told |= more
        self.codec.zero_grad(set_to_none=True)
        inner = self.training.commitment_weight * commitment + self.training.likelihood_weight * likelihood
        outputs, seeds = [fake], [self.balancer.combine(gradients)]
        if inner.requires_grad:
            outputs.append(inner)
            seeds.append(torch.ones_like(inner))
        torch.autograd.backward(outputs, seeds)
        self._optimize(0, self.codec)
        return {name: loss.detach() for name, loss in told.items()}

    def _decode(self, real: Tensor) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
        """Return decoded clips, the same with other noise (None if there is none), commitment and likelihood loss.

        On a GPU the networks run in bfloat16. The quantizer does not: its search is a difference of large numbers, and
        in bfloat16 it misses the nearest code about once in ten times.
        """
        with self._half():
            latents = self.codec.latents(real)
        latents = latents.float()
        quantized, commitment = latents, latents.new_zeros(())
        if self.quantizing:
            quantized, commitment = self.codec.quantizer(latents, self._draw_levels(len(real)))
        with self._half():
            decoded = self.codec.decode_latents(quantized)
        fake, twin = self.codec.render(decoded, self._noise(real)), None
        if self.codec.stochastic:
            with torch.no_grad():
                twin = self.codec.render(decoded, self._noise(real))
        return fake, twin, commitment, self.codec.likelihood_loss(decoded, real)

    def _half(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type != "cpu")

    def _noise(self, like: Tensor) -> Tensor:
        return sent(torch.randn(like.shape), self.device)  # drawn on the CPU: a checkpoint holds that generator's state

    def _judge(self, real: Tensor, fake: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Update the discriminators; return the gradients [batch, n_samples] they send back, and the losses.

        One pass over real and decoded clips serves both sides; each is moved by what the other was before the step.
        Until the codec listens to them there are no gradients.
        """
        n = self.training.judged_items
        heard = fake[:n].clone().requires_grad_(True)
        with self._half():
            of_real, of_fake = self.adversary(real[:n]), self.adversary(heard)
        losses = {"adversarial": adversarial_loss(of_fake), "feature": feature_loss(of_real, of_fake)}
        listened_to = losses if self.step >= self.heard_step else {}
        gradients = {name: torch.autograd.grad(loss, heard, retain_graph=True)[0] for name, loss in listened_to.items()}
        against = discriminator_loss(of_real, of_fake)
        self.adversary.zero_grad(set_to_none=True)
        against.backward(inputs=list(self.adversary.parameters()))
        self._optimize(1, self.adversary)
        padding = (0, 0, 0, len(fake) - len(heard))
        judged = {name: F.pad(gradient, padding) for name, gradient in gradients.items()}
        return judged, losses | {"discriminator": against}

    def _optimize(self, which: int, module: torch.nn.Module) -> None:
        torch.nn.utils.clip_grad_norm_(module.parameters(), self.training.grad_clip)
        self.optimizers[which].step()

    def _set_lr(self) -> None:
        """The codec's rate: warm up over 2% of the steps, then fall along a cosine to 1% of the peak."""
        done = self.step / self.training.n_steps
        factor = min(1.0, done / 0.02 + 0.01) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))
        for group in self.optimizers[0].param_groups:
            group["lr"] = self.training.lr * factor

    def _draw_levels(self, batch: int) -> Tensor:
        n_levels = self.codec.quantizer.n_levels
        levels = torch.randint(1, n_levels + 1, (batch,))
        return torch.where(torch.rand(batch) < self.training.level_dropout, levels, n_levels)

    @torch.no_grad()
    def _start_quantizing(self, n_batches: int = 16) -> None:
        self.codec.eval()
        crops = (self.crops.batch(self.training.batch_size).to(self.device) for _ in range(n_batches))
        latents = torch.cat([self.codec.latents(batch) for batch in crops])
        self.codec.quantizer.initialise(as_vectors(latents))
        self.quantizing = True

    def _identity(self) -> list:
        return [self.codec.generator, asdict(self.codec.config), asdict(self.training)]

    def _checkpoint(self) -> None:
        state = {
            "identity": self._identity(),
            "step": self.step,
            "seconds": self.seconds,
            "history": copy.deepcopy(self.history),
            "quantizing": self.quantizing,
            "codec": self.codec.state_dict(),
            "averages": [self.codec.quantizer.counts, self.codec.quantizer.sums],
            "adversary": self.adversary.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "balancer": self.balancer.norms,
            "torch_rng": torch.get_rng_state(),
            "crop_rng": self.crops.rng.bit_generator.state,
        }
        save_state(self.folder / "training_state.pt", state)
        write_csv(self.folder / "training.csv", pd.DataFrame(self.history))

    def _resume(self) -> None:
        state = read_state(self.folder / "training_state.pt", self._identity(), self.device)
        if state is None:
            return
        self.step, self.history, self.seconds = state["step"], state["history"], state["seconds"]
        self.quantizing = state["quantizing"]
        self.codec.load_state_dict(state["codec"])
        self.codec.quantizer.counts.copy_(state["averages"][0])
        self.codec.quantizer.sums.copy_(state["averages"][1])
        self.adversary.load_state_dict(state["adversary"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.balancer.norms = state["balancer"]
        torch.set_rng_state(state["torch_rng"].cpu())
        self.crops.rng.bit_generator.state = state["crop_rng"]


def read_state(path: str | Path, identity: list, device: torch.device) -> dict[str, Any] | None:
    """Return the checkpoint of a training, or None where there is none or a damaged one.

    identity: what it must hold under that name. Raises InputError when it holds anything else.
    """
    state = load_state(path, device)
    if state is not None and state.get("identity") != identity:
        raise InputError(f"{path}: was trained with other parameters; choose another folder or delete it")
    return state


class CropSampler:
    """Draws crops of `crop_samples` samples from clips (float32 [n_samples] each, of any length).

    A class is drawn uniformly, then one of its clips, then a start with a chance that grows with the crop's level
    (rms + 0.01 of the clip's loudest); the gain is uniform in -12..+6 dB, bounded so that no peak passes 1.
    """

    def __init__(self, clips: list[np.ndarray], categories: list[str], crop_samples: int, seed: int):
        if not clips or len(clips) != len(categories):
            raise InputError(f"clips: {len(clips)} for {len(categories)} categories; expected as many, at least one")
        self.crop_samples = crop_samples
        self.clips = [np.pad(clip, (0, max(0, crop_samples - len(clip)))) for clip in clips]
        self.rows = [np.flatnonzero(np.array(categories) == name) for name in sorted(set(categories))]
        self.hop = max(1, crop_samples // 10)
        self.chances = [self._start_chances(clip) for clip in self.clips]
        self.rng = np.random.default_rng(seed)

    def _start_chances(self, clip: np.ndarray) -> np.ndarray:
        energy = np.concatenate([[0.0], np.cumsum(clip.astype(np.float64) ** 2)])
        starts = np.arange(0, len(clip) - self.crop_samples + 1, self.hop)
        level = np.sqrt(np.maximum(energy[starts + self.crop_samples] - energy[starts], 0) / self.crop_samples)
        chance = level + 0.01 * level.max() + 1e-9
        return chance / chance.sum()

    def batch(self, size: int) -> Tensor:
        """Return `size` crops, float32 [size, crop_samples] in [-1, 1]."""
        return torch.from_numpy(np.stack([self._crop() for _ in range(size)]))

    def _crop(self) -> np.ndarray:
        row = self.rng.choice(self.rows[self.rng.integers(len(self.rows))])
        start = self.rng.choice(len(self.chances[row]), p=self.chances[row]) * self.hop
        crop = self.clips[row][start : start + self.crop_samples]
        gain = 10 ** (self.rng.uniform(-12, 6) / 20)
        peak = np.abs(crop).max()
        return (crop * min(gain, 1 / max(peak, 1e-6))).astype(np.float32)


@torch.no_grad()
def vital_signs(codec: Autoencoder, clips: Tensor, quantizing: bool) -> dict[str, float]:
    """Measure held-out clips [n, n_samples], all as long as the first.

    Returns log_mel_distance (dB), level_difference (dB, decoded minus original, median over clips), comb_share of
    the originals and of the decoded clips (means over those that are not silent), latent_rank and, once the
    quantizer is on, gain_db, used_codes and perplexity of every level. Many used codes do not exclude a collapse: a
    latent of rank 2 keeps them all in use. Rank and gain do.
    """
    codec.eval()
    latents = codec.latents(clips)
    values: dict[str, float] = {"latent_rank": effective_rank(latents)}
    quantized = latents
    if quantizing:
        codes = codec.quantizer.encode(latents)
        quantized = codec.quantizer.decode(codes)
        gains = level_gains(latents, codec.quantizer)
        usage = code_usage(count_codes(codes.cpu().numpy(), codec.quantizer.codebook_size))
        for level, gain in enumerate(gains.tolist()):
            values[f"gain_db_{level}"] = gain
            values[f"used_codes_{level}"] = int(usage["codes_used"][level])
            values[f"perplexity_{level}"] = float(usage["perplexity"][level])
    decoded = codec.synthesise(quantized)
    real = F.pad(clips, (0, decoded.shape[1] - clips.shape[1]))
    rate = codec.config.sample_rate
    values["log_mel_distance"] = log_mel_distance(real, decoded, rate)
    values["level_difference"] = level_difference(real, decoded)
    for name, heard in (("comb_share_original", real), ("comb_share", decoded)):
        shares = [comb_share(clip, rate, rate / codec.config.hop) for clip in heard.cpu().numpy()]
        values[name] = float(pd.Series(shares).mean())  # without the NaN of silent clips
    return values
