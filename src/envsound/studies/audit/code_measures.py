"""How varied codes are and how well they can be guessed, level by level: entropies and held-out cross-entropies."""

from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np

from envsound.base.errors import InputError

LN2 = np.log(2)
KINDS = ("alone", "previous", "above")  # what a code is guessed from
STRENGTHS = (*(4.0**power for power in range(9)), float("inf"))  # in codes


def entropy_bits(counts: np.ndarray) -> np.ndarray:
    """Return the entropy in bits of codes counted in `counts` [..., codebook_size], with Miller and Madow's correction.

    -sum p log2 p + (K - 1) / (2 N ln 2) with N codes counted and K different ones among them (Miller 1955): the first
    term alone is too small by about the second. Never above log2(codebook_size), which the correction may pass. NaN
    where nothing was counted.
    """
    counts = np.asarray(counts, dtype=np.float64)
    n = counts.sum(-1, keepdims=True)
    shares = np.divide(counts, n, out=np.zeros_like(counts), where=n > 0)
    logs = np.log2(shares, out=np.zeros_like(shares), where=shares > 0)
    used, total = (counts > 0).sum(-1), n[..., 0]
    correction = np.divide(used - 1, 2 * LN2 * total, out=np.full_like(total, np.nan), where=total > 0)
    return np.minimum(-(shares * logs).sum(-1) + correction, np.log2(counts.shape[-1]))


def code_counts(clips: Sequence[np.ndarray], codebook_size: int) -> np.ndarray:
    """Count the codes of each clip, int [n_levels, n_frames]: int32 [n_clips, n_levels, codebook_size]."""
    n_levels = clips[0].shape[0]
    counted = [[np.bincount(clip[level], minlength=codebook_size) for level in range(n_levels)] for clip in clips]
    return np.array(counted, dtype=np.int32)


class Guesser:
    """Guesses codes of one level: by how often they occur, and by how often they follow a context (a bigram).

    A code's share is (n + 1/2) / (N + V / 2), V codes in the codebook. After a context seen n times its probability is
    (count + strength share) / (n + strength): as if `strength` more had been seen with the shares, so that a context
    seldom or never seen says next to nothing (MacKay and Peto 1995, the hierarchical Dirichlet model, its prior mean
    taken as the shares). An infinite strength leaves the shares alone.
    """

    def __init__(self, contexts: np.ndarray, codes: np.ndarray, codebook_size: int) -> None:
        """Fit to codes int [n] and what stood before each, contexts int [n]."""
        counts = np.bincount(codes, minlength=codebook_size)
        self.shares = (counts + 0.5) / (codes.size + codebook_size / 2)
        pairs = np.bincount(contexts.astype(np.int64) * codebook_size + codes, minlength=codebook_size**2)
        self.pairs = pairs.reshape(codebook_size, codebook_size)  # [context, code]
        self.seen = self.pairs.sum(1)

    def bits_alone(self, codes: np.ndarray) -> np.ndarray:
        """Return -log2 of the probability of each code without its context, float [n]."""
        return -np.log2(self.shares[codes])

    def bits(self, contexts: np.ndarray, codes: np.ndarray, strength: float) -> np.ndarray:
        """Return -log2 of the probability of each code after its context, float [n]; strength is above 0."""
        if np.isinf(strength):
            return self.bits_alone(codes)
        known = self.pairs[contexts, codes] + strength * self.shares[codes]
        return -np.log2(known / (self.seen[contexts] + strength))


def best_strength(parts: Sequence[tuple[np.ndarray, np.ndarray]], codebook_size: int) -> float:
    """Return that of STRENGTHS with which one half of the clips guesses the other best, in both directions.

    parts: contexts and codes, int [n] each, of every clip. Infinite where a single clip leaves nothing to compare.
    """
    costs = np.zeros(len(STRENGTHS))
    if len(parts) < 2:
        return STRENGTHS[-1]
    for fitted, asked in ((parts[::2], parts[1::2]), (parts[1::2], parts[::2])):
        guesser, questions = Guesser(*_joined(fitted), codebook_size), _joined(asked)
        costs += [guesser.bits(*questions, strength).sum() for strength in STRENGTHS]
    return STRENGTHS[int(costs.argmin())]


def guessed_bits(
    fitted: Sequence[np.ndarray], measured: Sequence[np.ndarray], codebook_size: int
) -> dict[str, np.ndarray]:
    """Return the cross-entropy of codes in bits a code, one value for each measured clip and level.

    "alone", "previous" (after the code of the frame before, same level) and "above" (after the code of the coarser
    level, same frame; NaN at level 0), each float [n_clips, n_levels]. Guessers and their strength are fitted to the
    clips of `fitted` and measured on others. Clips: int [n_levels, n_frames]. The first frame of a clip has no code
    before it and is left out of all three, so that they are about the same codes; a clip of one frame gives NaN.
    """
    n_levels = fitted[0].shape[0]
    found = {kind: np.full((len(measured), n_levels), np.nan) for kind in KINDS}
    for level in range(n_levels):
        for kind in KINDS[1 : 2 + (level > 0)]:
            parts = [_pairs(clip, level, kind) for clip in fitted]
            guesser, strength = Guesser(*_joined(parts), codebook_size), best_strength(parts, codebook_size)
            for row, clip in enumerate(measured):
                contexts, asked = _pairs(clip, level, kind)
                if asked.size:
                    found[kind][row, level] = guesser.bits(contexts, asked, strength).mean()
                    found["alone"][row, level] = guesser.bits_alone(asked).mean()
    return found


def halves(groups: Sequence[Hashable], seed: int) -> np.ndarray:
    """Return which clips to fit to, bool [n_clips], about half: whole groups, in an order drawn from `seed`.

    `groups` has the group of each clip, such as its speaker or fold: clips of one group are alike, so all of them go to
    one side. Raises InputError when there are fewer than two groups.
    """
    sizes = Counter(groups)
    names = sorted(sizes, key=str)
    if len(names) < 2:
        raise InputError(
            f"groups: {len(names)} among {len(groups)} clips; expected at least two, to fit and to measure"
        )
    order = np.random.default_rng(seed).permutation(len(names))
    chosen, n = set(), 0
    for place in order[:-1]:
        if chosen and n + sizes[names[place]] / 2 > len(groups) / 2:
            continue
        chosen.add(names[place])
        n += sizes[names[place]]
    return np.array([group in chosen for group in groups])


def take_frames(clips: Sequence[np.ndarray], n_frames: int, seed: int) -> list[np.ndarray]:
    """Return clips in an order drawn from `seed`, `n_frames` frames in all; the last one is cut where needed."""
    taken: list[np.ndarray] = []
    for place in np.random.default_rng(seed).permutation(len(clips)):
        if n_frames <= 0:
            break
        taken.append(clips[place][:, :n_frames])
        n_frames -= taken[-1].shape[1]
    return taken


def check_clips(clips: Sequence[np.ndarray], codebook_size: int, name: str) -> None:
    """Raise InputError unless `clips` are int [n_levels, n_frames], of one n_levels, with codes below codebook_size."""
    if not len(clips):
        raise InputError(f"{name}: no codes; expected those of at least two clips")
    for clip in clips:
        if clip.ndim != 2 or clip.shape[0] != clips[0].shape[0] or not np.issubdtype(clip.dtype, np.integer):
            raise InputError(f"{name}: codes {clip.dtype} {clip.shape}; expected int [{clips[0].shape[0]}, n_frames]")
        if clip.size and not 0 <= clip.min() <= clip.max() < codebook_size:
            raise InputError(f"{name}: codes {clip.min()} to {clip.max()}; expected 0 to {codebook_size - 1}")


def _pairs(clip: np.ndarray, level: int, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Return what each code is guessed from, and the code: two int [n_frames - 1]."""
    before = clip[level, :-1] if kind == "previous" else clip[level - 1, 1:]
    return before, clip[level, 1:]


def _joined(parts: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    contexts, codes = (np.concatenate(side) for side in zip(*parts, strict=True))
    return contexts, codes
