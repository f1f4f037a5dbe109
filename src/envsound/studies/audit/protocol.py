"""What it is worth to choose the epoch on the test fold, to use one level, or to split at random: measured, not argued.

The published classifier repeats level 0 and keeps the epoch that is best on the test fold. Here a small classifier of
codes is trained once for each fold and seed, and one and the same training is read in both ways.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.model_selection import StratifiedKFold
from torch import nn
from torch.nn import functional as F
from tqdm.auto import tqdm

from envsound.base.errors import InputError
from envsound.codec.codes import load_codes
from envsound.data.folds import recorded
from envsound.data.listing import recording_of
from envsound.metrics.resampling import two_way_bootstrap
from envsound.systems.soundstorm.batches import derive_seed

RUN_COLUMNS = [
    "kind", "split", "inputs", "fold", "seed", "n_train", "n_test", "shared_sources",
    "on_validation", "on_test", "epoch_on_validation", "epoch_on_test",
]  # fmt: skip
COLUMNS = [
    "comparison", "kind", "first", "second", "accuracy_first", "accuracy_second", "difference", "low", "high",
    "n_folds", "n_seeds", "n_test", "shared_sources_first", "shared_sources_second",
]  # fmt: skip
SPLITS, INPUTS = ("official", "random"), ("all", "level_0")
CHOSEN_ON = {"on_validation": "validation", "on_test": "test"}
WORDS = {
    "official": "official folds", "random": "random folds", "all": "all levels", "level_0": "level 0",
    "on_validation": "epoch chosen on a validation fold", "on_test": "epoch best on the test fold",
}  # fmt: skip
Reading = tuple[str, str, str]  # one way to state an accuracy: one of SPLITS, of INPUTS and of CHOSEN_ON
SOUND: Reading = ("official", "all", "on_validation")
COMPARISONS: dict[str, tuple[Reading, Reading]] = {  # the first less the second is what the first gains
    "epoch, all levels": (("official", "all", "on_test"), SOUND),
    "epoch, level 0": (("official", "level_0", "on_test"), ("official", "level_0", "on_validation")),
    "level 0 alone": (("official", "level_0", "on_validation"), SOUND),
    "random folds": (("random", "all", "on_validation"), SOUND),
    "random folds and epoch": (("random", "all", "on_test"), SOUND),
    "published protocol": (("official", "level_0", "on_test"), SOUND),
}


@dataclass(frozen=True)
class ProtocolPlan:
    """A small classifier and how often it is trained: once for each fold, seed, split and set of levels."""

    n_epochs: int = 30
    seeds: tuple[int, ...] = (0, 1, 2)
    hidden: int = 32
    dropout: float = 0.5
    batch_size: int = 32
    lr: float = 2e-3
    weight_decay: float = 1e-2

    def __post_init__(self) -> None:
        if min(self.n_epochs, self.hidden, self.batch_size) < 1 or not self.seeds or not self.lr > 0:
            raise InputError("n_epochs, hidden, batch_size, lr above 0 and at least one seed are expected")


def random_folds(categories: Sequence[str], n_folds: int, seed: int) -> np.ndarray:
    """Return a fold 1 to n_folds for each clip, drawn at random, equal within each class: int [n_clips].

    Raises InputError when no class has a clip for every fold.
    """
    if n_folds < 2 or max(Counter(categories).values()) < n_folds:
        raise InputError(f"n_folds={n_folds}: expected two or more, and a class with a clip for each")
    folds = np.empty(len(categories), dtype=np.int64)
    drawn = StratifiedKFold(n_folds, shuffle=True, random_state=seed).split(np.zeros(len(categories)), categories)
    for number, (_, rows) in enumerate(drawn, 1):
        folds[rows] = number
    return folds


def shared_sources(sources: Sequence[str], is_test: np.ndarray) -> float:
    """Return the share of test clips with a clip of the same recording outside the test; NaN where none is known."""
    names = np.asarray(sources)
    known = is_test & (names != "")
    return float(np.isin(names[known], names[~is_test]).mean()) if known.any() else float("nan")


def code_features(codes: Sequence[np.ndarray], codebook_size: int) -> np.ndarray:
    """Return how often each code occurs in each clip, as square roots of shares: float32 [n, n_levels, codebook_size].

    codes: int [n_levels, n_frames] each. Square roots, so that the few frequent codes of a clip are not all there is.
    """
    counts = np.array([[np.bincount(level, minlength=codebook_size) for level in clip] for clip in codes])
    return np.sqrt(counts / counts.sum(-1, keepdims=True)).astype(np.float32)


def run_protocol(
    table: pd.DataFrame, plan: ProtocolPlan, codebook_size: int, kind: str, codec_hash: str | None = None
) -> pd.DataFrame:
    """Train every classifier and return audit_protocol_runs.csv, a row for each training, in columns RUN_COLUMNS.

    table: a run's codes.csv. For each fold the next one is the validation fold, the others are trained on. `on_test`
    is the accuracy on the test fold at the epoch that is best there, `on_validation` at the (first) epoch that is best
    on the validation fold. Random folds are as many as the official ones, equal in each class, drawn anew for each
    seed; they are left out where file names do not tell which recording a clip was cut from. Raises InputError when
    there are fewer than three folds or two classes.
    """
    table = recorded(table)
    folds, categories = (sorted(table[name].unique()) for name in ("fold", "category"))
    if len(folds) < 3 or len(categories) < 2:
        raise InputError(f"codes: {len(folds)} folds, {len(categories)} classes; expected at least three and two")
    features = code_features([load_codes(path, codec_hash) for path in table["codes_file"]], codebook_size)
    inputs = {"all": features.reshape(len(features), -1), "level_0": features[:, 0]}
    classes = np.array([categories.index(name) for name in table["category"]], dtype=np.int64)
    sources = [recording_of(name) for name in table["filename"]]
    wanted = list(product(plan.seeds, SPLITS if any(sources) else SPLITS[:1], INPUTS, enumerate(folds)))
    rows = []
    for seed, split, name, (place, fold) in tqdm(wanted, desc="classifiers"):
        of_clip = table["fold"].to_numpy()
        if split == "random":
            of_clip = np.asarray(folds)[random_folds(list(table["category"]), len(folds), seed) - 1]
        parts = {"test": of_clip == fold, "validation": of_clip == folds[(place + 1) % len(folds)]}
        parts["train"] = ~parts["test"] & ~parts["validation"]
        row = {"kind": kind, "split": split, "inputs": name, "fold": fold, "seed": seed}
        row["shared_sources"] = shared_sources(sources, parts["test"])
        rows.append(row | _read_twice(inputs[name], classes, parts, plan, derive_seed(seed, place)))
    return pd.DataFrame(rows, columns=RUN_COLUMNS)


def accuracy_by_epoch(
    features: np.ndarray, classes: np.ndarray, parts: dict[str, np.ndarray], plan: ProtocolPlan, seed: int
) -> dict[str, np.ndarray]:
    """Train one classifier; return the accuracy on each part but "train" after every epoch, float [n_epochs].

    features [n, n_features], classes [n]; parts: name -> bool [n], "train" among them. One hidden layer, dropout on
    both sides of it. The same seed gives the same accuracies; torch's random state is left as it was.
    """
    x, y = torch.from_numpy(features), torch.from_numpy(classes)
    found: dict[str, list[float]] = {name: [] for name in parts if name != "train"}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = [nn.Linear(x.shape[1], plan.hidden), nn.ReLU(), nn.Dropout(plan.dropout)]
        network = nn.Sequential(nn.Dropout(plan.dropout), *layers, nn.Linear(plan.hidden, int(classes.max()) + 1))
        optimizer = torch.optim.AdamW(network.parameters(), lr=plan.lr, weight_decay=plan.weight_decay)
        rows = torch.from_numpy(np.flatnonzero(parts["train"]))
        x = (x - x[rows].mean(0)) / x[rows].std(0).mean().clamp(min=1e-6)
        for _ in range(plan.n_epochs):
            network.train()
            for batch in rows[torch.randperm(len(rows))].split(plan.batch_size):
                optimizer.zero_grad(set_to_none=True)
                F.cross_entropy(network(x[batch]), y[batch]).backward()
                optimizer.step()
            with torch.no_grad():
                for name, accuracies in found.items():
                    right = network.eval()(x[parts[name]]).argmax(1) == y[parts[name]]
                    accuracies.append(float(right.double().mean()))
    return {name: np.array(accuracies) for name, accuracies in found.items()}


def audit_protocol(runs: pd.DataFrame, seed: int = 0, n_resamples: int = 1000) -> pd.DataFrame:
    """Return audit_protocol.csv from `run_protocol`: a row for each of COMPARISONS that was run, in columns COLUMNS.

    Mean accuracies over folds and seeds of two readings, and the first less the second with a 95% interval: folds and
    seeds are both resampled, see `resampling.two_way_bootstrap`. shared_sources: the mean share of test clips whose
    recording is also trained on or validated on.
    """
    rows = []
    for place, (name, readings) in enumerate(COMPARISONS.items()):
        sides = [runs[(runs["split"] == split) & (runs["inputs"] == inputs)] for split, inputs, _ in readings]
        if any(side.empty for side in sides):
            continue
        row, grids = {"comparison": name, "kind": runs.iloc[0]["kind"]}, []
        for which, reading, side in zip(("first", "second"), readings, sides, strict=True):
            grids.append(side.pivot(index="fold", columns="seed", values=reading[2]).to_numpy(dtype=np.float64))
            row |= {which: ", ".join(WORDS[part] for part in reading), f"accuracy_{which}": grids[-1].mean()}
            row[f"shared_sources_{which}"] = side["shared_sources"].mean()
        found = two_way_bootstrap(grids[0] - grids[1], np.random.default_rng([seed, place]), n_resamples)
        row |= dict(zip(("difference", "low", "high"), found, strict=True))
        n_folds, n_seeds = grids[0].shape
        rows.append(row | {"n_folds": n_folds, "n_seeds": n_seeds, "n_test": int(sides[0]["n_test"].sum() / n_seeds)})
    return pd.DataFrame(rows, columns=COLUMNS)


def _read_twice(
    features: np.ndarray, classes: np.ndarray, parts: dict[str, np.ndarray], plan: ProtocolPlan, seed: int
) -> dict[str, Any]:
    """Train one classifier; return its accuracy on the test at the epochs that are best on either of CHOSEN_ON."""
    accuracies = accuracy_by_epoch(features, classes, parts, plan, seed)
    epochs = {name: int(accuracies[part].argmax()) for name, part in CHOSEN_ON.items()}
    row: dict[str, Any] = {name: float(accuracies["test"][epoch]) for name, epoch in epochs.items()}
    row |= {f"epoch_{name}": epoch + 1 for name, epoch in epochs.items()}
    return row | {"n_train": int(parts["train"].sum()), "n_test": int(parts["test"].sum())}
