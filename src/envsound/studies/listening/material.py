"""The sounds of the listening test, and the files of its page: codec versions of held-out clips, and clips to judge.

Whatever is not on this machine is left out. Every sound is read as mono at one rate, and no level is changed. The page
itself, book/_static/listening/, is static. A listener's answers name sounds by ids that say nothing; the key, which the
page does not load, maps them to conditions for `studies.listening.answers`.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import signal

from envsound.base.files import inside, read_csv, sha256_bytes, visible, write_json, write_text, write_wav
from envsound.data.audio import SAMPLE_RATE, read_clip
from envsound.report.assets import Assets
from envsound.report.runs import Run

FOLDER = Path("_static") / "generated" / "listening"  # in the book's folder
FORMAT, KEY_FORMAT, VERSION = "envsound-listening", "envsound-listening-key", 1
TASKS = {"label": "Name the sound", "fit": "Quality and fit", "match": "Sound and text"}
TASKS |= {"codec": "Codec versions against their reference"}
MINUTES = {"label": 10 / 60, "fit": 15 / 60, "match": 40 / 60, "codec": 1.5}  # of one trial, roughly
NO_CLIPS = "No generated clips with categories are on the machine that built this book."
NO_TRIALS = (
    "No clips as recorded and through a codec are on the machine that built this book; notebooks 01 and 08 write some."
)
NO_TEXTS = "No clips that were made after three different texts are on the machine that built this book."
N_TEXTS = 3  # to choose from
REFERENCE, ANCHOR = "hidden reference", "low anchor, 3.5 kHz"
RECORDING, GENERATED = "recording", "generated"
MOST_TRIALS, MOST_GENERATED, MOST_REAL = 8, 20, 10
LONGEST_SECONDS = 10.0
ANCHOR_HZ, ANCHOR_STOP_HZ, ANCHOR_STOP_DB = 3500.0, 4000.0, 60.0
ID_DIGITS = 16


@dataclass(frozen=True)
class Sound:
    """One sound of the test: what it is, and its samples, float32 [n_samples] in [-1, 1] at SAMPLE_RATE.

    name: of the clip it belongs to; origin: RECORDING or GENERATED; condition: what was done to it, or which system
    made it; path: its file, where that is not read yet; text: what it was made after, "" for none.
    """

    name: str
    category: str
    origin: str
    condition: str
    samples: np.ndarray = field(default_factory=lambda: np.empty(0, np.float32))
    path: Path | None = None
    text: str = ""

    def read(self) -> "Sound":
        """Return the sound with its samples, cut after LONGEST_SECONDS. Raises BadClip for an unreadable file."""
        return replace(self, samples=_samples(self.path), path=None) if self.path else self

    @property
    def told(self) -> dict[str, str]:
        """What the key tells of it."""
        return {"clip": self.name, "category": self.category, "origin": self.origin, "condition": self.condition}

    def id(self, role: str) -> str:
        """Return 16 hexadecimal digits that follow from the sound, what it is and its role, and tell nothing."""
        told = "|".join((role, *self.told.values()))
        return sha256_bytes(told.encode() + np.float32(self.samples).tobytes())[:ID_DIGITS]


def low_anchor(samples: np.ndarray) -> np.ndarray:
    """Return a clip, float32 [n_samples] at SAMPLE_RATE, without what lies above 3.5 kHz: the low anchor of BS.1534-3.

    A linear-phase low-pass without delay: flat within 0.1 dB up to 3.5 kHz, at least 50 dB down from 4 kHz on, which is
    steeper than the recommendation asks for.
    """
    filtered = signal.fftconvolve(samples.astype(np.float64), _anchor_filter(), mode="full")
    start = len(_anchor_filter()) // 2
    return np.clip(filtered[start : start + len(samples)], -1.0, 1.0).astype(np.float32)


def example_folders(reports: str | Path, runs: Sequence[Run] = ()) -> list[Path]:
    """Return the folders on this machine that hold clips as recorded and through a codec, with their examples.csv.

    reports: the folder of codec reports, data/runs/codec; the shipped codec's comes first. Then those of `runs`.
    """
    found = [path.parent for path in visible(reports, "*/examples/examples.csv")]
    found.sort(key=lambda folder: folder.parent.name != "patches")
    of_runs = [run.folder / "codec_clips" for run in runs]
    return found + [folder for folder in of_runs if (folder / "examples.csv").is_file()]


def codec_trials(folders: Sequence[Path], most: int = MOST_TRIALS) -> list[list[Sound]]:
    """Return the trials of the codec task: a reference, its low anchor, and its versions, all of one length.

    folders: as `example_folders` returns them. Those that hold the same clip share its trial. Trials whose reference or
    every version is missing are left out. Raises InputError for a name that leaves its folder, and BadClip for a sound
    that cannot be read.
    """
    trials: dict[str, dict[str, Sound]] = {}
    for folder in folders:
        for versions in _trials_of(folder, most):
            reference = versions[REFERENCE]
            mark = sha256_bytes(reference.name.encode() + reference.samples.tobytes())
            trials[mark] = versions | trials.get(mark, {})
    return [_in_order(versions) for versions in list(trials.values())[:most]]


def published_trials(published: str | Path, assets: Assets, most: int = MOST_TRIALS) -> list[list[Sound]]:
    """Return trials, as `codec_trials` does, of recordings that ship and what judges heard of them through codecs.

    published: data/published. One clip a class, the first. Only what `assets` permits is read.
    """
    found: dict[str, dict[str, Sound]] = {}
    recordings = Path(published).parent / "material" / "audio"
    for path in visible(published, "judges/*/clips/*/*/*.ogg"):
        reference, category = recordings / path.name, path.parent.name
        if not reference.is_file() or not assets.permits(path) or not assets.permits(reference):
            continue
        versions = found.setdefault(path.name, _anchored(path.name, category, _samples(reference)))
        words = path.parents[1].name
        versions[words] = Sound(path.name, category, RECORDING, words, _samples(path))
    return [_in_order(versions) for versions in list(found.values())[:most]]


def clips_to_judge(
    published: str | Path, runs: Sequence[Run], trials: Sequence[Sequence[Sound]], assets: Assets
) -> list[Sound]:
    """Return the clips of the other two tasks: generated ones, and real ones of the same categories.

    Generated: of `runs` with categories and of the folders in `published` (data/published). Real: what they were
    compared with, where it is on this machine, and the references of `trials`. The first clip of every category, then
    the second: nothing is picked by ear. Only what `assets` permits is read. Without generated clips the list is empty.
    """
    sources = [run for run in runs if not run.table("samples.csv").empty]
    folders = [path.parent for path in visible(published, "*/clips.csv")]
    sources += [Run(folder) for folder in folders if (folder / "clips").is_dir()]
    made = {source: found for source in sources if (found := _generated(source))}
    generated = [sound for found in made.values() for sound in found if assets.permits(sound.path)]
    categories = {sound.category for sound in generated}
    real = [sound for source in made for sound in _real(source) + _shipped(source, Path(published).parent)]
    real = [sound for sound in real if sound.category in categories and assets.permits(sound.path)]
    known = {Path(sound.name).stem for sound in real}
    references = [replace(trial[0], condition=RECORDING) for trial in trials]
    references = [sound for sound in references if sound.category in categories and sound.name not in known]
    read = [sound.read() for sound in [*_in_turn(generated, MOST_GENERATED), *_in_turn(real, MOST_REAL)]]
    n_missing = max(0, MOST_REAL - sum(sound.origin != GENERATED for sound in read)) if generated else 0
    return _without_copies([*read, *_in_turn(references, n_missing)])


def clips_to_match(published: str | Path, assets: Assets) -> list[Sound]:
    """Return the published clips that were made after texts; none where these are fewer than N_TEXTS."""
    found = []
    for path in visible(published, "*/sounds.csv"):
        table = read_csv(path).fillna("")
        for row in table[table["text"] != ""].to_dict("records") if "text" in table else ():
            file = inside(path.parent / "sounds", row["file"])
            if assets.permits(file):
                told = {"path": file, "text": row["text"]}
                found.append(Sound(row["file"], row["category"], GENERATED, row["words"], **told).read())
    return found if len({sound.text for sound in found}) >= N_TEXTS else []


def texts_beside(sound: Sound, sounds: Sequence[Sound]) -> list[str]:
    """Return the text of a sound and others to choose from, sorted: those of other classes first, drawn by a hash."""
    others = {other.text: other.category == sound.category for other in sounds if other.text != sound.text}
    drawn = sorted(others, key=lambda text: (others[text], sha256_bytes(f"{sound.text}|{text}".encode())))
    return sorted([sound.text, *drawn[: N_TEXTS - 1]])


def write_listening(
    clips: Sequence[Sound], trials: Sequence[Sequence[Sound]], folder: str | Path, told: Sequence[Sound] = ()
) -> dict[str, Any]:
    """Write sounds/<id>.wav, material.mjs and key.json into `folder`, and return the material.

    A trial's first sound is its reference, which is written twice: as the labelled reference and as a version among
    the others, so that no address gives it away. Every file has the same format. told: sounds made after texts.
    """
    folder = Path(folder)
    matched = {sound.id("match"): sound for sound in told}
    judged = {sound.id("clip"): sound for sound in clips}
    asked = {trial[0].id("reference"): {sound.id("version"): sound for sound in trial} for trial in trials}
    written = judged | matched | {name: next(iter(versions.values())) for name, versions in asked.items()}
    for name, sound in (written | {name: one for versions in asked.values() for name, one in versions.items()}).items():
        write_wav(folder / "sounds" / f"{name}.wav", sound.samples, SAMPLE_RATE)
    texts = {name: texts_beside(sound, told) for name, sound in matched.items()}
    material = _material(judged, asked, texts)
    write_text(folder / "material.mjs", f"window.LISTENING = {json.dumps(material)};\n")
    key = {"format": KEY_FORMAT, "version": VERSION, "page": material["page"], "made_up": False}
    key["categories"] = sorted({sound.category for sound in clips})
    key["clips"] = [{"id": name, **sound.told} for name, sound in judged.items()]
    key["texts"] = [
        {"id": name, **sound.told, "text": sound.text, "texts": texts[name]} for name, sound in matched.items()
    ]
    key["versions"] = [
        {"id": name, "trial": trial, **sound.told}
        for trial, versions in asked.items()
        for name, sound in versions.items()
    ]
    write_json(folder / "key.json", key)
    return material


def _material(
    judged: dict[str, Sound], asked: dict[str, dict[str, Sound]], texts: dict[str, list[str]]
) -> dict[str, Any]:
    """Return what the page loads. Lists are sorted by id, so that their order tells nothing either."""
    tasks: list[dict[str, Any]] = []
    if judged:
        names = sorted({sound.category for sound in judged.values()})
        options = [{"id": name, "words": _words(name)} for name in names]
        # First of all, because the next task says what each sound should be.
        tasks.append({"task": "label", "categories": options, "trials": [{"item": name} for name in sorted(judged)]})
        fits = [{"item": name, "asked": _words(judged[name].category)} for name in sorted(judged)]
        tasks.append({"task": "fit", "trials": fits})
    if texts:
        matches = [{"item": name, "texts": some} for name, some in sorted(texts.items())]
        tasks.append({"task": "match", "trials": matches})
    if asked:
        trials = [{"item": name, "versions": sorted(versions)} for name, versions in sorted(asked.items())]
        tasks.append({"task": "codec", "trials": trials})
    left_out = [] if judged else [{"task": name, "why": NO_CLIPS} for name in ("label", "fit")]
    left_out += [] if texts else [{"task": "match", "why": NO_TEXTS}]
    left_out += [] if asked else [{"task": "codec", "why": NO_TRIALS}]
    minutes = sum(MINUTES[task["task"]] * len(task["trials"]) for task in tasks)
    material = {"format": FORMAT, "version": VERSION, "minutes": round(minutes), "tasks": tasks, "left_out": left_out}
    return material | {"page": sha256_bytes(json.dumps(material, sort_keys=True).encode())[:ID_DIGITS]}


def _words(category: str) -> str:
    return category.replace("_", " ")


@cache
def _anchor_filter() -> np.ndarray:
    width = (ANCHOR_STOP_HZ - ANCHOR_HZ) / (SAMPLE_RATE / 2)
    n_taps, beta = signal.kaiserord(ANCHOR_STOP_DB, width)
    return signal.firwin(n_taps | 1, (ANCHOR_HZ + ANCHOR_STOP_HZ) / 2, window=("kaiser", beta), fs=SAMPLE_RATE)


def _samples(path: Path) -> np.ndarray:
    return read_clip(path, SAMPLE_RATE, LONGEST_SECONDS)


def _in_order(versions: dict[str, Sound]) -> list[Sound]:
    """Return a trial with reference and anchor first, every version cut to the shortest."""
    n_samples = min(len(sound.samples) for sound in versions.values())
    names = [REFERENCE, ANCHOR, *sorted(set(versions) - {REFERENCE, ANCHOR})]
    return [replace(versions[name], samples=versions[name].samples[:n_samples]) for name in names]


def _trials_of(folder: Path, most: int) -> Iterator[dict[str, Sound]]:
    examples = read_csv(folder / "examples.csv")
    for row in examples.head(most).to_dict("records"):
        codec, stem = row["codec_name"], row["codec"].removesuffix("codec.wav")
        kinds = {REFERENCE: row["original"], f"Opus, {row['opus_kbps']:g} kbit/s": row["opus"]}
        kinds[_with_all_levels(folder.parent, codec)] = row["codec"]
        for fewer in (path.name for path in visible(folder, "*_levels.wav") if stem and path.name.startswith(stem)):
            kinds[f"{codec}, {fewer.split('_')[-2]} levels"] = fewer
        paths = {words: inside(folder, name) for words, name in kinds.items() if name}
        found = {words: _samples(path) for words, path in paths.items() if path.is_file()}
        if REFERENCE not in found or len(found) == 1:
            continue
        clip, category = str(row["clip"]), str(row["category"])
        others = {words: Sound(clip, category, RECORDING, words, samples) for words, samples in found.items()}
        yield others | _anchored(clip, category, found[REFERENCE])


def _anchored(clip: str, category: str, reference: np.ndarray) -> dict[str, Sound]:
    """Return a trial's reference and its low anchor."""
    both = {REFERENCE: reference, ANCHOR: low_anchor(reference)}
    return {words: Sound(clip, category, RECORDING, words, samples) for words, samples in both.items()}


def _with_all_levels(folder: Path, codec: str) -> str:
    """Return what a codec with all its levels is called, with their number where the report's systems.csv tells it."""
    if (folder / "systems.csv").is_file():
        systems = read_csv(folder / "systems.csv")
        levels = systems.loc[systems["codec"] == codec, "n_levels"]
        if len(levels):
            return f"{codec}, {int(levels.max())} levels"
    return f"{codec}, all levels"


def _generated(source: Run) -> list[Sound]:
    """Return the generated clips of a run, or of a published copy of one."""
    is_run = (source.folder / "samples.csv").is_file()
    table, folder = source.table("samples.csv" if is_run else "clips.csv"), "samples" if is_run else "clips"
    title = source.title if is_run else f"{source.folder.name}, published"
    if not {"filename", "category"} <= set(table):
        return []
    named = table.loc[table["category"] != "", ["filename", "category"]].astype(str).to_numpy()
    return [Sound(name, of, GENERATED, title, path=inside(source.folder / folder, name)) for name, of in named]


def _real(source: Run) -> list[Sound]:
    clips = source.real_clips().fillna("").to_numpy()
    return [Sound(name, category, RECORDING, RECORDING, path=Path(path)) for name, category, path in clips]


def _shipped(source: Run, data: Path) -> list[Sound]:
    """Return the recordings that a published run was compared with, of those that ship below `data`."""
    compared = source.table("metrics.csv") if (source.folder / "clips.csv").is_file() else pd.DataFrame()
    if compared.empty:
        return []
    rows = compared.loc[compared["side"] == "real", ["clip", "category"]].drop_duplicates()
    audio = data / "material" / "audio"
    return [Sound(row.clip, row.category, RECORDING, RECORDING, path=audio / row.clip) for row in rows.itertuples()]


def _in_turn(sounds: Iterable[Sound], most: int) -> list[Sound]:
    """Return the first of every condition and category, then the second, and so on, `most` in all."""
    seen: Counter = Counter()
    places = []
    for number, sound in enumerate(sounds):
        kind = (sound.condition, sound.category)
        places.append((seen[kind], number, sound))
        seen[kind] += 1
    return [sound for _, _, sound in sorted(places, key=lambda place: place[:2])[:most]]


def _without_copies(sounds: Sequence[Sound]) -> list[Sound]:
    """Leave out sounds that came before: what was published and the run it was published from are the same."""
    first = {sha256_bytes(sound.samples.tobytes()): sound for sound in reversed(sounds)}
    return [sound for sound in sounds if first[sha256_bytes(sound.samples.tobytes())] is sound]
