"""Patch tokens by a small convolutional network: a VQ-VAE for each band, beside the nearest code vectors of `patches`.

As in a VQ-VAE (van den Oord et al. 2017) an encoder's latents are replaced by the nearest of a codebook, and a decoder
turns those back into patches. Both see the columns on either side, so that a code need not say what its neighbours do.
Codes are of unit length and few dimensions, which keeps them in use (Yu et al. 2022, sec. 3.2).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from envsound.codec.decoder import CENTRE, SPREAD
from envsound.codec.patches import LOG_FLOOR, PatchCoder, PatchConfig, from_patches, to_patches
from envsound.codec.quantizer import ResidualQuantizer


@dataclass(frozen=True)
class VqVaeConfig:
    """The shape of a PatchVqVae."""

    width: int = 128  # channels of a band
    code_dim: int = 8


class PatchVqVae(PatchCoder):
    """Codes are those nearest to what a network makes of a band's patches, five columns at a time.

    Inside, patches and latents are [batch, n_bands * dim, n_columns]: the bands are groups of the convolutions, and do
    not see each other.
    """

    def __init__(self, config: PatchConfig, shape: VqVaeConfig | None = None):
        super().__init__(config)
        shape = shape or VqVaeConfig()
        self.n_levels = config.n_levels
        self.encoder = _network(config.dim, shape.width, shape.code_dim, config.n_levels)
        self.decoder = _network(shape.code_dim, shape.width, config.dim, config.n_levels)
        own = {"n_levels": 1, "codebook_size": config.codebook_size, "dim": shape.code_dim, "unit_length": True}
        self.quantizers = nn.ModuleList(ResidualQuantizer(**own) for _ in range(config.n_levels))

    def encode(self, log_mel: Tensor) -> Tensor:
        """Code log-mel as every `PatchCoder` does."""
        latents = self.latents(self.patches(log_mel))
        return torch.cat([own.encode(x) for own, x in zip(self.quantizers, latents, strict=True)], 1)

    def decode(self, codes: Tensor) -> Tensor:
        """Decode codes as every `PatchCoder` does."""
        vectors = [own.decode(x[:, None]) for own, x in zip(self.quantizers, codes.unbind(1), strict=False)]
        missing = [torch.zeros_like(vectors[0])] * (self.n_levels - len(vectors))
        patches = self.decoder(torch.cat(vectors + missing, 1)) * SPREAD + CENTRE
        patches = patches.clamp(min=LOG_FLOOR).unflatten(1, (self.n_levels, -1)).transpose(2, 3).clone()
        patches[:, len(vectors) :] = LOG_FLOOR
        return from_patches(patches, self.config)

    def patches(self, log_mel: Tensor) -> Tensor:
        """Map log-mel [batch, n_frames, n_mels] to patches about 0 with a spread of 1, as the networks see them."""
        patches = to_patches((log_mel.float() - CENTRE) / SPREAD, self.config)
        return patches.transpose(2, 3).flatten(1, 2)

    def latents(self, patches: Tensor) -> list[Tensor]:
        """Map patches to the latents of each band, of unit length: [batch, code_dim, n_columns] each."""
        return [F.normalize(own, dim=1) for own in self.encoder(patches).chunk(self.n_levels, dim=1)]


def _network(in_dim: int, width: int, out_dim: int, n_bands: int) -> nn.Sequential:
    """Return three convolutions over columns for each band: [.., n_bands * in_dim, n] -> [.., n_bands * out_dim, n]."""
    sizes = ((in_dim, width, 3), (width, width, 3), (width, out_dim, 1))
    layers = []
    for before, after, kernel in sizes:
        both = (n_bands * before, n_bands * after)
        layers += [nn.Conv1d(*both, kernel, padding=kernel // 2, groups=n_bands), nn.GELU()]
    return nn.Sequential(*layers[:-1])
