"""The figures of the ladder: what each rung is worth, and what recognition costs in copies."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from envsound.report.style import DOTTED, DOUBLE_COLUMN, GREY, new_figure, style
from envsound.studies.ladder.climbing import BASE

BAND, DOT = "#E3EEF5", "#0072B2"
APART = (0.012, 0.03)  # of copied codes and of recognition: a name nearer to another than that is left out


def rung_dots(ladder: pd.DataFrame) -> Figure:
    """Draw rungs.csv, a line a rung: how much of it the network hears as asked, its distance, and its copied codes.

    The band and the dotted lines are the base's values: the band its 95% interval.
    """
    rungs = ladder[ladder["group"] != ""].reset_index(drop=True)
    panels = {
        "heard": "heard as what was asked for",
        "kad": "kernel distance to recordings",
        "share_median": "share of codes of one training clip",
    }
    with style():
        fig = new_figure(DOUBLE_COLUMN, 0.9 + 0.19 * len(rungs))
        axes = fig.subplots(1, len(panels), sharey=True)
        for ax, (name, title) in zip(axes, panels.items(), strict=True):
            _dots(ax, rungs, name, title)
        axes[0].set_yticks(np.arange(len(rungs)), rungs["side"])
        axes[0].set_ylim(len(rungs) - 0.4, -0.6)
        axes[1].set_xscale("log")
        return fig


def _dots(ax: Axes, rungs: pd.DataFrame, name: str, title: str) -> None:
    at, values = np.arange(len(rungs)), rungs[name]
    base = rungs[rungs["side"] == BASE]
    if f"{name}_low" in rungs:
        low, high = rungs[f"{name}_low"], rungs[f"{name}_high"]
        ax.hlines(at, low, high, color=DOT, lw=1.0)
        for row in base.itertuples():
            ax.axvspan(getattr(row, f"{name}_low"), getattr(row, f"{name}_high"), color=BAND, lw=0)
    for value in base[name]:
        ax.axvline(value, color=DOT, lw=0.8, ls=DOTTED)
    ax.plot(values, at, "o", ms=3.5, color=DOT)
    ax.set_title(title, fontsize=7.5)
    ax.grid(axis="y")
    ax.tick_params(axis="y", length=0)


def recognition_and_copies(ladder: pd.DataFrame) -> Figure:
    """Draw recognition against copies, a point a rung and a square a control: up and to the left is better."""
    known, named = ladder.dropna(subset=["heard", "share_median"]), []
    with style():
        fig = new_figure(DOUBLE_COLUMN, 3.4)
        ax = fig.subplots()
        for is_rung, marker, colour in ((True, "o", DOT), (False, "s", GREY)):
            some = known[(known["group"] != "") == is_rung]
            label = "rung" if is_rung else "no model"
            ax.plot(some["share_median"], some["heard"], marker, ms=4, color=colour, label=label)
        for x, y, name in zip(known["share_median"], known["heard"], known["side"], strict=True):
            if all(abs(x - other[0]) > APART[0] or abs(y - other[1]) > APART[1] for other in named):
                ax.annotate(name, (x, y), xytext=(4, 2), textcoords="offset points", fontsize=6.5)
                named.append((x, y))
        ax.set(xlabel="share of sounding codes that one training clip has, median", ylabel="heard as asked for")
        ax.set_ylim(0, 1.02)
        ax.legend(loc="lower right")
        return fig
