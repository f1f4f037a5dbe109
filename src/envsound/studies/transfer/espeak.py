"""Synthetic speech: sentences of our own, spoken by espeak-ng's rules in many voices, where no speech is at hand."""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import soundfile
from tqdm.auto import tqdm

from envsound.base.errors import InputError
from envsound.base.files import atomic_path, read_json, write_csv, write_json
from envsound.studies.transfer.speech import CATEGORY, SPEECH_CSV, SYNTHETIC, speaker_fold

PROGRAM = "espeak-ng"
GENERATOR_VERSION = 1  # raised whenever the same seed would ask for other utterances
ENGLISH = ("en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp", "en-gb-x-gbclan", "en-029")
OTHERS = (
    "de", "nl", "sv", "da", "fr-fr", "es", "it", "pt", "ro", "fi", "hu", "pl", "cs", "tr", "id", "eo",
)  # fmt: skip
VARIANTS = (*[f"m{n}" for n in range(1, 8)], *[f"f{n}" for n in range(1, 6)])
SPEAKERS = tuple(f"{voice}+{variant}" for voice in (*ENGLISH, *OTHERS) for variant in VARIANTS)
RATES_WPM = (120, 220)
PITCHES = (20, 80)  # of espeak-ng's 0 to 99
SHORTEST_S, LONGEST_S = 1.0, 10.0
AIMED_S = (2.0, 8.0)
ATTEMPTS = 6  # at an utterance of the wrong length, each with fewer or more words
MOST_UTTERANCES = 100_000
TIMEOUT_S = 60

NOUNS = (
    "river", "window", "lantern", "kettle", "orchard", "bridge", "letter", "engine", "garden", "harbour",
    "mountain", "pencil", "violin", "market", "shoe", "cloud", "kitchen", "teacher", "sailor", "dog", "ladder",
    "village", "winter", "bottle", "thunder", "question", "pocket", "feather",
)  # fmt: skip
ADJECTIVES = (
    "quiet", "early", "heavy", "yellow", "narrow", "gentle", "broken", "distant", "curious", "wooden", "bright",
    "cheap", "frozen", "famous",
)  # fmt: skip
VERBS = (
    "follows", "carries", "watches", "forgets", "repairs", "visits", "remembers", "paints", "measures", "crosses",
    "hears", "borrows", "hides",
)  # fmt: skip
PLACES = (
    "behind", "beneath", "beside", "above", "near", "without", "before", "around", "towards", "across",
)  # fmt: skip
JOINTS = ("and", "but", "while", "because", "so", "although")
OPENINGS = ("", "", "today", "perhaps", "at five o'clock", "every morning", "as usual", "nobody knows why")
CONSONANTS, VOWELS, ENDINGS = "ptkbdgmnslrfv", "aeiou", ("", "", "", "n", "s", "r", "l")


@dataclass(frozen=True)
class Utterance:
    """What espeak-ng is asked for: speaker (voice+variant), rate in words a minute, pitch of 0 to 99, and the text."""

    speaker: str
    rate_wpm: int
    pitch: int
    text: str


def find_espeak() -> str:
    """Return the path of espeak-ng. Raises InputError when it is not installed."""
    path = shutil.which(PROGRAM)
    if path is None:
        raise InputError(
            f"{PROGRAM}: not found; install Debian's espeak-ng (apt install espeak-ng), "
            "or set speech_dir to a folder of speech"
        )
    return path


def espeak_version(program: str) -> str:
    """Return the version that espeak-ng gives, such as "1.51". Raises InputError when it gives none."""
    answer = _run([program, "--version"])
    found = re.search(r"\d+(?:\.\d+)+\S*", answer.stdout)
    if answer.returncode or not found:
        raise InputError(f"{program} --version: gave {answer.stdout.strip()!r}; expected a version, such as 1.51")
    return found[0]


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


def plan(seed: int, index: int, scale: float = 1.0) -> Utterance:
    """Return what utterance `index` of the data set `seed` asks for; the same arguments, the same utterance.

    Speakers take turns in an order drawn from the seed. scale: of the number of words, for another attempt when the
    length was wrong; it changes the text and nothing else. Raises InputError when a number is negative.
    """
    if seed < 0 or index < 0:
        raise InputError(f"seed={seed}, index={index}: expected 0 or more")
    order = np.random.default_rng([seed]).permutation(len(SPEAKERS))
    speaker = SPEAKERS[order[index % len(SPEAKERS)]]
    rng = np.random.default_rng([seed, index])
    rate = int(rng.integers(RATES_WPM[0], RATES_WPM[1] + 1))
    pitch = int(rng.integers(PITCHES[0], PITCHES[1] + 1))
    n_words = max(1, round(scale * rng.uniform(*AIMED_S) * rate / 60))
    text = english_text if speaker.split("+")[0] in ENGLISH else syllable_text
    return Utterance(speaker, rate, pitch, text(rng, n_words))


def speak(program: str, utterance: Utterance, path: Path) -> float:
    """Have espeak-ng speak an utterance into a wav file at its own rate (22,050 Hz); return the length in s.

    Raises InputError when espeak-ng fails, takes over a minute, or writes no sound; the message has its own words.
    """
    options = ["-v", utterance.speaker, "-s", str(utterance.rate_wpm), "-p", str(utterance.pitch), "-w", str(path)]
    answer = _run([program, *options, "--", utterance.text])
    seconds = audible_seconds(path)
    if answer.returncode or not seconds:
        said = (answer.stderr or answer.stdout).strip().splitlines()
        raise InputError(
            f"{PROGRAM} -v {utterance.speaker}: no sound ({said[-1] if said else 'it gave no reason'}); "
            "expected Debian's espeak-ng with its data (espeak-ng-data)"
        )
    return seconds


def audible_seconds(path: Path) -> float:
    """Return the length of a wav file in s, 0 when it cannot be read or is silent."""
    try:
        samples, rate = soundfile.read(path, dtype="int16")
    except (OSError, soundfile.SoundFileError):
        return 0.0
    return len(samples) / rate if samples.any() else 0.0


def write_synthetic_speech(folder: str | Path, n_utterances: int, seed: int) -> Path:
    """Write synthetic speech of 1 to 10 s an utterance into `folder` and return it.

    `audio/*.wav`, `meta/speech.csv` (filename, fold, category, speaker, seconds, rate_wpm, pitch) and
    `speech.json`, which says what the speech is and who made it. Folds are by speaker. Every file is written whole, and
    whole files that are there are kept: an interrupted call goes on, and a larger `n_utterances` adds to a smaller one.
    Raises InputError when espeak-ng is missing or fails, a number is out of range, or the folder holds something else.
    """
    folder = Path(folder)
    if not 1 <= n_utterances <= MOST_UTTERANCES or seed < 0:
        raise InputError(
            f"n_utterances={n_utterances}, seed={seed}: expected 1 to {MOST_UTTERANCES} utterances, seed 0 or more"
        )
    program = find_espeak()
    _claim(folder, _description(espeak_version(program), seed))
    numbers = tqdm(range(n_utterances), desc=SYNTHETIC, unit="utterance")
    rows = [_row(program, folder, seed, index) for index in numbers]
    write_csv(folder / SPEECH_CSV, pd.DataFrame(rows))
    return folder


def describe_speech(folder: str | Path) -> str:
    """Return in words what `write_synthetic_speech` wrote into a folder. Raises InputError when it wrote nothing."""
    about = read_json(Path(folder) / "speech.json")
    return f"{about['kind']} ({PROGRAM} {about['espeak_ng']}, seed {about['seed']})"


def _description(version: str, seed: int) -> dict[str, Any]:
    return {
        "kind": f"{SYNTHETIC}, rule-based",
        "generator": "envsound.studies.transfer.espeak",
        "generator_version": GENERATOR_VERSION,
        "espeak_ng": version,
        "seed": seed,
        "rates_wpm": list(RATES_WPM),
        "pitches": list(PITCHES),
        "voices": [*ENGLISH, *OTHERS],
        "variants": list(VARIANTS),
    }


def _claim(folder: Path, description: dict[str, Any]) -> None:
    """Write `speech.json` into a new folder, or check that the folder was begun with the same description."""
    about = folder / "speech.json"
    if about.is_file():
        before = read_json(about)
        changed = [
            key for key, value in description.items() if not isinstance(before, dict) or before.get(key) != value
        ]
        if changed:
            raise InputError(f"{folder}: begun with another {', '.join(changed)}; expected the same, or a new folder")
        return
    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"{folder}: holds files that are not synthetic speech; expected a new or empty folder")
    write_json(about, description)


def _row(program: str, folder: Path, seed: int, index: int) -> dict[str, Any]:
    """Return the row of an utterance, which is made unless a whole file of it is there."""
    asked = plan(seed, index)
    name = f"s{seed}_{index:06d}_{asked.speaker.replace('+', '_')}.wav"
    seconds = audible_seconds(folder / "audio" / name)
    if not SHORTEST_S <= seconds <= LONGEST_S:
        seconds = _make(program, folder / "audio" / name, seed, index)
    row = {"filename": name, "fold": speaker_fold(asked.speaker), "category": CATEGORY, "speaker": asked.speaker}
    return row | {"seconds": seconds, "rate_wpm": asked.rate_wpm, "pitch": asked.pitch}


def _make(program: str, path: Path, seed: int, index: int) -> float:
    """Have an utterance spoken, with fewer or more words while its length is wrong; return its length in s."""
    scale = 1.0
    with atomic_path(path) as temporary:
        for _ in range(ATTEMPTS):
            seconds = speak(program, plan(seed, index, scale), temporary)
            if SHORTEST_S <= seconds <= LONGEST_S:
                return seconds
            scale *= np.mean(AIMED_S) / seconds
        raise InputError(
            f"{path.name}: {seconds:.1f} s long at attempt {ATTEMPTS}; expected {SHORTEST_S:g} to {LONGEST_S:g} s"
        )


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InputError(f"{command[0]}: cannot be run ({error}); expected Debian's espeak-ng") from None
