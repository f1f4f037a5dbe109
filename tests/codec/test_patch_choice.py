"""Patch codes side by side: a VQ-VAE at toy size, what codes cost by counting, and the comparison of three codecs."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from fakes.codecs import RATE, noise, tone

from envsound.base.errors import InputError
from envsound.codec.counting import PairCounts, predictability
from envsound.codec.decoder import NoiseDecoder
from envsound.codec.patches import LOG_FLOOR, PatchCodec, PatchConfig, to_patches
from envsound.codec.quantizer import ResidualQuantizer
from envsound.codec.training.choice import compare_codes
from envsound.codec.training.vqvae import VqVaeTraining, fit_vqvae
from envsound.codec.vqvae import PatchVqVae, VqVaeConfig

KMEANS, RESIDUAL, VQVAE = "k-means", "k-means, two stages", "VQ-VAE"
TINY, SHAPE = PatchConfig(codebook_size=16), VqVaeConfig(width=16, code_dim=8)
PLAN = VqVaeTraining(n_steps=60, batch_size=8, window=8, lr=1e-2, warm_up=5, quantize_from=0.3)
CLIPS = [noise(2 * RATE, seed, 0.2 / 4**seed) for seed in range(3)] + [tone(2 * RATE, 200.0 * 3**n) for n in range(3)]


@pytest.fixture(scope="module")
def vqvae() -> PatchVqVae:
    return fit_vqvae([torch.from_numpy(np.stack(CLIPS))], TINY, SHAPE, PLAN)


# The VQ-VAE


def test_a_vqvae_learns_to_tell_sounds_apart_the_same_every_time(vqvae):
    clips = torch.from_numpy(np.stack(CLIPS))
    log_mel = vqvae.columns(clips)
    decoded = vqvae.decode(vqvae.encode(log_mel))
    mean = log_mel.mean((0, 1))
    assert (decoded - log_mel).square().mean() < 0.3 * (mean - log_mel).square().mean()
    before = torch.get_rng_state()
    again = fit_vqvae([clips], TINY, SHAPE, PLAN)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in vqvae.state_dict().items())


def test_a_vqvae_is_heard_through_the_codec_as_code_vectors_are(vqvae):
    codec = PatchCodec(vqvae, NoiseDecoder(TINY), "vqvae", "0" * 64)
    codes = codec.encode(torch.from_numpy(np.stack(CLIPS)))
    assert codes.shape == (6, 4, 38) and codes.dtype == torch.int64 and codes.max() < 16
    assert codec.decode(codes).shape == (6, 38 * 1280)
    low = vqvae.decode(codes[:, :2])
    assert (low[..., 40:] == LOG_FLOOR).all() and torch.equal(low[..., :40], vqvae.decode(codes)[..., :40])


@torch.no_grad()
def test_bands_do_not_see_each_other_and_a_code_sees_two_columns_on_either_side(vqvae):
    log_mel = vqvae.columns(torch.from_numpy(CLIPS[0])[None])
    changed = log_mel.clone()
    changed[:, 40:44, 20:40] += 5.0  # column 10 of band 1
    before, after = (torch.stack(vqvae.latents(vqvae.patches(one))) for one in (log_mel, changed))
    moved = (after - before).abs().amax((1, 2))  # [n_bands, n_columns]
    assert moved[[0, 2, 3]].max() == 0
    assert moved[1].nonzero().flatten().tolist() == [8, 9, 10, 11, 12]
    assert torch.allclose(vqvae.patches(log_mel)[0, :80, 3] * 5.0 - 9.0, to_patches(log_mel, TINY)[0, 0, 3], atol=1e-5)


def test_latents_and_codes_of_unit_length_stay_so():
    torch.manual_seed(0)
    quantizer = ResidualQuantizer(1, 4, 3, unit_length=True)
    latents = torch.nn.functional.normalize(torch.randn(8, 3, 5), dim=1)
    quantizer.initialise(latents.transpose(1, 2).flatten(0, 1))
    for _ in range(3):
        quantizer(latents, torch.ones(8, dtype=torch.long))
        assert quantizer.codebooks.norm(dim=2).numpy() == pytest.approx(np.ones((1, 4)), abs=1e-5)


def test_nothing_is_learnt_from_silence():
    for batches in ([], [torch.zeros(2, RATE)]):
        with pytest.raises(InputError, match="VQ-VAE: no clip that holds sound"):
            fit_vqvae(batches, TINY, SHAPE, PLAN)


# What codes cost


def test_chances_are_witten_and_bell_s_and_add_up_to_one():
    known, codes = np.array([0, 0, 0, 1]), np.array([2, 2, 1, 0])
    pairs, frequency = PairCounts(known, codes, 4), np.array([0.4, 0.3, 0.2, 0.1])
    beside = [pairs.chances(np.full(4, one), np.arange(4), frequency) for one in range(4)]
    assert beside[0] == pytest.approx((np.array([0, 1, 2, 0]) + 2 * frequency) / 5)  # n = 3, T = 2
    assert beside[1] == pytest.approx((np.array([1, 0, 0, 0]) + frequency) / 2)
    assert beside[3] == pytest.approx(frequency)  # never seen
    assert np.sum(beside, axis=1) == pytest.approx(np.ones(4))


def test_what_is_known_before_and_what_below_is_saved():
    rng = np.random.default_rng(0)
    first = rng.integers(0, 8, (40, 50))
    cycle = (rng.integers(0, 8, (40, 1)) + np.arange(50)) % 8
    clips = [np.stack([a, a, b, rng.integers(0, 8, 50)]) for a, b in zip(first, cycle, strict=True)]
    rows = predictability(clips[:30], clips[30:], [np.ones(50, bool)] * 10, 8, 4).set_index("level")
    assert rows["n_codes"].tolist() == [10 * 49] * 4
    assert rows["bits_alone"].to_numpy() == pytest.approx(np.full(4, 3.0), abs=0.05)
    assert math.isnan(rows["saved_by_lower"][0]) and rows["saved_by_lower"][1] > 2.9  # the same as below
    assert rows["saved_by_previous"][2] > 2.9  # one more than before
    assert abs(rows["saved_by_previous"][3]) < 0.1 and abs(rows["saved_by_lower"][3]) < 0.1
    few = predictability(clips[:30], clips[30:], [np.arange(50) < 3] * 10, 8, 2)
    assert few["n_codes"].tolist() == [20] * 4 and few["saved_by_lower"].isna().tolist() == [True, False] * 2


# All three


def test_three_ways_to_code_patches_beside_each_other():
    codecs, levels = compare_codes(CLIPS, CLIPS[::2], 1, replace(PLAN, n_steps=5), TINY)
    assert codecs["codec"].tolist() == [KMEANS, RESIDUAL, VQVAE]
    assert codecs["n_levels"].tolist() == [4, 8, 4] and codecs["bits_per_second"].tolist() == [300.0, 600.0, 300.0]
    distance = codecs.set_index("codec")
    for name in ("log_mel_db", "sounding_log_mel_db", "heard_db"):
        assert 0 < distance[name][RESIDUAL] < distance[name][KMEANS] < distance[name][VQVAE]  # hardly trained
    assert levels.groupby(["codec", "columns"]).size().to_dict() == {
        (name, columns): n for name, n in ((KMEANS, 4), (RESIDUAL, 8), (VQVAE, 4)) for columns in ("all", "sounding")
    }
    assert (levels["bits_alone"] <= 4.5).all() and (levels["perplexity"] <= levels["codes_used"] + 1e-6).all()
    same = levels[levels["level"] < 4].set_index(["codec", "columns", "level"])
    pd.testing.assert_frame_equal(same.loc[KMEANS], same.loc[RESIDUAL])
