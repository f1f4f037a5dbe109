"""A report on recognising sounds: its rows, read from files of settings, run on every round, and written as tables.

A file in notebooks/studies/recognisers names a `kind` and whatever differs from that kind's defaults. A new kind is a
class in KINDS, a dataclass whose parameters are plain settings with defaults (see `rounds.Recogniser`).
"""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from envsound.base.cache import JSON, kept
from envsound.base.errors import InputError, NotHere
from envsound.base.files import read_csv, read_json, sha256_file, visible, write_csv
from envsound.base.paths import shipped
from envsound.base.text import NOT_RUN
from envsound.codec import SHIPPED
from envsound.data.listing import recording_of
from envsound.data.recordings import Recordings
from envsound.run.presets import checked, nearest, read_settings_file
from envsound.studies.recognition import tables as made
from envsound.studies.recognition.baselines import AstProbe, CodecProbe, MfccSvm
from envsound.studies.recognition.cnn import CnnRecogniser
from envsound.studies.recognition.conformer import ProbedConformer
from envsound.studies.recognition.finetuned import FinetunedConformer
from envsound.studies.recognition.patch_bag import PatchBag
from envsound.studies.recognition.rounds import (
    Clips,
    Fold,
    Recogniser,
    check_scores,
    code_of,
)
from envsound.studies.recognition.tables import CLIP_COLUMNS, FOLD_COLUMNS, NO_CODEC, Recognised, folder_name

FOLDER = Path("notebooks/studies/recognisers")
CLASSES = (CodecProbe, MfccSvm, PatchBag, CnnRecogniser, AstProbe, ProbedConformer, FinetunedConformer)
KINDS: dict[str, type] = {one.kind: one for one in CLASSES}
SCORES_FOLDER = "recognisers"  # in a run's folder: checkpoints and scores of each recogniser, fold and seed
HISTORY_COLUMNS = ["recogniser", "fold", "seed", "epoch", "loss", "accuracy", "cross_entropy", "chosen"]
CARD, LISTED = "card.json", "attribution.csv"  # beside a codec's weights: what it is, and the clips it was trained on


def recogniser_names(folder: str | Path = FOLDER) -> list[str]:
    """Return the names of the files of settings in `folder`, sorted."""
    return [path.stem for path in visible(folder, "*.yml")]


def load_recognisers(
    names: Sequence[str], shared: Mapping[str, Any] | None = None, folder: str | Path = FOLDER
) -> list[Recogniser]:
    """Return the recognisers of some files of settings, in order. shared: as in `make_recogniser`.

    Raises InputError for an unknown file, kind or setting, a value of the wrong type or out of range, no name at all,
    and for two recognisers that would be the same row.
    """
    if not names:
        raise InputError(f"recognisers: there are none; expected some of {', '.join(recogniser_names(folder))}")
    found = [_load(name, shared, Path(folder)) for name in names]
    rows = Counter(folder_name(one.name) for one in found)
    for one in found:
        if (times := rows[folder_name(one.name)]) > 1:
            raise InputError(f"recognisers: {one.name!r} occurs {times} times; expected a name for each row")
    return found


def make_recogniser(
    kind: str, settings: Mapping[str, Any], shared: Mapping[str, Any] | None = None, label: str = "recogniser"
) -> Recogniser:
    """Return a recogniser of a kind from its settings; what is left out, such as the device, is as in `shared`.

    label: what error messages call the place the settings come from. Raises InputError as `load_recognisers` does.
    """
    if kind not in KINDS:
        raise InputError(f"{label}: unknown kind {kind!r}; expected {nearest(kind, KINDS)}")
    defaults = {field.name: field.default for field in fields(KINDS[kind])}
    given = {name: value for name, value in (shared or {}).items() if name in defaults}
    for key, value in settings.items():
        if key not in defaults:
            raise InputError(f"{label}: unknown setting {key!r} of a {kind}; expected {nearest(key, defaults)}")
        example = defaults[key]
        plain = [list(one) if isinstance(one, tuple) else one for one in (value, example)]
        given[key] = type(example)(checked(*plain, f"{label}: {key}"))  # a list becomes a tuple where that is one
    return KINDS[kind](**given)


def _load(name: str, shared: Mapping[str, Any] | None, folder: Path) -> Recogniser:
    path, known = folder / f"{name}.yml", recogniser_names(folder)
    if name not in known:
        raise InputError(f"recogniser {name!r}: no such file as {path}; expected {nearest(name, known)}")
    settings = read_settings_file(path)
    if "kind" not in settings:
        raise InputError(f"{path}: has no kind; expected kind: and one of {', '.join(KINDS)}")
    return make_recogniser(str(settings.pop("kind")), settings, shared, str(path))


def recognise(
    recognisers: Sequence[Recogniser], rounds: Sequence[Fold], folder: str | Path, seeds: Sequence[int] = (0,)
) -> Recognised:
    """Train and score every recogniser on every round with every seed; what is finished in `folder` is not done again.

    A recogniser that raises NotHere has no row, on any fold. Raises InputError when one returns no probabilities.
    """
    folds, clips, not_run = [], [], {}
    with tqdm(total=len(recognisers) * len(rounds) * len(seeds), desc="recognisers", unit="fold") as bar:
        for recogniser in recognisers:
            try:
                found = []
                for fold, seed in ((fold, seed) for fold in rounds for seed in seeds):
                    bar.set_postfix_str(f"{recogniser.name}, fold {fold.number}")
                    found.append((fold, seed, score_fold(recogniser, fold, folder, seed)))
                    bar.update()
            except NotHere as error:
                not_run[recogniser.name] = str(error)
                continue
            met = met_recordings(getattr(recogniser, "codec", ""))
            for fold, seed, scored in found:
                rows = _clip_rows(recogniser.name, fold, seed, scored["scores"], heard_clips(met, fold.test))
                clips.append(rows)
                folds.append(_fold_row(recogniser, fold, seed, rows, scored["seconds"]))
    rows = pd.concat(clips, ignore_index=True) if clips else pd.DataFrame(columns=CLIP_COLUMNS)
    return Recognised(pd.DataFrame(folds, columns=FOLD_COLUMNS), rows, not_run)


def score_fold(recogniser: Recogniser, fold: Fold, folder: str | Path, seed: int) -> dict[str, Any]:
    """Return what a recogniser thinks of a round's test clips, kept with all that it depends on.

    scores: probabilities, lists [n_test][n_classes]; seconds: the wall time it took.
    """
    place = _place(folder, recogniser.name, fold.number, seed)
    parts = [recogniser.settings(), code_of(type(recogniser).__module__), fold.number, fold.validation_fold, seed]
    parts += [part.digest for part in (fold.train, fold.validation, fold.test)]

    def make() -> dict[str, Any]:
        started = time.perf_counter()
        scores = check_scores(recogniser.fit_and_score(fold, place, seed), fold, recogniser.name)
        return {"scores": scores.tolist(), "seconds": round(time.perf_counter() - started, 3)}

    return kept(place, parts, make, JSON)


def _place(folder: str | Path, name: str, fold: int, seed: int) -> Path:
    return Path(folder) / folder_name(name) / f"fold{fold}_seed{seed}"


def learnt_from(recogniser: Recogniser, fold: Fold) -> Clips:
    """Return the clips that a recogniser's answers are learnt from: the validation clips too where it is refitted."""
    return fold.train_and_validation if recogniser.settings().get("refit", False) else fold.train


def clip_names(files: Sequence[Path]) -> list[str]:
    """Return a name for each file: its own without the suffix, after its folder's where two files are called alike."""
    stems = Counter(file.stem for file in files)
    return [file.stem if stems[file.stem] == 1 else f"{file.parent.name}/{file.stem}" for file in files]


def source_of(clip: str) -> str:
    """Return the recording that a clip was cut from, where its name tells it (`data.listing`); else the clip."""
    return recording_of(clip) or clip


def met_recordings(codec: str) -> frozenset[str] | None:
    """Return the recordings (`source_of`) that a codec was trained on, without labels; None where that is not known.

    codec: as in `codec.load_codec`; "" has met nothing. It is known where a card that names their hash (of their name,
    or card.json) and a list of training clips lie beside the weights. Raises InputError when the list has no clips.
    """
    if not codec:
        return frozenset()
    weights = shipped(SHIPPED[codec]) if codec in SHIPPED else Path(codec)
    own, listed = weights.with_suffix(".json"), weights.parent / LISTED
    card = own if own.is_file() else weights.parent / CARD
    if not all(path.is_file() for path in (weights, card, listed)):
        return None
    if read_json(card).get("content_hash") != sha256_file(weights):  # the card of another codec
        return None
    table = read_csv(listed)
    if "clip" not in table or table.empty:
        raise InputError(f"{listed}: names no clip; expected a column clip with the clips the codec was trained on")
    return frozenset(source_of(clip) for clip in table["clip"])


def heard_clips(met: frozenset[str] | None, clips: Clips) -> np.ndarray:
    """Return whether each clip's recording was among a codec's training clips: float64 [n], 1 or 0; NaN: not known.

    met: from `met_recordings`. Other cuts of a recording that was met count as met: they resemble each other.
    """
    if met is None:
        return np.full(len(clips), np.nan)
    return np.array([float(source_of(name) in met) for name in clip_names(clips.files)])


def _fold_row(recogniser: Recogniser, fold: Fold, seed: int, clips: pd.DataFrame, seconds: float) -> dict[str, Any]:
    learnt, right = learnt_from(recogniser, fold), int(clips["is_right"].sum())
    n_heard, codec = clips["codec_heard"].sum(skipna=False), Path(getattr(recogniser, "codec", "")).stem or NO_CODEC
    row = (recogniser.name, recogniser.kind, codec, fold.number, fold.validation_fold, seed, len(learnt))
    counts = (len(set(learnt.folds.tolist())), len(fold.test), n_heard if np.isnan(n_heard) else int(n_heard), right)
    return dict(zip(FOLD_COLUMNS, (*row, *counts, right / len(fold.test), seconds), strict=True))


def _clip_rows(name: str, fold: Fold, seed: int, scores: list[list[float]], codec_heard: np.ndarray) -> pd.DataFrame:
    table = np.array(scores)
    heard, categories, names = table.argmax(1), np.array(fold.test.categories), clip_names(fold.test.files)
    columns = {"recogniser": name, "seed": seed, "fold": fold.number, "clip": names}
    columns |= {"source": [source_of(clip) for clip in names], "category": categories[fold.test.labels]}
    columns |= {"heard": categories[heard], "is_right": heard == fold.test.labels, "confidence": table.max(1)}
    return pd.DataFrame(columns | {"codec_heard": codec_heard}, columns=CLIP_COLUMNS)


def history_table(found: Recognised, folder: str | Path) -> pd.DataFrame:
    """Return every epoch of every training in `folder`, which `recognise` has filled: HISTORY_COLUMNS.

    loss (nat) is of the training clips as they were changed; accuracy and cross_entropy (nat) are on the validation
    fold. chosen: whether its weights were taken: the highest accuracy, then the lowest cross-entropy, then the first.
    """
    parts = [pd.DataFrame(columns=HISTORY_COLUMNS)]
    for one in found.folds[HISTORY_COLUMNS[:3]].to_dict("records"):
        path = _place(folder, *one.values()) / "training.csv"
        if path.is_file():
            epochs = read_csv(path)
            best = epochs.sort_values(["accuracy", "cross_entropy"], ascending=[False, True], kind="stable").index[0]
            parts.append(epochs.assign(**one, chosen=epochs.index == best)[HISTORY_COLUMNS])
    return pd.concat(parts[1:] or parts, ignore_index=True)


def benchmark_of(dataset: str, esc10_only: bool) -> str:
    """Return the name under which results on these recordings are cited; "" for one's own, or part of a set."""
    if dataset == "esc50":
        return "esc10" if esc10_only else "esc50"
    return dataset if dataset == "urbansound8k" else ""


def rounds_table(rounds: Sequence[Fold], codec: str) -> pd.DataFrame:
    """Return who is what in each round: its folds, the clips of each part, and how many its codec has met in training.

    codec: as in `codec.load_codec`; NA where it is not known what it has met.
    """
    columns = ["test fold", "validation fold", "clips to train on", "to choose on", "to test", "met by the codec"]
    met, rows = met_recordings(codec), []
    for one in rounds:
        sizes = [len(part) for part in (one.train, one.validation, one.test)]
        rows.append((one.number, one.validation_fold, *sizes, heard_clips(met, one.test).sum()))
    return pd.DataFrame(rows, columns=columns).astype({columns[-1]: "Int64"})


def run_report(
    recognisers: Sequence[Recogniser],
    rounds: Sequence[Fold],
    work_dir: str | Path,
    seeds: Sequence[int] = (0,),
    benchmark: str = "",
    beside: str | Path = "",
    n_resamples: int = 2000,
) -> dict[str, pd.DataFrame]:
    """Run what is not finished and write the tables into `work_dir`, replacing older ones; return them by their names.

    recognition.csv, and recognition_<name>.csv: folds, training, classes, pairs, confusion, claim, clips, and beside
    where that is the folder of a finished run on another version of the same clips. Raises InputError when it is none.
    """
    work_dir, draws = Path(work_dir), {"seed": seeds[0], "n_resamples": n_resamples}
    other = read_csv(Path(beside) / "recognition_clips.csv") if beside else None
    found = recognise(recognisers, rounds, work_dir / SCORES_FOLDER, seeds)
    tables = {
        "recognition": made.summary_table(found, benchmark, **draws),
        "recognition_folds": found.folds,
        "recognition_training": history_table(found, work_dir / SCORES_FOLDER),
        "recognition_classes": made.classes_table(found, benchmark),
        "recognition_pairs": made.pairs_table(found, **draws),
        "recognition_confusion": made.confusions_table(found),
        "recognition_claim": made.claim_table(found, benchmark, **draws),
        "recognition_clips": found.clips,
    }
    if other is not None:
        tables["recognition_beside"] = made.beside_table(found, other, **draws)
    for name, table in tables.items():
        write_csv(work_dir / f"{name}.csv", table)
    return tables


def best_of(summary: pd.DataFrame) -> str:
    """Return the recogniser of the highest accuracy among those that were run. Raises InputError when none was."""
    measured = summary[summary["status"] == "measured"]
    if measured.empty:
        raise InputError("recognisers: none of them can run on this machine; expected at least one")
    return str(measured.loc[measured["accuracy"].idxmax(), "recogniser"])


def report_facts(recordings: Recordings, recognisers: Sequence[Recogniser], summary: pd.DataFrame) -> dict[str, Any]:
    """Return what the run's provenance should say: the data cut, every setting, and what could not run."""
    absent = summary[summary["status"] == NOT_RUN]
    return {
        "data_cut": recordings.cut,
        "n_clips": len(recordings.table),
        "bad_clips": recordings.bad_clips["filename"].tolist(),
        "recognisers": {one.name: one.settings() for one in recognisers},
        "not_run": dict(zip(absent["recogniser"], absent["note"], strict=True)),
    }
