"""What recognisers' answers amount to: means over folds with intervals, pairs, classes, and the published claims.

Intervals are percentile intervals of a bootstrap (Efron and Tibshirani 1993, chapter 13) that draws recordings within
each fold: clips cut from one recording are drawn together. They say how much the result would vary with other clips,
not with other training runs; for that there are seeds.
"""

from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from envsound.base.errors import InputError
from envsound.base.files import read_csv
from envsound.base.text import NOT_RUN
from envsound.evaluation.spaces.embeddings import NotRun
from envsound.evaluation.truth import accuracy_table, confusion_table
from envsound.metrics.published import PUBLISHED, published_value, read_published
from envsound.metrics.resampling import INTERVAL, resampled_means
from envsound.studies.recognition.exposure import EXPOSURE_COLUMNS, exposure_table
from envsound.studies.recognition.resampling import right_table
from envsound.studies.recognition.scores import Recognised

CITED = Path("data") / "published" / "cited_accuracies.csv"
CITED_COLUMNS = ("benchmark", "recogniser", "accuracy", "trained_on", "source", "note")
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


def summary_table(
    found: Recognised, benchmark: str = "", cited: str | Path = CITED, seed: int = 0, n_resamples: int = 2000
) -> pd.DataFrame:
    """Return recognition.csv: a row for each recogniser, measured here, cited from elsewhere, or not run here.

    accuracy: mean over folds (and seeds), with the 95% interval low to high over clips; sd_folds, sd_seeds: standard
    deviation (n - 1) over folds, and over seeds of the mean over folds; NaN for one. n_train_folds: the folds learnt
    from in a round, counted with the validation fold where a recogniser is refitted. EXPOSURE_COLUMNS: see
    `recognition_exposure`. seconds_per_fold: mean of `Recognised.folds`' seconds, a lower bound and no basis for a
    comparison. benchmark: whose cited rows are added; "" none.
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
    rows += [_not_run(one) for one in found.not_run]
    own = pd.DataFrame(rows, columns=SUMMARY_COLUMNS)
    table = pd.concat([own, cited_table(benchmark, cited)], ignore_index=True) if benchmark else own
    return table.fillna(dict.fromkeys(TEXTS, ""))


def _not_run(one: NotRun) -> dict[str, str]:
    return {"recogniser": one.name, "status": NOT_RUN, "note": one.reason}


def cited_table(benchmark: str, path: str | Path = CITED) -> pd.DataFrame:
    """Return the rows of the table of cited accuracies (percent) that belong to a benchmark, as SUMMARY_COLUMNS (0-1).

    Raises InputError when the file is missing, lacks a column, or gives no source.
    """
    table = read_csv(path)
    missing = [name for name in CITED_COLUMNS if name not in table]
    if missing:
        raise InputError(f"{path}: lacks the column {missing[0]}; expected {', '.join(CITED_COLUMNS)}")
    if table["source"].isin(["", np.nan]).any():
        raise InputError(f"{path}: a row has no source; expected where each figure is from")
    rows = table[table["benchmark"] == benchmark]
    rows = rows.assign(status="cited", accuracy=rows["accuracy"] / 100)
    return rows.reindex(columns=SUMMARY_COLUMNS).reset_index(drop=True)


def pairs_table(found: Recognised, seed: int = 0, n_resamples: int = 2000) -> pd.DataFrame:
    """Return recognition_pairs.csv: the difference in accuracy, a minus b, of every two recognisers (PAIR_COLUMNS).

    Both are resampled together, so that the interval is that of the difference on the same clips. n_only_a, n_only_b:
    clips that one of them names rightly more often than the other. No correction is made for the number of pairs.
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

    other_clips: recognition_clips.csv of the other run. Columns recogniser, here, there, difference (here minus there,
    paired, with its 95% interval) and n_clips: clips of the same name in the same fold. Raises InputError when no clip
    or no recogniser is in both.
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


def classes_table(found: Recognised, benchmark: str = "", published: str | Path = PUBLISHED) -> pd.DataFrame:
    """Return recognition_classes.csv: accuracy by class with 95% Wilson intervals (CLASS_COLUMNS), of the first seed.

    Its column published: what the published study gives for six classes (0-1); NaN for others, and on other recordings
    than those of CLAIMED_ON.
    """
    table = accuracy_table(heard_table(found))
    table = table[table["category"] != ""].rename(columns={"classifier": "recogniser"})
    study, named = read_published(published), (*STRONG, *WEAK) if benchmark == CLAIMED_ON else ()
    values = {name: published_value(study, f"accuracy_class_{name}", "test") / 100 for name in named}
    return table.assign(published=table["category"].map(values.get)).reset_index(drop=True)[CLASS_COLUMNS]


def confusions_table(found: Recognised) -> pd.DataFrame:
    """Return recognition_confusion.csv: recogniser, category, heard, n; only what occurred, of the first seed."""
    heard = heard_table(found)
    counts = heard.groupby(["classifier", "category", "heard"], sort=True).size().rename("n").reset_index()
    return counts.rename(columns={"classifier": "recogniser"})


def confusion_of(found: Recognised, recogniser: str) -> pd.DataFrame:
    """Return a recogniser's confusion matrix, counts, as `class_truth.confusion_table` does, of the first seed."""
    return confusion_table(heard_table(found), "test", recogniser)


def heard_table(found: Recognised) -> pd.DataFrame:
    """Return the clips of the first seed as `class_truth.HEARD_COLUMNS`; the recogniser is the classifier."""
    first = found.clips[found.clips["seed"] == found.clips["seed"].min()]
    return first.rename(columns={"recogniser": "classifier"}).assign(side="test")


def claim_table(found: Recognised, benchmark: str = "", seed: int = 0, n_resamples: int = 2000) -> pd.DataFrame:
    """Return how much better STRONG classes are recognised than WEAK ones (CLAIM_COLUMNS): a test of a published claim.

    Means of the classes' accuracies. Classes that the clips do not have are left out; without any of either kind, or on
    other recordings than those of CLAIMED_ON, the table is empty.
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


def _resampled(found: Recognised, seed: int, n_resamples: int) -> dict[str, np.ndarray]:
    return resampled_means(right_table(found.clips), found.names, seed, n_resamples)
