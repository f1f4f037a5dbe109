"""The baselines: each learns tones from their sound or codes, chooses on its own fold, and looks at no test label."""

from dataclasses import replace

import numpy as np
import pytest
from fakes.codecs import SampleCodec
from fakes.recognition import HASH, sounding_clips

from envsound.base.errors import InputError, NotHere
from envsound.codec.codes import load_codes
from envsound.evaluation.listeners import training
from envsound.studies.recognition import baselines, rounds
from envsound.studies.recognition.baselines import AstProbe, CodecProbe, MfccSvm
from envsound.studies.recognition.cnn import CnnRecogniser
from envsound.studies.recognition.patch_bag import PatchBag
from envsound.studies.recognition.rounds import check_scores, cross_validation

CNN = CnnRecogniser(
    clip_seconds=0.3, widths=(8, 16), n_mels=16, embedding_dim=16, dropout=0.0, n_epochs=15, batch_size=3, lr=1e-2,
    label_smoothing=0.0, mixup=0.0, transposed_bands=0, device="cpu", precision="32-true",
)  # fmt: skip
BAG = PatchBag(clip_seconds=0.3, n_mels=16, n_components=8, n_directions=16, n_patches=200, n_iterations=3)


class OneCodec(SampleCodec):
    """A codec whose latents are its codes."""

    def __init__(self):
        super().__init__()
        self.content_hash = HASH

    def dequantise(self, codes):
        return codes.float()


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return sounding_clips(tmp_path_factory.mktemp("sounds"), n_per_class=3)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(rounds, "FEATURES", tmp_path / "cache")
    monkeypatch.setattr(baselines, "_codec", lambda *_: OneCodec())


RECOGNISERS = {"svm": MfccSvm(clip_seconds=0.3), "codec probe": CodecProbe(device="cpu"), "cnn": CNN, "bag": BAG}


@pytest.mark.parametrize("one", RECOGNISERS.values(), ids=RECOGNISERS.keys())
def test_a_recogniser_learns_and_looks_at_no_test_label(clips, tmp_path, one):
    fold = cross_validation(clips)[0]
    scores = check_scores(one.fit_and_score(fold, tmp_path / "a", 0), fold, one.name)
    assert np.mean(scores.argmax(1) == fold.test.labels) >= 0.85  # chance: 0.33
    blind = replace(fold, test=replace(fold.test, labels=np.zeros_like(fold.test.labels)))
    assert np.array_equal(one.fit_and_score(blind, tmp_path / "b", 0), scores)
    assert "device" not in one.settings() and one.settings()["refit"] == one.refit


def test_a_linear_probe_reads_what_is_linear(clips):
    fold, centres = cross_validation(clips)[1], np.array([[0, 0], [3, 0], [0, 3]])
    scores = baselines.linear_probe(
        lambda part: centres[part.labels] + np.random.default_rng(0).normal(0, 0.1, (9, 2)), fold
    )
    assert (scores.argmax(1) == fold.test.labels).all()
    assert np.allclose(scores.sum(1), 1) and scores.dtype == np.float64


class Guess:
    """A classifier that is as right as its `merit`, and counts what it was fitted on."""

    def __init__(self, merit: float, name: str = ""):
        self.merit, self.name = merit, name

    def __sklearn_clone__(self):
        return Guess(self.merit, self.name)

    def fit(self, features, labels):
        self.n = len(labels)
        return self


@pytest.mark.parametrize("refit", [False, True])
def test_the_validation_fold_chooses_and_refitting_takes_all_but_the_test_fold(clips, refit):
    seen = []

    def scores(one: Guess, features: np.ndarray) -> np.ndarray:
        seen.append((one.merit, one.name, one.n))
        return one.merit * np.eye(3)[features[:, 0]] + (1 - one.merit) / 3

    candidates = [Guess(0.1), Guess(0.9, "first"), Guess(0.5), Guess(0.9, "second")]
    baselines.choose_and_score(candidates, lambda part: part.labels[:, None], cross_validation(clips)[0], refit, scores)
    assert seen[-1] == (0.9, "first", 18 if refit else 9)  # of equals the first


def test_latents_are_described_by_mean_and_spread(clips):
    found = baselines.latent_statistics(OneCodec(), clips.codes_files[0])
    codes = load_codes(clips.codes_files[0]).astype(float)
    np.testing.assert_allclose(found, [*codes.mean(1), *codes.std(1)], rtol=1e-5)
    with pytest.raises(InputError, match="has no method dequantise"):
        baselines.latent_statistics(SampleCodec(), clips.codes_files[0])


# The bag of patches


def test_typical_patches_are_learnt_without_labels_and_from_the_seed_alone(clips):
    train = cross_validation(clips)[0].train
    levels = BAG.levels(clips)[0]
    one, again, other = (BAG.bag(part, seed)(levels) for part, seed in
                         ((train, 0), (replace(train, labels=0 * train.labels), 0), (train, 1)))  # fmt: skip
    assert one.shape == (3 * 16,) and np.array_equal(one, again) and not np.array_equal(one, other)


def test_a_patch_says_nothing_of_its_level_and_a_short_clip_has_one(clips):
    few = clips.rows([0])
    levels = BAG.levels(few)[0]
    np.testing.assert_allclose(BAG._patches(levels + 3), BAG._patches(levels), atol=1e-5)
    assert replace(BAG, patch_frames=100).levels(few)[0].shape == (16, 100)
    with pytest.raises(InputError, match="n_directions=0"):
        PatchBag(n_directions=0)


# The network


def test_a_cnn_that_was_killed_ends_as_one_that_was_not(clips, tmp_path, monkeypatch):
    fold = cross_validation(clips)[0]
    one = replace(CNN, n_epochs=3, batch_size=6, dropout=0.2, mixup=0.4, refit=True)
    whole = one.fit_and_score(fold, tmp_path / "whole", 0)
    steps, step = [], training._step

    def killed(*arguments):
        if len(steps) == 4:  # in the third epoch of two steps each
            raise KeyboardInterrupt
        return steps.append(1) or step(*arguments)

    monkeypatch.setattr(training, "_step", killed)
    with pytest.raises(KeyboardInterrupt):
        one.fit_and_score(fold, tmp_path / "killed", 0)
    monkeypatch.setattr(training, "_step", lambda *arguments: steps.append(1) or step(*arguments))
    assert np.array_equal(one.fit_and_score(fold, tmp_path / "killed", 0), whole)
    history = np.genfromtxt(tmp_path / "killed" / "training.csv", delimiter=",", names=True)
    chosen = max(history, key=lambda row: (row["accuracy"], -row["cross_entropy"]))["epoch"]
    assert len(steps) == 6 + 3 * chosen and len(history) == 3  # refitted on 18 clips up to the epoch chosen
    assert not np.array_equal(replace(one, refit=False).fit_and_score(fold, tmp_path / "killed", 1), whole)


def test_a_network_whose_parameters_are_out_of_range_is_refused_at_once():
    for changes in ({"n_mels": 60}, {"lr": 0.0}, {"pooled_frames": 0}, {"transposed_bands": -1}):
        with pytest.raises(InputError, match=next(iter(changes))):
            CnnRecogniser(**changes)


def test_frames_are_averaged_in_groups(clips):
    whole, pooled = (replace(CNN, pooled_frames=n).spectra(clips.rows([0]))[0] for n in (1, 2))
    assert pooled.shape == (16, -(-whole.shape[1] // 2)) and whole.shape[1] % 2  # the last group is of one
    np.testing.assert_allclose(pooled[:, 3], whole[:, 6:8].mean(1), rtol=1e-5)
    np.testing.assert_allclose(pooled[:, -1], whole[:, -1], rtol=1e-5)


# AST


class Ears:
    """What `load_ast` gives, as far as a probe uses it: the pitch of a tone as an embedding."""

    sample_rate, content_hash = 16_000, "e"

    def embed(self, clips, sample_rate):
        assert sample_rate == 16_000
        return np.array([[np.mean(np.diff(np.sign(clip)) != 0), 1.0] for clip in clips])


def absent(*_):
    raise NotHere("no weights")


def test_ast_is_read_by_a_linear_probe_where_it_is(clips, tmp_path, monkeypatch):
    fold = cross_validation(clips)[0]
    monkeypatch.setattr(baselines, "load_ast", lambda *_: Ears())
    assert (AstProbe(weights="here").fit_and_score(fold, tmp_path, 0).argmax(1) == fold.test.labels).mean() >= 0.85
    monkeypatch.setattr(baselines, "load_ast", absent)
    with pytest.raises(NotHere):
        AstProbe(weights="elsewhere").fit_and_score(fold, tmp_path, 0)
