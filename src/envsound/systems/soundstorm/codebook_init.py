"""Code embeddings that start from the codec's own codebooks: near codes are near from the first step on."""

import math

import torch
from torch import Tensor

from envsound.base.errors import InputError
from envsound.codec.base import Codec
from envsound.codec.encodec_24khz import EnCodec24kHz
from envsound.codec.stored import StoredCodec
from envsound.systems.soundstorm.conformer import MaskedConformer


def codebooks_of(codec: Codec) -> Tensor:
    """Return a codec's code vectors, float32 [n_levels, codebook_size, latent_dim], on the CPU.

    Raises InputError for a codec whose codebooks this study does not know.
    """
    if isinstance(codec, StoredCodec):
        found = codec.model.quantizer.codebooks
    elif isinstance(codec, EnCodec24kHz):
        layers = codec.model.quantizer.vq.layers[: codec.n_levels]
        found = torch.stack([layer.codebook for layer in layers])
    else:
        raise InputError(f"codec {codec.name}: has no codebooks to start from; expected a stored codec or EnCodec")
    return found.detach().float().cpu()


@torch.no_grad()
def start_from_codebooks(model: MaskedConformer, codebooks: Tensor, generator: torch.Generator) -> None:
    """Set a model's embeddings to codebooks [n_levels, codebook_size, latent_dim], rotated into the model's width.

    The rotation is random and orthonormal, so that distances between codes are kept up to one factor for all levels,
    chosen so that the summed embeddings have unit variance, as random ones have. A level's mean over its codes is
    taken out. The mask token of each level gets a direction of its own, orthogonal to all codes, and the length that
    its level's codes have. Raises InputError when the shapes do not fit.
    """
    shape = model.config
    n_levels, codebook_size, latent_dim = codebooks.shape
    if (n_levels, codebook_size) != (shape.n_levels, shape.codebook_size):
        raise InputError(
            f"codebooks: {n_levels} levels of {codebook_size} codes; expected {shape.n_levels} of {shape.codebook_size}"
        )
    if latent_dim + n_levels > shape.dim:
        raise InputError(f"dim={shape.dim}: expected at least {latent_dim + n_levels} channels for these codebooks")
    drawn = torch.randn(shape.dim, latent_dim + n_levels, generator=generator, dtype=torch.float64)
    directions = torch.linalg.qr(drawn).Q.T  # orthonormal rows
    centred = codebooks.double() - codebooks.double().mean(1, keepdim=True)
    lengths = centred.square().sum(2).mean(1).sqrt()  # [n_levels], root mean square over codes
    factor = math.sqrt(shape.dim / float(lengths.square().sum().clamp(min=1e-12)))
    masks = lengths[:, None] * directions[latent_dim:]
    for embedding, vectors, mask in zip(model.embeddings, centred, masks, strict=True):
        rows = torch.cat([vectors @ directions[:latent_dim], mask[None]])
        embedding.weight.copy_(factor * rows)
