"""The book's chapter on the audit of the published study, from a published report of notebook 16."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from envsound.base.files import read_json, write_text
from envsound.base.text import dropdown, markdown_table, number, wide
from envsound.book.published import SYNTHETIC_NOTE
from envsound.codec import BUNDLED
from envsound.metrics.acoustic import METRICS
from envsound.metrics.published import PUBLISHED
from envsound.report.assets import Assets
from envsound.report.facts import run_origin
from envsound.run.publish import ReportKind
from envsound.studies.audit.padding import VARIANTS, findings_padding
from envsound.studies.audit.protocol import findings_protocol
from envsound.studies.audit.published_figures import CHECKS, VERDICTS, count_verdicts, findings_figures
from envsound.studies.audit.rates import findings_rates
from envsound.studies.audit.run import TABLES, AuditReport, read_report
from envsound.studies.audit.snr import METRIC, RHO, WORDS, findings_snr
from envsound.studies.audit.statistics import findings_classes, findings_ks
from envsound.studies.audit.verdicts import verdict_list, verdicts

AUDIT_REPORT = "audit"  # the folder in data/published, and in data/runs, that holds such reports
REPORTS = (
    ReportKind(
        tuple(f"audit_{name}.csv" for name in ("figures", "rates", "snr", "padding", "protocol", "ks", "classes")),
        "a finished report of notebook 16",
        ("audit_protocol_runs.csv", "audit_clips.csv"),
        AUDIT_REPORT,
    ),
)
STEP = "16_audit_published_study"
CARD = BUNDLED.with_name("card.json")
PARTS = ("verdicts", "figures", "rates", "snr", "padding", "protocol", "intervals")
NOTHING = """:::{admonition} Not run here
This copy of the repository holds no `data/published/audit/`: the audit has not been run, and this page has no number.
The commands at the end of it run it.
:::"""
NOT_RUN = "*not run here*"
WORDS_OF = {
    "agreement": "What is printed over what the study's result files hold; filled marks agree within rounding.",
    "rates": "What the sample rate alone does: the very same clips at two rates, beside the published distances.",
    "snr": "The metric called SNR against the centroid, and against the true ratio of added white noise.",
    "padding": "Losses with frame masks and with padding by a valid code, before and after an equal training.",
    "protocol": "What each departure from a sound protocol adds to the accuracy of one small classifier.",
    "intervals": "The published distances and accuracies, with the intervals that their numbers of clips allow.",
}


def stage_audit(folder: str | Path, assets: Assets, book_dir: str | Path, study: str | Path = PUBLISHED) -> None:
    """Write what the chapter includes, executed/audit/<part>.txt for each of PARTS.

    `folder` is data/published/audit; where it holds no report the first is a box that says so, the others a line.
    study: the table of published figures.
    """
    folder, book_dir = Path(folder), Path(book_dir)
    found = {part: [NOT_RUN] for part in PARTS} | {PARTS[0]: [NOTHING]}
    if all((folder / name).is_file() for name in (*(f"{table}.csv" for table in TABLES), "provenance.json")):
        facts = read_json(folder / "provenance.json")["steps"][STEP]["facts"]
        report = read_report(folder, facts)
        found = _fragments(report, study) | {"verdicts": [*_origin(folder, report), "", verdict_list(verdicts(report))]}
        for part in PARTS[1:]:
            found[part] = [*found[part], *_figure(folder, part, assets, book_dir / "audit.md")]
    for part, lines in found.items():
        write_text(book_dir / "executed" / "audit" / f"{part}.txt", "\n".join(lines) + "\n")


def counts_table(figures: pd.DataFrame) -> list[str]:
    """Return how many comparisons agree, differ, are missing or only noted, by check, as a Markdown table."""
    counted = count_verdicts(figures)
    rows = [
        [CHECKS[row["check"]], row["quantity"], *(str(row[name]) for name in VERDICTS)]
        for row in counted.to_dict("records")
    ]
    return markdown_table(["check", "of", *VERDICTS], rows)


def odd_table(figures: pd.DataFrame) -> list[str]:
    """Return every comparison of audit_figures.csv that does not agree, as a Markdown table."""
    rows = [
        [f"{_label(row['item'])}, {row['side']}", row["quantity"], number(row["printed"]), number(row["compared"]),
         row["compared_with"], row["verdict"], row["detail"]]
        for row in figures[figures["verdict"] != "agrees"].to_dict("records")
    ]  # fmt: skip
    header = ["figure", "quantity", "printed", "compared", "with", "verdict", "detail"]
    return markdown_table(header, rows)


def rates_table(rates: pd.DataFrame) -> list[str]:
    """Return audit_rates.csv as a Markdown table."""
    high, low = (f"{rates.iloc[0][f'rate_{end}_hz']:,} Hz" for end in ("high", "low"))
    header = ["metric", high, low, "change", "D", "published D", "published: real → generated", "share explained"]
    rows = []
    for row in rates.to_dict("records"):
        sides = [f"{number(row[f'mean_{end}'], 3)} ± {number(row[f'sd_{end}'], 2)}" for end in ("high", "low")]
        change = _interval(row["change"], row["change_low"], row["change_high"])
        arrow = f"{number(row['published_real'], 3)} → {number(row['published_generated'], 3)}"
        share = _interval(*(100 * row[f"share{end}"] for end in ("", "_low", "_high")), unit="%")
        distances = [number(row[name], 2) for name in ("ks", "published_ks")]
        rows.append([METRICS[row["metric"]].axis_label, *sides, change, *distances, arrow, share])
    return markdown_table(header, rows)


def snr_table(snr: pd.DataFrame) -> list[str]:
    """Return audit_snr.csv as a Markdown table."""
    rows = []
    for row in snr.to_dict("records"):
        words = WORDS[row["measure"]]
        if row["measure"] == METRIC:
            ratio = row["true_snr_db"]
            words += ", without noise" if pd.isna(ratio) else f", at {ratio:g} dB"
        published = number(row["published"], 3) if row["measure"] == RHO else ""
        value = _interval(row["value"], row["low"], row["high"])
        rows.append([words, f"{row['rate_hz']:,} Hz", value, number(row["sd"], 3), str(row["n"]), published])
    return markdown_table(["", "rate", "value", "sd over clips", "n", "published"], rows)


def padding_table(padding: pd.DataFrame) -> list[str]:
    """Return audit_padding.csv as a Markdown table, means over seeds."""
    groups = padding.groupby(["variant", "step", "targets"], sort=False)
    rows = [
        [VARIANTS[variant], "untrained" if step == 0 else f"{step} steps", targets, f"{part['loss'].mean():.3f}",
         f"{part['loss'].min():.3f} to {part['loss'].max():.3f}", f"{part['share'].mean():.0%}"]
        for (variant, step, targets), part in groups
    ]  # fmt: skip
    return markdown_table(["padding", "model", "targets", "loss (nat)", "over seeds", "share of targets"], rows)


def protocol_table(protocol: pd.DataFrame) -> list[str]:
    """Return audit_protocol.csv as a Markdown table."""
    rows = []
    for row in protocol.to_dict("records"):
        gained = _interval(*(100 * row[name] for name in ("difference", "low", "high")), unit=" points")
        accuracies = [f"{row[f'accuracy_{side}']:.1%}" for side in ("first", "second")]
        rows.append([row["comparison"], row["first"], accuracies[0], row["second"], accuracies[1], gained])
    return markdown_table(["", "first", "accuracy", "second", "accuracy", "first less second"], rows)


def ks_table(ks: pd.DataFrame) -> list[str]:
    """Return audit_ks.csv as a Markdown table."""
    rows = [
        [_label(row["metric"]), "yes" if row["in_paper"] else "no", number(row["statistic"], 2),
         f"{number(row['statistic_low'], 2)} to {number(row['statistic_high'], 2)}", _p(row["p_value"]),
         _p(row["p_holm"]), row["verdict"]]
        for row in ks.to_dict("records")
    ]  # fmt: skip
    return markdown_table(["metric", "in the paper", "D", "95%, conservative", "p", "p (Holm)", "verdict"], rows)


def classes_table(classes: pd.DataFrame) -> list[str]:
    """Return audit_classes.csv as a Markdown table."""
    rows = [
        [f"{row['group']}: {_label(row['category'])}", f"{100 * row['accuracy']:g}%", f"{row['basis']}, n = {row['n']}",
         f"{row['low']:.0%} to {row['high']:.0%}", "yes" if row["reachable"] else f"no; nearest {row['nearest']:.1%}"]
        for row in classes.to_dict("records")
    ]  # fmt: skip
    return markdown_table(["accuracy", "printed", "if over", "Wilson 95%", "possible"], rows)


def codec_words(audited: dict[str, Any], card: str | Path = CARD) -> str:
    """Return a sentence on the codec whose codes the classifiers were given: what it was trained on, if that is known.

    audited: the facts of a report; card: of the codec that ships, which is named where its hash is that of the report.
    """
    known, name = read_json(card) if Path(card).is_file() else {}, audited["codec"]
    if not known or known.get("content_hash") != audited.get("codec_hash"):
        return f"The classifiers are given codes of the codec {name}; what it was trained on is not known here."
    made = known["training"]
    return (
        f"The classifiers, of every test fold, are given codes of one codec ({name}). It was trained, without labels, "
        f"on {made['material']}. So of these folds it has met clips of every one but {made['held_out_fold']}, the test "
        "folds too; that is the same on both sides of a comparison."
    )


def _fragments(report: AuditReport, study: str | Path) -> dict[str, list[str]]:
    """Return the lines of every part but the verdicts and the figures."""
    figures, rates = report["audit_figures"], report["audit_rates"]
    size = int(report.facts["codebook_size"])
    return {
        "figures": [findings_figures(figures), "", *wide(counts_table(figures), "names"),
                    *_more("Every figure that does not agree", odd_table(figures))],
        "rates": [findings_rates(rates, report.rates), "", *(wide(rates_table(rates)) if len(rates) else [])],
        "snr": [findings_snr(report["audit_snr"]), "", *_more("Show the table", snr_table(report["audit_snr"]))],
        "padding": [findings_padding(report["audit_padding"], size, study), "",
                    *wide(padding_table(report["audit_padding"]))],
        "protocol": [f"{findings_protocol(report['audit_protocol'])} {codec_words(report.facts)}", "",
                     *wide(protocol_table(report["audit_protocol"]), "notes")],
        "intervals": [findings_ks(report["audit_ks"]), "", *wide(ks_table(report["audit_ks"])),
                      findings_classes(report["audit_classes"]), "", *wide(classes_table(report["audit_classes"]))],
    }  # fmt: skip


def _origin(folder: Path, report: AuditReport) -> list[str]:
    record, run = read_json(folder / "provenance.json")["steps"][STEP], run_origin(folder)
    fields: dict[str, Any] = {
        "Published figures": f"`{PUBLISHED.as_posix()}`, typed from the paper, its result files and its code",
        "Clips for what is re-run": report.facts.get("data_cut"),
        "Codec": report.facts.get("codec"),
        "Seeds of the classifiers": ", ".join(map(str, record["parameters"].get("seeds", []))),
        "Seeds of the padding": ", ".join(map(str, record["parameters"].get("padding_seeds", []))),
        "Commit": run.get("commit"),
        "Machine": run.get("device"),
    }
    lines = [f":{name}: {value}" for name, value in fields.items() if value]
    if report.facts.get("kind", "").startswith("synthetic"):
        lines += ["", ":::{note}", SYNTHETIC_NOTE.replace("Your run", "This audit"), ":::"]
    return lines


def _figure(folder: Path, part: str, assets: Assets, page: Path) -> list[str]:
    name = {"figures": "agreement"}.get(part, part)
    link = assets.link(folder / "figures" / f"{name}.png", "audit", page)
    words = WORDS_OF[name]
    return [f"```{{figure}} {link}", f":alt: {words}", ":width: 100%", "", words, "```", ""] if link else []


def _more(title: str, table: Sequence[str]) -> list[str]:
    return dropdown(title, wide(list(table), "notes"))


def _interval(value: float, low: float, high: float, unit: str = "") -> str:
    if pd.isna(value):
        return "–"
    return f"{number(value, 3)}{unit}" + ("" if pd.isna(low) else f" ({number(low, 3)} to {number(high, 3)})")


def _p(value: float) -> str:
    return "–" if pd.isna(value) else f"{value:.1e}" if value < 1e-3 else f"{value:.3f}"


def _label(name: str) -> str:
    name = name.removesuffix("_claim")
    return METRICS[name].label if name in METRICS else name.replace("_", " ")
