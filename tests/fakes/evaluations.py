"""Tables of notebook 17, made up in milliseconds: numbers that say where each of them belongs."""

import pandas as pd

from envsound.evaluation.controls import SYSTEMS
from envsound.evaluation.memorisation import COPIED, NEIGHBOUR_COLUMNS, THROUGH_CODEC
from envsound.evaluation.panel import ROLES, TRAINING_COLUMNS, TRUTH_COLUMNS
from envsound.evaluation.spaces.distances import DISTANCE_COLUMNS

OTHERS = [name for name in SYSTEMS if name != "real"]
SPACES = ("log-mel", "cnn, 2 components")


def distances() -> pd.DataFrame:
    """Kernel distances of 1, 2, ... in the order of the other systems; AST is not run here."""
    rows = []
    for place, side in enumerate(OTHERS, 1):
        row = {"embedding": SPACES[1], "side": side, "category": "", "n": 80, "note": "", "kad": place}
        row |= {"kad_low": place - 0.5, "kad_high": place + 0.5, "kad_chance": 0.4, "fad": 10 * place}
        row |= {"kad_p_adjusted": 0.001 if place > 1 else 0.8, "precision": 0.5, "recall": 0.25}
        row |= {"fad_infinity": 9 * place, "fad_infinity_both": 8 * place}
        row |= {f"{name}_{end}": at for name in ("precision", "recall") for end, at in (("low", 0.2), ("high", 0.6))}
        rows.append(row)
    rows.append({"embedding": "AST", "side": "", "category": "", "note": "not run here: no weights"})
    return pd.DataFrame(rows, columns=DISTANCE_COLUMNS)


def class_truth() -> pd.DataFrame:
    """Eight clips of rain and eight of dog a side; the model's rain is never heard, its dog always."""
    rows = []
    for classifier, role in ROLES.items():
        for side in SYSTEMS:
            right = {"rain": 0 if side == "generated" else 8, "dog": 8}
            for category, n_right in {"": sum(right.values()), **right}.items():
                n = 8 if category else 16
                row = {"role": role, "side": side, "classifier": classifier, "category": category, "n": n}
                row |= {"n_right": n_right, "accuracy": n_right / n, "low": 0.2, "high": 0.9, "chance": 0.5}
                rows.append(row)
    return pd.DataFrame(rows, columns=TRUTH_COLUMNS)


def class_training() -> pd.DataFrame:
    """One row: what a listener does that learnt from generated clips."""
    row = {"role": "reports", "classifier": "cnn", "mix": "generated", "seed": 0, "n_training": 10, "n": 16}
    row |= {"composition": "5 generated", "accuracy": 0.375, "low": 0.2, "high": 0.6, "chance": 0.5, "n_right": 6}
    return pd.DataFrame([row], columns=TRAINING_COLUMNS)


def confusion() -> pd.DataFrame:
    """Rain is heard as dog where it is generated."""
    rows = [
        (side, classifier, category, "dog" if side == "generated" else category, 8)
        for side in SYSTEMS
        for classifier in ROLES
        for category in ("dog", "rain")
    ]
    return pd.DataFrame(rows, columns=["side", "classifier", "category", "heard", "n"])


def nearest() -> pd.DataFrame:
    """Four clips a side and space, copies at distance 0."""
    rows = [
        {"side": side, "space": space, "clip": f"{side}{i}", "nearest": "t", "relative": (side != COPIED) * i / 4}
        for space in SPACES
        for side in ("real", "generated", THROUGH_CODEC, COPIED)
        for i in range(4)
    ]
    return pd.DataFrame(rows, columns=NEIGHBOUR_COLUMNS)
