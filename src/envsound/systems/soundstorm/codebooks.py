"""What a codec's code vectors tell a model: where its weights start, which codes are near ones, which are loud."""

import hashlib
import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from envsound.base.errors import InputError
from envsound.codec.base import Codec
from envsound.codec.patches import column_loudness
from envsound.systems.soundstorm.conformer import MaskedConformer

N_NEAR = 8  # codes that count as near ones of a code


@dataclass(frozen=True)
class Codebooks:
    """Code vectors, float32 [n_levels, codebook_size, latent_dim], on the CPU.

    n_bands: how many of the levels are patches of log-mel (nepers of power), each of a frequency band of its own; any
    further ones hold what these leave. 0: all levels are residuals of one space.
    """

    vectors: Tensor
    n_bands: int = 0

    @property
    def apart(self) -> bool:
        """Whether each level's vectors lie in a space of their own, as those of bands do."""
        return self.n_bands > 0

    def digest(self) -> str:
        """Return a hash of the vectors, 64 hexadecimal digits."""
        shape = f"{self.apart} {tuple(self.vectors.shape)} "
        return hashlib.sha256(shape.encode() + self.vectors.numpy().tobytes()).hexdigest()

    @cached_property
    def near(self) -> Tensor:
        """The N_NEAR codes whose vectors are nearest to each code's: int64 [n_levels, codebook_size, N_NEAR]."""
        n_near = min(N_NEAR, self.vectors.shape[1] - 1)
        distances = torch.cdist(self.vectors.double(), self.vectors.double())
        distances.diagonal(dim1=1, dim2=2).fill_(torch.inf)
        return distances.topk(n_near, largest=False).indices

    def loudness(self, codes: Tensor) -> Tensor | None:
        """Return how loud each column of codes is (see `codec.patches.column_loudness`); None for residuals."""
        return column_loudness(codes, self.vectors, self.n_bands) if self.apart else None


def codebooks_of(codec: Codec) -> Codebooks:
    """Return a codec's code vectors. Raises InputError for a codec whose codebooks this study does not know."""
    from envsound.codec.encodec_24khz import EnCodec24kHz  # here, so that training alone needs no codec
    from envsound.codec.stored import StoredCodec

    patches = getattr(getattr(codec, "quantizer", None), "vectors", None)
    if patches is not None:
        return Codebooks(patches.detach().float().cpu(), codec.config.n_levels)
    if isinstance(codec, StoredCodec):
        found = codec.model.quantizer.codebooks
    elif isinstance(codec, EnCodec24kHz):
        layers = codec.model.quantizer.vq.layers[: codec.n_levels]
        found = torch.stack([layer.codebook for layer in layers])
    else:
        raise InputError(f"codec {codec.name}: has no codebooks to start from; expected a stored codec or EnCodec")
    return Codebooks(found.detach().float().cpu())


@torch.no_grad()
def start_from_codebooks(model: MaskedConformer, codebooks: Codebooks, generator: torch.Generator) -> None:
    """Set a model's embeddings to code vectors, rotated into the model's width.

    The rotation is random and orthonormal, one for all levels or, where their vectors lie apart, one for each, so that
    distances between codes are kept up to one factor for all levels, chosen so that the summed embeddings have unit
    variance, as random ones have. A level's mean over its codes is taken out. The mask token of each level gets a
    direction of its own, orthogonal to its codes, and the length that its level's codes have. Raises InputError when
    the shapes do not fit.
    """
    shape, apart = model.config, codebooks.apart
    n_levels, codebook_size, latent_dim = codebooks.vectors.shape
    if (n_levels, codebook_size) != (shape.n_levels, shape.codebook_size):
        raise InputError(
            f"codebooks: {n_levels} levels of {codebook_size} codes; expected {shape.n_levels} of {shape.codebook_size}"
        )
    n_masks = 1 if apart else n_levels
    if latent_dim + n_masks > shape.dim:
        raise InputError(f"dim={shape.dim}: expected at least {latent_dim + n_masks} channels for these codebooks")
    centred = codebooks.vectors.double() - codebooks.vectors.double().mean(1, keepdim=True)
    lengths = centred.square().sum(2).mean(1).sqrt()  # [n_levels], root mean square over codes
    factor = math.sqrt(shape.dim / float(lengths.square().sum().clamp(min=1e-12))) / model.gain
    for level, (embedding, vectors) in enumerate(zip(model.embeddings, centred, strict=True)):
        if apart or level == 0:
            drawn = torch.randn(shape.dim, latent_dim + n_masks, generator=generator, dtype=torch.float64)
            directions = torch.linalg.qr(drawn).Q.T  # orthonormal rows
        mask = lengths[level] * directions[latent_dim + (0 if apart else level)]
        embedding.weight.copy_(factor * torch.cat([vectors @ directions[:latent_dim], mask[None]]))


@torch.no_grad()
def start_heads(model: MaskedConformer) -> None:
    """Set the heads of a model to its embeddings, scaled as tied ones are: scores then begin as likenesses."""
    for head, embedding in zip(model.heads, model.embeddings, strict=False):  # tied ones have no head of their own
        head.weight.copy_(embedding.weight[:-1] * model.config.dim**-0.5)
        head.bias.zero_()
