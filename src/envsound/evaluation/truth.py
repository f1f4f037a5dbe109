"""Is a generated clip what was asked for: what listeners trained on real clips hear in it, and what it can teach.

Two questions. Accuracy: does a classifier of real clips hear the class that was asked for? Training: does a classifier
that learnt from generated clips, alone or mixed with real ones, recognise real clips (the classification accuracy score
of Ravuri and Vinyals 2019)?
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from envsound.base.errors import InputError
from envsound.evaluation.listeners.mfcc import Listener as Classifier
from envsound.evaluation.listeners.mfcc import train_recogniser
from envsound.evaluation.sides import Source
from envsound.evaluation.spaces.embeddings import SourceClips
from envsound.metrics.tests import wilson

BATCH_SIZE = 32  # clips in memory at once
HEARD_COLUMNS = ["side", "classifier", "clip", "category", "heard", "is_right"]
ACCURACY_COLUMNS = ["side", "classifier", "category", "n", "n_right", "accuracy", "low", "high", "chance"]
MIX_COLUMNS = [
    "classifier", "mix", "seed", "n_training", "composition", "n", "n_right", "accuracy", "low", "high", "chance",
]  # fmt: skip
Trainer = Callable[[Sequence[np.ndarray], Sequence[str], int, int], Classifier]  # clips, classes, rate in Hz, seed


@dataclass(frozen=True)
class Mix:
    """A training set: how many clips of each class are drawn from each pool; 0 takes all that the pool has."""

    name: str
    n_per_class: Mapping[str, int]

    @property
    def composition(self) -> str:
        """The pools in words, such as "20 real + all generated"."""
        return " + ".join(f"{n or 'all'} {pool}" for pool, n in self.n_per_class.items())


def hear_classes(
    sides: Mapping[str, Sequence[Source]], classifiers: Mapping[str, Classifier], sample_rate: int
) -> pd.DataFrame:
    """Return what each classifier hears in each clip of each side: HEARD_COLUMNS, a row for each of them.

    sides: clips by the name of their side, each with the category that was asked for; held-out real clips among them
    show what the classifiers can do at best. Clips without a category, or that cannot be read, are left out.
    sample_rate: Hz, common to all sides; a classifier with a `sample_rate` of its own gets clips resampled from it.
    Who of them may report is for `panel`. Raises InputError for no classifier and when no clip has a category.
    """
    rows = []
    for side, sources in sides.items():
        asked = [source for source in sources if source.category]
        for name, classifier in classifiers.items():
            rows += _heard(asked, classifier, sample_rate, {"side": side, "classifier": name})
    if not rows:
        raise InputError(f"sides={list(sides)}, classifiers={list(classifiers)}: no clip with a category can be heard")
    return pd.DataFrame(rows, columns=HEARD_COLUMNS)


def accuracy_table(heard: pd.DataFrame, by_class: bool = True) -> pd.DataFrame:
    """Return the share of clips heard as what was asked for: ACCURACY_COLUMNS.

    A row for all clips of a side and classifier (category "") and one for each category. low, high: the 95% Wilson
    interval over clips; chance: one over the number of categories that were asked for on that side.
    """
    rows = []
    for (side, classifier), group in heard.groupby(["side", "classifier"], sort=False):
        chance = 1 / group["category"].nunique()
        parts = [("", group), *(group.groupby("category", sort=True) if by_class else [])]
        for category, part in parts:
            named = {"side": side, "classifier": classifier, "category": category, "chance": chance}
            rows.append(named | _share(part["is_right"].to_numpy()))
    return pd.DataFrame(rows, columns=ACCURACY_COLUMNS)


def mixes_of(real: Sequence[Source], generated: Sequence[Source]) -> list[Mix]:
    """Return the training sets to compare, of the pools real, generated and codec (the real ones through the codec).

    As many clips of a class as the smallest class of either side has, so that sets differ in kind and not in number:
    real, generated, half of each, and through the codec, what a perfect model of its codes could teach. And two of all
    clips, of the real side and of both. None when the model was not told classes or left one out.
    """
    counts = [Counter(source.category for source in pool) for pool in (real, generated)]
    if "" in counts[1] or set(counts[0]) - set(counts[1]):
        return []
    n = min(count[category] for count in counts for category in counts[0])
    mixes = [Mix("real", {"real": n}), Mix("all real", {"real": 0}), Mix("codec", {"codec": n})]
    mixes.append(Mix("generated", {"generated": n}))
    if n > 1:
        mixes.append(Mix("half real, half generated", {"real": n - n // 2, "generated": n // 2}))
    return [*mixes, Mix("real and generated", {"real": 0, "generated": 0})]


def train_on_mixes(
    pools: Mapping[str, Sequence[Source]],
    test: Sequence[Source],
    mixes: Sequence[Mix],
    trainers: Mapping[str, Trainer],
    sample_rate: int,
    seeds: Sequence[int] = (0,),
) -> pd.DataFrame:
    """Train classifiers on mixes of pools and test each on held-out real clips: MIX_COLUMNS.

    A row for each trainer, mix and seed; the seed draws the clips of the mix and is the trainer's. pools: training
    clips by name, such as real, generated, or real through the codec (what generated clips could teach at best).
    test: held-out real clips, in no pool. All are read at `sample_rate` Hz. low, high: 95% Wilson interval over the
    test clips; seeds show how much training itself varies.
    Raises InputError when a test clip is in a pool, a pool is unknown or has too few clips of a class.
    """
    leaked = sorted({source.name for source in test} & {source.name for pool in pools.values() for source in pool})
    if leaked:
        raise InputError(f"test: {leaked[0]} is in a pool, too; expected clips of other folds")
    plans = [(name, mix, seed) for name in trainers for mix in mixes for seed in seeds]
    rows = []
    for name, mix, seed in tqdm(plans, desc="training on mixes", unit="classifier", leave=False):
        drawn = draw_mix(pools, mix, seed)
        clips = SourceClips(drawn, sample_rate)
        classifier = trainers[name](clips, [source.category for source in drawn], sample_rate, seed)
        heard = _heard(test, classifier, sample_rate, {})
        row = {"classifier": name, "mix": mix.name, "seed": seed, "n_training": len(drawn)}
        row |= {"composition": mix.composition} | _share(np.array([one["is_right"] for one in heard]))
        rows.append(row | {"chance": 1 / len({one["category"] for one in heard})})
    return pd.DataFrame(rows, columns=MIX_COLUMNS)


def draw_mix(pools: Mapping[str, Sequence[Source]], mix: Mix, seed: int) -> list[Source]:
    """Return the clips of a mix, drawn without replacement, class by class.

    Raises InputError for a pool that is not there or has too few clips of a class.
    """
    rng, drawn = np.random.default_rng(seed), []
    for name, wanted in mix.n_per_class.items():
        if name not in pools:
            raise InputError(f"mix {mix.name!r}: no pool {name!r}; expected one of {', '.join(pools)}")
        classes = sorted({source.category for source in pools[name]})
        for category in classes:
            found = [source for source in pools[name] if source.category == category]
            if len(found) < wanted:
                raise InputError(f"mix {mix.name!r}: {name} has {len(found)} clips of {category!r}, expected {wanted}")
            drawn += [found[row] for row in np.sort(rng.permutation(len(found))[: wanted or len(found)])]
    return drawn


def recogniser_trainer() -> Trainer:
    """Return a trainer of the support vector machine on MFCCs (`listeners.mfcc`); it has no use for a seed."""
    return lambda clips, categories, sample_rate, seed: train_recogniser(clips, categories, sample_rate)


def _heard(
    sources: Sequence[Source], classifier: Classifier, sample_rate: int, named: dict[str, Any]
) -> list[dict[str, Any]]:
    """Return a row for each clip that can be read."""
    own_rate = getattr(classifier, "sample_rate", sample_rate)
    clips, rows = SourceClips(sources, sample_rate, own_rate), []
    for start in range(0, len(clips), BATCH_SIZE):
        batch, known = [], []
        for place in range(start, min(start + BATCH_SIZE, len(clips))):
            try:
                batch.append(clips[place])
                known.append(clips.sources[place])
            except InputError:
                continue  # named by the metrics of the same side
        answers = classifier.predict(batch, own_rate) if batch else []
        for source, answer in zip(known, answers, strict=True):
            row = {"clip": source.name, "category": source.category, "heard": answer}
            rows.append(named | row | {"is_right": answer == source.category})
    return rows


def _share(is_right: np.ndarray) -> dict[str, float | int]:
    n, n_right = len(is_right), int(np.sum(is_right))
    if not n:
        raise InputError("test: no clip can be read; expected at least one")
    low, high = wilson(n_right, n)
    return {"n": n, "n_right": n_right, "accuracy": n_right / n, "low": low, "high": high}
