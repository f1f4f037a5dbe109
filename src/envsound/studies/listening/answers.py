"""Answers of the listening test: reads the files that listeners saved, with the page's key, and checks all of it.

Answers can also be made up, for tests and for a first look at the analysis: nobody listened to anything then, every
file says so, and whatever reads one repeats it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from envsound.base.errors import InputError
from envsound.base.files import read_json, remove_written, visible, write_json
from envsound.studies.listening import material
from envsound.studies.listening.material import ANCHOR, FORMAT, GENERATED, RECORDING, REFERENCE, TASKS, VERSION

LISTENERS = ["listener", "file", "listening_with", "started", "finished", *(f"n_{task}" for task in TASKS), "n_failed"]
CLIP = ["clip", "category", "origin", "condition"]
EMOTIONS = ("happiness", "sadness", "fear", "anger")
TABLES = {
    "label": ["listener", "item", *CLIP, "answer", "right", "seconds"],
    "fit": ["listener", "item", *CLIP, "quality", "fit", "seconds"],
    "match": ["listener", "item", *CLIP, "text", "answer", "right", "quality", *EMOTIONS, "seconds"],
    "codec": ["listener", "trial", "item", *CLIP, "score", "seconds"],
}
QUESTIONS = ("quality", "fit")
LISTENER_NAME = r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,39}"  # it is shown in pages: no markup
LONGEST_SECONDS = 1e7  # of one answer: a tab may stay open for weeks
MADE_UP = "MADE UP: a program wrote these answers, nobody listened"
CATEGORIES = ("dog", "rain", "rooster", "sea_waves", "sneezing")
TEXTS = ("a big dog outside", "rain on a car roof", "old clock ticking", "waves on a beach")
CONDITIONS = {REFERENCE: 97, ANCHOR: 25, "a codec, 8 levels": 70, "a codec, 2 levels": 45, "Opus, 6 kbit/s": 40}
SOURCES = {GENERATED: "a made-up model", RECORDING: RECORDING}
OTHER_SCORE = 60  # what conditions that are not in CONDITIONS are about worth
CARELESS = 6  # every so many listeners one answers at random
STARTED = "2000-01-01T00:00:00Z"


@dataclass(frozen=True)
class Key:
    """What the ids of a page stand for.

    page: hash of its content; categories: the answers of the first task; clips, versions, texts: id -> what the key's
    file says of it (clip, category, origin, condition; a version also its trial, a sound made after a text that text
    and the `texts` to choose from); made_up: whether no page was ever made.
    """

    page: str
    categories: tuple[str, ...]
    clips: dict[str, dict[str, str]]
    versions: dict[str, dict[str, str]]
    texts: dict[str, dict[str, Any]]
    made_up: bool = False

    def trial(self, name: str) -> set[str]:
        """Return the ids of the versions of a trial; none when the page has no such trial."""
        return {item for item, told in self.versions.items() if told["trial"] == name}

    def knows(self, task: str, item: str) -> bool:
        """Say whether the page asks about an item in a task."""
        return bool(self.trial(item)) if task == "codec" else item in (self.texts if task == "match" else self.clips)


@dataclass(frozen=True)
class Answers:
    """The answers of a folder, one table for each task (columns in TABLES), and who gave them.

    listeners: columns LISTENERS. In `codec` every version rated has a row. made_up: nobody listened.
    """

    listeners: pd.DataFrame
    label: pd.DataFrame
    fit: pd.DataFrame
    match: pd.DataFrame
    codec: pd.DataFrame
    categories: tuple[str, ...]
    made_up: bool

    def notice(self) -> str:
        """Return what must be said before any number, in Markdown."""
        if self.made_up:
            return (
                "**THESE ANSWERS ARE MADE UP. Nobody listened.** A program wrote them to show that the analysis works; "
                "no number below says anything about any sound."
            )
        n_done = int((self.listeners["finished"] != "").sum())
        return f"Listeners: **{len(self.listeners)}**; {n_done} of them finished."


def read_key(path: str | Path) -> Key:
    """Read key.json, as `material` writes it. Raises InputError naming the file when it is anything else."""
    value = _read(path)
    known = isinstance(value, dict) and value.get("format") == material.KEY_FORMAT
    _check(known, path, "not a key of the listening test", "key.json as the book's build writes it")
    _check(value.get("version") == VERSION, path, f"version {value.get('version')!r}", f"version {VERSION}")
    try:
        parts = value["clips"], value["versions"], value.get("texts", [])  # none in a key of before there were any
        clips, versions, texts = ({row["id"]: row for row in part} for part in parts)
        complete = all({*CLIP} <= set(row) for some in (clips, versions, texts) for row in some.values())
        complete &= all("trial" in row for row in versions.values())
        complete &= all(row["text"] in row["texts"] for row in texts.values())
        page, categories = str(value["page"]), tuple(map(str, value["categories"]))
    except (KeyError, TypeError):
        complete = False
    _check(complete, path, "damaged", "page, categories, clips, versions and texts with all their fields")
    return Key(page, categories, clips, versions, texts, bool(value.get("made_up")))


def read_answers(folder: str | Path, key: Key) -> Answers:
    """Read every .json in `folder` as the answers of one listener to the page of `key`.

    Unfinished files count for what they hold. Raises InputError naming the file when one is damaged, was saved by
    something else or by another build of the page, repeats a listener, or is made up where others are not.
    """
    paths = visible(folder, "*.json")
    if not paths:
        raise InputError(f"{folder}: no answers in it; expected files envsound-listening-<name>.json")
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in ("listeners", *TABLES)}
    seen: dict[str, Path] = {}
    made_up = set()
    for path in paths:
        value = _read(path)
        _check_head(path, value, key)
        name = value["listener"]
        _check(name not in seen, path, f"the same listener as in {seen.get(name)}", "one file for each listener")
        seen[name] = path
        made_up.add(bool(value.get("made_up")))
        _check(len(made_up) == 1, path, "made-up answers beside a listener's", "one kind in a folder")
        rows["listeners"].append(_take(path, value, key, rows))
    tables = {name: pd.DataFrame(rows[name], columns=columns) for name, columns in TABLES.items()}
    listeners = pd.DataFrame(rows["listeners"], columns=LISTENERS)
    return Answers(listeners, **tables, categories=key.categories, made_up=made_up == {True} or key.made_up)


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
    texts = [
        {"id": f"m{place}", "clip": f"text-{place}", "category": "", "origin": GENERATED,
         "condition": SOURCES[GENERATED], "text": text, "texts": sorted({text, TEXTS[place - 1], TEXTS[place - 2]})}
        for place, text in enumerate(TEXTS)
    ]  # fmt: skip
    head = {"format": material.KEY_FORMAT, "version": VERSION, "page": "made-up", "made_up": True}
    head |= {"categories": list(CATEGORIES), "clips": clips, "versions": versions, "texts": texts}
    write_json(path, head)
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
        made = (_clip_answers, _text_answers, _codec_answers)
        answers = [answer for part in made for answer in part(key, rng, careless)]
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
        return Path(answers_dir), read_key(key or Path("book") / material.FOLDER / "key.json")
    place = Path(out_dir) / "made_up"
    made = read_key(make_up_key(place / "key.json"))
    remove_written(place / "answers", [path.name for path in visible(place / "answers", f"{FORMAT}-*.json")])
    return make_up_answers(made, place / "answers", n_listeners, seed), made


def _read(path: str | Path) -> Any:
    try:
        return read_json(path)
    except UnicodeDecodeError:
        raise InputError(f"{path}: not text; expected JSON in UTF-8") from None


def _check(holds: bool, path: str | Path, wrong: str, expected: str) -> None:
    if not holds:
        raise InputError(f"{path}: {wrong}; expected {expected}")


def _check_head(path: Path, value: Any, key: Key) -> None:
    known = isinstance(value, dict) and value.get("format") == FORMAT
    _check(known, path, "not answers of the listening test", "a file that its page has saved")
    _check(value.get("version") == VERSION, path, f"version {value.get('version')!r}", f"version {VERSION}")
    page = value.get("page")
    _check(page == key.page, path, f"answers to the page {page!r}", f"{key.page!r}, the page of the key")
    name = value.get("listener")
    known = isinstance(name, str) and re.fullmatch(LISTENER_NAME, name) is not None
    _check(known, path, f"listener {name!r}", "a name of up to 40 letters, digits, spaces, dots, dashes or underscores")
    _check(isinstance(value.get("seed"), int), path, f"seed {value.get('seed')!r}", "an integer")
    _check(isinstance(value.get("answers"), list), path, "no list of answers", "one")


def _take(path: Path, value: dict[str, Any], key: Key, rows: dict[str, list[dict]]) -> dict[str, Any]:
    """Add the answers of one file to `rows` and return the listener's own row."""
    listener: dict[str, Any] = {name: str(value.get(name) or "") for name in LISTENERS[:5]} | {"file": path.name}
    counts = dict.fromkeys(LISTENERS[5:], 0)
    asked: set[tuple[str, str]] = set()
    for number, answer in enumerate(value["answers"], 1):
        where = f"answer {number}"
        task = answer.get("task") if isinstance(answer, dict) else None
        known = isinstance(task, str) and task in TASKS
        _check(known, path, f"{where} belongs to no task", f"one of {', '.join(TASKS)}")
        item = answer.get("item")
        _check(isinstance(item, str) and key.knows(task, item), path, f"{where} is about {item!r}", "an id of the key")
        _check((task, item) not in asked, path, f"{where} repeats an earlier one", "one answer for each trial")
        asked.add((task, item))
        if answer.get("failed"):
            counts["n_failed"] += 1
            continue
        timed = _number(answer.get("seconds"), 0, LONGEST_SECONDS)
        _check(timed, path, f"{where} has no duration", "seconds, 0 or more")
        common = {"listener": listener["listener"], "seconds": float(answer["seconds"])}
        rows[task] += [common | row for row in READ[task](path, where, answer, key)]
        counts[f"n_{task}"] += 1
    return listener | counts


def _label(path: Path, where: str, answer: Mapping[str, Any], key: Key) -> list[dict[str, Any]]:
    given, told = answer.get("answer"), key.clips[answer["item"]]
    _check(given in key.categories, path, f"{where} is {given!r}", f"one of {', '.join(key.categories)}")
    return [_told(told) | {"item": answer["item"], "answer": given, "right": given == told["category"]}]


def _fit(path: Path, where: str, answer: Mapping[str, Any], key: Key) -> list[dict[str, Any]]:
    for name in QUESTIONS:
        value = answer.get(name)
        whole = _number(value, 1, 10) and value == int(value)
        _check(whole, path, f"{where} has the {name} {value!r}", "a whole number from 1 to 10")
    scores = {name: int(answer[name]) for name in QUESTIONS}
    return [_told(key.clips[answer["item"]]) | {"item": answer["item"], **scores}]


def _match(path: Path, where: str, answer: Mapping[str, Any], key: Key) -> list[dict[str, Any]]:
    given, told = answer.get("answer"), key.texts[answer["item"]]
    _check(given in told["texts"], path, f"{where} is {given!r}", f"one of {', '.join(told['texts'])}")
    for name in ("quality", *EMOTIONS):
        value = answer.get(name)
        whole = _number(value, 0, 10) and value == int(value)
        _check(whole, path, f"{where} has the {name} {value!r}", "a whole number from 0 to 10")
    scores = {name: int(answer[name]) for name in ("quality", *EMOTIONS)}
    row = _told(told) | {"item": answer["item"], "text": told["text"], "answer": given, "right": given == told["text"]}
    return [row | scores]


def _codec(path: Path, where: str, answer: Mapping[str, Any], key: Key) -> list[dict[str, Any]]:
    ratings, wanted = answer.get("ratings"), key.trial(answer["item"])
    same = isinstance(ratings, dict) and set(ratings) == wanted
    _check(same, path, f"{where} does not rate the versions of its trial", "each of them once")
    for score in ratings.values():
        _check(_number(score, 0, 100), path, f"{where} holds the rating {score!r}", "0 to 100")
    return [
        _told(key.versions[item]) | {"trial": answer["item"], "item": item, "score": float(score)}
        for item, score in ratings.items()
    ]


READ = {"label": _label, "fit": _fit, "match": _match, "codec": _codec}


def _told(row: Mapping[str, str]) -> dict[str, str]:
    return {name: row[name] for name in CLIP}


def _number(value: Any, low: float, high: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


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


def _text_answers(key: Key, rng: np.random.Generator, careless: bool) -> list[dict[str, Any]]:
    found = []
    for item, told in key.texts.items():
        knows = rng.random() < 0.7 and not careless
        felt = dict(zip(("quality", *EMOTIONS), rng.integers(0, 11, 1 + len(EMOTIONS)).tolist(), strict=True))
        answer = told["text"] if knows else str(rng.choice(told["texts"]))
        found.append(_answer("match", item, rng) | {"answer": answer} | felt)
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
