"""The recording behind a clip, from its file name."""

import pytest

from envsound.data.names import recording_of


@pytest.mark.parametrize(
    ("filename", "recording"),
    [
        ("1-100032-A-0.wav", "100032"), ("folder/5-100032-B-41.ogg", "100032"), ("4-100032-C", "100032"),
        ("100032-3-0-12", "100032"), ("100032-3-0-12.wav", "100032"),
    ],
)  # fmt: skip
def test_clips_of_one_recording_have_its_number(filename, recording):
    assert recording_of(filename) == recording


@pytest.mark.parametrize("filename", ["5-s0x4-B-41.wav", "a_dog.wav", "dog-1.wav", "1-100032-a-0.wav", ""])
def test_other_names_tell_of_no_recording(filename):
    assert recording_of(filename) == ""
