"""Judges: who says what a generated clip is, each taught so that it can be asked about clips it has never met.

Probe A, on the activations of aiSFX, learns from the training folds, as generators do, and is kinder to them for it.
Probe B learns from the held-out fold alone, which no generator and no codec has met: B reports generators, always as a
share of what it gives real clips of the other folds. Both, and the log-mel network, refuse what is no sound of a class:
they have a class NONE, taught by decoys, those of the probes without a codec. Probes that must choose a class are there
to show what that is worth. No judge is used before the ladder has admitted it (`evaluation.ladder`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from envsound.base.errors import InputError, NotHere
from envsound.base.files import sha256_bytes, write_csv
from envsound.codec.base import Codec
from envsound.evaluation.decoys import GRAINS, NONE, TAUGHT, Decoys, of_classes, without_time
from envsound.evaluation.listeners.training import CACHE as LISTENERS
from envsound.evaluation.listeners.training import ListenerTraining, kept_listener
from envsound.evaluation.sides import REAL, Source, from_folder, from_rows, remembered
from envsound.evaluation.spaces.aisfx import CACHE as WEIGHTS
from envsound.evaluation.spaces.aisfx import FOLDER, load_aisfx
from envsound.evaluation.spaces.embeddings import CACHE as EMBEDDINGS
from envsound.evaluation.spaces.embeddings import Embedded, Embedding, KeptEmbedding, NotRun, SourceClips, embed_clips
from envsound.evaluation.truth import Classifier, hear_classes
from envsound.metrics.tests import ratio_interval, wilson

A, B, CNN = "probe A", "probe B", "cnn"
CLOSED = "{}, closed"  # a probe that has no class NONE
TIMED = ("dog", "rooster", "crying_baby", "sneezing", "clock_tick")  # of ESC-10; rain shuffled is still rain
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # C of the regression, the inverse of its penalty
MAX_STEPS = 5000  # of the regression
TRAINING = ListenerTraining(n_epochs=40)
JUDGED_COLUMNS = [
    "judge", "system", "n", "n_right", "accuracy", "low", "high", "chance", "refused",
    "n_real", "accuracy_real", "share", "share_low", "share_high",
]  # fmt: skip
CLASS_COLUMNS = ["judge", "system", "category", "n", "n_right", "accuracy", "low", "high", "refused"]


@dataclass(frozen=True)
class Judged:
    """What judges hear in some systems: JUDGED_COLUMNS over all clips, CLASS_COLUMNS for each class asked for."""

    whole: pd.DataFrame
    by_class: pd.DataFrame

    def write(self, folder: str | Path) -> None:
        """Write judged.csv and judged_by_class.csv into a folder."""
        write_csv(Path(folder) / "judged.csv", self.whole)
        write_csv(Path(folder) / "judged_by_class.csv", self.by_class)


@dataclass(frozen=True)
class Judge:
    """A classifier with what must be known before it is asked: by which folds and kinds of decoys it was taught."""

    name: str
    classifier: Classifier
    content_hash: str
    taught_by: tuple[int, ...]  # folds, about whose clips it is never asked
    decoys: tuple[str, ...] = ()


class Probe:
    """A linear classifier of the points of an embedding: standardised, logistic regression with an L2 penalty."""

    def __init__(self, embedding: Embedding, points: Embedded, strength: float):
        """Learn the classes of points; strength: the regression's C. Raises InputError for points of one class."""
        self.embedding, self.sample_rate, self.strength = embedding, embedding.sample_rate, strength
        self.pipeline = fit(points.vectors, points.clips["category"].to_numpy(), strength)

    def predict(self, clips: Sequence[np.ndarray], sample_rate: int) -> list[str]:
        """Return the most probable class of each clip, float [n_samples] at the embedding's `sample_rate` Hz."""
        return [str(name) for name in self.pipeline.predict(self.embedding.embed(clips, sample_rate))]

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 of the embedding's hash and all that was learnt on it."""
        scaler, regression = (step for _, step in self.pipeline.steps)
        learnt = (scaler.mean_, scaler.scale_, regression.coef_, regression.intercept_)
        numbers = [sha256_bytes(np.ascontiguousarray(values).tobytes()) for values in learnt]
        return sha256_bytes("\n".join([self.embedding.content_hash, *map(str, regression.classes_), *numbers]).encode())


def fit(vectors: np.ndarray, categories: np.ndarray, strength: float) -> Pipeline:
    """Return a regression on vectors [n, dim] and their categories [n]. Raises InputError for fewer than two."""
    if len(set(categories)) < 2:
        raise InputError(f"categories: {sorted(set(categories))}; a probe learns from clips of at least two")
    return make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=MAX_STEPS)).fit(vectors, categories)


def choose_strength(points: Embedded, by_one_fold: bool = False) -> float:
    """Return the C of STRENGTHS with the most right answers over the folds of some points, the smallest of equal ones.

    In each round one fold is left out and the others teach; by_one_fold: it alone teaches and the others are asked, as
    for a probe that is taught by one fold. Raises InputError for a single fold, which leaves nothing to ask about.
    """
    folds, names = points.clips["fold"].to_numpy(), points.clips["category"].to_numpy()
    if len(np.unique(folds)) < 2:
        raise InputError(f"folds {np.unique(folds).tolist()}: expected at least two to choose a probe's penalty")
    n_right = dict.fromkeys(STRENGTHS, 0)
    for fold in np.unique(folds):
        taught = (folds == fold) == by_one_fold
        for strength in STRENGTHS:
            heard = fit(points.vectors[taught], names[taught], strength).predict(points.vectors[~taught])
            n_right[strength] += int((heard == names[~taught]).sum())
    return max(STRENGTHS, key=lambda strength: n_right[strength])


def teach_probes(
    real: Sequence[Source], embedding: Embedding, held_out_fold: int, sample_rate: int, timed: Sequence[str] = TIMED
) -> list[Judge]:
    """Return probes A, taught by all folds but one, and B, taught by that fold alone, then both without a class NONE.

    real: recordings of all folds, read at `sample_rate` Hz; those of the classes `timed`, in grains, teach NONE. The
    strength of every probe's penalty is chosen on the folds that teach A. Raises InputError when a side has no clip.
    """
    inside, rest = ([one for one in real if (one.fold == held_out_fold) is side] for side in (True, False))
    if not inside or not rest:
        raise InputError(f"held_out_fold={held_out_fold}: expected one of several folds, {folds_of(real)}")
    taught, points = {A: rest, B: inside}, {}
    for name, part in taught.items():
        decoys = without_time([one for one in part if one.category in timed])
        if not decoys:
            raise InputError(f"timed={list(timed)}: {name} is taught by no clip of these classes; expected some")
        points[name] = embed_clips(part, embedding, sample_rate, name)
        both = points[name], embed_clips(decoys, embedding, sample_rate, f"{name}, decoys")
        points[CLOSED.format(name)], points[name] = points[name], _together(*both)
    judges = []
    for label, kinds in (("{}", (GRAINS,)), (CLOSED, ())):
        for name, part in taught.items():
            strength = choose_strength(points[label.format(A)], by_one_fold=name == B)
            probe = Probe(embedding, points[label.format(name)], strength)
            judges.append(Judge(label.format(name), probe, probe.content_hash, folds_of(part), kinds))
    return judges


def teach_refusing(
    rows: pd.DataFrame,
    codec: Codec,
    training: ListenerTraining = TRAINING,
    timed: Sequence[str] = TIMED,
    device: str = "auto",
    cache_dir: str | Path = LISTENERS,
) -> Judge:
    """Return the log-mel network with a class NONE beside those of some rows of codes.csv, taught by their `lessons`.

    The last epoch is kept. Raises InputError when no row is of the classes `timed`.
    """
    sources, names = lessons(rows, codec, timed, training.seed)
    clips = SourceClips(sources, codec.sample_rate)
    listener = kept_listener(clips, names, codec.sample_rate, training, device, cache_dir)
    return Judge(CNN, listener, listener.content_hash, tuple(sorted({int(fold) for fold in rows["fold"]})), TAUGHT)


def lessons(
    rows: pd.DataFrame, codec: Codec, timed: Sequence[str] = TIMED, seed: int = 0
) -> tuple[list[Source], list[str]]:
    """Return clips that teach a network to refuse, and the class of each: those of some rows of codes.csv, and NONE.

    Every clip comes as it is and through the codec, which is no reason to refuse it, and as NONE a decoy of each kind
    in TAUGHT for every clip of the classes `timed`, whose sound has a course in time. Raises InputError when no row is
    of these classes.
    """
    decoys, teaching = Decoys(rows, codec, seed), of_classes(rows, timed)
    sides = {kind: decoys.sources(kind, rows) for kind in (REAL, "codec")}
    sides |= {kind: decoys.sources(kind, teaching) for kind in TAUGHT}
    names = [NONE if kind in TAUGHT else one.category for kind, part in sides.items() for one in part]
    return [one for part in sides.values() for one in part], names


def teach_judges(
    rows: pd.DataFrame,
    codec: Codec,
    held_out_fold: int = 1,
    package: str | Path = FOLDER,
    training: ListenerTraining = TRAINING,
    timed: Sequence[str] = TIMED,
    device: str = "auto",
    caches: tuple[str | Path, str | Path, str | Path] = (WEIGHTS, EMBEDDINGS, LISTENERS),
) -> list[Judge | NotRun]:
    """Return probes A and B, the same closed, and the network, in this order; without aiSFX, why A and B are not here.

    rows: of codes.csv, real clips of all folds; package: where `make judge` has put aiSFX; caches: of its weights, of
    points, and of networks. Raises InputError for clips that cannot be learnt from.
    """
    real = remembered(from_rows(rows, float(rows["seconds"].max())))
    try:
        embedding = KeptEmbedding(load_aisfx(package, device, caches[0]), caches[1])
        judges: list[Judge | NotRun] = [*teach_probes(real, embedding, held_out_fold, codec.sample_rate, timed)]
    except NotHere as error:
        judges = [NotRun(name, str(error)) for name in (A, B)]
    others = rows[rows["fold"] != held_out_fold].reset_index(drop=True)
    return [*judges, teach_refusing(others, codec, training, timed, device, caches[2])]


def judge_sides(
    sides: Mapping[str, Sequence[Source]], judges: Sequence[Judge], sample_rate: int
) -> Judged:
    """Return what judges hear in the clips of some sides beside real clips, a row for each of them.

    sides: clips by system, real ones under REAL, from no fold that taught any of the judges (InputError). All are read
    at `sample_rate` Hz. accuracy: the share heard as what was asked for, with Wilson's interval over clips; share: the
    same relative to real clips, see `share_of_real`; refused: the share heard as none of the classes.
    """
    for judge in judges:
        if met := {one.fold for one in sides[REAL]} & set(judge.taught_by):
            raise InputError(f"{judge.name}: was taught by fold {min(met)}; expected real clips of other folds")
    heard = hear_classes(sides, {judge.name: judge.classifier for judge in judges}, sample_rate)
    rows, by_class = [], []
    for name, of_judge in heard.groupby("classifier", sort=False):
        real = of_judge[of_judge["side"] == REAL]
        for system, part in of_judge.groupby("side", sort=False):
            of_system = {"judge": name, "system": system}
            row = of_system | counted(part) | {"n_real": len(real), "accuracy_real": real["is_right"].mean()}
            share = (1.0, np.nan, np.nan) if system == REAL else share_of_real(part, real)
            rows.append(row | dict(zip(JUDGED_COLUMNS[-3:], share, strict=True)))
            classes = part.groupby("category", sort=True)
            by_class += [of_system | {"category": category} | counted(own) for category, own in classes]
    return Judged(pd.DataFrame(rows, columns=JUDGED_COLUMNS), pd.DataFrame(by_class, columns=CLASS_COLUMNS))


def judge_folders(
    folders: Mapping[str, str | Path], judges: Sequence[Judge], rows: pd.DataFrame, sample_rate: int
) -> Judged:
    """Return what judges hear in folders of clips, by the names of systems, see `judge_sides`.

    In a folder each class has a subfolder. rows: of codes.csv, real clips of all folds, of which each judge hears those
    that did not teach it, at `sample_rate` Hz. A clip with a recording's name is that recording in another form, such
    as through a codec, and no judge hears it that was taught by its fold. Raises InputError for a folder without audio
    or with another class.
    """
    seconds, known = float(rows["seconds"].max()), set(rows["category"])
    recorded = {Path(row.filename).stem: int(row.fold) for row in rows.itertuples()}
    sides = {name: from_folder(folder, seconds) for name, folder in folders.items()}
    for name, side in sides.items():
        if strange := sorted({one.category for one in side} - known):
            raise InputError(f"{folders[name]}: holds clips of {strange[0]!r}; expected subfolders {sorted(known)}")
    found = [Judged(pd.DataFrame(columns=JUDGED_COLUMNS), pd.DataFrame(columns=CLASS_COLUMNS))]
    for judge in judges if sides else ():
        real = from_rows(rows[~rows["fold"].isin(judge.taught_by)], seconds)
        new = {
            name: [one for one in side if recorded.get(Path(one.name).stem) not in judge.taught_by]
            for name, side in sides.items()
        }
        heard = {name: side for name, side in new.items() if side}
        found.append(judge_sides({REAL: real} | heard, [judge], sample_rate))
    found = found[1:] or found  # an empty table has no types
    parts = [one.whole for one in found], [one.by_class for one in found]
    return Judged(*(pd.concat(tables, ignore_index=True) for tables in parts))


def counted(heard: pd.DataFrame) -> dict[str, float | int]:
    """Return n, n_right, accuracy with Wilson's 95% interval, chance and the share refused of rows of `hear_classes`.

    Raises InputError for no row.
    """
    n, n_right = len(heard), int(heard["is_right"].sum())
    if not n:
        raise InputError("clips: none of a system can be heard; expected at least one")
    low, high = wilson(n_right, n)
    found = {"n": n, "n_right": n_right, "accuracy": n_right / n, "low": low, "high": high}
    return found | {"chance": 1 / heard["category"].nunique(), "refused": float((heard["heard"] == NONE).mean())}


def share_of_real(heard: pd.DataFrame, real: pd.DataFrame) -> tuple[float, float, float]:
    """Return the accuracy of some clips over that of real ones, and its 95% interval over clips of either side.

    heard, real: rows of `hear_classes`. Real clips of a class weigh as much as the class has clips in `heard`. The
    interval is that of a ratio of two shares, see `ratio_interval`. NaN where no real clip is heard rightly. Raises
    InputError for a class without one.
    """
    theirs = 0.0
    for category, part in heard.groupby("category", sort=True):
        same = real[real["category"] == category]
        if same.empty:
            raise InputError(f"category {category!r}: no real clip; expected some beside those that are judged")
        theirs += len(part) / len(heard) * same["is_right"].mean()
    if not theirs:
        return np.nan, np.nan, np.nan
    count, n = int(heard["is_right"].sum()), len(heard)
    return count / n / theirs, *ratio_interval(count, n, theirs * len(real), len(real))


def folds_of(sources: Sequence[Source]) -> tuple[int, ...]:
    """Return the folds of some clips, in order."""
    return tuple(sorted({one.fold for one in sources}))


def _together(first: Embedded, second: Embedded) -> Embedded:
    clips = pd.concat([first.clips, second.clips], ignore_index=True)
    return Embedded(np.concatenate([first.vectors, second.vectors]), clips, first.problems | second.problems)
