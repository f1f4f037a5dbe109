"""Which rules of decoding do best: one model under every setting of every control, many clips each, beside real ones.

Everything is judged by clips of the training folds, so that a setting chosen by this table has seen no held-out clip.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from envsound.base.errors import InputError
from envsound.base.files import read_json, sha256_bytes, write_json, write_wav
from envsound.codec import Codec
from envsound.evaluation.diversity import MEAN, diversity_table
from envsound.evaluation.listeners.mfcc import MfccListener, train_recogniser
from envsound.evaluation.sides import decode_clip, from_file, from_recordings
from envsound.evaluation.tables import measure_clips, recordings
from envsound.evaluation.truth import accuracy_table, hear_classes
from envsound.metrics.effects import Sample, cliffs_delta, resampled_effects
from envsound.metrics.extended import CACHE, PER_CLIP
from envsound.metrics.resampling import INTERVAL, Resamples
from envsound.systems.soundstorm.checkpoints import Checkpoint
from envsound.systems.soundstorm.decoding import ONE_CODE_A_STEP, DecodingConfig
from envsound.systems.soundstorm.listen import PassCounter, Setting, settings
from envsound.systems.soundstorm.sampling import Request, generate

BASE = Setting("base", "everything below changes one thing of it")
TOGETHER = "several at once"
REAL, FLOOR, CEILING = "real", "other real clips", "codec"
METRICS = tuple(name for name in PER_CLIP if name != "duration_s")  # the length is asked for, not decoded
COLUMNS = [
    "control", "setting", "n", "passes", "seconds_per_clip", "distance", "distance_low", "distance_high", "furthest",
    "furthest_delta", "accuracy", "accuracy_low", "accuracy_high", "diversity", "diversity_low", "diversity_high",
]  # fmt: skip


@dataclass(frozen=True)
class Judges:
    """Real clips of the training folds: half of the folds to compare with, the other half to train a recogniser on.

    Both are rows of codes.csv. That other half also is the floor of every distance.
    """

    reference: pd.DataFrame
    others: pd.DataFrame

    @classmethod
    def of(cls, train: pd.DataFrame) -> "Judges":
        """Split the training rows of a codes.csv by fold. Raises InputError when they are of one fold."""
        folds = sorted(map(int, train["fold"].unique()))
        if len(folds) < 2:
            raise InputError(f"train_folds={folds}: expected at least two, to compare with one and to train on another")
        chosen = train["fold"].isin(folds[: len(folds) // 2])
        return cls(train[chosen].reset_index(drop=True), train[~chosen].reset_index(drop=True))

    def recogniser(self, sample_rate: int, max_seconds: float) -> MfccListener | None:
        """Train a recogniser on `others`, read at `sample_rate` Hz and cut to `max_seconds`; None without two classes.

        Whoever chooses by its answers lets it select: its content hash belongs in the record (see `facts_of`).
        """
        others = from_recordings(self.others, max_seconds)
        if len({source.category for source in others} - {""}) < 2:
            return None
        names = [source.category for source in others]
        return train_recogniser([source.load(sample_rate) for source in others], names, sample_rate)


def asked_settings(n_levels: int, guided: bool, more: Sequence[dict[str, Any]] = ()) -> list[Setting]:
    """Return the base, every setting of `controls.settings`, and more of them.

    more: a dict for each, of `name` and fields of DecodingConfig. Raises InputError for one that is neither.
    """
    found = [BASE, *settings(n_levels, guided)]
    fields = set(DecodingConfig.__dataclass_fields__) - {"precision"}
    for number, given in enumerate(more):
        unknown = set(given) - fields - {"name"}
        if unknown or "name" not in given:
            wrong = f"{', '.join(sorted(unknown))} unknown" if unknown else "no name"
            raise InputError(f"more_settings[{number}]: {wrong}; expected name and any of {', '.join(sorted(fields))}")
        changes = {key: tuple(value) if isinstance(value, list) else value for key, value in given.items()}
        found.append(Setting(TOGETHER, str(changes.pop("name")), changes))
    return found


def distinct(asked: Sequence[Setting], base: DecodingConfig) -> list[tuple[Setting, DecodingConfig]]:
    """Return each setting with its rules; of settings with the same rules only the first."""
    found: dict[str, tuple[Setting, DecodingConfig]] = {}
    for setting in asked:
        config = replace(base, **setting.changes)
        found.setdefault(str(config), (setting, config))
    return list(found.values())


@dataclass(frozen=True)
class Contest:
    """What all settings share: a model, its codec, what is asked for, and a folder for the clips."""

    checkpoint: Checkpoint
    codec: Codec
    requests: Sequence[Request]
    folder: Path
    n_slow: int  # clips of a setting whose passes are many: one code a pass, or as the entropy asks
    batch_size: int = 8
    checkpoint_sha256: str = ""

    def samples(self, chosen: Sequence[tuple[Setting, DecodingConfig]]) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Generate the clips of every setting; return them, as `measure_clips` takes them, and what each one cost.

        The second has columns run (the number of the setting, in words), passes and seconds_per_clip. What an
        interrupted call has made is kept.
        """
        clips, costs = [], []
        for number, (setting, config) in enumerate(tqdm(chosen, desc="settings", unit="setting")):
            run, slow = f"{number:02d}", config.entropy_budget > 0 or ONE_CODE_A_STEP in config.steps_per_level
            asked = list(self.requests[: self.n_slow] if slow else self.requests)
            costs.append({"run": run, "control": setting.control, "setting": setting.name} | self._make(asked, config))
            folder = self._folder(config)
            rows = [
                {"clip": r.filename, "path": (folder / r.filename).as_posix(), "category": r.category} for r in asked
            ]
            clips.append(pd.DataFrame(rows).assign(system="generated", run=run, fold=0))
        return pd.concat(clips, ignore_index=True), pd.DataFrame(costs)

    def _folder(self, config: DecodingConfig) -> Path:
        rules = json.dumps({name: str(value) for name, value in asdict(config).items()})
        return self.folder / sha256_bytes(rules.encode())[:12]

    def _make(self, asked: list[Request], config: DecodingConfig) -> dict[str, float]:
        """Generate clips; return passes for a batch and seconds for a clip, as measured when they were made."""
        folder, began, started = self._folder(config), time.time(), time.perf_counter()
        counter = PassCounter(self.checkpoint.model)
        generate(self.checkpoint, self.codec, asked, config, folder, self.batch_size, self.checkpoint_sha256)
        seconds, passes = time.perf_counter() - started, counter.stop()
        n_made = sum(path.stat().st_mtime >= began for path in folder.glob("*.wav"))
        if n_made:
            cost = {"passes": passes / -(-n_made // self.batch_size), "seconds_per_clip": seconds / n_made}
            write_json(folder / "cost.json", cost)
        return read_json(folder / "cost.json") if (folder / "cost.json").is_file() else {}

    def reconstructions(self, clips: pd.DataFrame) -> pd.DataFrame:
        """Write recordings, rows of codes.csv, as the codec gives them back; return what `measure_clips` takes."""
        folder, rows = self.folder / CEILING, []
        for number, row in enumerate(clips.itertuples()):
            path = folder / f"{number:04d}.wav"
            if not path.is_file():
                clip = decode_clip(row.codes_file, row.seconds, self.codec, self.codec.sample_rate)
                write_wav(path, clip, self.codec.sample_rate)
            rows.append({"clip": row.filename, "path": path.as_posix(), "category": row.category})
        return pd.DataFrame(rows).assign(system=CEILING, run="", fold=0)


@dataclass(frozen=True)
class Measuring:
    """How clips are measured: the length they are cut to (s), the seed and number of resamples, processes, cache."""

    max_seconds: float
    seed: int = 0
    n_resamples: int = 1000
    n_jobs: int = 1
    cache_dir: str | Path = CACHE


def compare_settings(
    contest: Contest,
    judges: Judges,
    chosen: Sequence[tuple[Setting, DecodingConfig]],
    how: Measuring,
    recogniser: MfccListener | None = None,
) -> pd.DataFrame:
    """Return a row for each setting, and one each for the floor and the ceiling, in columns COLUMNS.

    distance: the mean over METRICS of the size of Cliff's delta to the reference clips, 0 to 1, with the 95% basic
    bootstrap interval over clips (see `effects.effects`); all settings share the resamples of their clips. `furthest`
    is the metric of the largest. accuracy: the share of clips in which `recogniser` (that of `judges`; None: nobody is
    asked) hears what was asked for. diversity: see `diversity.diversity_table`. passes are those of a batch.
    """
    made, costs = contest.samples(chosen)
    parts = [recordings(REAL, judges.reference), recordings(FLOOR, judges.others)]
    clips = pd.concat([*parts, contest.reconstructions(judges.reference), made], ignore_index=True)
    clips, _ = measure_clips(clips, how.max_seconds, how.cache_dir, how.n_jobs)
    resamples = Resamples(how.seed, how.n_resamples)
    spread = diversity_table(clips, METRICS, how.seed, how.n_resamples)
    heard = _accuracy(clips, recogniser, contest.codec.sample_rate, how.max_seconds)
    real, rows = clips[clips["system"] == REAL], []
    for (system, run), group in clips[clips["system"] != REAL].groupby(["system", "run"], sort=False):
        row = {"control": REAL if system == FLOOR else system, "setting": system, "run": run, "n": len(group)}
        row |= mean_distance(group, real, resamples) | _diversity(spread, system, run) | heard.get((system, run), {})
        rows.append(row)
    table = pd.DataFrame(rows).merge(costs, on="run", how="left", suffixes=("", "_asked"))
    for name in ("control", "setting"):
        table[name] = table[f"{name}_asked"].fillna(table[name])
    return table.reindex(columns=COLUMNS)


def mean_distance(clips: pd.DataFrame, real: pd.DataFrame, resamples: Resamples) -> dict[str, Any]:
    """Return distance, its interval, and the metric that is furthest, for the measured clips of one system."""
    deltas, resampled = {}, []
    for name in METRICS:
        a, b = (Sample(side[name].to_numpy(np.float64), resamples.of(side["clip"])).defined() for side in (clips, real))
        if a.values.size and b.values.size:
            deltas[name] = cliffs_delta(a.values, b.values)
            resampled.append(np.abs(resampled_effects(a, b)[0]))
    if not deltas:
        return {}
    value = float(np.mean(np.abs(list(deltas.values()))))
    low, high = np.nanpercentile(np.mean(resampled, axis=0), INTERVAL)
    furthest = max(deltas, key=lambda name: abs(deltas[name]))
    ends = {"distance_low": max(0.0, 2 * value - high), "distance_high": min(1.0, 2 * value - low)}
    return {"distance": value, **ends, "furthest": furthest, "furthest_delta": deltas[furthest]}


def _diversity(table: pd.DataFrame, system: str, run: str) -> dict[str, float]:
    rows = table[(table["system"] == system) & (table["run"] == run) & (table["category"] == MEAN)]
    if rows.empty:
        return {}
    return {f"diversity{end}": float(rows[f"ratio{end}"].iloc[0]) for end in ("", "_low", "_high")}


def _accuracy(
    clips: pd.DataFrame, recogniser: MfccListener | None, sample_rate: int, max_seconds: float
) -> dict[tuple[str, str], dict[str, float]]:
    """Return accuracy and its interval by (system, run), of every system but the clips the recogniser learnt from."""
    if recogniser is None:
        return {}
    sides = {
        key: [from_file(row.path, row.clip, row.category, 0, max_seconds) for row in rows.itertuples()]
        for key, rows in clips[(clips["system"] != FLOOR) & (clips["category"] != "")].groupby(["system", "run"])
    }
    named = {f"{system}/{run}": sources for (system, run), sources in sides.items()}
    table = accuracy_table(hear_classes(named, {recogniser.kind: recogniser}, sample_rate), by_class=False)
    table = table.rename(columns={"low": "accuracy_low", "high": "accuracy_high"}).set_index("side")
    table = table[["accuracy", "accuracy_low", "accuracy_high"]]
    return {key: table.loc["/".join(key)].to_dict() for key in sides}


def best_setting(table: pd.DataFrame) -> pd.Series:
    """Return the row of the setting with the smallest distance. Raises InputError when there is none."""
    rows = table[~table["control"].isin([REAL, CEILING]) & table["distance"].notna()]
    if rows.empty:
        raise InputError("settings: no clip of any can be measured; expected at least one setting")
    return rows.loc[rows["distance"].idxmin()]


def facts_of(judges: Judges, codec: Codec, recogniser: MfccListener | None) -> dict[str, Any]:
    """Return what the provenance record keeps of a comparison.

    selected_by: kind and content hash of the listener whose answers stood beside every setting (see `selectors`).
    """
    return {
        "reference_folds": sorted(judges.reference["fold"].unique().tolist()),
        "recogniser_folds": sorted(judges.others["fold"].unique().tolist()),
        "recogniser": recogniser.kind if recogniser else "",
        "selected_by": {recogniser.kind: recogniser.content_hash} if recogniser else {},
        "codec": codec.name,
        "codec_hash": codec.content_hash,
    }


def findings_settings(table: pd.DataFrame) -> str:
    """Return Markdown sentences: the best setting, what it costs, and how it compares with base, floor and ceiling."""
    best = best_setting(table)
    base = table[table["control"] == BASE.control].iloc[0]
    marks = {row["setting"]: row["distance"] for _, row in table[table["control"].isin([REAL, CEILING])].iterrows()}
    others = table[~table["control"].isin([REAL, CEILING]) & table["distance"].notna()].drop(index=best.name)
    near = int((others["distance_low"] <= best["distance_high"]).sum())
    text = f"Closest to real clips is **{best['control']}: {best['setting']}**, {_words(best)}; the intervals of "
    text += f"{near} of the {len(others)} other settings overlap its own. The base is at {_words(base)}; "
    text += ", ".join(f"{name} at {value:.2f}" for name, value in marks.items()) + "."
    slow = table[table["setting"] == "one code a pass"]
    if not slow.empty and np.isfinite(slow.iloc[0]["distance"]):
        row = slow.iloc[0]
        text += f" One code a pass, the sequential decoding, is at {_words(row)}, on {row['n']} clips."
    return text


def _words(row: pd.Series) -> str:
    text = f"{row['distance']:.2f} ({row['distance_low']:.2f} to {row['distance_high']:.2f})"
    if np.isfinite(row["passes"]):
        text += f" in {row['passes']:.0f} passes"
    return text + (f", heard as asked {row['accuracy']:.0%}" if np.isfinite(row["accuracy"]) else "")
