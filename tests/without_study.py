"""Proves that studies stand alone: takes one away in a copy; lint, the other tests and the book go on.

python tests/without_study.py speed            # lint, the book's staging, and every test that is left
python tests/without_study.py --all --quick    # every study, one by one; of the tests those of house and book
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from envsound.report.facts import house_table
from envsound.studies import modules_named, study_names

ROOT = Path(__file__).resolve().parents[1]
QUICK = ("tests/test_house.py", "tests/test_commands.py", "tests/book", "tests/report", "tests/run/test_presets.py")


def copy_repository(folder: Path) -> None:
    """Copy the files that git knows into `folder`."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)


def remove_study(folder: Path, study: str) -> list[str]:
    """Take a study out of a copy: its folders, page, notebooks, results and line on the map; return what went."""
    gone = [f"src/envsound/studies/{study}", f"tests/studies/{study}"]
    gone += [path.relative_to(folder).as_posix() for path in folder.glob(f"book/*/{study}*.md")]
    gone += [f"data/published/{name}" for name in {kind.folder for kind in modules_named("page")[study].REPORTS} - {""}]
    gone += [path.relative_to(folder).as_posix() for path in folder.glob("notebooks/*/*.ipynb") if uses(path, study)]
    fakes = [path for path in folder.glob("tests/fakes/*.py") if f"envsound.studies.{study}" in path.read_text()]
    gone += [path.relative_to(folder).as_posix() for path in fakes]
    for name in gone:
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    house = folder / "house.toml"
    entry = re.compile(rf'\[packages\."studies/{study}"\]\n(?:\w+ = .*\n)+\n?')
    house.write_text(entry.sub("", house.read_text()))
    readme = folder / "README.md"
    between = re.compile(r"(<!-- house -->\n).*?(\n<!-- /house -->)", re.DOTALL)
    text = between.sub(lambda found: found[1] + house_table(house) + found[2], readme.read_text())
    commands = re.findall(r"(?:.*\\\n)*.*\n", text)  # a line that ends in a backslash goes on in the next
    readme.write_text("".join(command for command in commands if not mentions(command, study, gone)))
    return gone


def mentions(line: str, study: str, gone: list[str]) -> bool:
    """Say whether a line of the README is a command of the study, or of a notebook that went with it."""
    command = modules_named("command").get(study)
    named = [f"envsound {command.NAME}", f"make {command.NAME}"] if command else []
    return any(words in line for words in (*named, *(name for name in gone if name.endswith(".ipynb"))))


def uses(notebook: Path, study: str) -> bool:
    """Say whether a notebook's cells import from a study."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return any(f"envsound.studies.{study}" in "".join(cell["source"]) for cell in cells)


def check(study: str, quick: bool) -> bool:
    """Remove a study in a copy and say whether everything else goes on."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy_repository(folder)
        subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
        print(f"without {study}: {', '.join(remove_study(folder, study))} removed", flush=True)
        python = [sys.executable, "-m"]
        commands = [
            [*python, "ruff", "check", "--quiet", "."],
            [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"],
            [*python, "envsound.book", "--stage-only"],
            [*python, "pytest", "-q", "-p", "no:cacheprovider", *(QUICK if quick else ())],
        ]
        env = os.environ | {"PYTHONPATH": str(folder / "src")}
        env.pop("ENVSOUND_REQUIRE_BROWSER", None)  # the copy has no built book
        passed = True
        for command in commands:
            run = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
            passed &= run.returncode == 0
            last = (run.stdout.strip() or run.stderr.strip()).splitlines()[-1:]
            verdict = "ok" if run.returncode == 0 else "FAILED"
            print(f"  {verdict}: {' '.join(command[1:4])}: {' '.join(last)}", flush=True)
            if run.returncode:
                print(run.stdout[-3000:], run.stderr[-2000:])
        return passed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("studies", nargs="*", help=f"some of {', '.join(study_names())}")
    parser.add_argument("--all", action="store_true", help="every study, one by one")
    parser.add_argument("--quick", action="store_true", help="of the tests, those of house, commands, book and report")
    options = parser.parse_args()
    asked = study_names() if options.all else options.studies
    return int(not all([check(study, options.quick) for study in asked]))


if __name__ == "__main__":
    sys.exit(main())
