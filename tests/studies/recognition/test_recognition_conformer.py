"""Recognisers on the generative model: nothing held out leaks, frozen stays frozen, resumed is uninterrupted."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from fakes.coded_clips import CODEBOOK_SIZE, CODEC_HASH, N_LEVELS, coded_clips, first_round

from envsound.base.errors import InputError
from envsound.base.paths import find_root
from envsound.codec import BUNDLED
from envsound.codec.codes import load_codes
from envsound.evaluation.spaces.pretrained import NotHere
from envsound.studies.recognition import finetuned, pretraining
from envsound.studies.recognition.code_sampling import CodeBatch, load_clips
from envsound.studies.recognition.finetuned import CodeClassifier, FinetunedConformer
from envsound.studies.recognition.frozen import FrozenConformer, ProbedConformer
from envsound.studies.recognition.pretraining import CheckpointStart, split_watched
from envsound.studies.recognition.readout_probe import ProbeReadout
from envsound.studies.recognition.readouts import seeded_readout
from envsound.studies.recognition.recognisers import make_recogniser
from envsound.studies.recognition.rounds import check_scores, cross_validation
from envsound.studies.recognition.training import STATE, ClassifierSchedule, rate_factor
from envsound.systems.soundstorm.checkpoints import Checkpoint, save_checkpoint
from envsound.systems.soundstorm.conformer import MaskedConformer, ModelConfig

CPU = torch.device("cpu")
MODEL = {"n_levels": N_LEVELS, "codebook_size": CODEBOOK_SIZE, "dim": 16, "n_layers": 1, "n_heads": 2}
MODEL |= {"pretraining_epochs": 1, "precision": "32-true", "device": "cpu"}
TUNED = MODEL | {"start": "random", "num_epochs": 4, "lr": 1e-2, "trunk_lr": 1e-2, "crop_frames": 10, "patience": 0}
TUNED |= {"readout": "attention", "masked_share": 0.1, "level_dropout": 0.2, "mixup": 0.3}
PROBED = TUNED | {"readout": "probe", "probe_epochs": 10, "probe_lr": 0.1}


@pytest.fixture
def fold(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return first_round(tmp_path / "codes")


def relabelled(clips, seed=0):
    return replace(clips, labels=np.random.default_rng(seed).integers(3, size=len(clips)))


# What may be learnt from


def test_pretraining_reads_the_training_clips_codes_alone(fold, tmp_path):
    for clips in (fold.validation, fold.test):
        for file in clips.codes_files:
            file.unlink()
    weights = FinetunedConformer(**MODEL).weights()
    model = weights.model(fold.train, 0)
    assert model.config.n_classes == 0 and model.class_embedding is None
    assert list((tmp_path / "data/cache/pretraining").glob("*.safetensors"))


def test_no_code_of_another_fold_is_among_those_learnt_from(fold):
    learnt, watched = split_watched(fold.train, 0.1, seed=0)
    known = {codes.tobytes() for part in (learnt, watched) for codes in part.codes}
    held_out = {load_codes(file).tobytes() for part in (fold.validation, fold.test) for file in part.codes_files}
    assert len(known) == len(fold.train) and not known & held_out
    assert len(watched) == 2 and set(learnt.classes) == set(watched.classes) == {0}


def test_labels_change_nothing_in_pretraining_and_codes_do(fold, tmp_path):
    weights = FinetunedConformer(**MODEL).weights()
    key = weights.key(fold.train, 0)
    assert weights.key(relabelled(fold.train), 0) == key
    assert weights.key(fold.train, 1) != key
    other = cross_validation(coded_clips(tmp_path / "codes"), [2])[0]
    assert weights.key(other.train, 0) != key
    one = weights.model(fold.train, 0).state_dict()
    shutil.rmtree(tmp_path / "data/cache/pretraining")
    again = weights.model(relabelled(fold.train), 0).state_dict()
    assert all(torch.equal(one[name], again[name]) for name in one)


@pytest.mark.parametrize("kind", ["conformer_frozen", "conformer_probe", "conformer_finetuned"])
def test_labels_of_the_test_clips_change_nothing(fold, tmp_path, kind):
    settings = TUNED | {"num_epochs": 2} if kind == "conformer_finetuned" else MODEL | {"start": "random"}
    recogniser = make_recogniser(kind, settings)
    one = check_scores(recogniser.fit_and_score(fold, tmp_path / "a", 0), fold, recogniser.name)
    blind = replace(fold, test=relabelled(fold.test))
    assert np.array_equal(recogniser.fit_and_score(blind, tmp_path / "b", 0), one)


def test_a_checkpoint_that_knows_classes_is_refused(fold, tmp_path):
    knowing = MaskedConformer(ModelConfig(N_LEVELS, CODEBOOK_SIZE, 16, 1, 2, n_classes=3))
    save_checkpoint(tmp_path / "knowing.safetensors", Checkpoint(knowing, list("abc"), {"codec_hash": CODEC_HASH}))
    with pytest.raises(InputError, match="told one of 3 classes"):
        CheckpointStart(str(tmp_path / "knowing.safetensors")).model(fold.train, 0)


# Starts


def test_a_missing_speech_model_means_not_run_here(fold, tmp_path):
    recogniser = make_recogniser("conformer_probe", MODEL | {"start": "speech", "speech_checkpoint": "no.safetensors"})
    assert recogniser.settings()["checkpoint_sha256"] == ""
    with pytest.raises(NotHere, match="no such file"):
        recogniser.fit_and_score(fold, tmp_path, 0)


def test_speech_weights_are_the_checkpoints(fold, tmp_path, own_random_state):
    spoken = MaskedConformer(ModelConfig(N_LEVELS, CODEBOOK_SIZE, 16, 1, 2))
    path = tmp_path / "speech.safetensors"
    save_checkpoint(path, Checkpoint(spoken, ["any"], {"codec_hash": CODEC_HASH}))
    found = CheckpointStart(str(path)).model(fold.train, 0).state_dict()
    assert all(torch.equal(found[name], value) for name, value in spoken.state_dict().items())
    save_checkpoint(path, Checkpoint(spoken, ["any"], {"codec_hash": "another"}))
    with pytest.raises(InputError, match="another"):
        CheckpointStart(str(path)).model(fold.train, 0)


def test_pretraining_is_done_once_and_goes_on_where_it_was_killed(fold, tmp_path, monkeypatch):
    weights = FinetunedConformer(**MODEL | {"pretraining_epochs": 3}).weights()
    whole = weights.model(fold.train, 0).state_dict()
    store = tmp_path / "data/cache/pretraining"
    assert {path.suffix for path in store.iterdir()} == {".safetensors", ".csv"}
    monkeypatch.setattr(pretraining.Trainer, "fit", None)  # calling it would fail
    assert torch.equal(weights.model(fold.train, 0).state_dict()["heads.0.weight"], whole["heads.0.weight"])
    monkeypatch.undo()
    shutil.rmtree(store)
    monkeypatch.chdir(tmp_path)
    run_epoch = pretraining.Trainer._run_epoch

    def dying(trainer, quiet):
        if trainer.progress.epoch == 2:
            raise KeyboardInterrupt
        run_epoch(trainer, quiet)

    monkeypatch.setattr(pretraining.Trainer, "_run_epoch", dying)
    with pytest.raises(KeyboardInterrupt):
        weights.model(fold.train, 0)
    monkeypatch.setattr(pretraining.Trainer, "_run_epoch", run_epoch)
    again = weights.model(fold.train, 0).state_dict()
    assert all(torch.equal(again[name], whole[name]) for name in whole)


def test_the_random_state_outside_is_left_alone(fold):
    before = torch.get_rng_state()
    FinetunedConformer(**MODEL).weights().model(fold.train, 0)
    assert torch.equal(torch.get_rng_state(), before)


def test_codebooks_of_another_codec_are_refused(fold):
    bundled = find_root(Path(__file__).parent) / BUNDLED
    recogniser = FinetunedConformer(start="random", codebook_init=True, codec=str(bundled), device="cpu")
    with pytest.raises(InputError, match="the clips have codes of another codec, ccc"):
        recogniser.weights().model(fold.train, 0)


# Frozen


def test_a_frozen_model_keeps_its_weights_and_has_no_dropout(fold, tmp_path, monkeypatch):
    made = []

    class Watched(CodeClassifier):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            made.append((self, {name: value.clone() for name, value in self.state_dict().items()}))

    monkeypatch.setattr(finetuned, "CodeClassifier", Watched)
    for trunk_lr, frozen in ((0.0, True), (1e-2, False)):
        recogniser = make_recogniser("conformer_finetuned", TUNED | {"trunk_lr": trunk_lr})
        recogniser.fit_and_score(fold, tmp_path / str(trunk_lr), 0)
        classifier, before = made[-1]
        after = classifier.model.state_dict(prefix="model.")
        same = [torch.equal(value, before[name]) for name, value in after.items()]
        assert all(same) if frozen else not all(same)
        assert not torch.equal(classifier.readout.classes.weight, before["readout.classes.weight"])
        classifier.train()
        assert classifier.model.training is not frozen and classifier.readout.training


def test_statistics_of_a_clip_are_computed_once(fold, monkeypatch):
    recogniser = FrozenConformer(**MODEL | {"start": "random"})
    first = recogniser.statistics(fold, 0, fold.train)
    assert first.shape == (len(fold.train), 2, 2, 16)
    monkeypatch.setattr("envsound.studies.recognition.frozen.layer_states", None)  # calling it would fail
    again = ProbedConformer(**MODEL | {"start": "random", "skip_repeats": False}).statistics(fold, 0, fold.train)
    assert np.array_equal(again, first)


def test_a_probe_that_asks_first_has_the_model_pretrained(fold, tmp_path):
    recogniser = ProbedConformer(**MODEL | {"start": "environment", "pretraining_dir": str(tmp_path / "store")})
    assert recogniser.fit_and_score(fold, tmp_path / "probe", 0).shape == (len(fold.test), 3)
    assert list((tmp_path / "store").glob("*.safetensors"))


LEARNERS = {
    "weighted layers": ("conformer_frozen", {"readout": "layers", "lr": 3e-2}),
    "linear probe": ("conformer_probe", {}),
    "fine-tuned": ("conformer_finetuned", TUNED),
    "fine-tuned from a probe": ("conformer_finetuned", PROBED),
}


@pytest.mark.parametrize("name", LEARNERS)
def test_clear_classes_are_learnt(fold, tmp_path, name):
    kind, settings = LEARNERS[name]
    recogniser = make_recogniser(kind, MODEL | settings | {"start": "random"})
    scores = check_scores(recogniser.fit_and_score(fold, tmp_path, 0), fold, name)
    assert (scores.argmax(1) == fold.test.labels).mean() >= 0.9  # chance: 0.33


# Fine-tuning


@pytest.mark.parametrize("settings", [TUNED, PROBED], ids=["attention", "probe"])
def test_a_killed_fine_tuning_ends_like_an_uninterrupted_one(fold, tmp_path, monkeypatch, settings):
    recogniser = make_recogniser("conformer_finetuned", settings)
    expected = recogniser.fit_and_score(fold, tmp_path / "whole", 0)
    training = finetuned.ClassifierTraining
    run_epoch = training._run_epoch

    def dying(self, *arguments):
        if self.epoch == 2 and self.folder:  # a probe's own training keeps nothing
            raise KeyboardInterrupt
        run_epoch(self, *arguments)

    monkeypatch.setattr(training, "_run_epoch", dying)
    with pytest.raises(KeyboardInterrupt):
        recogniser.fit_and_score(fold, tmp_path / "killed", 0)
    assert (tmp_path / "killed" / STATE).is_file()
    seen = []

    def counting(self, *arguments):
        seen.extend([self.epoch] if self.folder else [])
        run_epoch(self, *arguments)

    monkeypatch.setattr(training, "_run_epoch", counting)
    assert np.array_equal(recogniser.fit_and_score(fold, tmp_path / "killed", 0), expected)
    assert seen == [2, 3] and not (tmp_path / "killed" / STATE).exists()
    assert np.array_equal(recogniser.fit_and_score(fold, tmp_path / "killed", 0), expected) and seen == [2, 3]
    recogniser.fit_and_score(fold, tmp_path / "killed", 1)  # another seed starts anew
    assert seen == [2, 3, 0, 1, 2, 3]


def test_the_answer_comes_from_the_best_validation_epoch(fold, tmp_path, monkeypatch):
    ranks = iter([(0.5, 1.0), (0.9, 1.0), (0.9, 2.0), (0.2, 0.1)])
    monkeypatch.setattr(finetuned, "judged", lambda *_: next(ranks))
    kept = []
    probabilities = FinetunedConformer._probabilities

    def watched(self, classifier, clips):
        kept.append(classifier.readout.classes.weight.detach().clone())
        return probabilities(self, classifier, clips)

    monkeypatch.setattr(FinetunedConformer, "_probabilities", watched)
    make_recogniser("conformer_finetuned", TUNED).fit_and_score(fold, tmp_path, 0)
    assert len(kept) == 5 and torch.equal(kept[-1], kept[1])
    assert not torch.equal(kept[-1], kept[3])


def test_training_ends_when_no_epoch_is_better(fold, tmp_path, monkeypatch):
    monkeypatch.setattr(finetuned, "judged", lambda *_: (0.5, 1.0))
    settings = TUNED | {"num_epochs": 40, "patience": 2}
    make_recogniser("conformer_finetuned", settings).fit_and_score(fold, tmp_path, 0)
    assert len((tmp_path / "history.csv").read_text().splitlines()) == 1 + 3


def test_the_probe_is_fitted_before_the_model_learns(fold):
    """Its start is the frozen model's linear probe, not chance, and the frozen model's statistics are those of the row
    that only probes it."""
    settings = TUNED | {"readout": "probe", "probe_epochs": 40, "probe_lr": 0.1, "readout_dropout": 0.0}
    recogniser = make_recogniser(
        "conformer_finetuned", settings | {"weight_decay": 0.0, "crop_frames": 0, "mixup": 0.0}
    )
    classifier = recogniser._classifier(fold, 0)
    statistics = torch.from_numpy(recogniser.statistics(fold, 0, fold.train))
    same = make_recogniser("conformer_probe", MODEL | {"start": "random"}).statistics(fold, 0, fold.train)
    assert np.array_equal(statistics.numpy(), same)
    standard = (statistics - classifier.readout.centre) / classifier.readout.spread
    varied = statistics.std(0) > 1e-4
    torch.testing.assert_close(standard.mean(0)[varied], torch.zeros(int(varied.sum())), atol=1e-3, rtol=0)
    torch.testing.assert_close(standard.std(0, correction=0)[varied], torch.ones(int(varied.sum())), atol=1e-2, rtol=0)
    labels = torch.from_numpy(fold.train.labels)
    chance = ProbeReadout(statistics, 3)
    with torch.no_grad():
        fitted = torch.nn.functional.cross_entropy(classifier.readout.scores(statistics), labels)
        unfitted = torch.nn.functional.cross_entropy(chance.scores(statistics), labels)
        clips = load_clips(fold.train.codes_files, skip_repeats=True)
        heard = recogniser._probabilities(classifier.eval(), clips)
    assert fitted < 0.5 * unfitted
    torch.testing.assert_close(
        heard, classifier.readout.scores(statistics).double().softmax(1).detach(), atol=1e-4, rtol=0
    )


def test_a_feature_that_never_varied_says_nothing():
    probe = ProbeReadout(torch.ones(4, 2, 2, 3), n_classes=5)
    torch.testing.assert_close(probe.scores(torch.full((1, 2, 2, 3), 7.0)), probe.classes.bias[None])


def test_the_probe_itself_may_be_the_best_epoch(fold, tmp_path, monkeypatch):
    ranks = iter([(0.9, 1.0), (0.5, 1.0), (0.5, 1.0), (0.5, 1.0), (0.5, 1.0)])
    monkeypatch.setattr(finetuned, "judged", lambda *_: next(ranks))
    recogniser = make_recogniser("conformer_finetuned", PROBED)
    start = recogniser._classifier(fold, 0).eval()
    expected = recogniser._probabilities(start, load_clips(fold.test.codes_files, skip_repeats=True))
    found = recogniser.fit_and_score(fold, tmp_path, 0)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-6)
    assert pd.read_csv(tmp_path / "history.csv")["epoch"].tolist() == [0, 1, 2, 3, 4]


@torch.no_grad()
def test_mixing_is_of_input_embeddings(own_random_state):
    torch.manual_seed(0)
    model = MaskedConformer(ModelConfig(N_LEVELS, CODEBOOK_SIZE, 16, 1, 2)).eval()
    classifier = CodeClassifier(model, seeded_readout("mean", model, 3, 0.0, 0), frozen=False).eval()
    codes = torch.randint(CODEBOOK_SIZE, (2, N_LEVELS, 9))
    other, targets = torch.tensor([1, 0]), torch.zeros(2, 3)
    plain = classifier(CodeBatch(codes, None, targets))
    torch.testing.assert_close(classifier(CodeBatch(codes, None, targets, torch.ones(2), other)), plain)
    torch.testing.assert_close(classifier(CodeBatch(codes, None, targets, torch.zeros(2), other)), plain[other])
    half = classifier(CodeBatch(codes, None, targets, torch.full((2,), 0.5), other))
    torch.testing.assert_close(half[0], half[1])


def test_a_clips_probabilities_are_the_mean_over_its_windows(fold):
    recogniser = FinetunedConformer(**TUNED)
    classifier = recogniser._classifier(fold, 0).eval()
    (codes,) = (load_codes(file)[:, :14] for file in fold.test.codes_files[:1])
    parts = [recogniser._probabilities(classifier, [codes[:, start : start + 10]]) for start in (0, 4)]
    torch.testing.assert_close(recogniser._probabilities(classifier, [codes]), (parts[0] + parts[1]) / 2)


# Settings


def test_the_rate_rises_on_a_line_and_falls_on_half_a_cosine():
    factors = [rate_factor(step, 10, 0.2) for step in range(11)]
    assert factors[:3] == pytest.approx([1 / 3, 2 / 3, 1.0])
    assert factors[6] == pytest.approx(0.5) and factors[10] == pytest.approx(0)
    assert rate_factor(0, 10, 0.0) == 1


WRONG = [
    ("conformer_finetuned", {"start": "noise"}, "start='noise'"),
    ("conformer_finetuned", {"mixup": -1.0}, "mixup"),
    ("conformer_finetuned", {"num_epochs": 0}, "num_epochs"),
    ("conformer_finetuned", {"label_smoothing": 1.0}, "label_smoothing"),
    ("conformer_finetuned", {"readout": "prob"}, "expected one of mean, layers, attention, probe"),
    ("conformer_finetuned", {"probe_epochs": 0}, "num_epochs"),
    ("conformer_frozen", {"readout": "attention"}, "expected mean or layers"),
    ("conformer_probe", {"start": "random", "speech_checkpoint": "x"}, "speech_checkpoint"),
    ("conformer_probe", {"dim": 10}, "dim=10"),
]


@pytest.mark.parametrize(("kind", "settings", "message"), WRONG)
def test_settings_out_of_range_are_named(kind, settings, message):
    with pytest.raises(InputError, match=message):
        make_recogniser(kind, MODEL | settings)


def test_settings_tell_starts_and_schedules_apart():
    base = make_recogniser("conformer_finetuned", TUNED).settings()
    for change in ({"start": "environment"}, {"dim": 32}, {"lr": 1e-3}, {"mixup": 0.0}, {"readout": "mean"}):
        assert make_recogniser("conformer_finetuned", TUNED | change).settings() != base
    assert ClassifierSchedule().lr == FrozenConformer().lr == 5e-5 and FrozenConformer().num_epochs == 50
    assert base == make_recogniser("conformer_finetuned", TUNED | {"device": "auto"}).settings()
