"""The language model: MusicGen's network, a loss that sees no later code, exact resumption, writing that obeys."""

import sys
from dataclasses import replace
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
import torch
from fakes.soundstorm import CPU, code_set, killed_at
from fakes.waiting import NoLooking
from torch.nn import functional as F

from envsound.base.errors import InputError
from envsound.base.files import write_csv
from envsound.data.audio import read_clip
from envsound.data.recordings import load_recordings
from envsound.run.contract import check_table, read_table
from envsound.run.presets import load_preset
from envsound.systems.base import Request, load_recipe
from envsound.systems.language import decoding, training
from envsound.systems.language.decoding import Writer, WritingConfig, write
from envsound.systems.language.patterns import PATTERNS
from envsound.systems.language.training import (
    LanguagePlan,
    LanguageTrainer,
    Texts,
    counted_losses,
    language_losses,
    language_optimizer,
    language_schedule,
)
from envsound.systems.language.transformer import (
    Cache,
    LanguageConfig,
    LanguageModel,
    Text,
    load_language,
    positions,
    save_language,
)
from envsound.systems.soundstorm.batches import CodeSet
from envsound.systems.soundstorm.checkpoints import Checkpoint
from envsound.systems.soundstorm.codebooks import Codebooks
from envsound.systems.soundstorm.conformer import MaskedConformer
from envsound.systems.soundstorm.plan import TrainingConfig
from envsound.systems.soundstorm.system import model_config

SHAPE = LanguageConfig(3, 16, dim=32, n_layers=2, n_heads=2, dropout=0.1, n_classes=2)
STEPS = {"num_epochs": 3, "batch_size": 4, "lr": 3e-3, "precision": "32-true", "roll": True, "class_dropout": 0.2}
MASK, FREE = 16, WritingConfig()


def made(seed: int = 0, **changes) -> LanguageModel:
    """A model with random weights, large enough to tell codes apart."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LanguageModel(replace(SHAPE, **changes)).eval()
        for weight in model.parameters():
            weight.data += 0.2 * torch.randn_like(weight)
    return model


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(MASK, shape, generator=torch.Generator().manual_seed(seed))


def described(batch: int, n_tokens: int = 3) -> Text:
    vectors = torch.randn(batch, n_tokens, 8, generator=torch.Generator().manual_seed(1))
    return Text(vectors, torch.arange(n_tokens) < torch.arange(1, batch + 1)[:, None])


def some_texts(n_clips: int) -> Texts:
    vectors, mask = described(5)
    return Texts(vectors, mask, torch.arange(n_clips * 2).view(-1, 2) % 5)


def trainer(folder, shape: LanguageConfig = SHAPE, own: dict | None = None, **changes) -> LanguageTrainer:
    """Three epochs of three steps on ten clips; told texts where the shape asks for them."""
    plan = LanguagePlan(TrainingConfig(**STEPS | changes), **own or {})
    text = (some_texts(10), some_texts(4)) if shape.text_dim else None
    return LanguageTrainer(code_set(), code_set(4, seed=1), shape, plan, folder, CPU, "abc", text=text)


def weights_of(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([value.detach().flatten() for value in model.state_dict().values()])


# The network


def test_with_the_shape_of_the_source_it_has_as_many_parameters():
    assert LanguageModel(LanguageConfig(text_dim=1024)).n_parameters() == 21_260_032
    assert LanguageModel(LanguageConfig(text_dim=768)).n_parameters() == 21_194_496  # with T5-base


def test_the_masked_model_beside_it_has_as_many_within_a_twentieth():
    sizes = {}
    for name in ("language", "language-masked"):
        clips = CodeSet([np.zeros((4, 5), np.int16)], np.zeros(1, int), [str(n) for n in range(10)])
        settings = load_preset(name)
        shape = model_config(clips, settings)
        own = {key: settings[key] for key in ("codebook_size", "dim", "n_layers", "n_heads", "ff_mult")}
        ours = LanguageConfig(4, n_classes=10, tied=settings["tied_embeddings"], **own)
        sizes[name] = (LanguageModel(ours) if name == "language" else MaskedConformer(shape)).n_parameters()
    assert abs(sizes["language-masked"] / sizes["language"] - 1) < 0.05
    ours, other = load_preset("language"), load_preset("language-masked")
    alike = ("num_epochs", "batch_size", "lr", "warmup_steps", "optimizer", "weight_decay", "schedule", "ema_decay",
             "augment_copies", "tied_embeddings", "start_from_codes", "dropout", "class_dropout", "roll",
             "label_smoothing", "n_samples", "temperature", "fine_temperature", "guidance_scale")  # fmt: skip
    assert {name: ours[name] for name in alike} == {name: other[name] for name in alike}


def copied(theirs: torch.nn.Module, text_dim: int) -> LanguageModel:
    """Our model with the weights of transformers'."""
    shape = theirs.config
    sizes = shape.num_codebooks, shape.vocab_size, shape.hidden_size, shape.num_hidden_layers, shape.num_attention_heads
    ours = LanguageModel(LanguageConfig(*sizes, text_dim=text_dim))
    found = {key.removeprefix("model.decoder."): value for key, value in theirs.state_dict().items()}
    state = {key: value for key, value in ours.state_dict().items() if key.startswith("text_projection")}
    for level in range(shape.num_codebooks):
        state[f"embeddings.{level}.weight"] = found[f"embed_tokens.{level}.weight"]
        state[f"heads.{level}.weight"] = found[f"lm_heads.{level}.weight"]
    state |= {f"norm.{part}": found[f"layer_norm.{part}"] for part in ("weight", "bias")}
    for number in range(shape.num_hidden_layers):
        own = other = f"layers.{number}."
        for part, theirs_part in (("past", "self_attn"), ("text", "encoder_attn")):
            both = [found[f"{other}{theirs_part}.{name}_proj.weight"] for name in "kv"]
            state[f"{own}{part}.keys_values.weight"] = torch.cat(both)
            state[f"{own}{part}.queries.weight"] = found[f"{other}{theirs_part}.q_proj.weight"]
            state[f"{own}{part}.out.weight"] = found[f"{other}{theirs_part}.out_proj.weight"]
            for name in ("weight", "bias"):
                state[f"{own}{part}.norm.{name}"] = found[f"{other}{theirs_part}_layer_norm.{name}"]
        state |= {f"{own}norm.{name}": found[f"{other}final_layer_norm.{name}"] for name in ("weight", "bias")}
        for part, theirs_part in (("expand", "fc1"), ("contract", "fc2")):
            state[f"{own}{part}.weight"] = found[f"{other}{theirs_part}.weight"]
    ours.load_state_dict(state)
    return ours.eval()


@pytest.mark.parametrize("source", [False, True], ids=["small", "of the source"])
def test_its_scores_and_its_delay_are_those_of_transformers(source):
    musicgen = pytest.importorskip("transformers.models.musicgen.modeling_musicgen")
    small = {"vocab_size": 64, "num_hidden_layers": 3, "ffn_dim": 128, "num_attention_heads": 4, "hidden_size": 32}
    large = {"vocab_size": 2048, "num_hidden_layers": 16, "ffn_dim": 1024, "num_attention_heads": 8, "hidden_size": 256}
    shape = large if source else small
    special, dim, text_dim = shape["vocab_size"], shape["hidden_size"], 1024 if source else 8
    config = musicgen.MusicgenDecoderConfig(**shape, num_codebooks=4, pad_token_id=special, bos_token_id=special)
    torch.manual_seed(0)
    theirs = musicgen.MusicgenForCausalLM(config).eval()
    with torch.no_grad():
        for weight in theirs.parameters():  # norms and biases are ones and zeros else
            weight.add_(torch.randn_like(weight) * 0.05)
    ours = copied(theirs, text_dim)
    assert not source or sum(weight.numel() for weight in theirs.parameters()) == 20_997_632
    inputs = torch.randint(special + 1, (2, 4, 21))
    text = Text(torch.randn(2, 5, text_dim), torch.arange(5) < torch.tensor([[5], [3]]))
    with torch.no_grad():
        told = ours.text_projection(text.vectors * text.mask[..., None])
        expected = theirs(inputs.flatten(0, 1), encoder_hidden_states=told, encoder_attention_mask=text.mask.long())
        states = ours(inputs, text=text)
        found = torch.stack([ours.logits(states, level) for level in range(4)], 1)
    assert found.std() > 0.1 and (found - expected.logits.view(2, 4, 21, -1)).abs().max() < 1e-4
    first = torch.full((4, 1), special)
    _, delayed = theirs.build_delay_pattern_mask(first, pad_token_id=special, max_length=14)
    assert torch.equal(delayed[:, 1:] == -1, ours.pattern.frames(torch.tensor([10]), 13)[0] >= 0)
    assert dim == told.shape[2]


def test_positions_are_cosines_then_sines_and_go_on_where_they_were():
    found = positions(0, 50, 8, CPU)
    for step, rate in ((1, 0), (30, 2)):
        angle = step / 10_000 ** (rate / 3)
        assert found[step, [rate, 4 + rate]].tolist() == pytest.approx([np.cos(angle), np.sin(angle)], abs=1e-5)
    assert torch.equal(positions(20, 30, 8, CPU), found[20:])


@pytest.mark.parametrize("pattern", PATTERNS)
def test_nothing_is_told_of_later_codes(pattern):
    """The loss of each step does not change with any code of its own step or a later one."""
    model, lengths = made(pattern=pattern, dropout=0.0), torch.tensor([6])
    sequence = model.pattern.sequence(drawn(1, 3, 6), lengths, MASK)
    there = model.pattern.frames(lengths, sequence.shape[2])[0] >= 0

    def scores(given: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            states = model(F.pad(given[..., :-1], (1, 0), value=MASK), torch.tensor([1]))
            return torch.stack([model.logits(states, level) for level in range(3)], 1)[0]

    before = scores(sequence)
    for level, step in there.nonzero().tolist():
        other = sequence.clone()
        other[0, level, step] = (other[0, level, step] + 1) % MASK
        moved = (scores(other) - before).abs().amax((0, 2))
        assert (moved[: step + 1] == 0).all()
        assert step + 1 == len(moved) or moved[step + 1] > 1e-6


def test_steps_with_a_cache_are_those_of_one_pass():
    model, inputs, text = made(text_dim=8), drawn(2, 3, 15), described(2)
    classes, cache = torch.tensor([0, 2]), Cache(15)
    with torch.no_grad():
        whole = model(inputs, classes, text)
        parts = [model(inputs[..., :6], classes, text, cache)]
        parts += [model(inputs[..., step : step + 1], classes, text, cache) for step in range(6, 15)]
    torch.testing.assert_close(torch.cat(parts, 1), whole, atol=1e-5, rtol=0)


def test_who_is_not_told_has_the_learnt_vector_of_nothing():
    model, inputs, text = made(text_dim=8), drawn(2, 3, 5), described(2)
    with torch.no_grad():
        untold = model(inputs)
        masked = model(inputs, torch.tensor([2, 2]), Text(text.vectors, torch.zeros_like(text.mask)))
        half = model(inputs, torch.tensor([2, 1]), Text(text.vectors, text.mask & torch.tensor([[False], [True]])))
        model.text_projection.bias += 1
        assert not torch.allclose(model(inputs), untold, atol=1e-3)
    torch.testing.assert_close(masked, untold)
    torch.testing.assert_close(half[0], untold[0])
    assert not torch.allclose(half[1], untold[1], atol=1e-3)


def test_what_a_text_lacks_changes_nothing():
    model, inputs, (vectors, mask) = made(text_dim=8), drawn(2, 3, 5), described(2)
    longer = Text(F.pad(vectors, (0, 0, 0, 4), value=7.0), F.pad(mask, (0, 4)))
    with torch.no_grad():
        torch.testing.assert_close(model(inputs, text=longer), model(inputs, text=Text(vectors, mask)))


def test_a_file_brings_the_model_back_and_tells_what_is_wrong(tmp_path):
    model, path = made(tied=True, text_dim=8, pattern="parallel"), tmp_path / "model.safetensors"
    save_language(path, Checkpoint(model, ["dog", "rain"], {"codec_hash": "abc"}))
    again = load_language(path, CPU, "abc")
    assert again.model.config == model.config and torch.equal(weights_of(again.model), weights_of(model))
    assert again.model.n_parameters() == made(text_dim=8).n_parameters() - 3 * 16 * 32 + 3 * 16
    with pytest.raises(InputError, match="trained on codes of codec abc, but the codec is def"):
        load_language(path, CPU, "def")
    path.write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"model\.safetensors: cannot be read"):
        load_language(path, CPU)


# Training


@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_loss_is_the_mean_cost_of_every_code(pattern):
    model, codes, lengths = made(pattern=pattern), drawn(2, 3, 5), torch.tensor([5, 3])
    sequence = model.pattern.sequence(codes, lengths, MASK)
    frames = model.pattern.frames(lengths, sequence.shape[2])
    with torch.no_grad():
        found = language_losses(model, sequence, torch.tensor([0, 1]))
        states = model(F.pad(sequence[..., :-1], (1, 0), value=MASK), torch.tensor([0, 1]))
        expected = torch.zeros(3)
        for item, level, step in (frames >= 0).nonzero().tolist():
            shares = model.logits(states[item, step], level).log_softmax(-1)
            expected[level] -= shares[codes[item, level, frames[item, level, step]]]
    torch.testing.assert_close(found, expected)


def test_counting_costs_what_it_says():
    train = CodeSet([np.array([[0, 1, 0, 1]]), np.array([[2, 2]])], np.array([0, 1]), ["dog", "rain"])
    watched = CodeSet([np.array([[0, 1, 1]])], np.array([0]), ["dog", "rain"])
    unigram, bigram = counted_losses(train, watched, LanguageConfig(1, 4, 8, 1, 2))
    shares = (np.array([2, 2, 2, 0]) + 1) / (6 + 4)
    assert unigram["0"] == unigram["all"] == pytest.approx(-np.log(shares[[0, 1, 1]]).mean())
    after = [shares[0], (2 + shares[1]) / (2 + 1), (0 + shares[1]) / (1 + 1)]  # 0 -> 1 twice; 1 -> 0 once
    assert bigram["0"] == pytest.approx(-np.log(after).mean())
    by_class, _ = counted_losses(train, watched, LanguageConfig(1, 4, 8, 1, 2, n_classes=2))
    assert by_class["all"] < unigram["all"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> LanguageTrainer:
    """A training that nothing interrupted, told class and text."""
    one = trainer(tmp_path_factory.mktemp("whole"), replace(SHAPE, text_dim=8), {"ema_every": 2}, ema_decay=0.9)
    one.fit()
    return one


@pytest.mark.parametrize(("saved_every", "dies_at", "resumes_at"), [(0.0, 5, 5), (300.0, 7, 6)])
def test_a_killed_training_ends_with_the_same_weights(whole, tmp_path, monkeypatch, saved_every, dies_at, resumes_at):
    monkeypatch.setattr("envsound.systems.soundstorm.training.SAVE_SECONDS", saved_every)
    given = (tmp_path, replace(SHAPE, text_dim=8), {"ema_every": 2})
    killed_at(trainer(*given, ema_decay=0.9), dies_at)
    survivor = trainer(*given, ema_decay=0.9)
    assert survivor.progress.step == resumes_at
    pd.testing.assert_frame_equal(*(one.fit().drop(columns="seconds") for one in (survivor, whole)))
    assert torch.equal(weights_of(survivor.model), weights_of(whole.model))
    assert torch.equal(weights_of(survivor.used_model), weights_of(whole.used_model))
    assert trainer(tmp_path, given[1], {"ema_every": 3}, ema_decay=0.9).progress.step == 0  # another plan


def test_the_history_tells_perplexity_beside_counting(whole):
    kept = pd.read_csv(whole.table)
    assert len(check_table(kept, "training")) == 3 * 2 * 4 and set(kept["level"]) == {"0", "1", "2", "all"}
    np.testing.assert_allclose(kept["perplexity"], np.exp(kept["loss"]))
    watched = kept[kept["split"] == "validation"]
    assert watched[["unigram", "bigram"]].notna().all(axis=None) and kept["n_masked"].sum() > 0
    assert kept.loc[kept["split"] == "train", "bigram"].isna().all()


def test_the_average_moves_every_few_steps_and_is_what_is_saved(tmp_path):
    one = trainer(tmp_path, own={"ema_every": 30}, ema_decay=0.99)
    first = weights_of(one.average.model)
    one.fit()
    assert torch.equal(weights_of(one.average.model), first)  # after nine steps it has not moved yet
    other = trainer(tmp_path / "other", own={"ema_every": 3}, ema_decay=0.99)
    other.fit()
    assert not torch.equal(weights_of(other.average.model), first)
    saved = load_language(tmp_path / "other" / "checkpoints" / "last.safetensors", CPU, "abc")
    assert torch.equal(weights_of(saved.model), weights_of(other.average.model))


def test_it_learns_a_melody_by_heart_and_writes_it(tmp_path):
    codes = [drawn(3, 12, seed=number).numpy().astype(np.int16) for number in range(2)]
    data = CodeSet(codes, np.arange(2), ["dog", "rain"])
    settings = TrainingConfig(num_epochs=150, batch_size=2, lr=5e-3, precision="32-true", class_dropout=0.0)
    one = LanguageTrainer(data, data, replace(SHAPE, dropout=0.0), LanguagePlan(settings), tmp_path, CPU)
    one._save_model = one._save_state = lambda *name: None  # no need to keep 150 checkpoints
    history = one.fit()
    assert history["loss"].iloc[-1] < 0.05 < history["loss"].iloc[3]
    greedy = write(one.model, [12, 12], [0, 1], WritingConfig(0.0, 0.0), [0, 1])
    assert np.array_equal(greedy.numpy(), np.stack(codes))


def test_codes_held_on_a_device_make_the_same_steps(tmp_path):
    """The loop of a GPU, on the CPU: whole batches in one call, as long as the longest clip of all."""
    shape = replace(SHAPE, dropout=0.0, text_dim=8)
    plain, held = trainer(tmp_path / "plain", shape), trainer(tmp_path / "held", shape)
    held.held = training.held_numbers(held.train_set, CPU, MASK)
    torch.testing.assert_close(torch.tensor(held.fit()["loss"]), torch.tensor(plain.fit()["loss"]), rtol=1e-4, atol=0)
    assert held._step is not None and plain._step is None


def test_embeddings_may_begin_as_code_vectors(tmp_path):
    books = Codebooks(torch.randn(3, 16, 6, generator=torch.Generator().manual_seed(0)), n_bands=3)
    plan = LanguagePlan(TrainingConfig(**STEPS, start_from_codes=True))
    given = code_set(), code_set(4, seed=1), replace(SHAPE, tied=True), plan, tmp_path, CPU, "abc"
    model = LanguageTrainer(*given, codebooks=books).model
    ratios = torch.pdist(model.embeddings[1].weight[:16].detach()) / torch.pdist(books.vectors[1])
    torch.testing.assert_close(ratios, ratios[:1].expand_as(ratios))
    with pytest.raises(InputError, match="code vectors of the codec"):
        LanguageTrainer(*given)


def shares(n_steps: int = 100, warmup_steps: int = 10, **own) -> list[float]:
    """The learning rates of a training, as shares of the highest."""
    plan = LanguagePlan(TrainingConfig(lr=0.1, schedule="cosine", warmup_steps=warmup_steps), **own)
    optimizer = language_optimizer(torch.nn.Linear(2, 2), plan)
    schedule = language_schedule(optimizer, plan, n_steps)
    found = []
    for _ in range(n_steps):
        found.append(schedule.get_last_lr()[0] / 0.1)
        optimizer.step(), schedule.step()
    return found


def test_schedules_do_what_their_names_say():
    assert shares(schedule="none") == pytest.approx([1.0] * 100)
    assert shares(schedule="step", step_every=40) == pytest.approx([1.0] * 40 + [0.1] * 40 + [0.01] * 20)
    root = shares(schedule="inverse-root")
    assert root[:10] == pytest.approx(np.arange(1, 11) / 10) and root[39] == pytest.approx(0.5)
    assert shares()[:2] == pytest.approx([0.1, 0.2]) and shares()[-1] < 0.03  # the preset's own, a cosine


def test_prodigy_finds_its_rate_and_is_resumed_exactly(tmp_path, monkeypatch):
    pytest.importorskip("prodigyopt")
    own, changes = {"optimizer": "prodigy", "schedule": "none"}, {"lr": 1.0, "num_epochs": 8}
    whole = trainer(tmp_path / "whole", own=own, **changes)
    history = whole.fit()
    assert history["loss"].iloc[-1] < history["loss"].iloc[3]
    part = trainer(tmp_path / "part", own=own, **changes)
    monkeypatch.setattr(LanguageTrainer, "finished", property(lambda self: self.progress.epoch >= 4))
    part.fit()
    monkeypatch.undo()
    again = trainer(tmp_path / "part", own=own, **changes)
    assert again.progress.epoch == 4
    again.fit()
    assert torch.equal(weights_of(again.model), weights_of(whole.model))


def test_without_prodigy_one_line_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "prodigyopt", None)
    with pytest.raises(InputError, match="prodigy': not installed; expected it from `pip install prodigyopt`"):
        language_optimizer(made(), LanguagePlan(TrainingConfig(), optimizer="prodigy"))


@pytest.mark.parametrize(
    ("own", "words"),
    [
        ({"optimizer": "sgd"}, "optimizer='sgd': expected one of prodigy"),
        ({"schedule": "linear"}, "schedule='linear': expected one of none, step, inverse-root"),
        ({"ema_every": 0}, "ema_every=0: expected 1 or more"),
    ],
)
def test_impossible_plans_are_refused(own, words):
    with pytest.raises(InputError, match=words):
        LanguagePlan(TrainingConfig(), **own)


def test_texts_and_the_shape_belong_together(tmp_path):
    with pytest.raises(InputError, match="text_dim=0"):
        LanguageTrainer(code_set(), code_set(), SHAPE, LanguagePlan(TrainingConfig()), tmp_path, CPU,
                        text=(some_texts(10), some_texts(10)))  # fmt: skip


# Writing


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_clip_is_the_same_alone_and_in_a_batch(pattern):
    model, config = made(pattern=pattern, text_dim=8), WritingConfig(0.9, 0.8, top_p=0.9, guidance_scale=2.0)
    text = described(3)
    batch = write(model, [9, 5, 12], [1, 2, 3], config, [0, 1, 2], text=text)
    for item, (length, seed) in enumerate(((9, 1), (5, 2), (12, 3))):
        own = Text(text.vectors[[item]], text.mask[[item]])
        alone = write(model, [length], [seed], config, [item], text=own)
        assert torch.equal(batch[item, :, :length], alone[0]) and (batch[item, :, length:] == MASK).all()
    assert (batch != write(model, [9, 5, 12], [4, 5, 6], config, [0, 1, 2], text=text)).any()


@pytest.mark.parametrize("pattern", PATTERNS)
def test_writing_is_what_whole_passes_would_write(pattern):
    model, lengths = made(pattern=pattern), torch.tensor([7])
    sequence = model.pattern.sequence(torch.full((1, 3, 7), MASK), lengths, MASK)
    for level, step in sorted((model.pattern.frames(lengths, sequence.shape[2])[0] >= 0).nonzero().tolist(),
                              key=lambda place: place[1]):  # fmt: skip
        with torch.no_grad():
            states = model(F.pad(sequence[..., :-1], (1, 0), value=MASK), torch.tensor([1]))
        sequence[0, level, step] = model.logits(states[0, step], level).argmax()
    assert torch.equal(write(model, [7], [0], WritingConfig(0.0, 0.0), [1]),
                       model.pattern.codes(sequence, lengths, 7, MASK))  # fmt: skip


@pytest.mark.parametrize("pattern", PATTERNS)
def test_known_codes_are_kept_and_decide_what_follows(pattern):
    model, known = made(pattern=pattern), torch.full((1, 3, 10), MASK)
    known[..., :4] = drawn(1, 3, 4)
    known[0, 1, 7] = 3
    found = write(model, [10], [0], FREE, [0], known)
    assert torch.equal(found[known < MASK], known[known < MASK]) and (found < MASK).all()
    assert torch.equal(write(model, [10], [0], FREE, [0], found), found)  # nothing is asked
    known[..., :4] = drawn(1, 3, 4, seed=1)
    assert not torch.equal(write(model, [10], [0], FREE, [0], known)[..., 4:], found[..., 4:])


@pytest.mark.parametrize("pattern", ["delay", "parallel", "flattened"])
def test_a_clip_begins_alike_whatever_its_length(pattern):
    """So its beginning may be heard before its end is written; with a delay, where the next frames have begun."""
    model, n_alike = made(pattern=pattern), 4 if pattern == "delay" else 6
    short, long = (write(model, [n], [7], WritingConfig(top_p=0.9), [1]) for n in (6, 13))
    assert torch.equal(short[..., :n_alike], long[..., :n_alike])


def test_a_clip_goes_on_and_may_be_longer_than_any_learnt():
    codes = drawn(3, 4)
    writer = Writer(made(), FREE, 1)
    assert torch.equal(writer.continuation(codes, 5, seed=1)[:, :4], codes)
    long = writer.long_clip(31, 3, window=12, overlap=6, start=codes)
    assert long.shape == (3, 31) and (long < MASK).all() and torch.equal(long[:, :4], codes)
    assert torch.equal(long[:, :20], writer.long_clip(60, 3, window=12, overlap=6, start=codes)[:, :20])


def frequencies(config: WritingConfig, n: int = 1500, classes: int | None = 0) -> np.ndarray:
    """How often each code of level 0 is the first of a clip."""
    told = None if classes is None else [classes] * n
    codes = write(made(), [1] * n, range(n), config, told)[:, 0, 0]
    return np.bincount(codes.numpy(), minlength=16) / n


def first_scores(classes: torch.Tensor | None) -> torch.Tensor:
    model = made()
    with torch.no_grad():
        return model.logits(model(torch.full((1, 3, 1), MASK), classes)[0, 0], 0)


def test_codes_are_drawn_by_their_probability_and_its_restrictions():
    expected = first_scores(torch.tensor([0])).softmax(-1).numpy()
    assert np.abs(frequencies(FREE) - expected).max() < 0.05
    few = frequencies(WritingConfig(top_k=2))
    assert set(np.flatnonzero(few)) == set(np.argsort(expected)[-2:])
    assert frequencies(WritingConfig(temperature=0.0), 20).max() == 1


def test_guidance_of_one_is_the_told_model_and_three_goes_beyond():
    told, untold = first_scores(torch.tensor([0])), first_scores(None)
    beyond = (untold + 3 * (told - untold)).softmax(-1).numpy()
    assert np.abs(frequencies(WritingConfig(guidance_scale=3.0)) - beyond).max() < 0.05
    one = write(made(), [6], [0], WritingConfig(guidance_scale=1.0), [0])
    assert torch.equal(one, write(made(), [6], [0], FREE, [0]))
    alone = write(made(), [6], [0], WritingConfig(guidance_scale=3.0))  # untold, there is nothing to guide by
    assert torch.equal(alone, write(made(), [6], [0], FREE))


@pytest.mark.parametrize("pattern", PATTERNS)
def test_recorded_writing_is_writing_and_looks_at_no_value(pattern, monkeypatch):
    """What a GPU does in one call, on the CPU."""
    model, config = made(pattern=pattern), WritingConfig(0.9, 0.0, 10, 0.9, 2.0)
    lengths, told = [9, 9], [0, 1]
    expected = [write(model, lengths, seeds, config, told) for seeds in ([1, 2], [3, 1])]
    monkeypatch.setattr(decoding, "GPU", "cpu")
    found = [write(model, lengths, seeds, config, told) for seeds in ([1, 2], [3, 1])]
    assert torch.equal(torch.stack(found), torch.stack(expected)) and not torch.equal(*found)
    assert decoding._recorded.cache_info().currsize == 1
    plan = decoding._plan(model, lengths, None, CPU)
    noise = decoding._noise([model.pattern.n_steps(n) for n in lengths], [1, 2], 3)
    with torch.no_grad(), NoLooking():
        assert decoding._written(model, plan, noise, config, torch.tensor(told), None).shape == (2, 3, 9)
    decoding._recorded.cache_clear()


def test_no_step_of_a_training_on_a_gpu_looks_at_a_value(tmp_path):
    one = trainer(tmp_path, replace(SHAPE, text_dim=8), ema_decay=0.9)
    one.held = training.held_numbers(one.train_set, CPU, MASK)
    batch = one._batch(np.arange(4))
    with NoLooking():
        assert one._gradients(*batch).shape == (3, 2)


@pytest.mark.parametrize(
    "wrong",
    [
        {"n_frames": [0]}, {"n_frames": []}, {"seeds": [1, 2]}, {"classes": [3]},
        *({"known": known} for known in (torch.zeros(1, 3, 4, dtype=torch.long), torch.zeros(1, 3, 5))),
        *({"known": torch.full((1, 3, 5), code)} for code in (MASK + 1, -1)),
    ],
)  # fmt: skip
def test_requests_that_do_not_fit_are_refused(wrong):
    with pytest.raises(InputError):
        write(made(), **{"n_frames": [5], "seeds": [0], "config": FREE, "classes": None} | wrong)


# The system


class Words:
    """A text encoder that knows two words."""

    name, dim, content_hash = "words", 8, "words"

    def encode(self, texts):
        rows = [[[float(one == "rain")] * 4 + [1.0] * 4 for one in text.split() or [""]] for text in texts]
        longest = max(map(len, rows))
        vectors = torch.tensor([row + [[0.0] * 8] * (longest - len(row)) for row in rows])
        return vectors, torch.arange(longest) < torch.tensor([len(row) for row in rows])[:, None]

    def unknown(self, text):
        return [word for word in text.split() if word not in ("rain", "sea")]

    def understood(self, text):
        return " ".join(word for word in text.split() if word in ("rain", "sea"))


class Captioned:
    """Two captions for each clip."""

    def __init__(self, names):
        self.names = list(names)

    def choices(self, seed):
        return [["rain", f"sea {place % 3}"] for place, _ in enumerate(self.names)]

    def words(self):
        return ["rain", "sea"]


def encoded(encoder: Words, choices: list[list[str]]) -> tuple[torch.Tensor, ...]:
    vectors, mask = encoder.encode([text for texts in choices for text in texts])
    return vectors, mask, torch.arange(len(vectors)).view(len(choices), -1)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A trained run of preset tiny-language, as notebooks 01 and 02 leave it."""
    folder, settings, recipe = tmp_path_factory.mktemp("run"), tiny(), load_recipe("language")
    asked = ("dataset", "data_dir", "csv_name", "esc10_only", "categories", "clip_seconds")
    recordings = load_recordings(**{name: settings[name] for name in asked}, sample_rate=24_000)
    write_csv(folder / "codes.csv", recipe.prepare(recordings, settings, folder))
    trained = recipe.train(settings, folder, CPU)
    assert trained.facts["steps"] == 8 and trained.facts["n_parameters"] > 0
    assert check_table(trained.history, "training")["loss"].notna().all()
    return folder


def tiny(**options) -> dict:
    settings = load_preset("tiny-language") | {"fold": 1, "seed": 0, "device": "cpu"}
    return settings | {"options": settings["options"] | options}


@pytest.fixture(scope="module")
def system(run):
    return load_recipe("language").load(tiny(), run, CPU)


def test_a_request_alone_decides_its_clip(system):
    asked = [Request("", "rain", 1.0, 3), Request("", "sea_waves", 1.0, 4), Request("", "rain", 2.5, 5)]
    codes = list(system.codes(asked))
    assert [one.shape[1] for one in codes] == [19, 19, 47]  # the last is longer than the second it has learnt
    assert all(torch.equal(next(system.codes([one])), made) for one, made in zip(asked, codes, strict=True))
    clip = next(system.generate(asked[:1]))
    assert clip.dtype == np.float32 and np.abs(clip).max() <= 1
    told = system.describe(asked[0])
    assert told["seconds"] == pytest.approx(19 / 18.75) and (told["pattern"], told["system"]) == ("delay", "language")
    assert system.conditions == {"class", "audio"} and system.categories == ["rain", "sea_waves"]


def test_a_recording_goes_on_and_is_varied(system, run):
    path = read_table(run, "recordings")["path"].iloc[0]
    known = system.codec.encode(torch.from_numpy(read_clip(path, 24_000))[None])[0]
    longer = next(system.codes([Request("", "rain", 0.5, 3, like=path)]))
    assert torch.equal(longer[:, : known.shape[1]], known) and longer.shape[1] > known.shape[1]
    varied = next(system.codes([Request("", "rain", 0.5, 3, like=path, share=0.25)]))
    same = (varied == known).all(0).float().mean()
    assert varied.shape == known.shape and 0.7 < same < 0.85


def test_reconstruction_and_controls_are_those_of_the_codes(system, run):
    clip = read_clip(read_table(run, "recordings")["path"].iloc[0], 24_000, 1.0)
    assert system.reconstruct(clip).shape == clip.shape
    masked = load_recipe("soundstorm")
    assert masked.codec(tiny()).content_hash == system.codec.content_hash
    assert system.content_hash != replace(system, decoding=WritingConfig(0.5)).content_hash


def test_text_is_followed_where_a_preset_asks_for_it(run, tmp_path, monkeypatch):
    """With encoder and captions in the place of `language.text` and `language.captions`."""
    text, captions, loaded = ModuleType("text"), ModuleType("captions"), []
    text.load_encoder = lambda name, known=(): loaded.append((name, list(known))) or Words()
    captions.read_captions = lambda folder, names: Captioned(names)
    text.encode_choices = encoded
    monkeypatch.setitem(sys.modules, "envsound.systems.language.text", text)
    monkeypatch.setitem(sys.modules, "envsound.systems.language.captions", captions)
    (tmp_path / "codes.csv").write_bytes((run / "codes.csv").read_bytes())
    settings, recipe = tiny(text="words") | {"class_conditional": False}, load_recipe("language")
    assert recipe.train(settings, tmp_path, CPU).facts["steps"] == 8
    system = recipe.load(settings, tmp_path, CPU)
    assert loaded == [("words", ["rain", "sea"])] * 2 and system.conditions == {"class", "text", "audio"}
    asked = [Request("", "rain", 1.0, 3, text=words) for words in ("sea", "sea foo", "rain", "")]
    codes = list(system.codes(asked))
    assert torch.equal(codes[0], codes[1]) and not torch.equal(codes[0], codes[2])
    assert torch.equal(codes[2], codes[3])  # without text, by the name of the class
    assert [system.describe(one)["text"] for one in asked] == ["sea", "sea", "rain", "rain"]


def test_an_unknown_option_is_told(run):
    with pytest.raises(InputError, match="options: 'patern' is unknown; expected perhaps 'pattern'"):
        load_recipe("language").train(tiny() | {"options": {"patern": "delay"}}, run, CPU)
    with pytest.raises(InputError, match="pattern='diagonal'"):
        load_recipe("language").train(tiny(pattern="diagonal"), run, CPU)
