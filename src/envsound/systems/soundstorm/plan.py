"""What a training is told, the settings of batches, masks, loss, optimizer and schedule; and how far it has come."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from envsound.base.errors import InputError
from envsound.run.limits import check_together, check_values
from envsound.systems.soundstorm.conformer import ModelConfig


@dataclass(frozen=True)
class TrainingConfig:
    """The settings of a training; the defaults are the published study's.

    `batch_size` clips make one optimizer step, whatever `accumulate` and the number of processes: both only cut the
    batch into pieces. With `patience` training ends after so many epochs in which the loss on `validation_fold`, one
    of the training folds, has not fallen.
    """

    num_epochs: int = 100
    batch_size: int = 8
    accumulate: int = 1  # pieces that a batch is computed in, one after the other, to save memory
    optimizer: str = "adam"  # adam | adamw
    lr: float = 1e-4  # at its highest
    weight_decay: float = 0.0  # share that adamw takes from matrices for each unit of learning rate
    betas: Sequence[float] = (0.9, 0.999)  # Adam's; the one-cycle schedule moves the first
    schedule: str = "one-cycle"  # one-cycle | cosine
    warmup_fraction: float = 0.3  # of all steps
    warmup_steps: int = 0  # 0 = by warmup_fraction
    grad_clip: float = 1.0  # global norm
    ema_decay: float = 0.0  # of the moving average of the weights; 0 = the last weights are used
    class_dropout: float = 0.1  # share of items trained without their class, for guidance
    prompt_chance: float = 1.0  # share of items with a visible prompt
    level_shares: Sequence[float] = ()  # of the items, trained on each level; () = equal ones
    label_smoothing: float = 0.0  # share of a target that is spread over all codes
    near_share: float = 0.0  # of the visible codes, replaced by near ones
    roll: bool = False  # turn each clip round in time
    start_from_codes: bool = False  # embeddings and heads begin as the codec's code vectors
    watch_every: int = 1  # epochs between two looks at the validation clips, each with a saving
    every_level: bool = False  # validation clips are asked for every level, not for one of them in turn
    max_steps: int = 0  # optimizer steps; 0 = no bound beside the epochs
    validation_fold: int = 0  # 0 = none: the held-out fold is watched, and nothing is chosen by it
    patience: int = 0  # epochs; 0 = never stop early
    compile: bool = False  # torch.compile the Conformer's blocks
    initial_checkpoint: str = ""  # file whose weights training starts from; "" = random weights
    precision: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        check_values(asdict(self))
        check_together(asdict(self))

    @property
    def asks_code_vectors(self) -> bool:
        """Whether training needs the codec's code vectors."""
        return self.start_from_codes or self.near_share > 0


@dataclass
class Progress:
    """How far training has come: enough, with the weights, to go on with the very next step."""

    epoch: int = 0  # whole epochs
    batch: int = 0  # batches of the epoch that has begun
    step: int = 0  # optimizer steps
    lr: float = 0.0  # at the start of the epoch
    seconds: float = 0.0  # s, of the epoch that has begun
    totals: list[list[float]] = field(default_factory=list)  # its loss sum and count of every level
    history: list[dict[str, Any]] = field(default_factory=list)
    best_loss: float = math.inf  # on the validation clips
    best_epoch: int = 0


def check_fit(config: TrainingConfig, shape: ModelConfig, has_vectors: bool, has_texts: bool) -> None:
    """Raise InputError where a training asks for levels, code vectors or texts that its model or its caller lacks."""
    if config.level_shares and len(config.level_shares) != shape.n_levels:
        raise InputError(f"level_shares={list(config.level_shares)}: expected {shape.n_levels} shares, one a level")
    if config.asks_code_vectors and not has_vectors:
        raise InputError("start_from_codes, near_share: need the code vectors of the codec")
    if bool(shape.text_dim) != has_texts or (has_texts and shape.n_classes):
        raise InputError(f"text_dim={shape.text_dim}: expected texts of that many numbers and no class, or neither")
