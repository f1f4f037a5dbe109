"""A tiny listening test: very short tones in place of clips, and a folder that holds the whole page."""

import shutil
from pathlib import Path

import numpy as np

from envsound.data.audio import SAMPLE_RATE
from envsound.studies.listening.listening_page import FOLDER, PAGE, write_listening
from envsound.studies.listening.material import ANCHOR, GENERATED, RECORDING, REFERENCE, Sound, low_anchor

REPOSITORY = Path(__file__).parents[2]
CODEC = "mine, 8 levels"


def tone_of(hz: float, seconds: float = 0.15) -> np.ndarray:
    """A sine at SAMPLE_RATE, float32 [n_samples]."""
    return (0.3 * np.sin(2 * np.pi * hz * np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE)).astype(np.float32)


def two_clips() -> list[Sound]:
    """A generated dog and a recording of the sea."""
    made = Sound(tone_of(300), "0.wav", "dog", GENERATED, "model")
    return [made, Sound(tone_of(500), "1.wav", "sea_waves", RECORDING, RECORDING)]


def two_trials() -> list[list[Sound]]:
    """Two clips with reference, anchor and one version by a codec."""
    trials = []
    for number, hz in enumerate((400, 5000)):
        samples = tone_of(hz)
        versions = {REFERENCE: samples, ANCHOR: low_anchor(samples), CODEC: samples / 2}
        trials.append([Sound(part, f"clip-{number}", "dog", RECORDING, name) for name, part in versions.items()])
    return trials


def make_page(root: Path, clips: list[Sound] | None = None, trials: list[list[Sound]] | None = None) -> Path:
    """Write the page and its material below `root`, as the built book has them, and return the page."""
    shutil.copytree(REPOSITORY / "book" / PAGE.parent, root / PAGE.parent)
    shutil.copy(REPOSITORY / "book" / "_static" / "favicon.svg", root / "_static")
    clips, trials = two_clips() if clips is None else clips, two_trials() if trials is None else trials
    write_listening(clips, trials, root / FOLDER)
    return root / PAGE
