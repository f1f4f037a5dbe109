"""Every command that README and book print: its program, target, notebook, parameters, preset and options exist.

Nothing is executed. `envsound` itself: light, each command with an example that it understands, from any folder.
"""

import argparse
import importlib.util
import re
import shlex
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from envsound import cli
from envsound.base.errors import InputError
from envsound.run.pipeline import read_request
from envsound.run.presets import checked, load_preset, notebook_parameters
from envsound.run.publish import ReportKind

ROOT = Path(__file__).parents[1]
FOLDERS = (".", "studies", "systems")  # of the book's pages
PAGES = [ROOT / "README.md", *(page for name in FOLDERS for page in sorted((ROOT / "book" / name).glob("*.md")))]
BLOCK = re.compile(r"^```(?:sh|bash|shell|console)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`((?:\.venv/bin/)?(?:make|envsound|snakemake|python -m) [^`]+)`")
ELSEWHERE = ("conda", "pip", "source")  # of the system, or in every environment
VARIABLES = ("PRESET", "DATA", "FOLD", "SEED", "CORES", "PYTHON")


def commands(text: str) -> list[list[str]]:
    """Return the words of every command in a page: of its shell blocks, where one may go over lines, and in prose."""
    found = [shlex.split(one, comments=True) for one in INLINE.findall(text)]
    for block in BLOCK.findall(text):
        pending = ""
        for line in block.replace("\\\n", " ").splitlines():
            pending += f"{line}\n"
            try:
                words = shlex.split(pending, comments=True)
            except ValueError:  # a quotation goes on
                continue
            pending = ""
            ends = [*(place for place, word in enumerate(words) if word == "&&"), len(words)]
            starts = [0, *(end + 1 for end in ends)]
            found += [words[start:end] for start, end in zip(starts, ends, strict=False) if start < end]
        assert not pending, f"a quotation does not end: {pending}"
    return found


def check(words: list[str]) -> None:
    """Raise an error that names what a command asks for and the repository lacks."""
    assert not [word for word in words if word.startswith("<") or word.endswith(">")], "is not to be typed as it is"
    program = words[0].removeprefix(".venv/bin/")
    if program not in ELSEWHERE:
        known = {"make": make, "papermill": papermill, "snakemake": snakemake, "envsound": envsound, "python": python}
        known[program](words[1:])


def make(rest: list[str]) -> None:
    targets = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)
    given = dict(word.split("=", 1) for word in rest if "=" in word)
    assert {word for word in rest if "=" not in word} <= set(targets) and set(given) <= set(VARIABLES)
    load_preset(given.get("PRESET", "demo"))


def papermill(rest: list[str]) -> None:
    parser = argparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("files", nargs="+")
    for name in ("-k", "--cwd"):
        parser.add_argument(name)
    for name in ("-f", "-y"):
        parser.add_argument(name, action="append", default=[])
    parser.add_argument("-p", action="append", nargs=2, default=[])
    parser.add_argument("--help-notebook", action="store_true")
    given = parser.parse_intermixed_args(rest)
    assert len(given.files) == (1 if given.help_notebook else 2)
    parameters = {name: yaml.safe_load(value) for name, value in given.p}
    for text in (*given.y, *((ROOT / file).read_text() for file in given.f)):
        parameters |= yaml.safe_load(text)
    known = notebook_parameters(ROOT / given.files[0])
    assert set(parameters) <= set(known), set(parameters) - set(known)
    values = load_preset(parameters.get("preset", "demo"))
    own = {name: value for name, value in parameters.items() if known[name] is None}
    for name, value in (parameters.get("settings", {}) | own).items():
        checked(value, values[name], name)


def snakemake(rest: list[str]) -> None:
    start = rest.index("--config") + 1 if "--config" in rest else len(rest)
    given = dict(word.split("=", 1) for word in rest[start:] if "=" in word)
    read_request({name: yaml.safe_load(value) for name, value in given.items()})
    snakefile = (ROOT / "Snakefile").read_text()
    for option, value in pairwise(rest):
        assert option != "--workflow-profile" or (ROOT / value / "config.yaml").is_file()
        assert option != "--forcerun" or f"rule {value}:" in snakefile
    for target in (word for word in rest[:start] if word.startswith("data/runs/")):
        assert f'"/{target.split("/", 4)[4]}"' in snakefile
        load_preset(target.split("/")[2])


def envsound(rest: list[str]) -> None:
    cli.make_parser(cli.command_modules(), rest[0]).parse_args(rest)
    if rest[0] == "train":
        load_preset(rest[1])


def python(rest: list[str]) -> None:
    if rest[0] == "-m":
        assert importlib.util.find_spec(rest[1]) is not None
    else:  # a script of the repository
        assert (ROOT / rest[0]).is_file() and Path(rest[0]).parent.as_posix() == "tools"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_command_of_a_page_can_be_typed(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    wrong = []
    for words in commands(path.read_text(encoding="utf-8")):
        try:
            check(words)
        except (Exception, SystemExit) as error:
            if getattr(error, "code", 1):  # --help exits with 0
                wrong.append(f"{shlex.join(words)}: {error!r}")
    assert wrong == []


@pytest.mark.parametrize(
    "text",
    ["make studdy", "make study PRESET=dema", "papermill notebooks/03_sample_clips.ipynb o.ipynb -y '{sead: 1}'",
     "papermill notebooks/03_sample_clips.ipynb o.ipynb -y '{settings: {dim: wide}}'", "papermill notebooks/3.ipynb o",
     "snakemake --config presets=demo", "snakemake data/runs/demo/fold1_seed0/kss.csv", "envsound fly", "nothing",
     "envsound train dema", "python -m envsound.no", "make study DATA=<folder>", "snakemake --forcerun kss"],
)  # fmt: skip
def test_a_command_that_does_not_exist_is_found(text, monkeypatch):
    monkeypatch.chdir(ROOT)
    (words,) = commands(f"```sh\n{text} && pip list  # and so on\n```\n")[:-1]
    with pytest.raises((AssertionError, InputError, SystemExit, OSError, KeyError)):
        check(words)


def test_the_readme_names_a_dozen_files_with_their_lines():
    rows = re.findall(r"^\| `([\w./-]+)` \| (\d+) \|", PAGES[0].read_text(), re.MULTILINE)
    off = {name: len((ROOT / name).read_text().splitlines()) / int(told) for name, told in rows}
    assert len(rows) == 12 and {name: share for name, share in off.items() if not 0.85 < share < 1.15} == {}


def test_each_command_has_an_example_that_it_understands_itself():
    modules = cli.command_modules()
    assert {"train", "evaluate", "classify", "publish"} <= set(modules)
    for name, module in modules.items():
        about = cli.read_about(module)
        words = shlex.split(about["EXAMPLE"])
        assert words[:2] == ["envsound", name] and about["HELP"]
        assert cli.make_parser(modules, name).parse_args(words[1:]).command == name


def test_help_is_light_from_any_folder_and_an_error_is_one_line(tmp_path):
    code = "import sys; from envsound.cli import main\ntry: main(['--help'])\nfinally: print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert "evaluate" in done.stdout and not {"torch", "pandas"} & set(re.findall(r"'(\w+)'", done.stdout))
    words = [sys.executable, "-m", "envsound.cli", "train", "dema"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "perhaps 'demo'" in done.stderr


def test_publishing_knows_the_kinds_of_all_studies_and_finds_a_folder_of_the_repository(tmp_path, monkeypatch, capsys):
    assert cli.report_kinds() and all(isinstance(kind, ReportKind) for kind in cli.report_kinds())
    monkeypatch.chdir(tmp_path)
    assert cli.main(["publish", "data/published"]) == 1
    assert "envsound publish: data/published: lacks" in capsys.readouterr().err
