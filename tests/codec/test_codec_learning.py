"""What a codec learns from: crops, losses, the balancer that weighs them; and the level that is set in the end."""

import numpy as np
import pytest
import torch
from fakes.codecs import CATEGORIES, CLIPS, RATE, TOY, TOY_SEANET
from fakes.codecs import noise as white

from envsound.base.errors import InputError
from envsound.codec.fourier import FourierCodec
from envsound.codec.seanet import SeanetCodec
from envsound.codec.training import losses as module
from envsound.codec.training.calibration import band_edges, level_bias, set_level
from envsound.codec.training.losses import Balancer, discriminator_loss, energy_losses
from envsound.codec.training.trainer import CropSampler

pytestmark = pytest.mark.usefixtures("own_random_state")


# Crops


def test_crops_have_their_length_and_stay_in_range():
    crops = CropSampler(CLIPS, CATEGORIES, 2400, seed=0).batch(50)
    assert crops.shape == (50, 2400) and crops.dtype == torch.float32
    assert crops.abs().max() <= 1 and crops[:, :900].abs().amax(1).min() > 0


def test_crops_are_balanced_over_classes_whatever_the_clips():
    clips = [np.full(100, level, np.float32) for level in (0.5, *[-0.5] * 9)]
    crops = CropSampler(clips, ["rare"] + ["common"] * 9, 50, seed=0).batch(2000)
    assert (crops[:, 0] > 0).float().mean() == pytest.approx(0.5, abs=0.05)


def test_crops_are_drawn_where_there_is_sound():
    clip = np.zeros(10_000, np.float32)
    clip[9000:] = 0.5
    crops = CropSampler([clip], ["x"], 500, seed=0).batch(400)
    assert (crops.abs().amax(1) > 0).float().mean() > 0.5  # starts drawn evenly would give 0.15
    silent = CropSampler([np.zeros(5, np.float32), np.zeros(1000, np.float32)], ["a", "b"], 100, seed=0).batch(20)
    assert silent.shape == (20, 100) and (silent == 0).all()


def test_crop_gains_lie_between_bounds():
    clips = (np.full(100, level, np.float32) for level in (0.1, 0.9))
    quiet, loud = (CropSampler([clip], ["x"], 100, seed=0).batch(500).abs().amax(1) for clip in clips)
    assert 0.1 * 10 ** (-12 / 20) <= quiet.min() < 0.03 and 0.18 < quiet.max() <= 0.1 * 10 ** (6 / 20)
    assert loud.max() == pytest.approx(1.0)


@pytest.mark.parametrize(("clips", "categories"), [([], []), (CLIPS, ["low"])])
def test_crops_need_clips_with_categories(clips, categories):
    with pytest.raises(InputError, match="expected as many, at least one"):
        CropSampler(clips, categories, 100, seed=0)


# Losses


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_distance_falls_towards_the_original():
    real, other = noise(2, 4800), noise(2, 4800, seed=1)
    nearer = [real + share * (other - real) for share in (0.0, 0.1, 1.0)]
    losses = [float(energy_losses(real, fake, None, RATE)["spectral"]) for fake in nearer]
    assert losses[0] == 0 < losses[1] < losses[2]


def test_loss_of_silence_is_small_and_its_gradient_finite():
    real, fake = torch.zeros(1, 4800), noise(1, 4800).mul(1e-4).requires_grad_()
    loss = energy_losses(real, fake, None, RATE)["spectral"]
    loss.backward()
    assert 0 < loss.item() < 1 and torch.isfinite(fake.grad).all() and fake.grad.abs().max() > 0


def test_with_other_noise_as_a_twin_the_gradient_points_to_the_right_level_where_plain_l1_wants_silence():
    real, fake, twin = (noise(4, RATE, seed=seed) for seed in range(3))
    for gain, sign in ((0.7, -1), (1.4, 1)):
        scale = torch.tensor(gain, requires_grad=True)
        losses = energy_losses(real, scale * fake, gain * twin, RATE)
        for name in ("spectral", "waveform"):
            assert torch.autograd.grad(losses[name], scale, retain_graph=True)[0].sign() == sign
    plain = [float(energy_losses(real, gain * fake, None, RATE)["waveform"]) for gain in (0.3, 0.7, 1.0, 1.4)]
    assert plain == sorted(plain)


def test_energy_distance_prefers_noise_to_a_repeated_frame():
    real = noise(2, RATE, seed=0)
    buzz = noise(2, 320, seed=1).repeat(1, RATE // 320)
    repeated = energy_losses(real, buzz, buzz, RATE)["spectral"]
    free = energy_losses(real, noise(2, RATE, seed=1), noise(2, RATE, seed=2), RATE)
    assert free["spectral"] + 0.5 * (free["distance"] - free["spectral"]) < 0.8 * repeated


def test_white_noise_has_one_level_at_every_window_length_and_in_every_mel_band():
    for n_fft, n_mels in module.SCALES:
        filters = module.mel_filters(RATE, n_fft, n_mels)
        assert filters.shape == (n_mels, n_fft // 2 + 1)
        torch.testing.assert_close(filters.sum(1), torch.ones(n_mels), rtol=0.05, atol=0)
    levels = [float(module.magnitude(noise(1, RATE), n_fft).mean()) for n_fft, _ in module.SCALES]
    assert levels == pytest.approx([levels[0]] * len(module.SCALES), rel=0.05)


def scores(value: float, maps: float = 1.0) -> list:
    """Return the judgement of two scales that say `value` everywhere, with feature maps of `maps`."""
    return [(torch.full((1, 1, n, 3), float(value)), [torch.full((1, 2, n, 3), maps)]) for n in (4, 2)]


@pytest.mark.parametrize(("real", "fake", "expected"), [(1, -1, 0), (2, -3, 0), (0, 0, 2), (-1, 1, 4), (1, 0.5, 1.5)])
def test_hinge_losses(real, fake, expected):
    assert float(discriminator_loss(scores(real), scores(fake))) == pytest.approx(expected)
    assert float(module.adversarial_loss(scores(fake))) == pytest.approx(max(0, 1 - fake))


@pytest.mark.parametrize(("real", "fake", "expected"), [(2.0, 2.0, 0), (2.0, 3.0, 0.5), (20.0, 30.0, 0.5)])
def test_feature_matching_is_relative_to_the_real_maps(real, fake, expected):
    assert float(module.feature_loss(scores(0, real), scores(0, fake))) == pytest.approx(expected)


def test_discriminators_learn_to_tell_noise_from_a_tone():
    torch.manual_seed(0)
    judge = module.MultiScaleDiscriminator(n_ffts=(256, 128), channels=4)
    real, fake = torch.sin(torch.arange(1200) * 0.3).repeat(2, 1) * 0.3, noise(2, 1200)
    optimizer = torch.optim.Adam(judge.parameters(), lr=3e-2)
    losses = []
    for _ in range(8):
        losses.append(discriminator_loss(judge(real), judge(fake)))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert [len(maps) for _, maps in judge(real)] == [4, 4]
    assert losses[-1] < 0.7 * losses[0]


# Balancer


def test_balancer_gives_each_loss_its_share_in_units_of_the_reference():
    balancer = Balancer({"a": 1.0, "b": 0.5, "c": 2.0, "d": 1.0}, reference="a")
    gradients = {"a": torch.tensor([[3.0, 0, 0]]), "b": torch.tensor([[0, 1e-6, 0]])}
    torch.testing.assert_close(balancer.combine(gradients), torch.tensor([[3.0, 1.5, 0.0]]))
    gradients |= {"c": torch.tensor([[0, 0, 7.0]]), "d": torch.zeros(1, 3)}
    torch.testing.assert_close(balancer.combine(gradients), torch.tensor([[3.0, 1.5, 6.0]]))


def test_balancer_averages_over_steps():
    one = Balancer({"a": 1.0}, reference="a", decay=0.5)
    for value in (1.0, 4.0):
        one.combine({"a": torch.tensor([[value]])})
    assert one.norm("a") == pytest.approx((0.5 * 1 + 4) / 1.5)


# Level: a bias put in is found and taken out, band by band, and silence teaches nothing


class Perfect(FourierCodec):
    """A codec that gives back what it hears, times a gain for each bin."""

    def __init__(self, gain: torch.Tensor | float = 1.0):
        super().__init__(TOY)
        self.gain = gain

    def encode(self, clips):
        return self.spectrum(clips)

    def decode(self, codes):
        return self._istft(codes * self.gain)


def test_bands_cover_every_bin_once():
    edges = band_edges(Perfect())
    assert edges[0] == 0 and edges[-1] == TOY.n_bins and (np.diff(edges) > 0).all()


@pytest.mark.parametrize("gain", [0.5, 1.0, 2.0])
def test_a_gain_is_found_as_its_logarithm_and_quiet_clips_do_not_count(gain):
    silent = np.zeros(24_000, np.float32)
    bias = level_bias(Perfect(gain), [white(24_000), silent])
    torch.testing.assert_close(bias, torch.full((TOY.n_bins,), -float(np.log(gain))), atol=0.01, rtol=0)
    assert (level_bias(Perfect(gain), [silent]) == 0).all()


def test_a_tilt_is_found_where_it_is():
    gain = torch.ones(TOY.n_bins)
    gain[TOY.n_bins // 2 :] = 0.5
    bias = level_bias(Perfect(gain), [white(24_000)])
    assert bias[: TOY.n_bins // 4].abs().max() < 0.02
    assert bias[-TOY.n_bins // 4 :].mean() == pytest.approx(np.log(2), abs=0.02)


def test_the_level_of_magnitude_and_noise_is_set_and_the_phase_and_other_generators_are_left_alone():
    codec, seanet = Perfect(0.5), SeanetCodec(TOY_SEANET)
    before = codec.decoder.leave.bias.data.clone().chunk(3)
    assert "lay 6.0 dB below" in set_level(codec, [white(24_000)])
    after, bias = codec.decoder.leave.bias.data.chunk(3), level_bias(codec, [white(24_000)])
    for changed, was, expected in zip(after, before, (bias, 0 * bias, bias), strict=True):
        torch.testing.assert_close(changed - was, expected)
    weights = {name: value.clone() for name, value in seanet.state_dict().items()}
    assert "seanet" in set_level(seanet, [white(24_000)])
    assert all(torch.equal(value, weights[name]) for name, value in seanet.state_dict().items())
