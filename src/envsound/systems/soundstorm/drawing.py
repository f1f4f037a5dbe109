"""Drawing codes from scores, and deciding which of the drawn codes are accepted in a decoding step."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

LARGEST_UNIFORM = 1 - 1e-6  # below 1 in float32, so that the last code is never overshot
ORDERS = ("confidence", "random", "spans", "low-discrepancy")
FIXED_ORDERS = ("spans", "low-discrepancy")  # drawn once for a clip, for all passes and levels
GOLDEN = (5**0.5 - 1) / 2


@dataclass(frozen=True)
class Noise:
    """Noise for the frames of each item, drawn from the item's own generator: whatever shares its batch, an item sees
    the same noise. lengths: the number of frames of each item."""

    generators: list[torch.Generator]
    lengths: list[int]

    def uniform(self, n_frames: int) -> Tensor:
        """Return numbers in [0, 1) of shape [batch, n_frames], zero on padded frames."""
        device = self.generators[0].device
        noise = torch.zeros(len(self.lengths), n_frames, device=device)
        for item, length, generator in zip(noise, self.lengths, self.generators, strict=True):
            item[:length] = torch.rand(length, generator=generator, device=device)
        return noise

    def gumbel(self, n_frames: int) -> Tensor:
        """Return standard Gumbel noise of shape [batch, n_frames]."""
        tiny = torch.finfo(torch.float32).tiny
        return -torch.log((-torch.log(self.uniform(n_frames).clamp(min=tiny))).clamp(min=tiny))


def restrict(scores: Tensor, top_k: int, top_p: float) -> Tensor:
    """Set all but the best scores [..., codebook_size] to minus infinity.

    top_k: keep so many (0 keeps all). top_p: keep the smallest set of codes whose probability adds up to at least
    top_p (Holtzman et al. 2020, sec. 3.1); 1 keeps all. The best code always stays; codes that tie with the last one
    kept stay as well.
    """
    if 0 < top_k < scores.shape[-1]:
        scores = scores.masked_fill(scores < scores.topk(top_k, dim=-1).values[..., -1:], float("-inf"))
    if top_p < 1:
        ordered = descending(scores)
        probability = ordered.softmax(-1)
        before = probability.cumsum(-1) - probability  # of all better codes
        n_kept = (before < top_p).sum(-1, keepdim=True).clamp(min=1)
        scores = scores.masked_fill(scores < ordered.gather(-1, n_kept - 1), float("-inf"))
    return scores


def descending(values: Tensor) -> Tensor:
    """Return values [..., n], of 32 bits or more, each row from the highest to the lowest.

    On a CPU numpy sorts them, ten times as fast as torch, which also says where each value was.
    """
    if values.device.type != "cpu":
        return values.sort(dim=-1, descending=True).values
    return torch.from_numpy(np.sort(values.numpy(), axis=-1)).flip(-1)


def draw(scores: Tensor, temperature: float, noise: Noise) -> Tensor:
    """Sample codes int64 [batch, n_frames] from softmax(scores / temperature); 0 takes the most likely code.

    One uniform number a frame, looked up in the cumulated probabilities: a thousand times less noise to draw than
    with the Gumbel-max trick. Codes whose score is minus infinity are never drawn.
    """
    if temperature == 0:
        return scores.argmax(-1)
    cumulated = (scores / temperature).softmax(-1).cumsum(-1)
    position = noise.uniform(scores.shape[1]).clamp(max=LARGEST_UNIFORM).to(scores.device) * cumulated[..., -1]
    return torch.searchsorted(cumulated, position[..., None], right=True)[..., 0].clamp(max=scores.shape[-1] - 1)


def fixed_ranks(order: str, n_frames: int, noise: Noise) -> Tensor | None:
    """Return the rank of every frame in an order that a clip keeps, float [batch, n_frames] in [0, 1]; else None.

    "spans": random ranks; a column of all levels is one span, early or late in each of them. "low-discrepancy": from a
    random start by steps of the golden ratio (Kronecker's sequence), so that at any time the frames accepted so far lie
    evenly in time.
    """
    if order not in FIXED_ORDERS:
        return None
    drawn = noise.uniform(n_frames)
    if order == "spans":
        return drawn
    steps = torch.arange(n_frames, device=drawn.device, dtype=torch.float64) * GOLDEN
    return ((drawn[:, :1] + steps) % 1).float()


def acceptance_order(
    scores: Tensor,
    drawn: Tensor,
    masked: Tensor,
    order: str,
    noise_scale: Tensor,
    noise: Noise,
    ranks: Tensor | None = None,
) -> Tensor:
    """Return the position of every frame in the order of acceptance, int64 [batch, n_frames], 0 for the first.

    scores [batch, n_frames, codebook_size], drawn [batch, n_frames], masked bool [batch, n_frames]; frames that are
    not masked come last. order "confidence": by the log-probability of the drawn code plus Gumbel noise times
    `noise_scale` [batch] (MaskGIT's choice temperature, Chang et al. 2022); "random": by ranks drawn anew; any of
    FIXED_ORDERS: by the `ranks` of `fixed_ranks`, the highest first.
    """
    n_frames = drawn.shape[1]
    if ranks is not None:
        rank = ranks.to(scores.device)
    elif order == "random":
        rank = noise.uniform(n_frames).to(scores.device)
    else:
        rank = torch.log_softmax(scores, -1).gather(-1, drawn[..., None])[..., 0]
        rank = rank + noise_scale[:, None] * noise.gumbel(n_frames).to(scores.device)
    rank = rank.masked_fill(~masked, float("-inf"))
    return rank.argsort(dim=1, descending=True).argsort(dim=1)


def n_within_entropy(scores: Tensor, position: Tensor, masked: Tensor, budget: float) -> Tensor:
    """Return how many masked frames, taken in order, may be accepted together, int64 [batch], at least 1 where any are.

    The codes accepted in one step are drawn independently; what that ignores is at most the sum of their entropies
    minus the largest one (Ben-Hamu et al. 2025, entropy-bounded unmasking). As many frames are taken as keep this
    bound within `budget` (nats). scores [batch, n_frames, codebook_size]; position from `acceptance_order`.
    """
    log_probability = torch.log_softmax(scores, -1)
    entropy = -(log_probability.exp() * log_probability.clamp(min=-1e4)).sum(-1)
    ordered = entropy.masked_fill(~masked, 0.0).gather(1, position.argsort(dim=1))
    bound = ordered.cumsum(1) - ordered.cummax(1).values
    within = (bound <= budget).long().cumprod(1).sum(1)
    return torch.minimum(within.clamp(min=1), masked.sum(1))
