"""What all recognisers built on the generative model share: the model's shape, and where its weights come from.

Recognisers are read from flat tables of settings (`recognisers`); these say which start they mean.
"""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch

from envsound.base.device import choose_device, choose_precision
from envsound.base.errors import InputError
from envsound.studies.recognition.pretraining import (
    STORE,
    CheckpointStart,
    PretrainedStart,
    Pretraining,
    RandomStart,
    Start,
)
from envsound.systems.soundstorm.conformer import ModelConfig

STARTS = ("random", "speech", "environment")


@dataclass(frozen=True)
class ConformerSettings:
    """The model of a recogniser: no class is told to it, and all levels of codes go in.

    start: "random" weights; "speech", those of `speech_checkpoint`, which brings its own shape; or "environment", the
    generative task on the training clips of each round, from random weights or, where a checkpoint is named, from those
    of speech. Recognisers that ask for the same pretraining share it.
    """

    name: str = "Conformer"
    start: str = "environment"  # random | speech | environment
    speech_checkpoint: str = ""  # file that notebook 12 made; "" = none
    codebook_init: bool = False  # random weights start from the codec's codebooks
    codec: str = "bundled"  # that made the codes
    codec_weights: str = ""  # of encodec_24khz; "" = the released ones
    n_levels: int = 8
    codebook_size: int = 1024
    dim: int = 512
    n_layers: int = 2
    n_heads: int = 8
    dropout: float = 0.1  # inside the model
    pretraining_epochs: int = 2
    pretraining_batch_size: int = 8  # clips
    pretraining_lr: float = 1e-3  # highest
    pretraining_prompt_chance: float = 0.5
    pretraining_ema_decay: float = 0.0
    pretraining_dir: str = str(STORE)  # finished pretrainings, named after all they depend on
    precision: str = "auto"
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.start not in STARTS:
            raise InputError(f"start={self.start!r}: expected one of {', '.join(STARTS)}")
        if self.start == "random" and self.speech_checkpoint:
            raise InputError("speech_checkpoint: of no use with start=random; expected none")
        self.weights()  # so that an impossible shape is named at once

    def weights(self) -> Start:
        """Return where the weights come from."""
        speech = CheckpointStart(self.speech_checkpoint)
        if self.start == "speech":
            return speech
        shape = ModelConfig(**self.own(ModelConfig))
        random = RandomStart(shape, self.codec if self.codebook_init else "", self.codec_weights)
        if self.start == "random":
            return random
        plan = Pretraining(
            num_epochs=self.pretraining_epochs,
            batch_size=self.pretraining_batch_size,
            lr=self.pretraining_lr,
            prompt_chance=self.pretraining_prompt_chance,
            ema_decay=self.pretraining_ema_decay,
            precision=choose_precision(self.precision, self.place),  # two precisions are two models
        )
        first = speech if self.speech_checkpoint else random
        return PretrainedStart(first, plan, Path(self.pretraining_dir), self.place)

    def own(self, other: type) -> dict[str, Any]:
        """Return the settings that another dataclass has, too."""
        return {field.name: getattr(self, field.name) for field in fields(other) if hasattr(self, field.name)}

    def settings_with(self, *more: str | type) -> dict[str, Any]:
        """Return what determines the model, and more settings: by name, or all that a dataclass has."""
        found = self.weights().settings() | {"precision": self.precision}
        for one in more:
            found |= {one: getattr(self, one)} if isinstance(one, str) else self.own(one)
        return found

    @property
    def place(self) -> torch.device:
        """Where the model is computed."""
        return choose_device(self.device)

    @property
    def reduced_precision(self) -> bool:
        """Whether matrix products are computed in bfloat16."""
        return choose_precision(self.precision, self.place) == "bf16-mixed"

    def autocast(self) -> torch.autocast:
        """Return a context in which the model computes in the precision asked for."""
        return torch.autocast(self.place.type, torch.bfloat16, enabled=self.reduced_precision)
