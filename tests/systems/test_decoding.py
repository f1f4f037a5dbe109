"""Parallel decoding: counts, order, seeds, guidance."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from envsound.base.errors import InputError
from envsound.systems.soundstorm.conformer import MaskedConformer, ModelConfig
from envsound.systems.soundstorm.decoding import DecodingConfig, decode, guided_scores
from envsound.systems.soundstorm.masking import frame_mask, n_masked_after

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


def test_never_emits_the_mask_token():
    codes = decode(MODEL, [40], [0], DecodingConfig((3, 1, 1), temperature=5.0))
    assert codes.min() >= 0 and codes.max() < MASK


def test_one_greedy_step_takes_the_most_likely_codes():
    codes = torch.full((1, 3, 10), MASK)
    valid = frame_mask(torch.tensor([10]))
    expected = guided_scores(MODEL, codes, valid, None, 0, DecodingConfig((1, 1, 1)), [1.0]).argmax(-1)
    decoded = decode(MODEL, [10], [0], DecodingConfig((1, 1, 1), temperature=0.0))
    assert torch.equal(decoded[:, 0], expected)


def test_one_step_is_a_draw_from_one_pass():
    """What a single pass says is drawn from, at the temperature asked for, with the seed's noise."""
    first = history(DecodingConfig((1, 1, 1), temperature=1.7), [30], seeds=[5])[0][2]
    hidden, valid = torch.full((1, 3, 30), MASK), torch.ones(1, 30, dtype=torch.bool)
    with torch.no_grad():
        share = (MODEL.logits(MODEL(hidden, valid), 0) / 1.7).softmax(-1)
    position = torch.rand(30, generator=torch.Generator().manual_seed(5))
    expected = [int((share[0, frame].cumsum(0) <= position[frame]).sum()) for frame in range(30)]
    assert first[0, 0].tolist() == expected


def test_confident_frames_are_accepted_first():
    """Greedy and without order noise, step 1 of 2 keeps the frames whose best code is most probable."""
    config = DecodingConfig((2, 1, 1), temperature=0.0, order_noise=0.0)
    scores = guided_scores(MODEL, torch.full((1, 3, 20), MASK), frame_mask(torch.tensor([20])), None, 0, config, [1.0])
    best = torch.log_softmax(scores, -1).max(-1).values[0]
    first = history(config, [20])[0][2][0, 0] != MASK
    assert best[first].min() >= best[~first].max()


def test_guidance_scale_one_is_the_conditional_model_and_two_extrapolates():
    codes, valid = torch.full((1, 3, 6), MASK), frame_mask(torch.tensor([6]))
    dog = torch.tensor([1])
    with torch.no_grad():
        free = MODEL.logits(MODEL(codes), 0)
        conditional = MODEL.logits(MODEL(codes, classes=dog), 0)
    one = guided_scores(MODEL, codes, valid, dog, 0, DecodingConfig((1, 1, 1)), [1.0])
    two = guided_scores(MODEL, codes, valid, dog, 0, DecodingConfig((1, 1, 1), guidance_scale=2.0), [1.0])
    assert torch.allclose(one, conditional, atol=1e-5)
    assert torch.allclose(two, 2 * conditional - free, atol=1e-4)


def test_guidance_is_annealed_with_the_share_still_masked():
    codes, valid, dog = torch.full((1, 3, 6), MASK), frame_mask(torch.tensor([6])), torch.tensor([1])

    def scores(share, **scales):
        return guided_scores(MODEL, codes, valid, dog, 0, DecodingConfig((1, 1, 1), **scales), [share])

    annealed = {"guidance_scale": 3.0, "guidance_end": 1.0}
    assert torch.allclose(scores(1.0, **annealed), scores(1.0, guidance_scale=3.0), atol=1e-5)
    assert torch.allclose(scores(0.5, **annealed), scores(0.5, guidance_scale=2.0), atol=1e-5)
    assert torch.allclose(scores(0.0, **annealed), scores(0.0), atol=1e-4)
    assert not torch.allclose(scores(0.0, **annealed), scores(0.0, guidance_scale=3.0), atol=1e-2)


def test_several_classes_in_one_batch_are_as_if_alone():
    config = DecodingConfig((4, 1, 1), guidance_scale=2.0)
    together = decode(MODEL, [9, 9, 9], [5, 5, 5], config, classes=[0, 1, 2])
    assert not torch.equal(together[0], together[1])
    for row in range(3):
        assert torch.equal(together[row], decode(MODEL, [9], [5], config, classes=[row])[0])


def test_one_code_a_step_accepts_exactly_one():
    left = [[(codes[item, level] == MASK)[:n].sum().item() for item, n in enumerate((7, 4))]
            for level, _, codes in history(DecodingConfig((0, 1, 1)), [7, 4]) if level == 0]  # fmt: skip
    assert left == [[6, 3], [5, 2], [4, 1], [3, 0], [2, 0], [1, 0], [0, 0]]


class Counter(torch.nn.Module):
    """A model that notes the shape of every batch it is asked about."""

    def __init__(self):
        super().__init__()
        self.inner, self.config, self.mask_token = MODEL, MODEL.config, MASK
        self.seen = []

    def forward(self, codes, valid, classes):
        self.seen.append(tuple(codes.shape))
        return self.inner(codes, valid, classes)

    def logits(self, states, level):
        return self.inner.logits(states, level)


def test_finished_items_cost_no_passes():
    model = Counter()
    decode(model, [7, 4], [0, 1], DecodingConfig((0, 1, 1)))
    assert model.seen == [(2, 3, 7)] * 4 + [(1, 3, 7)] * 3 + [(2, 3, 7)] * 2


def test_the_adaptive_schedule_takes_one_step_when_the_budget_is_large_and_many_when_it_is_small():
    steps = {budget: len(history(DecodingConfig((1, 1, 1), entropy_budget=budget), [12])) for budget in (1e-6, 4, 1e6)}
    assert steps[1e6] == 3 and steps[1e-6] == 36
    assert 3 < steps[4] < 36


@settings(max_examples=15, deadline=None)
@given(
    share=st.floats(0, 1),
    seed=st.integers(0, 99),
    steps=st.tuples(*[st.integers(0, 4)] * 3),
    budget=st.sampled_from([0.0, 3.0]),
)
def test_known_codes_are_kept_and_the_rest_is_filled(share, seed, steps, budget):
    generator = torch.Generator().manual_seed(seed)
    known = torch.randint(MASK, (2, 3, 11), generator=generator)
    asked = torch.rand(2, 3, 11, generator=generator) < share
    known[asked] = MASK
    codes = decode(MODEL, [11, 6], [0, 1], DecodingConfig(steps, entropy_budget=budget), known=known)
    valid = frame_mask(torch.tensor([11, 6]))[:, None].expand_as(codes)
    assert torch.equal(codes[valid & ~asked], known[valid & ~asked])
    assert (codes[valid] < MASK).all() and (codes[~valid] == MASK).all()


def test_nothing_asked_costs_no_pass():
    model = Counter()
    known = torch.randint(MASK, (1, 3, 5))
    assert torch.equal(decode(model, [5], [0], DecodingConfig((2, 1, 1)), known=known), known)
    assert model.seen == []


@pytest.mark.parametrize(
    "request_",
    [
        {"n_frames": [0]},
        {"n_frames": []},
        {"seeds": [1, 2]},
        {"classes": [4]},
        {"config": DecodingConfig((2, 1))},
        {"known": torch.zeros(1, 3, 4, dtype=torch.long)},
        {"known": torch.zeros(1, 3, 5)},
        {"known": torch.full((1, 3, 5), MASK + 1)},
        {"known": torch.full((1, 3, 5), -1)},
    ],
)
def test_requests_that_do_not_fit_are_refused(request_):
    good = {"n_frames": [5], "seeds": [0], "config": DecodingConfig((2, 1, 1)), "classes": None}
    with pytest.raises(InputError):
        decode(MODEL, **(good | request_))


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps_per_level": (-1, 1)},
        {"temperature": -1.0},
        {"order": "left to right"},
        {"top_p": 0.0},
        {"top_p": 1.5},
        {"top_k": -1},
        {"entropy_budget": -0.1},
    ],
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(InputError):
        DecodingConfig(**wrong)
