"""The figures of the study of language models: models side by side, losses with a leak, chroma beside chance."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from envsound.report.style import DOTTED, DOUBLE_COLUMN, GREY, new_figure, style

COLOURS = ("#0072B2", "#D55E00", "#009E73")
PANELS = {
    "heard": "heard as asked",
    "kad": "kernel distance",
    "run_p90": "run of one clip\n(columns)",
    "evolution": "envelope\ncorrelation, delta",
    "smoothing": "modulation\n8-16 Hz, delta",
}


def drawn(tables: Mapping[str, pd.DataFrame], codebook_size: int = 1024) -> dict[str, Figure]:
    """Return the figures of a report's tables by name; those of empty tables are left out."""
    makers = {
        "compared": lambda: compared_dots(tables["compared"]),
        "leak": lambda: leak_lines(tables["leak_curves"], tables["leak"], codebook_size),
        "chroma": lambda: chroma_bars(tables["chroma"]),
    }
    return {name: make() for name, make in makers.items() if len(tables[name])}


def compared_dots(table: pd.DataFrame) -> Figure:
    """Draw compared.csv, a line a side: PANELS, with 95% intervals where there are any; dotted, real clips or none."""
    rows = table[table["side"] != "real"].reset_index(drop=True)
    real = table[table["side"] == "real"].iloc[0]
    with style():
        fig = new_figure(DOUBLE_COLUMN, 0.9 + 0.2 * len(rows))
        axes = fig.subplots(1, len(PANELS), sharey=True)
        for ax, (name, title) in zip(axes, PANELS.items(), strict=True):
            if f"{name}_low" in rows:
                ax.hlines(rows.index, rows[f"{name}_low"], rows[f"{name}_high"], color=COLOURS[0], lw=1.0)
            ax.plot(rows[name], rows.index, "o", ms=3.5, color=COLOURS[0])
            ax.axvline(0 if pd.isna(real[name]) else real[name], color=GREY, lw=0.8, ls=DOTTED)
            ax.set_title(title, fontsize=7)
            ax.grid(axis="y")
        axes[0].set_yticks(rows.index, rows["side"])
        axes[0].invert_yaxis()
        return fig


def leak_lines(curves: pd.DataFrame, leak: pd.DataFrame, codebook_size: int) -> Figure:
    """Draw the watched loss of each split over epochs; dotted, code frequencies of the clean split and a guess."""
    with style():
        fig = new_figure(DOUBLE_COLUMN / 2, 2.4)
        ax = fig.subplots()
        for (name, line), colour in zip(curves.groupby("split", sort=False), COLOURS, strict=True):
            ax.plot(line["epoch"], line["loss"], color=colour, lw=1.2, label=name)
        for level in (leak["unigram"].iloc[0], np.log(codebook_size)):
            ax.axhline(level, color=GREY, lw=0.8, ls=DOTTED)
        ax.set(xlabel="epoch", ylabel="cross-entropy of watched codes (nat)", ylim=(0, None))
        ax.legend(loc="best")
        return fig


def chroma_bars(table: pd.DataFrame) -> Figure:
    """Draw chroma.csv: both forms of the cosine for every side, with their 95% intervals."""
    with style():
        fig = new_figure(DOUBLE_COLUMN, 0.8 + 0.3 * len(table))
        ax, places = fig.subplots(), np.arange(len(table))
        for shift, form, colour in zip((-0.18, 0.18), ("one_hot", "plain"), COLOURS, strict=False):
            ends = np.abs(table[[f"{form}_low", f"{form}_high"]].to_numpy().T - table[form].to_numpy())
            words = form.replace("_", "-")
            ax.barh(places + shift, table[form], 0.34, xerr=ends, color=colour, error_kw={"lw": 0.8}, label=words)
        ax.set_yticks(places, table["side"])
        ax.invert_yaxis()
        ax.set(xlabel="chroma cosine similarity to a recording", xlim=(0, 1))
        ax.legend(loc="lower right")
        return fig
