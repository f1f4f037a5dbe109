"""The studio: every control gives a clip that can be heard, with its cost, and edits keep what they must."""

from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch

from envsound.base.errors import InputError
from envsound.codec.fourier import FourierCodec, FourierConfig
from envsound.codec.stored import StoredCodec
from envsound.report.players import players_by
from envsound.systems.soundstorm.checkpoints import Checkpoint
from envsound.systems.soundstorm.conformer import MaskedConformer, ModelConfig
from envsound.systems.soundstorm.decoding import DecodingConfig
from envsound.systems.soundstorm.listen import Studio, settings

LEVELS = 4


def studio(folder, n_classes: int = 2) -> Studio:
    shape = dict(dim=16, n_layers=1, n_heads=2, conv_kernel=5, n_classes=n_classes)
    small = dict(dim=8, hidden=8, n_encoder_blocks=1, n_decoder_blocks=1, latent_dim=4)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = MaskedConformer(ModelConfig(n_levels=LEVELS, codebook_size=16, **shape)).eval()
        codec = FourierCodec(FourierConfig(n_levels=LEVELS, codebook_size=16, **small))
    base = DecodingConfig((12, *[1] * (LEVELS - 1)), guidance_scale=2.0 if n_classes else 1.0)
    names = ["dog", "rain"][:n_classes]
    return Studio(Checkpoint(model, names, {}), StoredCodec(codec, "small", "hash"), base, folder)


def test_every_setting_is_a_clip_with_its_cost(tmp_path):
    one = studio(tmp_path)
    rows = one.hear_settings("rain", n_frames=20)
    assert rows.control.nunique() == 6 and rows.filename.is_unique
    for row in rows.itertuples():
        clip, rate = soundfile.read(tmp_path / row.filename)
        assert rate == 24_000 and len(clip) == 20 * 320 and np.isfinite(clip).all()
    passes = rows[rows.control == "steps at level 0"].passes.tolist()
    fine = LEVELS - 1
    assert (passes[0], passes[3]) == (1 + fine, 20 + fine)
    assert passes[0] < passes[1] <= 12 + fine and passes[1] <= passes[2] <= 16 + fine  # empty steps cost no pass
    assert LEVELS <= passes[4] <= 20 * LEVELS
    assert not one.checkpoint.model._forward_pre_hooks  # what counted the passes
    players = players_by(rows, tmp_path, "control", "setting")
    assert players.count("<audio") == len(rows) and players.count("<h4>") == 6 and rows.filename[0] in players


def test_guidance_is_offered_to_models_with_classes_only(tmp_path):
    assert {s.control for s in settings(8, True)} - {s.control for s in settings(8, False)} == {"guidance"}
    rows = studio(tmp_path, n_classes=0).hear_settings("", n_frames=6)
    assert "guidance" not in set(rows.control)


def test_all_classes_in_one_batch(tmp_path):
    rows = studio(tmp_path).hear_classes(n_frames=9)
    assert rows.setting.tolist() == ["dog", "rain"] and set(rows.control) == {"every class in one batch"}
    sounds = [soundfile.read(tmp_path / name)[0] for name in rows.filename]
    assert not np.array_equal(*sounds)


def test_a_model_without_classes_gives_several_seeds_in_one_batch(tmp_path):
    one = studio(tmp_path, n_classes=0)
    rows = one.hear_classes(n_frames=9)
    assert rows.setting.tolist() == ["seed 0", "seed 1", "seed 2", "seed 3"]
    sounds = [soundfile.read(tmp_path / name)[0] for name in rows.filename]
    assert len({sound.tobytes() for sound in sounds}) == 4
    alone = replace(one, seed=2).hear_classes(n_frames=9).filename[0]
    assert np.array_equal(soundfile.read(tmp_path / alone)[0], sounds[2])  # a clip depends on its own seed alone


def test_edits_keep_the_recording_where_nothing_is_asked(tmp_path):
    clip = np.sin(np.arange(24 * 320) * 0.05).astype(np.float32) * 0.3
    one = studio(tmp_path)
    rows = one.hear_edits(clip, "dog", long_seconds=1.0).set_index("setting")
    whole = soundfile.read(tmp_path / rows.loc["through the codec", "filename"])[0]
    repaired = soundfile.read(tmp_path / rows.loc["the middle third", "filename"])[0]
    assert rows.loc["through the codec", "passes"] == 0
    assert np.array_equal(whole[:320], repaired[:320]) and not np.array_equal(whole, repaired)
    assert len(soundfile.read(tmp_path / rows.loc["1 s", "filename"])[0]) == 75 * 320
    with pytest.raises(InputError, match="category='owl'"):
        one.hear_edits(clip, "owl", 1.0)
