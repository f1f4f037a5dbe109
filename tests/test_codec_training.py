"""Training a codec of toy size: it runs, it watches, and it goes on where it stopped. Also its crops and losses."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from envsound.codecs import training as module
from envsound.codecs.crops import CropSampler
from envsound.codecs.discriminator import (
    MultiScaleDiscriminator,
    adversarial_loss,
    discriminator_loss,
    feature_loss,
)
from envsound.codecs.fourier import FourierConfig
from envsound.codecs.spectral_losses import SCALES, magnitude, mel_filters, spectral_loss
from envsound.codecs.stored import load_stored, save_codec
from envsound.codecs.training import CodecTrainer, CodecTraining
from envsound.errors import InputError

RATE = 24_000  # Hz
SHAPE = FourierConfig(
    dim=8, hidden=8, n_encoder_blocks=1, n_decoder_blocks=1, latent_dim=4, n_levels=2, codebook_size=8
)
PLAN = CodecTraining(
    n_steps=6,
    batch_size=2,
    judged_items=1,
    crop_seconds=0.12,  # 9 frames
    quantize_from=0.34,  # step 2
    adversary_from=0.67,  # step 4
    checkpoint_every=2,
    level_dropout=0.5,
)
CLIPS = [np.sin(np.arange(n) * f).astype(np.float32) * 0.5 for n, f in ((6000, 0.05), (4000, 0.2), (1000, 0.4))]
CATEGORIES = ["low", "high", "high"]


@pytest.fixture(autouse=True)
def own_random_state():
    with torch.random.fork_rng():
        yield


def trainer(folder, plan: CodecTraining = PLAN) -> CodecTrainer:
    held_out = torch.from_numpy(CLIPS[0][None, :3000])  # not a whole number of frames
    return CodecTrainer(CLIPS, CATEGORIES, held_out, folder, plan, SHAPE)


def everything(one: CodecTrainer) -> dict[str, torch.Tensor]:
    """Return every trained number of a trainer by name."""
    quantizer = one.codec.quantizer
    numbers = {"counts": quantizer.counts, "sums": quantizer.sums}
    for which in ("codec", "adversary"):
        numbers |= {f"{which}.{name}": value for name, value in getattr(one, which).state_dict().items()}
    return numbers


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> CodecTrainer:
    with torch.random.fork_rng():
        one = trainer(tmp_path_factory.mktemp("whole"))
        one.run()
    return one


def assert_same(one: CodecTrainer, other: CodecTrainer) -> None:
    a, b = everything(one), everything(other)
    assert a.keys() == b.keys()
    assert [name for name in a if not torch.equal(a[name], b[name])] == []
    pd.testing.assert_frame_equal(pd.DataFrame(one.history), pd.DataFrame(other.history))


def test_training_moves_both_networks_and_stays_finite(uninterrupted, tmp_path):
    fresh = everything(trainer(tmp_path))
    trained = everything(uninterrupted)
    assert uninterrupted.step == PLAN.n_steps
    assert all(torch.isfinite(value).all() for value in trained.values())
    assert all((trained[name] != fresh[name]).any() for name in trained if name.endswith("weight"))
    assert (trained["codec.quantizer.codebooks"] != fresh["codec.quantizer.codebooks"]).all()


def test_history_columns(uninterrupted):
    table = pd.read_csv(uninterrupted.folder / "training.csv")
    assert table["step"].tolist() == [2, 4, 6]
    watched = [f"{name}_{level}" for level in range(2) for name in ("gain_db", "used_codes")]
    adversary = ["discriminator", "adversarial", "feature"]
    always = ["step", "spectral", "commitment", "latent_rank", "log_mel_distance"]
    assert set(table) == {*always, *watched, *adversary}
    assert np.isfinite(table[always]).all(axis=None)
    assert table[watched].isna().all(axis=1).tolist() == [True, False, False]  # quantizing from step 2
    assert table[adversary].notna().all(axis=1).tolist() == [False, False, True]  # judged from step 4
    assert table["commitment"].gt(0).tolist() == [False, True, True]
    assert table["latent_rank"].between(1, SHAPE.latent_dim).all()
    assert table.loc[1:, ["used_codes_0", "used_codes_1"]].isin(range(1, 9)).all(axis=None)


def test_a_few_steps_learn_something(tmp_path):
    plan = replace(PLAN, n_steps=60, checkpoint_every=20, lr=5e-3, quantize_from=0.4, adversary_from=2.0)
    one = trainer(tmp_path, plan)
    before = one.watch()["log_mel_distance"]
    one.run()
    assert one.watch()["log_mel_distance"] < 0.8 * before


def test_a_killed_run_goes_on_to_the_same_weights(uninterrupted, tmp_path, monkeypatch):
    for killed_at in (3, 5):  # after the checkpoints at 2 and 4
        with monkeypatch.context() as patch:
            _kill_at(patch, killed_at)
            with pytest.raises(KeyboardInterrupt):
                trainer(tmp_path).run()
        resumed = trainer(tmp_path)
        assert resumed.step == killed_at - 1
    resumed.run()
    assert_same(resumed, uninterrupted)


def _kill_at(patch, step: int) -> None:
    train_step = CodecTrainer._train_step

    def killed(self):
        if self.step == step:
            raise KeyboardInterrupt
        return train_step(self)

    patch.setattr(CodecTrainer, "_train_step", killed)


def test_a_run_stops_in_time_and_goes_on(uninterrupted, tmp_path, monkeypatch):
    seconds = iter(range(1000))
    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: next(seconds)))
    stopped = trainer(tmp_path)
    stopped.run(max_seconds=4)  # the clock advances by 1 s a look: 3 steps, the last checkpoint at 2
    assert stopped.step == 3
    resumed = trainer(tmp_path)
    assert resumed.step == 2
    resumed.run()
    assert_same(resumed, uninterrupted)


def test_a_finished_run_is_left_alone(uninterrupted, tmp_path):
    files = {path: path.read_bytes() for path in uninterrupted.folder.iterdir()}
    again = trainer(uninterrupted.folder)
    again.run()
    assert_same(again, uninterrupted)
    assert {path: path.read_bytes() for path in uninterrupted.folder.iterdir()} == files


@pytest.mark.parametrize("changes", [{"n_steps": 7}, {"lr": 1e-3}, {"seed": 1}])
def test_a_checkpoint_of_other_parameters_is_refused(uninterrupted, changes):
    with pytest.raises(InputError, match=r"training_state\.pt: was trained with other parameters"):
        trainer(uninterrupted.folder, replace(PLAN, **changes))


def test_a_checkpoint_of_another_shape_is_refused(uninterrupted):
    with pytest.raises(InputError, match="other parameters"):
        CodecTrainer(
            CLIPS, CATEGORIES, torch.zeros(1, 3000), uninterrupted.folder, PLAN, replace(SHAPE, hidden=SHAPE.hidden + 4)
        )


@pytest.mark.parametrize("content", [b"", b"not a checkpoint"])
def test_a_damaged_checkpoint_is_named(tmp_path, content):
    (tmp_path / "training_state.pt").write_bytes(content)
    with pytest.raises(InputError, match=r"training_state\.pt: cannot be read"):
        trainer(tmp_path)


@pytest.mark.parametrize("seconds", [0.0, 0.1])
def test_crops_of_broken_frames_are_refused(tmp_path, seconds):
    with pytest.raises(InputError, match="crop_seconds"):
        trainer(tmp_path, replace(PLAN, crop_seconds=seconds))


def test_the_seed_decides(uninterrupted, tmp_path):
    same, other = trainer(tmp_path / "a"), trainer(tmp_path / "b", replace(PLAN, seed=1))
    same.run(max_seconds=0)
    assert same.step == 0
    weights = [one.codec.encoder.enter.weight for one in (same, trainer(tmp_path / "c"), other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_a_trained_codec_is_stored_and_decodes(uninterrupted, tmp_path):
    save_codec(tmp_path / "codec.safetensors", uninterrupted.codec)
    codec = load_stored(tmp_path / "codec.safetensors", "toy", torch.device("cpu"))
    heard = codec.decode(codec.encode(torch.from_numpy(CLIPS[1][None])))
    assert heard.shape == (1, 13 * SHAPE.hop)
    assert torch.isfinite(heard).all()


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    one = trainer(tmp_path)
    one.codec.decoder.leave.bias.data.fill_(float("nan"))
    with pytest.raises(InputError, match="the loss is nan at step 0"):
        one.run()


def test_the_learning_rate_warms_up_and_falls(tmp_path):
    one = trainer(tmp_path, replace(PLAN, n_steps=1000))
    rates = []
    for one.step in (0, 10, 20, 500, 999):
        one._set_lr()
        rates.append({group["lr"] for optimizer in one.optimizers for group in optimizer.param_groups})
    expected = [0.01, 0.51, 1.0, 0.505, 0.01]
    assert [list(rate) for rate in rates] == [[pytest.approx(PLAN.lr * share, rel=0.02)] for share in expected]


def test_level_dropout_draws_every_number_of_levels(tmp_path):
    one = trainer(tmp_path, replace(PLAN, level_dropout=0.5))
    levels = one._draw_levels(4000)
    assert levels.unique().tolist() == [1, 2]
    assert (levels == 1).float().mean() == pytest.approx(0.25, abs=0.04)  # half are free, half of these take 1


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


def test_spectral_loss_falls_towards_the_original():
    real, other = noise(2, 4800), noise(2, 4800, seed=1)
    losses = [float(spectral_loss(real, real + share * (other - real), RATE)) for share in (0.0, 0.1, 1.0)]
    assert losses[0] == 0
    assert losses[0] < losses[1] < losses[2]


def test_spectral_loss_of_silence_is_small_and_its_gradient_finite():
    real, fake = torch.zeros(1, 4800), noise(1, 4800).mul(1e-4).requires_grad_()
    loss = spectral_loss(real, fake, RATE)
    loss.backward()
    assert 0 < loss.item() < 1
    assert torch.isfinite(fake.grad).all()
    assert fake.grad.abs().max() > 0


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
    real, fake = torch.sin(torch.arange(2400) * 0.3).repeat(2, 1) * 0.3, noise(2, 2400)
    optimizer = torch.optim.Adam(judge.parameters(), lr=1e-2)
    losses = []
    for _ in range(15):
        losses.append(discriminator_loss(judge(real), judge(fake)))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert [len(maps) for _, maps in judge(real)] == [4, 4]
    assert losses[-1] < 0.7 * losses[0]
