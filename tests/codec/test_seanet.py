"""The time-domain generator: EnCodec's modules behind the study's quantizer, file and interface."""

from dataclasses import replace

import pytest
import torch

from envsound.base.errors import InputError
from envsound.codec.seanet import SeanetCodec, SeanetConfig
from envsound.codec.stored import generator_class, load_stored, save_codec

TINY = SeanetConfig(n_filters=2, latent_dim=8, n_levels=3, codebook_size=16)


@pytest.fixture(scope="module")
def model() -> SeanetCodec:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return SeanetCodec(TINY).eval()


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1)) * 0.2


@pytest.mark.parametrize(("n_samples", "n_frames"), [(1, 1), (320, 1), (321, 2), (24_000, 75)])
@torch.no_grad()
def test_shapes(model, n_samples, n_frames):
    clips = noise(2, n_samples)
    assert model.latents(clips).shape == (2, 8, n_frames)
    codes = model.encode(clips)
    assert codes.shape == (2, 3, n_frames)
    assert model.decode(codes).shape == (2, n_frames * 320)


def test_width_32_is_the_released_model_s_size():
    """14.9 million weights and 8 codebooks of 1024 codes in 128 dimensions (the released file holds 32 of them)."""
    released = SeanetCodec(SeanetConfig(n_filters=32))
    networks = sum(value.numel() for value in released.parameters())
    assert networks / 1e6 == pytest.approx(14.9, abs=0.1)
    assert released.n_parameters() == networks + 8 * 1024 * 128
    assert SeanetCodec().n_parameters() * 2 < 16_000_000  # the default fits the repository


@torch.no_grad()
def test_the_input_gain_is_taken_back_and_there_is_no_noise(model):
    louder = SeanetCodec(replace(TINY, input_gain=10.0)).eval()
    louder.load_state_dict(model.state_dict())
    clips = noise(1, 3200)
    torch.testing.assert_close(louder.latents(clips / 2), model.latents(clips))
    latents = model.latents(clips)
    torch.testing.assert_close(louder.decode_latents(latents) * 2, model.decode_latents(latents))
    decoded = model.decode_latents(latents)
    assert torch.equal(model.render(decoded, noise(1, 3200)), decoded)  # noise is ignored


def test_it_comes_back_from_its_file(model, tmp_path):
    save_codec(tmp_path / "seanet.safetensors", model)
    codec = load_stored(tmp_path / "seanet.safetensors", "seanet", torch.device("cpu"))
    assert codec.model.config == TINY
    assert (codec.frame_rate, codec.n_levels, codec.codebook_size) == (75, 3, 16)
    clips = noise(2, 1000)
    assert codec.decode(codec.encode(clips)).shape == (2, 4 * 320)


def test_an_unknown_generator_is_named():
    with pytest.raises(InputError, match="generator='wavenet': expected fourier or seanet"):
        generator_class("wavenet")
