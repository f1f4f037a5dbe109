"""Training a texture model: crops, losses, the rise of the prior's weight, and going on after a kill.

Step n draws its crops and noise from (seed, n) alone, so that a state needs weights and optimizers and nothing else.
"""

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm.auto import tqdm

from envsound.base.device import describe_device, sent
from envsound.base.errors import InputError
from envsound.base.files import write_csv
from envsound.base.tensors import load_state, save_state
from envsound.codec.training.losses import (
    Balancer,
    MultiScaleDiscriminator,
    adversarial_loss,
    discriminator_loss,
    energy_losses,
    feature_loss,
    magnitude,
    mel_filters,
)
from envsound.run.identity import module_hash
from envsound.systems.kept import Sounds
from envsound.systems.textures.models import TextureOptions, draw_latents, kl_nats, make_model

WINDOWS, MELS = (2048, 1024, 512, 256, 128), ((2048, 128), (512, 64))  # samples, and mel bands, of the published loss
WEIGHTS = {"spectral": 1.0, "waveform": 0.1, "adversarial": 3.0, "feature": 3.0}  # as published, of VAE-EnCodec
KL_FROM, KL_FULL = 0.1, 0.6  # shares of the steps before and after which the weight of the prior is 0 and whole
KEEP_EVERY = 60.0  # s between two savings
TOLD = ("distance", "kl", "all")
HELD_CROPS = 32  # watched clips, of which the middle is measured
FIRST_CROPS = 128  # of training clips, by which a new model's layers are scaled
STATE, TABLE = "checkpoints/training_state.pt", "training.csv"


def linear_mstft(real: Tensor, other: Tensor, sample_rate: int) -> Tensor:
    """Return the published spectral distance of clips [batch, n_samples]: L1 of magnitudes, not of their logarithms.

    The mean over five windows of spectra and two of mel spectra, each over its bins and frames. Spectra are scaled as
    in `codec.training.losses.magnitude`. It falls with the level of both, and between two noises of one spectrum it is
    0.586 of what silence gets; least not at equal level, but with one 2 dB quieter.
    """
    parts = [F.l1_loss(magnitude(real, n_fft), magnitude(other, n_fft)) for n_fft in WINDOWS]
    for n_fft, n_mels in MELS:
        bank = mel_filters(sample_rate, n_fft, n_mels, real.device)
        parts.append(F.l1_loss(bank @ magnitude(real, n_fft), bank @ magnitude(other, n_fft)))
    return torch.stack(parts).mean()


@dataclass(frozen=True)
class TextureTraining:
    """How long and how fast a texture model learns: keys of a preset."""

    num_epochs: int
    batch_size: int
    lr: float
    max_steps: int
    watch_every: int
    grad_clip: float
    seed: int


class TextureTrainer:
    """Trains one model on the sounds of a run; `fit` may be stopped at any time and goes on from its last state."""

    def __init__(
        self,
        options: TextureOptions,
        training: TextureTraining,
        learnt: Sounds,
        watched: Sounds,
        run: Path,
        device: torch.device,
    ):
        """Raises InputError when a recording to learn from is shorter than an atom."""
        self.options, self.training, self.learnt, self.device = options, training, learnt, device
        self.folder, rate = Path(run), learnt.sample_rate
        self.model = make_model(options, rate, training.seed).to(device)
        hop = self.model.hop
        self.size = round(options.atom_seconds * rate / hop) * hop  # samples of an item
        for name, clip in zip(learnt.names, learnt.clips, strict=True):
            if len(clip) < self.size:
                length = f"{len(clip) / rate:.2f} s"
                raise InputError(f"clip {name}: {length}; expected {self.size / rate:.2f} s or more (atom_seconds)")
        self.held = self._middles(watched)
        n_items = sum(len(clip) // self.size for clip in learnt.clips)
        self.per_epoch = max(1, n_items // training.batch_size)
        self.n_steps = training.num_epochs * self.per_epoch
        self.n_steps = min(self.n_steps, training.max_steps) if training.max_steps else self.n_steps
        with torch.no_grad():
            self.model.measure(self._crops(self._draws(-1), FIRST_CROPS).to(device))
        modules = [self.model]
        if options.synth == "encodec":
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(training.seed)
                modules.append(MultiScaleDiscriminator(WINDOWS, options.judge_channels).to(device))
        self.modules = modules
        self.optimizers = [torch.optim.Adam(module.parameters(), lr=training.lr) for module in modules]
        self.balancer = Balancer(WEIGHTS, reference="spectral")
        self.step, self.seconds, self.history, self.sums, self.trained_on = 0, 0.0, [], [], ""
        self.identity = [asdict(options), asdict(training), learnt.digest(), watched.digest(), module_hash(__name__)]
        self._resume()

    def fit(self) -> pd.DataFrame:
        """Train to the end and return the history, a `training` of `run.contract`; `kl` is in nats an atom."""
        epoch_started = saved = time.perf_counter()
        before = self.seconds
        with tqdm(total=self.n_steps, initial=self.step, desc="texture", unit="step") as bar:
            while self.step < self.n_steps:
                self.sums.append(self._train_step())
                self.step += 1
                bar.update()
                epoch, done = -(-self.step // self.per_epoch), self.step == self.n_steps
                now = time.perf_counter()
                self.seconds = before + now - epoch_started
                if done or (self.step % self.per_epoch == 0 and epoch % self.training.watch_every == 0):
                    self._tell(epoch, self._means())
                    before, epoch_started, self.sums, self.seconds = 0.0, time.perf_counter(), [], 0.0
                if done or now - saved > KEEP_EVERY:
                    if self.sums:
                        self._means()  # nothing that went wrong is kept
                    self._save()
                    saved = time.perf_counter()
        return pd.DataFrame(self.history)

    def _means(self) -> dict[str, float]:
        """Return the means of what steps told since the last time. Raises InputError when one is not finite."""
        means = dict(zip(TOLD, torch.stack(self.sums).mean(0).tolist(), strict=True))
        if not all(map(math.isfinite, means.values())):
            raise InputError(f"texture training: {means} by step {self.step}; try a lower lr")
        return means

    def facts(self) -> dict[str, Any]:
        """Return what the record of a training keeps."""
        sizes = [sum(weights.numel() for weights in module.parameters()) for module in self.modules]
        last = {row["level"]: row["loss"] for row in self.history if row["split"] == "validation"}
        return {
            "n_parameters": sizes[0], "n_parameters_of_judges": sum(sizes[1:]), "n_train_clips": len(self.learnt.clips),
            "steps": self.step, "training_seconds": sum({r["epoch"]: r["seconds"] for r in self.history}.values()),
            "kl_nats_an_atom": last["kl"], "last_validation_loss": last["all"],
            "latents_per_second": self.options.n_latents * self.learnt.sample_rate / self.model.hop,
            "device_used": self.trained_on or describe_device(self.device),
        }  # fmt: skip

    def _train_step(self) -> Tensor:
        """Take one step; return what it tells, TOLD, on the device."""
        draws, self.trained_on = self._draws(self.step), describe_device(self.device)
        real = sent(self._crops(draws, self.training.batch_size), self.device)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self.training.lr * 0.5 * (1 + math.cos(math.pi * self.step / self.n_steps))
        fake, kl, losses = self._losses(real, draws)
        prior = self._kl_weight() * kl / self.options.n_latents
        told = torch.stack([losses["spectral"], kl, losses["spectral"] + prior]).detach()
        self.model.zero_grad(set_to_none=True)
        if self.options.synth == "encodec":
            gradients = {name: torch.autograd.grad(losses[name], fake, retain_graph=True)[0] for name in losses}
            if self.step >= self.options.judged_from * self.n_steps:
                gradients |= self._judge(real, fake.detach())
            torch.autograd.backward([fake, prior], [self.balancer.combine(gradients), torch.ones_like(prior)])
        else:
            (losses["spectral"] + prior).backward()
        self._optimize(0)
        return told

    def _losses(self, real: Tensor, draws: torch.Generator) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Return decoded crops, the divergence from the prior in nats an atom, and distances of the crops."""
        mean, log_variance = self.model.encode(real)
        latents = draw_latents(mean, log_variance, draws)
        fake, kl = self.model.decode(latents, draws), kl_nats(mean, log_variance)
        rate = self.learnt.sample_rate
        if self.options.loss == "linear":
            return fake, kl, {"spectral": linear_mstft(real, fake, rate)}
        twin = None
        if self.options.synth != "encodec":
            with torch.no_grad():
                twin = self.model.decode(latents, draws)
        losses = energy_losses(real, fake, twin, rate)
        return fake, kl, {name: losses[name] for name in ("spectral", "waveform")}

    def _judge(self, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        """Train the discriminators; return the gradients [batch, n_samples] that they send back."""
        heard = fake.requires_grad_(True)
        of_real, of_fake = self.modules[1](real), self.modules[1](heard)
        losses = {"adversarial": adversarial_loss(of_fake), "feature": feature_loss(of_real, of_fake)}
        gradients = {name: torch.autograd.grad(loss, heard, retain_graph=True)[0] for name, loss in losses.items()}
        self.modules[1].zero_grad(set_to_none=True)
        discriminator_loss(of_real, of_fake).backward(inputs=list(self.modules[1].parameters()))
        self._optimize(1)
        return gradients

    def _optimize(self, which: int) -> None:
        torch.nn.utils.clip_grad_norm_(self.modules[which].parameters(), self.training.grad_clip)
        self.optimizers[which].step()

    def _kl_weight(self) -> float:
        """Nothing for the first tenth of the steps, then a linear rise to the whole weight."""
        risen = (self.step / self.n_steps - KL_FROM) / (KL_FULL - KL_FROM)
        return self.options.kl_weight * min(max(risen, 0.0), 1.0)

    @torch.no_grad()
    def _tell(self, epoch: int, means: Mapping[str, float]) -> None:
        """Add an epoch's rows: the means over its training steps, and the same on the middles of watched clips."""
        self.model.eval()
        totals = []
        for batch in self.held.split(self.training.batch_size):
            _, kl, losses = self._losses(batch.to(self.device), self._draws(-2))
            whole = losses["spectral"] + self.options.kl_weight * kl / self.options.n_latents
            totals.append([losses["spectral"].item(), kl.item(), whole.item()])
        self.model.train()
        watched = dict(zip(TOLD, np.mean(totals, 0).tolist(), strict=True))
        for split, found in (("train", means), ("validation", watched)):
            shared = {"epoch": epoch, "split": split, "seconds": self.seconds, "step": self.step}
            self.history += [shared | {"level": name, "loss": loss} for name, loss in found.items()]

    def _draws(self, step: int) -> torch.Generator:
        state = np.random.SeedSequence([self.training.seed, step + 2]).generate_state(1)
        return torch.Generator().manual_seed(int(state[0]))

    def _crops(self, draws: torch.Generator, n: int) -> Tensor:
        """Return crops of random clips from random places, float32 [n, size]."""
        which = torch.randint(len(self.learnt.clips), (n,), generator=draws).tolist()
        places = torch.rand(n, generator=draws).tolist()
        clips = [self.learnt.clips[one] for one in which]
        starts = [int(place * (len(clip) - self.size + 1)) for place, clip in zip(places, clips, strict=True)]
        crops = [clip[start : start + self.size] for start, clip in zip(starts, clips, strict=True)]
        return torch.from_numpy(np.stack(crops))

    def _middles(self, watched: Sounds) -> Tensor:
        long = [clip for clip in watched.clips if len(clip) >= self.size]
        if not long:
            raise InputError(f"watched clips: none of {len(watched.clips)} is {self.options.atom_seconds} s or longer")
        long = long[:: max(1, len(long) // HELD_CROPS)][:HELD_CROPS]
        starts = [(len(clip) - self.size) // 2 for clip in long]
        return torch.from_numpy(np.stack([c[s : s + self.size] for c, s in zip(long, starts, strict=True)]))

    def _save(self) -> None:
        state = {"identity": self.identity, "step": self.step, "seconds": self.seconds, "history": self.history,
                 "sums": self.sums, "trained_on": self.trained_on,
                 "modules": [module.state_dict() for module in self.modules], "balancer": self.balancer.norms,
                 "optimizers": [optimizer.state_dict() for optimizer in self.optimizers]}  # fmt: skip
        save_state(self.folder / STATE, state)
        write_csv(self.folder / TABLE, pd.DataFrame(self.history))

    def _resume(self) -> None:
        state = load_state(self.folder / STATE, self.device)
        if state is None or state["identity"] != self.identity:  # other parameters, sounds or code: start anew
            return
        self.step, self.seconds, self.history = state["step"], state["seconds"], state["history"]
        self.sums, self.balancer.norms, self.trained_on = state["sums"], state["balancer"], state["trained_on"]
        for module, weights in zip(self.modules, state["modules"], strict=True):
            module.load_state_dict(weights)
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
