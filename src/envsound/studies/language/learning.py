"""What a language model's loss says: by level beside counting, with a leak in the split, by optimizer and schedule.

A published training reports .197 nat a code, of ln 2,048 = 7.62, on sound that is held out, and that Adam fails without
a schedule. Here the same codes are split in three ways and the same model is trained on each; and the same split is
learnt with each optimizer and each schedule.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from envsound.base.errors import InputError
from envsound.base.files import read_csv
from envsound.base.text import slug
from envsound.data.folds import recorded, training_sets
from envsound.systems.language.system import LanguageRecipe
from envsound.systems.language.training import LanguagePlan, LanguageTrainer
from envsound.systems.sampling import trained_settings
from envsound.systems.soundstorm.batches import CodeSet, load_code_set

CLEAN, BY_SEGMENT, SAME_CLIPS = "by recording", "random over segments", "the same segments"
OPTIMIZERS = {"AdamW": "", "Prodigy": "prodigy"}  # by name, as `LanguagePlan` has them
SCHEDULES = {"none": "none", "step": "step", "inverse root": "inverse-root", "cosine": ""}
N_LOOKS = 20  # at the watched clips in a training, about
COLUMNS = ["n_train", "n_watched", "n_steps", "train_loss", "loss", "perplexity", "best_loss", "unigram", "bigram"]
LEARNT_COLUMNS = ["model", "level", "loss", "perplexity", "unigram", "bigram"]


def learnt_table(runs: Mapping[str, str | Path]) -> pd.DataFrame:
    """Return what the last epoch of language models costs on watched clips, by level: LEARNT_COLUMNS, nat a code.

    unigram, bigram: what the frequencies of codes, and of pairs of them, in the training clips cost on the same codes.
    """
    found = [_last(read_csv(Path(run) / "training.csv")).assign(model=name) for name, run in runs.items()]
    return pd.concat(found, ignore_index=True)[LEARNT_COLUMNS] if found else pd.DataFrame(columns=LEARNT_COLUMNS)


def leak_tables(
    run: str | Path, folder: Path, n_steps: int, device: torch.device, segment_seconds: float = 1.0, seed: int = 0
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return what a split is worth: a row for each of three, and the watched loss of each training by epoch.

    All codes are cut into segments, and altered copies stay out. CLEAN: those of the folds that teach a run are learnt,
    those of the fold it watches are watched. BY_SEGMENT: of all segments as many are watched, drawn at random, and so
    most have neighbours of their own recording among those learnt. SAME_CLIPS: as many of those learnt are watched.
    First: split, COLUMNS (losses of all levels, nat a code); second: split, epoch, loss. Trainings lie in `folder`.
    """
    base, settings = _base(run, device), trained_settings(run)
    sides = training_sets(read_csv(Path(run) / "codes.csv"), settings["fold"], settings["train_folds"])
    whole = [load_code_set(recorded(side), base.train_set.categories, base.codec_hash) for side in sides]
    n_columns = round(segment_seconds * LanguageRecipe().codec(settings).frame_rate)
    learnt, held = (segments(side, n_columns) for side in whole)
    rng, n_held = np.random.default_rng(seed), len(held)
    mixed = _joined(learnt, held)
    order = rng.permutation(len(mixed))
    splits = {
        CLEAN: (learnt, held),
        BY_SEGMENT: (_chosen(mixed, order[n_held:]), _chosen(mixed, order[:n_held])),
        SAME_CLIPS: (learnt, _chosen(learnt, rng.permutation(len(learnt))[:n_held])),
    }
    rows, curves = [], []
    for name, (train, watched) in splits.items():
        shared = _for_steps(base.plan.shared, n_steps, len(train))
        row, history = _trained(base, train, watched, replace(base.plan, shared=shared), folder / slug(name), device)
        rows.append({"split": name} | row)
        curves.append(history.assign(split=name))
    return pd.DataFrame(rows), pd.concat(curves, ignore_index=True)[["split", "epoch", "loss"]]


def optimizer_table(run: str | Path, folder: Path, n_steps: int, device: torch.device) -> pd.DataFrame:
    """Return what a run's model learns in so many steps, a row for each of OPTIMIZERS and SCHEDULES.

    optimizer, schedule, lr, COLUMNS, note. Prodigy finds its own rate: lr is the factor 1. "step" takes a tenth of the
    rate in the second half. note: why a row has no loss, such as one that is no number any more. Trainings lie in
    `folder`.
    """
    base, rows = _base(run, device), []
    shared = _for_steps(base.plan.shared, n_steps, len(base.train_set))
    for optimizer, moves in OPTIMIZERS.items():
        for schedule, name in SCHEDULES.items():
            own = replace(shared, optimizer="adamw", schedule="cosine", lr=1.0 if moves else shared.lr)
            plan = LanguagePlan(own, moves, name, max(1, n_steps // 2), base.plan.ema_every)
            row = {"optimizer": optimizer, "schedule": schedule, "lr": own.lr}
            place = folder / slug(f"{optimizer} {schedule}")
            try:
                found, _ = _trained(base, base.train_set, base.validation_set, plan, place, device)
                rows.append(row | found | {"note": ""})
            except InputError as error:
                rows.append(row | {"n_steps": n_steps, "note": str(error)})
    return pd.DataFrame(rows, columns=["optimizer", "schedule", "lr", *COLUMNS, "note"])


def segments(clips: CodeSet, n_columns: int) -> CodeSet:
    """Return codes cut into pieces of so many columns, one after the other; what is left over at the end goes."""
    pieces = [
        (codes[:, start : start + n_columns], label)
        for codes, label in zip(clips.codes, clips.classes, strict=True)
        for start in range(0, codes.shape[1] - n_columns + 1, n_columns)
    ]
    if not pieces:
        raise InputError(f"segments of {n_columns} columns: every clip is shorter; expected clips of a segment or more")
    return CodeSet([codes for codes, _ in pieces], np.array([label for _, label in pieces]), clips.categories)


def _base(run: str | Path, device: torch.device) -> LanguageTrainer:
    """Return the trainer of a run, for its codes, shape and plan. Raises InputError for one that is told a text."""
    settings = trained_settings(run)
    if settings["options"].get("text"):
        raise InputError(f"{run}: is told a text; expected a run of a language model that is told classes, or nothing")
    return LanguageRecipe().trainer(settings, Path(run), device)


def _for_steps(shared: Any, n_steps: int, n_clips: int) -> Any:
    n_epochs = math.ceil(n_steps / math.ceil(n_clips / shared.batch_size))
    return replace(shared, num_epochs=n_epochs, max_steps=n_steps, watch_every=max(1, n_epochs // N_LOOKS), patience=0)


def _trained(
    base: LanguageTrainer, train: CodeSet, watched: CodeSet, plan: LanguagePlan, folder: Path, device: torch.device
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Return COLUMNS of a training, and its watched loss over all levels by epoch."""
    made = (base.model.config, plan, folder, device, base.codec_hash, base.codebooks)
    trainer = LanguageTrainer(train, watched, *made)
    history = trainer.fit()
    seen = history[(history["split"] == "validation") & (history["level"] == "all")]
    last = _last(history).set_index("level").loc["all"]
    learnt = history[(history["split"] == "train") & (history["level"] == "all")]["loss"].iloc[-1]
    row = {"n_train": len(train), "n_watched": len(watched), "n_steps": trainer.progress.step, "train_loss": learnt}
    row |= {name: float(last[name]) for name in ("loss", "perplexity", "unigram", "bigram")}
    return row | {"best_loss": float(seen["loss"].min())}, seen[["epoch", "loss"]]


def _last(history: pd.DataFrame) -> pd.DataFrame:
    seen = history[history["split"] == "validation"]
    return seen[seen["epoch"] == seen["epoch"].max()].astype({"level": str})


def _joined(first: CodeSet, second: CodeSet) -> CodeSet:
    classes = np.concatenate([first.classes, second.classes])
    return CodeSet([*first.codes, *second.codes], classes, first.categories)


def _chosen(clips: CodeSet, rows: Sequence[int] | np.ndarray) -> CodeSet:
    return CodeSet([clips.codes[row] for row in rows], clips.classes[rows], clips.categories)
