"""Training the decoder of patch tokens at toy size: crops, judges, and going on where it stopped, bit for bit."""

import math
from dataclasses import replace
from itertools import count
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from fakes.codecs import RATE, noise, tone

from envsound.base.errors import InputError
from envsound.codec import load_codec
from envsound.codec.decoder import DecoderConfig
from envsound.codec.patches import PatchConfig, PatchQuantizer
from envsound.codec.training import decoder as module
from envsound.codec.training.bank import Alterations, ClipBank, filtered, octave_weights, within_full_scale
from envsound.codec.training.code_vectors import fit_patches
from envsound.codec.training.decoder import CODEC, STATE, TABLE, DecoderTrainer, DecoderTraining
from envsound.codec.training.losses import Jury, PeriodDiscriminator

CLIPS = [tone(9000, 300.0), noise(7000), tone(2000, 2000.0)]
HELD_OUT = torch.from_numpy(tone(6000, 500.0))[None]
SHAPE = DecoderConfig(dim=8, hidden=8, n_blocks=1)
PLAN = DecoderTraining(
    n_steps=6,
    batch_size=2,
    judged_items=1,
    crop_columns=2,
    judge_channels=2,
    warm_up=2,
    adversary_from=0.3,  # step 2
    heard_from=0.4,  # after step 2
    heard_fully=0.7,
    watch_every=2,
)
PLAIN = Alterations(speed_share=0, octave_share=0, level_db=(0.0, 0.0))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def quantizer() -> PatchQuantizer:
    clips = torch.from_numpy(np.stack([noise(RATE), tone(RATE, 300.0)]))
    return fit_patches([clips], PatchConfig(codebook_size=8))


@pytest.fixture(scope="module")
def uninterrupted(quantizer, tmp_path_factory) -> DecoderTrainer:
    one = trainer(quantizer, tmp_path_factory.mktemp("whole"))
    one.run()
    return one


def trainer(quantizer, folder, plan: DecoderTraining = PLAN, shape: DecoderConfig = SHAPE) -> DecoderTrainer:
    return DecoderTrainer(CLIPS, HELD_OUT, quantizer, folder, plan, shape, measure=loudest)


def loudest(real: torch.Tensor, heard: torch.Tensor, sample_rate: int) -> dict[str, torch.Tensor]:
    return {"peak": heard.abs().amax(1) if (real.shape, sample_rate) == (heard.shape, RATE) else real}


def everything(one: DecoderTrainer) -> dict[str, torch.Tensor]:
    parts = {"decoder": one.decoder, "averaged": one.averaged, "jury": one.jury}
    return {f"{part}.{name}": value for part, own in parts.items() for name, value in own.state_dict().items()}


def different(one: DecoderTrainer, other: DecoderTrainer) -> list[str]:
    a, b = everything(one), everything(other)
    return [name for name in a if not torch.equal(a[name], b[name])]


# Crops


def test_unaltered_crops_are_cut_from_the_clips():
    bank = ClipBank(CLIPS[:2], RATE, 1000, "cpu")
    crops = bank.draw(12, generator(), PLAIN).numpy()
    whole = [np.lib.stride_tricks.sliding_window_view(clip, 1000)[::100] for clip in CLIPS[:2]]
    nearest = [min(float(np.abs(windows - crop).max(1).min()) for windows in whole) for crop in crops]
    assert max(nearest) < 1e-4  # 16 bits


def test_a_clip_shorter_than_a_crop_is_a_loop():
    clip = noise(700)
    crop = ClipBank([clip], RATE, 1600, "cpu").draw(1, generator(), PLAIN)[0].numpy()
    assert np.abs(crop - np.resize(clip, 1600)).max() < 1e-4


@pytest.mark.parametrize("speed", [0.85, 1.0, 1.18])
def test_speed_moves_a_tone_and_keeps_its_level(speed):
    bank = ClipBank([tone(RATE, 1500.0)], RATE, 12_000, "cpu")
    crop = bank._read(torch.tensor([0]), torch.tensor([speed]))[0].numpy()
    true_speed = round(speed * 512) / 512
    assert np.abs(crop - tone(12_000, 1500.0 * true_speed)).max() < 1e-3


def test_a_faster_clip_does_not_alias():
    bank = ClipBank([tone(RATE, 11_500.0)], RATE, 12_000, "cpu")
    crop = bank._read(torch.tensor([0]), torch.tensor([1.18]))[0, 100:-100]
    assert float(crop.square().mean().sqrt()) < 0.1 * 0.3 / math.sqrt(2)


def test_loud_starts_are_drawn_and_silent_ones_hardly():
    clip = np.concatenate([np.zeros(20_000, np.float32), noise(20_000)])
    crops = ClipBank([clip], RATE, 2000, "cpu").draw(50, generator(), PLAIN)
    assert (crops.abs().amax(1) == 0).float().mean() < 0.1


def test_crops_repeat_with_the_seed_and_stay_within_full_scale():
    bank = ClipBank(CLIPS, RATE, 1280, "cpu")
    one, same, other = (bank.draw(8, generator(seed)) for seed in (0, 0, 1))
    assert torch.equal(one, same) and not torch.equal(one, other)
    assert one.shape == (8, 1280) and one.abs().max() <= 1 + 1e-6
    heard = within_full_scale(torch.tensor([[0.5, -0.25], [0.1, 0.0], [0.0, 0.0]]), torch.tensor([20.0, 6.0206, 6.0]))
    assert torch.allclose(heard, torch.tensor([[1.0, -0.5], [0.2, 0.0], [0.0, 0.0]]), atol=1e-4)


def test_octaves_have_their_gains():
    weights = octave_weights(RATE, RATE)
    assert weights.shape == (8, RATE // 2 + 1)
    assert weights.sum(0).numpy() == pytest.approx(np.ones(RATE // 2 + 1), abs=1e-6)
    gains = torch.zeros(1, 8)
    gains[0, 4] = 6.0  # of 1 kHz
    clips = torch.from_numpy(np.stack([tone(RATE, 1000.0), tone(RATE, 4000.0)]))
    heard = filtered(clips, (gains @ weights).expand(2, -1))
    ratio = 20 * torch.log10(heard.square().mean(1).sqrt() / clips.square().mean(1).sqrt())
    assert ratio.numpy() == pytest.approx([6.0, 0.0], abs=0.01)


@pytest.mark.parametrize("clips", [[], [np.zeros(0, np.float32)], [np.zeros((2, 9), np.float32)]])
def test_clips_without_samples_are_refused(clips):
    with pytest.raises(InputError, match="expected at least one"):
        ClipBank(clips, RATE, 1280, "cpu")


# Judges


def test_periods_are_columns_of_a_folded_waveform():
    judge = PeriodDiscriminator(3, 2)
    scores, maps = judge(torch.randn(2, 1000))
    assert scores.shape == (2, 1, 5, 3) and [m.shape[1] for m in maps] == [2, 4, 8, 16, 16]
    impulse = torch.zeros(1, 999)
    impulse[0, 4] = 1.0  # the second column alone moves
    moved = (judge(impulse)[0] - judge(torch.zeros(1, 999))[0]).abs().sum((0, 1, 2))
    assert (moved > 0).tolist() == [False, True, False]


def test_the_jury_has_three_spectra_and_five_periods():
    assert len(Jury(2)(torch.randn(1, 4000))) == 8


# Training


def test_training_moves_everything_and_stays_finite(uninterrupted, quantizer, tmp_path):
    fresh = trainer(quantizer, tmp_path)
    assert uninterrupted.step == PLAN.n_steps
    assert all(torch.isfinite(value).all() for value in everything(uninterrupted).values())
    still = set(everything(fresh)) - set(different(fresh, uninterrupted))
    assert all(name.endswith("original0") or "bias" in name for name in still if "jury" in name)
    assert not [name for name in still if "jury" not in name]


def test_the_folder_holds_a_codec_and_a_table(uninterrupted):
    table = pd.read_csv(uninterrupted.folder / TABLE)
    assert table["step"].tolist() == [2, 4, 6]
    always = ["seconds", "distance", "spectral", "waveform", "likelihood", "log_mel_distance", "level_difference"]
    assert np.isfinite(table[[*always, "peak"]]).all(axis=None)
    assert table["discriminator"].notna().tolist() == [False, True, True]
    codec = load_codec(str(uninterrupted.folder / CODEC), device="cpu")
    assert codec.decoder.config == SHAPE
    for name, value in uninterrupted.averaged.state_dict().items():
        assert torch.equal(codec.decoder.state_dict()[name], value.half().float())


def test_it_goes_on_bit_for_bit_where_it_was_killed(uninterrupted, quantizer, tmp_path, monkeypatch):
    whole = DecoderTrainer._train_step

    def killed_at_5(self, progress):
        if self.step == 5:
            raise KeyboardInterrupt
        whole(self, progress)

    monkeypatch.setattr(DecoderTrainer, "_train_step", killed_at_5)
    with pytest.raises(KeyboardInterrupt):
        trainer(quantizer, tmp_path).run()
    monkeypatch.undo()
    resumed = trainer(quantizer, tmp_path)
    assert resumed.step == 4
    resumed.run()
    assert different(resumed, uninterrupted) == []
    again = trainer(quantizer, tmp_path)  # what is finished is not trained further
    again.run()
    assert again.step == PLAN.n_steps and different(again, uninterrupted) == []
    tables = [pd.DataFrame(one.history).drop(columns="seconds") for one in (resumed, uninterrupted)]
    pd.testing.assert_frame_equal(*tables)


def test_a_budget_of_seconds_ends_training_and_its_schedule(quantizer, tmp_path, monkeypatch):
    clock = count()
    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: next(clock) / 10))
    one = trainer(quantizer, tmp_path, replace(PLAN, n_steps=100_000, max_seconds=0.7, watch_every=100_000))
    one.run(max_seconds=0.3)
    assert one.step == 3 and not one.finished and one.optimizers[0].param_groups[0]["lr"] > 0.5 * PLAN.lr
    one.run()
    assert one.step == 7 and one.finished and one.history[-1]["step"] == 7 and (tmp_path / STATE).exists()
    assert one.optimizers[0].param_groups[0]["lr"] < 0.1 * PLAN.lr  # the cosine had come down


@pytest.mark.parametrize("change", [{"plan": replace(PLAN, lr=1.0)}, {"shape": replace(SHAPE, dim=9)}, {}])
def test_a_folder_of_another_plan_shape_or_codebook_is_refused_and_a_damaged_state_made_again(
    uninterrupted, quantizer, change, tmp_path
):
    own = quantizer if change else PatchQuantizer(quantizer.config)
    with pytest.raises(InputError, match="was trained with other parameters"):
        trainer(own, uninterrupted.folder, **change)
    (tmp_path / STATE).write_bytes((uninterrupted.folder / STATE).read_bytes()[:500])
    with pytest.warns(UserWarning, match=r"decoder_training\.pt: damaged"):
        assert trainer(own, tmp_path, **change).step == 0


def test_a_loss_that_is_no_number_is_named_and_nothing_written(quantizer, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "likelihood_loss", lambda power, spectra: power.mean() * math.nan)
    with pytest.raises(InputError, match="is nan before step 2; try a lower lr"):
        trainer(quantizer, tmp_path).run()
    assert not list(tmp_path.iterdir())
