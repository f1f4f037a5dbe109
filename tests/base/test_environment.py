import re
import tomllib
from importlib import metadata
from pathlib import Path

import yaml

from envsound.base.environment import environment_text, read_pins

ROOT = Path(__file__).parents[2]
PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;]+)( ; .+)?$")


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def locked() -> dict[str, str]:
    matches = [PIN.match(pin) for pin in read_pins(ROOT / "requirements.lock")]
    assert all(matches), "every line of the lock is an exact pin"
    return {canonical(match[1]): match[2] for match in matches}


def test_lock_has_one_pin_per_package():
    assert len(locked()) == len(read_pins(ROOT / "requirements.lock"))


def test_lock_holds_the_versions_the_study_depends_on():
    pins = locked()
    assert pins["torch"] == "2.13.0"
    assert pins["jupyter-book"] == "1.0.4.post1"
    assert pins["encodec"] == "0.1.1"


def test_every_direct_dependency_is_locked():
    groups = [project()["dependencies"], *project()["optional-dependencies"].values()]
    listed = [item for group in groups for item in group]
    names = {canonical(re.match(r"[A-Za-z0-9._-]+", item)[0]) for item in listed}
    assert len(names) == len(listed)
    assert names <= set(locked())


def test_conda_users_get_the_same_pins():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    python, pip, packages = environment["dependencies"]
    assert python == f"python {project()['requires-python']}"
    assert pip == "pip"
    assert packages["pip"] == read_pins(ROOT / "requirements.lock")


def test_environment_text_is_what_the_file_holds():
    text = environment_text(read_pins(ROOT / "requirements.lock"), project()["requires-python"])
    assert text == (ROOT / "environment.yml").read_text()


def test_read_pins_leaves_out_comments_and_blank_lines(tmp_path):
    (tmp_path / "lock").write_text("# why\n\n a==1 ; sys_platform == 'darwin'\nb==2\n")
    assert read_pins(tmp_path / "lock") == ["a==1 ; sys_platform == 'darwin'", "b==2"]


def test_set_up_accepts_the_same_pythons_as_the_package():
    assert project()["requires-python"] == ">=3.11,<3.14"
    assert "(3, 11) <= sys.version_info[:2] < (3, 14)" in (ROOT / "tools" / "set_up.sh").read_text()


def test_direct_dependencies_are_installed_as_locked():
    for name in ("jupyter-book", "encodec", "papermill", "snakemake", "numpy", "scipy", "pandas"):
        assert metadata.version(name) == locked()[name]
