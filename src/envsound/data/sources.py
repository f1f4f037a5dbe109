"""Recordings for users who name no folder: ESC-50 or UrbanSound8K from their publishers, or the synthetic stand-in."""

import http.client
import tarfile
import zipfile
from pathlib import Path

from envsound.base.errors import InputError

ADVICE = "check the network, or set data_dir to a folder holding {}/ and audio/"
TABLE_FOLDERS = {"esc50": "meta", "urbansound8k": "metadata"}  # where a data set's csv lies
SYNTHETIC_RATE = 32_000  # Hz


def esc50_folder(raw_dir: str | Path) -> Path:
    """Return `raw_dir/esc50` holding the whole of ESC-50; see `soundata_folder`."""
    return soundata_folder("esc50", raw_dir)


def soundata_folder(name: str, raw_dir: str | Path) -> Path:
    """Return `raw_dir/name` holding the data set esc50 or urbansound8k, downloaded and validated through soundata.

    A copy that is there already is validated again, by its checksums, and not downloaded again.
    Raises InputError when the download fails, or when files do not match soundata's checksums.
    """
    import soundata  # imports slowly and sets up logging: only those who download should pay for it

    folder, advice = Path(raw_dir) / name, ADVICE.format(TABLE_FOLDERS[name])
    dataset = soundata.initialize(name, data_home=str(folder))
    problems = _problems(dataset)
    if problems is None or (problems and not (folder / "audio").exists()):
        _download(dataset, folder, name, advice)
        problems = _problems(dataset)
    if problems is None:
        raise InputError(f"dataset={name!r}: soundata has no index to validate {folder} with; {advice}")
    if problems:
        raise InputError(
            f"dataset={name!r}: {len(problems)} files in {folder} are missing or fail their checksum "
            f"(first: {problems[0]}); delete that folder and try again, or {advice}"
        )
    return folder


def _download(dataset, folder: Path, name: str, advice: str) -> None:
    try:
        dataset.download()
    except (OSError, http.client.HTTPException, zipfile.BadZipFile, tarfile.TarError) as error:
        _drop_damaged_archive(dataset, folder)
        raise InputError(f"dataset={name!r}: download into {folder} failed ({error}); {advice}") from error


def _problems(dataset) -> list[str] | None:
    """Return the names of missing or altered clips; None while soundata's index is not there."""
    try:
        missing, invalid = dataset.validate(verbose=False)
    except FileNotFoundError:
        return None
    return sorted({name for found in (missing, invalid) for part in found.values() for name in part})


def _drop_damaged_archive(dataset, folder: Path) -> None:
    """Delete an archive with a wrong checksum, which soundata would refuse but never fetch again."""
    from soundata.validate import md5

    for remote in dataset.remotes.values():
        archive = folder / remote.filename
        if archive.is_file() and md5(archive) != remote.checksum:
            archive.unlink()


def synthetic_folder(raw_dir: str | Path, clips_per_class: int, seed: int) -> Path:
    """Return a folder in ESC-50's layout with synthetic clips, made when it is not there yet.

    They are made at SYNTHETIC_RATE and brought down to the codec's rate like a recording: sound made at 24 kHz has
    energy up to 12 kHz, where the filter of a resampled recording leaves none and the bundled codec has heard none.
    Raises InputError when `clips_per_class` or `seed` is out of range.
    """
    from envsound.data.synthetic.clips import write_dataset

    folder = Path(raw_dir) / f"synthetic_{clips_per_class}_seed{seed}"
    return write_dataset(folder, clips_per_class, seed, SYNTHETIC_RATE)
