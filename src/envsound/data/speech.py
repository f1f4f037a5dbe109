"""Speech as recordings: a folder of it, or sentences of our own spoken by espeak-ng's rules where none is at hand.

Folds are by speaker. Of a folder only names and headers are read, and no audio is copied.
"""

import hashlib
import os
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import soundfile
from tqdm.auto import tqdm

from envsound.base.errors import InputError
from envsound.base.files import atomic_path, inside, read_json, sha256_bytes, write_csv, write_json
from envsound.data.recordings import Recordings, load_recordings

CATEGORY, N_FOLDS = "speech", 5
SHORTEST_S, LONGEST_S = 1.0, 30.0  # of an utterance of a folder
SPEECH_CSV = "meta/speech.csv"
SPEECH_COLUMNS = ["filename", "fold", "category", "speaker", "seconds", "sample_rate_hz"]

# The speaker of an utterance, by the path of its file.
LAYOUTS = {
    "LibriTTS": re.compile(r"(?:.*/)?(\d+)/\d+/[^/]+(?i:\.wav)", re.DOTALL),
    "LibriSpeech": re.compile(r"(?:.*/)?(\d+)/\d+/[^/]+(?i:\.flac)", re.DOTALL),
    "VCTK": re.compile(r"(?:.*/)?wav48[^/]*/(?:.*/)?([ps]\d+)/[^/]+(?i:\.wav|\.flac)", re.DOTALL),
}
SHAPES = "LibriTTS (speaker/chapter/*.wav), LibriSpeech (speaker/chapter/*.flac) or VCTK (wav48*/p225/*)"

PROGRAM = "espeak-ng"
GENERATOR_VERSION = 1  # raised whenever the same seed would ask for other utterances
ENGLISH = ("en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp", "en-gb-x-gbclan", "en-029")
OTHERS = ("de", "nl", "sv", "da", "fr-fr", "es", "it", "pt", "ro", "fi", "hu", "pl", "cs", "tr", "id", "eo")
VARIANTS = (*[f"m{n}" for n in range(1, 8)], *[f"f{n}" for n in range(1, 6)])
SPEAKERS = tuple(f"{voice}+{variant}" for voice in (*ENGLISH, *OTHERS) for variant in VARIANTS)
RATES_WPM, PITCHES = (120, 220), (20, 80)  # lowest and highest; pitches of espeak-ng's 0 to 99
SPOKEN_S, AIMED_S = (1.0, 10.0), (2.0, 8.0)  # shortest and longest utterance; what is aimed at
ATTEMPTS = 6  # at an utterance of the wrong length, each with fewer or more words

WORDS = {
    "noun": "river window lantern kettle orchard bridge letter engine garden harbour mountain pencil violin market "
    "shoe cloud kitchen teacher sailor dog ladder village winter bottle thunder question pocket feather",
    "adjective": "quiet early heavy yellow narrow gentle broken distant curious wooden bright cheap frozen famous",
    "verb": "follows carries watches forgets repairs visits remembers paints measures crosses hears borrows hides",
    "place": "behind beneath beside above near without before around towards across",
}
NOUNS, ADJECTIVES, VERBS, PLACES = (words.split() for words in WORDS.values())
JOINTS = ("and", "but", "while", "because", "so", "although")
OPENINGS = ("", "", "today", "perhaps", "at five o'clock", "every morning", "as usual", "nobody knows why")
CONSONANTS, VOWELS, ENDINGS = "ptkbdgmnslrfv", "aeiou", ("", "", "", "n", "s", "r", "l")


def load_speech(
    speech_dir: str, work_dir: str | Path, n_utterances: int = 0, seed: int = 0, **cut: float | int
) -> Recordings:
    """Return speech as Recordings: the utterances of `speech_dir`, or synthetic speech when that is "".

    work_dir: takes the listing, and below it the synthetic speech of `seed`. n_utterances: see `read_speech_folder`; of
    synthetic speech, how many to make. cut: clip_seconds and sample_rate, as of `load_recordings`. The data cut says
    which of the two the speech is. Raises InputError as the functions it calls.
    """
    if speech_dir:
        table, words = read_speech_folder(speech_dir, n_utterances)
        listing = (Path(work_dir) / SPEECH_CSV).absolute()
        write_csv(listing, table)
        found = load_recordings("folder", data_dir=speech_dir, csv_name=str(listing), **cut)
        return replace(found, cut=f"recorded speech, {found.cut} ({words})")
    folder = Path(work_dir) / f"synthetic_speech_seed{seed}"
    words = write_synthetic_speech(folder, n_utterances, seed)
    found = load_recordings("folder", data_dir=str(folder), csv_name=SPEECH_CSV, **cut)
    return replace(found, cut=f"{words}, {found.cut}")


def speaker_fold(speaker: str) -> int:
    """Return the fold of a speaker, 1 to 5, by a hash of the name: the same on every machine, for every selection."""
    return int.from_bytes(hashlib.sha256(speaker.encode()).digest()[:8], "big") % N_FOLDS + 1


def read_speech_folder(folder: str | Path, n_utterances: int = 0) -> tuple[pd.DataFrame, str]:
    """Find the utterances of 1 to 30 s in a folder of LibriTTS, LibriSpeech or VCTK, or in a split of one.

    n_utterances: how many to take, speaker after speaker in turn in an order given by hashes of the names, so that few
    have many speakers; 0 takes all. Links to folders are not followed. Of VCTK's two microphones the first is taken.
    Returns a row for each utterance kept, columns SPEECH_COLUMNS, filename relative to `folder`, seconds and
    sample_rate_hz from the header; and in words the layout, what was kept, and what was left out on the way.
    Raises InputError when the folder is not there, has another layout or two at once, or holds no utterance to keep.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"speech_dir={str(folder)!r}: no such folder; expected speech in the layout of {SHAPES}")
    if n_utterances < 0:
        raise InputError(f"n_utterances={n_utterances}: expected 0 (all) or more")
    names = list(_audio_names(folder))
    layout, speakers = _speakers(folder, names)
    left_out: Counter[str] = Counter()
    by_speaker: dict[str, list[str]] = {}
    for name, speaker in zip(names, speakers, strict=True):
        if not speaker or (layout == "VCTK" and Path(name).stem.endswith("_mic2")):
            left_out["second microphone" if speaker else "not of the layout"] += 1
        else:
            by_speaker.setdefault(speaker, []).append(name)
    rows = _utterances(folder, by_speaker, n_utterances, left_out)
    reasons = ", ".join(f"{n} {reason}" for reason, n in left_out.items())
    if not rows:
        raise InputError(
            f"{folder}: no utterance of {SHORTEST_S:g} to {LONGEST_S:g} s ({reasons}); expected at least one"
        )
    table = pd.DataFrame(rows, columns=SPEECH_COLUMNS).sort_values("filename", ignore_index=True)
    hours, n_speakers = table["seconds"].sum() / 3600, table["speaker"].nunique()
    words = f"{layout} layout: {len(table)} utterances of {n_speakers} speakers, {hours:.2f} h"
    return table, words + f"; left out: {reasons}" * bool(reasons)


def _audio_names(folder: Path) -> Iterator[str]:
    """Yield the names of wav and flac files below a folder, relative to it, in alphabetical order of their folders."""
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if Path(name).suffix.lower() in (".wav", ".flac") and not name.startswith("."):
                yield (Path(place) / name).relative_to(folder).as_posix()


def _speakers(folder: Path, names: list[str]) -> tuple[str, list[str]]:
    """Return the one layout that files of the folder have, and of each the speaker, "" for a file of no layout."""
    place = folder.resolve().name  # "wav48" may be the folder itself
    found = {}
    for layout, pattern in LAYOUTS.items():
        matches = [pattern.fullmatch(f"{place}/{name}") for name in names]
        found[layout] = [match[1] if match else "" for match in matches]
    found = {layout: speakers for layout, speakers in found.items() if any(speakers)}
    if not found:
        raise InputError(
            f"{folder}: layout not recognised among its {len(names)} wav and flac files; expected {SHAPES}"
        )
    if len(found) > 1:
        both = " and ".join(f"{sum(map(bool, speakers))} files of {layout}" for layout, speakers in found.items())
        raise InputError(f"{folder}: {both}; expected one layout, so give the folder of one of them")
    return next(iter(found.items()))


def _utterances(folder: Path, by_speaker: dict[str, list[str]], wanted: int, left_out: Counter[str]) -> list[tuple]:
    """Return rows of the first `wanted` utterances (0: all) of fitting length, and count the others in `left_out`."""
    rows: list[tuple] = []
    total = wanted or sum(map(len, by_speaker.values()))
    for speaker, name in tqdm(_in_turn(by_speaker), desc="reading headers", unit="utterance", total=total):
        if wanted and len(rows) == wanted:
            break
        reason, seconds, rate = _header(folder, name)
        if reason:
            left_out[reason] += 1
        else:
            rows.append((name, speaker_fold(speaker), CATEGORY, speaker, seconds, rate))
    return rows


def _in_turn(by_speaker: dict[str, list[str]]) -> Iterator[tuple[str, str]]:
    """Yield (speaker, name): one utterance of every speaker, then a second, in an order given by hashes."""
    digests = {name: sha256_bytes(name.encode()) for names in (by_speaker, *by_speaker.values()) for name in names}
    order = sorted(by_speaker, key=digests.get)
    queues = {speaker: sorted(by_speaker[speaker], key=digests.get, reverse=True) for speaker in order}
    while queues:
        for speaker in list(queues):
            yield speaker, queues[speaker].pop()
            if not queues[speaker]:
                del queues[speaker]


def _header(folder: Path, name: str) -> tuple[str, float, int]:
    """Return (why a file is left out or "", its length in s, its rate in Hz), from its header alone."""
    try:
        about = soundfile.info(inside(folder, name))
    except InputError:
        return "outside the folder", 0.0, 0
    except (OSError, soundfile.SoundFileError):
        return "unreadable", 0.0, 0
    seconds = about.frames / about.samplerate
    reason = "too short" if seconds < SHORTEST_S else "too long" if seconds > LONGEST_S else ""
    return reason, seconds, about.samplerate


@dataclass(frozen=True)
class Utterance:
    """What espeak-ng is asked for: speaker (voice+variant), rate in words a minute, pitch of 0 to 99, and the text."""

    speaker: str
    rate_wpm: int
    pitch: int
    text: str


def plan(seed: int, index: int, scale: float = 1.0) -> Utterance:
    """Return what utterance `index` of the data set `seed` asks for; the same arguments, the same utterance.

    Speakers take turns in an order drawn from the seed. scale: of the number of words, for another attempt when the
    length was wrong; it changes the text and nothing else.
    """
    order = np.random.default_rng([seed]).permutation(len(SPEAKERS))
    speaker = SPEAKERS[order[index % len(SPEAKERS)]]
    rng = np.random.default_rng([seed, index])
    rate = int(rng.integers(RATES_WPM[0], RATES_WPM[1] + 1))
    pitch = int(rng.integers(PITCHES[0], PITCHES[1] + 1))
    n_words = max(1, round(scale * rng.uniform(*AIMED_S) * rate / 60))
    text = english_text if speaker.split("+")[0] in ENGLISH else syllable_text
    return Utterance(speaker, rate, pitch, text(rng, n_words))


def english_text(rng: np.random.Generator, n_words: int) -> str:
    """Return English sentences from a small grammar, at least `n_words` words and at most a clause more."""
    words: list[str] = []
    while len(words) < n_words:
        ends_sentence = not words or rng.random() < 0.5
        opening = str(rng.choice(OPENINGS if ends_sentence else JOINTS))
        if words:
            words[-1] += "." if ends_sentence else ","
        first, second = (f"the {rng.choice(ADJECTIVES)} {noun}" for noun in rng.choice(NOUNS, 2, replace=False))
        place = f"{rng.choice(PLACES)} the {rng.choice(NOUNS)}" if rng.random() < 0.5 else ""
        words += f"{opening} {first} {rng.choice(VERBS)} {second} {place}".split()
    return " ".join(words) + str(rng.choice([".", ".", "?"]))


def syllable_text(rng: np.random.Generator, n_words: int) -> str:
    """Return `n_words` words of one to three syllables that mean nothing, for voices of any language to read."""
    words = []
    for place in range(n_words):
        syllables = [
            f"{rng.choice(list(CONSONANTS))}{rng.choice(list(VOWELS))}{rng.choice(ENDINGS)}"
            for _ in range(rng.integers(1, 4))
        ]
        pause = str(rng.choice(["", "", "", "", ",", "."])) if place < n_words - 1 else "."
        words.append("".join(syllables) + pause)
    return " ".join(words)


def write_synthetic_speech(folder: str | Path, n_utterances: int, seed: int) -> str:
    """Write synthetic speech of 1 to 10 s an utterance into `folder`, and return in words what it is.

    `audio/*.wav`, `meta/speech.csv` (filename, fold, category, speaker, seconds, rate_wpm, pitch) and `speech.json`,
    which says what the speech is and who made it. Whole files that are there are kept: an interrupted call goes on, and
    a larger `n_utterances` adds to a smaller one.
    Raises InputError when espeak-ng is missing or fails, a number is out of range, or the folder holds something else.
    """
    folder = Path(folder)
    if not 1 <= n_utterances <= 100_000 or seed < 0:
        raise InputError(f"n_utterances={n_utterances}, seed={seed}: expected 1 to 100000, and 0 or more")
    program = shutil.which(PROGRAM)
    if program is None:
        raise InputError(f"{PROGRAM}: not found; install Debian's espeak-ng, or set speech_dir to a folder of speech")
    version = re.search(r"\d+(?:\.\d+)+\S*", _run([program, "--version"]).stdout)
    about = {"kind": "synthetic speech, rule-based", "generator_version": GENERATOR_VERSION}
    about |= {"espeak_ng": version[0] if version else "of unknown version", "seed": seed}
    _claim(folder, about)
    numbers = tqdm(range(n_utterances), desc="synthetic speech", unit="utterance")
    write_csv(folder / SPEECH_CSV, pd.DataFrame([_row(program, folder, seed, index) for index in numbers]))
    return f"{about['kind']} ({PROGRAM} {about['espeak_ng']}, seed {seed})"


def _claim(folder: Path, description: dict[str, Any]) -> None:
    """Write `speech.json` into a new folder, or check that the folder was begun with the same description."""
    about = folder / "speech.json"
    before = read_json(about) if about.is_file() else {}
    changed = [key for key, value in description.items() if before.get(key) != value]
    if before and changed:
        raise InputError(f"{folder}: begun with another {', '.join(changed)}; expected the same, or a new folder")
    if not before and folder.exists() and any(folder.iterdir()):
        raise InputError(f"{folder}: holds files that are not synthetic speech; expected a new or empty folder")
    write_json(about, description)


def _row(program: str, folder: Path, seed: int, index: int) -> dict[str, Any]:
    """Return the row of an utterance, which is made unless a whole file of it is there."""
    asked = plan(seed, index)
    path = folder / "audio" / f"s{seed}_{index:06d}_{asked.speaker.replace('+', '_')}.wav"
    seconds = audible_seconds(path)
    if not SPOKEN_S[0] <= seconds <= SPOKEN_S[1]:
        seconds = _make(program, path, seed, index)
    row = {"filename": path.name, "fold": speaker_fold(asked.speaker), "category": CATEGORY, "speaker": asked.speaker}
    return row | {"seconds": seconds, "rate_wpm": asked.rate_wpm, "pitch": asked.pitch}


def _make(program: str, path: Path, seed: int, index: int) -> float:
    """Have an utterance spoken, with fewer or more words while its length is wrong; return its length in s."""
    scale, (shortest, longest) = 1.0, SPOKEN_S
    with atomic_path(path) as temporary:
        for _ in range(ATTEMPTS):
            seconds = speak(program, plan(seed, index, scale), temporary)
            if shortest <= seconds <= longest:
                return seconds
            scale *= np.mean(AIMED_S) / seconds
        raise InputError(
            f"{path.name}: {seconds:.1f} s long at attempt {ATTEMPTS}; expected {shortest:g} to {longest:g} s"
        )


def speak(program: str, utterance: Utterance, path: Path) -> float:
    """Have espeak-ng speak an utterance into a wav file at its own rate (22,050 Hz); return the length in s.

    Raises InputError when espeak-ng fails, takes over a minute, or writes no sound; the message has its own words.
    """
    options = ["-v", utterance.speaker, "-s", str(utterance.rate_wpm), "-p", str(utterance.pitch), "-w", str(path)]
    answer = _run([program, *options, "--", utterance.text])
    seconds = audible_seconds(path)
    if answer.returncode or not seconds:
        said = (answer.stderr or answer.stdout).strip().splitlines() or ["it gave no reason"]
        raise InputError(f"{PROGRAM} -v {utterance.speaker}: no sound ({said[-1]}); expected espeak-ng with its data")
    return seconds


def audible_seconds(path: Path) -> float:
    """Return the length of a wav file in s, 0 when it cannot be read or is silent."""
    try:
        samples, rate = soundfile.read(path, dtype="int16")
    except (OSError, soundfile.SoundFileError):
        return 0.0
    return len(samples) / rate if samples.any() else 0.0


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InputError(f"{command[0]}: cannot be run ({error}); expected Debian's espeak-ng") from None
