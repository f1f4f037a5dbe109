"""What the codec notebook shows and ships, and the notebook itself at toy size on recordings made for the test."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import papermill
import pytest
import torch
from fakes.codecs import CATEGORIES, CLIPS

from envsound.base.errors import InputError
from envsound.base.files import read_csv, read_json, write_csv, write_text
from envsound.base.paths import find_root
from envsound.codec import watching
from envsound.codec.fourier import FourierConfig
from envsound.codec.seanet import SeanetConfig
from envsound.codec.stored import generator_class, load_stored
from envsound.codec.training.trainer import CodecTrainer, CodecTraining
from envsound.data.synthetic.clips import write_dataset

SHAPE = FourierConfig(
    dim=8, hidden=8, n_encoder_blocks=1, n_decoder_blocks=1, latent_dim=4, n_levels=2, codebook_size=8
)
PLAN = CodecTraining(n_steps=4, batch_size=2, judged_items=1, crop_seconds=0.12, quantize_from=0.25, checkpoint_every=2)


SEANET = SeanetConfig(n_filters=2, latent_dim=4, n_levels=2, codebook_size=8)


def make_trainer(generator: str, folder) -> CodecTrainer:
    shape = SEANET if generator == "seanet" else SHAPE
    held_out = torch.from_numpy(CLIPS[0][None])
    return CodecTrainer(generator_class(generator), CLIPS, CATEGORIES, held_out, folder, PLAN, shape)


@pytest.fixture
def trainer(tmp_path, own_random_state) -> CodecTrainer:
    return make_trainer("fourier", tmp_path)


@pytest.fixture
def recordings():
    table = pd.DataFrame({"clip_id": ["x", "y", "z"], "category": ["a", "a", "b"]})
    return SimpleNamespace(table=table, load=lambda clip: np.full(2000, 0.1, np.float32))


def test_pieces_end_with_the_training_and_are_shown(trainer):
    shown = []
    codec = watching.train_in_pieces(trainer, 60, 1e-9, lambda one: shown.append(one.step))
    assert codec is trainer.codec and trainer.step == PLAN.n_steps
    assert shown[-1] == PLAN.n_steps


def test_a_piece_needs_length(trainer):
    with pytest.raises(InputError, match="piece_minutes=0"):
        watching.train_in_pieces(trainer, 60, 0, lambda one: None)


def test_view_draws_and_plays_without_freezing_the_codec(trainer, recordings, tmp_path, monkeypatch):
    displayed = []
    monkeypatch.setattr(watching.DisplayHandle, "display", lambda self, thing: displayed.append(("new", thing)))
    monkeypatch.setattr(watching.DisplayHandle, "update", lambda self, thing: displayed.append(("update", thing)))
    monkeypatch.chdir(find_root())
    view = watching.View(recordings, recordings.table, tmp_path)
    for _ in range(2):
        trainer.run(max_seconds=60)
        view.show(trainer)
    assert [kind for kind, _ in displayed] == ["new", "new", "update", "update"]
    assert {path.name for path in (tmp_path / "players").iterdir()} >= {"x_original.wav", "z_codec.wav"}
    assert all(value.requires_grad for value in trainer.codec.parameters())


@pytest.mark.parametrize("generator", ["fourier", "seanet"])
def test_a_codec_is_heard_as_it_is_in_the_middle_of_training(
    generator, recordings, tmp_path, monkeypatch, own_random_state
):
    """Where a piece ends between checkpoints, what was computed last had gradients."""
    heard = []
    monkeypatch.setattr(watching, "held_out_players", lambda codec, *_: heard.append(codec.model) or "")
    trainer = make_trainer(generator, tmp_path)
    trainer._train_step()
    before = torch.get_rng_state()
    watching.View(recordings, recordings.table, tmp_path).show(trainer)
    assert torch.equal(torch.get_rng_state(), before)
    weights, copied = trainer.codec.state_dict(), heard[0].state_dict()
    assert weights.keys() == copied.keys() and all(torch.equal(weights[name], copied[name]) for name in weights)
    trainer._train_step()
    assert any(not torch.equal(trainer.codec.state_dict()[name], copied[name]) for name in copied)


def test_curves_show_every_level_and_both_combs(trainer):
    trainer.run()
    panels = dict(zip(watching.PANELS, watching.curves(trainer).axes, strict=True))
    labels = {name: [line.get_label() for line in axis.lines[:-2]] for name, axis in panels.items()}
    assert labels["gain of each level (dB)"] == labels["perplexity of each level"] == ["0", "1"]
    assert labels["energy at n x frame rate"] == ["decoded", "original"]
    assert "adversarial" in labels["loss of the last batch"]


def test_half_a_codec_is_not_shipped(trainer, tmp_path):
    with pytest.raises(InputError, match="0 of 4 steps trained"):
        watching.ship(trainer, tmp_path / "codec.safetensors", tmp_path / "ship", {}, pd.DataFrame())
    assert "Not shipped" in watching.ship(trainer, "codec.safetensors", "", {}, pd.DataFrame())
    assert not (tmp_path / "ship").exists()


@pytest.mark.parametrize("generator", ["fourier", "seanet"])
def test_the_notebook_trains_and_ships(tmp_path, generator):
    data = write_dataset(tmp_path / "data", clips_per_class=5, seed=0)
    table = read_csv(data / "meta" / "esc50.csv")
    table = table[table.category.isin(["dog", "rain"])]
    write_csv(data / "meta" / "esc50.csv", table)
    stems = [name.rsplit("-", 1)[0] for name in table.filename]
    entry = "- [{}.ogg]: clip derived from x (http://example.org/{}) by A. Nonymous [CC0]"
    write_text(data / "LICENSE", "\n".join(entry.format(stem, stem) for stem in stems))
    work, ship = tmp_path / "work", tmp_path / "ship"
    sizes = {"n_steps": 3, "batch_size": 2, "crop_seconds": 0.12, "device": "cpu"}
    folders = {"data_dir": str(data), "work_dir": str(work), "ship_dir": str(ship)}
    papermill.execute_notebook(
        find_root() / "notebooks" / "codec" / "00_train_codec.ipynb",
        tmp_path / "out.ipynb",
        parameters={"generator": generator} | sizes | folders,
        cwd=find_root(),
        progress_bar=False,
    )
    card = read_json(ship / "card.json")
    codec = load_stored(ship / "bundled.safetensors", "bundled", torch.device("cpu"))
    assert card["content_hash"] == codec.content_hash and card["training"]["generator"] == generator
    assert f"-p generator {generator}" in card["training"]["command"]
    assert set(read_csv(ship / "attribution.csv").fold) == {2, 3, 4, 5}
    assert (ship / "README.md").is_file()
    assert read_csv(ship / "training.csv")["step"].iloc[-1] == sizes["n_steps"]
    assert (ship / "training.csv").read_bytes() == (work / "training.csv").read_bytes()
