"""Figures of the classification study: accuracy of every recogniser with its folds, and accuracy by class."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from envsound.report.style import DOTTED, DOUBLE_COLUMN, GREY, LOOKS, empty_figure, new_figure, style
from envsound.studies.recognition.facts import NO_CODEC
from envsound.studies.recognition.tables import STRONG, WEAK

FOLDS_COLOUR = LOOKS["real"].colour
CLAIMED = {"strong": (STRONG, "#009E73"), "weak": (WEAK, "#D55E00")}  # as published
UNMET = {"ls": "", "marker": "|", "ms": 9, "mew": 1.4, "color": LOOKS["codec"].colour}
DODGE = 0.16  # of folds above the line of their mean


def accuracy_figure(summary: pd.DataFrame, folds: pd.DataFrame) -> Figure:
    """Draw the accuracy of every recogniser in recognition.csv, the best at the top: mean, interval, and its folds.

    Those that read codes have a bar where they are on the test clips that their codec has not met in its own training.
    What is cited from elsewhere is a hollow diamond: it was measured on other versions of the clips, and often learnt
    from more than them. Recognisers that were not run are left out.
    """
    rows = summary[summary["accuracy"].notna()].sort_values("accuracy", ascending=False, kind="stable")
    if rows.empty:
        return empty_figure("no recogniser was run here")
    with style():
        fig = new_figure(DOUBLE_COLUMN, 0.8 + 0.24 * len(rows))
        ax = fig.subplots()
        for place, row in enumerate(rows.to_dict("records")):
            if row["status"] == "cited":
                ax.plot(100 * row["accuracy"], place, marker="D", ms=5, mfc="white", mec=GREY, ls="")
                continue
            own = folds[folds["recogniser"] == row["recogniser"]]
            ax.plot(100 * own["accuracy"], np.full(len(own), place - DODGE), ls="", marker="o", ms=3.5, mfc="none",
                    color=FOLDS_COLOUR, mew=0.8)  # fmt: skip
            if row["codec"] != NO_CODEC:
                ax.plot([100 * row["accuracy_unheard"]], [place + DODGE], **UNMET)
            spread = 100 * np.array([[row["accuracy"] - row["low"]], [row["high"] - row["accuracy"]]])
            ax.errorbar([100 * row["accuracy"]], [place + DODGE], xerr=np.maximum(spread, 0), marker="D", ms=4.5,
                        color="#222222", lw=1.2, capsize=2.5)  # fmt: skip
        labels = [f"{name} (cited)" if status == "cited" else name
                  for name, status in zip(rows["recogniser"], rows["status"], strict=True)]  # fmt: skip
        ax.set_yticks(range(len(rows)), labels)
        ax.set(xlabel="test clips named rightly (%)", ylim=(len(rows) - 0.5, -0.5), xlim=(None, 101))
        ax.tick_params(axis="y", length=0)
        ax.grid(axis="x")
        handles = [
            Line2D([], [], ls="", marker="D", ms=4.5, color="#222222", label="mean, 95% interval over clips"),
            Line2D([], [], ls="", marker="o", ms=3.5, mfc="none", color=FOLDS_COLOUR, label="a fold"),
        ]
        if rows.loc[rows["status"] != "cited", "accuracy_unheard"].notna().any():
            handles.append(Line2D([], [], **UNMET, label="clips that its codec has not met"))
        if (rows["status"] == "cited").any():
            handles.append(Line2D([], [], ls="", marker="D", ms=5, mfc="white", mec=GREY, label="cited, not run here"))
        fig.legend(handles=handles, loc="outside lower center", ncols=2)
        return fig


def classes_figure(classes: pd.DataFrame, recogniser: str) -> Figure:
    """Draw a recogniser's accuracy by class with 95% Wilson intervals, the best class first.

    classes: recognition_classes.csv. Where it holds published accuracies they are diamonds, and the classes that the
    published study names as strong or weak are in colour.
    """
    rows = classes[classes["recogniser"] == recogniser].sort_values("accuracy", ascending=False, kind="stable")
    if rows.empty:
        return empty_figure(f"{recogniser} was not run here")
    with style():
        fig = new_figure(DOUBLE_COLUMN, 3.4)
        ax = fig.subplots()
        places, published = np.arange(len(rows)), 100 * rows["published"].astype(float).to_numpy()
        named = not np.isnan(published).all()
        colours = [_colour(name) if named else FOLDS_COLOUR for name in rows["category"]]
        values, low, high = (100 * rows[name].to_numpy() for name in ("accuracy", "low", "high"))
        ax.vlines(places, low, high, colors=colours, lw=1.2)
        ax.scatter(places, values, c=colours, s=14, zorder=3)
        ax.plot(places, published, ls="", marker="D", ms=4.5, mfc="white", mec="#222222")
        ax.axhline(values.mean(), color=GREY, lw=0.8, ls=DOTTED)
        ax.set_xticks(places, [name.replace("_", " ") for name in rows["category"]], rotation=90)
        ax.set(ylabel="named rightly (%)", ylim=(0, 103), xlim=(-0.7, len(rows) - 0.3), title=recogniser)
        ax.grid(axis="y")
        if named:
            _claimed_legend(fig)
        return fig


def _claimed_legend(fig: Figure) -> None:
    handles = [Line2D([], [], ls="", marker="o", ms=4, color=colour, label=f"published as {word}")
               for word, (_, colour) in CLAIMED.items()]  # fmt: skip
    handles.append(Line2D([], [], ls="", marker="D", ms=4.5, mfc="white", mec="#222222", label="published accuracy"))
    fig.legend(handles=handles, loc="outside upper center", ncols=3)


def _colour(category: str) -> str:
    return next((colour for names, colour in CLAIMED.values() if category in names), GREY)


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
                ax.plot(line["epoch"], 100 * line["accuracy"], color=FOLDS_COLOUR, lw=1, alpha=0.7)
                taken = line[line["chosen"].astype(bool)]
                ax.plot(taken["epoch"], 100 * taken["accuracy"], ls="", marker="o", ms=4, color="#222222")
            ax.set_title(name, loc="left")
            ax.set(ylabel="validation clips\nnamed rightly (%)")
            ax.xaxis.get_major_locator().set_params(integer=True)
        ax.set(xlabel="epoch (0: the start)")
        return fig
