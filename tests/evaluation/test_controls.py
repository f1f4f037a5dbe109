"""Clips that need no model: each keeps just what it says of the training codes, and is written once."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from envsound.base.errors import InputError
from envsound.base.files import read_csv, write_csv, write_wav
from envsound.codec.codes import decode_clip, save_codes
from envsound.codec.counting import Bigram, draw_unigram, shuffled
from envsound.data.audio import read_clip
from envsound.evaluation import controls
from envsound.evaluation.controls import COLUMNS, CONTROLS, SYSTEMS, Material, draw_like, make_controls

RATE, HOP, N_FRAMES = 24_000, 320, 15


class LoudnessCodec:
    """A codec whose decoder holds 320 samples at 0.001 times the code of level 0."""

    name, sample_rate, frame_rate, n_levels, codebook_size, content_hash = "loud", RATE, 75, 2, 1024, "a" * 64

    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        return (codes[:, 0].float() * 1e-3).repeat_interleave(HOP, dim=-1)


def codes(seed: int, n_frames: int = N_FRAMES, low: int = 0, high: int = 900) -> np.ndarray:
    return np.random.default_rng(seed).integers(low, high, (2, n_frames))


@pytest.fixture(scope="module")
def material(tmp_path_factory) -> Material:
    """Two held-out clips of each of two classes, and four of each to train on; dogs have low codes, rain high ones."""
    tmp_path, rows = tmp_path_factory.mktemp("material"), []
    for number in range(12):
        kind, category = number % 2, ("dog", "rain")[number % 2]
        audio, file = tmp_path / "audio" / f"{number:02d}.wav", tmp_path / "codes" / f"{number:02d}.safetensors"
        write_wav(audio, np.random.default_rng(number).normal(0, 0.02 * (number + 1), 4800), RATE)
        save_codes(file, codes(number, low=400 * kind, high=300 + 400 * kind), LoudnessCodec.content_hash, 4800)
        rows.append((audio.name, str(audio), 1 + (number >= 4), category, N_FRAMES, 0.19, str(file)))
    names = ["filename", "path", "fold", "category", "n_frames", "seconds", "codes_file"]
    table = pd.DataFrame(rows, columns=names)
    held_out, train = (table[table["fold"] == fold].reset_index(drop=True) for fold in (1, 2))
    return Material(held_out, train, draw_like(train, held_out, seed=0))


@pytest.fixture(scope="module")
def table(material, tmp_path_factory) -> pd.DataFrame:
    return make_controls(material, LoudnessCodec(), tmp_path_factory.mktemp("controls"))


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


@given(st.integers(0, 99))
@settings(deadline=None)
def test_shuffling_keeps_every_frame_whole(seed):
    before = codes(seed)
    after = shuffled(before, np.random.default_rng(seed))
    assert sorted(map(tuple, after.T)) == sorted(map(tuple, before.T))


def test_codes_drawn_by_themselves_are_as_frequent_as_in_the_clips():
    clips = [np.array([[0, 0, 0, 1], [5, 6, 7, 8]])]
    drawn = draw_unigram(clips, 4000, np.random.default_rng(0))
    assert np.bincount(drawn[0]) / 4000 == pytest.approx([0.75, 0.25], abs=0.03)
    assert np.bincount(drawn[1])[5:] / 4000 == pytest.approx([0.25] * 4, abs=0.03)
    assert abs(np.corrcoef(drawn)[0, 1]) < 0.05  # levels by themselves


def test_a_code_is_followed_as_often_as_in_the_clips_with_witten_and_bells_share_for_the_rest():
    level = np.array([0, 1, 0, 1, 0, 2, 0, 1, 2])  # after 0: 1, 1, 2, 1; n = 4 with T = 2 different
    drawn = Bigram([np.stack([level, level])], 4).draw(40_000, np.random.default_rng(0))[0]
    after = drawn[1:][drawn[:-1] == 0]
    share = np.bincount(level) / level.size
    expected = (np.array([0, 3, 1]) + 2 * share) / 6
    assert np.bincount(after) / after.size == pytest.approx(expected, abs=0.02)


def test_a_chain_starts_like_a_clip_and_leaves_a_code_without_successor():
    clips = [np.array([[3, 1], [0, 0]]), np.array([[3, 2], [0, 0]])]
    for seed in range(8):
        drawn = Bigram(clips, 4).draw(12, np.random.default_rng(seed))
        assert drawn[0, 0] == 3 and set(drawn[0]) <= {1, 2, 3} and not drawn[1].any()
    with pytest.raises(InputError, match="one frame"):
        Bigram([np.zeros((2, 1), dtype=int)], 4)


def test_every_control_has_a_clip_for_each_held_out_one(material, table):
    assert list(table.columns) == COLUMNS and set(CONTROLS) < set(SYSTEMS)
    for system in CONTROLS:
        rows = table[table["system"] == system]
        assert list(rows["category"]) == list(material.held_out["category"]), system
        assert set(rows["fold"]) == {1 if system == "codec" else 2}, system
        assert {clip_of(row).size for row in rows.itertuples()} == {round(0.19 * RATE)}, system


def test_the_ceiling_is_the_held_out_clips_decoded_under_their_names(material, table):
    table = table.query("system == 'codec'")
    assert list(table["clip"]) == list(table["source"]) == list(material.held_out["filename"])
    for row, real in zip(table.itertuples(), material.held_out.itertuples(), strict=True):
        expected = decode_clip(real.codes_file, 0.19, LoudnessCodec(), RATE)
        assert clip_of(row) == pytest.approx(expected, abs=2**-15)


def test_each_class_has_one_copied_clip_of_the_training_folds_written_once(material, table):
    table = table.query("system == 'copy'")
    assert table.groupby("category")["path"].nunique().to_dict() == {"dog": 1, "rain": 1}
    assert len(list(Path(table["path"].iloc[0]).parent.iterdir())) == 2
    assert set(table["source"]) <= set(material.train["filename"])


def test_drawn_codes_stay_within_their_class(table):
    for system in ("shuffled", "unigram", "bigram"):
        for row in table[table["system"] == system].itertuples():
            heard = clip_of(row)
            low, high = (0, 0.3) if row.category == "dog" else (0.4, 0.7)
            assert low <= heard.min() + 1e-4 and heard.max() - 1e-4 <= high, system


def test_white_noise_is_as_loud_as_a_training_clip_and_never_the_same(material, table):
    table = table.query("system == 'noise'")
    found = [clip_of(row) for row in table.itertuples()]
    for heard, real in zip(found, material.drawn.itertuples(), strict=True):
        expected = np.sqrt(np.mean(read_clip(real.path, RATE, real.seconds) ** 2))
        assert np.sqrt(np.mean(heard**2)) == pytest.approx(expected, rel=0.05)
    assert abs(np.corrcoef(found[0], found[1])[0, 1]) < 0.1


def test_a_seed_gives_the_same_files_and_another_seed_others(material, table, tmp_path):
    again, other = (make_controls(material, LoudnessCodec(), tmp_path / str(seed), seed) for seed in (0, 1))
    contents = [[Path(path).read_bytes() for path in made["path"]] for made in (table, again, other)]
    assert contents[0] == contents[1] != contents[2]


def test_what_was_made_before_is_used_and_anything_missing_is_made_again(material, tmp_path, monkeypatch):
    first = make_controls(material, LoudnessCodec(), tmp_path / "out")
    made = []
    real = controls.write_wav
    monkeypatch.setattr(controls, "write_wav", lambda path, *rest: (made.append(path), real(path, *rest)))
    assert make_controls(material, LoudnessCodec(), tmp_path / "out").equals(first) and not made
    (tmp_path / "out" / "noise" / "0001.wav").unlink()
    assert make_controls(material, LoudnessCodec(), tmp_path / "out").equals(first) and made


def test_a_list_of_clips_holds_names_and_one_that_leads_out_of_the_folder_is_not_followed(material, tmp_path):
    folder, secret = tmp_path / "out", tmp_path / "secret.wav"
    first = make_controls(material, LoudnessCodec(), folder)
    table = read_csv(folder / "controls.csv")
    assert "path" not in table and table["filename"][0] == "codec/0000.wav"
    assert all(Path(path).is_relative_to(folder) for path in first["path"])
    write_wav(secret, np.zeros(100), RATE)
    for name in ("../secret.wav", str(secret)):
        write_csv(folder / "controls.csv", table.assign(filename=name))
        assert make_controls(material, LoudnessCodec(), folder).equals(first)
        assert read_csv(folder / "controls.csv").equals(table)


def test_another_codec_is_refused(material, tmp_path):
    codec = LoudnessCodec()
    codec.content_hash = "b" * 64
    with pytest.raises(InputError, match="codec"):
        make_controls(material, codec, tmp_path / "out")
