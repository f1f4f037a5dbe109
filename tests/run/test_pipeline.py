import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from envsound.base.errors import InputError
from envsound.run import identity, pipeline
from envsound.run.presets import load_preset

ROOT = Path(__file__).parents[2]
TREE = ("Snakefile", "_config.yml", "book", "data/classifier", "data/codec", "data/published", "notebooks", "profiles",
        "pyproject.toml", "src")  # fmt: skip
STEPS = ["encode_clips", "train_model", "sample_clips", "compute_metrics", "ks_tests", "draw_figures"]
RESULTS = ["data_report.csv", "codes.csv", "checkpoints/last.safetensors", "training.csv", "samples.csv",
           "metrics.csv", "pairs.csv", "table_metrics.csv", "ks.csv", "provenance.json"]  # fmt: skip


@pytest.fixture
def at_root(monkeypatch):
    monkeypatch.chdir(ROOT)


# -- what Snakemake is told ---------------------------------------------------------------------------------


def test_request_by_default_is_one_run_of_the_demo(at_root):
    request = pipeline.read_request({})
    assert request.run_dirs() == ["data/runs/demo/fold1_seed0"]
    assert request.overrides == {}


def test_request_takes_lists_as_snakemake_passes_them(at_root):
    request = pipeline.read_request({"preset": "tiny", "folds": ["2", "1", "2"], "seeds": [0, 7]})
    assert request.run_dirs() == [
        "data/runs/tiny/fold2_seed0",
        "data/runs/tiny/fold2_seed7",
        "data/runs/tiny/fold1_seed0",
        "data/runs/tiny/fold1_seed7",
    ]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"presets": "demo"}, "--config presets: unknown; expected perhaps 'preset'"),
        ({"preset": "dema"}, "preset 'dema'.*perhaps 'demo'"),
        ({"fold": "one"}, "--config fold: 'one'; expected an integer"),
        ({"seed": -1}, "--config seed: -1; expected an integer"),
        ({"preset": "demo", "data_dir": "/somewhere"}, "preset 'demo': makes its own synthetic recordings"),
    ],
)
def test_a_bad_request_is_one_clear_error(at_root, config, message):
    with pytest.raises(InputError, match=message):
        pipeline.read_request(config)


def test_a_data_folder_without_its_csv_is_named(at_root, tmp_path):
    values = pipeline.values_of("esc10", {"data_dir": str(tmp_path)})
    with pytest.raises(InputError, match=r"meta/esc50\.csv: no such file"):
        pipeline.recordings_table(values)


def test_recordings_fingerprint_follows_csv_and_audio(at_root, tmp_path):
    (tmp_path / "meta").mkdir()
    (tmp_path / "audio").mkdir()
    (tmp_path / "meta" / "esc50.csv").write_text("filename\na.wav\n")
    values = pipeline.values_of("esc10", {"data_dir": str(tmp_path)})
    seen = {pipeline.recordings_fingerprint(values)}
    (tmp_path / "audio" / "a.wav").write_bytes(b"1")
    seen.add(pipeline.recordings_fingerprint(values))
    (tmp_path / "audio" / "a.wav").write_bytes(b"12")
    seen.add(pipeline.recordings_fingerprint(values))
    (tmp_path / "meta" / "esc50.csv").write_text("filename\nb.wav\n")
    seen.add(pipeline.recordings_fingerprint(values))
    assert len(seen) == 4
    os.utime(tmp_path / "audio" / "a.wav", (1, 1))
    assert pipeline.recordings_fingerprint(values) in seen


# -- what papermill is told ---------------------------------------------------------------------------------


def write_notebook(path: Path, *cells: str, tags: tuple[str, ...] = ()) -> Path:
    made = [{"cell_type": "code", "metadata": {}, "source": [text], "outputs": []} for text in cells]
    if tags:
        made[0]["metadata"]["tags"] = list(tags)
    path.write_text(json.dumps({"cells": made, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    return path


def test_parameters_survive_papermills_yaml(at_root, tmp_path, monkeypatch):
    declared = ("lr: float = 1.0", "steps_per_level: list[int] = []", "data_dir: str = ''", "fold: int = 1")
    text = "\n".join((*declared, "run_dir: str = ''"))
    awkward = '/it\'s: {here}, "or" # there'
    path = write_notebook(tmp_path / "x.ipynb", text, tags=("parameters",))
    monkeypatch.setattr(pipeline, "load_preset", lambda name: load_preset(name) | {"lr": 1e-05})
    line = pipeline.papermill_parameters(path, "paper", "2", "0", {"data_dir": awkward})
    assert "\n" not in line
    assert yaml.safe_load(line) == {
        "lr": 1e-05,
        "steps_per_level": [12, 1, 1, 1, 1, 1, 1, 1],
        "data_dir": awkward,
        "fold": 2,
        "run_dir": "data/runs/paper/fold2_seed0",
    }


# -- when a step is out of date -----------------------------------------------------------------------------


@pytest.fixture
def package(tmp_path) -> Path:
    source = tmp_path / "src"
    files = {
        "envsound/__init__.py": "",
        "envsound/a.py": "from envsound.b import f\n",
        "envsound/b.py": '"""B."""\n\n\ndef f():\n    import envsound.sub.deep  # later\n',
        "envsound/other.py": "x = 1\n",
        "envsound/sub/__init__.py": "from . import near\n",
        "envsound/sub/near.py": "import numpy\n",
        "envsound/sub/deep.py": "from .near import numpy\nfrom ..other2 import y\n",
        "envsound/other2.py": "y = 2\n",
    }
    for name, text in files.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(text)
    return source


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


def test_a_broken_notebook_is_named(package, tmp_path):
    with pytest.raises(InputError, match=r"x\.ipynb: a cell or a module it uses is not valid Python"):
        identity.code_hash(write_notebook(tmp_path / "x.ipynb", "f("), package)
    (tmp_path / "x.ipynb").write_text("{}")
    with pytest.raises(InputError, match=r"x\.ipynb: not a notebook"):
        identity.code_hash(tmp_path / "x.ipynb", package)


def test_a_step_depends_on_the_modules_it_uses_only(at_root):
    closure = {
        step: identity.import_closure(
            map(identity._python, identity.code_cells(f"notebooks/{step}.ipynb"))
        )
        for step in ("02_train_model", "05_ks_tests")
    }
    assert "envsound.systems.soundstorm.training" in closure["02_train_model"]
    assert "envsound.systems.soundstorm.training" not in closure["05_ks_tests"]
    assert "envsound.metrics.tests" in closure["05_ks_tests"]


def test_book_sources_leave_out_what_the_build_writes(at_root):
    sources = pipeline.book_sources()
    assert "_config.yml" in sources
    assert "book/_toc.yml" in sources
    assert "data/classifier/README.md" in sources  # the model card includes it
    assert not [name for name in sources if re.search("_build|executed|_static/audio|generated", name)]


# -- the whole pipeline, on a copy of the repository --------------------------------------------------------


class Copy:
    """A copy of the repository in which the pipeline runs on the preset tiny."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.run = folder, folder / pipeline.run_dir("tiny", 1, 0)
        made = ("_build", "executed", "audio", "generated")  # by the book, in its own folder
        for name in TREE:
            ignore = shutil.ignore_patterns("__pycache__", "*.egg-info", *(made if name == "book" else ()))
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, folder / name, ignore=ignore)
            else:
                shutil.copy(ROOT / name, folder / name)

    def snakemake(self, *arguments: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "snakemake", *arguments, "--config", "preset=tiny"]
        environment = os.environ | {"PYTHONPATH": str(self.folder / "src"), "OMP_NUM_THREADS": "2"}
        return subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True)

    def plan(self) -> list[str]:
        """Return the rules a run would execute, without `all` and `runs`, which execute nothing."""
        result = self.snakemake("--dry-run")
        assert result.returncode == 0, result.stdout + result.stderr
        rules = re.findall(r"^(?:local)?rule (\w+):", result.stdout + result.stderr, re.MULTILINE)
        return [rule for rule in rules if rule not in ("all", "runs")]

    def edit(self, step: str, change) -> None:
        path = self.folder / "notebooks" / f"{step}.ipynb"
        notebook = json.loads(path.read_text())
        change([cell for cell in notebook["cells"] if cell["cell_type"] == "code"])
        path.write_text(json.dumps(notebook, indent=1))


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Copy:
    """The copy after a complete run of the preset tiny, book included."""
    copy = Copy(tmp_path_factory.mktemp("repository"))
    result = copy.snakemake()
    shown = [line[:300] for line in (result.stdout + result.stderr).splitlines()]  # lists of files are long
    assert result.returncode == 0, "\n".join(shown[-120:])
    return copy


def test_a_run_leaves_every_result_and_the_book(finished):
    assert [name for name in RESULTS if not (finished.run / name).is_file()] == []
    assert len(list((finished.run / "notebooks").glob("*.ipynb"))) == len(STEPS)
    assert list((finished.run / "samples").glob("*.wav"))
    assert {path.suffix for path in (finished.run / "figures").glob("*.*")} >= {".pdf", ".png"}
    assert (finished.folder / "book/_build/html/index.html").is_file()


def test_provenance_names_every_step_with_what_it_was_given(finished):
    steps = json.loads((finished.run / "provenance.json").read_text())["steps"]
    assert len(steps) == len(STEPS)
    given = {key: value for step in steps.values() for key, value in step["parameters"].items()}
    tiny = load_preset("tiny", ROOT / "notebooks" / "presets")
    assert {key: given[key] for key in ("dim", "num_epochs", "n_samples")} == {
        key: tiny[key] for key in ("dim", "num_epochs", "n_samples")
    }


def test_a_second_run_plans_nothing(finished):
    assert finished.plan() == []


def test_touching_a_notebook_and_saving_its_outputs_plan_nothing(finished):
    def save(cells):
        output = {"output_type": "stream", "name": "stdout", "text": ["1"]}
        cells[-1].update(outputs=[output], execution_count=9)

    before = (finished.folder / "notebooks/05_ks_tests.ipynb").read_text()
    try:
        for path in (finished.folder / "notebooks").glob("*.ipynb"):
            path.touch()
        finished.edit("02_train_model", save)
        finished.edit("05_ks_tests", save)
        assert finished.plan() == []
    finally:
        (finished.folder / "notebooks/05_ks_tests.ipynb").write_text(before)


@pytest.mark.parametrize(
    ("step", "planned"),
    [("05_ks_tests", ["ks_tests", "draw_figures", "book"]), ("06_figures", ["draw_figures", "book"])],
)
def test_editing_a_notebook_plans_it_and_what_depends_on_it(finished, step, planned):
    path = finished.folder / "notebooks" / f"{step}.ipynb"
    before = path.read_text()
    try:
        finished.edit(step, lambda cells: cells[-1]["source"].append("\n# edited"))
        assert sorted(finished.plan()) == sorted(planned)
    finally:
        path.write_text(before)


def test_editing_a_module_plans_the_steps_that_use_it(finished):
    path = finished.folder / "src/envsound/metrics/tests.py"
    before = path.read_text()
    try:
        path.write_text(before + "\n# a remark\n")
        assert finished.plan() == []
        path.write_text(before + "\nEDITED = True\n")
        assert sorted(finished.plan()) == ["book", "compute_metrics", "draw_figures", "ks_tests"]
    finally:
        path.write_text(before)


def test_a_failing_step_names_the_notebook_that_holds_its_error(finished):
    path = finished.folder / "notebooks/06_figures.ipynb"
    before = path.read_text()
    try:
        finished.edit("06_figures", lambda cells: cells[-1].update(source=["raise ValueError('on purpose')"]))
        result = finished.snakemake("runs")
    finally:
        path.write_text(before)
    executed = "data/runs/tiny/fold1_seed0/notebooks/06_figures.ipynb"
    assert result.returncode != 0
    message = "Step draw_figures failed; the error is the last output of this notebook: "
    assert message + executed in result.stderr
    assert "on purpose" in (finished.folder / executed).read_text()
