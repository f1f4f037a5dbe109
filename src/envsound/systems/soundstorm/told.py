"""Texts in place of a class: what a model of codes is told, and what the clips of a training may be described by."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from envsound.base.files import read_csv
from envsound.data.folds import training_sets
from envsound.run.presets import checked

if TYPE_CHECKING:
    from envsound.systems.language.text import TextEncoder


@dataclass(frozen=True)
class Described:
    """What the clips of a set may be described by, one of several each time.

    vectors: the mean of the tokens of each text, float32 [n_texts, text_dim]; choices: those of each clip, int64
    [n_clips, n_choices].
    """

    vectors: Tensor
    choices: Tensor

    def digest(self) -> str:
        """Return a hash of all of it, 64 hexadecimal digits."""
        parts = [one.cpu().contiguous().numpy() for one in (self.vectors, self.choices)]
        return hashlib.sha256(b"".join(str(one.shape).encode() + one.tobytes() for one in parts)).hexdigest()

    def to(self, device: torch.device) -> "Described":
        """Return the same on a device."""
        return Described(self.vectors.to(device), self.choices.to(device))

    def drawn(self, numbers: Tensor, draws: torch.Generator) -> Tensor:
        """Return one of each clip's by their numbers, drawn at random, float32 [batch, text_dim], where `draws` is."""
        n_choices = self.choices.shape[1]
        chosen = (torch.rand(len(numbers), generator=draws, device=draws.device) * n_choices).long()
        return self.vectors[self.choices[numbers, chosen.clamp(max=n_choices - 1)]]

    def first(self, rows: np.ndarray) -> Tensor:
        """Return the first of each clip's, float32 [batch, text_dim]."""
        return self.vectors[self.choices[torch.from_numpy(rows).to(self.choices.device), 0]]


def text_of(settings: Mapping[str, Any]) -> str:
    """Return the encoder of the texts that a model is told, a preset's option `text`; "": it is told none."""
    return checked(settings["options"].get("text", ""), "", "options: text")


def texts_of(
    settings: Mapping[str, Any], run: str | Path
) -> tuple[list[tuple[Tensor, Tensor, Tensor]], dict[str, Any]]:
    """Return what the codes to learn and those to watch may be described by, as `text.encode_choices` does.

    And what a model's file keeps, of which `encoder_of` makes their encoder. Nothing where the model is told no text.
    """
    if not text_of(settings):
        return [], {}
    from envsound.systems.language.captions import read_captions
    from envsound.systems.language.text import encode_choices, load_encoder

    folds = settings["fold"], settings["train_folds"], settings["validation_fold"]
    sides = training_sets(read_csv(Path(run) / "codes.csv"), *folds)
    captions = [read_captions(run, side["clip_id"]) for side in sides]
    told = {"text": text_of(settings), "captions": captions[0].words()}
    encoder = load_encoder(told["text"], told["captions"])
    return [encode_choices(encoder, one.choices(settings["seed"])) for one in captions], told


def encoder_of(facts: Mapping[str, Any]) -> "TextEncoder | None":
    """Return the encoder of the texts that a checkpoint's model is told, None where it is told none."""
    if "text" not in facts:
        return None
    from envsound.systems.language.text import load_encoder

    return load_encoder(facts["text"], facts["captions"])


def mean_tokens(vectors: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of each text's tokens [n_texts, n_tokens, dim] that are there, bool [n_texts, n_tokens].

    Each by itself, so that it does not depend on the others' lengths, not even by rounding.
    """
    return torch.stack([tokens[there].mean(0) for tokens, there in zip(vectors, mask, strict=True)])
