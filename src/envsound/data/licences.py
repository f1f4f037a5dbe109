"""Whose recordings they are and what each one's own licence allows."""

import re
from pathlib import Path

import pandas as pd

from envsound.base.errors import InputError
from envsound.base.files import read_csv

FREE = ("CC0", "CC-BY")
ATTRIBUTION = "attribution.csv"
COLUMNS = ["clip", "title", "author", "url", "licence"]
ENTRY = re.compile(
    r"^- \[(?P<clip>[^\]/\\]+)\.\w+\]:\s*clip derived from (?P<title>.+) "
    r"\((?P<url>https?://\S+)\) by (?P<author>.+) \[(?P<licence>[^\]]+)\]$"
)


def read_licences(folder: str | Path) -> pd.DataFrame:
    """Read who made each clip of a folder: clip (such as "1-100032-A"), title, author, url (of the source), licence.

    From attribution.csv, which data/material has, or else from ESC-50's LICENSE.
    Raises InputError when neither is there or the one found lists no clip.
    """
    table = Path(folder) / ATTRIBUTION
    if table.is_file():
        listed = read_csv(table)
        if missing := [name for name in COLUMNS if name not in listed]:
            raise InputError(f"{table}: lacks the column {missing[0]}; expected {', '.join(COLUMNS)}")
        return listed[COLUMNS].astype(str)
    return _read_esc50_licence(Path(folder) / "LICENSE")


def _read_esc50_licence(path: Path) -> pd.DataFrame:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error}); expected ESC-50's LICENSE file, or {ATTRIBUTION} beside it"
        ) from None
    entries = [match.groupdict() for line in lines if (match := ENTRY.match(line.strip()))]
    if not entries:
        raise InputError(f"{path}: lists no clip as '- [1-100032-A.ogg]: clip derived from ... (url) by author [CC0]'")
    return pd.DataFrame(entries)[COLUMNS]


def free_clips(table: pd.DataFrame, licences: pd.DataFrame) -> pd.DataFrame:
    """Return the clips that may be passed on and learnt from: those whose own licence is CC BY or CC0.

    table: rows of `Recordings.table`; licences: of `read_licences`, whose columns the result has beside its own.
    """
    joined = table.assign(clip=table["filename"].map(licence_key)).merge(licences, on="clip", how="left")
    return joined[joined["licence"].isin(FREE)].reset_index(drop=True)


def trainable(table: pd.DataFrame, licences: pd.DataFrame, held_out_fold: int) -> pd.DataFrame:
    """Return the clips that what ships may learn from: the `free_clips` outside the held-out fold."""
    return free_clips(table[table["fold"] != held_out_fold], licences)


def licence_key(filename: str) -> str:
    """Return the name under which licences list a file of ESC-50: "1-100032-A" of "1-100032-A-0.ogg"."""
    return re.sub(r"-\d+\.\w+$", "", filename)
