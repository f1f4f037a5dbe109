"""Sampling: who is asked for what, files and rows, and going on after an interruption."""

import numpy as np
import pytest
import soundfile
import torch

from envsound.base.errors import InputError
from envsound.codec.fourier import FourierCodec, FourierConfig
from envsound.codec.stored import StoredCodec
from envsound.systems.soundstorm.checkpoints import Checkpoint, load_checkpoint, save_checkpoint
from envsound.systems.soundstorm.conformer import MaskedConformer, ModelConfig
from envsound.systems.soundstorm.decoding import DecodingConfig
from envsound.systems.soundstorm.sampling import generate, plan_requests

CONFIG = DecodingConfig((2, 1))


@pytest.fixture(scope="module")
def codec():
    torch.manual_seed(0)
    shape = FourierConfig(
        dim=16, hidden=16, n_encoder_blocks=1, n_decoder_blocks=1, latent_dim=4, n_levels=2, codebook_size=16
    )
    return StoredCodec(FourierCodec(shape), "small", "hash-of-small")


@pytest.fixture(scope="module")
def checkpoint():
    torch.manual_seed(0)
    shape = ModelConfig(n_levels=2, codebook_size=16, dim=16, n_layers=1, n_heads=2, conv_kernel=5, n_classes=2)
    return Checkpoint(MaskedConformer(shape).eval(), ["dog", "rain"], {"codec_hash": "hash-of-small"})


def requests(n=3, **options):
    return plan_requests(n, 0, ["dog", "rain"], "", np.array([10, 20]), 0, **options)


def test_classes_come_in_turn_and_lengths_from_the_training_clips():
    planned = plan_requests(7, 3, ["dog", "rain", "clock"], "", np.array([10, 20]), 0)
    assert [r.category for r in planned] == ["dog", "rain", "clock", "dog", "rain", "clock", "dog"]
    assert {r.n_frames for r in planned} <= {10, 20} and len({r.seed for r in planned}) == 7
    assert planned == plan_requests(7, 3, ["dog", "rain", "clock"], "", np.array([10, 20]), 0)


def test_one_class_and_one_length_can_be_asked_for():
    planned = plan_requests(3, 0, ["dog", "rain"], "rain", np.array([10]), 33)
    assert {(r.category, r.n_frames) for r in planned} == {("rain", 33)}


def test_unknown_class_and_no_samples_are_refused():
    with pytest.raises(InputError, match="dog, rain"):
        plan_requests(3, 0, ["dog", "rain"], "cat", np.array([10]), 0)
    with pytest.raises(InputError, match="unconditional"):
        plan_requests(3, 0, [], "dog", np.array([10]), 0)
    with pytest.raises(InputError, match="n_samples"):
        plan_requests(0, 0, [], "", np.array([10]), 0)


def test_every_clip_is_a_wav_of_the_asked_length_and_a_row(tmp_path, checkpoint, codec):
    planned = requests()
    rows = generate(checkpoint, codec, planned, CONFIG, tmp_path / "samples")
    assert rows["filename"].tolist() == [r.filename for r in planned]
    assert rows["category"].tolist() == ["dog", "rain", "dog"] and rows["seed"].is_unique
    for row in rows.itertuples():
        clip, rate = soundfile.read(tmp_path / "samples" / row.filename)
        assert rate == 24_000 and len(clip) == row.n_frames * 320 and row.seconds == row.n_frames / 75


def test_a_clip_is_the_same_made_alone_and_in_a_batch(tmp_path, checkpoint, codec):
    planned = requests(4)
    generate(checkpoint, codec, planned, CONFIG, tmp_path / "together", batch_size=4)
    generate(checkpoint, codec, planned[2:3], CONFIG, tmp_path / "alone")
    one, other = (soundfile.read(tmp_path / f / planned[2].filename)[0] for f in ("together", "alone"))
    assert np.abs(one - other).max() <= 2 / 32768


def test_goes_on_where_it_was_and_clears_what_is_not_its_own(tmp_path, checkpoint, codec):
    planned, folder = requests(3), tmp_path / "samples"
    generate(checkpoint, codec, planned, CONFIG, folder)
    kept, missing = folder / planned[0].filename, folder / planned[1].filename
    stamp, content = kept.stat().st_mtime_ns, missing.read_bytes()
    missing.unlink()
    generate(checkpoint, codec, planned, CONFIG, folder)
    assert kept.stat().st_mtime_ns == stamp and missing.read_bytes() == content
    generate(checkpoint, codec, planned[:1], CONFIG, folder)
    assert {p.name for p in folder.glob("*.wav")} == {planned[0].filename}


def test_a_codec_of_another_shape_is_refused(tmp_path, checkpoint):
    other = StoredCodec(FourierCodec(FourierConfig(dim=16, hidden=16, latent_dim=4, codebook_size=16)), "other", "x")
    with pytest.raises(InputError, match="2 levels"):
        generate(checkpoint, other, requests(), CONFIG, tmp_path)


def test_checkpoint_round_trip(tmp_path, checkpoint):
    save_checkpoint(tmp_path / "m.safetensors", checkpoint)
    loaded = load_checkpoint(tmp_path / "m.safetensors", torch.device("cpu"), "hash-of-small")
    assert loaded.categories == ["dog", "rain"]
    codes = torch.randint(17, (1, 2, 5))
    assert torch.equal(loaded.model(codes), checkpoint.model(codes))


@pytest.mark.parametrize("content", [None, b"", b"not safetensors at all"])
def test_a_missing_or_damaged_checkpoint_is_one_clear_error(tmp_path, content):
    path = tmp_path / "m.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"m\.safetensors"):
        load_checkpoint(path, torch.device("cpu"))
