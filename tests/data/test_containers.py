"""Sound that headers deny: lengths never filled in, guessed or of a first part alone; all of it is decoded."""

import io
import re

import numpy as np
import pytest
import soundfile

from envsound.data.audio import BadClip, read

RATE = 24_000
CLIP = np.random.default_rng(0).standard_normal(2 * RATE) * np.repeat([0.001, 0.2], RATE)  # quiet, then loud


def encoded(form: str, clip: np.ndarray = CLIP, rate: int = RATE, **how) -> bytes:
    """Return a clip as a file of some format."""
    stream = io.BytesIO()
    subtype = {"MP3": "MPEG_LAYER_III", "OGG": "VORBIS", "OPUS": "OPUS"}.get(form, "PCM_16")
    soundfile.write(stream, clip, rate, format=form.replace("OPUS", "OGG"), subtype=subtype, **how)
    return stream.getvalue()


def put(content: bytes, place: int, new: bytes) -> bytes:
    """Return content with some bytes at a place replaced."""
    return content[:place] + new + content[place + len(new) :]


def untagged(mp3: bytes) -> bytes:
    """Return an mp3 file of LAME without its first frame, which says how many follow."""
    return mp3[mp3.find(mp3[:2], 100) :]


def without_length(flac: bytes) -> bytes:
    return put(flac, 21, bytes([flac[21] & 0xF0]) + bytes(4))


WAV, AIFF, AU, CAF = map(encoded, ("WAV", "AIFF", "AU", "CAF"))
FLAC, OGG, OPUS = map(encoded, ("FLAC", "OGG", "OPUS"))
VBR, CBR = (encoded("MP3", bitrate_mode=mode) for mode in ("VARIABLE", "CONSTANT"))
CHUNK = b"LIST\x04\x00\x00\x00INFO"
WHOLE, TWICE, DELAY = len(CLIP), 2 * len(CLIP), 1200  # DELAY: samples that mp3 may add where no tag tells of them
PICTURE = b"ID3\x04\x00\x00\x00\x00\x08\x00" + untagged(VBR)[:1024]  # a tag that holds what looks like frames

FILES = {
    "wav, no sizes": ("wav", put(put(WAV, 4, bytes(4)), 40, bytes(4)), WHOLE),
    "wav, data 0": ("wav", put(WAV, 40, bytes(4)), WHOLE),
    "wav, of a pipe": ("wav", put(put(WAV, 4, b"\xff" * 4), 40, b"\xff" * 4), WHOLE),
    "wav, sizes of an hour ago": ("wav", put(WAV, 40, (5000).to_bytes(4, "little")), WHOLE),
    "wav, begins silent, data 0": ("wav", put(encoded("WAV", np.append(np.zeros(99), CLIP)), 40, bytes(4)), WHOLE + 99),
    "wav, a chunk after": ("wav", WAV + CHUNK, WHOLE),
    "wav, a tag after": ("wav", WAV + b"TAG".ljust(128, b"x"), WHOLE),
    "wav, padding after": ("wav", WAV + bytes(500), WHOLE),
    "wav, joined": ("wav", WAV + WAV, TWICE),
    "wav, joined, the last without sizes": ("wav", WAV + put(WAV, 40, bytes(4)), TWICE),
    "aiff, no sizes": ("aiff", put(AIFF, AIFF.find(b"SSND") + 4, bytes(4)), WHOLE),
    "au, data 0": ("au", put(AU, 8, bytes(4)), WHOLE),
    "au, of a pipe": ("au", put(AU, 8, b"\xff" * 4), WHOLE),
    "caf, data 0": ("caf", put(CAF, CAF.find(b"data\0") + 4, bytes(8)), WHOLE),
    "caf, of a pipe": ("caf", put(CAF, CAF.find(b"data\0") + 4, b"\xff" * 8), WHOLE),
    "flac, unknown": ("flac", without_length(FLAC), WHOLE),
    "flac, too short": ("flac", put(FLAC, 22, (5000).to_bytes(4, "big")), WHOLE),
    "flac, joined": ("flac", FLAC + without_length(FLAC), TWICE),
    "ogg, chained": ("ogg", OGG + OGG, TWICE),
    "ogg, chained, other rate": ("ogg", OGG + encoded("OGG", CLIP[:8000], 8000), WHOLE + RATE),
    "opus, chained": ("opus", OPUS + OPUS, TWICE),
    "mp3": ("mp3", VBR, WHOLE),
    "mp3, vbr, untagged": ("mp3", untagged(VBR), WHOLE + DELAY),
    "mp3, cbr, untagged": ("mp3", untagged(CBR), WHOLE + DELAY),
    "mp3, with a picture": ("mp3", PICTURE + VBR, WHOLE),
    "mp3, joined": ("mp3", VBR + CBR, TWICE),
    "mp3, joined, untagged": ("mp3", 2 * untagged(VBR), TWICE + 2 * DELAY),
    "mp3, joined, tags between": ("mp3", VBR + b"TAG".ljust(128, b"x") + PICTURE + VBR, TWICE),
    "mp3, joined, other rate": ("mp3", VBR + encoded("MP3", CLIP[:8000], 8000), WHOLE + RATE),
}


@pytest.mark.parametrize("suffix, content, n_samples", FILES.values(), ids=list(FILES))
def test_a_file_is_decoded_to_its_end(tmp_path, suffix, content, n_samples):
    path = tmp_path / f"clip.{suffix}"
    path.write_bytes(content)
    whole, cut = read(path, RATE), read(path, RATE, 0.5)
    more = DELAY * (n_samples // WHOLE)
    assert n_samples - more <= len(whole.clip) <= n_samples + more if suffix == "mp3" else len(whole.clip) == n_samples
    assert cut.seconds == pytest.approx(len(whole.clip) / RATE, abs=1e-4)
    assert np.abs(cut.clip - whole.clip[: len(cut.clip)]).max() < 0.01 and len(cut.clip) == RATE // 2
    first, last = whole.clip[: RATE // 2], whole.clip[RATE + DELAY + 2000 : 2 * RATE - 2000]
    assert first.std() < 0.01 < 0.15 < last.std()


@pytest.mark.parametrize("content, reason", [
    (VBR[: len(VBR) // 2], "truncated: [0-9]+ of [0-9]+ mp3 frames"),
    (VBR + VBR[: len(VBR) // 2], "truncated: [0-9]+ of [0-9]+ mp3 frames"),
    (OGG + OGG[:-50], "truncated: the stream's last page"),
    (put(FLAC, 22, (10**6).to_bytes(4, "big")), "truncated: 48000 of 1000000 samples"),
    (without_length(FLAC)[:-500], "unreadable: .*lost sync"),
    (put(WAV, 40, bytes(4))[:44], "zero samples"),
    (WAV + WAV[:-500], "truncated: "),
    (b"\xff\xfb\x90\x00" * 9, "unreadable"),
    (b"ID3", "unreadable"),
])  # fmt: skip
def test_what_is_missing_is_told_as_it_is(tmp_path, content, reason):
    (tmp_path / "clip.any").write_bytes(content)
    with pytest.raises(BadClip) as caught:
        read(tmp_path / "clip.any")
    assert re.match(reason, caught.value.reason), caught.value.reason


def test_files_of_people_who_met_these_faults_are_read(cases):
    found = {path.name: read(path).seconds for path in cases.iterdir() if path.suffix in (".wav", ".flac", ".mp3")}
    assert found and min(found.values()) > 0.1
    assert found.get("mp3_vbr_without_xing_header_half_lost_silently.mp3", 1.0) > 0.9
