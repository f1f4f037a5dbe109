"""Where the code vectors of patch tokens come from: k-means on the patches that hold a sound."""

from collections.abc import Iterable

import numpy as np
import torch
from sklearn.cluster import MiniBatchKMeans
from torch import Tensor

from envsound.base.errors import InputError
from envsound.codec.patches import LOG_FLOOR, PatchConfig, PatchQuantizer, to_patches
from envsound.codec.quantizer import nearest

MAX_PATCHES = 200_000  # of one band; more do not make the code vectors better


def fit_patches(
    batches: Iterable[Tensor], config: PatchConfig | None = None, seed: int = 0, n_stages: int = 1
) -> PatchQuantizer:
    """Return a quantizer whose code vectors are the centres of patches, by mini-batch k-means (Sculley 2010).

    batches: clips float32 [batch, n_samples] each, recordings and altered copies. Code 0 of every band is
    silence, the patch at the floor; the others are centres of the patches above it, from quiet to loud. Those of a
    further stage are centres of what the stages before leave of the same patches, and its code 0 adds nothing, so that
    no patch is farther from its codes with a stage than without. Vectors have 16-bit values, as their file does, so
    that codes are the same before and after it.
    Raises InputError when a band has fewer such patches than codes.
    """
    quantizer = PatchQuantizer(config or PatchConfig(), n_stages)
    config = quantizer.config
    left = sounding_patches(quantizer, batches)
    for level in range(quantizer.n_levels):
        band, first = level % config.n_levels, level < config.n_levels
        centres = _centres(left[band], config, level, seed)
        nothing = torch.full((1, config.dim), LOG_FLOOR).half().float() if first else torch.zeros(1, config.dim)
        quantizer.vectors[level] = vectors = torch.cat([nothing, centres])
        left[band] = left[band] - vectors[nearest(left[band], vectors)]
    return quantizer


@torch.no_grad()
def sounding_patches(quantizer: PatchQuantizer, batches: Iterable[Tensor]) -> list[Tensor]:
    """Return the patches of clips that do not lie at the floor, for each band [n, dim]."""
    config, pieces = quantizer.config, []
    for clips in batches:
        pieces.append(to_patches(quantizer.columns(clips), config).transpose(0, 1).flatten(1, 2))
    patches = torch.cat(pieces, 1) if pieces else torch.zeros(config.n_levels, 0, config.dim)
    return [own[own.amax(1) > LOG_FLOOR + 1e-4] for own in patches]


def _centres(patches: Tensor, config: PatchConfig, level: int, seed: int) -> Tensor:
    """Return all code vectors of a level but code 0, float32 [codebook_size - 1, dim], from what it codes [n, dim]."""
    n_codes = config.codebook_size - 1
    if len(patches) < n_codes:
        raise InputError(f"band {level}: {len(patches)} patches that hold sound; expected {n_codes} or more")
    rng = np.random.default_rng([seed, level])
    chosen = patches.numpy()[rng.permutation(len(patches))[:MAX_PATCHES]]
    fit = MiniBatchKMeans(n_codes, batch_size=8192, n_init=1, max_iter=30, random_state=seed, reassignment_ratio=1e-3)
    centres = torch.from_numpy(fit.fit(chosen).cluster_centers_).half().float()
    return centres[centres.mean(1).argsort()]
