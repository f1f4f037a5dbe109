"""How the masked model is trained."""

from dataclasses import dataclass

from envsound.base.errors import InputError


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
    lr: float = 1e-4  # peak of the one-cycle schedule
    warmup_fraction: float = 0.3
    grad_clip: float = 1.0  # global norm
    ema_decay: float = 0.0  # of the moving average of the weights; 0 = the last weights are used
    class_dropout: float = 0.1  # share of items trained without their class, for guidance
    prompt_chance: float = 1.0  # share of items with a visible prompt
    max_steps: int = 0  # optimizer steps; 0 = no bound beside the epochs
    validation_fold: int = 0  # 0 = none: the held-out fold is watched, and nothing is chosen by it
    patience: int = 0  # epochs; 0 = never stop early
    compile: bool = False  # torch.compile the Conformer's blocks
    initial_checkpoint: str = ""  # file whose weights training starts from; "" = random weights
    precision: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.num_epochs < 1 or self.batch_size < 1 or self.accumulate < 1 or self.lr <= 0:
            raise InputError("num_epochs, batch_size, accumulate, lr: expected each above 0")
        if not 0 < self.warmup_fraction < 1:
            raise InputError(f"warmup_fraction={self.warmup_fraction}: expected a share between 0 and 1")
        if not 0 <= self.ema_decay < 1:
            raise InputError(f"ema_decay={self.ema_decay}: expected 0 for none, or a share below 1")
        if self.patience and not self.validation_fold:
            raise InputError(
                f"patience={self.patience}: needs a validation_fold among the training folds; stopping by the "
                "held-out fold would be choosing on the test"
            )
