"""Training: the loss counts what it should, resumes exactly, and learns; pieces, processes, averages, early stop."""

import copy
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from fakes.soundstorm import CPU, TINY, code_set, killed_at, plan, trainer

from envsound.base.device import choose_precision
from envsound.base.errors import InputError
from envsound.data.folds import split_folds, training_sets
from envsound.systems.soundstorm import training
from envsound.systems.soundstorm.batches import CodeSet, epoch_batches
from envsound.systems.soundstorm.checkpoints import load_checkpoint
from envsound.systems.soundstorm.conformer import MaskedConformer
from envsound.systems.soundstorm.decoding import DecodingConfig, decode
from envsound.systems.soundstorm.masking import TrainingMask
from envsound.systems.soundstorm.objective import masked_loss, unigram_losses
from envsound.systems.soundstorm.optimizing import WeightAverage
from envsound.systems.soundstorm.system import trainer_on
from envsound.systems.soundstorm.training import Trainer, TrainingConfig

WHOLE = {"num_epochs": 3, "ema_decay": 0.9}  # nine steps
STILL = replace(TINY, dropout=0.0)  # whose draws are those of the masks alone
LAST, BEST = (Path("checkpoints") / f"{name}.safetensors" for name in ("last", "best"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Trainer:
    """A training that nothing interrupted."""
    one = trainer(tmp_path_factory.mktemp("whole"), **WHOLE)
    one.fit()
    return one


@pytest.fixture(scope="module")
def still(tmp_path_factory) -> Trainer:
    """A finished training without dropout, in one process and one piece."""
    one = trainer(tmp_path_factory.mktemp("still"), STILL)
    one.fit()
    return one


def weights_of(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([value.detach().flatten() for value in model.state_dict().values()])


def assert_alike(one: Trainer, other: Trainer) -> None:
    """Two finished trainings are one but for rounding."""
    np.testing.assert_allclose(one.fit()["loss"], other.fit()["loss"], rtol=1e-5)
    torch.testing.assert_close(weights_of(one.model), weights_of(other.model), atol=2e-4, rtol=0)


# Interruptions


@pytest.mark.parametrize(("saved_every", "dies_at", "resumes_at"), [(0.0, 2, 2), (0.0, 5, 5), (300.0, 7, 6)])
def test_a_killed_run_ends_like_an_uninterrupted_one(whole, tmp_path, monkeypatch, saved_every, dies_at, resumes_at):
    """It goes on with the very next step after the last that was saved, within an epoch or at its end."""
    monkeypatch.setattr(training, "SAVE_SECONDS", saved_every)
    killed_at(trainer(tmp_path, **WHOLE), dies_at)
    survivor = trainer(tmp_path, **WHOLE)
    assert survivor.progress.step == resumes_at
    pd.testing.assert_frame_equal(*(one.fit().drop(columns="seconds") for one in (survivor, whole)))
    assert torch.equal(weights_of(survivor.model), weights_of(whole.model))
    assert torch.equal(weights_of(survivor.used_model), weights_of(whole.used_model))


KILLED = """
import os, signal, sys
sys.path.insert(0, {tests!r})
from fakes.soundstorm import trainer

victim = trainer({folder!r}, **{whole!r})
take_step = victim._train_step

def step(rows):
    if victim.progress.step == {dies_at}:
        os.kill(os.getpid(), signal.SIGKILL)
    return take_step(rows)

victim._train_step = step
victim.fit()
"""


def test_a_process_killed_at_a_random_moment_loses_nothing(whole, tmp_path):
    """SIGKILL, then a new process: the final loss is that of an uninterrupted run, to the last bit."""
    dies_at = int(np.random.default_rng().integers(9))
    tests = str(Path(__file__).parents[1])
    code = KILLED.format(tests=tests, folder=str(tmp_path), whole=WHOLE, dies_at=dies_at)
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == -signal.SIGKILL, result.stderr
    assert trainer(tmp_path, **WHOLE).fit()["loss"].equals(whole.fit()["loss"]), f"killed before step {dies_at + 1}"


def test_other_parameters_codes_or_code_start_anew(tmp_path, monkeypatch):
    same = plan(tmp_path, num_epochs=1)
    Trainer(**same).fit()
    assert Trainer(**same).finished
    state = (tmp_path / "checkpoints" / "training_state.pt").read_bytes()
    for other in ({"config": replace(same["config"], class_dropout=0.5)}, {"train": code_set(seed=5)}):
        assert Trainer(**same | other).progress.epoch == 0
        (tmp_path / "checkpoints" / "training_state.pt").write_bytes(state)
    monkeypatch.setattr(training, "module_hash", lambda name: "edited")
    assert Trainer(**same).progress.epoch == 0


# The loop


def test_history_has_every_level_and_both_splits(whole):
    history = pd.read_csv(whole.folder.parent / "training.csv")
    assert set(history["level"]) == {"0", "1", "2", "all"} and set(history["split"]) == {"train", "validation"}
    assert len(history) == 3 * 2 * 4


@pytest.mark.parametrize(("num_epochs", "batch_size", "max_steps"), [(1, 64, 0), (4, 64, 0), (3, 4, 2)])
def test_few_steps_leave_a_checkpoint_that_knows_its_codec(tmp_path, num_epochs, batch_size, max_steps):
    short = trainer(tmp_path, num_epochs=num_epochs, batch_size=batch_size, max_steps=max_steps, warmup_fraction=0.01)
    n_steps = max_steps or num_epochs
    assert np.isfinite(short.fit()["loss"]).all() and short.progress.step == n_steps
    assert load_checkpoint(tmp_path / LAST, CPU, "abc").facts["step"] == n_steps
    with pytest.raises(InputError, match="abc"):
        load_checkpoint(tmp_path / LAST, CPU, "def")


def test_one_cycle_rises_for_thirty_percent_then_falls(tmp_path):
    lrs = trainer(tmp_path, num_epochs=10).fit().drop_duplicates("epoch")["lr"].to_numpy()
    assert lrs.argmax() in (2, 3, 4) and lrs.max() <= 3e-3 * 1.0001 and lrs[-1] < lrs[0] * 2


def test_loss_counts_only_targets_of_the_own_level():
    torch.manual_seed(0)
    model = MaskedConformer(TINY).eval()
    codes = torch.randint(16, (2, 3, 6))
    targets = torch.zeros(2, 6, dtype=torch.bool)
    targets[0, 2], targets[1, 4] = True, True
    mask = TrainingMask(codes, targets, torch.tensor([0, 2]))
    valid = torch.ones(2, 6, dtype=torch.bool)
    with torch.no_grad():
        sums, states = masked_loss(model, mask, codes, valid, None), model(codes, valid)
    for level, item, frame in ((0, 0, 2), (2, 1, 4)):
        scores = model.logits(states[item, frame], level).detach()
        log_p = torch.log_softmax(scores, -1)[codes[item, level, frame]]
        assert float(sums[level]) == pytest.approx(-float(log_p), rel=1e-5)
    assert float(sums[1]) == 0.0


def test_overfits_eight_clips_and_decodes_them_by_class(tmp_path):
    """The kernel is wider than the clip: among all masks, only the distance to an edge tells frames apart."""
    rng = np.random.default_rng(0)
    codes = [rng.integers(16, size=(2, 16)).astype(np.int16) for _ in range(8)]
    data = CodeSet(codes, np.arange(8), [str(i) for i in range(8)])
    shape = replace(STILL, n_levels=2, dim=64, conv_kernel=31, n_classes=8)
    config = TrainingConfig(
        num_epochs=400, batch_size=8, lr=5e-3, class_dropout=0.0, prompt_chance=0.5, precision="32-true"
    )
    model = Trainer(data, data, shape, config, tmp_path, CPU)
    model._save_model = model._save_state = lambda *name: None  # no need to keep 400 checkpoints
    history = model.fit()
    last = history[(history["level"] == "all") & (history["split"] == "train")]["loss"].iloc[-1]
    assert last < 0.1, f"{last:.4f} nat"
    greedy = DecodingConfig((4, 1), temperature=0.0, order_noise=0.0)
    made = decode(model.model, [16] * 8, range(8), greedy, classes=range(8))
    assert (made == torch.from_numpy(np.stack(codes).astype(np.int64))).float().mean() > 0.95


# Batches and folds


def test_batches_depend_on_seed_and_epoch_alone():
    order, same, other = ([rows.tolist() for rows in epoch_batches(10, 4, 0, epoch)] for epoch in (3, 3, 4))
    assert order == same != other
    assert sorted(row for rows in order for row in rows) == list(range(10)) and list(map(len, order)) == [4, 4, 2]


def test_padding_holds_the_mask_token():
    codes, valid, _ = code_set().batch(np.array([0, 1, 2]), 16)
    assert (codes[~valid[:, None].expand_as(codes)] == 16).all() and (codes[valid[:, None].expand_as(codes)] < 16).all()


def test_the_validation_fold_is_taken_from_the_training_folds():
    table = pd.DataFrame({"fold": [1, 1, 2, 3], "clip_id": list("abcd")})
    for validation_fold, split in ((0, ["cd", "ab"]), (3, ["c", "d"])):
        assert ["".join(side.clip_id) for side in training_sets(table, 1, [], validation_fold)] == split
    for given, words in (((1, [1, 2]), "held-out"), ((7, []), "not among")):
        with pytest.raises(InputError, match=words):
            split_folds(table, *given)
    for given, words in ((([], 1), "=1"), (([], 7), "=7"), (([2], 2), "no fold left")):
        with pytest.raises(InputError, match=f"validation_fold.*{words}"):
            training_sets(table, 1, *given)


# Pieces, precision, processes


@pytest.mark.parametrize("accumulate", [2, 3, 5])
def test_pieces_make_the_step_of_the_whole_batch(still, tmp_path, accumulate):
    """Five pieces of four clips: one is empty. The last batch of an epoch has two clips."""
    assert_alike(trainer(tmp_path, STILL, accumulate=accumulate), still)


def test_two_processes_make_the_steps_of_one(still, tmp_path):
    result = trainer_on(2, **plan(tmp_path, STILL))
    assert result.finished and result.progress.step == 6
    assert_alike(result, still)


def test_processes_know_each_other_within_a_job_of_slurm_that_has_one_task(tmp_path, monkeypatch):
    sizes = []

    def launch(fabric):
        sizes.append(fabric.world_size)
        raise InterruptedError

    monkeypatch.setattr(training.Fabric, "launch", launch)
    monkeypatch.setenv("LOCAL_RANK", "0")
    for name, value in {"JOB_NAME": "step", "NTASKS": "1", "PROCID": "0", "LOCALID": "0", "NODEID": "0"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    with pytest.raises(InterruptedError):
        Trainer(**plan(tmp_path), n_processes=2)
    assert sizes == [2]


def test_more_devices_than_there_are_is_refused(tmp_path):
    for n_devices, place, words in ((0, "cpu", "devices=0"), (9, "cuda", r"devices=9: \d GPUs")):
        with pytest.raises(InputError, match=words):
            trainer_on(n_devices, **plan(tmp_path) | {"device": torch.device(place)})


def test_an_epoch_is_trained_in_half_precision_which_the_hardware_chooses(tmp_path):
    assert np.isfinite(trainer(tmp_path, num_epochs=1, precision="bf16-mixed", accumulate=3).fit()["loss"]).all()
    assert choose_precision("32-true", CPU) == choose_precision("auto", torch.device("mps")) == "32-true"
    assert choose_precision("auto", CPU) in ("32-true", "bf16-mixed")


def test_a_compiled_model_keeps_its_weights_names_and_steps(still, tmp_path):
    with torch.compiler.set_stance("force_eager"):
        compiled = trainer(tmp_path, STILL, compile=True)
        assert all(block._compiled_call_impl is not None for block in compiled.model.blocks)
        history = compiled.fit()
    assert history["loss"].equals(still.fit()["loss"])
    assert copy.deepcopy(still.model).load_state_dict(compiled.model.state_dict())


# The loss of counting

TRAIN = CodeSet([np.array([[0, 0, 1, 0]]), np.array([[3, 3]])], np.array([0, 1]), ["dog", "rain", "fire"])
OVERALL = (np.array([3, 1, 0, 2]) + 1) / (6 + 4)  # as many made-up frames as codes, spread evenly


def test_frequencies_of_all_classes_and_a_code_beyond_the_codebook():
    losses = unigram_losses(TRAIN, 4, by_class=False)
    assert losses.shape == (3, 1, 4) and np.allclose(np.exp(-losses), OVERALL)
    with pytest.raises(InputError, match="code 3"):
        unigram_losses(TRAIN, 3, by_class=False)


def test_frequencies_of_each_class_are_drawn_to_those_of_all():
    shares = np.exp(-unigram_losses(TRAIN, 4, by_class=True))[:, 0]
    counted = [(np.array([3, 1, 0, 0]) + 4 * OVERALL) / 8, (np.array([0, 0, 0, 2]) + 4 * OVERALL) / 6]
    assert np.allclose(shares, [*counted, OVERALL])  # the last class was never heard


def test_levels_are_counted_apart():
    rng = np.random.default_rng(0)
    clips = [np.stack([np.zeros(500, int), rng.integers(8, size=500)]) for _ in range(4)]
    losses = unigram_losses(CodeSet(clips, np.array([0, 1, 0, 1]), ["dog", "rain"]), 8, by_class=True)
    assert losses[0, 0, 0] < 0.02 and losses[0, 1].mean() == pytest.approx(np.log(8), abs=0.05)


def test_code_frequencies_are_measured_on_the_codes_that_the_model_is_asked_for(tmp_path):
    """A model that says nothing but the frequencies has the baseline's loss, level by level."""
    one = trainer(tmp_path, STILL)
    losses = torch.from_numpy(unigram_losses(code_set(), 16, by_class=True)).float()

    def frequencies(states, level):
        return -losses[one.asked, level][..., None, :].expand(-1, states.shape[0] // len(one.asked), -1).flatten(0, 1)

    one.model.logits = frequencies
    totals = np.zeros((3, 2))
    for mask, codes, valid, classes, _ in one._validation_batches():
        for row in range(len(codes)):
            one.asked = classes[row : row + 1]
            part = mask.rows(np.array([row]))
            sums = masked_loss(one.model, part, codes[row : row + 1], valid[row : row + 1], None)
            totals += np.stack([sums.detach(), np.bincount(part.levels, part.targets.sum(1), minlength=3)], 1)
    expected = totals[:, 0] / totals[:, 1]
    assert [one.baseline[str(level)] for level in range(3)] == pytest.approx(expected, rel=1e-5, nan_ok=True)
    assert one.baseline["all"] == pytest.approx(totals[:, 0].sum() / totals[:, 1].sum(), rel=1e-5)


# Averages, early stop, other beginnings


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


def test_the_average_is_what_is_validated_and_saved(whole):
    averaged = trainer(whole.folder.parent, **WHOLE)
    saved = load_checkpoint(whole.folder / "last.safetensors", CPU).model
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
    assert load_checkpoint(tmp_path / BEST, CPU).facts["epoch"] == stopped.progress.best_epoch
    again = trainer(tmp_path, **config)
    assert again.finished and len(again.fit()) == len(history)
    trainer(tmp_path, num_epochs=1).fit()
    assert not (tmp_path / BEST).exists()  # nothing is chosen without a validation fold


def test_training_starts_from_the_weights_of_another_run(still, tmp_path):
    """All but the classes, which may be others; the same run started at random is another training."""
    file = still.folder / "last.safetensors"
    known = load_checkpoint(file, CPU).model.state_dict()
    given = plan(tmp_path, replace(STILL, n_classes=0), num_epochs=1, initial_checkpoint=str(file))
    second = Trainer(**given)
    assert all(torch.equal(value, known[name]) for name, value in second.model.state_dict().items())
    second.fit()
    assert trainer(tmp_path, STILL, num_epochs=1).progress.epoch == 0
    for wrong, words in (({"model_config": replace(STILL, dim=64)}, "shape"), ({"codec_hash": "other"}, "codec abc")):
        with pytest.raises(InputError, match=words):
            Trainer(**given | wrong)


@pytest.mark.parametrize(
    "wrong", [{"num_epochs": 0}, {"lr": 0.0}, {"warmup_fraction": 1.0}, {"accumulate": 0}, {"ema_decay": 1.0}]
)
def test_impossible_training_is_refused(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        TrainingConfig(**wrong)
    with pytest.raises(InputError, match="validation_fold"):
        TrainingConfig(patience=2)
