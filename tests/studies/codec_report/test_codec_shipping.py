"""What the codec notebook shows and ships, and the notebook itself at toy size on recordings made for the test."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from fakes.codecs import CATEGORIES, CLIPS, RATE, TOY, TOY_SEANET, noise
from fakes.notebooks import run_cells

from envsound.base.errors import InputError
from envsound.base.files import read_csv, read_json, write_csv, write_text, write_wav
from envsound.base.paths import find_root
from envsound.codec.stored import generator_class, load_stored
from envsound.codec.training.trainer import CodecTrainer, CodecTraining
from envsound.run.publish import publish_any
from envsound.studies.codec_report import training
from envsound.studies.codec_report.figures import PANELS, learning_curves
from envsound.studies.codec_report.page import REPORTS

PLAN = CodecTraining(n_steps=4, batch_size=2, judged_items=1, crop_seconds=0.12, quantize_from=0.25, checkpoint_every=2)


def make_trainer(generator: str, folder) -> CodecTrainer:
    shape = TOY_SEANET if generator == "seanet" else TOY
    held_out = torch.from_numpy(CLIPS[0][None])
    return CodecTrainer(generator_class(generator), CLIPS, CATEGORIES, held_out, folder, PLAN, shape)


@pytest.fixture
def trainer(tmp_path, own_random_state) -> CodecTrainer:
    return make_trainer("fourier", tmp_path)


TABLE = pd.DataFrame({"clip_id": ["x", "y", "z"], "category": ["a", "a", "b"]})
RECORDINGS = SimpleNamespace(table=TABLE, load=lambda clip: np.full(2000 + ord(clip), 0.1, np.float32))


def test_watched_clips_are_padded_to_one_length():
    assert training.watched_clips(RECORDINGS, TABLE, every=2).shape == (2, 2000 + ord("z"))


def test_pieces_end_with_the_training_and_are_shown(trainer):
    shown = []
    training.train_in_pieces(trainer, 60, 1e-9, lambda one: shown.append(one.step))
    assert trainer.finished and trainer.step == PLAN.n_steps and shown[-1] == PLAN.n_steps
    n_shown = len(shown)
    training.train_in_pieces(trainer, 60, 1, lambda one: shown.append(one.step))
    assert shown[n_shown:] == [PLAN.n_steps]  # what an earlier run has left
    with pytest.raises(InputError, match="piece_minutes=0"):
        training.train_in_pieces(trainer, 60, 0, lambda one: None)


@pytest.mark.parametrize("generator", ["fourier", "seanet"])
def test_a_codec_is_heard_as_it_is_in_the_middle_of_training(generator, tmp_path, monkeypatch, own_random_state):
    """Where a piece ends between checkpoints, what was computed last had gradients."""
    heard, trainer, write = [], make_trainer(generator, tmp_path), training.write_examples
    monkeypatch.setattr(training, "write_examples", lambda codec, *to: heard.append(codec.model) or write(codec, *to))
    trainer._train_step()
    before = torch.get_rng_state()
    page = training.snapshot(trainer, RECORDINGS, TABLE, tmp_path)
    assert "data:image/png;base64," in page and "a · x" in page and "b · z" in page
    assert (tmp_path / "players" / "z_codec.wav").is_file() and torch.equal(torch.get_rng_state(), before)
    weights, copied = trainer.codec.state_dict(), heard[0].state_dict()
    assert weights.keys() == copied.keys() and all(torch.equal(weights[name], copied[name]) for name in weights)
    assert all(value.requires_grad for value in trainer.codec.parameters())
    trainer._train_step()
    assert any(not torch.equal(trainer.codec.state_dict()[name], copied[name]) for name in copied)


def test_curves_show_every_level_both_combs_and_where_parts_are_switched_on(trainer):
    trainer.run()
    axes = learning_curves(pd.DataFrame(trainer.history), marks=(1, 3)).axes
    panels = dict(zip(PANELS, axes, strict=True))
    labels = {name: [line.get_label() for line in axis.lines[:-2]] for name, axis in panels.items()}
    assert labels["gain of each level (dB)"] == labels["perplexity of each level"] == ["0", "1"]
    assert labels["energy at n x frame rate"] == ["decoded", "original"]
    assert "adversarial" in labels["loss of the last batch"]
    assert [line.get_xdata()[0] for line in axes[0].lines[-2:]] == [1, 3]
    few = learning_curves(pd.DataFrame(trainer.history)[["step", "spectral", "log_mel_distance"]]).axes
    assert [axis.get_visible() for axis in few] == [True, True, False, False, False, False]


def test_half_a_codec_is_not_shipped(trainer, tmp_path):
    with pytest.raises(InputError, match="0 of 4 steps trained"):
        training.ship(trainer, tmp_path / "codec.safetensors", tmp_path / "ship", {}, pd.DataFrame())
    assert "Not shipped" in training.ship(trainer, "codec.safetensors", "", {}, pd.DataFrame())
    assert not (tmp_path / "ship").exists()


@pytest.fixture
def esc50(tmp_path):
    """A folder in the layout of ESC-50: noise of a fifth of a second, a dog and rain in each fold."""
    rows = []
    for fold in range(1, 6):
        for target, category in ((0, "dog"), (10, "rain")):
            name = f"{fold}-{target}-A-{target}.wav"
            write_wav(tmp_path / "esc50" / "audio" / name, noise(RATE // 5, seed=10 * fold + target), RATE)
            rows.append({"filename": name, "fold": fold, "target": target, "category": category, "esc10": True})
    write_csv(tmp_path / "esc50" / "meta" / "esc50.csv", pd.DataFrame(rows))
    entry = "- [{0}.ogg]: clip derived from x (http://example.org/{0}) by A. Nonymous [CC0]"
    lines = [entry.format(row["filename"].rsplit("-", 1)[0]) for row in rows]
    write_text(tmp_path / "esc50" / "LICENSE", "\n".join(lines))
    return tmp_path / "esc50"


@pytest.mark.parametrize(("generator", "n_levels"), [("patches", 4), ("fourier", 8)])
def test_the_notebook_trains_and_ships(generator, n_levels, esc50, tmp_path, monkeypatch, own_random_state):
    work, ship, shown = tmp_path / "work", tmp_path / "ship", []
    monkeypatch.setattr("IPython.display.display", lambda *_, **how: SimpleNamespace(update=shown.append))
    sizes = {"n_steps": 3, "batch_size": 2, "crop_seconds": 0.12, "codebook_size": 16, "n_copies": 1, "device": "cpu"}
    folders = {"data_dir": str(esc50), "work_dir": str(work), "ship_dir": str(ship)}
    run_cells(find_root() / "notebooks" / "codec" / "00_train_codec.ipynb", sizes | folders | {"generator": generator})
    assert "data:image/png" in shown[-1].data
    card = read_json(ship / f"{generator}.json")
    codec = load_stored(ship / f"{generator}.safetensors", generator, torch.device("cpu"))
    assert card["content_hash"] == codec.content_hash and card["training"]["generator"] == generator
    given = f"-p generator {generator} -p codebook_size 16 -p n_copies 1 -p n_steps 3 -p batch_size 2"
    assert given in card["training"]["command"]
    assert set(read_csv(ship / "attribution.csv").fold) == {2, 3, 4, 5}
    systems = {row["system"] for row in card["held_out"]["systems"]}
    assert {"original", f"{generator}, {n_levels} levels", f"{generator}, 1 level", "white noise"} <= systems
    readme = (ship / f"{generator}.md").read_text()
    assert codec.content_hash in readme and f"| {generator}, {n_levels} levels |" in readme
    assert len(card["held_out"]["codes_used_per_level"]) == n_levels
    assert read_csv(ship / "training.csv")["step"].iloc[-1] == sizes["n_steps"]
    assert (ship / "training.csv").read_bytes() == (work / "training.csv").read_bytes()


def test_code_vectors_are_fitted_once_for_the_clips_of_a_folder(tmp_path, monkeypatch):
    schedule = {"seed": 0, "n_steps": 1, "batch_size": 2, "crop_seconds": 0.06, "lr": 1e-4}
    given = (torch.zeros(1, 4000), tmp_path, schedule, {"codebook_size": 8, "n_copies": 1}, torch.device("cpu"))
    first = training.make_trainer("patches", [noise(RATE)], ["a"], *given)
    monkeypatch.setattr(training, "fit_patches", None)
    again = training.make_trainer("patches", [noise(RATE)], ["a"], *given)
    assert torch.equal(again.quantizer.vectors, first.quantizer.vectors) and first.training.crop_columns == 1
    with pytest.raises(TypeError):
        training.make_trainer("patches", [noise(RATE, seed=1)], ["a"], *given)


def test_nothing_to_learn_from_or_to_measure_with_is_said_in_a_line():
    table = pd.DataFrame({"clip_id": ["x", "y"], "filename": ["x.wav", "y.wav"], "n_samples": [9000, 1279]})
    recordings = SimpleNamespace(cut="a folder", load=lambda clip: np.zeros(9000, np.float32))
    with pytest.raises(InputError, match=r"y\.wav: 1279 samples; expected a patch of 1280"):
        training.training_clips(recordings, table)
    with pytest.raises(InputError, match="a folder: no clip to learn from"):
        training.training_clips(recordings, table[:0])
    with pytest.raises(InputError, match="a folder: no clip of ESC-10 in the held-out fold"):
        training.watched_clips(recordings, table[:0], every=5)
    silence, schedule = training.training_clips(recordings, table[:1]), {"seed": 0, "n_steps": 1, "crop_seconds": 1.0}
    patches, anywhere = {"codebook_size": 16, "n_copies": 1}, torch.device("cpu")
    with pytest.raises(InputError, match="band 0: 0 patches that hold sound"):
        training.make_trainer("patches", silence, ["a"], torch.zeros(1, 9000), "nowhere", schedule, patches, anywhere)


def test_patch_codes_are_compared_on_a_fold_they_have_not_learnt_from(esc50, tmp_path):
    notebook, run = find_root() / "notebooks" / "codec" / "11_compare_patch_codes.ipynb", tmp_path / "run"
    given = {"data_dir": str(esc50), "run_dir": str(run), "n_copies": 1, "codebook_size": 8, "n_steps": 2}
    run_cells(notebook, given)
    facts = read_json(run / "provenance.json")["steps"]["11_compare_patch_codes"]["facts"]
    assert (facts["n_clips"], facts["n_watched"]) == (6, 2) and "folds 2-5" in facts["data_cut"]
    folder = publish_any(run, REPORTS, tmp_path / "published")
    assert len(read_csv(folder / "patch_codes.csv")) == 3 and len(read_csv(folder / "patch_codes_by_level.csv")) == 32
    with pytest.raises(InputError, match="holds the held-out fold 2"):
        run_cells(notebook, given | {"train_folds": [2, 3]})
