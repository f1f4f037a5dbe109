"""Montage: pieces of training recordings, cross-faded in an order learnt from how they begin and end.

The concatenative control (Schwarz 2006, "Concatenative sound synthesis: the early years"): what a generator must beat
to be worth its name, and by construction a copyist, so that whoever looks for copies must find it out. Its counterpart
in codes, where pieces are single columns, is `codec.counting.ColumnChain`.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError

from envsound.base.errors import InputError
from envsound.base.files import sha256_file
from envsound.base.tensors import read_tensors, write_tensors
from envsound.codec import Codec
from envsound.codec.mel import mel_means
from envsound.data.recordings import Recordings
from envsound.run.identity import digest, module_hash
from envsound.systems.base import Request, Trained, preset_codec, read_options
from envsound.systems.kept import Sounds, keep_sounds, load_sounds, sounds_named

N_BANDS, LOWEST_HZ, FLOOR_DB = 32, 50.0, -80.0  # of the spectra in which the ends of atoms are compared
AUDIBLE = 1e-3  # rms of an atom; quieter ones are left out
KIND, FILE = "montage", "checkpoints/montage.safetensors"
NEXT, PLACES = "next", "places"


@dataclass(frozen=True)
class MontageOptions:
    """How pieces are cut and joined. Raises InputError for an atom below 1 s, or a fade that is no part of it."""

    atom_seconds: float = 3.0  # s from the beginning of an atom to that of the next
    fade_seconds: float = 0.25  # s that two atoms sound together
    n_next: int = 4  # atoms that may follow one

    def __post_init__(self) -> None:
        if self.atom_seconds < 1 or not 0.01 <= self.fade_seconds < self.atom_seconds / 2 or self.n_next < 1:
            raise InputError(f"options: {asdict(self)}: expected atoms of 1 s or more, a shorter fade, n_next from 1")


@dataclass(frozen=True)
class Atoms:
    """Atoms of a class: places int [n_atoms, 2], clip and first sample; and int [n_atoms, n_next], who may follow."""

    places: np.ndarray
    next: np.ndarray


@dataclass(frozen=True)
class Montage:
    """A chain over the atoms of each class, with the recordings they are cut from."""

    sounds: Sounds
    atoms: Mapping[str, Atoms]
    options: MontageOptions
    content_hash: str

    name, conditions = "montage", frozenset({"class"})

    @property
    def sample_rate(self) -> int:
        return self.sounds.sample_rate

    @property
    def categories(self) -> list[str]:
        return sorted(self.atoms)

    def generate(self, requests: Sequence[Request]) -> Iterator[np.ndarray]:
        """Yield a clip for each request, float32 [n_samples]."""
        for request in requests:
            yield self._clip(self.atoms[request.category], request.seconds, np.random.default_rng(request.seed))

    def describe(self, request: Request) -> dict[str, Any]:
        """Return seconds, the name of the system, and how atoms are cut."""
        return {"seconds": request.seconds, "system": self.name} | asdict(self.options)

    def reconstruct(self, clip: np.ndarray) -> None:
        """Return None: a montage has no representation of a sound that it has not got."""

    def controls(self, run: Path) -> Mapping[str, Callable[[Any, np.random.Generator], np.ndarray]]:
        """Return nothing; see `codec.counting` for chains of codes."""
        return {}

    def _clip(self, atoms: Atoms, seconds: float, rng: np.random.Generator) -> np.ndarray:
        """Return atoms one after the other, each faded into the next at equal power, float32 [n_samples]."""
        step, fade = _lengths(self.options, self.sample_rate)
        n_samples = round(seconds * self.sample_rate)
        made = np.zeros(-(-n_samples // step) * step + fade, dtype=np.float32)
        rise = np.sin(np.linspace(0, np.pi / 2, fade, dtype=np.float32))
        which = int(rng.integers(len(atoms.places)))
        for start in range(0, n_samples, step):
            clip, first = atoms.places[which]
            atom = self.sounds.clips[clip][first : first + step + fade].copy()
            atom[:fade] *= rise if start else 1
            atom[step:] *= rise[::-1]
            made[start : start + step + fade] += atom
            which = int(rng.choice(atoms.next[which]))
        return made[:n_samples].clip(-1, 1)


class MontageRecipe:
    """How a montage is made: recordings are cut into atoms, and each learns which others may follow it."""

    about = """A montage is made of pieces of the training recordings, atoms of a second or more. Two atoms sound
together for a short while, one fading out and the other in, so an atom may be followed by those whose beginning is
most like its end: like in level by mel band, and of another recording. These few are learnt, and nothing else; the
loss is how unlike they are (dB). A clip starts with any atom of its class and goes on with one of the few that may
follow, drawn at random.

It is a control. It sounds as recordings do, because it is made of them, and a search for copies must find it out."""

    def codec(self, settings: Mapping[str, Any]) -> Codec:
        """Return the codec that a montage is measured by."""
        return preset_codec(settings)

    def prepare(self, recordings: Recordings, settings: Mapping[str, Any], run: Path) -> pd.DataFrame:
        """Return codes.csv; the clips themselves are kept in the run."""
        return keep_sounds(recordings, settings, self.codec(settings), run)

    def train(self, settings: Mapping[str, Any], run: Path, device: torch.device) -> Trained:
        """Learn which atoms may follow each other. Raises InputError for a class with too little to cut."""
        options, started = read_options(MontageOptions, settings), time.perf_counter()
        learnt, watched = load_sounds(settings, run)
        tensors, losses = {}, {"train": [], "validation": []}
        for category in sorted(set(learnt.categories)):
            atoms, joins = learn_atoms(learnt, category, options)
            tensors |= {f"{category}/{PLACES}": atoms.places, f"{category}/{NEXT}": atoms.next}
            losses["train"].append(joins)
            heads = edge_levels(learnt, atoms.places, options)[0]
            tails = edge_levels(watched, atom_places(watched, category, options), options)[1]
            losses["validation"].append(np.sort(_unlike(tails, heads), axis=1)[:, : options.n_next].ravel())
        header = {"options": asdict(options), "clips": learnt.names}
        write_tensors(Path(run) / FILE, {key: torch.from_numpy(one) for key, one in tensors.items()}, KIND, header)
        found = {split: np.concatenate(parts) for split, parts in losses.items()}
        means = {split: float(one.mean()) if one.size else np.nan for split, one in found.items()}
        shared = {"epoch": 1, "level": "all", "seconds": time.perf_counter() - started}
        rows = [shared | {"split": split, "loss": loss} for split, loss in means.items()]
        n_atoms = sum(len(one) for key, one in tensors.items() if key.endswith(PLACES))
        return Trained(pd.DataFrame(rows), {"n_train_clips": len(learnt.clips), "n_atoms": n_atoms, "n_parameters": 0})

    def load(self, settings: Mapping[str, Any], run: Path, device: torch.device) -> Montage:
        """Return a run's montage. Raises InputError when its file is missing, or of other options."""
        options, path = read_options(MontageOptions, settings), Path(settings["checkpoint"] or Path(run) / FILE)
        try:
            tensors, header = read_tensors(path, KIND)
            made_with, clips = header["options"], header["clips"]
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise InputError(f"checkpoint {path}: cannot be read ({error}); expected a montage") from None
        if made_with != asdict(options):
            raise InputError(f"checkpoint {path}: was made with {made_with}; expected {asdict(options)}")
        names = sorted({name.rpartition("/")[0] for name in tensors})
        atoms = {one: Atoms(*(tensors[f"{one}/{part}"].numpy() for part in (PLACES, NEXT))) for one in names}
        learnt = sounds_named(clips, run)
        return Montage(learnt, atoms, options, digest([sha256_file(path), learnt.digest(), _code()]))


def learn_atoms(sounds: Sounds, category: str, options: MontageOptions) -> tuple[Atoms, np.ndarray]:
    """Return the atoms of a class, and how unlike (dB) those that may follow begin, float [n_atoms * n_next].

    Raises InputError when fewer than two recordings of the class are long and loud enough.
    """
    places = atom_places(sounds, category, options)
    if len(set(places[:, 0])) < 2:
        need = options.atom_seconds + options.fade_seconds
        raise InputError(f"{category}: expected two audible recordings or more, of at least {need} s each")
    heads, tails = edge_levels(sounds, places, options)
    unlike = _unlike(tails, heads)
    unlike[places[:, :1] == places[:, 0]] = np.inf  # no atom is followed by its own recording
    n_next = min(options.n_next, int(np.isfinite(unlike).sum(1).min()))
    order = np.argsort(unlike, axis=1, kind="stable")[:, :n_next]
    return Atoms(places, order.astype(np.int64)), np.take_along_axis(unlike, order, axis=1).ravel()


def atom_places(sounds: Sounds, category: str, options: MontageOptions) -> np.ndarray:
    """Return clip and first sample of the audible atoms of a class, half an atom apart: int64 [n_atoms, 2]."""
    step, fade = _lengths(options, sounds.sample_rate)
    found = [
        (number, start)
        for number, (clip, own) in enumerate(zip(sounds.clips, sounds.categories, strict=True))
        for start in range(0, len(clip) - step - fade + 1, step // 2)
        if own == category and np.sqrt(np.mean(clip[start : start + step] ** 2)) > AUDIBLE
    ]
    return np.array(found, dtype=np.int64).reshape(-1, 2)


def edge_levels(sounds: Sounds, places: np.ndarray, options: MontageOptions) -> tuple[np.ndarray, np.ndarray]:
    """Return levels (dB) of what sounds while atoms fade in, and out: float [n_atoms, N_BANDS] each."""
    step, fade = _lengths(options, sounds.sample_rate)
    bank, window = mel_means(sounds.sample_rate, fade, N_BANDS, LOWEST_HZ, sounds.sample_rate / 2), np.hanning(fade)
    edges = []
    for offset in (0, step):
        parts = np.array([sounds.clips[clip][start + offset :][:fade] for clip, start in places]).reshape(-1, fade)
        power = np.abs(np.fft.rfft(parts * window)) ** 2 / np.square(window).sum()
        edges.append(10 * np.log10(power @ bank.T + 10 ** (FLOOR_DB / 10)))
    return edges[0], edges[1]


def _unlike(tails: np.ndarray, heads: np.ndarray) -> np.ndarray:
    """Return the root mean square difference (dB) of every end from every beginning, float [n_tails, n_heads]."""
    return np.sqrt(np.square(tails[:, None] - heads[None]).mean(-1))


def _lengths(options: MontageOptions, sample_rate: int) -> tuple[int, int]:
    return round(options.atom_seconds * sample_rate), round(options.fade_seconds * sample_rate)


@cache
def _code() -> str:
    return module_hash(__name__)
