"""The report on folders of audio: one HTML file for any browser, with tables and figures inside and nothing to load."""

import base64
import html
import re
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.text import Text

from envsound.base.errors import InputError
from envsound.base.files import read_json, write_text
from envsound.base.text import number
from envsound.evaluation.compare import Evaluation
from envsound.evaluation.controls import SYSTEMS
from envsound.evaluation.folders import LEFT_OUT
from envsound.evaluation.tables import findings_evaluation
from envsound.metrics.acoustic import METRICS, PAIRWISE
from envsound.metrics.extended import GROUPS, PER_CLIP
from envsound.report import figures_evaluation
from envsound.report.stand_ins import NOTICE, is_synthetic, relabel
from envsound.report.style import save_figure

STEP = "04_metrics"  # whose record says how the report was made
NAME = "report.html"
GIVEN = ("clip_seconds", "min_seconds", "real_seed", "metrics", "n_resamples")  # parameters that count for folders
GIVEN_OF_RUNS = ("fold", "n_real", "real_folds", "train_folds", "codec")  # and where one side is a run's
WORDS = {"real": "real", "generated": "generated", "codec": "codec", "real_other": "other real"}
FIGURES = {
    "metric_distributions": "The published metrics. Upper panels: histograms of real (filled) and generated clips "
    "(outline). Lower panels: the share of clips at or below each value; the bar is the largest gap, D.",
    "evaluation_overview": "Every metric against the real clips. Bold: equality is rejected at 5% after Holm. Right: "
    "distances in standard deviations of the real clips, with 95% intervals.",
    "evaluation_octaves": "Energy by octave, and power of the envelope by octave of modulation: medians over clips, "
    "with 95% intervals.",
    "evaluation_diversity": "How far two clips lie from each other on average over all metrics but the duration, two "
    "real clips being 1.",
}
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 80rem; margin: 2rem auto; padding: 0 1rem; color: #222;
  background: #fff; }
h1, h2 { line-height: 1.2; } h2 { margin-top: 2.2rem; } p, figure { max-width: 62rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: 13px; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid #ddd; text-align: right; vertical-align: top; }
th:first-child, td:first-child { text-align: left; } td { white-space: nowrap; }
.words th, .words td { text-align: left; } .words td + td { white-space: normal; overflow-wrap: anywhere; }
figure { margin: 1.5rem 0; } img { max-width: 100%; height: auto; } figcaption, .small { font-size: 13px; color: #555; }
"""
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
{body}
</body>
</html>
"""
NO_REPORT = (
    "A run leaves no report of its own: notebooks 05, 06 and 14 go on from here, and the book shows them. "
    "A comparison of folders does."
)
READING = (
    "Intervals are 95%, from resampled clips. *Cliff's delta*: the chance that a generated clip has the higher value "
    "than a real one, less the chance of the lower; 0 is no difference, 1 and −1 are sets that do not overlap. "
    "*Wasserstein distance*: the area between the two cumulative distributions, in the metric's unit and in standard "
    "deviations of the real clips. *D*: the largest gap between them (Kolmogorov and Smirnov), with its p value and "
    "that after Holm's correction over all tests of the table; one test alone rejects at 5% above the threshold. Where "
    "the clips are the real ones through the codec, each is tested beside its own original (*paired*). "
    "Where equality is not rejected it is not shown either, and two sets of real clips are not at distance 0: compare "
    "with such a pair."
)


def write_report(result: Evaluation, folder: str | Path, real_source: str | Path = "") -> str:
    """Write report.html into the folder of a comparison and return a line of Markdown that says where it is.

    Draws the figures of the effect sizes into `folder`/figures; takes how it was made from the folder's record of
    notebook 04. real_source: the folder or run of the real clips; where they are synthetic, figures and report say so.
    A run that is no comparison of folders gets no report. Raises InputError when the record is missing.
    """
    if result.effects is None:
        return NO_REPORT
    folder = Path(folder)
    record = read_json(folder / "provenance" / f"{STEP}.json")
    draw_figures(result, folder / "figures", real_source)
    write_text(folder / NAME, report_html(result, folder / "figures", record, is_synthetic(real_source)))
    return f"**The report is `{(folder / NAME).as_posix()}`**: one file for a browser, with all tables and figures."


def draw_figures(result: Evaluation, folder: Path, real_source: str | Path = "") -> None:
    """Write the figures of the effect sizes, and of diversity where it was measured, into `folder`."""
    table, diversity = result.effects.evaluation.assign(run=""), result.effects.diversity
    plain = diversity["category"].astype(str).str.replace("$", r"\$", regex=False)  # not the start of a formula
    drawn = {
        "evaluation_overview": figures_evaluation.overview(table),
        "evaluation_octaves": figures_evaluation.octave_curves(table),
    }
    if diversity["ratio"].notna().any():
        drawn["evaluation_diversity"] = figures_evaluation.diversity_dots(diversity.assign(category=plain))
    else:
        for kind in ("pdf", "png"):
            (folder / f"evaluation_diversity.{kind}").unlink(missing_ok=True)  # of an earlier comparison
    for name, figure in drawn.items():
        save_figure(relabel(_called_generated(figure), real_source), folder, name)


def report_html(result: Evaluation, figures: Path, record: dict[str, Any], synthetic: bool = False) -> str:
    """Return the report as one HTML page. record: of the step, as `provenance.step` writes it."""
    if result.effects is None or result.skipped is None:
        raise InputError("result: has no effect sizes; expected an evaluation of folders")
    title = " against ".join(result.sides[side]["folder"] for side in ("generated", "real"))
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        paragraph(NOTICE) if synthetic else "",
        paragraph(findings_evaluation(result.effects, model="generated side")),
        "<h2>What is compared</h2>",
        sides_table(result.sides),
        *(paragraph(note) for note in result.notes if not note.startswith(LEFT_OUT)),  # a table names all of them
        *skipped_part(result.skipped),
        "<h2>Values</h2>",
        values_table(result.effects.evaluation),
        *[part for system in result.sides if system != "real" for part in differences_part(result, system)],
        *pairs_part(result.pairs),
        *diversity_part(result.effects.diversity),
        "<h2>Figures</h2>",
        *[figure_html(figures / f"{name}.png", words) for name, words in FIGURES.items()],
        "<h2>What the metrics are</h2>",
        html_table(["metric", "what it is"], [[m.axis_label, m.note] for m in (PER_CLIP | METRICS).values()], "words"),
        *origin_part(record, result),
    ]
    return PAGE.format(title=html.escape(title), style=STYLE, body="\n".join(part for part in parts if part))


def paragraph(text: str) -> str:
    """Return a paragraph of a text with Markdown's bold, italics and code spans; all else in it is plain text."""
    pieces = re.split(r"`([^`]*)`", html.escape(text))  # what stands between backticks is at the odd places
    pieces[1::2] = [f"<code>{piece}</code>" for piece in pieces[1::2]]
    bold = [re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", piece) for piece in pieces[::2]]
    pieces[::2] = [re.sub(r"\*(.+?)\*", r"<em>\1</em>", piece) for piece in bold]
    return f"<p>{''.join(pieces)}</p>"


def html_table(header: list[str], rows: list[list[str]], kind: str = "") -> str:
    """Return a table that scrolls sideways on a narrow screen; every cell is plain text."""
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in header)
    body = ["<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows]
    opening = f'<div class="{f"wide {kind}".strip()}"><table><thead><tr>{head}</tr></thead><tbody>'
    return "\n".join([opening, *body, "</tbody></table></div>"])


def sides_table(sides: dict[str, dict[str, Any]]) -> str:
    """Return what each side is: folder, counts, rates and durations."""
    header = ["side", "folder", "found", "compared", "stored at (Hz)", "shortest (s)", "median (s)", "longest (s)",
              "together (s)"]  # fmt: skip
    rows = []
    for side, facts in sides.items():
        rates = ", ".join(str(rate) for rate in facts["stored_rates_hz"])
        seconds = [number(facts[f"{name}_s"]) for name in ("shortest", "median", "longest", "total")]
        counts = [number(facts[name]) for name in ("n_found", "n_compared")]
        rows.append([WORDS[side], facts["folder"] or "–", *counts, rates, *seconds])
    return html_table(header, rows)


def skipped_part(skipped: pd.DataFrame) -> list[str]:
    """Return the files that were left out, all of them, with the reason."""
    if skipped.empty:
        return ["<p>No file was left out.</p>"]
    rows = [[WORDS[row.side], row.clip, row.reason] for row in skipped.itertuples()]
    return ["<h3>Left out</h3>", html_table(["side", "file", "why"], rows, "words")]


def values_table(table: pd.DataFrame) -> str:
    """Return mean, standard deviation and median of each metric on each side, with their intervals."""
    systems = list(dict.fromkeys(table["system"]))
    parts = {"mean": "mean", "median": "median", "sd": "standard deviation"}
    header = ["metric", *(f"{words}, {WORDS[system]}" for words in (*parts.values(), "n") for system in systems)]
    found = {(row["metric"], row["system"]): row for row in table.to_dict("records")}
    rows = []
    for name in (name for group in GROUPS.values() for name in group):
        sides = [found[name, system] for system in systems]
        values = [interval(side, part) for part in parts for side in sides]
        rows.append([PER_CLIP[name].axis_label, *values, *map(_count, sides)])
    return html_table(header, rows)


def differences_part(result: Evaluation, system: str) -> list[str]:
    """Return the effect sizes and tests of one side against the real one."""
    table = result.effects.evaluation
    header = ["metric", "Cliff's delta", "Wasserstein distance", "in sd", "test", "D", "p", "p (Holm)", "threshold",
              "note"]  # fmt: skip
    rows = []
    for row in table[table["system"] == system].to_dict("records"):
        in_sd = number(row["wasserstein_in_sd"], 3)
        effect = [interval(row, "cliffs_delta", "+.2f"), interval(row, "wasserstein"), in_sd]
        test = [number(row[name], 3) for name in ("ks", "p_value", "p_holm", "threshold_5_percent")]
        rows.append([PER_CLIP[row["metric"]].axis_label, *effect, row["test"] or "–", *test, row["note"]])
    words = SYSTEMS[system] if system != "generated" else "Generated"
    return [f"<h2>Differences: {html.escape(words)} against real</h2>", paragraph(READING), html_table(header, rows)]


def pairs_part(pairs: pd.DataFrame) -> list[str]:
    """Return the pairwise metrics, and how pairs are made and cut."""
    text = (
        "Each generated clip is paired with a real one, of the subfolder of the same name where there is one, drawn by "
        "the seed. Both spectra are of the whole clip; of two unequal lengths only the first part is compared, as long "
        "as the shorter clip. The two clips of a pair are different sounds, so even a perfect model is not at 0."
    )
    rows = []
    for name in PAIRWISE:
        values = pairs[name].dropna()
        spread = [number(float(value), 3) for value in (values.mean(), values.std(ddof=1), values.median())]
        rows.append([METRICS[name].axis_label, str(len(values)), *spread])
    return ["<h2>Pairs</h2>", paragraph(text), html_table(["metric", "pairs", "mean", "sd", "median"], rows)]


def diversity_part(diversity: pd.DataFrame) -> list[str]:
    """Return how far clips lie from each other; words where there are too few clips to say."""
    rows = diversity[(diversity["system"] != "real") & diversity["ratio"].notna()]
    if rows.empty:
        return ["<h2>Diversity</h2>", "<p>Not measured: it takes two clips on each side that differ.</p>"]
    body = [
        [f"{WORDS[row['system']]}, {row['category']}", str(row["n"]), str(row["n_real"]), interval(row, "ratio", ".2f")]
        for row in rows.to_dict("records")
    ]
    text = (
        "How far two clips lie from each other on average, over all metrics but the duration, relative to two real "
        "clips: 1 is as varied as they are, 0 the same sound again and again."
    )
    return ["<h2>Diversity</h2>", paragraph(text), html_table(["clips of", "n", "n real", "ratio"], body)]


def figure_html(path: Path, words: str) -> str:
    """Return a picture as part of the page; "" where it was not drawn."""
    if not path.is_file():
        return ""
    data, text = base64.b64encode(path.read_bytes()).decode(), html.escape(words)
    return f'<figure><img src="data:image/png;base64,{data}" alt="{text}"><figcaption>{text}</figcaption></figure>'


def origin_part(record: dict[str, Any], result: Evaluation) -> list[str]:
    """Return how the report was made: the parameters that count for its sides, code and versions."""
    names = (*GIVEN, *(GIVEN_OF_RUNS if set(result.sides) - {"real", "generated"} else ()))
    given = {name: record["parameters"][name] for name in names if name in record["parameters"]}
    rows = [
        ["Started", record["started"]],
        ["Code", record["commit"]],
        ["Machine", f"{record['device']}, {record['platform']}, Python {record['python']}"],
        ["Versions", ", ".join(f"{name} {version}" for name, version in record["versions"].items())],
        ["Parameters", ", ".join(f"{name}: {value}" for name, value in given.items())],
    ]
    return ["<h2>How it was made</h2>", html_table(["what", "which"], rows, "words")]


def interval(row: Any, name: str, form: str = "") -> str:
    """Return a value with its interval, "value (low to high)"; "–" where it is undefined.

    form: of the numbers, as `format` takes it; "" writes three digits.
    """
    value, low, high = (float(row[f"{name}{end}"]) for end in ("", "_low", "_high"))
    if pd.isna(value):
        return "–"
    shown = [format(part, form) if form else number(part, 3) for part in (value, low, high)]
    return shown[0] + ("" if pd.isna(low) or pd.isna(high) else f" ({shown[1]} to {shown[2]})")


def _called_generated(figure: Figure) -> Figure:
    """Return a figure in which the generated side, of which nobody says that a model made it, is called so."""
    for text in figure.findobj(Text):
        text.set_text(re.sub(r"\bmodel\b", "generated", text.get_text()))
    return figure


def _count(row: Any) -> str:
    undefined = int(row["n_undefined"])
    return str(int(row["n"])) + (f" ({undefined} undefined)" if undefined else "")
