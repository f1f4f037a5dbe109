"""Training a codec of toy size, with either generator: it runs, it watches, and it goes on where it stopped."""

import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from fakes.codecs import CATEGORIES, CLIPS, RATE, TOY, TOY_SEANET, noise

from envsound.base.errors import InputError
from envsound.codec.distances import comb_share
from envsound.codec.fourier import FourierConfig
from envsound.codec.seanet import SeanetConfig
from envsound.codec.stored import generator_class
from envsound.codec.training import trainer as module
from envsound.codec.training.trainer import CodecTrainer, CodecTraining, vital_signs

SIZES = {"n_steps": 6, "batch_size": 2, "judged_items": 1, "crop_seconds": 0.12, "checkpoint_every": 2}  # 9 frames
STARTS = {"quantize_from": 0.34, "adversary_from": 0.67, "heard_from": 0.83}  # steps 2, 4 and 5
PLAN = CodecTraining(**SIZES, **STARTS, level_dropout=0.5)
pytestmark = pytest.mark.usefixtures("own_random_state")


def trainer(folder, plan: CodecTraining = PLAN, shape: FourierConfig | SeanetConfig = TOY) -> CodecTrainer:
    held_out = torch.from_numpy(CLIPS[0][None, :3000])  # not a whole number of frames
    generator = generator_class("seanet" if isinstance(shape, SeanetConfig) else "fourier")
    return CodecTrainer(generator, CLIPS, CATEGORIES, held_out, folder, plan, shape)


@pytest.fixture(scope="module", params=[TOY, TOY_SEANET], ids=["fourier", "seanet"])
def uninterrupted(request, tmp_path_factory) -> CodecTrainer:
    with torch.random.fork_rng():
        one = trainer(tmp_path_factory.mktemp("whole"), shape=request.param)
        one.run()
    return one


def everything(one: CodecTrainer) -> dict[str, torch.Tensor]:
    """Return every trained number of a trainer by name."""
    numbers = {"counts": one.codec.quantizer.counts, "sums": one.codec.quantizer.sums}
    for which in ("codec", "adversary"):
        numbers |= {f"{which}.{name}": value for name, value in getattr(one, which).state_dict().items()}
    return numbers


def like(one: CodecTrainer, folder) -> CodecTrainer:
    """Return a new trainer of the same shape as another."""
    return trainer(folder, shape=one.codec.config)


def assert_same(one: CodecTrainer, other: CodecTrainer) -> None:
    a, b = everything(one), everything(other)
    assert a.keys() == b.keys() and [name for name in a if not torch.equal(a[name], b[name])] == []
    pd.testing.assert_frame_equal(*(pd.DataFrame(trainer.history).drop(columns="seconds") for trainer in (one, other)))


def test_training_moves_both_networks_and_stays_finite(uninterrupted, tmp_path):
    fresh = everything(like(uninterrupted, tmp_path))
    trained = everything(uninterrupted)
    assert uninterrupted.step == PLAN.n_steps
    assert all(torch.isfinite(value).all() for value in trained.values())
    assert all((trained[name] != fresh[name]).any() for name in trained if name.endswith("weight_v"))
    assert (trained["codec.quantizer.codebooks"] != fresh["codec.quantizer.codebooks"]).all()


def test_history_columns(uninterrupted):
    table = pd.read_csv(uninterrupted.folder / "training.csv")
    assert table["step"].tolist() == [2, 4, 6]
    watched = [f"{name}_{level}" for level in range(2) for name in ("gain_db", "used_codes", "perplexity")]
    adversary = ["discriminator", "adversarial", "feature"]
    losses = ["spectral", "waveform", "distance", "commitment", "likelihood"]
    signs = ["latent_rank", "log_mel_distance", "level_difference", "comb_share", "comb_share_original"]
    always = ["step", "seconds", *losses, *signs]
    assert set(table) == {*always, *watched, *adversary}
    assert np.isfinite(table[always]).all(axis=None)
    assert table[watched].isna().all(axis=1).tolist() == [True, False, False]  # quantizing from step 2
    assert table[adversary].notna().all(axis=1).tolist() == [False, False, True]  # judged from step 4
    assert table["commitment"].gt(0).tolist() == [False, True, True]
    assert table["latent_rank"].between(1, 4).all() and table["comb_share"].between(0, 1).all()
    stochastic = uninterrupted.codec.stochastic
    assert (table["spectral"] < table["distance"]).all() == stochastic  # noise is paid for
    assert (table["likelihood"] > 0).all() == stochastic
    assert table.loc[1:, ["used_codes_0", "used_codes_1"]].isin(range(1, 9)).all(axis=None)


def test_vital_signs_count_codes_and_leave_silent_clips_out_of_the_comb(uninterrupted, monkeypatch):
    codec, clip = uninterrupted.codec, noise(4 * 320)  # 4 frames
    codes = torch.tensor([[[0, 0, 0, 1], [3, 3, 3, 3]]])
    monkeypatch.setattr(codec.quantizer, "encode", lambda latents: codes.expand(len(latents), -1, -1))
    signs = vital_signs(codec, torch.from_numpy(np.stack([clip, np.zeros_like(clip)])), quantizing=True)
    assert [signs[f"used_codes_{level}"] for level in range(2)] == [2, 1]
    assert [signs[f"perplexity_{level}"] for level in range(2)] == pytest.approx([4 / 3**0.75, 1])
    assert signs["comb_share_original"] == pytest.approx(comb_share(clip, RATE, 75.0))


def test_a_few_steps_learn_something(tmp_path):
    alone = {"adversary_from": 2.0, "heard_from": 2.0}
    plan = replace(PLAN, n_steps=20, checkpoint_every=20, lr=2e-2, quantize_from=0.5, **alone)
    one = trainer(tmp_path, plan)
    before = vital_signs(one.codec, one.held_out, quantizing=False)["log_mel_distance"]
    one.run()
    assert one.history[-1]["log_mel_distance"] < 0.8 * before


ALONE = """
import sys

sys.path.insert(0, sys.argv[1])
for name in ("IPython", "matplotlib", "seaborn"):
    sys.modules[name] = None  # importing it raises ImportError
import torch
from fakes.codecs import CATEGORIES, CLIPS, TOY

from envsound.codec.fourier import FourierCodec
from envsound.codec.training.trainer import CodecTrainer, CodecTraining

plan, held_out = CodecTraining(n_steps=3, batch_size=2, judged_items=1, crop_seconds=0.12), torch.ones(1, 3000)
CodecTrainer(FourierCodec, CLIPS, CATEGORIES, held_out, sys.argv[2], plan, TOY).run()
"""


def test_a_codec_trains_where_nothing_can_be_drawn_or_shown(tmp_path, request):
    command = [sys.executable, "-c", ALONE, str(request.path.parents[1]), str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert pd.read_csv(tmp_path / "training.csv")["step"].tolist() == [3]


def test_a_killed_run_goes_on_to_the_same_weights(uninterrupted, tmp_path, monkeypatch):
    train_step = CodecTrainer._train_step

    def killed(self):
        if self.step == killed_at:
            raise KeyboardInterrupt
        return train_step(self)

    for killed_at in (3, 5):  # after the checkpoints at 2 and 4
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(CodecTrainer, "_train_step", killed)
            like(uninterrupted, tmp_path).run()
        resumed = like(uninterrupted, tmp_path)
        assert resumed.step == killed_at - 1
    resumed.run()
    assert_same(resumed, uninterrupted)


def test_a_run_stops_in_time_and_goes_on(uninterrupted, tmp_path, monkeypatch):
    seconds = iter(range(1000))
    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: next(seconds)))
    stopped = like(uninterrupted, tmp_path)
    stopped.run(max_seconds=6)  # the clock advances by 1 s a look, twice a step: 3 steps, and no history due
    resumed = like(uninterrupted, tmp_path)
    assert stopped.step == resumed.step == 3
    resumed.run()
    assert_same(resumed, uninterrupted)


def test_a_finished_run_is_left_alone(uninterrupted, tmp_path):
    file, again = uninterrupted.folder / "training.csv", like(uninterrupted, uninterrupted.folder)
    table = file.read_bytes()
    again.run()
    assert_same(again, uninterrupted)
    assert file.read_bytes() == table


@pytest.mark.parametrize(
    ("plan", "shape"),
    [
        (replace(PLAN, lr=1e-3), None), (replace(PLAN, seed=1), None),
        (PLAN, replace(TOY, hidden=TOY.hidden + 4)), (PLAN, replace(TOY_SEANET, n_filters=3)),
    ],
)  # fmt: skip
def test_a_checkpoint_of_other_parameters_or_shape_is_refused(uninterrupted, plan, shape):
    with pytest.raises(InputError, match=r"training_state\.pt: was trained with other parameters"):
        trainer(uninterrupted.folder, plan, shape or uninterrupted.codec.config)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint"])
def test_a_damaged_checkpoint_is_named_and_training_begins_anew(tmp_path, content):
    (tmp_path / "training_state.pt").write_bytes(content)
    with pytest.warns(UserWarning, match=r"training_state\.pt: damaged"):
        assert trainer(tmp_path).step == 0


@pytest.mark.parametrize("seconds", [0.0, 0.1])
def test_crops_of_broken_frames_are_refused(tmp_path, seconds):
    with pytest.raises(InputError, match="crop_seconds"):
        trainer(tmp_path, replace(PLAN, crop_seconds=seconds))


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    one = trainer(tmp_path)
    one.codec.decoder.leave.bias.data.fill_(float("nan"))
    with pytest.raises(InputError, match="spectral is nan by step 2"):
        one.run()


def test_the_learning_rate_warms_up_and_falls(tmp_path):
    one = trainer(tmp_path, replace(PLAN, n_steps=1000))
    for one.step, share in ((0, 0.01), (10, 0.51), (20, 1.0), (500, 0.505), (999, 0.01)):
        one._set_lr()
        assert [group["lr"] for group in one.optimizers[0].param_groups] == [pytest.approx(PLAN.lr * share, rel=0.02)]


def test_level_dropout_draws_every_number_of_levels(tmp_path):
    levels = trainer(tmp_path)._draw_levels(4000)
    assert levels.unique().tolist() == [1, 2]
    assert (levels == 1).float().mean() == pytest.approx(0.25, abs=0.04)  # half are free, half of these take 1
