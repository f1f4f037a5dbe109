"""The book's page on recognising sounds, from published reports: tables, figures, and the numbers of its prose."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from envsound.base.files import read_csv, read_json, visible
from envsound.base.text import NO_NUMBER, NOT_RUN, dropdown, interval, percent
from envsound.report.facts import NOT_MEASURED, Facts, run_origin
from envsound.report.facts import facts as written
from envsound.report.fragments import Staging, field_list, not_published, table_of
from envsound.run.publish import ReportKind
from envsound.studies.recognition.tables import CITED, NO_CODEC, cited_table, folder_name, shown_summary

PAGE, FOLDER, STEP = "studies/recognition_tables.md", "recognition", "07_classify"
WRAPPED = "names"  # tables in which the long names of recognisers may wrap
REPORTS = (
    ReportKind(
        tuple(f"recognition{name}.csv" for name in ("", "_folds", "_classes", "_pairs")),
        "a finished report of notebook 07",
        tuple(f"recognition_{name}.csv" for name in ("confusion", "claim", "beside", "training")),
        FOLDER,
        keeps_name=True,
    ),
)
BENCHMARKS = {"esc50": "esc50", "esc10": "esc10", "esc10_16k": "esc10", "urbansound8k": "urbansound8k"}  # see `stage`
EXPOSURE_NOTE = (
    "*Not met, met*: test clips of all rounds together. *Clean rounds*: mean over the rounds that test on no clip that "
    "was met. *Gained*: how much better a reader of codes is on the clips that were met than on the others, beyond the "
    "same difference for those that hear the sound itself; clips differ in more than in having been met."
)
ROUNDS_NOTE = "*Accuracy in percent of each round, named after its test fold, and the mean over all but the first.*"
FIGURES = {
    "accuracy": "Accuracy of every recogniser: mean and 95% interval, its folds, and the clips its codec has not met.",
    "classes": "Accuracy by class of the best recogniser, with 95% Wilson intervals.",
    "training": "Accuracy on the validation fold after each epoch: a line is a round, its dot the epoch taken.",
    "confusion": "What each class (rows) was called (columns) by the best recogniser.",
}
Row = Mapping[str, Any]


def _share(name: str) -> Callable[[Row], str]:
    return lambda row: percent(row[name])


def _with_ends(row: Row, suffix: str = "", name: str = "accuracy") -> str:
    value = row[f"{name}{suffix}" if name == "accuracy" else name]
    return NO_NUMBER if pd.isna(value) else f"{percent(value)} ({interval(row, suffix)})"


def _difference(row: Row, sign: int = 1) -> str:
    low, high = sorted(sign * 100 * row[name] for name in ("low", "high"))
    return f"{sign * 100 * row['difference']:+.1f} ({low:+.1f} to {high:+.1f})"


EXPOSURE = {  # columns of tables: a row's value, or what is made of the row
    "recogniser": "recogniser",
    "hears": lambda row: "sound" if row["codec"] == NO_CODEC else "codes",
    "not met (%)": lambda row: _with_ends(row, "_unheard"),
    "met (%)": _share("accuracy_heard"),
    "clean rounds (%)": _share("accuracy_clean"),
    "gained (points)": lambda row: _with_ends(row, "_advantage", "advantage"),
}
CLAIM = {
    "recogniser": "recogniser",
    "published as strong (%)": _share("strong"),
    "published as weak (%)": _share("weak"),
    "difference": _difference,
    "clips": lambda row: f"{row['n_strong']} and {row['n_weak']}",
}
PAIRS = {"a": "recogniser_a", "b": "recogniser_b", "a minus b (points)": _difference}
PAIRS |= {"clips only a has right": "n_only_a", "only b": "n_only_b"}
BESIDE = {"recogniser": "recogniser", "full bandwidth (%)": _share("here"), "nothing above 8 kHz (%)": _share("there")}
BESIDE |= {"difference (points)": _difference, "clips": "n_clips"}
CITED_CELLS = {"cited": "recogniser", "accuracy (%)": _share("accuracy"), "source": "source"}


def stage(book: Staging) -> None:
    """Write what the pages include, executed/recognition/<name>.txt: one for each of BENCHMARKS, beside, figure.

    BENCHMARKS: reports, as notebooks/studies/classify has them, and whose cited rows go along. Where a report is
    missing its file says so and shows what is cited.
    """
    reports, known = book.published / FOLDER, book.published / CITED.name
    for name, benchmark in BENCHMARKS.items():
        lines = not_published(f"report `{FOLDER}/{name}`")
        if all((reports / name / table).is_file() for table in REPORTS[0].needed):
            lines = report_lines(reports / name, book)
        elif known.is_file():
            cited = cited_table(benchmark, known)
            lines += _table(cited, CITED_CELLS) + sources_lines(cited)
        book.write(f"{FOLDER}/{name}.txt", lines)
    beside = _table(_optional(reports / "esc10" / "recognition_beside.csv"), BESIDE)
    book.write(f"{FOLDER}/beside.txt", beside or [f"*{NOT_MEASURED}*"])
    main = reports / "esc50"
    shown = book.figure(main / "figures" / "accuracy.png", _message(main), PAGE, "recognition-esc50")
    book.write(f"{FOLDER}/figure.txt", shown or [f"*{NOT_MEASURED}*"])


def facts(published: Path) -> Mapping[str, Any]:
    """Return `recognition`: for each report its rows, the differences between two of them, and their settings.

    rows: as percentages, by a recogniser's name as a folder's, with n_heard, n_unheard and n_clean_folds of its clips
    and rounds. pairs: "+9.0 (+7.1 to +10.9)", row and other row. settings: as the report's provenance has them.
    """
    folders = [path.parent for path in visible(published / FOLDER, "*/recognition.csv")]
    return {"recognition": Facts({folder.name: _report_facts(folder) for folder in folders})}


def _message(folder: Path) -> str:
    """Return what the figure of accuracies says: who is best, and whether that one reads codes."""
    if not (folder / "recognition.csv").is_file():
        return FIGURES["accuracy"]
    rows = read_csv(folder / "recognition.csv").query("status == 'measured'").sort_values("accuracy", ascending=False)
    reads = rows[rows["codec"] != NO_CODEC]
    best, reader = rows.iloc[0], reads.iloc[0] if len(reads) else None
    told = f"The best recogniser is the {best['recogniser']}, {percent(best['accuracy'])}%"
    if reader is not None and best["codec"] == NO_CODEC:
        told += f"; of those that read the codec's tokens, {reader['recogniser']}, {percent(reader['accuracy'])}%"
    return f"{told}. {FIGURES['accuracy']}"


def _report_facts(folder: Path) -> Facts:
    rows, pairs = Facts(), Facts()
    for row in read_csv(folder / "recognition.csv").to_dict("records"):
        found = {name: NO_NUMBER if pd.isna(row[name]) else f"{row[name]:.0f}" for name in row if name[:2] == "n_"}
        found |= {name: percent(row[name]) for name in row if name.startswith("accuracy")}
        found |= {"interval": interval(row), "interval_unheard": interval(row, "_unheard")}
        rows[folder_name(row["recogniser"])] = Facts(found | {"advantage": _with_ends(row, "_advantage", "advantage")})
    for row in _optional(folder / "recognition_claim.csv").to_dict("records"):
        found = {"strong": percent(row["strong"]), "weak": percent(row["weak"]), "claim": _difference(row)}
        rows[folder_name(row["recogniser"])] |= found
    for row in read_csv(folder / "recognition_pairs.csv").to_dict("records"):
        a, b = (folder_name(row[f"recogniser_{one}"]) for one in "ab")
        pairs.setdefault(a, Facts())[b], pairs.setdefault(b, Facts())[a] = _difference(row), _difference(row, -1)
    settings = _record(folder).get("facts", {}).get("recognisers", {})
    return Facts(rows=rows, pairs=pairs, settings=written({folder_name(name): settings[name] for name in settings}))


def report_lines(folder: Path, book: Staging) -> list[str]:
    """Return a report as Markdown: where it is from, its figures and tables."""
    summary, pairs, folds = (read_csv(folder / f"recognition{name}.csv") for name in ("", "_pairs", "_folds"))

    def figure(name: str) -> list[str]:
        return book.figure(folder / "figures" / f"{name}.png", FIGURES[name], PAGE, f"recognition-{folder.name}")

    lines = [*_origin(folder), *figure("accuracy"), *summary_lines(summary)]
    lines += dropdown("Every round by itself", folds_lines(folds)) + dropdown("How training went", figure("training"))
    lines += exposure_lines(summary, folds) + figure("classes")
    lines += _table(_optional(folder / "recognition_claim.csv"), CLAIM)
    lines += dropdown("Every pair of recognisers", _table(pairs, PAIRS))
    lines += dropdown("What is taken for what", figure("confusion"))
    return lines + book.downloads(sorted(folder.glob("*.csv")), PAGE)


def summary_lines(summary: pd.DataFrame) -> list[str]:
    """Return recognition.csv as a Markdown table, the best first, and below it what was not run and who is cited."""
    shown = shown_summary(summary)
    is_run, is_cited = shown["status"] != NOT_RUN, shown["status"] == "cited"
    shown["recogniser"] += is_cited.map({True: " (cited)", False: ""})
    shown["accuracy (%)"] += [f" ({ends})" if ends != NO_NUMBER else "" for ends in shown["95% interval"]]
    cells = shown[is_run].drop(columns=["status", "folds", "note", "95% interval"])
    absent = [f"- Not run here: {row['recogniser']} ({row['note']})." for row in shown[~is_run].to_dict("records")]
    sources = sources_lines(summary[summary["status"] == "cited"])
    return [*table_of(cells.to_dict("records"), WRAPPED), *absent, "", *sources]


def sources_lines(cited: pd.DataFrame) -> list[str]:
    """Return who reports the cited figures, what the networks have also learnt from, and notes, as a list to unfold."""
    lines = []
    for row in cited.fillna("").to_dict("records"):
        words = [row["source"], f"also learnt from: {row['trained_on']}" if row["trained_on"] else "", row["note"]]
        lines.append(f"- *{row['recogniser']}*: {'; '.join(word for word in words if word)}.")
    return dropdown("Where the cited figures are from", lines)


def folds_lines(folds: pd.DataFrame) -> list[str]:
    """Return recognition_folds.csv as a Markdown table: accuracy of each round, and over all but the first."""
    if folds.empty:
        return []
    rounds = folds.pivot_table("accuracy", "recogniser", "fold", "mean").rename(columns=str)
    order = rounds.mean(axis=1).sort_values(ascending=False, kind="stable").index
    first, *others = rounds.columns
    table = rounds.assign(**{f"but {first}": rounds[others].mean(axis=1)}).loc[order].map(percent).reset_index()
    return [*table_of(table.to_dict("records"), WRAPPED), ROUNDS_NOTE, ""]


def exposure_lines(summary: pd.DataFrame, folds: pd.DataFrame) -> list[str]:
    """Return what the codec has met of the test clips, round by round, and every recogniser on those it has not."""
    measured = summary[(summary["status"] == "measured") & summary["n_unheard"].notna()]
    if measured.empty:
        return []
    counts = folds[folds["codec"] != NO_CODEC].groupby("fold")[["codec_heard", "n_test"]].max()
    words = [f"{row.codec_heard:.0f} of {row.n_test:.0f} in round {fold}" for fold, row in counts.iterrows()]
    met = f"Test clips that the codec has met: {', '.join(words)}."
    ordered = measured.sort_values("accuracy", ascending=False, kind="stable")
    return [met, "", *_table(ordered, EXPOSURE), EXPOSURE_NOTE, ""]


def _table(table: pd.DataFrame, cells: Mapping[str, str | Callable[[Row], str]]) -> list[str]:
    found = [{title: str(row[one]) if isinstance(one, str) else one(row) for title, one in cells.items()}
             for row in table.to_dict("records")]  # fmt: skip
    return table_of(found, WRAPPED)


def _optional(path: Path) -> pd.DataFrame:
    return read_csv(path) if path.is_file() else pd.DataFrame()


def _record(folder: Path) -> dict[str, Any]:
    path = folder / "provenance.json"
    return read_json(path)["steps"].get(STEP, {}) if path.is_file() else {}


def _origin(folder: Path) -> list[str]:
    record = _record(folder)
    found, given, run = record.get("facts", {}), record.get("parameters", {}), run_origin(folder) if record else {}
    seeds = ", ".join(map(str, given.get("seeds", []))) or None
    fields = {"Data cut": found.get("data_cut"), "Codec": given.get("codec"), "Seeds": seeds}
    return field_list(fields | {"Commit": run.get("commit"), "Machine": run.get("device")})
