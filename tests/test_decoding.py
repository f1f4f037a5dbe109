"""Parallel decoding: counts, order, seeds, guidance."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from envsound.conformer import MaskedConformer, ModelConfig
from envsound.decoding import DecodingConfig, Noise, _draw, decode, guided_scores
from envsound.errors import InputError
from envsound.masking import frame_mask, n_masked_after

torch.manual_seed(0)
MODEL = MaskedConformer(
    ModelConfig(n_levels=3, codebook_size=16, dim=32, n_layers=1, n_heads=4, conv_kernel=5, n_classes=4)
).eval()
MASK = MODEL.mask_token


def history(config, n_frames, seeds=None, classes=None):
    steps = []
    decode(MODEL, n_frames, seeds or list(range(len(n_frames))), config, classes,
           on_step=lambda level, step, codes: steps.append((level, step, codes.clone())))  # fmt: skip
    return steps


@settings(max_examples=15, deadline=None)
@given(
    n_frames=st.lists(st.integers(1, 30), min_size=1, max_size=3),
    first=st.integers(1, 8),
    second=st.integers(1, 3),
    order=st.sampled_from(["confidence", "random"]),
)
def test_each_step_leaves_exactly_the_scheduled_number_masked(n_frames, first, second, order):
    schedule = (first, second, 1)
    for level, step, codes in history(DecodingConfig(schedule, order=order), n_frames):
        for item, length in enumerate(n_frames):
            left = (codes[item, :, :length] == MASK).sum(1).tolist()
            assert left[level] == n_masked_after(step, schedule[level], length)
            assert left[:level] == [0] * level and left[level + 1 :] == [length] * (2 - level)
            assert (codes[item, :, length:] == MASK).all()


def test_an_accepted_code_never_changes():
    before = None
    for _, _, codes in history(DecodingConfig((6, 4, 2)), [25, 18]):
        if before is not None:
            kept = before != MASK
            assert torch.equal(codes[kept], before[kept])
        before = codes


def test_one_seed_one_result_whatever_the_batch():
    config = DecodingConfig((5, 2, 1), fine_temperature=1.0, guidance_scale=2.0)
    together = decode(MODEL, [20, 12], [7, 8], config, classes=[0, 3])
    alone = decode(MODEL, [12], [8], config, classes=[3])
    assert torch.equal(together[1, :, :12], alone[0])
    assert torch.equal(alone, decode(MODEL, [12], [8], config, classes=[3]))
    assert not torch.equal(alone, decode(MODEL, [12], [9], config, classes=[3]))


def noise_of(length):
    return Noise([torch.Generator().manual_seed(0)], [length], torch.device("cpu"))


def test_order_noise_is_standard_gumbel():
    noise = noise_of(200_000).gumbel(torch.Size([1, 200_000]))
    assert noise.mean().item() == pytest.approx(0.5772, abs=0.01)  # Euler's constant
    assert noise.var().item() == pytest.approx(torch.pi**2 / 6, abs=0.03)


def test_sampling_follows_the_model():
    """Gumbel-max draws codes as often as softmax says."""
    scores = torch.tensor([2.0, 1.0, 0.0, -1.0]).expand(1, 20_000, 4)
    drawn = _draw(scores, 1.0, noise_of(20_000))[0]
    shares = torch.bincount(drawn, minlength=4) / len(drawn)
    assert torch.allclose(shares, scores[0, 0].softmax(0), atol=0.015)


def test_never_emits_the_mask_token():
    codes = decode(MODEL, [40], [0], DecodingConfig((3, 1, 1), temperature=5.0))
    assert codes.min() >= 0 and codes.max() < MASK


def test_one_greedy_step_takes_the_most_likely_codes():
    codes = torch.full((1, 3, 10), MASK)
    valid = frame_mask(torch.tensor([10]))
    expected = guided_scores(MODEL, codes, valid, None, 0, DecodingConfig((1, 1, 1))).argmax(-1)
    decoded = decode(MODEL, [10], [0], DecodingConfig((1, 1, 1), temperature=0.0))
    assert torch.equal(decoded[:, 0], expected)


def test_confident_frames_are_accepted_first():
    """Greedy and without order noise, step 1 of 2 keeps the frames whose best code is most probable."""
    config = DecodingConfig((2, 1, 1), temperature=0.0, order_noise=0.0)
    scores = guided_scores(MODEL, torch.full((1, 3, 20), MASK), frame_mask(torch.tensor([20])), None, 0, config)
    best = torch.log_softmax(scores, -1).max(-1).values[0]
    first = history(config, [20])[0][2][0, 0] != MASK
    assert best[first].min() >= best[~first].max()


def test_guidance_scale_one_is_the_conditional_model_and_two_extrapolates():
    codes, valid = torch.full((1, 3, 6), MASK), frame_mask(torch.tensor([6]))
    dog = torch.tensor([1])
    with torch.no_grad():
        free = MODEL.logits(MODEL(codes), 0)
        conditional = MODEL.logits(MODEL(codes, classes=dog), 0)
    one = guided_scores(MODEL, codes, valid, dog, 0, DecodingConfig((1, 1, 1)))
    two = guided_scores(MODEL, codes, valid, dog, 0, DecodingConfig((1, 1, 1), guidance_scale=2.0))
    assert torch.allclose(one, conditional, atol=1e-5)
    assert torch.allclose(two, 2 * conditional - free, atol=1e-4)


@pytest.mark.parametrize(
    "request_",
    [
        {"n_frames": [0]},
        {"n_frames": []},
        {"seeds": [1, 2]},
        {"classes": [4]},
        {"config": DecodingConfig((2, 1))},
    ],
)
def test_requests_that_do_not_fit_are_refused(request_):
    good = {"n_frames": [5], "seeds": [0], "config": DecodingConfig((2, 1, 1)), "classes": None}
    with pytest.raises(InputError):
        decode(MODEL, **(good | request_))


@pytest.mark.parametrize("wrong", [{"steps_per_level": (0, 1)}, {"temperature": -1.0}, {"order": "left to right"}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(InputError):
        DecodingConfig(**wrong)
