"""The patch tokens that ship: their file and card, and what they do to sounds whose properties are known."""

import numpy as np
import pytest
import torch
from fakes.codecs import RATE, noise, tone

from envsound.base.files import read_csv, read_json, sha256_file
from envsound.base.paths import find_root
from envsound.codec import SHIPPED, load_codec
from envsound.codec.stored import patch_codec
from envsound.codec.systems import through_codec
from envsound.metrics.harmonicity import harmonicity

FILE = find_root() / SHIPPED["patches"]
CARD = read_json(FILE.with_suffix(".json"))


@pytest.fixture(scope="module")
def codec():
    return load_codec("patches", device="cpu")


def test_the_file_is_small_and_is_the_one_the_card_describes(codec):
    assert FILE.stat().st_size <= 13_000_000
    assert sha256_file(FILE) == CARD["content_hash"] == codec.content_hash
    assert patch_codec(codec.quantizer, codec.decoder).content_hash == codec.content_hash
    assert (codec.name, codec.frame_rate, codec.n_levels, codec.codebook_size) == ("patches", 18.75, 4, 1024)
    assert [CARD[name] for name in ("frame_rate", "n_levels", "codebook_size")] == [18.75, 4, 1024]


def test_it_learnt_from_the_clips_of_the_attribution_and_was_chosen_outside_the_held_out_fold():
    clips, training = read_csv(FILE.parent / "attribution.csv"), CARD["training"]
    assert len(clips) == training["n_clips"] == training["level"]["n_clips"]
    assert training["held_out_fold"] == 1 and 1 not in set(clips["fold"])
    shipped, *others = training["chosen"]["decoders"]
    assert training["chosen"]["fold"] != 1
    assert all(shipped["harmonicity_error"] < other["harmonicity_error"] for other in others)


def test_the_readme_shows_the_numbers_of_the_card():
    text = FILE.with_suffix(".md").read_text(encoding="utf-8")
    assert CARD["content_hash"] in text
    assert all(f"| {row['log_mel_distance']:.2f} |" in text for row in CARD["held_out"]["systems"])
    assert all(f"| {row['harmonicity_error']:.3f} |" in text for row in CARD["held_out"]["harmonicity_by_class"])


def test_the_readme_shows_what_other_codes_measured():
    folder, text = (
        find_root() / "data" / "published" / "patch_codes",
        FILE.with_suffix(".md").read_text(encoding="utf-8"),
    )
    levels = read_csv(folder / "patch_codes_by_level.csv").query("columns == 'sounding'")
    left = (levels["bits_alone"] - levels["saved_by_previous"]).groupby(levels["codec"]).sum()
    for row in read_csv(folder / "patch_codes.csv").itertuples():
        shown = next(line for line in text.splitlines() if line.startswith(f"| {row.codec} "))
        numbers = (f"{row.sounding_log_mel_db:.2f}", f"{row.heard_db:.2f}", f"{left[row.codec]:.1f}")
        assert all(f"| {number} |" in shown for number in numbers)


def test_noise_keeps_its_level_and_silence_is_silence(codec):
    assert not through_codec(np.zeros(RATE, np.float32), codec).any()
    for rms in (0.1, 0.01):
        heard = through_codec(noise(RATE, rms=rms), codec)
        assert abs(20 * np.log10(heard.std() / rms)) < 3.0


def test_a_click_is_sharper_than_in_shaped_noise(codec):
    click = np.zeros(RATE, np.float32)
    click[12_000:12_040] = noise(40, rms=0.5)
    peaks = [np.abs(through_codec(click, one)).max() for one in (codec, patch_codec(codec.quantizer))]
    assert peaks[0] > 1.2 * peaks[1]


def test_noise_and_tone_are_told_apart(codec):
    clips = torch.from_numpy(np.stack([noise(RATE), tone(RATE, 700.0)]))
    heard = codec.decode(codec.encode(clips))[:, :RATE]
    shares = harmonicity(clips, heard, RATE)["harmonicity"]
    assert shares[0] < 0.25 and shares[1] > 0.5
