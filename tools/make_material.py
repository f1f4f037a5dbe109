"""Make data/material: the free clips of ESC-10 as 24 kHz mono Ogg Vorbis, with the author of each.

    python tools/make_material.py /data/ESC-50 data/material

The first folder is ESC-50 with its LICENSE, at 44.1 kHz; the second must not exist yet.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import pandas as pd
import soundfile

from envsound.base.errors import InputError
from envsound.base.files import write_csv, write_text
from envsound.base.text import markdown_table
from envsound.data.audio import SAMPLE_RATE
from envsound.data.licences import ATTRIBUTION, COLUMNS, free_clips, read_licences
from envsound.data.listing import ESC50_COLUMNS
from envsound.data.recordings import Recordings, load_recordings

CLIP_SECONDS = 5.0
COMPRESSION = 0.62  # of libsndfile, 0 to 1: one minus Vorbis' quality, about 48 kbit/s here

README = """# The recordings that ship

{n} clips of environmental sound in ten classes, in ESC-50's layout (`meta/esc50.csv`, `audio/`), {megabytes:.1f} MB:
all clips of ESC-10 whose own licence is free. With them the study runs offline, on real sound.

- **From**: ESC-50 (K. J. Piczak, "ESC: Dataset for Environmental Sound Classification", ACM Multimedia 2015,
  <https://github.com/karolpiczak/ESC-50>), its subset ESC-10: 40 clips a class in five folds. Its clips were cut from
  recordings on freesound.org.
- **Licence**: each clip's own, as ESC-50's LICENSE has it: {n_cc0} are CC0
  (<https://creativecommons.org/publicdomain/zero/1.0/>), {n_by} are CC BY
  (<https://creativecommons.org/licenses/by/3.0/>). `attribution.csv` names title, author, source and licence of each;
  keep it with the clips. The MIT licence of this repository does not cover them.
- **Changed**: channels averaged, cut to {seconds:g} s where longer, resampled to {rate} Hz (soxr, HQ), encoded as
  Ogg Vorbis. Nothing else: no level, no silence.
- **Not here**: {missing}, whose licence (CC Sampling+) is not free.

{counts}

Made by `python tools/make_material.py <folder of ESC-50> data/material`, from ESC-50's clips at 44.1 kHz. Made again
they sound the same to the bit, though the files differ: an Ogg stream has a random number.
"""


def make_material(source: str | Path, target: str | Path) -> pd.DataFrame:
    """Write the free ESC-10 clips of `source`, a folder of ESC-50 with its LICENSE, to `target`, a new folder.

    Returns the rows of the clips written. Raises InputError when `target` exists, a clip is bad, or LICENSE is missing.
    """
    target = Path(target)
    if target.exists():
        raise InputError(f"{target}: exists; expected the name of a new folder")
    recordings = load_recordings("esc50", str(source), esc10_only=True, clip_seconds=CLIP_SECONDS)
    if len(recordings.bad_clips):
        bad = recordings.bad_clips.iloc[0]
        raise InputError(f"{source}: {bad['filename']} is {bad['reason']}; expected whole clips")
    clips = free_clips(recordings.table, read_licences(source))
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as temporary:
        made = Path(temporary) / target.name
        _write(made, recordings, clips)
        made.rename(target)
    return clips


def _write(folder: Path, recordings: Recordings, clips: pd.DataFrame) -> None:
    (folder / "audio").mkdir(parents=True)
    names = clips["clip_id"] + ".ogg"
    for clip_id, name in zip(clips["clip_id"], names, strict=True):
        format_ = {"format": "OGG", "subtype": "VORBIS", "compression_level": COMPRESSION}
        soundfile.write(folder / "audio" / name, recordings.load(clip_id), SAMPLE_RATE, **format_)
    write_csv(folder / "meta" / "esc50.csv", clips.assign(filename=names)[list(ESC50_COLUMNS)])
    write_csv(folder / ATTRIBUTION, clips[COLUMNS].drop_duplicates())
    missing = sorted(set(recordings.table["clip_id"]) - set(clips["clip_id"]))
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    write_text(folder / "README.md", _readme(clips, missing, size))


def _readme(clips: pd.DataFrame, missing: list[str], size: int) -> str:
    counts = pd.crosstab(clips["category"], clips["fold"], margins=True, margins_name="all")
    heads = ["class", *(f"fold {fold}" for fold in counts.columns[:-1]), "all"]
    licences = clips["licence"].value_counts()
    return README.format(
        n=len(clips),
        megabytes=size / 1e6,
        n_cc0=licences.get("CC0", 0),
        n_by=licences.get("CC-BY", 0),
        seconds=CLIP_SECONDS,
        rate=SAMPLE_RATE,
        missing=" and ".join(missing) or "none",
        counts="\n".join(markdown_table(heads, [[name, *map(str, row)] for name, row in counts.iterrows()])),
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", help="a folder of ESC-50: meta/esc50.csv, audio/, LICENSE")
    parser.add_argument("target", help="the folder to make")
    options = parser.parse_args()
    try:
        clips = make_material(options.source, options.target)
    except InputError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{options.target}: {len(clips)} clips")
    return 0


if __name__ == "__main__":
    sys.exit(main())
