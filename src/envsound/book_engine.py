"""The book's chapter on the model and its decoder: the rules they keep, and the mistakes that the tests catch."""

from pathlib import Path

import pandas as pd

from envsound.files import read_csv, write_text
from envsound.tables import markdown_table, wide

RULES = "mutants.csv"  # in data/published, written by `make mutants`
NOTHING = "*This copy of the repository holds no `data/published/mutants.csv`; `make mutants` writes it.*"


def stage_rules(path: str | Path, book_dir: str | Path) -> None:
    """Write executed/engine/rules.txt, which the chapter includes: each rule, its mistake, whether it was caught."""
    path = Path(path)
    lines = rules_table(read_csv(path)) if path.is_file() else [NOTHING]
    write_text(Path(book_dir) / "executed" / "engine" / "rules.txt", "\n".join(lines) + "\n")


def rules_table(rules: pd.DataFrame) -> list[str]:
    """Return the table of rules in Markdown, from the columns of mutants.csv."""
    caught = rules["passes_unchanged"] & rules["fails_mutated"]
    header = ["rule", "right", "wrong", "test", "caught"]
    body = [
        [row["rule"], *map(_code, (row["before"], row["after"], row["test"].split("::")[1])), "yes" if ok else "NO"]
        for row, ok in zip(rules.to_dict("records"), caught, strict=True)
    ]
    summary = f"{int(caught.sum())} of {len(rules)} mistakes are caught by their test."
    return [summary, "", *wide(markdown_table(header, body))]


def _code(text: str) -> str:
    return f"`{' '.join(text.split())}`"
