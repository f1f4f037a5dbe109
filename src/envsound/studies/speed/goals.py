"""How fast the model was meant to be, and how fast it was measured to be."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from envsound.studies.speed.sides import SAMPLE_BATCH, SAMPLE_LONG, SAMPLE_ONE, TRAIN

NOT_RUN = "not run here"
RATIO, SECONDS = "ratio", "ours_s"  # columns of a row


@dataclass(frozen=True)
class Goal:
    """A bound for one column of the row that sets the best of both sides against each other."""

    task: str
    column: str
    bound: float

    @property
    def words(self) -> str:
        """The goal's name."""
        return f"{self.task} against the peer" if self.column == RATIO else self.task

    @property
    def target(self) -> str:
        """The bound in words."""
        return f"at least {self.bound:g} times" if self.column == RATIO else f"under {1000 * self.bound:g} ms"

    def met_by(self, value: float) -> bool:
        """Say whether a measured value keeps to the bound."""
        return value >= self.bound if self.column == RATIO else value < self.bound


GOALS = {  # by type of device: the machine they were set for, and the goals, best against best
    "cpu": ("two CPU cores", (Goal(TRAIN, RATIO, 3), Goal(SAMPLE_ONE, RATIO, 5), Goal(SAMPLE_BATCH, RATIO, 5))),
    "cuda": (
        "one H200",
        (
            Goal(TRAIN, RATIO, 4), Goal(SAMPLE_ONE, RATIO, 8), Goal(SAMPLE_BATCH, RATIO, 8),
            Goal(SAMPLE_ONE, SECONDS, 0.050), Goal(SAMPLE_LONG, SECONDS, 0.100),
        ),
    ),
}  # fmt: skip


def check_goals(rows: Sequence[dict[str, Any]], device_type: str) -> list[dict[str, Any]]:
    """Return the goals for a type of device, one row each; none for a type that has no goals.

    rows: the benchmark's, of which those with `best` count. Keys: goal, task, machine (the one it was set for), target
    (words), value and unit ("times" or "ms"), and met: "yes", "no", or "not run here" beside a value of None.
    """
    machine, goals = GOALS.get(device_type, ("", ()))
    best = {row["task"]: row for row in rows if row["best"]}
    found = []
    for goal in goals:
        value = best.get(goal.task, {}).get(goal.column)
        met = NOT_RUN if value is None else "yes" if goal.met_by(value) else "no"
        unit, shown = ("times", value) if goal.column == RATIO else ("ms", value and 1000 * value)
        row = {"goal": goal.words, "task": goal.task, "machine": machine, "target": goal.target}
        found.append(row | {"value": shown, "unit": unit, "met": met})
    return found
