"""The generator that ships: sounds of ten classes, of any length, new or like a recording.

`envsound.load_generator().sample("rain", seconds=5, count=4, seed=0)` from Python, `envsound sample rain` from a shell.
Its card, data/generator/generator.md, says what it learnt from and what was measured.
"""

import math
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from envsound.base.device import choose_device
from envsound.base.errors import InputError
from envsound.base.files import read_json, sha256_file, write_json, write_text
from envsound.base.paths import shipped
from envsound.base.text import markdown_table
from envsound.codec import load_codec
from envsound.run.presets import nearest
from envsound.systems.base import Request
from envsound.systems.sampling import ONE_CANDIDATE, Selection, plan_requests
from envsound.systems.soundstorm.checkpoints import Checkpoint, load_checkpoint, save_checkpoint
from envsound.systems.soundstorm.system import SoundStorm, decoding_config

FOLDER = Path("data") / "generator"
FILE, CARD, README = "generator.safetensors", "generator.json", "generator.md"
CODEC = "patches"
LARGEST = 16_000_000  # bytes that ship
DECODING = (  # keys of a preset that say how codes are drawn; they are stored in the file
    "steps_per_level", "entropy_budget", "temperature", "fine_temperature", "top_k", "top_p", "order", "order_noise",
    "guidance_scale", "guidance_end",
)  # fmt: skip


@dataclass(frozen=True)
class Sounds:
    """Generated clips of one length: audio float32 [count, n_samples] in [-1, 1], and their sample rate in Hz."""

    audio: np.ndarray
    sample_rate: int


@dataclass(frozen=True)
class Generator:
    """A trained system, asked for sounds of one class."""

    system: SoundStorm

    @property
    def categories(self) -> list[str]:
        """The classes it can make."""
        return self.system.categories

    def sample(
        self,
        category: str,
        seconds: float = 5.0,
        count: int = 1,
        seed: int = 0,
        like: str | Path = "",
        share: float = 0.0,
        selection: Selection = ONE_CANDIDATE,
    ) -> Sounds:
        """Return `count` sounds of a class; the same seed gives the same sounds.

        seconds: their length (s), rounded up to whole columns of codes (53 ms). like: a recording in any format that
        libsndfile reads: each sound begins with it and goes on for `seconds`; with a `share` above 0, up to 1, each is
        the recording itself with that share of its columns made anew. selection: how the best of several candidates is
        found. Raises InputError for an unknown class (naming the nearest), a number that is too small, or a recording
        that cannot be read.
        """
        requests = self.requests(category, seconds, count, seed, like, share)
        return Sounds(np.stack([one.clip for one in selection.make(self.system, requests)]), self.system.sample_rate)

    def requests(
        self, category: str, seconds: float, count: int, seed: int, like: str | Path = "", share: float = 0.0
    ) -> list[Request]:
        """Return what `sample` asks the system for. Raises InputError as `sample` does, before anything is made."""
        if category not in self.categories:
            raise InputError(f"category={category!r}: not a class of the generator; expected {self._nearest(category)}")
        if count < 1 or seed < 0:
            raise InputError(f"count={count}, seed={seed}: expected a count of 1 or more and a seed of 0 or more")
        if not 0 < seconds < math.inf:
            raise InputError(f"seconds={seconds}: expected more than 0")
        planned = plan_requests(count, seed, self.categories, category, np.empty(0), seconds)
        like = str(Path(like).expanduser().absolute()) if str(like) else ""
        return [Request(one.filename, category, seconds, one.seed, like, share) for one in planned]

    def _nearest(self, category: str) -> str:
        return nearest(category.strip().lower().replace(" ", "_"), self.categories)


def load_generator(folder: str | Path | None = None, device: str = "auto") -> Generator:
    """Return the generator in `folder`, or the one that ships, from any working directory.

    device: auto, cpu, cuda or mps. Raises InputError when a file is missing, damaged or foreign, is not the one that
    the card describes, or learnt the codes of another codec than the one that ships.
    """
    place = Path(folder or shipped(FOLDER))
    path, on = place / FILE, choose_device(device)
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected the generator that ships with envsound")
    expected, found = read_json(place / CARD).get("content_hash"), sha256_file(path)
    codec = load_codec(CODEC, device=on)
    checkpoint = load_checkpoint(path, on, codec.content_hash)
    if found != expected:
        raise InputError(f"{path}: SHA-256 is {found}; expected {expected}, as on its card")
    if not set(DECODING) <= set(checkpoint.facts.get("decoding", ())):
        raise InputError(f"{path}: does not say how to decode; expected a generator that `ship` wrote")
    decoding = decoding_config(checkpoint.facts["decoding"] | {"sample_precision": "auto"}, on)
    return Generator(SoundStorm(checkpoint, codec, decoding, found))


def ship(
    checkpoint: Checkpoint,
    preset: Mapping[str, Any],
    training: Mapping[str, Any],
    folder: str | Path,
    measured: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Write a model in 16 bits as the generator of `folder`, with its card; return the card.

    preset: values by key, of which DECODING go into the file; training: what the card says of it (see `card_text`);
    measured: values with their words, by what they measure. Raises InputError for a file above LARGEST bytes.
    """
    folder, model = Path(folder), deepcopy(checkpoint.model).half()
    facts = checkpoint.facts | {"decoding": {name: preset[name] for name in DECODING}}
    save_checkpoint(folder / FILE, Checkpoint(model, checkpoint.categories, facts))
    if (size := (folder / FILE).stat().st_size) > LARGEST:
        raise InputError(f"{folder / FILE}: {size} bytes; expected {LARGEST} at most, so make the model smaller")
    card = {
        "content_hash": sha256_file(folder / FILE),
        "codec_hash": facts["codec_hash"],
        "categories": checkpoint.categories,
        "n_parameters": model.n_parameters(),
        "n_layers": model.config.n_layers,
        "dim": model.config.dim,
        "decoding": facts["decoding"],
        "training": dict(training),
        "measured": dict(measured or {}),
    }
    write_json(folder / CARD, card)
    write_text(folder / README, card_text(card))
    return card


def card_text(card: Mapping[str, Any]) -> str:
    """Return the generator's card in Markdown; every number in it comes from `card`, the content of CARD.

    Of its training: material, n_clips, n_versions, held_out_fold, preset, seed, epochs, steps, batch_size, minutes,
    device.
    """
    training, decoding = card["training"], card["decoding"]
    settings = ", ".join(f"`{name}: {value}`" for name, value in decoding.items())
    measured = [[what, value] for what, value in card["measured"].items()]
    table = "\n".join(markdown_table(["measured", "value"], measured)) if measured else "Nothing yet."
    return f"""# The generator that ships

`{FILE}`: a masked Conformer of {card["n_layers"]} blocks of width {card["dim"]}
({card["n_parameters"] / 1e6:.1f} million weights in 16 bit, `src/envsound/systems/soundstorm/conformer.py`) that writes
the codes of the codec `{CODEC}` for {len(card["categories"])} classes:
{", ".join(card["categories"]).replace("_", " ")}.
`envsound sample` and `envsound.load_generator()` use it.

- Content hash (SHA-256): `{card["content_hash"]}`
- Codes of codec: `{card["codec_hash"]}`
- Trained on: {training["material"]}; outside fold {training["held_out_fold"]}, clip licence CC BY or CC0
  ({training["n_clips"]} clips, each as it is and in {training["n_versions"] - 1} altered versions; licence, author and
  source of each in `attribution.csv`).
- Held out: fold {training["held_out_fold"]}. Nothing was chosen by it; the last step is kept.
- Made by: the values of preset `{training["preset"]}`, seed {training["seed"]}, {training["epochs"]} epochs:
  {training["steps"]:,} steps of {training["batch_size"]} clips in {training["minutes"]:.1f} minutes on
  {training["device"]}.
- Decoding, as stored in the file: {settings}.

## Measured

{table}

## What it is for, and what not

Sound design, teaching and as a start for training of one's own. It knows ten classes and nothing else; what it makes
has the bandwidth of its codec (11.4 kHz) and is mono. A generated sound may follow a training clip for a while: see the
copies above. It is no source of training data or test data for detectors whose errors matter, such as alarms.

## Licence

The weights are released under CC BY 4.0. The recordings they were trained on are CC BY or CC0; please keep
`attribution.csv` with them. No rights are claimed in the sounds it makes.
"""
