"""What judges are tested on: real clips made worse through a codec step by step, and sound without a course in time.

Every decoy is made of real clips, most of their codes, and named after the clip it stands for; no model has a part in
any of them. Kinds in TAUGHT, and GRAINS, which need no codec, may teach a judge to refuse; those in HELD_BACK are kept
from all judges, so that one that has merely learnt to know its decoys is found out.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import soxr

from envsound.base.errors import InputError
from envsound.codec.base import Codec
from envsound.codec.codes import decode
from envsound.codec.counting import DRAWS, CodeDraws, shuffled
from envsound.evaluation.sides import REAL, Source, from_rows

SHARES = {"replaced_25": 0.25, "replaced_50": 0.5, "replaced_75": 0.75}
LADDER = {
    REAL: "real clips",
    "codec": "the same through the codec",
    "replaced_25": "25% of the columns from other classes",
    "replaced_50": "50% of the columns from other classes",
    "replaced_75": "75% of the columns from other classes",
    "bigram": "codes drawn by class, each after the one before",
    "unigram": "codes drawn by class, each by itself",
}
ABOVE = {  # the step above each; rain drawn by class is still rain, and no worse than a mixture of all classes
    "codec": REAL, "replaced_25": "codec", "replaced_50": "replaced_25", "replaced_75": "replaced_50",
    "bigram": "codec", "unigram": "bigram",
}  # fmt: skip
HELD_BACK = {
    "blocks": "blocks of at least 0.05 s and two columns in random order",
    "halves": "half of the columns of each of two clips, in random order",
}
TIMELESS = {"shuffled": "columns in random order"} | HELD_BACK
TAUGHT, GRAINS = ("unigram", "bigram", "shuffled"), "grains"
NONE = "none of these"  # the class of what a judge should refuse
KINDS = LADDER | TIMELESS
BLOCK_SECONDS = 4 / 75  # s, a column of patch tokens: shorter than a bark or a cry
GRAIN_SECONDS = (1 / 75, 2 / 75, 4 / 75)  # s, between the middles of grains


def replaced(codes: np.ndarray, others: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Return codes [n_levels, n_frames] with a share of the columns taken from `others`, [n_levels, n_others].

    Which columns go, and what comes for each, is the same for every share that the same draws are used for: of a larger
    share more is replaced, and nothing otherwise.
    """
    n_frames = codes.shape[1]
    order, drawn = rng.permutation(n_frames), rng.integers(0, others.shape[1], n_frames)
    gone = order[: round(share * n_frames)]
    found = codes.copy()
    found[:, gone] = others[:, drawn[gone]]
    return found


def block_shuffled(codes: np.ndarray, n_block: int, rng: np.random.Generator) -> np.ndarray:
    """Return codes [n_levels, n_frames] with blocks of `n_block` columns in random order; within one nothing moves."""
    starts = rng.permutation(np.arange(0, codes.shape[1], n_block))
    return np.concatenate([codes[:, start : start + n_block] for start in starts], axis=1)


def mixed_halves(codes: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return codes [n_levels, n_frames], half of them columns of `codes`, half of `other`, all in random order."""
    n_frames = codes.shape[1]
    mine, theirs = shuffled(codes, rng), shuffled(other, rng)
    theirs = np.resize(theirs.T, (n_frames, len(codes))).T  # a shorter clip goes round
    return shuffled(np.concatenate([mine[:, : n_frames // 2], theirs[:, n_frames // 2 :]], axis=1), rng)


def grains_shuffled(clip: np.ndarray, hop: int, rng: np.random.Generator) -> np.ndarray:
    """Return a clip, float32 [n_samples], cut into grains of 2 `hop` samples that are put together in random order.

    Grains overlap by half under square roots of Hann windows, so that what sounds at once adds up to the clip's power.
    """
    n_grains = -(-len(clip) // hop) + 1
    padded = np.pad(clip, (hop, (n_grains + 1) * hop - len(clip)))
    window = np.sqrt(np.hanning(2 * hop + 1)[:-1])
    mixed = np.zeros((n_grains + 1) * hop)
    for place, grain in enumerate(rng.permutation(n_grains)):
        mixed[place * hop : (place + 2) * hop] += padded[grain * hop : (grain + 2) * hop] * window
    return mixed[hop : hop + len(clip)].astype(np.float32)


def without_time(sources: Sequence[Source], seed: int = 0) -> list[Source]:
    """Return each clip with grains of each of GRAIN_SECONDS in random order, as clips of the class NONE."""

    def load(number: int, seconds: float, sample_rate: int) -> np.ndarray:
        hop = round(seconds * sample_rate)
        return grains_shuffled(sources[number].load(sample_rate), hop, np.random.default_rng([seed, number, hop]))

    return [
        replace(one, name=f"{one.name}, grains of {1000 * seconds:.0f} ms", load=partial(load, number, seconds),
                category=NONE, path="")
        for number, one in enumerate(sources)
        for seconds in GRAIN_SECONDS
    ]  # fmt: skip


class Decoys:
    """Makes decoys of codes, each when it is asked for; the same seed makes the same ones."""

    def __init__(self, pool: pd.DataFrame, codec: Codec, seed: int = 0) -> None:
        """pool: rows of codes.csv of real clips, whose codes decoys of their class are drawn from, two of each class.

        Raises InputError when a class has fewer.
        """
        counts = pool["category"].value_counts()
        if counts.empty or len(counts) < 2 or counts.min() < 2:
            raise InputError(f"pool: {counts.to_dict()} clips by class; expected two classes, with two clips of each")
        self.codec, self.seed = codec, seed
        self.draws = CodeDraws(pool, codec)

    def sources(self, kind: str, rows: pd.DataFrame) -> list[Source]:
        """Return a decoy of a kind, a key of KINDS, for each of some rows of codes.csv, under the name of its clip.

        Raises InputError for another kind, and for a row whose class the pool lacks.
        """
        if kind not in KINDS:
            raise InputError(f"kind={kind!r}: expected one of {', '.join(KINDS)}")
        if strange := sorted(set(rows["category"]) - set(self.draws.train)):
            raise InputError(f"category {strange[0]!r}: no clip of it in the pool; expected two at least")
        if kind == REAL:
            return from_rows(rows, float(rows["seconds"].max()) if len(rows) else 0)
        return [
            Source(
                name=row.filename,
                load=partial(self._load, kind, row, number),
                sample_rate=self.codec.sample_rate,
                category=row.category,
                fold=int(row.fold),
            )
            for number, row in enumerate(rows.itertuples())
        ]

    def codes(self, kind: str, row: Any, number: int) -> np.ndarray:
        """Return the codes of a decoy, int64 [n_levels, n_frames]; row: of codes.csv, number: of its draws."""
        family = "replaced" if kind in SHARES else kind
        rng = np.random.default_rng([self.seed, number, *family.encode()])
        if kind in DRAWS:
            return self.draws.codes(kind, row, rng)
        codes = self.draws.load(row)
        if kind in SHARES:
            return replaced(codes, self._of_others(row.category), SHARES[kind], rng)
        if kind == "blocks":
            return block_shuffled(codes, max(2, round(BLOCK_SECONDS * self.codec.frame_rate)), rng)
        return mixed_halves(codes, self._other(row, rng), rng) if kind == "halves" else codes

    def _load(self, kind: str, row: Any, number: int, sample_rate: int) -> np.ndarray:
        clip, own_rate = decode(self.codes(kind, row, number), row.seconds, self.codec), self.codec.sample_rate
        return clip if sample_rate == own_rate else soxr.resample(clip, own_rate, sample_rate, quality="HQ")

    def _of_others(self, category: str) -> np.ndarray:
        """Return the columns of all clips of other classes, int64 [n_levels, n_columns]."""
        others = [name for name in self.draws.train if name != category]
        return np.concatenate([codes for name in others for codes in self.draws.of_class(name)], axis=1)

    def _other(self, row: Any, rng: np.random.Generator) -> np.ndarray:
        """Return the codes of another clip of the same class."""
        same = self.draws.train[row.category]
        others = same[same["codes_file"] != row.codes_file]
        return self.draws.load(others.iloc[rng.integers(len(others))])


def per_class(rows: pd.DataFrame, n: int) -> pd.DataFrame:
    """Return the first n rows of each class, in their order; 0 returns all."""
    return rows.groupby("category", sort=False).head(n) if n else rows


def of_classes(rows: pd.DataFrame, categories: Sequence[str]) -> pd.DataFrame:
    """Return the rows of some classes. Raises InputError when there is none."""
    found = rows[rows["category"].isin(categories)]
    if found.empty:
        there = ", ".join(sorted(set(rows["category"])))
        raise InputError(f"categories={list(categories)}: no clip of them; expected some of {there}")
    return found
