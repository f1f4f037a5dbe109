"""Reading one recording: rates, channels, lengths, and every kind of file that must be refused by name."""

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from envsound.base.errors import InputError
from envsound.data.audio import BadClip, read, read_clip


def tone(frequency_hz: float, sample_rate: int, seconds: float) -> np.ndarray:
    """A sine of amplitude 0.5, float64 [n_samples]."""
    return 0.5 * np.sin(2 * np.pi * frequency_hz * np.arange(round(seconds * sample_rate)) / sample_rate)


@pytest.mark.parametrize("rate", [8_000, 16_000, 24_000, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("n_channels", [1, 2])
def test_every_rate_and_channel_count_gives_the_same_tone(tmp_path, rate, n_channels):
    clip = tone(1000, rate, 1.0)
    soundfile.write(tmp_path / "tone.wav", np.stack([clip] * n_channels, axis=1), rate)
    found = read_clip(tmp_path / "tone.wav")
    assert found.dtype == np.float32 and found.shape == (24_000,)
    inner = slice(500, -500)  # away from where the filter meets the ends of the file
    assert np.abs(found - tone(1000, 24_000, 1.0))[inner].max() < 2e-3


def test_channels_are_averaged_and_nothing_above_the_new_half_rate_survives(tmp_path):
    stereo = np.stack([np.full(2400, 0.6), np.full(2400, -0.2)], axis=1)
    soundfile.write(tmp_path / "stereo.wav", stereo, 24_000, subtype="FLOAT")
    assert np.allclose(read_clip(tmp_path / "stereo.wav"), 0.2)
    soundfile.write(tmp_path / "high.wav", tone(15_000, 44_100, 1.0), 44_100, subtype="FLOAT")
    assert np.abs(read_clip(tmp_path / "high.wav")[500:-500]).max() < 1e-4


@pytest.mark.parametrize("seconds, expected", [(0.4, 9_600), (1.0, 24_000), (1.7, 24_000)])
def test_longer_clips_are_cut_to_their_start_and_shorter_ones_kept(tmp_path, seconds, expected):
    noise = 0.1 * np.random.default_rng(0).standard_normal(round(seconds * 44_100))
    soundfile.write(tmp_path / "noise.wav", noise, 44_100, subtype="FLOAT")
    cut, whole = read_clip(tmp_path / "noise.wav", max_seconds=1.0), read_clip(tmp_path / "noise.wav")
    assert len(cut) == expected and np.abs(cut - whole[: len(cut)]).max() < 1e-6


def test_beyond_full_scale_is_limited_and_the_peak_told(tmp_path):
    soundfile.write(tmp_path / "loud.wav", 4 * tone(440, 24_000, 0.1), 24_000, subtype="FLOAT")
    reading = read(tmp_path / "loud.wav")
    assert np.abs(reading.clip).max() == 1.0 and reading.peak == pytest.approx(2.0, rel=1e-3)
    assert reading.seconds == pytest.approx(0.1)


@pytest.mark.parametrize("request_", [{"sample_rate": 0}, {"max_seconds": float("nan")}])
def test_one_sided_requests_are_refused(tmp_path, request_):
    with pytest.raises(InputError, match="above zero"):
        read_clip(tmp_path / "any.wav", **request_)


def refused(path) -> str:
    """Return the reason for which a file is refused; the message must also name the file."""
    with pytest.raises(BadClip) as caught:
        read_clip(path, max_seconds=5.0)
    assert path.name in str(caught.value) and isinstance(caught.value, InputError)
    return caught.value.reason


@pytest.mark.parametrize("content", [b"", b"RIFF", b"this is not audio at all" * 20, bytes(5000)])
def test_a_file_that_is_no_audio_is_refused(tmp_path, content):
    (tmp_path / "clip.wav").write_bytes(content)
    assert refused(tmp_path / "clip.wav").startswith("unreadable")


FORMATS = [("wav", "PCM_16"), ("wav", "FLOAT"), ("aiff", "PCM_24"), ("au", "PCM_16"), ("flac", "PCM_16")]
FORMATS += [("ogg", "VORBIS"), ("ogg", "OPUS")]


@pytest.mark.parametrize("suffix, subtype", FORMATS)
@settings(max_examples=20, deadline=None)
@given(part=st.floats(0.0, 0.97))
def test_a_file_cut_off_anywhere_is_refused(tmp_path_factory, suffix, subtype, part):
    folder = tmp_path_factory.mktemp("cut")
    noise = 0.1 * np.random.default_rng(0).standard_normal(24_000)
    soundfile.write(folder / f"whole.{suffix}", noise, 24_000, subtype=subtype)
    content = (folder / f"whole.{suffix}").read_bytes()
    (folder / f"part.{suffix}").write_bytes(content[: int(part * len(content))])
    assert refused(folder / f"part.{suffix}").startswith(("truncated", "unreadable", "zero samples"))
    assert len(read_clip(folder / f"whole.{suffix}")) == 24_000


def test_a_wav_from_a_pipe_is_not_mistaken_for_a_truncated_one(tmp_path):
    soundfile.write(tmp_path / "clip.wav", tone(440, 24_000, 0.5), 24_000)
    content = bytearray((tmp_path / "clip.wav").read_bytes())
    content[40:44] = b"\xff\xff\xff\xff"  # the size of the data chunk, left unknown
    (tmp_path / "clip.wav").write_bytes(content)
    assert len(read_clip(tmp_path / "clip.wav")) == 12_000


def test_what_is_not_there_or_has_no_samples_is_refused(tmp_path):
    assert refused(tmp_path / "nowhere.wav") == "no such file" and "a folder" in refused(tmp_path)
    (tmp_path / "link.wav").symlink_to("nowhere.wav")
    assert refused(tmp_path / "link.wav") == "broken link: it leads nowhere"
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 24_000)
    assert refused(tmp_path / "empty.wav") == "zero samples"
    soundfile.write(tmp_path / "tiny.wav", np.zeros(1), 96_000)
    assert refused(tmp_path / "tiny.wav") == "zero samples at 24000 Hz"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_finite_are_refused(tmp_path, value):
    clip = tone(440, 24_000, 0.5)
    clip[[10, 20]] = value
    soundfile.write(tmp_path / "clip.wav", clip, 24_000, subtype="FLOAT")
    assert refused(tmp_path / "clip.wav") == "not finite: 2 samples are NaN or infinite"
