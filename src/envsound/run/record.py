"""What a finished run's own records say about it."""

from dataclasses import dataclass
from pathlib import Path

from envsound.base.errors import InputError
from envsound.base.files import read_json


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
