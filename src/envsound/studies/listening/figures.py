"""Figures of the listening test: scores of codec versions, quality and fit, and what sounds were called."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from envsound.report.style import DOTTED, DOUBLE_COLUMN, GREY, LOOKS, SINGLE_COLUMN, empty_figure, new_figure, style
from envsound.studies.listening.analysis import ALL
from envsound.studies.listening.material import RECORDING, REFERENCE

GRADES = ("bad", "poor", "fair", "good", "excellent")  # of BS.1534-3, twenty points each
MADE_UP_WORDS = "MADE-UP ANSWERS: nobody listened"
NOBODY = "nobody has answered this task"
RED = "#B00020"


def codec_figure(codec: pd.DataFrame, made_up: bool) -> Figure:
    """Draw the mean score of every condition with its 95% interval; small rings are the categories.

    `codec` as `codec_means` returns it; `made_up` writes across the figure that nobody listened.
    """
    if codec.empty:
        return empty_figure(NOBODY)
    with style():
        conditions = list(codec["condition"].unique())
        fig = new_figure(DOUBLE_COLUMN * 0.85, 0.9 + 0.3 * len(conditions))
        ax = fig.subplots()
        _means(ax, codec, conditions)
        ax.set(xlim=(0, 100), xlabel="score")
        for place, grade in enumerate(GRADES):
            ax.axvline(20 * place, color=GREY, lw=0.6, ls=DOTTED)
            ax.text(20 * place + 10, -0.62, grade, ha="center", va="bottom", fontsize=7, color=GREY)
        _mark(fig, made_up)
        return fig


def fit_figure(fit: pd.DataFrame, made_up: bool) -> Figure:
    """Draw mean quality and mean fit of every source of clips with their 95% intervals; rings are the categories."""
    if fit.empty:
        return empty_figure(NOBODY)
    with style():
        conditions = list(fit["condition"].unique())
        fig = new_figure(DOUBLE_COLUMN, 0.9 + 0.35 * len(conditions))
        axes = fig.subplots(1, 2, sharey=True)
        for ax, question in zip(axes, ("quality", "fit"), strict=True):
            _means(ax, fit[fit["question"] == question], conditions)
            ax.set(xlim=(0.8, 10.2), xticks=range(1, 11), xlabel=f"{question}, 1 to 10")
        _mark(fig, made_up)
        return fig


def confusion_figure(confusion: pd.DataFrame, made_up: bool) -> Figure:
    """Draw what sounds of each category (rows) were called (columns), as shares of a row, with counts."""
    if confusion.to_numpy().sum() == 0:
        return empty_figure(NOBODY)
    with style():
        n = len(confusion)
        side = max(SINGLE_COLUMN, min(DOUBLE_COLUMN, 1.4 + 0.34 * n))
        fig = new_figure(side, side * 0.92)
        ax = fig.subplots()
        counts = confusion.to_numpy()
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        ax.pcolormesh(shares, cmap="Blues", vmin=0, vmax=1)
        if n <= 15:  # beyond, numbers run into one another
            for row, column in zip(*np.nonzero(counts), strict=True):
                dark = shares[row, column] > 0.5
                ax.text(column + 0.5, row + 0.5, counts[row, column], ha="center", va="center", fontsize=7,
                        color="white" if dark else "#222222")  # fmt: skip
        names = [name.replace("_", " ") for name in confusion.index]
        ax.set_xticks(np.arange(n) + 0.5, names, rotation=90)
        ax.set_yticks(np.arange(n) + 0.5, names)
        ax.set(ylim=(n, 0), xlabel="called", ylabel="asked for, or recorded", aspect="equal")
        ax.tick_params(length=0)
        _mark(fig, made_up)
        return fig


def _means(ax: Axes, table: pd.DataFrame, conditions: list[str]) -> None:
    """Draw a line for each condition, from the top: mean, interval, and the means of categories as rings."""
    for place, condition in enumerate(conditions):
        rows = table[table["condition"] == condition]
        colour = LOOKS["real"].colour if condition in (REFERENCE, RECORDING) else "#222222"
        each = rows[rows["category"] != ALL]
        ax.plot(each["mean"], np.full(len(each), place), ls="", marker="o", ms=3.5, mfc="none", mec=GREY, mew=0.6)
        mean, low, high = (rows.loc[rows["category"] == ALL, name].iloc[0] for name in ("mean", "low", "high"))
        spread = np.nan_to_num([[mean - low], [high - mean]])
        ax.errorbar([mean], [place], xerr=np.maximum(spread, 0), color=colour, marker="D", ms=5, lw=1.3, capsize=2.5)
    ax.set_yticks(range(len(conditions)), conditions)
    ax.set_ylim(len(conditions) - 0.5, -0.6)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x")


def _mark(fig: Figure, made_up: bool) -> None:
    if made_up:
        fig.suptitle(MADE_UP_WORDS, color=RED, fontsize=8.5, fontweight="bold")
