"""Transfer from speech: one training from random and one from pretrained weights, with everything else equal.

The published study names such a transfer and its public code starts from random weights; here it is run, with the
control beside it: the same fine-tuning on speech of speakers that were not heard in pretraining.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm.auto import tqdm

from envsound.base.errors import InputError
from envsound.codec.base import Codec
from envsound.codec.codes import encode_recordings
from envsound.data.recordings import Recordings
from envsound.systems.soundstorm.batches import CodeSet, load_code_set
from envsound.systems.soundstorm.conformer import ModelConfig
from envsound.systems.soundstorm.training import Trainer, TrainingConfig

PRETRAINED_FOLDS, TUNED_FOLD, WATCHED_FOLD = (1, 2, 3), 4, 5  # of speech; no speaker is in two folds
STARTS = ("random", "speech")
COLUMNS = ["target", "start", "seed", "epoch", "level", "loss", "unigram"]
FINAL_COLUMNS = ["target", "seed", "level", "random", "speech", "difference", "head_start"]


@dataclass(frozen=True)
class Target:
    """What is fine-tuned on: clips to train on, and clips whose loss is watched, of no speaker or fold among them."""

    name: str
    train: CodeSet
    watched: CodeSet


@dataclass(frozen=True)
class Material:
    """Speech to pretrain on, and what is fine-tuned on afterwards: as many clips of one length of either kind."""

    pretraining: Target
    targets: list[Target]

    def table(self) -> pd.DataFrame:
        """Return how many clips, of how many frames, every side has."""
        rows = []
        for target in (self.pretraining, *self.targets):
            for role, side in (("trained on", target.train), ("watched", target.watched)):
                rows.append((target.name, role, len(side), side.codes[0].shape[1]))
        return pd.DataFrame(rows, columns=["material", "role", "clips", "frames each"])


def transfer_material(
    speech: Recordings,
    environment: Recordings,
    codec: Codec,
    held_out_fold: int,
    n_clips: int,
    clip_seconds: float,
    seed: int,
) -> Material:
    """Encode both kinds, and share them out.

    Speech: pretraining on folds 1 to 3, fine-tuning on `n_clips` of fold 4, watched on fold 5, so that no speaker is
    on two sides. Environment: fine-tuning on `n_clips` of the other folds, watched on `held_out_fold`. Every clip that
    is compared is a stretch of `clip_seconds`; pretraining takes its clips whole. Raises InputError when a side has
    too few clips of that length.
    """
    n_frames = round(clip_seconds * codec.frame_rate)
    sides = {"speech": _sides(speech, codec, TUNED_FOLD, WATCHED_FOLD)}
    folds = sorted(environment.table["fold"].unique())
    if held_out_fold not in folds or len(folds) < 2:
        raise InputError(f"held_out_fold={held_out_fold}: expected one of at least two folds, found {folds}")
    sides["environment"] = _sides(environment, codec, [fold for fold in folds if fold != held_out_fold], held_out_fold)
    trained = same_amount([side[0] for side in sides.values()], n_clips, n_frames, seed)
    n_watched = min(_count(side[1], n_frames) for side in sides.values())
    watched = same_amount([side[1] for side in sides.values()], n_watched, n_frames, seed)
    targets = [Target(name, *pair) for name, pair in zip(sides, zip(trained, watched, strict=True), strict=True)]
    whole, _ = _sides(speech, codec, list(PRETRAINED_FOLDS), WATCHED_FOLD)
    return Material(Target("pretraining", whole, targets[0].watched), targets)


def _sides(recordings: Recordings, codec: Codec, trained: int | list[int], watched: int) -> tuple[CodeSet, CodeSet]:
    codes = encode_recordings(recordings, codec)
    trained = [trained] if isinstance(trained, int) else trained
    chosen = (codes[codes["fold"].isin(trained)], codes[codes["fold"] == watched])
    first, second = (load_code_set(side.assign(category="any"), ["any"], codec.content_hash) for side in chosen)
    return first, second


def _count(side: CodeSet, n_frames: int) -> int:
    return sum(codes.shape[1] >= n_frames for codes in side.codes)


def same_amount(sides: Sequence[CodeSet], n_clips: int, n_frames: int, seed: int) -> list[CodeSet]:
    """Return as many clips, of the same length, of each side: `n_clips` stretches of `n_frames` frames.

    A clip shorter than that is left out; of a longer one a random stretch is taken, so that amount and length of the
    material say nothing about its kind. Raises InputError when a side has too few clips.
    """
    chosen = []
    for number, side in enumerate(sides):
        draws = np.random.default_rng([seed, number])
        long = [row for row, codes in enumerate(side.codes) if codes.shape[1] >= n_frames]
        if len(long) < n_clips:
            raise InputError(f"n_clips={n_clips}: only {len(long)} clips of {n_frames} frames or more")
        rows = draws.choice(long, n_clips, replace=False)
        starts = [draws.integers(side.codes[row].shape[1] - n_frames + 1) for row in rows]
        codes = [side.codes[row][:, start : start + n_frames] for row, start in zip(rows, starts, strict=True)]
        chosen.append(CodeSet(codes, np.zeros(n_clips, np.int64), ["any"]))
    return chosen


@dataclass(frozen=True)
class TransferPlan:
    """Pretraining and fine-tuning, equal for all targets and starts; the model is not told classes."""

    model: ModelConfig
    pretraining: TrainingConfig
    finetuning: TrainingConfig
    seeds: tuple[int, ...] = (0, 1, 2)


def run_transfer(
    plan: TransferPlan,
    speech: Target,
    targets: Sequence[Target],
    folder: str | Path,
    device: torch.device,
    codec_hash: str = "",
) -> pd.DataFrame:
    """Pretrain on `speech` and fine-tune on every target from either start, for every seed.

    Returns the losses on the watched clips after every epoch (nat; columns COLUMNS; start "pretraining" is the
    pretraining itself). Each training has a folder of its own and goes on where it was: what is done is not done again.
    """
    folder, parts = Path(folder), []
    with tqdm(total=len(plan.seeds) * (1 + 2 * len(targets)), desc="trainings", unit="training") as bar:
        for seed in plan.seeds:

            def train(target: Target, config: TrainingConfig, start: str, seed: int = seed) -> Path:
                place = folder / f"seed{seed}" / f"{target.name}_from_{start}"
                config = replace(config, seed=seed)
                trainer = Trainer(target.train, target.watched, plan.model, config, place, device, codec_hash)
                history = trainer.fit()
                parts.append(_watched(history).assign(target=target.name, start=start, seed=seed))
                bar.update()
                return place / "checkpoints" / "last.safetensors"

            pretrained = train(speech, plan.pretraining, "pretraining")
            for target in targets:
                for start in STARTS:
                    initial = str(pretrained) if start == "speech" else ""
                    train(target, replace(plan.finetuning, initial_checkpoint=initial), start)
    return pd.concat(parts, ignore_index=True)[COLUMNS]


def _watched(history: pd.DataFrame) -> pd.DataFrame:
    rows = history[history["split"] == "validation"]
    return rows[["epoch", "level", "loss", "unigram"]].astype({"level": str})


def final_losses(losses: pd.DataFrame) -> pd.DataFrame:
    """Return the loss after the last epoch from either start, by target, seed and level (columns FINAL_COLUMNS).

    difference: speech minus random, below 0 where pretraining helped (nat). head_start: the first epoch after which
    the pretrained model is at least as good as the other one ever is; NaN if it never is.
    """
    rows = []
    tuned = losses[losses["start"].isin(STARTS)]
    for (target, seed, level), group in tuned.groupby(["target", "seed", "level"], sort=False):
        curves = {start: group[group["start"] == start].set_index("epoch")["loss"] for start in STARTS}
        random, speech = (curves[start].loc[curves[start].index.max()] for start in STARTS)
        reached = curves["speech"].index[curves["speech"] <= curves["random"].min()]
        head_start = float(reached.min()) if len(reached) else float("nan")
        rows.append((target, seed, level, random, speech, speech - random, head_start))
    return pd.DataFrame(rows, columns=FINAL_COLUMNS)
