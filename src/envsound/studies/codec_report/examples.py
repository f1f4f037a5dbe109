"""Held-out clips to be heard: as recorded, through a codec, and through Opus at the nearest rate."""

from pathlib import Path

import pandas as pd

from envsound.base.errors import InputError
from envsound.base.files import write_csv, write_wav
from envsound.codec.base import Codec
from envsound.codec.opus import opus_available, through_opus
from envsound.codec.systems import through_codec
from envsound.codec.usage import bitrate
from envsound.data.recordings import Recordings
from envsound.report.players import player

KINDS = ("original", "codec", "opus")
LOWEST_OPUS = 6  # kbit/s
EXAMPLE_COLUMNS = ["clip", "category", *KINDS, "codec_name", "codec_kbps", "opus_kbps"]


def opus_kbps(codec: Codec) -> int:
    """Return the rate, kbit/s, at which Opus comes nearest to a codec's own; Opus goes no lower than 6."""
    return max(LOWEST_OPUS, round(bitrate(codec) / 1000))


def write_examples(
    codec: Codec, name: str, recordings: Recordings, held_out: pd.DataFrame, folder: str | Path, n_examples: int
) -> pd.DataFrame:
    """Write held-out clips as original, through the codec, and through Opus; return and write `examples.csv`.

    The first clip of every class, then the second, and so on: nothing is picked by ear. Columns: clip, category,
    original, codec, opus (names of 16-bit wav files in `folder`; opus "" where Opus is not installed), codec_name
    (`name`), codec_kbps, opus_kbps. Older examples in `folder` are removed. Raises InputError for n_examples below 0.
    """
    if n_examples < 0:
        raise InputError(f"n_examples={n_examples}: expected 0 or more")
    folder, kbps, rows = Path(folder), opus_kbps(codec), []
    for old in folder.glob("*.wav"):
        old.unlink()
    turn = held_out.groupby("category").cumcount().sort_values(kind="stable")
    for row in held_out.loc[turn.index[:n_examples]].itertuples():
        clip = recordings.load(row.clip_id)
        sounds = {"original": clip, "codec": through_codec(clip, codec)}
        if opus_available():
            sounds["opus"] = through_opus(clip, codec.sample_rate, kbps)
        names = {kind: f"{row.clip_id.replace('/', '_')}_{kind}.wav" for kind in sounds}
        for kind, sound in sounds.items():
            write_wav(folder / names[kind], sound, codec.sample_rate)
        rates = {"codec_name": name, "codec_kbps": bitrate(codec) / 1000, "opus_kbps": kbps}
        rows.append({"clip": row.clip_id, "category": row.category, "opus": "", **names, **rates})
    examples = pd.DataFrame(rows, columns=EXAMPLE_COLUMNS)
    write_csv(folder / "examples.csv", examples)
    return examples


def example_headings(examples: pd.DataFrame) -> dict[str, str]:
    """Return the heading of each kind of example, such as "opus" -> "Opus, 6 kbit/s"."""
    if examples.empty:
        return {}
    first = examples.iloc[0]
    own = f"{first['codec_name']}, {first['codec_kbps']:g} kbit/s"
    return {"original": "Original", "codec": own, "opus": f"Opus, {first['opus_kbps']:g} kbit/s"}


def example_players(examples: pd.DataFrame, folder: str | Path, relative_to: str | Path = "notebooks") -> str:
    """Return an HTML table of linked players, a clip a row, for a page in the folder `relative_to`."""
    if examples.empty:
        return "<p>No examples were asked for.</p>"
    head = "".join(f"<th>{words}</th>" for words in example_headings(examples).values())
    rows = []
    for row in examples.itertuples():
        label = f"{row.category.replace('_', ' ')} ({row.clip})"
        files = (row.original, row.codec, row.opus)
        cells = [player(Path(folder) / name, label, relative_to) if name else "not installed" for name in files]
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    return f'<table class="sounds"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'
