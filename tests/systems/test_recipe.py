"""What training on patch tokens needs beside the published one: optimizer, schedule, near codes, tied weights."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from fakes.soundstorm import CPU, TINY, code_set, killed_at, trainer
from fakes.waiting import NoLooking

from envsound.base.errors import InputError
from envsound.systems.soundstorm.batches import CodeSet, HeldCodes
from envsound.systems.soundstorm.checkpoints import Checkpoint, load_checkpoint, save_checkpoint
from envsound.systems.soundstorm.codebooks import Codebooks, start_from_codebooks, start_heads
from envsound.systems.soundstorm.conformer import MaskedConformer
from envsound.systems.soundstorm.masking import draw_levels, draw_training_mask, frame_mask, rolled, with_near_codes
from envsound.systems.soundstorm.objective import by_level, dense_losses, masked_loss
from envsound.systems.soundstorm.optimizing import LEAST_SHARE, cosine_share, make_optimizer, make_schedule
from envsound.systems.soundstorm.plan import TrainingConfig
from envsound.systems.soundstorm.training import Trainer

TIED = TINY.__class__(**vars(TINY) | {"tied": True, "dropout": 0.0})
BOOKS = Codebooks(torch.randn(3, 16, 6, generator=torch.Generator().manual_seed(0)), n_bands=3)
RECIPE = dict(
    optimizer="adamw", weight_decay=0.05, betas=(0.9, 0.98), schedule="cosine", warmup_steps=2, ema_decay=0.9,
    level_shares=(0.5, 0.3, 0.2), label_smoothing=0.05, near_share=0.1, roll=True, start_from_codes=True,
    every_level=True, watch_every=2,
)  # fmt: skip


def seeded(seed=0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch(n=6):
    clips = code_set(n)
    codes, valid, classes = clips.batch(np.arange(n), 16)
    return codes, valid, classes, draw_training_mask(codes, valid, 16, seeded())


def recipe(folder, **changes) -> Trainer:
    config = TrainingConfig(num_epochs=4, batch_size=4, lr=3e-3, precision="32-true", **RECIPE | changes)
    return Trainer(code_set(), code_set(4, seed=1), TIED, config, folder, CPU, codec_hash="abc", codebooks=BOOKS)


def test_the_cosine_rises_by_a_line_and_falls_to_its_least():
    shares = [cosine_share(step, 4, 104) for step in range(110)]
    assert shares[:4] == [0.25, 0.5, 0.75, 1.0]
    assert shares[54] == pytest.approx((1 + LEAST_SHARE) / 2)
    assert shares[104] == shares[-1] == pytest.approx(LEAST_SHARE)
    assert all(a >= b for a, b in pairwise(shares[3:]))


def test_the_published_schedule_is_the_default():
    config, layer = TrainingConfig(lr=1e-2), torch.nn.Linear(2, 2)
    optimizer = make_optimizer(layer, config)
    ours = make_schedule(optimizer, config, 20)
    other = torch.optim.Adam(layer.parameters(), lr=1e-2)
    theirs = torch.optim.lr_scheduler.OneCycleLR(other, 1e-2, total_steps=21, pct_start=0.3)
    for _ in range(20):
        assert ours.get_last_lr() == theirs.get_last_lr() and optimizer.param_groups[0]["betas"][1] == 0.999
        other.step(), theirs.step(), optimizer.step(), ours.step()


def test_weight_decay_pulls_at_matrices_alone():
    layer = torch.nn.Linear(2, 2)
    config = TrainingConfig(optimizer="adamw", weight_decay=0.5, lr=0.1)
    optimizer = make_optimizer(layer, config)
    weight, bias = layer.weight.detach().clone(), layer.bias.detach().clone()
    for parameter in layer.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    torch.testing.assert_close(layer.weight, weight * 0.95)
    assert torch.equal(layer.bias, bias)


def test_levels_are_drawn_by_their_shares():
    drawn = draw_levels(20_000, torch.tensor([0.5, 0.0, 0.3, 0.2]), seeded())
    assert torch.bincount(drawn, minlength=4) / 20_000 == pytest.approx([0.5, 0, 0.3, 0.2], abs=0.015)


def test_a_clip_is_turned_round_within_its_own_length():
    codes, valid, _, _ = batch(20)
    turned = rolled(codes, valid, seeded())
    moved = 0
    for before, after, frames in zip(codes, turned, valid, strict=True):
        n = int(frames.sum())
        assert (after[:, n:] == 16).all()
        ways = [torch.equal(after[:, :n], before[:, :n].roll(by, 1)) for by in range(n)]
        assert any(ways)
        moved += not ways[0]
    assert moved > 10


def test_near_codes_take_the_place_of_visible_ones_alone():
    *_, mask = batch(40)
    other = with_near_codes(mask, BOOKS.near, 0.3, seeded())
    assert torch.equal(other.inputs == 16, mask.inputs == 16) and torch.equal(other.targets, mask.targets)
    changed = other.inputs != mask.inputs
    assert changed.sum() / (mask.inputs != 16).sum() == pytest.approx(0.3, abs=0.04)
    for item, level, frame in changed.nonzero():
        assert other.inputs[item, level, frame] in BOOKS.near[level, mask.inputs[item, level, frame]]


def test_near_codes_are_the_nearest_vectors_of_the_level():
    distances = (BOOKS.vectors[1][:, None] - BOOKS.vectors[1][None]).square().sum(2)
    order = distances.argsort(1)
    assert torch.equal(order[:, 0], torch.arange(16)) and torch.equal(BOOKS.near[1], order[:, 1:9])


@pytest.mark.parametrize("shape", [TINY, TIED])
def test_scores_in_one_product_cost_what_those_of_each_level_do(shape):
    model = MaskedConformer(shape).eval()
    codes, valid, classes, mask = batch()
    given = model, mask, codes, valid, classes, 0.1
    dense = dense_losses(*given)
    assert (dense[~mask.targets] == 0).all()
    torch.testing.assert_close(by_level(dense, mask.levels, 3), masked_loss(*given))


def test_tied_heads_have_no_weights_of_their_own_and_come_back_from_a_file(tmp_path):
    model = MaskedConformer(TIED).eval()
    untied = MaskedConformer(TINY)
    assert untied.n_parameters() - model.n_parameters() == 3 * 16 * 32
    states = torch.randn(5, 32)
    expected = states @ model.embeddings[1].weight[:16].T + model.biases[1]
    torch.testing.assert_close(model.logits(states, 1), expected)
    save_checkpoint(tmp_path / "tied.safetensors", Checkpoint(model, ["dog", "rain"], {}))
    again = load_checkpoint(tmp_path / "tied.safetensors", CPU).model
    assert again.config == TIED and torch.equal(again.logits(states, 1), model.logits(states, 1))


@pytest.mark.parametrize("apart", [False, True])
def test_embeddings_keep_the_distances_of_code_vectors(apart):
    model, books = MaskedConformer(TINY), Codebooks(BOOKS.vectors, 3 * apart)
    start_from_codebooks(model, books, seeded())
    start_heads(model)
    ratios = [
        torch.pdist(embedding.weight[:16].detach()) / torch.pdist(own)
        for embedding, own in zip(model.embeddings, BOOKS.vectors, strict=True)
    ]
    assert torch.cat(ratios) == pytest.approx(float(ratios[0][0]), rel=1e-4)
    tables = [embedding.weight.detach() for embedding in model.embeddings]
    assert sum(float(own[:16].var(0, correction=0).sum()) for own in tables) == pytest.approx(32)
    assert (torch.linalg.matrix_rank(torch.cat([tables[0][:16], tables[1][:16]])) > 6) == apart
    assert torch.cat([own[:16] @ own[16] for own in tables]).abs().max() < 1e-4
    torch.testing.assert_close(model.heads[2].weight, model.embeddings[2].weight[:16] / math.sqrt(32))


def test_held_codes_are_those_of_the_batch():
    clips = code_set()
    held, rows = HeldCodes(clips, CPU, 16), np.array([3, 0, 7])
    for ours, theirs in zip(held.batch(rows), clips.batch(rows, 16), strict=True):
        assert torch.equal(ours.long(), theirs.long())
    assert held.even(np.array([2])) and not held.even(np.arange(10))


def test_the_recipe_is_resumed_exactly_and_watches_every_second_epoch(tmp_path, monkeypatch):
    whole = recipe(tmp_path / "whole")
    expected = whole.fit()
    assert sorted(set(expected["epoch"])) == [2, 4]
    watched = expected[(expected["split"] == "validation") & (expected["level"] != "all")]
    assert (watched["n_masked"] > 0).all() and expected["loss"].notna().all()
    monkeypatch.setattr("envsound.systems.soundstorm.training.SAVE_SECONDS", 0.0)
    killed_at(recipe(tmp_path / "killed"), 5)  # in epoch 2
    history = recipe(tmp_path / "killed").fit()
    assert history.drop(columns="seconds").equals(expected.drop(columns="seconds"))


def test_every_clip_is_asked_for_every_level(tmp_path):
    one = recipe(tmp_path)
    levels = torch.cat([mask.levels for mask, *_ in one._validation_batches()])
    assert torch.bincount(levels).tolist() == [4, 4, 4]


def test_the_steps_of_a_gpu_are_those_of_the_plain_loop(tmp_path):
    """The same training with held codes, one product for all heads and no wait, on the CPU: as it would be on a GPU."""
    plain, held = recipe(tmp_path / "plain"), recipe(tmp_path / "held")
    held.held = HeldCodes(held.train_set, CPU, 16)
    held.objective.module.dense = True
    torch.testing.assert_close(torch.tensor(held.fit()["loss"]), torch.tensor(plain.fit()["loss"]), rtol=1e-4, atol=0)


def even_codes(n=10, n_frames=12) -> CodeSet:
    clips = code_set(n)
    codes = [np.resize(one, (one.shape[0], n_frames)) for one in clips.codes]
    return CodeSet(codes, clips.classes, clips.categories)


def held_trainer(folder) -> Trainer:
    """A trainer of equally long clips that takes its steps as on a GPU."""
    config = TrainingConfig(num_epochs=4, batch_size=4, lr=3e-3, precision="32-true", class_dropout=0.3, **RECIPE)
    shape = TIED.__class__(**vars(TIED) | {"dropout": 0.2})
    one = Trainer(even_codes(), even_codes(4), shape, config, folder, CPU, codec_hash="abc", codebooks=BOOKS)
    one.held = HeldCodes(one.train_set, CPU, 16)
    one.objective.module.dense = True
    return one


def test_a_recorded_step_is_the_step(tmp_path, monkeypatch):
    """Eight whole batches are recorded, the smaller ones at the end of an epoch are not; weights agree bit for bit."""
    recorded = held_trainer(tmp_path / "recorded")
    history = recorded.fit()
    assert recorded._step is not None
    monkeypatch.setattr(Trainer, "_recorded", lambda self, rows: None)
    plain = held_trainer(tmp_path / "plain")
    assert plain.fit()["loss"].equals(history["loss"]) and plain._step is None
    for ours, theirs in zip(recorded.model.parameters(), plain.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_recorded_step_looks_at_no_value(tmp_path):
    one = held_trainer(tmp_path)
    one._train_step(np.arange(4))
    with NoLooking():
        totals, *gradients = one._step(torch.tensor([5, 2, 9, 0]))
    assert totals[:, 1].sum() > 0 and all(bool(gradient.isfinite().all()) for gradient in gradients)


LOOKS = (torch.Tensor.item, torch.Tensor.nonzero, lambda x: x[x > 1], lambda x: bool((x > 0).all()))


@pytest.mark.parametrize("look", LOOKS)
def test_what_would_make_a_gpu_wait_is_found(look):
    with pytest.raises(AssertionError, match="looks at values"), NoLooking():
        look(torch.ones(1))


def test_other_code_vectors_start_anew(tmp_path):
    recipe(tmp_path).fit()
    config = recipe(tmp_path).config
    assert recipe(tmp_path).finished
    others = Codebooks(BOOKS.vectors + 1, n_bands=3)
    again = Trainer(code_set(), code_set(4, seed=1), TIED, config, tmp_path, CPU, codec_hash="abc", codebooks=others)
    assert again.progress.epoch == 0


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"optimizer": "sgd"}, "optimizer='sgd'"),
        ({"schedule": "step"}, "schedule='step'"),
        ({"betas": (0.9,)}, "betas"),
        ({"level_shares": (0.5, 0.2)}, "level_shares"),
        ({"label_smoothing": 1.0}, "label_smoothing=1.0"),
        ({"near_share": -0.1}, "near_share=-0.1"),
        ({"watch_every": 0}, "watch_every"),
        ({"weight_decay": 0.1}, "weight_decay"),
    ],
)
def test_impossible_settings_are_refused(wrong, named):
    with pytest.raises(InputError, match=named):
        TrainingConfig(**wrong)


def test_what_does_not_fit_the_codes_is_refused(tmp_path):
    with pytest.raises(InputError, match="code vectors of the codec"):
        trainer(tmp_path, near_share=0.1)
    with pytest.raises(InputError, match="3 shares, one a level"):
        trainer(tmp_path, level_shares=(0.5, 0.5))
    with pytest.raises(InputError, match="at least 9 channels"):
        narrow = TINY.__class__(**vars(TINY) | {"dim": 8})
        start_from_codebooks(MaskedConformer(narrow), Codebooks(torch.randn(3, 16, 8), 3), seeded())


def test_a_clip_of_one_frame_is_turned_nowhere():
    clips = CodeSet([np.array([[1], [2], [3]])], np.array([0]), ["dog"])
    codes, valid, _ = clips.batch(np.array([0]), 16)
    assert torch.equal(rolled(codes, frame_mask(torch.tensor([1])), seeded()), codes) and valid.all()
