"""The book's chapter on the model and its decoder: rules and mistakes, decoding settings compared, what was learnt."""

from pathlib import Path

import pandas as pd

from envsound.base.files import read_csv, read_json, write_text
from envsound.base.text import dropdown, markdown_table, number, wide
from envsound.metrics.extended import PER_CLIP
from envsound.report.assets import Assets
from envsound.report.facts import run_origin
from envsound.studies.decoding.contest import CEILING, REAL, findings_settings

RULES = "mutants.csv"  # in data/published, written by `make mutants`
NOTHING = "*This copy of the repository holds no `data/published/mutants.csv`; `make mutants` writes it.*"
NO_SETTINGS = "*No published run has been compared under other settings; notebook 15 does it.*"
NO_TRAINING = "*No run has been published.*"
SETTINGS_WORDS = "Every setting of every control: distance to real clips, accuracy and diversity, with 95% intervals."


def stage_rules(path: str | Path, book_dir: str | Path) -> None:
    """Write executed/engine/rules.txt, which the chapter includes: each rule, its mistake, whether it was caught."""
    path = Path(path)
    lines = rules_list(read_csv(path)) if path.is_file() else [NOTHING]
    write_text(Path(book_dir) / "executed" / "engine" / "rules.txt", "\n".join(lines) + "\n")


def rules_list(rules: pd.DataFrame) -> list[str]:
    """Return the rules as Markdown, from the columns of mutants.csv: each with its mistake and the test it fails."""
    caught = rules["passes_unchanged"] & rules["fails_mutated"]
    lines = [f"{int(caught.sum())} of {len(rules)} mistakes are caught by their test.", ""]
    for row, ok in zip(rules.to_dict("records"), caught, strict=True):
        verdict = "fails" if ok else "**does not fail**"
        mistake = f"{_code(row['before'])} made {_code(row['after'])} in {_code(row['file'])}"
        lines.append(f"- **{row['rule']}.** With {mistake}, {_code(row['test'].split('::')[1])} {verdict}.")
    return lines


def _code(text: str) -> str:
    return f"`{' '.join(text.split())}`"


def stage_runs(published: str | Path, assets: Assets, book_dir: str | Path) -> None:
    """Write executed/engine/settings.txt and training.txt, which the chapter includes, from every published run.

    published: data/published.
    """
    book_dir, folders = Path(book_dir), sorted(Path(published).glob("*/"))
    settings = [line for folder in folders for line in _settings_section(folder, assets, book_dir / "engine.md")]
    training = [line for folder in folders for line in _training_section(folder)]
    for name, lines, nothing in (("settings", settings, NO_SETTINGS), ("training", training, NO_TRAINING)):
        write_text(book_dir / "executed" / "engine" / f"{name}.txt", "\n".join(lines or [nothing]) + "\n")


def settings_table(table: pd.DataFrame) -> list[str]:
    """Return a table of `decoding_table.compare_settings` in Markdown, floor and ceiling first."""
    header = ["control", "setting", "n", "passes", "s a clip", "distance", "furthest in", "heard as asked", "diversity"]
    rows = [
        [row["control"], str(row["setting"]), str(row["n"]), _value(row["passes"], "{:.0f}"),
         _value(row["seconds_per_clip"], "{:.2f}"), _with_interval(row, "distance", "{:.2f}"),
         f"{PER_CLIP[row['furthest']].label} ({row['furthest_delta']:+.2f})", _with_interval(row, "accuracy", "{:.0%}"),
         _with_interval(row, "diversity", "{:.2f}")]
        for row in table.to_dict("records")
    ]  # fmt: skip
    return markdown_table(header, rows)


def training_table(history: pd.DataFrame) -> list[str]:
    """Return the loss of the last epoch in training.csv by level, beside that of code frequencies, in Markdown."""
    history = history.astype({"level": str})
    last = history[history["epoch"] == history["epoch"].max()]
    sides = {split: rows.set_index("level") for split, rows in last.groupby("split")}
    rows = []
    for level, row in sides["validation"].iterrows():
        known = float(row.get("unigram", float("nan")))
        cells = [sides["train"].loc[level, "loss"], row["loss"], known, row["loss"] - known]
        rows.append([str(level), *(_value(value, "{:.2f}") for value in cells)])
    return markdown_table(["level", "training clips", "watched clips", "code frequencies", "difference"], rows)


def _settings_section(folder: Path, assets: Assets, page: Path) -> list[str]:
    if not (folder / "decoding.csv").is_file():
        return []
    table = read_csv(folder / "decoding.csv")
    link = assets.link(folder / "figures" / "decoding_settings.png", folder.name, page)
    figure = [f"```{{figure}} {link}", f":alt: {SETTINGS_WORDS}", ":width: 100%", "", SETTINGS_WORDS, "```", ""]
    named = table["control"].isin([REAL, CEILING])
    table = pd.concat([table[named], table[~named]])
    words, shown = findings_settings(table), dropdown("Show the table", wide(settings_table(table)))
    return [
        f"### {folder.name}",
        "",
        *_origin(folder, "15_compare_decoding"),
        "",
        words,
        "",
        *(figure if link else []),
        *shown,
    ]


def _training_section(folder: Path) -> list[str]:
    if not ((folder / "training.csv").is_file() and (folder / "ks.csv").is_file()):
        return []
    history = read_csv(folder / "training.csv")
    epochs, minutes = history["epoch"].max(), history[["epoch", "seconds"]].drop_duplicates()["seconds"].sum() / 60
    words = f":Training: {epochs} epochs in {number(float(minutes), 3)} minutes"
    return [f"### {folder.name}", "", *_origin(folder, "02_train_model"), words, "", *wide(training_table(history))]


def _origin(folder: Path, step: str) -> list[str]:
    run, made = run_origin(folder), read_json(folder / "provenance.json")["steps"].get(step, {})
    fields = {"Data": run.get("data_cut"), "Commit": made.get("commit"), "Machine": run.get("device")}
    return [f":{name}: {value}" for name, value in fields.items() if value]


def _with_interval(row: dict, name: str, form: str) -> str:
    if pd.isna(row[name]):
        return "–"
    ends = [row[f"{name}_low"], row[f"{name}_high"]]
    return form.format(row[name]) + (
        "" if pd.isna(ends).any() else f" ({form.format(ends[0])} to {form.format(ends[1])})"
    )


def _value(value: float, form: str) -> str:
    return "–" if pd.isna(value) else form.format(value)
