"""Whether models follow a text: what is heard of captions they never met, and what one word changes.

Most titles name their class, so they are asked apart from those that do not, and from captions without any word of a
class. What follows the latter follows a text, not ten classes.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from envsound.base.errors import InputError
from envsound.base.files import write_ogg
from envsound.base.text import slug
from envsound.evaluation.decoys import NONE
from envsound.evaluation.listeners.shipped import load_shipped, mean_probabilities
from envsound.evaluation.memorisation import level_distances, level_map
from envsound.metrics.extended import measure
from envsound.metrics.tests import wilson
from envsound.systems.base import Request, System
from envsound.systems.language.captions import Caption, measured_words, names_class

CLASS, NAMED, UNNAMED = "class", "title that names it", "title that does not"
KINDS = {NAMED: "title", UNNAMED: "title", "no word of a class": "blind"}
KINDS |= {"measured": "measured", "category": "category"}
ONE_WORD = (  # a text, and the same with one word more, which the recordings' titles or measures know
    ("dog bark", "big dog bark"),
    ("rain", "heavy rain"),
    ("rain", "quiet rain"),
    ("clock ticking", "old clock ticking"),
    ("sea waves", "close sea waves"),
    ("fire crackling", "small fire crackling"),
    ("rooster", "synthetic rooster"),  # the published study's word, which no recording here has
)
MOST_TOLD = 7
FOLLOWED_COLUMNS = [
    "system", "kind", "n", "n_left_out", "n_right", "heard", "heard_low", "heard_high", "chance", "refused",
    "n_words", "words_kept", "words_chance",
]  # fmt: skip
WORD_COLUMNS = ["system", "text", "other", "unknown", "n_seeds", "by_word", "by_seed", "ratio", "level_db"]


class Asked(NamedTuple):
    """What a system is asked for, and the caption of the recording that it was asked after."""

    text: str
    category: str
    caption: Caption


def followed_table(
    systems: Mapping[str, System], captions: Sequence[Caption], seconds: float, seed: int = 0
) -> pd.DataFrame:
    """Return what is heard of clips made after captions, a row for each system and kind: FOLLOWED_COLUMNS.

    captions: of recordings that no system has met. Systems that are told texts are asked by KINDS, others by CLASS; a
    text of which a system knows no word is left out. heard: the share that the classifier that ships, which may refuse,
    hears as the recording's class. Of kinds that tell what was measured: of n_words, the share that hold of the clip
    they were asked of (`words_kept`), and of any other clip of the same kind (`words_chance`).
    """
    rows = []
    for name, system in systems.items():
        for kind in KINDS if "text" in system.conditions else (CLASS,):
            wanted = _asked(kind, captions)
            asked = [one for one in wanted if _is_known(system, one.text)]
            if not asked:
                continue
            requests = [
                Request(f"{place}", one.category, seconds, seed + place, text=one.text)
                for place, one in enumerate(asked)
            ]
            clips = [*system.generate(requests)]
            row = {"system": name, "kind": kind, "n": len(asked), "n_left_out": len(wanted) - len(asked)}
            row |= _heard(clips, [one.caption.category for one in asked])
            told = [one.caption.measured if KINDS.get(kind) in ("blind", "measured") else "" for one in asked]
            rows.append(row | _words(clips, told, system.sample_rate))
    return pd.DataFrame(rows, columns=FOLLOWED_COLUMNS)


def word_table(
    systems: Mapping[str, Any], seconds: float, n_seeds: int = 8, seed: int = 0, pairs: Sequence = ONE_WORD
) -> pd.DataFrame:
    """Return what one word of a text changes, beside what another seed does: WORD_COLUMNS, a row a system and pair.

    by_word: from the clip of a text to that of the other with the same seed; by_seed: between clips of the first text
    (medians, dB, see `memorisation.level_distances`); ratio: of the two, near 1 where the word is worth a seed and 0
    where it changes nothing. level_db: how much louder the clips of the second text are. unknown: what the system does
    not know of it. Pairs of which it knows nothing are left out.
    """
    rows = []
    for name, system in systems.items():
        for pair in pairs:
            if not all(_is_known(system, text) for text in pair):
                continue
            requests = [Request("", "", seconds, seed + n, text=text) for text in pair for n in range(n_seeds)]
            clips = [*system.generate(requests)]
            maps = [level_map(clip, system.sample_rate) for clip in clips]
            first, second = maps[:n_seeds], maps[n_seeds:]
            by_word = np.median(np.diag(level_distances(first, second)))
            by_seed = np.median(level_distances(first, first)[np.triu_indices(n_seeds, 1)])
            levels = [10 * np.log10(np.mean([np.mean(clip**2) for clip in some]) + 1e-12)
                      for some in (clips[:n_seeds], clips[n_seeds:])]  # fmt: skip
            told = [name, *pair, ", ".join(system.encoder.unknown(pair[1])), n_seeds, by_word, by_seed]
            rows.append([*told, by_word / by_seed, levels[1] - levels[0]])
    return pd.DataFrame(rows, columns=WORD_COLUMNS)


def keep_told(
    systems: Mapping[str, Any], captions: Sequence[Caption], seconds: float, folder: Path, seed: int = 0
) -> pd.DataFrame:
    """Write what systems make of titles of which they know every word, as Ogg: file, category, words, text.

    One title of a class, that of most words, of MOST_TOLD classes at most, as many as the published study asked about;
    words: the system's name. Listeners can be asked which text belongs to which of them.
    """
    rows = []
    for name, system in systems.items():
        known = [one for one in captions if one.title and not system.encoder.unknown(one.title)]
        known.sort(key=_n_words)
        longest = sorted({one.category: one for one in known}.values(), key=_n_words, reverse=True)[:MOST_TOLD]
        requests = [Request("", "", seconds, seed + place, text=one.title) for place, one in enumerate(longest)]
        for one, clip in zip(longest, system.generate(requests), strict=True):
            path = folder / f"{slug(name)}_told_{slug(one.category)}.ogg"
            write_ogg(path, clip, system.sample_rate)
            rows.append({"file": path.name, "category": one.category, "words": name, "text": one.title})
    return pd.DataFrame(rows, columns=["file", "category", "words", "text"])


def _asked(kind: str, captions: Sequence[Caption]) -> list[Asked]:
    if kind == CLASS:
        return [Asked("", one.category, one) for one in captions]
    chosen = [one for one in captions if kind not in (NAMED, UNNAMED) or (one.title and (kind == NAMED) == _names(one))]
    return [Asked(text, "", one) for one in chosen if (text := one.of_kind(KINDS[kind]))]


def _n_words(caption: Caption) -> int:
    return len(caption.title.split())


def _names(caption: Caption) -> bool:
    return names_class(caption.title, caption.category)


def _is_known(system: Any, text: str) -> bool:
    try:
        return not text or bool(system.told(text)[0])
    except InputError:
        return False


def _heard(clips: Sequence[np.ndarray], categories: Sequence[str]) -> dict[str, float]:
    listener = load_shipped()
    heard = [listener.categories[int(mean_probabilities(listener, clip).argmax())] for clip in clips]
    n, n_right = len(clips), sum(one == own for one, own in zip(heard, categories, strict=True))
    low, high = wilson(n_right, n)
    found = {"n_right": n_right, "heard": n_right / n, "heard_low": low, "heard_high": high}
    return found | {"chance": 1 / (len(listener.categories) - 1), "refused": heard.count(NONE) / n}


def _words(clips: Sequence[np.ndarray], told: Sequence[str], sample_rate: int) -> dict[str, float]:
    """Return how many words for what is measured were told, and which share of them hold, of the clip and by chance."""
    wanted = [set(filter(None, words.split(", "))) for words in told]
    n_words = sum(map(len, wanted))
    if not n_words:
        return {"n_words": 0}
    have = [set(measured_words(pd.Series(measure(clip, sample_rate))).split(", ")) for clip in clips]
    kept = sum(len(own & found) for own, found in zip(wanted, have, strict=True))
    by_chance = sum(
        np.mean([word in found for other, found in enumerate(have) if other != place])
        for place, own in enumerate(wanted) for word in own
    )  # fmt: skip
    return {"n_words": n_words, "words_kept": kept / n_words, "words_chance": by_chance / n_words}
