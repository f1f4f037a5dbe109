"""The codes of clips: computed once, found again, rebuilt when damaged, never mixed between codecs; and their use."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from fakes.codecs import RATE, SampleCodec
from hypothesis import given, settings
from hypothesis import strategies as st

from envsound.base.cache import key
from envsound.base.errors import InputError
from envsound.base.files import sha256_bytes, sha256_file, write_csv
from envsound.codec import codes as module
from envsound.codec.codes import encode_recordings, load_codes, save_codes
from envsound.data.recordings import load_recordings

N_SAMPLES = {"a": 500, "b": 300, "c": 500, "d": 500, "e": 300}  # a frame is one sample
CACHE = Path("data/cache/codes")


class Watched(SampleCodec):
    """Two levels of 16 codes; remembers how many clips it was given at a time, and spoils what it returns."""

    def __init__(self, content_hash: str = "f" * 64, change=lambda codes: codes):
        super().__init__(2)
        self.content_hash, self.change, self.batches = content_hash, change, []

    def encode(self, clips, n_samples=None):
        assert clips.shape[1] == int(n_samples.max()) == int(n_samples.min())
        self.batches.append(len(clips))
        return self.change(super().encode(clips))


@pytest.fixture
def recordings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(1)
    for name, n_samples in N_SAMPLES.items():
        soundfile.write(tmp_path / f"{name}.wav", 0.2 * rng.standard_normal(n_samples), RATE)
    rows = {"filename": [f"{name}.wav" for name in N_SAMPLES], "category": "rain", "fold": 1}
    write_csv(tmp_path / "clips.csv", pd.DataFrame(rows))
    return load_recordings("folder", str(tmp_path), "clips.csv")


def test_equal_codes_are_counted_clip_by_clip_at_equal_places(recordings, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    for name in ("a", "b"):
        clip, _ = soundfile.read(f"{name}.wav")
        clip[:100] = (
            -clip[:100] + 0.3
        )  # of "a" 100 of 500 samples, which are frames, and of "b", which is cut, 100 of 200
        soundfile.write(other / f"{name}.wav", clip[: 500 if name == "a" else 200], RATE)
    write_csv(other / "clips.csv", pd.DataFrame({"filename": ["b.wav", "a.wav"], "category": "rain", "fold": 1}))
    shared = module.equal_codes(recordings, load_recordings("folder", str(other), "clips.csv"), SampleCodec(2))
    assert shared[["level", "n_clips", "n_codes"]].to_numpy().tolist() == [[0, 2, 700], [1, 2, 700]]
    assert shared["share"].min() >= 500 / 700 and shared["share"].max() < 1
    assert (module.equal_codes(recordings, recordings, SampleCodec(2))["share"] == 1).all()
    empty = replace(recordings, table=recordings.table.iloc[:0])
    assert module.equal_codes(recordings, empty, SampleCodec(2)).empty


def test_the_table_and_the_codes(recordings):
    codec = Watched()
    table = encode_recordings(recordings, codec, batch_size=2)
    assert sorted(codec.batches) == [1, 2, 2]  # of one length each
    assert table.columns.tolist() == [
        *("clip_id", "filename", "path", "fold", "category", "target", "copy", "n_frames", "seconds", "codes_file")
    ]
    assert dict(zip(table["clip_id"], table["n_frames"], strict=True)) == N_SAMPLES and (table["copy"] == 0).all()
    for row in table.itertuples():
        assert row.codes_file.startswith("data/cache/codes/") and not Path(row.codes_file).is_absolute()
        found = load_codes(row.codes_file, codec.content_hash)
        assert found.dtype == np.int16 and found.shape == (2, row.n_frames)
        clip = torch.from_numpy(recordings.load(row.clip_id))[None]
        assert np.array_equal(found, codec.encode(clip, torch.tensor([clip.shape[1]]))[0].numpy())


def test_nothing_is_encoded_twice_and_batches_do_not_matter(recordings):
    first, again = encode_recordings(recordings, Watched(), batch_size=1), Watched()
    assert encode_recordings(recordings, again).equals(first) and again.batches == []
    many = encode_recordings(recordings, Watched(), "many", batch_size=8)
    for left, right in zip(first["codes_file"], many["codes_file"], strict=True):
        assert Path(left).name == Path(right).name and np.array_equal(load_codes(left), load_codes(right))


def test_an_interrupted_run_goes_on_where_it_was(recordings):
    def fail_third(codes):
        if len(failing.batches) == 3:
            raise KeyboardInterrupt
        return codes

    failing, rest = Watched(change=fail_third), Watched()
    with pytest.raises(KeyboardInterrupt):
        encode_recordings(recordings, failing, batch_size=1)
    assert len(list(CACHE.iterdir())) == 2
    encode_recordings(recordings, rest, batch_size=1)
    assert len(rest.batches) == 3


def test_the_key_changes_with_all_it_is_made_of_and_is_what_it_was(tmp_path, monkeypatch):
    for name, content in (("a.wav", b"one"), ("b.wav", b"two"), ("elsewhere.wav", b"one")):
        (tmp_path / name).write_bytes(content)
    one = (tmp_path / "a.wav", RATE, 5.0, "x")
    others = [(tmp_path / "b.wav", *one[1:]), (one[0], 16_000, 5.0, "x"), (*one[:2], 4.0, "x"), (*one[:3], "y")]
    keys = [key(*module.code_parts(*parts)) for parts in (one, *others, (*one, "altered"))]
    assert keys[0] == sha256_bytes(json.dumps([sha256_file(one[0]), RATE, 5.0, module.RESAMPLER, "x"]).encode())
    assert key(*module.code_parts(tmp_path / "elsewhere.wav", RATE, 5, "x")) == keys[0]  # content counts, not the name
    monkeypatch.setattr(module, "RESAMPLER", "another version")
    keys.append(key(*module.code_parts(*one)))
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("damage", [lambda content: content[:-7], lambda content: b"", None])
def test_a_damaged_file_is_rebuilt(recordings, damage):
    files = encode_recordings(recordings, Watched())["codes_file"]
    path, other, whole = Path(files[2]), Path(files[3]), load_codes(files[2])
    path.write_bytes(damage(path.read_bytes()) if damage else other.read_bytes())
    with pytest.raises(InputError, match=path.name):
        load_codes(path)
    codec = Watched()
    encode_recordings(recordings, codec)
    assert codec.batches == [1] and np.array_equal(load_codes(path), whole)


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_any_altered_byte_is_noticed_or_harmless(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("codes") / "key.safetensors"
    codes = np.arange(24).reshape(2, 12)
    save_codes(path, codes, "f" * 64, 2880)
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    try:
        found = load_codes(path)
    except InputError as error:
        assert "key.safetensors" in str(error)
    else:
        assert np.array_equal(found, codes)


def test_codes_of_another_codec_are_refused_with_both_hashes_and_a_missing_file_is_named(tmp_path):
    save_codes(tmp_path / "key.safetensors", np.zeros((2, 3)), "a" * 64, 720)
    assert load_codes(tmp_path / "key.safetensors", "a" * 64).shape == (2, 3)
    assert module.stored_codec_hash(tmp_path / "key.safetensors") == "a" * 64
    with pytest.raises(InputError, match=rf"made by codec {'a' * 64}; expected codes of codec {'b' * 64}"):
        load_codes(tmp_path / "key.safetensors", "b" * 64)
    for read in (load_codes, module.stored_codec_hash):
        with pytest.raises(InputError, match=r"gone\.safetensors: no such file"):
            read(tmp_path / "gone.safetensors")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda codes: codes + 16, "expected 0 to 15"),
        (lambda codes: codes[..., :-1], r"shape \(2, 2, 299\); expected \(2, 2, 300\)"),
    ],
)
def test_what_is_not_codes_is_not_stored(recordings, change, message):
    with pytest.raises(InputError, match=message):
        encode_recordings(recordings, Watched(change=change))
    assert not CACHE.exists()


def test_rates_and_batch_sizes_that_do_not_fit_are_refused(recordings):
    with pytest.raises(InputError, match="codec at 48000 Hz, recordings at 24000 Hz"):
        encode_recordings(recordings, SampleCodec(sample_rate=48_000))
    with pytest.raises(InputError, match="batch_size=0"):
        encode_recordings(recordings, Watched(), batch_size=0)


def saved(folder: Path, *clips: list) -> pd.DataFrame:
    """Store codes [n_levels, n_frames] of each clip and return their table."""
    files = [folder / f"{number}.safetensors" for number in range(len(clips))]
    for file, codes in zip(files, clips, strict=True):
        save_codes(file, np.array(codes), "x", 4)
    return pd.DataFrame({"codes_file": files})


def test_counts_and_usage_by_hand(tmp_path):
    clips = [[0, 1, 2, 3], [5, 5, 5, 5]], [[0, 1, 2, 3], [5, 5, 5, 6]]
    counts = module.code_counts(saved(tmp_path, *clips), 8)
    assert counts.tolist() == [[2, 2, 2, 2, 0, 0, 0, 0], [0, 0, 0, 0, 0, 7, 1, 0]]
    assert np.array_equal(module.count_codes(np.array(clips), 8), counts)  # of a batch [batch, n_levels, n_frames]
    usage = module.code_usage(counts)
    assert usage["codes_used"].tolist() == [4, 2] and usage["used_share"].tolist() == [0.5, 0.25]
    assert usage["entropy_bits"].tolist() == pytest.approx([2.0, 0.5435644431995964])
    assert usage["perplexity"].tolist() == pytest.approx([4.0, 8 / 7 ** (7 / 8)])
    for clips in ([], [[[0] * 4], [[0] * 4] * 2]):  # none, or of different depth
        with pytest.raises(InputError, match="all with as many levels"):
            module.code_counts(saved(tmp_path, *clips), 8)
    nothing = module.code_usage(np.zeros((1, 4), dtype=int)).iloc[0]
    assert nothing[["codes_used", "used_share", "entropy_bits", "perplexity"]].tolist() == [0, 0, 0, 1]


def test_facts_name_rate_hash_and_bad_clips(recordings, tmp_path):
    codec, facts = Watched(), module.codec_facts(Watched())
    assert module.bitrate(codec) == 600 and "| bitrate (kbit/s) | 0.60 |" in facts
    assert f"| content hash | {'f' * 64} |" in facts and "(weights and codebooks) | unknown |" in facts
    codec.model = torch.nn.Linear(9, 1)
    assert "(weights and codebooks) | 10 |" in module.codec_facts(codec)
    (tmp_path / "a.wav").unlink()
    found = module.facts_of(load_recordings("folder", str(tmp_path), "clips.csv"), codec)
    assert found["n_clips"] == 4 and found["bad_clips"] == ["a.wav"] and "soxr" in found["resampler"]
    assert found["codec_hash"] == "f" * 64 and found["codec_bits_per_second"] == 600
