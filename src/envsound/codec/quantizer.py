"""Residual vector quantization with codebooks that are moving averages (SoundStream, Zeghidour et al. 2021).

The encodec 0.1.1 package has the same quantizer with two defects, which this one does not share: a replaced dead
code was overwritten from statistics that were not reset, and the commitment loss had no gradient below level 0.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def as_vectors(latents: Tensor) -> Tensor:
    """Return latents [batch, dim, n_frames] as float32 vectors [batch * n_frames, dim]."""
    return latents.float().transpose(1, 2).flatten(0, 1)


def nearest(vectors: Tensor, codebook: Tensor) -> Tensor:
    """Return the index of the nearest code for each vector: [n, dim], [codebook_size, dim] -> int64 [n]."""
    distance = codebook.square().sum(1) - 2 * vectors @ codebook.T  # + |vectors|^2, the same for every code
    return distance.argmin(1)


def kmeans(vectors: Tensor, n_codes: int, n_iterations: int = 10) -> tuple[Tensor, Tensor]:
    """Lloyd's k-means: [n, dim] -> centres [n_codes, dim] and counts [n_codes]. An empty cluster is redrawn."""
    centres = vectors[torch.randperm(len(vectors))[:n_codes]]
    if len(centres) < n_codes:
        centres = vectors[torch.randint(len(vectors), (n_codes,))]
    counts = torch.zeros(n_codes)
    for _ in range(n_iterations):
        codes = nearest(vectors, centres)
        counts = torch.bincount(codes, minlength=n_codes).to(vectors)
        sums = torch.zeros_like(centres).index_add_(0, codes, vectors)
        redrawn = vectors[torch.randint(len(vectors), (n_codes,))]
        centres = torch.where(counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], redrawn)
    return centres, counts


class ResidualQuantizer(nn.Module):
    """`n_levels` codebooks in a row, each coding what the ones before it left over.

    Buffers (float32 whatever the rest of the model uses): `codebooks` [n_levels, codebook_size, dim], and the
    moving averages behind them, `counts` [n_levels, codebook_size] and `sums` like the codebooks. A code whose
    average count falls below `dead_share` of the mean is replaced by a vector of the current batch. With `unit_length`
    codes stay on the unit sphere, for latents that lie on it (Yu et al. 2022, "Vector-quantized image modeling with
    improved VQGAN", sec. 3.2).
    """

    def __init__(
        self,
        n_levels: int = 8,
        codebook_size: int = 1024,
        dim: int = 64,
        decay: float = 0.99,
        dead_share: float = 0.05,
        unit_length: bool = False,
    ):
        super().__init__()
        self.unit_length = unit_length
        self.n_levels, self.codebook_size = n_levels, codebook_size
        self.decay, self.dead_share = decay, dead_share
        self.register_buffer("codebooks", torch.randn(n_levels, codebook_size, dim))
        self.register_buffer("counts", torch.ones(n_levels, codebook_size), persistent=False)
        self.register_buffer("sums", self.codebooks.clone(), persistent=False)

    def encode(self, latents: Tensor) -> Tensor:
        """Quantize latents [batch, dim, n_frames] to codes int64 [batch, n_levels, n_frames]."""
        residual, codes = as_vectors(latents), []
        for codebook in self.codebooks:
            codes.append(nearest(residual, codebook))
            residual = residual - codebook[codes[-1]]
        return torch.stack(codes, 1).unflatten(0, (len(latents), -1)).transpose(1, 2)

    def decode(self, codes: Tensor) -> Tensor:
        """Sum the code vectors of codes [batch, 1..n_levels, n_frames]: float32 [batch, dim, n_frames]."""
        vectors = [codebook[level] for codebook, level in zip(self.codebooks, codes.unbind(1), strict=False)]
        return torch.stack(vectors).sum(0).transpose(1, 2)

    @torch.no_grad()
    def initialise(self, latents: Tensor, max_vectors: int = 16_384) -> None:
        """Place every codebook by k-means on the residuals of latents [n, dim], at most `max_vectors` of them."""
        residual = latents.float()[torch.randperm(len(latents))[:max_vectors]]
        mean_count = len(residual) / self.codebook_size
        for level in range(self.n_levels):
            centres, counts = kmeans(residual, self.codebook_size)
            self.codebooks[level] = F.normalize(centres, dim=1) if self.unit_length else centres
            self.counts[level] = counts.clamp(min=self.dead_share * mean_count) / mean_count
            self.sums[level] = centres * self.counts[level][:, None]
            residual = residual - self.codebooks[level][nearest(residual, self.codebooks[level])]

    def forward(self, latents: Tensor, n_levels: Tensor) -> tuple[Tensor, Tensor]:
        """Quantize in training: straight-through gradient, commitment loss, and an update of the codebooks.

        latents [batch, dim, n_frames]; n_levels int64 [batch], how many levels each item uses (quantizer dropout,
        SoundStream sec. III-C). Returns quantized latents (same shape) and the scalar commitment loss, the mean over
        levels of |residual - sg(code)|^2. The residual itself is not detached, so every level's loss reaches the
        encoder.
        """
        flat = as_vectors(latents)
        used = n_levels.repeat_interleave(latents.shape[2]).to(flat.device)
        residual, quantized, losses = flat, torch.zeros_like(flat), []
        for level in range(self.n_levels):
            active = used > level
            codes = nearest(residual.detach(), self.codebooks[level])
            vectors = self.codebooks[level][codes]  # a copy: the update below does not touch it
            off = (residual - vectors).square().mean(1)
            losses.append((off * active).sum() / active.sum().clamp(min=1))
            if self.training:
                self._update(level, residual.detach(), codes, active)
            quantized = quantized + vectors * active[:, None]
            residual = residual - vectors
        quantized = flat + (quantized - flat).detach()
        return quantized.unflatten(0, (len(latents), -1)).transpose(1, 2), torch.stack(losses).mean()

    @torch.no_grad()
    def _update(self, level: int, vectors: Tensor, codes: Tensor, active: Tensor) -> None:
        """Move a codebook towards the `active` vectors it coded, and replace the codes that nothing uses.

        Without vectors it stays as it is. No value is looked at, so that a GPU is not waited for.
        """
        n_active, used = active.sum(), active.to(vectors.dtype)
        weight = self.codebook_size / n_active.clamp(min=1)  # counts are relative: 1 is an evenly used code
        counts = torch.zeros_like(self.counts[level]).index_add_(0, codes, used) * weight
        sums = torch.zeros_like(self.sums[level]).index_add_(0, codes, vectors * used[:, None]) * weight
        rate = (1 - self.decay) * (n_active > 0)
        self.counts[level].lerp_(counts, rate)
        self.sums[level].lerp_(sums, rate)
        dead = (self.counts[level] < self.dead_share) & (n_active > 0)
        active_first = active.logical_not().byte().argsort(stable=True)
        places = torch.rand(self.codebook_size, device=vectors.device) * n_active
        drawn = vectors[active_first[places.long()]]
        # Both averages are reset, or the next step would undo it.
        self.sums[level] = torch.where(dead[:, None], drawn, self.sums[level])
        self.counts[level].masked_fill_(dead, 1.0)
        means = self.sums[level] / self.counts[level][:, None]
        means = F.normalize(means, dim=1) if self.unit_length else means
        self.codebooks[level] = torch.where(n_active > 0, means, self.codebooks[level])


def level_gains(latents: Tensor, quantizer: ResidualQuantizer) -> Tensor:
    """Return how many dB each level takes off the residual's energy: latents [batch, dim, n_frames] -> [n_levels].

    A level whose gain is near 0 dB carries nothing, however many of its codes are in use.
    """
    residual = as_vectors(latents)
    energies = [residual.square().mean()]
    for codebook in quantizer.codebooks:
        residual = residual - codebook[nearest(residual, codebook)]
        energies.append(residual.square().mean())
    return 10 * torch.log10(torch.stack(energies[:-1]) / torch.stack(energies[1:]).clamp(min=1e-12))


def effective_rank(latents: Tensor) -> float:
    """Return exp(entropy of the normalised covariance eigenvalues) of latents [batch, dim, n_frames], from 1 to dim."""
    values = torch.linalg.eigvalsh(torch.cov(as_vectors(latents).T)).clamp(min=0)
    share = values / values.sum().clamp(min=1e-12)
    return float(torch.exp(-(share * torch.log(share.clamp(min=1e-12))).sum()))
