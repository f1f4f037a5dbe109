"""Tables and figures of the chapters on the evaluation and on the engine, from every published run that has them."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pandas as pd

from envsound.base.files import read_csv, read_json, visible
from envsound.base.text import NO_NUMBER, cell, dropdown, number, plain
from envsound.book.published import CAPTIONS
from envsound.metrics.extended import PER_CLIP
from envsound.report.facts import ALPHA, told_apart
from envsound.report.fragments import SYSTEM_WORDS, Staging, field_list, table_of, with_interval
from envsound.report.runs import Run

NOTHING = "*Not run here: no published run has this yet.*"
NO_RULES = "*This copy of the repository holds no `data/published/mutants.csv`; `make mutants` writes it.*"
MEMORISED = {"copied_codec": "training clips through the codec", "copied": "training clips themselves"}
QUANTITIES = {
    "kad": "KAD", "fad": "FAD", "fad_infinity": "FAD∞", "precision": "precision", "recall": "recall",
    "accuracy": "generated clips heard as asked",
    "accuracy_taught": "real clips recognised after learning from generated ones",
}  # fmt: skip
PERCENT, TENTHS, PLAIN = "{:.0%}", "{:.1%}", "{:.2f}"
Row = Mapping[str, Any]
Shown = list[dict[str, str]]  # the rows of a table, each by the headings of its columns


def stage_chapters(book: Staging) -> None:
    """Write what the two chapters include: executed/evaluation/<part>.txt and executed/engine/<part>.txt."""
    runs = [Run(path.parent) for path in visible(book.published, "*/table_metrics.csv")]
    for name, (file, make, figure, folded) in PARTS.items():
        lines = []
        for run in runs:
            if (run.folder / f"{file}.csv").is_file():
                lines += _origin(run) if name.startswith("engine/") else []
                path, page = run.folder / "figures" / f"{figure}.png", f"{name.partition('/')[0]}.md"
                lines += book.figure(path, CAPTIONS.get(figure, ""), page, f"published-{run.folder.name}")
                rows = make(run, read_csv(run.folder / f"{file}.csv"))
                table = table_of(rows, "notes" if make is runs_rows else "")
                lines += dropdown("Every number", table) if folded else table
        book.write(f"{name}.txt", lines or [NOTHING])
    rules = book.published / "mutants.csv"
    book.write("engine/rules.txt", rules_list(read_csv(rules)) if rules.is_file() else [NO_RULES])


def rules_list(rules: pd.DataFrame) -> list[str]:
    """Return the rules as Markdown, from the columns of mutants.csv: each with its mistake and the test it fails."""
    caught = rules["passes_unchanged"] & rules["fails_mutated"]
    lines = [f"{int(caught.sum())} of {len(rules)} mistakes are caught by their test.", ""]
    for row, ok in zip(rules.to_dict("records"), caught, strict=True):
        before, after, file, test = (" ".join(row[name].split()) for name in ("before", "after", "file", "test"))
        verdict = "fails" if ok else "**does not fail**"
        text = f"With `{before}` made `{after}` in `{file}`, `{test.split('::')[1]}` {verdict}."
        lines.append(f"- **{row['rule']}.** {text}")
    return lines


def runs_rows(run: Run, table: pd.DataFrame) -> Shown:
    """Return a run's data, fold, seed and machine, with a link to its page, which names the commits."""
    told = {words: run.origin.get(key) for words, key in
            (("data", "data_cut"), ("held-out fold", "fold"), ("seed", "seed"), ("machine", "device"))}  # fmt: skip
    link = f"[{run.folder.name}](executed/published_{run.folder.name}.md)"
    return [{"run": link} | {words: "not recorded" if value is None else str(value) for words, value in told.items()}]


def apart_rows(run: Run, table: pd.DataFrame) -> Shown:
    """Return how many metrics tell each system from real clips, with the numbers of clips, a row a training seed."""
    counts = told_apart(table)
    return [
        {"run": model["run"], "metrics tested": str(model["n_tests"]), "real clips": str(model["n_real"])}
        | _by_system(counts, model, lambda row: f"{row['n_apart']} (n = {row['n']})")
        for model in _records(counts[counts["system"] == "generated"])
    ]


def failures_rows(run: Run, table: pd.DataFrame) -> Shown:
    """Return the metrics that tell a model from real clips, the widest distance first, and the codec's part in it."""
    codec = table[table["system"] == "codec"].set_index("metric").to_dict("index")
    mine = table[(table["system"] == "generated") & (table["p_holm"] < ALPHA)]
    rows = []
    for row in _records(mine.sort_values(["run", "ks"], ascending=[True, False], kind="stable")):
        beside = codec.get(row["metric"], {})
        told = ", told apart" if beside.get("p_holm", 1) < ALPHA else ""
        shown = {"run": row["run"], "metric": PER_CLIP[row["metric"]].label, "D": cell(row["ks"], 2)}
        shown |= {"Cliff's delta": f"{row['cliffs_delta']:+.2f}"}
        rows.append(shown | {"D of the codec alone": cell(beside.get("ks"), 2) + told})
    return rows


def diversity_rows(run: Run, table: pd.DataFrame) -> Shown:
    """Return how far the clips of every system lie apart, over all clips and within classes, beside real ones."""
    scopes = {scope: table[table["category"] == scope] for scope in ("all clips", "mean over classes")}
    return [
        {"run": model["run"], "over": scope} | _by_system(rows, model, lambda row: with_interval(row, "ratio", PLAIN))
        for scope, rows in scopes.items()
        for model in _records(rows[rows["system"] == "generated"])
    ]


def distances_rows(run: Run, table: pd.DataFrame) -> Shown:
    """Return every distance between embeddings, of every system; an embedding that was not run is left out."""
    return [
        {"run": run.folder.name, "embedding": row["embedding"], "system": SYSTEM_WORDS[row["side"]],
         "n": cell(row["n"]), "KAD": with_interval(row, "kad", PLAIN), "chance": cell(row["kad_chance"]),
         "FAD": cell(row["fad"]), "FAD∞": cell(row["fad_infinity"]), "FAD∞, both": cell(row["fad_infinity_both"])}
        | {name: with_interval(row, name, PLAIN) for name in ("precision", "recall")}
        for row in _records(table[table["side"] != ""])
    ]  # fmt: skip


def truth_rows(run: Run, table: pd.DataFrame) -> Shown:
    """Return what share of every system's clips each listener hears as what was asked for."""
    whole = table[table["category"] == ""].rename(columns={"side": "system"})
    return [
        {"run": run.folder.name, "listener": f"{name} ({role})"}
        | _by_system(rows, None, lambda row: with_interval(row, "accuracy", PERCENT), list(SYSTEM_WORDS))
        for (name, role), rows in whole.groupby(["classifier", "role"], sort=False)
    ]


def taught_rows(run: Run, table: pd.DataFrame) -> Shown:
    """Return how well listeners do on real clips that learnt from each mix of real and generated ones."""
    return [
        {"run": run.folder.name, "listener": row["classifier"], "learnt from": row["mix"],
         "of each class": row["composition"], "clips learnt": cell(row["n_training"]), "real clips": cell(row["n"]),
         "recognised": with_interval(row, "accuracy", PERCENT)}
        for row in _records(table)
    ]  # fmt: skip


def classes_rows(run: Run, table: pd.DataFrame) -> Shown:
    """Return a row for each class: what the network hears, and the kernel distances, bold where told from real."""
    truth = run.table("class_truth.csv")
    heard = {} if truth.empty else truth[truth["classifier"] == "cnn"].set_index(["side", "category"]).to_dict("index")
    rows = []
    for category, distances in table[table["side"] == "generated"].groupby("category"):
        shown = {run.folder.name: plain(str(category).replace("_", " "))}
        for side, words in (("real", "real"), ("codec", "codec"), ("generated", "model")):
            row = heard.get((side, category))
            shown[f"heard: {words}"] = f"{row['n_right']} of {row['n']}" if row else NO_NUMBER
        for row in _records(distances):
            kad = with_interval(row | {"kad_low": None}, "kad", PLAIN)
            shown[f"KAD: {row['embedding']}"] = f"**{kad}**" if row["kad_p_adjusted"] < ALPHA else kad
        rows.append(shown)
    return rows


def goals_rows(run: Run, table: pd.DataFrame) -> Shown:
    """Return a row for each run and class: how far it is from real clips, bold where that is beyond the goal."""

    def shown(row: Row, form: str) -> str:
        return form.format(row["difference"]).join(["**", "**"] if row["met"] == "no" else ["", ""])

    names = {"level_db": ("level (dB)", "{:+.1f}"), "envelope_correlation_s": ("envelope correlation", "{:+.0%}"),
             "modulation_8_16_hz": ("modulation, 8 to 16 Hz", "{:+.0%}")}  # fmt: skip
    rows = []
    for (name, category), part in table.groupby(["run", "category"], sort=True):
        own = part.set_index("quantity").to_dict("index")
        row = {"run": name, "class": str(category).replace("_", " ")}
        row |= {words: shown(own[key], form) for key, (words, form) in names.items() if key in own}
        distances = {key.removeprefix("ks_"): found for key, found in own.items() if key.startswith("ks_")}
        above = [f"{key} {PLAIN.format(found['value'])}" for key, found in distances.items() if found["met"] == "no"]
        rows.append(row | {"distances above their threshold": ", ".join(above) or "none"})
    return rows


def memorisation_rows(run: Run, table: pd.DataFrame) -> Shown:
    """Return the verdicts on copies, the model's and the controls'."""
    return [
        {"run": run.folder.name, "clips": MEMORISED.get(row["side"], "model"), "space": row["space"],
         "n": cell(row["n"]), "relative": with_interval(row, "relative", PLAIN),
         "held out": with_interval(row, "relative_held_out", PLAIN), "nearer": with_interval(row, "nearer", PLAIN),
         "nearest of all (by chance)": f"{row['n_nearest']:.0f} ({row['n_nearest_expected']:.1f})",
         "different ones they point at": cell(row.get("n_distinct")), "p (Holm)": cell(row["p_holm"], 2),
         "copies": "found out" if str(row["copies_found"]) == "True" else "not found"}
        for row in _records(table[table["side"] != ""])
    ]  # fmt: skip


def copies_rows(run: Run, table: pd.DataFrame) -> Shown:
    """Return what clips of every side share with one version trained on, with the goals of the model."""
    return [
        {"run": run.folder.name, "clips": SYSTEM_WORDS.get(row["side"], row["side"]), "n": cell(row["n"]),
         "equal codes, median": _with_goal(row, "share_median", TENTHS), "90%": TENTHS.format(row["share_p90"]),
         "longest run (columns), median": cell(row["run_median"]), "run, 90%": _with_goal(row, "run_p90", "{:g}"),
         "run, 90% (s)": _with_goal(row, "run_p90_s", PLAIN), "longest of all (s)": PLAIN.format(row["run_max_s"]),
         "relative": PLAIN.format(row["relative_median"]), "beyond every real one": cell(row["n_copies"])}
        for row in _records(table)
    ]  # fmt: skip


def copied_rows(run: Run, table: pd.DataFrame) -> Shown:
    """Return the model's clips that are beyond every real one, each with the versions that it is like."""
    return [
        {"run": run.folder.name, "clip": plain(row["clip"]), "equal codes": PERCENT.format(row["share"]),
         "of": plain(str(row["share_of"])), "longest run (columns)": cell(row["run"]), "in": plain(str(row["run_of"])),
         "relative": PLAIN.format(row["relative"]), "nearest": plain(str(row["nearest"]))}
        for row in _records(table[table["beyond"] & (table["side"] == "generated")])
    ]  # fmt: skip


def seeds_rows(run: Run, table: pd.DataFrame) -> Shown:
    """Return what listeners say over training seeds."""
    numbers = [name for name in table if name not in ("quantity", "judge", "n_runs")]
    forms = {name: PLAIN if name in ("kad", "fad", "fad_infinity") else PERCENT for name in QUANTITIES}
    return [
        {"run": run.folder.name, "quantity": QUANTITIES[row["quantity"]], "judge": row["judge"]}
        | {name.replace("_", " "): with_interval(row, name, forms[row["quantity"]]) for name in numbers}
        for row in _records(table)
    ]


def training_rows(run: Run, table: pd.DataFrame) -> Shown:
    """Return the loss of the last epoch by level, nat a code, beside that of code frequencies."""
    last = table[table["epoch"] == table["epoch"].max()].astype({"level": str})
    sides = {split: rows.set_index("level") for split, rows in last.groupby("split")}
    watched = sides["validation"]
    losses = pd.DataFrame({"training clips": sides["train"]["loss"], "watched clips": watched["loss"],
                           "code frequencies": watched["unigram"]}).loc[watched.index]  # fmt: skip
    losses["difference"] = losses["watched clips"] - losses["code frequencies"]
    return [{"level": level} | {name: with_interval(row, name, PLAIN) for name in losses}
            for level, row in losses.to_dict("index").items()]  # fmt: skip


def counting_rows(run: Run, table: pd.DataFrame) -> Shown:
    """Return what hidden codes cost (nat) by level and share hidden: the model beside counting, in sounding columns."""
    rows = table[table["columns"] == "sounding"] if (table["columns"] == "sounding").any() else table
    names = {"model": "model", "code frequencies": "unigram", "bigram": "bigram"}
    return [{"level": str(row["level"]), "hidden": PERCENT.format(row["hidden"]), "codes": str(row["n_masked"])}
            | {words: PLAIN.format(row[name]) for words, name in names.items()} for row in _records(rows)]  # fmt: skip


PARTS: dict[str, tuple[str, Callable[[Run, pd.DataFrame], Shown], str, bool]] = {  # csv, table, figure, folded away?
    "evaluation/runs": ("evaluation", runs_rows, "", False),
    "evaluation/apart": ("evaluation", apart_rows, "evaluation_overview", False),
    "evaluation/failures": ("evaluation", failures_rows, "", True),
    "evaluation/diversity": ("diversity", diversity_rows, "evaluation_diversity", False),
    "evaluation/distances": ("distances", distances_rows, "listener_distances", True),
    "evaluation/truth": ("class_truth", truth_rows, "listener_confusion", False),
    "evaluation/training": ("class_training", taught_rows, "", False),
    "evaluation/classes": ("distances_by_class", classes_rows, "", False),
    "evaluation/goals": ("goals_by_class", goals_rows, "", False),
    "evaluation/memorisation": ("memorisation", memorisation_rows, "listener_nearest", False),
    "evaluation/copies": ("copies", copies_rows, "copied_runs", False),
    "evaluation/copied": ("copies_by_clip", copied_rows, "", True),
    "evaluation/seeds": ("listener_seeds", seeds_rows, "", True),
    "engine/training": ("training", training_rows, "", False),
    "engine/counting": ("counting", counting_rows, "", True),
}


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return table.to_dict("records")


def _with_goal(row: Row, name: str, form: str) -> str:
    """Return a number of a row with the goal that it should not exceed, where there is one."""
    goal = row[f"{name}_goal"]
    return form.format(row[name]) + ("" if pd.isna(goal) else f" (at most {form.format(goal)})")


def _by_system(
    table: pd.DataFrame, model: Row | None, form: Callable[[Row], str], names: Iterable[str] = list(SYSTEM_WORDS)[1:]
) -> dict[str, str]:
    """Return what is shown of the first row of each system; `model` is the model's where there are several."""
    rows = table.drop_duplicates("system").set_index("system").to_dict("index")
    rows |= {"generated": model} if model else {}
    return {SYSTEM_WORDS[name]: form(rows[name]) if name in rows else NO_NUMBER for name in names}


def _origin(run: Run) -> list[str]:
    """Return a run's name and where its training comes from, its epochs and the minutes they took."""
    made = read_json(run.folder / "provenance.json")["steps"].get("02_train_model", {})
    fields = {"Data": run.origin.get("data_cut"), "Commit": made.get("commit"), "Machine": run.origin.get("device")}
    epochs = run.table("training.csv")[["epoch", "seconds"]].drop_duplicates()
    minutes = number(float(epochs["seconds"].sum()) / 60, 3)
    fields["Training"] = f"{epochs['epoch'].max()} epochs in {minutes} minutes"
    return [f"### {run.folder.name}", "", *field_list(fields)]
