"""Embeddings: one interface, read at a common rate, computed once, absent ones named."""

import json
import sys
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fakes.codecs import noise
from fakes.sounds import as_sources
from scipy.signal import resample_poly

from envsound.base.errors import InputError
from envsound.evaluation.listeners.network import Listener, ListenerConfig, ListenerNetwork
from envsound.evaluation.sides import Source
from envsound.evaluation.spaces import embeddings as module
from envsound.evaluation.spaces import pretrained as pretrained
from envsound.evaluation.spaces.embeddings import (
    KeptEmbedding,
    NotRun,
    Reduced,
    SourceClips,
    StatisticsEmbedding,
    embed_clips,
    modulation_depths,
    spectrum_statistics,
)

RATE = 16_000  # Hz
SHAPE = ListenerConfig(n_mels=32, widths=(8, 16), embedding_dim=12)


def listener() -> Listener:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Listener(ListenerNetwork(SHAPE, 2), ["a", "b"], RATE)


def clips(n: int = 5) -> list[np.ndarray]:
    return [noise(3_000 + 400 * number, seed=number) for number in range(n)]


def failing(rate: int) -> np.ndarray:
    raise InputError("gone.wav: no such file")


def test_points_come_in_order_whatever_the_batch(monkeypatch):
    expected = listener().embed(clips(), RATE)
    monkeypatch.setattr(module, "BATCH_SIZE", 2)
    found = embed_clips(as_sources(clips(), RATE, list("abaab"), [1, 2, 3, 4, 5]), listener(), RATE)
    np.testing.assert_allclose(found.vectors, expected, atol=1e-5)
    assert list(found.clips["category"]) == list("abaab") and list(found.clips["fold"]) == [1, 2, 3, 4, 5]
    assert np.array_equal(found.of_class("b"), found.vectors[[1, 4]]) and len(found.of_class("")) == 5


def test_clips_that_cannot_be_read_are_named_and_have_no_point():
    bad = [Source("gone.wav", failing), Source("nan.wav", lambda rate: np.full(9, np.nan)), Source("", lambda rate: [])]
    found = embed_clips([bad[0], *as_sources(clips(2), RATE), *bad[1:]], StatisticsEmbedding(), RATE)
    assert len(found.vectors) == len(found.clips) == 2 and list(found.problems) == ["gone.wav", "nan.wav", ""]
    with pytest.raises(InputError, match=r"real: no clip can be read \(gone.wav: no such file\)"):
        embed_clips(bad[:1], StatisticsEmbedding(), RATE, "real")


def test_a_listener_hears_its_own_rate_and_both_sides_lose_what_the_common_one_cannot_hold():
    found = embed_clips(as_sources([noise(24_000)], 24_000), listener(), 24_000)
    expected = listener().embed([resample_poly(noise(24_000), 2, 3).astype(np.float32)], RATE)
    np.testing.assert_allclose(found.vectors, expected, atol=0.02 * expected.max())
    loud = np.sin(2 * np.pi * 6_000 * np.arange(RATE) / RATE).astype(np.float32)
    (heard,) = SourceClips(as_sources([loud], RATE), sample_rate=8_000, heard_at=RATE)
    assert len(heard) == RATE and np.abs(heard[500:-500]).max() < 1e-3
    (whole,) = SourceClips(as_sources([loud], RATE), sample_rate=RATE)
    assert np.array_equal(whole, loud)


def test_statistics_are_of_each_clip_alone_and_louder_clips_have_higher_levels_of_the_same_spread():
    one, both = StatisticsEmbedding().embed(clips(1), RATE), StatisticsEmbedding().embed(clips(2), RATE)
    assert one.shape == (1, 168) and np.array_equal(one[0], both[0]) and not np.array_equal(both[0], both[1])
    soft, loud = (spectrum_statistics(noise(RATE, rms=rms), RATE) for rms in (0.05, 0.1))
    np.testing.assert_allclose((loud - soft)[:64], np.log(2), atol=0.01)
    np.testing.assert_allclose(loud[64:], soft[64:], atol=0.01)
    for clip in (np.zeros(RATE, np.float32), np.ones(1, np.float32)):  # silence, a single sample
        assert np.isfinite(spectrum_statistics(clip, RATE)).all()


@pytest.mark.parametrize(("hz", "octave"), [(0.7, 0), (3.0, 2), (11.0, 4)])
def test_a_sine_of_the_level_has_its_depth_in_its_octave(hz, octave):
    levels = np.stack([np.zeros(500), 2 * np.sin(2 * np.pi * hz * np.arange(500) / 100) + 7])
    depths = modulation_depths(levels, 100)
    assert depths.shape == (2, 5) and not depths[0].any()
    assert depths[1, octave] == pytest.approx(np.sqrt(2), rel=0.05)
    assert np.delete(depths[1], octave).max() < 0.25 * depths[1, octave]


@dataclass
class Given:
    """An embedding that returns the clips themselves, and counts how many it was given."""

    content_hash: str = "one"
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    asked: list = field(default_factory=list)
    name, sample_rate = "given", 0

    def embed(self, clips, sample_rate):
        self.asked.append(len(clips))
        return np.stack(clips)


def test_components_are_a_tenth_of_the_reference_clips_and_keep_its_variance():
    rng = np.random.default_rng(0)
    reference = rng.standard_normal((60, 3)) @ rng.standard_normal((3, 20)) * np.logspace(-3, 3, 20) + 5
    reduced = Reduced(Given(), reference)
    assert reduced.n_components == 6 and reduced.name == "given, 6 components"
    found = reduced.embed(list(reference), RATE)
    np.testing.assert_allclose(found.mean(0), 0, atol=1e-9)
    assert found.var(0).sum() == pytest.approx(20)  # each dimension counts alike, whatever its unit
    assert np.all(np.diff(found.var(0)) <= 1e-9)


def test_dimensions_that_never_change_are_left_out_and_activations_keep_their_scale():
    reference = np.column_stack([np.arange(30.0), np.full(30, 0.1)])
    moved = Reduced(Given(), reference).embed([np.array([3.0, 0.1]), np.array([3.0, 9.0])], RATE)
    assert np.isfinite(moved).all() and np.array_equal(moved[0], moved[1])
    reference = np.random.default_rng(0).standard_normal((40, 3)) * [1, 1, 1e-3]
    quiet = [np.zeros(3), np.array([0, 0, 0.1])]  # the second stirs a dimension that hardly ever stirs
    points = [Reduced(Given(), reference, standardised).embed(quiet, RATE) for standardised in (True, False)]
    lengths = [np.linalg.norm(two[1] - two[0]) for two in points]
    assert lengths[0] > 90 and lengths[1] == pytest.approx(0.1, rel=0.01)
    with pytest.raises(InputError, match="2 reference clips"):
        Reduced(Given(), np.eye(2))


POINTS = list(np.arange(9, dtype=np.float32).reshape(3, 3))


def test_points_are_computed_once_and_come_back_in_order(tmp_path):
    inner = Given()
    kept = KeptEmbedding(inner, tmp_path)
    np.testing.assert_array_equal(kept.embed(POINTS[:2], RATE), POINTS[:2])
    np.testing.assert_array_equal(kept.embed([POINTS[i] for i in (2, 1, 2)], RATE), [POINTS[i] for i in (2, 1, 2)])
    assert inner.asked == [2, 1] and (kept.name, kept.content_hash, kept.sample_rate) == ("given", "one", 0)


@pytest.mark.parametrize("change", ["clip", "rate", "network", "device", "library"])
def test_whatever_a_point_depends_on_makes_another(tmp_path, monkeypatch, change):
    KeptEmbedding(Given(), tmp_path).embed(POINTS[:1], RATE)
    others = {"network": {"content_hash": "two"}, "device": {"device": torch.device("cuda:1")}}
    inner = Given(**others.get(change, {}))
    if change == "library":
        monkeypatch.setattr(module.cache, "libraries", lambda *_: "transformers 99")
    given = POINTS[1:2] if change == "clip" else POINTS[:1]
    KeptEmbedding(inner, tmp_path).embed(given, RATE // 2 if change == "rate" else RATE)
    assert inner.asked == [1]


class FakeNetwork(torch.nn.Module):
    """Answers with the mean and the largest value of each clip; its weights are complete unless told otherwise."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(1))
        self.register_buffer("shift", torch.zeros(1))

    def forward(self, values):
        points = torch.stack([values.mean(1), values.amax(1)], 1) * self.scale
        return SimpleNamespace(pooler_output=points, audio_embeds=points)


class FakeExtractor:
    sampling_rate, max_length, truncation, mean = RATE, 100, "rand_trunc", -4.3

    def to_json_string(self):
        return json.dumps({"sampling_rate": self.sampling_rate, "mean": self.mean})

    def __call__(self, clips, sampling_rate, return_tensors):
        assert sampling_rate == RATE and return_tensors == "pt"
        np.random.random()  # as CLAP's feature extractor draws from the global state
        longest = max(map(len, clips))
        return {"values": torch.stack([torch.from_numpy(np.pad(c, (0, longest - len(c)))) for c in clips])}


@pytest.fixture
def transformers(monkeypatch):
    """A stand-in for the package: AST is in the cache, CLAP is not, and a folder holds either."""
    fake = SimpleNamespace(missing=[], extractor=FakeExtractor(), asked=[])

    def load(place, local_files_only, output_loading_info=False):
        fake.asked.append((place, local_files_only))
        if place == pretrained.CLAP_WEIGHTS:
            raise OSError("not cached")
        return (FakeNetwork(), {"missing_keys": fake.missing}) if output_loading_info else fake.extractor

    loader = SimpleNamespace(from_pretrained=load)
    fake.AutoFeatureExtractor = fake.ASTModel = fake.ClapAudioModelWithProjection = loader
    monkeypatch.setitem(sys.modules, "transformers", fake)
    return fake


def test_only_what_is_on_this_machine_is_loaded(transformers, tmp_path, monkeypatch):
    ast, clap = pretrained.pretrained_embeddings(device="cpu")
    assert isinstance(clap, NotRun) and "not in the local Hugging Face cache" in clap.reason
    assert ast.name == "AST" and ast.sample_rate == RATE
    assert all(local for _, local in transformers.asked)
    assert pretrained.load_clap(tmp_path, "cpu").name == "CLAP" and transformers.asked[-1][0] == str(tmp_path)
    monkeypatch.setitem(sys.modules, "transformers", None)
    found = pretrained.pretrained_embeddings()
    assert [one.name for one in found] == ["AST", "CLAP"] and all(isinstance(one, NotRun) for one in found)
    assert "not installed" in found[0].reason


def test_folders_that_hold_something_else_are_refused(transformers, tmp_path):
    with pytest.raises(InputError, match="is not a folder"):
        pretrained.pretrained_embeddings(ast_weights=tmp_path / "absent")
    transformers.missing = ["scale"]
    with pytest.raises(InputError, match="lacks 1 tensors, such as scale"):
        pretrained.load_ast(tmp_path, "cpu")
    transformers.missing, transformers.extractor.truncation = ["a.buffer"], "fusion"
    with pytest.raises(InputError, match="is fused"):
        pretrained.load_clap(tmp_path, "cpu")


def test_a_network_embeds_in_batches_clips_that_are_cut_or_padded_and_leaves_the_random_state_alone(
    transformers, monkeypatch, tmp_path
):
    embedding = pretrained.load_ast(device="cpu")
    sounds = [np.full(RATE, level, np.float32) for level in (0.1, 0.2, 0.3)]
    monkeypatch.setattr(pretrained, "BATCH_SIZE", 2)
    before = np.random.get_state()[1].copy()
    found = embedding.embed(sounds, RATE)
    assert np.array_equal(np.random.get_state()[1], before)
    np.testing.assert_allclose(found, [[0.1, 0.1], [0.2, 0.2], [0.3, 0.3]], rtol=1e-5)
    with pytest.raises(InputError, match="hears 16000 Hz"):
        embedding.embed(sounds, 24_000)
    clap = pretrained.load_clap(tmp_path, "cpu")
    long = np.concatenate([np.full(10 * RATE, 0.5), np.full(RATE, 0.9)]).astype(np.float32)
    np.testing.assert_allclose(clap.embed([long], RATE), [[np.sqrt(0.5)] * 2], rtol=1e-5)
    (short,) = clap.embed([np.full(1, 0.5, np.float32)], RATE)
    assert short[0] / short[1] == pytest.approx(1 / (0.1 * RATE), rel=1e-4)


def test_the_hash_follows_weights_buffers_and_the_settings_of_the_extractor(transformers):
    plain, again, weights, buffers = (pretrained.load_ast(device="cpu") for _ in range(4))
    weights.network.scale.data.add_(1)
    buffers.network.shift.add_(1)
    hashes = {one.content_hash for one in (plain, again, weights, buffers)}
    transformers.extractor.mean = -5.0
    assert len(hashes) == 3 and pretrained.load_ast(device="cpu").content_hash not in hashes
