"""The pinned packages: one exact version each, what is depended on is among them, conda gets the same."""

import re
import tomllib
from importlib import metadata
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;]+)( ; .+)?$")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def locked() -> dict[str, str]:
    lines = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if line and line[0] != "#"]
    pins = {canonical(match[1]): match[2] for match in map(PIN.match, lines)}
    assert len(pins) == len(lines), "one exact pin for each package"
    return pins


def test_every_direct_dependency_is_locked_and_installed_as_locked():
    extras = PROJECT["optional-dependencies"]
    apart = ("cluster", "studio", "text")  # which `make setup` does not install, and no lock holds
    assert all(PIN.match(item) for name in apart for item in extras[name])
    groups = (PROJECT["dependencies"], *(own for name, own in extras.items() if name not in apart))
    listed = [item for group in groups for item in group]
    names = {canonical(re.match(r"[A-Za-z0-9._-]+", item)[0]) for item in listed}
    assert len(names) == len(listed) and names <= set(locked())
    for name in ("jupyter-book", "encodec", "papermill", "snakemake", "numpy", "scipy", "pandas"):
        assert metadata.version(name) == locked()[name]


def test_conda_users_get_the_same_pins():
    python, pip, packages = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    assert (python, pip) == (f"python {PROJECT['requires-python']}", "pip")
    pins, *named = packages["pip"]
    assert pins == "-r requirements.lock" and set(named) <= set(locked())


def test_set_up_accepts_the_same_pythons_as_the_package():
    assert PROJECT["requires-python"] == ">=3.11,<3.14"
    assert "(3, 11) <= sys.version_info[:2] < (3, 14)" in (ROOT / "tools" / "set_up.sh").read_text()
