"""The sounds of the listening test: codec versions of held-out clips, and generated clips among real ones.

Whatever is not on this machine is left out. Every sound is read as mono at one rate, and no level is changed.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from scipy import signal

from envsound.base.errors import InputError
from envsound.base.files import inside, read_csv, read_json, sha256_bytes
from envsound.codec import Codec, load_codec
from envsound.codec.systems import OPUS, level_name, through_codec
from envsound.data.audio import SAMPLE_RATE, read_clip
from envsound.report.assets import Assets
from envsound.report.facts import run_origin
from envsound.report.runs import Run, SoundPage

REFERENCE, ANCHOR = "hidden reference", "low anchor, 3.5 kHz"
RECORDING, STAND_IN, GENERATED = "recording", "synthetic stand-in", "generated"
FEWER_LEVELS = 2  # of the codec, as one more version where the codec itself is on this machine
MOST_TRIALS, MOST_GENERATED, MOST_REAL = 8, 20, 10
LONGEST_SECONDS = 10.0
ANCHOR_HZ, ANCHOR_STOP_HZ = 3500.0, 4000.0
ANCHOR_STOP_DB = 60.0


@dataclass(frozen=True)
class Sound:
    """One sound of the test: samples float32 [n_samples] in [-1, 1] at SAMPLE_RATE, and what it is.

    name: of the clip it belongs to; origin: RECORDING, STAND_IN or GENERATED; condition: what was done to it, or which
    system made it.
    """

    samples: np.ndarray
    name: str
    category: str
    origin: str
    condition: str


@dataclass(frozen=True)
class Entry:
    """A clip that could be judged: its file, not yet read, and what `Sound` will say of it."""

    path: Path
    name: str
    category: str
    origin: str
    condition: str

    def read(self) -> Sound:
        """Return the sound, cut after LONGEST_SECONDS. Raises BadClip for a file that cannot be read."""
        samples = read_clip(self.path, SAMPLE_RATE, LONGEST_SECONDS)
        return Sound(samples, self.name, self.category, self.origin, self.condition)


@cache
def _anchor_filter() -> np.ndarray:
    width = (ANCHOR_STOP_HZ - ANCHOR_HZ) / (SAMPLE_RATE / 2)
    n_taps, beta = signal.kaiserord(ANCHOR_STOP_DB, width)
    return signal.firwin(n_taps | 1, (ANCHOR_HZ + ANCHOR_STOP_HZ) / 2, window=("kaiser", beta), fs=SAMPLE_RATE)


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

    reports: the folder of codec reports, data/runs/codec; that of the bundled codec comes first. Then those of `runs`.
    """
    found = sorted(path.parent for path in Path(reports).glob("*/examples/examples.csv"))
    found.sort(key=lambda folder: folder.parent.name != "bundled")
    of_runs = [run.folder / "codec_clips" for run in runs]
    return found + [folder for folder in of_runs if (folder / "examples.csv").is_file()]


def codec_trials(folders: Sequence[Path], most: int = MOST_TRIALS) -> list[list[Sound]]:
    """Return the trials of the codec task: a reference, its low anchor, and its versions, all of one length.

    folders: as `example_folders` returns them. Those that hold the same clip share its trial. Synthetic stand-ins count
    only where there is no recording. Trials whose reference or every version is missing are left out. Raises InputError
    for a name that leaves its folder, and BadClip for a sound that cannot be read.
    """
    stand_ins = [folder for folder in folders if _on_stand_ins(folder)]
    trials: dict[str, dict[str, Sound]] = {}
    for folder in [folder for folder in folders if folder not in stand_ins] or stand_ins:
        origin = STAND_IN if folder in stand_ins else RECORDING
        for versions in _trials_of(folder, origin, most):
            reference = versions[REFERENCE]
            mark = sha256_bytes(reference.name.encode() + reference.samples.tobytes())
            trials[mark] = versions | trials.get(mark, {})
    return [_in_order(versions) for versions in list(trials.values())[:most]]


def _on_stand_ins(folder: Path) -> bool:
    return (folder.parent / "provenance.json").is_file() and run_origin(folder.parent).get("dataset") == "synthetic"


def _in_order(versions: dict[str, Sound]) -> list[Sound]:
    """Return a trial with reference and anchor first, every version cut to the shortest."""
    n_samples = min(len(sound.samples) for sound in versions.values())
    names = [REFERENCE, ANCHOR, *sorted(set(versions) - {REFERENCE, ANCHOR})]
    return [replace(versions[name], samples=versions[name].samples[:n_samples]) for name in names]


def _trials_of(folder: Path, origin: str, most: int) -> Iterator[dict[str, Sound]]:
    examples = read_csv(folder / "examples.csv")
    name = str(examples["codec_name"].iloc[0]) if len(examples) else ""
    codec = codec_again(folder.parent, name)
    highest = level_name(name, codec.n_levels) if codec else _with_all_levels(folder.parent, name)
    for row in examples.head(most).to_dict("records"):
        kinds = {"original": REFERENCE, "codec": highest, "opus": OPUS.format(f"{row['opus_kbps']:g}")}
        read = {words: _read_example(folder, row[kind]) for kind, words in kinds.items()}
        found = {words: samples for words, samples in read.items() if samples is not None}
        if REFERENCE not in found or len(found) == 1:
            continue
        if codec is not None:
            found[level_name(name, FEWER_LEVELS)] = through_codec(found[REFERENCE], codec, FEWER_LEVELS)
        found[ANCHOR] = low_anchor(found[REFERENCE])
        clip, category = str(row["clip"]), str(row["category"])
        yield {words: Sound(samples, clip, category, origin, words) for words, samples in found.items()}


def _read_example(folder: Path, name: object) -> np.ndarray | None:
    path = inside(folder, name) if isinstance(name, str) and name else None
    return read_clip(path, SAMPLE_RATE, LONGEST_SECONDS) if path and path.is_file() else None


def _with_all_levels(folder: Path, codec: str) -> str:
    """Return what a codec with all its levels is called, with their number where the report's systems.csv tells it."""
    if (folder / "systems.csv").is_file():
        systems = read_csv(folder / "systems.csv")
        levels = systems.loc[systems["codec"] == codec, "n_levels"]
        if len(levels):
            return level_name(codec, int(levels.max()))
    return f"{codec}, all levels"


def codec_again(folder: str | Path, name: str) -> Codec | None:
    """Return the codec that a report or run in `folder` used under `name`; None where it is not here, or has changed.

    Nothing is downloaded; a codec with no more than FEWER_LEVELS levels is none either.
    """
    path = Path(folder) / "provenance.json"
    for step in (read_json(path).get("steps", {}) if path.is_file() else {}).values():
        given, noted = step.get("parameters", {}), step.get("facts", {})
        wanted, expected = str(given.get("codec", "")), noted.get("codecs", {}).get(name) or noted.get("codec_hash")
        if expected and (wanted == "bundled" or wanted.endswith(".safetensors")):
            try:
                codec = load_codec(wanted, device="cpu")
            except InputError:
                return None
            same = codec.content_hash == expected and codec.sample_rate == SAMPLE_RATE
            return codec if same and codec.n_levels > FEWER_LEVELS else None
    return None


def clips_to_judge(
    published: str | Path, runs: Sequence[Run], trials: Sequence[Sequence[Sound]], assets: Assets
) -> list[Sound]:
    """Return the clips of the other two tasks: generated ones, and real ones of the same categories.

    Generated: of `runs` with categories and of the folders in `published` (data/published). Real: what the runs were
    compared with, and the references of `trials`. Models of synthetic stand-ins count only where there is no other,
    and then stand-ins take the place of recordings. The first clip of every category, then the second: nothing is
    picked by ear. Only what `assets` permits is read. Without a generated clip the list is empty.
    """
    sources = [run for run in runs if not run.table("samples.csv").empty]
    folders = sorted(path.parent for path in Path(published).glob("*/clips.csv"))
    sources += [Run(folder) for folder in folders if (folder / "clips").is_dir()]
    recorded = [source for source in sources if not source.synthetic and _generated(source)]
    sources = recorded or [source for source in sources if _generated(source)]
    generated = [entry for source in sources for entry in _generated(source) if assets.permits(entry.path)]
    categories = {entry.category for entry in generated}
    origin = RECORDING if recorded else STAND_IN
    real = [entry for source in sources for entry in _real(source, origin, assets)]
    real = [entry for entry in real if entry.category in categories and assets.permits(entry.path)]
    references = [replace(trial[0], condition=origin) for trial in trials]
    known = {Path(entry.name).stem for entry in real}
    references = [
        sound
        for sound in references
        if sound.origin == origin and sound.category in categories and sound.name not in known
    ]
    read = [entry.read() for entry in [*_in_turn(generated, MOST_GENERATED), *_in_turn(real, MOST_REAL)]]
    n_missing = max(0, MOST_REAL - sum(sound.origin != GENERATED for sound in read)) if generated else 0
    return _without_copies([*read, *_in_turn(references, n_missing)])


def _generated(source: Run) -> list[Entry]:
    """Return the generated clips of a run, or of a published copy of one."""
    is_run = (source.folder / "samples.csv").is_file()
    table, folder = source.table("samples.csv" if is_run else "clips.csv"), "samples" if is_run else "clips"
    title = source.title if is_run else f"{source.folder.name}, published"
    if not {"filename", "category"} <= set(table):
        return []
    named = table[table["category"] != ""]
    return [
        Entry(inside(source.folder / folder, str(name)), str(name), category, GENERATED, title)
        for name, category in named[["filename", "category"]].to_numpy()
    ]


def _real(source: Run, origin: str, assets: Assets) -> list[Entry]:
    clips = SoundPage(assets, source.folder / "sounds.md").real_clips(source)
    return [Entry(Path(path), name, category, origin, origin) for name, category, path in clips.fillna("").to_numpy()]


def _in_turn(items: Iterable[Any], most: int) -> list[Any]:
    """Return the first of every condition and category, then the second, and so on, `most` in all."""
    seen: Counter = Counter()
    places = []
    for number, item in enumerate(items):
        kind = (item.condition, item.category)
        places.append((seen[kind], number, item))
        seen[kind] += 1
    return [item for _, _, item in sorted(places, key=lambda place: place[:2])[:most]]


def _without_copies(sounds: Sequence[Sound]) -> list[Sound]:
    """Leave out sounds that came before: what was published and the run it was published from are the same."""
    first = {sha256_bytes(sound.samples.tobytes()): sound for sound in reversed(sounds)}
    return [sound for sound in sounds if first[sha256_bytes(sound.samples.tobytes())] is sound]
