"""The book's pages of published results: this project's committed runs, and the published study's own figures."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from envsound.base.files import visible
from envsound.base.text import NO_NUMBER, cell, number
from envsound.metrics.acoustic import METRICS
from envsound.metrics.published import read_published
from envsound.report.assets import AUDIO
from envsound.report.facts import NOT_MEASURED
from envsound.report.fragments import Staging, field_list, figure, not_published, table_of
from envsound.report.runs import Run

COMPARISONS = {
    "generated_vs_real": "generated against real",
    "codec_vs_real": "codec against real",
    "real_other_vs_real": "other real against real",
}
CAPTIONS = {
    "code_usage": "Left: codes of each level in use, diamonds their effective number. Right: shares of codes by rank.",
    "training_curves": "Loss by epoch. Left: all levels. Right: validation by level, diamonds code frequencies.",
    "metric_distributions": "Distribution of each metric, real and generated.",
    "metric_boxplots": "The same metrics as boxes.",
    "ks_distances": "Kolmogorov-Smirnov distance of each metric, with the 5% threshold; diamonds as published.",
    "pairwise": "Pairs of one generated and one real clip: durations, energies, and two distances with their means.",
    "waveforms_and_spectrograms": "Waveforms and spectrograms, real and generated.",
    "evaluation_overview": "Every metric of the model and what stands beside it. Left: Cliff's delta. Right: distance.",
    "evaluation_octaves": "Left: energy by octave. Right: modulation of loudness by its rate. Medians, 95% intervals.",
    "evaluation_diversity": "How far two clips of one class lie apart, generated and real.",
    "listener_distances": "Distances between embeddings: the model between floor, ceiling and trivial systems.",
    "listener_confusion": "What a network that learnt from real clips hears in real and in generated clips, by class.",
    "listener_nearest": "Relative distance to the nearest training clip, generated and held-out clips.",
    "copied_runs": "For how many columns on end a clip follows one training clip; dotted upright: the goal of its 90%.",
}


def stage_published(book: Staging) -> None:
    """Write a page for every published run, executed/published_<preset>.md, the published study as table and csv."""
    runs = [Run(path.parent) for path in visible(book.published, "*/table_metrics.csv")]
    for run in runs:
        page = PublishedPage(book, run, pick_own(book.runs, run))
        book.write(f"published_{run.folder.name}.md", page.lines())
    if not runs:
        book.write("published_nothing.md", NOTHING)
    study = book.published / "published_study.csv"
    book.write("study_csv.txt", book.downloads([study], "question.md"))
    book.write("study_table.txt", study_table(study) if study.is_file() else [f"*{NOT_MEASURED}*"])


def pick_own(runs: Sequence[Run], published: Run) -> Run | None:
    """Return the reader's run to show beside a published one, of the same recordings and held-out fold; None without.

    One of the same preset comes first.
    """
    same = [run for run in runs if not run.table("table_metrics.csv").empty
            and all(run.origin.get(key) == published.origin.get(key) for key in ("data_cut", "fold"))]  # fmt: skip
    return min(same, key=lambda run: run.folder.parent.name != published.folder.name, default=None)


class PublishedPage:
    """The page of one published run, from its files and nothing else, with the reader's own run beside it."""

    def __init__(self, book: Staging, run: Run, own: Run | None) -> None:
        self.book, self.run, self.own = book, run, own
        self.name = run.folder.name
        self.group, self.page = f"published-{self.name}", f"executed/published_{self.name}.md"

    def lines(self) -> list[str]:
        """Return the page's Markdown."""
        lines = [f"# Results of the preset `{self.name}`", "", *self.origin()]
        return [*lines, *self.metrics(), *self.ks(), *self.figures(), *self.clips()]

    def origin(self) -> list[str]:
        """Return where the numbers come from: cut, fold, seed, commit, machine."""
        found = self.run.origin
        minutes = f"{number(float(found['seconds']) / 60, 3)} min, all steps" if "seconds" in found else None
        fields = {
            "Data cut": found.get("data_cut") or found.get("dataset"), "Held-out fold": found.get("fold"),
            "Seed": found.get("seed"), "Commit": found.get("commit"), "Machine": found.get("device"),
            "Started": found.get("started"), "Wall time": minutes,
        }  # fmt: skip
        lines = [f"Every number on this page is read from `data/published/{self.name}/`, a run of this project.", ""]
        if self.own is not None:
            own = f"The columns marked *yours* are from the run **{self.own.title}**."
            lines += [own, ""]
        return lines + field_list({name: "not recorded" if value is None else value for name, value in fields.items()})

    def metrics(self) -> list[str]:
        """Return the table of means beside the published study and the reader's run."""
        table = self.run.table("table_metrics.csv")
        own = self.own.table("table_metrics.csv").set_index("metric").to_dict("index") if self.own else {}
        rows = [
            {"": label(row["metric"])} | {side: mean_sd(row, side) for side in ("real", "codec", "generated")}
            | {"difference": _percent(row.get("difference_percent")),
               "study: real → generated": _arrow(row, "published_real", "published_generated")}
            | ({"yours: real → generated": _arrow(own.get(row["metric"], {}), "real_mean", "generated_mean")}
               if self.own else {})
            for row in table.to_dict("records")
        ]  # fmt: skip
        text = (
            f"Mean ± standard deviation over clips: {table['n_real'].iloc[0]} real and "
            f"{table['n_generated'].iloc[0]} generated. What a metric leaves undefined, as silence does, is left out. "
            "*Codec* is the real clips through the codec, beyond which no model of its codes can go. *Study* is the "
            "published study, whose real clips were analysed at another sample rate than its generated ones "
            "([why this matters](../question.md))."
        )
        return ["## Acoustic metrics", "", text, "", *table_of(rows)]

    def ks(self) -> list[str]:
        """Return the table of Kolmogorov-Smirnov distances, with floor and ceiling."""
        lines, table = ["## Kolmogorov-Smirnov tests", ""], self.run.table("ks.csv")
        if table.empty:
            return [*lines, f"*{NOT_MEASURED}*", ""]
        own = self.own.table("ks.csv") if self.own else pd.DataFrame()
        present = [name for name in COMPARISONS if name in set(table["comparison"])]
        rows = []
        for metric in table["metric"].drop_duplicates():
            main = _row(table, present[0], metric)
            row = {"": label(metric), "study": cell(main.get("published_statistic"))}
            row |= {COMPARISONS[name]: cell(_row(table, name, metric).get("statistic")) for name in present}
            row |= {"p (Holm)": cell(main.get("p_holm")), "5% threshold": cell(main.get("threshold_5_percent"))}
            rows.append(row | ({"yours": cell(_row(own, present[0], metric).get("statistic"))} if self.own else {}))
        return [*lines, KS_WORDS, "", *table_of(rows)]

    def figures(self) -> list[str]:
        """Return the published figures."""
        lines = []
        for path in visible(self.run.folder / "figures", "*.png"):
            words = CAPTIONS.get(path.stem, path.stem.replace("_", " "))
            lines += figure(self.book.assets.link(path, self.group, self.book.book_dir / self.page), words)
        return ["## Figures", "", *lines] if lines else []

    def clips(self) -> list[str]:
        """Return players of the published generated clips."""
        paths = [path for path in visible(self.run.folder / "clips", "*") if path.suffix.lower() in AUDIO]
        page = self.book.book_dir / self.page
        players = [self.book.assets.player(path, self.group, page, path.stem.replace("_", " ")) for path in paths]
        grid = ['<div class="player-grid">', *players, "</div>", ""]
        return ["## Listen", "", CLIP_WORDS, "", *grid] if players else []


def study_table(path: str | Path) -> list[str]:
    """Return every published figure the project uses, with source and note, as Markdown."""
    rows = []
    for row in read_published(path).fillna({"value": "", "sd": ""}).to_dict("records"):
        value = " ± ".join(number(float(row[name])) for name in ("value", "sd") if row[name] != "")
        unit = "" if str(row["unit"]) in ("", "1", "D", "rho") else f" {row['unit']}"
        shown = {"figure": f"{row['item'].replace('_', ' ')}, {row['side']}", "value": value + unit}
        rows.append(shown | {name: str(row[name]) for name in ("source", "note")})
    return table_of(rows, "notes")


def mean_sd(row: dict, side: str) -> str:
    """Return "mean ± sd" of one side of a row of table_metrics.csv; "–" where there is none."""
    mean, sd = cell(row.get(f"{side}_mean")), cell(row.get(f"{side}_sd"), 2)
    return mean if NO_NUMBER in (mean, sd) else f"{mean} ± {sd}"


def label(metric: str) -> str:
    """Return a metric's name with its unit, as METRICS has it."""
    return METRICS[metric].axis_label if metric in METRICS else metric


def _row(table: pd.DataFrame, comparison: str, metric: str) -> dict:
    rows = table[(table["comparison"] == comparison) & (table["metric"] == metric)] if len(table) else table
    return rows.iloc[0].to_dict() if len(rows) else {}


def _arrow(row: dict, before: str, after: str) -> str:
    """Return "real → generated", or the one of the two that there is."""
    values = [value for value in (cell(row.get(before)), cell(row.get(after))) if value != NO_NUMBER]
    return " → ".join(values) or NO_NUMBER


def _percent(value: float | None) -> str:
    return NO_NUMBER if value is None or pd.isna(value) else f"{value:+.0f}%"


KS_WORDS = (
    "The distance D between two distributions is 0 when they agree and 1 when they do not overlap. Read *generated* "
    "against the other two: *codec* is the ceiling, *other real* the floor that chance gives. A distance below the "
    "threshold does not prove that two distributions are equal."
)
CLIP_WORDS = "Generated clips of this run; [Listen](../listen.md) has recordings beside them."
NOTHING = ["# Results on real recordings", "", *not_published("`data/published/<preset>/`")]
