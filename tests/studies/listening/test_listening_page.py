"""The sounds of the listening test, and what its page loads, which must not tell what is what."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from fakes.codec_reports import make_report, write_examples
from fakes.codecs import SampleCodec
from fakes.listening import CODEC, REPOSITORY, two_clips, two_trials
from fakes.runs import make_run, tone, write_results

from envsound.base.errors import InputError
from envsound.base.files import read_csv, read_json, write_csv, write_json
from envsound.base.paths import find_root
from envsound.book.build import build
from envsound.data.audio import SAMPLE_RATE
from envsound.report.assets import Assets
from envsound.report.runs import Run
from envsound.studies.listening import material
from envsound.studies.listening.listening_page import FOLDER, PAGE, contents, write_listening
from envsound.studies.listening.material import (
    ANCHOR,
    GENERATED,
    RECORDING,
    REFERENCE,
    STAND_IN,
    clips_to_judge,
    codec_again,
    codec_trials,
    example_folders,
    low_anchor,
)

TELLING = ("reference", "anchor", "mine", "opus", "codec_", "model", "generated", "recording", "clip-0", "0.wav")


def material_of(folder: Path) -> dict:
    text = (folder / "material.mjs").read_text(encoding="utf-8")
    return json.loads(re.fullmatch(r"window\.LISTENING = (.*);\n", text, re.DOTALL)[1])


def published(root: Path, dataset: str = "esc50", categories: tuple[str, ...] = ("dog", "rain")) -> Path:
    """Write data/published/made with two clips of each category."""
    folder = root / "data" / "published" / "made"
    write_results(folder, "made", dataset)
    names = [f"{number}_{category}.wav" for category in categories for number in range(2)]
    for place, name in enumerate(names):
        tone(folder / "clips" / name, 200 + 10 * place)
    rows = read_csv(write_table(folder / "clips.csv", names))
    assert len(rows) == 2 * len(categories)
    return folder


def write_table(path: Path, names: list[str]) -> Path:
    path.write_text("filename,category\n" + "".join(f"{name},{name[2:-4]}\n" for name in names))
    return path


def assets(root: Path) -> Assets:
    return Assets(root / "book", [root / "data"])


# The low anchor


@pytest.mark.parametrize(("hz", "lowest", "highest"), [(100, -0.1, 0.1), (3500, -0.1, 0.1), (4000, -200, -50)])
def test_the_low_anchor_keeps_what_is_below_3500_hz_and_nothing_above_4000(hz, lowest, highest):
    sine = 0.5 * np.sin(2 * np.pi * hz * np.arange(SAMPLE_RATE) / SAMPLE_RATE).astype(np.float32)
    middle = slice(SAMPLE_RATE // 4, -SAMPLE_RATE // 4)
    change = 10 * np.log10(np.mean(low_anchor(sine)[middle] ** 2) / np.mean(sine[middle] ** 2))
    assert lowest < change < highest


def test_the_low_anchor_is_not_late_and_keeps_the_length():
    impulse = np.zeros(999, dtype=np.float32)
    impulse[400] = 1.0
    assert low_anchor(impulse).shape == (999,) and np.argmax(low_anchor(impulse)) == 400
    assert low_anchor(impulse[:50]).shape == (50,)


# Codec trials


def test_a_trial_holds_reference_anchor_codec_and_opus(root):
    make_report(root / "data/runs/codec/bundled")
    first, second = codec_trials(example_folders(root / "data/runs/codec"))
    assert [sound.condition for sound in first] == [REFERENCE, ANCHOR, "Opus, 6 kbit/s", CODEC]
    assert [sound.condition for sound in second] == [REFERENCE, ANCHOR, CODEC]  # no Opus was written
    assert {sound.origin for sound in first} == {RECORDING} and len({len(sound.samples) for sound in first}) == 1


def test_reports_on_the_same_clip_share_a_trial_and_the_bundled_codec_comes_first(root):
    for name in ("alpha", "bundled"):
        report = make_report(root / "data/runs/codec" / name)
        examples = read_csv(report / "examples/examples.csv")
        write_csv(
            report / "examples/examples.csv", examples.assign(codec_name="mine" if name == "bundled" else "other")
        )
    folders = example_folders(root / "data/runs/codec")
    assert [folder.parent.name for folder in folders] == ["bundled", "alpha"]
    trials = codec_trials(folders)
    assert len(trials) == 2 and {"other, 2 levels", CODEC} <= {sound.condition for sound in trials[0]}


def test_stand_ins_count_only_where_there_is_no_recording(root):
    make_report(root / "data/runs/codec/trial", dataset="synthetic")
    folders = example_folders(root / "data/runs/codec")
    assert {sound.origin for trial in codec_trials(folders) for sound in trial} == {STAND_IN}
    make_report(root / "data/runs/codec/real", examples=1)
    trials = codec_trials(example_folders(root / "data/runs/codec"))
    assert len(trials) == 1 and trials[0][0].origin == RECORDING


def test_the_clips_a_run_sent_through_its_codec_are_trials_too(root):
    run = make_run(root)
    write_examples(run / "codec_clips", 2)
    trials = codec_trials(example_folders(root / "data/runs/codec", [Run(run)]))
    assert len(trials) == 2 and trials[0][0].origin == STAND_IN
    assert "mine, all levels" in {sound.condition for sound in trials[0]}


def test_a_version_that_is_missing_is_left_out_and_one_that_leaves_the_folder_refused(root):
    report = make_report(root / "data/runs/codec/bundled")
    (report / "examples" / "0_codec.wav").unlink()
    (report / "examples" / "1_original.wav").unlink()
    (only,) = codec_trials(example_folders(root / "data/runs/codec"))
    assert [sound.condition for sound in only] == [REFERENCE, ANCHOR, "Opus, 6 kbit/s"]
    examples = read_csv(report / "examples/examples.csv")
    write_csv(report / "examples/examples.csv", examples.assign(codec="../../secret.wav"))
    with pytest.raises(InputError, match="leads outside"):
        codec_trials(example_folders(root / "data/runs/codec"))


def with_codec(report: Path, codec: SampleCodec, wanted: str = "bundled") -> Path:
    step = {"parameters": {"codec": wanted}, "facts": {"codecs": {"mine": codec.content_hash}}}
    write_json(report / "provenance.json", {"steps": {"08_measure_codec": step}})
    return report


def test_fewer_levels_are_one_more_version_where_the_same_codec_is_here(root, monkeypatch):
    codec = SampleCodec(8)
    monkeypatch.setattr(material, "load_codec", lambda name, device: codec)
    report = with_codec(make_report(root / "data/runs/codec/bundled"), codec)
    conditions = {sound.condition: sound for sound in codec_trials(example_folders(root / "data/runs/codec"))[0]}
    assert {CODEC, "mine, 2 levels"} <= set(conditions)
    error = np.abs(conditions["mine, 2 levels"].samples - conditions[REFERENCE].samples).max()
    assert 0 < error <= 16.0**-2 + 1e-6
    with_codec(report, SampleCodec(7))  # another one by now
    assert codec_again(report, "mine") is None
    with_codec(report, codec, wanted="encodec_24khz")  # could be downloaded
    assert codec_again(report, "mine") is None


# Clips to be judged


def test_published_clips_and_recordings_of_the_same_categories_are_judged(root):
    published(root, categories=("dog", "sea_waves"))
    make_report(root / "data/runs/codec/bundled")  # two clips of sea waves
    trials = codec_trials(example_folders(root / "data/runs/codec"))
    clips = clips_to_judge(root / "data/published", [], trials, assets(root))
    found = [(sound.origin, sound.category) for sound in clips]
    assert found.count((GENERATED, "dog")) == 2 and found.count((RECORDING, "sea_waves")) == 2 and len(found) == 6
    assert [sound.category for sound in clips[:4]] == ["dog", "sea_waves", "dog", "sea_waves"]  # each in turn


def test_models_of_stand_ins_count_only_where_there_is_no_other(root):
    run = Run(make_run(root))
    clips = clips_to_judge(root / "data/published", [run], [], assets(root))
    assert [(sound.origin, sound.condition) for sound in clips] == [(GENERATED, run.title)] * 2 + [
        (STAND_IN, STAND_IN)
    ] * 2
    published(root)
    clips = clips_to_judge(root / "data/published", [run], [], assets(root))
    assert {sound.condition for sound in clips} == {"made, published"}


def test_without_categories_or_permission_nothing_is_judged(root):
    run = Run(make_run(root, categories=()))
    assert clips_to_judge(root / "data/published", [run], [], assets(root)) == []
    published(root)
    assert clips_to_judge(root / "data/published", [], [], Assets(root / "book", [root / "elsewhere"])) == []


def test_a_clip_that_was_published_from_a_run_is_judged_once(root):
    folder = published(root)
    shutil.copytree(folder, root / "data/published/again")
    assert len(clips_to_judge(root / "data/published", [], [], assets(root))) == 4


# What is written


def test_nothing_the_page_loads_tells_what_a_sound_is(tmp_path):
    write_listening(two_clips(), two_trials(), tmp_path)
    text = (tmp_path / "material.mjs").read_text().lower()
    assert not [word for word in TELLING if word in text]
    names = [path.stem for path in (tmp_path / "sounds").iterdir()]
    assert len(names) == 2 + 2 * 4 and all(re.fullmatch("[0-9a-f]{16}", name) for name in names)
    assert len({path.stat().st_size for path in (tmp_path / "sounds").iterdir()}) == 1  # lengths are equal here


def test_the_labelled_reference_and_the_hidden_one_sound_the_same_under_two_names(tmp_path):
    write_listening(two_clips(), two_trials(), tmp_path)
    key, task = read_json(tmp_path / "key.json"), material_of(tmp_path)["tasks"][2]
    for trial in task["trials"]:
        hidden = [
            row["id"] for row in key["versions"] if row["trial"] == trial["item"] and row["condition"] == REFERENCE
        ]
        assert len(hidden) == 1 and hidden[0] in trial["versions"] and trial["item"] not in trial["versions"]
        first, second = (soundfile.read(tmp_path / "sounds" / f"{name}.wav")[0] for name in (trial["item"], hidden[0]))
        assert np.array_equal(first, second)
        assert trial["versions"] == sorted(trial["versions"])


def test_the_key_tells_what_every_id_is(tmp_path):
    material = write_listening(two_clips(), two_trials(), tmp_path)
    key = read_json(tmp_path / "key.json")
    assert key["page"] == material["page"] == material_of(tmp_path)["page"] and key["made_up"] is False
    label, fit, _ = material["tasks"]
    asked = {row["id"]: row["category"] for row in key["clips"]}
    assert {trial["item"]: trial["asked"].replace(" ", "_") for trial in fit["trials"]} == asked
    assert [set(trial) for trial in label["trials"]] == [{"item"}, {"item"}]
    assert [option["words"] for option in label["categories"]] == ["dog", "sea waves"]
    assert {row["condition"] for row in key["versions"]} == {REFERENCE, ANCHOR, CODEC}


def test_the_same_sounds_give_the_same_page_and_another_sound_another(tmp_path):
    clips = two_clips()
    pages = [write_listening(clips, two_trials(), tmp_path / name)["page"] for name in "ab"]
    assert pages[0] == pages[1]
    changed = [
        clips[0],
        type(clips[1])(clips[1].samples / 2, "1.wav", "sea_waves", RECORDING, RECORDING),
    ]
    assert write_listening(changed, two_trials(), tmp_path / "c")["page"] != pages[0]


def test_a_task_without_sounds_says_so_and_is_left_out(tmp_path):
    material = write_listening([], two_trials(), tmp_path / "a")
    assert [task["task"] for task in material["tasks"]] == ["codec"]
    text = contents(material, [], two_trials())
    assert "*Name the sound* is left out. No generated clips" in text and "their reference*: 2 trials" in text
    material = write_listening(two_clips(), [], tmp_path / "b")
    assert [part["task"] for part in material["left_out"]] == ["codec"]
    assert PAGE.as_posix() not in contents(write_listening([], [], tmp_path / "c"), [], [])


def test_the_chapter_says_what_is_synthetic_and_what_is_missing():
    made = [sound for sound in two_clips() if sound.origin == GENERATED]
    material = {"tasks": [{"task": "label", "trials": [1]}], "left_out": []}
    assert "none is mixed in" in contents(material, made, [])
    stand_ins = [
        [type(sound)(sound.samples, sound.name, "dog", STAND_IN, sound.condition) for sound in two_trials()[0]]
    ]
    assert "**synthetic** stand-ins, not recordings" in contents(material, two_clips(), stand_ins)


def test_the_book_stages_the_test_and_the_chapter_includes_it(root):
    published(root)
    make_report(root / "data/runs/codec/bundled")
    pages = build.stage([])
    text = (pages / "listening" / "contents.txt").read_text(encoding="utf-8")
    assert f'href="{PAGE.as_posix()}"' in text and (root / "book" / FOLDER / "key.json").is_file()
    chapter = (REPOSITORY / "book" / "listening.md").read_text(encoding="utf-8")
    assert "```{include} executed/listening/contents.txt\n```" in chapter
    assert (REPOSITORY / "book" / PAGE).is_file()


def test_the_page_loads_nothing_from_elsewhere():
    for path in (REPOSITORY / "book" / PAGE.parent).iterdir():
        assert not re.findall(r"https?://|//[a-z]+\.", path.read_text(encoding="utf-8")), path.name


def test_the_page_adds_nothing_to_the_other_pages_of_the_book():
    """jupyter-book puts every style and script below _static on all pages."""
    page = find_root() / "book" / "_static" / "listening"
    assert (page / "index.html").is_file()
    assert not [path for path in page.rglob("*") if path.suffix in (".css", ".js")]
