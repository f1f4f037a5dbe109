"""The book's chapter on the model and its decoder: the rules they keep, and the mistakes that the tests catch."""

from pathlib import Path

import pandas as pd

from envsound.files import read_csv, write_text

RULES = "mutants.csv"  # in data/published, written by `make mutants`
NOTHING = "*This copy of the repository holds no `data/published/mutants.csv`; `make mutants` writes it.*"


def stage_rules(path: str | Path, book_dir: str | Path) -> None:
    """Write executed/engine/rules.txt, which the chapter includes: each rule, its mistake, whether it was caught."""
    path = Path(path)
    lines = rules_list(read_csv(path)) if path.is_file() else [NOTHING]
    write_text(Path(book_dir) / "executed" / "engine" / "rules.txt", "\n".join(lines) + "\n")


def rules_list(rules: pd.DataFrame) -> list[str]:
    """Return the rules as Markdown, from the columns of mutants.csv: each with its mistake and the test it fails."""
    caught = rules["passes_unchanged"] & rules["fails_mutated"]
    lines = [f"{int(caught.sum())} of {len(rules)} mistakes are caught by their test.", ""]
    for row, ok in zip(rules.to_dict("records"), caught, strict=True):
        verdict = "fails" if ok else "**does not fail**"
        mistake = f"{_code(row['before'])} made {_code(row['after'])} in {_code(row['file'])}"
        lines.append(f"- **{row['rule']}.** With {mistake}, {_code(row['test'].split('::')[1])} {verdict}.")
    return lines


def _code(text: str) -> str:
    return f"`{' '.join(text.split())}`"
