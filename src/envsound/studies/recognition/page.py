"""The book's chapter on recognising sounds: its tables and figures, from published reports of notebook 07."""

from pathlib import Path
from typing import Any

import pandas as pd

from envsound.base.files import read_csv, read_json, write_text
from envsound.base.text import NO_NUMBER, NOT_RUN, dropdown, interval, markdown_table, percent, wide
from envsound.metrics.published import PUBLISHED
from envsound.report.assets import Assets
from envsound.report.facts import NOT_MEASURED, run_origin
from envsound.run.publish import ReportKind
from envsound.studies.recognition.answers import answers_lines
from envsound.studies.recognition.exposure import findings_exposure
from envsound.studies.recognition.facts import NO_CODEC
from envsound.studies.recognition.goals import STUDY, findings_goals, goals_table, reasons
from envsound.studies.recognition.history import findings_history
from envsound.studies.recognition.report import findings_recognition, shown_summary
from envsound.studies.recognition.tables import CITED, cited_table
from envsound.studies.recognition.tried import tried_lines

RECOGNITION_REPORTS = "recognition"  # the folder in data/published, and in data/runs, that holds such reports
REPORTS = (
    ReportKind(
        ("recognition.csv", "recognition_folds.csv", "recognition_classes.csv", "recognition_pairs.csv"),
        "a finished report of notebook 07",
        ("recognition_confusion.csv", "recognition_claim.csv", "recognition_beside.csv", "recognition_training.csv"),
        RECOGNITION_REPORTS,
        keeps_name=True,
    ),
)
STEP = "07_classify"
BENCHMARKS = {  # names of the reports that the chapter shows, as notebooks/classify has them; whose cited rows go along
    "esc50": "esc50",
    "esc10": "esc10",
    "esc10_16k": "esc10",
    "urbansound8k": "urbansound8k",
}
TITLES = {"esc50": "ESC-50", "urbansound8k": "UrbanSound8K"}  # of the benchmarks that have goals
EXPOSURE_NOTE = (
    "*Not met, met*: test clips of all rounds together. *Clean rounds*: mean over the rounds that test on no clip that "
    "was met. *Gained*: how much better a reader of codes is on the clips that were met than on the others, beyond the "
    "same difference for those that hear the sound itself; clips differ in more than in having been met."
)
ROUNDS_NOTE = "*Accuracy in percent of each round, named after its test fold, and the mean over all but the first.*"
NOTHING = "*Not run here: this copy of the repository holds no `data/published/recognition/{}/`.*"
FIGURES = {
    "accuracy": "Accuracy of every recogniser: mean and 95% interval, its folds, and the clips its codec has not met.",
    "classes": "Accuracy by class of the best recogniser, with 95% Wilson intervals.",
    "training": "Accuracy on the validation fold after each epoch: a line is a round, its dot the epoch taken.",
    "confusion": "What each class (rows) was called (columns) by the best recogniser.",
}


def stage_recognition(folder: str | Path, assets: Assets, book_dir: str | Path) -> None:
    """Write what the chapter includes, executed/classification/<name>.txt: a file for each of BENCHMARKS, and others.

    answers.txt: what the rows of ESC-50 answer two at a time; beside.txt: what the missing band costs; goals.txt: which
    goals were reached; tried.txt: every row of every report.
    `folder` is data/published/recognition. Where a report is missing its file says so and shows what is cited.
    """
    folder, book_dir = Path(folder), Path(book_dir)
    page, target = book_dir / "classification.md", book_dir / "executed" / "classification"
    for name, benchmark in BENCHMARKS.items():
        lines = report_lines(folder / name, assets, page) if _is_there(folder / name) else [NOTHING.format(name), ""]
        if not _is_there(folder / name):
            lines += cited_lines(folder.parent / CITED.name, benchmark)
        write_text(target / f"{name}.txt", "\n".join(lines) + "\n")
    parts = {"beside": beside_lines(folder / "esc10" / "recognition_beside.csv"), "tried": tried_lines(folder)}
    parts["goals"] = goals_lines(folder, folder.parent / PUBLISHED.name)
    parts["answers"] = answers_lines(
        *(_optional(folder / "esc50" / f"{name}.csv") for name in ("recognition_pairs", "recognition"))
    )
    for name, lines in parts.items():
        write_text(target / f"{name}.txt", "\n".join(lines) + "\n")


def report_lines(folder: Path, assets: Assets, page: Path) -> list[str]:
    """Return a report as Markdown: where it is from, what was found, its figures and tables."""
    summary, pairs = (read_csv(folder / f"{name}.csv") for name in ("recognition", "recognition_pairs"))
    claim, folds, epochs = (_optional(folder / f"recognition_{name}.csv") for name in ("claim", "folds", "training"))
    lines = [*_origin(folder), "", findings_recognition(summary, pairs, claim), ""]
    lines += _figure(folder, "accuracy", assets, page) + summary_lines(summary)
    lines += dropdown("Every round by itself", folds_lines(folds))
    lines += training_lines(epochs, summary, _figure(folder, "training", assets, page)) + exposure_lines(summary, folds)
    lines += _figure(folder, "classes", assets, page) + claim_lines(claim)
    lines += dropdown("Every pair of recognisers", pairs_lines(pairs))
    return lines + dropdown("What is taken for what", _figure(folder, "confusion", assets, page))


def summary_lines(summary: pd.DataFrame) -> list[str]:
    """Return recognition.csv as a Markdown table, the best first, and below it what was not run and who is cited."""
    shown = shown_summary(summary)
    run = shown[shown["status"] != NOT_RUN]
    names = [f"{name} (cited)" if status == "cited" else name
             for name, status in zip(run["recogniser"], run["status"], strict=True)]  # fmt: skip
    values = [f"{value} ({ends})" if ends != NO_NUMBER else value
              for value, ends in zip(run["accuracy (%)"], run["95% interval"], strict=True)]  # fmt: skip
    cells = run.drop(columns=["status", "folds", "note", "95% interval"])
    cells = cells.assign(**{"recogniser": names, "accuracy (%)": values})
    lines = _table(list(cells.columns), cells.astype(str).to_numpy().tolist())
    absent = shown[shown["status"] == NOT_RUN]
    lines += [f"- Not run here: {row['recogniser']} ({row['note']})." for row in absent.to_dict("records")] + [""]
    return lines + dropdown("Where the cited figures are from", sources_lines(summary[summary["status"] == "cited"]))


def sources_lines(cited: pd.DataFrame) -> list[str]:
    """Return who reports the cited figures, what the networks have also learnt from, and notes, as a list."""
    lines = []
    for row in cited.fillna("").to_dict("records"):
        words = [row["source"], f"also learnt from: {row['trained_on']}" if row["trained_on"] else "", row["note"]]
        lines.append(f"- *{row['recogniser']}*: {'; '.join(word for word in words if word)}.")
    return [*lines, ""] if lines else []


def folds_lines(folds: pd.DataFrame) -> list[str]:
    """Return recognition_folds.csv as a Markdown table: accuracy of each round, and over all but the first."""
    if folds.empty:
        return []
    rounds = folds.pivot_table("accuracy", "recogniser", "fold", "mean")
    others = rounds.iloc[:, 1:].mean(axis=1)
    order = rounds.mean(axis=1).sort_values(ascending=False, kind="stable").index
    header = ["recogniser", *map(str, rounds.columns), f"but {rounds.columns[0]}"]
    rows = [[name, *map(percent, rounds.loc[name]), percent(others[name])] for name in order]
    return [*_table(header, rows), ROUNDS_NOTE, ""]


def training_lines(epochs: pd.DataFrame, summary: pd.DataFrame, figure: list[str]) -> list[str]:
    """Return what fine-tuning changed, and the figure of recognition_training.csv; nothing where nobody learnt so."""
    if epochs.empty:
        return []
    learnt = findings_history(epochs, summary)
    return [*([learnt, ""] if learnt else []), *dropdown("How training went", figure)]


def exposure_lines(summary: pd.DataFrame, folds: pd.DataFrame) -> list[str]:
    """Return what the codec has met of the test clips, round by round, and every recogniser on those it has not."""
    sentences = findings_exposure(summary)
    measured = summary[(summary["status"] == "measured") & summary["n_unheard"].notna()]
    if measured.empty:
        return [sentences, ""] if sentences else []
    header = ["recogniser", "hears", "not met (%)", "met (%)", "clean rounds (%)", "gained (points)"]
    rows = [
        [row["recogniser"], "sound" if row["codec"] == NO_CODEC else "codes", _with_ends(row, "_unheard"),
         percent(row["accuracy_heard"]), percent(row["accuracy_clean"]), _with_ends(row, "_advantage", "advantage")]
        for row in measured.sort_values("accuracy", ascending=False, kind="stable").to_dict("records")
    ]  # fmt: skip
    return [sentences, "", *rounds_lines(folds), *_table(header, rows), EXPOSURE_NOTE, ""]


def rounds_lines(folds: pd.DataFrame) -> list[str]:
    """Return how many test clips of each round the codec has met, from recognition_folds.csv, as a sentence."""
    readers = folds[folds["codec"] != NO_CODEC] if "codec" in folds else folds
    if readers.empty:
        return []
    counts = readers.groupby("fold")[["codec_heard", "n_test"]].max()
    words = [f"{row.codec_heard:.0f} of {row.n_test:.0f} in round {fold}" for fold, row in counts.iterrows()]
    return [f"Test clips that the codec has met: {', '.join(words)}.", ""]


def goals_lines(folder: Path, published: Path) -> list[str]:
    """Return which goals were reached on each benchmark that has some, as sentences and a Markdown table."""
    if not published.is_file():
        return [f"*{NOT_MEASURED}*"]
    lines, missed = [], []
    for name in STUDY:
        goals = goals_table(_optional(folder / name / "recognition.csv"), name, published)
        header = ["recogniser", "accuracy (%)", "not met (%)", "goal (%)", "goal is"]
        rows = [
            [
                row["recogniser"],
                _with_ends(row),
                percent(row["accuracy_unheard"]),
                percent(row["target"]),
                row["verdict"],
            ]
            for row in goals[goals["verdict"] != NOT_RUN].to_dict("records")
        ]
        lines += [f"**{TITLES[name]}**", "", findings_goals(goals), "", *(_table(header, rows) if rows else [])]
        missed.append(reasons(goals))
    why = " ".join(dict.fromkeys(one for one in missed if one))
    return lines + ([f"What may be in the way of the goals that were not reached. {why}", ""] if why else [])


def claim_lines(claim: pd.DataFrame) -> list[str]:
    """Return the test of the published claim on strong and weak classes as a Markdown table; nothing when empty."""
    if claim.empty:
        return []
    header = ["recogniser", "published as strong (%)", "published as weak (%)", "difference", "clips"]
    rows = [
        [row["recogniser"], percent(row["strong"]), percent(row["weak"]), _difference(row),
         f"{row['n_strong']} and {row['n_weak']}"]
        for row in claim.to_dict("records")
    ]  # fmt: skip
    return _table(header, rows)


def pairs_lines(pairs: pd.DataFrame) -> list[str]:
    """Return recognition_pairs.csv as a Markdown table."""
    header = ["a", "b", "a minus b (points)", "clips only a has right", "only b"]
    rows = [
        [row["recogniser_a"], row["recogniser_b"], _difference(row), str(row["n_only_a"]), str(row["n_only_b"])]
        for row in pairs.to_dict("records")
    ]
    return _table(header, rows)


def beside_lines(path: Path) -> list[str]:
    """Return what the missing band costs as a Markdown table, from recognition_beside.csv of the full bandwidth."""
    table = _optional(path)
    if table.empty:
        return [f"*{NOT_MEASURED}*"]
    header = ["recogniser", "full bandwidth (%)", "nothing above 8 kHz (%)", "difference (points)", "clips"]
    rows = [
        [row["recogniser"], percent(row["here"]), percent(row["there"]), _difference(row), str(row["n_clips"])]
        for row in table.to_dict("records")
    ]
    return _table(header, rows)


def cited_lines(path: Path, benchmark: str) -> list[str]:
    """Return what others report on a benchmark as a Markdown table; nothing where there is no such table."""
    if not path.is_file():
        return []
    rows = cited_table(benchmark, path)
    cells = [[row["recogniser"], percent(row["accuracy"]), row["source"]] for row in rows.to_dict("records")]
    if not cells:
        return []
    table = wide(markdown_table(["cited", "accuracy (%)", "source"], cells))
    return table + dropdown("Where the cited figures are from", sources_lines(rows))


def _is_there(folder: Path) -> bool:
    return all((folder / name).is_file() for name in ("recognition.csv", "recognition_pairs.csv"))


def _optional(path: Path) -> pd.DataFrame:
    return read_csv(path) if path.is_file() else pd.DataFrame({"recogniser": []})


def _origin(folder: Path) -> list[str]:
    if not (folder / "provenance.json").is_file():
        return []
    record = read_json(folder / "provenance.json")["steps"].get(STEP, {})
    facts, given, run = record.get("facts", {}), record.get("parameters", {}), run_origin(folder)
    fields: dict[str, Any] = {
        "Data cut": facts.get("data_cut"),
        "Codec": given.get("codec"),
        "Seeds": ", ".join(map(str, given.get("seeds", []))) or None,
        "Commit": run.get("commit"),
        "Machine": run.get("device"),
    }
    return [f":{name}: {value}" for name, value in fields.items() if value is not None]


def _table(header: list[str], rows: list[list[str]]) -> list[str]:
    return wide(markdown_table(header, rows), "names")  # names of recognisers are long: they may wrap


def _with_ends(row: dict[str, Any], suffix: str = "", name: str = "") -> str:
    value = row[name or f"accuracy{suffix}"]
    return percent(value) if pd.isna(value) else f"{percent(value)} ({interval(row, suffix)})"


def _difference(row: dict[str, Any]) -> str:
    value, low, high = (100 * row[name] for name in ("difference", "low", "high"))
    return f"{value:+.1f} ({low:+.1f} to {high:+.1f})"


def _figure(folder: Path, name: str, assets: Assets, page: Path) -> list[str]:
    link = assets.link(folder / "figures" / f"{name}.png", f"recognition-{folder.name}", page)
    words = FIGURES[name]
    return [f"```{{figure}} {link}", f":alt: {words}", ":width: 100%", "", words, "```", ""] if link else []
