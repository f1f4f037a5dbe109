"""What the rows of a report on recognising sounds answer together, two at a time."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from envsound.base.text import interval, percent

OPEN = "open: the interval holds 0"
NOTHING = "*No two rows that answer a question have been run here.*"


@dataclass(frozen=True)
class Question:
    """A question that the difference between two recognisers, row minus other, answers."""

    words: str
    row: str  # names of files in notebooks/studies/recognisers have them
    other: str
    no: str  # the answer where the row is worse
    yes: str = "it does"  # where it is better


QUESTIONS = (
    Question(
        "Does a linear probe find more in a Conformer that has learnt nothing than in the codec's latents?",
        "Conformer, random, linear probe", "codec latents, linear probe", "it finds less",
    ),
    Question(
        "Does the generative task on the training clips make a linear probe better?",
        "Conformer, environment, linear probe", "Conformer, random, linear probe", "it makes it worse",
    ),
    Question(
        "Does learning from speech make it better?",
        "Conformer, speech, linear probe", "Conformer, random, linear probe", "it makes it worse",
    ),
    Question(
        "Does the readout matter, a linear probe in place of the published one?",
        "Conformer, environment, linear probe", "Conformer, environment, frozen, published readout",
        "the published readout reads more", "it does: the probe reads more from the same model",
    ),
    Question(
        "Does fine-tuning do better than the probe of the frozen model?",
        "Conformer, environment, fine-tuned", "Conformer, environment, linear probe", "it does worse",
    ),
    Question(
        "Does a start from the generative task make fine-tuning better?",
        "Conformer, environment, fine-tuned", "Conformer, random, fine-tuned", "it makes it worse",
    ),
    Question(
        "Does the generative model hear more than MFCCs and a support vector machine?",
        "Conformer, environment, linear probe", "MFCC, SVM", "it hears less",
    ),
    Question(
        "Does it hear more than a log-mel network that learns from nothing?",
        "Conformer, environment, fine-tuned", "log-mel CNN", "it hears less",
    ),
)  # fmt: skip


def answers_lines(pairs: pd.DataFrame, summary: pd.DataFrame) -> list[str]:
    """Return the questions that a report answers as a Markdown list.

    pairs, summary: recognition_pairs.csv and recognition.csv; that one row learns from more folds is said.
    """
    if pairs.empty or summary.empty:
        return [NOTHING]
    lines, n_folds = [], summary.set_index("recogniser")["n_train_folds"]
    for question in QUESTIONS:
        found = _difference(question, pairs)
        if found:
            sign = "+" if found["difference"] > 0 else ""
            change = f"{sign}{percent(found['difference'])} points ({interval(found)})"
            rows = f"*{question.row}* against *{question.other}*"
            unequal = _unequal(n_folds[question.row], n_folds[question.other])
            lines.append(f"- **{question.words}** {_answer(question, found)}. {rows}: {change}.{unequal}")
    return [*lines, ""] if lines else [NOTHING]


def _difference(question: Question, pairs: pd.DataFrame) -> dict[str, Any]:
    """Return difference, low and high of row minus other, as shares; empty where they were not run together."""
    for row in pairs.to_dict("records"):
        if (row["recogniser_a"], row["recogniser_b"]) == (question.row, question.other):
            return {name: row[name] for name in ("difference", "low", "high")}
        if (row["recogniser_a"], row["recogniser_b"]) == (question.other, question.row):
            return {"difference": -row["difference"], "low": -row["high"], "high": -row["low"]}
    return {}


def _answer(question: Question, found: dict[str, Any]) -> str:
    answer = question.yes if found["low"] > 0 else question.no if found["high"] < 0 else OPEN
    return answer[0].upper() + answer[1:]


def _unequal(row: float, other: float) -> str:
    return "" if row == other else f" The first learns from {row:.0f} folds, the second from {other:.0f}."
