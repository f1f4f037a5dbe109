"""aiSFX: what it hears, and how its weights come from the package; a stand-in of a few weights takes the same path.

The real one is tested where `make judge` has run.
"""

import os
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes.aisfx import WIDTH, make_package
from fakes.codecs import noise, tone
from fakes.sounds import sound

from envsound.base.errors import InputError, NotHere
from envsound.evaluation.spaces import aisfx

ROOT = Path(__file__).parents[2]
RATE = 24_000


def test_levels_are_those_of_weighted_means_of_power_in_mel_bands():
    weights = aisfx.mel_weights()
    assert weights.shape == (96, 1025) and torch.allclose(weights.sum(1), torch.ones(96), atol=1e-5)
    assert float(aisfx.levels(torch.zeros(300_000)).abs().max()) == 0
    heard = aisfx.levels(torch.from_numpy(tone(220_500, 1000 * RATE / 44_100, 1.0)))  # 1 kHz at 44.1 kHz
    assert heard.shape == (217, 96) and 0.9 < float(heard.max()) < 1.05
    loudest = int(heard[100].argmax())
    centre = float((weights[loudest] * torch.arange(1025) * 44_100 / 2048).sum())
    assert abs(centre - 1000) < 40
    assert len(aisfx.levels(torch.ones(10))) == aisfx.SHORTEST


def test_weights_are_converted_once_and_no_trace_of_the_import_stays(tmp_path, monkeypatch):
    package, kept = make_package(tmp_path / "judge"), tmp_path / "kept"
    before = list(sys.path), {name for name in sys.modules if name.startswith("aisfx")}
    first = aisfx.load_aisfx(package, "cpu", kept)
    monkeypatch.setattr(aisfx, "convert", lambda _: pytest.fail("read again"))
    again = aisfx.load_aisfx(package, "cpu", kept)
    assert first.content_hash == again.content_hash and len(list(kept.iterdir())) == 1
    assert (list(sys.path), {name for name in sys.modules if name.startswith("aisfx")}) == before
    clips = [noise(44_100), noise(90_000, 1)]
    points = first.embed(clips, 44_100)
    assert points.shape == (2, WIDTH) and np.array_equal(points[1], again.embed(clips[1:], 44_100)[0])
    for clip, rate, words in ((clips[0], RATE, "hears 44100"), (clips[0][None], 44_100, "clip 0: float32 of shape")):
        with pytest.raises(InputError, match=words):
            first.embed([clip], rate)


class Evil:
    def __reduce__(self):
        return os.mkdir, ("evil",)


@pytest.mark.parametrize("content", [b"", b"<html>", pickle.dumps(Evil(), 2), None])
def test_a_missing_damaged_or_harmful_checkpoint_is_one_line_and_nothing_is_written(content, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotHere, match="make judge"):
        aisfx.load_aisfx("nowhere", "cpu", "cache")
    file = make_package(Path("judge")) / aisfx.CHECKPOINT
    torch.save(({"fc.0": torch.ones(1)}, {}), file) if content is None else file.write_bytes(content)
    with pytest.raises(InputError, match=r"checkpoint\.pth: ") as error:
        aisfx.load_aisfx("judge", "cpu", "cache")
    assert "\n" not in str(error.value) and not Path("cache").exists() and not Path("evil").exists()


@pytest.mark.skipif(not (ROOT / aisfx.FOLDER / "aisfx").is_dir(), reason="`make judge` has not installed aiSFX")
def test_the_real_network_hears_what_it_has_heard_before(tmp_path):
    real = aisfx.load_aisfx(ROOT / aisfx.FOLDER, "cpu", tmp_path)
    assert sum(value.numel() for value in real.network.parameters()) == 4_686_144
    assert real.content_hash.startswith("ae1549f4")
    points = real.embed([sound("rain", 0, 44_100), sound("tick", 0, 44_100)], 44_100)
    assert points.shape == (2, 512) and (points >= 0).all() and np.abs(points[0] - points[1]).max() > 0.1
