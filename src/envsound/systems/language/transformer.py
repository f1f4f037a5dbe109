"""The decoder-only transformer that writes codes: MusicGen's (Copet et al. 2023), whose shape AudioGen shares.

Embeddings of a step's codes are added up, sinusoidal positions are added, layers are pre-norm without biases (but for
the norms), and each level has a head of its own. Beside the source: classes by an embedding added at every step, with a
learned one for no class, as the masked model has it; heads that may be tied to the embeddings.
"""

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional as F

from envsound.base.errors import InputError
from envsound.base.tensors import read_tensors, write_tensors
from envsound.run.limits import check_together, check_values
from envsound.systems.language.patterns import Pattern
from envsound.systems.soundstorm.checkpoints import Checkpoint
from envsound.systems.soundstorm.conformer import Dropout, attend

LONGEST_WAVE = 10_000.0  # steps, over 2 pi, of the slowest sinusoid of positions
KIND = "language"


@dataclass(frozen=True)
class LanguageConfig:
    """The shape of a LanguageModel; the defaults are those of a study that trained MusicGen on descriptions of sounds.

    text_dim: of the vectors of a text encoder that the model is told; 0: it is told no text. n_classes = 0: it is told
    no class. tied: as for the masked model, the heads have no weights but those of the embeddings.
    """

    n_levels: int = 4
    codebook_size: int = 2048
    dim: int = 256
    n_layers: int = 16
    n_heads: int = 8
    ff_mult: int = 4
    dropout: float = 0.1
    n_classes: int = 0
    text_dim: int = 0
    tied: bool = False
    pattern: str = "delay"

    def __post_init__(self) -> None:
        check_values(vars(self))
        check_together(vars(self))
        Pattern(self.pattern, self.n_levels)


class Text(NamedTuple):
    """What clips are described by: vectors float32 [batch, n_tokens, text_dim], and which are there, bool [batch,
    n_tokens]; a clip without any is one that is not described."""

    vectors: Tensor
    mask: Tensor


def positions(start: int, n_steps: int, dim: int, device: torch.device) -> Tensor:
    """Return cosines, then sines of so many steps from `start` on, float32 [n_steps, dim] (Vaswani et al. 2017)."""
    rates = torch.exp(torch.arange(dim // 2, device=device) * -(math.log(LONGEST_WAVE) / max(dim // 2 - 1, 1)))
    angles = torch.arange(start, start + n_steps, device=device, dtype=torch.float32)[:, None] * rates
    return torch.cat([angles.cos(), angles.sin()], dim=1)


class Cache:
    """Keys and values of the steps that a model has seen, so that each step is computed once.

    n_steps: the most that will be seen, for which room is made at once.
    """

    def __init__(self, n_steps: int) -> None:
        self.n_steps, self.n_seen, self.kept = n_steps, 0, {}

    def add(self, layer: nn.Module, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Return keys and values of all steps so far [batch, n_heads, n, dim / n_heads], with new ones at the end."""
        if layer not in self.kept:
            shape = (*keys.shape[:2], self.n_steps, keys.shape[3])
            self.kept[layer] = keys.new_empty(shape), values.new_empty(shape)
        stop = self.n_seen + keys.shape[2]
        for room, new in zip(self.kept[layer], (keys, values), strict=True):
            room[:, :, self.n_seen : stop] = new
        kept = self.kept[layer]
        return kept[0][:, :, :stop], kept[1][:, :, :stop]

    def once(self, layer: nn.Module, source: Tensor) -> tuple[Tensor, Tensor]:
        """Return keys and values that an attention reads from what stays the same at every step."""
        if layer not in self.kept:
            self.kept[layer] = layer.read(source)
        return self.kept[layer]


class Attention(nn.Module):
    """Attention of states to what `read` has read, their own past or a text."""

    def __init__(self, dim: int, n_heads: int):
        super().__init__()
        self.n_heads = n_heads
        self.norm = nn.LayerNorm(dim)
        self.queries = nn.Linear(dim, dim, bias=False)
        self.keys_values = nn.Linear(dim, 2 * dim, bias=False)
        self.out = nn.Linear(dim, dim, bias=False)

    def read(self, source: Tensor) -> tuple[Tensor, Tensor]:
        """Return keys and values of a source [batch, n, dim]: each [batch, n_heads, n, dim / n_heads]."""
        return tuple(self._heads(part) for part in self.keys_values(source).chunk(2, dim=-1))

    def forward(self, h: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, causal: bool) -> Tensor:
        """Return what normed states h [batch, n, dim] find; mask: bool [batch, 1, 1, n_keys], causal: see only back."""
        found = attend(self._heads(self.queries(h)), keys, values, mask, causal)
        return self.out(found.transpose(1, 2).flatten(2))

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (self.n_heads, -1)).transpose(1, 2)


class Layer(nn.Module):
    """Attention to the steps before, to the text where there is one, and a feed-forward with GELU."""

    def __init__(self, config: LanguageConfig):
        super().__init__()
        dim, inner = config.dim, config.dim * config.ff_mult
        self.past = Attention(dim, config.n_heads)
        self.text = Attention(dim, config.n_heads) if config.text_dim else None
        self.norm = nn.LayerNorm(dim)
        self.expand = nn.Linear(dim, inner, bias=False)
        self.contract = nn.Linear(inner, dim, bias=False)
        self.dropout = Dropout(config.dropout)

    def forward(self, x: Tensor, text: Tensor | None, mask: Tensor | None, cache: Cache | None) -> Tensor:
        """Return states [batch, n_steps, dim]; text [batch, n_tokens, dim] with its mask [batch, 1, 1, n_tokens]."""
        h = self.past.norm(x)
        keys, values = self.past.read(h)
        if cache is not None:
            keys, values = cache.add(self.past, keys, values)
        x = x + self.dropout(self.past(h, keys, values, None, causal=x.shape[1] > 1))
        if self.text is not None:
            told = self.text.read(text) if cache is None else cache.once(self.text, text)
            x = x + self.dropout(self.text(self.text.norm(x), *told, mask, causal=False))
        return x + self.dropout(self.contract(self.dropout(F.gelu(self.expand(self.norm(x))))))


class LanguageModel(nn.Module):
    """Scores the codes of each step from those of all steps before.

    `mask_token`, which is `codebook_size`, stands where a step has no code, and before the first step; `no_class` is
    `n_classes`, the class of an item whose class is not given. What is not described has one vector of zeros for its
    text, of which the projection's bias makes a learned one.
    """

    def __init__(self, config: LanguageConfig):
        super().__init__()
        self.config, self.pattern = config, Pattern(config.pattern, config.n_levels)
        self.mask_token, self.no_class = config.codebook_size, config.n_classes
        size, dim = config.codebook_size, config.dim
        self.embeddings = nn.ModuleList(nn.Embedding(size + 1, dim) for _ in range(config.n_levels))
        self.class_embedding = nn.Embedding(config.n_classes + 1, dim) if config.n_classes else None
        self.text_projection = nn.Linear(config.text_dim, dim) if config.text_dim else None
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.n_layers))
        self.norm = nn.LayerNorm(dim)
        n_heads = 0 if config.tied else config.n_levels
        self.heads = nn.ModuleList(nn.Linear(dim, size, bias=False) for _ in range(n_heads))
        self.biases = nn.Parameter(torch.zeros(config.n_levels, size)) if config.tied else None
        self.gain = dim**0.5 if config.tied else 1.0  # of the embeddings
        self.dropout = Dropout(config.dropout)
        for embedding in self.embeddings:
            nn.init.normal_(embedding.weight, std=config.n_levels**-0.5 / self.gain)  # their sum has unit variance

    def n_parameters(self) -> int:
        """Return the number of trainable parameters."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)

    def forward(
        self, inputs: Tensor, classes: Tensor | None = None, text: Text | None = None, cache: Cache | None = None
    ) -> Tensor:
        """Return the states [batch, n_steps, dim] that tell the next step's codes.

        inputs: codes int64 [batch, n_levels, n_steps] in 0..mask_token, each step's from the step before, the first
        ones all mask_token; with a cache those that follow what it has seen: all at first, then one step at a time.
        classes: int64 [batch] in 0..n_classes; None is `no_class` for every item. text: None describes none.
        """
        start, n_steps = 0 if cache is None else cache.n_seen, inputs.shape[2]
        parts = [embed(level) for embed, level in zip(self.embeddings, inputs.unbind(1), strict=True)]
        x = torch.stack(parts).sum(0) * self.gain + positions(start, n_steps, self.config.dim, inputs.device)
        if self.class_embedding is not None:
            if classes is None:
                classes = inputs.new_full((len(inputs),), self.no_class)
            x = x + self.class_embedding(classes)[:, None]
        x, told, mask = self.dropout(x), None, None
        if self.text_projection is not None:
            told, mask = self._told(text, inputs)
        for layer in self.layers:
            x = layer(x, told, mask, cache)
        if cache is not None:
            cache.n_seen += n_steps
        return self.norm(x)

    def _told(self, text: Text | None, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return what layers attend to, [batch, n_tokens, dim], and which of it, bool [batch, 1, 1, n_tokens]."""
        if text is None:
            nothing = torch.zeros(len(inputs), 1, self.config.text_dim, device=inputs.device)
            text = Text(nothing, nothing[..., 0].bool())
        first = torch.arange(text.mask.shape[1], device=inputs.device) == 0
        there = text.mask | (first & ~text.mask.any(1, keepdim=True))
        return self.text_projection(text.vectors * text.mask[..., None]), there[:, None, None]

    def logits(self, states: Tensor, level: int) -> Tensor:
        """Return the scores of every code of one level: states [..., dim] -> [..., codebook_size]."""
        if self.biases is None:
            return self.heads[level](states)
        return F.linear(states, self.embeddings[level].weight[:-1], self.biases[level])


def save_language(path: str | Path, checkpoint: Checkpoint) -> None:
    """Write a model with its classes and facts as safetensors, atomically."""
    header = {"config": asdict(checkpoint.model.config), "categories": checkpoint.categories}
    write_tensors(path, checkpoint.model.state_dict(), KIND, header | {"facts": checkpoint.facts})


def load_language(path: str | Path, device: torch.device, codec_hash: str | None = None) -> Checkpoint:
    """Return what `save_language` wrote, ready to write codes, in 32 bit.

    Raises InputError naming the file when it is missing, damaged, no such model, or has learnt the codes of another
    codec than `codec_hash`.
    """
    try:
        weights, header = read_tensors(path, KIND, str(device))
        model = LanguageModel(LanguageConfig(**header["config"]))
        model.load_state_dict(weights)
        categories, facts = header["categories"], header["facts"]
    except (OSError, SafetensorError) as error:
        raise InputError(f"checkpoint {path}: cannot be read ({error}); expected a safetensors file") from None
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"checkpoint {path}: not a language model of this study ({error})") from None
    if codec_hash is not None and facts.get("codec_hash") != codec_hash:
        found = facts.get("codec_hash")
        raise InputError(f"checkpoint {path}: trained on codes of codec {found}, but the codec is {codec_hash}")
    return Checkpoint(model.to(device).eval(), categories, facts)
