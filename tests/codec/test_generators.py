"""The generators, in the Fourier and in the time domain, and their files: shapes, noise, likelihood, what is held."""

import json
from dataclasses import replace

import pytest
import torch
from fakes.codecs import toy_model
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from envsound.base.errors import InputError
from envsound.codec import load_codec
from envsound.codec.fourier import FourierCodec, FourierConfig
from envsound.codec.seanet import SeanetCodec, SeanetConfig
from envsound.codec.stored import StoredCodec, generator_class, load_stored, save_codec

BLOCKS = {"n_encoder_blocks": 1, "n_decoder_blocks": 1}
TINY = FourierConfig(max_hz=12_000.0, dim=16, hidden=24, latent_dim=8, n_levels=4, codebook_size=32, **BLOCKS)
SEANET = SeanetConfig(n_filters=2, latent_dim=8, n_levels=4, codebook_size=32)
HOP, N_BINS = TINY.hop, TINY.n_fft // 2 + 1
CPU = torch.device("cpu")


def noise(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 0.2


@pytest.fixture(scope="module")
def model() -> FourierCodec:
    return toy_model(shape=TINY)


@pytest.fixture(scope="module")
def seanet() -> SeanetCodec:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return SeanetCodec(SEANET).eval()


@pytest.fixture
def path(tmp_path, model):
    save_codec(tmp_path / "tiny.safetensors", model)
    return tmp_path / "tiny.safetensors"


@pytest.fixture
def codec(path) -> StoredCodec:
    return load_stored(path, "tiny", CPU)


@pytest.mark.parametrize(("n_samples", "n_frames"), [(1, 1), (319, 1), (320, 1), (321, 2), (24_000, 75)])
@torch.no_grad()
def test_shapes(model, seanet, n_samples, n_frames):
    clips = noise(2, n_samples)
    assert model.spectrum(clips).shape == (2, n_frames, N_BINS)
    for one in (model, seanet):
        assert one.n_frames(n_samples) == n_frames and one.latents(clips).shape == (2, 8, n_frames)
        codes = one.encode(clips)
        assert codes.shape == (2, 4, n_frames) and one.decode(codes).shape == (2, n_frames * HOP)


# The Fourier domain


@settings(max_examples=20, deadline=None)
@given(n_samples=st.integers(1, 3000))
def test_the_transform_is_inverted(model, n_samples):
    clips = noise(2, n_samples)
    back = model._istft(model.spectrum(clips))
    assert back.shape == (2, model.n_frames(n_samples) * HOP)
    assert (back[:, :n_samples] - clips).abs().max() < 1e-4
    assert torch.nn.functional.pad(back[:, n_samples:], (0, 1)).abs().max() < 1e-4  # silence fills the last frame


def test_a_frame_is_centred_on_its_hop(model):
    clips = torch.zeros(1, 10 * HOP)
    clips[0, 4 * HOP + HOP // 2] = 1.0  # the middle of frame 4
    assert model.spectrum(clips)[0].abs().mean(1).argmax() == 4
    torch.testing.assert_close(model.spectrum(clips)[0, 4].abs(), torch.ones(N_BINS), atol=1e-4, rtol=0)


@torch.no_grad()
def test_nothing_above_the_coded_band_is_heard_or_put_out():
    limited = toy_model(shape=replace(TINY, max_hz=9000.0))
    time = torch.arange(24_000) / 24_000
    high, low = (0.5 * torch.sin(2 * torch.pi * hz * time)[None] for hz in (11_000, 1000))
    difference = (limited.spectrum(low + high) - limited.spectrum(low)).abs()
    assert difference[:, 3:-3].max() < 1e-3 * limited.spectrum(low).abs().max()  # at the ends a tone is cut
    power = torch.fft.rfft(limited.synthesise(limited.latents(low)))[0].abs().square()
    assert power[9300:].sum() < 1e-3 * power.sum()


@torch.no_grad()
def test_noise_is_part_of_the_sound_and_the_same_every_time(model):
    latents = model.latents(noise(2, 1600))
    assert torch.equal(model.synthesise(latents), model.synthesise(latents))
    decoded = model.decode_latents(latents)
    one, other = (model.render(decoded, noise(2, 1600, seed=seed)) for seed in (1, 2))
    assert one.shape == (2, 1600) and (one - other).abs().max() > 1e-3
    assert torch.equal(model.fixed_noise(9)[:, : 5 * HOP], model.fixed_noise(5))


@torch.no_grad()
def test_a_noise_filter_of_one_gives_the_noise_back(model):
    white, decoded = noise(1, 3200, seed=3), torch.full((1, 10, 3 * TINY.n_bins), -30.0)
    decoded[..., 2 * TINY.n_bins :] = float(model.window.square().sum().sqrt().log())
    torch.testing.assert_close(model.render(decoded, white), white, atol=1e-4, rtol=0)


def unlikely(model: FourierCodec, power: torch.Tensor, tonal_share: float, clips: torch.Tensor) -> float:
    """Return the loss of clips where the decoder expects `power` [batch, n_frames, n_bins]."""
    tonal, noisy = (0.5 * torch.log(power * share) for share in (tonal_share, 1 - tonal_share))
    return float(model.likelihood_loss(torch.cat([tonal, torch.zeros_like(power), noisy], dim=-1), clips))


def test_the_likelihood_is_best_where_the_power_is_right_however_it_is_made_up(model):
    clips = noise(1, 3200)
    power = model.spectrum(clips).abs().square() + 1e-3
    for share in (0.1, 0.9):
        half, right, double = (unlikely(model, gain * power, share, clips) for gain in (0.5, 1, 2))
        assert right == pytest.approx(0, abs=1e-2) and min(half, double) > 0.1


def test_the_likelihood_wants_the_mean_power_of_noise_and_not_its_median(model):
    clips = noise(1, 96_000)
    flat = torch.full((1, 300, TINY.n_bins), float(model.spectrum(clips).abs().square().mean()))
    best = min(torch.linspace(0.5, 1.6, 12), key=lambda gain: unlikely(model, gain * flat, 0.5, clips))
    assert best == pytest.approx(1.0, abs=0.1)  # the median is at 0.69


def test_the_likelihood_bears_silence_and_clicks(model):
    clips = torch.zeros(1, 3200)
    clips[0, 1600] = 1.0
    decoded = torch.full((1, 10, 3 * TINY.n_bins), -10.0, requires_grad=True)
    loss = model.likelihood_loss(decoded, clips)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(decoded.grad).all()
    assert decoded.grad.abs().max() * decoded[..., : TINY.n_bins].numel() <= 2 * (2.718282**2 - 1) + 0.01


@torch.no_grad()
def test_silence_and_loud_input_stay_finite(model):
    for clips in (torch.zeros(1, 1000), torch.ones(1, 1000)):
        heard = model.decode(model.encode(clips))
        assert torch.isfinite(heard).all() and heard.abs().max() <= 1


# The time domain: EnCodec's modules behind the study's quantizer


def test_width_32_is_the_released_model_s_size():
    """14.9 million weights and 8 codebooks of 1024 codes in 128 dimensions (the released file holds 32 of them)."""
    released = SeanetCodec(SeanetConfig(n_filters=32))
    networks = sum(value.numel() for value in released.parameters())
    assert networks / 1e6 == pytest.approx(14.9, abs=0.1)
    assert released.n_parameters() == networks + 8 * 1024 * 128
    assert SeanetCodec().n_parameters() * 2 < 16_000_000  # the default fits the repository


@torch.no_grad()
def test_the_input_gain_is_taken_back_and_there_is_no_noise(seanet):
    louder = SeanetCodec(replace(SEANET, input_gain=10.0)).eval()
    louder.load_state_dict(seanet.state_dict())
    clips = noise(1, 3200)
    torch.testing.assert_close(louder.latents(clips / 2), seanet.latents(clips))
    latents = seanet.latents(clips)
    decoded = seanet.decode_latents(latents)
    torch.testing.assert_close(louder.decode_latents(latents) * 2, decoded)
    assert torch.equal(seanet.render(decoded, noise(1, 3200)), decoded)  # noise is ignored


# The study's interface, and the file


def test_the_interface(codec):
    assert (codec.name, codec.sample_rate, codec.frame_rate) == ("tiny", 24_000, 75)
    assert (codec.n_levels, codec.codebook_size, codec.n_frames(24_001)) == (4, 32, 76)
    assert len(codec.content_hash) == 64 and not any(value.requires_grad for value in codec.model.parameters())


@pytest.mark.parametrize("n_levels", [1, 2, 4])
def test_codes_of_fewer_levels_and_small_integers_stand_for_the_sum_of_their_vectors(codec, n_levels):
    codes, books = codec.encode(noise(1, 700))[:, :n_levels], codec.model.quantizer.codebooks
    heard = codec.decode(codes.to(torch.int16))
    assert codes.dtype == torch.int64 and heard.dtype == torch.float32 and torch.equal(heard, codec.decode(codes))
    torch.testing.assert_close(codec.dequantise(codes)[0], sum(books[n, codes[0, n]] for n in range(n_levels)).T)
    for read in (codec.decode, codec.dequantise):
        with pytest.raises(InputError, match="mask token"):
            read(torch.full_like(codes, codec.codebook_size))


@pytest.mark.parametrize("kind", ["model", "seanet"])
def test_a_codec_comes_back_from_its_file(path, kind, request):
    model = request.getfixturevalue(kind)
    save_codec(path, model)
    codec, clips = load_codec(str(path), device="cpu"), noise(2, 700)
    halved = type(model)(model.config).eval()
    halved.load_state_dict({name: value.half().float() for name, value in model.state_dict().items()})
    with torch.no_grad():
        codes = halved.encode(clips)
        assert torch.equal(codec.encode(clips), codes) and torch.equal(codec.decode(codes), halved.decode(codes))
    assert (codec.name, codec.model.config) == ("tiny", model.config)
    assert {value.dtype for value in load_file(path).values()} == {torch.float16}
    assert {value.dtype for value in codec.model.state_dict().values()} == {torch.float32}


def test_the_content_hash_follows_the_weights(path, codec):
    other = toy_model(shape=TINY)
    other.quantizer.codebooks[3, 5, 2] += 1
    save_codec(path, other)
    assert load_codec(str(path), device="cpu").content_hash != codec.content_hash


@pytest.mark.parametrize("keep", [None, 0, 4, 1000, -1])
def test_a_missing_or_damaged_file_is_named(path, keep):
    content = path.read_bytes()
    path.unlink()
    if keep is not None:
        path.write_bytes(content[:keep])
    with pytest.raises(InputError, match=r"tiny\.safetensors: cannot be read"):
        load_codec(str(path), device="cpu")


def metadata(generator: str = "fourier", **changes) -> dict[str, str]:
    return {"codec": json.dumps({"generator": generator, "config": vars(TINY) | changes})}


@pytest.mark.parametrize(
    "foreign",
    [
        None, {"codec": "not json"}, {"codec": '{"generator": "fourier", "config": [1, 2]}'},
        {"checkpoint": metadata()["codec"]}, metadata("other"), metadata(n_layers=3), metadata(latent_dim=9),
    ],
)  # fmt: skip
def test_a_foreign_file_is_named(path, foreign):
    for held, known in ((load_file(path), foreign), ({"weight": torch.zeros(3)}, metadata())):
        save_file(held, path, metadata=known)
        with pytest.raises(InputError, match=r"tiny\.safetensors: not a codec of this study"):
            load_stored(path, "tiny", CPU)


def test_an_unknown_generator_is_named():
    with pytest.raises(InputError, match="generator='wavenet': expected fourier or seanet"):
        generator_class("wavenet")
