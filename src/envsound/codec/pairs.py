"""How often codes stand beside each other: the bigram that models of codes are measured by."""

import numpy as np


class PairCounts:
    """The chances of codes beside one that is known, by how often the two stood together in some clips.

    Beside a code seen n times with T different partners, a code has the chance (how often they stood together + T times
    its frequency) / (n + T): Witten and Bell's interpolation (1991, method C). Beside one never seen, its frequency.
    """

    def __init__(self, known: np.ndarray, codes: np.ndarray, codebook_size: int) -> None:
        """Count codes, int [n], beside known ones, int [n]; both lie in 0..codebook_size - 1."""
        self.size = codebook_size
        self.pairs, self.counts = np.unique(self._name(known, codes), return_counts=True)
        beside = self.pairs // codebook_size
        self.seen = np.bincount(beside, weights=self.counts, minlength=codebook_size)
        self.different = np.bincount(beside, minlength=codebook_size)

    def _name(self, known: np.ndarray, codes: np.ndarray) -> np.ndarray:
        return known.astype(np.int64) * self.size + codes

    def chances(self, known: np.ndarray, codes: np.ndarray, frequency: np.ndarray) -> np.ndarray:
        """Return the chance of each code, int [n], beside its known one, int [n]; frequency: its own, float [n]."""
        wanted = self._name(known, codes)
        place = np.searchsorted(self.pairs, wanted)
        found = np.append(self.pairs, -1)[place] == wanted
        together = np.where(found, np.append(self.counts, 0)[place], 0)
        n, different = self.seen[known], self.different[known]
        return np.where(n > 0, (together + different * frequency) / np.maximum(n + different, 1), frequency)
