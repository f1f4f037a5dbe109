"""Shapes, size and independence from padding."""

import pytest
import torch

from envsound.base.errors import InputError
from envsound.systems.soundstorm.conformer import Dropout, MaskedConformer, ModelConfig, rotate, rotation
from envsound.systems.soundstorm.masking import frame_mask

SMALL = ModelConfig(n_levels=3, codebook_size=16, dim=32, n_heads=4, conv_kernel=5, n_classes=4)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return MaskedConformer(SMALL).eval()


def test_shapes_and_published_size(model):
    states = model(torch.randint(17, (2, 3, 11)))
    assert states.shape == (2, 11, 32) and model.logits(states, 2).shape == (2, 11, 16)
    assert MaskedConformer(ModelConfig()).n_parameters() == pytest.approx(23.5e6, rel=0.08)


def test_padding_changes_nothing(model):
    codes = torch.randint(16, (1, 3, 9))
    padded = torch.cat([codes, torch.full((1, 3, 6), model.mask_token)], dim=2)
    batch = torch.cat([padded, torch.randint(16, (1, 3, 15))])
    alone = model.logits(model(codes), 1)
    together = model.logits(model(batch, frame_mask(torch.tensor([9, 15]))), 1)
    assert (alone[0] - together[0, :9]).abs().max() < 1e-5
    assert (model(codes) - model(padded)[:, :9]).abs().max() > 1e-3  # without a frame mask it would matter


def test_sees_both_directions(model):
    codes = torch.randint(16, (1, 3, 40))
    changed = codes.clone()
    changed[0, 0, 39] = (changed[0, 0, 39] + 1) % 16
    assert (model(codes) - model(changed))[0, 0].abs().max() > 1e-6


def test_rotary_scores_depend_on_distance_alone():
    q, k = torch.randn(1, 1, 1, 8).expand(1, 1, 20, 8), torch.randn(1, 1, 1, 8).expand(1, 1, 20, 8)
    turn = rotation(20, 8, q.device)
    scores = (rotate(q, turn) @ rotate(k, turn).transpose(-1, -2))[0, 0]
    for offset in (-7, 0, 3):
        diagonal = torch.diagonal(scores, offset)
        assert (diagonal - diagonal[0]).abs().max() < 1e-4


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("share", [0.1, 0.4])
def test_dropout_drops_its_share_scales_the_rest_and_follows_the_seed(share, dtype):
    dropout, x = Dropout(share), torch.ones(3, 1001, 33, dtype=dtype, requires_grad=True)
    torch.manual_seed(1)
    first = dropout(x)
    torch.manual_seed(1)
    assert torch.equal(first, dropout(x)) and not torch.equal(first, dropout(x))
    dropped = (first == 0).double()
    assert abs(dropped.mean() - share) < 0.005
    assert torch.corrcoef(torch.stack([dropped[:, :, 0].flatten(), dropped[:, :, 1].flatten()]))[0, 1].abs() < 0.06
    assert torch.allclose(first[first != 0], torch.tensor(1 / (1 - share), dtype=dtype))
    first.sum().backward()
    assert torch.equal(x.grad, first.detach())
    assert torch.equal(dropout.eval()(x), x)


def test_class_changes_the_states_and_none_is_no_class(model):
    codes = torch.randint(17, (1, 3, 5))
    dog, none = torch.tensor([1]), torch.tensor([model.no_class])
    assert (model(codes, classes=dog) - model(codes)).abs().max() > 1e-3
    assert torch.equal(model(codes, classes=none), model(codes))


@pytest.mark.parametrize("wrong", [{"dim": 30, "n_heads": 4}, {"dim": 12, "n_heads": 4}, {"conv_kernel": 4}])
def test_impossible_shapes_are_refused(wrong):
    with pytest.raises(InputError):
        ModelConfig(**wrong)
