"""A folder of speech as recordings of the study: layout recognised, folds by speaker, lengths from headers, no copy."""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import pandas as pd
import soundfile
from tqdm.auto import tqdm

from envsound.base.errors import InputError
from envsound.base.files import inside, write_csv, write_json
from envsound.data.audio import SAMPLE_RATE
from envsound.data.recordings import Recordings, load_recordings

CATEGORY = "speech"
N_FOLDS = 5
SHORTEST_S, LONGEST_S = 1.0, 30.0
SPEECH_CSV = "meta/speech.csv"
SPEECH_COLUMNS = ["filename", "fold", "category", "speaker", "seconds", "sample_rate_hz"]
RECORDED, SYNTHETIC = "recorded speech", "synthetic speech"
LEFT_OUT = ("too short", "too long", "unreadable", "outside the folder", "second microphone", "not of the layout")


def _libri_speaker(path: PurePosixPath, suffix: str) -> str:
    parts = path.parts
    fits = len(parts) >= 3 and path.suffix.lower() == suffix and parts[-2].isdigit() and parts[-3].isdigit()
    return parts[-3] if fits else ""


def _vctk_speaker(path: PurePosixPath) -> str:
    is_vctk = path.suffix.lower() in (".wav", ".flac") and any(part.startswith("wav48") for part in path.parts[:-2])
    return path.parts[-2] if is_vctk and re.fullmatch(r"[ps]\d+", path.parts[-2]) else ""


# The speaker of an utterance by its path below the folder, "" for a file that is none of the layout's.
LAYOUTS: dict[str, Callable[[PurePosixPath], str]] = {
    "LibriTTS": lambda path: _libri_speaker(path, ".wav"),
    "LibriSpeech": lambda path: _libri_speaker(path, ".flac"),
    "VCTK": _vctk_speaker,
}
SHAPES = "LibriTTS (speaker/chapter/*.wav), LibriSpeech (speaker/chapter/*.flac) or VCTK (wav48*/p225/*)"


@dataclass(frozen=True)
class SpeechFolder:
    """The utterances of a folder of speech.

    table: one row for each utterance kept, columns SPEECH_COLUMNS; filename is relative to `folder`, seconds and
        sample_rate_hz are the file header's.
    left_out: how many files were passed over, by reason; of a part of a folder, those met on the way.
    """

    folder: Path
    layout: str
    table: pd.DataFrame
    left_out: dict[str, int]

    def describe(self) -> str:
        """Return the layout, what was kept and what was left out, in one line."""
        speakers = self.table["speaker"].nunique()
        text = f"{self.layout} layout: {len(self.table)} utterances of {speakers} speakers, "
        text += f"{self.table['seconds'].sum() / 3600:.2f} h"
        reasons = [f"{n} {reason}" for reason, n in self.left_out.items() if n]
        return text + (f"; left out: {', '.join(reasons)}" if reasons else "")


def speaker_fold(speaker: str) -> int:
    """Return the fold of a speaker, 1 to 5, by a hash of the name: the same on every machine, for every selection."""
    return int.from_bytes(hashlib.sha256(speaker.encode()).digest()[:8], "big") % N_FOLDS + 1


def read_speech_folder(
    folder: str | Path, n_utterances: int = 0, shortest_s: float = SHORTEST_S, longest_s: float = LONGEST_S
) -> SpeechFolder:
    """Find the utterances of 1 to 30 s in a folder of LibriTTS, LibriSpeech or VCTK, or in a split of one.

    n_utterances: how many to take, speaker after speaker in turn in an order given by hashes of the names, so that few
    have many speakers; 0 takes all. Only names and headers are read, and memory grows with the names alone. Links to
    folders are not followed. Of VCTK's two microphones the first is taken.
    Raises InputError when the folder is not there, has another layout or two at once, or holds no utterance to keep.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"speech_dir={str(folder)!r}: no such folder; expected speech in the layout of {SHAPES}")
    if n_utterances < 0:
        raise InputError(f"n_utterances={n_utterances}: expected 0 (all) or more")
    names = list(_audio_names(folder))
    paths = {name: PurePosixPath(folder.resolve().name) / name for name in names}  # "wav48" may be the folder itself
    layout = _layout(folder, list(paths.values()))
    left_out = Counter(dict.fromkeys(LEFT_OUT, 0))
    by_speaker: dict[str, list[str]] = {}
    for name, path in paths.items():
        speaker = LAYOUTS[layout](path)
        is_second = layout == "VCTK" and path.stem.endswith("_mic2")
        if not speaker or is_second:
            left_out["second microphone" if speaker else "not of the layout"] += 1
        else:
            by_speaker.setdefault(speaker, []).append(name)
    rows = _utterances(folder, by_speaker, n_utterances, (shortest_s, longest_s), left_out)
    if not rows:
        found = ", ".join(f"{n} {reason}" for reason, n in left_out.items() if n)
        raise InputError(
            f"{folder}: no utterance of {shortest_s:g} to {longest_s:g} s ({found}); expected at least one"
        )
    table = pd.DataFrame(rows, columns=SPEECH_COLUMNS).sort_values("filename", ignore_index=True)
    return SpeechFolder(folder, layout, table, dict(left_out))


def write_speech_listing(speech: SpeechFolder, out_dir: str | Path) -> Path:
    """Write `meta/speech.csv` and `speech.json` (layout, counts) into `out_dir` and return the csv's path.

    The csv names the files where they are; no audio is copied. `load_recordings("folder", data_dir=<the speech folder>,
    csv_name=<absolute path of the csv>)` takes the two together.
    """
    out_dir = Path(out_dir)
    about = {"kind": RECORDED, "folder": speech.folder.resolve().name, "layout": speech.layout}
    about |= {"n_utterances": len(speech.table), "n_speakers": int(speech.table["speaker"].nunique())}
    write_json(out_dir / "speech.json", about | {"left_out": speech.left_out})
    write_csv(out_dir / SPEECH_CSV, speech.table)
    return (out_dir / SPEECH_CSV).absolute()


def load_speech(
    speech_dir: str,
    work_dir: str | Path,
    n_utterances: int = 0,
    seed: int = 0,
    clip_seconds: float = 5.0,
    sample_rate: int = SAMPLE_RATE,
) -> Recordings:
    """Return speech as Recordings: the utterances of `speech_dir`, or synthetic speech when that is "".

    work_dir: takes the listing, and below it the synthetic speech of `seed`. n_utterances: see `read_speech_folder`; of
    synthetic speech, how many to make. Longer utterances are cut to `clip_seconds`. The data cut says which of the two
    the speech is. Raises InputError as the functions it calls.
    """
    settings = {"clip_seconds": clip_seconds, "sample_rate": sample_rate}
    if speech_dir:
        speech = read_speech_folder(speech_dir, n_utterances)
        csv_path = write_speech_listing(speech, work_dir)
        found = load_recordings("folder", data_dir=speech_dir, csv_name=str(csv_path), **settings)
        return replace(found, cut=f"{RECORDED}, {found.cut} ({speech.describe()})")
    from envsound.studies.transfer.espeak import describe_speech, write_synthetic_speech

    folder = write_synthetic_speech(Path(work_dir) / f"synthetic_speech_seed{seed}", n_utterances, seed)
    found = load_recordings("folder", data_dir=str(folder), csv_name=SPEECH_CSV, **settings)
    return replace(found, cut=f"{describe_speech(folder)}, {found.cut}")


def speech_kind(speech_dir: str) -> str:
    """Return "recorded speech" for a folder that the user gives, "synthetic speech" for none."""
    return RECORDED if speech_dir else SYNTHETIC


def _audio_names(folder: Path) -> Iterator[str]:
    """Yield the names of wav and flac files below a folder, relative to it, in alphabetical order of their folders."""
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if Path(name).suffix.lower() in (".wav", ".flac") and not name.startswith("."):
                yield (Path(place) / name).relative_to(folder).as_posix()


def _layout(folder: Path, paths: list[PurePosixPath]) -> str:
    """Return the one layout that files of the folder have."""
    counts = {layout: sum(bool(speaker(path)) for path in paths) for layout, speaker in LAYOUTS.items()}
    found = {layout: n for layout, n in counts.items() if n}
    if not found:
        raise InputError(
            f"{folder}: layout not recognised among its {len(paths)} wav and flac files; expected {SHAPES}"
        )
    if len(found) > 1:
        both = " and ".join(f"{n} files of {layout}" for layout, n in found.items())
        raise InputError(f"{folder}: {both}; expected one layout, so give the folder of one of them")
    return next(iter(found))


def _utterances(
    folder: Path, by_speaker: dict[str, list[str]], wanted: int, seconds: tuple[float, float], left_out: Counter
) -> list[dict]:
    """Return rows of the first `wanted` utterances (0: all) of fitting length, and count the others in `left_out`."""
    rows: list[dict] = []
    queue = _in_turn(by_speaker)
    total = wanted or sum(map(len, by_speaker.values()))
    with tqdm(total=total, desc="reading headers of speech", unit="utterance") as bar:
        for speaker, name in queue:
            if wanted and len(rows) == wanted:
                break
            reason, length, rate = _header(folder, name, *seconds)
            if reason:
                left_out[reason] += 1
                bar.update(0 if wanted else 1)
                continue
            values = (name, speaker_fold(speaker), CATEGORY, speaker, length, rate)
            rows.append(dict(zip(SPEECH_COLUMNS, values, strict=True)))
            bar.update()
    return rows


def _in_turn(by_speaker: dict[str, list[str]]) -> Iterator[tuple[str, str]]:
    """Yield (speaker, name): one utterance of every speaker, then a second, in an order given by hashes."""
    queues = {
        speaker: sorted(by_speaker[speaker], key=_digest, reverse=True) for speaker in sorted(by_speaker, key=_digest)
    }
    while queues:
        for speaker in list(queues):
            yield speaker, queues[speaker].pop()
            if not queues[speaker]:
                del queues[speaker]


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def _header(folder: Path, name: str, shortest_s: float, longest_s: float) -> tuple[str, float, int]:
    """Return (why a file is left out or "", its length in s, its rate in Hz), from its header alone."""
    try:
        about = soundfile.info(inside(folder, name))
    except InputError:
        return "outside the folder", 0.0, 0
    except (OSError, soundfile.SoundFileError):
        return "unreadable", 0.0, 0
    seconds = about.frames / about.samplerate
    if not shortest_s <= seconds <= longest_s:
        return "too short" if seconds < shortest_s else "too long", seconds, about.samplerate
    return "", seconds, about.samplerate
