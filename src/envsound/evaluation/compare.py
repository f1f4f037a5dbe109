"""Generated clips beside real ones: who is compared with whom, at which rate, and every clip's metrics.
 Four sides go through the same measurements. `real` and `generated` are the comparison; `codec`, the same
real clips through the codec, is the ceiling a model of codes can reach; `real_other`, as many real clips from
other folds, is the floor that chance alone gives.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from envsound.base.errors import InputError
from envsound.base.files import read_csv, write_tables
from envsound.base.text import code_span, printable
from envsound.codec import Codec, load_codec
from envsound.codec.codes import load_codes
from envsound.data.folds import recorded
from envsound.evaluation.folders import Measuring, effect_report, measure_sides, metric_rows, side_facts, skipped_notes
from envsound.evaluation.sides import (
    Source,
    common_rate,
    from_codes,
    from_file,
    from_folder,
    from_recordings,
    from_samples,
    rates_of,
)
from envsound.evaluation.tables import EvaluationReport
from envsound.metrics.acoustic import ACOUSTIC, acoustic, chosen, log_spectral_distance, spectral_convergence
from envsound.metrics.extended import CACHE
from envsound.metrics.published import PUBLISHED, summary_table
from envsound.report.assets import slug
from envsound.run.identity import digest

SIDES = ("real", "generated", "codec", "real_other")
FOLDERS = Path("data") / "runs" / "folders"
NAME_LENGTH = 60  # letters of a folder's name that the name of its results keeps
PAIR_COLUMNS = [
    "real", "generated", "category", "spectral_convergence", "log_spectral_distance",
    "real_energy", "generated_energy", "real_duration_s", "generated_duration_s",
]  # fmt: skip


@dataclass
class Evaluation:
    """What an evaluation found: a row per clip, a row per pair, the summary, and what a reader must know.

    Of folders also: effect sizes, what was left out (columns `folders.SKIPPED_COLUMNS`), and `sides`, facts on each.
    """

    metrics: pd.DataFrame
    pairs: pd.DataFrame
    table: pd.DataFrame
    sample_rate: int  # Hz, at which everything was measured
    notes: list[str] = field(default_factory=list)
    effects: EvaluationReport | None = None
    skipped: pd.DataFrame | None = None
    sides: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def facts(self) -> dict[str, Any]:
        """The data cut, for the provenance record."""
        counts = self.metrics["side"].value_counts()
        facts = {"sample_rate_hz": self.sample_rate, "n_clips": counts.to_dict(), "notes": self.notes}
        if self.skipped is not None:
            facts |= {"sides": self.sides, "n_skipped": len(self.skipped)}
        return facts

    def write(self, folder: str | Path) -> None:
        """Write all tables into a folder: metrics.csv, pairs.csv, table_metrics.csv, of folders those of 14 as well."""
        tables = {"metrics": self.metrics, "pairs": self.pairs, "table_metrics": self.table}
        write_tables(folder, tables if self.skipped is None else tables | {"skipped": self.skipped})
        if self.effects is not None:
            self.effects.write(folder)

    def report(self, folder: str | Path) -> str:
        """Return a Markdown list: the common rate, counts, what could not be measured, where it lies."""
        lines = [*self.notes, f"The tables are in `{Path(folder).as_posix()}`."]
        return "\n".join(f"- {line}" for line in lines)


def draw_real(clips: pd.DataFrame, folds: Sequence[int], n: int, seed: int) -> pd.DataFrame:
    """Draw `n` rows of a table of recordings from the given folds, without replacement, in the table's order.

    All of them when the folds hold fewer. Raises InputError for a fold that is not there or n below 1.
    """
    present = sorted(int(fold) for fold in clips["fold"].unique())
    absent = [fold for fold in folds if fold not in present]
    if absent or not folds:
        raise InputError(f"real_folds={list(folds)}: expected some of the folds {present}")
    if n < 1:
        raise InputError(f"n_real={n}: expected at least 1")
    pool = clips[clips["fold"].isin(folds)]
    if len(pool) > n:
        rows = np.random.default_rng(seed).choice(len(pool), size=n, replace=False)
        pool = pool.iloc[np.sort(rows)]
    return pool.reset_index(drop=True)


def measure_side(
    clips: Iterable[Source | str | Path | np.ndarray],
    side: str,
    sample_rate: int,
    metrics: Sequence[str] = (),
    max_seconds: float = 0,
) -> pd.DataFrame:
    """Measure every clip of a side at `sample_rate` Hz: rows of metrics.csv, in order.

    A clip is a Source, a path (resampled, cut to `max_seconds`) or an array already at `sample_rate`.
    `metrics` chooses among the acoustic ones (none: all). A clip that cannot be read is a row too: no
    samples, NaN for every metric, and its `problem` in words.
    """
    sources = [_as_source(clip, number, max_seconds) for number, clip in enumerate(clips)]
    names = [name for name in chosen(metrics) if name in ACOUSTIC]
    return pd.DataFrame([
        {"side": side, "clip": source.name, "category": source.category, "fold": source.fold,
         "sample_rate_hz": sample_rate} | _measured(source, sample_rate, names)
        for source in tqdm(sources, desc=f"measuring {side}", unit="clip", leave=False)
    ])  # fmt: skip


def pair_clips(generated: pd.DataFrame, real: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Give each generated clip one real one, of its own category when it has one, drawn by `seed`.

    Both tables are rows of metrics.csv; unreadable clips are left out. Within a category no real clip serves
    twice before each has served once. Returns the columns real, generated, category, in the order of
    `generated`. Raises InputError when a side has no readable clip.
    """
    generated, real = (rows[rows["n_samples"] > 0].reset_index(drop=True) for rows in (generated, real))
    if generated.empty or real.empty:
        raise InputError("pairs: a side has no clip that can be read, expected at least one real and one generated")
    rng = np.random.default_rng(seed)
    partner = np.zeros(len(generated), dtype=int)
    for category, rows in generated.groupby("category", sort=True).groups.items():
        candidates = np.flatnonzero(real["category"] == category) if category else np.arange(len(real))
        candidates = rng.permutation(candidates if candidates.size else np.arange(len(real)))
        partner[rows] = candidates[np.arange(len(rows)) % candidates.size]
    return pd.DataFrame({
        "real": real["clip"].to_numpy()[partner],
        "generated": generated["clip"],
        "category": generated["category"],
    })  # fmt: skip


def measure_pairs(
    pairs: pd.DataFrame, real: Sequence[Source], generated: Sequence[Source], sample_rate: int
) -> pd.DataFrame:
    """Measure pairs of clips at `sample_rate` Hz: the columns of pairs.csv (energy is the sum of squares)."""
    reals, others = ({source.name: source for source in side} for side in (real, generated))
    rows = []
    for row in tqdm(pairs.itertuples(), desc="measuring pairs", unit="pair", total=len(pairs), leave=False):
        x, y = reals[row.real].load(sample_rate), others[row.generated].load(sample_rate)
        rows.append({
            "real": row.real,
            "generated": row.generated,
            "category": row.category,
            "spectral_convergence": spectral_convergence(x, y),
            "log_spectral_distance": log_spectral_distance(x, y),
            "real_energy": float(np.sum(x.astype(np.float64) ** 2)),
            "generated_energy": float(np.sum(y.astype(np.float64) ** 2)),
            "real_duration_s": x.size / sample_rate,
            "generated_duration_s": y.size / sample_rate,
        })  # fmt: skip
    return pd.DataFrame(rows, columns=PAIR_COLUMNS)


def evaluate(
    sides: dict[str, list[Source]],
    metrics: Sequence[str] = (),
    seed: int = 0,
    published: str | Path = PUBLISHED,
) -> Evaluation:
    """Measure all sides at the lowest of their rates, pair generated with real, and summarise.

    `sides` maps real and generated, and optionally codec and real_other, to their clips; `metrics` chooses
    among the acoustic metrics (none: all).
    """
    rate = common_rate(*sides.values())
    rows = pd.concat([measure_side(clips, side, rate, metrics) for side, clips in sides.items()], ignore_index=True)
    pairs = pair_clips(rows[rows["side"] == "generated"], rows[rows["side"] == "real"], seed)
    pairs = measure_pairs(pairs, sides["real"], sides["generated"], rate)
    table = summary_table(rows, pairs, published)
    return Evaluation(rows, pairs, table, rate, _notes(sides, rows, rate))


def evaluate_folders(
    sides: dict[str, list[Source]],
    folders: dict[str, str],
    how: Measuring,
    metrics: Sequence[str] = (),
    seed: int = 0,
    n_resamples: int = 1000,
    published: str | Path = PUBLISHED,
) -> Evaluation:
    """Evaluate sides of which at least one is a folder of files; nothing is written.

    Like `evaluate`, but what cannot be compared is left out (see `folders.measure_sides`), and effect sizes with
    intervals are found for the extended metrics too. folders: what each side's folder is called.
    """
    measured = measure_sides(sides, how)
    rows = metric_rows(measured, [name for name in chosen(metrics) if name in ACOUSTIC])
    pairs = pair_clips(rows[rows["side"] == "generated"], rows[rows["side"] == "real"], seed)
    pairs = measure_pairs(pairs, measured.sources["real"], measured.sources["generated"], measured.sample_rate)
    return Evaluation(
        rows, pairs, summary_table(rows, pairs, published), measured.sample_rate,
        [*_notes(measured.sources, rows, measured.sample_rate), *skipped_notes(measured), _cut_note(pairs)],
        effect_report(measured, folders.get("generated", ""), seed, n_resamples),
        measured.skipped, side_facts(measured, folders),
    )  # fmt: skip


def evaluate_run(
    run_dir: str | Path,
    *,
    fold: int = 1,
    n_real: int = 100,
    real_folds: Sequence[int] = (),
    real_seed: int = 0,
    train_folds: Sequence[int] = (),
    metrics: Sequence[str] = (),
    generated_dir: str = "",
    real_dir: str = "",
    clip_seconds: float = 5.0,
    min_seconds: float = 0.1,
    codec: str = "bundled",
    codec_weights: str = "",
    codec_weights_sha256: str = "",
    device: str = "auto",
    n_resamples: int = 1000,
    n_jobs: int = 1,
    cache_dir: str | Path = CACHE,
) -> Evaluation:
    """Evaluate a run, or any folders, and write the tables (`Evaluation.write`) to `results_folder`.

    Generated clips are those of the run's samples.csv, or all audio below `generated_dir`. Real clips are
    `n_real` of the run's codes.csv from `real_folds` (none: the held-out `fold`), or all audio below
    `real_dir`. Only a run's own recordings have the sides codec ("" for none) and real_other, which is drawn
    from `train_folds` (none: all other folds). All clips are cut to `clip_seconds` (0: whole). Only where a folder is
    given are clips below `min_seconds` and silent ones left out, and the extended metrics taken, by `n_jobs` processes
    and with intervals from `n_resamples` resamples. Raises InputError for a request that cannot be met.
    """
    for name, value in (("clip_seconds", clip_seconds), ("min_seconds", min_seconds)):
        if value < 0:
            raise InputError(f"{name}={value}: expected 0 or more")
    if generated_dir:
        sides = {"generated": from_folder(generated_dir, clip_seconds)}
    else:
        sides = {"generated": from_samples(run_dir, clip_seconds)}
    if real_dir:
        sides["real"] = from_folder(real_dir, clip_seconds)
    else:
        clips, folds = recorded(read_csv(Path(run_dir) / "codes.csv")), list(real_folds) or [fold]
        drawn = draw_real(clips, folds, n_real, real_seed)
        others = sorted(set(train_folds or clips["fold"]) - set(folds))
        sides["real"] = from_recordings(drawn, clip_seconds)
        if codec:
            sides |= _codec_side(drawn, load_codec(codec, codec_weights, device, codec_weights_sha256))
        sides |= _floor_side(clips, others, len(drawn), real_seed, clip_seconds) if others else {}
    sides = {side: sides[side] for side in SIDES if side in sides}
    if generated_dir or real_dir:
        how = Measuring(clip_seconds, min_seconds, n_jobs, cache_dir)
        names = {"real": _last_parts(real_dir or run_dir), "generated": _last_parts(generated_dir or run_dir)}
        result = evaluate_folders(sides, names, how, metrics, real_seed, n_resamples)
    else:
        result = evaluate(sides, metrics, real_seed)
    result.write(results_folder(run_dir, generated_dir, real_dir))
    return result


def results_folder(run_dir: str | Path, generated_dir: str = "", real_dir: str = "") -> Path:
    """Return where an evaluation's files go: the run, or a folder in FOLDERS named after the folders compared.

    Its name ends with a mark of their whole paths, so that equal names in different places do not meet.
    """
    if not (generated_dir or real_dir):
        return Path(run_dir)
    folders = [Path(name or run_dir).expanduser().resolve() for name in (generated_dir, real_dir)]
    names = [slug("_".join(path.parts[-2:]))[:NAME_LENGTH] for path in folders]
    return FOLDERS / f"{'_against_'.join(names)}-{digest(printable(str(path)) for path in folders)[:6]}"


def _last_parts(folder: str | Path) -> str:
    """Return the last two parts of a folder's path, as one shows them: the rest may be nobody's business."""
    return printable("/".join(Path(folder).expanduser().resolve().parts[-2:]))


def _codec_side(clips: pd.DataFrame, codec: Codec) -> dict[str, list[Source]]:
    load_codes(clips["codes_file"].iloc[0], codec.content_hash)  # another codec's codes fail here, at once
    return {"codec": from_codes(clips, codec)}


def _floor_side(
    clips: pd.DataFrame, folds: Sequence[int], n: int, seed: int, clip_seconds: float
) -> dict[str, list[Source]]:
    return {"real_other": from_recordings(draw_real(clips, folds, n, seed), clip_seconds)}


def _as_source(clip: Source | str | Path | np.ndarray, number: int, max_seconds: float) -> Source:
    if isinstance(clip, Source):
        return clip
    if isinstance(clip, str | Path):
        return from_file(clip, max_seconds=max_seconds)
    return Source(f"clip {number}", lambda rate: clip)


def _measured(source: Source, sample_rate: int, names: Sequence[str]) -> dict[str, Any]:
    try:
        clip = source.load(sample_rate)
        values = acoustic(clip, sample_rate)
    except InputError as error:
        return {"n_samples": 0, "peak": np.nan, **dict.fromkeys(names, np.nan), "problem": str(error)}
    peak = float(np.abs(clip).max())
    return {"n_samples": clip.size, "peak": peak, **{name: values[name] for name in names}, "problem": ""}


def _cut_note(pairs: pd.DataFrame) -> str:
    n_cut = int((pairs["real_duration_s"] != pairs["generated_duration_s"]).sum())
    text = "Of a pair of unequal lengths only the first part is compared, as long as the shorter clip"
    return f"{text}: {n_cut} of {len(pairs)} pairs."


def _notes(sides: dict[str, list[Source]], rows: pd.DataFrame, rate: int) -> list[str]:
    stored = ", ".join(f"{side} {rates_of(clips)}" for side, clips in sides.items())
    notes = [f"Everything is measured at {rate} Hz, the lowest rate of any side (stored: {stored})."]
    counts = ", ".join(f"{side} n = {len(clips)}" for side, clips in sides.items())
    notes.append(f"Clips: {counts}.")
    for row in rows[rows["problem"] != ""].itertuples():
        notes.append(f"Not measured: {row.side} {code_span(row.clip)}: {row.problem}")
    real, generated = (set(rows.loc[rows["side"] == side, "category"]) - {""} for side in ("real", "generated"))
    if generated - real:
        names = ", ".join(map(code_span, sorted(generated - real)))
        notes.append(f"No real clip of {names}: those are paired with any real clip.")
    return notes
