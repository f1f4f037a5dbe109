"""What a codec and its yardsticks measure, as Markdown tables; torch is not needed to write them."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from envsound.base.text import NO_NUMBER, markdown_table

ALL = "all"  # of classes, or of bands
DISTANCES = {"log_mel_distance": "log-mel (dB)", "stft_distance": "STFT (nepers)", "si_sdr_db": "SI-SDR (dB)"}


def listeners_in(table: pd.DataFrame) -> list[str]:
    """Return the names of the listeners whose verdicts a table of `measuring` holds, the main one first."""
    found = [name.removeprefix("recognised_") for name in table if name.startswith("recognised_")]
    return [name for name in found if name not in ("low", "high") and not name.endswith(("_low", "_high"))]


def fixed(value: float, digits: int = 2, sign: str = "") -> str:
    """Return a number with so many decimals, "+" as `sign` shows that of positive ones; "–" where there is none."""
    return f"{value:{sign}.{digits}f}" if np.isfinite(value) else NO_NUMBER


def share(value: float, digits: int = 0) -> str:
    """Return a share, 0 to 1, such as "71%"; "–" where there is none."""
    return f"{value:.{digits}%}" if np.isfinite(value) else NO_NUMBER


def table(rows: pd.DataFrame, columns: Mapping[str, tuple[str, Callable[[Any], str]]]) -> list[str]:
    """Return a table in Markdown; `columns` maps a heading to a column of `rows` and what writes its values."""
    body = [[write(row[name]) for name, write in columns.values()] for row in rows.to_dict("records")]
    return markdown_table(list(columns), body)


def systems_table(rows: pd.DataFrame) -> list[str]:
    """Return what a codec and its yardsticks measure, from the rows of `measuring.by_system`, in Markdown.

    One column for each listener, or one called "recognised"; the last column is the largest Kolmogorov-Smirnov distance
    among the six acoustic metrics. What the rows lack is left out.
    """
    heard = {f"recognised ({name})": f"recognised_{name}" for name in listeners_in(rows)}
    heard = heard or {"recognised": "recognised"}
    columns = {words: (name, fixed) for name, words in DISTANCES.items()}
    columns |= {words: (name, share) for words, name in heard.items()} | {"comb": ("comb_share", lambda v: share(v, 1))}
    columns = {words: column for words, column in columns.items() if column[0] in rows}
    largest = rows[[name for name in rows if name.startswith("ks_")]].max(axis=1)
    return table(rows.assign(largest=largest), {"system": ("system", str), **columns, "KS": ("largest", fixed)})
