"""What a training notebook says: the model in numbers, and what the curves show."""

import math

import pandas as pd

from envsound.batches import CodeSet
from envsound.conformer import MaskedConformer
from envsound.device import describe_device
from envsound.training import Trainer


def model_facts(model: MaskedConformer) -> str:
    """Return a Markdown sentence with the size of the model and of its parts (millions of parameters)."""
    parts = {"embeddings": model.embeddings, "Conformer blocks": model.blocks, "heads": model.heads}
    millions = {name: sum(p.numel() for p in part.parameters()) / 1e6 for name, part in parts.items()}
    listed = ", ".join(f"{name} {value:.1f} M" for name, value in millions.items())
    shape = model.config
    return (
        f"{shape.n_layers} x {shape.dim}, {shape.n_heads} heads, kernel {shape.conv_kernel}: "
        f"**{model.n_parameters() / 1e6:.1f} M parameters** ({listed})."
    )


def data_facts(train: CodeSet, held_out: CodeSet, frame_rate: float = 75.0) -> str:
    """Return a Markdown sentence with the amount of material on either side; frame_rate in frames/s."""
    minutes = [sum(codes.shape[1] for codes in side.codes) / frame_rate / 60 for side in (train, held_out)]
    return (
        f"{len(train)} training clips ({minutes[0]:.1f} minutes) and {len(held_out)} held-out clips "
        f"({minutes[1]:.1f} minutes) of {len(train.categories)} classes."
    )


def facts_of(trainer: Trainer, history: pd.DataFrame) -> dict:
    """Return what the provenance record keeps of a training run."""
    last = _last(history)
    return {
        "n_parameters": trainer.model.n_parameters(),
        "n_train_clips": len(trainer.train_set),
        "n_held_out_clips": len(trainer.validation_set),
        "epochs": trainer.epoch,
        "steps": trainer.step,
        "precision": trainer.precision,
        "codec_hash": trainer.codec_hash,
        "last_train_loss": last["train"],
        "last_validation_loss": last["validation"],
        "training_seconds": float(history.drop_duplicates("epoch")["seconds"].sum()),
        "device_used": describe_device(trainer.fabric.device),
    }


def findings_training(history: pd.DataFrame, codebook_size: int = 1024) -> str:
    """Return two or three Markdown sentences on the last losses, made from the columns of training.csv."""
    last, uniform = _last(history), math.log(codebook_size)
    overall = history[(history["level"].astype(str) == "all") & (history["split"] == "validation")]
    best = overall.loc[overall["loss"].idxmin()]
    levels = history[(history["split"] == "validation") & (history["epoch"] == history["epoch"].max())]
    levels = levels[levels["level"].astype(str) != "all"].dropna(subset="loss").set_index("level")["loss"]
    turned = (
        f"The held-out loss was lowest, {best['loss']:.2f}, after epoch {int(best['epoch'])}; the last epoch is used "
        "all the same, since choosing one on the held-out fold would be choosing on the test."
        if best["epoch"] < history["epoch"].max()
        else "The held-out loss was still falling at the end."
    )
    return (
        f"After {int(history['epoch'].max())} epochs the masked codes cost {last['train']:.2f} nat on training "
        f"clips and {last['validation']:.2f} nat on the held-out fold; a uniform guess costs ln {codebook_size} = "
        f"{uniform:.2f}. {turned} Of the levels, {levels.idxmin()} is the easiest ({levels.min():.2f} nat) and "
        f"{levels.idxmax()} the hardest ({levels.max():.2f} nat)."
    )


def _last(history: pd.DataFrame) -> dict[str, float]:
    overall = history[history["level"].astype(str) == "all"]
    final = overall[overall["epoch"] == overall["epoch"].max()]
    return {split: float(final.loc[final["split"] == split, "loss"].iloc[0]) for split in ("train", "validation")}
