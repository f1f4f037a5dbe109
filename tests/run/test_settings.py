"""A notebook's values: the preset, differences from it, the parameters cell; what is unknown stops before anything."""

import json

import pytest
import yaml

from envsound.base.errors import InputError
from envsound.run import pipeline
from envsound.run.settings import check_parameters, parameters_for, settle, used_names

CELL = """
run_dir: str = ""  # folder
preset: str = "small"  # preset
settings: dict = {}  # differences
fold: int = 1  # fold
seed: int = 0  # seed
replace: bool = False  # whether clips may go
device: str = None  # where
lr: float = None  # rate
"""
ALSO = ["steps", "dim"]
PAPER = "lr: 1.0e-4\ndim: 512\nsteps: [12, 1]\ndevice: auto\nunused: 1\n"


@pytest.fixture
def notebook(root):
    """Make the namespace of a notebook, after some lines that a reader or papermill adds to its parameters."""
    (root / "notebooks/presets/paper.yml").write_text(PAPER)
    (root / "notebooks/presets/small.yml").write_text("dim: 128\n")

    def made(*lines: str, injected: str = "") -> dict:
        space = {"In": ["", "import envsound", CELL, injected]}
        for text in (CELL, *lines, injected):
            exec(text, space)
        return space

    return made


def test_a_notebook_as_it_is_takes_everything_from_its_preset(notebook):
    chosen = settle(notebook(), ALSO)
    wiring = {"run_dir": "data/runs/small/fold1_seed0", "preset": "small", "fold": 1, "seed": 0}
    assert dict(chosen) == wiring | {"device": "auto", "lr": 1e-4, "steps": [12, 1], "dim": 128}
    assert chosen.dim == chosen["dim"] == 128 and chosen.only("lr", "dim") == {"lr": 1e-4, "dim": 128}
    assert chosen.folder.as_posix() == wiring["run_dir"]
    with pytest.raises(AttributeError, match="'unused'"):
        _ = chosen.unused


@pytest.mark.parametrize("how", [{"injected": "# Parameters\nlr = 1\nfold = 2"}, {}])
def test_papermill_and_an_edited_cell_win_over_settings_and_these_over_the_preset(notebook, how):
    lines = () if how else ("lr, fold = 1, 2",)
    chosen = settle(notebook("settings = {'lr': 0.5, 'dim': 64, 'device': 'cpu'}", *lines, **how), ALSO)
    assert (chosen.lr, chosen.dim, chosen.steps, chosen.fold) == (1.0, 64, [12, 1], 2) and type(chosen.lr) is float
    table = chosen.table()
    expected = {"lr": "notebook", "dim": "settings", "steps": "preset small", "fold": "notebook"}
    assert {name: table["from"][name] for name in expected} == expected
    assert table.loc["dim"].tolist() == ["64", "settings", "128"] and table["in the preset"]["steps"] == ""


def test_a_request_that_differs_has_a_folder_of_its_own_which_the_machine_does_not_change(notebook):
    def folder(**settings):
        return settle(notebook(f"settings = {settings!r}"), ALSO).folder

    assert folder(device="cpu", dim=128, unused=7) == folder()
    other = folder(lr=0.5, dim=64)
    assert other.parent == folder() / "requests" and other.name.startswith("lr_dim-")
    assert len({other, folder(lr=0.5), folder(lr=0.25)}) == 3


@pytest.mark.parametrize(
    ("line", "injected", "message"),
    [
        ("", "# Parameters\nlrr = 1.0", "parameter 'lrr': unknown to this notebook; expected perhaps 'lr'"),
        ("", "# Parameters\ndim = 64", "parameter 'dim': .*expected it inside settings"),
        ("settings = {'stepps': [1]}", "", "parameter 'stepps': unknown in settings; expected perhaps 'steps'"),
        ("settings = {'dim': 'wide'}", "", "settings: dim: 'wide' is text; expected an integer"),
        ("settings = ['dim']", "", "parameter settings: .* is a list"),
        ("lr = 'high'", "", "parameter lr: 'high' is text; expected a number"),
        ("fold = '1'", "", "parameter fold: '1' is text; expected an integer"),
        ("preset = 'smal'", "", "preset 'smal': no such file .*perhaps 'small'"),
    ],
)
def test_what_does_not_exist_or_fit_is_one_clear_error(notebook, line, injected, message):
    with pytest.raises(InputError, match=message):
        settle(notebook(line, injected=injected), ALSO)


def test_other_notebooks_check_what_papermill_gave_them_last(notebook):
    space = notebook()
    space["In"] += ["# Parameters\nlrr = 1", "# Parameters\nlr = 1"]
    check_parameters(space)
    space["In"].append("# Parameters\nsead = 1")
    with pytest.raises(InputError, match="'sead': unknown to this notebook; expected perhaps 'seed'"):
        check_parameters(space)


@pytest.fixture
def path(root, notebook):
    parameters = {"cell_type": "code", "metadata": {"tags": ["parameters"]}, "source": [CELL]}
    call = {"cell_type": "code", "metadata": {}, "source": [f"chosen = settle(globals(), also={ALSO})\nchosen.table()"]}
    (root / "x.ipynb").write_text(json.dumps({"cells": [parameters, call]}))
    return root / "x.ipynb"


def test_the_pipeline_gives_the_values_that_a_notebook_uses_and_no_other(path):
    assert used_names(path) == ["device", "lr", "steps", "dim"]
    given = parameters_for(path, {"unused": 1, "dim": 3, "lr": 1.0, "steps": [], "device": "cpu"}, fold=3)
    assert given == {"fold": 3, "settings": {"device": "cpu", "lr": 1.0, "steps": [], "dim": 3}}


def test_what_papermill_is_told_survives_its_yaml(path, notebook):
    awkward = '/it\'s: {here}, "or" # there'
    line = pipeline.papermill_parameters(path, "small", "2", "0", {"device": awkward})
    assert "\n" not in line
    given = yaml.safe_load(line)
    settings = {"device": awkward, "lr": 1e-4, "steps": [12, 1], "dim": 128}
    assert given == {"run_dir": "data/runs/small/fold2_seed0", "preset": "small", "fold": 2, "seed": 0,
                     "replace": True, "settings": settings}  # fmt: skip
    chosen = settle(notebook(*(f"{name} = {value!r}" for name, value in given.items())), ALSO)
    assert dict(chosen) == {name: given[name] for name in ("run_dir", "preset", "fold", "seed")} | settings
