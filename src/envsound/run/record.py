"""What a finished run's own records say about it, and which runs differ from it in their training seed alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from envsound.base.errors import InputError
from envsound.base.files import inside, read_csv, read_json, visible

FINISHED = ("01_encode_clips", "02_train_model", "03_sample_clips")
FREE = {"seed", "run_dir", "checkpoint", "n_samples", "n_heard"}  # may differ between two seeds, as may the machine's:
FREE |= {"data_dir", "codec_weights", "device", "devices", "precision", "sample_precision", "sample_batch_size"}
FREE |= {"compile", "accumulate"}


@dataclass(frozen=True)
class RunSettings:
    """What a run's own records say about it: folds, seed, preset, codec, and the length its clips are cut to."""

    folder: Path
    preset: str
    fold: int
    seed: int
    train_folds: tuple[int, ...]
    validation_fold: int
    clip_seconds: float
    codec: str
    codec_weights: str
    codec_weights_sha256: str
    codec_hash: str

    @property
    def name(self) -> str:
        """What the run is called in tables, such as "esc10 seed 0"."""
        return f"{self.preset} seed {self.seed}"


def read_settings(run_dir: str | Path) -> RunSettings:
    """Return the settings of a finished run from its provenance.json.

    Raises InputError when the file is missing or lacks the steps 01 and 02.
    """
    steps = read_json(Path(run_dir) / "provenance.json").get("steps", {})
    absent = [name for name in ("01_encode_clips", "02_train_model") if name not in steps]
    if absent:
        raise InputError(f"{run_dir}/provenance.json: lacks {absent[0]}; expected a run whose notebooks have run")
    encoded, trained = (steps[name]["parameters"] for name in ("01_encode_clips", "02_train_model"))
    return RunSettings(
        folder=Path(run_dir),
        preset=str(trained.get("preset", "")),
        fold=int(trained["fold"]),
        seed=int(trained["seed"]),
        train_folds=tuple(trained.get("train_folds", ())),
        validation_fold=int(trained.get("validation_fold", 0)),
        clip_seconds=float(encoded.get("clip_seconds", 0)),
        codec=encoded["codec"],
        codec_weights=encoded.get("codec_weights", ""),
        codec_weights_sha256=encoded.get("codec_weights_sha256", ""),
        codec_hash=steps["01_encode_clips"]["facts"]["codec_hash"],
    )


def read_runs(run_dir: str | Path, more_runs: Sequence[str | Path] = ()) -> list[RunSettings]:
    """Return the settings of a run and of others that differ in their training seed alone.

    Raises InputError when one has the same seed, another codec, or was given anything else by `difference`.
    """
    for folder in more_runs:
        reason = difference(folder, run_dir)
        if reason:
            raise InputError(f"more_runs: {folder} {reason}; expected the settings of {run_dir} but for the seed")
    runs = [read_settings(folder) for folder in (run_dir, *more_runs)]
    seeds = [run.seed for run in runs]
    if len(set(seeds)) < len(seeds):
        raise InputError(f"more_runs: training seeds {seeds}; expected a different one for each run")
    return runs


def other_seeds(
    run_dir: str | Path, taken: Sequence[str | Path] = (), find: bool = True
) -> tuple[list[str], list[str]]:
    """Return the folders of finished runs of other training seeds beside a run, by seed, and why others are left out.

    Looked at: folders named fold<fold>_seed<n> beside `run_dir`, but for those `taken`; none unless `find`. A run is
    finished when the notebooks 01 to 03 have run and every sample is there. It belongs when its codec and what these
    notebooks were given are those of `run_dir`, but for the seed and what depends on the machine.
    Raises InputError when `run_dir` itself is not finished.
    """
    if not find:
        return [], []
    run_dir, first = Path(run_dir), read_settings(run_dir)
    seen = {Path(folder).resolve() for folder in (run_dir, *taken)}
    seeds = {first.seed, *(read_settings(folder).seed for folder in taken)}
    found, left_out = {}, []
    for folder in visible(run_dir.parent, f"fold{first.fold}_seed*"):
        if folder.resolve() in seen:
            continue
        reason = unfinished(folder) or difference(folder, run_dir)
        seed = None if reason else read_settings(folder).seed
        if seed in {*seeds, *found}:
            reason = f"has the training seed of another run, {seed}"
        if reason:
            left_out.append(f"{folder.name}: {reason}")
        else:
            found[seed] = folder.as_posix()
    return [found[seed] for seed in sorted(found)], left_out


def unfinished(folder: str | Path) -> str:
    """Return what a run lacks to be finished, in words; "" when it lacks nothing."""
    folder = Path(folder)
    try:
        steps = read_json(folder / "provenance.json").get("steps", {})
        absent = [name for name in FINISHED if name not in steps]
        if absent:
            return f"not finished, {absent[0]} has not run"
        names = read_csv(folder / "samples.csv")["filename"]
    except InputError as error:
        return f"not finished, {error}"
    missing = sum(not inside(folder / "samples", name).is_file() for name in names)
    return f"lacks {missing} of its {len(names)} samples" if missing else ""


def difference(folder: str | Path, run_dir: str | Path) -> str:
    """Return the first thing in which two finished runs differ beside their seed, in words; "" when there is none."""
    if read_settings(folder).codec_hash != read_settings(run_dir).codec_hash:
        return "has another codec"
    mine, first = (read_json(Path(path) / "provenance.json")["steps"] for path in (folder, run_dir))
    for step in FINISHED:
        given, expected = (steps[step]["parameters"] if step in steps else {} for steps in (mine, first))
        for name in sorted(given.keys() & expected.keys() - FREE):
            if given[name] != expected[name]:
                return f"has {name} {given[name]!r}, not {expected[name]!r}"
    return ""
