"""The sound that a file holds, whatever its header says of its length: what libsndfile can read to its end, in parts.

libsndfile believes headers. One that was never filled in, that describes only the first of several files joined
together, or from which a length is guessed, would cost sound that is there.
"""

import io
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from envsound.base.errors import InputError

OGG_FIRST_PAGE_FLAG, OGG_LAST_PAGE_FLAG = 2, 4  # RFC 3533, section 6
OGG_HEADER = 27  # bytes before the table of segment sizes, of which byte 5 holds flags and byte 26 the count
FLAC_START = re.compile(rb"fLaC[\x00\x80]\x00\x00\x22")  # the marker and the header of STREAMINFO, which is first
MPEG_START = re.compile(rb"\xff[\xe2-\xff]|ID3")  # a frame of layer III, or a tag
TAGS = (b"TAG", b"ID3", b"APETAGEX", b"LYRICSBEGIN")  # metadata at the end of a file, which is no sound
LAYER_3_BITRATES = {  # kbit/s, by the header's four bits; 0 is free format, which has no length
    True: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    False: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
MPEG_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}  # Hz, by version


class Part(NamedTuple):
    """What libsndfile opens: a file, or one in memory; n_samples: of each channel, None where nothing tells."""

    source: Path | BinaryIO
    n_samples: int | None = None


class Truncated(InputError):
    """Less is in the file than its header promises; the message says how much."""


def parts_of(path: Path) -> Iterator[Part]:
    """Yield the parts of a file of sound, to be decoded one after the other.

    n_samples is what a header says that no length is guessed from. Raises Truncated, OSError.
    """
    with path.open("rb") as stream:
        start = stream.read(12)
    if start[:4] == b"OggS":
        yield from _ogg(path.read_bytes())
    elif start[:4] == b"fLaC":
        yield from _flac(path.read_bytes())
    elif start[:4] in (b"RIFF", b"RF64") and start[8:] == b"WAVE":
        yield from _wav(path)
    elif start[:4] == b".snd" and start[8:] == bytes(4):
        content = path.read_bytes()
        yield Part(io.BytesIO(content[:8] + b"\xff" * 4 + content[12:]))
    elif start[:4] == b"caff":
        yield Part(_caf(path))
    else:
        yield from (_mp3(path.read_bytes()) if start[:3] == b"ID3" or start[:1] == b"\xff" else ()) or [Part(path)]


def _ogg(content: bytes) -> Iterator[Part]:
    """Yield each link of a chain of Ogg streams (RFC 3533, section 4)."""
    pages = [found.start() for found in re.finditer(b"OggS\x00", content)]
    opening = [bool(content[page + 5] & OGG_FIRST_PAGE_FLAG) for page in pages if page + 5 < len(content)]
    if not opening or not _ends_with_last_page(content, pages[-1]):
        raise Truncated("the stream's last page is missing or cut")
    followed = zip(pages, opening, [False, *opening[:-1]], strict=True)
    starts = [page for page, first, before in followed if first and not before]
    for start, end in zip(starts, [*starts[1:], len(content)], strict=True):
        yield Part(io.BytesIO(content[start:end]))


def _ends_with_last_page(content: bytes, start: int) -> bool:
    """Say whether the Ogg page at `start` is whole and marked as a stream's last."""
    page = content[start:]
    if len(page) < OGG_HEADER or not page[5] & OGG_LAST_PAGE_FLAG:
        return False
    sizes = page[OGG_HEADER : OGG_HEADER + page[26]]
    return len(page) >= OGG_HEADER + page[26] + sum(sizes)


def _flac(content: bytes) -> Iterator[Part]:
    """Yield each of the FLAC streams joined in a file, told to be of unknown length, so that all of it is read."""
    starts = [found.start() for found in FLAC_START.finditer(content)] or [0]
    for start, end in zip(starts, [*starts[1:], len(content)], strict=True):
        stream = bytearray(content[start:end])
        known = int.from_bytes(stream[21:26], "big") & 0xF_FFFF_FFFF  # the last 36 of these bits (RFC 9639, 8.2)
        stream[21:26] = bytes([stream[21] & 0xF0, 0, 0, 0, 0]) if len(stream) >= 26 else stream[21:26]
        yield Part(io.BytesIO(stream), known or None)


def _wav(path: Path) -> Iterator[Part]:
    """Yield the wav files joined in one. Data said to be nothing, or to end amid sound, are all that follows."""
    size, start = path.stat().st_size, 0
    with path.open("rb") as stream:
        while start < size:
            place, told = _wav_data(stream, start, size)
            end = min(place + told + told % 2, size)
            stream.seek(end)
            follows = stream.read(12)
            joined = follows[:4] == b"RIFF" and follows[8:] == b"WAVE"
            wrong = not joined and end < size and _is_sound(stream, end, size, told)
            if start == 0 and not joined and not wrong:
                yield Part(path)
                return
            stream.seek(start)
            head = bytearray(stream.read(place - start))
            sound = stream.read((size if wrong else end) - place)
            head[:8], head[-4:] = b"RIFF" + b"\xff" * 4, struct.pack("<I", len(sound) if wrong else told)
            yield Part(io.BytesIO(bytes(head) + sound))
            start = end if joined else size


def _wav_data(stream: BinaryIO, start: int, size: int) -> tuple[int, int]:
    """Return where the samples of the wav file at `start` begin, and how many bytes of them its header tells of."""
    place, wide = start + 12, None
    while place + 8 <= size:
        stream.seek(place)
        name, told = struct.unpack("<4sI", stream.read(8))
        if name == b"ds64":
            wide = struct.unpack("<8xQ", stream.read(16).ljust(16, b"\0"))[0]
        if name == b"data":
            return place + 8, wide if wide is not None and told == 0xFFFF_FFFF else told
        place += 8 + told + told % 2
    return size, 0


def _is_sound(stream: BinaryIO, end: int, size: int, told: int) -> bool:
    """Say whether what follows the `told` bytes of a wav's data is more of them: no chunk, no tag and no padding."""
    stream.seek(end)
    follows = stream.read()
    if len(follows) < 8 or follows.startswith(TAGS) or (told and not any(follows)):
        return False
    name, n_bytes = struct.unpack("<4sI", follows[:8])
    return not (re.fullmatch(rb"[ -~]{4}", name) and n_bytes <= size - end)


def _caf(path: Path) -> Path | BinaryIO:
    """Return a CAF file whose last chunk, its data, says how long it is, which a recorder fills in at its end."""
    content, place = path.read_bytes(), 8
    while place + 12 <= len(content):
        name, told = struct.unpack(">4sq", content[place : place + 12])
        if name == b"data" and told in (-1, 0):
            told = len(content) - place - 12
            return io.BytesIO(content[: place + 4] + struct.pack(">q", told) + content[place + 12 :])
        if told < 0:
            break
        place += 12 + told
    return path


class _Frame(NamedTuple):
    """An MPEG layer III frame: its bytes, what may not change within a stream, and the frames that its tag promises.

    promised: None for a frame of sound, 0 for a tag that does not say.
    """

    content: bytes
    kind: tuple[int, int, int]  # version, rate, one channel or two
    promised: int | None


def _mp3(content: bytes) -> list[Part]:
    """Return the streams joined in an mp3 file, each with a tag that says how many frames it has; none for no mp3.

    A stream whose tag tells the truth is left as it is. Raises Truncated for one with fewer frames than promised.
    """
    streams: list[list[_Frame]] = []
    for frame in _mp3_frames(content):
        if not streams or frame.promised is not None or frame.kind != streams[-1][-1].kind:
            streams.append([])
        streams[-1].append(frame)
    parts = []
    for frames in streams:
        promised, sound = frames[0].promised, [frame for frame in frames if frame.promised is None]
        if promised and len(sound) + 1 < promised:  # some encoders count the tag's own frame
            raise Truncated(f"{len(sound)} of {promised} mp3 frames")
        tag = frames[0].content if promised == len(sound) else _tag(frames[0], len(sound))
        parts += [Part(io.BytesIO(tag + b"".join(frame.content for frame in sound)))] if sound else []
    return parts


def _mp3_frames(content: bytes) -> Iterator[_Frame]:
    """Yield the frames of an mp3 file; whatever lies between them, such as tags, is left out."""
    place = _after_id3(content, 0)
    known = _frame_length(content, place)
    while place + 4 <= len(content):
        length = _frame_length(content, place)
        follows = place + length
        if length and follows <= len(content) and (known or _frame_length(content, follows) or follows == len(content)):
            known = length  # in step: the next frame is where this one ends
            yield _frame(content[place:follows])
            place = follows
        else:
            known, skipped = 0, _after_id3(content, place)
            found = MPEG_START.search(content, place + 1)
            place = skipped if skipped > place else found.start() if found else len(content)


def _after_id3(content: bytes, place: int) -> int:
    """Return where an ID3v2 tag at `place` ends, which may hold a picture full of bytes like those of frames."""
    head = content[place : place + 10]
    if head[:3] != b"ID3" or len(head) < 10:
        return place
    return place + 10 + sum((byte & 0x7F) << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True))


def _frame_length(content: bytes, place: int) -> int:
    """Return the bytes of the layer III frame at `place` (ISO 11172-3, 2.4.2.3); 0 where there is none."""
    head = content[place : place + 4]
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2 or head[2] >> 4 in (0, 15) or head[2] & 12 == 12:
        return 0
    version = head[1] >> 3 & 3
    if version not in MPEG_RATES:
        return 0
    bits = 1000 * LAYER_3_BITRATES[version == 3][head[2] >> 4] * (144 if version == 3 else 72)
    return bits // MPEG_RATES[version][head[2] >> 2 & 3] + (head[2] >> 1 & 1)


def _frame(content: bytes) -> _Frame:
    version, mono = content[1] >> 3 & 3, content[3] >> 6 == 3
    place = 4 + _side_info(version, mono)
    name, promised = content[place : place + 4], None
    if name in (b"Xing", b"Info"):
        told = content[place + 7] & 1  # whether the number of frames is among what the tag tells
        promised = int.from_bytes(content[place + 8 : place + 12], "big") if told else 0
    elif content[36:40] == b"VBRI":
        promised = int.from_bytes(content[50:54], "big")
    return _Frame(content, (version, content[2] >> 2 & 3, mono), promised)


def _side_info(version: int, mono: bool) -> int:
    """Return the bytes between a frame's header and its tag."""
    return {(True, True): 17, (True, False): 32, (False, True): 9, (False, False): 17}[version == 3, bool(mono)]


def _tag(like: _Frame, n_frames: int) -> bytes:
    """Return a frame without sound that says how many follow."""
    version, rate, mono = like.kind
    head = bytes([0xFF, like.content[1] | 1, 0x90 | rate << 2, like.content[3]])  # no checksum; room for the tag
    tag = b"Xing" + (1).to_bytes(4, "big") + n_frames.to_bytes(4, "big")
    return (head + bytes(_side_info(version, mono)) + tag).ljust(_frame_length(head, 0), b"\0")
