"""Training the decoder of patch tokens. No step reads anything back from the device: totals do, every `watch_every`."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm.auto import tqdm

from envsound.base.errors import InputError
from envsound.base.files import sha256_bytes, write_csv
from envsound.base.tensors import save_state
from envsound.codec.decoder import DecoderConfig, MelDecoder
from envsound.codec.patches import PatchCodec, PatchQuantizer
from envsound.codec.spectra import expected_power, frame_spectra, from_spectra, likelihood_loss
from envsound.codec.stored import patch_codec, save_patches
from envsound.codec.training.bank import ClipBank
from envsound.codec.training.losses import (
    Balancer,
    Jury,
    adversarial_loss,
    discriminator_loss,
    energy_losses,
    feature_loss,
    level_difference,
    log_mel_distance,
)
from envsound.codec.training.trainer import read_state

STATE, TABLE, CODEC = "decoder_training.pt", "training.csv", "decoder.safetensors"
JUDGED_RMS, QUIET_RMS = 0.1, 0.01  # discriminators hear crops at the first level, quieter ones than the second lower
Measure = Callable[[Tensor, Tensor, int], Mapping[str, Tensor]]
LOSSES = ("distance", "spectral", "waveform", "likelihood", "discriminator", "adversarial", "feature")


@dataclass(frozen=True)
class DecoderTraining:
    """How a decoder is trained. Shares are of the whole training; weights share out the gradient (see `Balancer`)."""

    n_steps: int = 12_000
    max_seconds: float = math.inf  # of training; the schedule goes by the larger of both shares
    batch_size: int = 32
    judged_items: int = 16  # of each batch; the discriminators cost more than the decoder
    crop_columns: int = 20  # columns of codes, 1.07 s
    judge_channels: int = 16
    lr: float = 5e-4  # highest, of the decoder
    judge_lr: float = 3e-4  # highest, of the discriminators
    warm_up: int = 200  # steps
    quantized_share: float = 0.8  # of the crops; the others are heard through what was measured
    adversary_from: float = 0.1  # share trained without discriminators
    heard_from: float = 0.13  # share after which the decoder begins to listen to them
    heard_fully: float = 0.25  # share after which it listens with the whole weight
    likelihood_weight: float = 2.0  # outside the balancer: it knows no waveform
    spectral_weight: float = 1.0
    waveform_weight: float = 0.05
    adversarial_weight: float = 0.15  # with more, a short training undid what the spectra had taught
    feature_weight: float = 0.3
    grad_clip: float = 1.0
    average: float = 0.999  # of the weights that are kept, a step
    seed: int = 0
    watch_every: int = 400  # steps


class DecoderTrainer:
    """Trains one decoder; `run` may be stopped at any time and goes on from the last checkpoint in its folder."""

    def __init__(
        self,
        clips: Sequence[np.ndarray],
        held_out: Tensor,
        quantizer: PatchQuantizer,
        folder: str | Path,
        training: DecoderTraining | None = None,
        config: DecoderConfig | None = None,
        device: torch.device | None = None,
        measure: Measure | None = None,
    ):
        """clips: float32 [n_samples] each, none of the held-out fold; held_out: clips [n, n_samples] to watch.

        measure: what else to say of held-out clips and of how they are heard, at a sample rate: names to values [n].
        """
        self.training, self.folder = training or DecoderTraining(), Path(folder)
        self.device, self.measure = device or torch.device("cpu"), measure
        self.quantizer = quantizer.to(self.device).requires_grad_(False)
        self.held_out = held_out.to(self.device)
        patches = quantizer.config
        crop_samples = self.training.crop_columns * patches.column
        self.bank = ClipBank(clips, patches.sample_rate, crop_samples, self.device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.training.seed)
            self.decoder = MelDecoder(patches, config).to(self.device)
            self.averaged = MelDecoder(patches, config).to(self.device).requires_grad_(False)
            self.jury = Jury(self.training.judge_channels).to(self.device)
        self.averaged.load_state_dict(self.decoder.state_dict())
        self.optimizers = [
            torch.optim.AdamW(module.parameters(), lr=lr, betas=(0.8, 0.99), weight_decay=1e-3, fused=True)
            for module, lr in ((self.decoder, self.training.lr), (self.jury, self.training.judge_lr))
        ]
        names = ("spectral", "waveform", "adversarial", "feature")
        self.balancer = Balancer({n: getattr(self.training, f"{n}_weight") for n in names}, reference="spectral")
        self.generator = torch.Generator(self.device).manual_seed(self.training.seed)
        self.step, self.seconds, self.history = 0, 0.0, []
        self.losses: dict[str, list[Tensor]] = {}  # of the steps since the last look, on the device
        self._resume()

    def run(self, max_seconds: float = math.inf) -> MelDecoder:
        """Train to the end of the plan, or for `max_seconds` from now; return the averaged decoder.

        Every `watch_every` steps, and at the end, the folder gets the codec so far, the table of losses and vital
        signs, and a checkpoint.
        """
        started, until, plan = time.perf_counter() - self.seconds, self.seconds + max_seconds, self.training
        with tqdm(total=plan.n_steps, initial=self.step, desc="decoder", unit="step", mininterval=10) as bar:
            while self.seconds < until and not self.finished:
                self._train_step(max(self.step / plan.n_steps, self.seconds / plan.max_seconds))
                self.step += 1
                self.seconds = time.perf_counter() - started
                bar.update()
                if self.step % plan.watch_every == 0:
                    self._watch()
        if not self.history or self.history[-1]["step"] != self.step:
            self._watch()
        return self.averaged

    @property
    def finished(self) -> bool:
        """Whether the plan's steps or seconds are used up."""
        return self.step >= self.training.n_steps or self.seconds >= self.training.max_seconds

    def _train_step(self, progress: float) -> None:
        self._set_rates(progress)
        real = self._crops()
        with self._half():
            decoded = self.decoder(self._log_mel(real))
        fake = self.decoder.render(decoded, self._noise(real))
        with torch.no_grad():
            twin = self.decoder.render(decoded, self._noise(real))
        losses = energy_losses(real, fake, twin, self.bank.sample_rate)
        losses["likelihood"] = likelihood_loss(expected_power(decoded), self._spectra(real))
        gradients = {n: torch.autograd.grad(losses[n], fake, retain_graph=True)[0] for n in ("spectral", "waveform")}
        if progress >= self.training.adversary_from:
            judged, more = self._judge(real, fake.detach(), progress)
            gradients |= judged
            losses |= more
        self.decoder.zero_grad(set_to_none=True)
        inner = self.training.likelihood_weight * losses["likelihood"]
        torch.autograd.backward([fake, inner], [self.balancer.combine(gradients), torch.ones_like(inner)])
        self._optimize(0, self.decoder)
        self._average()
        for name, loss in losses.items():
            self.losses.setdefault(name, []).append(loss.detach().float())

    def _crops(self) -> Tensor:
        """Draw crops [batch, n_samples] without what lies above the coded bins: no discriminator is to see it miss."""
        crops = self.bank.draw(self.training.batch_size, self.generator)
        return from_spectra(self._spectra(crops), self.decoder.window, self.decoder.patches.hop)

    def _spectra(self, clips: Tensor) -> Tensor:
        return frame_spectra(clips, self.decoder.window, self.decoder.patches.hop, self.decoder.patches.n_bins)

    @torch.no_grad()
    def _log_mel(self, clips: Tensor) -> Tensor:
        """Return what the decoder hears of clips: log-mel that went through codes, and some that did not."""
        log_mel = self.quantizer.log_mel(clips)
        quantized = self.quantizer.decode(self.quantizer.encode(log_mel))
        chosen = torch.rand(len(clips), 1, 1, generator=self.generator, device=self.device)
        return torch.where(chosen < self.training.quantized_share, quantized, log_mel)

    def _noise(self, like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=self.generator, device=self.device)

    def _half(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda")

    def _judge(self, real: Tensor, fake: Tensor, progress: float) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Update the discriminators; return the gradients [batch, n_samples] they send back, and the losses.

        One pass over real and decoded clips serves both sides; each is moved by what the other was before the step.
        The gradients grow from nothing between `heard_from` and `heard_fully`.
        """
        plan, n = self.training, self.training.judged_items
        gain = JUDGED_RMS / real[:n].square().mean(1, keepdim=True).sqrt().clamp(min=QUIET_RMS)
        heard = fake[:n].clone().requires_grad_(True)
        with self._half():
            of_real, of_fake = self.jury(gain * real[:n]), self.jury(gain * heard)
            losses = {"adversarial": adversarial_loss(of_fake), "feature": feature_loss(of_real, of_fake)}
            against = discriminator_loss(of_real, of_fake)
        share = min(1.0, (progress - plan.heard_from) / max(plan.heard_fully - plan.heard_from, 1e-9))
        gradients = {}
        for name, loss in losses.items() if share > 0 else ():
            gradient = torch.autograd.grad(loss, heard, retain_graph=True)[0]
            gradients[name] = torch.nn.functional.pad(gradient, (0, 0, 0, len(fake) - len(heard)))
        self.balancer.weights |= {name: share * getattr(plan, f"{name}_weight") for name in gradients}
        self.jury.zero_grad(set_to_none=True)
        against.backward(inputs=list(self.jury.parameters()))
        self._optimize(1, self.jury)
        return gradients, {**losses, "discriminator": against}

    def _optimize(self, which: int, module: torch.nn.Module) -> None:
        torch.nn.utils.clip_grad_norm_(module.parameters(), self.training.grad_clip)
        self.optimizers[which].step()

    @torch.no_grad()
    def _average(self) -> None:
        weight = 1 - min(self.training.average, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(list(self.averaged.parameters()), list(self.decoder.parameters()), weight)

    def _set_rates(self, progress: float) -> None:
        """Warm up over `warm_up` steps, then fall along a cosine to 2% of the peak."""
        cosine = 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
        factor = min(1.0, (self.step + 1) / self.training.warm_up) * cosine
        for optimizer, peak in zip(self.optimizers, (self.training.lr, self.training.judge_lr), strict=True):
            for group in optimizer.param_groups:
                group["lr"] = peak * factor

    def _watch(self) -> None:
        """Write down where the training is: losses since the last time, vital signs, codec, checkpoint."""
        means = {name: float(torch.stack(self.losses[name]).mean()) for name in LOSSES if name in self.losses}
        for name, mean in means.items():
            if not math.isfinite(mean):
                raise InputError(f"decoder training: {name} is {mean} before step {self.step}; try a lower lr")
        self.losses.clear()
        signs = decoder_signs(patch_codec(self.quantizer, self.averaged), self.held_out, self.measure)
        self.history.append({"step": self.step, "seconds": self.seconds, **means, **signs})
        save_patches(self.folder / CODEC, self.quantizer, self.averaged)
        write_csv(self.folder / TABLE, pd.DataFrame(self.history))
        self._checkpoint()

    def _parts(self) -> dict[str, torch.nn.Module]:
        return {"decoder": self.decoder, "averaged": self.averaged, "jury": self.jury}

    def _identity(self) -> list:
        vectors = sha256_bytes(self.quantizer.vectors.cpu().numpy().tobytes())
        return [vectors, asdict(self.decoder.config), asdict(self.training)]

    def _checkpoint(self) -> None:
        state = {
            "identity": self._identity(),
            "step": self.step,
            "seconds": self.seconds,
            "history": self.history,
            "modules": {name: module.state_dict() for name, module in self._parts().items()},
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "balancer": self.balancer.norms,
            "generator": self.generator.get_state(),
        }
        save_state(self.folder / STATE, state)

    def _resume(self) -> None:
        state = read_state(self.folder / STATE, self._identity(), self.device)
        if state is None:
            return
        self.step, self.seconds, self.history = state["step"], state["seconds"], state["history"]
        for name, module in self._parts().items():
            module.load_state_dict(state["modules"][name])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.balancer.norms = state["balancer"]
        self.generator.set_state(state["generator"].cpu())


@torch.no_grad()
def decoder_signs(codec: PatchCodec, clips: Tensor, measure: Measure | None = None) -> dict[str, float]:
    """Code and decode held-out clips [n, n_samples], on the codec's device, and measure what is heard.

    Returns log_mel_distance (dB), level_difference (dB, decoded minus original, median over clips), and the means over
    clips of what `measure` returns.
    """
    heard = codec.decode(codec.encode(clips))[:, : clips.shape[1]]
    signs = {
        "log_mel_distance": log_mel_distance(clips, heard, codec.sample_rate),
        "level_difference": level_difference(clips, heard),
    }
    more = measure(clips, heard, codec.sample_rate) if measure else {}
    return signs | {name: float(value.nanmean()) for name, value in more.items()}
