"""The book's pages of published results: this project's committed runs, and the published study's own
figures.
"""

from pathlib import Path

import pandas as pd

from envsound.base.files import read_csv
from envsound.base.text import markdown_table, number, wide
from envsound.metrics.acoustic import METRICS
from envsound.metrics.published import read_published
from envsound.report.assets import AUDIO, Assets
from envsound.report.facts import NOT_MEASURED, run_origin
from envsound.report.runs import Run

COMPARISONS = {
    "generated_vs_real": "generated against real",
    "codec_vs_real": "codec against real",
    "real_other_vs_real": "other real against real",
}
CAPTIONS = {
    "code_usage": "How often each code is used, by level.",
    "training_curves": "Loss by epoch, training and validation; the end of warm-up is marked.",
    "metric_distributions": "Distribution of each metric, real and generated.",
    "metric_boxplots": "The same metrics as boxes.",
    "ks_distances": "Kolmogorov-Smirnov distance of each metric.",
    "pairwise": "Pairs of one generated and one real clip.",
    "waveforms_and_spectrograms": "Waveforms and spectrograms, real and generated.",
    "evaluation_overview": "Every metric, the model between floor, ceiling and clips that need no model.",
    "evaluation_octaves": "Energy by octave band: medians with 95% intervals.",
    "evaluation_diversity": "How far two clips of one class lie apart, generated and real.",
    "decoding_settings": "Every setting of decoding: distance to real clips, accuracy and diversity.",
    "listener_distances": "Distances between embeddings: the model between floor, ceiling and trivial systems.",
    "listener_confusion": "What a network that learnt from real clips hears in real and in generated clips, by class.",
    "listener_nearest": "Relative distance to the nearest training clip, generated and held-out clips.",
}


SYNTHETIC_NOTE = (
    "Your run used synthetic stand-ins. It shows that the machinery works; its numbers say nothing about "
    "recorded sound."
)


def mean_sd(row: pd.Series | None, side: str) -> str:
    """Return "mean ± sd" of one side of a row of table_metrics.csv; "–" where there is none."""
    if row is None or pd.isna(row.get(f"{side}_mean")):
        return "–"
    spread = row.get(f"{side}_sd")
    return number(float(row[f"{side}_mean"]), 3) + ("" if pd.isna(spread) else f" ± {number(float(spread), 2)}")


def label(metric: str) -> str:
    """Return a metric's name with its unit, as METRICS has it."""
    return METRICS[metric].axis_label if metric in METRICS else metric


def pick_own(runs: list[Run], preset: str) -> Run | None:
    """Return the reader's run to show beside a published one: of the same preset if there is one, else the
    first.
    """
    finished = [run for run in runs if not run.table("table_metrics.csv").empty]
    same = [run for run in finished if run.folder.parent.name == preset]
    return next(iter(same + finished), None)


class PublishedPage:
    """Writes executed/published_<preset>.md from the files in data/published/<preset>/ and nothing else."""

    def __init__(self, folder: Path, assets: Assets, page: Path, own: Run | None) -> None:
        self.folder, self.assets, self.page, self.own = folder, assets, page, own

    def write(self) -> str:
        """Return the page's Markdown."""
        lines = [f"# Results of the preset `{self.folder.name}`", "", *self.origin()]
        lines += [*self.metrics(), *self.ks(), *self.figures(), *self.clips()]
        return "\n".join(lines) + "\n"

    def origin(self) -> list[str]:
        """Return where the numbers come from: cut, fold, seed, commit, machine."""
        has_record = (self.folder / "provenance.json").is_file()
        found = run_origin(self.folder) if has_record else {}
        seconds = found.get("seconds")
        fields = {
            "Data cut": found.get("data_cut") or found.get("dataset"),
            "Held-out fold": found.get("fold"),
            "Seed": found.get("seed"),
            "Commit": found.get("commit"),
            "Machine": found.get("device"),
            "Started": found.get("started"),
            "Wall time": None if seconds is None else f"{number(float(seconds) / 60, 3)} min, all steps",
        }
        lines = [
            f"Every number on this page is read from `data/published/{self.folder.name}/`, written by a "
            "run of this project.",
            "",
        ]
        if self.own is not None:
            lines += [
                f"The columns marked *yours* are from the run **{self.own.title}** ({self.own.recordings}).",
                "",
            ]
            if self.own.synthetic:
                lines += [":::{note}", SYNTHETIC_NOTE, ":::", ""]
        return lines + [f":{key}: {_shown(value)}" for key, value in fields.items()] + [""]

    def metrics(self) -> list[str]:
        """Return the table of means beside the published study and the reader's run."""
        table = self._table("table_metrics.csv")
        if table.empty:
            return ["## Acoustic metrics", "", f"*{NOT_MEASURED}*", ""]
        own = self.own.table("table_metrics.csv").set_index("metric") if self.own else pd.DataFrame()
        header = ["", "real", "codec", "generated", "difference", "study: real → generated"]
        header += ["yours: real → generated"] if self.own else []
        rows = []
        for _, row in table.iterrows():
            cells = [label(row["metric"]), *[mean_sd(row, side) for side in ("real", "codec", "generated")]]
            cells += [_percent(row), _arrow(row, "published_real", "published_generated")]
            if self.own:
                mine = own.loc[row["metric"]] if row["metric"] in own.index else None
                cells.append(_arrow(mine, "real_mean", "generated_mean"))
            rows.append(cells)
        counts = table.iloc[0]
        text = (
            f"Mean ± standard deviation over clips: {int(counts['n_real'])} real and {int(counts['n_generated'])} "
            f"generated{_undefined(table)}. *Codec* is the real clips through the codec, beyond which no model of its "
            "codes can go. *Study* is the published study, whose real clips were analysed at another sample rate than "
            "its generated ones ([why this matters](../published_study.md))."
        )
        return ["## Acoustic metrics", "", text, "", *wide(markdown_table(header, rows))]

    def ks(self) -> list[str]:
        """Return the table of Kolmogorov-Smirnov distances, with floor and ceiling."""
        table = self._table("ks.csv")
        if table.empty:
            return ["## Kolmogorov-Smirnov tests", "", f"*{NOT_MEASURED}*", ""]
        own = self.own.table("ks.csv") if self.own else pd.DataFrame()
        present = [name for name in COMPARISONS if name in set(table["comparison"])]
        header = ["", "study", *[COMPARISONS[name] for name in present], "p (Holm)", "5% threshold"]
        header += ["yours"] if self.own else []
        rows = []
        for metric in table["metric"].drop_duplicates():
            main = _row(table, present[0], metric)
            cells = [label(metric), _cell(main, "published_statistic")]
            cells += [_cell(_row(table, name, metric), "statistic") for name in present]
            cells += [_cell(main, "p_holm"), _cell(main, "threshold_5_percent")]
            rows.append(cells + ([_cell(_row(own, present[0], metric), "statistic")] if self.own else []))
        text = (
            "The distance D between two distributions is 0 when they agree and 1 when they do not overlap. "
            "Read *generated* against the other two: *codec* is the ceiling, *other real* the floor that "
            "chance gives. A distance below the threshold does not prove that two distributions are equal."
        )
        return ["## Kolmogorov-Smirnov tests", "", text, "", *wide(markdown_table(header, rows))]

    def figures(self) -> list[str]:
        """Return the published figures."""
        paths = sorted((self.folder / "figures").glob("*.png"))
        lines = ["## Figures", ""] if paths else []
        for path in paths:
            link = self.assets.link(path, f"published-{self.folder.name}", self.page)
            words = CAPTIONS.get(path.stem, path.stem.replace("_", " "))
            lines += [f"```{{figure}} {link}", f":alt: {words}", ":width: 100%", "", words, "```", ""]
        return lines

    def clips(self) -> list[str]:
        """Return players of the published generated clips."""
        paths = sorted(path for path in (self.folder / "clips").glob("*") if path.suffix.lower() in AUDIO)
        group = f"published-{self.folder.name}"
        players = [self.assets.player(path, group, self.page, path.stem.replace("_", " ")) for path in paths]
        if not paths:
            return []
        text = "Generated clips of this run. Real recordings are not part of the repository; "
        text += "the [page of sounds](sounds.md) links yours."
        return [
            "## Listen",
            "",
            text,
            "",
            '<div class="player-grid">',
            *[p for p in players if p],
            "</div>",
            "",
        ]

    def _table(self, name: str) -> pd.DataFrame:
        return read_csv(self.folder / name) if (self.folder / name).is_file() else pd.DataFrame()


def nothing_published() -> str:
    """Return the page that stands in until a run is published."""
    return (
        "# Results on real recordings\n\n:::{admonition} Nothing published yet\nThis copy of the repository "
        "holds no `data/published/<preset>/`. Once a run on real recordings is committed there, its tables, "
        "figures and clips appear on this page.\n:::\n"
    )


def study_table(path: str | Path) -> str:
    """Return every published figure the project uses, with source and note, as a Markdown page fragment."""
    rows = []
    for row in read_published(path).to_dict("records"):
        value = "" if pd.isna(row["value"]) else number(float(row["value"]))
        value += "" if pd.isna(row["sd"]) else f" ± {number(float(row['sd']))}"
        unit = "" if row["unit"] in ("", "1", "D", "rho") else f" {row['unit']}"
        name = f"{row['item'].replace('_', ' ')}, {row['side']}"
        rows.append([name, value + unit, str(row["source"]), str(row["note"])])
    return "\n".join(wide(markdown_table(["figure", "value", "source", "note"], rows), "notes"))


def _row(table: pd.DataFrame, comparison: str, metric: str) -> pd.Series | None:
    if table.empty:
        return None
    rows = table[(table["comparison"] == comparison) & (table["metric"] == metric)]
    return None if rows.empty else rows.iloc[0]


def _cell(row: pd.Series | None, column: str) -> str:
    missing = row is None or column not in row or pd.isna(row[column])
    return "–" if missing else number(float(row[column]), 3)


def _arrow(row: pd.Series | None, before: str, after: str) -> str:
    """Return "real → generated", or the one of the two that there is."""
    values = [value for value in (_cell(row, before), _cell(row, after)) if value != "–"]
    return " → ".join(values) or "–"


def _undefined(table: pd.DataFrame) -> str:
    columns = [name for name in ("n_undefined_real", "n_undefined_generated") if name in table]
    most = int(table[columns].fillna(0).to_numpy().max()) if columns else 0
    return f" (a metric leaves out at most {most} silent clips of a side, where it is undefined)" if most else ""


def _percent(row: pd.Series) -> str:
    value = row.get("difference_percent")
    return "–" if value is None or pd.isna(value) else f"{value:+.0f}%"


def _shown(value: object) -> str:
    if value in (None, ""):
        return "not recorded"
    return ", ".join(f"{key} {item}" for key, item in value.items()) if isinstance(value, dict) else str(value)
