"""The codec that ships: its file, its card, and what it does to real recordings it has never heard."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from envsound.base.files import read_csv, read_json, sha256_file
from envsound.base.paths import find_root
from envsound.codec import BUNDLED, load_codec
from envsound.codec.systems import through_codec
from envsound.codec.training.losses import log_mel_distance
from envsound.data.licences import FREE
from envsound.data.recordings import load_recordings

FILE = find_root() / BUNDLED
CARD = read_json(FILE.parent / "card.json")


@pytest.fixture(scope="module")
def codec():
    return load_codec("bundled", device="cpu")


def test_file_is_small_and_is_the_one_the_card_describes(codec):
    assert FILE.stat().st_size <= 16_000_000
    assert sha256_file(FILE) == CARD["content_hash"] == codec.content_hash
    assert (codec.n_levels, codec.codebook_size, codec.frame_rate, codec.sample_rate) == (8, 1024, 75, 24_000)
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


def test_clips_that_ship_keep_their_level(codec):
    recordings = load_recordings("material", folds=[1], categories=["rain", "helicopter"], clip_seconds=2.0)
    clips = [recordings.load(name) for name in recordings.table.groupby("category")["clip_id"].first()]
    heard = [through_codec(clip, codec) for clip in clips]
    ratios = [np.sqrt(np.mean(one**2) / np.mean(clip**2)) for one, clip in zip(heard, clips, strict=True)]
    assert len(ratios) == 2 and min(ratios) > 0.5 and max(ratios) < 1.5
