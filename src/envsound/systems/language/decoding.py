"""Writing codes with the language model: step by step with a cache, from nothing or on from codes that are known."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from envsound.base.errors import InputError
from envsound.base.recorded import Recorded
from envsound.run.limits import check_values
from envsound.systems.language.patterns import NONE
from envsound.systems.language.transformer import Cache, LanguageModel, Text
from envsound.systems.soundstorm.decoding import check_items, check_known
from envsound.systems.soundstorm.drawing import draw, restrict
from envsound.systems.soundstorm.editing import Editor

GPU = "cuda"


@dataclass(frozen=True)
class WritingConfig:
    """How codes are drawn; names and meaning are those of the masked model's `DecodingConfig`.

    temperature divides the scores of level 0, fine_temperature those of the other levels; 0 takes the most likely code.
    top_k (0: all) and top_p (1: all) restrict what is drawn. guidance_scale > 1 moves scores away from those of the
    model that is told neither class nor text (Ho & Salimans 2022): untold + scale * (told - untold).
    """

    temperature: float = 1.0
    fine_temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    guidance_scale: float = 1.0
    precision: torch.dtype = field(default=torch.float32)

    def __post_init__(self) -> None:
        check_values({key: value for key, value in vars(self).items() if key != "precision"})


@dataclass(frozen=True)
class _Given:
    """Numbers that were drawn before, in the place of `drawing.Noise`: float [batch, n] in [0, 1)."""

    values: Tensor

    def uniform(self, n: int) -> Tensor:
        return self.values


@torch.no_grad()
def write(
    model: LanguageModel,
    n_frames: Sequence[int],
    seeds: Sequence[int],
    config: WritingConfig,
    classes: Sequence[int] | None = None,
    known: Tensor | None = None,
    text: Text | None = None,
) -> Tensor:
    """Write the codes of a batch, in the order that the model has learnt.

    n_frames: the length of each item in frames. seeds: one for each item; an item's draws depend on its own seed alone.
    classes: the class of each item, `no_class` for none (a conditional model only). known: codes int64 [batch,
    n_levels, longest] that are kept, with the mask token where a code is asked for; what is written sees only what
    comes before it in the model's order. text: descriptions of the items.
    Returns int64 [batch, n_levels, longest]; frames after an item's own last one hold the mask token.
    Raises InputError when lengths, seeds, classes or known codes do not fit each other or the model.
    """
    _check_request(model, n_frames, seeds, classes, known)
    model.eval()
    device, pattern = next(model.parameters()).device, model.pattern
    noise = _noise([pattern.n_steps(n) for n in n_frames], seeds, pattern.n_levels).to(device)
    told = None if classes is None else torch.tensor(list(classes), device=device)
    if device.type == GPU and known is None and text is None and len(set(n_frames)) == 1:
        run = _recorded(model, len(n_frames), n_frames[0], config, classes is not None)
        return run(noise, torch.zeros(len(seeds), dtype=torch.int64) if told is None else told)[0].clone()
    return _written(model, _plan(model, list(n_frames), known, device), noise, config, told, text)


@lru_cache(maxsize=4)
def _recorded(model: LanguageModel, n_items: int, n_frames: int, config: WritingConfig, told: bool) -> Recorded:
    """Return what writes so many clips of one length, by noise and classes, recorded when first asked for."""
    device = next(model.parameters()).device
    plan = _plan(model, [n_frames] * n_items, None, device)

    @torch.no_grad()
    def run(noise: Tensor, classes: Tensor) -> list[Tensor]:
        return [_written(model, plan, noise, config, classes if told else None, None)]

    return Recorded(run, [torch.zeros(plan.sequence.shape, device=device), torch.zeros_like(plan.lengths)])


class _Plan(NamedTuple):
    """What is written where.

    sequence: with what is known, int64 [batch, n_levels, n_steps]; asked: what is not, bool of that shape; levels: of
    which something is asked, for each step; lengths: of the items in frames, int64 [batch], of which `longest` is one.
    """

    sequence: Tensor
    asked: Tensor
    levels: list[slice | None]
    lengths: Tensor
    longest: int


def _plan(model: LanguageModel, n_frames: list[int], known: Tensor | None, device: torch.device) -> _Plan:
    """Return the plan of a batch, made on the CPU, so that a device is asked for nothing."""
    pattern, special, lengths = model.pattern, model.mask_token, torch.tensor(n_frames)
    asked_all = torch.full((len(n_frames), pattern.n_levels, max(n_frames)), special)
    sequence = pattern.sequence(asked_all if known is None else known.long().cpu(), lengths, special)
    asked = (pattern.frames(lengths, sequence.shape[2]) != NONE) & (sequence == special)
    wanted = [[level for level, one in enumerate(step) if one] for step in asked.any(0).T.tolist()]
    levels = [slice(step[0], step[-1] + 1) if step else None for step in wanted]
    return _Plan(sequence.to(device), asked.to(device), levels, lengths.to(device), max(n_frames))


def _written(
    model: LanguageModel, plan: _Plan, noise: Tensor, config: WritingConfig, told: Tensor | None, text: Text | None
) -> Tensor:
    """Do what `write` does, by a plan; noise in [0, 1) for every place of the sequence."""
    sequence, special, device = plan.sequence.clone(), model.mask_token, noise.device
    before = F.pad(sequence[..., :-1], (1, 0), value=special)
    given, guided = _both(model, told, text, config.guidance_scale)
    steps, n_fed, cache = [step for step, levels in enumerate(plan.levels) if levels], 0, Cache(sequence.shape[2])
    with torch.autocast(device.type, config.precision, enabled=config.precision != torch.float32):
        for step in range(steps[0], steps[-1] + 1) if steps else ():
            inputs = before[..., n_fed : step + 1]
            states = model(inputs.repeat(2, 1, 1) if guided else inputs, *given, cache)[:, -1]
            n_fed = step + 1
            if levels := plan.levels[step]:
                asked, now = plan.asked[:, levels, step], sequence[:, levels, step]
                drawn = _draw(model, states, levels, noise[:, levels, step], config, guided)
                sequence[:, levels, step] = torch.where(asked, drawn, now)
            if step + 1 < sequence.shape[2]:
                before[..., step + 1] = sequence[..., step]
    return model.pattern.codes(sequence, plan.lengths, plan.longest, special)


def _both(
    model: LanguageModel, classes: Tensor | None, text: Text | None, scale: float
) -> tuple[tuple[Tensor | None, Text | None], bool]:
    """Return classes and text of a pass, and whether its second half is told nothing, for guidance."""
    if scale == 1 or (classes is None and text is None):
        return (classes, text), False
    both = None if classes is None else torch.cat([classes, torch.full_like(classes, model.no_class)])
    if text is None:
        return (both, None), True
    vectors, mask = text
    return (both, Text(vectors.repeat(2, 1, 1), torch.cat([mask, torch.zeros_like(mask)]))), True


def _draw(
    model: LanguageModel, states: Tensor, levels: slice, noise: Tensor, config: WritingConfig, guided: bool
) -> Tensor:
    """Return a code for each item and some levels of a step, int64 [batch, n], by noise of that shape.

    states: [batch, dim], twice as many where guided.
    """
    chosen = range(model.config.n_levels)[levels]
    scores = torch.stack([model.logits(states, level) for level in chosen], 1).float()
    if guided:
        told, untold = scores.chunk(2)
        scores = untold + config.guidance_scale * (told - untold)
    scores = restrict(scores, config.top_k, config.top_p)
    parts = [(level, config.fine_temperature if level else config.temperature) for level in chosen]
    if len({heat for _, heat in parts}) == 1:
        return draw(scores, parts[0][1], _Given(noise))
    drawn = [draw(scores[:, [n]], heat, _Given(noise[:, [n]])) for n, (_, heat) in enumerate(parts)]
    return torch.cat(drawn, 1)


def _noise(n_steps: list[int], seeds: Sequence[int], n_levels: int) -> Tensor:
    """Return numbers in [0, 1) for every code of each item, from its own seed: float32 [batch, n_levels, longest]."""
    noise = torch.zeros(len(seeds), n_levels, max(n_steps))
    for item, n, seed in zip(noise, n_steps, seeds, strict=True):
        item[:, :n] = torch.rand(n, n_levels, generator=torch.Generator().manual_seed(seed)).T
    return noise


@dataclass(frozen=True)
class Writer(Editor):
    """Goes on from codes, or fills them, with a language model that was trained to see only what comes before.

    What stands in a clip after a gap has no influence on what is written into it, unlike with the masked model. A clip
    longer than any that the model has learnt from is written window by window: positions beyond are unknown to it.
    text: what the clip is described by, for one item.
    """

    text: Text | None = None

    def fill(self, known: Tensor, seed: int) -> Tensor:
        """Write what is masked in known codes [n_levels, n_frames] and return all of them."""
        classes = None if self.category is None else [self.category]
        return write(self.model, [known.shape[1]], [seed], self.config, classes, known[None], self.text)[0].cpu()


def _check_request(model: LanguageModel, n_frames, seeds, classes, known) -> None:
    check_items(n_frames, seeds, classes)
    if classes is not None and not all(0 <= c <= model.no_class for c in classes):
        raise InputError(f"classes={list(classes)}: expected 0 to {model.no_class}, the last for none")
    check_known(known, (len(n_frames), model.config.n_levels, max(n_frames)), model.mask_token)
