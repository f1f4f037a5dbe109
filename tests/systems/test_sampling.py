"""Sampling with any system: who is asked for what, files and rows, going on after an interruption, nobody's loss."""

from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
from fakes.soundstorm import CPU, SMALL_CODEC, small_checkpoint, small_codec

from envsound.base.errors import InputError
from envsound.codec.codes import load_codes
from envsound.run.contract import TABLES, codes_beside
from envsound.systems.base import load_recipe
from envsound.systems.sampling import generate_clips, plan_requests
from envsound.systems.soundstorm.checkpoints import load_checkpoint, save_checkpoint
from envsound.systems.soundstorm.decoding import DecodingConfig
from envsound.systems.soundstorm.system import SoundStorm, SoundStormRecipe, decoding_config

CLASSES = ["dog", "rain"]
LENGTHS = np.array([10, 20]) / 75  # s


@pytest.fixture(scope="module")
def system():
    return SoundStorm(small_checkpoint(), small_codec(), DecodingConfig((2, 1)), "sha of the checkpoint", 4)


def requests(n=3):
    return plan_requests(n, 0, CLASSES, "", LENGTHS, 0.0)


def test_classes_come_in_turn_and_lengths_from_the_training_clips_or_as_asked():
    planned, again = (plan_requests(7, 3, ["dog", "rain", "clock"], "", LENGTHS, 0.0) for _ in range(2))
    assert [r.category for r in planned] == ["dog", "rain", "clock", "dog", "rain", "clock", "dog"]
    assert {r.seconds for r in planned} <= set(LENGTHS) and len({r.seed for r in planned}) == 7 and planned == again
    assert {(r.category, r.seconds) for r in plan_requests(3, 0, CLASSES, "rain", LENGTHS, 0.5)} == {("rain", 0.5)}


@pytest.mark.parametrize(
    "n, classes, category, seconds, words",
    [(3, CLASSES, "rein", 0.0, "'rain'"), (3, [], "dog", 0.0, "unconditional"), (0, [], "", 0.0, "n_samples"),
     (1, [], "", -1.0, "sample_seconds")],
)  # fmt: skip
def test_what_cannot_be_asked_for_is_one_clear_error(n, classes, category, seconds, words):
    with pytest.raises(InputError, match=words):
        plan_requests(n, 0, classes, category, LENGTHS, seconds)


@pytest.mark.parametrize("name", ["../../outside", "a/b", "x" * 250, "<b>", "дождь"])
def test_a_class_of_any_name_has_its_clips_inside_the_folder_and_is_named_as_given(tmp_path, system, name):
    named = replace(system, checkpoint=replace(system.checkpoint, categories=[name, "dog"]))
    planned = plan_requests(3, 0, named.categories, "", LENGTHS, 0.0)
    rows = generate_clips(named, planned, tmp_path / "samples")
    assert rows["category"].tolist() == [name, "dog", name]
    assert {path.parent for path in tmp_path.rglob("*.wav")} == {tmp_path / "samples"}
    assert len(list((tmp_path / "samples").glob("*.wav"))) == 3


@pytest.fixture
def made(tmp_path, system):
    """Three requests, the folder of their clips, and the rows of samples.csv."""
    return requests(), tmp_path / "samples", generate_clips(system, requests(), tmp_path / "samples")


def test_every_clip_is_a_wav_of_the_asked_length_and_a_row(made):
    planned, folder, rows = made
    assert rows["filename"].tolist() == [r.filename for r in planned] and set(TABLES["samples"].columns) <= set(rows)
    assert rows["category"].tolist() == ["dog", "rain", "dog"] and rows["seed"].is_unique
    for row in rows.itertuples():
        clip, rate = soundfile.read(folder / row.filename)
        assert rate == 24_000 and len(clip) == row.n_frames * 320 and row.seconds == row.n_frames / 75


def test_the_codes_of_every_clip_lie_beside_it(made, system):
    planned, folder, _ = made
    for request, codes in zip(planned, system.codes(planned), strict=True):
        kept = load_codes(codes_beside(folder / request.filename), SMALL_CODEC)
        assert np.array_equal(kept, codes)


def test_goes_on_where_it_was(made, system):
    planned, folder, _ = made
    kept, missing = folder / planned[0].filename, folder / planned[1].filename
    stamp, content = kept.stat().st_mtime_ns, missing.read_bytes()
    missing.unlink()
    generate_clips(system, planned, folder)
    assert kept.stat().st_mtime_ns == stamp and missing.read_bytes() == content


def test_the_clips_of_another_request_are_kept_unless_they_may_be_replaced(made, system):
    planned, folder, _ = made
    other = replace(system, decoding=DecodingConfig((1, 1)))
    for one, asked in ((system, planned[:1]), (other, planned)):
        with pytest.raises(InputError, match="another request"):
            generate_clips(one, asked, folder)
    assert len(list(folder.glob("*.wav"))) == 3
    generate_clips(system, planned[:1], folder, replace=True)
    assert {p.name for p in folder.glob("*.wav")} == {planned[0].filename}


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-9]),
        lambda path: path.write_bytes(b""),
        lambda path: codes_beside(path).write_bytes(b"no codes"),
        lambda path: codes_beside(path).unlink(),
    ],
)
def test_a_damaged_clip_is_named_and_made_again(made, system, damage):
    planned, folder, _ = made
    clip = folder / planned[1].filename
    content, codes = clip.read_bytes(), load_codes(codes_beside(clip))
    damage(clip)
    with pytest.warns(UserWarning, match="damaged"):
        generate_clips(system, planned, folder)
    assert clip.read_bytes() == content and np.array_equal(load_codes(codes_beside(clip)), codes)


@pytest.mark.parametrize("content", ["", "[1]", '{"requests": [{}]}'])
def test_a_damaged_record_lets_the_pipeline_begin_anew_and_nobody_s_files_go(made, system, content):
    planned, folder, _ = made
    (folder / "request.json").write_text(content)
    (folder / "favourite dog.wav").write_bytes((folder / planned[0].filename).read_bytes())
    with pytest.warns(UserWarning, match="damaged"), pytest.raises(InputError, match="another request"):
        generate_clips(system, planned, folder)
    with pytest.warns(UserWarning, match="damaged"):
        generate_clips(system, planned[:1], folder, replace=True)
    assert {path.name for path in folder.glob("*.wav")} == {planned[0].filename, "favourite dog.wav"}


def test_a_linked_folder_is_refused(tmp_path, made, system):
    (tmp_path / "link").symlink_to(made[1])
    with pytest.raises(InputError, match="link: is a link"):
        generate_clips(system, requests(), tmp_path / "link", replace=True)


@pytest.mark.parametrize("may_replace", [False, True])
def test_a_folder_with_other_files_is_left_alone(tmp_path, system, may_replace):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="no clips of a request"):
        generate_clips(system, requests(), tmp_path, may_replace)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_clip_is_the_same_made_alone_and_in_a_batch(system):
    planned = requests(4)
    together, alone = list(system.generate(planned)), next(system.generate(planned[2:3]))
    np.testing.assert_allclose(together[2], alone, atol=1e-5)


def test_a_system_says_what_it_is_and_refuses_a_codec_of_another_shape(system):
    assert system.conditions == {"class", "audio"} and system.categories == CLASSES and system.sample_rate == 24_000
    assert system.content_hash != replace(system, checkpoint_sha256="other").content_hash
    assert system.reconstruct(np.zeros(3200, dtype=np.float32)).shape == (3200,)
    with pytest.raises(InputError, match="2 levels"):
        replace(system, codec=small_codec(n_levels=3))


def test_the_settings_of_decoding_come_from_a_preset():
    given = {"steps_per_level": [3, 1], "guidance_end": 0.0, "temperature": 0.5, "lr": 1.0}
    config = decoding_config(given | {"sample_precision": "auto"}, CPU)
    assert config == DecodingConfig((3, 1), temperature=0.5) and config.precision == torch.float32
    with pytest.raises(InputError, match="sample_precision"):
        decoding_config(given | {"sample_precision": "float16"}, CPU)


def test_recipes_are_found_by_name():
    assert isinstance(load_recipe("soundstorm"), SoundStormRecipe)
    assert hasattr(load_recipe("fakes.unigram:Recipe"), "prepare")
    for name, words in (("soundstrom", "'soundstorm'"), ("no.such:Recipe", "cannot be imported")):
        with pytest.raises(InputError, match=words):
            load_recipe(name)


def test_a_checkpoint_comes_back_and_a_missing_or_damaged_one_is_named(tmp_path):
    checkpoint, path, codes = small_checkpoint(), tmp_path / "m.safetensors", torch.randint(17, (1, 2, 5))
    save_checkpoint(path, checkpoint)
    loaded = load_checkpoint(path, CPU, SMALL_CODEC)
    assert loaded.categories == CLASSES and torch.equal(loaded.model(codes), checkpoint.model(codes))
    for content in (b"", b"not safetensors at all", None):
        path.write_bytes(content) if content is not None else path.unlink()
        with pytest.raises(InputError, match=r"m\.safetensors"):
            load_checkpoint(path, CPU)
