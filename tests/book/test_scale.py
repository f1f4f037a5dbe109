"""What other scales would take: reckoned from the published run, and said to be missing where that is."""

from pathlib import Path

import pytest
from fakes.runs import staging

from envsound.base.files import write_json
from envsound.book.scale import costs, in_words, scale_facts, stage_scale

STEPS = {
    "01_encode_clips": {"seconds": 6.0, "device": "CPU", "facts": {"n_clips": 10, "n_copies": 20}},
    "02_train_model": {
        "device": "GPU",
        "facts": {"n_train_clips": 8, "n_train_copies": 16, "epochs": 100, "training_seconds": 2.0},
    },
    "03_sample_clips": {"seconds": 9.0, "facts": {"n_samples": 3, "audio_seconds": 12.0}},
}


@pytest.fixture
def root(tmp_path) -> Path:
    """A repository with a published run of clips of 4 s, and two recordings."""
    write_json(tmp_path / "data/published/esc10/provenance.json", {"steps": STEPS})
    write_json(tmp_path / "data/codec/patches.json", {"sample_rate": 1000, "frame_rate": 20.0, "n_levels": 4})
    for name, size in (("a", 100), ("b", 300)):
        path = tmp_path / f"data/material/audio/{name}.ogg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(size))
    return tmp_path


def test_bytes_and_seconds_of_a_clip_come_from_the_published_run(root):
    expected = {"clip_seconds": 4.0, "wav_bytes": 8000, "ogg_bytes": 200, "code_bytes": 640, "encode_seconds": 0.2,
                "sample_seconds": 3.0, "trained_per_second": 1200, "epochs": 100, "n_audio_files": 2}  # fmt: skip
    assert costs(root) == expected
    said = scale_facts(root)
    assert (said["wav_bytes"], said["encode_seconds"], said["cpu"], said["gpu"]) == ("8,000", "0.2", "CPU", "GPU")


def test_gpu_hours_become_clips_bytes_and_hours(root):
    """10 h train 43.2 million clips, each of them 100 times."""
    book = staging(root)
    stage_scale(book)
    rows = (book.book_dir / "executed/scale/hours.txt").read_text().splitlines()
    assert "| 10 | 430 k | 480 | 3.5 GB | 86 MB | 280 MB | 24 |" in rows
    assert [row.split("|")[1].strip() for row in rows[3:6]] == ["10", "1,000", "100,000"]


def test_without_results_nothing_is_said(tmp_path):
    assert costs(tmp_path) == {} and str(scale_facts(tmp_path)["wav_bytes"]) == "not measured"
    book = staging(tmp_path)
    stage_scale(book)
    assert "holds no run" in (book.book_dir / "executed/scale/hours.txt").read_text()


@pytest.mark.parametrize(
    ("value", "words"), [(0.4, "0.4"), (940, "940"), (999.6, "1 k"), (1_240_000, "1.2 M"), (3e15, "3 P")]
)
def test_numbers_have_two_digits_and_a_prefix(value, words):
    assert in_words(value) == words and in_words(value, "B").endswith("B")
