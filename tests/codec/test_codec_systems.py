"""What a codec is measured beside: levels, other codecs, Opus, noise; how clips reach them, and what is heard."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import soundfile
from fakes.codecs import RATE, SampleCodec, noise, tone

from envsound.base.errors import InputError
from envsound.base.files import read_csv
from envsound.codec import systems as module
from envsound.codec.distances import log_mel
from envsound.codec.systems import equal_batches, noise_like, opus_available, systems, through_codec, through_opus


@pytest.fixture
def no_opus(monkeypatch):
    monkeypatch.setattr(module, "opus_available", lambda: False)


def test_noise_has_the_length_and_rms_of_the_clip():
    clip = tone(6400, 440)
    heard = noise_like(clip)
    assert heard.shape == clip.shape and heard.dtype == np.float32
    assert np.sqrt(np.mean(heard**2)) == pytest.approx(np.sqrt(np.mean(clip**2)), rel=0.1)
    assert abs(np.corrcoef(heard, clip)[0, 1]) < 0.15
    assert np.array_equal(heard, noise_like(clip)) and not np.array_equal(heard, noise_like(clip, seed=1))


def test_a_clip_keeps_its_length_through_a_codec_and_every_level_adds_something():
    clip, codec = noise(1000), SampleCodec()
    errors = [np.abs(through_codec(clip, codec, n) - clip).max() for n in (1, 2, 3)]
    assert all(error <= 16.0**-n for n, error in enumerate(errors, 1)) and errors == sorted(errors)[::-1]
    assert np.array_equal(through_codec(clip, codec), through_codec(clip, codec, 4))


@pytest.mark.parametrize(("n_levels", "expected"), [(1, [1]), (3, [3, 2, 1]), (16, [16, 8, 4, 2, 1])])
def test_a_codec_is_measured_at_all_its_levels_and_at_powers_of_two(no_opus, n_levels, expected):
    members = [system for system in systems({"sample": SampleCodec(n_levels)}) if system.codec]
    assert [system.n_levels for system in members] == expected
    assert [system.kbps for system in members] == pytest.approx([0.075 * 4 * n for n in expected])  # 4 bits a code


def test_systems_change_every_clip_of_a_batch(no_opus):
    codec, batch = SampleCodec(2), np.stack([noise(500), tone(500, 440)])
    original, whole, coarse, white = (system.change(batch) for system in systems({"sample": codec}))
    assert np.array_equal(original, batch) and np.array_equal(white[1], noise_like(batch[1]))
    assert np.array_equal(whole[1], through_codec(batch[1], codec))
    assert np.array_equal(coarse[0], through_codec(batch[0], codec, 1))


def test_other_codecs_stand_after_the_first_and_must_have_its_rate(monkeypatch):
    monkeypatch.setattr(module, "opus_available", lambda: True)
    both = {"one": SampleCodec(2), "other": SampleCodec(1)}
    codecs, opus = ["one, 2 levels", "one, 1 level", "other, 1 level"], ["Opus, 6 kbit/s", "Opus, 12 kbit/s"]
    assert [system.name for system in systems(both)] == ["original", *codecs, *opus, "white noise"]
    with pytest.raises(InputError, match=r"codec other: 16000 Hz; expected 24000 Hz like one"):
        systems(both | {"other": SampleCodec(1, sample_rate=16_000)})


def test_batches_hold_neighbours_of_one_length_and_ask_for_no_more_clips():
    lengths, asked = [5, 5, 7, 5, 5, 5, 5, 5], []
    batches = list(equal_batches([np.full(n, place, np.float32) for place, n in enumerate(lengths)], size=3))
    assert [places for places, _ in batches] == [[0, 1], [2], [3, 4, 5], [6, 7]]
    assert [batch.shape for _, batch in batches] == [(2, 5), (1, 7), (3, 5), (2, 5)]
    assert batches[2][1][:, 0].tolist() == [3, 4, 5] and list(equal_batches([])) == []
    next(equal_batches((asked.append(place) or noise(10) for place in range(20)), size=4))
    assert len(asked) == 5  # the fifth told that the batch was full


@pytest.mark.skipif(not opus_available(), reason="opus-tools are not installed")
def test_opus_keeps_a_tone_its_length_and_its_place_and_loses_more_at_fewer_bits():
    clip = tone(RATE, 440)
    clip[: RATE // 2] = 0
    heard = through_opus(clip, RATE, 24)
    assert heard.shape == clip.shape and heard.dtype == np.float32
    assert np.corrcoef(heard, clip)[0, 1] > 0.9 and np.sqrt(np.mean(heard[: RATE // 2 - 1000] ** 2)) < 0.01
    spoilt = tone(RATE, 440) + noise(RATE)
    lost = [log_mel(spoilt, through_opus(spoilt, RATE, kbps), RATE) for kbps in (6, 48)]
    assert 0 < lost[1] < lost[0]


def test_opus_without_its_tools_says_what_to_install(monkeypatch):
    monkeypatch.setattr(module.shutil, "which", lambda tool: None)
    assert not opus_available()
    with pytest.raises(InputError, match="install opus-tools"):
        through_opus(noise(100), RATE, 6)


def test_opus_that_fails_is_named(monkeypatch):
    monkeypatch.setattr(module.shutil, "which", lambda tool: tool)
    result = SimpleNamespace(returncode=1, stderr="out of memory ")
    monkeypatch.setattr(module.subprocess, "run", lambda *command, **options: result)
    with pytest.raises(InputError, match=r"opusenc: failed on a clip of 100 samples \(out of memory\)"):
        through_opus(noise(100), RATE, 6)


def test_opus_is_set_to_the_nearest_rate_it_has():
    assert [module.opus_kbps(SampleCodec(n)) for n in (8, 40, 100)] == [6, 12, 30]  # 0.3 kbit/s a level


@pytest.fixture
def examples_of(monkeypatch, tmp_path):
    """Write so many examples of three clips of two classes; Opus halves what it is given."""
    monkeypatch.setattr(module, "opus_available", lambda: True)
    monkeypatch.setattr(module, "through_opus", lambda clip, rate, kbps: clip / 2)
    table = pd.DataFrame({"clip_id": ["x/1", "x/2", "y"], "category": ["noise", "noise", "tone"]})
    recordings = SimpleNamespace(load=lambda clip_id: noise(500, seed=len(clip_id)))
    return lambda n: module.write_examples(SampleCodec(4), "sample", recordings, table, tmp_path, n)


def test_examples_take_classes_in_turn_and_forget_older_ones_but_nobody_s_own(examples_of, tmp_path):
    examples_of(3)
    (tmp_path / "mine.wav").write_bytes(b"")
    assert examples_of(1)["clip"].tolist() == ["x/1"] and len(list(tmp_path.glob("*.wav"))) == 4 + 1
    (tmp_path / "mine.wav").unlink()
    examples = examples_of(3)
    names = [f"{clip}_{kind}" for clip in ("x_1", "x_2", "y") for kind in ("2_levels", "codec", "opus", "original")]
    assert examples["clip"].tolist() == ["x/1", "y", "x/2"]
    assert sorted(path.stem for path in tmp_path.glob("*.wav")) == names
    assert read_csv(tmp_path / "examples.csv").equals(examples)
    first = examples.iloc[0]
    sounds = {kind: soundfile.read(tmp_path / first[kind])[0] for kind in ("original", "codec", "opus")}
    assert np.abs(sounds["codec"] - sounds["original"]).max() < 2e-4
    assert sounds["opus"] == pytest.approx(sounds["original"] / 2, abs=1e-4)


def test_examples_without_opus_or_without_number(examples_of, no_opus, tmp_path):
    assert examples_of(1)["opus"].tolist() == [""] and not list(tmp_path.glob("*opus.wav"))
    assert examples_of(0).empty
    with pytest.raises(InputError, match="n_examples=-1"):
        examples_of(-1)
