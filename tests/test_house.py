"""The tree is what house.toml says: every package on the map, none beyond its budget, no sliver and no giant."""

import ast
import io
import tokenize
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "envsound"
HOUSE = tomllib.loads((ROOT / "house.toml").read_text(encoding="utf-8"))
PACKAGES, WHOLE = HOUSE["packages"], HOUSE["whole"]
FILES = {path: path.read_text(encoding="utf-8") for path in sorted(SOURCE.rglob("*.py"))}
SLIVER = 60  # lines
NOT_CODE = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


def package_of(path: Path) -> str:
    return path.parent.relative_to(SOURCE).as_posix()


def n_lines(text: str) -> int:
    return len(text.splitlines())


def n_code_lines(text: str) -> int:
    """Count the lines that hold code: no blank ones, comments or docstrings."""
    docs: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        if documented and ast.get_docstring(node) is not None:
            docs |= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    held = {line for t in tokens if t.type not in NOT_CODE for line in range(t.start[0], t.end[0] + 1)}
    return len(held - docs)


def importers() -> dict[str, set[Path]]:
    """Return which files import each module, by its name."""
    found: dict[str, set[Path]] = {}
    for path, text in FILES.items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and node.module:
                for name in (node.module, *(f"{node.module}.{alias.name}" for alias in node.names)):
                    found.setdefault(name, set()).add(path)
    return found


def test_every_package_is_on_the_map_and_the_map_has_no_other():
    assert {package_of(path) for path in FILES} - {"."} == set(PACKAGES)


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_keeps_its_budget(name):
    texts = [text for path, text in FILES.items() if package_of(path) == name]
    assert len(texts) <= PACKAGES[name]["files"]
    assert sum(map(n_lines, texts)) <= PACKAGES[name]["lines"]


def test_the_house_keeps_its_budget():
    texts = FILES.values()
    assert len(texts) - len(PACKAGES) <= WHOLE["files"]
    assert sum(map(n_lines, texts)) <= WHOLE["lines"]
    assert sum(map(n_code_lines, texts)) <= WHOLE["code"]


def test_the_tests_keep_theirs():
    paths = (ROOT / "tests").rglob("*.py")
    assert sum(n_lines(path.read_text(encoding="utf-8")) for path in paths) <= WHOLE["tests"]


def test_no_file_is_a_giant():
    assert {path.name: n_lines(text) for path, text in FILES.items() if n_lines(text) > WHOLE["longest"]} == {}


def test_no_file_is_a_sliver_of_its_neighbour():
    """A short module that only one module beside it imports belongs into that one."""
    used, slivers = importers(), []
    for path, text in FILES.items():
        name = ".".join(path.relative_to(ROOT / "src").with_suffix("").parts)
        by = used.get(name, set())
        beside = len(by) == 1 and next(iter(by)).parent == path.parent
        if beside and path.name != "__init__.py" and n_lines(text) < SLIVER:
            slivers.append(name)
    assert slivers == []


def test_every_test_lies_where_its_subject_does():
    folders = {path.parent.relative_to(ROOT / "tests").as_posix() for path in (ROOT / "tests").rglob("test_*.py")}
    rooms = {name.split("/")[0] for name in PACKAGES} | {name for name in PACKAGES if name.startswith("studies/")}
    assert folders <= rooms | {"."}


@pytest.mark.parametrize("text, n_code", [("", 0), ('"""Doc."""\n\nx = 1  # one\n# two\n', 1), ('x = """a\nb"""\n', 2)])
def test_lines_of_code_are_counted(text, n_code):
    assert n_code_lines(text) == n_code
