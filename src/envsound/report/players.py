"""Audio players that link to a file instead of carrying it inside the page."""

import html
import os
from pathlib import Path

import pandas as pd


def player(path: str | Path, label: str = "", relative_to: str | Path | None = None) -> str:
    """Return an HTML audio player for the file at `path`.

    The file is linked, not embedded: sixty embedded clips make a page of 19 MB. `relative_to` is the folder of
    the page that will show the player; without it the link is the path as given.
    """
    source = str(path) if relative_to is None else Path(os.path.relpath(path, relative_to)).as_posix()
    caption = f"<figcaption>{html.escape(label)}</figcaption>" if label else ""
    audio = f'<audio controls preload="none" src="{html.escape(source, quote=True)}"></audio>'
    return f'<figure class="player">{caption}{audio}</figure>'


def sample_players(samples: pd.DataFrame, folder: str | Path, per_category: int = 1) -> str:
    """Return HTML players of the first clips of each class in samples.csv, linked from the notebooks folder."""
    shown = samples.groupby("category", sort=True).head(per_category)
    players = [player(Path(folder) / row.filename, row.category or row.filename, "notebooks")
               for row in shown.itertuples()]  # fmt: skip
    return f'<div class="players">{"".join(players)}</div>'
