"""What codes are like for a model that is to write them: do they stay when the sound stays, and how many are in use."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm.auto import tqdm

from envsound.codec.base import Codec
from envsound.codec.codes import code_usage, count_codes
from envsound.codec.distances import sounding_columns
from envsound.codec.systems import Clips, equal_batches

LATER = {"one sample later": 1 / 24_000, "1.25 ms later": 0.00125}  # s
QUIETER, AGAIN = "1 dB quieter", "decoded and coded again"
CHANGES = (*LATER, QUIETER, AGAIN)
STABILITY_COLUMNS = ["codec", "level", "change", "n_codes", "kept", "perplexity"]


def changed(codec: Codec, clips: Tensor, codes: Tensor, change: str) -> Tensor:
    """Return clips [batch, n_samples] after a change, one of CHANGES; later clips begin with silence."""
    if change in LATER:
        n_later = max(1, round(LATER[change] * codec.sample_rate))
        return torch.nn.functional.pad(clips, (n_later, 0))[:, : clips.shape[1]]
    return clips * 10 ** (-1 / 20) if change == QUIETER else codec.decode(codes)[:, : clips.shape[1]].cpu()


def stability(codecs: Mapping[str, Codec], clips: Clips) -> pd.DataFrame:
    """Return stability.csv: the share of sounding columns' codes that a change of the sound leaves as they were.

    A row for each codec, level and change of CHANGES: STABILITY_COLUMNS. perplexity is that of the same columns' codes:
    a codec that always says the same is stable, too. clips: float32 [n_samples] each.
    """
    rows = []
    for name, codec in codecs.items():
        kept = np.zeros((len(CHANGES), codec.n_levels))
        counts = np.zeros((codec.n_levels, codec.codebook_size), dtype=np.int64)
        for _, batch in tqdm(equal_batches(clips), desc=f"stability of {name}", unit="batch"):
            sound = torch.from_numpy(batch)
            codes = codec.encode(sound)
            chosen = sounding_columns(sound, codes.shape[2])
            counts += count_codes(codes.cpu().transpose(0, 1)[:, chosen].numpy(), codec.codebook_size)
            for place, change in enumerate(CHANGES):
                same = codec.encode(changed(codec, sound, codes, change)) == codes
                kept[place] += same.cpu().transpose(0, 1)[:, chosen].sum(1).numpy()
        n_codes, use = counts.sum(1), code_usage(counts)
        for place, change in enumerate(CHANGES):
            about = {"codec": name, "change": change, "n_codes": n_codes, "perplexity": use["perplexity"]}
            rows.append(pd.DataFrame({"level": range(codec.n_levels), "kept": kept[place] / n_codes, **about}))
    return pd.concat(rows, ignore_index=True)[STABILITY_COLUMNS]
