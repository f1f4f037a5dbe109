"""Finished runs beside each other: the parameters that differ, metrics with intervals, and the same class in a row."""

import html
import os
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pandas as pd

from envsound.base.errors import InputError
from envsound.base.files import inside, read_json, write_csv, write_text
from envsound.base.text import NO_NUMBER, number
from envsound.metrics.acoustic import METRICS
from envsound.metrics.effects import effect_table
from envsound.report.fragments import Staging, table_of
from envsound.report.players import html_page, player
from envsound.report.runs import Run
from envsound.run.contract import SAMPLES
from envsound.run.presets import WIRING

NAME, HELP = "compare", "set finished runs beside each other: what differs, metrics, sounds"
EXAMPLE = "envsound compare data/runs/demo/fold1_seed0 data/runs/ablate-steps/fold1_seed0"
FOLDER = Path("data") / "runs" / "compared"
PAGE, PARAMETERS, MEASURED = "index.html", "parameters.csv", "metrics.csv"
ASKED_FOR = ("duration_s",)  # of the published metrics, what no model decides
EFFECT = "{:+.2f} ({:+.2f} to {:+.2f})"
EFFECT_WORDS = (
    "Effects are Cliff's delta of each metric against the held-out recordings, with its 95% interval over clips: 0 is "
    "no difference, above 0 is higher."
)
METRIC_COLUMNS = ["metric", "run", "n", "n_real", "mean", "real_mean", "cliffs_delta", "low", "high", "ks", "p_holm"]
STYLE = """div { overflow-x: auto; } table { border-collapse: collapse; } audio { width: 14rem; }
th, td { border-top: 1px solid #ddd; padding: .3rem .8rem; text-align: left; vertical-align: top; }"""


def add_arguments(parser: ArgumentParser) -> None:
    """Declare what `envsound compare` takes: run folders, and where the page goes."""
    parser.add_argument("runs", metavar="RUN", nargs="+", help="folders of finished runs, two or more")
    parser.add_argument("--out", default="", metavar="FOLDER", help=f"where the page goes ({FOLDER})")


def run(options: Namespace) -> int:
    """Write the page and its two tables, and print the tables. Raises InputError for a run that is not finished."""
    runs, folder = [Run(one) for one in options.runs], Path(options.out or FOLDER)
    if len(runs) < 2:
        raise InputError(f"{options.runs[0]}: a single run; expected two or more to compare")
    differ, measured = differing(runs), metrics_beside(runs)
    if folder.exists() and any(folder.iterdir()) and not (folder / PAGE).is_file():
        raise InputError(f"{folder}: holds other files; expected an empty folder, or one that `envsound compare` wrote")
    write_csv(folder / PARAMETERS, differ)
    write_csv(folder / MEASURED, measured)
    sounds = sounds_beside(runs, partial(player, relative_to=folder))
    write_text(folder / PAGE, comparison_page(differ, measured, sounds))
    print(differ.to_string(index=False), effects_beside(measured).to_string(index=False), sep="\n\n")
    print(f"\nThe page: {folder / PAGE}")
    return 0


def differing(runs: Sequence[Run]) -> pd.DataFrame:
    """Return what the steps of some runs were given differently: column parameter, then one a run, as text.

    Raises InputError for a run without a record.
    """
    given = {one.title: _parameters(one) for one in runs}
    names = dict.fromkeys(name for own in given.values() for name in own)
    rows = [[name, *(own.get(name, NO_NUMBER) for own in given.values())] for name in names]
    return pd.DataFrame([row for row in rows if len(set(row[1:])) > 1], columns=["parameter", *given])


def _parameters(run: Run) -> dict[str, str]:
    steps = read_json(run.folder / "provenance.json").get("steps", {})
    found: dict[str, str] = {}
    for step in steps.values():
        found |= {name: str(value) for name, value in step["parameters"].items() if name not in WIRING}
    return found


def metrics_beside(runs: Sequence[Run], seed: int = 0, n_resamples: int = 1000) -> pd.DataFrame:
    """Return how far each run's clips are from its real ones in the published metrics: METRIC_COLUMNS.

    cliffs_delta: above 0 where generated clips are higher, with its 95% interval over clips (low, high); ks: the
    Kolmogorov-Smirnov distance, p_holm: of its test, corrected over a run's metrics. Raises InputError for a run that
    has no metrics.csv.
    """
    tables = []
    for one in runs:
        clips = one.table("metrics.csv")
        if clips.empty:
            raise InputError(f"{one.folder}: holds no metrics.csv; expected a run whose notebook 04 has run")
        clips = clips[clips["side"].isin(["real", "generated"])].assign(system=lambda own: own["side"], run="")
        names = [name for name in METRICS if name in clips and name not in ASKED_FOR]
        table = effect_table(clips, names, seed, n_resamples).set_index(["system", "metric"])
        mine, real = table.loc["generated"], table.loc["real"]
        ends = {"low": mine["cliffs_delta_low"], "high": mine["cliffs_delta_high"], "real_mean": real["mean"]}
        tables.append(mine.assign(run=one.title, **ends).reset_index())
    return pd.concat(tables, ignore_index=True)[METRIC_COLUMNS]


def effects_beside(measured: pd.DataFrame) -> pd.DataFrame:
    """Return `metrics_beside` for reading: a row a metric, a column a run, Cliff's delta with its interval."""
    ends = zip(measured["cliffs_delta"], measured["low"], measured["high"], strict=True)
    words = measured.assign(effect=[NO_NUMBER if pd.isna(one[0]) else EFFECT.format(*one) for one in ends])
    table = words.pivot(index="metric", columns="run", values="effect")
    order = [list(dict.fromkeys(measured[name])) for name in ("metric", "run")]
    return table.loc[order[0], order[1]].rename_axis(columns=None).reset_index()


def sounds_beside(runs: Sequence[Run], play: Callable[[str, str], str]) -> pd.DataFrame:
    """Return the first clip of each class of each run as HTML: column class, then one a run.

    play: returns what is shown for the path of a clip and its label.
    """
    found: dict[str, dict[str, str]] = {}
    for one in runs:
        samples = one.table("samples.csv")
        for row in samples.groupby("category", sort=True).head(1).to_dict("records") if len(samples) else ():
            path = inside(one.folder / SAMPLES, row["filename"])
            place = found.setdefault(row["category"].replace("_", " ") or "any sound", {})
            place[one.title] = play(os.path.relpath(path), f"seed {row['seed']}, {row['seconds']:.1f} s")
    rows = [[name, *(own.get(one.title, NO_NUMBER) for one in runs)] for name, own in sorted(found.items())]
    return pd.DataFrame(rows, columns=["class", *(one.title for one in runs)])


def comparison_lines(book: Staging, runs: Sequence[Run], page: str) -> list[str]:
    """Return what a page of the book shows of runs beside each other; none unless two have been measured."""
    runs = [one for one in runs if len(one.table("metrics.csv")) and (one.folder / "provenance.json").is_file()]
    if len(runs) < 2:
        return []
    differ, effects = differing(runs), effects_beside(metrics_beside(runs))

    def play(path: str, label: str) -> str:
        return book.assets.player(path, "compared", book.book_dir / page, label) or NO_NUMBER

    tables = {"What differs": differ, "How far from recordings": effects, "The same class": sounds_beside(runs, play)}
    lines = ["## Beside each other", "", EFFECT_WORDS, ""]
    for words, table in tables.items():
        lines += [f"### {words}", "", *(table_of(table.to_dict("records")) or ["Nothing."]), ""]
    return lines


def comparison_page(differ: pd.DataFrame, measured: pd.DataFrame, sounds: pd.DataFrame) -> str:
    """Return an HTML page of the three tables; `sounds` holds HTML in all columns but the first."""
    runs = [name for name in sounds.columns if name != "class"]
    real = measured.drop_duplicates("metric").set_index("metric")["real_mean"]
    effects = effects_beside(measured).assign(real=lambda own: [number(real[name]) for name in own["metric"]])
    parts = [
        ("What differs", differ.map(html.escape) if len(differ) else pd.DataFrame({"parameter": ["nothing"]})),
        ("How far from real clips", effects.map(html.escape)),
        ("The same class in a row", sounds.assign(**{"class": sounds["class"].map(html.escape)})),
    ]
    note = f'{html.escape(EFFECT_WORDS)} All numbers: <a href="{MEASURED}">{MEASURED}</a>.'
    lines = []
    for words, table in parts:
        lines += [f"<h2>{words}</h2>", f"<div>{table.to_html(index=False, escape=False, border=0)}</div>"]
    return html_page(" beside ".join(runs), STYLE, [*lines, f"<p>{note}</p>"])
