"""Figures of a codec: how it learns; and of its report, against levels, by class, by band, and its codebooks."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from envsound.codec.systems import NOISE, ORIGINAL
from envsound.report.style import (
    DOTTED,
    DOUBLE_COLUMN,
    GREY,
    LOOKS,
    SINGLE_COLUMN,
    empty_figure,
    level_colours,
    new_figure,
    save_figure,
    style,
)
from envsound.studies.codec_report.report import CodecReport
from envsound.studies.codec_report.tables import ALL, listeners_in

# The codec measured has the colour it has everywhere; other codecs follow in Okabe and Ito's order.
CODEC_LOOKS = ((LOOKS["codec"].colour, "o"), ("#CC79A7", "s"), ("#0072B2", "D"), ("#D98200", "^"), ("#56B4E9", "v"))
REFERENCE_LINES = ((0, (6, 1.5)), (0, (3, 1.2)), DOTTED)
HEAT_MAP = {"annot": True, "annot_kws": {"size": 6.5}, "linewidths": 0.5, "linecolor": "white"}
USE_AIMED_AT = 0.70  # share of each level's codes
PANELS = ("loss of the last batch", "held-out log-mel (dB)", "energy at n x frame rate")
PANELS += ("effective rank of the latent", "gain of each level (dB)", "perplexity of each level")


def save_figures(report: CodecReport, folder: str | Path) -> dict[str, list[Path]]:
    """Draw every figure of a report into `folder`/figures; return their files by name."""
    figures = {
        "levels": levels_figure(report.systems),
        "classes": class_dots(report.by_class, report.systems),
        "bands": band_heatmaps(report.ceiling),
        "class_bands": class_bands(report.ceiling),
        "codebooks": codebook_figure(report.codebook),
    }
    return {name: save_figure(figure, Path(folder) / "figures", name) for name, figure in figures.items()}


def learning_curves(history: pd.DataFrame, marks: Sequence[int] = ()) -> Figure:
    """Draw losses, held-out distance and comb, latent rank, and gain and perplexity of every level over the steps.

    `history` has the columns of training.csv; what it lacks has no panel. marks: the steps at which quantizer and
    discriminators are switched on.
    """
    with style():
        fig = new_figure(DOUBLE_COLUMN, 4.4)
        panels = dict(zip(PANELS, fig.subplots(2, 3, sharex=True).flat, strict=True))
        losses, distance, comb, rank, gain, perplexity = panels.values()
        _lines(losses, history, ["spectral", "waveform", "adversarial", "feature"])
        _lines(distance, history, ["log_mel_distance"])
        _lines(comb, history, ["comb_share", "comb_share_original"], ["decoded", "original"])
        _lines(rank, history, ["latent_rank"])
        for axis, start in ((gain, "gain_db_"), (perplexity, "perplexity_")):
            names = [name for name in history if name.startswith(start)]
            axis.set_prop_cycle(color=level_colours(max(len(names), 1)))
            _lines(axis, history, names, [name.removeprefix(start) for name in names])
        for label, axis in panels.items():
            axis.set_visible(bool(axis.lines))
            axis.set(title=label, ylim=(min(0, axis.get_ylim()[0]), None))
            for step, line in zip(marks, (":", "--"), strict=False):
                axis.axvline(step, color="0.6", lw=0.8, ls=line)
        for above, below in ((losses, rank), (distance, gain), (comb, perplexity)):
            lowest = below if below.lines else above
            lowest.tick_params(labelbottom=True)
            lowest.set(xlabel="step")
        return fig


def levels_figure(systems: pd.DataFrame) -> Figure:
    """Draw log-mel distance and recognised share against the number of levels, one line for each codec.

    `systems` has the columns of systems.csv. Opus and noise, and the originals on the right, are horizontal lines; bars
    are Wilson 95% intervals of the first listener's shares. Without a listener there is no right panel.
    """
    listener = next(iter(listeners_in(systems)), "")
    columns = ["log_mel_distance"] + ([f"recognised_{listener}"] if listener else [])
    with style():
        fig = new_figure(DOUBLE_COLUMN if listener else SINGLE_COLUMN, 2.9)
        axes = fig.subplots(1, len(columns), squeeze=False)[0]
        for ax, column in zip(axes, columns, strict=True):
            _against_levels(ax, systems, column)
        axes[0].set(ylabel="log-mel distance (dB)", title="Distance to the original")
        axes[0].set_ylim(bottom=0)
        if listener:
            by = listener.replace("_", " ")
            axes[1].set(ylabel="clips recognised (%)", title=f"Heard as what they are, by the listener {by}")
            axes[1].set_ylim(0, 104)
        handles = dict(zip(*axes[-1].get_legend_handles_labels()[::-1], strict=True))
        fig.legend(handles.values(), handles, loc="outside lower center", ncols=4, handlelength=2.6)
        return fig


def band_heatmaps(ceiling: pd.DataFrame, category: str = ALL) -> Figure:
    """Draw level difference and distance of each frequency band against the number of levels, as two heat maps.

    `ceiling` has the columns of ceiling.csv; `category` is a class, or "all" of them.
    """
    rows = ceiling[(ceiling["category"] == category) & (ceiling["band"] != ALL)]
    if rows.empty:
        return empty_figure(f"nothing was measured for {category}")
    with style():
        fig = new_figure(DOUBLE_COLUMN, 2.5)
        levels, distances = fig.subplots(1, 2, sharey=True)
        _changes(levels, _grid(rows, "level_difference_db"))
        seaborn.heatmap(_grid(rows, "distance_db"), ax=distances, cmap="viridis_r", vmin=0, fmt=".1f", **HEAT_MAP)
        levels.set(title="Level, decoded against original (dB)", ylabel="frequency band (Hz)")
        distances.set(title="Distance of spectrograms (dB)", ylabel="")
        for ax in (levels, distances):
            ax.set_xlabel("levels decoded")
            ax.tick_params(length=0)
            ax.tick_params(axis="y", rotation=0)
        return fig


def class_bands(ceiling: pd.DataFrame) -> Figure:
    """Draw the level difference of every class and frequency band with all levels, as a heat map.

    `ceiling` has the columns of ceiling.csv. A cell is empty where no clip of the class has sound in the band.
    """
    rows = ceiling[(ceiling["n_levels"] == ceiling["n_levels"].max()) & (ceiling["band"] != ALL)]
    table = rows.pivot(index="category", columns="band", values="level_difference_db")
    classes = [ALL, *sorted(set(rows["category"]) - {ALL})]
    table = table.reindex(index=classes, columns=list(rows["band"].unique()))
    with style():
        fig = new_figure(DOUBLE_COLUMN, 0.9 + 0.21 * len(table))
        ax = fig.subplots()
        _changes(ax, table)
        ax.set(xlabel="frequency band (Hz)", ylabel="", title="Level, decoded against original (dB), all levels")
        ax.set_yticklabels([name.replace("_", " ") for name in table.index], rotation=0)
        ax.tick_params(length=0)
        return fig


def _changes(ax: Axes, table: pd.DataFrame) -> None:
    """Draw changes of level, dB; white is none."""
    bound = max(1.0, float(np.nanmax(np.abs(table.to_numpy()), initial=0)))
    seaborn.heatmap(table, ax=ax, cmap="RdBu_r", vmin=-bound, vmax=bound, fmt="+.1f", **HEAT_MAP)


def class_dots(by_class: pd.DataFrame, systems: pd.DataFrame) -> Figure:
    """Draw the log-mel distance of each class: every codec with all its levels, and Opus, as dots.

    `by_class` and `systems` have the columns of by_class.csv and systems.csv. Classes are ordered by the first codec.
    """
    looks = [(rows.loc[rows["n_levels"].idxmax(), "system"], *look, look[0]) for rows, look in _of_codecs(systems)]
    looks += [(name, "#222222", marker, "white") for name, marker in zip(_opus(systems), "<>P", strict=False)]
    table = by_class.pivot(index="category", columns="system", values="log_mel_distance")
    table = table.sort_values(looks[0][0])
    with style():
        fig = new_figure(DOUBLE_COLUMN * 0.8, 0.95 + 0.2 * len(table))
        ax = fig.subplots()
        places = np.arange(len(table))
        for name, colour, marker, face in looks:
            dots = {"ls": "", "marker": marker, "ms": 5.5, "mfc": face, "mec": colour, "mew": 1.1}
            ax.plot(table[name], places, color=colour, label=name, clip_on=False, **dots)
        ax.set_yticks(places, [name.replace("_", " ") for name in table.index])
        ax.set(xlabel="log-mel distance to the original (dB)", ylim=(len(table) - 0.5, -0.5))
        ax.set_xlim(left=0)
        ax.grid(axis="both")
        ax.tick_params(axis="y", length=0)
        fig.legend(loc="outside upper center", ncols=min(3, len(looks)), handletextpad=0.3)
        return fig


def codebook_figure(codebook: pd.DataFrame) -> Figure:
    """Draw how much of each level's codebook is used, a panel for each codec: codes in use, and their perplexity.

    `codebook` has the columns of codebook.csv; both are shares of the codebook. The line is what was aimed at, 70%.
    """
    codecs = list(codebook["codec"].unique())
    with style():
        fig = new_figure(SINGLE_COLUMN if len(codecs) == 1 else DOUBLE_COLUMN, 2.4 * -(-len(codecs) // 2))
        columns = min(2, len(codecs))
        axes = fig.subplots(-(-len(codecs) // columns), columns, squeeze=False, sharey=True).flat
        for name, ax in zip(codecs, axes, strict=False):  # in this order, else the first panel too many is used up
            rows = codebook[codebook["codec"] == name].sort_values("level")
            colours = level_colours(len(rows))
            ax.bar(rows["level"], 100 * rows["used_share"], color=colours, width=0.72, alpha=0.45, label="in use")
            share = 100 * rows["perplexity"] / rows["codebook_size"]
            ax.plot(rows["level"], share, ls="", marker="D", ms=4, color="#222222", label="perplexity")
            ax.axhline(100 * USE_AIMED_AT, color=GREY, lw=0.8, ls=DOTTED, label="aim for codes in use")
            size, frames = rows["codebook_size"].iloc[0], rows["n_frames"].iloc[0]
            ax.set(xlabel="level (0 is coarse)", xticks=list(rows["level"]), ylim=(0, 100))
            ax.set_title(f"{name}: {size} codes, {frames:,} frames")
        for ax in list(axes):
            ax.set_visible(False)
        fig.axes[0].set_ylabel("share of the codebook (%)")
        handles, labels = fig.axes[0].get_legend_handles_labels()
        legend = fig.legend(handles, labels, loc="outside lower center", ncols=3, handletextpad=0.5, columnspacing=1.2)
        legend.legend_handles[labels.index("in use")].set_color(GREY)
        return fig


def _against_levels(ax: Axes, systems: pd.DataFrame, column: str) -> None:
    scale = 100 if column.startswith("recognised") else 1
    for place, (rows, (colour, marker)) in enumerate(_of_codecs(systems)):
        levels = rows["n_levels"] * 1.04**place  # beside one another, so that intervals can be told apart
        values = scale * rows[column]
        ax.plot(levels, values, color=colour, marker=marker, ms=4.5, label=rows["codec"].iloc[0])
        if f"{column}_low" in rows:
            spread = [values - scale * rows[f"{column}_low"], scale * rows[f"{column}_high"] - values]
            ax.errorbar(levels, values, yerr=np.abs(spread), color=colour, ls="", lw=0.9, capsize=2)
    lines = [(name, "#222222", line) for name, line in zip(_opus(systems)[::-1], REFERENCE_LINES, strict=False)]
    lines += [(NOISE, GREY, DOTTED)] + [(ORIGINAL, LOOKS["real"].colour, "-")] * (scale == 100)
    for name, colour, line in lines:
        value = scale * systems.loc[systems["system"] == name, column].iloc[0]
        ax.axhline(value, color=colour, ls=line, lw=1.1, label=name, zorder=1)
    levels = sorted(systems.loc[systems["n_levels"] > 0, "n_levels"].unique())
    ax.set_xscale("log", base=2)
    ax.set_xticks(levels, [str(level) for level in levels])
    ax.set(xlabel="levels decoded")
    ax.minorticks_off()


def _of_codecs(systems: pd.DataFrame) -> Iterator[tuple[pd.DataFrame, tuple[str, str]]]:
    """Return the rows of each codec, by number of levels, with its colour and marker."""
    rows = systems[systems["codec"] != ""].sort_values("n_levels", kind="stable")
    return zip((rows[rows["codec"] == name] for name in systems["codec"].unique() if name), CODEC_LOOKS, strict=False)


def _opus(systems: pd.DataFrame) -> list[str]:
    return [name for name in systems["system"] if name.startswith("Opus")]


def _grid(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """Return bands (highest first) by number of levels."""
    table = rows.pivot(index="band", columns="n_levels", values=column)
    return table.reindex(list(rows["band"].unique())[::-1])


def _lines(axis: Axes, history: pd.DataFrame, names: list[str], labels: list[str] | None = None) -> None:
    for name, label in zip(names, labels or names, strict=True):
        if name in history:
            axis.plot(history["step"], history[name], label=label)
    if len(names) > 1 and axis.lines:
        axis.legend(ncols=2 if len(names) > 4 else 1)
