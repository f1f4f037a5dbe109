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
from envsound.systems.soundstorm.batches import CodeSet
from envsound.systems.soundstorm.conformer import ModelConfig
from envsound.systems.soundstorm.training import Trainer
from envsound.systems.soundstorm.training import TrainingConfig

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
class TransferPlan:
    """Pretraining and fine-tuning, equal for all targets and starts; the model is not told classes."""

    model: ModelConfig
    pretraining: TrainingConfig
    finetuning: TrainingConfig
    seeds: tuple[int, ...] = (0, 1, 2)


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


def findings_transfer(final: pd.DataFrame, n_epochs: int) -> str:
    """Return Markdown sentences on what pretraining changed, from `final_losses`; every seed is shown."""
    sentences = []
    for target, rows in final[final["level"] == "all"].groupby("target", sort=False):
        seeds = ", ".join(f"{value:+.3f}" for value in rows["difference"])
        same = (rows["difference"] < 0).all() or (rows["difference"] > 0).all()
        verdict = ("helped" if rows["difference"].mean() < 0 else "harmed") if same else "made no consistent difference"
        reached = rows["head_start"].dropna()
        sooner = (
            f" The best loss from random weights was reached after epoch {reached.median():.0f} of {n_epochs} "
            f"(median of {len(reached)} of {len(rows)} seeds)."
            if len(reached)
            else ""
        )
        sentences.append(
            f"On {target}, pretraining on speech **{verdict}**: {rows['speech'].mean():.3f} nat against "
            f"{rows['random'].mean():.3f} from random weights (differences by seed: {seeds}).{sooner}"
        )
    return " ".join(sentences)
