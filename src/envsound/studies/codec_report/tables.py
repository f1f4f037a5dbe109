"""What a codec and its yardsticks measure, as a Markdown table."""

import numpy as np
import pandas as pd

from envsound.base.text import markdown_table


def listeners_in(table: pd.DataFrame) -> list[str]:
    """Return the names of the listeners whose verdicts a table of `codecs.report` holds, the main one first."""
    found = [name.removeprefix("recognised_") for name in table if name.startswith("recognised_")]
    return [name for name in found if name not in ("low", "high") and not name.endswith(("_low", "_high"))]


def systems_table(rows: pd.DataFrame) -> str:
    """Return what a codec and its yardsticks measure, from the rows of `codecs.report.by_system`.

    One column for each listener, or one called "recognised"; the last column is the largest Kolmogorov-Smirnov distance
    among the six acoustic metrics. What the rows lack is left out.
    """
    listeners = listeners_in(rows)
    recognised = {f"recognised_{name}": f"recognised ({name})" for name in listeners} or {"recognised": "recognised"}
    columns = {"log_mel_distance": "log-mel (dB)", "stft_distance": "STFT (nepers)", "si_sdr_db": "SI-SDR (dB)"}
    columns = {name: words for name, words in (columns | recognised | {"comb_share": "comb"}).items() if name in rows}
    largest = rows[[name for name in rows if name.startswith("ks_")]].max(axis=1)
    body = [
        [str(row["system"]), *[_cell(name, row[name]) for name in columns], f"{ks:.2f}"]
        for row, ks in zip(rows.to_dict("records"), largest, strict=True)
    ]
    return "\n".join(markdown_table(["system", *columns.values(), "KS"], body))


def _cell(column: str, value: float) -> str:
    if not np.isfinite(value):
        return "–"
    if column.startswith("recognised"):
        return f"{value:.0%}"
    return f"{value:.1%}" if column == "comb_share" else f"{value:.2f}"
