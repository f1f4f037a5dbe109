"""Do the figures of the published study agree with each other: its text, its tables and its result files, by rule.

A verdict is computed from the numbers in the table of published figures (`data/published/published_study.csv`), but for
those that are `noted`: they repeat that table's notes on the source, which were made by reading and not by computing. A
printed figure stands for all values that round to it: it agrees with another where the two ranges meet.
"""

import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from envsound.base.errors import InputError
from envsound.codec.encodec_24khz import EnCodec24kHz
from envsound.metrics.acoustic import METRICS
from envsound.metrics.published import PUBLISHED, difference_percent, read_published
from envsound.systems.soundstorm.decoding import DecodingConfig
from envsound.systems.soundstorm.masking import n_masked_after

COLUMNS = [
    "check", "item", "side", "quantity", "unit", "printed", "compared", "compared_with", "tolerance", "verdict",
    "detail",
]  # fmt: skip
NOTED = "noted"  # read from the notes of the table, not computed
VERDICTS = ("agrees", "differs", "missing", NOTED)
CHECKS = {
    "result_file": "printed, beside the study's own result file",
    "difference": "printed difference, beside that of the printed means",
    "tested": "every metric of the table of means has a test",
    "informative": "a test can find a difference",
    "one_rate": "both sides have one sample rate",
    "first_loss": "the first loss is at most that of a uniform guess",
    "unit": "the unit is given, and is that of the values (noted in the table, not computed)",
    "cited": "a figure of another work, beside what that work reports",
    "claim": "a claim of the text that can be computed",
    "statement": "a statement of the text, beside the public code and its results (noted in the table, not computed)",
}
MEANS, TESTS, RESULTS = "paper table 2", "paper table 3", "public result file"
RESULT_IN_NOTE = re.compile(r"result file: ([\d.]+) \+- ([\d.]+)")
UNIT_IN_FACT = re.compile(r"(\S+) in the paper; (\S+) in fact")
IN_UNIT = {("neper", "dB"): 20 / np.log(10)}  # factors from one unit to another
CODEBOOK_SIZE = EnCodec24kHz.codebook_size
FRAMES = 5 * EnCodec24kHz.frame_rate  # of the published clips, 5 s
SLACK = 1e-9  # of a comparison of decimal numbers in floating point

Row = dict[str, Any]


def audit_figures(path: str | Path = PUBLISHED) -> pd.DataFrame:
    """Return audit_figures.csv: a row for each comparison, in columns COLUMNS.

    check: one of CHECKS; printed: the figure as printed (NaN where there is none); compared: what it is compared with,
    and `compared_with` says what that is; tolerance: how far apart rounding alone may bring the two; verdict: one of
    VERDICTS. Raises InputError as `read_as_printed` does.
    """
    table = read_as_printed(path)
    found = [
        *_against_result_files(table), *_differences(table), *_tests(table), *_rates(table), *_first_losses(table),
        *_units(table), *_cited(table), *_majority(table), *_unmasked(table), *_statements(table),
    ]  # fmt: skip
    return pd.DataFrame(found, columns=COLUMNS)


def read_as_printed(path: str | Path = PUBLISHED) -> pd.DataFrame:
    """Return the table of published figures as text, so that "0.80" keeps its digits.

    Raises InputError when the file is missing or lacks a column, or when a figure is no number.
    """
    known = set(read_published(path).columns)
    if not {"unit", "note"} <= known:
        raise InputError(f"{path}: expected the columns unit and note")
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    for name in ("value", "sd"):
        wrong = [text for text in table[name] if text and not re.fullmatch(r"-?\d+(\.\d+)?", text)]
        if wrong:
            raise InputError(f"{path}: {name} {wrong[0]!r}; expected a decimal number")
    return table


def half_digit(text: str) -> float:
    """Return half of the last digit of a printed number: "0.80" gives 0.005, "3090" gives 0.5."""
    return 0.5 * 10.0 ** Decimal(text).as_tuple().exponent


def count_verdicts(table: pd.DataFrame) -> pd.DataFrame:
    """Return how many comparisons of audit_figures.csv have which verdict, by check and quantity."""
    counted = table.groupby(["check", "quantity", "verdict"], sort=False).size().unstack(fill_value=0)
    return counted.reindex(columns=list(VERDICTS), fill_value=0).reset_index().rename_axis(columns=None)


def findings_figures(table: pd.DataFrame) -> str:
    """Return Markdown sentences on audit_figures.csv: what a result file confirms, and what it does not."""
    files = table[table["check"] == "result_file"]
    parts = [f"{_ratio(files[files['quantity'] == name])} {words}" for name, words in
             (("mean", "printed means"), ("sd", "printed standard deviations"))]  # fmt: skip
    text = f"Beside the study's own result files, {' and '.join(parts)} agree. "
    text += f"Of the printed differences in percent, {_ratio(table[table['check'] == 'difference'])} follow from the "
    text += "printed means. "
    swapped = int(files["detail"].str.startswith("equals").sum())
    if swapped:
        text += f"{swapped} of the standard deviations that differ are the mean of the other side. "
    missing = table[(table["check"] == "tested") & (table["verdict"] == "missing")]
    if len(missing):
        names = " and ".join(_label(name) for name in missing["item"])
        text += f"The test of {names} is not in the table of tests, though the public result file allows it. "
    return text.rstrip()


def _label(item: str) -> str:
    return METRICS[item].label if item in METRICS else item.replace("_", " ")


def _ratio(rows: pd.DataFrame) -> str:
    return f"**{(rows['verdict'] == 'agrees').sum()} of {len(rows)}**"


def _row(check: str, row: Any, quantity: str, verdict: str, **more: Any) -> Row:
    named = {"check": check, "item": row.item, "side": row.side, "quantity": quantity, "unit": row.unit}
    numbers = dict.fromkeys(("printed", "compared", "tolerance"), np.nan)
    return named | numbers | {"compared_with": "", "verdict": verdict, "detail": ""} | more


def _compare(check: str, row: Any, quantity: str, printed: str, other: str, source: str, detail: str = "") -> Row:
    """Return the comparison of two printed numbers; `detail` is kept where they differ."""
    tolerance = half_digit(printed) + half_digit(other)
    agrees = abs(float(printed) - float(other)) <= tolerance + SLACK
    numbers = {"printed": float(printed), "compared": float(other), "tolerance": tolerance, "compared_with": source}
    return _row(check, row, quantity, "agrees" if agrees else "differs", detail="" if agrees else detail, **numbers)


def _printed(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["source"].str.startswith("paper")]


def _of(table: pd.DataFrame, item: str, side: str, source: str = "") -> Any:
    """Return the first row of an item, side and source ("" for any) as a named tuple; None where there is none."""
    rows = table[(table["item"] == item) & (table["side"] == side) & table["source"].str.startswith(source)]
    return next(rows.itertuples(), None)


def _against_result_files(table: pd.DataFrame) -> Iterator[Row]:
    for row in _printed(table).itertuples():
        file = _of(table, row.item, row.side, RESULTS)
        noted = RESULT_IN_NOTE.search(row.note)
        if file is None and noted is None:
            continue
        value, sd = (file.value, file.sd) if file is not None else noted.groups()
        yield _compare("result_file", row, "mean", row.value, value, RESULTS)
        if row.sd and sd:
            yield _compare("result_file", row, "sd", row.sd, sd, RESULTS, _swapped(table, row))


def _swapped(table: pd.DataFrame, row: Any) -> str:
    """Return words for a printed standard deviation that is the mean printed for another side; "" where it is not."""
    others = table[(table["item"] == row.item) & (table["source"] == row.source) & (table["side"] != row.side)]
    same = [other for other in others.itertuples() if other.value and Decimal(other.value) == Decimal(row.sd)]
    return f"equals the printed mean of {same[0].side}" if same else ""


def _differences(table: pd.DataFrame) -> Iterator[Row]:
    """Compare printed differences (percent of the real mean) with those of the printed means.

    The means are rounded too: the tolerance is what their last digits may do to the difference, and half a digit of it.
    """
    for row in _printed(table[table["side"] == "difference"]).itertuples():
        real, generated = (_of(table, row.item, side, row.source) for side in ("real", "generated"))
        if real is None or generated is None:
            continue
        r, g = float(real.value), float(generated.value)
        ends = [
            difference_percent(r + a * half_digit(real.value), g + b * half_digit(generated.value))
            for a in (-1, 1) for b in (-1, 1)
        ]  # fmt: skip
        computed = difference_percent(r, g)
        tolerance = max(abs(end - computed) for end in ends) + half_digit(row.value)
        agrees = abs(float(row.value) - computed) <= tolerance + SLACK
        numbers = {"printed": float(row.value), "compared": computed, "tolerance": tolerance}
        verdict = "agrees" if agrees else "differs"
        yield _row("difference", row, "difference", verdict, compared_with="the printed means", **numbers)


def _tests(table: pd.DataFrame) -> Iterator[Row]:
    metrics = [row for row in _printed(table).itertuples() if row.source == MEANS and row.side == "real"]
    for row in metrics:
        test = _of(table, f"ks_{row.item}", "pair", TESTS)
        recomputed = _of(table, f"ks_{row.item}", "pair", "recomputed")
        if test is not None:
            yield _row("tested", row, "KS distance", "agrees", printed=float(test.value), unit="D")
        elif recomputed is not None:
            words = {"compared_with": recomputed.source, "detail": recomputed.note, "unit": "D"}
            yield _row("tested", row, "KS distance", "missing", compared=float(recomputed.value), **words)
    known = {f"ks_{row.item}" for row in metrics}
    for row in table[table["source"] == TESTS].itertuples():
        if row.item not in known:
            verdict = "agrees" if float(row.value) > 0 else "differs"
            words = {"compared_with": "above 0", "detail": row.note}
            yield _row("informative", row, "KS distance", verdict, printed=float(row.value), **words)


def _rates(table: pd.DataFrame) -> Iterator[Row]:
    """Compare the sample rates of the two sides; where they differ, also what only one side can hold."""
    real, generated = (_of(table, "sample_rate", side) for side in ("real", "generated"))
    if real is None or generated is None:
        return
    row = _compare("one_rate", real, "sample rate", real.value, generated.value, "the generated side", generated.note)
    yield row
    above = next(table[table["item"].str.startswith("real_rolloff_above")].itertuples(), None)
    if row["verdict"] == "differs" and above is not None:
        verdict = "agrees" if float(above.value) == 0 else "differs"
        numbers = {"printed": float(above.value), "compared": 0.0, "compared_with": "what the generated side can hold"}
        yield _row("one_rate", above, "clips", verdict, detail=above.note, **numbers)


def _first_losses(table: pd.DataFrame) -> Iterator[Row]:
    bound = float(np.log(CODEBOOK_SIZE))
    for row in _printed(table[table["item"].str.endswith("_loss_first")]).itertuples():
        tolerance = half_digit(row.value)
        verdict = "agrees" if float(row.value) - tolerance <= bound + SLACK else "differs"
        numbers = {"printed": float(row.value), "compared": bound, "tolerance": tolerance}
        words = {"compared_with": f"ln {CODEBOOK_SIZE}", "detail": row.note}
        yield _row("first_loss", row, "loss", verdict, **numbers, **words)


def _units(table: pd.DataFrame) -> Iterator[Row]:
    for row in _printed(table).itertuples():
        named = UNIT_IN_FACT.search(row.unit)
        if named:
            said, fact = named.groups()
            value = float(row.value) * IN_UNIT.get((fact, said), np.nan)
            words = {"compared_with": f"the same value in {said}"}
            words["detail"] = f"{said} in the paper; the values are in {fact}"
            yield _row("unit", row, "unit", NOTED, printed=float(row.value), compared=value, **words)
        elif "unit is not given" in row.note:
            yield _row("unit", row, "unit", NOTED, printed=float(row.value), detail=row.note)


def _cited(table: pd.DataFrame) -> Iterator[Row]:
    for cited in table[table["side"] == "cited"].itertuples():
        row = next(_printed(table[table["item"] == cited.item]).itertuples(), None)
        if row is not None:
            yield _compare("cited", row, "value", row.value, cited.value, cited.source, row.note)


def _majority(table: pd.DataFrame) -> Iterator[Row]:
    """Check the claim that the frozen codec holds most of the parameters, from the numbers of both parts."""
    claim = next(table[table["item"] == "codec_parameters_claim"].itertuples(), None)
    codec, trained = _of(table, "codec_parameters", "cited"), _of(table, "trainable_parameters", "model", "paper")
    if claim is None or codec is None or trained is None:
        return
    share = 100 * float(codec.value) / (float(codec.value) + float(trained.value))
    verdict = "agrees" if share > 50 else "differs"
    words = {"unit": "percent", "compared_with": f"{codec.source} beside the printed trainable ones"}
    yield _row("claim", claim, "share of parameters", verdict, compared=share, detail=claim.note, **words)


def _unmasked(table: pd.DataFrame) -> Iterator[Row]:
    """Check the formula for the number of codes to unmask: over all steps they must add up to the codes there are."""
    row = next(table[table["item"] == "unmask_count_formula"].itertuples(), None)
    if row is None:
        return
    n_steps = DecodingConfig().steps_per_level[0]
    total = sum(n_masked_after(step, n_steps, FRAMES) for step in range(1, n_steps + 1))
    numbers = {"printed": float(total), "compared": float(FRAMES), "unit": "codes"}
    words = {"compared_with": f"the codes of one level, {n_steps} steps", "detail": row.note}
    yield _row("claim", row, "codes unmasked in all", "agrees" if total == FRAMES else "differs", **numbers, **words)


def _statements(table: pd.DataFrame) -> Iterator[Row]:
    computed = ("codec_parameters_claim", "unmask_count_formula")
    for row in _printed(table).itertuples():
        if not row.value and row.item not in computed:
            words = {"compared_with": "the public code and its results", "detail": row.note}
            yield _row("statement", row, "statement", NOTED, **words)
