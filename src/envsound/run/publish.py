"""Copies what may be shown of a run to data/published: tables, figures (png), provenance, a few generated clips.

`envsound publish data/runs/esc10/fold1_seed0` writes data/published/esc10/; reports beside the study's runs, which the
studies declare as kinds, go to the folder that their kind names. No recording is copied, and no path of the machine
that made the run.
"""

import argparse
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import soundfile

from envsound.base.errors import InputError
from envsound.base.files import inside, read_csv, read_json, visible, write_csv, write_json, write_ogg
from envsound.base.paths import taken_to_root

NAME, HELP = "publish", "copy what may be shown of a run or a report into data/published"
EXAMPLE = "envsound publish data/runs/esc10/fold1_seed0"
TABLES = ("table_metrics.csv", "ks.csv", "metrics.csv", "pairs.csv", "training.csv")
EVALUATION = ("evaluation.csv", "evaluation_by_class.csv", "evaluation_seeds.csv", "diversity.csv")  # of notebook 14
EVALUATION += ("goals_by_class.csv",)
LISTENERS = ("distances.csv", "distances_by_class.csv", "class_truth.csv", "class_training.csv", "confusion.csv")
LISTENERS += ("memorisation.csv", "nearest.csv", "listener_seeds.csv")  # of notebook 17; its sounds stay behind
COUNTED = ("counting.csv",)  # of a training that asked for every level
COPIES = ("copies.csv", "copies_by_clip.csv")  # of notebook 17, too, where the codec has patches
LARGEST_OPTIONAL = 500_000  # bytes; a larger table that a report can do without stays behind
LARGEST_EXACT = 500_000  # bytes; of a run's larger table numbers keep DIGITS significant digits
DIGITS = 6
WRITTEN = {(".", ".csv"), (".", ".json"), ("figures", ".png"), ("figures", ".pdf"), ("clips", ".ogg")}
WRITTEN |= {("sounds", ".ogg")}
CLIP_COLUMNS = ["filename", "category", "seed", "n_frames", "seconds", "steps_per_level", "entropy_budget"]
CLIP_COLUMNS += ["temperature", "fine_temperature", "top_k", "top_p", "order", "order_noise", "guidance_scale"]
CLIP_COLUMNS += ["n_candidates", "score", "system", "prior"]
CLIP_COLUMNS += ["guidance_end", "precision", "codec_hash", "checkpoint_sha256"]


def publish(run_dir: str | Path, folder: str | Path, clips_per_category: int = 2) -> Path:
    """Write the published copy of a run into `folder`, replacing an older one, and return it.

    What notebooks 14 and 17 found goes along where they have run. Raises InputError when the run is not finished.
    """
    run_dir, folder = Path(run_dir), Path(folder)
    with _replacing(run_dir, folder, (*TABLES, "samples.csv", "provenance.json"), "a finished run") as fresh:
        optional = (*COUNTED, *EVALUATION, *LISTENERS, *COPIES)
        found = [name for name in optional if (run_dir / name).is_file()]
        for name in (*TABLES, *found):
            _copy_table(run_dir / name, fresh / name)
        shutil.copytree(run_dir / "figures", fresh / "figures", ignore=shutil.ignore_patterns(".*", "*.pdf"))
        write_csv(fresh / "clips.csv", _publish_clips(run_dir, fresh / "clips", clips_per_category))
    return folder


@dataclass(frozen=True)
class ReportKind:
    """A kind of report beside the study's runs: the tables that tell it, those that may be missing, what it is called.

    `folder` in data/published takes it; "" takes the name of the folder the report lies in. keeps_name: there may be
    several of this kind, and each keeps its own name below that folder. frozen: files that no run makes any more; they
    stay when the rest is replaced. sounds: a folder of generated sounds, as Ogg; where a table of its name has a column
    `file`, only those in it go along. then: called with the folder that was written.
    """

    needed: tuple[str, ...]
    words: str
    optional: tuple[str, ...] = ()
    folder: str = ""
    keeps_name: bool = False
    frozen: tuple[str, ...] = ()
    sounds: str = ""
    then: Callable[[Path], object] | None = None


def kind_of(run_dir: str | Path, kinds: Iterable[ReportKind]) -> ReportKind | None:
    """Return the kind of report that a folder holds, by its first table; None for a run of the study."""
    return next((kind for kind in kinds if (Path(run_dir) / kind.needed[0]).is_file()), None)


def publish_any(
    run_dir: str | Path, kinds: Iterable[ReportKind], folder: str | Path | None = None, clips_per_category: int = 2
) -> Path:
    """Publish a run of the study, or a report of one of `kinds`, and return the folder written.

    folder: data/published/<preset> for a run and what its kind names for a report, unless given.
    """
    run_dir, kind = Path(run_dir), kind_of(run_dir, kinds)
    folder = Path(folder) if folder else Path("data") / "published" / _place_of(run_dir, kind)
    return publish_report(run_dir, folder, kind) if kind else publish(run_dir, folder, clips_per_category)


def publish_report(run_dir: str | Path, folder: str | Path, kind: ReportKind) -> Path:
    """Write the published copy of a report into `folder`, replacing an older one, and return it.

    Tables, figures (pdf and png), provenance; an optional table unless it is above 500 kB; no sound but what its kind
    says is generated, since sounds of a report may be recordings. Raises InputError when the report is not complete.
    """
    run_dir, folder = Path(run_dir), Path(folder)
    with _replacing(run_dir, folder, (*kind.needed, "provenance.json"), kind.words) as fresh:
        small = [name for name in kind.optional if _is_small(run_dir / name)]
        for name in (*kind.needed, *small):
            shutil.copyfile(run_dir / name, fresh / name)
        _copy_figures(run_dir, fresh)
        if kind.sounds:
            (fresh / kind.sounds).mkdir(parents=True)
            for name in _sounds_in(run_dir, kind.sounds):
                shutil.copyfile(inside(run_dir / kind.sounds, name), inside(fresh / kind.sounds, name))
        for name in filter(lambda name: (folder / name).is_file(), kind.frozen):
            shutil.copyfile(folder / name, fresh / name)
    if kind.then:
        kind.then(folder)
    return folder


def _place_of(run_dir: Path, kind: ReportKind | None) -> Path:
    """Return where a run or a report goes, relative to data/published."""
    place = Path((kind.folder if kind else "") or run_dir.parent.name)
    return place / run_dir.name if kind and kind.keeps_name else place


def _sounds_in(run_dir: Path, sounds: str) -> list[str]:
    table = run_dir / f"{sounds}.csv"
    return [*read_csv(table)["file"]] if table.is_file() else [path.name for path in visible(run_dir / sounds, "*.ogg")]


def _is_small(path: Path) -> bool:
    return path.is_file() and path.stat().st_size <= LARGEST_OPTIONAL


def _copy_table(source: Path, target: Path) -> None:
    """Copy a table; of one above LARGEST_EXACT bytes with numbers of DIGITS significant digits."""
    if source.stat().st_size <= LARGEST_EXACT:
        shutil.copyfile(source, target)
        return
    table = read_csv(source)
    floats = table.select_dtypes("float").map(lambda value: float(f"{value:.{DIGITS}g}"))
    write_csv(target, table.assign(**{name: floats[name] for name in floats}))


def _copy_figures(run_dir: Path, fresh: Path) -> None:
    (fresh / "figures").mkdir()
    for path in visible(run_dir / "figures", "*"):
        if path.suffix in (".pdf", ".png"):
            shutil.copyfile(path, fresh / "figures" / path.name)


@contextmanager
def _replacing(run_dir: Path, folder: Path, needed: Sequence[str], expected: str) -> Iterator[Path]:
    """Yield a new folder that takes the place of `folder` once it is filled, and is removed on any error.

    The provenance is in it already. What lies in `folder` and no publishing writes goes along. Raises InputError for a
    run that lacks a file, and for a `folder` that is a link or holds no published copy.
    """
    missing = [name for name in needed if not (run_dir / name).is_file()]
    if missing:
        raise InputError(f"{run_dir}: lacks {', '.join(missing)}; expected {expected}")
    if folder.is_symlink() or folder.is_file() or (folder.exists() and any(folder.iterdir()) and not _is_copy(folder)):
        raise InputError(f"{folder}: is no published copy; expected a new folder, or one that was published before")
    fresh = folder.with_name(f".{folder.name}-new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    try:
        write_json(fresh / "provenance.json", without_paths(read_json(run_dir / "provenance.json")))
        yield fresh
        for path in (path for path in _of_others(folder) if not (fresh / path).exists()):
            (fresh / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(folder / path, fresh / path, follow_symlinks=False)
        shutil.rmtree(folder, ignore_errors=True)
        fresh.rename(folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _is_copy(folder: Path) -> bool:
    return (folder / "provenance.json").is_file()


def _of_others(folder: Path) -> list[Path]:
    """Return the files in a published copy that are of no kind which is published, relative to it."""
    paths = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file() or path.is_symlink()]
    return [path for path in paths if (path.parent.as_posix(), path.suffix) not in WRITTEN]


def _publish_clips(run_dir: Path, folder: Path, per_category: int) -> pd.DataFrame:
    """Copy the first clips of each class as Ogg Vorbis and return their rows of samples.csv."""
    chosen = read_csv(run_dir / "samples.csv").groupby("category", sort=True).head(per_category)
    for name in chosen["filename"]:
        clip, rate = soundfile.read(inside(run_dir / "samples", name), dtype="float32")
        write_ogg(folder / f"{Path(name).stem}.ogg", clip, rate)
    chosen = chosen.assign(filename=[f"{Path(name).stem}.ogg" for name in chosen["filename"]])
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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `envsound publish` takes."""
    parser.add_argument("run_dir", help="a finished run or report, such as data/runs/esc10/fold1_seed0")
    parser.add_argument("--to", default="", help="folder to write (default: in data/published, named after the preset)")
    parser.add_argument("--clips-per-category", type=int, default=2, help="generated clips of each class (default: 2)")


def run(options: argparse.Namespace) -> int:
    """Publish a run, or a report of a kind in `options.kinds`, and print where; return 0."""
    run_dir, to = taken_to_root(options.run_dir, options.to)
    print(publish_any(run_dir, options.kinds, to or None, options.clips_per_category))
    return 0
