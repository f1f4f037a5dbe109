"""What padding with a valid code does to a training loss: the published way beside masks over frames.

The published code pads the 375 frames of a clip to 1,024 with code 0, which is a valid code, and masks none of it, so
that most of what the model is asked for is one constant. Here both are trained at small size, in the same proportion.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm.auto import tqdm

from envsound.base.errors import InputError
from envsound.data.folds import split_folds
from envsound.systems.soundstorm.batches import CodeSet, derive_seed, load_code_set
from envsound.systems.soundstorm.conformer import MaskedConformer, ModelConfig
from envsound.systems.soundstorm.masking import TrainingMask, draw_training_mask
from envsound.systems.soundstorm.objective import level_scores
from envsound.systems.soundstorm.plan import TrainingConfig
from envsound.systems.soundstorm.training import Trainer

PUBLISHED_FRAMES, PUBLISHED_LENGTH = 375, 1024  # of a published clip, before and after padding
PADDING_CODE = 0
VARIANTS = ("masks", "padded")
COLUMNS = ["variant", "kind", "seed", "step", "targets", "loss", "n_targets", "share"]
TARGETS = ("all", "real", "constant")
EVALUATED = 16  # clips at once


@dataclass(frozen=True)
class PaddingPlan:
    """Two trainings that differ in their padding alone; the model is not told classes, and no prompt is shown.

    Without prompts every frame is as likely to be asked for, so that the share of constants among the targets is that
    among the frames. n_frames: of a clip, before padding; n_steps: of either training; n_watched: clips at most that
    losses are measured on.
    """

    model: ModelConfig
    training: TrainingConfig
    n_frames: int = 50
    n_steps: int = 200
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4, 5)
    n_watched: int = 80

    def __post_init__(self) -> None:
        if self.n_frames < 2 or min(self.n_steps, self.n_watched) < 1 or not self.seeds or self.model.n_classes:
            raise InputError("n_frames of 2 or more, a step, a watched clip, a seed, and no classes are expected")

    @property
    def n_padded(self) -> int:
        """Frames after padding: as many more as in the published study."""
        return round(self.n_frames * PUBLISHED_LENGTH / PUBLISHED_FRAMES)

    def config(self, n_clips: int, seed: int) -> TrainingConfig:
        """Return the settings of one training on `n_clips` clips: so many epochs as its steps need."""
        epochs = -(-self.n_steps // -(-n_clips // self.training.batch_size))
        return replace(self.training, num_epochs=epochs, max_steps=self.n_steps, prompt_chance=0.0, seed=seed)


def pad(clips: CodeSet, n_padded: int) -> CodeSet:
    """Return clips lengthened to `n_padded` frames with PADDING_CODE in every level, as if it had been recorded."""
    missing = [((0, 0), (0, n_padded - codes.shape[1])) for codes in clips.codes]
    padded = [np.pad(codes, by, constant_values=PADDING_CODE) for codes, by in zip(clips.codes, missing, strict=True)]
    return replace(clips, codes=padded)


def stretches(clips: CodeSet, n_frames: int, seed: int, n_most: int | None = None) -> CodeSet:
    """Return a stretch of `n_frames` of every clip that is long enough, or of `n_most` of them, drawn at random.

    Raises InputError when none is.
    """
    long = [codes for codes in clips.codes if codes.shape[1] >= n_frames]
    if not long:
        raise InputError(f"n_frames={n_frames}: no clip is that long; expected clips of more frames")
    draws = np.random.default_rng([seed, 0])
    rows = draws.choice(len(long), min(len(long), n_most or len(long)), replace=False)
    starts = [draws.integers(long[row].shape[1] - n_frames + 1) for row in rows]
    codes = [long[row][:, start : start + n_frames] for row, start in zip(rows, starts, strict=True)]
    return CodeSet(codes, np.zeros(len(codes), np.int64), ["any"])


def run_padding(
    codes: pd.DataFrame, plan: PaddingPlan, fold: int, folder: str | Path, kind: str, device: torch.device, codec: str
) -> pd.DataFrame:
    """Train both ways for every seed; return audit_padding.csv, in columns COLUMNS.

    codes: a run's codes.csv, made by the codec with this hash; `fold` is watched, the others are trained on. Losses
    (nat) on the watched clips before (step 0) and after training, over all that a variant is asked for, over real
    frames, and over padding. Both variants are asked for the very same hidden codes of the real frames, with the same
    codes visible. share: of the targets among all. Each training has a folder of its own below `folder` and goes on
    where it was. kind: what the clips are, in words. Raises InputError when the fold is not there.
    """
    parts = split_folds(codes, fold, [])
    train, watched = (load_code_set(part.assign(category="any"), ["any"], codec) for part in parts)
    rows = []
    with tqdm(total=len(plan.seeds) * len(VARIANTS), desc="padding", unit="training") as bar:
        for seed in plan.seeds:
            sides = [stretches(train, plan.n_frames, seed)]
            sides.append(stretches(watched, plan.n_frames, seed + 1, plan.n_watched))
            for variant in VARIANTS:
                place = Path(folder) / f"seed{seed}" / variant
                named = {"variant": variant, "kind": kind, "seed": seed}
                rows += [named | row for row in _train(plan, sides, variant, seed, place, device, codec)]
                bar.update()
    return pd.DataFrame(rows, columns=COLUMNS)


def _train(
    plan: PaddingPlan, sides: list[CodeSet], variant: str, seed: int, folder: Path, device: torch.device, codec: str
) -> list[dict[str, Any]]:
    """Train one variant on the first of `sides`; return its losses on the second, before and after."""
    train, watched = sides
    used = [pad(side, plan.n_padded) for side in sides] if variant == "padded" else sides
    trainer = Trainer(*used, plan.model, plan.config(len(train), seed), folder, device, codec)
    trainer.fit()
    rows = []
    for step, model in ((0, untrained(plan.model, seed)), (trainer.progress.step, trainer.used_model)):
        losses = region_losses(model.to(device), watched, plan.n_padded, variant == "padded", seed)
        rows += [{"step": step} | row for row in losses]
    return rows


def untrained(shape: ModelConfig, seed: int) -> MaskedConformer:
    """Return a model with the weights that `Trainer` starts from with this seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MaskedConformer(shape)


@torch.no_grad()
def region_losses(
    model: MaskedConformer, clips: CodeSet, n_padded: int, is_padded: bool, seed: int
) -> list[dict[str, Any]]:
    """Return the mean loss (nat) over TARGETS on clips of one length; without padding there are no constant ones.

    Masks are drawn for the padded clips either way, and cut to the real frames where the model sees no padding: so a
    padded and an unpadded model are asked for the same codes of real frames. Clip i is asked for level i mod n_levels.
    """
    model.eval()
    device, n_real = next(model.parameters()).device, clips.codes[0].shape[1]
    draws = torch.Generator().manual_seed(derive_seed(seed, -1))
    whole, sums = pad(clips, n_padded), np.zeros((2, 2))  # [real, constant] x [loss, count]
    shown = slice(None) if is_padded else slice(0, n_real)
    for start in range(0, len(clips), EVALUATED):
        rows = np.arange(start, min(start + EVALUATED, len(clips)))
        codes, valid, _ = whole.batch(rows, model.mask_token)
        levels = torch.from_numpy(rows % model.config.n_levels)
        mask = draw_training_mask(codes, valid, model.mask_token, draws, 0.0, levels)
        asked = TrainingMask(mask.inputs[..., shown], mask.targets[:, shown], levels).to(device)
        losses, frames = target_losses(model, asked, codes[..., shown].to(device), valid[:, shown].to(device))
        for place, kept in enumerate((frames < n_real, frames >= n_real)):
            sums[place] += (float(losses[kept].sum()), int(kept.sum()))
    total = sums.sum(0)
    found = [(name, *pair) for name, pair in zip(TARGETS, (total, *sums), strict=True) if pair[1]]
    return [{"targets": name, "loss": loss / n, "n_targets": int(n), "share": n / total[1]} for name, loss, n in found]


def target_losses(model: MaskedConformer, asked: TrainingMask, codes: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Return the cross-entropy (nat) of every target on its own, float [n_targets], and its frame, int [n_targets].

    The terms that `objective.masked_loss` sums; codes [batch, n_levels, n_frames], valid [batch, n_frames].
    """
    losses, frames = [], []
    for level, chosen, scores in level_scores(model, asked, valid, None):
        losses.append(F.cross_entropy(scores, codes[:, level][chosen], reduction="none"))
        frames.append(chosen.nonzero()[:, 1])
    return torch.cat(losses), torch.cat(frames)
