"""What every notebook must be: stripped, titled, with one commented parameters cell and short cells."""

import ast
import json
import sys
from pathlib import Path
from typing import Any

MAX_LINES = 12  # of a code cell, blank ones not counted


def check_notebook(path: str | Path) -> list[str]:
    """Return what is wrong with a notebook, one sentence each, naming the file (nothing wrong: [])."""
    notebook = json.loads(Path(path).read_text(encoding="utf-8"))
    cells = notebook["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    found = [*_kernel(notebook), *_title(cells), *_parameters(code)]
    for number, cell in enumerate(code, 1):
        found += [f"code cell {number} {problem}" for problem in _code_cell(cell)]
    return [f"{path}: {problem}" for problem in found]


def _kernel(notebook: dict[str, Any]) -> list[str]:
    name = notebook["metadata"].get("kernelspec", {}).get("name")
    problems = [] if name == "python3" else [f"kernelspec is {name!r}; expected 'python3'"]
    return problems + ([] if notebook["nbformat"] == 4 else ["not in nbformat 4"])


def _title(cells: list[dict[str, Any]]) -> list[str]:
    first = cells[0] if cells else {"cell_type": "nothing", "source": ""}
    has_title = first["cell_type"] == "markdown" and "".join(first["source"]).startswith("# ")
    return [] if has_title else ["the first cell is no Markdown title; expected '# ...'"]


def _parameters(code: list[dict[str, Any]]) -> list[str]:
    tagged = [cell for cell in code if "parameters" in cell["metadata"].get("tags", [])]
    if len(tagged) != 1:
        return [f"{len(tagged)} code cells tagged 'parameters'; expected one"]
    lines = "".join(tagged[0]["source"]).splitlines()
    problems = []
    for statement in ast.parse("\n".join(lines)).body:
        if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
            problems.append(f"parameter {ast.unparse(statement)!r} has no type; expected name: type = value")
        elif "  # " not in lines[statement.end_lineno - 1]:
            problems.append(f"parameter {statement.target.id} has no comment; expected its unit or meaning")
    return problems


def _code_cell(cell: dict[str, Any]) -> list[str]:
    problems = []
    if cell["outputs"] or cell["execution_count"] is not None:
        problems.append("has outputs; run: nbstripout notebooks/*.ipynb")
    lines = "".join(cell["source"]).splitlines()
    n_lines = sum(1 for line in lines if line.strip())
    if n_lines > MAX_LINES and "parameters" not in cell["metadata"].get("tags", []):
        problems.append(f"has {n_lines} lines; expected at most {MAX_LINES}: move code into src/envsound")
    control = (ast.For, ast.While, ast.If, ast.FunctionDef, ast.ClassDef, ast.Try)
    tree = ast.parse("\n".join("pass" if line.startswith(("%", "!")) else line for line in lines))
    kinds = sorted({type(node).__name__ for node in ast.walk(tree) if isinstance(node, control)})
    return problems + [f"holds {kind}; expected calls only: move it into src/envsound" for kind in kinds]


def main(folder: str = "notebooks") -> int:
    """Print what is wrong with the notebooks in `folder`; return 1 when anything is, else 0."""
    paths = sorted(Path(folder).glob("*.ipynb"))
    problems = [problem for path in paths for problem in check_notebook(path)]
    print("\n".join(problems) if problems else f"{len(paths)} notebooks checked")
    return int(bool(problems) or not paths)


if __name__ == "__main__":
    sys.exit(main())
