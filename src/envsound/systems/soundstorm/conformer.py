"""The bidirectional Conformer that predicts hidden codes: summed embeddings in, one head per level out.

Blocks follow Gulati et al. (2020) with rotary positions (Su et al. 2021) instead of relative ones, and layer norm
instead of batch norm inside the convolution, so that a clip's output never depends on what else is in the batch.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from envsound.run.limits import check_together, check_values


@dataclass(frozen=True)
class ModelConfig:
    """The shape of a MaskedConformer; the defaults are the published study's.

    n_classes = 0: it is told no class. text_dim: of the vector of a text that it is told in its place; 0: none. tied:
    the heads have no weights but those of the embeddings (Press & Wolf 2017), which are multiplied by sqrt(dim) on
    their way in (Vaswani et al. 2017, sec. 3.4), so that heads learn as fast as others.
    """

    n_levels: int = 8
    codebook_size: int = 1024
    dim: int = 512
    n_layers: int = 2
    n_heads: int = 8
    conv_kernel: int = 31  # frames, odd
    ff_mult: int = 4
    dropout: float = 0.1
    n_classes: int = 0
    tied: bool = False
    text_dim: int = 0

    def __post_init__(self) -> None:
        check_values(vars(self))
        check_together(vars(self))


def rotation(n_frames: int, dim: int, device: torch.device) -> Tensor:
    """Return cosine and sine of angles that grow with the frame, float32 [2, n_frames, dim / 2]: rotary positions."""
    rates = 10_000 ** (-torch.arange(0, dim, 2, device=device, dtype=torch.float32) / dim)
    angles = torch.arange(n_frames, device=device, dtype=torch.float32)[:, None] * rates
    return torch.stack([angles.cos(), angles.sin()])


def rotate(x: Tensor, turn: Tensor) -> Tensor:
    """Turn pairs of channels of x [batch, heads, n_frames, dim] by a `rotation`."""
    cos, sin = turn.to(x.dtype)
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)


class Dropout(nn.Dropout):
    """Dropout that draws 16 random bits a number on a CPU, in words of 64: torch draws a word for each, one by one."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0 or x.device.type != "cpu":
            return super().forward(x)
        words = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        bits = words.view(torch.int16)[: x.numel()].view(x.shape)
        kept = (bits >= round(self.p * 2**16) - 2**15).to(x.dtype)
        return x * kept.mul_(1 / (1 - self.p))


class FeedForward(nn.Sequential):
    """Layer norm, expand, swish, contract."""

    def __init__(self, dim: int, mult: int, dropout: float):
        super().__init__(
            nn.LayerNorm(dim),
            nn.Linear(dim, dim * mult),
            nn.SiLU(),
            Dropout(dropout),
            nn.Linear(dim * mult, dim),
            Dropout(dropout),
        )


def attend(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, causal: bool = False) -> Tensor:
    """Return scaled dot-product attention; on a processor in float32, whatever else is reduced.

    torch's kernel for bfloat16 is no faster there, and its gradients over a hundred frames take twice as long or more.
    """
    if queries.device.type != "cpu":
        return F.scaled_dot_product_attention(queries, keys, values, mask, is_causal=causal)
    with torch.autocast("cpu", enabled=False):
        given = (queries.float(), keys.float(), values.float())
        return F.scaled_dot_product_attention(*given, mask, is_causal=causal)


class Attention(nn.Module):
    """Self-attention over all valid frames, in both directions."""

    def __init__(self, dim: int, n_heads: int, dropout: float):
        super().__init__()
        self.n_heads = n_heads
        self.norm = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.out = nn.Linear(dim, dim)
        self.dropout = Dropout(dropout)  # on the sum, not on the weights, as in Gulati et al., fig. 3

    def forward(self, x: Tensor, valid: Tensor | None, turn: Tensor) -> Tensor:  # [batch, n_frames, dim], of frames
        batch, n_frames, dim = x.shape
        qkv = self.qkv(self.norm(x)).view(batch, n_frames, 3, self.n_heads, dim // self.n_heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each [batch, n_heads, n_frames, dim / n_heads]
        mask = None if valid is None else valid[:, None, None, :]
        h = attend(rotate(q, turn), rotate(k, turn), v, mask)
        return self.dropout(self.out(h.transpose(1, 2).reshape(batch, n_frames, dim)))


class Convolution(nn.Module):
    """Gated pointwise, depthwise over time, swish, pointwise; padded frames enter the depthwise sum as zeros."""

    def __init__(self, dim: int, kernel: int, dropout: float):
        super().__init__()
        inner = 2 * dim
        self.norm = nn.LayerNorm(dim)
        self.expand = nn.Linear(dim, 2 * inner)
        self.depthwise = nn.Conv1d(inner, inner, kernel, padding=kernel // 2, groups=inner)
        self.norm_inner = nn.LayerNorm(inner)
        self.contract = nn.Linear(inner, dim)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, valid: Tensor | None) -> Tensor:
        h = F.glu(self.expand(self.norm(x)), dim=-1)
        if valid is not None:
            h = h * valid[..., None]
        h = self._over_time(h)
        return self.dropout(self.contract(F.silu(self.norm_inner(h))))

    def _over_time(self, h: Tensor) -> Tensor:  # [batch, n_frames, inner]
        if h.device.type != "cpu":
            return self.depthwise(h.transpose(1, 2)).transpose(1, 2)
        # As an image one pixel high whose channels come last, as they do in memory: a CPU has a faster kernel for that.
        weight, padding = self.depthwise.weight[:, :, None], (0, self.depthwise.padding[0])
        image = h.transpose(1, 2)[:, :, None]
        image = F.conv2d(image, weight, self.depthwise.bias, padding=padding, groups=self.depthwise.groups)
        return image[:, :, 0].transpose(1, 2)


class ConformerBlock(nn.Module):
    """Half feed-forward, attention, convolution, half feed-forward, layer norm (Gulati et al. 2020, eq. 1)."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.ff_in = FeedForward(config.dim, config.ff_mult, config.dropout)
        self.attention = Attention(config.dim, config.n_heads, config.dropout)
        self.convolution = Convolution(config.dim, config.conv_kernel, config.dropout)
        self.ff_out = FeedForward(config.dim, config.ff_mult, config.dropout)
        self.norm = nn.LayerNorm(config.dim)

    def forward(self, x: Tensor, valid: Tensor | None, turn: Tensor) -> Tensor:
        x = x + 0.5 * self.ff_in(x)
        x = x + self.attention(x, valid, turn)
        x = x + self.convolution(x, valid)
        return self.norm(x + 0.5 * self.ff_out(x))


class MaskedConformer(nn.Module):
    """Predicts the codes of one level from all visible codes.

    `mask_token` is `codebook_size`; `no_class` is `n_classes`, the class of an item whose class is not given. What is
    told a text takes zeros for none, of which the projection's bias makes a learned one.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.mask_token, self.no_class = config.codebook_size, config.n_classes
        self.embeddings = nn.ModuleList(
            nn.Embedding(config.codebook_size + 1, config.dim) for _ in range(config.n_levels)
        )
        self.class_embedding = nn.Embedding(config.n_classes + 1, config.dim) if config.n_classes else None
        self.text_projection = nn.Linear(config.text_dim, config.dim) if config.text_dim else None
        self.blocks = nn.ModuleList(ConformerBlock(config) for _ in range(config.n_layers))
        n_heads = 0 if config.tied else config.n_levels
        self.heads = nn.ModuleList(nn.Linear(config.dim, config.codebook_size) for _ in range(n_heads))
        self.biases = nn.Parameter(torch.zeros(config.n_levels, config.codebook_size)) if config.tied else None
        self.gain = config.dim**0.5 if config.tied else 1.0  # of the embeddings
        for embedding in self.embeddings:
            nn.init.normal_(embedding.weight, std=config.n_levels**-0.5 / self.gain)  # their sum has unit variance

    def n_parameters(self) -> int:
        """Return the number of trainable parameters."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)

    def forward(self, codes: Tensor, valid: Tensor | None = None, classes: Tensor | None = None) -> Tensor:
        """Return the states [batch, n_frames, dim] of codes int64 [batch, n_levels, n_frames] in 0..mask_token.

        valid: bool [batch, n_frames], False on padded frames, whose states mean nothing and touch no other frame.
        classes: int64 [batch] in 0..n_classes; None is `no_class` for every item. Of a model that is told texts, the
        mean of each text's tokens, float32 [batch, text_dim].
        """
        x = torch.stack([embed(level) for embed, level in zip(self.embeddings, codes.unbind(1), strict=True)]).sum(0)
        if self.config.tied:
            x = x * self.gain
        if self.class_embedding is not None:
            if classes is None:
                classes = codes.new_full((len(codes),), self.no_class)
            x = x + self.class_embedding(classes)[:, None]
        if self.text_projection is not None:
            told = x.new_zeros(len(codes), self.config.text_dim) if classes is None else classes
            x = x + self.text_projection(told)[:, None]
        for states in self.through_blocks(x, valid):
            x = states
        return x

    def through_blocks(self, x: Tensor, valid: Tensor | None = None) -> Iterator[Tensor]:
        """Yield the states after each block, [batch, n_frames, dim], of embeddings x of that shape; valid as above."""
        if valid is not None and bool(valid.all()):
            valid = None  # the unmasked attention kernel is faster
        turn = rotation(x.shape[1], x.shape[2] // self.config.n_heads, x.device)
        for block in self.blocks:
            x = block(x, valid, turn)
            yield x

    def logits(self, states: Tensor, level: int) -> Tensor:
        """Return the scores of every code of one level: states [..., dim] -> [..., codebook_size]."""
        return F.linear(states, *self.head(level))

    def head(self, level: int) -> tuple[Tensor, Tensor]:
        """Return weight [codebook_size, dim] and bias [codebook_size] of a level's head."""
        if self.biases is None:
            return self.heads[level].weight, self.heads[level].bias
        return self.embeddings[level].weight[:-1], self.biases[level]
