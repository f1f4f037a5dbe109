"""What every notebook must be: stripped, titled, with one commented parameters cell that is checked, short cells."""

import ast
import copy
import json
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted(path for path in (ROOT / "notebooks").rglob("*.ipynb") if "checkpoint" not in path.name)
MAX_LINES = 12  # of a code cell, blank ones not counted
CONTROL = (ast.For, ast.While, ast.If, ast.FunctionDef, ast.ClassDef, ast.Try)


def problems(notebook: dict[str, Any]) -> list[str]:
    """Return what is wrong with a notebook, one sentence each."""
    cells = notebook["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    found = [] if notebook["metadata"].get("kernelspec", {}).get("name") == "python3" else ["kernel is not python3"]
    found += [] if cells and source(cells[0]).startswith("# ") else ["the first cell is no Markdown title"]
    found += [] if code and "go_to_root()" in source(code[0]) else ["does not go to the root in its first code cell"]
    tagged = [place for place, cell in enumerate(code) if is_parameters(cell)]
    if len(tagged) != 1:
        return [*found, f"{len(tagged)} code cells tagged 'parameters'"]
    found += parameter_problems(source(code[tagged[0]]))
    after = source(code[tagged[0] + 1]) if tagged[0] + 1 < len(code) else ""
    found += [] if "settle(globals()" in after or "check_parameters(globals())" in after else ["checks no parameters"]
    return found + [f"cell {place} {problem}" for place, cell in enumerate(code) for problem in cell_problems(cell)]


def source(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def is_parameters(cell: dict[str, Any]) -> bool:
    return "parameters" in cell["metadata"].get("tags", [])


def parameter_problems(text: str) -> list[str]:
    found = []
    for statement in ast.parse(text).body:
        if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
            found.append(f"parameter {ast.unparse(statement)!r} has no type")
        elif "  # " not in text.splitlines()[statement.end_lineno - 1]:
            found.append(f"parameter {statement.target.id} has no comment")
    return found


def cell_problems(cell: dict[str, Any]) -> list[str]:
    if is_parameters(cell):
        return []
    lines = [line for line in source(cell).splitlines() if line.strip()]
    found = [f"has {len(lines)} lines: move code into src/envsound"] if len(lines) > MAX_LINES else []
    tree = list(ast.walk(ast.parse("\n".join("pass" if line.startswith(("%", "!")) else line for line in lines))))
    found += [f"holds {type(node).__name__}: move it into src/envsound" for node in tree if isinstance(node, CONTROL)]
    return found + ["declares a parameter" for node in tree if isinstance(node, ast.AnnAssign)]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_keeps_the_rules_and_is_as_nbstripout_leaves_it(path):
    import nbformat
    from nbstripout import strip_output

    assert problems(json.loads(path.read_text())) == []
    notebook = nbformat.read(path, as_version=4)
    stripped = strip_output(copy.deepcopy(notebook), keep_output=False, keep_count=False, keep_id=True)
    assert stripped == notebook and notebook.nbformat == 4


def test_there_is_one_notebook_per_number_and_one_for_each_step():
    numbers = [path.name[:2] for path in NOTEBOOKS if path.name[0].isdecimal()]
    assert len(set(numbers)) == len(numbers)
    steps = [path.name[:2] for path in NOTEBOOKS if path.parent == ROOT / "notebooks" and path.name[0].isdecimal()]
    assert steps == ["01", "02", "03", "04", "05", "06"]


def cell(kind: str, text: str, **metadata: Any) -> dict[str, Any]:
    return {"cell_type": kind, "metadata": metadata, "source": text.splitlines(keepends=True)}


def good() -> dict[str, Any]:
    parameters = cell("code", "lr: float = 1.0  # rate\n", tags=["parameters"])
    code = [cell("code", "go_to_root()"), parameters, cell("code", "check_parameters(globals())")]
    return {"cells": [cell("markdown", "# Title"), *code], "metadata": {"kernelspec": {"name": "python3"}}}


@pytest.mark.parametrize(
    ("place", "text", "message"),
    [
        (0, "Title", "no Markdown title"),
        (1, "import math", "does not go to the root"),
        (2, "lr: float = 1.0", "parameter lr has no comment"),
        (2, "lr = 1.0  # rate", "has no type"),
        (3, "lr", "checks no parameters"),
        (3, "check_parameters(globals())\n" + "x = 1\n" * MAX_LINES, "has 13 lines"),
        (3, "check_parameters(globals())\nfor i in []:\n    pass", "holds For"),
        (3, "check_parameters(globals())\nx: int = 1", "declares a parameter"),
        (3, "check_parameters(globals())\n%matplotlib inline", ""),
    ],
)
def test_what_is_wrong_with_a_notebook_is_named(place, text, message):
    notebook = good()
    assert problems(notebook) == []
    notebook["cells"][place]["source"] = text.splitlines(keepends=True)
    assert message in "\n".join(problems(notebook)) and bool(problems(notebook)) == bool(message)
    notebook["cells"].append(notebook["cells"][2])
    assert "2 code cells tagged" in "\n".join(problems(notebook))
