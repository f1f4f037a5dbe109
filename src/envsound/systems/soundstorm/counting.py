"""A trained model beside counting: what hidden codes cost it, their frequencies, and a bigram that sees a neighbour."""

import math

import numpy as np
import pandas as pd
import torch

from envsound.codec.pairs import PairCounts
from envsound.codec.patches import sounding
from envsound.systems.soundstorm.batches import CodeSet
from envsound.systems.soundstorm.codebooks import Codebooks
from envsound.systems.soundstorm.conformer import MaskedConformer
from envsound.systems.soundstorm.masking import draw_training_mask
from envsound.systems.soundstorm.objective import dense_losses, unigram_losses

STAGES = (0.0, 0.25, 0.5, 0.75)  # u: at each, cos(pi u / 2) of a level's codes are hidden
COLUMNS = ["u", "hidden", "columns", "level", "n_masked", "model", "unigram", "bigram"]
BATCH = 32  # clips
SIDES = slice(None, -1), slice(1, None)  # all codes but the last, and those that follow them


class NeighbourBigram:
    """What codes cost by how often each stands beside each, level by level and class by class, counted in some clips.

    After a code and before one the chance is that of `PairCounts`, with the frequencies of `unigram_losses`. Where both
    neighbours are visible the two chances are averaged, where none is the frequency counts alone.
    """

    def __init__(self, train: CodeSet, codebook_size: int, by_class: bool) -> None:
        self.size = codebook_size
        self.frequencies = np.exp(-unigram_losses(train, codebook_size, by_class))  # [n_classes, n_levels, size]
        n_classes, n_levels = self.frequencies.shape[:2]
        self.group = np.arange(n_classes) if by_class else np.zeros(n_classes, int)  # whose counts a class has
        self.pairs = []
        for group in np.unique(self.group):
            clips = [codes for codes, of in zip(train.codes, train.classes, strict=True) if self.group[of] == group]
            self.pairs.append([self._count(clips, level) for level in range(n_levels)])

    def _count(self, clips: list[np.ndarray], level: int) -> list[PairCounts]:
        """Return the counts of codes after a known one, and of those before one."""
        sides = [np.concatenate([np.empty(0, np.int64), *(codes[level, part] for codes in clips)]) for part in SIDES]
        return [PairCounts(*both, self.size) for both in (sides, sides[::-1])]

    def costs(self, codes: np.ndarray, hidden: np.ndarray, label: int, level: int) -> np.ndarray:
        """Return the cost (nat) of every code of a clip's level [n_frames], of which those `hidden` are not seen."""
        codes = codes.astype(np.int64)
        frequency, counted = self.frequencies[label, level][codes], self.pairs[self.group[label]][level]
        total, n_seen = np.zeros(len(codes)), np.zeros(len(codes))
        for pairs, there, here in zip(counted, SIDES, SIDES[::-1], strict=True):
            chance = pairs.chances(codes[there], codes[here], frequency[here])
            total[here] += np.where(hidden[there], 0.0, chance)
            n_seen[here] += ~hidden[there]
        return -np.log(np.where(n_seen > 0, total / np.maximum(n_seen, 1), frequency))


@torch.no_grad()
def beside_counting(
    model: MaskedConformer, train: CodeSet, watched: CodeSet, seed: int, codebooks: Codebooks | None = None
) -> pd.DataFrame:
    """Return what hidden codes of watched clips cost (nat): a model, class frequencies and a bigram, on the same codes.

    A row for each of STAGES, each level, and all columns or the sounding ones (within 40 dB of the clip's
    loudest), in columns COLUMNS. Every clip is asked for every level, the finer ones hidden, without a prompt.
    Frequencies and bigram are counted in the training clips, class by class for a model that is told the class.
    codebooks: of patches, which tell how loud a column is; without them there are no rows of sounding columns.
    """
    shape, device = model.config, next(model.parameters()).device
    by_class = shape.n_classes > 0
    counted = NeighbourBigram(train, shape.codebook_size, by_class)
    heard = [_sounding(codes, codebooks) for codes in watched.codes]
    draws, rows = torch.Generator().manual_seed(seed), []
    model.eval()
    for u in STAGES:
        for level in range(shape.n_levels):
            sums: dict[str, np.ndarray] = {}
            for start in range(0, len(watched), BATCH):
                items = np.arange(start, min(start + BATCH, len(watched)))
                codes, valid, classes = watched.batch(items, model.mask_token)
                same = torch.full((len(items),), level), torch.full((len(items),), u)
                mask = draw_training_mask(codes, valid, model.mask_token, draws, 0.0, *same)
                given = [one.to(device) for one in (codes, valid, classes)]
                losses = dense_losses(model, mask.to(device), *given).double().cpu().numpy()
                for place, item in enumerate(items):
                    n_frames, label = watched.codes[item].shape[1], int(watched.classes[item])
                    hidden, own = mask.targets[place, :n_frames].numpy(), watched.codes[item][level]
                    alone = -np.log(counted.frequencies[label, level][own])
                    costs = np.stack([losses[place, :n_frames], alone, counted.costs(own, hidden, label, level)])
                    for name, chosen in {"all": hidden, "sounding": hidden & heard[item]}.items():
                        found = np.array([chosen.sum(), *costs[:, chosen].sum(1)])
                        sums[name] = sums.get(name, 0.0) + found
            for name in sums if codebooks is not None and codebooks.apart else ("all",):
                n, *costs = sums[name]
                means = [cost / n if n else math.nan for cost in costs]
                rows.append([u, math.cos(math.pi * u / 2), name, level, int(n), *means])
    return pd.DataFrame(rows, columns=COLUMNS)


def _sounding(codes: np.ndarray, codebooks: Codebooks | None) -> np.ndarray:
    """Say which columns of a clip [n_levels, n_columns] sound."""
    loudness = None if codebooks is None else codebooks.loudness(torch.from_numpy(codes.astype(np.int64)))
    if loudness is None:
        return np.ones(codes.shape[1], dtype=bool)
    return sounding(loudness).numpy()
