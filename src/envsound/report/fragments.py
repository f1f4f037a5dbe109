"""Pieces of Markdown that pages of the book include: figures, origins, boxes. Torch is not needed to write them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pandas as pd

from envsound.base.files import write_text
from envsound.base.text import NO_NUMBER, markdown_table, wide
from envsound.report.assets import Assets
from envsound.report.cards import Heard
from envsound.run.publish import ReportKind

if TYPE_CHECKING:
    from envsound.report.runs import Run

SYSTEM_WORDS = {  # what a comparison shows beside a model, as tables and figures call it, in their order
    "real": "real",
    "real_other": "floor: other real clips",
    "codec": "ceiling: codec",
    "generated": "model",
    "copy": "copied clip",
    "shuffled": "frames shuffled",
    "bigram": "bigram",
    "unigram": "unigram",
    "noise": "white noise",
}


@dataclass(frozen=True)
class Staging:
    """What a page is staged from and into.

    published: data/published; book_dir: the sources of the book; runs: the reader's own runs, which the book shows.
    """

    published: Path
    book_dir: Path
    assets: Assets
    runs: Sequence["Run"] = field(default=())

    def write(self, name: str, lines: Iterable[str]) -> None:
        """Write a fragment, `executed/<name>`, such as "speed/bench.txt", which a page includes."""
        write_text(self.book_dir / "executed" / name, "\n".join(lines) + "\n")

    def figure(self, path: str | Path, words: str, page: str, group: str) -> list[str]:
        """Return the directive of a figure for `page`, such as "studies/speed.md"; none where there is no such file."""
        link = self.assets.link(path, group, self.book_dir / page)
        return figure(link, words) if link else []

    def table(self, rows: Sequence[Mapping[str, str]], source: Path, page: str, kind: str = "") -> list[str]:
        """Return a table for `page` with a link to the csv it was made from; none for no rows. kind: see `wide`."""
        return [*table_of(rows, kind), *self.downloads([source], page)] if rows else []

    def downloads(self, sources: Iterable[Path], page: str) -> list[str]:
        """Return links to copies of some csv files for `page`; none where none of them is there."""
        place = self.book_dir / page
        links = {source.name: self.assets.link(source, f"tables-{source.parent.name}", place) for source in sources}
        found = [f'<a href="{link}" download>{name}</a>' for name, link in links.items() if link]
        return raw_html([f'<p class="csv">{", ".join(found)}</p>']) if found else []


class StudyPage(Protocol):
    """The module `page` of a study: what of it is published, and how its page is made from that.

    REPORTS: the kinds of report that go to data/published; `facts` are substitutions for its prose, by name.
    """

    REPORTS: tuple[ReportKind, ...]

    def stage(self, book: Staging) -> None: ...

    def facts(self, published: Path) -> Mapping[str, Any]: ...


def figure(link: str, words: str) -> list[str]:
    """Return a figure with `words` below it and for those who do not see it."""
    return [f"```{{figure}} {link}", f":alt: {words}", ":width: 100%", "", words, "```", ""]


def raw_html(lines: Iterable[str]) -> list[str]:
    """Return lines of HTML that Markdown leaves as they are."""
    return ["```{raw} html", *lines, "```", ""]


def sound_row(book: Staging, sounds: Iterable[Heard], page: str) -> list[str]:
    """Return the cards of some sounds side by side, for `page`; none where none of them is on this machine."""
    cards = [book.assets.card(heard, "sounds", book.book_dir / page) for heard in sounds]
    there = [card for card in cards if card]
    return raw_html(['<div class="sound-row">', *there, "</div>"]) if there else []


def table_of(rows: Sequence[Mapping[str, str]], kind: str = "") -> list[str]:
    """Return a table from its rows, each by the headings of its columns; none for none. kind: see `wide`."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    body = [[row.get(name, NO_NUMBER) for name in names] for row in rows]
    return wide(markdown_table(names, body), kind) if rows else []


def with_interval(row: Mapping[str, Any], name: str, form: str) -> str:
    """Return a number of a row with its 95% interval, "–" where there is none."""
    if pd.isna(row[name]):
        return NO_NUMBER
    low, high = (row.get(f"{name}_{end}", row.get(end)) for end in ("low", "high"))
    ends = "" if pd.isna(low) or pd.isna(high) else f" ({form.format(low)} to {form.format(high)})"
    return form.format(row[name]) + ends


def field_list(fields: Mapping[str, Any]) -> list[str]:
    """Return where a result comes from as a field list; what is None is left out."""
    return [*(f":{name}: {value}" for name, value in fields.items() if value is not None), ""]


def box(title: str, text: str) -> list[str]:
    """Return an admonition."""
    return [f":::{{admonition}} {title}", text, ":::", ""]


def not_published(what: str) -> list[str]:
    """Return the box of a page whose results this copy of the repository lacks; `what` such as "measurement"."""
    text = f"This copy of the repository holds no {what}. The commands at the end of this page make one."
    return box("Nothing published yet", text)
