"""Recognisers on the generative model: nothing held out leaks, pretraining is done once, statistics are right."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes.recognition import CODEBOOK_SIZE, N_LEVELS, coded_clips, first_round

from envsound.base.errors import InputError
from envsound.base.paths import find_root
from envsound.codec import SHIPPED
from envsound.codec.codes import load_codes
from envsound.studies.recognition import conformer
from envsound.studies.recognition.conformer import STORE, ConformerSettings, ProbedConformer
from envsound.studies.recognition.rounds import check_scores, cross_validation
from envsound.systems.soundstorm.conformer import MaskedConformer, ModelConfig

MODEL = {"n_levels": N_LEVELS, "codebook_size": CODEBOOK_SIZE, "dim": 16, "n_layers": 1, "n_heads": 2}
MODEL |= {"pretraining_epochs": 1, "precision": "32-true", "device": "cpu"}
START = ConformerSettings(**MODEL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("codes")


@pytest.fixture
def fold(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return first_round(folder)


def relabelled(clips, seed=0):
    return replace(clips, labels=np.random.default_rng(seed).integers(3, size=len(clips)))


# What may be learnt from


def test_no_code_of_another_fold_is_among_those_learnt_from(fold):
    learnt, watched = conformer.split_watched(fold.train, seed=0)
    known = {codes.tobytes() for part in (learnt, watched) for codes in part.codes}
    held_out = {load_codes(file).tobytes() for part in (fold.validation, fold.test) for file in part.codes_files}
    assert len(known) == len(fold.train) and not known & held_out
    assert len(watched) == 1 and set(learnt.classes) == set(watched.classes) == {0}
    with pytest.raises(InputError, match="1 to train on"):
        conformer.split_watched(fold.train.rows([0]), 0)


def test_pretraining_reads_the_training_clips_codes_alone_and_no_label(fold, folder, tmp_path):
    key, before = START.key(fold.train, 0), torch.get_rng_state()
    assert START.key(relabelled(fold.train), 0) == key != START.key(fold.train, 1)
    assert START.key(cross_validation(coded_clips(folder), [2])[0].train, 0) != key
    assert replace(START, pretraining_lr=1e-4).key(fold.train, 0) != key != replace(START, dim=32).key(fold.train, 0)
    model = START.model(fold.train, 0)
    assert model.config.n_classes == 0 and model.class_embedding is None and list(STORE.glob("*.safetensors"))
    assert torch.equal(torch.get_rng_state(), before)
    shutil.rmtree(STORE)
    codes = [Path(shutil.copy(file, tmp_path)) for file in fold.train.codes_files]
    alone = replace(relabelled(fold.train), files=[Path("gone.wav")] * len(codes), codes_files=codes)
    again, one = START.model(alone, 0).state_dict(), model.state_dict()
    assert all(torch.equal(one[name], again[name]) for name in one)


def test_pretraining_is_done_once_and_goes_on_where_it_was_killed(fold, monkeypatch):
    start, run_epoch = replace(START, pretraining_epochs=3), conformer.Trainer._run_epoch
    whole = start.model(fold.train, 0).state_dict()
    assert {path.suffix for path in STORE.iterdir()} == {".safetensors", ".csv"}
    with monkeypatch.context() as patched:
        patched.setattr(conformer.Trainer, "fit", None)  # calling it would fail
        assert torch.equal(start.model(fold.train, 0).state_dict()["heads.0.weight"], whole["heads.0.weight"])
    shutil.rmtree(STORE)

    def dying(trainer, *arguments):
        if trainer.progress.epoch == 2:
            raise KeyboardInterrupt
        run_epoch(trainer, *arguments)

    monkeypatch.setattr(conformer.Trainer, "_run_epoch", dying)
    with pytest.raises(KeyboardInterrupt):
        start.model(fold.train, 0)
    seen = []
    monkeypatch.setattr(conformer.Trainer, "_run_epoch", lambda *all: seen.append(1) or run_epoch(*all))
    again = start.model(fold.train, 0).state_dict()
    assert len(seen) == 1 and all(torch.equal(again[name], whole[name]) for name in whole)


def test_codebooks_of_another_codec_and_settings_out_of_range_are_refused(fold):
    patches = str(find_root(Path(__file__).parent) / SHIPPED["patches"])
    with pytest.raises(InputError, match="the clips have codes of another codec, ccc"):
        ConformerSettings(start="random", codebook_init=True, codec=patches, device="cpu").model(fold.train, 0)
    for name, value, words in (("start", "speech", "start="), ("dim", 10, "dim="), ("pretraining_epochs", 0, "epochs")):
        with pytest.raises(InputError, match=words):
            ConformerSettings(**MODEL | {name: value})


# The probe


@pytest.mark.parametrize("start", ["random", "environment"])
def test_a_probe_learns_clear_classes_and_looks_at_no_test_label(fold, tmp_path, start):
    one = ProbedConformer(**MODEL, start=start)
    scores = check_scores(one.fit_and_score(fold, tmp_path, 0), fold, one.name)
    assert (scores.argmax(1) == fold.test.labels).mean() >= 0.9  # chance: 0.33
    assert np.array_equal(one.fit_and_score(replace(fold, test=relabelled(fold.test)), tmp_path, 0), scores)
    assert STORE.exists() == (start == "environment") and one.settings()["start"] == start


def test_statistics_of_a_clip_are_computed_once(fold, monkeypatch):
    one = ProbedConformer(**MODEL, start="random")
    first = one.statistics(fold, 0, fold.train)
    assert first.shape == (len(fold.train), 2, 2, 16)
    monkeypatch.setattr(conformer, "layer_states", None)  # calling it would fail
    assert np.array_equal(replace(one, name="again").statistics(fold, 0, fold.train), first)


@pytest.fixture
def model(own_random_state):
    torch.manual_seed(0)
    return MaskedConformer(ModelConfig(3, 12, 32, 2, 2, conv_kernel=3, dropout=0.2)).eval()


@torch.no_grad()
def test_the_last_layer_is_what_the_model_returns(model):
    codes = torch.randint(12, (2, 3, 9), generator=torch.Generator().manual_seed(0))
    layers = conformer.layer_states(model, conformer.embed_codes(model, codes))
    assert len(layers) == 3 and layers[0].shape == (2, 9, 32) and not torch.equal(layers[1], layers[2])
    torch.testing.assert_close(layers[-1], model(codes))
    knowing = MaskedConformer(ModelConfig(dim=32, n_layers=1, n_heads=2, n_classes=5))
    with pytest.raises(InputError, match="told one of 5 classes"):
        conformer.layer_states(knowing, torch.zeros(1, 4, 32))


def test_statistics_are_mean_and_standard_deviation_of_the_frames_that_count():
    states = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(1))
    found = conformer.pooled_statistics([states, 2 * states])
    assert found.shape == (2, 2, 2, 4)
    torch.testing.assert_close(found[:, 0, 0], states.mean(1))
    torch.testing.assert_close(found[:, 0, 1], states.std(1, correction=0))
    torch.testing.assert_close(found[:, 1], 2 * found[:, 0])
    spoilt = states.clone()
    spoilt[:, 4:] = torch.nan
    part = conformer.weighted_statistics(spoilt, torch.tensor([0.25] * 4 + [0.0] * 2).expand(2, 6))
    torch.testing.assert_close(part[:, 0], states[:, :4].mean(1))


def test_only_frames_that_repeat_in_every_level_are_left_out():
    codes = np.array([[1, 1, 1, 2, 2, 1], [5, 5, 6, 6, 6, 5]])
    assert conformer.without_repeats(codes).tolist() == [[1, 1, 2, 1], [5, 6, 6, 5]]
