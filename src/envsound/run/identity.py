"""A hash that changes when code does: of a notebook, or of a module, with every module of the package it uses.

File times, saved outputs, comments, docstrings and layout of modules do not count.
"""

import ast
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from envsound.base.errors import InputError

PACKAGE = "envsound"
SOURCE = Path(__file__).resolve().parents[2]  # the folder that holds the package


def code_hash(notebook: str | Path, source: str | Path = SOURCE) -> str:
    """Return a hash of the source of a notebook's code cells and of the package's modules they use."""
    cells = code_cells(notebook)
    try:
        modules = import_closure((_python(cell) for cell in cells), source)
    except SyntaxError as error:
        raise InputError(f"{notebook}: a cell or a module it uses is not valid Python ({error})") from None
    return digest([*cells, *(_meaning(module_file(name, source)) for name in modules)])


def module_hash(name: str, source: str | Path = SOURCE) -> str:
    """Return a hash of a module of the package and of the modules it uses."""
    return digest(_meaning(module_file(used, source)) for used in import_closure([f"import {name}"], source))


def code_cells(notebook: str | Path) -> list[str]:
    """Return the source of each code cell of a notebook. Raises InputError when the file is no notebook."""
    try:
        cells = json.loads(Path(notebook).read_text(encoding="utf-8"))["cells"]
    except FileNotFoundError:
        raise InputError(f"{notebook}: no such notebook") from None
    except (json.JSONDecodeError, KeyError, TypeError):
        raise InputError(f"{notebook}: not a notebook in nbformat 4") from None
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def import_closure(texts: Iterable[str], source: str | Path = SOURCE) -> list[str]:
    """Return the package's modules that Python `texts` import, directly or through others, sorted by name."""
    found: set[str] = set()
    waiting = [name for text in texts for name in _imports(text, "", source)]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        path = module_file(name, source)
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        waiting += _imports(path.read_text(encoding="utf-8"), package, source)
    return sorted(found)


def module_file(name: str, source: str | Path = SOURCE) -> Path | None:
    """Return the file of a module such as `envsound.codec.base`; None when there is no such module."""
    path = Path(source, *name.split("."))
    candidates = (path / "__init__.py", path.with_suffix(".py"))
    return next((file for file in candidates if file.is_file()), None)


def _imports(text: str, package: str, source: str | Path) -> set[str]:
    """Return the package's modules imported by Python `text` that lies in `package` ("" for a notebook)."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            names |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    inside = {name for name in names if name.startswith(f"{PACKAGE}.")}
    enclosing = {name.rpartition(".")[0] for name in inside}
    # The package's own __init__ is left out: it holds its version, and a release changes no result.
    return {name for name in inside | enclosing if name != PACKAGE and module_file(name, source)}


def _python(cell: str) -> str:
    """Return a code cell without IPython's magics, which are no Python."""
    return "\n".join("pass" if line.startswith(("%", "!")) else line for line in cell.splitlines())


def _meaning(path: Path | None) -> str:
    """Return a module's code without comments, docstrings and layout, so that tidying it re-runs nothing."""
    if path is None:
        return ""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)


def digest(parts: Iterable[str]) -> str:
    """Return a short hash of some texts, in order."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
