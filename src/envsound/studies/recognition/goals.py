"""What the recognisers were to reach: the published study's accuracies, and this study's own goal for its network."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from envsound.base.text import NOT_RUN, interval, percent
from envsound.metrics.published import PUBLISHED, published_value, read_published
from envsound.studies.recognition.facts import NO_CODEC

GOAL_COLUMNS = [
    "goal", "target", "source", "recogniser", "accuracy", "low", "high", "accuracy_unheard", "n_folds", "verdict",
]  # fmt: skip
REACHED, NOT_REACHED = "reached", "not reached"
STUDY = {"esc50": "esc50", "urbansound8k": "us8k"}  # benchmarks: as the items of the table of published figures have it
OWN_GOAL = 0.80  # of a network that learns from nothing, on ESC-50
OWN_GOAL_ON = "esc50"


@dataclass(frozen=True)
class Goal:
    """An accuracy to reach."""

    words: str
    kinds: tuple[str, ...]  # of the rows that it is for: keys of `recognisers.KINDS`
    item: str  # of the table of published figures; "" for this study's own goal
    why_not: str  # what may be in the way, in sentences


GENERATIVE = (
    "The generative model knows the clips of a few folds and no large corpus, has gone through them few times, and is "
    "fine-tuned for no longer than two processor cores can. Its codec is a small one of this study's own training, and "
    "what its codes leave out no model can bring back, for which the probe of the codec's latents is the measure. The "
    "published figures, for their part, come from code that picks its epoch on the test fold, which flatters them."
)
FROM_NOTHING = (
    "The network from nothing has the clips of its training folds alone, where networks far above the goal have mostly "
    "learnt from a large corpus before, and its schedule is one that two processor cores can finish."
)
GOALS = (
    Goal("published study, frozen", ("conformer_frozen", "conformer_probe"), "frozen", GENERATIVE),
    Goal("published study, fine-tuned", ("conformer_finetuned",), "finetuned", GENERATIVE),
    Goal("own goal, network from nothing", ("cnn",), "", FROM_NOTHING),
)


def goals_table(summary: pd.DataFrame, benchmark: str, published: str | Path = PUBLISHED) -> pd.DataFrame:
    """Return a row for each goal of a benchmark and each recogniser that it is for: GOAL_COLUMNS, shares from 0 to 1.

    summary: recognition.csv; may be empty. A goal that no recogniser was run for has one row, "not run here". verdict:
    whether the accuracy, the mean over folds, is at or above the target. accuracy_unheard: of a reader of codes, on the
    clips that its codec has not met. Benchmarks without goals have no rows.
    """
    study, rows = read_published(published), []
    measured = summary[summary["status"] == "measured"] if "status" in summary else pd.DataFrame({"kind": []})
    for goal in GOALS:
        target, source = _target(goal, benchmark, study)
        if np.isnan(target):
            continue
        about = {"goal": goal.words, "target": target, "source": source}
        found = measured[measured["kind"].isin(goal.kinds)].to_dict("records")
        for row in found:
            verdict = REACHED if row["accuracy"] >= target else NOT_REACHED
            unheard = np.nan if row["codec"] == NO_CODEC else row["accuracy_unheard"]
            kept = {name: row[name] for name in ("recogniser", "accuracy", "low", "high", "n_folds")}
            rows.append(about | kept | {"accuracy_unheard": unheard, "verdict": verdict})
        if not found:
            rows.append(about | {"recogniser": NOT_RUN, "verdict": NOT_RUN})
    return pd.DataFrame(rows, columns=GOAL_COLUMNS)


def findings_goals(goals: pd.DataFrame) -> str:
    """Return a Markdown list with a point for each goal: by how many rows it was reached, and the best; "" for none."""
    points = []
    for name, rows in goals.groupby("goal", sort=False):
        target = f"**{name}** ({percent(rows['target'].iloc[0])}%)"
        if (rows["verdict"] == NOT_RUN).all():
            points.append(f"- {target}: {NOT_RUN}.")
            continue
        best = rows.loc[rows["accuracy"].idxmax()]
        text = f"{target}: {_how_many(rows, best['recogniser'])} is at {percent(best['accuracy'])}% ({interval(best)})"
        unheard = best["accuracy_unheard"]
        text += "" if pd.isna(unheard) else f", and at {percent(unheard)}% of the clips that its codec has not met"
        points.append(f"- {text}.")
    return "\n".join(points)


def _how_many(rows: pd.DataFrame, best: str) -> str:
    """Return by how many of a goal's rows it was reached, in words that go on with what the best of them is."""
    n_reached = int((rows["verdict"] == REACHED).sum())
    if len(rows) == 1:
        return f"{rows['verdict'].iloc[0]}; *{best}*"
    word = (
        f"{REACHED} by {n_reached} of its {len(rows)} rows" if n_reached else f"{NOT_REACHED} by any of its {len(rows)}"
    )
    return f"{word}; the best of them on these very clips, *{best}*,"


def reasons(goals: pd.DataFrame) -> str:
    """Return what may be in the way of the goals that no recogniser has reached, each reason once; "" for none."""
    found = []
    for goal in GOALS:
        verdicts = set(goals.loc[goals["goal"] == goal.words, "verdict"])
        if verdicts == {NOT_REACHED}:
            found.append(goal.why_not)
    return " ".join(dict.fromkeys(found))


def _target(goal: Goal, benchmark: str, study: pd.DataFrame) -> tuple[float, str]:
    """Return what is to be reached on a benchmark, and where that is from; NaN for nothing."""
    if goal.item and benchmark in STUDY:
        return published_value(study, f"accuracy_{STUDY[benchmark]}_{goal.item}", "test") / 100, "published"
    own = not goal.item and benchmark == OWN_GOAL_ON
    return (OWN_GOAL, "this study") if own else (float("nan"), "")
