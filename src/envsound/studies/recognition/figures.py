"""Figures of recognising sounds: every recogniser with its folds, how they learnt, classes and confusions."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from envsound.report.style import DOTTED, DOUBLE_COLUMN, GREY, LOOKS, SINGLE_COLUMN, empty_figure, new_figure, style
from envsound.studies.recognition.tables import NO_CODEC, STRONG, WEAK

MEAN = {"ls": "", "marker": "D", "ms": 4.5, "color": "#222222"}
OWN_FOLD = {"ls": "", "marker": "o", "ms": 3.5, "mfc": "none", "mew": 0.8, "color": LOOKS["real"].colour}
UNMET = {"ls": "", "marker": "|", "ms": 9, "mew": 1.4, "color": LOOKS["codec"].colour}
ELSEWHERE = {"ls": "", "marker": "D", "ms": 5, "mfc": "white", "mec": GREY}
PUBLISHED = {"ls": "", "marker": "D", "ms": 4.5, "mfc": "white", "mec": "#222222"}
CLAIMED = {  # as published, with how they look
    "strong": (STRONG, {"ls": "", "marker": "o", "ms": 4, "color": "#009E73"}),
    "weak": (WEAK, {"ls": "", "marker": "o", "ms": 4, "color": "#D55E00"}),
}
DODGE = 0.16  # of folds above the line of their mean


def accuracy_figure(summary: pd.DataFrame, folds: pd.DataFrame) -> Figure:
    """Draw the accuracy of every recogniser in recognition.csv, the best at the top: mean, interval, and its folds.

    Those that read codes have a bar where they are on the test clips that their codec has not met. What is cited from
    elsewhere, measured on other versions of the clips, is a hollow diamond; what was not run is left out.
    """
    rows = summary[summary["accuracy"].notna()].sort_values("accuracy", ascending=False, kind="stable")
    if rows.empty:
        return empty_figure("no recogniser was run here")
    cited = rows["status"] == "cited"
    with style():
        fig = new_figure(DOUBLE_COLUMN, 0.8 + 0.24 * len(rows))
        ax = fig.subplots()
        for place, row in enumerate(rows.to_dict("records")):
            if row["status"] == "cited":
                ax.plot(100 * row["accuracy"], place, **ELSEWHERE)
                continue
            own = 100 * folds.loc[folds["recogniser"] == row["recogniser"], "accuracy"]
            ax.plot(own, np.full(len(own), place - DODGE), **OWN_FOLD)
            if row["codec"] != NO_CODEC:
                ax.plot([100 * row["accuracy_unheard"]], [place + DODGE], **UNMET)
            spread = 100 * np.array([[row["accuracy"] - row["low"]], [row["high"] - row["accuracy"]]])
            ax.errorbar(100 * row["accuracy"], place + DODGE, xerr=np.maximum(spread, 0), lw=1.2, capsize=2.5, **MEAN)
        ax.set_yticks(range(len(rows)), rows["recogniser"] + cited.map({True: " (cited)", False: ""}))
        ax.set(xlabel="test clips named rightly (%)", ylim=(len(rows) - 0.5, -0.5), xlim=(None, 101))
        ax.tick_params(axis="y", length=0)
        ax.grid(axis="x")
        looks = {"mean, 95% interval over clips": MEAN, "a fold": OWN_FOLD}
        if rows.loc[~cited, "accuracy_unheard"].notna().any():
            looks["clips that its codec has not met"] = UNMET
        if cited.any():
            looks["cited, not run here"] = ELSEWHERE
        _legend(fig, looks, "outside lower center", 2)
        return fig


def classes_figure(classes: pd.DataFrame, recogniser: str) -> Figure:
    """Draw a recogniser's accuracy by class with 95% Wilson intervals, the best class first.

    classes: recognition_classes.csv; published accuracies in it are diamonds, classes published as strong or weak in
    colour.
    """
    rows = classes[classes["recogniser"] == recogniser].sort_values("accuracy", ascending=False, kind="stable")
    if rows.empty:
        return empty_figure(f"{recogniser} was not run here")
    with style():
        fig = new_figure(DOUBLE_COLUMN, 3.4)
        ax = fig.subplots()
        places, published = np.arange(len(rows)), 100 * rows["published"].astype(float).to_numpy()
        named = not np.isnan(published).all()
        claimed = {name: look["color"] for names, look in CLAIMED.values() for name in names} if named else {}
        colours = [claimed.get(name, GREY if named else OWN_FOLD["color"]) for name in rows["category"]]
        values, low, high = (100 * rows[name].to_numpy() for name in ("accuracy", "low", "high"))
        ax.vlines(places, low, high, colors=colours, lw=1.2)
        ax.scatter(places, values, c=colours, s=14, zorder=3)
        ax.plot(places, published, **PUBLISHED)
        ax.axhline(values.mean(), color=GREY, lw=0.8, ls=DOTTED)
        ax.set_xticks(places, [name.replace("_", " ") for name in rows["category"]], rotation=90)
        ax.set(ylabel="named rightly (%)", ylim=(0, 103), xlim=(-0.7, len(rows) - 0.3), title=recogniser)
        ax.grid(axis="y")
        if named:
            looks = {f"published as {word}": look for word, (_, look) in CLAIMED.items()}
            _legend(fig, looks | {"published accuracy": PUBLISHED}, "outside upper center", 3)
        return fig


def _legend(fig: Figure, looks: dict[str, dict], place: str, n_columns: int) -> None:
    handles = [Line2D([], [], label=words, **look) for words, look in looks.items()]
    fig.legend(handles=handles, loc=place, ncols=n_columns)


def training_figure(history: pd.DataFrame) -> Figure:
    """Draw accuracy on the validation fold by epoch, a panel a recogniser, a line a round: recognition_training.csv.

    The dot of a line is the epoch whose weights were taken.
    """
    names = list(dict.fromkeys(history["recogniser"]))
    if not names:
        return empty_figure("no recogniser here learns by epochs")
    with style():
        fig = new_figure(DOUBLE_COLUMN, 0.6 + 1.9 * len(names))
        for ax, name in zip(fig.subplots(len(names), squeeze=False)[:, 0], names, strict=True):
            for _, line in history[history["recogniser"] == name].groupby(["fold", "seed"]):
                ax.plot(line["epoch"], 100 * line["accuracy"], color=OWN_FOLD["color"], lw=1, alpha=0.7)
                taken = line[line["chosen"].astype(bool)]
                ax.plot(taken["epoch"], 100 * taken["accuracy"], ls="", marker="o", ms=4, color="#222222")
            ax.set_title(name, loc="left")
            ax.set(ylabel="validation clips\nnamed rightly (%)")
            ax.xaxis.get_major_locator().set_params(integer=True)
        ax.set(xlabel="epoch")
        return fig


def confusion_figure(confusions: pd.DataFrame, recogniser: str) -> Figure:
    """Draw what the clips of each class (rows) were called (columns) by a recogniser, as shares of a row.

    confusions: recognition_confusion.csv. Cells bear numbers of clips where they have room for them.
    """
    rows = confusions[confusions["recogniser"] == recogniser]
    if rows.empty:
        return empty_figure(f"{recogniser} was not run here")
    names = sorted({*rows["category"], *rows["heard"]})
    counts = rows.pivot_table("n", "category", "heard", "sum", 0).reindex(index=names, columns=names, fill_value=0)
    shares = counts.div(counts.sum(axis=1).clip(lower=1), axis=0).to_numpy()
    with style():
        side = max(SINGLE_COLUMN, min(DOUBLE_COLUMN, 1.4 + 0.34 * len(names)))
        fig = new_figure(side, side * 0.92)
        ax = fig.subplots()
        ax.pcolormesh(shares, cmap="Blues", vmin=0, vmax=1)
        for y, x in zip(*np.nonzero(shares), strict=True) if len(names) <= 15 else ():
            ink = "white" if shares[y, x] > 0.5 else "#222222"
            ax.text(x + 0.5, y + 0.5, counts.iloc[y, x], ha="center", va="center", fontsize=7, color=ink)
        words = [name.replace("_", " ") for name in names]
        ax.set_xticks(np.arange(len(names)) + 0.5, words, rotation=90)
        ax.set_yticks(np.arange(len(names)) + 0.5, words)
        ax.set(ylim=(len(names), 0), xlabel="called", ylabel="recorded", aspect="equal")
        ax.tick_params(length=0)
        return fig
