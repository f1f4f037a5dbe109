"""What recognisers' answers amount to: means over folds with intervals, pairs, classes, and the published claims.

Intervals are those of a bootstrap (`metrics.resampling`) that draws recordings within each fold: clips cut from one
recording are drawn together. They tell how much results vary with other clips, not with other training runs.
"""

import re
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from envsound.base.errors import InputError
from envsound.base.files import read_csv
from envsound.base.text import NO_NUMBER, NOT_RUN, interval, percent
from envsound.metrics.published import published_value, read_published
from envsound.metrics.resampling import INTERVAL, resampled_means
from envsound.metrics.tests import wilson

CITED = Path("data") / "published" / "cited_accuracies.csv"
FOLD_COLUMNS = [
    "recogniser", "kind", "codec", "fold", "validation_fold", "seed", "n_train", "n_train_folds", "n_test",
    "codec_heard", "n_right", "accuracy", "seconds",
]  # fmt: skip
CLIP_COLUMNS = [
    "recogniser", "seed", "fold", "clip", "source", "category", "heard", "is_right", "confidence", "codec_heard",
]  # fmt: skip
EXPOSURE_COLUMNS = [
    "n_unheard", "accuracy_unheard", "low_unheard", "high_unheard", "n_heard", "accuracy_heard", "n_clean_folds",
    "accuracy_clean", "advantage", "low_advantage", "high_advantage",
]  # fmt: skip
SUMMARY_COLUMNS = [
    "recogniser", "kind", "codec", "status", "n_folds", "n_seeds", "n_clips", "n_train_folds", "accuracy", "low",
    "high", "sd_folds", "sd_seeds", *EXPOSURE_COLUMNS, "seconds_per_fold", "trained_on", "source", "note",
]  # fmt: skip
TEXTS = ("kind", "codec", "trained_on", "source", "note")  # empty where a row has none
PAIR_COLUMNS = ["recogniser_a", "recogniser_b", "difference", "low", "high", "n_only_a", "n_only_b", "n_clips"]
CLASS_COLUMNS = ["recogniser", "category", "n", "n_right", "accuracy", "low", "high", "published"]
CLAIM_COLUMNS = ["recogniser", "strong", "weak", "difference", "low", "high", "n_strong", "n_weak"]
CLAIMED_ON = "esc50"  # what is published of single classes holds where they are among the fifty
STRONG, WEAK = ("clock_tick", "dog", "keyboard_typing"), ("helicopter", "chainsaw", "engine")  # as published
NO_CODEC = "none"  # of a recogniser that hears the sound itself


@dataclass
class Recognised:
    """What all recognisers said.

    folds: a row for each recogniser, fold and seed, FOLD_COLUMNS. n_train, n_train_folds: the clips and folds it learnt
    from, the validation fold's among them where it is refitted. codec_heard: how many test clips its codec has met in
    its own training; 0 without a codec, NaN where that is not known. seconds: the wall time that was still to be spent
    when the row was made, no basis for comparing rows: of what several share the first to ask for it pays alone.
    clips: a row for each test clip of those, CLIP_COLUMNS. source: the recording it was cut from; confidence: the
    probability of what was heard; codec_heard: 1 or 0, or NaN. not_run: recognisers that cannot run here, and why.
    """

    folds: pd.DataFrame
    clips: pd.DataFrame
    not_run: dict[str, str] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """The recognisers that ran, in the order they were asked for."""
        return list(dict.fromkeys(self.folds["recogniser"]))

    @property
    def first(self) -> pd.DataFrame:
        """The clips of the first seed."""
        return self.clips[self.clips["seed"] == self.clips["seed"].min()]


def folder_name(name: str) -> str:
    """Return a recogniser's name as a folder's: lower case, with underscores for what is no letter or digit."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def right_table(clips: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each test clip: clip, fold, source, category, and by recogniser the share of seeds that got it.

    NaN where a recogniser has not heard the clip.
    """
    keys = ["clip", "fold", "source", "category"]
    shares = clips.assign(is_right=clips["is_right"].astype(float))
    return shares.pivot_table("is_right", keys, "recogniser", aggfunc="mean").reset_index()


def summary_table(found: Recognised, benchmark: str = "", seed: int = 0, n_resamples: int = 2000) -> pd.DataFrame:
    """Return recognition.csv: a row for each recogniser, measured here, cited from elsewhere, or not run here.

    accuracy: mean over folds (and seeds), with the 95% interval low to high over clips; sd_folds, sd_seeds: standard
    deviation (n - 1) over folds, and over seeds of the mean over folds; NaN for one. n_train_folds,
    seconds_per_fold: see `Recognised`. EXPOSURE_COLUMNS: see `exposure_table`. benchmark: whose cited rows are added.
    """
    rows = []
    resampled = _resampled(found, seed, n_resamples) if found.names else {}
    exposure = exposure_table(found, seed, n_resamples)
    for name in found.names:
        folds = found.folds[found.folds["recogniser"] == name]
        by_fold, by_seed = (folds.groupby(key)["accuracy"].mean() for key in ("fold", "seed"))
        low, high = np.percentile(resampled[name], INTERVAL)
        rows.append({
            "recogniser": name, "kind": folds["kind"].iloc[0], "codec": folds["codec"].iloc[0], "status": "measured",
            "n_folds": len(by_fold), "n_seeds": len(by_seed),
            "n_clips": int(folds[folds["seed"] == folds["seed"].min()]["n_test"].sum()),
            "n_train_folds": folds["n_train_folds"].iloc[0], "accuracy": by_fold.mean(), "low": low, "high": high,
            "sd_folds": by_fold.std(ddof=1), "sd_seeds": by_seed.std(ddof=1), **exposure.loc[name],
            "seconds_per_fold": folds["seconds"].mean(),
        })  # fmt: skip
    rows += [{"recogniser": name, "status": NOT_RUN, "note": reason} for name, reason in found.not_run.items()]
    own = pd.DataFrame(rows, columns=SUMMARY_COLUMNS)
    table = pd.concat([own, cited_table(benchmark)], ignore_index=True) if benchmark else own
    return table.fillna(dict.fromkeys(TEXTS, ""))


def cited_table(benchmark: str, path: str | Path = CITED) -> pd.DataFrame:
    """Return the rows of the table of cited accuracies (percent) that belong to a benchmark, as SUMMARY_COLUMNS (0-1).

    The table has the columns benchmark, recogniser, accuracy, trained_on, source and note.
    """
    table = read_csv(path)
    rows = table[table["benchmark"] == benchmark]
    rows = rows.assign(status="cited", accuracy=rows["accuracy"] / 100)
    return rows.reindex(columns=SUMMARY_COLUMNS).reset_index(drop=True)


def exposure_table(found: Recognised, seed: int = 0, n_resamples: int = 2000) -> pd.DataFrame:
    """Return a row for each recogniser, its name the index: what it may owe to the codec, EXPOSURE_COLUMNS.

    Met are the test clips that the codec of any recogniser has met in its own training. They differ from the others in
    more than that: in licence, class and fold. So every recogniser is scored on the same two sets, and those that hear
    no codes say how much harder one of them is.

    n_unheard, accuracy_unheard: the clips not met and the share of them named rightly, over clips, since a fold of
    which a few are left would weigh as much as a whole one; with its 95% interval. n_heard, accuracy_heard: the clips
    met. n_clean_folds, accuracy_clean: the rounds none of whose test clips was met, and the mean over them. advantage:
    how much better a recogniser of codes is on clips met than on the others, less the same difference of the mean of
    those that hear no codes; NaN where there are none, with its 95% interval. All is NaN when nobody reads codes, or
    when it is not known what a codec was trained on.
    """
    names, codecs = found.names, dict(zip(found.folds["recogniser"], found.folds["codec"], strict=True))
    table = pd.DataFrame(np.nan, index=pd.Index(names, name="recogniser"), columns=EXPOSURE_COLUMNS)
    without = [name for name in names if codecs[name] == NO_CODEC]
    if len(without) == len(names) or found.clips["codec_heard"].isna().any():
        return table
    met = found.clips.groupby(["clip", "fold"])["codec_heard"].max().astype(bool).rename("met").reset_index()
    right = right_table(found.clips).merge(met, on=["clip", "fold"])
    clean = right[~right.groupby("fold")["met"].transform("any")]
    heard, unheard = (right[right["met"] == value].assign(fold=0) for value in (True, False))
    table = table.assign(n_heard=len(heard), n_unheard=len(unheard), n_clean_folds=clean["fold"].nunique())
    table["accuracy_clean"] = clean.groupby("fold")[names].mean().mean()
    table["accuracy_heard"], table["accuracy_unheard"] = heard[names].mean(), unheard[names].mean()
    if unheard.empty:
        return table
    resampled = resampled_means(unheard, names, [seed, 0], n_resamples)
    for name in names:
        table.loc[name, ["low_unheard", "high_unheard"]] = np.percentile(resampled[name], INTERVAL)
    if len(heard) and without:
        again = resampled_means(heard, names, [seed, 1], n_resamples)
        gains = {name: again[name] - resampled[name] for name in names}
        gain = table["accuracy_heard"] - table["accuracy_unheard"]
        usual, usual_gain = np.mean([gains[name] for name in without], axis=0), gain[without].mean()
        for name in (one for one in names if one not in without):
            table.loc[name, "advantage"] = gain[name] - usual_gain
            table.loc[name, ["low_advantage", "high_advantage"]] = np.percentile(gains[name] - usual, INTERVAL)
    return table


def pairs_table(found: Recognised, seed: int = 0, n_resamples: int = 2000) -> pd.DataFrame:
    """Return recognition_pairs.csv: the difference in accuracy, a minus b, of every two recognisers (PAIR_COLUMNS).

    Both are resampled together, so that the interval is that of the difference on the same clips, and not corrected for
    the number of pairs. n_only_a, n_only_b: clips that one of them names rightly more often than the other.
    """
    if len(found.names) < 2:
        return pd.DataFrame(columns=PAIR_COLUMNS)
    right, resampled = right_table(found.clips), _resampled(found, seed, n_resamples)
    means, rows = right.groupby("fold")[found.names].mean().mean(), []
    for a, b in combinations(found.names, 2):
        low, high = np.percentile(resampled[a] - resampled[b], INTERVAL)
        only = [int((right[one] > right[other]).sum()) for one, other in ((a, b), (b, a))]
        rows.append((a, b, means[a] - means[b], low, high, *only, len(right)))
    return pd.DataFrame(rows, columns=PAIR_COLUMNS)


def beside_table(found: Recognised, other_clips: pd.DataFrame, seed: int = 0, n_resamples: int = 2000) -> pd.DataFrame:
    """Return how recognisers do here and on another version of the same clips, such as one of another bandwidth.

    other_clips: recognition_clips.csv of the other run. difference: here minus there, paired, with its 95% interval;
    n_clips: of the same name in the same fold. Raises InputError when no clip or no recogniser is in both.
    """
    here, there = right_table(found.clips), right_table(other_clips)
    names = [name for name in found.names if name in there]
    keys = ["clip", "fold"]
    both = here[[*keys, "source", *names]].merge(there[[*keys, *names]], on=keys, suffixes=("", " there"))
    if both.empty or not names:
        raise InputError("beside: no recogniser and clip is in both runs; expected another version of the same clips")
    columns = [*names, *(f"{name} there" for name in names)]
    means = both.groupby("fold")[columns].mean().mean()
    resampled = resampled_means(both, columns, seed, n_resamples)
    rows = []
    for name in names:
        low, high = np.percentile(resampled[name] - resampled[f"{name} there"], INTERVAL)
        values = means[name], means[f"{name} there"]
        rows.append((name, *values, values[0] - values[1], low, high, len(both)))
    return pd.DataFrame(rows, columns=["recogniser", "here", "there", "difference", "low", "high", "n_clips"])


def classes_table(found: Recognised, benchmark: str = "") -> pd.DataFrame:
    """Return recognition_classes.csv: accuracy by class with 95% Wilson intervals (CLASS_COLUMNS), of the first seed.

    Its column published: what the published study gives for six classes (0-1); NaN for others, and on other recordings
    than those of CLAIMED_ON.
    """
    study, named = read_published(), (*STRONG, *WEAK) if benchmark == CLAIMED_ON else ()
    values, rows = {name: published_value(study, f"accuracy_class_{name}", "test") / 100 for name in named}, []
    for recogniser, clips in found.first.groupby("recogniser", sort=False):
        for category, right in clips.groupby("category")["is_right"]:
            n, n_right = len(right), int(right.sum())
            ends = wilson(n_right, n)
            rows.append((recogniser, category, n, n_right, n_right / n, *ends, values.get(category, np.nan)))
    return pd.DataFrame(rows, columns=CLASS_COLUMNS)


def confusions_table(found: Recognised) -> pd.DataFrame:
    """Return recognition_confusion.csv: recogniser, category, heard, n; only what occurred, of the first seed."""
    return found.first.groupby(["recogniser", "category", "heard"], sort=True).size().rename("n").reset_index()


def claim_table(found: Recognised, benchmark: str = "", seed: int = 0, n_resamples: int = 2000) -> pd.DataFrame:
    """Return how much better STRONG classes are recognised than WEAK ones (CLAIM_COLUMNS): a test of a published claim.

    Means of the accuracies of classes that the clips have; empty without any of either kind, and beside CLAIMED_ON.
    """
    present = set(found.clips["category"])
    kinds = [[name for name in names if name in present] for names in (STRONG, WEAK)]
    if not all(kinds) or benchmark != CLAIMED_ON:
        return pd.DataFrame(columns=CLAIM_COLUMNS)
    right, groups = right_table(found.clips), []
    for number, names in enumerate(kinds):
        part = right[right["category"].isin(names)]
        part = part.assign(fold=part["category"])  # drawn and averaged within a class, as elsewhere within a fold
        groups.append((part, resampled_means(part, found.names, [seed, number], n_resamples)))
    rows = []
    for name in found.names:
        means = [part.groupby("category")[name].mean().mean() for part, _ in groups]
        low, high = np.percentile(groups[0][1][name] - groups[1][1][name], INTERVAL)
        rows.append((name, *means, means[0] - means[1], low, high, *(len(part) for part, _ in groups)))
    return pd.DataFrame(rows, columns=CLAIM_COLUMNS)


def shown_summary(summary: pd.DataFrame) -> pd.DataFrame:
    """Return recognition.csv for display: accuracies in percent, the best first, what was not run last.

    "learns from" counts the folds that a round trains on; "not met" is the accuracy on the test clips that the codec
    has not met. A column of it, or of the spread over seeds, is left out when no row has any.
    """
    ordered = summary.sort_values("accuracy", ascending=False, na_position="last", kind="stable")
    ordered = ordered.fillna({"source": "", "note": ""})  # a column of a csv that holds nothing is read as numbers
    shown = ordered[["recogniser", "status"]].assign(**{
        "accuracy (%)": ordered["accuracy"].map(percent),
        "95% interval": [interval(row) for row in ordered.to_dict("records")],
        "sd over folds": ordered["sd_folds"].map(percent), "sd over seeds": ordered["sd_seeds"].map(percent),
        "folds": ordered["n_folds"].map(_count),
        "learns from": [_count(n, " fold" if n == 1 else " folds") for n in ordered["n_train_folds"]],
        "not met (%)": ordered["accuracy_unheard"].map(percent),
        "note": ordered["source"].where(ordered["source"] != "", ordered["note"]),
    })  # fmt: skip
    optional = {"sd over seeds": "sd_seeds", "not met (%)": "accuracy_unheard"}
    return shown.drop(columns=[one for one in optional if ordered[optional[one]].isna().all()]).reset_index(drop=True)


def _count(n: float, of: str = "") -> str:
    return NO_NUMBER if pd.isna(n) else f"{n:.0f}{of}"


def _resampled(found: Recognised, seed: int, n_resamples: int) -> dict[str, np.ndarray]:
    return resampled_means(right_table(found.clips), found.names, seed, n_resamples)
