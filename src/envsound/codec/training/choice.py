"""Which codes patch tokens take: ways to make them side by side, on clips that none of them has learnt from."""

import time
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm.auto import tqdm

from envsound.codec import distances
from envsound.codec.codes import bitrate, code_usage, count_codes
from envsound.codec.counting import predictability
from envsound.codec.decoder import NoiseDecoder
from envsound.codec.patches import PatchCodec, PatchConfig, PatchQuantizer
from envsound.codec.systems import through_codec
from envsound.codec.training.bank import clips_and_copies
from envsound.codec.training.code_vectors import fit_patches
from envsound.codec.training.vqvae import VqVaeTraining, fit_vqvae

DB = 10 / np.log(10)  # of a neper of power
SOUNDING_DB = 40.0  # below the loudest frame of its clip, nothing counts as sounding
KMEANS, RESIDUAL, VQVAE = "k-means", "k-means, two stages", "VQ-VAE"


def compare_codes(
    clips: Sequence[np.ndarray],
    watched: Sequence[np.ndarray],
    n_copies: int = 5,
    training: VqVaeTraining | None = None,
    config: PatchConfig | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Fit code vectors of one and of two stages and a VQ-VAE to clips, and measure all three on watched ones.

    Clips are float32 [n_samples] each; `n_copies` altered copies of each are learnt from too. training: of the VQ-VAE;
    its seed is that of copies and k-means as well. Returns the tables of `reconstruction` and of `code_costs`, with a
    row, or a row for each level, for each codec; seconds in the first are what fitting took.
    """
    config, plan = config or PatchConfig(), training or VqVaeTraining()
    batches = list(clips_and_copies(clips, config.sample_rate, n_copies, plan.seed))
    started = time.perf_counter()
    two_stages = fit_patches(batches, config, plan.seed, n_stages=2)
    between = time.perf_counter()
    one_stage = PatchQuantizer(config)
    one_stage.vectors.copy_(two_stages.vectors[: config.n_levels])
    vqvae = fit_vqvae(batches, config, training=plan)
    kmeans_seconds, vqvae_seconds = between - started, time.perf_counter() - between
    codecs = [
        PatchCodec(coder, NoiseDecoder(config), name, "")
        for name, coder in ((KMEANS, one_stage), (RESIDUAL, two_stages), (VQVAE, vqvae))
    ]
    heard = [reconstruction(codec, watched) for codec in codecs]
    costs = [code_costs(codec, batches, watched) for codec in codecs]
    fitted = pd.DataFrame(heard).assign(seconds=[kmeans_seconds / 2, kmeans_seconds, vqvae_seconds])
    return fitted, pd.concat(costs, ignore_index=True)


@torch.no_grad()
def reconstruction(codec: PatchCodec, clips: Sequence[np.ndarray]) -> dict[str, float | str]:
    """Return how clips, float32 [n_samples] each, come back from their codes, means over clips.

    codec, n_levels, bits_per_second, n_clips; log_mel_db and sounding_log_mel_db, the mean absolute difference of the
    coded log-mel itself (dB) over all frames and over those within SOUNDING_DB of the clip's loudest; heard_db, the
    log-mel distance (dB, see `distances.log_mel`) of what its decoder gives.
    """
    found = []
    for clip in tqdm(clips, desc=codec.name, unit="clip", leave=False):
        log_mel = codec.quantizer.columns(torch.from_numpy(clip)[None])
        off = DB * (codec.quantizer.decode(codec.quantizer.encode(log_mel)) - log_mel).abs().mean(2)
        heard = distances.log_mel(clip, through_codec(clip, codec), codec.sample_rate)
        found.append([float(off.mean()), float(off[_sounding(log_mel)].mean()), heard])
    facts = {"codec": codec.name, "n_levels": codec.n_levels, "bits_per_second": bitrate(codec), "n_clips": len(clips)}
    return facts | dict(zip(("log_mel_db", "sounding_log_mel_db", "heard_db"), np.mean(found, axis=0), strict=True))


@torch.no_grad()
def code_costs(codec: PatchCodec, train: Iterable[Tensor], watched: Sequence[np.ndarray]) -> pd.DataFrame:
    """Return what the codes of watched clips cost by counts of training clips: see `counting.predictability`.

    train: clips [batch, n_samples] each. One row for each level, once over all columns and once over those that hold a
    frame within SOUNDING_DB of the clip's loudest ("columns"), with codes_used and perplexity beside it.
    """
    coder, config = codec.quantizer, codec.config
    counted = [codes for clips in train for codes in coder.encode(coder.columns(clips)).numpy()]
    codes, sounding = [], []
    for clip in watched:
        log_mel = coder.columns(torch.from_numpy(clip)[None])
        codes.append(coder.encode(log_mel)[0].numpy())
        sounding.append(_sounding(log_mel)[0].unflatten(0, (-1, config.patch_frames)).any(1).numpy())
    tables = []
    for name, chosen in {"all": [np.ones_like(own) for own in sounding], "sounding": sounding}.items():
        table = predictability(counted, codes, chosen, codec.codebook_size, config.n_levels)
        picked = np.concatenate([own[:, which] for own, which in zip(codes, chosen, strict=True)], axis=1)
        usage = code_usage(count_codes(picked, codec.codebook_size))
        table = table.merge(usage[["level", "codes_used", "perplexity"]], on="level")
        tables.append(table.assign(codec=codec.name, columns=name))
    table = pd.concat(tables, ignore_index=True)
    return table[["codec", "columns", *[name for name in table if name not in ("codec", "columns")]]]


def _sounding(log_mel: Tensor) -> Tensor:
    """Say which frames of log-mel [batch, n_frames, n_mels] sound: bool [batch, n_frames]."""
    level = log_mel.logsumexp(2)
    return level >= level.amax(1, keepdim=True) - SOUNDING_DB / DB
