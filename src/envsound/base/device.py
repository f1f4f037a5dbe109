"""Choosing where to compute, and saying where it was."""

import platform
import random
import warnings
from functools import cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from envsound.base.errors import InputError


def choose_device(name: str = "auto") -> torch.device:
    """Return the device called `name`; "auto" takes CUDA, else Apple's MPS, else the CPU.

    Raises InputError when the named device is not there.
    """
    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        name = next(kind for kind, there in available.items() if there)
    if not available.get(name.split(":")[0], False):
        there = ", ".join(kind for kind, ok in available.items() if ok)
        raise InputError(f"device={name!r}: not available here; expected auto or one of: {there}")
    return torch.device(name)


def sent(x: Tensor, device: torch.device) -> Tensor:
    """Return a tensor on a device, without waiting for what the device has yet to do."""
    return x.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else x.to(device)


def describe_device(device: torch.device) -> str:
    """Return a device's name in words, such as "NVIDIA H100" or "CPU x86_64, 2 threads"."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "mps":
        return f"Apple {platform.machine()} GPU (MPS)"
    return f"CPU {platform.machine()}, {torch.get_num_threads()} threads"


def choose_precision(name: str, device: torch.device) -> str:
    """Return Fabric's precision: "auto" is bf16-mixed where the hardware multiplies bfloat16 rightly, else 32-true."""
    if name != "auto":
        return name
    if device.type == "cuda":
        is_fast = torch.cuda.is_bf16_supported()
    else:
        capability = getattr(torch.cpu, "get_capabilities", dict)() if device.type == "cpu" else {}
        is_fast = capability.get("avx512_bf16") or capability.get("amx_bf16")
    return "bf16-mixed" if is_fast and bfloat16_agrees(device.type) else "32-true"


@cache
@torch.inference_mode(False)
@torch.enable_grad()
def bfloat16_agrees(kind: str) -> bool:
    """Say whether a kind of device gives in bfloat16 what it gives in float32, within rounding; warn where it does not.

    Compared on small inputs, values and gradients: a linear layer, attention and a depthwise convolution, which are all
    that is computed in bfloat16 on a processor.
    """
    draws = torch.Generator().manual_seed(0)
    x, weights, kernel = (torch.randn(shape, generator=draws) for shape in ((3, 33, 64), (64, 64), (64, 1, 7)))
    given = [x.to(kind), (weights / 8).to(kind).requires_grad_(), (kernel / 3).to(kind).requires_grad_()]
    exact = _small_model(*given)
    with torch.autocast(kind, torch.bfloat16):
        reduced = _small_model(*given)
    agrees = all(bool((a - b).abs().max() <= 0.05 * a.abs().max()) for a, b in zip(exact, reduced, strict=True))
    if not agrees:
        warnings.warn(f"bfloat16 on {kind}: results differ from float32's; computing in float32", stacklevel=2)
    return agrees


def _small_model(x: Tensor, weights: Tensor, kernel: Tensor) -> list[Tensor]:
    """Return values and gradients of a linear layer, attention, and a convolution in time, x [batch, n_frames, dim]."""
    y = F.linear(x, weights)
    heads = y.unflatten(2, (4, 16)).transpose(1, 2)
    seen = F.scaled_dot_product_attention(heads, heads, heads)
    heard = F.conv1d(y.transpose(1, 2), kernel, padding=3, groups=kernel.shape[0])
    gradients = torch.autograd.grad(seen.float().square().sum() + heard.float().square().sum(), [weights, kernel])
    return [part.detach().float() for part in (y, seen, heard, *gradients)]


def set_seed(seed: int) -> torch.Generator:
    """Seed Python, numpy and torch, and return a CPU generator with the same seed."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    return torch.Generator().manual_seed(seed)
