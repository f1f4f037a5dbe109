"""A notebook executed as the kernel would, without starting one."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def run_cells(notebook: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    """Execute the code cells of a notebook and return its names; `given` replaces what stands after its parameters."""
    scope: dict[str, Any] = {}
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] != "code":
            continue
        exec("".join(cell["source"]), scope)
        if "parameters" in cell["metadata"].get("tags", []):
            scope |= given
    return scope
