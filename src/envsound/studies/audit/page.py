"""The page on the audit of the published study: tables, figures and numbers from a published report of notebook 16.

The tables in FROZEN were computed once, by rules on the table of published figures, which does not change; no run makes
them any more.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from envsound.base.files import read_csv, read_json
from envsound.base.text import NOT_RUN, cell, dropdown, markdown_table, percent, wide
from envsound.metrics.acoustic import METRICS
from envsound.report import facts as report_facts
from envsound.report.fragments import Staging, field_list, not_published, with_interval
from envsound.run.publish import ReportKind

NAME, STEP, PAGE = "audit", "16_audit_published_study", "studies/audit.md"
MADE, FROZEN = ("rates", "snr", "padding", "protocol"), ("checks", "figures", "ks", "classes", "bases")
FROZEN_FILES = tuple(f"figures/{name}.{kind}" for name in ("agreement", "intervals") for kind in ("png", "pdf"))
FROZEN_FILES += tuple(f"audit_{name}.csv" for name in FROZEN)
MADE_FILES, MORE = tuple(f"audit_{name}.csv" for name in MADE), ("audit_protocol_runs.csv", "audit_clips.csv")
REPORTS = (ReportKind(MADE_FILES, "a finished report of notebook 16", MORE, NAME, frozen=FROZEN_FILES),)
CAPTIONS = {
    "agreement": "What is printed over what the study's result files hold; filled marks agree within rounding.",
    "rates": "The very same clips at two rates. Left: distances, beside the published. Right: their share of those.",
    "snr": "The metric called SNR against the centroid, and against the true ratio of added white noise.",
    "padding": "Losses with frame masks and with padding by a valid code, before and after an equal training.",
    "protocol": "What each departure from a sound protocol adds to the accuracy of one small classifier.",
    "intervals": "The published distances and accuracies, with the intervals that their numbers of clips allow.",
}
MEASURES = {
    "rho_snr_centroid": "rank correlation of the SNR with the centroid",
    "snr_db": "the SNR of clips with white noise added (dB)",
    "slope": "change of the SNR for each dB of the true ratio (a signal-to-noise ratio: 1)",
    "white_noise": "the SNR of white noise alone (dB)",
}
VARIANTS = {"masks": "frame masks", "padded": "padded with a valid code"}
VERDICTS = ["agrees", "differs", "missing", "noted"]
Row = Mapping[str, Any]
_value = partial(with_interval, name="value", form="{:.3g}")
_share = partial(with_interval, name="share", form="{:.1%}")


@dataclass(frozen=True)
class Part:
    """A table of the page: its csv, header and cells; `prepare` chooses or sums up rows, `title` is to unfold it."""

    table: str
    header: str
    cells: Callable[[Row], list[str]]
    kind: str = ""
    title: str = ""
    prepare: Callable[[pd.DataFrame], pd.DataFrame] = lambda table: table

    def lines(self, table: pd.DataFrame) -> list[str]:
        """Return the table as Markdown."""
        rows = [self.cells(row) for row in self.prepare(table).to_dict("records")]
        found = wide(markdown_table(self.header.split(" | "), rows), self.kind)
        return dropdown(self.title, found) if self.title else found


def stage(book: Staging) -> None:
    """Write what the page includes: executed/audit/origin.txt, a table for each of PARTS, the figures of CAPTIONS."""
    folder = book.published / NAME
    there = (folder / "provenance.json").is_file()
    book.write("audit/origin.txt", _origin(folder) if there else not_published("audit"))
    for name, part in PARTS.items():
        table = _table(folder, part.table)
        links = book.downloads([folder / f"audit_{part.table}.csv"], PAGE)
        book.write(f"audit/{name}.txt", [f"*{NOT_RUN}*"] if table.empty else [*part.lines(table), *links])
    for name, words in CAPTIONS.items():
        figure = book.figure(folder / "figures" / f"{name}.png", words, PAGE, NAME)
        book.write(f"audit/figure_{name}.txt", figure)


def facts(published: Path) -> Mapping[str, Any]:
    """Return the numbers of the page's prose as `audit`: a branch for each table of NUMBERS, and the codec."""
    folder = Path(published) / NAME
    tables = {name: _table(folder, name) for name in NUMBERS}
    found = {name: NUMBERS[name](table) for name, table in tables.items() if not table.empty}
    if (folder / "provenance.json").is_file():
        found["codec"] = _codec(_noted(folder), folder / "codec.json")
    return {NAME: report_facts.facts(found)}


def label(name: str) -> str:
    """Return the words for a metric, or for another name of a published figure."""
    name = str(name).removesuffix("_claim")
    return METRICS[name].label if name in METRICS else name.replace("_", " ")


def _table(folder: Path, name: str) -> pd.DataFrame:
    path = folder / f"audit_{name}.csv"
    return read_csv(path) if path.is_file() else pd.DataFrame()


def _noted(folder: Path) -> dict[str, Any]:
    return read_json(folder / "provenance.json")["steps"][STEP]["facts"]


def _points(row: Row) -> str:
    return with_interval(row, "difference", "{:.1%}").replace("%", "")


def _origin(folder: Path) -> list[str]:
    given, noted, made = report_facts.step_record(folder, STEP)
    fields = {
        "Published figures": "`data/published/published_study.csv`, typed from paper, result files and code",
        "Clips for what is re-run": f"{noted['data_cut']} ({noted['kind']})",
        "Codec": noted["codec"],
        "Seeds of the classifiers": ", ".join(map(str, given["seeds"])),
        "Seeds of the padding": ", ".join(map(str, given["padding_seeds"])),
        **made,
    }
    return field_list(fields)


def _codec(noted: Row, card: Path) -> dict[str, Any]:
    """Return what the codec of a report was trained on, where the card of the codec that ships is of the same one."""
    known = read_json(card) if card.is_file() else {}
    training = known["training"] if known.get("content_hash") == noted["codec_hash"] else {}
    return {"name": noted["codec"]} | {key: training.get(key) for key in ("material", "held_out_fold")}


def _padding_means(table: pd.DataFrame) -> pd.DataFrame:
    groups = table.groupby(["variant", "step", "targets"], sort=False, as_index=False)
    return groups.agg(mean=("loss", "mean"), least=("loss", "min"), most=("loss", "max"), share=("share", "mean"))


def _figure_numbers(table: pd.DataFrame) -> dict[str, Any]:
    """Every comparison by item, side and quantity; how many deviations are `swapped`; the `spread` of a first loss.

    Scores without any knowledge, normal with this standard deviation, would cost the printed first training loss.
    """
    first = table[table["item"] == "train_loss_first"].iloc[0]
    spread = f"{np.sqrt(2 * (first['printed'] - first['compared'])):.1f}"
    more = {"swapped": int(table["detail"].str.startswith("equals").sum()), "spread": spread}
    return report_facts.keyed(table, ("item", "side", "quantity")) | more


def _snr_numbers(table: pd.DataFrame) -> dict[str, Any]:
    """By measure, with _high or _low for the rate and _20 for a true ratio of 20 dB, where it has one."""
    top, found = table["rate_hz"].max(), {}
    for row in table.to_dict("records"):
        ratio = "" if pd.isna(row["true_snr_db"]) else f"_{row['true_snr_db']:g}"
        found[f"{row['measure']}_{'high' if row['rate_hz'] == top else 'low'}{ratio}"] = row | {"value": _value(row)}
    return found


def _padding_numbers(table: pd.DataFrame) -> dict[str, Any]:
    """Mean losses by variant and targets after training, and `untrained`; `harm`, padded less masked, by seed."""
    means, last = _padding_means(table), table[table["step"] > 0]
    after = means[means["step"] > 0].set_index(["variant", "targets"])
    found = {f"{variant}_{targets}": f"{row['mean']:.2f}" for (variant, targets), row in after.iterrows()}
    real = last[last["targets"] == "real"].pivot(index="seed", columns="variant", values="loss")
    found["harm"] = ", ".join(f"{value:+.2f}" for value in real["padded"] - real["masks"])
    found |= {"untrained": f"{means['mean'].iloc[0]:.2f}", "steps": int(table["step"].max()), "n_seeds": len(real)}
    return found | {"constant": f"{percent(after.loc[('padded', 'constant'), 'share'], 0)}%"}


def _protocol_numbers(table: pd.DataFrame) -> dict[str, Any]:
    """By comparison, such as epoch_level_0: the `gain` in points, accuracies, and the share of `shared` sources."""
    found = {}
    for row in table.to_dict("records"):
        more = {"gain": _points(row), "shared": f"{percent(row['shared_sources_first'], 0)}%"}
        more |= {side: f"{percent(row[f'accuracy_{side}'])}%" for side in ("first", "second")}
        found[row["comparison"].replace(",", "").replace(" ", "_")] = row | more
    return found


PARTS = {
    "checks": Part(
        "checks", " | ".join(["check", "of", *VERDICTS]),
        lambda row: [row["words"], row["quantity"], *(str(row[name]) for name in VERDICTS)], "names",
    ),
    "odd": Part(
        "figures", "figure | quantity | printed | compared | with | verdict | detail",
        lambda row: [f"{label(row['item'])}, {row['side']}", row["quantity"], cell(row["printed"], 4),
                     cell(row["compared"], 4), row["compared_with"], row["verdict"], row["detail"]],
        "notes", "Every figure that does not agree",
        lambda table: table[table["verdict"] != "agrees"].fillna({"compared_with": "", "detail": ""}),
    ),
    "rates": Part(
        "rates", "metric | higher rate | lower rate | change | D | published D | published: real → generated | share",
        lambda row: [METRICS[row["metric"]].axis_label,
                     *(f"{cell(row[f'mean_{end}'])} ± {cell(row[f'sd_{end}'], 2)}" for end in ("high", "low")),
                     with_interval(row, "change", "{:,.4g}"), cell(row["ks"], 2), cell(row["published_ks"], 2),
                     f"{cell(row['published_real'])} → {cell(row['published_generated'])}",
                     _share(row)],
    ),
    "snr": Part(
        "snr", "measure | true ratio (dB) | rate (Hz) | value | sd over clips | n | published",
        lambda row: [MEASURES[row["measure"]], cell(row["true_snr_db"]), f"{row['rate_hz']:,}", _value(row),
                     cell(row["sd"]), str(row["n"]), cell(row["published"])],
        "notes", "Show the table",
    ),
    "padding": Part(
        "padding", "padding | model | targets | loss (nat) | over seeds | share of targets",
        lambda row: [VARIANTS[row["variant"]], f"{row['step']} steps" if row["step"] else "untrained", row["targets"],
                     f"{row['mean']:.3f}", f"{row['least']:.3f} to {row['most']:.3f}", f"{percent(row['share'], 0)}%"],
        prepare=_padding_means,
    ),
    "protocol": Part(
        "protocol", "comparison | first | accuracy | second | accuracy | first less second (points)",
        lambda row: [row["comparison"], row["first"], f"{percent(row['accuracy_first'])}%", row["second"],
                     f"{percent(row['accuracy_second'])}%", _points(row)],
        "notes",
    ),
    "ks": Part(
        "ks", "metric | in the paper | D | 95%, conservative | p | p (Holm) | verdict",
        lambda row: [label(row["metric"]), "yes" if row["in_paper"] else "no", cell(row["statistic"], 2),
                     f"{cell(row['statistic_low'], 2)} to {cell(row['statistic_high'], 2)}", cell(row["p_value"], 2),
                     cell(row["p_holm"], 2), row["verdict"]],
    ),
    "classes": Part(
        "classes", "accuracy | printed | if over | Wilson 95% | possible",
        lambda row: [f"{row['group']}: {label(row['category'])}", f"{100 * row['accuracy']:g}%",
                     f"{row['basis']}, n = {row['n']}", f"{percent(row['low'], 0)}% to {percent(row['high'], 0)}%",
                     "yes" if row["reachable"] else f"no; nearest {percent(row['nearest'])}%"],
    ),
}  # fmt: skip
NUMBERS = {
    "checks": lambda table: report_facts.keyed(table.assign(of=table[VERDICTS].sum(axis=1)), ("check", "quantity")),
    "figures": _figure_numbers,
    "rates": lambda table: {row["metric"]: row | {"share": _share(row)} for row in table.to_dict("records")},
    "snr": _snr_numbers,
    "padding": _padding_numbers,
    "protocol": _protocol_numbers,
    "ks": lambda table: report_facts.keyed(table, ("metric",)),
    "bases": lambda table: report_facts.keyed(table, ("basis",)),
}
