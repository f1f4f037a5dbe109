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
from envsound.codec.patches import PatchCodec, PatchConfig
from envsound.codec.systems import through_codec
from envsound.codec.training.bank import clips_and_copies
from envsound.codec.training.code_vectors import fit_patches
from envsound.codec.training.vqvae import VqVaeTraining, fit_vqvae

DB = 10 / np.log(10)  # of a neper of power


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
    fits = {
        "k-means": lambda: fit_patches(batches, config, plan.seed),
        "k-means, two stages": lambda: fit_patches(batches, config, plan.seed, n_stages=2),
        "VQ-VAE": lambda: fit_vqvae(batches, config, training=plan),
    }
    heard, costs = [], []
    for name, fit in fits.items():
        started = time.perf_counter()
        codec = PatchCodec(fit(), NoiseDecoder(config), name, content_hash="")
        seconds = time.perf_counter() - started
        heard.append({**reconstruction(codec, watched), "seconds": seconds})
        costs.append(code_costs(codec, batches, watched))
    return pd.DataFrame(heard), pd.concat(costs, ignore_index=True)


@torch.no_grad()
def reconstruction(codec: PatchCodec, clips: Sequence[np.ndarray]) -> dict[str, float | str]:
    """Return how clips, float32 [n_samples] each, come back from their codes, means over clips.

    codec, n_levels, bits_per_second, n_clips; log_mel_db and sounding_log_mel_db, the mean absolute difference of the
    coded log-mel itself (dB) over all frames and over sounding ones (see `distances.sounding_columns`); heard_db, the
    log-mel distance (dB, see `distances.log_mel`) of what its decoder gives.
    """
    found = []
    for clip in tqdm(clips, desc=codec.name, unit="clip", leave=False):
        sound = torch.from_numpy(clip)[None]
        log_mel = codec.quantizer.columns(sound)
        off = DB * (codec.quantizer.decode(codec.quantizer.encode(log_mel)) - log_mel).abs().mean(2)
        sounding = distances.sounding_columns(sound, off.shape[1])
        heard = distances.log_mel(clip, through_codec(clip, codec), codec.sample_rate)
        found.append([float(off.mean()), float(off[sounding].mean()), heard])
    facts = {"codec": codec.name, "n_levels": codec.n_levels, "bits_per_second": bitrate(codec), "n_clips": len(clips)}
    return facts | dict(zip(("log_mel_db", "sounding_log_mel_db", "heard_db"), np.nanmean(found, axis=0), strict=True))


@torch.no_grad()
def code_costs(codec: PatchCodec, train: Iterable[Tensor], watched: Sequence[np.ndarray]) -> pd.DataFrame:
    """Return what the codes of watched clips cost by counts of training clips: see `counting.predictability`.

    train: clips [batch, n_samples] each. One row for each level, once over all columns and once over sounding ones
    ("columns", see `distances.sounding_columns`), with codes_used and perplexity beside it.
    """
    counted = [codes for clips in train for codes in codec.encode(clips).numpy()]
    sounds = [torch.from_numpy(clip)[None] for clip in watched]
    codes = [codec.encode(sound)[0].numpy() for sound in sounds]
    pairs = zip(sounds, codes, strict=True)
    sounding = [distances.sounding_columns(sound, own.shape[1])[0].numpy() for sound, own in pairs]
    tables = []
    for name, chosen in {"all": [np.ones_like(own) for own in sounding], "sounding": sounding}.items():
        table = predictability(counted, codes, chosen, codec.codebook_size, codec.config.n_levels)
        picked = np.concatenate([own[:, which] for own, which in zip(codes, chosen, strict=True)], axis=1)
        usage = code_usage(count_codes(picked, codec.codebook_size))
        table = table.merge(usage[["level", "codes_used", "perplexity"]], on="level")
        tables.append(table.assign(codec=codec.name, columns=name))
    table = pd.concat(tables, ignore_index=True)
    return table[["codec", "columns", *[name for name in table if name not in ("codec", "columns")]]]
