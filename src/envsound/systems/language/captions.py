"""Captions of recordings: what their authors called them, what is measured on them, and their class, as text.

No recording here has a description that was written for a model. Three stand in for one: the title that its author gave
the recording on freesound.org, which ESC-50's LICENSE and data/material's attribution.csv keep; words for what is
measured; and the class. They are merged and dropped as MusicGen does with a description and its metadata (Copet et al.
2023, section 4; the chances are those of its public configuration `text2music`): a title mostly stands alone, and else
with some of the rest, or the rest without it. Where a title is missing, or was only a number, the rest stands alone,
and is never dropped altogether; MusicGen has a description for all.

Most titles name their class, so that a model which follows them may know no more than ten classes. `Caption.blind`
therefore has no word of any class: what follows that follows a text.
"""

import html
import re
import unicodedata
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from envsound.base.errors import InputError
from envsound.base.files import read_csv, write_csv
from envsound.data.licences import ATTRIBUTION, licence_key, read_licences

if TYPE_CHECKING:
    from envsound.data.recordings import Recordings  # reads sound, which training does not need

FILE = "captions.csv"  # of a run: COLUMNS, a row a recording
COLUMNS = ["clip_id", "category", "title", "measured"]
KINDS = ("title", "measured", "category", "blind")
MERGE, DROP_TITLE, KEEP_OTHER = 0.25, 0.5, 0.5  # chances: that a title is not alone, that it goes, of each of the rest
N_CHOICES = 8  # descriptions of a clip to learn from, one of them at a time
MARKUP = re.compile(r"<[^>]*>|\\u[0-9a-fA-F]{4}|https?://\S+|\.(?:wav|aiff?|flac|mp3|ogg|m4a)\b|\d+\s*k?hz", re.I)
WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")
SPOKEN = re.compile("[aeiouyàáâäåæèéêëìíîïòóôöøùúûü]")  # a word without a vowel is a mark of an archive, such as "fx"
STEMS = {  # with which a word begins, or but for an "s" ends, that names a class
    "chainsaw": ("chainsaw",),
    "clock_tick": ("clock", "tick", "uhr", "tictac"),
    "crackling_fire": ("fire", "feu", "crackl", "burn"),
    "crying_baby": ("baby", "babies", "bebe", "cry"),
    "dog": ("dog", "bark", "hond", "chihuahua", "dachshund"),
    "helicopter": ("helicopter",),
    "rain": ("rain",),
    "rooster": ("rooster", "cock", "crow"),
    "sea_waves": ("sea", "wave", "beach", "surf", "ocean", "branding", "tide"),
    "sneezing": ("sneez", "sneeze", "atishoo", "hatsjoe"),
}
RULES = (  # metric of `metrics.extended`, below, its word, above, its word: a fifth to a third of the recordings each
    ("rms", 0.05, "quiet", 0.13, "loud"),
    ("spectral_centroid_hz", 2000, "deep", 4000, "bright"),
    ("crest_db", 15.5, "steady", 22.5, "separate sounds"),
    ("harmonicity", 0.25, "noisy", 0.65, "tonal"),
    ("envelope_repetition", -np.inf, "", 0.7, "repeating"),
)


@dataclass(frozen=True)
class Caption:
    """What is said of one recording; `title` and `measured` may be ""; category: its name as it is in tables."""

    title: str
    measured: str
    category: str

    def of_kind(self, kind: str) -> str:
        """Return the caption of a kind, of KINDS; it may be "".

        title: or the class, where there is none; blind: title and measured without any word of a class.
        """
        words = self.category.replace("_", " ")
        told = {"title": self.title or words, "measured": self.measured, "category": words}
        return told[kind] if kind in told else ". ".join(filter(None, [self._unnamed(), self.measured]))

    def _unnamed(self) -> str:
        return without_classes(self.title, {*STEMS, self.category})

    def merged(self, rng: np.random.Generator) -> str:
        """Return title and the rest as MusicGen merges them; see the module."""
        merges, drops, kept, order = rng.random(), rng.random(), rng.random(2), rng.permutation(2)
        if self.title and merges >= MERGE:
            return self.title
        others = [self.measured, self.category.replace("_", " ")]
        rest = [others[place] for place in order if others[place] and kept[place] < KEEP_OTHER]
        title = [self.title] if self.title and drops >= DROP_TITLE else []
        return ". ".join([*title, *rest]) or self.of_kind("title")


@dataclass(frozen=True)
class Captions:
    """The captions of some clips, in their order; those of altered copies tell nothing that was measured."""

    names: list[str]
    captions: list[Caption]

    def choices(self, seed: int, n_choices: int = N_CHOICES) -> list[list[str]]:
        """Return, for each clip, what it may be described by: its title, or class, and draws of `Caption.merged`.

        A clip's draws depend on the seed and its own name alone.
        """
        drawn = []
        for name, caption in zip(self.names, self.captions, strict=True):
            rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
            drawn.append([caption.of_kind("title"), *(caption.merged(rng) for _ in range(n_choices - 1))])
        return drawn

    def words(self) -> list[str]:
        """Return every text that `choices` may make, in parts: what a model that learns from them has read."""
        return sorted({text for one in self.captions for kind in KINDS[:3] if (text := one.of_kind(kind))})


def clean_title(title: str) -> str:
    """Return a title as words in small letters: without suffix, numbers, rates, markup and what cannot be spoken.

    "BabyCrying_02 96kHz.wav" is "baby crying". What was numbers alone is "".
    """
    text = MARKUP.sub(" ", unicodedata.normalize("NFKC", html.unescape(title)))
    words = WORD.findall(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text).lower())
    return " ".join(word for word in words if len(word) > 1 and SPOKEN.search(word))


def names_class(text: str, category: str) -> bool:
    """Say whether a word of a text begins or ends as one of a class's STEMS, or of its own name where it has none."""
    stems = STEMS.get(category, tuple(words_of(category.replace("_", " "))))
    return any(word.startswith(stems) or word.removesuffix("s").endswith(stems) for word in words_of(text))


def without_classes(text: str, categories: Iterable[str] = tuple(STEMS)) -> str:
    """Return a text's words without those that name any of some classes; punctuation goes too."""
    named = {word for word in words_of(text) for category in categories if names_class(word, category)}
    return " ".join(word for word in words_of(text) if word not in named)


def words_of(text: str) -> list[str]:
    """Return the words of a text, in small letters."""
    return WORD.findall(text.lower())


def measured_words(row: pd.Series) -> str:
    """Return words for what was measured on a clip, by RULES; row: metrics by name. NaN says nothing."""
    told = [below if row[name] < low else above if row[name] > high else "" for name, low, below, high, above in RULES]
    return ", ".join(filter(None, told))


def caption_table(recordings: "Recordings") -> pd.DataFrame:
    """Return COLUMNS for recordings of one folder.

    Titles are empty where neither attribution.csv nor ESC-50's LICENSE lies with the recordings, or lacks them.
    """
    from envsound.metrics.extended import Request, measure_files  # reads sound, too

    table = recordings.table[["clip_id", "category"]].reset_index(drop=True)
    files, named = [*recordings.table["path"]], titles_of(Path(recordings.table["path"].iloc[0]))
    measured = measure_files(files, Request(recordings.sample_rate, recordings.clip_seconds))
    titles = [clean_title(named.get(licence_key(name), "")) for name in recordings.table["filename"]]
    return table.assign(title=titles, measured=[measured_words(row) for _, row in measured.iterrows()])


def titles_of(recording: Path) -> dict[str, str]:
    """Return titles by licence key for the folder, one or two up, that a recording is of; empty where none tells."""
    for folder in recording.parents[:3]:
        if (folder / ATTRIBUTION).is_file() or (folder / "LICENSE").is_file():
            try:
                return read_licences(folder).set_index("clip")["title"].to_dict()
            except InputError:  # a licence of another kind
                return {}
    return {}


def write_captions(run: Path, recordings: "Recordings") -> None:
    """Write FILE into a run; see `caption_table`."""
    write_csv(Path(run) / FILE, caption_table(recordings))


def read_captions(run: Path, clip_ids: Sequence[str]) -> Captions:
    """Return the captions of some clips of a run. Raises InputError when FILE lacks a clip or a column."""
    path = Path(run) / FILE
    table = read_csv(path).fillna("")
    if missing := [name for name in COLUMNS if name not in table]:
        raise InputError(f"{path}: lacks the column {missing[0]}; expected {', '.join(COLUMNS)}")
    known = {str(row.clip_id): Caption(row.title, row.measured, row.category) for row in table.itertuples()}
    return Captions([*map(str, clip_ids)], [_caption_of(str(name), known, path) for name in clip_ids])


def _caption_of(clip_id: str, known: Mapping[str, Caption], path: Path) -> Caption:
    if clip_id in known:
        return known[clip_id]
    recording = clip_id.rpartition("+")[0]  # "1-100032-A-0+2" is an altered copy of "1-100032-A-0"
    if recording not in known:
        raise InputError(f"{path}: has no caption of {clip_id!r}; run notebook 01 again")
    return replace(known[recording], measured="")
