"""Codes drawn by counting how often they occur in some clips: what any model of codes must beat, and needs no model."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from envsound.base.errors import InputError
from envsound.codec.base import Codec
from envsound.codec.codes import count_codes, decode, load_codes
from envsound.codec.pairs import PairCounts

DRAWS = ("shuffled", "bigram", "unigram")


class Bigram:
    """Codes of each level after the code before, drawn as often as they occur in some clips; levels by themselves.

    After a code seen n times with T different successors a successor is drawn with chance n / (n + T), else a code by
    its overall share: Witten and Bell's interpolation (1991, method C). The first code is the first of a clip.
    """

    def __init__(self, clips: Sequence[np.ndarray], codebook_size: int) -> None:
        """Count the codes of clips, int [n_levels, n_frames] each. Raises InputError when none follows another."""
        self.first = np.stack([clip[:, 0] for clip in clips])  # [n_clips, n_levels]
        self.pooled = np.concatenate(clips, axis=1)  # [n_levels, n_codes]
        if self.pooled.shape[1] == len(clips):
            raise InputError(f"clips: all {len(clips)} have one frame; expected a code after another")
        before = np.concatenate([clip[:, :-1] for clip in clips], axis=1)
        after = np.concatenate([clip[:, 1:] for clip in clips], axis=1)
        order = np.argsort(before, axis=1, kind="stable")
        self.after = np.take_along_axis(after, order, axis=1)  # successors, grouped by the code before
        self.seen = np.stack([np.bincount(level, minlength=codebook_size) for level in before])
        self.start = np.cumsum(self.seen, axis=1) - self.seen
        pairs = [np.unique(np.stack(both), axis=1)[0] for both in zip(before, after, strict=True)]
        self.different = np.stack([np.bincount(level, minlength=codebook_size) for level in pairs])

    def draw(self, n_frames: int, rng: np.random.Generator) -> np.ndarray:
        """Return codes int [n_levels, n_frames]."""
        levels = np.arange(len(self.pooled))
        chance, place = rng.random((2, n_frames, len(levels)))
        codes = np.empty((len(levels), n_frames), dtype=np.int64)
        codes[:, 0] = self.first[rng.integers(0, len(self.first), len(levels)), levels]
        for frame in range(1, n_frames):
            now = codes[:, frame - 1]
            seen = self.seen[levels, now]
            follows = chance[frame] * (seen + self.different[levels, now]) < seen
            successor = np.minimum(self.start[levels, now] + (place[frame] * seen).astype(int), self.after.shape[1] - 1)
            anywhere = (place[frame] * self.pooled.shape[1]).astype(int)
            codes[:, frame] = np.where(follows, self.after[levels, successor], self.pooled[levels, anywhere])
        return codes


class ColumnChain:
    """Whole columns of codes, each as it follows another in some clips: what a model that only copies would make.

    With copying, the chain goes on with what follows any column of the same codes: a Markov chain of order 1, which
    nearly always is the clip itself. Without, with what follows a column of another clip that is like it, by the
    distance of their code vectors: its own successor is never next.
    """

    N_LIKE = 8  # columns that count as like another

    def __init__(self, clips: Sequence[np.ndarray], vectors: np.ndarray) -> None:
        """clips: int [n_levels, n_columns]; vectors: of the codes, float [n_levels, codebook_size, dim].

        Raises InputError for fewer than two clips.
        """
        if len(clips) < 2:
            raise InputError(f"clips: {len(clips)}; expected two or more, to go from one to another")
        self.columns = np.concatenate(clips, axis=1)
        self.clip = np.repeat(np.arange(len(clips)), [clip.shape[1] for clip in clips])
        self.first = np.flatnonzero(np.diff(self.clip, prepend=-1))
        self.last = np.append(np.diff(self.clip) != 0, True)
        parts = [own[level] for own, level in zip(vectors, self.columns, strict=True)]
        self.points = np.concatenate(parts, axis=1).astype(np.float32)  # [n_columns, n_levels * dim]

    def draw(self, n_frames: int, rng: np.random.Generator, copying: bool) -> np.ndarray:
        """Return codes int64 [n_levels, n_frames]; copying: whether a column may be followed by its own successor."""
        place, drawn = int(rng.choice(self.first)), []
        for _ in range(n_frames):
            drawn.append(place)
            alike = self._same(place) if copying else np.empty(0, int)
            place = 1 + int(rng.choice(alike if alike.size else self._like(place)))
        return self.columns[:, drawn].astype(np.int64)

    def _same(self, place: int) -> np.ndarray:
        """Return the columns of the same codes as the one at `place` that another column follows."""
        return np.flatnonzero((self.columns == self.columns[:, [place]]).all(0) & ~self.last)

    def _like(self, place: int) -> np.ndarray:
        """Return N_LIKE columns of other clips like the one at `place` that another column follows."""
        distances = np.square(self.points - self.points[place]).sum(1)
        distances[self.last | (self.clip == self.clip[place])] = np.inf
        n_like = min(self.N_LIKE, int(np.isfinite(distances).sum()))
        return np.argpartition(distances, n_like - 1)[:n_like]


def predictability(
    train: Sequence[np.ndarray],
    watched: Sequence[np.ndarray],
    chosen: Sequence[np.ndarray],
    codebook_size: int,
    n_bands: int,
) -> pd.DataFrame:
    """Return what chosen codes of watched clips cost, by counts of training clips: one row for each level.

    Clips are codes int [n_levels, n_columns]; chosen: which columns of a watched clip count, bool [n_columns], the
    first, which has none before it, never. Levels are bands from low to high, in stages of `n_bands`.
    Columns: level, n_codes, bits_alone (by each code's frequency, once more counted than seen), saved_by_previous and
    saved_by_lower: bits that knowing the code before, or that of the next lower band of the same column and stage,
    saves (see `PairCounts`). The lowest band has none below it: NaN.
    """
    counts = count_codes(np.concatenate(train, axis=1), codebook_size) + 1
    frequencies, rows = counts / counts.sum(1, keepdims=True), []
    picked = [np.flatnonzero(own[1:]) + 1 for own in chosen]

    def costs(level: int, beside: int, back: int) -> np.ndarray:
        """Return the bits of chosen codes of a level, given those of level `beside` so many columns `back`."""
        known = np.concatenate([clip[beside, : clip.shape[1] - back] for clip in train])
        pairs = PairCounts(known, np.concatenate([clip[level, back:] for clip in train]), codebook_size)
        codes, given = (
            np.concatenate([clip[which, place - shift] for clip, place in zip(watched, picked, strict=True)])
            for which, shift in ((level, 0), (beside, back))
        )
        return -np.log2(pairs.chances(given, codes, frequencies[level][codes]))

    for level in range(len(counts)):
        own = np.concatenate([clip[level, place] for clip, place in zip(watched, picked, strict=True)])
        alone = -np.log2(frequencies[level][own])
        row = {"level": level, "n_codes": len(own), "bits_alone": alone.mean()}
        row["saved_by_previous"] = (alone - costs(level, level, 1)).mean()
        row["saved_by_lower"] = (alone - costs(level, level - 1, 0)).mean() if level % n_bands else np.nan
        rows.append(row)
    return pd.DataFrame(rows)


def draw_unigram(clips: Sequence[np.ndarray], n_frames: int, rng: np.random.Generator) -> np.ndarray:
    """Return codes int [n_levels, n_frames], each drawn by itself as often as it occurs in clips at its level."""
    pooled = np.concatenate(clips, axis=1)
    return np.take_along_axis(pooled, rng.integers(0, pooled.shape[1], (len(pooled), n_frames)), axis=1)


def shuffled(codes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return codes [n_levels, n_frames] with the frames in random order: a clip's sounds, and no course in time."""
    return codes[:, rng.permutation(codes.shape[1])]


class CodeDraws:
    """Clips of codes drawn by counting in training clips, one at a time; the codes of a class are read once."""

    def __init__(self, train: pd.DataFrame, codec: Codec) -> None:
        """train: rows of codes.csv, the clips that are counted."""
        self.codec, self.train = codec, dict(tuple(train.groupby("category")))
        self.of_class = cache(lambda category: [self.load(row) for row in self.train[category].itertuples()])
        self.bigram = cache(lambda category: Bigram(self.of_class(category), codec.codebook_size))

    def clip(self, name: str, row: Any, rng: np.random.Generator) -> np.ndarray:
        """Return a clip, float32 [n_samples], of the class and length of a row of codes.csv; name: one of DRAWS.

        Raises InputError when another codec made the codes.
        """
        return decode(self.codes(name, row, rng), row.seconds, self.codec)

    def codes(self, name: str, row: Any, rng: np.random.Generator) -> np.ndarray:
        """Return codes int64 [n_levels, n_frames]: those of the row itself in another order, or drawn by class."""
        if name == "shuffled":
            return shuffled(self.load(row), rng)
        if name == "unigram":
            return draw_unigram(self.of_class(row.category), int(row.n_frames), rng)
        return self.bigram(row.category).draw(int(row.n_frames), rng)

    def load(self, row: Any) -> np.ndarray:
        """Return the codes of a row of codes.csv, int64 [n_levels, n_frames]."""
        return load_codes(row.codes_file, self.codec.content_hash).astype(np.int64)
