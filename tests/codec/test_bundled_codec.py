"""The codec that ships: its file, its card, and what it does to real recordings it has never heard."""

import os
from pathlib import Path

import numpy as np
import pytest
import soxr
import torch

from envsound.base.files import read_csv, read_json, sha256_file
from envsound.base.paths import find_root
from envsound.codec import BUNDLED, load_codec
from envsound.codec.systems import through_codec
from envsound.codec.training.losses import log_mel_distance
from envsound.data.licences import FREE
from envsound.data.recordings import SYNTHETIC_RATE, load_recordings
from envsound.data.synthetic.clips import generate_clip

FILE = find_root() / BUNDLED
CARD = read_json(FILE.parent / "card.json")


@pytest.fixture(scope="module")
def codec():
    return load_codec("bundled", device="cpu")


def test_file_is_small_and_is_the_one_the_card_describes(codec):
    assert FILE.stat().st_size <= 16_000_000
    assert sha256_file(FILE) == CARD["content_hash"] == codec.content_hash
    assert (codec.n_levels, codec.codebook_size, codec.frame_rate, codec.sample_rate) == (8, 1024, 75, 24_000)


def test_silence_stays_nearly_silent(codec):
    assert np.abs(through_codec(np.zeros(24_000, np.float32), codec)).max() < 0.01


def test_learnt_only_from_free_recordings_outside_the_held_out_fold():
    clips = read_csv(FILE.parent / "attribution.csv")
    assert set(clips["licence"]) <= set(FREE) and 1 not in set(clips["fold"])
    assert (clips[["author", "url"]] != "").all().all() and clips["clip"].is_unique


def test_levels_help_opus_at_6_kbps_is_beaten_and_the_readme_says_so():
    systems, text = CARD["held_out"]["systems"], (FILE.parent / "README.md").read_text()
    distance = {row["system"].split(", ")[-1]: row["log_mel_distance"] for row in systems}
    assert distance["8 levels"] < min(distance["1 level"], distance["6 kbit/s"])
    assert CARD["content_hash"] in text and all(f"| {value:.2f} |" in text for value in distance.values())


def test_real_held_out_clips_come_back_closer_with_more_levels(codec):
    folder = os.environ.get("ENVSOUND_DATA", "")
    if not Path(folder, "meta", "esc50.csv").is_file():
        pytest.skip("no real recordings: set ENVSOUND_DATA to a folder holding meta/esc50.csv and audio/")
    recordings = load_recordings("esc50", folder, esc10_only=True, folds=[1], categories=["dog", "rain"])
    clips = [recordings.load(clip) for clip in recordings.table.clip_id[:6]]

    def distance(n_levels):
        heard = [through_codec(clip, codec, n_levels) for clip in clips]
        pairs = zip(clips, heard, strict=True)
        return np.mean([log_mel_distance(torch.tensor(a)[None], torch.tensor(b)[None], 24_000) for a, b in pairs])

    assert distance(8) < distance(2) < distance(1)


@pytest.mark.parametrize("category", ["rain", "helicopter"])
def test_synthetic_clips_as_the_demo_has_them_keep_their_level(codec, category):
    """Made at a higher rate and brought down; made at 24 kHz, rain came back four times too loud."""
    clip = soxr.resample(generate_clip(category, 0, SYNTHETIC_RATE, seconds=2.0), SYNTHETIC_RATE, 24_000)
    heard = through_codec(clip, codec)
    assert 0.5 < np.sqrt(np.mean(heard**2) / np.mean(clip**2)) < 1.5
