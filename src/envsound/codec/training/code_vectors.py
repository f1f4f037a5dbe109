"""Where the code vectors of patch tokens come from: k-means on the patches that hold a sound."""

from collections.abc import Iterable

import numpy as np
import torch
from sklearn.cluster import MiniBatchKMeans
from torch import Tensor

from envsound.base.errors import InputError
from envsound.codec.patches import LOG_FLOOR, PatchConfig, PatchQuantizer, to_patches

MAX_PATCHES = 200_000  # of one band; more do not make the code vectors better


def fit_patches(batches: Iterable[Tensor], config: PatchConfig | None = None, seed: int = 0) -> PatchQuantizer:
    """Return a quantizer whose code vectors are the centres of patches, by mini-batch k-means (Sculley 2010).

    batches: clips float32 [batch, n_samples] each, recordings and altered copies. Code 0 of every band is
    silence, the patch at the floor; the others are centres of the patches above it, from quiet to loud. Vectors have
    16-bit values, as their file does, so that codes are the same before and after it.
    Raises InputError when a band has fewer such patches than codes.
    """
    quantizer = PatchQuantizer(config or PatchConfig())
    patches = sounding_patches(quantizer, batches)
    for level, own in enumerate(patches):
        quantizer.vectors[level] = _centres(own, quantizer.config, level, seed)
    return quantizer


@torch.no_grad()
def sounding_patches(quantizer: PatchQuantizer, batches: Iterable[Tensor]) -> list[Tensor]:
    """Return the patches of clips that do not lie at the floor, for each level [n, dim]."""
    config, pieces = quantizer.config, []
    for clips in batches:
        pieces.append(to_patches(quantizer.columns(clips), config).transpose(0, 1).flatten(1, 2))
    patches = torch.cat(pieces, 1) if pieces else torch.zeros(config.n_levels, 0, config.dim)
    return [own[own.amax(1) > LOG_FLOOR + 1e-4] for own in patches]


def _centres(patches: Tensor, config: PatchConfig, level: int, seed: int) -> Tensor:
    """Return the code vectors of one band, float32 [codebook_size, dim], from its patches [n, dim]."""
    n_codes = config.codebook_size - 1
    if len(patches) < n_codes:
        raise InputError(f"band {level}: {len(patches)} patches that hold sound; expected {n_codes} or more")
    rng = np.random.default_rng([seed, level])
    chosen = patches.numpy()[rng.permutation(len(patches))[:MAX_PATCHES]]
    fit = MiniBatchKMeans(n_codes, batch_size=8192, n_init=1, max_iter=30, random_state=seed, reassignment_ratio=1e-3)
    centres = torch.from_numpy(fit.fit(chosen).cluster_centers_).half().float()
    silence = torch.full((1, config.dim), LOG_FLOOR)
    return torch.cat([silence.half().float(), centres[centres.mean(1).argsort()]])
