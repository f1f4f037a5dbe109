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


def module_hash(*names: str, source: str | Path = SOURCE) -> str:
    """Return a hash of some modules of the package and of all modules they use."""
    modules = import_closure([f"import {name}" for name in names], source)
    return digest(_meaning(module_file(used, source)) for used in modules)


def methods_hash(place: str, methods: Iterable[str], source: str | Path = SOURCE) -> str:
    """Return a hash of some methods of a class and of all that they use, in its module or imported there.

    place: "module:Class"; methods that the class lacks are left out. So a step of the pipeline depends on its own part
    of a system alone. A class outside the package, which nobody watches, has one hash for ever.
    """
    module, _, name = place.partition(":")
    path = module_file(module, source)
    if path is None:
        return digest([place])
    known: dict[str, ast.stmt] = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        known |= {bound: node for bound in _bound(node)}
        if isinstance(node, ast.ClassDef) and node.name == name:
            known |= {f"self.{part.name}": part for part in node.body if isinstance(part, ast.FunctionDef)}
    found: dict[str, ast.stmt] = {}
    waiting = [f"self.{method}" for method in methods]
    while waiting:
        if (used := waiting.pop()) in known and used not in found:
            found[used] = known[used]
            names = (node for node in ast.walk(known[used]) if isinstance(node, ast.Name | ast.Attribute))
            waiting += [ast.unparse(node) for node in names]
    texts = sorted({_text(node) for node in found.values()})
    modules = import_closure([text for text in texts if text.startswith(("import ", "from "))], source)
    return digest([*texts, *(_meaning(module_file(used, source)) for used in modules)])


def _bound(node: ast.stmt) -> list[str]:
    """Return the names that a statement of a module binds."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        return [alias.asname or alias.name.partition(".")[0] for alias in node.names]
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    return [inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store)]


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
    return "" if path is None else _text(ast.parse(path.read_text(encoding="utf-8")))


def _text(tree: ast.AST) -> str:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)


def digest(parts: Iterable[str]) -> str:
    """Return a short hash of some texts, in order."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
