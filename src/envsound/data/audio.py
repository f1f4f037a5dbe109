"""Reading one recording as a clip, mono float32 at one sample rate, or saying why it cannot be read."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from envsound.base.errors import InputError

SAMPLE_RATE = 24_000  # Hz
SUFFIXES = (".wav", ".ogg", ".flac", ".opus", ".mp3", ".aif", ".aiff", ".au", ".caf")
RESAMPLER = f"channel mean; soxr {soxr.__version__}, libsoxr {soxr.__libsoxr_version__}, HQ; limited to +-1"
UNKNOWN_SIZE = 0x7FFF_0000  # bytes; claimed by programs that could not go back to fill in the header
EDGE_SECONDS = 0.1  # read beyond a cut, so that the resampling filter sees what follows it
LONGEST_SECONDS = 86_400  # beyond a day a header is wrong, and reading it would fill the memory
OGG_LAST_PAGE_FLAG = 4


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
    Only the first `max_seconds` seconds are returned; None returns everything.
    Raises BadClip for a file that is unreadable, truncated, empty, or holds NaN or infinite samples.
    """
    return read(path, sample_rate, max_seconds).clip


def read(path: str | Path, sample_rate: int = SAMPLE_RATE, max_seconds: float | None = None) -> Reading:
    """Read a recording as `read_clip` does, with the facts of its file. Raises BadClip."""
    if sample_rate <= 0 or (max_seconds is not None and not max_seconds > 0):
        raise InputError(f"sample_rate={sample_rate} Hz, max_seconds={max_seconds}: expected both above zero")
    samples, source_rate, total = _decode(path, max_seconds)
    mono = samples.mean(axis=1)
    if source_rate != sample_rate:
        mono = soxr.resample(mono, source_rate, sample_rate, quality="HQ")
    if max_seconds is not None:
        mono = mono[: round(max_seconds * sample_rate)]
    if len(mono) == 0:
        raise BadClip(path, f"zero samples at {sample_rate} Hz")
    clip = np.clip(mono, -1.0, 1.0).astype(np.float32)
    return Reading(clip, source_rate, samples.shape[1], total / source_rate, float(np.abs(mono).max()))


def _decode(path: str | Path, max_seconds: float | None) -> tuple[np.ndarray, int, int]:
    """Return (samples float32 [n_read, n_channels], rate in Hz, samples per channel in the whole file)."""
    if not Path(path).is_file():
        raise BadClip(path, "no such file")
    try:
        with soundfile.SoundFile(path) as stream:
            _check_whole(path, stream)
            rate, total = stream.samplerate, stream.frames
            wanted = total if max_seconds is None else min(total, round((max_seconds + EDGE_SECONDS) * rate))
            samples = stream.read(wanted, dtype="float32", always_2d=True)
    except (OSError, UnicodeError, soundfile.SoundFileError) as error:  # a name may be no UTF-8
        raise BadClip(path, f"unreadable: {_one_line(error)}") from None
    if total == 0:
        raise BadClip(path, "zero samples")
    if len(samples) < wanted:
        raise BadClip(path, f"truncated: {len(samples)} of {wanted} samples can be read")
    n_bad = int(np.count_nonzero(~np.isfinite(samples)))
    if n_bad:
        raise BadClip(path, f"not finite: {n_bad} samples are NaN or infinite")
    return samples, rate, total


def _check_whole(path: str | Path, stream: soundfile.SoundFile) -> None:
    """Raise BadClip when less audio lies in the file than its header promises, which libsndfile only logs."""
    if stream.frames > LONGEST_SECONDS * stream.samplerate:
        raise BadClip(path, f"unreadable: its header claims {stream.frames} samples")
    sizes = r"(?:data|SSND|Data Size)\s*: (\d+) \(should be (\d+)\)"
    for promised, present in re.findall(sizes, stream.extra_info):
        if int(present) < int(promised) < UNKNOWN_SIZE:
            raise BadClip(path, f"truncated: {present} of {promised} bytes of audio")
    if stream.format == "OGG" and not _ends_with_last_page(Path(path).read_bytes()):
        raise BadClip(path, "truncated: the stream's last page is missing or cut")


def _ends_with_last_page(content: bytes) -> bool:
    """Say whether an Ogg stream ends with a whole page that is marked as its last (RFC 3533, section 6)."""
    page = content[content.rfind(b"OggS") :]
    header = 27  # bytes before the table of segment sizes, of which byte 5 holds flags and byte 26 the count
    if len(page) < header or not page[5] & OGG_LAST_PAGE_FLAG:
        return False
    sizes = page[header : header + page[26]]
    return len(page) >= header + page[26] + sum(sizes)


def _one_line(error: Exception) -> str:
    """Return libsndfile's own words without the path, which the message names already."""
    return getattr(error, "error_string", str(error)).strip().rstrip(".").replace("\n", " ").replace(";", ",")
