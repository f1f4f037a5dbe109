"""Clips that need no model: each keeps just what it says of the training codes, and is written once."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from envsound.base.errors import InputError
from envsound.base.files import read_csv, write_csv, write_wav
from envsound.codec.codes import decode_clip, save_codes
from envsound.data.audio import read_clip
from envsound.evaluation import controls
from envsound.evaluation.controls import COLUMNS, CONTROLS, SYSTEMS, draw_like, make_controls

RATE, HOP, N_FRAMES = 24_000, 320, 15


class LoudnessCodec:
    """A codec whose decoder holds 320 samples at 0.001 times the code of level 0."""

    name, sample_rate, frame_rate, n_levels, codebook_size, content_hash = "loud", RATE, 75, 2, 1024, "a" * 64

    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        return (codes[:, 0].float() * 1e-3).repeat_interleave(HOP, dim=-1)


@pytest.fixture(scope="module")
def material(tmp_path_factory) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Two held-out clips of each of two classes, and four of each to train on; dogs have low codes, rain high ones."""
    tmp_path, rows = tmp_path_factory.mktemp("material"), []
    for number in range(12):
        kind, category = number % 2, ("dog", "rain")[number % 2]
        audio, file = tmp_path / "audio" / f"{number:02d}.wav", tmp_path / "codes" / f"{number:02d}.safetensors"
        write_wav(audio, np.random.default_rng(number).normal(0, 0.02 * (number + 1), 4800), RATE)
        codes = np.random.default_rng(number).integers(400 * kind, 300 + 400 * kind, (2, N_FRAMES))
        save_codes(file, codes, LoudnessCodec.content_hash, 4800)
        rows.append((audio.name, str(audio), 1 + (number >= 4), category, N_FRAMES, 0.19, str(file)))
    names = ["filename", "path", "fold", "category", "n_frames", "seconds", "codes_file"]
    table = pd.DataFrame(rows, columns=names)
    held_out, train = (table[table["fold"] == fold].reset_index(drop=True) for fold in (1, 2))
    return held_out, train, draw_like(train, held_out, seed=0)


@pytest.fixture(scope="module")
def table(material, tmp_path_factory) -> pd.DataFrame:
    return make_controls(*material, LoudnessCodec(), tmp_path_factory.mktemp("controls"))


def clip_of(row) -> np.ndarray:
    return read_clip(row.path, RATE)


def test_clips_are_drawn_with_the_classes_of_the_others_and_no_clip_twice():
    pool = pd.DataFrame({"category": ["dog"] * 3 + ["rain"] * 5, "number": range(8)})
    like = pd.DataFrame({"category": ["rain", "dog", "rain", "dog"]}, index=[5, 7, 9, 11])
    drawn = draw_like(pool, like, seed=1)
    assert list(drawn["category"]) == list(like["category"]) and drawn["number"].is_unique
    assert drawn.equals(draw_like(pool, like, seed=1)) and not drawn.equals(draw_like(pool, like, seed=2))
    more = draw_like(pool, pd.DataFrame({"category": ["dog"] * 7}), seed=0)
    assert sorted(more["number"].value_counts()) == [2, 2, 3]
    with pytest.raises(InputError, match="'cat'"):
        draw_like(pool, pd.DataFrame({"category": ["cat"]}), seed=0)


def test_every_control_has_a_clip_for_each_held_out_one(material, table):
    held_out, train, _ = material
    assert list(table.columns) == COLUMNS and set(CONTROLS) < set(SYSTEMS)
    for system, rows in table.groupby("system"):
        assert list(rows["category"]) == list(held_out["category"]), system
        assert set(rows["fold"]) == {1 if system == "codec" else 2}, system
        assert {clip_of(row).size for row in rows.itertuples()} == {round(0.19 * RATE)}, system
    ceiling, copy = (table[table["system"] == system] for system in ("codec", "copy"))
    assert list(ceiling["clip"]) == list(ceiling["source"]) == list(held_out["filename"])
    for row, real in zip(ceiling.itertuples(), held_out.itertuples(), strict=True):
        expected = decode_clip(real.codes_file, 0.19, LoudnessCodec(), RATE)
        assert clip_of(row) == pytest.approx(expected, abs=2**-15)
    assert copy.groupby("category")["path"].nunique().to_dict() == {"dog": 1, "rain": 1}  # written once
    assert len(list(Path(copy["path"].iloc[0]).parent.iterdir())) == 2
    assert set(copy["source"]) <= set(train["filename"])


def test_drawn_codes_stay_within_their_class_and_white_noise_is_as_loud_as_a_training_clip(material, table):
    for row in table[table["system"].isin(["shuffled", "unigram", "bigram"])].itertuples():
        heard, (low, high) = clip_of(row), (0, 0.3) if row.category == "dog" else (0.4, 0.7)
        assert low <= heard.min() + 1e-4 and heard.max() - 1e-4 <= high, row.system
    found = [clip_of(row) for row in table.query("system == 'noise'").itertuples()]
    for heard, real in zip(found, material[2].itertuples(), strict=True):
        expected = np.sqrt(np.mean(read_clip(real.path, RATE, real.seconds) ** 2))
        assert np.sqrt(np.mean(heard**2)) == pytest.approx(expected, rel=0.05)
    assert abs(np.corrcoef(found[0], found[1])[0, 1]) < 0.1


def test_a_seed_gives_the_same_files_another_seed_others_and_another_codec_is_refused(material, table, tmp_path):
    again, other = (make_controls(*material, LoudnessCodec(), tmp_path / str(seed), seed) for seed in (0, 1))
    contents = [[Path(path).read_bytes() for path in made["path"]] for made in (table, again, other)]
    assert contents[0] == contents[1] != contents[2]
    codec = LoudnessCodec()
    codec.content_hash = "b" * 64
    with pytest.raises(InputError, match="codec"):
        make_controls(*material, codec, tmp_path / "out")


def test_what_was_made_before_is_used_and_what_is_missing_or_leads_out_of_the_folder_is_made_again(
    material, tmp_path, monkeypatch
):
    folder, made, real = tmp_path / "out", [], controls.write_wav
    monkeypatch.setattr(controls, "write_wav", lambda path, *rest: (made.append(path), real(path, *rest)))
    first = make_controls(*material, LoudnessCodec(), folder)
    table = read_csv(folder / "controls.csv")
    assert "path" not in table and table["filename"][0] == "codec/0000.wav"
    assert all(Path(path).is_relative_to(folder) for path in first["path"])
    made.clear()
    assert make_controls(*material, LoudnessCodec(), folder).equals(first) and not made
    (folder / "noise" / "0001.wav").unlink()
    assert make_controls(*material, LoudnessCodec(), folder).equals(first) and made
    write_wav(tmp_path / "secret.wav", np.zeros(100), RATE)
    for name in ("../secret.wav", str(tmp_path / "secret.wav")):
        write_csv(folder / "controls.csv", table.assign(filename=name))
        assert make_controls(*material, LoudnessCodec(), folder).equals(first)
        assert read_csv(folder / "controls.csv").equals(table)
