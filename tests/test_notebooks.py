import copy
import json
from pathlib import Path

import pytest

from envsound.run.notebooks import MAX_LINES, check_notebook, main

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_keeps_the_rules(path):
    assert check_notebook(path) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_goes_to_the_root_before_it_uses_a_path(path):
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    assert "go_to_root()" in "".join(cells[0]["source"])
    assert "parameters" not in cells[0]["metadata"].get("tags", [])


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_as_nbstripout_leaves_it(path):
    import nbformat
    from nbstripout import strip_output

    notebook = nbformat.read(path, as_version=4)
    stripped = strip_output(copy.deepcopy(notebook), keep_output=False, keep_count=False, keep_id=True)
    assert stripped == notebook


def test_there_is_one_notebook_per_step():
    numbers = [path.name[:2] for path in NOTEBOOKS]
    assert len(set(numbers)) == len(numbers)
    assert {"00", "01", "02", "03", "04", "05", "06", "08"} <= set(numbers)


def cell(kind: str, source: str, **more) -> dict:
    made = {"cell_type": kind, "metadata": {}, "source": source.splitlines(keepends=True)}
    return made | ({"outputs": [], "execution_count": None} if kind == "code" else {}) | more


def good() -> dict:
    parameters = cell("code", "lr: float = 1.0  # rate\n", metadata={"tags": ["parameters"]})
    cells = [cell("markdown", "# Title"), cell("code", "import math"), parameters]
    return {"cells": cells, "metadata": {"kernelspec": {"name": "python3"}}, "nbformat": 4}


def problems(tmp_path, notebook) -> str:
    (tmp_path / "x.ipynb").write_text(json.dumps(notebook))
    return "\n".join(check_notebook(tmp_path / "x.ipynb"))


def test_a_good_notebook_has_no_problems(tmp_path):
    assert problems(tmp_path, good()) == ""


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda nb: nb["cells"][1].update(outputs=[{"output_type": "stream"}]), "code cell 1 has outputs"),
        (lambda nb: nb["cells"][1].update(execution_count=3), "code cell 1 has outputs"),
        (lambda nb: nb["cells"][1].update(source=["x = 1\n"] * (MAX_LINES + 1)), "has 13 lines"),
        (lambda nb: nb["cells"][1].update(source=["for i in []:\n    pass"]), "holds For"),
        (lambda nb: nb["cells"].append(nb["cells"][2]), "2 code cells tagged"),
        (lambda nb: nb["cells"][2].update(source=["lr: float = 1.0"]), "parameter lr has no comment"),
        (lambda nb: nb["cells"][2].update(source=["lr = 1.0  # rate"]), "has no type"),
        (lambda nb: nb["metadata"].update(kernelspec={"name": "conda"}), "kernelspec is 'conda'"),
        (lambda nb: nb["cells"].pop(0), "the first cell is no Markdown title"),
    ],
)
def test_a_bad_notebook_is_named(tmp_path, spoil, message):
    notebook = good()
    spoil(notebook)
    found = problems(tmp_path, notebook)
    assert "x.ipynb: " in found
    assert message in found


def test_the_command_fails_on_a_problem_and_on_an_empty_folder(tmp_path, capsys):
    assert main(str(tmp_path)) == 1
    (tmp_path / "x.ipynb").write_text(json.dumps(good()))
    assert main(str(tmp_path)) == 0
    assert "1 notebooks checked" in capsys.readouterr().out
