"""The cache of codes: computed once, found again, rebuilt when damaged, never mixed between codecs."""

import os
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from envsound.base.errors import InputError
from envsound.base.files import write_csv
from envsound.codec.codes import cache_key, encode_recordings, load_codes, save_codes
from envsound.data.recordings import load_recordings

RATE = 24_000
SECONDS = {"a": 0.5, "b": 0.3, "c": 0.5, "d": 0.5, "e": 0.3}


class FakeCodec:
    """Two levels of 16 codes from a frame's mean and range, 100 frames/s; remembers what it was given."""

    name, sample_rate, frame_rate, n_levels, codebook_size = "fake", RATE, 100, 2, 16

    def __init__(self, content_hash: str = "f" * 64):
        self.content_hash, self.batches = content_hash, []

    def n_frames(self, n_samples: int) -> int:
        return -(-n_samples // 240)

    def encode(self, clips, n_samples=None):
        assert clips.shape[1] == int(n_samples.max()) == int(n_samples.min())
        self.batches.append(len(clips))
        padding = self.n_frames(clips.shape[1]) * 240 - clips.shape[1]
        frames = torch.nn.functional.pad(clips, (0, padding)).reshape(len(clips), -1, 240)
        values = torch.stack([frames.mean(-1), frames.std(-1)], dim=1)
        return ((values + 1) * 8).long().clamp(0, 15)


@pytest.fixture
def recordings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return make_recordings(tmp_path)


def make_recordings(folder: Path, clip_seconds: float = 5.0):
    rng = np.random.default_rng(1)
    for name, seconds in SECONDS.items():
        if not (folder / f"{name}.wav").exists():
            soundfile.write(folder / f"{name}.wav", 0.2 * rng.standard_normal(round(seconds * RATE)), RATE)
    rows = {"filename": [f"{name}.wav" for name in SECONDS], "category": "rain", "fold": 1}
    write_csv(folder / "clips.csv", pd.DataFrame(rows))
    return load_recordings("folder", str(folder), "clips.csv", clip_seconds=clip_seconds)


def test_the_table_and_the_codes(recordings):
    codec = FakeCodec()
    table = encode_recordings(recordings, codec)
    assert table.columns.tolist() == [
        *("clip_id", "filename", "path", "fold", "category", "target", "copy", "n_frames", "seconds", "codes_file")
    ]
    assert (table["copy"] == 0).all()
    assert table["clip_id"].tolist() == list(SECONDS) and table["n_frames"].tolist() == [50, 30, 50, 50, 30]
    for row in table.itertuples():
        assert row.codes_file.startswith("data/cache/codes/") and not Path(row.codes_file).is_absolute()
        found = load_codes(row.codes_file, codec.content_hash)
        assert found.dtype == np.int16 and found.shape == (2, row.n_frames)
        clip = torch.from_numpy(recordings.load(row.clip_id))[None]
        assert np.array_equal(found, codec.encode(clip, torch.tensor([clip.shape[1]]))[0].numpy())


def test_batches_hold_clips_of_one_length(recordings):
    codec = FakeCodec()
    encode_recordings(recordings, codec, batch_size=2)
    assert sorted(codec.batches) == [1, 2, 2]


def test_codes_do_not_depend_on_the_batches(recordings):
    one = encode_recordings(recordings, FakeCodec(), "one", batch_size=1)
    many = encode_recordings(recordings, FakeCodec(), "many", batch_size=8)
    for left, right in zip(one["codes_file"], many["codes_file"], strict=True):
        assert Path(left).name == Path(right).name
        assert np.array_equal(load_codes(left), load_codes(right))


def test_nothing_is_encoded_twice(recordings):
    first = encode_recordings(recordings, FakeCodec())
    again = FakeCodec()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert encode_recordings(recordings, again).equals(first)
    assert again.batches == []


def test_an_interrupted_run_goes_on_where_it_was(recordings):
    class Failing(FakeCodec):
        def encode(self, clips, n_samples=None):
            if len(self.batches) == 2:
                raise KeyboardInterrupt
            return super().encode(clips, n_samples)

    with pytest.raises(KeyboardInterrupt):
        encode_recordings(recordings, Failing(), batch_size=1)
    assert len(list(Path("data/cache/codes").iterdir())) == 2
    rest = FakeCodec()
    encode_recordings(recordings, rest, batch_size=1)
    assert len(rest.batches) == 3


def test_another_codec_or_clip_gets_another_file(recordings, tmp_path):
    first = encode_recordings(recordings, FakeCodec())
    other_codec = encode_recordings(recordings, FakeCodec("0" * 64))
    assert set(first["codes_file"]).isdisjoint(other_codec["codes_file"])
    cut = encode_recordings(make_recordings(tmp_path, clip_seconds=0.4), FakeCodec())
    assert set(first["codes_file"]).isdisjoint(cut["codes_file"]) and cut["n_frames"].max() == 40


def test_the_key_changes_with_all_it_is_made_of(tmp_path, monkeypatch):
    (tmp_path / "a.wav").write_bytes(b"one")
    (tmp_path / "b.wav").write_bytes(b"two")
    keys = [
        cache_key(tmp_path / "a.wav", RATE, 5.0, "x"),
        cache_key(tmp_path / "b.wav", RATE, 5.0, "x"),
        cache_key(tmp_path / "a.wav", 16_000, 5.0, "x"),
        cache_key(tmp_path / "a.wav", RATE, 4.0, "x"),
        cache_key(tmp_path / "a.wav", RATE, 5.0, "y"),
        cache_key(tmp_path / "a.wav", RATE, 5.0, "x", "altered"),
    ]
    monkeypatch.setattr("envsound.codec.codes.RESAMPLER", "another version")
    keys.append(cache_key(tmp_path / "a.wav", RATE, 5.0, "x"))
    assert len(set(keys)) == len(keys) and all(len(key) == 64 for key in keys)
    (tmp_path / "elsewhere.wav").write_bytes(b"one")
    monkeypatch.undo()
    assert cache_key(tmp_path / "elsewhere.wav", RATE, 5, "x") == keys[0]  # content counts, not the name


def damage_truncate(path: Path, other: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def damage_empty(path: Path, other: Path) -> None:
    path.write_bytes(b"")


def damage_alter(path: Path, other: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)


def damage_swap(path: Path, other: Path) -> None:
    path.write_bytes(other.read_bytes())


@pytest.mark.parametrize("damage", [damage_truncate, damage_empty, damage_alter, damage_swap])
def test_a_damaged_file_is_rebuilt_with_a_warning(recordings, damage):
    first = encode_recordings(recordings, FakeCodec())
    path, other = Path(first["codes_file"][2]), Path(first["codes_file"][3])
    whole = load_codes(path)
    damage(path, other)
    with pytest.raises(InputError, match=path.name):
        load_codes(path)
    codec = FakeCodec()
    with pytest.warns(UserWarning, match=rf"{path.name}.*the clip is encoded again") as caught:
        encode_recordings(recordings, codec)
    assert codec.batches == [1] and np.array_equal(load_codes(path), whole) and len(caught) == 1


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_any_altered_byte_is_noticed_or_harmless(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("codes") / "key.safetensors"
    codes = np.arange(24).reshape(2, 12)
    save_codes(path, codes, "f" * 64, 2880)
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    try:
        found = load_codes(path)
    except InputError as error:
        assert "key.safetensors" in str(error)
    else:
        assert np.array_equal(found, codes)


def test_codes_of_another_codec_are_refused_with_both_hashes(tmp_path):
    save_codes(tmp_path / "key.safetensors", np.zeros((2, 3)), "a" * 64, 720)
    assert load_codes(tmp_path / "key.safetensors", "a" * 64).shape == (2, 3)
    with pytest.raises(InputError, match=rf"made by codec {'a' * 64}; expected codes of codec {'b' * 64}"):
        load_codes(tmp_path / "key.safetensors", "b" * 64)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"gone\.safetensors: no such file"):
        load_codes(tmp_path / "gone.safetensors")


def test_what_is_not_codes_is_not_stored(recordings):
    class Wrong(FakeCodec):
        def encode(self, clips, n_samples=None):
            return super().encode(clips, n_samples) + 16

    class Short(FakeCodec):
        def encode(self, clips, n_samples=None):
            return super().encode(clips, n_samples)[..., :-1]

    with pytest.raises(InputError, match="expected 0 to 15"):
        encode_recordings(recordings, Wrong())
    with pytest.raises(InputError, match=r"shape \(2, 2, 29\); expected \(2, 2, 30\)"):
        encode_recordings(recordings, Short())
    assert not Path("data/cache/codes").exists()


def test_rates_and_batch_sizes_that_do_not_fit_are_refused(recordings):
    codec = FakeCodec()
    codec.sample_rate = 48_000
    with pytest.raises(InputError, match="codec at 48000 Hz, recordings at 24000 Hz"):
        encode_recordings(recordings, codec)
    with pytest.raises(InputError, match="batch_size=0"):
        encode_recordings(recordings, FakeCodec(), batch_size=0)


def test_real_recordings(tmp_path, monkeypatch):
    folder = os.environ.get("ENVSOUND_DATA", "")
    if not folder:
        pytest.skip("no real recordings: set ENVSOUND_DATA to a folder holding meta/esc50.csv and audio/")
    folder = str(Path(folder).absolute())
    monkeypatch.chdir(tmp_path)
    found = load_recordings("esc50", folder, esc10_only=True, folds=[1], categories=["dog"])
    table = encode_recordings(found, FakeCodec())
    assert len(table) == len(found.table) and table["n_frames"].between(1, 500).all()
    assert all(load_codes(row.codes_file).shape == (2, row.n_frames) for row in table.itertuples())
