"""The built book on paper: its pages joined into one, in the order of the contents, and printed by a headless Chromium.

Boxes are opened; a sound is its spectrogram with a link to the file, as the stylesheet has it for paper.
"""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from bs4 import BeautifulSoup, Tag

from envsound.base.errors import InputError
from envsound.base.files import write_text

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
HOME, JOINED, PDF = "intro.html", "print.html", "envsound.pdf"
PRINT = ("--headless", "--no-sandbox", "--disable-gpu", "--no-pdf-header-footer", "--virtual-time-budget=60000")
LEFT_OUT = "executed/"  # notebooks and lists of clips, which are no reading for paper


def print_book(book_dir: str | Path = "book") -> Path:
    """Print the built book in `book_dir` and return the pdf, _build/envsound.pdf; sounds are links into the html.

    Raises InputError where the book is not built, no Chromium is installed, or it fails.
    """
    html = Path(book_dir).absolute() / "_build" / "html"
    if not (html / HOME).is_file():
        raise InputError(f"{html / HOME}: no such file; build the book first (make book)")
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise InputError(f"no browser to print with; expected one of {', '.join(BROWSERS)} on the path")
    write_text(html / JOINED, joined(html, pages(html)))
    pdf = html.parent / PDF
    command = [browser, *PRINT, f"--print-to-pdf={pdf}", (html / JOINED).as_uri()]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode or not pdf.is_file():
        raise InputError(f"{browser} could not print {html / JOINED}: {result.stderr.strip().splitlines()[-1:]}")
    return pdf


def pages(html: Path) -> list[str]:
    """Return the pages of a built book in the order of its contents, relative to `html`, without executed notebooks."""
    links = _soup(html / HOME).select("nav.bd-links a[href]")
    found = [urlsplit(str(link["href"])).path or HOME for link in links]
    return [name for name in dict.fromkeys([HOME, *found]) if not name.startswith(LEFT_OUT)]


def joined(html: Path, names: Sequence[str]) -> str:
    """Return one page with the articles of several, links between them leading within it; every box is open."""
    whole = _soup(html / HOME)
    body = whole.new_tag("main", attrs={"class": "bd-content paper"})
    for name in names:
        article = _soup(html / name).select_one("article")
        if article is None:
            raise InputError(f"{html / name}: no article in it, expected a page of the book")
        _rebase(article, name, set(names))
        article["id"] = _anchor(name)
        for box in article.select("details"):
            box["open"] = ""
        body.append(article)
    whole.body.clear()
    whole.body.append(body)
    return str(whole)


def _rebase(article: Tag, name: str, known: set[str]) -> None:
    """Make the links of a page's article hold in the folder of the home page; those to other pages become anchors."""
    for tag in article.select("[href], [src]"):
        kind = "href" if tag.has_attr("href") else "src"
        target = urlsplit(str(tag[kind]))
        if target.scheme or not target.path:
            continue
        path = os.path.normpath(os.path.join(os.path.dirname(name), target.path))
        tag[kind] = f"#{target.fragment or _anchor(path)}" if path in known else path
    for image in article.select("img[loading]"):
        del image["loading"]  # paper does not scroll


def _anchor(name: str) -> str:
    return "page-" + name.removesuffix(".html").replace("/", "-")


def _soup(path: Path) -> BeautifulSoup:
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
