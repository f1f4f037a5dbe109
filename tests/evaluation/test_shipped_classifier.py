"""The classifier that ships: any recording is classified, its file is checked, its card says what made it."""

import subprocess
import sys
from argparse import ArgumentParser
from itertools import product

import numpy as np
import pandas as pd
import pytest
import soundfile
from fakes.codecs import noise
from fakes.sounds import CLASSES, sound

import envsound
from envsound.base.errors import InputError
from envsound.base.files import read_csv, read_json, sha256_file, write_csv, write_wav
from envsound.base.paths import shipped as lies
from envsound.codec import load_codec
from envsound.evaluation.classify import EXAMPLE, NAME, add_arguments, classify, run
from envsound.evaluation.classify_training import CODEC, DECOYS, LARGEST, load_material, make, narrowed
from envsound.evaluation.decoys import NONE, TAUGHT
from envsound.evaluation.listeners.network import ListenerConfig
from envsound.evaluation.listeners.shipped import CARD, FILE, FOLDER, ClassScorer, load_shipped, windows
from envsound.evaluation.listeners.training import ListenerTraining

RATE = 44_100  # Hz
NAMES, TIMED = list(CLASSES), ("cry", "tick")
SHAPE = ListenerConfig(n_mels=32, widths=(8, 16, 16), embedding_dim=12, dropout=0.1)
PLAN = ListenerTraining(n_epochs=40, batch_size=8, lr=1e-2, mixup=0.2)


def esc50_like(folder, licence: str = "CC-BY", rate: int = RATE, seconds: float = 1.0):
    """A folder in ESC-50's layout: three classes, three clips of each in two folds, all of ESC-10."""
    rows, licences = [], []
    for fold, target, take in product((1, 2), range(len(NAMES)), range(3)):
        stem = f"{fold}-{100 * target + 10 * fold + take}-A"
        clip = sound(NAMES[target], 10 * fold + take, rate, seconds)
        write_wav(folder / "audio" / f"{stem}-{target}.wav", clip, rate)
        rows.append((f"{stem}-{target}.wav", fold, target, NAMES[target], True, stem, "A"))
        licences.append(f"- [{stem}.ogg]: clip derived from x (https://freesound.org/1) by someone [{licence}]")
    columns = ["filename", "fold", "target", "category", "esc10", "src_file", "take"]
    write_csv(folder / "meta" / "esc50.csv", pd.DataFrame(rows, columns=columns))
    (folder / "LICENSE").write_text("\n".join(licences))
    return folder


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    place = tmp_path_factory.mktemp("classifier")
    codec = load_codec(CODEC, device="cpu")
    material = load_material(esc50_like(place / "esc50"), codec, 1, TIMED, place / "codes")
    make(material, place / "shipped", PLAN, SHAPE, device="cpu", command="made for a test")
    return place / "shipped"


def write(path, clip, rate):
    soundfile.write(path, clip, rate)
    return path


@pytest.mark.parametrize(("rate", "seconds", "channels"), [(44_100, 1.0, 2), (8_000, 0.02, 1), (22_050, 12.3, 1)])
def test_any_rate_length_and_number_of_channels(shipped, tmp_path, rate, seconds, channels):
    clip = np.tile(noise(round(rate * seconds))[:, None], (1, channels))
    heard = classify(write(tmp_path / "sound.flac", clip, rate), top=4, folder=shipped)
    assert sorted(name for name, _ in heard) == sorted([*NAMES, NONE])
    assert sum(probability for _, probability in heard) == pytest.approx(1, abs=1e-5)
    assert [one.probability for one in heard] == sorted((one.probability for one in heard), reverse=True)
    assert classify(tmp_path / "sound.flac", top=1, folder=shipped) == heard[:1]


def test_unknown_clips_of_its_classes_are_mostly_named_right_and_a_long_one_is_the_mean_of_its_parts(shipped, tmp_path):
    def heard(clip: np.ndarray, rate: int) -> dict[str, float]:
        return dict(classify(write(tmp_path / "sound.wav", clip, rate), folder=shipped))

    asked = [(name, seed) for name in NAMES for seed in range(900, 904)]
    named = [max(found := heard(sound(*one, RATE, 2.0), RATE), key=found.get) for one in asked]
    assert np.mean([name == one[0] for name, one in zip(named, asked, strict=True)]) >= 0.75  # chance: 0.33
    parts = [sound(name, 5, 24_000, 4.0) for name in ("rain", "tick")]
    alone, both = [heard(part, 24_000) for part in parts], heard(np.concatenate(parts), 24_000)
    for name in NAMES:
        assert both[name] == pytest.approx((alone[0][name] + alone[1][name]) / 2, abs=1e-4)


def test_parts_are_of_nearly_one_length_and_silence_does_not_count():
    clip = np.arange(1, 24, dtype=np.float32)
    parts = windows(clip, 10)
    assert [len(part) for part in parts] == [8, 8, 7] and np.array_equal(np.concatenate(parts), clip)
    assert [len(part) for part in windows(np.append(clip[:10], np.zeros(10)), 10)] == [10]
    assert len(windows(np.zeros(20), 10)) == 2


def test_a_file_that_is_not_the_cards_and_what_cannot_be_classified_are_refused(shipped, tmp_path):
    for name in (FILE, CARD):
        (tmp_path / name).write_bytes((shipped / name).read_bytes())
    with open(tmp_path / FILE, "ab") as stream:
        stream.write(b"x")
    with pytest.raises(InputError, match=r"classifier\.safetensors: SHA-256 is .* expected"):
        load_shipped(tmp_path)
    with pytest.raises(InputError, match=r"no such file; expected the classifier"):
        load_shipped(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"no\.wav: no such file"):
        classify(tmp_path / "no.wav", folder=shipped)
    with pytest.raises(InputError, match="top=0"):
        classify(tmp_path / "no.wav", top=0, folder=shipped)


def command(*words) -> int:
    parser = ArgumentParser()
    add_arguments(parser)
    return run(parser.parse_args([str(word) for word in words]))


def test_from_python_and_from_a_shell(shipped, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("envsound.evaluation.listeners.shipped.shipped", lambda folder: shipped)
    path = write(tmp_path / "rain.wav", sound("rain", 3, RATE, 1.0), RATE)
    assert envsound.classify(path, 1) == classify(path, 1, shipped)
    assert command(path, tmp_path / "no.wav", "--top", 2) == 1
    printed = capsys.readouterr()
    assert printed.out.startswith(f"{path}: rain ") and printed.out.count("%") == 2
    assert printed.err.startswith("error: ") and "no.wav" in printed.err
    assert EXAMPLE.startswith(f"envsound {NAME} ") and command() == command(path, "--train") == 1


@pytest.mark.parametrize(("folder", "said"), [(["ESC-50"], " <folder of ESC-50>"), ([], "")])
def test_the_command_that_makes_it_tells_the_card_what_it_was_given(
    tmp_path, monkeypatch, capsys, root, folder, said
):
    given, loaded = [], []
    monkeypatch.setattr("envsound.evaluation.classify_training.make", lambda *parts: given.extend(parts))
    monkeypatch.setattr("envsound.evaluation.classify_training.load_material", lambda *parts: loaded.extend(parts))
    monkeypatch.setattr("envsound.codec.load_codec", lambda name, device: f"{name} on {device}")
    assert command("--train", *folder, "--epochs", 3, "--to", "out", "--device", "cpu") == 0
    _, to, recipe, _, device, told = given
    assert loaded == [tmp_path / "ESC-50" if folder else "", "patches on cpu", 1] and (to, device) == ("out", "cpu")
    assert recipe.n_epochs == 3 and told == f"envsound classify --train{said} --epochs 3 --seed 0 --held-out-fold 1"
    assert "out" in capsys.readouterr().out


def test_importing_it_stays_light():
    code = "import sys, envsound; print('numpy' in sys.modules); import envsound.evaluation.classify; "
    result = subprocess.run(
        [sys.executable, "-c", code + "print('torch' in sys.modules)"], capture_output=True, text=True
    )
    assert result.stdout == "False\nFalse\n", result.stderr


def test_clips_are_scored_by_the_probability_of_their_own_class(shipped, monkeypatch):
    monkeypatch.setattr("envsound.evaluation.listeners.shipped.shipped", lambda folder: shipped)
    clip, score = sound("rain", 3, 24_000, 1.0), ClassScorer(24_000)
    assert score.content_hash == sha256_file(shipped / FILE)
    assert 0 < score([clip] * 3, NAMES).sum() < 1  # the rest is for none of these
    refused = ((score, "cow", "'cow'"), (score, NONE, NONE), (ClassScorer(8_000), "rain", "sample_rate=8000"))
    for scorer, category, words in refused:
        with pytest.raises(InputError, match=words):
            scorer([clip], [category])


def test_the_card_describes_the_file_and_its_training(shipped):
    card = read_json(shipped / CARD)
    assert card["content_hash"] == sha256_file(shipped / FILE) and (shipped / FILE).stat().st_size <= LARGEST
    assert card["categories"] == sorted([*NAMES, NONE]) and card["training"]["command"] == "made for a test"
    assert [row["kind"] for row in card["decoys"]] == list(DECOYS) and {row["n"] for row in card["decoys"]} == {6}
    assert card["held_out_fold"] == 1 and [row["rate_hz"] for row in card["held_out"]] == [24_000, 16_000, 8_000]
    assert {row["n"] for row in card["held_out"]} == {9} and card["training"]["n_clips"] == 9
    attribution = read_csv(shipped / "attribution.csv")
    assert set(attribution["fold"]) == {2} and set(attribution["licence"]) == {"CC-BY"}
    text = (shipped / "README.md").read_text()
    first = card["held_out"][0]
    assert card["content_hash"] in text and f"| recordings, 12 kHz | {first['n_right']} of 9 |" in text


def test_sound_that_has_lost_its_course_in_time_is_refused_more_than_real_clips_are(shipped):
    card = read_json(shipped / CARD)
    decoys = np.mean([row["refused"] for row in card["decoys"] if row["kind"] in TAUGHT])
    real = card["held_out"][0]["refused"]
    assert real < 0.25 and decoys > max(0.3, real + 0.1)  # so short a training ends elsewhere with other threads


def test_clips_that_may_not_be_shipped_or_lack_bandwidth_are_refused(tmp_path):
    with pytest.raises(InputError, match="no clip of 'cry' to learn from"):
        load_material(esc50_like(tmp_path / "closed", licence="CC-BY-NC", seconds=0.1), None)
    with pytest.raises(InputError, match="recordings of 16000 Hz; expected full bandwidth"):
        load_material(esc50_like(tmp_path / "narrow", rate=16_000, seconds=0.1), None)


def test_a_narrowed_clip_has_nothing_above_its_band_and_all_below():
    clip = noise(24_000)
    for narrow in (8_000, 16_000):
        found = np.abs(np.fft.rfft(narrowed(clip, 24_000, narrow))) ** 2
        before, hz = np.abs(np.fft.rfft(clip)) ** 2, np.fft.rfftfreq(24_000, 1 / 24_000)
        assert found[hz > narrow / 2 * 1.02].sum() < 1e-4 * before[hz > narrow / 2 * 1.02].sum()
        assert found[hz < narrow * 0.4].sum() == pytest.approx(before[hz < narrow * 0.4].sum(), rel=0.02)
    assert narrowed(clip, 24_000, 44_100) is clip and narrowed(clip[:7], 24_000, 8_000).shape == (7,)


def test_the_classifier_of_this_repository_is_the_one_its_card_describes():
    folder = lies(FOLDER)
    if not (folder / FILE).is_file():
        pytest.skip("not made yet")
    card = read_json(folder / CARD)
    assert load_shipped().content_hash == card["content_hash"] and len(card["categories"]) == 11
    assert (folder / FILE).stat().st_size <= LARGEST
    assert set(read_csv(folder / "attribution.csv")["licence"]) <= {"CC0", "CC-BY"}
