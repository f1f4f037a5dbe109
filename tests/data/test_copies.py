"""Which clips get copies, what their cached codes depend on, and who sees them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from fakes.codecs import SampleCodec

from envsound.base import cache
from envsound.base.errors import InputError
from envsound.base.files import read_csv, write_csv
from envsound.codec.codes import code_parts, encode_recordings, load_codes
from envsound.data import copies as copies_module
from envsound.data.copies import plan_copies, write_copies
from envsound.data.folds import recorded, split_folds, training_sets
from envsound.data.recordings import load_recordings
from envsound.systems.soundstorm.batches import load_code_set

RATE = 24_000
CLIPS = [(f"{kind}{fold}{part}", fold, kind) for kind in ("dog", "rain") for fold in (1, 2, 3) for part in "ab"]


@pytest.fixture
def recordings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number, (name, _, _) in enumerate(CLIPS):
        clip = np.random.default_rng(number).uniform(-0.5, 0.5, 1200 + 240 * (number % 2))
        soundfile.write(f"{name}.wav", clip, RATE)
    return listed(CLIPS)


def listed(clips):
    names, folds, categories = zip(*clips, strict=True)
    rows = {"filename": [f"{name}.wav" for name in names], "category": categories, "fold": folds}
    write_csv("clips.csv", pd.DataFrame(rows))
    return load_recordings("folder", ".", "clips.csv")


@pytest.mark.parametrize(
    ("request_", "folds"),
    [
        ({}, {2, 3}), ({"train_folds": [3]}, {3}), ({"validation_fold": 2}, {3}),
        ({"train_folds": [2, 3], "validation_fold": 3}, {2}),
    ],
)  # fmt: skip
def test_only_training_clips_get_copies(recordings, request_, folds):
    copies = plan_copies(recordings, fold=1, augment_copies=5, **request_)
    of = recordings.table.set_index("clip_id")
    assert len(copies.table) == len(folds) * 4 * 5 and set(copies.table["fold"]) == folds
    assert {of["fold"][recipe.clip_id] for recipe in copies.recipes.values()} == folds


def test_a_held_out_clip_is_never_opened_for_a_copy_and_the_others_once_each(recordings, monkeypatch):
    from envsound.data import recordings as recordings_module

    opened, whole = [], recordings_module.read_clip
    monkeypatch.setattr(recordings_module, "read_clip", lambda path, *rest: opened.append(path) or whole(path, *rest))
    copies = plan_copies(recordings, fold=1, augment_copies=3)
    for clip_id in copies.table["clip_id"]:
        copies.load(clip_id)
    assert len(opened) == len(set(opened)) == 8 and not any("1a" in path or "1b" in path for path in opened)


def test_rows_of_copies_name_their_recording_and_each_class_is_written_with_one(recordings):
    copies = plan_copies(recordings, fold=1, augment_copies=2)
    row = copies.table.set_index("clip_id").loc["dog2b+2"]
    assert (row["filename"], row["copy"], row["category"], row["n_samples"]) == ("dog2b.wav", 2, "dog", 1440)
    assert row["changes"] == ", ".join(copies.recipes["dog2b+2"].changes)
    clip = copies.load("dog2b+2")
    assert clip.shape == (1440,) and not np.array_equal(clip, recordings.load("dog2b"))
    assert np.array_equal(copies.load("dog2b"), recordings.load("dog2b"))
    assert copies.facts()["n_copies"] == 16 and copies.facts()["augmented_folds"] == [2, 3]
    rows = write_copies(copies, "augmented", n_clips=2)
    assert rows["recording"].tolist() == ["dog2a.wav", "rain2a.wav"] and rows["copy"][0] == "dog2a+1.wav"
    assert rows["changes"][0] == copies.table["changes"].iloc[0]
    for name, clip_id in (("dog2a+1.wav", "dog2a+1"), ("rain2a.wav", "rain2a")):
        heard, rate = soundfile.read(Path("augmented", name))
        assert rate == RATE and np.allclose(heard, copies.load(clip_id), atol=1e-4)


def test_copies_depend_neither_on_order_nor_on_other_clips(recordings):
    first = plan_copies(recordings, fold=1, augment_copies=2)
    other = plan_copies(listed(CLIPS[::-1]), fold=1, augment_copies=3)
    fewer = plan_copies(listed([clip for clip in CLIPS if clip[2] == "dog" or clip[1] != 3]), fold=1, augment_copies=2)
    for clip_id in first.table["clip_id"]:
        assert np.array_equal(first.load(clip_id), other.load(clip_id))
        if clip_id.startswith("dog"):
            assert np.array_equal(first.load(clip_id), fewer.load(clip_id))
    depend_on = [made.table.set_index("clip_id")["depends_on"] for made in (first, other)]
    assert depend_on[0].equals(depend_on[1][depend_on[0].index])


def cache_key(*given) -> str:
    return cache.key(*code_parts(*given))


def test_the_key_changes_with_everything_a_copy_depends_on(recordings, monkeypatch):
    def keys(**request_):
        made = plan_copies(recordings, fold=1, **({"augment_copies": 2, "augment": ["level"]} | request_))
        rows = made.table.set_index("clip_id")
        return {i: cache_key(rows["path"][i], RATE, 5.0, "codec", rows["depends_on"][i]) for i in rows.index}

    base, plain = keys(), {cache_key(path, RATE, 5.0, "codec") for path in recordings.table["path"]}
    assert keys() == base and len(set(base.values())) == 16
    for others in (plain, set(keys(augment_seed=1).values()), set(keys(augment=["shift"]).values())):
        assert others.isdisjoint(base.values())
    soundfile.write("dog2a.wav", np.full(1200, 0.1), RATE)
    assert {i for i, key in keys().items() if key != base[i]} == {"dog2a+1", "dog2a+2"}
    now = keys()
    for name, other in (("module_hash", lambda name: f"another {name}"), ("LIBRARIES", "others")):
        with monkeypatch.context() as changed:
            changed.setattr(copies_module, name, other)
            assert set(keys().values()).isdisjoint(now.values())


def test_the_key_of_a_recording_is_what_it_was_without_copies(recordings):
    plain = encode_recordings(recordings, SampleCodec())
    unaltered = plan_copies(recordings, fold=9)
    assert unaltered.table.empty and unaltered.facts()["n_copies"] == 0
    assert write_copies(unaltered, "out").empty and not Path("out").exists()
    none = encode_recordings(recordings, SampleCodec(), copies=unaltered)
    some = encode_recordings(recordings, SampleCodec(), copies=plan_copies(recordings, fold=1, augment_copies=1))
    assert none.equals(plain) and recorded(some).equals(plain) and (plain["copy"] == 0).all()


def test_codes_of_copies_are_those_of_the_altered_clips(recordings):
    copies, codec = plan_copies(recordings, fold=1, augment_copies=2), SampleCodec()
    table = encode_recordings(recordings, codec, copies=copies)
    assert len(table) == 12 + 16 and table["clip_id"].is_unique and table["codes_file"].is_unique
    assert table["copy"].value_counts().to_dict() == {0: 12, 1: 8, 2: 8}
    for row in table[table["copy"] > 0].itertuples():
        clip = torch.from_numpy(copies.load(row.clip_id))[None]
        assert np.array_equal(load_codes(row.codes_file), codec.encode(clip)[0].numpy())
    calls = codec.calls
    assert encode_recordings(recordings, codec, copies=copies).equals(table) and codec.calls == calls


def test_training_sees_copies_and_what_is_watched_none(recordings):
    table = encode_recordings(recordings, SampleCodec(), copies=plan_copies(recordings, fold=1, augment_copies=2))
    write_csv("run/codes.csv", table)
    encoded = read_csv("run/codes.csv")
    train, held_out = training_sets(encoded, 1, [])
    assert len(train) == 24 and len(held_out) == 4 and (held_out["copy"] == 0).all()
    assert len(recorded(train)) == 8 and set(train["fold"]) == {2, 3}
    sides = [load_code_set(side, ["dog", "rain"]) for side in (train, held_out)]
    assert sides[0].n_copies == 16 and sides[1].n_copies == 0
    old = encoded.drop(columns="copy")
    assert recorded(old).equals(old) and len(recorded(encoded)) == 12
    with pytest.raises(InputError, match=r"^fold=2: codes\.csv holds augmented copies of it; run notebook 01 with"):
        split_folds(encoded, 2, [])
    with pytest.raises(InputError, match=r"validation_fold=3: codes\.csv holds augmented copies"):
        training_sets(encoded, 1, [], validation_fold=3)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"augment_copies": -1}, "augment_copies=-1.*expected a number from 0 up"),
        ({"augment_copies": 1, "augment": ["echo"]}, r"augment=\['echo'\]: expected .* some of speed, shift"),
        ({"augment_copies": 1, "augment": []}, r"augment=\[\]"),
        ({"augment_copies": 1, "fold": 9}, "fold .9.: not among the folds"),
    ],
)
def test_a_bad_request_is_one_clear_error(recordings, request_, message):
    with pytest.raises(InputError, match=message):
        plan_copies(recordings, **({"fold": 1} | request_))


def test_a_recording_named_like_a_copy_is_refused(recordings):
    table = recordings.table.copy()
    table.loc[table["clip_id"] == "dog1a", "clip_id"] = "dog2a+1"
    with pytest.raises(InputError, match=r"'dog2a\+1': is that of a recording and of a copy"):
        plan_copies(replace(recordings, table=table), fold=1, augment_copies=1)
