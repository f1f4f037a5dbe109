"""What is trained and embedded once: the same answer from the cache, and anew whenever something differs."""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch
from fakes.codecs import noise

from envsound.base.errors import InputError
from envsound.evaluation.listeners import cache as listener_cache
from envsound.evaluation.listeners.cache import cached_listener, cached_trainer, listener_key
from envsound.evaluation.listeners.training import ListenerTraining
from envsound.evaluation.spaces import cache as embedding_cache
from envsound.evaluation.spaces.cache import KeptEmbedding
from envsound.evaluation.spaces.embeddings import StatisticsEmbedding

RATE = 16_000  # Hz
CLIPS = [noise(1600, seed) for seed in range(4)]
NAMES = ["a", "b", "a", "b"]
QUICK = ListenerTraining(n_epochs=1, batch_size=4)


@dataclass
class Counting:
    """Embeds a clip as its first three samples, and counts the clips it was given."""

    name: str = "counting"
    content_hash: str = "one"
    sample_rate: int = 0
    asked: list = field(default_factory=list)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def embed(self, clips, sample_rate):
        self.asked.append(len(clips))
        return np.stack([clip[:3] for clip in clips])


# Points


def test_points_are_computed_once_and_come_back_in_order(tmp_path):
    inner = Counting()
    kept = KeptEmbedding(inner, tmp_path)
    first = kept.embed(CLIPS[:2], RATE)
    mixed = kept.embed([CLIPS[2], CLIPS[1], CLIPS[2]], RATE)
    assert inner.asked == [2, 1]
    np.testing.assert_array_equal(first, [clip[:3] for clip in CLIPS[:2]])
    np.testing.assert_array_equal(mixed, [CLIPS[i][:3] for i in (2, 1, 2)])
    assert (kept.name, kept.content_hash, kept.sample_rate) == ("counting", "one", 0)


@pytest.mark.parametrize("change", ["clip", "rate", "network"])
def test_another_clip_rate_or_network_is_embedded_anew(tmp_path, change):
    KeptEmbedding(Counting(), tmp_path).embed(CLIPS[:1], RATE)
    inner = Counting(content_hash="two") if change == "network" else Counting()
    clips = CLIPS[1:2] if change == "clip" else CLIPS[:1]
    KeptEmbedding(inner, tmp_path).embed(clips, RATE // 2 if change == "rate" else RATE)
    assert inner.asked == [1]


def test_a_point_of_another_kind_of_device_or_library_has_another_name(tmp_path, monkeypatch):
    def key(**options):
        return KeptEmbedding(Counting(**options), tmp_path).key(CLIPS[0], RATE)

    on_cpu, on_gpu = (key(device=torch.device(name)) for name in ("cpu", "cuda:1"))
    assert on_gpu == key(device=torch.device("cuda")) != on_cpu == key()
    assert all(f"{name} " in embedding_cache.LIBRARIES for name in ("numpy", "torch", "transformers"))
    monkeypatch.setattr(embedding_cache, "LIBRARIES", "transformers 99")
    assert key() != on_cpu


@pytest.mark.parametrize("content", [b"", b"no array", b"\x93NUMPY\x01"])
def test_a_damaged_point_is_made_again(tmp_path, content):
    inner = Counting()
    kept = KeptEmbedding(inner, tmp_path)
    first = kept.embed(CLIPS[:1], RATE)
    (file,) = tmp_path.iterdir()
    file.write_bytes(content)
    np.testing.assert_array_equal(kept.embed(CLIPS[:1], RATE), first)
    np.testing.assert_array_equal(np.load(file), first[0])
    assert inner.asked == [1, 1]


def test_a_real_embedding_is_what_it_was(tmp_path):
    expected = StatisticsEmbedding().embed(CLIPS, RATE)
    for _ in range(2):
        np.testing.assert_array_equal(KeptEmbedding(StatisticsEmbedding(), tmp_path).embed(CLIPS, RATE), expected)


# Listeners


@pytest.fixture
def trained(monkeypatch):
    """The seeds of the listeners that were trained, in order."""
    seen, train = [], listener_cache.train_listener

    def watched(clips, categories, sample_rate, training, **options):
        seen.append(training.seed)
        return train(clips, categories, sample_rate, training, **options)

    monkeypatch.setattr(listener_cache, "train_listener", watched)
    return seen


def test_a_listener_is_trained_once_and_answers_as_before(tmp_path, trained):
    first, again = (cached_listener(CLIPS, NAMES, RATE, QUICK, "cpu", tmp_path) for _ in range(2))
    assert trained == [0] and first.content_hash == again.content_hash
    np.testing.assert_array_equal(first.probabilities(CLIPS, RATE), again.probabilities(CLIPS, RATE))


def test_a_damaged_listener_is_trained_again(tmp_path, trained):
    first = cached_listener(CLIPS, NAMES, RATE, QUICK, "cpu", tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:100])
    assert cached_listener(CLIPS, NAMES, RATE, QUICK, "cpu", tmp_path).content_hash == first.content_hash
    assert trained == [0, 0]


def test_a_trainer_keeps_a_listener_for_each_seed(tmp_path, trained):
    trainer = cached_trainer(QUICK, "cpu", tmp_path)
    hashes = [trainer(CLIPS, NAMES, RATE, seed).content_hash for seed in (0, 1, 0, 1)]
    assert trained == [0, 1] and hashes[:2] == hashes[2:] and hashes[0] != hashes[1]
    with pytest.raises(InputError, match="categories"):
        trainer(CLIPS, NAMES[:2], RATE, 0)


def test_a_key_changes_with_clips_order_names_rate_settings_and_code(monkeypatch):
    def keys():
        asked = (CLIPS, NAMES, RATE, QUICK), (CLIPS[::-1], NAMES, RATE, QUICK), (CLIPS, NAMES[::-1], RATE, QUICK)
        asked += (CLIPS, NAMES, 2 * RATE, QUICK), (CLIPS, NAMES, RATE, replace(QUICK, n_epochs=2))
        return [listener_key(*arguments, "cpu") for arguments in asked]

    first = keys()
    assert len(set(first)) == 5 and first == keys()
    monkeypatch.setattr(listener_cache, "_code", lambda: "other")
    assert not set(first) & set(keys())
