"""Reading one recording as a clip, mono float32 at one sample rate, or saying why it cannot be read."""

import math
import os
import re
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import soxr

from envsound.base.errors import InputError
from envsound.data.containers import Part, Truncated, parts_of

SAMPLE_RATE = 24_000  # Hz
SUFFIXES = (".wav", ".ogg", ".flac", ".opus", ".mp3", ".aif", ".aiff", ".au", ".caf")
RESAMPLER = f"channel mean; soxr {soxr.__version__}, libsoxr {soxr.__libsoxr_version__}, HQ; limited to +-1"
UNKNOWN_SIZE = 0x7FFF_0000  # bytes; claimed by programs that could not go back to fill in the header
EDGE_SECONDS = 0.1  # read beyond a cut, so that the resampling filter sees what follows it
LONGEST_SECONDS = 86_400  # beyond a day a header is wrong, and reading it would fill the memory
BLOCK = 1 << 17  # samples of each channel, decoded at once


class BadClip(InputError):
    """A recording that cannot be used; `reason` says why, as "kind" or "kind: detail"."""

    def __init__(self, path: str | Path, reason: str):
        super().__init__(f"{path}: {reason}; expected a whole audio file with finite samples")
        self.reason = reason


@dataclass(frozen=True)
class Reading:
    """A clip, float32 [n_samples] in [-1, 1] at the wanted rate, and what its file holds.

    source_rate: Hz; seconds: length of the whole file; peak: largest |x| before limiting to 1.
    """

    clip: np.ndarray
    source_rate: int
    n_channels: int
    seconds: float
    peak: float


def read_clip(path: str | Path, sample_rate: int = SAMPLE_RATE, max_seconds: float | None = None) -> np.ndarray:
    """Return the recording at `path` as a clip, float32 [n_samples] in [-1, 1], mono, at `sample_rate` Hz.

    Channels are averaged, rates converted with soxr (HQ), and samples beyond full scale limited to it.
    Only the first `max_seconds` seconds are returned; None returns everything. A file is decoded to its end whatever
    its header says of its length, all parts of it where several were joined.
    Raises BadClip for a file that is unreadable, truncated, empty, or holds NaN or infinite samples.
    """
    return read(path, sample_rate, max_seconds).clip


def read(path: str | Path, sample_rate: int = SAMPLE_RATE, max_seconds: float | None = None) -> Reading:
    """Read a recording as `read_clip` does, with the facts of its file. Raises BadClip."""
    path = os.path.expanduser(path)
    if sample_rate <= 0 or (max_seconds is not None and not max_seconds > 0):
        raise InputError(f"sample_rate={sample_rate} Hz, max_seconds={max_seconds}: expected both above zero")
    parts = _decode(path, max_seconds)
    pieces = []
    for rate, alike in groupby(parts, lambda part: part.rate):  # the parts of one rate are resampled as one
        mono = np.concatenate([part.mono for part in alike])
        pieces.append(mono if rate == sample_rate else soxr.resample(mono, rate, sample_rate, quality="HQ"))
    mono = np.concatenate(pieces)
    if max_seconds is not None:
        mono = mono[: round(max_seconds * sample_rate)]
    if len(mono) == 0:
        raise BadClip(path, f"zero samples at {sample_rate} Hz")
    clip = np.clip(mono, -1.0, 1.0).astype(np.float32)
    seconds = sum(part.n_samples / part.rate for part in parts)
    return Reading(clip, parts[0].rate, max(part.n_channels for part in parts), seconds, float(np.abs(mono).max()))


def why_missing(path: str | Path) -> str:
    """Return why there is no file of sound at a path, as "kind" or "kind: detail"."""
    if Path(path).is_symlink() and not Path(path).exists():
        return "broken link: it leads nowhere"
    return "unreadable: a folder, or one that may not be opened" if Path(path).is_dir() else "no such file"


def stored_rate(path: str | Path) -> int:
    """Return the rate in Hz that a file is stored at; 0 for one that is no audio or cannot be opened."""
    try:
        with _Stream(next(parts_of(Path(path))).source) as stream:
            return int(stream.samplerate)
    except (InputError, OSError, UnicodeError, TypeError, soundfile.SoundFileError):
        return 0


class _Decoded(NamedTuple):
    """The beginning of a part of a file, float32 [n_read] with its channels averaged; n_samples: in all of the part."""

    mono: np.ndarray
    rate: int  # Hz
    n_channels: int
    n_samples: int


class _Stream(soundfile.SoundFile):
    """A file that is read from its start to its end alone: after each block soundfile would seek, which may fail."""

    def seekable(self) -> bool:
        return False


def _decode(path: str | Path, max_seconds: float | None) -> list[_Decoded]:
    """Return the parts of a file, of which no more is decoded than the first `max_seconds` need."""
    decoded, left = [], math.inf if max_seconds is None else max_seconds + EDGE_SECONDS
    try:
        if not Path(path).is_file():
            raise BadClip(path, why_missing(path))
        for part in parts_of(Path(path)):
            decoded.append(_decode_part(path, part, left))
            left = max(0.0, left - decoded[-1].n_samples / decoded[-1].rate)
    except Truncated as error:
        raise BadClip(path, f"truncated: {error}") from None
    except (OSError, UnicodeError, soundfile.SoundFileError) as error:  # a name may be no UTF-8
        raise BadClip(path, f"unreadable: {_one_line(error)}") from None
    if not any(part.n_samples for part in decoded):
        raise BadClip(path, "zero samples")
    return decoded


def _decode_part(path: str | Path, part: Part, seconds: float) -> _Decoded:
    """Decode the first `seconds` of a part; the rest is only counted, where its header does not tell its length."""
    with _Stream(part.source) as stream:
        _check_whole(path, stream)
        rate, longest = stream.samplerate, LONGEST_SECONDS * stream.samplerate
        told = part.n_samples or (stream.frames if stream.frames <= longest else None)
        wanted = longest if seconds > LONGEST_SECONDS else round(seconds * rate)
        blocks, n_read, block = [], 0, None
        while (n_read < wanted or told is None) and (block is None or len(block) == BLOCK):
            block = stream.read(BLOCK, dtype="float32", always_2d=True)
            if n_read < wanted:
                blocks.append(block)
            n_read += len(block)
            if n_read > longest:
                raise BadClip(path, f"unreadable: it goes on for more than {LONGEST_SECONDS} s")
        if n_read < min(wanted, told or 0):
            raise BadClip(path, f"truncated: {n_read} of {told} samples can be read")
        samples = np.concatenate([np.zeros((0, stream.channels), np.float32), *blocks])[:wanted]
    n_bad = int(np.count_nonzero(~np.isfinite(samples)))
    if n_bad:
        raise BadClip(path, f"not finite: {n_bad} samples are NaN or infinite")
    return _Decoded(samples.mean(axis=1), rate, samples.shape[1], max(n_read, told or 0))


def _check_whole(path: str | Path, stream: soundfile.SoundFile) -> None:
    """Raise BadClip when less audio lies in the file than its header promises, which libsndfile only logs."""
    sizes = r"(?:data|SSND|Data Size)\s*: (\d+) \(should be (\d+)\)"
    for promised, present in re.findall(sizes, stream.extra_info):
        if int(present) < int(promised) < UNKNOWN_SIZE:
            raise BadClip(path, f"truncated: {present} of {promised} bytes of audio")


def _one_line(error: Exception) -> str:
    """Return libsndfile's own words, or the system's, without the path, which the message names already."""
    words = getattr(error, "error_string", getattr(error, "strerror", None) or str(error))
    words = words.strip().rstrip(".").replace("\n", " ").replace(";", ",")
    return words or "it is damaged, or no audio"
