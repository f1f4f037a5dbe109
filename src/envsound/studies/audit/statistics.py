"""What the published tests and accuracies can say at their numbers of clips: exact p values, Holm, intervals."""

import math
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from envsound.base.errors import InputError
from envsound.metrics.acoustic import METRICS
from envsound.metrics.published import PUBLISHED
from envsound.metrics.tests import ALPHA, holm, ks_test, wilson
from envsound.studies.audit.published_figures import MEANS, TESTS, half_digit, read_as_printed

KS_COLUMNS = [
    "metric", "source", "in_paper", "n_a", "n_b", "statistic", "statistic_low", "statistic_high",
    "p_value", "p_holm", "threshold_5_percent", "verdict", "note",
]  # fmt: skip
CLASS_COLUMNS = ["group", "category", "accuracy", "basis", "n", "low", "high", "reachable", "nearest"]
STANDS, OPEN, SILENT = "stands", "left open", "says nothing"
BASES = {  # clips behind an accuracy, if every fold was held out once, or one fold alone; ESC-50 has 40 clips a class
    "class": ("accuracy_class_", {"five folds": 40, "one fold": 8}),
    "ESC-50": ("accuracy_esc50_", {"five folds": 2000, "one fold": 400}),
}


def audit_ks(path: str | Path = PUBLISHED) -> pd.DataFrame:
    """Return audit_ks.csv: the published Kolmogorov-Smirnov distances with what their size says, columns KS_COLUMNS.

    The p value is exact (it depends on D and n alone), Holm's family are the metrics of the published table of means,
    whether or not the paper shows their test. A metric outside that table with D = 0 says nothing. statistic_low and
    _high: a conservative 95% interval of the distance between the two populations, from the Dvoretzky-Kiefer-Wolfowitz
    inequality for either side; resampling would need the clips. verdict: STANDS where p_holm is below 5%, else OPEN:
    not rejecting equality does not show it. Raises InputError when the table does not say how many clips there are, a D
    is no distance, or a D above 0 is of no metric in the family.
    """
    table = read_as_printed(path)
    n = published_clips(table)
    family = set(table.loc[(table["source"] == MEANS) & (table["side"] == "real"), "item"])
    rows = []
    for row in table[table["item"].str.startswith("ks_")].itertuples():
        metric = row.item.removeprefix("ks_")
        named = {"metric": metric, "source": row.source, "in_paper": row.source == TESTS, "note": row.note}
        rows.append(named | distance_test(float(row.value), n, metric) | {"in_family": metric in family})
    found = pd.DataFrame(rows)
    found["p_holm"] = holm(found["p_value"].where(found["in_family"]).to_numpy())
    found["verdict"] = [_verdict(row) for row in found.to_dict("records")]
    return found[KS_COLUMNS]


def distance_test(distance: float, n: int, name: str = "D") -> dict[str, Any]:
    """Return what `statistics.ks_test` says of two samples of n with this distance, and the interval around it.

    Raises InputError unless the distance is between 0 and 1.
    """
    if not 0 <= distance <= 1:
        raise InputError(f"{name}={distance}: expected a distance between 0 and 1")
    steps = round(distance * n)  # D is a whole number of nths; here the first `steps` values of a lie below all of b
    a = np.arange(n, dtype=np.float64)
    test = ks_test(a, a + steps - 0.5) if steps else ks_test(a, a)
    width = 2 * dkw_width(n, ALPHA / 2)
    ends = {"statistic_low": max(0.0, distance - width), "statistic_high": min(1.0, distance + width)}
    kept = {key: test[key] for key in ("n_a", "n_b", "p_value", "threshold_5_percent")}
    return {"statistic": distance, **ends, **kept}


def published_clips(table: pd.DataFrame) -> int:
    """Return how many clips a side the published tests had, from their notes. Raises InputError where none says it."""
    notes = table.loc[table["item"].str.startswith("ks_"), "note"].fillna("")
    found = [int(match[1]) for match in (re.search(r"n=(\d+) a side", note) for note in notes) if match]
    if not found:
        raise InputError("published KS rows: none says 'n=... a side' in its note; expected the number of clips")
    return found[0]


def dkw_width(n: int, alpha: float) -> float:
    """Return how far the cumulative distribution of n values stays from that of the population, but for chance alpha.

    sqrt(ln(2 / alpha) / (2 n)), the Dvoretzky-Kiefer-Wolfowitz inequality with Massart's constant (1990).
    """
    return float(np.sqrt(np.log(2 / alpha) / (2 * n)))


def audit_classes(path: str | Path = PUBLISHED) -> pd.DataFrame:
    """Return audit_classes.csv: Wilson 95% intervals of the published accuracies, in columns CLASS_COLUMNS.

    The paper does not say how many folds an accuracy is over, so each has a row for either of BASES. Shares in 0 to 1.
    reachable: whether some whole number of right clips gives the printed figure, rounded or cut; nearest: the share of
    right clips next to it, of those that give it where some do.
    """
    table = read_as_printed(path)
    rows = []
    for group, (prefix, bases) in BASES.items():
        for row in table[table["item"].str.startswith(prefix) & table["source"].str.startswith("paper")].itertuples():
            for basis, n in bases.items():
                named = {"group": group, "category": row.item.removeprefix(prefix), "basis": basis}
                rows.append(named | accuracy_interval(row.value, n))
    return pd.DataFrame(rows, columns=CLASS_COLUMNS)


def accuracy_interval(percent: str, n: int) -> dict[str, Any]:
    """Return the interval of an accuracy printed in percent over n clips, and whether n clips can give it.

    A printed figure stands for what rounds to it, halves upward, or is cut to it: for one whose last digit is worth u,
    from u / 2 below it to just under u above it.
    """
    printed, half = Fraction(percent), Fraction(half_digit(percent)).limit_denominator()
    exact = printed * n / 100
    shares = [Fraction(count, n) for count in sorted({math.floor(exact), math.ceil(exact)})]
    giving = [share for share in shares if printed - half <= 100 * share < printed + 2 * half]
    nearest = float(min(giving or shares, key=lambda share: abs(100 * share - printed)))
    low, high = wilson(float(exact), n)
    found = {"accuracy": float(percent) / 100, "n": n, "low": low, "high": high}
    return found | {"reachable": bool(giving), "nearest": nearest}


def separated_pairs(classes: pd.DataFrame, basis: str) -> tuple[int, int]:
    """Return how many pairs of classes have intervals that do not overlap, and how many pairs there are."""
    rows = classes[(classes["group"] == "class") & (classes["basis"] == basis)].sort_values("accuracy")
    ends = list(zip(rows["low"], rows["high"], strict=True))
    pairs = [(a, b) for place, a in enumerate(ends) for b in ends[place + 1 :]]
    return sum(a[1] < b[0] for a, b in pairs), len(pairs)


def findings_ks(ks: pd.DataFrame) -> str:
    """Return Markdown sentences on audit_ks.csv: what stands, how large it is at least, and what says nothing."""
    tested = ks[ks["verdict"] != SILENT]
    stands = tested[tested["verdict"] == STANDS]
    n, threshold = tested.iloc[0]["n_a"], tested.iloc[0]["threshold_5_percent"]
    text = f"**{len(stands)} of {len(tested)}** tests reject equality at 5% after Holm's correction (n = {n} a side; "
    text += f"one test rejects above D = {threshold:.3f})"
    if len(stands):
        least = stands.loc[stands["statistic"].idxmin()]
        text += f"; the largest of their p values is {stands['p_holm'].max():.1e}. The smallest distance, D = "
        text += f"{least['statistic']:.2f} in {_label(least['metric'])}, is at least {least['statistic_low']:.2f} "
        text += "between the populations that the clips were drawn from"
    text += ". The p values say that two sets of files differ, not why: sample rate, codec and model all take part."
    for row in ks[ks["verdict"] == SILENT].itertuples():
        text += f" The distance of {_label(row.metric)}, D = {row.statistic:.2f}, says nothing: {row.note}."
    return text


def findings_classes(classes: pd.DataFrame) -> str:
    """Return Markdown sentences on audit_classes.csv: which classes the number of clips can tell apart."""
    parts = []
    for basis, n in BASES["class"][1].items():
        apart, pairs = separated_pairs(classes, basis)
        parts.append(f"{apart} of {pairs} pairs of classes have intervals apart over {basis} ({n} clips a class)")
    text = "; ".join(parts) + ". "
    wrong = classes[(classes["group"] == "class") & ~classes["reachable"].astype(bool)]
    for basis, rows in wrong.groupby("basis", sort=False):
        listed = ", ".join(f"{name.replace('_', ' ')} {100 * share:.0f}%" for name, share in
                           zip(rows["category"], rows["accuracy"], strict=True))  # fmt: skip
        n = rows["n"].iloc[0]
        text += f"No whole number of {n} clips ({basis}) gives {listed}. "
    return text.rstrip()


def _verdict(row: dict[str, Any]) -> str:
    if row["in_family"]:
        return STANDS if row["p_holm"] < ALPHA else OPEN
    if row["statistic"] != 0:
        raise InputError(f"ks_{row['metric']}: D={row['statistic']:g}, expected 0 or a metric of the table of means")
    return SILENT


def _label(metric: str) -> str:
    return METRICS[metric].label if metric in METRICS else metric.replace("_", " ")
