"""The studio: every control gives a clip that can be heard, with its cost, and edits keep what they must."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import soundfile
from fakes.codecs import RATE, tone
from fakes.notebooks import run_cells
from fakes.soundstorm import small_checkpoint, small_codec

from envsound.base.errors import InputError
from envsound.base.files import read_csv, read_json, write_csv, write_wav
from envsound.base.paths import find_root
from envsound.codec import load_codec
from envsound.codec.stored import save_codec
from envsound.report.players import players_by
from envsound.systems.soundstorm.checkpoints import Checkpoint, save_checkpoint
from envsound.systems.soundstorm.decoding import DecodingConfig
from envsound.systems.soundstorm.listen import Studio, settings

LEVELS, N_FRAMES = 4, 24
SECONDS = N_FRAMES / 75


def studio(folder, n_classes: int) -> Studio:
    base = DecodingConfig((12, *[1] * (LEVELS - 1)))
    return Studio(small_checkpoint(LEVELS, n_classes), small_codec(LEVELS), base, folder)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with a codec of one's own, whose controls notebook 09 has let be heard."""
    folder = tmp_path_factory.mktemp("run")
    save_codec(folder / "own.safetensors", small_codec(LEVELS).model)
    made_by = {"codec_hash": load_codec(str(folder / "own.safetensors"), device="cpu").content_hash}
    trained = Checkpoint(small_checkpoint(LEVELS).model, ["dog", "rain"], made_by)
    save_checkpoint(folder / "checkpoints" / "last.safetensors", trained)
    write_wav(folder / "a.wav", tone(N_FRAMES * 320, 440), RATE)
    write_csv(folder / "codes.csv", pd.DataFrame([{"path": folder / "a.wav", "category": "rain", "fold": 1}]))
    given = {"run_dir": str(folder), "codec": str(folder / "own.safetensors"), "device": "cpu"}
    given |= {"clip_seconds": SECONDS, "long_seconds": 1.0}
    run_cells(find_root() / "notebooks" / "studies" / "09_hear_controls.ipynb", given)
    return folder


def sound(folder, name: str) -> np.ndarray:
    clip, rate = soundfile.read(folder / name)
    assert rate == RATE and np.isfinite(clip).all()
    return clip


def test_every_setting_is_a_clip_with_its_cost(run):
    rows = read_csv(run / "controls.csv")
    assert rows.control.nunique() == 6 and rows.filename.is_unique
    assert {len(sound(run / "controls", name)) for name in rows.filename} == {N_FRAMES * 320}
    passes, fine = rows[rows.control == "steps at level 0"].passes.tolist(), LEVELS - 1
    assert (passes[0], passes[3]) == (1 + fine, N_FRAMES + fine)
    assert passes[0] < passes[1] <= 12 + fine and passes[1] <= passes[2] <= 16 + fine  # empty steps cost no pass
    assert LEVELS <= passes[4] <= N_FRAMES * LEVELS
    players = players_by(rows, run / "controls", "control", "setting")
    assert players.count("<audio") == len(rows) and players.count("<h4>") == 6 and rows.filename[0] in players


def test_all_classes_in_one_batch(run):
    rows = read_csv(run / "classes.csv")
    assert rows.setting.tolist() == ["dog", "rain"] and set(rows.control) == {"every class in one batch"}
    assert not np.array_equal(*(sound(run / "controls", name) for name in rows.filename))


def test_edits_keep_the_recording_where_nothing_is_asked(run):
    rows = read_csv(run / "edits.csv").set_index("setting")
    names = ("through the codec", "the middle third", "1 s")
    whole, repaired, long = (sound(run / "controls", rows.loc[name, "filename"]) for name in names)
    assert rows.loc["through the codec", "passes"] == 0 and len(long) == RATE
    assert np.array_equal(whole[:320], repaired[:320]) and not np.array_equal(whole, repaired)
    assert "09_hear_controls" in read_json(run / "provenance.json")["steps"]
    with pytest.raises(InputError, match="category='owl'"):
        studio(run, n_classes=2).hear_edits(tone(3200, 440), "owl", 1.0)


def test_a_model_without_classes_is_offered_no_guidance_and_gives_several_seeds_in_one_batch(tmp_path):
    one = studio(tmp_path, n_classes=0)
    assert {s.control for s in settings(8, True)} - {s.control for s in settings(8, False)} == {"guidance"}
    assert "guidance" not in set(one.hear_settings("", n_frames=3).control)
    rows = one.hear_classes(n_frames=9)
    assert rows.setting.tolist() == ["seed 0", "seed 1", "seed 2", "seed 3"]
    sounds = [sound(tmp_path, name) for name in rows.filename]
    assert len({clip.tobytes() for clip in sounds}) == 4
    alone = replace(one, seed=2).hear_classes(n_frames=9).filename[0]
    assert np.array_equal(sound(tmp_path, alone), sounds[2])  # a clip depends on its own seed alone
