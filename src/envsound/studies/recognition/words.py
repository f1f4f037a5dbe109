"""Accuracies in words: what the report, its goals and the book's chapter write alike."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

NO_NUMBER = "–"
NOT_RUN = "not run here"  # of a recogniser, or of a goal that none was run for


def percent(value: float) -> str:
    """Return a share as percent with one digit; "–" where there is none."""
    if pd.isna(value):
        return NO_NUMBER
    return f"{round(100 * float(value), 1) + 0.0:.1f}"  # float: NumPy rounds otherwise; + 0.0: no "-0.0"


def interval(row: Mapping[str, Any], suffix: str = "") -> str:
    """Return a row's low and high, with `suffix` in the names of their columns, in percent; "–" where it has none."""
    low, high = row[f"low{suffix}"], row[f"high{suffix}"]
    return NO_NUMBER if pd.isna(low) else f"{percent(low)} to {percent(high)}"
