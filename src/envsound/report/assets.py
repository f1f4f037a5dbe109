"""Copies sounds, pictures and tables a page shows into the book, from allowed folders only, and links them
relatively.
"""

import hashlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from envsound.base.text import slug
from envsound.report.cards import Heard, card, draw_spectrogram
from envsound.report.players import player

AUDIO = {".wav", ".ogg", ".flac", ".mp3"}
PICTURES = {".png", ".jpg", ".jpeg", ".svg", ".gif"}
TABLES = {".csv"}


class Assets:
    """The files a book shows besides its text.

    `book_dir` is the book's source folder; files are taken from inside `allowed` folders and nowhere else.
    """

    def __init__(self, book_dir: str | Path, allowed: Iterable[str | Path]) -> None:
        self.book_dir = Path(book_dir)
        self.allowed = [Path(os.path.abspath(folder)) for folder in allowed if str(folder)]
        self.copied: dict[Path, Path] = {}

    def clear(self) -> None:
        """Remove what an earlier build copied."""
        for name in ("audio", "generated"):
            shutil.rmtree(self.book_dir / "_static" / name, ignore_errors=True)

    def permits(self, path: str | Path) -> bool:
        """Say whether `path` is a sound, picture or table that exists inside an allowed folder (`..` is resolved
        first).
        """
        path = Path(os.path.abspath(path))
        known = path.suffix.lower() in AUDIO | PICTURES | TABLES
        return known and path.is_file() and any(path.is_relative_to(folder) for folder in self.allowed)

    def add(self, path: str | Path, group: str) -> Path | None:
        """Copy a file into the book's static folder under `group`; None when it is not there or not
        permitted.

        Two files of one name from different folders stay apart.
        """
        if not self.permits(path):
            return None
        source = Path(os.path.abspath(path))
        if source not in self.copied:
            kind = "audio" if source.suffix.lower() in AUDIO else "generated"
            mark = hashlib.sha256(str(source.parent).encode()).hexdigest()[:6]
            name = f"{mark}-{slug(source.stem)[:100]}{source.suffix}"
            target = self.book_dir / "_static" / kind / slug(group)[:100] / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
            self.copied[source] = target
        return self.copied[source]

    def link(self, path: str | Path, group: str, page: str | Path) -> str | None:
        """Copy a file and return its link relative to the folder of `page` (a file in the book); None as in
        `add`.
        """
        target = self.add(path, group)
        return None if target is None else Path(os.path.relpath(target, Path(page).parent)).as_posix()

    def player(self, path: str | Path, group: str, page: str | Path, label: str = "", clip: str = "") -> str | None:
        """Copy a sound and return an audio `player` for `page` that links to it; None as in `add`.

        clip: the recording that is played, whose credit stands below the label.
        """
        link = self.link(path, group, page)
        return None if link is None else player(link, label, clip=clip)

    def card(self, heard: Heard, group: str, page: str | Path) -> str | None:
        """Copy a sound, draw its spectrogram, and return a `card` for `page` that links to both; None as in `add`."""
        sound = self.add(heard.path, group)
        if sound is None:
            return None
        picture = self.book_dir / "_static" / "generated" / slug(group) / f"{sound.stem}.png"
        if not picture.is_file():
            picture.parent.mkdir(parents=True, exist_ok=True)
            draw_spectrogram(sound, picture)
        links = (Path(os.path.relpath(path, Path(page).parent)).as_posix() for path in (sound, picture))
        return card(heard, *links)
