"""Figures of what listeners found: distances by system, what they heard, and how near training clips are."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from envsound.evaluation.memorisation import COPIED, THROUGH_CODEC
from envsound.report.figures_evaluation import SYSTEM_LOOKS
from envsound.report.style import DOTTED, DOUBLE_COLUMN, GREY, LOOKS, empty_figure, new_figure, style

PANELS = {  # column of distances.csv: title, whether it has an interval
    "kad": ("Kernel distance (KAD)", True),
    "fad_infinity_both": ("Fréchet distance, infinite n", False),
    "precision": ("Precision; recall is open", True),
}
SHARES = ("precision", "recall")
LINEAR = 1.0  # distances up to here are drawn on a linear scale: unbiased ones may be below 0
TICKS = {-100: "−100", -10: "−10", -1: "−1", 0: "0", 1: "1", 10: "10", 100: "100", 1000: "1000"}
CURVES = {  # sides of nearest.csv: words, colour, line
    "real": ("real, held out", LOOKS["real"].colour, LOOKS["real"].line),
    "generated": ("model", LOOKS["generated"].colour, LOOKS["generated"].line),
    THROUGH_CODEC: ("training clips, through the codec", "#222222", DOTTED),
    COPIED: ("training clips themselves", GREY, (0, (4, 1.2, 1, 1.2))),
}
MOST_NUMBERED = 20  # classes up to which the cells of a confusion matrix bear numbers


def distance_dots(distances: pd.DataFrame) -> Figure:
    """Draw the distances of every system from distances.csv, a row of panels for each embedding that has some.

    Whiskers are 95% intervals; lines mark the floor and the ceiling; squares what 95% of random splits stay below.
    """
    rows = distances[(distances["category"] == "") & distances["kad"].notna()]
    embeddings = list(rows["embedding"].unique())
    if not embeddings:
        return empty_figure("there are too few clips for a distance between embeddings")
    systems = [name for name in SYSTEM_LOOKS if (rows["side"] == name).any()]
    with style():
        fig = new_figure(DOUBLE_COLUMN, 0.5 + len(embeddings) * (0.5 + 0.17 * len(systems)))
        grid = fig.subplots(len(embeddings), len(PANELS), squeeze=False, sharey=True, width_ratios=(1.2, 1, 1))
        for axes, embedding in zip(grid, embeddings, strict=True):
            mine = rows[rows["embedding"] == embedding].set_index("side").reindex(systems)
            for ax, (name, (title, has_interval)) in zip(axes, PANELS.items(), strict=True):
                _panel(ax, mine, name, has_interval)
                ax.set_title(title)
            axes[0].set_ylabel(embedding)
            axes[0].set_yticks(range(len(systems)), [SYSTEM_LOOKS[name][0] for name in systems])
            axes[0].set_ylim(len(systems) - 0.5, -0.5)
        return fig


def confusion_pair(
    confusion: pd.DataFrame, classifier: str = "cnn", sides: Sequence[str] = ("real", "generated")
) -> Figure:
    """Draw what a listener heard of each class on two sides, from confusion.csv: shares of the clips asked for.

    Cells bear numbers of clips.
    """
    heard = confusion[confusion["classifier"] == classifier]
    missing = [side for side in sides if not (heard["side"] == side).any()]
    if missing:
        return empty_figure(f"no clip of the side {missing[0]} has a class")
    rows = heard[heard["side"].isin(sides)]
    names = sorted({*rows["category"], *rows["heard"]})
    with style():
        fig = new_figure(DOUBLE_COLUMN, 1.2 + min(0.2 * len(names), 4.5))
        axes = fig.subplots(1, len(sides), sharey=True)
        for ax, side in zip(axes, sides, strict=True):
            of_side = rows[rows["side"] == side]
            counts = of_side.pivot_table(index="category", columns="heard", values="n", aggfunc="sum", fill_value=0)
            _matrix(ax, counts.reindex(index=names, columns=names, fill_value=0).to_numpy(), names)
            right = of_side.loc[of_side["category"] == of_side["heard"], "n"].sum()
            ax.set_title(f"{SYSTEM_LOOKS[side][0].capitalize()}: {right / of_side['n'].sum():.0%} right")
        axes[0].set_ylabel("asked for")
        return fig


def nearest_curves(nearest: pd.DataFrame) -> Figure:
    """Draw the relative distance to the nearest training clip, cumulated over clips, side by side for each space.

    nearest: nearest.csv. A model that copies has a curve left of the held-out clips'.
    """
    spaces = list(nearest["space"].unique())
    if not spaces:
        return empty_figure("no clip was compared with the training clips")
    with style():
        fig = new_figure(DOUBLE_COLUMN, 2.7)
        axes = fig.subplots(1, len(spaces), sharey=True, squeeze=False)[0]
        for ax, space in zip(axes, spaces, strict=True):
            for side, (label, colour, line) in CURVES.items():
                values = nearest.loc[(nearest["space"] == space) & (nearest["side"] == side), "relative"]
                if len(values):
                    ax.ecdf(values, color=colour, ls=line, lw=1.3, label=label)
            ax.set(title=space, xlabel="relative distance", xlim=(-0.03, 1.03))
            ax.grid(axis="x")
        axes[0].set_ylabel("share of clips")
        fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
        return fig


def _panel(ax: Axes, rows: pd.DataFrame, name: str, has_interval: bool) -> None:
    """Draw one number of every system in `rows`, indexed by system."""
    for place, (system, row) in enumerate(rows.iterrows()):
        _, colour, marker = SYSTEM_LOOKS[str(system)]
        if has_interval:
            ax.hlines(place, row[f"{name}_low"], row[f"{name}_high"], color=colour, lw=1)
        ax.plot(row[name], place, ls="", marker=marker, ms=4.5, color=colour)
        if name in SHARES:
            ax.plot(row["recall"], place, ls="", marker="o", ms=4.5, mfc="white", color=colour)
        if name == "kad":
            ax.plot(row["kad_chance"], place, ls="", marker="s", ms=3, mfc="white", color=GREY)
    for system in ("real_other", "codec"):
        if system in rows.index and np.isfinite(rows.loc[system, name]) and name not in SHARES:
            ax.axvline(rows.loc[system, name], color=SYSTEM_LOOKS[system][1], lw=0.8, ls=DOTTED)
    if name in SHARES:
        ax.set_xlim(-0.03, 1.03)
    else:
        ax.set_xscale("symlog", linthresh=LINEAR, linscale=0.6)
        ax.margins(x=0.08)
        low, high = ax.get_xlim()
        shown = {value: words for value, words in TICKS.items() if low <= value <= high}
        ax.set_xticks(list(shown), list(shown.values()))
        ax.minorticks_off()
    ax.grid(axis="x")
    ax.tick_params(axis="y", length=0)


def _matrix(ax: Axes, counts: np.ndarray, names: list[str]) -> None:
    """Draw counts [n_classes, n_classes], rows asked for, as shares of their row."""
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    ax.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    if len(names) <= MOST_NUMBERED:
        for y, x in zip(*np.nonzero(counts), strict=True):
            ink = "white" if shares[y, x] > 0.6 else "#222222"
            ax.text(x, y, str(counts[y, x]), ha="center", va="center", fontsize=6, color=ink)
    words = [name.replace("_", " ") for name in names]
    size = 6.5 if len(names) <= MOST_NUMBERED else 4
    ax.set_xticks(range(len(names)), words, rotation=40, ha="right", rotation_mode="anchor", fontsize=size)
    ax.set_yticks(range(len(names)), words, fontsize=size)
    ax.set_xlabel("heard")
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
