"""Parallel decoding: from all masks to codes, level by level, a few steps each (Borsos et al. 2023, sec. 3.3)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from envsound.conformer import MaskedConformer
from envsound.errors import InputError
from envsound.masking import frame_mask, n_masked_after

ORDERS = ("confidence", "random")


@dataclass(frozen=True)
class DecodingConfig:
    """How codes are decoded; the defaults are the published schedule with SoundStorm's greedy fine levels.

    temperature divides the scores of level 0 before sampling, fine_temperature those of finer levels; 0 takes the
    most likely code. order says which frames are accepted first: those the model is surest of, or random ones.
    order_noise scales the Gumbel noise added to the log-probability that ranks them, annealed to 0 over the steps of
    a level (MaskGIT's choice temperature). guidance_scale > 1 moves scores away from the model without a class
    (Ho & Salimans 2022): no_class + scale * (class - no_class).
    """

    steps_per_level: tuple[int, ...] = (12, 1, 1, 1, 1, 1, 1, 1)
    temperature: float = 1.0
    fine_temperature: float = 0.0
    order: str = "confidence"
    order_noise: float = 1.0
    guidance_scale: float = 1.0
    precision: torch.dtype = field(default=torch.float32)

    def __post_init__(self) -> None:
        if not self.steps_per_level or any(steps < 1 for steps in self.steps_per_level):
            raise InputError(f"steps_per_level={list(self.steps_per_level)}: expected at least one step for each level")
        if min(self.temperature, self.fine_temperature, self.order_noise, self.guidance_scale) < 0:
            raise InputError("temperature, fine_temperature, order_noise, guidance_scale: expected none below 0")
        if self.order not in ORDERS:
            raise InputError(f"order={self.order!r}: expected one of {', '.join(ORDERS)}")


@torch.no_grad()
def decode(
    model: MaskedConformer,
    n_frames: Sequence[int],
    seeds: Sequence[int],
    config: DecodingConfig,
    classes: Sequence[int] | None = None,
    on_step: Callable[[int, int, Tensor], None] | None = None,
) -> Tensor:
    """Decode a batch from all masks.

    n_frames: the length of each item in frames. seeds: one for each item; an item's noise depends on its own seed
    alone. classes: the class of each item (a conditional model only). on_step(level, step, codes) is called after
    every step with the codes so far.
    Returns int64 [batch, n_levels, longest]; frames after an item's own last one hold the mask token.
    Raises InputError when lengths, seeds, classes or steps do not fit each other or the model.
    """
    _check_request(model, n_frames, seeds, config, classes)
    device = next(model.parameters()).device
    valid = frame_mask(torch.tensor(list(n_frames))).to(device)
    codes = torch.full((len(n_frames), model.config.n_levels, valid.shape[1]), model.mask_token, device=device)
    conditions = None if classes is None else torch.tensor(list(classes), device=device)
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    model.eval()
    for level, n_steps in enumerate(config.steps_per_level):
        for step in range(1, n_steps + 1):
            scores = guided_scores(model, codes, valid, conditions, level, config)
            codes[:, level] = accept(codes[:, level], scores, valid, level, step, n_steps, config, generators)
            if on_step is not None:
                on_step(level, step, codes)
    return codes


def _check_request(model, n_frames, seeds, config, classes) -> None:
    if len(n_frames) == 0 or any(n < 1 for n in n_frames):
        raise InputError(f"n_frames={list(n_frames)}: expected at least one frame for each item")
    if len(seeds) != len(n_frames) or (classes is not None and len(classes) != len(n_frames)):
        raise InputError(f"seeds, classes: expected one for each of the {len(n_frames)} items")
    if len(config.steps_per_level) != model.config.n_levels:
        raise InputError(
            f"steps_per_level={list(config.steps_per_level)}: expected {model.config.n_levels} numbers, one a level"
        )
    if classes is not None and not all(0 <= c < model.config.n_classes for c in classes):
        raise InputError(f"classes={list(classes)}: expected 0 to {model.config.n_classes - 1}")


def guided_scores(
    model: MaskedConformer,
    codes: Tensor,
    valid: Tensor,
    classes: Tensor | None,
    level: int,
    config: DecodingConfig,
) -> Tensor:
    """Return float32 scores [batch, n_frames, codebook_size] of one level, with classifier-free guidance."""

    def scores(classes: Tensor | None) -> Tensor:
        enabled = config.precision != torch.float32
        with torch.autocast(codes.device.type, config.precision, enabled=enabled):
            return model.logits(model(codes, valid, classes), level).float()

    if classes is None or config.guidance_scale == 1.0:
        return scores(classes)
    free = scores(torch.full_like(classes, model.no_class))
    return free + config.guidance_scale * (scores(classes) - free)


def accept(
    current: Tensor,
    scores: Tensor,
    valid: Tensor,
    level: int,
    step: int,
    n_steps: int,
    config: DecodingConfig,
    generators: list[torch.Generator],
) -> Tensor:
    """Draw a code for every masked frame of a level and accept all but the n_masked_after(...) last in order.

    current int64 [batch, n_frames] (mask token where still masked), scores [batch, n_frames, codebook_size]. Codes
    accepted before stay as they are. Returns the new codes, same shape.
    """
    mask_token = scores.shape[-1]
    masked = (current == mask_token) & valid
    lengths = valid.sum(1).tolist()
    noise = Noise(generators, lengths, scores.device)
    drawn = _draw(scores, config.temperature if level == 0 else config.fine_temperature, noise)
    rank = _rank(scores, drawn, 1 - step / n_steps, config, noise).masked_fill(~masked, float("inf"))
    stay = torch.tensor([n_masked_after(step, n_steps, length) for length in lengths], device=rank.device)
    position = rank.argsort(dim=1).argsort(dim=1)  # 0 for the frame to be accepted last
    return torch.where(masked & (position >= stay[:, None]), drawn, current)


@dataclass(frozen=True)
class Noise:
    """Gumbel noise for the valid frames of each item, drawn from the item's own generator: whatever shares its batch,
    an item sees the same noise."""

    generators: list[torch.Generator]
    lengths: list[int]
    device: torch.device

    def gumbel(self, shape: torch.Size) -> Tensor:
        """Return standard Gumbel noise of shape [batch, n_frames, ...], zero on padded frames."""
        noise, tiny = torch.zeros(shape), torch.finfo(torch.float32).tiny
        for item, length, generator in zip(noise, self.lengths, self.generators, strict=True):
            uniform = torch.rand((length, *shape[2:]), generator=generator).clamp(min=tiny)
            item[:length] = -torch.log((-torch.log(uniform)).clamp(min=tiny))
        return noise.to(self.device)


def _draw(scores: Tensor, temperature: float, noise: Noise) -> Tensor:
    """Sample codes [batch, n_frames] from softmax(scores / temperature) by the Gumbel-max trick."""
    if temperature == 0:
        return scores.argmax(-1)
    return (scores / temperature + noise.gumbel(scores.shape)).argmax(-1)


def _rank(scores: Tensor, drawn: Tensor, remaining: float, config: DecodingConfig, noise: Noise) -> Tensor:
    """Return what orders acceptance, [batch, n_frames], the highest first; `remaining` is the share of steps left."""
    if config.order == "random":
        return noise.gumbel(drawn.shape)
    log_probability = torch.log_softmax(scores, -1).gather(-1, drawn[..., None])[..., 0]
    if config.order_noise == 0 or remaining == 0:
        return log_probability
    return log_probability + config.order_noise * remaining * noise.gumbel(drawn.shape)
