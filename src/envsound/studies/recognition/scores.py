"""Every recogniser on every fold: scored once, kept with what made it, and never scored twice."""

import json
import time
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from envsound.base.files import atomic_path
from envsound.evaluation.spaces.embeddings import NotRun
from envsound.evaluation.spaces.pretrained import NotHere
from envsound.run.identity import module_hash
from envsound.studies.recognition.facts import codec_label, codec_of, heard_clips, kind_of, learnt_from, met_recordings
from envsound.studies.recognition.names import clip_names, source_of
from envsound.studies.recognition.rounds import Fold, Recogniser, check_scores, folder_name

SCORES = "scores.npz"
FOLD_COLUMNS = [
    "recogniser", "kind", "codec", "fold", "validation_fold", "seed", "n_train", "n_train_folds", "n_test",
    "codec_heard", "n_right", "accuracy", "seconds",
]  # fmt: skip
CLIP_COLUMNS = [
    "recogniser", "seed", "fold", "clip", "source", "category", "heard", "is_right", "confidence", "codec_heard",
]  # fmt: skip


@dataclass(frozen=True)
class Scored:
    """What a recogniser thinks of a test fold: probabilities float64 [n_test, n_classes], and the seconds it took."""

    scores: np.ndarray
    seconds: float


@dataclass
class Recognised:
    """What all recognisers said.

    folds: a row for each recogniser, fold and seed, FOLD_COLUMNS. kind and codec: as in `recognition_facts`. n_train,
    n_train_folds: the clips and folds it learnt from, the validation fold's among them where it is refitted.
    codec_heard: how many test clips its codec has met in its own training; 0 without a codec, NaN where that is not
    known. seconds: the wall time that was still to be spent when the row was made, a lower bound that is no basis for
    comparing rows: of a training that was stopped it is the remainder, and the first row to ask for a pretraining or
    for features that others share pays for them alone.

    clips: a row for each test clip of those, CLIP_COLUMNS. source: the recording it was cut from; confidence: the
    probability of what was heard; codec_heard: 1 or 0, or NaN.

    not_run: recognisers that cannot run on this machine, and why.
    """

    folds: pd.DataFrame
    clips: pd.DataFrame
    not_run: list[NotRun] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        """The recognisers that ran, in the order they were asked for."""
        return list(dict.fromkeys(self.folds["recogniser"]))


def recognise(
    recognisers: Sequence[Recogniser], rounds: Sequence[Fold], folder: str | Path, seeds: Sequence[int] = (0,)
) -> Recognised:
    """Train and score every recogniser on every round with every seed; what is finished in `folder` is not done again.

    A recogniser that raises NotHere has no row, on any fold. Raises InputError when one returns no probabilities.
    """
    folds, clips, not_run = [], [], []
    with tqdm(total=len(recognisers) * len(rounds) * len(seeds), desc="recognisers", unit="fold") as bar:
        for recogniser in recognisers:
            found: list[tuple[Fold, int, Scored]] = []
            try:
                for fold in rounds:
                    for seed in seeds:
                        bar.set_postfix_str(f"{recogniser.name}, fold {fold.number}")
                        found.append((fold, seed, score_fold(recogniser, fold, folder, seed)))
                        bar.update()
            except NotHere as error:
                not_run.append(NotRun(recogniser.name, str(error)))
                continue
            met = met_recordings(codec_of(recogniser))
            for fold, seed, scored in found:
                rows = _clip_rows(recogniser.name, fold, seed, scored, heard_clips(met, fold.test))
                clips.append(rows)
                folds.append(_fold_row(recogniser, fold, seed, rows) | {"seconds": scored.seconds})
    rows = pd.concat(clips, ignore_index=True) if clips else pd.DataFrame(columns=CLIP_COLUMNS)
    return Recognised(pd.DataFrame(folds, columns=FOLD_COLUMNS), rows, not_run)


def score_fold(recogniser: Recogniser, fold: Fold, folder: str | Path, seed: int) -> Scored:
    """Return what a recogniser thinks of a round's test clips, from its file where that was made from the same."""
    place = Path(folder) / folder_name(recogniser.name) / round_name(fold.number, seed)
    identity = json.dumps(identity_of(recogniser, fold, seed), sort_keys=True)
    kept = _read(place / SCORES, identity)
    if kept is not None:
        return kept
    started = time.perf_counter()
    scores = check_scores(recogniser.fit_and_score(fold, place, seed), fold, recogniser.name)
    found = Scored(scores, round(time.perf_counter() - started, 3))
    with atomic_path(place / SCORES) as temporary:
        np.savez(temporary, scores=found.scores, seconds=found.seconds, identity=identity)
    return found


def round_name(fold: int, seed: int) -> str:
    """Return the name of the folder of a recogniser's round."""
    return f"fold{fold}_seed{seed}"


def identity_of(recogniser: Recogniser, fold: Fold, seed: int) -> dict[str, Any]:
    """Return everything that a recogniser's scores of a round depend on: settings, clips, seed and code."""
    return {
        "settings": recogniser.settings(),
        "code": module_hash(type(recogniser).__module__),
        "folds": [fold.number, fold.validation_fold],
        "clips": [part.digest for part in (fold.train, fold.validation, fold.test)],
        "seed": seed,
    }


def _read(path: Path, identity: str) -> Scored | None:
    """Return kept scores; None when there are none, they are damaged, or they were made from something else."""
    try:
        with np.load(path, allow_pickle=False) as kept:
            if str(kept["identity"]) == identity:
                return Scored(kept["scores"], float(kept["seconds"]))
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
        return None
    return None


def _fold_row(recogniser: Recogniser, fold: Fold, seed: int, clips: pd.DataFrame) -> dict[str, Any]:
    learnt, right = learnt_from(recogniser, fold), int(clips["is_right"].sum())
    row = {"recogniser": recogniser.name, "kind": kind_of(recogniser), "codec": codec_label(codec_of(recogniser))}
    row |= {"fold": fold.number, "validation_fold": fold.validation_fold, "seed": seed}
    row |= {"n_train": len(learnt), "n_train_folds": len(set(learnt.folds.tolist())), "n_test": len(fold.test)}
    n_heard = clips["codec_heard"].sum(skipna=False)
    row |= {"codec_heard": n_heard if np.isnan(n_heard) else int(n_heard), "n_right": right}
    return row | {"accuracy": right / len(fold.test)}


def _clip_rows(name: str, fold: Fold, seed: int, scored: Scored, codec_heard: np.ndarray) -> pd.DataFrame:
    heard, categories = scored.scores.argmax(1), np.array(fold.test.categories)
    names = clip_names(fold.test.files)
    columns = {"recogniser": name, "seed": seed, "fold": fold.number, "clip": names}
    columns |= {"source": [source_of(clip) for clip in names], "category": categories[fold.test.labels]}
    columns |= {"heard": categories[heard], "is_right": heard == fold.test.labels, "confidence": scored.scores.max(1)}
    return pd.DataFrame(columns | {"codec_heard": codec_heard}, columns=CLIP_COLUMNS)
