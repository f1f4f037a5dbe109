"""The sounds of the listening test, and what its page loads, which must not tell what is what."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from fakes.listening import CODEC, REPOSITORY, told_clips, two_clips, two_trials, write_examples
from fakes.runs import make_run, tone, write_results

from envsound.base.errors import InputError
from envsound.base.files import read_csv, read_json, write_csv
from envsound.data.audio import SAMPLE_RATE
from envsound.report.assets import Assets
from envsound.report.fragments import Staging
from envsound.report.runs import Run
from envsound.studies.listening import material
from envsound.studies.listening.material import ANCHOR, GENERATED, RECORDING, REFERENCE, write_listening
from envsound.studies.listening.page import PAGE, contents, facts, stage

TELLING = ("reference", "anchor", "mine", "opus", "codec_", "model", "generated", "recording", "clip-0", "0.wav")
REPORTS = Path("data/runs/codec")


def published(root: Path, categories: tuple[str, ...] = ("dog", "rain")) -> Path:
    """Write data/published/made with two clips of each category."""
    folder = root / "data" / "published" / "made"
    write_results(folder, "made", "esc50")
    names = [f"{number}_{category}.wav" for category in categories for number in range(2)]
    for place, name in enumerate(names):
        tone(folder / "clips" / name, 200 + 10 * place)
    (folder / "clips.csv").write_text("filename,category\n" + "".join(f"{name},{name[2:-4]}\n" for name in names))
    return folder


def judged(root: Path, runs=(), trials=(), allowed: str = "data") -> list:
    return material.clips_to_judge(
        root / "data" / "published", list(runs), trials, Assets(root / "book", [root / allowed])
    )


def trials_there(runs=()) -> list:
    return material.codec_trials(material.example_folders(REPORTS, list(runs)))


def conditions(trial) -> list[str]:
    return [sound.condition for sound in trial]


@pytest.mark.parametrize(("hz", "lowest", "highest"), [(100, -0.1, 0.1), (3500, -0.1, 0.1), (4000, -200, -50)])
def test_the_low_anchor_keeps_what_is_below_3500_hz_and_nothing_above_4000(hz, lowest, highest):
    sine = 0.5 * np.sin(2 * np.pi * hz * np.arange(SAMPLE_RATE) / SAMPLE_RATE).astype(np.float32)
    middle = slice(SAMPLE_RATE // 4, -SAMPLE_RATE // 4)
    change = 10 * np.log10(np.mean(material.low_anchor(sine)[middle] ** 2) / np.mean(sine[middle] ** 2))
    assert lowest < change < highest
    impulse = np.eye(1, 999, 400, dtype=np.float32)[0]
    late, short = material.low_anchor(impulse), material.low_anchor(impulse[:50])
    assert late.shape == (999,) and np.argmax(late) == 400 and short.shape == (50,)  # no delay, the same length


def test_a_trial_holds_reference_anchor_and_every_version_there_is(root):
    folder = write_examples(REPORTS / "patches") / "examples"
    shutil.copy(folder / "1_codec.wav", folder / "1_2_levels.wav")
    first, second = trials_there()
    assert conditions(first) == [REFERENCE, ANCHOR, "Opus, 6 kbit/s", CODEC]
    assert conditions(second) == [REFERENCE, ANCHOR, "mine, 2 levels", CODEC]  # no Opus was written
    assert {sound.origin for sound in first} == {RECORDING} and len({len(sound.samples) for sound in first}) == 1


def test_reports_on_the_same_clip_share_a_trial_and_the_codec_that_ships_comes_first(root):
    for name, codec in (("alpha", "other"), ("patches", "mine")):
        write_examples(REPORTS / name, codec)
    assert [folder.parent.name for folder in material.example_folders(REPORTS)] == ["patches", "alpha"]
    trials = trials_there()
    assert len(trials) == 2 and {"other, all levels", CODEC} <= set(conditions(trials[0]))


def test_what_a_run_sent_through_its_codec_makes_trials_too(root):
    run = make_run(root)
    write_examples(REPORTS / "trial")
    shutil.move(REPORTS / "trial" / "examples", run / "codec_clips")
    trials = trials_there([Run(run)])
    assert len(trials) == 2 and "mine, all levels" in conditions(trials[0])


def test_a_version_that_is_missing_is_left_out_and_one_that_leaves_the_folder_refused(root):
    folder = write_examples(REPORTS / "patches") / "examples"
    (folder / "0_codec.wav").unlink()
    (folder / "1_original.wav").unlink()
    assert [conditions(trial) for trial in trials_there()] == [[REFERENCE, ANCHOR, "Opus, 6 kbit/s"]]
    write_csv(folder / "examples.csv", read_csv(folder / "examples.csv").assign(codec="../../secret.wav"))
    with pytest.raises(InputError, match="leads outside"):
        trials_there()


def test_without_a_report_of_ones_own_the_published_versions_of_shipped_recordings_are_trials(root):
    data, names = root / "data", ("1-1-A-0.ogg", "1-2-A-10.ogg")
    for place, (name, category) in enumerate(zip(names, ("dog", "rain"), strict=True)):
        tone(data / "material" / "audio" / name, 700 + place)
        for system in ("mine", "another"):
            tone(data / "published" / "judges" / "x" / "clips" / system / category / name, 300 + place)
    tone(data / "published" / "judges" / "x" / "clips" / "model" / "dog" / "0006.ogg", 200)  # of no recording
    trials = material.published_trials(data / "published", Assets(root / "book", [data]))
    assert [conditions(trial) for trial in trials] == [[REFERENCE, ANCHOR, "another", "mine"]] * 2
    assert [trial[0].name for trial in trials] == [*names]
    assert material.published_trials(data / "published", Assets(root / "book", [root / "elsewhere"])) == []


def test_published_clips_and_recordings_of_the_same_categories_are_judged(root):
    published(root, ("dog", "sea_waves"))
    write_examples(REPORTS / "patches")  # two clips of sea waves
    clips = judged(root, trials=trials_there())
    found = [(sound.origin, sound.category) for sound in clips]
    assert found.count((GENERATED, "dog")) == 2 and found.count((RECORDING, "sea_waves")) == 2 and len(found) == 6
    assert [sound.category for sound in clips[:4]] == ["dog", "sea_waves", "dog", "sea_waves"]  # each in turn
    shutil.copytree(root / "data" / "published" / "made", root / "data" / "published" / "again")
    assert len(judged(root)) == 4  # a clip that was published from a run counts once


def test_clips_of_a_run_are_judged_beside_what_it_was_compared_with(root):
    run = Run(make_run(root))
    clips = judged(root, [run])
    assert [sound.origin for sound in clips] == [GENERATED] * 2 + [RECORDING] * 2
    assert conditions(clips) == [run.title] * 2 + [RECORDING] * 2
    published(root)
    assert set(conditions(judged(root, [run]))) == {"made, published", run.title, RECORDING}


def test_a_published_run_brings_the_recordings_that_ship(root):
    folder = published(root)
    names = {"1-1-A-0.wav": "dog", "1-2-A-0.wav": "rain", "1-3-A-0.wav": "rain"}  # the last does not ship
    rows = {"side": "real", "clip": names.keys(), "category": names.values()}
    write_csv(folder / "metrics.csv", pd.DataFrame(rows))
    for place, name in enumerate(list(names)[:2]):
        tone(root / "data" / "material" / "audio" / name, 700 + place)
    found = [(sound.name, sound.category) for sound in judged(root) if sound.origin == RECORDING]
    assert found == list(names.items())[:2]


def test_without_categories_or_permission_nothing_is_judged(root):
    assert judged(root, [Run(make_run(root, categories=()))]) == []
    (published(root).parent / "bare" / "clips").mkdir(parents=True)
    (published(root).parent / "bare" / "clips.csv").write_text("filename\n")
    assert judged(root, allowed="elsewhere") == []


def test_nothing_the_page_loads_tells_what_a_sound_is_and_the_key_tells_it(tmp_path):
    made = write_listening(two_clips(), two_trials(), tmp_path)
    text = (tmp_path / "material.mjs").read_text(encoding="utf-8")
    assert json.loads(re.fullmatch(r"window\.LISTENING = (.*);\n", text, re.DOTALL)[1]) == made
    assert not [word for word in TELLING if word in text.lower()]
    names = [path.stem for path in (tmp_path / "sounds").iterdir()]
    assert len(names) == 2 + 2 * 4 and all(re.fullmatch("[0-9a-f]{16}", name) for name in names)
    assert len({path.stat().st_size for path in (tmp_path / "sounds").iterdir()}) == 1  # lengths are equal here
    key, (label, fit, codec) = read_json(tmp_path / "key.json"), made["tasks"]
    assert key["page"] == made["page"] and key["made_up"] is False
    asked = {row["id"]: row["category"] for row in key["clips"]}
    assert {trial["item"]: trial["asked"].replace(" ", "_") for trial in fit["trials"]} == asked
    assert [set(trial) for trial in label["trials"]] == [{"item"}, {"item"}]
    assert [option["words"] for option in label["categories"]] == ["dog", "sea waves"]
    assert {row["condition"] for row in key["versions"]} == {REFERENCE, ANCHOR, CODEC}
    hidden = {row["trial"]: row["id"] for row in key["versions"] if row["condition"] == REFERENCE}
    for trial in codec["trials"]:  # the labelled and the hidden reference sound the same under two names
        name = hidden[trial["item"]]
        assert name in trial["versions"] and trial["item"] not in trial["versions"] == sorted(trial["versions"])
        first, second = (soundfile.read(tmp_path / "sounds" / f"{one}.wav")[0] for one in (trial["item"], name))
        assert np.array_equal(first, second)


def test_three_texts_beside_a_sound_do_not_tell_which_is_its_own(tmp_path, root):
    made = write_listening([], [], tmp_path, told_clips())
    (task,), key = made["tasks"], read_json(tmp_path / "key.json")
    assert task["task"] == "match" and len(task["trials"]) == 3 == len(list((tmp_path / "sounds").iterdir()))
    assert all(trial["texts"] == sorted(["big dog", "heavy rain", "old clock"]) for trial in task["trials"])
    assert {row["text"] for row in key["texts"]} == {"big dog", "heavy rain", "old clock"}
    more = [*told_clips(), replace(told_clips()[0], text="small dog"), replace(told_clips()[1], text="rain on a roof")]
    texts = material.texts_beside(more[0], more)
    assert len(set(texts)) == 3 and {"big dog"} <= set(texts) and "small dog" not in texts  # of another class first
    folder = root / "data" / "published" / "texts"
    for place in range(3):
        tone(folder / "sounds" / f"{place}.ogg", 200 + 10 * place)
    rows = [(f"{place}.ogg", "dog", "model", text) for place, text in enumerate(("a dog", "", "a cat"))]
    write_csv(folder / "sounds.csv", pd.DataFrame(rows, columns=["file", "category", "words", "text"]))
    assets = Assets(root / "book", [root / "data"])
    assert material.clips_to_match(root / "data" / "published", assets) == []  # two texts: nothing to choose from
    rows[1] = (*rows[1][:3], "a bird")
    write_csv(folder / "sounds.csv", pd.DataFrame(rows, columns=["file", "category", "words", "text"]))
    found = material.clips_to_match(root / "data" / "published", assets)
    assert [one.text for one in found] == ["a dog", "a bird", "a cat"] and all(len(one.samples) for one in found)


def test_the_same_sounds_give_the_same_page_and_another_sound_another(tmp_path):
    first, second = two_clips()
    changed = [first, replace(second, samples=second.samples / 2)]
    pages = [write_listening(clips, [], tmp_path)["page"] for clips in ([first, second], two_clips(), changed)]
    assert pages[0] == pages[1] != pages[2]


def test_a_task_without_sounds_says_so_and_is_left_out(tmp_path):
    made = write_listening([], two_trials(), tmp_path)
    assert [task["task"] for task in made["tasks"]] == ["codec"]
    text = "\n".join(contents(made, [], [trial[0] for trial in two_trials()]))
    assert "*Name the sound* is left out. No generated clips" in text and "their reference | 2 |" in text
    assert ":References of the codec task: 2 × recording" in text and "To be judged" not in text
    text = "\n".join(contents(write_listening([], [], tmp_path), [], []))
    assert PAGE.as_posix() not in text and text.count("is left out") == 4


def test_the_book_stages_the_test_and_the_page_includes_it(root):
    published(root)
    write_examples(REPORTS / "patches")
    stage(Staging(root / "data" / "published", root / "book", Assets(root / "book", [root / "data"])))
    text = (root / "book" / "executed" / "listening" / "contents.txt").read_text(encoding="utf-8")
    assert f'href="../{PAGE.as_posix()}"' in text and (root / "book" / material.FOLDER / "key.json").is_file()
    chapter = (REPOSITORY / "book" / "studies" / "listening.md").read_text(encoding="utf-8")
    assert "```{include} ../executed/listening/contents.txt\n```" in chapter and facts(root) == {}


def test_the_page_loads_nothing_from_elsewhere_and_adds_nothing_to_other_pages():
    paths = list((REPOSITORY / "book" / PAGE.parent).iterdir())
    assert REPOSITORY / "book" / PAGE in paths
    for path in paths:  # jupyter-book puts every .css and .js below _static on all pages
        assert path.suffix not in (".css", ".js")
        assert not re.findall(r"https?://|//[a-z]+\.", path.read_text(encoding="utf-8")), path.name
