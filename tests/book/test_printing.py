"""The book on paper: pages joined in the order of the contents, links that lead within, and a printer that is there."""

import shutil
import subprocess
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from fakes.browser import unavailable

from envsound.base.errors import InputError
from envsound.book import __main__ as command
from envsound.book import printing

HEAD = '<html><head><link rel="stylesheet" href="_static/study.css"></head><body>'
NAV = '<nav class="bd-links"><a href="#">Home</a><a href="b/two.html#x">2</a><a href="executed/n.html">n</a></nav>'


@pytest.fixture
def book(tmp_path) -> Path:
    """A built book of two pages and a notebook."""
    html = tmp_path / "book" / "_build" / "html"
    (html / "b").mkdir(parents=True)
    first = '<article><h1>One</h1><a href="b/two.html#there">on</a><a href="https://x.org/y">out</a></article>'
    second = (
        '<article><h1 id="there">Two</h1><details><p>folded</p></details><img loading="lazy" src="../_static/p.png">'
        '<a href="../intro.html">back</a><a href="#there">here</a></article>'
    )
    (html / "intro.html").write_text(f"{HEAD}{NAV}{first}</body></html>")
    (html / "b" / "two.html").write_text(f"<html><body>{second}</body></html>")
    return tmp_path / "book"


def test_pages_are_joined_in_order_and_their_links_hold(book):
    html = book / "_build" / "html"
    names = printing.pages(html)
    assert names == ["intro.html", "b/two.html"]
    whole = BeautifulSoup(printing.joined(html, names), "html.parser")
    assert [head.text for head in whole.select("h1")] == ["One", "Two"] and whole.select_one("nav") is None
    assert [link["href"] for link in whole.select("a")] == ["#there", "https://x.org/y", "#page-intro", "#there"]
    image = whole.select_one("img")
    assert image["src"] == "_static/p.png" and not image.has_attr("loading")
    assert whole.select_one("details").has_attr("open") and whole.select_one("#page-b-two")
    assert whole.head.select("link")


def test_it_is_printed(book):
    if not any(map(shutil.which, printing.BROWSERS)):
        unavailable(f"no browser was found (looked for {', '.join(printing.BROWSERS)})")
    assert printing.print_book(book).read_bytes().startswith(b"%PDF")


def test_without_a_browser_or_a_book_it_says_so(book, monkeypatch, capsys):
    monkeypatch.setattr(printing, "BROWSERS", ("no-such-browser",))
    with pytest.raises(InputError, match="no browser to print with; expected one of no-such-browser"):
        printing.print_book(book)
    monkeypatch.setattr(command, "go_to_root", Path)
    assert command.main(["--pdf", "--book", str(book / "none")]) == 1
    assert "build the book first" in capsys.readouterr().err


def test_a_browser_that_fails_is_one_clear_error(book, monkeypatch):
    failing = subprocess.CompletedProcess([], 1, "", "first\ncannot print")
    monkeypatch.setattr(printing, "BROWSERS", ("sh",))
    monkeypatch.setattr(printing.subprocess, "run", lambda *_, **__: failing)
    with pytest.raises(InputError, match=r"could not print .*cannot print"):
        printing.print_book(book)
