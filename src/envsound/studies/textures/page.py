"""The book's page on sound textures, from a published report of notebook 20."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from envsound.base.files import read_csv
from envsound.base.text import NO_NUMBER
from envsound.report.cards import Heard
from envsound.report.facts import Facts, keyed, step_record
from envsound.report.fragments import Staging, field_list, not_published, sound_row, with_interval
from envsound.run.publish import ReportKind

REPORT, STEP, PAGE = "textures", "20_sound_textures", "systems/textures.md"
TABLES = ("kept.csv", "generated.csv", "between.csv", "leak.csv", "models.csv", "sounds.csv")
MORE = ("by_class.csv", "source.csv")
REPORTS = (ReportKind(TABLES, "a finished report of notebook 20", MORE, REPORT, sounds="sounds"),)
TEN = "textures_esc10"  # where a report on all ten classes is published
MADE = "made by a model; no rights claimed"
FIGURES = {
    "kept": "Distance to held-out recordings, relative to that of silence; dotted, noise that knows the spectrogram.",
}


def stage(book: Staging) -> None:
    """Write what the page includes, executed/textures/.

    result, kept, between, leak, generated, models and sounds of a report; source, the tables as the source has them;
    and ten, of a report on ten classes.
    """
    folder = book.published / REPORT
    for name, file, rows in (("source", folder / MORE[1], source_rows), ("ten", book.published / TEN, None)):
        lines = [] if not file.exists() else _ten(book, file) if rows is None else _table(book, file, rows)
        book.write(f"textures/{name}.txt", lines)
    if not (folder / TABLES[0]).is_file():
        for name in ("result", *(Path(name).stem for name in TABLES)):
            book.write(f"textures/{name}.txt", not_published("study of textures") if name == "result" else [])
        return
    found = {Path(name).stem: read_csv(folder / name) for name in TABLES}
    shown_as = {"kept": kept_rows, "between": between_rows, "leak": leak_rows}
    shown_as |= {"generated": generated_rows, "models": model_rows}
    book.write("textures/result.txt", field_list(_origin(folder)))
    for name, shown in ((name, rows(found[name])) for name, rows in shown_as.items()):
        words = FIGURES.get(name)
        picture = book.figure(folder / "figures" / f"{name}.png", words, PAGE, REPORT) if words else []
        book.write(f"textures/{name}.txt", [*picture, *book.table(shown, folder / f"{name}.csv", PAGE, "names")])
    book.write("textures/sounds.txt", _sounds(book, folder))


def _sounds(book: Staging, folder: Path) -> list[str]:
    """Return the Markdown lines of the sounds of a report."""
    heard = [
        Heard(folder / "sounds" / row["file"], row["category"], row["words"], words=f"{_class(row)}; {MADE}")
        for row in read_csv(folder / "sounds.csv").to_dict("records")
    ]
    return sound_row(book, heard, PAGE)


def _table(book: Staging, path: Path, rows: Callable[[pd.DataFrame], list[dict[str, str]]]) -> list[str]:
    return book.table(rows(read_csv(path)), path, PAGE, "names")


def _ten(book: Staging, folder: Path) -> list[str]:
    """Return the Markdown lines of a report on ten classes: what is made, class by class, and its trainings."""
    parts = (("generated", generated_rows), ("by_class", class_rows), ("models", model_rows))
    tables = [line for name, rows in parts for line in _table(book, folder / f"{name}.csv", rows)]
    return [*_sounds(book, folder), *tables]


def facts(published: Path) -> Mapping[str, Any]:
    """Return `textures`: kept[class][side], between[system], made[system] and leak[split], numbers written out.

    And source[split][scope][side][class] of the source's tables; of ten classes ten[system], ten_heard[system][class].
    """
    folder, found = published / REPORT, Facts()
    if not (folder / TABLES[0]).is_file():
        return {"textures": found}
    kept = read_csv(folder / "kept.csv")
    found["kept"] = Facts({
        category: Facts({row["side"]: Facts({"relative": f"{row['relative']:.2f}", "db": f"{row['level_db']:+.1f}",
                                                   "fad": f"{row['fad']:,.0f}"})
                         for row in rows.to_dict("records")})
        for category, rows in kept.groupby("category")
    })  # fmt: skip
    means = read_csv(folder / "between.csv").groupby("system")[["spearman", "roughness"]].median()
    found["between"] = Facts({str(name): _two(row) for name, row in means.iterrows()})
    leak = read_csv(folder / "leak.csv").groupby("split")[["same_recording", "nearest"]].mean()
    found["leak"] = Facts({str(name): _two(row) for name, row in leak.iterrows()})
    generated = read_csv(folder / "generated.csv").set_index("system")
    numbers = ["heard", "kad", "n_apart", "n_copies", "run_p90", "diversity", "real_time_factor"]
    found["made"] = Facts({str(name): _two(row) for name, row in generated[numbers].iterrows()})
    if (folder / MORE[1]).is_file():
        source = read_csv(folder / MORE[1])[["split", "scope", "side", "category", "relative", "fad"]]
        source = source.fillna({"scope": ""}).round({"relative": 2, "fad": 0})
        found["source"] = keyed(source, ("split", "scope", "side", "category"))
    if (published / TEN).is_dir():
        ten, by_class = (read_csv(published / TEN / f"{name}.csv") for name in ("generated", "by_class"))
        found["ten"] = keyed(ten[["system", "n", "heard", "kad"]].round(2), ("system",))
        found["ten_heard"] = keyed(by_class.round(2), ("system", "category"))
    return {"textures": found}


def kept_rows(table: pd.DataFrame) -> list[dict[str, str]]:
    """Return a row for each side: distances absolute and relative, and level, by class."""
    rows = []
    for side, part in table.groupby("side", sort=False):
        row = {"what": str(side)}
        for one in part.to_dict("records"):
            name = _class(one)
            row |= {f"{name}: mSTFT": f"{one['mstft']:.4f}", f"{name}: relative": f"{one['relative']:.3f}"}
            row[f"{name}: level (dB)"] = NO_NUMBER if one["level_db"] < -60 else f"{one['level_db']:+.1f}"
            row[f"{name}: FAD"] = f"{one['fad']:,.0f}"
        rows.append(row)
    return rows


def source_rows(table: pd.DataFrame) -> list[dict[str, str]]:
    """Return a row for each split, scope and side of the source's tables: distance, relative distance and FAD."""
    rows = []
    for (split, scope, side), part in table.fillna({"scope": ""}).groupby(["split", "scope", "side"], sort=False):
        row = {"split": split, "taught": scope.replace("_", " ") or NO_NUMBER, "what": side}
        for one in part.to_dict("records"):
            name = _class(one)
            row |= {f"{name}: mSTFT": f"{one['mstft']:.4f}", f"{name}: relative": f"{one['relative']:.2f}"}
            row[f"{name}: FAD"] = f"{one['fad']:,.0f}"
        rows.append(row)
    return rows


def class_rows(table: pd.DataFrame) -> list[dict[str, str]]:
    """Return a row for each class: the share of each system's clips that is heard as what was asked for."""
    shares = table.pivot(index="category", columns="system", values="heard")[table["system"].unique()]
    return [
        {"heard as asked": str(category).replace("_", " ")}
        | {str(system): NO_NUMBER if pd.isna(share) else f"{share:.0%}" for system, share in row.items()}
        for category, row in shares.iterrows()
    ]


def between_rows(table: pd.DataFrame) -> list[dict[str, str]]:
    """Return a row for each system and class: how steadily the centroid goes from one recording to another."""
    means = table.groupby(["system", "category"], sort=False)[["spearman", "roughness"]].agg(["median", "min", "max"])
    return [
        {"system": system, "class": category.replace("_", " ")}
        | {name: f"{row[name, 'median']:.2f} ({row[name, 'min']:.2f} to {row[name, 'max']:.2f})"
           for name in ("spearman", "roughness")}
        for (system, category), row in means.iterrows()
    ]  # fmt: skip


def leak_rows(table: pd.DataFrame) -> list[dict[str, str]]:
    """Return a row for each class and split."""
    return [
        {"class": _class(row), "split": row["split"], "seconds of test": str(row["n_test"]),
         "recording also trains": f"{row['same_recording']:.0%}", "nearest second (dB)": f"{row['nearest']:.1f}"}
        for row in table.to_dict("records")
    ]  # fmt: skip


def generated_rows(table: pd.DataFrame) -> list[dict[str, str]]:
    """Return a row for each system of the common table."""
    return [
        {"system": row["system"], "heard as asked": f"{row['heard']:.0%}",
         "kernel distance": with_interval(row, "kad", "{:.1f}"),
         "metrics told apart": f"{row['n_apart']} of {row['n_metrics']}", "largest KS": f"{row['largest_ks']:.2f}",
         "spread": f"{row['diversity']:.2f}", "equal codes": f"{row['share_median']:.1%}",
         "run, 90% (columns)": f"{row['run_p90']:.0f}", "beyond every real one": f"{row['n_copies']:.0f} of {row['n']}",
         "copies in log-mel": "found" if str(row["logmel_copies"]) == "True" else "not found",
         "seconds a second": NO_NUMBER if pd.isna(row["real_time_factor"]) else f"{row['real_time_factor']:.3f}"}
        for row in table.to_dict("records")
    ]  # fmt: skip


def model_rows(table: pd.DataFrame) -> list[dict[str, str]]:
    """Return a row for each training: its size, steps, time and what its latents hold."""
    return [
        {"model": row["model"], "weights": f"{row['n_parameters']:,.0f}", "steps": str(row["steps"]),
         "training (s)": f"{row['training_seconds']:.0f}",
         "numbers a second": _number(row, "latents_per_second", ",.0f"),
         "nats an atom": _number(row, "kl_nats_an_atom", ".2f"), "device": row["device"]}
        for row in table.to_dict("records")
    ]  # fmt: skip


def _class(row: Mapping[str, Any]) -> str:
    return row["category"].replace("_", " ")


def _number(row: Mapping[str, Any], name: str, form: str) -> str:
    return NO_NUMBER if pd.isna(row[name]) else format(row[name], form)


def _two(row: pd.Series) -> Facts:
    """Return the numbers of a row, whole ones as they are and others with two decimals."""
    return Facts({
        name: NO_NUMBER if pd.isna(value) else f"{value:.0f}" if value == round(value) else f"{value:.2f}"
        for name, value in row.items()
    })  # fmt: skip


def _origin(folder: Path) -> dict[str, Any]:
    _, found, made = step_record(folder, STEP)
    return {
        "Recordings": found.get("data_cut"),
        "Held out": f"fold 1: {found.get('n_held_out')} recordings; {found.get('n_learnt')} teach",
        "Clips": f"{found.get('n_clips')} a system, the same classes, lengths and seeds for all",
        **made,
    }
