"""Training the VQ-VAE of patch tokens: windows of log-mel, squared error, codebooks as moving averages."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm.auto import tqdm

from envsound.base.errors import InputError
from envsound.codec.decoder import CENTRE, SPREAD
from envsound.codec.patches import LOG_FLOOR, PatchConfig
from envsound.codec.vqvae import PatchVqVae, VqVaeConfig


@dataclass(frozen=True)
class VqVaeTraining:
    """How a VQ-VAE of patches is trained."""

    n_steps: int = 4000
    batch_size: int = 32  # windows
    window: int = 32  # columns, 1.7 s
    lr: float = 2e-3  # highest
    warm_up: int = 100  # steps
    quantize_from: float = 0.1  # share trained before there are codes
    commitment: float = 0.25  # weight of the distance between latents and codes (van den Oord et al. 2017, eq. 3)
    seed: int = 0


def fit_vqvae(
    batches: Iterable[Tensor],
    config: PatchConfig | None = None,
    shape: VqVaeConfig | None = None,
    training: VqVaeTraining | None = None,
) -> PatchVqVae:
    """Return a VQ-VAE trained on clips float32 [batch, n_samples] each, recordings and altered copies, on the CPU.

    Windows that hold nothing but silence are left out. Raises InputError where none is left.
    """
    plan = training or VqVaeTraining()
    with torch.random.fork_rng(devices=[]):  # codebooks and dead codes draw from it
        torch.manual_seed(plan.seed)
        model = PatchVqVae(config or PatchConfig(), shape)
        windows = _windows(model, batches, plan.window)
        optimizer = torch.optim.AdamW(model.parameters(), lr=plan.lr, betas=(0.9, 0.99), weight_decay=1e-3)
        for step in tqdm(range(plan.n_steps), desc="VQ-VAE", unit="step", mininterval=10):
            x = windows[torch.randint(len(windows), (plan.batch_size,))]
            loss = _loss(model, x.float(), plan, step)
            for group in optimizer.param_groups:
                group["lr"] = plan.lr * _factor(step, plan)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
    return model.eval().requires_grad_(False)


@torch.no_grad()
def _windows(model: PatchVqVae, batches: Iterable[Tensor], n_columns: int) -> Tensor:
    """Return windows of patches as the network sees them, overlapping by half, float16 [n, n_levels * dim, columns]."""
    found, silence = [], (LOG_FLOOR - CENTRE) / SPREAD
    for clips in batches:
        patches = model.patches(model.columns(clips))
        lacking = max(0, n_columns - patches.shape[2])
        patches = torch.nn.functional.pad(patches, (0, lacking), value=silence)
        own = patches.unfold(2, n_columns, n_columns // 2).transpose(1, 2).flatten(0, 1)
        found.append(own[own.amax((1, 2)) > silence + 1e-4].half())
    windows = torch.cat(found) if found else torch.zeros(0)
    if not len(windows):
        raise InputError("VQ-VAE: no clip that holds sound; expected recordings to learn from")
    return windows


def _loss(model: PatchVqVae, patches: Tensor, plan: VqVaeTraining, step: int) -> Tensor:
    """Return squared error and commitment of patches [batch, n_levels * dim, n_columns]."""
    latents, first = model.latents(patches), round(plan.quantize_from * plan.n_steps)
    if step < first:
        return (model.decoder(torch.cat(latents, 1)) - patches).square().mean()
    if step == first:
        for own, x in zip(model.quantizers, latents, strict=True):
            own.initialise(x.detach().transpose(1, 2).flatten(0, 1))
    levels = torch.ones(len(patches), dtype=torch.long)
    quantized, committed = zip(*(own(x, levels) for own, x in zip(model.quantizers, latents, strict=True)), strict=True)
    error = (model.decoder(torch.cat(quantized, 1)) - patches).square().mean()
    return error + plan.commitment * torch.stack(committed).mean()


def _factor(step: int, plan: VqVaeTraining) -> float:
    """Return the share of the highest learning rate: a warm-up, then a cosine to 2%."""
    cosine = 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / plan.n_steps))
    return min(1.0, (step + 1) / plan.warm_up) * cosine
