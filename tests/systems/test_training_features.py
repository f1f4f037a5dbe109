"""What training offers beside the plain loop: exact steps, pieces, processes, averages, early stop, compiling."""

import copy

import numpy as np
import pandas as pd
import pytest
import torch
from fakes.training import CPU, TINY, code_set, trainer

from envsound.base.errors import InputError
from envsound.data.folds import training_sets
from envsound.systems.soundstorm import training
from envsound.systems.soundstorm.checkpoints import load_checkpoint
from envsound.systems.soundstorm.devices import trainer_on
from envsound.systems.soundstorm.objective import masked_loss, unigram_losses
from envsound.systems.soundstorm.optimizing import WeightAverage
from envsound.systems.soundstorm.training import Trainer, TrainingConfig

STILL = TINY.__class__(**vars(TINY) | {"dropout": 0.0})


def weights_of(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([value.detach().flatten() for value in model.state_dict().values()])


def still(folder, **changes) -> Trainer:
    """A training without dropout, whose draws are then those of the masks alone."""
    config = TrainingConfig(**{"num_epochs": 2, "batch_size": 4, "lr": 3e-3, "precision": "32-true"} | changes)
    return Trainer(code_set(), code_set(4, seed=1), STILL, config, folder, CPU, codec_hash="abc")


@pytest.mark.parametrize("dies_at", [2, 3, 5])
def test_training_goes_on_with_the_very_next_step(tmp_path, monkeypatch, dies_at):
    monkeypatch.setattr(training, "SAVE_SECONDS", 0.0)
    whole = trainer(tmp_path / "whole", num_epochs=2, ema_decay=0.9)
    expected = whole.fit()
    victim = trainer(tmp_path / "killed", num_epochs=2, ema_decay=0.9)
    take_step = victim._train_step

    def dying_step(rows):
        if victim.progress.step == dies_at:
            raise KeyboardInterrupt
        return take_step(rows)

    victim._train_step = dying_step
    with pytest.raises(KeyboardInterrupt):
        victim.fit()
    survivor = trainer(tmp_path / "killed", num_epochs=2, ema_decay=0.9)
    assert survivor.progress.step == dies_at
    history = survivor.fit()
    pd.testing.assert_frame_equal(history.drop(columns="seconds"), expected.drop(columns="seconds"))
    assert torch.equal(weights_of(survivor.model), weights_of(whole.model))
    assert torch.equal(weights_of(survivor.used_model), weights_of(whole.used_model))


@pytest.mark.parametrize("accumulate", [2, 3, 5])
def test_pieces_make_the_step_of_the_whole_batch(tmp_path, accumulate):
    """Five pieces of four clips: one is empty. The last batch of an epoch has two clips."""
    whole, pieces = still(tmp_path / "whole"), still(tmp_path / "pieces", accumulate=accumulate)
    expected, history = whole.fit(), pieces.fit()
    np.testing.assert_allclose(history["loss"], expected["loss"], rtol=1e-4)
    torch.testing.assert_close(weights_of(pieces.model), weights_of(whole.model), atol=2e-4, rtol=0)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_an_epoch_is_trained_in_either_precision(tmp_path, precision):
    history = still(tmp_path, num_epochs=1, precision=precision, accumulate=3).fit()
    assert np.isfinite(history["loss"]).all()


def test_two_processes_make_the_steps_of_one(tmp_path):
    expected = still(tmp_path / "one").fit()
    alike = still(tmp_path / "one").model
    config = TrainingConfig(num_epochs=2, batch_size=4, lr=3e-3, precision="32-true")
    result = trainer_on(2, code_set(), code_set(4, seed=1), STILL, config, tmp_path / "two", CPU, "abc")
    assert result.finished and result.progress.step == 6
    np.testing.assert_allclose(result.fit()["loss"], expected["loss"], rtol=1e-4)
    torch.testing.assert_close(weights_of(result.model), weights_of(alike), atol=2e-4, rtol=0)


def test_more_devices_than_there_are_is_refused(tmp_path):
    plan = (code_set(), code_set(4, seed=1), STILL, TrainingConfig(num_epochs=1), tmp_path)
    with pytest.raises(InputError, match="devices=0"):
        trainer_on(0, *plan, CPU)
    with pytest.raises(InputError, match=r"devices=9: \d GPUs"):
        trainer_on(9, *plan, torch.device("cuda"))


def test_code_frequencies_are_measured_on_the_codes_that_the_model_is_asked_for(tmp_path):
    """A model that says nothing but the frequencies has the baseline's loss, level by level."""
    one = still(tmp_path)
    losses = torch.from_numpy(unigram_losses(code_set(), 16, by_class=True)).float()

    def frequencies(states, level):
        return -losses[one.asked, level][..., None, :].expand(-1, states.shape[0] // len(one.asked), -1).flatten(0, 1)

    totals = np.zeros((3, 2))
    for mask, codes, valid, classes in one._validation_batches():
        for row in range(len(codes)):
            one.asked = classes[row : row + 1]
            part = mask.rows(np.array([row]))
            one.model.logits = frequencies
            sums = masked_loss(one.model, part, codes[row : row + 1], valid[row : row + 1], None)
            totals += np.stack([sums.detach(), np.bincount(part.levels, part.targets.sum(1), minlength=3)], 1)
    expected = totals[:, 0] / totals[:, 1]
    assert [one.baseline[str(level)] for level in range(3)] == pytest.approx(expected, rel=1e-5, nan_ok=True)
    assert one.baseline["all"] == pytest.approx(totals[:, 0].sum() / totals[:, 1].sum(), rel=1e-5)


def test_an_average_follows_the_weights():
    model = torch.nn.Linear(1, 1, bias=False)
    model.weight.data.fill_(0.0)
    average = WeightAverage(model, decay=0.75)
    model.weight.data.fill_(1.0)
    expected = 0.0
    for n, kept in ((1, 2 / 11), (2, 3 / 12), (50, 0.75)):
        average.update(model, n)
        expected = kept * expected + (1 - kept)
        assert average.model.weight.item() == pytest.approx(expected)
    assert model.weight.item() == 1.0


def test_the_average_is_what_is_validated_and_saved(tmp_path):
    averaged = trainer(tmp_path, num_epochs=2, ema_decay=0.9)
    averaged.fit()
    saved = load_checkpoint(tmp_path / "checkpoints" / "last.safetensors", CPU).model
    assert torch.equal(weights_of(saved), weights_of(averaged.average.model))
    assert not torch.equal(weights_of(saved), weights_of(averaged.model))
    before = averaged.validate()
    for weight in averaged.model.parameters():
        weight.data.zero_()
    assert (averaged.validate() == before).all()


def test_training_stops_when_the_validation_fold_no_longer_improves(tmp_path):
    """Random codes can only be learnt by heart, so the loss on other clips soon rises."""
    config = {"num_epochs": 60, "validation_fold": 2, "patience": 3, "warmup_fraction": 0.05}
    stopped = trainer(tmp_path, **config)
    history = stopped.fit()
    losses = history[(history["split"] == "validation") & (history["level"] == "all")]["loss"].to_numpy()
    assert len(losses) < 60
    assert losses.argmin() + 1 == stopped.progress.best_epoch == len(losses) - 3
    best = load_checkpoint(tmp_path / "checkpoints" / "best.safetensors", CPU)
    assert best.facts["epoch"] == stopped.progress.best_epoch
    again = trainer(tmp_path, **config)
    assert again.finished and len(again.fit()) == len(history)


def test_no_best_epoch_is_kept_without_a_validation_fold(tmp_path):
    trainer(tmp_path, num_epochs=1, validation_fold=2).fit()
    assert (tmp_path / "checkpoints" / "best.safetensors").exists()
    trainer(tmp_path, num_epochs=1).fit()
    assert not (tmp_path / "checkpoints" / "best.safetensors").exists()


def test_training_starts_from_the_weights_of_another_run(tmp_path):
    """All but the classes, which may be others; the same run started at random is another training."""
    still(tmp_path / "first", num_epochs=1).fit()
    file = tmp_path / "first" / "checkpoints" / "last.safetensors"
    known = load_checkpoint(file, CPU).model.state_dict()
    shape = STILL.__class__(**vars(STILL) | {"n_classes": 0})
    config = TrainingConfig(num_epochs=1, batch_size=4, precision="32-true", initial_checkpoint=str(file))
    second = Trainer(code_set(), code_set(4, seed=1), shape, config, tmp_path / "second", CPU, "abc")
    assert all(torch.equal(value, known[name]) for name, value in second.model.state_dict().items())
    second.fit()
    assert still(tmp_path / "second", num_epochs=1).progress.epoch == 0
    wider = STILL.__class__(**vars(STILL) | {"dim": 64})
    with pytest.raises(InputError, match="shape"):
        Trainer(code_set(), code_set(), wider, config, tmp_path / "third", CPU, "abc")
    with pytest.raises(InputError, match="trained on codes of codec abc"):
        Trainer(code_set(), code_set(), shape, config, tmp_path / "third", CPU, "other")


def test_the_validation_fold_is_taken_from_the_training_folds():
    table = pd.DataFrame({"fold": [1, 2, 3, 3], "clip_id": list("abcd")})
    train, validation = training_sets(table, 1, [], validation_fold=3)
    assert train.clip_id.tolist() == ["b"] and validation.clip_id.tolist() == ["c", "d"]
    train, watched = training_sets(table, 1, [])
    assert train.clip_id.tolist() == ["b", "c", "d"] and watched.clip_id.tolist() == ["a"]
    for wrong in (1, 7):
        with pytest.raises(InputError, match=f"validation_fold={wrong}"):
            training_sets(table, 1, [], validation_fold=wrong)
    with pytest.raises(InputError, match="no fold left"):
        training_sets(table, 1, [2], validation_fold=2)


def test_a_compiled_model_keeps_its_weights_names_and_steps(tmp_path):
    with torch.compiler.set_stance("force_eager"):
        compiled = still(tmp_path / "compiled", compile=True)
        assert all(block._compiled_call_impl is not None for block in compiled.model.blocks)
        history = compiled.fit()
    plain = still(tmp_path / "plain")
    assert history["loss"].equals(plain.fit()["loss"])
    assert copy.deepcopy(plain.model).load_state_dict(compiled.model.state_dict())


@pytest.mark.parametrize(
    ("wrong", "named"),
    [({"accumulate": 0}, "accumulate"), ({"ema_decay": 1.0}, "ema_decay=1.0"), ({"patience": 2}, "validation_fold")],
)
def test_impossible_options_are_refused(wrong, named):
    with pytest.raises(InputError, match=named):
        TrainingConfig(**wrong)
