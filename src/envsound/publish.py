"""Copies what may be shown of a finished run to data/published: tables, figures, provenance, a few generated clips.

`python -m envsound.publish data/runs/esc10/fold1_seed0` writes data/published/esc10/, and
`python -m envsound.publish data/runs/codec/bundled`, the report of a codec, writes data/published/codec/. No recording
is copied, and no path of the machine that made the run.
"""

import argparse
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import soundfile

from envsound.errors import InputError
from envsound.files import atomic_path, inside, read_csv, read_json, write_csv, write_json
from envsound.paths import go_to_root

TABLES = ("table_metrics.csv", "ks.csv", "metrics.csv", "pairs.csv", "training.csv")
REPORT_TABLES = ("systems.csv", "by_class.csv", "ceiling.csv", "codebook.csv", "speed.csv", "goals.csv")
LARGEST_CLIPS_TABLE = 200_000  # bytes; a larger clips.csv of a codec's report stays behind
CLIP_COLUMNS = ["filename", "category", "seed", "n_frames", "seconds", "steps_per_level", "entropy_budget"]
CLIP_COLUMNS += ["temperature", "fine_temperature", "top_k", "top_p", "order", "order_noise", "guidance_scale"]
CLIP_COLUMNS += ["guidance_end", "precision", "codec_hash", "checkpoint_sha256"]


def publish(run_dir: str | Path, folder: str | Path, clips_per_category: int = 2) -> Path:
    """Write the published copy of a run into `folder`, replacing an older one, and return it.

    Raises InputError when the run is not finished.
    """
    run_dir, folder = Path(run_dir), Path(folder)
    with _replacing(run_dir, folder, (*TABLES, "samples.csv", "provenance.json"), "a finished run") as fresh:
        for name in TABLES:
            shutil.copyfile(run_dir / name, fresh / name)
        shutil.copytree(run_dir / "figures", fresh / "figures", ignore=shutil.ignore_patterns(".*"))
        write_csv(fresh / "clips.csv", _publish_clips(run_dir, fresh / "clips", clips_per_category))
    return folder


def is_codec_report(run_dir: str | Path) -> bool:
    """Say whether a folder holds a codec's report rather than a run of the study."""
    return (Path(run_dir) / "systems.csv").is_file() and (Path(run_dir) / "ceiling.csv").is_file()


def publish_codec_report(run_dir: str | Path, folder: str | Path) -> Path:
    """Write the published copy of a codec's report into `folder`, replacing an older one, and return it.

    Tables, figures (pdf and png) and provenance; clips.csv unless it is above 200 kB; never a sound, since one of the
    three examples of each clip is the original. Raises InputError when the report is not complete.
    """
    run_dir, folder = Path(run_dir), Path(folder)
    with _replacing(run_dir, folder, (*REPORT_TABLES, "provenance.json"), "a finished codec report") as fresh:
        clips = run_dir / "clips.csv"
        small = clips.is_file() and clips.stat().st_size <= LARGEST_CLIPS_TABLE
        for name in (*REPORT_TABLES, *(["clips.csv"] if small else [])):
            shutil.copyfile(run_dir / name, fresh / name)
        (fresh / "figures").mkdir()
        for path in sorted((run_dir / "figures").glob("[!.]*")):
            if path.suffix in (".pdf", ".png"):
                shutil.copyfile(path, fresh / "figures" / path.name)
    return folder


@contextmanager
def _replacing(run_dir: Path, folder: Path, needed: Sequence[str], expected: str) -> Iterator[Path]:
    """Yield a new folder that takes the place of `folder` once it is filled; the provenance is in it already."""
    missing = [name for name in needed if not (run_dir / name).is_file()]
    if missing:
        raise InputError(f"{run_dir}: lacks {', '.join(missing)}; expected {expected}")
    fresh = folder.with_name(f".{folder.name}-new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    write_json(fresh / "provenance.json", without_paths(read_json(run_dir / "provenance.json")))
    yield fresh
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)


def _publish_clips(run_dir: Path, folder: Path, per_category: int) -> pd.DataFrame:
    """Copy the first clips of each class as flac (lossless) and return their rows of samples.csv."""
    chosen = read_csv(run_dir / "samples.csv").groupby("category", sort=True).head(per_category)
    for name in chosen["filename"]:
        clip, rate = soundfile.read(inside(run_dir / "samples", name), dtype="int16")
        with atomic_path(folder / f"{Path(name).stem}.flac") as temporary:
            soundfile.write(temporary, clip, rate, subtype="PCM_16")
    chosen = chosen.assign(filename=[f"{Path(name).stem}.flac" for name in chosen["filename"]])
    return chosen[[name for name in CLIP_COLUMNS if name in chosen]]


def without_paths(value: Any) -> Any:
    """Return a copy of nested values in which every path that leads out of the repository is cut to its last part."""
    if isinstance(value, dict):
        return {key: without_paths(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_paths(item) for item in value]
    if isinstance(value, str) and (Path(value).is_absolute() or value.startswith(("..", "~"))):
        return Path(value).name
    return value


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line: a run's folder, and optionally where to publish it."""
    parser = argparse.ArgumentParser(prog="python -m envsound.publish", description=__doc__)
    parser.add_argument("run_dir", help="a finished run, such as data/runs/esc10/fold1_seed0")
    parser.add_argument("--to", default="", help="folder to write (default: data/published/<preset>)")
    parser.add_argument("--clips-per-category", type=int, default=2)
    options = parser.parse_args(arguments)
    go_to_root()
    target = options.to or Path("data") / "published" / Path(options.run_dir).parent.name
    try:
        if is_codec_report(options.run_dir):
            print(publish_codec_report(options.run_dir, target))
        else:
            print(publish(options.run_dir, target, options.clips_per_category))
    except InputError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
