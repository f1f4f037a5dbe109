"""The listener: it learns, repeats itself exactly, hears a clip alike in any company, and is stored whole."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from fakes.codecs import noise
from fakes.sounds import CLASSES, sound
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from envsound.base.errors import InputError
from envsound.base.files import sha256_file
from envsound.evaluation.listeners import network as module
from envsound.evaluation.listeners import training
from envsound.evaluation.listeners.network import (
    Listener,
    ListenerConfig,
    ListenerNetwork,
    load_listener,
    mel_spectra,
    window_samples,
)
from envsound.evaluation.listeners.training import (
    ListenerTraining,
    Sampler,
    kept_listener,
    listener_trainer,
    train_listener,
)

RATE = 16_000  # Hz
NAMES = list(CLASSES)
SHAPE = ListenerConfig(n_mels=32, widths=(8, 16, 16), embedding_dim=12, dropout=0.1)
PLAN = ListenerTraining(n_epochs=20, batch_size=8, lr=1e-2, mixup=0.2, gain_db=3.0)
SHORT = replace(PLAN, n_epochs=2)
PLAIN = replace(PLAN, mixup=0.0, gain_db=0.0, n_masks=0)


@cache
def sounds(n_each: int, first_seed: int = 0) -> tuple[list[np.ndarray], list[str]]:
    """Return `n_each` clips of half a second of each class, and their categories."""
    names = [name for name in NAMES for _ in range(n_each)]
    return [sound(name, first_seed + i, RATE, 0.5) for i, name in enumerate(names)], names


def train(training: ListenerTraining = SHORT, **options) -> Listener:
    return train_listener(*sounds(3), RATE, training, config=SHAPE, device="cpu", **options)


@pytest.fixture(scope="module")
def trained() -> Listener:
    return train_listener(*sounds(10), RATE, PLAN, config=SHAPE, device="cpu")


@pytest.fixture(scope="module")
def untrained() -> Listener:
    """A listener of full size whose every weight and statistic is random."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = ListenerNetwork(ListenerConfig(), len(NAMES))
        for name, value in network.state_dict().items():
            if value.is_floating_point() and ("norm" in name or "band" in name):
                value.uniform_(0.5, 1.5)
    return Listener(network, NAMES, RATE)


# Learning


def test_learns_sounds(trained):
    clips, names = sounds(6, first_seed=1000)
    right = np.mean(np.array(trained.predict(clips, RATE)) == names)
    assert right >= 0.85  # chance: 0.33
    assert trained.facts["history"][-1]["loss"] < trained.facts["history"][0]["loss"]


def test_answers_agree_with_each_other(trained):
    clips, _ = sounds(2, first_seed=500)
    probabilities, embeddings = trained.probabilities(clips, RATE), trained.embed(clips, RATE)
    assert probabilities.shape == (6, 3) and embeddings.shape == (6, SHAPE.embedding_dim)
    assert probabilities.dtype == embeddings.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-6)
    assert trained.categories == NAMES and trained.sample_rate == RATE
    assert trained.predict(clips, RATE) == [NAMES[best] for best in probabilities.argmax(1)]
    assert embeddings.min() >= 0 and embeddings.std(0).max() > 0


def test_one_seed_gives_one_listener_of_the_last_epoch_and_leaves_the_random_state_alone():
    before = torch.get_rng_state()
    one, again, other = train(), train(), train(replace(SHORT, seed=1))
    assert torch.equal(torch.get_rng_state(), before)
    a, b = one.network.state_dict(), again.network.state_dict()
    assert [name for name in a if not torch.equal(a[name], b[name])] == []
    assert one.facts == again.facts and one.content_hash == again.content_hash != other.content_hash
    assert one.facts["epoch"] == 2 and one.facts["n_clips"] == 9
    assert [set(row) for row in one.facts["history"]] == [{"epoch", "loss"}] * 2


def test_validation_clips_choose_the_epoch_and_do_not_train():
    training, watched = replace(PLAN, n_epochs=5), sounds(4, first_seed=300)
    one, blind = train(training, validation=watched), train(training)
    history = one.facts["history"]
    best = max(history, key=lambda row: (row["accuracy"], -row["cross_entropy"]))
    assert one.facts["epoch"] == best["epoch"]
    assert np.mean(np.array(one.predict(watched[0], RATE)) == watched[1]) == pytest.approx(best["accuracy"])
    assert [row["loss"] for row in history] == [row["loss"] for row in blind.facts["history"]]


def test_the_chosen_epoch_can_be_an_early_one(monkeypatch):
    found = [{"accuracy": a, "cross_entropy": c} for a, c in ((0.2, 1.0), (0.9, 1.0), (0.9, 2.0), (0.1, 0.0))]
    monkeypatch.setattr(training, "_validate", lambda *_: found.pop(0))
    plan = replace(PLAN, n_epochs=4)
    assert train(plan, validation=sounds(1)).facts["epoch"] == 2


@pytest.mark.parametrize("precision", training.PRECISIONS)
def test_a_cpu_trains_in_float32_whatever_is_asked_for(monkeypatch, precision):
    forward, seen = ListenerNetwork.forward, []

    def watched(network, levels, n_frames=None):
        seen.append(torch.is_autocast_enabled("cpu"))
        return forward(network, levels, n_frames)

    monkeypatch.setattr(ListenerNetwork, "forward", watched)
    train(replace(SHORT, n_epochs=1, precision=precision))
    assert seen and not any(seen)


@pytest.mark.parametrize(("precision", "expected"), [("bf16-mixed", True), ("32-true", False)])
def test_a_gpu_may_train_in_bfloat16(precision, expected):
    assert training.reduces_precision(precision, torch.device("cuda")) is expected


# What is heard depends on the clip alone


@pytest.mark.parametrize("n_samples", [1, 700, 5_000, 16_000, 23_456])
def test_a_clip_alone_and_in_a_padded_batch_agree(untrained, n_samples):
    clip, others = noise(n_samples), [noise(40_000, seed=1), noise(9_000, seed=2)]
    for answer in (untrained.probabilities, untrained.embed):
        together = answer([others[0], clip, others[1]], RATE)
        np.testing.assert_allclose(together[1], answer([clip], RATE)[0], atol=1e-5, rtol=1e-5)
        np.testing.assert_allclose(together[0], answer(others, RATE)[0], atol=1e-5, rtol=1e-5)


def test_more_clips_than_a_batch_keep_their_order(untrained, monkeypatch):
    clips = [noise(n, seed=n) for n in (9_000, 3_000, 30_000, 3_000, 12_000)]
    expected = untrained.embed(clips, RATE)
    monkeypatch.setattr(module, "BATCH_SIZE", 2)
    np.testing.assert_allclose(untrained.embed(clips, RATE), expected, atol=1e-5, rtol=1e-5)
    np.testing.assert_allclose(untrained.embed(clips[::-1], RATE), expected[::-1], atol=1e-5, rtol=1e-5)


def test_silent_and_very_short_clips_are_heard_and_trained_on(trained):
    clips = [np.zeros(RATE, np.float32), np.zeros(1, np.float32), np.ones(2, np.float64), noise(100)]
    assert np.isfinite(trained.embed(clips, RATE)).all()
    np.testing.assert_allclose(trained.probabilities(clips, RATE).sum(1), 1, atol=1e-6)
    names = ["silence", "silence", "noise", "noise"]
    one = train_listener(clips, names, RATE, SHORT, config=SHAPE, device="cpu")
    assert np.isfinite(one.probabilities(clips, RATE)).all()


# Spectra


@given(st.integers(8_000, 96_000))
@settings(max_examples=30, deadline=None)
def test_the_hop_is_10_to_20_ms_at_every_rate(sample_rate):
    assert 0.010 <= window_samples(sample_rate) / 4 / sample_rate <= 0.020


@pytest.mark.parametrize(("sample_rate", "n_frames"), [(16_000, 63), (24_000, 94), (44_100, 87)])
def test_white_noise_has_one_level_in_every_band(sample_rate, n_frames):
    (spectrum,) = mel_spectra([noise(sample_rate)], sample_rate, 64)
    assert spectrum.shape == (64, n_frames)
    levels = spectrum.mean(1)
    assert levels.numpy() == pytest.approx(levels.mean().item(), rel=0.15)


def test_normalised_levels_have_mean_0_and_variance_1(trained):
    clips, _ = sounds(10)
    levels = torch.cat([trained.network.normalise(one) for one in mel_spectra(clips, RATE, SHAPE.n_mels)], dim=1)
    torch.testing.assert_close(levels.mean(1), torch.zeros(SHAPE.n_mels), atol=0.01, rtol=0)
    torch.testing.assert_close(levels.std(1), torch.ones(SHAPE.n_mels), atol=0.01, rtol=0)


# Augmentation


def sampler(spectra: list[torch.Tensor], training: ListenerTraining, n_frames: int = 8) -> Sampler:
    return Sampler(spectra, np.arange(len(spectra)), len(spectra), n_frames, training)


def test_an_epoch_has_every_clip_once_in_even_batches():
    batches = sampler([torch.ones(4, 8)] * 17, PLAN).epoch()
    assert sorted(np.concatenate(batches)) == list(range(17))
    assert sorted(len(rows) for rows in batches) == [5, 6, 6]


def test_windows_go_round_the_clip():
    ramp = torch.arange(1.0, 6.0).expand(4, 5)
    one = sampler([ramp], PLAIN, n_frames=8)
    windows = [one.batch(np.array([0]))[0][0, 0] for _ in range(40)]
    assert {int(window[0]) for window in windows} == {1, 2, 3, 4, 5}
    steps = torch.stack(windows).diff(dim=1)
    assert set(steps.unique().tolist()) == {1.0, -4.0}


def test_gains_stay_within_bounds():
    one = sampler([torch.ones(4, 8)] * 200, replace(PLAIN, gain_db=6.0))
    gains_db = 20 * one.batch(np.arange(200))[0][:, 0, 0].log10()
    assert -6 <= gains_db.min() < -5 and 5 < gains_db.max() <= 6


def test_mixup_mixes_spectra_and_targets_alike():
    loud = [torch.full((4, 8), float(level)) for level in (1, 10, 100)]
    spectra, targets = sampler(loud, replace(PLAIN, mixup=1.0)).batch(np.tile(np.arange(3), 50))
    torch.testing.assert_close(spectra[:, 0, 0], targets @ torch.tensor([1.0, 10.0, 100.0]))
    torch.testing.assert_close(targets.sum(1), torch.ones(150))
    assert (targets[torch.arange(150), torch.arange(3).repeat(50)] >= 0.5).all()
    assert ((targets > 0).sum(1) == 2).any()


def test_without_augmentation_a_batch_is_the_clips():
    spectra, targets = sampler([torch.ones(4, 8), torch.zeros(4, 8)], PLAIN).batch(np.array([1, 0]))
    assert spectra.mean((1, 2)).tolist() == [0, 1]
    assert targets.tolist() == [[0, 1], [1, 0]]


def test_masks_hide_whole_bands_and_frames_no_wider_than_asked():
    training = replace(PLAIN, n_masks=1, time_mask=0.25, frequency_mask=0.5)
    levels = torch.ones(100, 6, 8)
    hidden = sampler([torch.ones(6, 8)], training).mask(levels) == 0
    assert (levels == 1).all()
    bands, frames = hidden.all(2), hidden.all(1)
    assert torch.equal(hidden, bands[:, :, None] | frames[:, None, :])
    assert (bands.sum(1).max(), frames.sum(1).max()) == (3, 2)
    assert bands.any(0).all() and frames.any(0).all()


BANDS = 26  # with N_EQUALISED points every fifth band is one


def pair(spectrum: torch.Tensor, plan: ListenerTraining) -> Sampler:
    return sampler([spectrum, spectrum], plan, spectrum.shape[1])


def test_filters_and_transposition_are_off_by_default_and_take_no_random_number():
    one = pair(torch.rand(BANDS, 4), PLAIN)
    one.batch(np.array([0, 1]))
    expected = np.random.default_rng(PLAIN.seed)
    for _ in range(2):
        expected.integers(4)  # where each window starts
    expected.uniform(0.0, 0.0, 2)  # the gains
    assert one.rng.integers(10**9) == expected.integers(10**9)


def test_filters_are_lines_between_levels_within_bounds_and_alike_in_every_frame():
    one = pair(torch.ones(BANDS, 8), replace(PLAIN, equaliser_db=6.0))
    spectra = torch.cat([one.batch(np.array([0, 1]))[0] for _ in range(100)])
    assert (spectra == spectra[:, :, :1]).all()
    levels_db = 20 * spectra[:, :, 0].log10()
    assert -6.001 <= levels_db.min() < -5.5 and 5.5 < levels_db.max() <= 6.001
    points = torch.arange(0, BANDS, (BANDS - 1) // (training.N_EQUALISED - 1))
    bends = levels_db.diff(n=2, dim=1).abs()
    inner = [band for band in range(1, BANDS - 1) if band not in points]
    assert bends[:, [band - 1 for band in inner]].max() < 1e-3 and bends.max() > 0.5


def test_transposition_moves_bands_no_further_than_asked_and_repeats_the_outermost():
    ramp = torch.arange(1.0, BANDS + 1)[:, None].expand(BANDS, 4)
    one = pair(ramp, replace(PLAIN, transposed_bands=2))
    moved = {tuple(one.batch(np.array([0]))[0][0, :, 0].int().tolist()) for _ in range(100)}
    bands = np.arange(BANDS)
    assert moved == {tuple((np.clip(bands - up, 0, BANDS - 1) + 1).tolist()) for up in (-2, -1, 0, 1, 2)}


# Kept


def test_a_listener_is_trained_once_for_all_that_it_depends_on(tmp_path, monkeypatch):
    seen, train = [], training.train_listener
    monkeypatch.setattr(training, "train_listener", lambda *a, **k: (seen.append(a[3].seed), train(*a, **k))[1])
    clips, names, plan = [noise(1600, seed) for seed in range(4)], ["a", "b"] * 2, replace(SHORT, n_epochs=1)
    trainer = listener_trainer(plan, "cpu", tmp_path)
    hashes = [trainer(clips, names, RATE, seed).content_hash for seed in (0, 1, 0, 1)]
    assert seen == [0, 1] and hashes[:2] == hashes[2:] and hashes[0] != hashes[1]
    others = (clips[::-1], names, RATE, plan), (clips, names[::-1], RATE, plan), (clips, names, 2 * RATE, plan)
    for asked in (*others, (clips, names, RATE, replace(plan, lr=1e-3))):
        kept_listener(*asked, "cpu", tmp_path)
    assert len(seen) == 6
    for file in tmp_path.iterdir():
        file.write_bytes(file.read_bytes()[:100])
    assert kept_listener(clips, names, RATE, plan, "cpu", tmp_path).content_hash == hashes[0] and len(seen) == 7
    with pytest.raises(InputError, match="categories"):
        trainer(clips, names[:2], RATE, 0)


# Storage


def test_a_stored_listener_answers_exactly_alike(trained, untrained, tmp_path):
    path, again = tmp_path / "listener.safetensors", tmp_path / "again.safetensors"
    trained.save(path)
    loaded = load_listener(path, "cpu")
    loaded.save(again)
    clips = [*sounds(1, first_seed=77)[0], noise(100)]
    assert np.array_equal(loaded.probabilities(clips, RATE), trained.probabilities(clips, RATE))
    assert np.array_equal(loaded.embed(clips, RATE), trained.embed(clips, RATE))
    assert (loaded.categories, loaded.sample_rate) == (trained.categories, trained.sample_rate)
    assert loaded.facts == trained.facts and loaded.network.config == SHAPE
    assert path.read_bytes() == again.read_bytes()
    assert sha256_file(path) == loaded.content_hash == trained.content_hash
    n_weights = sum(value.numel() for value in untrained.network.parameters())
    untrained.save(path)
    assert 500_000 < n_weights < 1_500_000 and 2 * n_weights < path.stat().st_size < 2.1 * n_weights  # 16 bit each


@pytest.mark.parametrize("content", [None, b"", b"not a listener"])
def test_a_missing_or_damaged_file_is_named(tmp_path, content):
    path = tmp_path / "broken.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"broken\.safetensors: cannot be read"):
        load_listener(path, "cpu")


@pytest.mark.parametrize("metadata", [None, {"listener": "{}"}, {"listener": "not json"}])
def test_another_file_is_refused(tmp_path, metadata):
    save_file({"x": torch.zeros(2)}, tmp_path / "other.safetensors", metadata)
    with pytest.raises(InputError, match=r"other\.safetensors: not a listener"):
        load_listener(tmp_path / "other.safetensors", "cpu")


# Wrong inputs

NOT_CLIPS = [np.zeros((2, 100), np.float32), np.zeros(0, np.float32), np.zeros(100, np.int16)]
NOT_CLIPS += [np.full(100, np.nan, np.float32), np.array([0.0, np.inf])]


@pytest.mark.parametrize("clip", NOT_CLIPS, ids=["stereo", "empty", "integers", "not a number", "infinite"])
def test_clips_that_cannot_be_heard_are_named(trained, clip):
    with pytest.raises(InputError, match=r"clip 1: "):
        trained.predict([noise(100), clip], RATE)


def test_no_clips_and_another_rate_are_refused(trained):
    with pytest.raises(InputError, match="there are none"):
        trained.embed([], RATE)
    for answer in (trained.predict, trained.probabilities, trained.embed):
        with pytest.raises(InputError, match=r"24000.* trained at 16000 Hz"):
            answer([noise(1000)], 24_000)


@pytest.mark.parametrize(
    ("clips", "categories", "rate", "message"),
    [
        ([noise(100)] * 3, ["a", "b"], RATE, "there are 2 for 3 clips"),
        ([noise(100)] * 2, ["a", "a"], RATE, "at least two different"),
        ([], [], RATE, "at least two different"),
        ([noise(100)] * 2, ["a", "b"], 4_000, "sample_rate=4000"),
        ([noise(100), noise(100)[None]], ["a", "b"], RATE, "clip 1"),
    ],
)
def test_training_material_that_cannot_be_used(clips, categories, rate, message):
    with pytest.raises(InputError, match=message):
        train_listener(clips, categories, rate, SHORT, config=SHAPE, device="cpu")


@pytest.mark.parametrize(("clips", "categories"), [([noise(100)], ["whale"]), ([noise(100)], []), ([], [])])
def test_validation_clips_that_cannot_be_used(clips, categories):
    with pytest.raises(InputError, match=r"validation|there are none"):
        train(validation=(clips, categories))


OUT_OF_RANGE = {"n_epochs": 0, "batch_size": 0, "lr": 0.0, "window_seconds": 0.0, "mixup": -0.1, "n_masks": -1}
OUT_OF_RANGE |= {"equaliser_db": -1.0, "transposed_bands": -1, "time_mask": 1.0, "label_smoothing": 1.0}
OUT_OF_RANGE |= {"warmup_fraction": 0.0, "precision": "int8"}
NO_SHAPE = {"widths": (), "embedding_dim": 0, "dropout": 1.0, "n_mels": 60}


@pytest.mark.parametrize(("name", "value"), [*OUT_OF_RANGE.items(), *NO_SHAPE.items(), ("widths", (0,))])
def test_settings_and_shapes_out_of_range_are_named(name, value):
    with pytest.raises(InputError, match=name):
        (ListenerConfig if name in NO_SHAPE else ListenerTraining)(**{name: value})


@pytest.mark.parametrize("categories", [["a", "b"], ["a", "b", "b"]])
def test_categories_must_be_one_for_each_score(categories):
    with pytest.raises(InputError, match="3 different names"):
        Listener(ListenerNetwork(SHAPE, 3), categories, RATE)


def test_a_loss_that_is_not_finite_stops_the_training():
    with pytest.raises(InputError, match="the loss is nan"):
        train(replace(PLAIN, n_epochs=30, lr=1e30))
