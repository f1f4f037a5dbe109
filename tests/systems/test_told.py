"""The masked model told texts: as the language model is, by the same captions and encoders, and bit for bit by seed."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from fakes.codecs import SampleCodec

from envsound.base.errors import InputError
from envsound.systems.base import Request
from envsound.systems.language.text import load_encoder
from envsound.systems.soundstorm.batches import CodeSet
from envsound.systems.soundstorm.checkpoints import Checkpoint, load_checkpoint
from envsound.systems.soundstorm.conformer import MaskedConformer, ModelConfig
from envsound.systems.soundstorm.decoding import DecodingConfig, decode
from envsound.systems.soundstorm.plan import TrainingConfig
from envsound.systems.soundstorm.system import SoundStorm
from envsound.systems.soundstorm.told import Described, encoder_of, mean_tokens, text_of
from envsound.systems.soundstorm.training import Trainer

CPU, CAPTIONS = torch.device("cpu"), ["big dog bark", "heavy rain"]
SHAPE = ModelConfig(4, 16, 32, 1, 4, 5, text_dim=1024, dropout=0.0)
ENCODER = load_encoder("bytes", CAPTIONS)


def told(*texts: str) -> torch.Tensor:
    return mean_tokens(*ENCODER.encode(texts))


def test_a_text_is_the_mean_of_its_own_words_whatever_else_is_in_the_batch():
    both = told("dog", "dog bark big dog")
    assert torch.equal(both[0], told("dog")[0]) and torch.equal(both[1], told("dog bark big dog")[0])
    torch.testing.assert_close(both[1], (2 * told("dog") + told("bark") + told("big"))[0] / 4)
    assert not told("").any()


def test_options_say_which_encoder_and_a_file_which_one_it_was():
    assert text_of({"options": {}}) == "" and text_of({"options": {"text": "bytes"}}) == "bytes"
    with pytest.raises(InputError, match="options: text: 3 is an integer"):
        text_of({"options": {"text": 3}})
    assert encoder_of({}) is None
    assert encoder_of({"text": "bytes", "captions": CAPTIONS}).content_hash == ENCODER.content_hash


def test_zeros_are_no_text_and_guidance_leads_away_from_them():
    torch.manual_seed(0)
    model = MaskedConformer(SHAPE).eval()
    codes = torch.randint(17, (2, 4, 6))
    assert torch.equal(model(codes), model(codes, None, torch.zeros(2, 1024)))
    assert (model(codes) != model(codes, None, told("dog", "rain"))).any()
    config = DecodingConfig((2, 1, 1, 1), guidance_scale=3.0)
    made = decode(model, [6, 4], [1, 2], config, told("dog", "rain"))
    assert torch.equal(made[1, :, :4], decode(model, [4], [2], config, told("rain"))[0])
    assert not torch.equal(made, decode(model, [6, 4], [1, 2], config))
    with pytest.raises(InputError, match=r"expected \[batch, 1024\]"):
        decode(model, [6], [1], config, torch.zeros(1, 3))


def trainer(folder, **changes) -> Trainer:
    """Clips of two kinds, each of one code; what they are is said by the text alone."""
    codes = [np.full((4, 6), 3 if place % 2 else 9, np.int16) for place in range(8)]
    clips = CodeSet(codes, np.zeros(8, np.int64), ["a"])
    choices = torch.tensor([[place % 2, place % 2] for place in range(8)])
    texts = Described(told("heavy rain", "big dog bark"), choices)
    plan = {"num_epochs": 40, "batch_size": 8, "lr": 5e-3, "prompt_chance": 0.0, "precision": "32-true"}
    more = {"texts": (texts, texts), "told": {"text": "bytes", "captions": CAPTIONS}}
    return Trainer(clips, clips, SHAPE, TrainingConfig(**plan | changes), folder, CPU, "abc", **more)


def test_what_only_the_text_says_is_learnt_kept_and_followed(tmp_path):
    one = trainer(tmp_path)
    history = one.fit()
    assert history["loss"].iloc[-1] < 0.2 < history["unigram"].iloc[-1]  # counting cannot tell one kind from the other
    checkpoint = load_checkpoint(tmp_path / "checkpoints" / "last.safetensors", CPU, "abc")
    assert checkpoint.model.config == SHAPE and checkpoint.facts["captions"] == CAPTIONS
    codec = SampleCodec()
    system = SoundStorm(checkpoint, codec, DecodingConfig((2, 1, 1, 1)), "x", 8, encoder_of(checkpoint.facts))
    assert system.conditions == {"audio", "class", "text"} and system.categories == ["a"]
    asked = [Request("", "", 6 / codec.sample_rate, 1, text=text) for text in ("rain, heavy", "dogs bark")]
    assert [codes.unique().tolist() for codes in system.codes(asked)] == [[9], [3]]
    assert system.describe(asked[1])["text"] == "dog bark" and system.told("a dog")[1].startswith("text: a: in no")
    without = replace(system, encoder=None)
    assert "text" not in without.conditions and without.content_hash != system.content_hash


def test_the_same_seed_gives_the_same_weights_and_texts_must_fit_the_shape(tmp_path):
    first, again, other = (trainer(tmp_path / str(n), num_epochs=2, seed=n // 2) for n in range(3))
    for one in (first, again, other):
        one.fit()
    states = [one.model.state_dict()["text_projection.weight"] for one in (first, again, other)]
    assert torch.equal(states[0], states[1]) and not torch.equal(states[0], states[2])
    with pytest.raises(InputError, match="text_dim=0: expected texts"):
        clips = CodeSet([np.zeros((4, 6), np.int16)], np.zeros(1, np.int64), ["a"])
        texts = Described(told("dog"), torch.zeros(1, 1, dtype=torch.long))
        Trainer(clips, clips, replace(SHAPE, text_dim=0), TrainingConfig(), tmp_path, CPU, texts=(texts, texts))
    with pytest.raises(InputError, match="text_dim=1024: expected texts"):
        Trainer(clips, clips, SHAPE, TrainingConfig(), tmp_path, CPU)


def test_a_model_without_texts_is_written_as_before(tmp_path):
    from envsound.base.tensors import read_header
    from envsound.systems.soundstorm.checkpoints import save_checkpoint

    model = MaskedConformer(replace(SHAPE, text_dim=0))
    save_checkpoint(tmp_path / "x.safetensors", Checkpoint(model, ["a"], {}))
    assert "text_dim" not in read_header(tmp_path / "x.safetensors", "checkpoint")["model_config"]
