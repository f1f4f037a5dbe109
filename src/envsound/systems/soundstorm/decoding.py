"""Parallel decoding: from masks to codes, level by level, a few steps each (Borsos et al. 2023, sec. 3.3)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import torch
from torch import Tensor

from envsound.base.errors import InputError
from envsound.base.recorded import Recorded
from envsound.run.limits import check_values
from envsound.systems.soundstorm.conformer import MaskedConformer
from envsound.systems.soundstorm.drawing import (
    Noise,
    acceptance_order,
    draw,
    fixed_ranks,
    n_within_entropy,
    restrict,
)
from envsound.systems.soundstorm.masking import frame_mask, n_masked_after

ONE_CODE_A_STEP = 0  # in steps_per_level
GPU = "cuda"


@dataclass(frozen=True)
class DecodingConfig:
    """How codes are decoded; the defaults are the published schedule with SoundStorm's greedy fine levels.

    steps_per_level: passes of the model for each level, by the cosine schedule; 0 accepts one code a pass.
    entropy_budget: above 0, steps_per_level is ignored, and each pass accepts as many codes as their entropy (nats)
    allows (see `drawing.n_within_entropy`): many where the model is sure, few where it is not.
    temperature divides the scores of level 0 before sampling, fine_temperature those of finer levels; 0 takes the
    most likely code. top_k (0: all) and top_p (1: all) restrict what is drawn.
    order says which frames are accepted first: those the model is surest of ("confidence"), random ones ("random"), or
    those of an order that the clip keeps (see `drawing.fixed_ranks`). order_noise scales the Gumbel noise added to the
    log-probability that ranks by confidence, annealed to 0 over the steps of a level.
    guidance_scale > 1 moves scores away from the model without a class (Ho & Salimans 2022):
    no_class + scale * (class - no_class). With guidance_end the scale goes from guidance_scale to that value as the
    share of masked codes of a level falls from 1 to 0 (MAGNeT, Ziv et al. 2024); None keeps it.
    """

    steps_per_level: tuple[int, ...] = (12, 1, 1, 1, 1, 1, 1, 1)
    entropy_budget: float = 0.0
    temperature: float = 1.0
    fine_temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    order: str = "confidence"
    order_noise: float = 1.0
    guidance_scale: float = 1.0
    guidance_end: float | None = None
    precision: torch.dtype = field(default=torch.float32)

    def __post_init__(self) -> None:
        check_values({key: value for key, value in vars(self).items() if key != "precision" and value is not None})
        if not self.steps_per_level:
            raise InputError("steps_per_level=[]: expected a number for each level")

    @property
    def guided(self) -> bool:
        """Whether the model without a class is needed."""
        return self.guidance_scale != 1.0 or self.guidance_end not in (None, 1.0)


@torch.no_grad()
def decode(
    model: MaskedConformer,
    n_frames: Sequence[int],
    seeds: Sequence[int],
    config: DecodingConfig,
    classes: Sequence[int] | Tensor | None = None,
    known: Tensor | None = None,
    on_step: Callable[[int, int, Tensor], None] | None = None,
) -> Tensor:
    """Decode a batch from masks.

    n_frames: the length of each item in frames. seeds: one for each item; an item's noise depends on its own seed
    alone. classes: the class of each item, or the vector of its text, float32 [batch, text_dim] (of a model that is
    told the one or the other). known: codes int64
    [batch, n_levels, longest] that are kept, with the mask token where a code is asked for; None asks for all.
    on_step(level, step, codes) is called after every step with the codes so far.
    Returns int64 [batch, n_levels, longest]; frames after an item's own last one hold the mask token.
    Raises InputError when lengths, seeds, classes, known codes or steps do not fit each other or the model.
    """
    _check_request(model, n_frames, seeds, config, classes, known)
    device, lengths = next(model.parameters()).device, list(n_frames)
    model.eval()
    told = classes if classes is None or isinstance(classes, Tensor) else torch.tensor(list(classes))
    conditions = None if told is None else told.to(device)
    even = len(set(lengths)) == 1
    plain = on_step is None and known is None and not isinstance(classes, Tensor)
    if device.type == GPU and even and plain and _steps_are_known(config):
        return _recorded(model, len(lengths), lengths[0], config, conditions is not None)(seeds, conditions)
    generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]
    return _decoded(model, lengths, generators, config, conditions, known, on_step)


def _decoded(model, lengths, generators, config, classes, known=None, on_step=None) -> Tensor:
    """Do what `decode` does, with generators in place of seeds and classes on the device."""
    device, even = generators[0].device, len(set(lengths)) == 1
    valid = frame_mask(as_row(lengths, device), max(lengths))
    codes = torch.full((len(lengths), model.config.n_levels, valid.shape[1]), model.mask_token, device=device)
    asked = [lengths] * model.config.n_levels
    if known is not None:
        codes = torch.where(valid[:, None], known.long().to(device), codes)
        asked = ((codes == model.mask_token) & valid[:, None]).sum(2).T.tolist()
    ranks = fixed_ranks(config.order, valid.shape[1], Noise(generators, lengths))
    batch = _Batch(codes, valid, lengths, classes, generators, ranks, even)
    casting = torch.autocast(device.type, config.precision, enabled=config.precision != torch.float32)
    with casting:  # one context for all passes, so that weights are cast once
        for level in range(model.config.n_levels):
            _decode_level(model, batch, level, asked[level], config, on_step)
    return batch.codes


def as_row(values: Sequence[float], device: torch.device) -> Tensor:
    """Return numbers as a tensor [n]; equal ones are made on the device, which then waits for nothing."""
    if len(set(values)) == 1:
        return torch.full((len(values),), values[0], device=device)
    return torch.tensor(list(values), device=device)


def _steps_are_known(config: DecodingConfig) -> bool:
    return config.entropy_budget == 0 and ONE_CODE_A_STEP not in config.steps_per_level


@lru_cache(maxsize=8)
def _recorded(
    model: MaskedConformer, n_items: int, n_frames: int, config: DecodingConfig, told: bool
) -> "_RecordedDecoding":
    """Return the decoding of so many clips of one length, recorded when first asked for; told: classes are given."""
    return _RecordedDecoding(model, n_items, n_frames, config, told)


class _RecordedDecoding:
    """A whole decoding as one `Recorded`: all passes, all noise, from one generator a clip."""

    def __init__(self, model: MaskedConformer, n_items: int, n_frames: int, config: DecodingConfig, told: bool):
        device = next(model.parameters()).device
        self.generators = [torch.Generator(device) for _ in range(n_items)]
        self.no_classes = torch.zeros(n_items, dtype=torch.int64, device=device)

        @torch.no_grad()
        def run(classes: Tensor) -> list[Tensor]:
            return [_decoded(model, [n_frames] * n_items, self.generators, config, classes if told else None)]

        self.run = Recorded(run, [self.no_classes], self.generators)

    def __call__(self, seeds: Sequence[int], classes: Tensor | None) -> Tensor:
        for generator, seed in zip(self.generators, seeds, strict=True):
            generator.manual_seed(seed)
        return self.run(self.no_classes if classes is None else classes)[0].clone()


@dataclass
class _Batch:
    """What decoding works on; `codes` is filled in place."""

    codes: Tensor  # int64 [batch, n_levels, n_frames]
    valid: Tensor  # bool [batch, n_frames]
    lengths: list[int]
    classes: Tensor | None
    generators: list[torch.Generator]
    ranks: Tensor | None = None  # [batch, n_frames], of an order that each clip keeps
    even: bool = False  # whether all items are equally long

    def part(self, rows: list[int]) -> "_Batch":
        """Return a copy of some of the items, cut to the longest of them."""
        if len(rows) == len(self.lengths):
            return self
        lengths = [self.lengths[row] for row in rows]
        longest = max(lengths)
        classes = None if self.classes is None else self.classes[rows]
        generators = [self.generators[row] for row in rows]
        ranks = None if self.ranks is None else self.ranks[rows, :longest]
        codes, valid, even = self.codes[rows, :, :longest], self.valid[rows, :longest], len(set(lengths)) == 1
        return _Batch(codes, valid, lengths, classes, generators, ranks, even)


def _decode_level(model, batch: _Batch, level: int, asked: list[int], config: DecodingConfig, on_step) -> None:
    """Fill one level, of which so many codes of each item are `asked` for.

    Items with nothing to accept in a step take no part in its pass.
    """
    left, step = list(asked), 0
    while any(left):
        step += 1
        target = _left_after(step, left, asked, level, config)
        rows = [row for row, now in enumerate(left) if now and (target is None or target[row] < now)]
        if rows:
            part = batch.part(rows)
            shares = [left[row] / asked[row] for row in rows]
            valid = None if part.even else part.valid
            scores = guided_scores(model, part.codes, valid, part.classes, level, config, shares)
            stay = None if target is None else [target[row] for row in rows]
            calm = _calm_shares(step, shares, level, config)
            filled = accept(part, scores, level, stay, calm, config)
            chosen = slice(None) if len(rows) == len(left) else rows  # a list of numbers would be waited for
            batch.codes[chosen, level, : filled.shape[1]] = filled
            left = _still_masked(filled, part, left, rows, model.mask_token) if target is None else target
        if on_step is not None:
            on_step(level, step, batch.codes)


def _left_after(step: int, left: list[int], asked: list[int], level: int, config: DecodingConfig) -> list[int] | None:
    """Return how many codes of each item stay masked after a step; None if the scores decide."""
    if config.entropy_budget > 0:
        return None
    n_steps = config.steps_per_level[level]
    if n_steps == ONE_CODE_A_STEP:
        return [max(now - 1, 0) for now in left]
    return [n_masked_after(step, n_steps, n) for n in asked]


def _calm_shares(step: int, shares: list[float], level: int, config: DecodingConfig) -> list[float]:
    """Return what scales the order noise of each item: the share of steps left, or of codes where steps are open."""
    n_steps = config.steps_per_level[level]
    if config.entropy_budget > 0 or n_steps == ONE_CODE_A_STEP:
        return shares
    return [1 - step / n_steps] * len(shares)


def _still_masked(filled: Tensor, part: _Batch, left: list[int], rows: list[int], mask_token: int) -> list[int]:
    masked = ((filled == mask_token) & part.valid).sum(1).tolist()
    now = dict(zip(rows, masked, strict=True))
    return [now.get(row, before) for row, before in enumerate(left)]


def guided_scores(
    model: MaskedConformer,
    codes: Tensor,
    valid: Tensor | None,
    classes: Tensor | None,
    level: int,
    config: DecodingConfig,
    masked_shares: Sequence[float],
) -> Tensor:
    """Return float32 scores [batch, n_frames, codebook_size] of one level, with classifier-free guidance.

    masked_shares: for each item the share of the level's codes that are still masked, which anneals the scale. Both
    sides of the guidance go through the model in one pass, in the precision of the autocast around the call (`decode`
    sets `config.precision`).
    """

    def scores(codes: Tensor, valid: Tensor | None, classes: Tensor | None) -> Tensor:
        return model.logits(model(codes, valid, classes), level).float()

    if classes is None or not config.guided:
        return scores(codes, valid, classes)
    both = torch.cat([classes, torch.full_like(classes, model.no_class)])  # of what is told texts that is 0, none
    told, free = scores(codes.repeat(2, 1, 1), None if valid is None else valid.repeat(2, 1), both).chunk(2)
    end = config.guidance_scale if config.guidance_end is None else config.guidance_end
    share = as_row(masked_shares, codes.device)[:, None, None]
    return free + (end + (config.guidance_scale - end) * share) * (told - free)


def accept(
    batch: _Batch,
    scores: Tensor,
    level: int,
    stay: list[int] | None,
    noise_shares: Sequence[float],
    config: DecodingConfig,
) -> Tensor:
    """Draw a code for every masked frame of a level, and accept all but the `stay` last in order of each item.

    scores [batch, n_frames, codebook_size]; stay None: the entropy decides; noise_shares: for each item the share of
    `order_noise` to use. Codes accepted before stay as they are. Returns the level's codes int64 [batch, n_frames].
    """
    current = batch.codes[:, level]
    masked = (current == scores.shape[-1]) & batch.valid
    noise = Noise(batch.generators, batch.lengths)
    temperature = config.temperature if level == 0 else config.fine_temperature
    drawn = draw(restrict(scores, config.top_k, config.top_p), temperature, noise)
    noise_scale = config.order_noise * as_row(noise_shares, scores.device)
    position = acceptance_order(scores, drawn, masked, config.order, noise_scale, noise, batch.ranks)
    if stay is None:
        n_accepted = n_within_entropy(scores, position, masked, config.entropy_budget)
    else:
        n_accepted = masked.sum(1) - as_row(stay, scores.device)
    return torch.where(masked & (position < n_accepted[:, None]), drawn, current)


def _check_request(model, n_frames, seeds, config, classes, known) -> None:
    check_items(n_frames, seeds, classes)
    if len(config.steps_per_level) != model.config.n_levels:
        raise InputError(
            f"steps_per_level={list(config.steps_per_level)}: expected {model.config.n_levels} numbers, one a level"
        )
    if isinstance(classes, Tensor):
        if classes.shape[1:] != (model.config.text_dim,):
            raise InputError(f"classes: of shape {tuple(classes.shape)}; expected [batch, {model.config.text_dim}]")
    elif classes is not None and not all(0 <= c < model.config.n_classes for c in classes):
        raise InputError(f"classes={list(classes)}: expected 0 to {model.config.n_classes - 1}")
    check_known(known, (len(n_frames), model.config.n_levels, max(n_frames)), model.mask_token)


def check_items(n_frames: Sequence[int], seeds: Sequence[int], classes: Sequence[int] | Tensor | None) -> None:
    """Raise InputError where there is no item, one without a frame, or one without a seed or class of its own."""
    if len(n_frames) == 0 or any(n < 1 for n in n_frames):
        raise InputError(f"n_frames={list(n_frames)}: expected at least one frame for each item")
    if len(seeds) != len(n_frames) or (classes is not None and len(classes) != len(n_frames)):
        raise InputError(f"seeds, classes: expected one for each of the {len(n_frames)} items")


def check_known(known: Tensor | None, shape: tuple[int, int, int], mask_token: int) -> None:
    """Raise InputError where known codes are not integers of a shape, from 0 to the mask token."""
    if known is None:
        return
    if tuple(known.shape) != shape or known.is_floating_point():
        raise InputError(f"known: {known.dtype} of shape {tuple(known.shape)}; expected integers of shape {shape}")
    if int(known.min()) < 0 or int(known.max()) > mask_token:
        raise InputError(f"known: values {int(known.min())} to {int(known.max())}; expected 0 to {mask_token}")
