"""What a codec learns from: its crops, its losses, and the balancer that weighs them."""

import numpy as np
import pytest
import torch
from fakes.codecs import CATEGORIES, CLIPS, RATE

from envsound.base.errors import InputError
from envsound.codec.training.losses import (
    SCALES,
    Balancer,
    MultiScaleDiscriminator,
    adversarial_loss,
    discriminator_loss,
    energy_losses,
    feature_loss,
    magnitude,
    mel_filters,
)
from envsound.codec.training.trainer import CropSampler

pytestmark = pytest.mark.usefixtures("own_random_state")


# Crops


def test_crops_have_their_length_and_stay_in_range():
    crops = CropSampler(CLIPS, CATEGORIES, 2400, seed=0).batch(50)
    assert crops.shape == (50, 2400)
    assert crops.dtype == torch.float32
    assert crops.abs().max() <= 1
    assert crops[:, :900].abs().amax(1).min() > 0


def test_crops_are_balanced_over_classes_whatever_the_clips():
    clips = [np.full(100, 0.5, np.float32)] + [np.full(100, -0.5, np.float32)] * 9
    crops = CropSampler(clips, ["rare"] + ["common"] * 9, 50, seed=0).batch(2000)
    assert (crops[:, 0] > 0).float().mean() == pytest.approx(0.5, abs=0.05)


def test_crops_are_drawn_where_there_is_sound():
    clip = np.zeros(10_000, np.float32)
    clip[9000:] = 0.5
    crops = CropSampler([clip], ["x"], 500, seed=0).batch(400)
    assert (crops.abs().amax(1) > 0).float().mean() > 0.5  # starts drawn evenly would give 0.15


def test_crop_gains_lie_between_bounds():
    quiet, loud = np.full(100, 0.1, np.float32), np.full(100, 0.9, np.float32)
    peaks = [CropSampler([clip], ["x"], 100, seed=0).batch(500).abs().amax(1) for clip in (quiet, loud)]
    assert 0.1 * 10 ** (-12 / 20) <= peaks[0].min() < 0.03
    assert 0.18 < peaks[0].max() <= 0.1 * 10 ** (6 / 20)
    assert peaks[1].max() == pytest.approx(1.0)


def test_silent_and_short_clips_give_crops():
    crops = CropSampler([np.zeros(5, np.float32), np.zeros(1000, np.float32)], ["a", "b"], 100, seed=0).batch(20)
    assert crops.shape == (20, 100)
    assert (crops == 0).all()


def test_crops_go_on_from_a_state():
    first, second = (CropSampler(CLIPS, CATEGORIES, 2400, seed=seed) for seed in (0, 1))
    first.batch(3)
    second.restore(first.state())
    assert torch.equal(first.batch(5), second.batch(5))


@pytest.mark.parametrize(("clips", "categories"), [([], []), (CLIPS, ["low"])])
def test_crops_need_clips_with_categories(clips, categories):
    with pytest.raises(InputError, match="expected as many, at least one"):
        CropSampler(clips, categories, 100, seed=0)


# Losses


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_distance_falls_towards_the_original():
    real, other = noise(2, 4800), noise(2, 4800, seed=1)
    losses = [
        float(energy_losses(real, real + share * (other - real), None, RATE)["spectral"]) for share in (0.0, 0.1, 1.0)
    ]
    assert losses[0] == 0
    assert losses[0] < losses[1] < losses[2]


def test_loss_of_silence_is_small_and_its_gradient_finite():
    real, fake = torch.zeros(1, 4800), noise(1, 4800).mul(1e-4).requires_grad_()
    loss = energy_losses(real, fake, None, RATE)["spectral"]
    loss.backward()
    assert 0 < loss.item() < 1
    assert torch.isfinite(fake.grad).all()
    assert fake.grad.abs().max() > 0


def test_energy_distances_are_least_at_the_right_level_where_plain_l1_wants_silence():
    real, gains = noise(2, RATE), (0.3, 0.7, 0.85, 1.0, 1.2, 1.4)
    runs = [energy_losses(real, g * noise(2, RATE, seed=1), g * noise(2, RATE, seed=2), RATE) for g in gains]
    plain = [energy_losses(real, g * noise(2, RATE, seed=1), None, RATE) for g in gains]
    for name in ("spectral", "waveform"):
        # with a constant twin the loss is d(real, fake) - d(fake, twin): 2 d(real, fake) - d(fake, twin) is the sum
        proper = [float(p[name]) + float(r[name]) for r, p in zip(runs, plain, strict=True)]
        assert gains[int(np.argmin(proper))] == 1.0
    assert int(np.argmin([float(p["waveform"]) for p in plain])) == 0


def test_the_gradient_with_a_constant_twin_points_to_the_right_level():
    real = noise(4, RATE, seed=0)
    for gain, sign in ((0.7, -1), (1.4, 1)):
        scale = torch.tensor(gain, requires_grad=True)
        twin = gain * noise(4, RATE, seed=2)
        losses = energy_losses(real, scale * noise(4, RATE, seed=1), twin, RATE)
        for name in ("spectral", "waveform"):
            assert torch.autograd.grad(losses[name], scale, retain_graph=True)[0].sign() == sign


def test_energy_distance_prefers_noise_to_a_repeated_frame():
    real = noise(2, RATE, seed=0)
    buzz = noise(2, 320, seed=1).repeat(1, RATE // 320)
    repeated = energy_losses(real, buzz, buzz, RATE)["spectral"]
    free = energy_losses(real, noise(2, RATE, seed=1), noise(2, RATE, seed=2), RATE)
    assert free["spectral"] + 0.5 * (free["distance"] - free["spectral"]) < 0.8 * repeated


@pytest.mark.parametrize(("n_fft", "n_mels"), SCALES)
def test_mel_bands_are_weighted_means(n_fft, n_mels):
    filters = mel_filters(RATE, n_fft, n_mels)
    assert filters.shape == (n_mels, n_fft // 2 + 1)
    torch.testing.assert_close(filters.sum(1), torch.ones(n_mels), rtol=0.05, atol=0)


def test_white_noise_has_one_level_at_every_window_length():
    levels = [float(magnitude(noise(1, RATE), n_fft).mean()) for n_fft, _ in SCALES]
    assert levels == pytest.approx([levels[0]] * len(SCALES), rel=0.05)


def scores(value: float, maps: float = 1.0) -> list:
    """Return the judgement of two scales that say `value` everywhere, with feature maps of `maps`."""
    return [(torch.full((1, 1, n, 3), float(value)), [torch.full((1, 2, n, 3), maps)]) for n in (4, 2)]


@pytest.mark.parametrize(("real", "fake", "expected"), [(1, -1, 0), (2, -3, 0), (0, 0, 2), (-1, 1, 4), (1, 0.5, 1.5)])
def test_discriminator_hinge(real, fake, expected):
    assert float(discriminator_loss(scores(real), scores(fake))) == pytest.approx(expected)


@pytest.mark.parametrize(("fake", "expected"), [(1, 0), (3, 0), (0, 1), (-1, 2)])
def test_adversarial_hinge(fake, expected):
    assert float(adversarial_loss(scores(fake))) == pytest.approx(expected)


def test_feature_matching_is_relative_to_the_real_maps():
    assert float(feature_loss(scores(0, 2.0), scores(0, 2.0))) == 0
    assert float(feature_loss(scores(0, 2.0), scores(0, 3.0))) == pytest.approx(0.5)
    assert float(feature_loss(scores(0, 20.0), scores(0, 30.0))) == pytest.approx(0.5)


def test_discriminators_learn_to_tell_noise_from_a_tone():
    torch.manual_seed(0)
    judge = MultiScaleDiscriminator(n_ffts=(256, 128), channels=4)
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
    balancer = Balancer({"a": 1.0, "b": 0.5, "c": 2.0}, reference="a")
    gradients = {"a": torch.tensor([[3.0, 0, 0]]), "b": torch.tensor([[0, 1e-6, 0]])}
    torch.testing.assert_close(balancer.combine(gradients), torch.tensor([[3.0, 1.5, 0.0]]))
    gradients["c"] = torch.tensor([[0, 0, 7.0]])
    torch.testing.assert_close(balancer.combine(gradients), torch.tensor([[3.0, 1.5, 6.0]]))


def test_balancer_averages_over_steps_and_goes_on_from_saved_norms():
    one = Balancer({"a": 1.0}, reference="a", decay=0.5)
    for value in (1.0, 4.0):
        one.combine({"a": torch.tensor([[value]])})
    assert one.norm("a") == pytest.approx((0.5 * 1 + 4) / 1.5)
    other = Balancer({"a": 1.0}, reference="a", decay=0.5)
    other.norms = {name: list(value) for name, value in one.norms.items()}
    gradient = {"a": torch.tensor([[2.0]])}
    assert torch.equal(one.combine(gradient), other.combine(gradient))


def test_balancer_bears_a_gradient_of_zero():
    balancer = Balancer({"a": 1.0, "b": 1.0}, reference="a")
    combined = balancer.combine({"a": torch.tensor([[2.0]]), "b": torch.tensor([[0.0]])})
    torch.testing.assert_close(combined, torch.tensor([[2.0]]))
