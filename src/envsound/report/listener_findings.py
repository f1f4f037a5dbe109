"""What listeners found, in sentences that notebook 17 and the book share."""

from collections.abc import Sequence

import pandas as pd

from envsound.evaluation.memorisation import NEIGHBOURS, THROUGH_CODEC, findings_memorisation
from envsound.evaluation.panel import MAY_SELECT, REPORTS, ROLES
from envsound.evaluation.truth import findings_mixes
from envsound.metrics.tests import ALPHA

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
    return "\n".join([*lines, *selection_notes(whole)])


def findings_training(training: pd.DataFrame) -> str:
    """Return a Markdown list: how well listeners do that learnt from each mix, from rows of class_training.csv."""
    if training.empty:
        return "- The model was not told classes, or left one out: its clips can teach none."
    return "\n".join([findings_mixes(training), *selection_notes(training)])


def worst_heard(truth: pd.DataFrame, classifier: str = "cnn", system: str = "generated") -> Sequence[str]:
    """Return the classes that a listener hears in none of the clips that were asked for, in alphabetical order."""
    rows = truth[(truth["side"] == system) & (truth["classifier"] == classifier) & (truth["category"] != "")]
    return sorted(rows.loc[rows["n_right"] == 0, "category"])


def findings_copies(
    memorisation: pd.DataFrame, system: str = "generated", through_codec: Sequence[str] = (THROUGH_CODEC, "copy")
) -> str:
    """Return sentences on memorisation: the verdict on the model, the control, and copies that went through the codec.

    Where the model is nearer than new recordings, what was measured there is said of it and of those copies: neither
    verdict explains the other. memorisation: rows of memorisation.csv; through_codec: the sides of such copies, of
    which the first that is there counts (tables of older runs have one clip of each class alone).
    """
    text = [findings_memorisation(memorisation, system)]
    sides = {str(side): rows.set_index("space") for side, rows in memorisation.groupby("side", sort=False)}
    copies = next((sides[side] for side in through_codec if side in sides), None)
    if copies is not None:
        text.append(_through_codec(copies))
    for space, row in sides[system].iterrows() if system in sides else ():
        if row["copies_found"]:
            text.append(_measured(str(space), row, copies))
    return f"{' '.join(text)} Distances are relative to the {NEIGHBOURS} nearest training clips."


def selection_notes(table: pd.DataFrame) -> list[str]:
    """Return a line for each listener of a table whose rows bear a note on who judged the settings, none without."""
    noted = table[table["note"].fillna("") != ""] if "note" in table else table.iloc[:0]
    return [f"- {name}: {rows['note'].iloc[0]}" for name, rows in noted.groupby("classifier", sort=False)]


def _through_codec(copies: pd.DataFrame) -> str:
    """Return in which spaces copies through the codec are found out, from their rows by space."""
    found = copies["copies_found"].astype(bool)
    seen, missed = (", ".join(copies.index[chosen]) for chosen in (found, ~found))
    where = f"in {seen}" + (f" and not in {missed}" if missed else "") if seen else "in no space"
    n = copies["n"].iloc[0]
    text = f"Training clips through the codec (n = {n:.0f}), which is how a model of codes would copy, are found out"
    return f"{text} {where}."


def _measured(space: str, row: pd.Series, copies: pd.DataFrame | None) -> str:
    """Return how many clips are how near in a space, at how many training clips they point, and what copies do."""
    text = f"In *{space}* {_near(row)} of the model's clips are nearer to a training clip than every held-out one "
    text += f"({row['n_nearest_expected']:.1f} by chance)"
    if row["n_nearest"] and pd.notna(row.get("n_distinct")):
        text += f" and point at {row['n_distinct']:.0f} different training clips"
    text += f"; one is nearer than a held-out clip with a chance of {row['nearer']:.0%}."
    if copies is None or space not in copies.index:
        return text
    other = copies.loc[space]
    text += f" Of the copies through the codec {_near(other)} are so near there, the chance is {other['nearer']:.0%}."
    return text


def _near(row: pd.Series) -> str:
    return f"{row['n_nearest'] / row['n']:.0%} ({row['n_nearest']:.0f} of {row['n']:.0f})"
