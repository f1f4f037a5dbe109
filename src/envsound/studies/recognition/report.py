"""The report of the classification study: run the recognisers, write every table, and say what was found."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from envsound.base.errors import InputError
from envsound.base.files import read_csv, write_csv
from envsound.base.text import NO_NUMBER, NOT_RUN, interval, percent
from envsound.codec.base import Codec
from envsound.codec.codes import encode_recordings
from envsound.data.recordings import Recordings
from envsound.metrics.published import PUBLISHED
from envsound.studies.recognition.exposure import findings_exposure
from envsound.studies.recognition.facts import heard_clips, met_recordings
from envsound.studies.recognition.goals import findings_goals, goals_table
from envsound.studies.recognition.history import findings_history, history_table
from envsound.studies.recognition.rounds import Clips, Fold, Recogniser, clips_of, cross_validation
from envsound.studies.recognition.scores import Recognised, recognise
from envsound.studies.recognition.tables import (
    CITED,
    beside_table,
    claim_table,
    classes_table,
    confusions_table,
    pairs_table,
    summary_table,
)

SCORES_FOLDER = "recognisers"  # in a run's folder: checkpoints and scores of each recogniser, fold and seed
CLIPS = "recognition_clips.csv"
PAIRS, CLAIM, GOALS = "recognition_pairs", "recognition_claim", "recognition_goals"
TRAINING = "recognition_training"
NOTHING_BESIDE = pd.DataFrame({"beside": ["no other run was named"]})


@dataclass(frozen=True)
class Report:
    """The tables of a run, by the name of their file without its suffix, and what the recognisers said."""

    found: Recognised
    tables: dict[str, pd.DataFrame]

    @property
    def summary(self) -> pd.DataFrame:
        """recognition.csv."""
        return self.tables["recognition"]

    @property
    def best(self) -> str:
        """The recogniser of the highest accuracy among those that were run. Raises InputError when none was."""
        measured = self.summary[self.summary["status"] == "measured"]
        if measured.empty:
            raise InputError("recognisers: none of them can run on this machine; expected at least one")
        return str(measured.loc[measured["accuracy"].idxmax(), "recogniser"])

    @property
    def findings(self) -> str:
        """The report in Markdown: what was found, how it was learnt, what the codec has met, and the goals."""
        text = findings_recognition(*(self.tables[name] for name in ("recognition", PAIRS, CLAIM)))
        learnt = findings_history(self.tables[TRAINING], self.summary)
        parts = (text, learnt, findings_exposure(self.summary), findings_goals(self.tables[GOALS]))
        return "\n\n".join(part for part in parts if part)


def benchmark_of(dataset: str, esc10_only: bool) -> str:
    """Return the name under which results on these recordings are cited; "" for one's own recordings or synthetic."""
    if dataset == "esc50":
        return "esc10" if esc10_only else "esc50"
    return dataset if dataset == "urbansound8k" else ""


def prepare(
    recordings: Recordings, codec: Codec, folds: Sequence[int] = (), device: str | None = None
) -> tuple[Clips, list[Fold]]:
    """Encode the recordings, as far as the cache lacks their codes, and return them with the rounds to run."""
    clips = clips_of(encode_recordings(recordings, codec, device=device))
    return clips, cross_validation(clips, folds)


def rounds_table(rounds: Sequence[Fold], codec: str = "") -> pd.DataFrame:
    """Return who is what in each round: test fold, validation fold, and the number of clips of each part.

    codec: as in `codecs.load_codec`; how many test clips it has met in its own training is added, NaN where that is not
    known. "" adds nothing.
    """
    rows = [(one.number, one.validation_fold, len(one.train), len(one.validation), len(one.test)) for one in rounds]
    columns = ["test fold", "validation fold", "clips to train on", "to choose on", "to test"]
    table = pd.DataFrame(rows, columns=columns)
    if not codec:
        return table
    met = met_recordings(codec)
    counts = [heard_clips(met, one.test).sum() for one in rounds]
    return table.assign(**{"of these met by the codec": counts if met is None else [int(n) for n in counts]})


def run_report(
    recognisers: Sequence[Recogniser],
    rounds: Sequence[Fold],
    work_dir: str | Path,
    seeds: Sequence[int] = (0,),
    benchmark: str = "",
    beside: str | Path = "",
    n_resamples: int = 2000,
    cited: str | Path = CITED,
    published: str | Path = PUBLISHED,
) -> Report:
    """Run what is not finished and write the tables into `work_dir`, replacing older ones.

    recognition.csv, recognition_folds.csv, recognition_training.csv, recognition_classes.csv, recognition_pairs.csv,
    recognition_confusion.csv, recognition_claim.csv, recognition_goals.csv, recognition_clips.csv; with `beside`, the
    folder of a finished run on another version of the same clips, recognition_beside.csv. Raises InputError when
    `beside` is no such folder.
    """
    work_dir, draws = Path(work_dir), {"seed": seeds[0], "n_resamples": n_resamples}
    other = read_csv(Path(beside) / CLIPS) if beside else None
    found = recognise(recognisers, rounds, work_dir / SCORES_FOLDER, seeds)
    summary = summary_table(found, benchmark, cited, **draws)
    tables = {
        "recognition": summary,
        "recognition_folds": found.folds,
        TRAINING: history_table(found, work_dir / SCORES_FOLDER),
        "recognition_classes": classes_table(found, benchmark, published),
        PAIRS: pairs_table(found, **draws),
        "recognition_confusion": confusions_table(found),
        CLAIM: claim_table(found, benchmark, **draws),
        GOALS: goals_table(summary, benchmark, published),
        "recognition_clips": found.clips,
    }
    if other is not None:
        tables["recognition_beside"] = beside_table(found, other, **draws)
    for name, table in tables.items():
        write_csv(work_dir / f"{name}.csv", table)
    return Report(found, tables)


def report_facts(recordings: Recordings, recognisers: Sequence[Recogniser], report: Report) -> dict[str, Any]:
    """Return what the run's provenance should say: the data cut, every setting, and what could not run."""
    return {
        "data_cut": recordings.cut,
        "n_clips": len(recordings.table),
        "bad_clips": recordings.bad_clips["filename"].tolist(),
        "recognisers": {one.name: one.settings() for one in recognisers},
        "not_run": {one.name: one.reason for one in report.found.not_run},
    }


def shown_summary(summary: pd.DataFrame) -> pd.DataFrame:
    """Return recognition.csv for display: accuracies in percent, the best first, what was not run last.

    "learns from" counts the folds that a round trains on; "not met" is the accuracy on the test clips that the codec
    has not met. A column of it, or of the spread over seeds, is left out when no row has any.
    """
    ordered = summary.sort_values("accuracy", ascending=False, na_position="last", kind="stable")
    ordered = ordered.fillna({"source": "", "note": ""})  # a column of a csv that holds nothing is read as numbers
    columns = {"recogniser": ordered["recogniser"], "status": ordered["status"]}
    columns["accuracy (%)"] = [percent(value) for value in ordered["accuracy"]]
    columns["95% interval"] = [interval(row) for row in ordered.to_dict("records")]
    columns["sd over folds"] = [percent(value) for value in ordered["sd_folds"]]
    if ordered["sd_seeds"].notna().any():
        columns["sd over seeds"] = [percent(value) for value in ordered["sd_seeds"]]
    columns["folds"] = [_count(n) for n in ordered["n_folds"]]
    columns["learns from"] = [_count(n, " fold" if n == 1 else " folds") for n in ordered["n_train_folds"]]
    if ordered["accuracy_unheard"].notna().any():
        columns["not met (%)"] = [percent(value) for value in ordered["accuracy_unheard"]]
    columns["note"] = [source or note for source, note in zip(ordered["source"], ordered["note"], strict=True)]
    return pd.DataFrame(columns).reset_index(drop=True)


def _count(n: float, of: str = "") -> str:
    return NO_NUMBER if pd.isna(n) else f"{n:.0f}{of}"


def findings_recognition(summary: pd.DataFrame, pairs: pd.DataFrame, claim: pd.DataFrame) -> str:
    """Return Markdown sentences: the best recogniser, its lead, training seeds, and the published claim on classes."""
    measured = summary[summary["status"] == "measured"].sort_values("accuracy", ascending=False, kind="stable")
    if measured.empty:
        return "No recogniser could be run here."
    best = measured.iloc[0]
    text = f"**{best['recogniser']}** names {percent(best['accuracy'])}% of {best['n_clips']:.0f} test clips rightly "
    text += f"(95% interval {interval(best)}, {best['n_folds']:.0f} folds)."
    if len(measured) > 1:
        text += " " + _lead(best["recogniser"], measured.iloc[1]["recogniser"], len(measured), pairs)
    text += f" {_seeds(best)}"
    missing = summary.loc[summary["status"] == NOT_RUN, "recogniser"]
    text += f" Not run here: {', '.join(missing)}." if len(missing) else ""
    row = claim[claim["recogniser"] == best["recogniser"]]
    return text + (f" {_claim(row.iloc[0])}" if len(row) else "")


def _lead(best: str, second: str, n_rows: int, pairs: pd.DataFrame) -> str:
    forward = (pairs["recogniser_a"] == best) & (pairs["recogniser_b"] == second)
    backward = (pairs["recogniser_a"] == second) & (pairs["recogniser_b"] == best)
    row = pairs[forward | backward].iloc[0]
    low, high = (row["low"], row["high"]) if row["recogniser_a"] == best else (-row["high"], -row["low"])
    words = "which holds 0" if low <= 0 <= high else "which leaves 0 out"
    return (
        f"It is {percent(abs(row['difference']))} points above *{second}*, the next ({percent(low)} to "
        f"{percent(high)}, {words}). The two were picked out of {n_rows} rows by these very test clips; the interval "
        "knows nothing of that, so on new clips the lead may well be smaller."
    )


def _seeds(row: pd.Series) -> str:
    if row["n_seeds"] == 1:
        return "Every row was trained from one seed: how much other seeds would change it is not known."
    return f"Over {row['n_seeds']:.0f} training seeds its standard deviation is {percent(row['sd_seeds'])} points."


def _claim(row: pd.Series) -> str:
    verdict = "higher" if row["low"] > 0 else "lower" if row["high"] < 0 else "not clearly different"
    return (
        f"With it the classes published as strong come out {verdict}: {percent(row['strong'])}% against "
        f"{percent(row['weak'])}% of those published as weak (difference {percent(row['low'])} to "
        f"{percent(row['high'])} points)."
    )
