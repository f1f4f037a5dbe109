"""A finished run judged by listeners: distances between embeddings, class truth, memorisation, and the tables of these.

Two listeners of different kinds learn from real clips alone. One may choose a model's settings, the other reports on
the model, so that no network judges what it has chosen itself: a setting that looks best to a judge favours what that
judge attends to.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from envsound.base.errors import InputError
from envsound.evaluation.compare import Report
from envsound.evaluation.listeners.mfcc import train_recogniser
from envsound.evaluation.listeners.network import Listener
from envsound.evaluation.listeners.training import CACHE as LISTENERS
from envsound.evaluation.listeners.training import ListenerTraining, kept_listener
from envsound.evaluation.memorisation import N_COPIES, THROUGH_CODEC, copied_clips, measure_memorisation
from envsound.evaluation.sides import FLOOR, MODEL, REAL, Sides, Source, from_rows, remembered, samples_of
from envsound.evaluation.spaces.distances import measure_distances
from envsound.evaluation.spaces.embeddings import CACHE as EMBEDDINGS
from envsound.evaluation.spaces.embeddings import (
    Embedding,
    KeptEmbedding,
    NotRun,
    Reduced,
    SourceClips,
    StatisticsEmbedding,
    embed_clips,
)
from envsound.evaluation.spaces.pretrained import pretrained_embeddings
from envsound.evaluation.truth import (
    ACCURACY_COLUMNS,
    MIX_COLUMNS,
    Classifier,
    Trainer,
    accuracy_table,
    hear_classes,
    mixes_of,
    train_on_mixes,
)
from envsound.run.contract import read_table
from envsound.run.record import RunSettings, read_runs

REPORTS, MAY_SELECT = "reports", "may select"
ROLES = {"cnn": REPORTS, "mfcc_svm": MAY_SELECT}
TRUTH_COLUMNS = ["role", *ACCURACY_COLUMNS, "note"]  # note: who judged the settings, see `Selectors`
TRAINING_COLUMNS = ["role", *MIX_COLUMNS, "note"]
CONFUSION_COLUMNS = ["side", "classifier", "category", "heard", "n"]
MEMORISED = (REAL, MODEL)  # sides whose nearest training clips are looked for, beside the controls
DISTANCES = ("kad", "fad", "fad_infinity", "precision", "recall")  # compared over training seeds
SPREAD = ["mean", "sd", "lowest", "highest", "n_runs"]
SAME = "chose among the candidates itself: no independent judge"
Numbers = dict[tuple[str, str], float]  # by quantity and judge


@dataclass(frozen=True)
class Panel:
    """Who judges: classifiers by name, and the embeddings (an embedding that cannot be had here says why).

    The network "cnn" is among the classifiers and, by its activations, among the embeddings. trainers: by the same
    names, of listeners that learn from mixes of real and generated clips.
    """

    classifiers: dict[str, Classifier]
    embeddings: list[Embedding | NotRun]
    trainers: dict[str, Trainer]


@dataclass(frozen=True)
class Selectors:
    """The judges that chose among a run's clips or settings, by their content hashes."""

    hashes: frozenset[str] = frozenset()

    def note(self, listener: Any, is_trained_anew: bool = False) -> str:
        """Return what a reader must know of a listener's numbers, "" for one that has nothing to do with a choice.

        is_trained_anew: the numbers are those of listeners like this one, trained on other clips.
        """
        return SAME if not is_trained_anew and getattr(listener, "content_hash", "") in self.hashes else ""

    def check(self, reporting: Mapping[str, Any]) -> None:
        """Raise InputError when a listener or an embedding that reports has chosen what it is to report on."""
        for name, one in reporting.items():
            if getattr(one, "content_hash", "") in self.hashes:
                raise InputError(f"{name!r}: selected the model; expected another one to report on it")


def read_selectors(run_dir: str | Path, more: Sequence[str] = ()) -> Selectors:
    """Return the judges that samples.csv names as having chosen among candidates, and `more` content hashes."""
    samples = read_table(run_dir, "samples")
    chosen = samples["score"].dropna() if "score" in samples else []
    return Selectors(frozenset({*more, *chosen} - {""}))


def train_panel(
    sides: Sides,
    n_epochs: int = 60,
    mix_epochs: int = 40,
    seed: int = 0,
    ast_weights: str | Path = "",
    clap_weights: str | Path = "",
    device: str = "auto",
    listener_dir: str | Path = LISTENERS,
    embedding_dir: str | Path = EMBEDDINGS,
) -> Panel:
    """Train both listeners on `sides.taught` and fit the embeddings' components to the same clips.

    The network keeps its last epoch; mix_epochs: of the networks that learn from mixes. ast_weights, clap_weights: see
    `spaces.pretrained.pretrained_embeddings`. Raises InputError for clips that cannot be learnt from, and for weights
    that are not what they should be.
    """
    clips, names = SourceClips(sides.taught, sides.sample_rate), [source.category for source in sides.taught]
    training = ListenerTraining(n_epochs=n_epochs, seed=seed)
    cnn = kept_listener(clips, names, sides.sample_rate, training, device, listener_dir)
    found = [StatisticsEmbedding(), cnn, *pretrained_embeddings(ast_weights, clap_weights, device)]
    embeddings = [one if isinstance(one, NotRun) else _reduced(one, sides, embedding_dir) for one in found]

    def train_network(clips: Sequence[np.ndarray], names: Sequence[str], sample_rate: int, seed: int) -> Listener:
        training = ListenerTraining(n_epochs=mix_epochs, seed=seed)
        return kept_listener(clips, names, sample_rate, training, device, listener_dir)

    classifiers = {"cnn": cnn, "mfcc_svm": train_recogniser(clips, names, sides.sample_rate)}
    return Panel(classifiers, embeddings, {"cnn": train_network, "mfcc_svm": train_recogniser})


def evaluate_by_listeners(
    sides: Sides,
    panel: Panel,
    mix_seeds: Sequence[int] = (0,),
    large_mixes: bool = False,
    selected_by: Sequence[str] = (),
    seed: int = 0,
    more_runs: Sequence[str | Path] = (),
) -> Report:
    """Return every table of a run; see `spaces.distances`, `truth` and `memorisation` for what is in them.

    mix_seeds: one network each, for every mix of real and generated clips; large_mixes: whether networks learn from the
    mixes that take every clip, too, as the other listener does; selected_by: content hashes of networks that chose the
    run's settings, beside those that `read_selectors` finds; more_runs: further training seeds of the run, which are in
    listener_seeds alone. Raises InputError when a network that chose is to report, or a run differs in more than its
    seed; the other listener's rows bear a note.
    """
    runs = read_runs(sides.run.folder, more_runs) if more_runs else [sides.run]
    selectors = read_selectors(sides.run.folder, selected_by)
    reporting = {name: one for name, one in panel.classifiers.items() if ROLES[name] == REPORTS}
    selectors.check(reporting | {one.name: one for one in panel.embeddings})
    distances = measure_distances(sides.by_system, panel.embeddings, sides.sample_rate, seed)
    heard = hear_classes(sides.distinct, panel.classifiers, sides.sample_rate)
    compared = {system: sides.distinct[system] for system in MEMORISED}
    compared[THROUGH_CODEC] = remembered(copied_clips(sides.reconstructed, N_COPIES, seed))
    nearest, copies = measure_memorisation(
        compared, sides.training, panel.embeddings, sides.sample_rate, N_COPIES, seed
    )
    truth, training = accuracy_table(heard), _training_table(sides, panel.trainers, mix_seeds, large_mixes)
    numbers = {runs[0].seed: numbers_of(distances, truth, training)}
    numbers |= {run.seed: judge_run(run, sides, panel, mix_seeds, seed) for run in runs[1:]}
    is_whole = distances["category"] == ""
    tables = {
        "distances": distances[is_whole].reset_index(drop=True),
        "distances_by_class": distances[~is_whole].reset_index(drop=True),
        "class_truth": _with_role(truth, panel, selectors)[TRUTH_COLUMNS],
        "class_training": _with_role(training, panel, selectors, is_trained_anew=True)[TRAINING_COLUMNS],
        "confusion": heard.groupby(CONFUSION_COLUMNS[:-1], sort=False).size().reset_index(name="n"),
        "memorisation": copies,
        "nearest": nearest,
        "listener_seeds": seeds_table(numbers),
    }
    return Report(tables, _facts(sides, panel, selectors) | {"training_seeds": [run.seed for run in runs]})


def judge_run(run: RunSettings, sides: Sides, panel: Panel, mix_seeds: Sequence[int] = (0,), seed: int = 0) -> Numbers:
    """Return what `numbers_of` says of the clips that a run has generated, against the real clips of `sides`.

    The judges are those of the first run; listeners learn from the run's own clips, and nothing where it has too few of
    a class for the mix that the first run's taught.
    """
    model, rate = from_rows(samples_of(run.folder), run.clip_seconds), sides.sample_rate
    pair = {REAL: sides.by_system[REAL], MODEL: model}
    distances = measure_distances(pair, panel.embeddings, rate, seed, by_class=False)
    truth, training = pd.DataFrame(columns=ACCURACY_COLUMNS), pd.DataFrame(columns=MIX_COLUMNS)
    if any(source.category for source in model):
        truth = accuracy_table(hear_classes({MODEL: model}, panel.classifiers, rate), by_class=False)
    mixes = [mix for mix in mixes_of(sides.training, sides.by_system[MODEL]) if mix.name == MODEL]
    n_made = Counter(source.category for source in model)
    if mixes and min(n_made[source.category] for source in sides.training) >= mixes[0].n_per_class[MODEL]:
        training = train_on_mixes({MODEL: model}, pair[REAL], mixes, panel.trainers, rate, mix_seeds)
    return numbers_of(distances, truth, training)


def numbers_of(distances: pd.DataFrame, truth: pd.DataFrame, training: pd.DataFrame) -> Numbers:
    """Return what is compared over training seeds, by quantity and judge, from rows of the tables of notebook 17.

    DISTANCES; accuracy, of clips heard as asked; and accuracy_taught, of real clips recognised after learning from
    generated ones alone, the mean over the seeds of that mix.
    """
    found: Numbers = {}
    whole = distances[(distances["side"] == MODEL) & (distances["category"] == "")]
    for name in DISTANCES:
        found |= {(name, row["embedding"]): row[name] for row in whole.to_dict("records") if pd.notna(row[name])}
    heard = truth[(truth["side"] == MODEL) & (truth["category"] == "")]
    found |= {("accuracy", row["classifier"]): row["accuracy"] for row in heard.to_dict("records")}
    taught = training[training["mix"] == MODEL].groupby("classifier", sort=False)["accuracy"].mean()
    return found | {("accuracy_taught", str(name)): float(value) for name, value in taught.items()}


def seeds_table(found: Mapping[int, Numbers]) -> pd.DataFrame:
    """Return listener_seeds.csv: a row for each quantity and judge, of every training seed the first run's numbers.

    found: numbers by training seed, the main run's first. Columns: quantity, judge, seed_<n> for each training seed,
    and mean, sd (n - 1, NaN for one run), lowest and highest over the n_runs in which it is known.
    """
    columns = [f"seed_{seed}" for seed in found]
    rows = []
    for quantity, judge in next(iter(found.values())):
        values = np.array([numbers.get((quantity, judge), np.nan) for numbers in found.values()], dtype=float)
        known = values[~np.isnan(values)]
        sd = known.std(ddof=1) if known.size > 1 else np.nan
        spread = (known.mean(), sd, known.min(), known.max(), known.size)
        rows.append((quantity, judge, *values, *spread))
    return pd.DataFrame(rows, columns=["quantity", "judge", *columns, *SPREAD])


def _training_table(
    sides: Sides, trainers: Mapping[str, Trainer], seeds: Sequence[int], large_mixes: bool
) -> pd.DataFrame:
    """Return what listeners learn from mixes; the machine has no use for seeds but draws other clips with each."""
    pools: dict[str, list[Source]] = {REAL: sides.training, MODEL: sides.by_system[MODEL], "codec": sides.reconstructed}
    mixes, tables = mixes_of(pools[REAL], pools[MODEL]), []
    for name, trainer in trainers.items():
        takes_all = large_mixes or ROLES[name] != REPORTS  # a network is slow to train
        chosen = [mix for mix in mixes if takes_all or all(mix.n_per_class.values())]
        trained = {name: trainer}
        tables.append(train_on_mixes(pools, sides.by_system[REAL], chosen, trained, sides.sample_rate, seeds))
    return pd.concat(tables, ignore_index=True)


def _reduced(embedding: Embedding, sides: Sides, folder: str | Path) -> Reduced:
    kept = KeptEmbedding(embedding, folder)
    reference = embed_clips(sides.taught, kept, sides.sample_rate, "taught").vectors
    return Reduced(kept, reference, standardised=isinstance(embedding, StatisticsEmbedding))


def _with_role(table: pd.DataFrame, panel: Panel, selectors: Selectors, is_trained_anew: bool = False) -> pd.DataFrame:
    """Return a table with the role of each row's classifier and the note on it."""
    notes = {name: selectors.note(one, is_trained_anew) for name, one in panel.classifiers.items()}
    return table.assign(role=table["classifier"].map(ROLES), note=table["classifier"].map(notes))


def _facts(sides: Sides, panel: Panel, selectors: Selectors) -> dict[str, Any]:
    cnn, missing = panel.classifiers["cnn"], [one for one in panel.embeddings if isinstance(one, NotRun)]
    return {
        "sample_rate_hz": sides.sample_rate,
        "n_clips": {system: len(sources) for system, sources in sides.distinct.items()},
        "held_out_fold": sides.run.fold,
        "floor_fold": sides.floor_fold if FLOOR in sides.by_system else None,
        "n_training": len(sides.training),
        "n_taught": len(sides.taught),
        "taught_folds": sorted({source.fold for source in sides.taught}),
        "roles": ROLES,
        "selected_by": sorted(selectors.hashes),
        "cnn_hash": cnn.content_hash,
        "cnn_last_loss": float(np.round(cnn.facts["history"][-1]["loss"], 6)),
        "not_run_here": {embedding.name: embedding.reason for embedding in missing},
    }
