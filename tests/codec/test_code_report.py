"""What notebook 01 shows: code usage against hand-made counts, and its finding in words."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from envsound.base.errors import InputError
from envsound.base.files import write_csv
from envsound.codec.codes import encode_recordings, save_codes
from envsound.codec.usage import (
    bad_clips_shown,
    bitrate,
    code_counts,
    code_usage,
    codec_facts,
    count_codes,
    facts_of,
    findings,
)
from envsound.data.recordings import load_recordings


class SignCodec:
    """One level of two codes, one for each 240 samples: whether their sum is positive."""

    name, sample_rate, frame_rate, n_levels, codebook_size = "sign", 24_000, 100, 1, 2
    content_hash = "c" * 64

    def n_frames(self, n_samples: int) -> int:
        return n_samples // 240

    def encode(self, clips, n_samples=None):
        return (clips.reshape(len(clips), 1, -1, 240).sum(-1) > 0).long()

    def decode(self, codes):
        return (codes[:, 0] - 0.5).repeat_interleave(240, dim=-1)


@pytest.fixture
def encoded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, level in (("rain/a", 0.25), ("rain/b", -0.25), ("dog", 0.25)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        soundfile.write(tmp_path / f"{name}.wav", np.full(2400, level), 24_000)
    rows = {
        "filename": ["rain/a.wav", "rain/b.wav", "dog.wav", "gone.wav"],
        "category": ["rain", "rain", "dog", "dog"],
        "fold": [1, 2, 1, 2],
    }
    write_csv(tmp_path / "clips.csv", pd.DataFrame(rows))
    recordings = load_recordings("folder", str(tmp_path), "clips.csv")
    return recordings, encode_recordings(recordings, SignCodec())


def test_counts_and_usage_by_hand(tmp_path):
    save_codes(tmp_path / "a.safetensors", np.array([[0, 1, 2, 3], [5, 5, 5, 5]]), "x", 4)
    save_codes(tmp_path / "b.safetensors", np.array([[0, 1, 2, 3], [5, 5, 5, 6]]), "x", 4)
    files = pd.DataFrame({"codes_file": [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]})
    counts = code_counts(files, 8)
    assert counts.tolist() == [[2, 2, 2, 2, 0, 0, 0, 0], [0, 0, 0, 0, 0, 7, 1, 0]]
    usage = code_usage(counts)
    assert usage["codes_used"].tolist() == [4, 2] and usage["used_share"].tolist() == [0.5, 0.25]
    assert usage["entropy_bits"].tolist() == pytest.approx([2.0, 0.5435644431995964])
    assert usage["perplexity"].tolist() == pytest.approx([4.0, 8 / 7 ** (7 / 8)])


def test_codes_of_a_batch_are_counted_level_by_level():
    batch = np.array([[[0, 0, 1], [2, 2, 2]], [[0, 1, 1], [2, 2, 0]]])  # [batch, n_levels, n_frames]
    assert count_codes(batch, 4).tolist() == [[3, 3, 0, 0], [1, 0, 5, 0]]
    assert count_codes(batch, 4).tolist() == count_codes(np.concatenate(batch, axis=1), 4).tolist()


def test_a_level_without_codes_has_no_entropy():
    usage = code_usage(np.zeros((1, 4), dtype=int)).iloc[0]
    assert (usage["codes_used"], usage["used_share"], usage["entropy_bits"], usage["perplexity"]) == (0, 0, 0, 1)


def test_clips_of_different_depth_are_refused(tmp_path):
    save_codes(tmp_path / "a.safetensors", np.zeros((1, 4)), "x", 4)
    save_codes(tmp_path / "b.safetensors", np.zeros((2, 4)), "x", 4)
    files = pd.DataFrame({"codes_file": [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]})
    for table in (files, files[:0]):
        with pytest.raises(InputError, match="all with as many levels"):
            code_counts(table, 8)


def test_facts_name_rate_and_hash():
    facts = codec_facts(SignCodec())
    assert bitrate(SignCodec()) == 100 and "| bitrate (kbit/s) | 0.10 |" in facts
    assert f"| content hash | {'c' * 64} |" in facts and "(weights and codebooks) | unknown |" in facts
    with_model = SignCodec()
    with_model.model = torch.nn.Linear(9, 1)
    assert "(weights and codebooks) | 10 |" in codec_facts(with_model)


def test_bad_clips_are_named_or_said_to_be_none(encoded):
    recordings, _ = encoded
    assert bad_clips_shown(recordings)["filename"].tolist() == ["gone.wav"]
    whole = replace(recordings, report=recordings.report[:3])
    assert bad_clips_shown(whole).data == "None: all 3 clips can be used."


def test_provenance_names_cut_codec_and_bad_clips(encoded):
    facts = facts_of(encoded[0], SignCodec())
    assert facts["n_clips"] == 3 and facts["bad_clips"] == ["gone.wav"] and "soxr" in facts["resampler"]
    assert facts["data_cut"] == encoded[0].cut and facts["codec_hash"] == "c" * 64


def test_the_finding_is_computed(encoded):
    recordings, table = encoded
    text = findings(recordings, SignCodec(), code_usage(code_counts(table, 2)))
    assert "3 of 4 clips were encoded" in text and "1 could not be used" in text and recordings.cut in text
    assert "0.10 kbit/s" in text and "0.09 kbit/s by entropy" in text and "100% (level 0)" in text
