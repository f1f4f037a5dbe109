"""Is a generated clip what was asked for: what listeners trained on real clips hear in it, and what it can teach.

Two questions. Accuracy: does a classifier of real clips hear the class that was asked for? Training: does a classifier
that learnt from generated clips, alone or mixed with real ones, recognise real clips (the classification accuracy score
of Ravuri and Vinyals 2019)?
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from envsound.base.errors import InputError
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


class Classifier(Protocol):
    """Anything that names the class of clips, such as `listener.Listener`."""

    def predict(self, clips: Sequence[np.ndarray], sample_rate: int) -> list[str]: ...


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
    Who of them may report is for `selectors`. Raises InputError for no classifier and when no clip has a category.
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


def confusion_table(heard: pd.DataFrame, side: str, classifier: str) -> pd.DataFrame:
    """Return how often each category asked for (rows) was heard as each category (columns), counts.

    Rows and columns are the same, in alphabetical order: every category that was asked for or heard.
    Raises InputError when nothing was heard of that side by that classifier.
    """
    rows = heard[(heard["side"] == side) & (heard["classifier"] == classifier)]
    if rows.empty:
        raise InputError(f"side={side!r}, classifier={classifier!r}: nothing was heard of it")
    names = sorted({*rows["category"], *rows["heard"]})
    counts = pd.crosstab(rows["category"], rows["heard"]).reindex(index=names, columns=names, fill_value=0)
    return counts.rename_axis(index="asked", columns="heard")


def usual_mixes(pools: Mapping[str, Sequence[Source]], real: str = "real") -> list[Mix]:
    """Return the training sets to compare: real clips alone, and for each other pool three sets.

    The pool alone, half of each, and everything of both. All but the last have as many clips of a class as the smallest
    class of any pool, so that they differ in kind and not in number.
    Raises InputError when there is no other pool, or one lacks a class of the real pool.
    """
    sizes = {name: pd.Series([source.category for source in pool]).value_counts() for name, pool in pools.items()}
    if real not in sizes or len(sizes) < 2:
        raise InputError(f"pools={list(pools)}: expected {real!r} and at least one other")
    smallest = min(int(size.reindex(sizes[real].index, fill_value=0).min()) for size in sizes.values())
    if smallest < 1:
        raise InputError("pools: a class of the real pool has no clip in another one; expected some of every class")
    mixes, half = [Mix(real, {real: smallest})], smallest // 2
    for name in sizes:
        if name != real:
            mixes.append(Mix(name, {name: smallest}))
            if half:
                mixes.append(Mix(f"half {real}, half {name}", {real: smallest - half, name: half}))
            mixes.append(Mix(f"{real} and {name}", {real: 0, name: 0}))
    return mixes


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
    """Return a trainer of the support vector machine on MFCCs (`codecs.recognising`); it has no use for a seed."""
    return lambda clips, categories, sample_rate, seed: train_recogniser(clips, categories, sample_rate)


def findings_mixes(table: pd.DataFrame) -> str:
    """Return Markdown sentences on the rows of `train_on_mixes`: the mean accuracy over seeds of every mix.

    With the interval over test clips of a single seed, or the range over several.
    """
    lines = []
    for (classifier, mix), rows in table.groupby(["classifier", "mix"], sort=False):
        first, accuracy = rows.iloc[0], rows["accuracy"]
        text = f"- {classifier} trained on {mix} ({first['n_training']} clips, of each class {first['composition']}): "
        spread = f"{first['low']:.0%} to {first['high']:.0%}"
        if len(rows) > 1:
            spread = f"{accuracy.min():.0%} to {accuracy.max():.0%} over {len(rows)} seeds"
        lines.append(f"{text}**{accuracy.mean():.0%}** ({spread}) of {first['n']} real clips")
    return "\n".join([*lines, f"- chance: {table['chance'].iloc[0]:.0%}"])


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
