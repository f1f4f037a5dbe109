"""Where things are, as a table: from the map of the house, house.toml, for the book and the README."""

import tomllib
from pathlib import Path


def house_table(path: str | Path) -> str:
    """Return a Markdown table of the packages in a house.toml, each with its purpose."""
    packages = tomllib.loads(Path(path).read_text(encoding="utf-8"))["packages"]
    rows = [f"| `src/envsound/{name}/` | {entry['purpose']} |" for name, entry in packages.items()]
    return "\n".join(["| folder | what |", "|:--|:--|", *rows])
