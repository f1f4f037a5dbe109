"""The listening test in the book: writes the sounds, what the page loads of them, and the key that tells what they are.

The page itself, book/_static/listening/, is static. A listener's answers name sounds by ids that say nothing; the key,
which the page does not load, maps them to conditions for `envsound.studies.listening.answers`.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from envsound.base.files import sha256_bytes, write_json, write_text, write_wav
from envsound.data.audio import SAMPLE_RATE
from envsound.report.assets import Assets
from envsound.report.runs import Run
from envsound.studies.listening.material import (
    GENERATED,
    RECORDING,
    STAND_IN,
    Sound,
    clips_to_judge,
    codec_trials,
    example_folders,
)

FOLDER = Path("_static") / "generated" / "listening"  # in the book's folder
PAGE = Path("_static") / "listening" / "index.html"
FORMAT, KEY_FORMAT, VERSION = "envsound-listening", "envsound-listening-key", 1
ID_DIGITS = 16
TASKS = {"label": "Name the sound", "fit": "Quality and fit", "codec": "Codec versions against their reference"}
MINUTES = {"label": 10 / 60, "fit": 15 / 60, "codec": 1.5}  # of one trial, roughly
NO_CLIPS = "No generated clips with categories are on the machine that built this book."
NO_TRIALS = (
    "No clips as recorded and through a codec are on the machine that built this book; notebooks 01 and 08 write some."
)


def stage_listening(
    published: str | Path, reports: str | Path, runs: Sequence[Run], assets: Assets, book_dir: str | Path
) -> Path:
    """Write the listening test of what is on this machine, and return the path of its key.

    In `book_dir`: sounds, material.mjs and key.json in _static/generated/listening/, and, for the chapter to include,
    executed/listening/contents.txt. `published` is data/published, `reports` data/runs/codec. Raises InputError for a
    sound that cannot be read.
    """
    book_dir = Path(book_dir)
    trials = codec_trials(example_folders(reports, runs))
    clips = clips_to_judge(published, runs, trials, assets)
    material = write_listening(clips, trials, book_dir / FOLDER)
    write_text(book_dir / "executed" / "listening" / "contents.txt", contents(material, clips, trials))
    return book_dir / FOLDER / "key.json"


def write_listening(clips: Sequence[Sound], trials: Sequence[Sequence[Sound]], folder: str | Path) -> dict[str, Any]:
    """Write sounds/<id>.wav, material.mjs and key.json into `folder`, and return the material.

    A trial's first sound is its reference, which is written twice: as the labelled reference and as a version among
    the others, so that no address gives it away. Every file has the same format.
    """
    folder = Path(folder)
    clip_ids = [sound_id(sound, "clip") for sound in clips]
    trial_ids = [sound_id(trial[0], "reference") for trial in trials]
    versions = [[sound_id(sound, "version") for sound in trial] for trial in trials]
    written = dict(zip(clip_ids, clips, strict=True)) | {
        name: trial[0] for name, trial in zip(trial_ids, trials, strict=True)
    }
    for names, trial in zip(versions, trials, strict=True):
        written |= dict(zip(names, trial, strict=True))
    for name, sound in written.items():
        write_wav(folder / "sounds" / f"{name}.wav", sound.samples, SAMPLE_RATE)
    material = _material(clip_ids, clips, trial_ids, versions)
    write_text(folder / "material.mjs", f"window.LISTENING = {json.dumps(material)};\n")
    key = {"format": KEY_FORMAT, "version": VERSION, "page": material["page"], "made_up": False}
    key["categories"] = sorted({sound.category for sound in clips})
    key["clips"] = [{"id": name, **_told(sound)} for name, sound in zip(clip_ids, clips, strict=True)]
    key["versions"] = [
        {"id": name, "trial": trial, **_told(sound)}
        for trial, names, sounds in zip(trial_ids, versions, trials, strict=True)
        for name, sound in zip(names, sounds, strict=True)
    ]
    write_json(folder / "key.json", key)
    return material


def sound_id(sound: Sound, role: str) -> str:
    """Return 16 hexadecimal digits that follow from a sound, what it is and its role, and tell a listener nothing."""
    told = "|".join((role, sound.name, sound.category, sound.origin, sound.condition))
    return sha256_bytes(told.encode() + np.float32(sound.samples).tobytes())[:ID_DIGITS]


def _told(sound: Sound) -> dict[str, str]:
    return {
        "clip": sound.name, "category": sound.category, "origin": sound.origin, "condition": sound.condition,
    }  # fmt: skip


def _material(
    clip_ids: list[str], clips: Sequence[Sound], trial_ids: list[str], versions: list[list[str]]
) -> dict[str, Any]:
    """Return what the page loads. Lists are sorted by id, so that their order tells nothing either."""
    tasks: list[dict[str, Any]] = []
    if clips:
        asked = sorted(zip(clip_ids, (sound.category for sound in clips), strict=True))
        names = sorted({sound.category for sound in clips})
        options = [{"id": name, "words": _words(name)} for name in names]
        # First of all, because the next task says what each sound should be.
        tasks.append({"task": "label", "categories": options, "trials": [{"item": name} for name, _ in asked]})
        tasks.append({"task": "fit", "trials": [{"item": name, "asked": _words(category)} for name, category in asked]})
    if trial_ids:
        pairs = sorted(zip(trial_ids, versions, strict=True))
        tasks.append({"task": "codec", "trials": [{"item": name, "versions": sorted(ids)} for name, ids in pairs]})
    left_out = [] if clips else [{"task": name, "why": NO_CLIPS} for name in ("label", "fit")]
    left_out += [] if trial_ids else [{"task": "codec", "why": NO_TRIALS}]
    minutes = sum(MINUTES[task["task"]] * len(task["trials"]) for task in tasks)
    material = {"format": FORMAT, "version": VERSION, "minutes": round(minutes), "tasks": tasks, "left_out": left_out}
    return material | {"page": sha256_bytes(json.dumps(material, sort_keys=True).encode())[:ID_DIGITS]}


def contents(material: Mapping[str, Any], clips: Sequence[Sound], trials: Sequence[Sequence[Sound]]) -> str:
    """Return the part of the chapter that says what this build's test consists of, with a link to it, in Markdown."""
    sizes = {task["task"]: len(task["trials"]) for task in material["tasks"]}
    lines = []
    if sizes:
        link = f'<p><a href="{PAGE.as_posix()}"><strong>Open the listening test</strong></a></p>'
        lines += ["```{raw} html", link, "```", "", *_sounds_in_words(clips, trials), ""]
    lines += [f"- *{words}*: {sizes[name]} trials" for name, words in TASKS.items() if name in sizes]
    lines += [f"- *{TASKS[part['task']]}* is left out. {part['why']}" for part in material["left_out"]]
    return "\n".join(lines) + "\n"


def _sounds_in_words(clips: Sequence[Sound], trials: Sequence[Sequence[Sound]]) -> list[str]:
    counts = {origin: sum(sound.origin == origin for sound in clips) for origin in (GENERATED, RECORDING, STAND_IN)}
    plural = {GENERATED: "generated clips", RECORDING: "recordings", STAND_IN: "**synthetic** stand-ins for recordings"}
    judged = ", ".join(f"{n} {plural[origin]}" for origin, n in counts.items() if n)
    lines = [f"To be judged: {judged}."] if judged else []
    if clips and counts[RECORDING] + counts[STAND_IN] == 0:
        lines.append("Real clips are not on the machine that built this book, so none is mixed in.")
    if any(trial[0].origin == STAND_IN for trial in trials):
        lines.append("The references of the codec task are **synthetic** stand-ins, not recordings.")
    return lines


def _words(category: str) -> str:
    return category.replace("_", " ")
