"""The classifier that ships with the study: which of the ten classes of ESC-10 a recording sounds like, or none.

`envsound.classify("dog.wav")` from Python, `envsound classify dog.wav rain.mp3` from a shell. Its card,
data/classifier/README.md, says what it learnt from and how often it is right.
"""

import sys
from argparse import ArgumentParser, Namespace
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from envsound.base.errors import InputError, exit_code
from envsound.base.paths import go_to_root
from envsound.data.audio import read_clip
from envsound.evaluation.listeners.shipped import FOLDER, load_shipped, mean_probabilities

NAME, HELP = "classify", "say which of ten classes of sound recordings hold, or none"
EXAMPLE = "envsound classify dog.wav rain.mp3 --top 3"
MAKE = "envsound classify --train"


class Heard(NamedTuple):
    """A class and its probability, 0 to 1, among the classes that the classifier knows."""

    category: str
    probability: float


def classify(path: str | Path, top: int = 5, folder: str | Path | None = None) -> list[Heard]:
    """Return the `top` most probable classes of a recording, the most probable first.

    Any sample rate, length and number of channels, in a format that libsndfile reads. A recording longer than 5 s
    is heard in parts, whose probabilities are averaged. folder: None is that of the one that ships.
    Raises InputError when the recording or the classifier cannot be read, or `top` is below 1.
    """
    if top < 1:
        raise InputError(f"top={top}: expected 1 or more classes")
    listener = load_shipped(folder)
    mean = mean_probabilities(listener, read_clip(path, listener.sample_rate))
    order = np.argsort(-mean, kind="stable")[:top]
    return [Heard(listener.categories[place], float(mean[place])) for place in order]


def add_arguments(parser: ArgumentParser) -> None:
    """Declare what `envsound classify` takes: recordings, or the folder to make the classifier from."""
    parser.add_argument("files", nargs="*", metavar="FILE", help="recordings")
    parser.add_argument("--top", type=int, default=5, metavar="N", help="classes to name")
    again = "make the classifier again, from the recordings that ship or a folder of ESC-50 at full bandwidth"
    parser.add_argument("--train", nargs="?", const="", metavar="FOLDER", help=again)
    parser.add_argument("--to", default=str(FOLDER), metavar="FOLDER", help="where --train writes it")
    parser.add_argument("--epochs", type=int, default=40, help="of --train")
    parser.add_argument("--seed", type=int, default=0, help="of --train")
    parser.add_argument("--held-out-fold", type=int, default=1, help="that --train learns nothing from")
    parser.add_argument("--device", default="auto", help="of --train: auto, cpu, cuda or mps")


def run(options: Namespace) -> int:
    """Print one line for each file, or make the classifier; return 1 when something cannot be read, else 0."""
    if bool(options.files) == (options.train is not None):
        print(f"error: {NAME}: expected recordings, or --train", file=sys.stderr)
        return 1
    if options.train is not None:
        return exit_code(lambda: _train(options), f"Shipped to {options.to}.")
    failed = 0
    for file in options.files:
        try:
            heard = classify(file, options.top)
            print(f"{file}: " + ", ".join(f"{category} {probability:.0%}" for category, probability in heard))
        except InputError as error:
            print(f"error: {error}", file=sys.stderr)
            failed = 1
    return failed


def _train(options: Namespace) -> None:
    from envsound.codec import load_codec
    from envsound.evaluation.classify_training import CODEC, RECIPE, load_material, make

    data_dir = Path(options.train).absolute() if options.train else ""
    go_to_root()
    fold, recipe = options.held_out_fold, replace(RECIPE, n_epochs=options.epochs, seed=options.seed)
    told = MAKE + " <folder of ESC-50>" * bool(data_dir)
    told += f" --epochs {options.epochs} --seed {options.seed} --held-out-fold {fold}"
    material = load_material(data_dir, load_codec(CODEC, device=options.device), fold)
    make(material, options.to, recipe, None, options.device, told)
