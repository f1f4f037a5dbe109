"""How results are written: numbers, shares, intervals, names and Markdown tables, in one way everywhere."""

import re
from collections.abc import Mapping
from typing import Any

import pandas as pd

from envsound.base.files import sha256_bytes

MARKUP = re.compile(r"([\\`*_{}\[\]()<>#|$~&^@!:\"])")  # characters that mean something in Markdown, MyST and HTML
NO_NUMBER = "–"
NOT_RUN = "not run here"


def printable(name: str) -> str:
    """Return a file's name, from anywhere, with an escape for every character that does not print or is no UTF-8."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in name)


def code_span(name: str) -> str:
    """Return a name as a Markdown code span, inside which nothing is markup; backticks become apostrophes."""
    return f"`{printable(name).replace('`', chr(39))}`"


def slug(text: str) -> str:
    """Return a text with everything but letters, digits, dot, dash and underscore replaced; safe as a file's name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.") or "unnamed"


def file_name(text: str, most: int = 80) -> str:
    """Return a name from anywhere as a file's name: as it is where it can be one, else as `slug` with a mark of it."""
    safe = slug(text)
    mark = sha256_bytes(text.encode(errors="backslashreplace"))[:6]
    return text if safe == text and len(text) <= most else f"{safe[:most]}-{mark}"


def plain(name: str) -> str:
    """Return a name from anywhere as Markdown that shows it as it is: nothing in it is markup, HTML or a new line."""
    return MARKUP.sub(r"\\\1", printable(name))


def readable(table: pd.DataFrame, digits: int = 4) -> pd.DataFrame:
    """Return a table for display: its decimal numbers as `cell` writes them."""
    decimal = [name for name in table if pd.api.types.is_float_dtype(table[name])]
    return table.assign(**{name: [cell(value, digits) for value in table[name]] for name in decimal})


def markdown_table(header: list[str], rows: list[list[str]]) -> list[str]:
    """Return a Markdown table, the first column left, the others right; a bar inside a cell is escaped."""
    rule = [":--", *["--:"] * (len(header) - 1)]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in [header, rule, *rows]]


def wide(table: list[str], kind: str = "") -> list[str]:
    """Return a table that may be scrolled sideways on a narrow screen; `kind` is a further class of the
    stylesheet.
    """
    return [f"::::{{div}} wide-table {kind}".rstrip(), *table, "::::", ""]


def dropdown(title: str, lines: list[str]) -> list[str]:
    """Return lines that a reader can unfold; none for none. The empty line keeps them from being read as options."""
    return [f"````{{dropdown}} {title}", "", *lines, "````", ""] if lines else []


def number(value: float, digits: int = 4) -> str:
    """Return a number as text: thousands grouped from 10,000 on, at most `digits` significant digits.

    NaN and infinity read "–".
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= 10_000 else str(value)
    if value != value or value in (float("inf"), float("-inf")):
        return "–"
    if abs(value) >= 10**digits:
        return f"{value:,.0f}"
    return f"{value:.{digits}g}" if abs(value) >= 1e-4 or value == 0 else f"{value:.2e}"


def cell(value: float | None, digits: int = 3) -> str:
    """Return a number of a table as `number` writes it; "–" where there is none."""
    return NO_NUMBER if value is None or pd.isna(value) else number(float(value), digits)


def percent(value: float, digits: int = 1) -> str:
    """Return a share, 0 to 1, in percent without the sign, such as "71.3"; "–" where there is none."""
    if pd.isna(value):
        return NO_NUMBER
    return f"{round(100 * float(value), digits) + 0.0:.{digits}f}"  # float: NumPy rounds otherwise; + 0.0: no "-0.0"


def interval(row: Mapping[str, Any], suffix: str = "") -> str:
    """Return a row's low and high, with `suffix` in the names of their columns, in percent; "–" where it has none."""
    low, high = row[f"low{suffix}"], row[f"high{suffix}"]
    return NO_NUMBER if pd.isna(low) else f"{percent(low)} to {percent(high)}"
