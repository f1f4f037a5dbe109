"""Tables and figures of the page of results and its appendices, from every published run that has them."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from envsound.base.files import read_csv, visible
from envsound.base.text import NO_NUMBER, cell, number, plain
from envsound.book.home import BEFORE
from envsound.book.listen import shown
from envsound.book.published import CAPTIONS
from envsound.metrics.acoustic import METRICS
from envsound.metrics.extended import OCTAVES_HZ, PER_CLIP
from envsound.report.cards import Heard, clips_of
from envsound.report.facts import ALPHA, told_apart
from envsound.report.fragments import SYSTEM_WORDS, Staging, sound_row, table_of, with_interval
from envsound.report.runs import Run

NOTHING = "*Not run here: no published run has this yet.*"
NO_RULES = "*This copy of the repository holds no `data/published/mutants.csv`; `make mutants` writes it.*"
MEMORISED = {"copied_codec": "training clips through the codec", "copied": "training clips themselves"}
QUANTITIES = {
    "kad": "KAD", "fad": "FAD", "fad_infinity": "FAD∞", "precision": "precision", "recall": "recall",
    "accuracy": "generated clips heard as asked",
    "accuracy_taught": "real clips recognised after learning from generated ones",
}  # fmt: skip
CLAIMS = {  # what the published study says fails: how it was measured there, and the measurements of it here
    "high frequencies": ("centroid, rolloff, zero crossings",
                         ("spectral_centroid_hz", "spectral_rolloff_hz", "zcr", "share_above_5000_hz",
                          *(f"octave_{hz}_hz" for hz in OCTAVES_HZ[-2:]))),
    "loudness and its spread": ("root mean square", ("rms", "peak_dbfs", "crest_db")),
    "events and rhythm in time": ("by eye, on spectrograms", tuple(
        name for name in PER_CLIP
        if name.startswith(("onset", "envelope", "modulation")) or name == "spectral_flux"
    )),
    "pitch and harmony": ("not measured", ("harmonicity",)),
}  # fmt: skip
WITH_PHASE = "before, on codes with phase"
PERCENT, TENTHS, PLAIN = "{:.0%}", "{:.1%}", "{:.2f}"
Row = Mapping[str, Any]
Shown = list[dict[str, str]]  # the rows of a table, each by the headings of its columns


def stage_chapters(book: Staging) -> None:
    """Write what the pages include: executed/results/<part>.txt, executed/numbers/<part>.txt and rules.txt."""
    runs = [Run(path.parent) for path in visible(book.published, "*/table_metrics.csv")]
    for name, (file, make, figure) in PARTS.items():
        lines = []
        for run in runs:
            if (table := run.folder / f"{file}.csv").is_file():
                page = f"{name.partition('/')[0]}.md"
                path = run.folder / "figures" / f"{figure}.png"
                lines += book.figure(path, CAPTIONS.get(figure, ""), page, f"published-{run.folder.name}")
                lines += book.table(make(run, read_csv(table)), table, page)
        book.write(f"{name}.txt", lines or [NOTHING])
    origins = table_of([row for run in runs for row in runs_rows(run)], "notes")
    book.write("numbers/runs.txt", origins or [NOTHING])
    for name, sounds in failure_sounds(book.published).items():
        book.write(f"results/{name}.txt", sound_row(book, sounds, "results.md") or [NOTHING])
    rules = book.published / "mutants.csv"
    book.write("rules.txt", rules_list(read_csv(rules)) if rules.is_file() else [NO_RULES])


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


def runs_rows(run: Run) -> Shown:
    """Return a run's data, fold, seed, machine and training, with a link to its page, which names the commits."""
    told = {words: run.origin.get(key) for words, key in
            (("data", "data_cut"), ("held-out fold", "fold"), ("seed", "seed"), ("machine", "device"))}  # fmt: skip
    epochs = run.table("training.csv")
    if not epochs.empty:
        seconds = epochs.drop_duplicates("epoch")["seconds"].sum()
        told["training"] = f"{epochs['epoch'].max()} epochs in {number(float(seconds) / 60, 3)} minutes"
    link = f"[{run.folder.name}](executed/published_{run.folder.name}.md)"
    return [{"run": link} | {words: "not recorded" if value is None else str(value) for words, value in told.items()}]


def failure_sounds(published: Path) -> dict[str, list[Heard]]:
    """Return what lets the failures be heard: pitch, rhythm and lines that are lost, and the same model before."""
    rows, before = shown(published), clips_of(published, BEFORE)
    parts = {"pitch": rows.get("rooster", [])[:3], "rhythm": rows.get("clock_tick", [])[:3]}
    parts["lines"] = rows.get("chainsaw", [])[:3]
    parts["before"] = []
    for name in ("dog", "rooster"):
        parts["before"] += [Heard(before[name], name, f"{name}: {WITH_PHASE}")] if name in before else []
        parts["before"] += [replace(one, kind=f"{name}: now") for one in rows.get(name, []) if one.kind == "model"]
    return parts


def claims_rows(run: Run, table: pd.DataFrame) -> Shown:
    """Return what was said to fail, and how many measurements of it tell codec and each training from real clips."""
    rows = []
    for claim, (published, metrics) in CLAIMS.items():
        tested = table[table["metric"].isin(metrics) & table["ks"].notna()].assign(told=lambda t: t["p_holm"] < ALPHA)
        row = {"said to fail": claim, "as published": published}
        for system, words in (("codec", "tell the codec apart"), ("generated", "tell the model apart")):
            by_run = tested[tested["system"] == system].groupby("run", sort=False)["told"].agg(["sum", "size"])
            row[words] = "; ".join(f"{n} of {of}" for n, of in by_run.astype(int).to_numpy()) or NO_NUMBER
        found = int((by_run["sum"] > 0).sum())  # of the model's trainings
        rows.append(row | {"verdict": f"found in {found} of {len(by_run)} trainings" if found else "not found here"})
    return rows


def variety_row(run: Run, table: pd.DataFrame) -> Shown:
    """Return how far the clips of every system lie apart within classes and over all, real clips being 1."""
    rows = table[table["category"].isin(["all clips", "mean over classes"]) & (table["system"] != "real")]
    found = []
    for (system, name), of_one in rows.groupby(["system", "run"], sort=False):
        scopes = of_one.set_index("category").to_dict("index")
        row = {"clips": _named(system, name)}
        for words, scope in (("within a class", "mean over classes"), ("over all", "all clips")):
            row[words] = with_interval(scopes[scope], "ratio", PLAIN) if scope in scopes else NO_NUMBER
        found.append(row)
    return found


def apart_rows(run: Run, table: pd.DataFrame) -> Shown:
    """Return for every system how many metrics tell it from real clips, and of how many clips."""
    return [
        {"clips": _named(row["system"], row["run"]), "n": str(row["n"]),
         "real clips": str(row["n_real"]), "measurements": str(row["n_tests"]),
         "tell it from recordings": str(row["n_apart"])}
        for row in _records(told_apart(table))
    ]  # fmt: skip


def near_rows(run: Run, table: pd.DataFrame) -> Shown:
    """Return the kernel distance of every system in every embedding that was run, with precision and recall."""
    rows, there = [], table[table["kad"].notna()]
    for side, of_side in there.groupby("side", sort=False):
        row = {"clips": SYSTEM_WORDS[side]}
        for found in _records(of_side):
            space = found["embedding"].partition(",")[0].replace("cnn", "network")
            row |= {f"KAD, {space}": with_interval(found, "kad", PLAIN)}
            row |= {f"{name}, {space}": PLAIN.format(found[name]) for name in ("precision", "recall")}
        rows.append(row)
    return rows


def ks_rows(run: Run, table: pd.DataFrame) -> Shown:
    """Return the distances D of the published metrics: as published, and of model, codec and other real clips here."""
    rows = []
    for metric, of_metric in table.groupby("metric", sort=False):
        found = of_metric.set_index("comparison").to_dict("index")
        model = found.get("generated_vs_real", {})
        row = {"measurement": METRICS[metric].label, "published": cell(model.get("published_statistic"), 2)}
        for name, words in (("generated", "model"), ("codec", "codec"), ("real_other", "other recordings")):
            row[words] = cell(found.get(f"{name}_vs_real", {}).get("statistic"), 2)
        row["5% threshold"] = cell(model.get("threshold_5_percent"), 2)
        rows.append(row | {"p (Holm)": cell(model.get("p_holm"), 2)})
    return rows


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
    shown = []
    for (name, role), rows in table[table["category"] == ""].groupby(["classifier", "role"], sort=False):
        heard = rows.set_index("side").to_dict("index")
        row = {"run": run.folder.name, "listener": f"{name} ({role})"}
        shown.append(row | {words: with_interval(heard[side], "accuracy", PERCENT) if side in heard else NO_NUMBER
                            for side, words in SYSTEM_WORDS.items()})  # fmt: skip
    return shown


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


def followed_rows(run: Run, table: pd.DataFrame) -> Shown:
    """Return the short form of `copies_rows`: shares, the longest runs, and clips beyond every real one."""
    return [
        {"clips": SYSTEM_WORDS.get(row["side"], row["side"]), "n": cell(row["n"]),
         "equal codes, median": _with_goal(row, "share_median", TENTHS),
         "longest run (s), 90%": _with_goal(row, "run_p90_s", PLAIN),
         "longest of all (s)": PLAIN.format(row["run_max_s"]), "nearer than any recording": cell(row["n_copies"])}
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
    """Return the loss of the last epoch by part; of a model of codes nat a code, beside that of code frequencies."""
    last = table[table["epoch"] == table["epoch"].max()].astype({"level": str})
    sides = {split: rows.set_index("level") for split, rows in last.groupby("split")}
    watched = sides["validation"]
    losses = pd.DataFrame({"training clips": sides["train"]["loss"], "watched clips": watched["loss"]})
    losses = losses.loc[watched.index]
    if "unigram" in watched:
        losses["code frequencies"] = watched["unigram"]
        losses["difference"] = losses["watched clips"] - losses["code frequencies"]
    return [{"level": level} | {name: with_interval(row, name, PLAIN) for name in losses}
            for level, row in losses.to_dict("index").items()]  # fmt: skip


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


def counting_rows(run: Run, table: pd.DataFrame) -> Shown:
    """Return what hidden codes cost (nat) by level and share hidden: the model beside counting, in sounding columns."""
    rows = table[table["columns"] == "sounding"] if (table["columns"] == "sounding").any() else table
    names = {"model": "model", "code frequencies": "unigram", "bigram": "bigram"}
    return [{"level": str(row["level"]), "hidden": PERCENT.format(row["hidden"]), "codes": str(row["n_masked"])}
            | {words: PLAIN.format(row[name]) for words, name in names.items()} for row in _records(rows)]  # fmt: skip


PARTS: dict[str, tuple[str, Callable[[Run, pd.DataFrame], Shown], str]] = {  # page/name: csv, table, figure
    "results/apart": ("evaluation", apart_rows, ""),
    "results/claims": ("evaluation", claims_rows, ""),
    "results/ks": ("ks", ks_rows, ""),
    "results/near": ("distances", near_rows, ""),
    "results/variety": ("diversity", variety_row, ""),
    "results/classes": ("distances_by_class", classes_rows, ""),
    "results/followed": ("copies", followed_rows, ""),
    "numbers/goals": ("goals_by_class", goals_rows, ""),
    "numbers/failures": ("evaluation", failures_rows, "evaluation_overview"),
    "numbers/distances": ("distances", distances_rows, "listener_distances"),
    "numbers/truth": ("class_truth", truth_rows, "listener_confusion"),
    "numbers/training": ("class_training", taught_rows, ""),
    "numbers/memorisation": ("memorisation", memorisation_rows, "listener_nearest"),
    "numbers/copies": ("copies", copies_rows, "copied_runs"),
    "numbers/copied": ("copies_by_clip", copied_rows, ""),
    "numbers/seeds": ("listener_seeds", seeds_rows, ""),
    "numbers/losses": ("training", training_rows, ""),
    "numbers/counting": ("counting", counting_rows, ""),
}


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return table.to_dict("records")


def _with_goal(row: Row, name: str, form: str) -> str:
    """Return a number of a row with the goal that it should not exceed, where there is one."""
    goal = row[f"{name}_goal"]
    return form.format(row[name]) + ("" if pd.isna(goal) else f" (goal: at most {form.format(goal)})")


def _named(system: str, run: str) -> str:
    """Return what clips are called: the system, and the training behind it where there are several."""
    return f"{SYSTEM_WORDS[system]}, {run}" if run else SYSTEM_WORDS[system]
