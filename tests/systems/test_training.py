"""Training: the loss counts what it should, resumes exactly, and learns."""

import math
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from fakes.training import CPU, TINY, code_set, trainer

from envsound.base.device import choose_precision
from envsound.base.errors import InputError
from envsound.data.folds import split_folds
from envsound.systems.soundstorm.batches import CodeSet, epoch_batches
from envsound.systems.soundstorm.checkpoints import load_checkpoint
from envsound.systems.soundstorm.conformer import MaskedConformer, ModelConfig
from envsound.systems.soundstorm.decoding import DecodingConfig, decode
from envsound.systems.soundstorm.masking import TrainingMask, draw_training_mask
from envsound.systems.soundstorm.objective import masked_loss
from envsound.systems.soundstorm.training import Trainer, TrainingConfig


def test_a_killed_run_ends_like_an_uninterrupted_one(tmp_path):
    whole = trainer(tmp_path / "whole")
    expected = whole.fit()

    class Killed(Exception):
        pass

    victim, seen = trainer(tmp_path / "killed"), 0
    take_step = victim._train_step

    def dying_step(*arguments):
        nonlocal seen
        seen += 1
        if seen == 8:  # in the middle of epoch 3
            raise Killed
        return take_step(*arguments)

    victim._train_step = dying_step
    with pytest.raises(Killed):
        victim.fit()
    survivor = trainer(tmp_path / "killed")
    assert (survivor.progress.epoch, survivor.progress.step) == (2, 6)
    history = survivor.fit()
    pd.testing.assert_frame_equal(history.drop(columns="seconds"), expected.drop(columns="seconds"))
    for (name, value), other in zip(
        whole.model.state_dict().items(), survivor.model.state_dict().values(), strict=True
    ):
        assert torch.equal(value, other), name


KILLED = """
import os, signal, sys
sys.path.insert(0, {tests!r})
from fakes.training import trainer

victim = trainer({folder!r})
take_step = victim._train_step
left = {steps}

def step(*arguments):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return take_step(*arguments)

victim._train_step = step
victim.fit()
"""


def test_a_process_killed_at_a_random_moment_loses_nothing(tmp_path):
    """SIGKILL, then a new process: the final loss is that of an uninterrupted run, to the last bit."""
    expected = trainer(tmp_path / "whole").fit()
    steps = int(np.random.default_rng().integers(1, 12))
    code = KILLED.format(tests=str(Path(__file__).parents[1]), folder=str(tmp_path / "killed"), steps=steps)
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == -signal.SIGKILL, result.stderr
    history = trainer(tmp_path / "killed").fit()
    assert history["loss"].equals(expected["loss"]), f"killed before step {steps}"


def test_other_parameters_start_anew(tmp_path):
    trainer(tmp_path, num_epochs=1).fit()
    assert trainer(tmp_path, num_epochs=1).finished
    assert trainer(tmp_path, num_epochs=1, class_dropout=0.5).progress.epoch == 0


def test_other_codes_or_other_code_start_anew(tmp_path, monkeypatch):
    trainer(tmp_path, num_epochs=1).fit()
    config = TrainingConfig(num_epochs=1, batch_size=4, lr=3e-3, precision="32-true")
    state = (tmp_path / "checkpoints" / "training_state.pt").read_bytes()
    others = Trainer(code_set(seed=5), code_set(4, seed=1), TINY, config, tmp_path, CPU, codec_hash="abc")
    assert others.progress.epoch == 0
    (tmp_path / "checkpoints" / "training_state.pt").write_bytes(state)
    monkeypatch.setattr("envsound.systems.soundstorm.training.module_hash", lambda name: "edited")
    assert trainer(tmp_path, num_epochs=1).progress.epoch == 0


def test_history_has_every_level_and_both_splits(tmp_path):
    history = trainer(tmp_path, num_epochs=2).fit()
    assert set(history["level"]) == {"0", "1", "2", "all"} and set(history["split"]) == {
        "train",
        "validation",
    }
    assert len(history) == 2 * 2 * 4
    assert (tmp_path / "training.csv").exists()


def test_max_steps_stops_early_and_leaves_a_checkpoint(tmp_path):
    short = trainer(tmp_path, max_steps=1)
    short.fit()
    assert short.progress.step == 1
    assert load_checkpoint(tmp_path / "checkpoints" / "last.safetensors", CPU, "abc").facts["step"] == 1


def test_checkpoint_of_another_codec_is_refused(tmp_path):
    trainer(tmp_path, num_epochs=1).fit()
    with pytest.raises(InputError, match="abc"):
        load_checkpoint(tmp_path / "checkpoints" / "last.safetensors", CPU, "def")


def test_one_cycle_rises_for_thirty_percent_then_falls(tmp_path):
    lrs = trainer(tmp_path, num_epochs=10).fit().drop_duplicates("epoch")["lr"].to_numpy()
    assert lrs.argmax() in (2, 3, 4) and lrs.max() <= 3e-3 * 1.0001 and lrs[-1] < lrs[0] * 2


@pytest.mark.parametrize("num_epochs", [1, 2, 4])
def test_a_training_of_a_few_steps_is_possible(tmp_path, num_epochs):
    short = trainer(tmp_path, num_epochs=num_epochs, batch_size=64, warmup_fraction=0.01)
    assert np.isfinite(short.fit()["loss"]).all()
    assert short.progress.step == num_epochs


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


def test_untrained_loss_is_near_a_uniform_guess():
    torch.manual_seed(0)
    model = MaskedConformer(ModelConfig(dim=64, n_layers=1, n_heads=2)).eval()
    codes, valid = torch.randint(1024, (4, 8, 50)), torch.ones(4, 50, dtype=torch.bool)
    mask = draw_training_mask(codes, valid, 1024, torch.Generator().manual_seed(0))
    with torch.no_grad():
        loss = masked_loss(model, mask, codes, valid, None).sum() / mask.targets.sum()
    assert float(loss) == pytest.approx(math.log(1024), abs=0.3)


def test_overfits_eight_clips_and_decodes_them_by_class(tmp_path):
    """The kernel is wider than the clip: among all masks, only the distance to an edge tells frames apart."""
    rng = np.random.default_rng(0)
    codes = [rng.integers(16, size=(2, 16)).astype(np.int16) for _ in range(8)]
    data = CodeSet(codes, np.arange(8), [str(i) for i in range(8)])
    shape = ModelConfig(
        n_levels=2, codebook_size=16, dim=64, n_layers=1, n_heads=2, conv_kernel=31, dropout=0.0, n_classes=8
    )
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


def test_batches_depend_on_seed_and_epoch_alone():
    order = [rows.tolist() for rows in epoch_batches(10, 4, seed=0, epoch=3)]
    assert order == [rows.tolist() for rows in epoch_batches(10, 4, seed=0, epoch=3)]
    assert sorted(row for rows in order for row in rows) == list(range(10))
    assert [len(rows) for rows in order] == [4, 4, 2]
    assert order != [rows.tolist() for rows in epoch_batches(10, 4, seed=0, epoch=4)]


def test_split_folds():
    table = pd.DataFrame({"fold": [1, 1, 2, 3], "clip_id": list("abcd")})
    train, held_out = split_folds(table, 1, [])
    assert train.clip_id.tolist() == ["c", "d"] and held_out.clip_id.tolist() == ["a", "b"]
    with pytest.raises(InputError, match="held-out"):
        split_folds(table, 1, [1, 2])
    with pytest.raises(InputError, match="not among"):
        split_folds(table, 7, [])


def test_padding_holds_the_mask_token():
    codes, valid, _ = code_set().batch(np.array([0, 1, 2]), 16)
    assert (codes[~valid[:, None].expand_as(codes)] == 16).all() and (codes[valid[:, None].expand_as(codes)] < 16).all()


def test_precision_is_chosen_by_the_hardware():
    assert choose_precision("32-true", CPU) == "32-true"
    assert choose_precision("auto", CPU) in ("32-true", "bf16-mixed")
    assert choose_precision("auto", torch.device("mps")) == "32-true"


@pytest.mark.parametrize("wrong", [{"num_epochs": 0}, {"lr": 0.0}, {"warmup_fraction": 1.0}])
def test_impossible_training_is_refused(wrong):
    with pytest.raises(InputError):
        TrainingConfig(**wrong)
