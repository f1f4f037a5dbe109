"""Recordings as clips: a data set found or downloaded, every file checked, nothing dropped without being named."""

import http.client
import tarfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from envsound.base.errors import InputError
from envsound.base.paths import material_folder
from envsound.data.audio import SAMPLE_RATE, BadClip, Reading, read, read_clip
from envsound.data.finding import OFFICIAL_CSV, audio_folders, find_audio, required_columns
from envsound.data.listing import choose, read_listing

DATASETS = ("material", "esc50", "urbansound8k", "folder")
ADVICE = "check the network, or set data_dir to a folder holding {}/ and audio/"
TABLE_COLUMNS = ["clip_id", "filename", "path", "fold", "category", "target", "esc10", "n_samples", "seconds"]
REPORT_COLUMNS = ["filename", "fold", "category", "status", "reason", "sample_rate_hz", "n_channels", "seconds"]


@dataclass(frozen=True)
class Recordings:
    """The clips of one request.

    table: one row for each usable clip: clip_id, filename, path, fold, category, target, esc10, n_samples (at
        `sample_rate`, after the cut to `clip_seconds`) and seconds.
    report: one row for each clip asked for, usable or not: filename, fold, category, status (ok, note, bad),
        reason ("kind: detail", several joined by "; "), and the file's sample_rate_hz, n_channels, seconds.
    cut: the data cut in words, to be named beside every number.
    """

    table: pd.DataFrame
    report: pd.DataFrame
    cut: str
    sample_rate: int
    clip_seconds: float

    def load(self, clip_id: str) -> np.ndarray:
        """Return one clip, float32 [n_samples] in [-1, 1]. Raises InputError for an unknown `clip_id`."""
        found = self.table.loc[self.table["clip_id"] == clip_id, "path"]
        if found.empty:
            raise InputError(f"clip_id={clip_id!r}: not one of the {len(self.table)} clips of {self.cut}")
        return read_clip(found.iloc[0], self.sample_rate, self.clip_seconds)

    @property
    def bad_clips(self) -> pd.DataFrame:
        """The rows of the report whose clip cannot be used."""
        return self.report[self.report["status"] == "bad"].reset_index(drop=True)

    def report_summary(self) -> pd.DataFrame:
        """Count clips by status and kind of remark; a clip with two remarks counts in two rows."""
        remarks = self.report.assign(remark=self.report["reason"].str.split("; ")).explode("remark")
        remarks["remark"] = remarks["remark"].str.partition(":")[0].replace("", "none")
        counts = remarks.groupby(["status", "remark"], sort=True).size()
        return counts.rename("clips").reset_index()

    def class_by_fold(self) -> pd.DataFrame:
        """Count usable clips: one row for each class, one column for each fold, and totals."""
        table = self.table
        return pd.crosstab(table["category"], table["fold"], margins=True, margins_name="total")


def load_recordings(
    dataset: str,
    data_dir: str = "",
    csv_name: str = "",
    esc10_only: bool = False,
    folds: Sequence[int] = (),
    categories: Sequence[str] = (),
    clip_seconds: float = 5.0,
    sample_rate: int = SAMPLE_RATE,
    raw_dir: str = "data/raw",
) -> Recordings:
    """Find, filter and read every clip of a data set once.

    dataset: "material" (the recordings that ship; with a `data_dir`, ESC-50 in there takes their place), "esc50" or
        "urbansound8k" (the official layout in `data_dir`, or downloaded into `raw_dir` when that is empty), or
        "folder" (audio and a csv with filename, category and fold in `data_dir`).
    csv_name: relative to `data_dir`; "" is meta/esc50.csv, of UrbanSound8K metadata/UrbanSound8K.csv.
    folds, categories: an empty sequence takes all.
    clip_seconds: longer clips are cut to this, shorter ones kept as they are; sample_rate: Hz.
    Raises InputError when the request cannot be met; a clip that cannot be used is named in the report.
    """
    if dataset not in DATASETS:
        raise InputError(f"dataset={dataset!r}: expected one of {', '.join(DATASETS)}")
    if not isinstance(clip_seconds, int | float) or not clip_seconds > 0 or sample_rate <= 0:
        raise InputError(f"clip_seconds={clip_seconds!r}, sample_rate={sample_rate}: expected both above zero")
    data_dir, raw_dir = (str(Path(name).expanduser()) if str(name) else "" for name in (data_dir, raw_dir))
    if dataset == "material" and data_dir:
        dataset = "esc50"
    csv_name = csv_name or OFFICIAL_CSV.get(dataset, OFFICIAL_CSV["esc50"])
    folder, csv_path = _place(dataset, data_dir, csv_name, raw_dir)
    listing = read_listing(csv_path, required_columns(dataset, esc10_only))
    chosen = choose(listing, esc10_only, folds, categories)
    table, report = _scan(chosen, audio_folders(folder, csv_path), clip_seconds, sample_rate)
    if table.empty:
        first = report.iloc[0]
        raise InputError(
            f"{folder}: none of its {len(report)} clips can be used "
            f"(first: {first['filename']!r}, {first['reason']}); expected readable audio"
        )
    names = {
        "esc50": f"ESC-50 folder {folder.resolve().name}",
        "urbansound8k": f"UrbanSound8K folder {folder.resolve().name}",
        "folder": f"folder {folder.resolve().name}",
        "material": "real clips, the free ones of ESC-10 as 24 kHz Vorbis (398 of 400)",
    }
    cut = _describe(names[dataset], table, report, esc10_only, sample_rate)
    return Recordings(table, report, cut, sample_rate, clip_seconds)


def _place(dataset: str, data_dir: str, csv_name: str, raw_dir: str) -> tuple[Path, Path]:
    """Return the folder of a data set and its csv, downloading it where the user names none."""
    if dataset == "material":
        return material_folder(), material_folder() / csv_name
    if dataset in OFFICIAL_CSV and not data_dir:
        folder = soundata_folder(dataset, raw_dir)
        return folder, folder / OFFICIAL_CSV[dataset]
    if not data_dir or not Path(data_dir).is_dir():
        raise InputError(f"data_dir={str(data_dir)!r}: no such folder; expected audio and {csv_name} in it")
    return Path(data_dir), Path(data_dir) / csv_name


def _scan(
    chosen: pd.DataFrame, folders: list[Path], clip_seconds: float, sample_rate: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read every chosen clip once; return the table of usable clips and the report on all of them."""
    table, report = [], []
    for row in tqdm(chosen.to_dict("records"), desc="reading clips", unit="clip"):
        path, remark = find_audio(row["filename"], folders)
        try:
            if path is None or row["repeated"]:
                raise BadClip(row["filename"], remark if path is None else "listed twice in the csv")
            reading = read(path, sample_rate, clip_seconds)
        except BadClip as error:
            report.append(row | {"status": "bad", "reason": error.reason})
            continue
        reasons = [remark] * bool(remark) + _notes(reading, clip_seconds, sample_rate)
        file_facts = {
            "status": "note" if reasons else "ok",
            "reason": "; ".join(reasons),
            "sample_rate_hz": reading.source_rate,
            "n_channels": reading.n_channels,
            "seconds": reading.seconds,
        }
        report.append(row | file_facts)
        n_samples = len(reading.clip)
        clip_facts = {"path": path.as_posix(), "n_samples": n_samples, "seconds": n_samples / sample_rate}
        table.append(row | clip_facts)
    types = {"sample_rate_hz": "Int64", "n_channels": "Int64", "seconds": float}
    full_report = pd.DataFrame(report, columns=REPORT_COLUMNS).astype(types)
    return pd.DataFrame(table, columns=TABLE_COLUMNS), full_report


def _notes(reading: Reading, clip_seconds: float, sample_rate: int) -> list[str]:
    """Return what a reader should know about a usable clip, each as "kind: detail"."""
    notes = []
    if reading.peak == 0:
        notes.append("digital silence: every sample is zero")
    if reading.peak > 1:
        notes.append(f"limited: peak {reading.peak:.2f} is above full scale")
    if reading.n_channels > 1:
        notes.append(f"mixed down: {reading.n_channels} channels")
    if reading.seconds > clip_seconds:
        notes.append(f"cut: {reading.seconds:.3f} s long")
    if len(reading.clip) < round(clip_seconds * sample_rate):
        notes.append(f"shorter: {reading.seconds:.3f} s long")
    if reading.source_rate != sample_rate:
        notes.append(f"resampled: from {reading.source_rate} Hz")
    return notes


def _describe(name: str, table: pd.DataFrame, report: pd.DataFrame, esc10_only: bool, sample_rate: int) -> str:
    """Return the data cut in one line."""
    folds = sorted(table["fold"].unique())
    n_classes = table["category"].nunique()
    n_bad = int((report["status"] == "bad").sum())
    rates = sorted(report["sample_rate_hz"].dropna().unique())
    parts = [
        name,
        "esc10 only" if esc10_only else f"{n_classes} class{'es' * (n_classes > 1)}",
        f"folds {_ranges(folds)}" if len(folds) > 1 else f"fold {folds[0]}",
        f"{len(table)} clips" + (f" ({n_bad} more are bad)" if n_bad else ""),
        f"{', '.join(f'{rate / 1000:g}' for rate in rates)} kHz sources",
    ]
    if rates != [sample_rate]:
        parts.append(f"resampled to {sample_rate / 1000:g} kHz")
    if rates[0] < sample_rate:
        parts.append(f"nothing above {rates[0] / 2000:g} kHz in the {rates[0] / 1000:g} kHz sources")
    return ", ".join(parts)


def _ranges(numbers: list[int]) -> str:
    """Write whole numbers as "1-5", or "1, 3, 4" when they are not consecutive."""
    if numbers[-1] - numbers[0] == len(numbers) - 1:
        return f"{numbers[0]}-{numbers[-1]}"
    return ", ".join(map(str, numbers))


def soundata_folder(name: str, raw_dir: str | Path) -> Path:
    """Return `raw_dir/name` holding the data set esc50 or urbansound8k, downloaded and validated through soundata.

    A copy that is there already is validated again, by its checksums, and not downloaded again.
    Raises InputError when the download fails, or when files do not match soundata's checksums.
    """
    import soundata  # imports slowly and sets up logging: only those who download should pay for it

    folder, advice = Path(raw_dir) / name, ADVICE.format(Path(OFFICIAL_CSV[name]).parent)
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
