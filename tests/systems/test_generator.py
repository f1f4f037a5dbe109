"""The generator that ships: what may be asked of it, one seed one sound, bad files named, and the card of its file."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
from fakes.soundstorm import small_checkpoint, small_codec

import envsound
from envsound.base.errors import InputError
from envsound.base.files import read_csv, read_json, sha256_file, write_wav
from envsound.base.paths import shipped
from envsound.run.presets import load_preset
from envsound.systems.sampling import Selection, generate_clips
from envsound.systems.soundstorm.checkpoints import load_checkpoint, save_checkpoint
from envsound.systems.soundstorm.decoding import DecodingConfig
from envsound.systems.soundstorm.generator import (
    CARD,
    FILE,
    FOLDER,
    LARGEST,
    README,
    Generator,
    card_text,
    load_generator,
    ship,
)
from envsound.systems.soundstorm.system import SoundStorm

HOP, RATE = 320, 24_000  # samples of a frame of the small codec, Hz
TRAINING = {"material": "clips of a test", "n_clips": 6, "n_versions": 3, "held_out_fold": 1, "preset": "tiny",
            "seed": 0, "epochs": 3, "steps": 12, "batch_size": 4, "minutes": 0.5, "device": "CPU"}  # fmt: skip


@pytest.fixture(scope="module")
def generator() -> Generator:
    """Untrained, with a window of 40 frames."""
    checkpoint = small_checkpoint()
    checkpoint.facts["window"] = 40
    return Generator(SoundStorm(checkpoint, small_codec(), DecodingConfig((2, 1), fine_temperature=1.0)))


@pytest.fixture
def recording(tmp_path):
    """A recording of 50 frames, and what the codec keeps of it."""
    clip = 0.3 * np.random.default_rng(0).standard_normal(50 * HOP)
    write_wav(tmp_path / "clip.wav", clip, RATE)
    return tmp_path / "clip.wav"


@pytest.mark.parametrize("n_frames", [30, 95])  # in one go, and window by window
def test_one_seed_one_result_of_the_asked_length(generator, n_frames):
    sounds, again, other = (generator.sample("rain", n_frames / 75, 2, seed) for seed in (0, 0, 1))
    assert sounds.audio.shape == (2, n_frames * HOP) and sounds.audio.dtype == np.float32 and sounds.sample_rate == RATE
    assert np.abs(sounds.audio).max() <= 1 and np.array_equal(sounds.audio, again.audio)
    assert not np.array_equal(sounds.audio[0], sounds.audio[1]) and not np.array_equal(sounds.audio, other.audio)
    assert np.array_equal(generator.sample("rain", n_frames / 75, 1, 0).audio[0], sounds.audio[0])


def test_a_sound_goes_on_from_a_recording_or_varies_it(generator, recording):
    codec, system = generator.system.codec, generator.system
    known = codec.encode(torch.from_numpy(soundfile.read(recording, dtype="float32")[0])[None])[0].numpy()
    (request,) = generator.requests("dog", 0.4, 1, 0, recording)
    longer, varied = system._edit(request).numpy(), system._edit(replace(request, share=0.5)).numpy()
    assert longer.shape == (2, 80) and np.array_equal(longer[:, :50], known)
    assert varied.shape == (2, 50) and 20 <= (varied == known).all(0).sum() < 50
    assert generator.sample("dog", 0.4, 1, 0, recording).audio.shape == (1, 80 * HOP)
    assert system.describe(request)["n_frames"] == 80 and system.describe(request)["like"] == "clip.wav"


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"category": "rian"}, "'rain'"), ({"category": ""}, "dog, rain"), ({"count": 0}, "count=0"),
     ({"seconds": 0.0}, "seconds=0.0"), ({"seconds": -1.0}, "seconds"), ({"seconds": float("nan")}, "seconds=nan"),
     ({"seed": -1}, "seed=-1"), ({"share": 0.5}, "share=0.5"), ({"share": 2.0, "like": "x.wav"}, "share=2.0")],
)  # fmt: skip
def test_what_cannot_be_asked_for_is_one_clear_line(generator, changes, words):
    with pytest.raises(InputError, match=words) as refusal:
        generator.requests(**{"category": "rain", "seconds": 1.0, "count": 1, "seed": 0} | changes)
    assert "\n" not in str(refusal.value)


class Loudness:
    """A score: the louder, or with a factor of -1 the quieter, the better."""

    content_hash = "hash of it"

    def __init__(self, factor: float) -> None:
        self.factor, self.asked = factor, []

    def __call__(self, clips, categories):
        self.asked.append((len(clips), categories))
        return np.array([self.factor * np.square(clip).mean() for clip in clips])


def test_the_best_of_several_candidates_is_kept_and_the_first_is_the_clip_itself(generator, tmp_path):
    system, requests, loud = generator.system, generator.requests("rain", 0.2, 2, seed=0), Loudness(1)
    chosen = [
        list(Selection(n, score).make(system, requests)) for n, score in ((4, Loudness(-1)), (1, None), (4, loud))
    ]
    power = [[np.square(one.clip).mean() for one in some] for some in chosen]
    assert np.all(np.diff(power, axis=0) >= 0) and power[0] != power[2] and loud.asked == [(4, ["rain"] * 4)] * 2
    assert all(np.array_equal(one.clip, clip) for one, clip in zip(chosen[1], system.generate(requests), strict=True))
    assert all(np.array_equal(one.clip, system.sound(torch.from_numpy(one.codes))) for some in chosen for one in some)
    rows = generate_clips(system, requests, tmp_path, selection=Selection(4, loud))
    assert set(rows["n_candidates"]) == {4} and set(rows["score"]) == {"hash of it"}
    with pytest.raises(InputError, match="another request"):
        generate_clips(system, requests, tmp_path)
    for wrong in ({"n_candidates": 0}, {"n_candidates": 2}):
        with pytest.raises(InputError, match="n_candidates"):
            Selection(**wrong)


def test_a_recording_that_cannot_be_read_leaves_nothing(generator, tmp_path):
    requests = generator.requests("dog", 0.2, 1, 0, tmp_path / "no.wav")
    with pytest.raises(InputError, match=r"no\.wav: no such file"):
        generate_clips(generator.system, requests, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.fixture
def folder(tmp_path):
    """A small model, shipped, of the codes of the codec that ships."""
    checkpoint = small_checkpoint(n_levels=4)
    checkpoint.facts["codec_hash"] = envsound.load_codec(device="cpu").content_hash
    ship(checkpoint, load_preset("esc10"), TRAINING, tmp_path / "mine")
    return tmp_path / "mine"


def test_what_ships_is_small_says_how_it_is_decoded_and_has_a_card(folder):
    card, checkpoint = read_json(folder / CARD), load_checkpoint(folder / FILE, "cpu")
    assert card["content_hash"] == sha256_file(folder / FILE) and card["content_hash"] in (folder / README).read_text()
    assert checkpoint.facts["decoding"]["steps_per_level"] == [12, 8, 8, 8] == card["decoding"]["steps_per_level"]
    assert checkpoint.facts["decoding"]["top_p"] == 0.9 and "12 steps of" in card_text(card)
    assert "| harmonicity | 0.1 |" in card_text(card | {"measured": {"harmonicity": "0.1"}})


def test_a_damaged_foreign_or_other_file_is_one_clear_line(folder, tmp_path):
    content = (folder / FILE).read_bytes()

    def refused(words: str) -> None:
        with pytest.raises(InputError, match=words) as refusal:
            load_generator(folder, "cpu")
        assert "\n" not in str(refusal.value) and str(folder) in str(refusal.value)

    (folder / FILE).write_bytes(content[:-50])
    refused("cannot be read")
    (folder / FILE).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    refused("SHA-256")
    (folder / FILE).write_bytes((shipped("data/codec") / "patches.safetensors").read_bytes())
    refused("not a model of this study")
    other = small_checkpoint(n_levels=4)
    save_checkpoint(folder / FILE, other)
    refused("trained on codes of codec hash-of-small")
    (folder / FILE).unlink()
    refused("no such file")


def test_the_generator_of_this_repository_is_the_one_its_card_describes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    place, made = shipped(FOLDER), envsound.load_generator(device="cpu")
    card = read_json(place / CARD)
    assert (place / FILE).stat().st_size <= LARGEST and (place / README).read_text() == card_text(card)
    assert set(read_csv(place / "attribution.csv")["licence"]) <= {"CC0", "CC-BY"} and len(made.categories) == 10
    sounds = made.sample("dog", seconds=0.5, seed=3)
    assert sounds.audio.shape == (1, 10 * 1280) and 0 < np.abs(sounds.audio).max() < 1


def test_importing_it_stays_light():
    code = "import sys, envsound; print('numpy' in sys.modules); import envsound.report.sounds; "
    code += "print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "False\nFalse\n", done.stderr
