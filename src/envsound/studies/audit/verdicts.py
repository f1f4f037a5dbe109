"""What of the published study stands and what does not: one verdict after the other, each by a rule on the tables."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from envsound.metrics.acoustic import METRICS
from envsound.studies.audit.padding import final_losses
from envsound.studies.audit.published_figures import NOTED
from envsound.studies.audit.rates import EXPLAINS, HIDES, LITTLE, NOT_RUN, share_verdict, share_words
from envsound.studies.audit.run import AuditReport
from envsound.studies.audit.snr import SLOPE
from envsound.studies.audit.statistics import BASES, SILENT, STANDS, separated_pairs

HEADINGS = {True: "What stands", False: "What does not stand as printed", None: "What stays open here"}
NOTED_HEADING = "What reading the text and the code noted, not computed here"
LEAST_SEEDS = 6  # that agree in sign: a chance of 2 / 2^6 = 3% without any effect; three agree in every fourth case
LEAST_GAIN = 0.01  # of accuracy: the best epoch on the test is never below another, so any gain above 0 is no finding
SLOPE_MARGIN = 0.05  # dB for each dB of true ratio, around the 1 of a signal-to-noise ratio


@dataclass(frozen=True)
class Verdict:
    """A point of the study in words, and whether it stands; None where it cannot be told here.

    is_noted: the point is a note of the table of published figures, and is not judged by computing.
    """

    stands: bool | None
    words: str
    is_noted: bool = False


def verdicts(report: AuditReport) -> list[Verdict]:
    """Return a verdict on each point that the tables of a report decide, or leave open.

    What a test does not reject, or an interval does not exclude, is left open: it is no result either way.
    """
    found = [*_figures(report["audit_figures"]), *_tests(report["audit_ks"]), *_classes(report["audit_classes"])]
    found += [*_rates(report["audit_rates"], report.rates), *_snr(report["audit_snr"])]
    return [*found, *_padding(report["audit_padding"]), *_protocol(report["audit_protocol"])]


def verdict_list(found: list[Verdict], heading: str = "###") -> str:
    """Return verdicts as Markdown: a list under each of HEADINGS, those that stand first, then what is only noted."""
    groups = {words: [one for one in found if one.stands is stands and not one.is_noted]
              for stands, words in HEADINGS.items()}  # fmt: skip
    groups[NOTED_HEADING] = [one for one in found if one.is_noted]
    lines = []
    for words, points in groups.items():
        lines += [f"{heading} {words}", "", *(f"- {one.words}" for one in points), ""] if points else []
    return "\n".join(lines).rstrip()


def _figures(table: pd.DataFrame) -> Iterator[Verdict]:
    named = {
        ("result_file", "mean"): "printed means agree with the result files",
        ("difference", "difference"): "printed differences follow from the printed means",
        ("result_file", "sd"): "printed standard deviations agree with the result files",
        ("tested", "KS distance"): "metrics have their test in the table of tests",
        ("cited", "value"): "figures taken from other works agree with those works",
        ("first_loss", "loss"): "first losses are at or below that of a uniform guess",
        ("claim", ""): "claims of the text that can be computed hold",
    }
    for (check, quantity), words in named.items():
        rows = table[(table["check"] == check) & ((table["quantity"] == quantity) | (quantity == ""))]
        if len(rows):
            agree = int((rows["verdict"] == "agrees").sum())
            odd = rows.loc[rows["verdict"] != "agrees", "item"].map(_label)
            listed = f"; not {', '.join(dict.fromkeys(odd))}" if len(odd) else ""
            yield Verdict(agree == len(rows), f"{agree} of {len(rows)} {words}{listed}.")
    for row in table[table["verdict"] == NOTED].drop_duplicates(["check", "item"]).itertuples():
        yield Verdict(None, f"{_label(row.item)}: {row.detail}.", is_noted=True)
    for row in table[(table["check"] == "one_rate") & (table["quantity"] == "sample rate")].itertuples():
        words = f"Both sides analysed at one rate: the real one is at {row.printed:,.0f} Hz, "
        yield Verdict(row.verdict == "agrees", f"{words}the generated one at {row.compared:,.0f} Hz.")


def _tests(table: pd.DataFrame) -> Iterator[Verdict]:
    tested = table[table["verdict"] != SILENT]
    n_stand = int((tested["verdict"] == STANDS).sum())
    words = f"{n_stand} of {len(tested)} Kolmogorov-Smirnov tests reject equality after Holm's correction: real and "
    yield Verdict(True if n_stand == len(tested) else None, words + "generated files differ, whatever the reason.")
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
        yield Verdict(True if apart else None, f"{words}have intervals apart.")


def _rates(table: pd.DataFrame, rates: tuple[int, int]) -> Iterator[Verdict]:
    if table.empty or table["share"].isna().all():
        words = f"How much of the differences the unequal rates explain: {NOT_RUN}, since the recordings are at "
        yield Verdict(None, f"{words}{rates[0]:,} Hz.")
        return
    for row in table.to_dict("records"):
        label, words, verdict = METRICS[row["metric"]].label, share_words(row), share_verdict(row)
        if verdict == EXPLAINS:
            yield Verdict(False, f"The size of the difference in {label}: the rate alone makes {words} of it.")
        elif verdict == HIDES:
            more = f"{-100 * row['share']:.0f}% ({-100 * row['share_high']:.0f} to {-100 * row['share_low']:.0f})"
            hidden = f"That {label} differs: the unequal rates hide part of it"
            yield Verdict(True, f"{hidden}, at one rate it is {more} larger than printed.")
        else:
            stands = True if verdict == LITTLE else None
            yield Verdict(stands, f"The difference in {label}; of it, the rate alone makes: {words}.")


def _snr(table: pd.DataFrame) -> Iterator[Verdict]:
    slope = table[table["measure"] == SLOPE].iloc[0]
    excluded = slope["high"] < 1 or slope["low"] > 1
    is_ratio = max(abs(slope["low"] - 1), abs(slope["high"] - 1)) <= SLOPE_MARGIN
    words = "The name SNR: one dB of true noise moves it by "
    words += f"{slope['value']:.2f} dB ({slope['low']:.2f} to {slope['high']:.2f}), a signal-to-noise ratio by 1."
    yield Verdict(True if is_ratio else False if excluded else None, words)


def _padding(table: pd.DataFrame) -> Iterator[Verdict]:
    final = final_losses(table)
    flatters = agreed_sign(final["padded_real"] - final["padded_all"])
    words = f"A training loss over padded clips as a loss of sound: {final['share'].mean():.0%} of its targets are one "
    words += f"constant, and {final['padded_all'].mean():.2f} nat over all of them are "
    yield Verdict(_holds(-flatters), f"{words}{final['padded_real'].mean():.2f} over the real frames.")
    differences = final["padded_real"] - final["masks"]
    words = "That padding does the model no harm at equal training: padded less masks on real frames, by seed, "
    yield Verdict(_holds(-agreed_sign(differences)), words + f"{', '.join(f'{d:+.2f}' for d in differences)} nat.")


def agreed_sign(differences: Sequence[float]) -> int:
    """Return the sign that the differences of all seeds have, 1 or -1; 0 where they disagree or are too few.

    A sign test: without an effect, n seeds all agree with chance 2 / 2^n, so that fewer than LEAST_SEEDS say nothing.
    """
    signs = set(np.sign(list(differences)))
    return int(signs.pop()) if len(signs) == 1 and len(differences) >= LEAST_SEEDS else 0


def _holds(sign: int) -> bool | None:
    return sign > 0 if sign else None


def _protocol(table: pd.DataFrame) -> Iterator[Verdict]:
    for row in table[table["comparison"].isin(["epoch, level 0", "epoch, all levels"])].itertuples():
        words = f"An accuracy at the epoch that is best on the test fold ({row.comparison.removeprefix('epoch, ')}): "
        words += f"here the choice alone adds {100 * row.difference:.1f} points "
        words += f"({100 * row.low:.1f} to {100 * row.high:.1f})."
        yield Verdict(False if row.low > LEAST_GAIN else None, words)


def _label(item: str) -> str:
    name = item.removesuffix("_claim")
    return METRICS[name].label if name in METRICS else name.replace("_", " ")
