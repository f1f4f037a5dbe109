"""A tiny listening test: very short tones in place of clips, and a folder that holds the whole page."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd

from envsound.base.files import write_csv, write_json, write_wav
from envsound.data.audio import SAMPLE_RATE
from envsound.studies.listening import material
from envsound.studies.listening.material import ANCHOR, GENERATED, RECORDING, REFERENCE, Sound
from envsound.studies.listening.page import PAGE

REPOSITORY = Path(__file__).parents[2]
CODEC = "mine, 8 levels"


def tone_of(hz: float, seconds: float = 0.15) -> np.ndarray:
    """A sine at SAMPLE_RATE, float32 [n_samples]."""
    return (0.3 * np.sin(2 * np.pi * hz * np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE)).astype(np.float32)


def two_clips() -> list[Sound]:
    """A generated dog and a recording of the sea."""
    made = Sound("0.wav", "dog", GENERATED, "model", tone_of(300))
    return [made, Sound("1.wav", "sea_waves", RECORDING, RECORDING, tone_of(500))]


def told_clips() -> list[Sound]:
    """Three sounds that were made after texts."""
    texts = {"big dog": "dog", "heavy rain": "rain", "old clock": "clock_tick"}
    told = [(f"{place}.ogg", own, GENERATED, "text model", tone_of(600 + 100 * place), None, text)
            for place, (text, own) in enumerate(texts.items())]  # fmt: skip
    return [Sound(*one) for one in told]


def two_trials() -> list[list[Sound]]:
    """Two clips with reference, anchor and one version by a codec."""
    trials = []
    for number, hz in enumerate((400, 5000)):
        samples = tone_of(hz)
        versions = {REFERENCE: samples, ANCHOR: material.low_anchor(samples), CODEC: samples / 2}
        trials.append([Sound(f"clip-{number}", "dog", RECORDING, name, part) for name, part in versions.items()])
    return trials


def write_examples(folder: Path, codec: str = "mine", n: int = 2) -> Path:
    """Write clips of the sea as recorded and through a codec into `folder`/examples; only the first through Opus."""
    rows = []
    for number in range(n):
        kinds = ["original", "codec", *(["opus"] if number == 0 else [])]
        for place, kind in enumerate(kinds):
            clip = tone_of(300 + 50 * number) / (1 + place)
            write_wav(folder / "examples" / f"{number}_{kind}.wav", clip, SAMPLE_RATE)
        row = {"clip": f"clip-{number}", "category": "sea_waves", "opus": "", "codec_name": codec, "opus_kbps": 6}
        rows.append(row | {kind: f"{number}_{kind}.wav" for kind in kinds})
    write_csv(folder / "examples" / "examples.csv", pd.DataFrame(rows))
    write_csv(folder / "systems.csv", pd.DataFrame({"codec": ["mine", "mine"], "n_levels": [8, 1]}))
    write_json(folder / "provenance.json", {"steps": {"08_measure_codec": {"parameters": {"dataset": "esc50"}}}})
    return folder


def make_page(root: Path) -> Path:
    """Write the page and its material below `root`, as the built book has them, and return the page."""
    shutil.copytree(REPOSITORY / "book" / PAGE.parent, root / PAGE.parent)
    shutil.copy(REPOSITORY / "book" / "_static" / "favicon.svg", root / "_static")
    material.write_listening(two_clips(), two_trials(), root / material.FOLDER, told_clips())
    return root / PAGE
