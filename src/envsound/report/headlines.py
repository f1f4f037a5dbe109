"""What a notebook says of its own tables, in one sentence."""

import math

import pandas as pd


def training_headline(history: pd.DataFrame, codebook_size: int = 1024) -> str:
    """Return Markdown: the losses at the end of training.csv, and where the best one was.

    Those of a model of codes, of which `unigram` tells, stand beside those of guesses.
    """
    last = last_losses(history)
    watched = history[(history["level"].astype(str) == "all") & (history["split"] == "validation")]
    best = watched.loc[watched["loss"].idxmin()]
    if "unigram" not in history:
        return (
            f"After {history['epoch'].max()} epochs ({seconds_of(history) / 60:.1f} minutes) the loss is "
            f"**{last['train']:.3f}** on training clips and **{last['validation']:.3f}** on watched ones, where it was "
            f"lowest, {best['loss']:.3f}, after epoch {best['epoch']}."
        )
    return (
        f"After {history['epoch'].max()} epochs ({seconds_of(history) / 60:.1f} minutes) a code costs "
        f"**{last['train']:.2f} nat** on training clips and **{last['validation']:.2f} nat** on watched ones; the "
        f"frequencies of the codes alone cost {best['unigram']:.2f}, a uniform guess ln {codebook_size} = "
        f"{math.log(codebook_size):.2f}. The watched loss was lowest, {best['loss']:.2f}, after epoch {best['epoch']}."
    )


def sampling_headline(samples: pd.DataFrame, seconds: float) -> str:
    """Return Markdown: how much sound there is in the rows of samples.csv, and the wall time (s) it took."""
    audio = samples["seconds"].sum()
    return f"**{len(samples)} clips**, {audio:.0f} s of sound, took {seconds:.0f} s."


def seconds_of(history: pd.DataFrame) -> float:
    """Return how long the epochs of training.csv took (s)."""
    return float(history.drop_duplicates("epoch")["seconds"].sum())


def last_losses(history: pd.DataFrame) -> dict[str, float]:
    """Return the loss over all levels after the last epoch of training.csv, nat a code: train and validation."""
    overall = history[history["level"].astype(str) == "all"]
    final = overall[overall["epoch"] == overall["epoch"].max()].set_index("split")["loss"]
    return {split: float(final[split]) for split in ("train", "validation")}
