"""What a shipped codec may be trained on: recordings whose own licence allows it, and never the held-out fold."""

import re
from pathlib import Path

import pandas as pd

from envsound.base.errors import InputError

FREE = ("CC0", "CC-BY")
ENTRY = re.compile(
    r"^- \[(?P<stem>[^\]/\\]+)\.\w+\]:.*\((?P<url>https?://\S+)\) by (?P<author>.+) \[(?P<licence>[^\]]+)\]$"
)


def read_licences(path: str | Path) -> pd.DataFrame:
    """Read ESC-50's LICENSE: one row a clip with clip (such as "1-100032-A"), licence, author and url.

    Raises InputError when the file is missing or lists no clip.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error}); expected ESC-50's LICENSE file") from None
    entries = [match.groupdict() for line in lines if (match := ENTRY.match(line.strip()))]
    if not entries:
        raise InputError(f"{path}: lists no clip as '- [1-100032-A.ogg]: clip derived from ... (url) by author [CC0]'")
    return pd.DataFrame(entries).rename(columns={"stem": "clip"})[["clip", "licence", "author", "url"]]


def trainable(table: pd.DataFrame, licences: pd.DataFrame, held_out_fold: int) -> pd.DataFrame:
    """Return the clips a codec may learn from: outside the held-out fold, licence CC BY or CC0.

    table: rows of `Recordings.table`. The result has licence, author and url beside its columns.
    """
    keyed = table.assign(clip=table["filename"].str.replace(r"-\d+\.\w+$", "", regex=True))
    joined = keyed.merge(licences, on="clip", how="left")
    return joined[(joined["fold"] != held_out_fold) & joined["licence"].isin(FREE)].reset_index(drop=True)
