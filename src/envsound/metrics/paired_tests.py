"""The Kolmogorov-Smirnov distance of clips and what became of them: a permutation test within pairs."""

import numpy as np

from envsound.base.errors import InputError

TWO_SAMPLE, PAIRED = "two-sample", "paired"
N_SWAPS = 9999  # random exchanges; the smallest p is then 1e-4, small enough for Holm over all metrics


def paired_ks_test(a: np.ndarray, b: np.ndarray, seed: int = 0, n_swaps: int = N_SWAPS) -> dict[str, float | int | str]:
    """Compare two values [n] of each of n clips: D, p, counts, 5% threshold, a note on odd cases, as `ks_test` does.

    `statistics.ks_test` takes its samples for independent, and has next to no power where they are the same clips
    twice. If what was done to a clip does not matter, its two values may change places; p is the share of such
    exchanges, clip by clip, that leave a distance of D or more: of all 2^n exchanges where these are no more than
    `n_swaps` + 1, else (1 + count) / (1 + n_swaps) over `n_swaps` random ones (Phipson and Smyth 2010; the permutation
    of pairs is that of Lehmann and Romano 2005, section 15.2). threshold_5_percent: the distance that at most 5% of the
    exchanges exceed. Pairs of which one value is NaN are left out and counted in n_undefined. Where no pair is left or
    all values are equal, p is NaN and the note says why. Raises InputError for unequal shapes or no exchange.
    """
    a, b = (np.asarray(values, dtype=np.float64) for values in (a, b))
    if a.shape != b.shape or a.ndim != 1 or n_swaps < 1:
        raise InputError(f"a {a.shape}, b {b.shape}, n_swaps={n_swaps}: expected two equal lengths and one exchange")
    known = ~(np.isnan(a) | np.isnan(b))
    a, b = a[known], b[known]
    row = {"n_a": a.size, "n_b": b.size, "n_undefined": int((~known).sum()), "statistic": np.nan, "p_value": np.nan}
    row |= {"threshold_5_percent": np.nan, "note": ""}
    if not a.size:
        return row | {"note": "undefined for every pair"}
    if np.ptp(np.concatenate([a, b])) == 0:
        return row | {"statistic": 0.0, "note": "degenerate: every clip has the same value"}
    observed = largest_gaps(a, b, np.ones((a.size, 1), dtype=np.int8))[0]
    signs, is_all = exchanges(a.size, n_swaps, np.random.default_rng([seed, a.size]))
    swapped = largest_gaps(a, b, signs)
    count = int(np.count_nonzero(swapped >= observed))
    p_value = count / swapped.size if is_all else (1 + count) / (1 + swapped.size)
    threshold = np.quantile(swapped, 0.95, method="inverted_cdf") / a.size
    return row | {"statistic": observed / a.size, "p_value": p_value, "threshold_5_percent": float(threshold)}


def exchanges(n_pairs: int, n_swaps: int, rng: np.random.Generator) -> tuple[np.ndarray, bool]:
    """Return which pairs are exchanged, -1, and which not, 1: int8 [n_pairs, n_exchanges]; and whether these are all.

    All 2^n_pairs of them, when there are no more than n_swaps + 1; else n_swaps, drawn independently.
    """
    if 2**n_pairs <= n_swaps + 1:
        bits = (np.arange(2**n_pairs)[None] >> np.arange(n_pairs)[:, None]) & 1
        return (1 - 2 * bits).astype(np.int8), True
    return 2 * rng.integers(0, 2, (n_pairs, n_swaps), dtype=np.int8) - 1, False


def largest_gaps(a: np.ndarray, b: np.ndarray, signs: np.ndarray) -> np.ndarray:
    """Return n times the Kolmogorov-Smirnov distance of a [n] and b [n] after each exchange: int [n_exchanges].

    signs: as `exchanges` returns them. Whole numbers, so that equal distances are equal.
    """
    values = np.concatenate([a, b])
    order = np.argsort(values, kind="stable")
    is_last = np.append(np.diff(values[order]) > 0, True)  # of equal values; there alone the two shares are compared
    gap, largest = np.zeros((2, signs.shape[1]), dtype=np.int32)
    for place, last in zip(order, is_last, strict=True):
        (np.add if place < a.size else np.subtract)(gap, signs[place % a.size], out=gap)
        if last:
            np.maximum(largest, np.abs(gap), out=largest)
    return largest
