"""Presets: every key is used, types fit the notebooks, what is wrong with one is said in one line."""

import json
from pathlib import Path

import pytest
import yaml

from envsound.base.errors import InputError
from envsound.run.presets import BASE, WIRING, load_preset, notebook_parameters, preset_names
from envsound.run.settings import used_names

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "notebooks" / "presets"
NOTEBOOKS = sorted((ROOT / "notebooks").glob("0[1-6]_*.ipynb"))
NAMES = preset_names(FOLDER)


@pytest.fixture
def folder(tmp_path):
    text = "lr: 1.0e-4\nnum_epochs: 100\nsteps_per_level: [12, 1]\ndevice: auto\n"
    (tmp_path / "paper.yml").write_text(text)
    return tmp_path


def test_the_named_presets_exist():
    assert {"paper", "demo", "esc10", "ablate-steps", "tiny"} <= set(NAMES)
    assert len(NOTEBOOKS) == 6


def test_the_notebooks_use_every_key_of_a_preset_and_no_other():
    used = {name for path in NOTEBOOKS for name in used_names(path)}
    assert used == set(load_preset(BASE, FOLDER))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_papermill_finds_the_parameters_as_we_do_with_the_types_of_the_presets(path):
    from papermill import inspect_notebook

    values = load_preset(BASE, FOLDER) | {"run_dir": "", "preset": "", "settings": {}, "fold": 1, "seed": 0}
    found = inspect_notebook(str(path))
    assert list(notebook_parameters(path)) == list(found) and {*WIRING, "settings"} <= set(found)
    types = {name: one["inferred_type_name"] for name, one in found.items()}
    assert types == {name: type(values.get(name, False)).__name__ for name in found}
    assert all(found[name]["help"] for name in found)
    defaults = notebook_parameters(path)
    assert {name for name, value in defaults.items() if value is None} == set(defaults) & set(load_preset(BASE, FOLDER))


@pytest.mark.parametrize("name", [name for name in NAMES if name != BASE])
def test_presets_hold_differences_only(name):
    own = yaml.safe_load((FOLDER / f"{name}.yml").read_text())
    parent = load_preset(own.pop("base", BASE), FOLDER)
    assert [key for key, value in own.items() if parent[key] == value] == []
    assert own


def test_the_ablation_is_one_difference():
    demo, ablation = load_preset("demo", FOLDER), load_preset("ablate-steps", FOLDER)
    assert [key for key in demo if demo[key] != ablation[key]] == ["steps_per_level"]


def test_paper_is_the_published_protocol():
    paper = load_preset("paper", FOLDER)
    published = dict(
        dataset="esc50", codec="encodec_24khz", class_conditional=False, n_layers=2, dim=512, n_heads=8,
        conv_kernel=31, ff_mult=4, num_epochs=100, batch_size=8, lr=1e-4, warmup_fraction=0.3, n_samples=100,
        n_real=100, steps_per_level=[12, 1, 1, 1, 1, 1, 1, 1],
    )  # fmt: skip
    assert {key: paper[key] for key in published} == published


def test_a_preset_inherits_through_its_base(folder):
    (folder / "small.yml").write_text("num_epochs: 3\n")
    (folder / "smaller.yml").write_text("base: small\nlr: 1\n")
    assert load_preset("smaller", folder) == {"lr": 1.0, "num_epochs": 3, "steps_per_level": [12, 1], "device": "auto"}
    assert isinstance(load_preset("smaller", folder)["lr"], float)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("num_epoch: 3", r"bad\.yml: unknown key 'num_epoch'; expected perhaps 'num_epochs'"),
        ("num_epochs: many", r"bad\.yml: num_epochs: 'many' is text; expected an integer"),
        ("num_epochs: 1.5", r"1\.5 is a number; expected an integer"),
        ("num_epochs: true", "True is true or false; expected an integer"),
        ("lr: 1e-4", "'1e-4' is text; expected a number"),
        ("steps_per_level: 12", "12 is an integer; expected a list"),
        ("steps_per_level: [a]", "'a' is text; expected an integer"),
        ("device:", "None is nothing; expected text"),
        ("base: bad", "leads back to itself"),
        ("base: papers", "preset 'papers'.*perhaps 'paper'"),
        ("- 1", "holds a list; expected keys with values"),
        ("a: [", "not valid YAML"),
    ],
)
def test_a_bad_preset_is_one_clear_error(folder, text, message):
    (folder / "bad.yml").write_text(text)
    with pytest.raises(InputError, match=message):
        load_preset("bad", folder)


def test_an_unknown_preset_names_the_nearest(folder):
    with pytest.raises(InputError, match=r"preset 'papr': no such file .*perhaps 'paper'"):
        load_preset("papr", folder)


def test_a_missing_base_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"paper\.yml: no such file"):
        load_preset("paper", tmp_path)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("lr = 1.0", "expected name: type = value"),
        ("lr: float = 1 / 3", "default of lr is not a plain value"),
        (None, "0 cells tagged 'parameters'"),
    ],
)
def test_a_bad_parameters_cell_is_one_clear_error(tmp_path, source, message):
    cells = [] if source is None else [{"metadata": {"tags": ["parameters"]}, "source": [source]}]
    (tmp_path / "x.ipynb").write_text(json.dumps({"cells": cells}))
    with pytest.raises(InputError, match=message):
        notebook_parameters(tmp_path / "x.ipynb")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lr: 0.1\nnum_epochs: 2\nlr: 0.2\n", r"bad\.yml: line 3: the key 'lr' is there a second time"),
        ("device: no\n", "device: False is true or false; expected text"),
        ("on: 1\n", r"bad\.yml: line 1: the key True is true or false; expected text, in quotes"),
        ("1: 2\n", "the key 1 is an integer"),
        ("? [a]\n: 2\n", "the key .* is a list"),
        ("steps_per_level: [2, on]\n", "steps_per_level: True is true or false; expected an integer"),
        ("steps_per_level: [2, 1.5]\n", "1.5 is a number; expected an integer"),
        ("base: 3\n", "base: 3 is an integer; expected text"),
        ("base: [paper]\n", "base: .* is a list; expected text"),
        ("lr: .nan\n", "lr=nan: expected more than 0"),
        ("lr: -.inf\n", "lr=-inf: expected more than 0"),
        ("lr: 2026-99-99\n", r"bad\.yml: month must be in 1..12"),
        ("lr: 2026-02-31\n", r"bad\.yml: day is out of range"),
        ("lr: !!python/object:os.system x\n", "not valid YAML"),
        ("lr: &a [*a]\n", r"bad\.yml: "),
        ("<<: {lr: 1}\n", "not valid YAML"),
        ("[" * 5000, r"bad\.yml: "),
    ],
)
def test_what_yaml_takes_otherwise_than_meant_is_one_line(folder, text, message):
    (folder / "bad.yml").write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        load_preset("bad", folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["device: ça\n".encode("latin-1"), "device: auto\n".encode("utf-16"), b"\0" * 9])
def test_a_preset_in_another_encoding_is_named(folder, content):
    (folder / "bad.yml").write_bytes(content)
    with pytest.raises(InputError, match=r"bad\.yml: ") as caught:
        load_preset("bad", folder)
    assert "\n" not in str(caught.value)


def test_hidden_copies_of_presets_are_none(folder):
    for name in ("._demo.yml", ".demo.yml"):
        (folder / name).write_text("lr: 1\n")
    assert preset_names(folder) == ["paper"]
