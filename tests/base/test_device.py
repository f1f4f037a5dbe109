"""The device is chosen by itself, a named one must be there, and a seed fixes every generator."""

import random

import numpy as np
import pytest
import torch

from envsound.base import device
from envsound.base.device import choose_device, choose_precision, describe_device, set_seed
from envsound.base.errors import InputError


@pytest.mark.parametrize("cuda, mps, expected", [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")])
def test_auto_takes_the_best_there_is(monkeypatch, cuda, mps, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert choose_device("auto").type == expected


def test_a_device_that_is_not_there_is_one_clear_error(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert choose_device("cpu") == torch.device("cpu")
    for name in ("cuda", "cuda:1", "mps", "tpu", ""):
        with pytest.raises(InputError, match="expected auto or one of: cpu"):
            choose_device(name)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("cuda:1") == torch.device("cuda", 1)


def test_devices_are_named_in_words(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "NVIDIA H100")
    assert describe_device(torch.device("cuda")) == "NVIDIA H100"
    assert describe_device(torch.device("mps")).startswith("Apple")
    assert describe_device(torch.device("cpu")).endswith(f"{torch.get_num_threads()} threads")


@pytest.fixture
def fresh():
    device.bfloat16_agrees.cache_clear()
    yield
    device.bfloat16_agrees.cache_clear()


@pytest.fixture
def fast(monkeypatch):
    """A processor that says it multiplies bfloat16."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True}, raising=False)


def test_bfloat16_is_used_where_it_gives_what_float32_gives_and_leaves_every_generator_alone(fast, fresh):
    before = torch.get_rng_state()
    with torch.inference_mode():
        assert choose_precision("auto", torch.device("cpu")) == "bf16-mixed"
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("wrong", [lambda y: y * torch.nan, lambda y: y + 1, lambda y: y * 0])
@pytest.mark.parametrize("path", ["linear", "scaled_dot_product_attention", "conv1d"])
def test_a_reduced_path_that_is_wrong_is_named_once_and_float32_taken(monkeypatch, fast, fresh, path, wrong):
    right = getattr(device.F, path)

    def broken(*given, **more):
        found = right(*given, **more)
        return wrong(found) if torch.is_autocast_enabled("cpu") else found

    monkeypatch.setattr(device.F, path, broken)
    with pytest.warns(UserWarning, match="bfloat16 on cpu: results differ"):
        assert choose_precision("auto", torch.device("cpu")) == "32-true"
    assert choose_precision("auto", torch.device("cpu")) == "32-true"
    assert choose_precision("bf16-mixed", torch.device("cpu")) == "bf16-mixed"  # asked for by name


def test_a_seed_fixes_every_generator():
    def draws(seed: int) -> tuple:
        generator = set_seed(seed)
        return random.random(), np.random.rand(), torch.rand(1).item(), torch.rand(1, generator=generator).item()

    assert draws(5) == draws(5)
    assert all(a != b for a, b in zip(draws(5), draws(2**32 + 6), strict=True))
