"""The book's page on language models of codes, from a published report of notebook 21."""

import html
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from envsound.base.files import read_csv
from envsound.base.text import NO_NUMBER, cell
from envsound.metrics.tests import wilson
from envsound.report.cards import Heard
from envsound.report.facts import Facts, keyed, step_record
from envsound.report.fragments import Staging, field_list, not_published, sound_row, with_interval
from envsound.run.publish import ReportKind

REPORT, STEP, PAGE = "language", "21_language_models", "systems/language.md"
NEEDED = ("compared.csv", "learnt.csv", "sounds.csv")
OPTIONAL = ("settings.csv", "latency.csv", "leak.csv", "leak_curves.csv", "optimizers.csv")
OPTIONAL += ("followed.csv", "words.csv", "chroma.csv")
REPORTS = (ReportKind(NEEDED, "a finished report of notebook 21", OPTIONAL, folder=REPORT, sounds="sounds"),)
SIBLINGS = "siblings/published_siblings.csv"  # what the study that trained such models on descriptions printed
MADE = "made by a model; no rights claimed"
KEYS = {  # of the facts: the columns that name a row of a table
    "compared": ("side",),
    "settings": ("side", "top_p", "guidance_scale"),
    "learnt": ("model", "level"),
    "followed": ("system", "kind"),
    "chroma": ("side",),
    "leak": ("split",),
    "optimizers": ("optimizer", "schedule"),
}
FIGURES = {
    "compared": "Each model and what needs none, with 95% intervals where there are any; dotted, recordings.",
    "chroma": "Chroma similarity to a recording: of other recordings (chance), of the codec, of models.",
    "leak": "Loss of watched codes; dotted, their frequencies alone, and a uniform guess.",
}


def stage(book: Staging) -> None:
    """Write what the page includes, executed/language/: result, sounds, told, matches, and one for each table."""
    folder, shown = book.published / REPORT, _shown()
    is_there = (folder / NEEDED[0]).is_file()
    book.write("language/result.txt", field_list(_origin(folder)) if is_there else not_published("study of texts"))
    for name, rows_of in shown.items():
        path, lines = folder / f"{name}.csv", []
        if path.is_file():
            words = FIGURES.get(name)
            lines = book.figure(folder / "figures" / f"{name}.png", words, PAGE, REPORT) if words else []
            lines = [*lines, *book.table(rows_of(read_csv(path)), path, PAGE, "names")]
        book.write(f"language/{name}.txt", lines)
    sounds = read_csv(folder / "sounds.csv").fillna("") if is_there else pd.DataFrame(columns=["text"])
    for name, some in (("sounds", sounds[sounds["text"] == ""]), ("told", sounds[sounds["text"] != ""])):
        heard = [
            Heard(folder / "sounds" / row["file"], row["category"], row["words"], words=f"{_said(row)}; {MADE}")
            for row in some.to_dict("records")
        ]
        book.write(f"language/{name}.txt", sound_row(book, heard, PAGE))
    printed = book.published / SIBLINGS
    rows = match_rows(read_csv(printed)) if printed.is_file() else []
    book.write("language/matches.txt", book.table(rows, printed, PAGE, "names"))


def facts(published: Path) -> Mapping[str, Any]:
    """Return `language`: its tables by KEYS, with two decimals, and `printed`: what the other study's tables say."""
    folder, found = published / REPORT, Facts()
    for name, keys in KEYS.items():
        if (folder / f"{name}.csv").is_file():
            found[name] = keyed(read_csv(folder / f"{name}.csv").round(2), keys)
    if (published / SIBLINGS).is_file():
        found["printed"] = _printed(read_csv(published / SIBLINGS))
    return {"language": found}


def match_rows(table: pd.DataFrame) -> list[dict[str, str]]:
    """Return a row for each sound that listeners of the other study matched with one of three texts, by model."""
    told = table[table["measure"].isin(["matches", "quality"]) & (table["item"] != "all")]
    n, rows = int(_one(table, "listeners")), []
    for item, part in told.groupby("item", sort=False):
        row = {"sound": str(item)}
        for system, own in part.groupby("system", sort=False):
            values = own.set_index("measure")["value"]
            low, high = wilson(values["matches"], n)
            row[f"{system}: matches"] = f"{values['matches']:.0f} of {n} ({low:.0%} to {high:.0%})"
            row[f"{system}: quality"] = f"{values['quality']:.1f}"
        rows.append(row)
    columns = dict.fromkeys(name for row in rows for name in row)
    return [{name: row.get(name, NO_NUMBER) for name in columns} for row in rows]


def _shown() -> dict[str, Callable[[pd.DataFrame], list[dict[str, str]]]]:
    return {
        "compared": compared_rows,
        "settings": settings_rows,
        "learnt": learnt_rows,
        "followed": followed_rows,
        "words": word_rows,
        "chroma": chroma_rows,
        "leak": leak_rows,
        "optimizers": optimizer_rows,
        "latency": any_rows,
    }


def compared_rows(table: pd.DataFrame) -> list[dict[str, str]]:
    """Return a row for each side."""
    return [
        {"system": row["side"], "weights": _whole(row["n_parameters"]), "steps": _whole(row["n_steps"]),
         "training (s)": _whole(row["training_seconds"]), "network": with_interval(row, "heard", "{:.0%}"),
         "probe, of real": with_interval(row, "probe", "{:.0%}"),
         "kernel distance": with_interval(row, "kad", "{:.1f}"),
         "metrics told apart": f"{_whole(row['n_apart'])} of {_whole(row['n_metrics'])}",
         "largest KS": cell(row["largest_ks"], 2),
         "silent": _whole(row["n_silent"]), "copied run": cell(row["run_p90"]), "spread": cell(row["diversity"], 2),
         "envelope correlation": cell(row["evolution"], 2), "modulation": cell(row["smoothing"], 2),
         "passes": _whole(row["passes"]), "seconds a clip": cell(row["seconds_a_clip"], 2)}
        for row in table.to_dict("records")
    ]  # fmt: skip


def settings_rows(table: pd.DataFrame) -> list[dict[str, str]]:
    """Return a row for each system and setting."""
    return [
        {"system": row["side"], "drawn among": f"{row['top_p']:.0%}", "guidance": cell(row["guidance_scale"]),
         "silent": f"{row['n_silent']} of {row['n']}", "kernel distance": with_interval(row, "kad", "{:.1f}"),
         "precision": f"{row['precision']:.0%}", "recall": f"{row['recall']:.0%}", "used": "yes" if row["used"] else ""}
        for row in table.to_dict("records")
    ]  # fmt: skip


def learnt_rows(table: pd.DataFrame) -> list[dict[str, str]]:
    """Return a row for each model and level."""
    return [
        {"model": row["model"], "band": str(row["level"]), "cross-entropy": f"{row['loss']:.3f}",
         "perplexity": f"{row['perplexity']:,.0f}", "frequencies": f"{row['unigram']:.3f}",
         "pairs": f"{row['bigram']:.3f}"}
        for row in table.to_dict("records")
    ]  # fmt: skip


def followed_rows(table: pd.DataFrame) -> list[dict[str, str]]:
    """Return a row for each system and kind of caption."""
    return [
        {"system": row["system"], "asked by": row["kind"], "clips": str(row["n"]), "left out": str(row["n_left_out"]),
         "heard as its class": with_interval(row, "heard", "{:.0%}"), "chance": f"{row['chance']:.0%}",
         "refused": f"{row['refused']:.0%}", "words that hold": _percent(row["words_kept"]),
         "by chance": _percent(row["words_chance"])}
        for row in table.to_dict("records")
    ]  # fmt: skip


def word_rows(table: pd.DataFrame) -> list[dict[str, str]]:
    """Return a row for each system and pair of texts."""
    return [
        {"system": row["system"], "text": row["text"], "with a word": row["other"],
         "not known": NO_NUMBER if pd.isna(row["unknown"]) else row["unknown"],
         "by the word (dB)": f"{row['by_word']:.2f}", "by a seed (dB)": f"{row['by_seed']:.2f}",
         "ratio": f"{row['ratio']:.2f}", "level (dB)": f"{row['level_db']:+.1f}"}
        for row in table.to_dict("records")
    ]  # fmt: skip


def chroma_rows(table: pd.DataFrame) -> list[dict[str, str]]:
    """Return a row for each side."""
    return [
        {"pairs with a recording": row["side"], "pairs": str(row["n"]),
         "one-hot": with_interval(row, "one_hot", "{:.3f}"), "plain": with_interval(row, "plain", "{:.3f}")}
        for row in table.to_dict("records")
    ]  # fmt: skip


def leak_rows(table: pd.DataFrame) -> list[dict[str, str]]:
    """Return a row for each split."""
    return [{"split": row["split"], **_losses(row)} for row in table.to_dict("records")]


def optimizer_rows(table: pd.DataFrame) -> list[dict[str, str]]:
    """Return a row for each optimizer and schedule."""
    return [
        {"optimizer": row["optimizer"], "schedule": row["schedule"], "rate": f"{row['lr']:g}", **_losses(row),
         "note": "" if pd.isna(row["note"]) else row["note"]}
        for row in table.to_dict("records")
    ]  # fmt: skip


def any_rows(table: pd.DataFrame) -> list[dict[str, str]]:
    """Return the rows of a table as they are, numbers written out."""
    return [
        {name.replace("_", " "): value if isinstance(value, str) else cell(value) for name, value in row.items()}
        for row in table.to_dict("records")
    ]


def _losses(row: Mapping[str, Any]) -> dict[str, str]:
    names = {"learnt": "train_loss", "watched": "loss", "least": "best_loss"}
    shown = {"steps": _whole(row["n_steps"])} | {words: cell(row[name], 3) for words, name in names.items()}
    return shown | {"perplexity": cell(row["perplexity"]), "frequencies": cell(row["unigram"])}


def _printed(table: pd.DataFrame) -> Facts:
    quality = table[(table["measure"] == "quality") & (table["system"] == "MusicGen")].set_index("item")["value"]
    sounds = quality.drop("all")
    low, high = wilson(_one(table, "matches"), int(_one(table, "listeners")))
    found = {"mean_quality": f"{sounds.mean():.2f}", "printed_quality": f"{quality['all']:.2f}"}
    found |= {"listeners": f"{_one(table, 'listeners'):.0f}", "answers": f"{_one(table, 'answers added up'):.0f}"}
    matched = table.loc[table["measure"] == "matches", "item"]
    found |= {"recordings": f"{_one(table, 'recordings'):,.0f}"}
    found |= {"low": f"{low:.0%}", "high": f"{high:.0%}", "sounds": str(matched.nunique())}
    loss = table.query("measure == 'cross-entropy' and item == 'validation' and system == 'MusicGen'")["value"]
    chroma = table.query("measure == 'chroma similarity' and system == 'MusicGen'")["value"]
    return Facts(found | {"loss": f"{loss.iloc[0]:.3f}", "chroma": f"{chroma.iloc[0]:.3f}"})


def _one(table: pd.DataFrame, measure: str) -> float:
    return float(table.loc[table["measure"] == measure, "value"].iloc[0])


def _said(row: Mapping[str, Any]) -> str:
    return html.escape(f"“{row['text']}”") if row["text"] else str(row["category"]).replace("_", " ")


def _whole(value: float) -> str:
    return NO_NUMBER if pd.isna(value) else f"{value:,.0f}"


def _percent(value: float) -> str:
    return NO_NUMBER if pd.isna(value) else f"{value:.0%}"


def _origin(folder: Path) -> dict[str, Any]:
    _, found, made = step_record(folder, STEP)
    return {
        "Recordings": found.get("data_cut"),
        "Held out": f"fold {found.get('held_out_fold')}",
        "Clips": f"{found.get('n_samples')} a model, the same classes, lengths and seeds for all, one candidate each",
        "Judges": found.get("judges"),
        **made,
    }
