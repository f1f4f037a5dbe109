"""The ladder that admits a judge, without any model of ours in it.

A judge is asked about real clips and the same through a codec. From there two flights of steps lead down: clips with
more and more of their columns from other classes, and codes drawn by class; on each, what it hears must fall. And it
must not hear a bark, a cry or a tick in sound without a course in time, made in ways that no judge has met. A judge
that fails is named, and not used.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from envsound.base.errors import InputError
from envsound.base.text import percent
from envsound.codec.base import Codec
from envsound.evaluation.compare import Report
from envsound.evaluation.decoys import ABOVE, HELD_BACK, KINDS, LADDER, TIMELESS, Decoys, of_classes, per_class
from envsound.evaluation.judges import TIMED, Judge, counted
from envsound.evaluation.spaces.embeddings import NotRun
from envsound.evaluation.truth import HEARD_COLUMNS, hear_classes
from envsound.metrics.resampling import Resamples, percentiles

ALL, WITH_TIME = "all classes", "classes with a course in time"
TIMES_CHANCE = 2.0  # most that a judge may hear in time-less sound
YES, NO, NOT_RUN = "yes", "no", "not run here"
COLUMNS = [
    "codec", "judge", "part", "kind", "n", "n_right", "accuracy", "low", "high", "chance", "refused",
    "fall", "fall_low", "fall_high", "admitted", "why",
]  # fmt: skip


def climb(
    judges: Sequence[Judge | NotRun],
    rows: pd.DataFrame,
    codec: Codec,
    timed: Sequence[str] = TIMED,
    n_per_class: int = 0,
    seed: int = 0,
) -> Report:
    """Send every judge up the ladder; return the tables ladder and heard, a row a clip.

    rows: of codes.csv, real clips of all folds. A judge is asked about clips of the folds that did not teach it, at
    most `n_per_class` of each class (0: all), and decoys are drawn from all clips but those of the smallest such set:
    of the folds that teach generators. timed: classes whose sound has a course in time. ladder.csv, COLUMNS: for each
    judge the kinds of LADDER over all classes, and the kinds of TIMELESS and LADDER over `timed`. accuracy has Wilson's
    interval; fall is the accuracy of the step above (`decoys.ABOVE`) less that of this one, on the same clips, with its
    interval over resampled clips; admitted and why are `verdict`'s. Raises InputError when no class is `timed`.
    """
    asked = {one.name: _asked(rows, one, n_per_class) for one in judges if isinstance(one, Judge)}
    pool = rows[rows["fold"].isin(teaching_folds(judges, rows))]
    decoys, parts, heard = Decoys(pool, codec, seed), [], []
    for judge in judges:
        if isinstance(judge, NotRun):
            parts.append(pd.DataFrame([{"judge": judge.name, "admitted": NOT_RUN, "why": judge.reason}]))
            continue
        sides = {kind: decoys.sources(kind, asked[judge.name]) for kind in LADDER}
        sides |= {kind: decoys.sources(kind, of_classes(asked[judge.name], timed)) for kind in TIMELESS}
        heard.append(hear_classes(sides, {judge.name: judge.classifier}, codec.sample_rate))
        parts.append(judged(heard[-1], timed, seed))
    ladder = pd.concat(parts, ignore_index=True).assign(codec=codec.name).reindex(columns=COLUMNS)
    table = pd.concat(heard, ignore_index=True) if heard else pd.DataFrame(columns=HEARD_COLUMNS)
    return Report({"ladder": ladder, "heard": table}, _facts(judges, ladder, codec))


def judged(heard: pd.DataFrame, timed: Sequence[str], seed: int = 0) -> pd.DataFrame:
    """Return the rows of ladder.csv for one judge from what `hear_classes` says of all kinds of clips."""
    chance, resamples, rows = 1 / heard["category"].nunique(), Resamples(seed), []
    parts = {kind: heard[heard["side"] == kind] for kind in LADDER}
    for kind, part in parts.items():
        row = {"part": ALL, "kind": kind} | counted(part)
        rows.append(row | (_fall(parts[ABOVE[kind]], part, resamples) if kind in ABOVE else {}))
    with_time = heard[heard["category"].isin(timed)]
    for kind in KINDS:
        rows.append({"part": WITH_TIME, "kind": kind} | counted(with_time[with_time["side"] == kind]))
    table = pd.DataFrame(rows).assign(judge=heard["classifier"].iloc[0], chance=chance)
    steps = table[table["part"] == ALL]
    whole = _fall(parts["codec"], parts["unigram"], resamples)
    admitted, why = verdict(steps, table[table["part"] == WITH_TIME], whole["fall_low"])
    return table.assign(admitted=YES if admitted else NO, why=why)


def verdict(steps: pd.DataFrame, with_time: pd.DataFrame, least_fall: float) -> tuple[bool, str]:
    """Say whether a judge is admitted, and why not, in words ("" when it is).

    steps: rows of LADDER, with their falls; with_time: rows of the classes with a course in time; least_fall: lower end
    of the interval of the fall from the codec to unigram codes. Refused: who hears a kind better than the step above it
    by more than chance (the interval of the fall lies below 0), who does not hear the codec better than unigram codes,
    and who hears more than TIMES_CHANCE times chance in a kind of HELD_BACK.
    """
    words = []
    for row in steps[steps["fall_high"] < 0].to_dict("records"):
        words.append(f"hears {row['kind']} better than {ABOVE[row['kind']]}, by {percent(-row['fall'])} points")
    if not least_fall > 0:
        words.append("does not hear the codec better than unigram codes")
    for row in with_time[with_time["kind"].isin(HELD_BACK)].to_dict("records"):
        if row["accuracy"] > TIMES_CHANCE * row["chance"]:
            heard, most = percent(row["accuracy"]), percent(TIMES_CHANCE * row["chance"])
            words.append(f"hears {heard}% of {row['kind']} as what they are made of, at most {most}% expected")
    return not words, "; ".join(words)


def admitted(judges: Sequence[Judge | NotRun], ladder: pd.DataFrame) -> list[Judge]:
    """Return the judges that a ladder has admitted; the others are not used."""
    names = set(ladder.loc[ladder["admitted"] == YES, "judge"])
    return [one for one in judges if isinstance(one, Judge) and one.name in names]


def verdicts(ladder: pd.DataFrame) -> pd.DataFrame:
    """Return what ladder.csv says of each judge, a row for each: codec, judge, admitted, why."""
    return ladder.drop_duplicates(["codec", "judge"])[["codec", "judge", "admitted", "why"]].reset_index(drop=True)


def teaching_folds(judges: Sequence[Judge | NotRun], rows: pd.DataFrame) -> list[int]:
    """Return the folds that teach the judge with the most of them, as they teach generators; all where none is here."""
    folds = [one.taught_by for one in judges if isinstance(one, Judge)]
    return sorted(max(folds, key=len)) if folds else sorted({int(fold) for fold in rows["fold"]})


def _asked(rows: pd.DataFrame, judge: Judge, n_per_class: int) -> pd.DataFrame:
    new = rows[~rows["fold"].isin(judge.taught_by)]
    if new.empty:
        raise InputError(f"{judge.name}: every clip is of the folds that taught it; expected clips of another fold")
    return per_class(new, n_per_class).reset_index(drop=True)


def _fall(before: pd.DataFrame, after: pd.DataFrame, resamples: Resamples) -> dict[str, float]:
    """Return how much less is heard rightly of the same clips, and the interval of that over resampled clips."""
    by_clip = [part.set_index("clip")["is_right"].astype(float) for part in (before, after)]
    both = pd.concat(by_clip, axis=1, keys=["before", "after"]).dropna()
    differences = (both["before"] - both["after"]).to_numpy()
    low, high = percentiles((resamples.of(both.index) @ differences / len(differences))[None])[:, 0]
    return {"fall": float(differences.mean()), "fall_low": float(low), "fall_high": float(high)}


def _facts(judges: Sequence[Judge | NotRun], ladder: pd.DataFrame, codec: Codec) -> dict[str, Any]:
    here = [one for one in judges if isinstance(one, Judge)]
    admitted = ladder.drop_duplicates("judge").set_index("judge")["admitted"]
    return {
        "codec": codec.name,
        "codec_hash": codec.content_hash,
        "judges": {one.name: {"hash": one.content_hash, "taught_by": list(one.taught_by)} for one in here},
        "admitted": [name for name in admitted.index if admitted[name] == YES],
        "strengths": {one.name: float(one.classifier.strength) for one in here if hasattr(one.classifier, "strength")},
        "n_asked": {str(name): int(np.max(part["n"])) for name, part in ladder.dropna(subset="n").groupby("judge")},
    }
