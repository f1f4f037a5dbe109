"""What listeners found, in sentences that notebook 17 and the book share."""

from collections.abc import Sequence

import pandas as pd

from envsound.class_truth import findings_mixes
from envsound.listener_report import MAY_SELECT, REPORTS, ROLES
from envsound.memorisation import NEIGHBOURS, findings_memorisation
from envsound.statistics import ALPHA

BASELINES = ("copy", "shuffled", "bigram", "unigram", "noise")  # systems that need no model
HEARD_BESIDE = {
    "real": "real held-out clips",
    "codec": "the same through the codec",
    "real_other": "the floor's clips",
}
ROLE_WORDS = (
    f"Listener `{next(name for name, role in ROLES.items() if role == REPORTS)}`, the network, reports; listener "
    f"`{next(name for name, role in ROLES.items() if role == MAY_SELECT)}`, the vector machine, is the one by which "
    "settings may be chosen. What one has chosen the other judges."
)


def findings_distances(distances: pd.DataFrame, system: str = "generated") -> str:
    """Return a Markdown list: in each embedding the kernel distance of a system between floor, ceiling and baselines.

    distances: rows of distances.csv. An embedding that is not run here is named with its reason.
    """
    lines = []
    for embedding, rows in distances.groupby("embedding", sort=False):
        kad = rows.set_index("side")["kad"].dropna()
        if system not in kad:
            reason = next(iter(rows["note"]), "")
            lines.append(f"- {embedding}: {reason or 'too few clips'}")
            continue
        row = rows.set_index("side").loc[system]
        words = {"real_other": "floor", "codec": "ceiling", "noise": "white noise"}
        beside = [f"{word} {kad[side]:.2f}" for side, word in words.items() if side in kad]
        nearer = [side for side in BASELINES if side in kad and kad[side] <= kad[system]]
        text = f"- {embedding}: KAD **{row['kad']:.2f}** ({row['kad_low']:.2f} to {row['kad_high']:.2f}"
        text += f"; {', '.join(beside)}); " if beside else "); "
        text += "told from real clips" if row["kad_p_adjusted"] < ALPHA else "not told from real clips"
        n_baselines = sum(side in kad for side in BASELINES)
        text += f"; {len(nearer)} of {n_baselines} systems that need no model are nearer"
        lines.append(text + (f": {', '.join(nearer)}" if nearer else ""))
    return "\n".join(lines)


def findings_truth(truth: pd.DataFrame, system: str = "generated") -> str:
    """Return a Markdown list: what share of a system's clips each listener hears as what was asked for.

    truth: rows of class_truth.csv. One line says so when the system was not told classes.
    """
    whole = truth[truth["category"] == ""]
    if not (whole["side"] == system).any():
        return "- The model was not told classes, so there is none to be heard."
    lines = []
    for classifier, rows in whole.groupby("classifier", sort=False):
        row, sides = rows[rows["side"] == system].iloc[0], rows.set_index("side")["accuracy"]
        beside = [f"{sides[side]:.0%} of {words}" for side, words in HEARD_BESIDE.items() if side in sides]
        text = f"- {classifier} ({row['role']}) hears the class asked for in **{row['accuracy']:.0%}** "
        text += f"({row['low']:.0%} to {row['high']:.0%}) of {row['n']:.0f} generated clips"
        lines.append(f"{text}; in {', '.join(beside)}; by chance {row['chance']:.0%}")
    return "\n".join(lines)


def findings_training(training: pd.DataFrame) -> str:
    """Return a Markdown list: how well listeners do that learnt from each mix, from rows of class_training.csv."""
    if training.empty:
        return "- The model was not told classes, or left one out: its clips can teach none."
    return findings_mixes(training)


def worst_heard(truth: pd.DataFrame, classifier: str = "cnn", system: str = "generated") -> Sequence[str]:
    """Return the classes that a listener hears in none of the clips that were asked for, in alphabetical order."""
    rows = truth[(truth["side"] == system) & (truth["classifier"] == classifier) & (truth["category"] != "")]
    return sorted(rows.loc[rows["n_right"] == 0, "category"])


def findings_copies(memorisation: pd.DataFrame, system: str = "generated", through_codec: str = "copy") -> str:
    """Return sentences on memorisation: the verdict on the model, the control, and copies that went through the codec.

    memorisation: rows of memorisation.csv.
    """
    text = findings_memorisation(memorisation, system)
    rows = memorisation[memorisation["side"] == through_codec]
    if rows.empty:
        return text
    found = rows[rows["copies_found"].astype(bool)]
    seen = f"are found out in {', '.join(found['space'])}" if len(found) else "are found out in no space"
    missed = [space for space in rows["space"] if space not in set(found["space"])]
    text += f" Training clips through the codec, which is how a model of codes would copy, {seen}"
    text += f" and not in {', '.join(missed)}." if len(found) and missed else "."
    model = memorisation[(memorisation["side"] == system) & memorisation["space"].isin(missed)]
    blind = list(model.loc[model["copies_found"].astype(bool), "space"])
    if blind:
        text += f" In {', '.join(blind)}, then, to be near to training clips is no sign of a copy: such clips are "
        text += "typical of what training clips have in common."
    return f"{text} Distances are relative to the {NEIGHBOURS} nearest training clips."
