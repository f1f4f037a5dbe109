"""Parallel decoding: counts, order, seeds, guidance."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from fakes.soundstorm import small_checkpoint
from fakes.waiting import NoLooking
from hypothesis import given, settings
from hypothesis import strategies as st

from envsound.base.errors import InputError
from envsound.systems.soundstorm import decoding
from envsound.systems.soundstorm.decoding import DecodingConfig, decode, guided_scores
from envsound.systems.soundstorm.drawing import ORDERS
from envsound.systems.soundstorm.masking import frame_mask, n_masked_after

MODEL = small_checkpoint(n_levels=3).model
MASK = MODEL.mask_token
ONE = DecodingConfig((1, 1, 1))


def history(config, n_frames, seeds=None):
    steps = []
    note = lambda level, step, codes: steps.append((level, step, codes.clone()))  # noqa: E731
    decode(MODEL, n_frames, seeds or list(range(len(n_frames))), config, on_step=note)
    return steps


@settings(max_examples=15, deadline=None)
@given(
    n_frames=st.lists(st.integers(1, 30), min_size=1, max_size=3),
    first=st.integers(0, 8),
    second=st.integers(1, 3),
    order=st.sampled_from(ORDERS),
)
def test_each_step_leaves_exactly_the_scheduled_number_masked(n_frames, first, second, order):
    """By the cosine schedule, or one less with every step where a level has no number of steps (0)."""
    schedule = (first, second, 1)
    for level, step, codes in history(DecodingConfig(schedule, order=order), n_frames):
        for item, length in enumerate(n_frames):
            left = (codes[item, :, :length] == MASK).sum(1).tolist()
            n_steps = schedule[level]
            assert left[level] == (n_masked_after(step, n_steps, length) if n_steps else max(length - step, 0))
            assert left[:level] == [0] * level and left[level + 1 :] == [length] * (2 - level)
            assert (codes[item, :, length:] == MASK).all()


def test_an_accepted_code_never_changes():
    seen = [codes for *_, codes in history(DecodingConfig((6, 4, 2)), [25, 18])]
    for before, after in pairwise(seen):
        assert torch.equal(after[before != MASK], before[before != MASK])


@pytest.mark.parametrize("order", ORDERS)
def test_one_seed_one_result_whatever_the_batch(order):
    config = DecodingConfig((5, 2, 1), fine_temperature=1.0, guidance_scale=2.0, order=order)
    together = decode(MODEL, [20, 12, 12], [7, 8, 8], config, classes=[0, 1, 0])
    alone = decode(MODEL, [12], [8], config, classes=[1])
    assert torch.equal(together[1, :, :12], alone[0]) and not torch.equal(together[1], together[2])
    assert torch.equal(alone, decode(MODEL, [12], [8], config, classes=[1]))
    assert not torch.equal(alone, decode(MODEL, [12], [9], config, classes=[1]))


def test_spans_are_whole_columns():
    """Halfway through its level, each level has the same columns."""
    halfway = [codes[0, level] != MASK for level, step, codes in history(DecodingConfig((2, 2, 2), order="spans"), [31])
               if step == 1]  # fmt: skip
    assert 0 < halfway[0].sum() < 31 and all(torch.equal(halfway[0], other) for other in halfway[1:])


def test_never_emits_the_mask_token():
    codes = decode(MODEL, [40], [0], DecodingConfig((3, 1, 1), temperature=5.0))
    assert codes.min() >= 0 and codes.max() < MASK


def test_one_step_is_a_draw_from_one_pass():
    """What a single pass says is drawn from, at the temperature asked for, with the seed's noise."""
    first = history(replace(ONE, temperature=1.7), [30], seeds=[5])[0][2]
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


def scores(share: float = 1.0, **scales) -> torch.Tensor:
    """Return the scores of level 0 of an item of six masked frames, for a dog."""
    codes, valid = torch.full((1, 3, 6), MASK), frame_mask(torch.tensor([6]))
    with torch.no_grad():
        return guided_scores(MODEL, codes, valid, torch.tensor([1]), 0, replace(ONE, **scales), [share])


def test_guidance_scale_one_is_the_conditional_model_and_two_extrapolates():
    codes = torch.full((1, 3, 6), MASK)
    with torch.no_grad():
        free, told = (MODEL.logits(MODEL(codes, classes=one), 0) for one in (None, torch.tensor([1])))
    assert torch.allclose(scores(), told, atol=1e-5)
    assert torch.allclose(scores(guidance_scale=2.0), 2 * told - free, atol=1e-4)


def test_guidance_is_annealed_with_the_share_still_masked():
    annealed = {"guidance_scale": 3.0, "guidance_end": 1.0}
    for share, scale in ((1.0, 3.0), (0.5, 2.0), (0.0, 1.0)):
        assert torch.allclose(scores(share, **annealed), scores(guidance_scale=scale), atol=1e-4)
    assert not torch.allclose(scores(0.0, **annealed), scores(guidance_scale=3.0), atol=1e-2)


def test_finished_items_and_known_codes_cost_no_passes():
    passes, known = [], torch.randint(MASK, (1, 3, 5))
    hook = MODEL.register_forward_pre_hook(lambda _, given: passes.append(tuple(given[0].shape)))
    assert torch.equal(decode(MODEL, [5], [0], DecodingConfig((2, 1, 1)), known=known), known) and not passes
    decode(MODEL, [7, 4], [0, 1], DecodingConfig((0, 1, 1)))
    hook.remove()
    assert passes == [(2, 3, 7)] * 4 + [(1, 3, 7)] * 3 + [(2, 3, 7)] * 2


def test_the_adaptive_schedule_takes_one_step_when_the_budget_is_large_and_many_when_it_is_small():
    steps = {budget: len(history(replace(ONE, entropy_budget=budget), [12])) for budget in (1e-6, 4, 1e6)}
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


@pytest.mark.parametrize(
    "wrong",
    [
        {"n_frames": [0]}, {"n_frames": []}, {"seeds": [1, 2]}, {"classes": [4]}, {"config": DecodingConfig((2, 1))},
        *({"known": known} for known in (torch.zeros(1, 3, 4, dtype=torch.long), torch.zeros(1, 3, 5))),
        *({"known": torch.full((1, 3, 5), code)} for code in (MASK + 1, -1)),
    ],
)  # fmt: skip
def test_requests_that_do_not_fit_are_refused(wrong):
    good = {"n_frames": [5], "seeds": [0], "config": ONE, "classes": None}
    with pytest.raises(InputError):
        decode(MODEL, **(good | wrong))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("steps_per_level", (-1, 1)), ("temperature", -1.0), ("order", "left to right"), ("top_p", 0.0),
        ("top_p", 1.5), ("top_k", -1), ("entropy_budget", -0.1),
    ],
)  # fmt: skip
def test_impossible_settings_are_refused(name, value):
    with pytest.raises(InputError, match=name):
        DecodingConfig(**{name: value})


RECORDED = DecodingConfig((5, 2, 1), fine_temperature=1.0, guidance_scale=2.0, guidance_end=1.5, top_p=0.9, top_k=20)


@pytest.mark.parametrize("classes", [None, [0, 1]])
@pytest.mark.parametrize("order", ORDERS)
def test_a_recorded_decoding_is_the_decoding(order, classes, monkeypatch):
    config = replace(RECORDED, order=order)
    expected = [decode(MODEL, [14, 14], seeds, config, classes) for seeds in ([1, 2], [3, 1])]
    monkeypatch.setattr(decoding, "GPU", "cpu")
    decoding._recorded.cache_clear()
    found = [decode(MODEL, [14, 14], seeds, config, classes) for seeds in ([1, 2], [3, 1])]
    assert decoding._recorded.cache_info().misses == 1
    assert torch.equal(torch.stack(found), torch.stack(expected)) and not torch.equal(found[0], found[1])
    other = decode(MODEL, [14, 9], [1, 2], config, classes)  # of two lengths: not recorded
    assert decoding._recorded.cache_info().misses == 1
    assert torch.equal(other[1, :, :9], decode(MODEL, [9], [2], config, classes and classes[1:])[0])


@pytest.mark.parametrize("order", ORDERS)
def test_a_recorded_decoding_looks_at_no_value(order):
    generators = [torch.Generator().manual_seed(seed) for seed in (0, 1)]
    config = replace(RECORDED, order=order)
    with torch.no_grad(), NoLooking():
        found = decoding._decoded(MODEL, [14, 14], generators, config, torch.tensor([0, 1]))
    assert torch.equal(found, decode(MODEL, [14, 14], [0, 1], config, [0, 1]))
