"""Choosing where to compute, and saying where it was."""

import platform
import random

import numpy as np
import torch

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


def describe_device(device: torch.device) -> str:
    """Return a device's name in words, such as "NVIDIA H100" or "CPU x86_64, 2 threads"."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "mps":
        return f"Apple {platform.machine()} GPU (MPS)"
    return f"CPU {platform.machine()}, {torch.get_num_threads()} threads"


def choose_precision(name: str, device: torch.device) -> str:
    """Return Fabric's precision: "auto" is bf16-mixed where the hardware multiplies bfloat16, else 32-true."""
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "32-true"
    capability = getattr(torch.cpu, "get_capabilities", dict)() if device.type == "cpu" else {}
    return "bf16-mixed" if capability.get("avx512_bf16") or capability.get("amx_bf16") else "32-true"


def set_seed(seed: int) -> torch.Generator:
    """Seed Python, numpy and torch, and return a CPU generator with the same seed."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    return torch.Generator().manual_seed(seed)
