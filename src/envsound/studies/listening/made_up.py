"""Made-up answers to the listening test, for tests and for a first look at its analysis. Nobody listened to anything.

Every file says so, and whatever reads one repeats it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from envsound.base.files import write_json
from envsound.studies.listening.answers import Key, read_key
from envsound.studies.listening.listening_page import FOLDER, FORMAT, KEY_FORMAT, VERSION
from envsound.studies.listening.material import ANCHOR, GENERATED, RECORDING, REFERENCE

MADE_UP = "MADE UP: a program wrote these answers, nobody listened"
CATEGORIES = ("dog", "rain", "rooster", "sea_waves", "sneezing")
CONDITIONS = {
    REFERENCE: 97.0,
    ANCHOR: 25.0,
    "a codec, 8 levels": 70.0,
    "a codec, 2 levels": 45.0,
    "Opus, 6 kbit/s": 40.0,
}
SOURCES = {GENERATED: "a made-up model", RECORDING: RECORDING}
OTHER_SCORE = 60.0  # what conditions that are not in CONDITIONS are about worth
CARELESS = 6  # every so many listeners one answers at random
STARTED = "2000-01-01T00:00:00Z"


def make_up_key(path: str | Path, per_category: int = 2, n_trials: int = 5) -> Path:
    """Write a key of a page that never was, marked as made up, and return its path."""
    clips = [
        {"id": f"c{number:02d}{place}{origin[0]}", "clip": f"{category}-{number}", "category": category,
         "origin": origin, "condition": condition}
        for place, category in enumerate(CATEGORIES)
        for origin, condition in SOURCES.items()
        for number in range(per_category)
    ]  # fmt: skip
    versions = [
        {"id": f"v{trial}{place}", "trial": f"t{trial}", "clip": f"clip-{trial}",
         "category": CATEGORIES[trial % len(CATEGORIES)], "origin": RECORDING, "condition": condition}
        for trial in range(n_trials)
        for place, condition in enumerate(CONDITIONS)
    ]  # fmt: skip
    head = {"format": KEY_FORMAT, "version": VERSION, "page": "made-up", "made_up": True}
    write_json(path, head | {"categories": list(CATEGORIES), "clips": clips, "versions": versions})
    return Path(path)


def make_up_answers(key: Key, folder: str | Path, n_listeners: int = 12, seed: int = 0) -> Path:
    """Write the answers of listeners who do not exist to the page of `key`, and return `folder`.

    Each has a bias; recordings are given better marks than generated clips, and conditions those of CONDITIONS. Every
    sixth answers at random, so that there is somebody for the screening to find.
    """
    for number in range(n_listeners):
        rng = np.random.default_rng([seed, number])
        careless = number % CARELESS == CARELESS - 1
        name = f"made-up-{number:02d}"
        answers = [*_clip_answers(key, rng, careless), *_codec_answers(key, rng, careless)]
        head: dict[str, Any] = {"made_up": MADE_UP, "format": FORMAT, "version": VERSION, "page": key.page}
        head |= {"listener": name, "seed": seed, "listening_with": "", "started": STARTED, "finished": STARTED}
        head["order"] = [{"task": answer["task"], "item": answer["item"]} for answer in answers]
        write_json(Path(folder) / f"{FORMAT}-{name}.json", head | {"answers": answers})
    return Path(folder)


def given_or_made_up(
    answers_dir: str, key: str, out_dir: str | Path, n_listeners: int = 12, seed: int = 0
) -> tuple[Path, Key]:
    """Return the folder of answers and the key: those given, or made-up ones where `answers_dir` is "".

    key: "" takes that of the book as last built here. Made-up files go to made_up/ in `out_dir`.
    """
    if answers_dir:
        return Path(answers_dir), read_key(key or Path("book") / FOLDER / "key.json")
    place = Path(out_dir) / "made_up"
    made = read_key(make_up_key(place / "key.json"))
    for old in (place / "answers").glob("*.json"):
        old.unlink()
    return make_up_answers(made, place / "answers", n_listeners, seed), made


def _clip_answers(key: Key, rng: np.random.Generator, careless: bool) -> list[dict[str, Any]]:
    bias, found = rng.normal(0, 0.7), []
    for item, told in key.clips.items():
        good = told["origin"] != GENERATED
        knows = rng.random() < (0.95 if good else 0.6) and not careless
        answer = told["category"] if knows else str(rng.choice(key.categories))
        found.append(_answer("label", item, rng) | {"answer": answer})
    for item, told in key.clips.items():
        level = (8.3 if told["origin"] != GENERATED else 5.2) + bias
        drawn = rng.uniform(1, 10, 2) if careless else level + rng.normal(0, 1.2, 2)
        quality, fit = np.clip(drawn.round(), 1, 10).astype(int).tolist()
        found.append(_answer("fit", item, rng) | {"quality": quality, "fit": fit})
    return found


def _codec_answers(key: Key, rng: np.random.Generator, careless: bool) -> list[dict[str, Any]]:
    bias = rng.normal(0, 5)
    trials: dict[str, dict[str, int]] = {}
    for item, told in key.versions.items():
        level = CONDITIONS.get(told["condition"], OTHER_SCORE)
        spread = 1.0 if told["condition"] == REFERENCE else 8.0
        drawn = rng.uniform(0, 100) if careless else level + (bias if spread > 1 else 0) + rng.normal(0, spread)
        trials.setdefault(told["trial"], {})[item] = int(np.clip(drawn, 0, 100).round())
    return [_answer("codec", trial, rng) | {"ratings": ratings} for trial, ratings in trials.items()]


def _answer(task: str, item: str, rng: np.random.Generator) -> Mapping[str, Any]:
    return {"task": task, "item": item, "at": STARTED, "seconds": round(float(rng.uniform(4, 40)), 3)}
