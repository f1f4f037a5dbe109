"""What Snakemake is told, when a step is out of date, and the whole pipeline once on a copy of the repository."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from whole_runs import copied

from envsound.base.errors import InputError
from envsound.run import identity, pipeline
from envsound.run.presets import load_preset, run_dir
from envsound.systems import SYSTEMS

ROOT = Path(__file__).parents[2]
STEPS = ["encode_clips", "train_model", "sample_clips", "compute_metrics", "ks_tests", "draw_figures"]
RESULTS = ["data_report.csv", "codes.csv", "checkpoints/last.safetensors", "training.csv", "samples.csv",
           "metrics.csv", "pairs.csv", "table_metrics.csv", "ks.csv", "provenance.json"]  # fmt: skip


@pytest.fixture
def at_root(monkeypatch):
    monkeypatch.chdir(ROOT)


# -- what Snakemake is told ---------------------------------------------------------------------------------


def test_a_request_is_one_run_of_the_demo_unless_lists_say_more(at_root):
    request = pipeline.read_request({})
    assert request.run_dirs() == ["data/runs/demo/fold1_seed0"] and request.overrides == {}
    with pytest.warns(UserWarning, match=r"--config folds: \['2', '1', '2'\] names one twice"):
        request = pipeline.read_request({"preset": "tiny", "folds": ["2", "1", "2"], "seeds": [0, 7]})
    runs = [(fold, seed) for fold in (2, 1) for seed in (0, 7)]
    assert request.run_dirs() == [f"data/runs/tiny/fold{fold}_seed{seed}" for fold, seed in runs]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"presets": "demo"}, "--config presets: unknown; expected perhaps 'preset'"),
        ({"preset": "dema"}, "preset 'dema'.*perhaps 'demo'"),
        ({"fold": "one"}, "--config fold: 'one'; expected an integer"),
        ({"seed": -1}, "--config seed: -1; expected an integer"),
        ({"seed": 2**70}, "--config seed=1180591620717411303424: expected at least 0 and at most"),
        ({"data_dir": {"/a": "b"}}, "--config data_dir: .*expected text, in quotes"),
        ({"preset": "a{b}"}, "preset 'a{b}': expected a name of letters"),
        ({"preset": "it's #1"}, "expected a name of letters"),
        ({"preset": "../demo"}, "expected a name of letters"),
    ],
)
def test_a_bad_request_is_one_clear_error(at_root, config, message):
    with pytest.raises(InputError, match=message):
        pipeline.read_request(config)


def test_training_by_command_asks_for_the_run_s_model_and_takes_paths_from_where_it_was_called(monkeypatch, tmp_path):
    asked, folder = [], tmp_path / "ESC-50"
    folder.mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pipeline.subprocess, "call", lambda command: asked.append(command) or 3)
    parser = pipeline.argparse.ArgumentParser()
    pipeline.add_arguments(parser)
    assert pipeline.run(parser.parse_args(["esc10", "--fold", "2", "--data", "ESC-50"])) == 3
    assert Path.cwd() == ROOT and {f"data_dir= '{folder}' ", "preset= 'esc10' ", "fold=2"} <= set(asked[0])
    assert asked[0][-1] == "data/runs/esc10/fold2_seed0/training.csv"
    pipeline.run(parser.parse_args(["demo", "--all"]))
    assert asked[1][-1] == "runs"
    with pytest.raises(InputError, match="perhaps 'demo'"):
        pipeline.run(parser.parse_args(["dema"]))


# -- when a step is out of date -----------------------------------------------------------------------------


def write_notebook(path: Path, *cells: str) -> Path:
    made = [{"cell_type": "code", "metadata": {}, "source": [text], "outputs": []} for text in cells]
    path.write_text(json.dumps({"cells": made, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    return path


MODULES = {
    "__init__": "",
    "a": "from envsound.b import f\n",
    "b": '"""B."""\n\n\ndef f():\n    import envsound.sub.deep  # later\n',
    "other": "x = 1\n",
    "sub/__init__": "from . import near\n",
    "sub/near": "import numpy\n",
    "sub/deep": "from .near import numpy\nfrom ..other2 import y\n",
    "other2": "y = 2\n",
    "recipe": "from envsound import other, other2\nZ = 1\n\n\ndef g():\n    return other.x\n\n\nclass Recipe:\n"
    "    def train(self):\n        return self.help(Z)\n\n    def help(self, z):\n        return g()\n\n"
    "    def load(self):\n        return other2.y\n",
}


@pytest.fixture
def package(tmp_path) -> Path:
    for name, text in MODULES.items():
        path = tmp_path / "src/envsound" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "src"


def test_import_closure_follows_absolute_relative_and_late_imports(package):
    found = identity.import_closure(["import os\nfrom envsound import a\n"], package)
    expected = ["a", "b", "other2", "sub", "sub.deep", "sub.near"]
    assert found == [f"envsound.{name}" for name in expected]


def test_code_hash_changes_with_code_and_with_nothing_else(package, tmp_path):
    path = write_notebook(tmp_path / "x.ipynb", "%matplotlib inline\nfrom envsound.a import f", "f()")
    first = identity.code_hash(path, package)

    notebook = json.loads(path.read_text())
    notebook["cells"][1]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": ["1"]}]
    notebook["cells"].append({"cell_type": "markdown", "metadata": {}, "source": ["prose"]})
    notebook["metadata"]["kernel"] = "python3"
    path.write_text(json.dumps(notebook))
    (package / "envsound/b.py").write_text((package / "envsound/b.py").read_text() + "\n# a remark\n")
    (package / "envsound/other.py").write_text("x = 2\n")
    assert identity.code_hash(path, package) == first

    (package / "envsound/sub/near.py").write_text("import scipy\n")
    second = identity.code_hash(path, package)
    write_notebook(path, "%matplotlib inline\nfrom envsound.a import f", "f()  # louder")
    assert len({first, second, identity.code_hash(path, package)}) == 3


@pytest.mark.parametrize(
    ("module", "before", "after", "changed"),
    [
        ("recipe", "return g()", "return g() + 1", {"train"}),
        ("recipe", "Z = 1", "Z = 2", {"train"}),
        ("recipe", "other2.y", "other2.y + 1", {"load"}),
        ("recipe", "class Recipe:", "class Recipe:\n    # a remark", set()),
        ("b", "later", "sooner", set()),
        ("other", "1", "2", {"train", "load"}),  # named in one import statement
    ],
)
def test_a_step_depends_on_its_own_part_of_a_system_alone(package, module, before, after, changed):
    def hashes():
        return {name: identity.methods_hash("envsound.recipe:Recipe", [name], package) for name in ("train", "load")}

    first, path = hashes(), package / f"envsound/{module}.py"
    path.write_text(path.read_text().replace(before, after))
    assert {method for method, value in hashes().items() if value != first[method]} == changed
    assert identity.methods_hash("mine:Recipe", ["train"], package)  # a system of one's own is not watched


def test_a_broken_notebook_is_named(package, tmp_path):
    with pytest.raises(InputError, match=r"x\.ipynb: a cell or a module it uses is not valid Python"):
        identity.code_hash(write_notebook(tmp_path / "x.ipynb", "f("), package)
    (tmp_path / "x.ipynb").write_text("{}")
    with pytest.raises(InputError, match=r"x\.ipynb: not a notebook"):
        identity.code_hash(tmp_path / "x.ipynb", package)


def test_a_step_depends_on_the_modules_it_uses_only(at_root, monkeypatch):
    closure, found = identity.import_closure, []
    spy = lambda *given: found.append(closure(*given)) or found[-1]  # noqa: E731
    monkeypatch.setattr(identity, "import_closure", spy)

    def modules(step, *methods):
        found.clear()
        identity.code_hash(f"notebooks/{step}.ipynb")
        identity.methods_hash(SYSTEMS["soundstorm"], methods)
        return {name.removeprefix("envsound.") for names in found for name in names}

    training, decoding = "systems.soundstorm.training", "systems.soundstorm.decoding"
    assert "codec.codes" in (encode := modules("01_encode_clips", "codec", "prepare")) and training not in encode
    assert training in (train := modules("02_train_model", "train")) and decoding not in train
    assert decoding in modules("03_sample_clips", "load")
    assert "metrics.tests" in (tests := modules("05_ks_tests")) and training not in tests


@pytest.mark.parametrize(
    ("key", "value", "steps"),
    [("temperature", 0.5, "03"), ("dim", 64, "02"), ("n_examples", 9, "06"), ("device", "cpu", "01 02 03 04")],
)
def test_a_value_re_runs_the_steps_that_use_it_only(at_root, key, value, steps):
    notebooks = sorted(Path("notebooks").glob("0*.ipynb"))
    as_it_is = [pipeline.papermill_parameters(path, "tiny", 1, 0, {}) for path in notebooks]
    changed = [pipeline.papermill_parameters(path, "tiny", 1, 0, {key: value}) for path in notebooks]
    due = [path.name[:2] for path, *lines in zip(notebooks, as_it_is, changed, strict=True) if lines[0] != lines[1]]
    assert due == steps.split()


def test_book_sources_leave_out_what_the_build_writes(at_root):
    sources = pipeline.book_sources()
    single = {"_config.yml", "book/_toc.yml", "data/classifier/README.md", "data/material/attribution.csv"}
    assert single <= set(sources)
    assert not [name for name in sources if re.search("_build|executed|_static/(audio|generated)", name)]


# -- the whole pipeline, on a copy of the repository --------------------------------------------------------


class Copy:
    """A copy of the repository in which the pipeline runs on the preset tiny."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.run = copied(folder), folder / run_dir("tiny", 1, 0)

    def snakemake(self, *arguments: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "snakemake", *arguments, "--config", "preset=tiny"]
        environment = os.environ | {"PYTHONPATH": str(self.folder / "src"), "OMP_NUM_THREADS": "2"}
        return subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True)

    def plan(self) -> list[str]:
        """Return the rules a run would execute, without `all` and `runs`, which execute nothing."""
        result = self.snakemake("--dry-run")
        assert result.returncode == 0, result.stdout + result.stderr
        rules = re.findall(r"^(?:local)?rule (\w+):", result.stdout + result.stderr, re.MULTILINE)
        return sorted(rule for rule in rules if rule not in ("all", "runs"))

    def edit(self, step: str, change) -> str:
        """Change the code cells of a notebook and return its text as it was."""
        path = self.folder / "notebooks" / f"{step}.ipynb"
        notebook = json.loads(before := path.read_text())
        change([cell for cell in notebook["cells"] if cell["cell_type"] == "code"])
        path.write_text(json.dumps(notebook, indent=1))
        return before


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Copy:
    """The copy after a run of the preset tiny, book included, whose last step failed at first."""
    copy = Copy(tmp_path_factory.mktemp("repository"))
    before = copy.edit("06_figures", lambda cells: cells[-1].update(source=["raise ValueError('on purpose')"]))
    copy.failed = copy.snakemake("runs")
    copy.error = (copy.run / "notebooks/06_figures.ipynb").read_text()
    (copy.folder / "notebooks/06_figures.ipynb").write_text(before)
    result = copy.snakemake()
    copy.rest = re.findall(r"^(?:local)?rule (\w+):", result.stdout + result.stderr, re.MULTILINE)
    shown = [line[:300] for line in (result.stdout + result.stderr).splitlines()]  # lists of files are long
    assert result.returncode == 0, "\n".join(shown[-120:])
    return copy


def test_a_failing_step_names_the_notebook_that_holds_its_error_and_only_it_runs_again(finished):
    executed = "data/runs/tiny/fold1_seed0/notebooks/06_figures.ipynb"
    assert finished.failed.returncode != 0 and "on purpose" in finished.error
    message = f"Step draw_figures failed; the error is the last output of this notebook: {executed}"
    assert message in finished.failed.stderr
    assert sorted(set(finished.rest) - {"all", "runs"}) == ["book", "draw_figures"]


def test_a_run_leaves_every_result_its_provenance_and_the_book(finished):
    assert [name for name in RESULTS if not (finished.run / name).is_file()] == []
    assert len(list((finished.run / "notebooks").glob("*.ipynb"))) == len(STEPS)
    assert list((finished.run / "samples").glob("*.wav"))
    assert {path.suffix for path in (finished.run / "figures").glob("*.*")} >= {".pdf", ".png"}
    assert (finished.folder / "book/_build/html/index.html").is_file()
    steps = json.loads((finished.run / "provenance.json").read_text())["steps"]
    given = {key: value for step in steps.values() for key, value in step["parameters"].items()}
    tiny = load_preset("tiny", ROOT / "notebooks" / "presets")
    assert len(steps) == len(STEPS) and {key: given[key] for key in tiny} == tiny


def test_nothing_runs_again_for_what_is_no_change(finished):
    def save(cells):
        output = {"output_type": "stream", "name": "stdout", "text": ["1"]}
        cells[-1].update(outputs=[output], execution_count=9)

    for path in (finished.folder / "notebooks").glob("*.ipynb"):
        path.touch()
    finished.edit("02_train_model", save)
    module = finished.folder / "src/envsound/metrics/tests.py"
    module.write_text(module.read_text() + "\n# a remark\n")
    assert finished.plan() == []


def test_what_a_killed_last_step_left_is_not_taken_for_its_end(finished):
    """Snakemake removes a step's outputs before it begins; papermill writes the notebook cell by cell."""
    done, aside = finished.run / "figures" / ".done", finished.folder / "aside"
    notebook = finished.run / "notebooks" / "06_figures.ipynb"
    before, stamp = notebook.read_bytes(), notebook.stat()
    done.rename(aside)
    notebook.write_bytes(before[: len(before) // 2])
    try:
        assert finished.plan() == ["book", "draw_figures"]
    finally:
        aside.rename(done)
        notebook.write_bytes(before)
        os.utime(notebook, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))


def test_editing_a_module_plans_the_steps_that_use_it_and_what_depends_on_them(finished):
    module = finished.folder / "src/envsound/metrics/tests.py"
    before = module.read_text()
    try:
        module.write_text(before + "\nEDITED = True\n")
        finished.edit("06_figures", lambda cells: cells[-1]["source"].append("\n# edited"))
        assert finished.plan() == ["book", "compute_metrics", "draw_figures", "ks_tests"]
    finally:
        module.write_text(before)


def test_runs_of_the_base_are_shown_where_they_have_been_measured(root):
    for name, text in {"paper": "top_p: 1.0\n", "mine": "top_p: 0.9\n"}.items():
        (root / "notebooks" / "presets" / f"{name}.yml").write_text(text)
    request = pipeline.Request("mine", [1, 2], [0])
    assert request.finished_bases() == []
    measured = root / "data" / "runs" / "paper" / "fold2_seed0" / "metrics.csv"
    measured.parent.mkdir(parents=True)
    measured.touch()
    assert request.finished_bases() == ["data/runs/paper/fold2_seed0"]
    assert pipeline.Request("paper", [1], [0]).finished_bases() == []
