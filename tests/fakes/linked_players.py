"""Which sounds a page of the book plays."""

import os
import re
from pathlib import Path


def players(page: Path) -> list[Path]:
    """Return the files that the players of a page, Markdown or notebook, link to."""
    text = page.read_text(encoding="utf-8").replace('\\"', '"')
    links = re.findall(r'<audio[^>]* src="([^"]+)"', text)
    return [Path(os.path.normpath(page.parent / link)) for link in links]
