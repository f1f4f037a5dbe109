"""What of the published study stands and what does not: one verdict after the other, each by a rule on the tables."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from envsound.audit import AuditReport
from envsound.audit_padding import final_losses
from envsound.audit_rates import NEGLIGIBLE, NOT_RUN
from envsound.audit_snr import SLOPE
from envsound.audit_statistics import BASES, SILENT, STANDS, separated_pairs
from envsound.metrics import METRICS

HEADINGS = {True: "What stands", False: "What does not stand as printed", None: "What stays open here"}


@dataclass(frozen=True)
class Verdict:
    """A point of the study in words, and whether it stands; None where it cannot be told here."""

    stands: bool | None
    words: str


def verdicts(report: AuditReport) -> list[Verdict]:
    """Return a verdict on each point that the tables of a report decide, or leave open."""
    found = [*_figures(report["audit_figures"]), *_tests(report["audit_ks"]), *_classes(report["audit_classes"])]
    found += [*_rates(report["audit_rates"], report.rates), *_snr(report["audit_snr"])]
    return [*found, *_padding(report["audit_padding"]), *_protocol(report["audit_protocol"])]


def verdict_list(found: list[Verdict], heading: str = "###") -> str:
    """Return verdicts as Markdown: a list under each of HEADINGS, those that stand first."""
    lines = []
    for stands, words in HEADINGS.items():
        points = [f"- {verdict.words}" for verdict in found if verdict.stands is stands]
        lines += [f"{heading} {words}", "", *points, ""] if points else []
    return "\n".join(lines).rstrip()


def _figures(table: pd.DataFrame) -> Iterator[Verdict]:
    named = {
        ("result_file", "mean"): "printed means agree with the result files",
        ("difference", "difference"): "printed differences follow from the printed means",
        ("result_file", "sd"): "printed standard deviations agree with the result files",
        ("tested", "KS distance"): "metrics have their test in the table of tests",
        ("cited", "value"): "figures taken from other works agree with those works",
        ("first_loss", "loss"): "first losses are at or below that of a uniform guess",
        ("unit", "unit"): "units in question are given and right",
        ("claim", ""): "claims of the text that can be computed hold",
    }
    for (check, quantity), words in named.items():
        rows = table[(table["check"] == check) & ((table["quantity"] == quantity) | (quantity == ""))]
        if len(rows):
            agree = int((rows["verdict"] == "agrees").sum())
            odd = rows.loc[rows["verdict"] != "agrees", "item"].map(_label)
            listed = f"; not {', '.join(dict.fromkeys(odd))}" if len(odd) else ""
            yield Verdict(agree == len(rows), f"{agree} of {len(rows)} {words}{listed}.")
    for row in table[(table["check"] == "one_rate") & (table["quantity"] == "sample rate")].itertuples():
        words = f"Both sides analysed at one rate: the real one is at {row.printed:,.0f} Hz, "
        yield Verdict(row.verdict == "agrees", f"{words}the generated one at {row.compared:,.0f} Hz.")


def _tests(table: pd.DataFrame) -> Iterator[Verdict]:
    tested = table[table["verdict"] != SILENT]
    n_stand = int((tested["verdict"] == STANDS).sum())
    words = f"{n_stand} of {len(tested)} Kolmogorov-Smirnov tests reject equality after Holm's correction: real and "
    yield Verdict(n_stand == len(tested), words + "generated files differ, whatever the reason.")
    for row in table[table["verdict"] == SILENT].itertuples():
        yield Verdict(False, f"The test of {_label(row.metric)} says nothing ({row.note}).")


def _classes(table: pd.DataFrame) -> Iterator[Verdict]:
    printed = table[table["group"] == "class"].drop_duplicates("category").sort_values("accuracy")
    if len(printed) < 2:
        return
    worst, best = printed.iloc[0]["category"], printed.iloc[-1]["category"]
    for basis, n in BASES["class"][1].items():
        rows = table[(table["group"] == "class") & (table["basis"] == basis)].set_index("category")
        apart = rows.loc[worst, "high"] < rows.loc[best, "low"]
        n_apart, n_pairs = separated_pairs(table, basis)
        words = f"That {_label(best)} is recognised more often than {_label(worst)}"
        words += f", if the accuracies are over {basis} ({n} clips a class); {n_apart} of {n_pairs} pairs of classes "
        yield Verdict(bool(apart), f"{words}have intervals apart.")


def _rates(table: pd.DataFrame, rates: tuple[int, int]) -> Iterator[Verdict]:
    if table.empty or table["share"].isna().all():
        words = f"How much of the differences the unequal rates explain: {NOT_RUN}, since the recordings are at "
        yield Verdict(None, f"{words}{rates[0]:,} Hz.")
        return
    for row in table.itertuples():
        label, share = METRICS[row.metric].label, f"{100 * row.share:.0f}%"
        ends = f"{100 * row.share_low:.0f} to {100 * row.share_high:.0f}"
        if row.share_low > NEGLIGIBLE:
            yield Verdict(False, f"The size of the difference in {label}: the rate alone makes {share} of it ({ends}).")
        elif row.share_high < -NEGLIGIBLE:
            more = f"{-100 * row.share:.0f}% ({-100 * row.share_high:.0f} to {-100 * row.share_low:.0f})"
            words = f"That {label} differs: the unequal rates hide part of it"
            yield Verdict(True, f"{words}, at one rate it is {more} larger than printed.")
        else:
            yield Verdict(True, f"The difference in {label}: the rate alone makes {share} of it ({ends}).")


def _snr(table: pd.DataFrame) -> Iterator[Verdict]:
    slope = table[table["measure"] == SLOPE].iloc[0]
    is_ratio = bool(slope["low"] <= 1 <= slope["high"])
    words = "The name SNR: one dB of true noise moves it by "
    words += f"{slope['value']:.2f} dB ({slope['low']:.2f} to {slope['high']:.2f}), a signal-to-noise ratio by 1."
    yield Verdict(is_ratio, words)


def _padding(table: pd.DataFrame) -> Iterator[Verdict]:
    final = final_losses(table)
    flatters = (final["padded_real"] > final["padded_all"]).all()
    words = f"A training loss over padded clips as a loss of sound: {final['share'].mean():.0%} of its targets are one "
    words += f"constant, and {final['padded_all'].mean():.2f} nat over all of them are "
    yield Verdict(not flatters, f"{words}{final['padded_real'].mean():.2f} over the real frames.")
    differences = final["padded_real"] - final["masks"]
    sign = np.sign(differences).unique()
    if len(sign) > 1 or sign[0] <= 0:
        words = "That padding does the model no harm at equal training: padded less masks on real frames, by seed, "
        yield Verdict(True if len(sign) == 1 else None, words + f"{', '.join(f'{d:+.2f}' for d in differences)} nat.")
    else:
        words = "That padding does the model no harm: on real frames it is worse in every seed, by "
        yield Verdict(False, words + f"{differences.mean():.2f} nat on average.")


def _protocol(table: pd.DataFrame) -> Iterator[Verdict]:
    for row in table[table["comparison"].isin(["epoch, level 0", "epoch, all levels"])].itertuples():
        words = f"An accuracy at the epoch that is best on the test fold ({row.comparison.removeprefix('epoch, ')}): "
        words += f"here the choice alone adds {100 * row.difference:.1f} points "
        words += f"({100 * row.low:.1f} to {100 * row.high:.1f})."
        yield Verdict(False if row.low > 0 else None, words)


def _label(item: str) -> str:
    name = item.removesuffix("_claim")
    return METRICS[name].label if name in METRICS else name.replace("_", " ")
