"""The figures of the study of textures: what is kept beside its floor, and centroids on the way between two sounds."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from envsound.report.style import DOTTED, DOUBLE_COLUMN, GREY, new_figure, style

MOST_LINES = 3  # systems whose curves are drawn
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#222222")


def kept_bars(table: pd.DataFrame) -> Figure:
    """Draw a reconstruction table: distances relative to that of silence, a panel a class; dotted, the oracle."""
    categories = sorted(table["category"].unique())
    with style():
        fig = new_figure(DOUBLE_COLUMN, 2.8)
        axes = np.atleast_1d(fig.subplots(1, len(categories), sharey=True))
        for ax, category in zip(axes, categories, strict=True):
            rows = table[table["category"] == category].reset_index(drop=True)
            ax.barh(rows.index, rows["relative"], color=COLOURS[0], height=0.7)
            for value in rows.loc[rows["side"] == "oracle noise", "relative"]:
                ax.axvline(value, color=GREY, lw=0.9, ls=DOTTED)
            ax.set(title=category.replace("_", " "), xlabel="mSTFT relative to silence")
            ax.set_yticks(rows.index, rows["side"])
        axes[0].invert_yaxis()
        return fig


def centroid_curves(curves: pd.DataFrame) -> Figure:
    """Draw centroids on the way between two recordings: a panel a class, its first pair, a line a system, few."""
    first = curves[curves["pair"] == curves["pair"].min()]
    categories = sorted(first["category"].unique())
    with style():
        fig = new_figure(DOUBLE_COLUMN, 1.9)
        axes = np.atleast_1d(fig.subplots(1, len(categories)))
        for ax, category in zip(axes, categories, strict=True):
            rows = first[first["category"] == category]
            lines = rows.groupby("system", sort=False)
            for (name, line), colour in zip(lines, COLOURS[:MOST_LINES], strict=False):
                ax.plot(line["time"], line["centroid"], color=colour, lw=1.1, label=name)
            for edge in (1, 2):
                ax.axvline(edge, color=GREY, lw=0.8, ls=DOTTED)
            ax.set(title=category.replace("_", " "), xlabel="time (s)", ylabel="spectral centroid (Hz)")
        axes[0].legend(loc="best", handlelength=1.6)
        return fig
