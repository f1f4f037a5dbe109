"""The pinned packages: reading requirements.lock and writing environment.yml, its twin for conda."""

import tomllib
from pathlib import Path

HEADER = """\
# The pins of requirements.lock for users of conda; written by `make lock`, kept equal by a test.
#   conda env create -f environment.yml && conda activate envsound && pip install --no-deps -e .
name: envsound
channels:
  - conda-forge
dependencies:
"""


def read_pins(lock: str | Path) -> list[str]:
    """Return the requirements of a lock file in its order, without comments and blank lines."""
    lines = (line.strip() for line in Path(lock).read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def environment_text(pins: list[str], python: str) -> str:
    """Return an environment.yml that asks conda for Python (a range: ">=3.11,<3.14") and pip for `pins`."""
    lines = [f'  - "python {python}"', "  - pip", "  - pip:", *(f'      - "{pin}"' for pin in pins)]
    return HEADER + "\n".join(lines) + "\n"


def write_environment(root: str | Path = ".") -> Path:
    """Write `root`/environment.yml from its requirements.lock and the Python range in pyproject.toml."""
    root = Path(root)
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    path = root / "environment.yml"
    pins = read_pins(root / "requirements.lock")
    path.write_text(environment_text(pins, project["requires-python"]), encoding="utf-8")
    return path


if __name__ == "__main__":
    print(f"{write_environment()} written")
