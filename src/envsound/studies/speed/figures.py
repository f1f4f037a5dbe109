"""The figure of how time and memory grow with the length of a clip, the batch and the depth."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, NullLocator, StrMethodFormatter

from envsound.report.style import DOTTED, DOUBLE_COLUMN, GREY, empty_figure, new_figure, style
from envsound.studies.speed.page import VARIED

ROOM = 1.25  # beside the outermost points, as a factor
MEASURES = {"seconds": "time (s)", "peak_mib": "peak memory (MiB)"}
LOOKS = {"sampling": ("#D98200", "-", "o"), "training step": ("#0072B2", (0, (5, 1.5)), "s")}


def sweep(growth: pd.DataFrame, task: str, varied: str) -> pd.DataFrame:
    """Return the rows of growth.csv of one task in which only `varied` differs from its smallest value, in order."""
    rows = growth[growth["task"] == task]
    for name in VARIED:
        if name != varied:
            rows = rows[rows[name] == rows[name].min()]
    return rows.sort_values(varied)


def growth_figure(growth: pd.DataFrame) -> Figure:
    """Draw median time and peak memory, with the range of the runs, against length, batch and depth; all axes log.

    `growth` has the columns of growth.csv. The dotted line grows in proportion, from the smallest point of sampling.
    """
    if growth["seconds"].notna().sum() == 0:
        return empty_figure("nothing was measured")
    with style():
        fig = new_figure(DOUBLE_COLUMN, 4.2)
        axes = fig.subplots(len(MEASURES), len(VARIED), sharey="row", sharex="col")
        for line, (measure, label) in zip(axes, MEASURES.items(), strict=True):
            for ax, varied in zip(line, VARIED, strict=True):
                _panel(ax, growth, measure, varied)
            line[0].set_ylabel(label)
        for ax, (varied, label) in zip(axes[-1], VARIED.items(), strict=True):
            values = sorted(growth[varied].unique())
            ax.set_xlabel(label)
            ax.set_xticks(values, [f"{value:g}" for value in values])
            ax.xaxis.set_minor_locator(NullLocator())
        handles, labels = axes[0][0].get_legend_handles_labels()
        fig.legend(handles, labels, loc="outside upper center", ncols=3, handlelength=2.6)
        return fig


def _panel(ax: Axes, growth: pd.DataFrame, measure: str, varied: str) -> None:
    ax.set_xlim(growth[varied].min() / ROOM, growth[varied].max() * ROOM)
    ax.set(xscale="log", yscale="log")
    for task, (colour, line, marker) in LOOKS.items():
        rows = sweep(growth, task, varied).dropna(subset=[measure])
        ax.plot(rows[varied], rows[measure], color=colour, ls=line, marker=marker, ms=4, label=task)
        if measure == "seconds":
            ax.vlines(rows[varied], rows["fastest_s"], rows["slowest_s"], color=colour, lw=0.9)
        if task == "sampling" and len(rows):
            steps = rows[varied] / rows[varied].iloc[0]
            ax.plot(rows[varied], rows[measure].iloc[0] * steps, color=GREY, lw=0.8, ls=DOTTED, label="in proportion")
    ax.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.grid(axis="y")
