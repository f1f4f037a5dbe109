"""What a training notebook says: the model in numbers, and what the curves show."""

import math

import pandas as pd
import torch

from envsound.base.device import describe_device
from envsound.systems.soundstorm.batches import CodeSet
from envsound.systems.soundstorm.conformer import MaskedConformer, ModelConfig
from envsound.systems.soundstorm.training import Trainer


def model_facts(shape: ModelConfig) -> str:
    """Return a Markdown sentence with the size of a model and of its parts (millions of parameters)."""
    with torch.device("meta"):  # weights without memory
        model = MaskedConformer(shape)
    parts = {"embeddings": model.embeddings, "Conformer blocks": model.blocks, "heads": model.heads}
    millions = {name: sum(p.numel() for p in part.parameters()) / 1e6 for name, part in parts.items()}
    listed = ", ".join(f"{name} {value:.1f} M" for name, value in millions.items())
    return (
        f"{shape.n_layers} x {shape.dim}, {shape.n_heads} heads, kernel {shape.conv_kernel}: "
        f"**{model.n_parameters() / 1e6:.1f} M parameters** ({listed})."
    )


def data_facts(train: CodeSet, watched: CodeSet, fold: int, validation_fold: int, frame_rate: float = 75.0) -> str:
    """Return Markdown sentences on the material on either side; frame_rate in frames/s."""
    minutes = [sum(codes.shape[1] for codes in side.codes) / frame_rate / 60 for side in (train, watched)]
    of_whom = (
        f"of fold {validation_fold}, taken from the training folds: the epoch with the lowest loss there is used"
        if validation_fold
        else f"of the held-out fold {fold}: nothing is chosen by their loss"
    )
    copies = f"; {train.n_copies} of them augmented copies" if train.n_copies else ""
    return (
        f"{len(train)} training clips ({minutes[0]:.1f} minutes{copies}) of {len(train.categories)} classes. "
        f"The loss is watched on {len(watched)} clips ({minutes[1]:.1f} minutes) {of_whom}."
    )


def facts_of(trainer: Trainer, history: pd.DataFrame) -> dict:
    """Return what the provenance record keeps of a training run."""
    last = _last(history)
    return {
        "n_parameters": trainer.model.n_parameters(),
        "n_train_clips": len(trainer.train_set),
        "n_train_copies": trainer.train_set.n_copies,
        "n_validation_clips": len(trainer.validation_set),
        "validation_fold": trainer.config.validation_fold,
        "epochs": trainer.progress.epoch,
        "used_epoch": trainer.progress.best_epoch or trainer.progress.epoch,
        "steps": trainer.progress.step,
        "precision": trainer.precision,
        "codec_hash": trainer.codec_hash,
        "last_train_loss": last["train"],
        "last_validation_loss": last["validation"],
        "unigram_loss": trainer.baseline["all"],
        "training_seconds": seconds_of(history),
        "clips_per_second": len(trainer.train_set) * trainer.progress.epoch / seconds_of(history),
        "device_used": describe_device(trainer.fabric.device),
    }


def findings_training(history: pd.DataFrame, codebook_size: int = 1024, validation_fold: int = 0) -> str:
    """Return two or three Markdown sentences on the last losses, made from the columns of training.csv."""
    last, uniform = _last(history), math.log(codebook_size)
    overall = history[(history["level"].astype(str) == "all") & (history["split"] == "validation")]
    best = overall.loc[overall["loss"].idxmin()]
    levels = history[(history["split"] == "validation") & (history["epoch"] == history["epoch"].max())]
    levels = levels[levels["level"].astype(str) != "all"].dropna(subset="loss").set_index("level")["loss"]
    seconds = seconds_of(history)
    return (
        f"After {int(history['epoch'].max())} epochs ({seconds / 60:.1f} minutes) the masked codes cost "
        f"{last['train']:.2f} nat on training clips and {last['validation']:.2f} nat on the watched clips; the "
        f"frequencies of the codes alone cost {best['unigram']:.2f}, a uniform guess ln {codebook_size} = "
        f"{uniform:.2f}. {_turning_point(best, history, validation_fold)} Of the levels, {levels.idxmin()} is the "
        f"easiest ({levels.min():.2f} nat) and {levels.idxmax()} the hardest ({levels.max():.2f} nat)."
    )


def seconds_of(history: pd.DataFrame) -> float:
    """Return how long the epochs took (s)."""
    return float(history.drop_duplicates("epoch")["seconds"].sum())


def _turning_point(best: pd.Series, history: pd.DataFrame, validation_fold: int) -> str:
    if best["epoch"] == history["epoch"].max():
        return "The watched loss was still falling at the end."
    lowest = f"The watched loss was lowest, {best['loss']:.2f}, after epoch {int(best['epoch'])}"
    if validation_fold:
        return f"{lowest}, which is the one that is used."
    return (
        f"{lowest}; the last epoch is used all the same, since choosing one on the held-out fold would be choosing on "
        "the test."
    )


def _last(history: pd.DataFrame) -> dict[str, float]:
    overall = history[history["level"].astype(str) == "all"]
    final = overall[overall["epoch"] == overall["epoch"].max()]
    return {split: float(final.loc[final["split"] == split, "loss"].iloc[0]) for split in ("train", "validation")}
