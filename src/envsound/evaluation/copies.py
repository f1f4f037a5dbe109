"""Copies of training clips, found even when disguised: in codes at every shift in time, and in log-mel.

A clip is compared with every version of every clip that a model learnt from. What tells a copy is how many of its
sounding codes one version has at its best shift; for how many columns on end three of four codes are equal; and how
much nearer the nearest version is in log-mel than others are. What real held-out clips have of each stands beside it.
Codes change when a clip is late by part of a column, so it is coded at quarters of a column; and when its level
changes, which log-mel distances do not see.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from tqdm.auto import tqdm

from envsound.base.cache import FOLDER, JSON, kept_all
from envsound.base.errors import InputError
from envsound.base.files import sha256_bytes
from envsound.codec import load_codec
from envsound.codec.codes import load_codes
from envsound.codec.counting import ColumnChain
from envsound.codec.patches import LOG_FLOOR, PatchCodec, PatchQuantizer, column_loudness, sounding
from envsound.data.audio import read_clip
from envsound.data.folds import recorded, training_sets
from envsound.evaluation.compare import Report
from envsound.evaluation.memorisation import NEIGHBOURS, RANGE_DB, level_distances
from envsound.evaluation.sides import MODEL, REAL, samples_of
from envsound.run.contract import codes_beside, read_table
from envsound.run.identity import methods_hash
from envsound.run.record import read_settings

QUARTERS = 4  # shifts of a column at which a clip is coded
ALIKE = 3  # of four codes: columns so much alike make a run
FEWEST = 20  # columns that a share is of, at least: two equal columns of three are no copy
N_BANDS = 20  # of log-mel, each a mean of four mel bands and of a column's frames
AUDIBLE_DB = 20.0  # above the floor of all bands; a quieter column is next to silence and never sounds
BLOCK = 2048  # shifts whose runs are looked for at once
GOAL_SHARE = 0.02  # most by which a model's median share of equal codes may exceed that of real held-out clips
GOAL_RUN = 8  # columns, most that the 90th percentile of a model's longest runs may have
CACHE = FOLDER / "copies"
CHAINS = {"chain, copying": True, "chain, no copying": False}  # and whether a column may keep its successor
CLIP_COLUMNS = ["side", "clip", "category", "share", "share_of", "run", "run_of", "relative", "nearest", "beyond"]
COLUMNS = [
    "side", "n", "share_median", "share_median_goal", "share_p90", "run_median", "run_p90", "run_p90_goal", "run_max",
    "run_median_s", "run_p90_s", "run_p90_s_goal", "run_max_s", "relative_median", "relative_p10", "n_copies",
]  # fmt: skip


class Coded(NamedTuple):
    """A clip to be compared: its codings (see `codings`), int [n_levels, n_columns] each, and what it is called.

    What was drawn as codes has these among its codings.
    """

    name: str
    category: str
    codings: list[np.ndarray]


class Copied(NamedTuple):
    """What one training version has of a coding: share of sounding codes, columns on end; and which versions."""

    share: float
    share_of: int
    run: int
    run_of: int


class TrainedCodes:
    """The codes of all versions of the clips that a model learnt from, int [n_levels, n_columns] each, to be searched.

    Where each code stands is kept sorted, so that only equal codes are ever looked at.
    """

    def __init__(self, clips: Sequence[np.ndarray], codebook_size: int, longest: int) -> None:
        """longest: columns of the longest clip that is looked for. Raises InputError when there is no version."""
        if not clips:
            raise InputError("trained: no clip to compare with; expected at least one")
        self.gap, self.size = longest, codebook_size  # silence between versions: no shift touches two of them
        lengths = np.array([clip.shape[1] for clip in clips])
        self.starts = self.gap + np.concatenate([[0], np.cumsum(lengths + self.gap)[:-1]])
        self.length = int(self.starts[-1] + lengths[-1] + self.gap)
        self.codes = np.full((len(clips[0]), self.length), -1, dtype=np.int16)
        for start, clip in zip(self.starts, clips, strict=True):
            self.codes[:, start : start + clip.shape[1]] = clip
        self.order = [np.argsort(level, kind="stable") for level in self.codes]
        self.bounds = [
            np.searchsorted(level[order], np.arange(codebook_size + 1))
            for level, order in zip(self.codes, self.order, strict=True)
        ]

    def find(self, codes: np.ndarray, heard: np.ndarray) -> Copied:
        """Return the most that one version has of codes, int [n_levels, n_columns]; heard: the sounding columns, bool.

        The share is of the codes of sounding columns, FEWEST at least; a run is of sounding columns that follow one
        another. Raises InputError for a clip longer than `longest`.
        """
        if codes.shape[1] > self.gap:
            raise InputError(f"codes: {codes.shape[1]} columns; expected {self.gap} at most")
        equal = self._equal_codes(codes, heard)
        best = int(equal.argmax())
        run, run_at = self._longest_run(codes, heard, equal)
        share = equal[best] / (len(codes) * max(int(heard.sum()), FEWEST))
        return Copied(float(share), self._version(best), run, self._version(run_at))

    def _equal_codes(self, codes: np.ndarray, heard: np.ndarray) -> np.ndarray:
        """Count equal codes for each place where column 0 of the clip may lie, int [length + n_columns]."""
        shifts = []
        for level, (order, bounds) in enumerate(zip(self.order, self.bounds, strict=True)):
            for column in np.flatnonzero(heard):
                code = codes[level, column]
                shifts.append(order[bounds[code] : bounds[code + 1]] - column + codes.shape[1])
        found = np.concatenate([*shifts, np.empty(0, np.int64)])
        return np.bincount(found, minlength=self.length + codes.shape[1])

    def _longest_run(self, codes: np.ndarray, heard: np.ndarray, equal: np.ndarray) -> tuple[int, int]:
        """Return the longest run and the shift where it is, as an index of `equal`.

        Shifts with the most equal codes come first: one with fewer than ALIKE for each column of the best run so far
        has no longer one.
        """
        order = np.flatnonzero(equal >= ALIKE)
        order = order[np.argsort(-equal[order], kind="stable")]
        padded = np.pad(self.codes, ((0, 0), (codes.shape[1], codes.shape[1])), constant_values=-1)
        columns, best, where = np.arange(codes.shape[1]), 0, int(equal.argmax())
        for start in range(0, len(order), BLOCK):
            block = order[start : start + BLOCK]
            block = block[equal[block] >= ALIKE * (best + 1)]
            if not block.size:
                break
            same = (padded[:, block[:, None] + columns] == codes[:, None]).sum(0)  # [n_shifts, n_columns]
            runs = _runs((same >= ALIKE) & heard)
            if runs.max() > best:
                best, where = int(runs.max()), int(block[runs.argmax()])
        return best, where

    def _version(self, shift: int) -> int:
        """Return which version a clip touches at a shift, an index of `equal`."""
        return max(int(np.searchsorted(self.starts, shift - 1, side="right")) - 1, 0)


def _runs(alike: np.ndarray) -> np.ndarray:
    """Return the longest run of true values in each row of bool [n, n_columns], int [n]."""
    run = np.zeros(len(alike), dtype=np.int64)
    longest = run.copy()
    for column in alike.T:
        run = (run + 1) * column
        longest = np.maximum(longest, run)
    return longest


def codings(clip: np.ndarray, codec: PatchCodec) -> list[np.ndarray]:
    """Return the codes of a clip, float32 [n_samples], begun 0 to 3 quarters of a column later."""
    quarter = codec.config.column // QUARTERS
    later = [torch.from_numpy(clip[shift * quarter :]) for shift in range(QUARTERS)]
    return [codec.encode(part[None])[0].cpu().numpy() for part in later if part.numel()]


def measure_copies(
    sides: Mapping[str, Sequence[Coded]],
    trained: Sequence[np.ndarray],
    names: Sequence[str],
    codec: PatchCodec,
    cache_dir: str | Path = CACHE,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Compare the clips of every side with all versions trained on; return a row for each clip, and `copies_table`.

    sides: clips by the name of their side, among them REAL, the held-out ones; trained: codes of the versions, int
    [n_levels, n_columns], and their names. The first table has CLIP_COLUMNS: share (0 to 1) and run (columns) as
    `TrainedCodes.find` has them, the most over a clip's codings; relative: distance to the nearest version in log-mel
    over the mean distance to the 50 nearest (see `memorisation.neighbour_table`); the version of each; and beyond:
    whether a clip has more of a version than every held-out real clip has in share, run or log-mel. Of several stages
    of codes the first is searched. What was found of a clip's codes is kept in cache_dir. Raises InputError for fewer
    than two versions, or no held-out clip.
    """
    empty = [side for side in {REAL: (), **sides} if not sides.get(side)]
    if len(trained) < 2 or empty:
        given = f"{len(trained)} versions, no clip of {empty or 'no side'}"
        raise InputError(f"{given}: expected two versions or more, and held-out clips ({REAL!r}) among the sides")
    longest = max(codes.shape[1] for clips in sides.values() for clip in clips for codes in clip.codings)
    search = TrainedCodes([codes[: codec.config.n_levels] for codes in trained], codec.codebook_size, longest)
    levels, rows = [level_map(codes, codec) for codes in trained], []
    for side, clips in sides.items():
        relative, nearest = _nearness(clips, levels, codec)
        found = find_copies(side, clips, search, codec, cache_dir)
        for clip, one, distance, place in zip(clips, found, relative, nearest, strict=True):
            in_codes = [one.share, names[one.share_of], one.run, names[one.run_of]]
            rows.append([side, clip.name, clip.category, *in_codes, distance, names[place]])
    table = pd.DataFrame(rows, columns=CLIP_COLUMNS[:-1])
    table = table.assign(beyond=_beyond(table))
    return table, copies_table(table, codec.frame_rate)


def find_copies(
    side: str, clips: Sequence[Coded], search: TrainedCodes, codec: PatchCodec, cache_dir: str | Path = CACHE
) -> list[Copied]:
    """Return the most that a version has of any coding of each clip; what was found before is in the store.

    side: what the progress bar calls the clips.
    """
    bands = codec.config.n_levels  # a second stage says little by itself
    asked = [[(codes[:bands], sounding_columns(codes, codec)) for codes in clip.codings] for clip in clips]

    def look(places: list[int]) -> Iterator[list]:
        for place in tqdm(places, desc=f"copies: {side}", unit="clip"):
            found = [search.find(*one) for one in asked[place]]
            most, longest = max(found, key=lambda one: one.share), max(found, key=lambda one: one.run)
            yield [most.share, most.share_of, longest.run, longest.run_of]

    fixed = ["copies", methods_hash(f"{__name__}:TrainedCodes", ["__init__", "find"]), _hash(search.codes)]
    parts = [[*fixed, *(_hash(part) for one in own for part in one)] for own in asked]
    return [Copied(*found) for found in kept_all(cache_dir, parts, look, JSON)]


def _hash(values: np.ndarray) -> str:
    return sha256_bytes(np.array(values.shape).tobytes() + values.astype(np.int16).tobytes())


def copies_of_run(run_dir: str | Path, seed: int = 0, device: str = "auto", cache_dir: str | Path = CACHE) -> Report:
    """Return the tables copies and copies_by_clip of a finished run, as `copies_beside_chains` has them.

    Generated clips are compared as they sound, at every shift, and as the codes they were made of where sampling kept
    them. A run whose codec has no code vectors of log-mel has no such tables, and a note that says why.
    """
    run = read_settings(run_dir)
    codec = load_codec(run.codec, run.codec_weights, device, run.codec_weights_sha256)
    if not isinstance(getattr(codec, "quantizer", None), PatchQuantizer):
        why = f"Copies in codes are not looked for: those of the codec {codec.name} are no patches of log-mel."
        return Report({}, notes=[why])
    table = read_table(run_dir, "recordings")
    train, _ = training_sets(table, run.fold, list(run.train_folds), run.validation_fold)
    held_out = recorded(table[table["fold"] == run.fold])
    samples = samples_of(run_dir)
    n_drawn = sum(codes_beside(Path(path)).is_file() for path in samples["path"])
    by_clip, found = copies_beside_chains(coded_clips(samples, codec), train, held_out, codec, seed, cache_dir)
    facts = {"n_versions": len(train), "n_generated": len(samples), "n_with_drawn_codes": n_drawn}
    return Report({"copies": found, "copies_by_clip": by_clip}, facts)


def copies_beside_chains(
    generated: Sequence[Coded],
    train: pd.DataFrame,
    held_out: pd.DataFrame,
    codec: PatchCodec,
    seed: int = 0,
    cache_dir: str | Path = CACHE,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Compare generated clips as `measure_copies` does, beside held-out recordings and chains of whole columns.

    train: rows of codes.csv that the model learnt from, altered versions with them; held_out: its real clips. Of each
    of CHAINS there is a clip for every held-out one, of its class and length, drawn from the recordings (see
    `codec.counting.ColumnChain`). Raises InputError as `measure_copies` does, or when another codec made the codes.
    """
    trained = [load_codes(file, codec.content_hash) for file in train["codes_file"]]
    names = [f"{row.filename}+{row.copy}" if row.copy else row.filename for row in train.itertuples()]
    sides = {REAL: coded_clips(held_out, codec), MODEL: generated} | chain_clips(train, held_out, codec, seed)
    return measure_copies(sides, trained, names, codec, cache_dir)


def chain_clips(train: pd.DataFrame, like: pd.DataFrame, codec: PatchCodec, seed: int = 0) -> dict[str, list[Coded]]:
    """Return for each of CHAINS a clip for every row of `like`, of its class and length.

    train, like: rows of codes.csv; the chains go over recordings alone, not over altered versions. Raises InputError
    when another codec made the codes, or for a class with fewer than two recordings.
    """
    vectors, originals = codec.quantizer.vectors.cpu().numpy(), recorded(train)
    chains = {
        category: ColumnChain([load_codes(file, codec.content_hash) for file in rows["codes_file"]], vectors)
        for category, rows in originals.groupby("category")
    }
    drawn = {}
    for name, copying in CHAINS.items():
        draws = zip(like.itertuples(), np.random.default_rng(seed).spawn(len(like)), strict=True)
        drawn[name] = [
            Coded(row.filename, row.category, [chains[row.category].draw(int(row.n_frames), rng, copying)])
            for row, rng in draws
        ]
    return drawn


def coded_clips(rows: pd.DataFrame, codec: PatchCodec) -> list[Coded]:
    """Return clips of a table (filename, category, path, seconds) as they sound, and as the codes beside them."""
    clips = []
    for row in tqdm(rows.itertuples(), total=len(rows), desc="encoding clips", unit="clip", leave=False):
        clip = read_clip(row.path, codec.sample_rate, row.seconds)
        found, drawn = codings(clip, codec), codes_beside(Path(row.path))
        drawn_codes = [load_codes(drawn, codec.content_hash)] if drawn.is_file() else []
        clips.append(Coded(row.filename, row.category, [*found, *drawn_codes]))
    return clips


def copies_table(rows: pd.DataFrame, columns_per_second: float) -> pd.DataFrame:
    """Return a row for each side, COLUMNS: medians, 90th (of `relative` 10th) percentiles and maxima of its clips.

    Runs are in columns and, _s, in seconds. Goals stand in the model's row alone. n_copies counts clips that are beyond
    every held-out real clip; among these there is none.
    """
    goal, found = rows.loc[rows["side"] == REAL, "share"].median() + GOAL_SHARE, []
    for side, clips in rows.groupby("side", sort=False):
        share, runs = clips["share"].quantile([0.5, 0.9]), clips["run"].quantile([0.5, 0.9, 1.0])
        goals = (goal, GOAL_RUN) if side == MODEL else (math.nan, math.nan)
        columns = [runs[0.5], runs[0.9], goals[1], runs[1.0]]
        seconds, near = [run / columns_per_second for run in columns], clips["relative"].quantile([0.5, 0.1])
        row = [side, len(clips), share[0.5], goals[0], share[0.9], *columns, *seconds, *near]
        found.append([*row, int(clips["beyond"].sum())])
    return pd.DataFrame(found, columns=COLUMNS)


def _beyond(rows: pd.DataFrame) -> pd.Series:
    """Say which clips have more of a version trained on than every held-out real clip, bool by row."""
    real = rows[rows["side"] == REAL]
    in_codes = rows["share"].gt(real["share"].max()) | rows["run"].gt(real["run"].max())
    return in_codes | rows["relative"].lt(real["relative"].min())


def sounding_columns(codes: np.ndarray, codec: PatchCodec) -> np.ndarray:
    """Say which columns of codes [n_levels, n_columns] sound, bool [n_columns]; what is next to silence never does."""
    bands = codec.config.n_levels
    loudness = column_loudness(torch.from_numpy(codes), codec.quantizer.vectors.cpu(), bands)
    return (sounding(loudness) & (loudness > LOG_FLOOR + math.log(bands) + AUDIBLE_DB / 10 * math.log(10))).numpy()


def level_map(codes: np.ndarray, codec: PatchCodec) -> np.ndarray:
    """Return levels of codes [n_levels, n_columns] in dB above a floor, float64 [N_BANDS, n_columns], 0 to RANGE_DB.

    The floor is RANGE_DB below the loudest point, so that a change of level changes nothing.
    """
    power = codec.dequantise(torch.from_numpy(codes.astype(np.int64))[None])[0].cpu().exp()  # [n_mels, n_frames]
    power = power.unflatten(1, (-1, codec.config.patch_frames)).unflatten(0, (N_BANDS, -1)).mean((1, 3))
    return (10 * torch.log10(power / power.max()) + RANGE_DB).clamp(min=0).double().numpy()


def _nearness(clips: Sequence[Coded], levels: Sequence[np.ndarray], codec: PatchCodec) -> tuple[list[float], list[int]]:
    """Return for each clip the smallest relative distance of any of its codings, and which version is so near."""
    distances = level_distances([level_map(codes, codec) for clip in clips for codes in clip.codings], levels)
    n = min(NEIGHBOURS, len(levels))
    around = np.partition(distances, n - 1, axis=1)[:, :n].mean(axis=1)
    relative = distances.min(axis=1) / np.maximum(around, 1e-12)
    ends = np.cumsum([len(clip.codings) for clip in clips])
    best = [start + part.argmin() for start, part in zip([0, *ends], np.split(relative, ends[:-1]), strict=False)]
    return relative[best].tolist(), distances[best].argmin(axis=1).tolist()
