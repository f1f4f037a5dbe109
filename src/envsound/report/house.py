"""Where things are, as a table: from the map of the house, house.toml, into the README and the book."""

import tomllib
from pathlib import Path

OPENING, CLOSING = "<!-- made from house.toml -->", "<!-- end of what is made -->"


def house_table(path: str | Path) -> str:
    """Return a Markdown table of the packages in a house.toml, each with its purpose."""
    packages = tomllib.loads(Path(path).read_text(encoding="utf-8"))["packages"]
    rows = [f"| `src/envsound/{name}/` | {entry['purpose']} |" for name, entry in packages.items()]
    return "\n".join(["| folder | what |", "|---|---|", *rows])


def with_house(text: str, path: str | Path) -> str:
    """Return a text with the table of a house.toml between its OPENING and CLOSING lines."""
    before, opening, rest = text.partition(OPENING)
    _, closing, after = rest.partition(CLOSING)
    return f"{before}{opening}\n{house_table(path)}\n{closing}{after}"
