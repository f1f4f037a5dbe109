"""Other threads and an older processor train, sample and measure the same, within the tolerance that README states."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

TESTS = Path(__file__).resolve().parents[1]
# How far a short training may end from that of another processor: each loss and the mean of each metric over its clips
# as shares of themselves, the weights as a share of their norm. A code that is drawn otherwise moves the metrics of its
# clip. Every step adds up rounding: a long training ends elsewhere.
LOSS, WEIGHTS, METRICS = 0.002, 0.001, 0.05
WORKER = """
import sys
import numpy as np
import torch
from dataclasses import replace
from fakes.soundstorm import CPU, TINY, plan
from envsound import load_codec
from envsound.metrics.acoustic import acoustic
from envsound.systems.soundstorm.batches import CodeSet
from envsound.systems.soundstorm.decoding import DecodingConfig, decode
from envsound.systems.soundstorm.training import Trainer

out, folder = sys.argv[1:]
rng = np.random.default_rng(0)
codes = [rng.integers(1024, size=(4, 19)).astype(np.int16) for _ in range(12)]
clips = CodeSet(codes, np.arange(12) % 2, ["dog", "rain"])
shape = replace(TINY, n_levels=4, codebook_size=1024, conv_kernel=7)
sets = {"train": clips, "validation": clips}
trainer = Trainer(**plan(folder, shape, precision="auto", num_epochs=4) | sets)
losses = trainer.fit()["loss"].to_numpy()
weights = torch.cat([value.flatten() for value in trainer.model.state_dict().values()]).numpy()
drawn = decode(trainer.model.eval(), [19] * 4, range(4), DecodingConfig((2, 1, 1, 1)), classes=[0, 1, 0, 1])
codec = load_codec("patches", device="cpu")
sounds = np.asarray(codec.decode(drawn))
metrics = [list(acoustic(clip.ravel(), codec.sample_rate).values()) for clip in sounds]
np.savez(out, losses=losses, weights=weights, drawn=drawn.numpy(), metrics=metrics)
"""
AS_IT_IS = {"OMP_NUM_THREADS": "1"}


def older() -> dict[str, str]:
    """Return what makes torch and oneDNN compute as on an older x86-64 than this one; empty where there is none."""
    below = {"AVX512": ("AVX2", "avx2"), "AVX2": ("SSE41", "default")}.get(torch.backends.cpu.get_cpu_capability())
    return {"ONEDNN_MAX_CPU_ISA": below[0], "ATEN_CPU_CAPABILITY": below[1]} if below else {}


def start(folder: Path, name: str, setting: dict[str, str]) -> subprocess.Popen:
    paths = os.pathsep.join([str(TESTS), str(TESTS.parent / "src")])
    command = [sys.executable, "-c", WORKER, str(folder / f"{name}.npz"), str(folder / name)]
    return subprocess.Popen(
        command, env=os.environ | AS_IT_IS | setting | {"PYTHONPATH": paths}, stderr=subprocess.PIPE
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> dict[str, dict[str, np.ndarray]]:
    """What one training, its samples and their metrics came to, by what it was run on."""
    folder = tmp_path_factory.mktemp("processors")
    settings = {"as it is": {}, "two threads": {"OMP_NUM_THREADS": "2"}, "older": older()}
    running = {name: start(folder, name, setting) for name, setting in settings.items()}
    for name, process in running.items():
        _, errors = process.communicate()
        assert process.returncode == 0, f"{name}: {errors.decode()[-2000:]}"
    return {name: dict(np.load(folder / f"{name}.npz")) for name in settings}


@pytest.mark.parametrize("name", ["two threads", "older"])
def test_another_processor_makes_the_same_within_the_tolerance(made, name):
    if name == "older" and not older():
        pytest.skip("torch has no older kind of this processor")
    one, other = made["as it is"], made[name]
    np.testing.assert_allclose(other["losses"], one["losses"], rtol=LOSS)
    assert np.linalg.norm(other["weights"] - one["weights"]) < WEIGHTS * np.linalg.norm(one["weights"])
    np.testing.assert_allclose(other["metrics"].mean(axis=0), one["metrics"].mean(axis=0), rtol=METRICS)


def test_the_readme_states_the_tolerance():
    stated = " ".join((TESTS.parent / "README.md").read_text(encoding="utf-8").split())
    shares = [f"{100 * share:g}%" for share in (LOSS, WEIGHTS, METRICS)]
    assert "losses within {}, weights within {}, mean metrics of its clips within {}".format(*shares) in stated
