"""What it may owe to the codec: accuracy on test clips that the codec has met in its own training, and on the others.

Clips that were met differ from the others in more than that: in licence, class and fold. So every recogniser is scored
on the same two sets, and those that hear no codes say how much harder one of them is.
"""

import numpy as np
import pandas as pd

from envsound.base.text import interval, percent
from envsound.metrics.resampling import INTERVAL, resampled_means
from envsound.studies.recognition.facts import NO_CODEC
from envsound.studies.recognition.resampling import right_table
from envsound.studies.recognition.scores import Recognised

EXPOSURE_COLUMNS = [
    "n_unheard", "accuracy_unheard", "low_unheard", "high_unheard", "n_heard", "accuracy_heard", "n_clean_folds",
    "accuracy_clean", "advantage", "low_advantage", "high_advantage",
]  # fmt: skip
ONE_FOLD = 0


def exposure_table(found: Recognised, seed: int = 0, n_resamples: int = 2000) -> pd.DataFrame:
    """Return a row for each recogniser, its name the index: EXPOSURE_COLUMNS, all NaN where the table can say nothing.

    Met are the test clips that the codec of any recogniser has met. n_unheard, accuracy_unheard: the clips not met and
    the share of them named rightly, over clips and not over folds, since a fold of which a few are left would weigh as
    much as a whole one; with its 95% interval. n_heard, accuracy_heard: the clips met. n_clean_folds, accuracy_clean:
    the rounds none of whose test clips was met, and the mean over them. advantage: how much better a recogniser of
    codes is on clips met than on the others, less the same difference of the mean of those that hear no codes; NaN
    where there are none, with its 95% interval.

    Nothing can be said when no recogniser reads codes, or when it is not known what a codec was trained on.
    """
    uses = dict(zip(found.folds["recogniser"], found.folds["codec"] != NO_CODEC, strict=True))
    nothing = pd.DataFrame(np.nan, index=pd.Index(found.names, name="recogniser"), columns=EXPOSURE_COLUMNS)
    if not any(uses.values()) or found.clips["codec_heard"].isna().any():
        return nothing
    met = found.clips.groupby(["clip", "fold"])["codec_heard"].max().astype(bool).rename("met").reset_index()
    right = right_table(found.clips).merge(met, on=["clip", "fold"])
    clean = right[~right.groupby("fold")["met"].transform("any")]
    heard, unheard = (right[right["met"] == value].assign(fold=ONE_FOLD) for value in (True, False))
    table = nothing.assign(n_heard=len(heard), n_unheard=len(unheard), n_clean_folds=clean["fold"].nunique())
    table["accuracy_clean"] = clean.groupby("fold")[found.names].mean().mean()
    table["accuracy_heard"], table["accuracy_unheard"] = heard[found.names].mean(), unheard[found.names].mean()
    if unheard.empty:
        return table
    resampled = resampled_means(unheard, found.names, [seed, 0], n_resamples)
    for name in found.names:
        table.loc[name, ["low_unheard", "high_unheard"]] = np.percentile(resampled[name], INTERVAL)
    without = [name for name in found.names if not uses[name]]
    if len(heard) and without:
        again = resampled_means(heard, found.names, [seed, 1], n_resamples)
        gains = {name: again[name] - resampled[name] for name in found.names}
        gain = table["accuracy_heard"] - table["accuracy_unheard"]
        usual, usual_gain = np.mean([gains[name] for name in without], axis=0), gain[without].mean()
        for name in (one for one in found.names if uses[one]):
            table.loc[name, "advantage"] = gain[name] - usual_gain
            table.loc[name, ["low_advantage", "high_advantage"]] = np.percentile(gains[name] - usual, INTERVAL)
    return table


def findings_exposure(summary: pd.DataFrame) -> str:
    """Return Markdown sentences on what the codec has met, from recognition.csv; "" when no recogniser reads codes."""
    measured = summary[summary["status"] == "measured"].sort_values("accuracy", ascending=False, kind="stable")
    readers = measured[measured["codec"] != NO_CODEC]
    if readers.empty:
        return ""
    best = readers.iloc[0]
    if pd.isna(best["n_unheard"]):
        names = ", ".join(sorted(set(readers["codec"])))
        return f"What the codec ({names}) was trained on is not known here, so it may have met test clips."
    n_heard, n_unheard = int(best["n_heard"]), int(best["n_unheard"])
    if not n_heard:
        return "The codec has met none of the test clips in its own training."
    text = (
        f"In its own training, which knows no labels, the codec has met {n_heard} of the {n_heard + n_unheard} test "
        f"clips; in {best['n_clean_folds']:.0f} of {best['n_folds']:.0f} rounds it has met none."
    )
    if not n_unheard:
        return f"{text} No test clip is left that it has not met."
    others = measured[measured["codec"] == NO_CODEC]
    text += f" *{best['recogniser']}* names {_both(best)}"
    if others.empty:
        return f"{text}."
    return f"{text}; *{others.iloc[0]['recogniser']}*, which hears no codes, {_both(others.iloc[0])}. {_verdict(best)}"


def _both(row: pd.Series) -> str:
    return (
        f"{percent(row['accuracy_unheard'])}% ({interval(row, '_unheard')}) of the clips not met and "
        f"{percent(row['accuracy_heard'])}% of those met"
    )


def _verdict(row: pd.Series) -> str:
    if row["low_advantage"] > 0:
        word = "goes with a better result"
    else:
        word = "goes with a worse result" if row["high_advantage"] < 0 else "makes no clear difference"
    return (
        f"Beyond what met clips are easier or harder for all rows without codes, having met a clip {word}: "
        f"{percent(row['advantage'])} points ({interval(row, '_advantage')})."
    )
