"""A finished run judged by listeners: distances between embeddings, class truth, memorisation, and the tables of these.

Two listeners of different kinds learn from real clips alone. One may choose a model's settings, the other reports on
the model, so that no network judges what it has chosen itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from envsound.base.files import write_tables
from envsound.evaluation.listeners.cache import CACHE as LISTENERS
from envsound.evaluation.listeners.cache import cached_listener, cached_trainer
from envsound.evaluation.listeners.network import Listener
from envsound.evaluation.listeners.training import ListenerTraining
from envsound.evaluation.memorisation import N_COPIES, THROUGH_CODEC, copied_clips, measure_memorisation
from envsound.evaluation.run_sides import FLOOR, MODEL, REAL, Sides, remembered
from envsound.evaluation.seeds import Judges, judge_run, numbers_of, seeds_table
from envsound.evaluation.selectors import Selectors, read_selectors
from envsound.evaluation.spaces.cache import CACHE as EMBEDDINGS
from envsound.evaluation.spaces.cache import KeptEmbedding
from envsound.evaluation.spaces.embeddings import (
    Embedding,
    ListenerEmbedding,
    NotRun,
    Reduced,
    SourceClips,
    StatisticsEmbedding,
    embed_clips,
)
from envsound.evaluation.spaces.pretrained import pretrained_embeddings
from envsound.evaluation.spaces.tables import measure_distances
from envsound.evaluation.truth import (
    ACCURACY_COLUMNS,
    MIX_COLUMNS,
    Classifier,
    Mix,
    Trainer,
    accuracy_table,
    hear_classes,
    recogniser_trainer,
    train_on_mixes,
    usual_mixes,
)
from envsound.run.record import read_runs

REPORTS, MAY_SELECT = "reports", "may select"
ROLES = {"cnn": REPORTS, "mfcc_svm": MAY_SELECT}
TABLES = (
    "distances", "distances_by_class", "class_truth", "class_training", "confusion", "memorisation", "nearest",
    "listener_seeds",
)  # fmt: skip
TRUTH_COLUMNS = ["role", *ACCURACY_COLUMNS, "note"]  # note: who judged the settings, see `selectors`
TRAINING_COLUMNS = ["role", *MIX_COLUMNS, "note"]
CONFUSION_COLUMNS = ["side", "classifier", "category", "heard", "n"]
MEMORISED = (REAL, MODEL)  # sides whose nearest training clips are looked for, beside the controls


@dataclass(frozen=True)
class Panel:
    """Who judges: classifiers by name, the embeddings (an embedding that cannot be had here says why), and the network.

    The network is among the classifiers and, by its activations, among the embeddings.
    """

    cnn: Listener
    classifiers: dict[str, Classifier]
    embeddings: list[Embedding | NotRun]


@dataclass(frozen=True)
class ListenerReport:
    """What listeners found, one table for each of TABLES, and facts for the provenance."""

    distances: pd.DataFrame
    distances_by_class: pd.DataFrame
    class_truth: pd.DataFrame
    class_training: pd.DataFrame
    confusion: pd.DataFrame
    memorisation: pd.DataFrame
    nearest: pd.DataFrame
    listener_seeds: pd.DataFrame
    facts: dict[str, Any] = field(default_factory=dict)

    def write(self, folder: str | Path) -> None:
        """Write each table as csv into a folder."""
        write_tables(folder, {name: getattr(self, name) for name in TABLES})


def train_panel(
    sides: Sides,
    n_epochs: int = 60,
    seed: int = 0,
    ast_weights: str | Path = "",
    clap_weights: str | Path = "",
    device: str = "auto",
    listener_dir: str | Path = LISTENERS,
    embedding_dir: str | Path = EMBEDDINGS,
) -> Panel:
    """Train both listeners on `sides.taught` and fit the embeddings' components to the same clips.

    The network keeps its last epoch. ast_weights, clap_weights: see `embeddings_pretrained.pretrained_embeddings`.
    Raises InputError for clips that cannot be learnt from, and for weights that are not what they should be.
    """
    clips, names = SourceClips(sides.taught, sides.sample_rate), [source.category for source in sides.taught]
    training = ListenerTraining(n_epochs=n_epochs, seed=seed)
    cnn = cached_listener(clips, names, sides.sample_rate, training, device, listener_dir)
    svm = recogniser_trainer()(clips, names, sides.sample_rate, seed)
    found = [StatisticsEmbedding(), ListenerEmbedding(cnn, "cnn")]
    found += pretrained_embeddings(ast_weights, clap_weights, device)
    embeddings = [one if isinstance(one, NotRun) else _reduced(one, sides, embedding_dir) for one in found]
    return Panel(cnn, dict(zip(ROLES, (cnn, svm), strict=True)), embeddings)


def evaluate_by_listeners(
    sides: Sides,
    panel: Panel,
    mix_epochs: int = 40,
    mix_seeds: Sequence[int] = (0,),
    large_mixes: bool = False,
    selected_by: Sequence[str] = (),
    seed: int = 0,
    device: str = "auto",
    listener_dir: str | Path = LISTENERS,
    more_runs: Sequence[str | Path] = (),
) -> ListenerReport:
    """Return every table of a run; see `distance_tables`, `class_truth` and `memorisation` for what is in them.

    mix_epochs: of the networks trained on mixes of real and generated clips, one for each of `mix_seeds`; large_mixes:
    whether those learn from the mixes that take every clip, too, as the other listener does; selected_by: content
    hashes of networks that chose the run's settings, beside those that the records of notebook 15 name; more_runs:
    further training seeds of the run, which are in `listener_seeds` alone. Raises InputError when a network that chose
    is to report, or a run differs in more than its seed; the other listener's rows bear a note.
    """
    runs = read_runs(sides.run.folder, more_runs) if more_runs else [sides.run]
    selectors = read_selectors(sides.run.folder, selected_by)
    selectors.check({name: one for name, one in panel.classifiers.items() if ROLES[name] == REPORTS})
    measured = {"sample_rate": sides.sample_rate, "selected_by": sorted(selectors.hashes)}
    distances = measure_distances(sides.by_system, panel.embeddings, reference=REAL, seed=seed, **measured)
    heard = hear_classes(sides.distinct, panel.classifiers, sides.sample_rate)
    network = cached_trainer(ListenerTraining(n_epochs=mix_epochs), device, listener_dir)
    trainers = dict(zip(ROLES, (network, recogniser_trainer()), strict=True))
    compared = {system: sides.distinct[system] for system in MEMORISED}
    compared[THROUGH_CODEC] = remembered(copied_clips(sides.reconstructed, N_COPIES, seed))
    memorised = measure_memorisation(
        compared, sides.training, panel.embeddings, sides.sample_rate, held_out=REAL, seed=seed
    )
    is_whole = distances["category"] == ""
    truth, training = accuracy_table(heard), _training_table(sides, trainers, mix_seeds, large_mixes)
    judges = Judges(panel.embeddings, panel.classifiers, trainers, _mix_of_model(sides), mix_seeds, seed)
    numbers = {runs[0].seed: numbers_of(distances, truth, training)}
    numbers |= {run.seed: judge_run(run, sides, judges) for run in runs[1:]}
    return ListenerReport(
        distances=distances[is_whole].reset_index(drop=True),
        distances_by_class=distances[~is_whole].reset_index(drop=True),
        class_truth=_with_role(truth, TRUTH_COLUMNS, selectors.notes(panel.classifiers)),
        class_training=_with_role(
            training, TRAINING_COLUMNS, selectors.notes(panel.classifiers, are_trained_anew=True)
        ),
        confusion=heard.groupby(CONFUSION_COLUMNS[:-1], sort=False).size().reset_index(name="n"),
        memorisation=memorised.table,
        nearest=memorised.neighbours,
        listener_seeds=seeds_table(numbers),
        facts=_facts(sides, panel, selectors) | {"training_seeds": [run.seed for run in runs]},
    )


def mixes_of(sides: Sides) -> list[Mix]:
    """Return the training sets that are compared, none when the model was not told classes or left one out.

    Those of `class_truth.usual_mixes`, all real clips, and as many clips through the codec as generated ones: what a
    perfect model of its codes could teach.
    """
    made = {source.category for source in sides.by_system[MODEL]}
    if "" in made or {source.category for source in sides.training} - made:
        return []
    first, *others = usual_mixes({REAL: sides.training, MODEL: sides.by_system[MODEL]}, REAL)
    return [first, Mix(f"all {REAL}", {REAL: 0}), Mix("codec", {"codec": first.n_per_class[REAL]}), *others]


def _mix_of_model(sides: Sides) -> Mix | None:
    """Return the mix of generated clips alone; None when they can teach none."""
    return next((mix for mix in mixes_of(sides) if mix.name == MODEL), None)


def _training_table(
    sides: Sides, trainers: Mapping[str, Trainer], seeds: Sequence[int], large_mixes: bool
) -> pd.DataFrame:
    """Return what listeners learn from mixes; the machine has no use for seeds but draws other clips with each."""
    pools = {REAL: sides.training, MODEL: sides.by_system[MODEL], "codec": sides.reconstructed}
    mixes, tables = mixes_of(sides), []
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


def _with_role(table: pd.DataFrame, columns: list[str], notes: dict[str, str]) -> pd.DataFrame:
    """Return a table with the role of each row's classifier and the note on it."""
    return table.assign(role=table["classifier"].map(ROLES), note=table["classifier"].map(notes))[columns]


def _facts(sides: Sides, panel: Panel, selectors: Selectors) -> dict[str, Any]:
    missing = [embedding for embedding in panel.embeddings if isinstance(embedding, NotRun)]
    return {
        "sample_rate_hz": sides.sample_rate,
        "n_clips": {system: len(sources) for system, sources in sides.distinct.items()},
        "held_out_fold": sides.run.fold,
        "floor_fold": sides.floor_fold if FLOOR in sides.by_system else None,
        "n_training": len(sides.training),
        "n_taught": len(sides.taught),
        "taught_folds": sorted({source.fold for source in sides.taught}),
        "roles": ROLES,
        "selected_by": {"hashes": sorted(selectors.hashes), "kinds": sorted(selectors.kinds)},
        "cnn_hash": panel.cnn.content_hash,
        "cnn_last_loss": float(np.round(panel.cnn.facts["history"][-1]["loss"], 6)),
        "not_run_here": {embedding.name: embedding.reason for embedding in missing},
    }
