"""Readouts: padding changes nothing, statistics are what they are called, and no class is ever among the inputs."""

import numpy as np
import pytest
import torch

from envsound.base.errors import InputError
from envsound.codec.fourier import FourierCodec, FourierConfig
from envsound.codec.stored import StoredCodec
from envsound.studies.recognition.readout_probe import ProbeReadout
from envsound.studies.recognition.readouts import READOUTS, embed_codes, layer_states, pooled_statistics, seeded_readout
from envsound.systems.soundstorm.checkpoints import codebooks_of, start_from_codebooks
from envsound.systems.soundstorm.conformer import MaskedConformer, ModelConfig

SHAPE = ModelConfig(n_levels=3, codebook_size=12, dim=32, n_layers=2, n_heads=2, conv_kernel=3, dropout=0.2)


@pytest.fixture
def model(own_random_state):
    torch.manual_seed(0)
    return MaskedConformer(SHAPE).eval()


def codes_of(n_frames: int, batch: int = 2, seed: int = 0) -> torch.Tensor:
    return torch.randint(12, (batch, 3, n_frames), generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def test_the_last_layer_is_what_the_model_returns(model):
    codes = codes_of(9)
    layers = layer_states(model, embed_codes(model, codes))
    assert len(layers) == 3
    torch.testing.assert_close(layers[-1], model(codes))
    assert layers[0].shape == (2, 9, 32) and not torch.equal(layers[1], layers[2])


def test_a_model_that_knows_classes_is_refused():
    knowing = MaskedConformer(ModelConfig(dim=32, n_layers=1, n_heads=2, n_classes=5))
    with pytest.raises(InputError, match="told one of 5 classes"):
        layer_states(knowing, torch.zeros(1, 4, 32))


@torch.no_grad()
@pytest.mark.parametrize("name", [*READOUTS, "probe"])
def test_padded_frames_never_change_a_readout(model, name):
    if name == "probe":
        readout = ProbeReadout(torch.rand(5, len(model.blocks) + 1, 2, model.config.dim), 4, 0.5).eval()
    else:
        readout = seeded_readout(name, model, 4, 0.5, seed=3).eval()
    short, long = codes_of(7, batch=1), codes_of(15, batch=1, seed=1)
    alone = readout(layer_states(model, embed_codes(model, short)))
    batch = torch.full((2, 3, 15), 5)
    batch[0, :, :7], batch[1] = short[0], long[0]
    valid = torch.arange(15) < torch.tensor([[7], [15]])
    layers = layer_states(model, embed_codes(model, batch), valid)
    torch.testing.assert_close(readout(layers, valid)[:1], alone, atol=1e-5, rtol=1e-4)
    spoilt = [states.masked_fill(~valid[..., None], float("nan")) for states in layers]
    torch.testing.assert_close(readout(spoilt, valid), readout(layers, valid))


def test_statistics_are_mean_and_standard_deviation_of_the_valid_frames():
    states = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(1))
    valid = torch.arange(6) < torch.tensor([[6], [4]])
    found = pooled_statistics([states, 2 * states], valid)
    assert found.shape == (2, 2, 2, 4)
    for item, n_frames in enumerate((6, 4)):
        kept = states[item, :n_frames]
        torch.testing.assert_close(found[item, 0, 0], kept.mean(0))
        torch.testing.assert_close(found[item, 0, 1], kept.std(0, correction=0))
        torch.testing.assert_close(found[item, 1], 2 * found[item, 0])


def test_mean_reads_the_last_layer_and_layers_weighs_them_all(model):
    statistics = torch.randn(5, 3, 2, 32, generator=torch.Generator().manual_seed(2))
    changed = statistics.clone()
    changed[:, 0] += 1
    mean, layers = (seeded_readout(name, model, 4, 0.0, seed=0) for name in ("mean", "layers"))
    assert torch.equal(mean.scores(statistics), mean.scores(changed))
    assert not torch.allclose(layers.scores(statistics), layers.scores(changed))
    with torch.no_grad():
        layers.mix.copy_(torch.tensor([-50.0, -50.0, 50.0]))
    torch.testing.assert_close(layers.scores(statistics), layers.scores(changed))


def test_attention_can_look_at_one_frame_alone(model):
    readout = seeded_readout("attention", model, 4, 0.0, seed=0).eval()
    states = torch.zeros(1, 5, 32)
    states[0, 2, 0] = 1.0
    with torch.no_grad():
        readout.attention[0].weight.zero_()[0, 0] = 5.0
        readout.attention[0].bias.zero_()
        readout.attention[2].weight.fill_(100.0)
        only = readout([states[:, 2:3]])
        torch.testing.assert_close(readout([states]), only, atol=1e-4, rtol=1e-4)


def test_one_seed_gives_one_readout_and_an_unknown_one_is_named(model):
    before = torch.get_rng_state()
    one, again, other = (seeded_readout("mean", model, 4, 0.0, seed).classes.weight for seed in (1, 1, 2))
    assert torch.equal(one, again) and not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.raises(InputError, match="readout='max': expected one of mean, layers, attention"):
        seeded_readout("max", model, 4, 0.0, 0)


# Embeddings from the codec's codebooks


def test_embeddings_keep_the_distances_between_codes(model):
    codebooks = torch.randn(3, 12, 8, generator=torch.Generator().manual_seed(4))
    codebooks *= torch.tensor([4.0, 2.0, 1.0])[:, None, None]
    start_from_codebooks(model, codebooks, torch.Generator().manual_seed(0))
    weights = torch.stack([embedding.weight.detach() for embedding in model.embeddings])
    ratios = torch.stack([torch.pdist(weights[level, :12]) / torch.pdist(codebooks[level]) for level in range(3)])
    torch.testing.assert_close(ratios, ratios[0, 0].expand_as(ratios), rtol=1e-4, atol=1e-4)
    masks = weights[:, 12]
    torch.testing.assert_close(masks @ weights[:, :12].flatten(0, 1).T, torch.zeros(3, 36), atol=1e-4, rtol=0)
    lengths = weights[:, :12].square().sum(2).mean(1)
    torch.testing.assert_close(masks.square().sum(1), lengths)
    assert float(lengths.sum()) == pytest.approx(32, rel=1e-4)  # unit variance in each of 32 channels
    np.testing.assert_allclose(weights[:, :12].mean(1), 0, atol=1e-5)


def test_codebooks_that_do_not_fit_are_named(model):
    draws = torch.Generator().manual_seed(0)
    with pytest.raises(InputError, match="2 levels of 12 codes; expected 3 of 12"):
        start_from_codebooks(model, torch.zeros(2, 12, 8), draws)
    with pytest.raises(InputError, match="dim=32: expected at least 43"):
        start_from_codebooks(model, torch.randn(3, 12, 40), draws)


def test_codebooks_are_those_of_the_codec(own_random_state):
    codec = StoredCodec(FourierCodec(FourierConfig(dim=8, hidden=8, n_encoder_blocks=1, n_decoder_blocks=1)), "x", "0")
    found = codebooks_of(codec)
    assert torch.equal(found, codec.model.quantizer.codebooks) and found.shape == (8, 1024, 64)
    codes = torch.randint(1024, (1, 8, 5))
    summed = sum(found[level][codes[0, level]] for level in range(8))
    torch.testing.assert_close(codec.dequantise(codes)[0].T, summed)
