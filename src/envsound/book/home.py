"""The answer on the first page, put together from result files so that it turns when a result turns, and its figure."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from envsound.base.files import read_csv, read_json
from envsound.base.text import number
from envsound.book.judges import REPORTING
from envsound.report.facts import NOT_MEASURED, Facts, told_apart
from envsound.report.fragments import SYSTEM_WORDS, Staging, figure
from envsound.report.style import distance_figure, save_figure

RUN, TRAINING = "esc10", "02_train_model"  # the published run that the answer is about, and a step of it
MODEL, BEFORE = "masked model, patch codes, seed 0", "masked model, codes with phase (version 0.1)"
CHAIN, COUNTED = "chain, no copies, patch codes", ("unigram, patch codes", "bigram, patch codes")
SPACE = "statistics"  # the space of embeddings in which nothing is learnt
NEARER = "The model is nearer to real sound than codes drawn by counting"
NO_NEARER = "The model is no nearer to real sound than codes drawn by counting"
TIMED = ("dog", "rooster", "crying_baby", "sneezing", "clock_tick")  # classes with a course in time


def home_facts(published: Path) -> Facts:
    """Return what the first page says: `answer` (two sentences), the shares it names, `chain` (a verdict), `grey`, and
    n_passes, those of the generator that ships.

    Shares, in words: model, before, counted, chain_share, recordings, taught and taught_real (what clips teach), shared
    and shared_real (codes of one training clip); classes: best, timed, worst; message, of the figure. Of result files
    that are not there the facts are "not measured".
    """
    found = Facts()
    heard = _heard(published)
    evaluation, copies = (_optional(published / RUN / f"{name}.csv") for name in ("evaluation", "copies"))
    if MODEL in heard:
        shares = {"model": MODEL, "before": BEFORE, "chain_share": CHAIN, "recordings": "real"}
        found |= {name: f"{heard[one]['accuracy']:.0%}" for name, one in shares.items() if one in heard}
        found["counted"] = f"{max(heard[name]['accuracy'] for name in COUNTED if name in heard):.0%}"
        found["chain"] = _beside_chain(heard[MODEL], heard.get(CHAIN))
        found["answer"] = f"{_verdict(heard)} {_second(evaluation, copies)}".strip()
    nearest = by_nearness(published)
    if nearest:
        found |= {"timed": _listed(nearest, TIMED), "worst": nearest[-1].replace("_", " ")}
        found["best"] = nearest[0].replace("_", " ")
    rows = _rows(_optional(published / RUN / "distances.csv"))
    if not rows.empty:
        found["message"] = message(rows)
    found |= _shares(published / RUN, copies)
    found["grey"] = _grey(published)
    card = published.parent / "generator" / "generator.json"
    if card.is_file():
        found["n_passes"] = str(sum(read_json(card)["decoding"]["steps_per_level"]))
    return found


def stage_home(book: Staging) -> None:
    """Write home/figure.txt: the distance to real sound of everything that was measured, its message as its title."""
    table = _optional(book.published / RUN / "distances.csv")
    rows = _rows(table)
    if rows.empty:
        book.write("home/figure.txt", [f"*{NOT_MEASURED}*"])
        return
    title = message(rows)
    folder = book.book_dir / "_static" / "generated" / "home"
    drawn = distance_figure(rows.assign(words=rows["side"].map(SYSTEM_WORDS)), title)
    save_figure(drawn, folder, "distance", kinds=["png"])
    told = ", ".join(f"{SYSTEM_WORDS[row.side]} {row.kad:.1f}" for row in rows.itertuples())
    words = f"{title}. Kernel distance to held-out recordings: {told}. Bars are 95% intervals."
    book.write("home/figure.txt", figure("_static/generated/home/distance.png", words))


def strip_classes(published: Path) -> list[str]:
    """Return the classes that the first page lets hear: the nearest to real sound of those with a course in time and of
    the others, and the farthest of all.
    """
    order = by_nearness(published)
    timed, others = ([name for name in order if (name in TIMED) == is_timed] for is_timed in (True, False))
    return list(dict.fromkeys([*timed[:1], *others[:1], *order[-1:]]))


def by_nearness(published: Path) -> list[str]:
    """Return the classes by the kernel distance of the model's clips to real ones, the nearest first."""
    table = _optional(published / RUN / "distances_by_class.csv")
    if table.empty:
        return []
    rows = table[(table["side"] == "generated") & table["embedding"].str.startswith(SPACE)]
    return [str(name) for name in rows.sort_values("kad", kind="stable")["category"]]


def message(rows: pd.DataFrame) -> str:
    """Return what the figure says: whether the model's interval lies below those of everything drawn by counting."""
    by_side = rows.set_index("side")
    counted = by_side.reindex(["bigram", "unigram"]).dropna(subset=["kad"])
    return NEARER if by_side.loc["generated", "kad_high"] < counted["kad_low"].min() else NO_NEARER


def _rows(table: pd.DataFrame) -> pd.DataFrame:
    if table.empty:
        return table
    found = table[table["embedding"].str.startswith(SPACE) & table["kad"].notna() & (table["side"] != "copy")]
    return found.sort_values("kad", kind="stable")


def _heard(published: Path) -> dict[str, dict[str, Any]]:
    """Return what the judge that reports heard, by system."""
    tables = [read_csv(path) for path in sorted(published.glob("judges/*/judged.csv"))]
    return {row["system"]: row for table in tables for row in table.to_dict("records") if row["judge"] == REPORTING}


def _verdict(heard: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the first sentence: the model's share against those of counting and of recordings, by their intervals."""
    model, counted = heard[MODEL], [heard[name] for name in COUNTED if name in heard]
    best = max(counted, key=lambda row: row["accuracy"])
    told = (f"a judge that has met none of its training recordings hears the class asked for in "
            f"{model['accuracy']:.0%} of its clips, in {best['accuracy']:.0%} of codes drawn by counting")  # fmt: skip
    if model["low"] <= best["high"]:
        return f"No, not so far: {told}, which is no clear difference."
    of_real = f"and in {model['accuracy_real']:.0%} of recordings"
    return f"Yes: {told} {of_real}." if model["share_high"] >= 1 else f"Yes, in part: {told} {of_real}."


def _second(evaluation: pd.DataFrame, copies: pd.DataFrame) -> str:
    """Return the second sentence: what tells its clips from real ones, and how many follow a training clip."""
    if evaluation.empty:
        return ""
    counts = told_apart(evaluation)
    model = counts[counts["system"] == "generated"].iloc[0]
    verb, n_apart = "tells" if model["n_apart"] == 1 else "tell", model["n_apart"] or "None"
    told = f"{n_apart} of {model['n_tests']} acoustic measurements {verb} its clips from held-out recordings"
    rows = copies[copies["side"] == "generated"] if not copies.empty else copies
    if rows.empty:
        return f"{told}."
    row = rows.iloc[0]
    n_copies, n = int(row["n_copies"]), int(row["n"])
    return f"{told}, and {n_copies} of {n} clips come nearer to a training clip than any held-out recording does."


def _beside_chain(model: Mapping[str, Any], chain: Mapping[str, Any] | None) -> str:
    if chain is None:
        return NOT_MEASURED
    return "clearly more than" if model["low"] > chain["high"] else "not clearly more than"


def _shares(run: Path, copies: pd.DataFrame) -> dict[str, str]:
    """Return what networks recognise that learnt from generated and from real clips, and codes of one training clip."""
    found, taught = {}, _optional(run / "class_training.csv")
    for name, mix in (("taught", "generated"), ("taught_real", "real")):
        rows = taught[(taught["classifier"] == "cnn") & (taught["mix"] == mix)] if len(taught) else taught
        found |= {name: f"{rows['accuracy'].iloc[0]:.0%}"} if len(rows) else {}
    for name, side in (("shared", "generated"), ("shared_real", "real")):
        rows = copies[copies["side"] == side] if "share_median" in copies else copies[:0]
        found |= {name: f"{rows['share_median'].iloc[0]:.1%}"} if len(rows) else {}
    return found


def _grey(published: Path) -> str:
    """Return data, steps, minutes, machine and commit of the model that ships and of the run it was measured in."""
    card, run = published.parent / "generator" / "generator.json", published / RUN
    told = []
    if card.is_file():
        made = read_json(card)["training"]
        told = [f"{made['n_clips']} recordings of ESC-10 in {made['n_versions']} versions each"]
        told += [f"{number(int(made['steps']))} steps of {made['batch_size']} clips in {made['minutes']:.1f} minutes"]
        told += [str(made["device"])]
    if (run / "provenance.json").is_file():
        commit = read_json(run / "provenance.json")["steps"].get(TRAINING, {}).get("commit")
        told += [f"commit {commit[:7]}"] if commit else []
    return "; ".join(told) or NOT_MEASURED


def _listed(order: list[str], known: tuple[str, ...]) -> str:
    return next((name.replace("_", " ") for name in order if name in known), NOT_MEASURED)


def _optional(path: Path) -> pd.DataFrame:
    return read_csv(path) if path.is_file() else pd.DataFrame()
