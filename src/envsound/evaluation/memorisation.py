"""Are generated clips copies of training clips: nearest training neighbours, beside those of held-out real clips.

A model that learnt the distribution makes clips that are about as far from the training clips as new recordings are.
Copies are nearer. Distances are taken between log-mel spectra, which shifts in time and changes of level do not move,
and in embeddings.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.spatial.distance import cdist
from scipy.stats import mannwhitneyu
from tqdm.auto import tqdm

from envsound.base.errors import InputError
from envsound.base.files import read_csv, remove_written, write_csv, write_wav
from envsound.evaluation.listeners.network import mel_spectra, window_samples
from envsound.evaluation.sides import MODEL, REAL, Source
from envsound.evaluation.spaces.embeddings import Embedding, NotRun, SourceClips, embed_clips
from envsound.metrics.tests import holm

PAIRS = "nearest_pairs"  # folder in a run for the pairs to hear
LOG_MEL = "log-mel"  # the name of the space that is no embedding
N_MELS = 32
FRAME_SECONDS = 0.04  # s; frames are averaged to about this length
RANGE_DB = 60.0  # dB below the loudest point of a clip; quieter ones count as equally quiet
NEIGHBOURS = 50  # training clips whose mean distance is the scale of the relative distance
BLOCK = 256  # training clips compared at once
ALPHA = 0.01
COPIED, THROUGH_CODEC = "copied", "copied_codec"  # the controls: training clips as they are, and through the codec
N_COPIES = 100  # training clips that are the controls, where there are as many
NEIGHBOUR_COLUMNS = ["side", "space", "clip", "category", "nearest", "nearest_category", "distance", "relative"]
MEMORISATION_COLUMNS = [
    "side", "space", "n", "n_held_out", "distance", "distance_held_out", "relative", "relative_held_out",
    "nearer", "p_nearer", "n_nearest", "n_nearest_expected", "n_distinct", "p_nearest", "p_holm", "copies_found",
    "note",
]  # fmt: skip


def level_map(clip: np.ndarray, sample_rate: int) -> np.ndarray:
    """Return mel levels of a clip in dB above its floor, float64 [32, n_frames], 0 to 60, loudest point 60.

    Powers are averaged over frames of about 40 ms. The floor is 60 dB below the loudest point, so that a change of
    level changes nothing; digital silence is 0 throughout. Raises InputError as `listener.mel_spectra` does.
    """
    (spectrum,) = mel_spectra([clip], sample_rate, N_MELS)
    power = spectrum.numpy().astype(np.float64) ** 2
    group = max(1, round(FRAME_SECONDS * sample_rate / (window_samples(sample_rate) // 4)))
    starts = np.arange(0, power.shape[1], group)
    power = np.add.reduceat(power, starts, axis=1) / np.diff([*starts, power.shape[1]])
    if not np.any(clip):
        return np.zeros_like(power)
    return (10 * np.log10(power / power.max() + 1e-30) + RANGE_DB).clip(min=0)


def level_distances(a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> np.ndarray:
    """Return how far each level map of a is from each of b, float64 [n_a, n_b], in dB.

    The root mean square difference over bands and frames at the shift in time that makes it smallest. Shifts go round
    a common length, that of the longest map; what a shorter one lacks counts as silence. a, b: [n_bands, n_frames].
    """
    n_frames = max(one.shape[1] for one in [*a, *b])
    a, b = (np.stack([np.pad(one, ((0, 0), (0, n_frames - one.shape[1]))) for one in maps]) for maps in (a, b))
    energies = [np.sum(maps**2, axis=(1, 2)) for maps in (a, b)]
    spectra = np.fft.rfft(a, axis=2).conj()
    closest = np.empty((len(a), len(b)))
    for start in tqdm(range(0, len(b), BLOCK), desc=LOG_MEL, unit="block", leave=False):
        others = np.fft.rfft(b[start : start + BLOCK], axis=2)
        for row, one in enumerate(spectra):
            likeness = np.fft.irfft(np.einsum("bf,nbf->nf", one, others), n_frames, axis=1).max(axis=1)
            closest[row, start : start + BLOCK] = likeness
    squares = energies[0][:, None] + energies[1] - 2 * closest
    tiny = 1e-12 * (energies[0][:, None] + energies[1])  # rounding errors of equal maps
    return np.sqrt(np.where(squares > tiny, squares, 0) / a[0].size)


def neighbour_table(
    distances: np.ndarray, clips: pd.DataFrame, training: pd.DataFrame, side: str, space: str
) -> pd.DataFrame:
    """Return the nearest training clip of each clip: NEIGHBOUR_COLUMNS.

    distances: [n_clips, n_training]; clips, training: their columns clip and category. relative: the distance over the
    mean distance to the 50 nearest training clips, after Carlini et al. (2023), who so tell a copy, near to one clip
    alone, from a plain sound that is near to many; 0 for a copy, near 1 where no neighbour stands out.
    Raises InputError for fewer than two training clips.
    """
    if distances.shape[1] < 2:
        raise InputError(f"training: {distances.shape[1]} clips; expected at least two to compare with")
    best, n = distances.argmin(axis=1), min(NEIGHBOURS, distances.shape[1])
    nearest = distances[np.arange(len(distances)), best]
    around = np.partition(distances, n - 1, axis=1)[:, :n].mean(axis=1)
    return pd.DataFrame({
        "side": side,
        "space": space,
        "clip": clips["clip"].to_numpy(),
        "category": clips["category"].to_numpy(),
        "nearest": training["clip"].to_numpy()[best],
        "nearest_category": training["category"].to_numpy()[best],
        "distance": nearest,
        "relative": np.divide(nearest, around, out=np.zeros_like(nearest), where=around > 0),
    })[NEIGHBOUR_COLUMNS]  # fmt: skip


def measure_memorisation(
    sides: Mapping[str, Sequence[Source]],
    training: Sequence[Source],
    embeddings: Sequence[Embedding | NotRun],
    sample_rate: int,
    n_copies: int = N_COPIES,
    seed: int = 0,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Find the nearest training clip of every clip of every side, in log-mel and in each embedding, and judge.

    sides: clips by the name of their side, among them the held-out real ones; a side COPIED of `n_copies` training
    clips is added (0: none) and must be found out (see `check_control`). All are read at `sample_rate` Hz. Returns a
    row for each clip, side and space (NEIGHBOUR_COLUMNS), and `memorisation_table` of these, in which an embedding that
    is not run here has one row. Raises InputError when a held-out clip is a training clip, too.
    """
    leaked = sorted({source.name for source in sides[REAL]} & {source.name for source in training})
    if leaked:
        raise InputError(f"{REAL}: {leaked[0]} is a training clip, too; expected clips of other folds")
    if n_copies:
        sides = {**sides, COPIED: copied_clips(training, n_copies, seed)}
    tables = []
    for space in (None, *(one for one in embeddings if not isinstance(one, NotRun))):
        name, distances = (LOG_MEL, level_distances) if space is None else (space.name, cdist)
        known, known_clips = _placed(space, "training", training, sample_rate)
        for side, sources in sides.items():
            points, clips = _placed(space, side, sources, sample_rate)
            tables.append(neighbour_table(distances(points, known), clips, known_clips, side, name))
    neighbours = pd.concat(tables, ignore_index=True)
    missing = [one for one in embeddings if isinstance(one, NotRun)]
    rows = [{"side": "", "space": one.name, "note": f"not run here: {one.reason}"} for one in missing]
    rows = memorisation_table(neighbours).to_dict("records") + rows
    return neighbours, pd.DataFrame(rows, columns=MEMORISATION_COLUMNS)


def memorisation_table(neighbours: pd.DataFrame) -> pd.DataFrame:
    """Compare each side's nearest training neighbours with those of held-out real clips: MEMORISATION_COLUMNS.

    A row for each side and space. distance and relative are medians (`_held_out`: of the held-out clips). Two one-sided
    tests, on the relative distance: p_nearer, of Mann and Whitney, asks whether the side is nearer as a whole, after
    Meehan et al. (2020), with `nearer` the chance that one of its clips is nearer than a held-out one (0.5 when alike);
    p_nearest asks whether a few clips are: n_nearest of them are nearer than every held-out clip, and p is how often as
    many of the nearest fall on one side when both are alike (n_nearest_expected: how many on average); n_distinct says
    at how many different training clips those n_nearest point. p_holm is the smaller of the two p values, adjusted over
    all tests of a side (Holm); copies_found says that it is below ALPHA.
    Few held-out clips or few copies leave copies unseen.
    """
    rows: list[dict[str, Any]] = []
    for (side, space), group in neighbours.groupby(["side", "space"], sort=False):
        if side != REAL:
            other = neighbours[(neighbours["side"] == REAL) & (neighbours["space"] == space)]
            rows.append({"side": side, "space": space, "note": ""} | _comparison(group, other))
    table = pd.DataFrame(rows, columns=MEMORISATION_COLUMNS)
    for _, family in table.groupby("side"):
        p_values = family[["p_nearer", "p_nearest"]].to_numpy(dtype=float)
        table.loc[family.index, "p_holm"] = holm(p_values.ravel()).reshape(-1, 2).min(axis=1)
    table["copies_found"] = table["p_holm"].astype(float) < ALPHA
    return table


def check_control(table: pd.DataFrame) -> None:
    """Raise InputError when the side of copied training clips passed for new in any space: nothing else then counts."""
    rows = table[table["side"] == COPIED]
    passed = rows[~rows["copies_found"].astype(bool)]
    if rows.empty or not passed.empty:
        spaces = ", ".join(passed["space"]) or "no space at all"
        raise InputError(f"{COPIED}: copies of training clips were not found out in {spaces}; expected them to be")


def copied_clips(training: Sequence[Source], n: int, seed: int = 0) -> list[Source]:
    """Return `n` training clips, or all when there are fewer, drawn by `seed` and named as copies: the control."""
    rows = np.random.default_rng(seed).choice(len(training), min(n, len(training)), replace=False)
    drawn = [training[row] for row in np.sort(rows)]
    return [Source(f"copy of {one.name}", one.load, one.sample_rate, one.category, one.fold) for one in drawn]


def write_pairs(
    neighbours: pd.DataFrame,
    clips: Sequence[Source],
    training: Sequence[Source],
    folder: str | Path,
    sample_rate: int,
    n_pairs: int = 10,
) -> pd.DataFrame:
    """Write the `n_pairs` closest pairs of each space as 16-bit wav files at `sample_rate` Hz, with pairs.csv.

    They are ranked by the relative distance, as the verdict is, the nearest first. One clip of each pair may be a
    recording: the folder is for this machine alone. clips: those of the side "generated" among the `neighbours`. Older
    pairs in `folder` are removed, and no other file. Returns the columns rank (1, 2, ..), NEIGHBOUR_COLUMNS, clip_file
    and nearest_file, names in `folder`. Raises InputError for n_pairs below 0, and when `folder` is a link.
    """
    if n_pairs < 0:
        raise InputError(f"n_pairs={n_pairs}: expected 0 or more")
    before = read_csv(Path(folder) / "pairs.csv") if (Path(folder) / "pairs.csv").is_file() else pd.DataFrame()
    columns = [column for column in ("clip_file", "nearest_file") if column in before]
    remove_written(folder, [name for column in columns for name in before[column]])
    pairs = neighbours[neighbours["side"] == MODEL].sort_values("relative", kind="stable")
    pairs = pairs.groupby("space", sort=False).head(n_pairs)
    pairs = pairs.sort_values(["space", "relative"], kind="stable", ignore_index=True)
    pairs.insert(0, "rank", pairs.groupby("space").cumcount() + 1)
    sources = [{source.name: source for source in part} for part in (clips, training)]
    files: dict[str, list[str]] = {"clip": [], "nearest": []}
    for row in pairs.to_dict("records"):
        for (column, names), known in zip(files.items(), sources, strict=True):
            name = f"{row['space']}_{row['rank']:02d}_{column}.wav".replace(" ", "_").replace(",", "")
            write_wav(Path(folder) / name, SourceClips([known[row[column]]], sample_rate)[0], sample_rate)
            names.append(name)
    pairs = pairs.assign(**{f"{column}_file": names for column, names in files.items()})
    write_csv(Path(folder) / "pairs.csv", pairs)
    return pairs


def p_of_nearest(k: int, n: int, m: int) -> float:
    """Return how often the k smallest of n + m exchangeable values all come from the n: C(n, k) / C(n + m, k)."""
    return float(np.prod([(n - i) / (n + m - i) for i in range(k)])) if k else 1.0


def _comparison(clips: pd.DataFrame, held_out: pd.DataFrame) -> dict[str, Any]:
    a, b = clips["relative"].to_numpy(), held_out["relative"].to_numpy()
    test = mannwhitneyu(a, b, alternative="less")
    is_nearest = a < b.min()
    n_nearest = int(is_nearest.sum())
    return {
        "n": len(a),
        "n_held_out": len(b),
        "distance": clips["distance"].median(),
        "distance_held_out": held_out["distance"].median(),
        "relative": float(np.median(a)),
        "relative_held_out": float(np.median(b)),
        "nearer": 1 - float(test.statistic) / (len(a) * len(b)),
        "p_nearer": float(test.pvalue),
        "n_nearest": n_nearest,
        "n_nearest_expected": len(a) / (len(b) + 1),
        "n_distinct": int(clips.loc[is_nearest, "nearest"].nunique()),
        "p_nearest": p_of_nearest(n_nearest, len(a), len(b)),
    }


def _placed(
    space: Embedding | None, side: str, sources: Sequence[Source], sample_rate: int
) -> tuple[np.ndarray | list[np.ndarray], pd.DataFrame]:
    """Return the clips that can be read as points of an embedding (None: as level maps), and their clip and category.

    Others are named by the metrics of the same side.
    """
    if space is not None:
        found = embed_clips(sources, space, sample_rate, side)
        return found.vectors, found.clips
    maps, rows = [], []
    for known, batch in SourceClips(sources, sample_rate).readable(f"{LOG_MEL}: {side}"):
        maps += [level_map(clip, sample_rate) for clip in batch]
        rows += [(source.name, source.category) for source in known]
    if not rows:
        raise InputError(f"{side}: no clip can be read; expected at least one")
    return maps, pd.DataFrame(rows, columns=["clip", "category"])
