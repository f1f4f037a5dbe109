"""Audio players that link to a file instead of carrying it inside the page, and say whose recording it is."""

import html
import os
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

import pandas as pd

from envsound.base.paths import material_folder
from envsound.base.text import printable
from envsound.data.licences import ATTRIBUTION, licence_key, read_licences

DEEDS = {  # of licences as attribution.csv names them: name and address
    "CC0": ("CC0", "https://creativecommons.org/publicdomain/zero/1.0/"),
    "CC-BY": ("CC BY", "https://creativecommons.org/licenses/by/3.0/"),
}
ALONE = """body { font: 16px/1.5 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem; }
figure { margin: 0; } small { color: #555; }"""  # of a page that stands alone


def credit(clip: str) -> str:
    """Return title, author and licence of a recording that ships as HTML with links; "" for any other sound.

    clip: its clip_id, such as "1-100032-A-0", that of an altered copy, such as "1-100032-A-0+2", or the file's name.
    """
    stem = Path(clip).stem.partition("+")[0]
    return _credits(material_folder().absolute()).get(licence_key(f"{stem}.ogg"), "")


@cache
def _credits(folder: Path) -> dict[str, str]:
    """Return the credit of each clip that a folder's attribution.csv lists; none without that file."""
    rows = read_licences(folder).to_dict("records") if (folder / ATTRIBUTION).is_file() else []
    return {row["clip"]: _credit(row) for row in rows if row["licence"] in DEEDS}


def _credit(row: dict[str, str]) -> str:
    title, author, source = (html.escape(row[name]) for name in ("title", "author", "url"))
    name, address = DEEDS[row["licence"]]
    return f'<small><a href="{source}">{title}</a> by {author}, <a href="{address}">{name}</a></small>'


def player(path: str | Path, label: str = "", relative_to: str | Path | None = None, clip: str = "") -> str:
    """Return an HTML audio player for the file at `path`.

    The file is linked, not embedded: sixty embedded clips make a page of 19 MB. `relative_to` is the folder of
    the page that will show the player; without it the link is the path as given. clip: the recording that is played,
    whose `credit` is added to the caption.
    """
    source = str(path) if relative_to is None else Path(os.path.relpath(path, relative_to)).as_posix()
    words = "<br>".join(part for part in (html.escape(printable(label)), credit(clip) if clip else "") if part)
    caption = f"<figcaption>{words}</figcaption>" if words else ""
    audio = f'<audio controls preload="none" src="{html.escape(source, quote=True)}"></audio>'
    return f'<figure class="player">{caption}{audio}</figure>'


def html_page(title: str, style: str, lines: Iterable[str]) -> str:
    """Return an HTML page that stands alone: its title, which is escaped, as heading, and the lines of its body."""
    words = html.escape(title)
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{words}</title>'
    head += f"<style>{ALONE}\n{style}</style>"
    start = [f'<!doctype html>\n<html lang="en"><head>{head}</head>', f"<body><h1>{words}</h1>"]
    return "\n".join([*start, *lines, "</body></html>"]) + "\n"


def sample_players(samples: pd.DataFrame, folder: str | Path, per_category: int = 1) -> str:
    """Return HTML players of the first clips of each class in samples.csv, linked from the notebooks folder."""
    shown = samples.groupby("category", sort=True).head(per_category)
    players = [player(Path(folder) / row.filename, row.category or row.filename, "notebooks")
               for row in shown.itertuples()]  # fmt: skip
    return f'<div class="players">{"".join(players)}</div>'


def players_by(
    rows: pd.DataFrame, folder: str | Path, heading: str, label: str, relative_to: str | Path = "notebooks/studies"
) -> str:
    """Return HTML players of the files in column filename, labelled by column `label`, below headings of another."""
    parts = []
    for title, group in rows.groupby(heading, sort=False):
        found = (player(Path(folder) / row["filename"], row[label], relative_to) for row in group.to_dict("records"))
        parts.append(f'<h4>{html.escape(title)}</h4><div class="players">{"".join(found)}</div>')
    return "".join(parts)


def example_table(examples: pd.DataFrame, play: Callable[[str, str], str]) -> list[str]:
    """Return lines of an HTML table of examples.csv, a clip a row: as recorded, through a codec, through Opus.

    play: returns what is shown for the name of a file and its label. The recording's `credit` stands below it.
    """
    examples = examples.fillna(dict.fromkeys(("original", "codec", "opus"), ""))  # a column without a file is numbers
    first = examples.iloc[0]
    rates = f"{first['codec_name']}, {first['codec_kbps']:g} kbit/s", f"Opus, {first['opus_kbps']:g} kbit/s"
    looks = {"original": ("real", "Original"), "codec": ("codec", rates[0]), "opus": ("ink", rates[1])}
    heads = [f'<th style="color: var(--es-{colour})">{html.escape(words)}</th>' for colour, words in looks.values()]
    lines = [f'<table class="sounds"><thead><tr>{"".join(heads)}</tr></thead><tbody>']
    for row in examples.to_dict("records"):
        label = f"{row['category'].replace('_', ' ')} · {row['clip']}"
        absent = '<em class="absent">Opus was not installed</em>'
        cells = [play(row[kind], label) if row[kind] else absent for kind in looks]
        cells[0] += credit(str(row["clip"]))
        lines.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    return [*lines, "</tbody></table>"]


def example_players(examples: pd.DataFrame, folder: str | Path, relative_to: str | Path = "notebooks") -> str:
    """Return the HTML of `example_table` for a notebook in `relative_to`, with players of the sounds in `folder`."""
    if examples.empty:
        return "<p>No examples were asked for.</p>"
    return "".join(example_table(examples, lambda name, label: player(Path(folder) / name, label, relative_to)))


def pair_players(pairs: pd.DataFrame, folder: str | Path, relative_to: str | Path = "notebooks") -> str:
    """Return an HTML table of players for the pairs of `memorisation.write_pairs`, for a page in `relative_to`."""
    if pairs.empty:
        return "<p>There is no pair to hear.</p>"
    head = "".join(f"<th>{words}</th>" for words in ("space", "rank", "clip", "nearest training clip", "distance"))
    rows = []
    for row in pairs.to_dict("records"):
        labels = {"clip_file": row["category"] or row["clip"]}
        labels["nearest_file"] = row["nearest_category"] or row["nearest"]
        sounds = [
            player(Path(folder) / row[name], str(label), relative_to, str(row[name.removesuffix("_file")]))
            for name, label in labels.items()
        ]
        cells = [html.escape(str(row["space"])), int(row["rank"]), *sounds, f"{row['distance']:.3g}"]
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    return f'<table class="sounds"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'
