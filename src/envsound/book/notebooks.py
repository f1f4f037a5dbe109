"""Executed notebooks as pages of the book: sounds and pictures linked, local links that lead nowhere unlinked."""

import re
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import nbformat

from envsound.base.errors import InputError
from envsound.base.files import write_text
from envsound.base.text import slug
from envsound.report.assets import Assets

MEDIA = re.compile(r"""(<(?:audio|img|source)\b[^>]*?\bsrc=)(["'])(.*?)\2""", re.IGNORECASE | re.DOTALL)
AUDIO_TAG = re.compile(r"<audio\b[^>]*?\bsrc=([\"'])(.*?)\1[^>]*>(?:.*?</audio>)?", re.IGNORECASE | re.DOTALL)
MARKDOWN_LINK = re.compile(r"(!?)\[([^\]\n]*)\]\(([^()\s]+)\)")
TITLE = re.compile(r"^# +(.+)$", re.MULTILINE)


class NotebookStager:
    """Rewrites the notebooks of one run for the book.

    `bases` are the folders a link may be relative to, tried in order (a notebook ran in the repository root).
    """

    def __init__(self, assets: Assets, label: str, bases: list[Path]) -> None:
        self.assets, self.label, self.bases = assets, label, bases
        self.siblings: set[str] = set()

    def stage(self, notebooks: list[Path], folder: Path, caption: str, suffix: str) -> list[Path]:
        """Write the notebooks into `folder`, in order, and return the new paths.

        `caption` goes below each title, `suffix` behind it. Raises InputError for a file that is no notebook.
        """
        self.siblings = {path.name for path in notebooks}
        staged = []
        for path in notebooks:
            target = folder / slug(path.name)
            notebook = self.rewrite(read_notebook(path), target)
            title = title_cell(notebook, path)
            title.source = TITLE.sub(lambda match: f"{match[0].rstrip()}{suffix}\n\n{caption}", title.source, count=1)
            write_text(target, nbformat.writes(notebook))
            staged.append(target)
        return staged

    def rewrite(self, notebook: nbformat.NotebookNode, page: Path) -> nbformat.NotebookNode:
        """Return the notebook as the page `page`: media linked, dead links as plain text, imports folded away."""
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                cell.source = self.markdown(cell.source, page)
            if cell.cell_type == "code" and is_imports(cell.source):
                cell.metadata["tags"] = [*cell.metadata.get("tags", []), "hide-input"]
            for output in cell.get("outputs", []):
                self._rewrite_data(output.get("data", {}), page)
            if any("image/png" in output.get("data", {}) for output in cell.get("outputs", [])):
                image = {"alt": described(notebook.cells, cell)}  # else it would be the hash that names the picture
                cell.metadata["mystnb"] = {"image": image} | cell.metadata.get("mystnb", {})
        return notebook

    def _rewrite_data(self, data: dict[str, Any], page: Path) -> None:
        for kind, convert in (("text/html", self.html), ("text/markdown", self.markdown)):
            if kind in data:
                text = data[kind] if isinstance(data[kind], str) else "".join(data[kind])
                data[kind] = convert(text, page)

    def html(self, text: str, page: Path) -> str:
        """Return HTML with local sounds and pictures copied and linked; a missing sound says so in words."""

        def without_missing(match: re.Match[str]) -> str:
            if is_elsewhere(match[2]) or self._find(match[2]) is not None:
                return match[0]
            return f'<em class="absent">not here: {Path(urlsplit(match[2]).path).name}</em>'

        def linked(match: re.Match[str]) -> str:
            """Return a source that the book holds; what is elsewhere or not here stays as it is."""
            found = None if is_elsewhere(match[3]) else self._find(match[3])
            return match[0] if found is None else f'{match[1]}"{self.assets.link(found, self.label, page)}"'

        return MEDIA.sub(linked, AUDIO_TAG.sub(without_missing, text))

    def markdown(self, text: str, page: Path) -> str:
        """Return Markdown with media linked as in `html`, and links that leave the book as plain text."""

        def linked(match: re.Match[str]) -> str:
            """Return a link to a page or picture of the book, or its words."""
            picture, words, target = match.groups()
            if is_elsewhere(target):
                return match[0]
            if picture:
                found = self._find(target)
                link = found and self.assets.link(found, self.label, page)
                return f"![{words}]({link})" if link else f"*{words or target}*"
            name = Path(urlsplit(target).path).name
            return f"[{words}]({slug(name)})" if name in self.siblings else words

        return self.html(MARKDOWN_LINK.sub(linked, text), page)

    def _find(self, link: str) -> Path | None:
        name = unquote(urlsplit(unescape(link)).path)
        candidates = [Path(name)] if Path(name).is_absolute() else [base / name for base in self.bases]
        return next((path for path in candidates if self.assets.permits(path)), None)


def read_notebook(path: Path) -> nbformat.NotebookNode:
    """Read a notebook. Raises InputError naming the file when it is not one."""
    try:
        return nbformat.read(path, as_version=4)
    except Exception as error:
        raise InputError(f"{path}: not a Jupyter notebook ({type(error).__name__}), expected an executed one") from None


def described(cells: list[nbformat.NotebookNode], shown: nbformat.NotebookNode) -> str:
    """Return words for the picture a cell shows: the first sentence in italics below it, else the heading above it."""
    place = cells.index(shown)
    below = cells[place + 1].source if place + 1 < len(cells) and cells[place + 1].cell_type == "markdown" else ""
    if below.startswith("*") and (found := re.match(r"\*([^*]+)\*", below)):
        return " ".join(found[1].split())
    above = [line.lstrip("# ") for cell in cells[:place] if cell.cell_type == "markdown"
             for line in cell.source.splitlines() if line.startswith("#")]  # fmt: skip
    return f"Figure: {above[-1]}" if above else "Figure"


def is_elsewhere(link: str) -> bool:
    """Say whether a link leaves the disk or the page's file: http, mailto, data, or an anchor."""
    return bool(urlsplit(link).scheme) or link.startswith(("#", "//"))


def is_imports(source: str) -> bool:
    """Say whether a code cell only imports, or goes to the repository root."""
    lines = [line.strip() for line in source.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    within = re.compile(r"^(import |from |go_to_root\(\)|\)$|[\w, ]+,?$)")
    return any(line.startswith(("import ", "from ")) for line in lines) and all(map(within.match, lines))


def title_cell(notebook: nbformat.NotebookNode, path: Path) -> nbformat.NotebookNode:
    """Return the cell with the title; the name of the file becomes one where there is none."""
    titled = [cell for cell in notebook.cells if cell.cell_type == "markdown" and TITLE.search(cell.source)]
    if not titled:
        titled = [nbformat.v4.new_markdown_cell(f"# {path.stem}")]
        notebook.cells.insert(0, titled[0])
    return titled[0]


def title_of(path: Path) -> str:
    """Return a notebook's title."""
    return TITLE.search(title_cell(read_notebook(path), path).source)[1]
