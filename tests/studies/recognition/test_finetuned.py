"""Fine-tuning: codes change as they are asked to, padding changes nothing, resumed is uninterrupted."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from fakes.coded_clips import CODEBOOK_SIZE, N_LEVELS, first_round
from hypothesis import given
from hypothesis import strategies as st

from envsound.base.errors import InputError
from envsound.codec.codes import load_codes
from envsound.studies.recognition import finetuned
from envsound.studies.recognition.finetuned import CodeBatch, FinetunedConformer, Tuning
from envsound.studies.recognition.rounds import check_scores

MASK = 99
TUNED = FinetunedConformer(
    start="random", n_levels=N_LEVELS, codebook_size=CODEBOOK_SIZE, dim=16, n_layers=1, n_heads=2, num_epochs=4,
    lr=1e-2, trunk_lr=1e-2, crop_frames=10, patience=0, precision="32-true", device="cpu",
)  # fmt: skip
STILL = replace(TUNED, crop_frames=0, masked_share=0.0, level_dropout=0.0, mixup=0.0)


@pytest.fixture(scope="module")
def fold(tmp_path_factory):
    return first_round(tmp_path_factory.mktemp("codes"))


# What it sees of codes


def counted(n_frames: int, n_levels: int = 4) -> np.ndarray:
    """Codes that say which frame they are of."""
    return np.tile(np.arange(n_frames, dtype=np.int16), (n_levels, 1))


def batch_of(n_clips: int = 60, n_frames: int = 20, seed: int = 0, **settings) -> CodeBatch:
    targets, clips = np.eye(n_clips, dtype=np.float32), [counted(n_frames)] * n_clips
    return finetuned.training_batch(clips, targets, replace(STILL, **settings), MASK, np.random.default_rng(seed))


def test_without_changes_a_batch_is_the_clips_padded():
    batch = finetuned.training_batch([counted(5), counted(3)], np.eye(2), STILL, MASK, np.random.default_rng(0))
    assert batch.codes[0].tolist() == counted(5).tolist()
    assert batch.codes[1, 0].tolist() == [0, 1, 2, MASK, MASK]
    assert batch.valid.tolist() == [[True] * 5, [True] * 3 + [False] * 2]
    assert batch.share is None and torch.equal(batch.targets, torch.eye(2))


def test_crops_are_stretches_and_of_short_clips_go_round():
    long = batch_of(crop_frames=8).codes[:, 0]
    assert long.shape == (60, 8) and (long.diff(dim=1) == 1).all() and set(long[:, 0].tolist()) == set(range(13))
    short = batch_of(crop_frames=30).codes[:, 0]
    assert set(short.diff(dim=1).unique().tolist()) == {1, -19}


def test_codes_are_hidden_by_themselves_or_by_their_level_the_coarsest_never():
    hidden = batch_of(200, crop_frames=20, masked_share=0.25).codes == MASK
    assert hidden.float().mean().item() == pytest.approx(0.25, abs=0.02)
    assert not batch_of(crop_frames=20).codes.eq(MASK).any()
    hidden = batch_of(400, crop_frames=20, level_dropout=0.5).codes == MASK
    assert torch.equal(hidden.all(2), hidden.any(2))
    kept = (~hidden[:, :, 0]).sum(1)
    assert (hidden[:, :, 0].diff(dim=1) >= 0).all() and set(kept.tolist()) == {1, 2, 3, 4}
    assert (kept < 4).float().mean().item() == pytest.approx(0.5, abs=0.08)


def test_mixing_keeps_the_larger_part_and_mixes_targets_alike():
    batch = batch_of(crop_frames=20, mixup=0.5)
    assert (batch.share >= 0.5).all() and sorted(batch.other.tolist()) == list(range(60))
    own, mixed = batch.targets[torch.arange(60), torch.arange(60)], batch.other != torch.arange(60)
    torch.testing.assert_close(own[mixed], batch.share[mixed])
    torch.testing.assert_close(batch.targets.sum(1), torch.ones(60))
    one, again, other = (batch_of(crop_frames=9, masked_share=0.2, mixup=0.5, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one.codes, again.codes) and torch.equal(one.targets, again.targets)
    assert not torch.equal(one.codes, other.codes)


@given(st.integers(1, 60), st.integers(1, 25))
def test_windows_have_one_length_and_cover_the_clip(n_clip, n_frames):
    found = finetuned.even_windows(counted(n_clip), n_frames)
    assert {window.shape[1] for window in found} == {n_frames} and len(found) == max(1, -(-n_clip // n_frames))
    assert {int(frame) for window in found for frame in window[0]} == set(range(n_clip))
    assert finetuned.even_windows(counted(n_clip), 0)[0].shape == (4, n_clip)


# The readout


@torch.no_grad()
def test_padded_frames_never_change_an_answer(fold):
    classifier = TUNED.classifier(fold.train, 3).eval()
    short, long = (torch.randint(12, (1, 3, n), generator=torch.Generator().manual_seed(n)) for n in (7, 15))
    alone = classifier(CodeBatch(short, torch.ones(1, 7, dtype=torch.bool), torch.empty(0)))
    codes = torch.full((2, 3, 15), 5)
    codes[0, :, :7], codes[1] = short[0], long[0]
    valid = torch.arange(15) < torch.tensor([[7], [15]])
    torch.testing.assert_close(classifier(CodeBatch(codes, valid, torch.empty(0)))[:1], alone, atol=1e-5, rtol=1e-4)
    states = torch.randn(2, 15, 16)
    spoilt = states.masked_fill(~valid[..., None], float("nan"))
    torch.testing.assert_close(classifier.readout(spoilt, valid), classifier.readout(states, valid))


@torch.no_grad()
def test_attention_can_look_at_one_frame_alone(own_random_state):
    readout, states = finetuned.AttentionReadout(32, 4).eval(), torch.zeros(1, 5, 32)
    states[0, 2, 0] = 1.0
    readout.attention[0].weight.zero_()[0, 0] = 5.0
    readout.attention[0].bias.zero_()
    readout.attention[2].weight.fill_(100.0)
    only = readout(states[:, 2:3], torch.ones(1, 1, dtype=torch.bool))
    torch.testing.assert_close(readout(states, torch.ones(1, 5, dtype=torch.bool)), only, atol=1e-4, rtol=1e-4)


def test_a_clips_probabilities_are_the_mean_over_its_windows(fold):
    classifier = TUNED.classifier(fold.train, 0).eval()
    codes = load_codes(fold.test.codes_files[0])[:, :14]
    parts = [TUNED.probabilities(classifier, [codes[:, start : start + 10]]) for start in (0, 4)]
    torch.testing.assert_close(TUNED.probabilities(classifier, [codes]), (parts[0] + parts[1]) / 2)


# Training


def test_a_killed_fine_tuning_ends_like_an_uninterrupted_one(fold, tmp_path, monkeypatch):
    before, run_epoch, seen = torch.get_rng_state(), Tuning._run_epoch, []
    expected = check_scores(TUNED.fit_and_score(fold, tmp_path / "whole", 0), fold, "tuned")
    assert (expected.argmax(1) == fold.test.labels).mean() >= 0.9  # chance: 0.33
    assert torch.equal(torch.get_rng_state(), before)

    def dying(self):
        if self.epoch == 2:
            raise KeyboardInterrupt
        run_epoch(self)

    monkeypatch.setattr(Tuning, "_run_epoch", dying)
    with pytest.raises(KeyboardInterrupt):
        TUNED.fit_and_score(fold, tmp_path / "killed", 0)
    for settings, seed, epoch in ((TUNED, 0, 2), (TUNED, 1, 0), (replace(TUNED, lr=1e-3), 0, 0)):
        assert Tuning(settings, fold, seed, tmp_path / "killed").epoch == epoch  # another's state is not gone on from
    monkeypatch.setattr(Tuning, "_run_epoch", lambda self: seen.append(self.epoch) or run_epoch(self))
    blind = replace(fold, test=replace(fold.test, labels=0 * fold.test.labels))  # nobody looks at them
    assert np.array_equal(TUNED.fit_and_score(blind, tmp_path / "killed", 0), expected)
    assert seen == [2, 3] and not (tmp_path / "killed" / finetuned.STATE).exists()
    whole, killed = (
        np.loadtxt(tmp_path / name / "training.csv", delimiter=",", skiprows=1) for name in ("whole", "killed")
    )
    assert np.array_equal(whole, killed) and len(whole) == 4


def test_the_best_validation_epoch_is_taken_and_patience_ends_training(fold, tmp_path, monkeypatch):
    ranks = iter([(0.5, 1.0), (0.9, 1.0), (0.9, 2.0), (0.2, 0.1)])
    kept = []

    def judge(*_):
        kept.append({name: value.clone() for name, value in one.classifier.state_dict().items()})
        return next(ranks)

    monkeypatch.setattr(finetuned, "judged", judge)
    one = Tuning(replace(TUNED, num_epochs=40, patience=2), fold, 0, tmp_path)
    one.fit()
    assert one.epoch == 4 and one.best[0] == 2
    weights = one.classifier.state_dict()
    assert all(torch.equal(weights[name], kept[1][name]) for name in weights)
    assert not torch.equal(weights["readout.classes.weight"], kept[3]["readout.classes.weight"])


def test_a_loss_that_is_not_finite_is_named(fold, tmp_path):
    with pytest.raises(InputError, match=r"the loss is (nan|inf) at step"):
        Tuning(replace(TUNED, lr=1e30, trunk_lr=1e30), fold, 0, tmp_path).fit()


def test_the_rate_rises_on_a_line_and_falls_on_half_a_cosine():
    factors = [finetuned.rate_factor(step, 10, 0.2) for step in range(11)]
    assert factors[:3] == pytest.approx([1 / 3, 2 / 3, 1.0])
    assert factors[6] == pytest.approx(0.5) and factors[10] == pytest.approx(0)
    assert finetuned.rate_factor(0, 10, 0.0) == 1


WRONG = {"num_epochs": 0, "mixup": -1.0, "label_smoothing": 1.0, "crop_frames": 0, "masked_share": 1.0}
WRONG |= {"level_dropout": 1.5, "patience": -1, "trunk_lr": 0.0}


@pytest.mark.parametrize(("name", "value"), WRONG.items())
def test_settings_out_of_range_are_named(name, value):
    with pytest.raises(InputError, match=name):
        replace(TUNED, **{name: value})
