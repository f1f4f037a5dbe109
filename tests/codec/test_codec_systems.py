"""What a codec is measured beside: levels, other codecs, Opus, noise; and how clips reach them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from fakes.codecs import RATE, SampleCodec, noise, tone

from envsound.base.errors import InputError
from envsound.codec import opus, systems
from envsound.codec.distances import log_mel
from envsound.codec.opus import opus_available, through_opus
from envsound.codec.systems import (
    codec_makers,
    codec_names,
    encodec_weights_here,
    equal_batches,
    families,
    noise_like,
    through_codec,
)


def names(codecs) -> list[str]:
    return [system.name for family in families(codecs) for system in family.systems]


@pytest.fixture
def no_opus(monkeypatch):
    monkeypatch.setattr(systems, "opus_available", lambda: False)


@pytest.mark.parametrize("n_samples", [500, 6400])
def test_noise_has_the_length_and_rms_of_the_clip(n_samples):
    clip = tone(n_samples, 440)
    heard = noise_like(clip)
    assert heard.shape == clip.shape and heard.dtype == np.float32
    assert np.sqrt(np.mean(heard**2)) == pytest.approx(np.sqrt(np.mean(clip**2)), rel=0.1)
    assert abs(np.corrcoef(heard, clip)[0, 1]) < 0.15
    assert np.array_equal(heard, noise_like(clip))
    assert not np.array_equal(heard, noise_like(clip, seed=1))


def test_a_clip_keeps_its_length_through_a_codec_and_every_level_adds_something():
    clip, codec = noise(1000), SampleCodec()
    errors = [np.abs(through_codec(clip, codec, n) - clip).max() for n in (1, 2, 3)]
    assert errors[0] <= 1 / 16 and errors[1] <= 1 / 256 and errors[2] <= 1 / 4096 and errors == sorted(errors)[::-1]
    assert np.array_equal(through_codec(clip, codec), through_codec(clip, codec, 4))


def test_systems_are_originals_levels_opus_and_noise(monkeypatch):
    levels = [f"sample, {n}" for n in ("8 levels", "4 levels", "2 levels", "1 level")]
    monkeypatch.setattr(systems, "opus_available", lambda: True)
    expected = ["original", *levels, "Opus, 6 kbit/s", "Opus, 12 kbit/s", "white noise"]
    assert names({"sample": SampleCodec(8)}) == expected


@pytest.mark.parametrize(("n_levels", "expected"), [(1, [1]), (3, [3, 2, 1]), (16, [16, 8, 4, 2, 1])])
def test_a_codec_is_measured_at_all_its_levels_and_at_powers_of_two(no_opus, n_levels, expected):
    members = families({"sample": SampleCodec(n_levels)})[1].systems
    assert [system.n_levels for system in members] == expected
    assert [system.kbps for system in members] == pytest.approx([0.075 * 4 * n for n in expected])  # 4 bits a code


def test_a_codec_encodes_a_batch_once_for_all_its_levels(no_opus):
    codec, batch = SampleCodec(8), np.stack([noise(500), tone(500, 440)])
    heard = list(families({"sample": codec})[1].run(batch))
    assert codec.calls == 1 and len(heard) == 4
    assert np.array_equal(heard[-1][1], through_codec(batch[1], codec, 1))


def test_other_codecs_stand_after_the_first_and_must_have_its_rate(no_opus):
    both = {"one": SampleCodec(2), "other": SampleCodec(1)}
    assert names(both) == ["original", "one, 2 levels", "one, 1 level", "other, 1 level", "white noise"]
    with pytest.raises(InputError, match=r"codec other: 16000 Hz; expected 24000 Hz like one"):
        families(both | {"other": SampleCodec(1, sample_rate=16_000)})


def test_batches_hold_neighbours_of_one_length():
    lengths = [5, 5, 7, 5, 5, 5, 5, 5]
    batches = list(equal_batches([np.full(n, place, np.float32) for place, n in enumerate(lengths)], size=3))
    assert [places for places, _ in batches] == [[0, 1], [2], [3, 4, 5], [6, 7]]
    assert [batch.shape for _, batch in batches] == [(2, 5), (1, 7), (3, 5), (2, 5)]
    assert batches[2][1][:, 0].tolist() == [3, 4, 5]
    assert list(equal_batches([])) == []


def test_clips_are_asked_for_one_batch_at_a_time():
    class Counted(list):
        asked = 0

        def __getitem__(self, place):
            Counted.asked += 1
            return super().__getitem__(place)

    batches = equal_batches(Counted([noise(10)] * 20), size=4)
    next(batches)
    assert Counted.asked == 5  # the fifth told that the batch was full


# EnCodec and files


def test_encodec_counts_as_here_only_with_the_released_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    file = tmp_path / "checkpoints" / "encodec_24khz-d7cc33bc.th"
    assert encodec_weights_here() is None
    file.parent.mkdir()
    file.write_bytes(b"not the weights")
    assert encodec_weights_here() is None and encodec_weights_here(file) is None
    monkeypatch.setattr(systems, "sha256_file", lambda path: systems.RELEASED_SHA256)
    assert encodec_weights_here() == file


def test_makers_load_each_codec_by_name_and_encodec_only_where_it_is(monkeypatch):
    asked = []
    monkeypatch.setattr(systems, "load_codec", lambda *arguments: asked.append(arguments))
    monkeypatch.setattr(systems, "encodec_weights_here", lambda weights: None)
    makers = codec_makers("bundled", ["runs/seanet/codec.safetensors", "mine.safetensors"])
    assert list(makers) == ["bundled", "seanet", "mine"]
    monkeypatch.setattr(systems, "encodec_weights_here", lambda weights: Path("/cache/encodec.th"))
    for make in codec_makers("bundled", ["mine.safetensors"]).values():
        make("cpu")
    assert asked == [
        ("bundled", "", "cpu"), ("mine.safetensors", "", "cpu"), ("encodec_24khz", "/cache/encodec.th", "cpu")
    ]  # fmt: skip
    assert list(codec_makers("encodec_24khz")) == ["encodec_24khz"]


def test_files_of_one_name_are_told_apart_by_their_folders():
    assert codec_names(["bundled", "a/bundled.safetensors"]) == ["bundled", "a/bundled"]
    assert codec_names(["a/x.safetensors", "b/x.safetensors"]) == ["a/x", "b/x"]
    with pytest.raises(InputError, match="two are called 'a/x'"):
        codec_names(["a/x.safetensors", "c/a/x.safetensors"])


# Opus


@pytest.mark.skipif(not opus_available(), reason="opus-tools are not installed")
def test_opus_keeps_a_tone_its_length_and_its_place():
    clip = tone(RATE, 440)
    clip[: RATE // 2] = 0
    heard = through_opus(clip, RATE, 24)
    assert heard.shape == clip.shape and heard.dtype == np.float32
    assert np.corrcoef(heard, clip)[0, 1] > 0.9
    assert np.sqrt(np.mean(heard[: RATE // 2 - 1000] ** 2)) < 0.01


@pytest.mark.skipif(not opus_available(), reason="opus-tools are not installed")
def test_opus_loses_more_at_fewer_bits():
    clip = tone(RATE, 440) + noise(RATE)
    lost = [log_mel(clip, through_opus(clip, RATE, kbps), RATE) for kbps in (6, 48)]
    assert 0 < lost[1] < lost[0]


def test_opus_without_its_tools_says_what_to_install(monkeypatch):
    monkeypatch.setattr(opus.shutil, "which", lambda tool: None)
    assert not opus_available()
    with pytest.raises(InputError, match="install opus-tools"):
        through_opus(noise(100), RATE, 6)
