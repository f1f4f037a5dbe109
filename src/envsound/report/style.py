"""The look of every figure, how figures are saved, and the figures of codes, training and tests.

Made for print: widths of one or two journal columns, type of 7 to 9 points, vector pdf. The four sides of a
comparison have the same colours everywhere (Okabe and Ito's palette, safe for colour-blind readers), and
differ in line style and hatching too, so that they can be told apart in grey.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import PIL.Image
import seaborn
from IPython.display import Image
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogFormatterMathtext, NullFormatter

from envsound.base.files import atomic_path
from envsound.metrics.acoustic import METRICS

SINGLE_COLUMN = 3.5  # inches
DOUBLE_COLUMN = 7.2  # inches
PNG_DPI = 200
GREY = "#666666"
DOTTED = (0, (1, 1.5))


MARKERS = {"generated": "D", "codec": "s"}  # of points, besides "o"


@dataclass(frozen=True)
class Look:
    """How one side is drawn: its words, colour, line style and hatch."""

    label: str
    colour: str
    line: str | tuple
    hatch: str


LOOKS = {
    "real": Look("real", "#0072B2", "-", ""),
    "generated": Look("generated", "#D98200", (0, (5, 1.5)), "//////"),
    "codec": Look("through the codec", "#009E73", (0, (4, 1.2, 1, 1.2)), "......"),
    "real_other": Look("other folds", "#7A7A7A", (0, (1, 1.2)), ""),
}


def style() -> AbstractContextManager:
    """Return a context in which figures are drawn and saved; outside it matplotlib is left as it was."""
    sizes = {"major.width": 0.6, "major.size": 3, "minor.size": 1.5}
    ticks = {f"{axis}tick.{what}": value for axis in "xy" for what, value in sizes.items()}
    look = seaborn.axes_style("ticks") | ticks | {
        "font.family": "DejaVu Sans",  # comes with matplotlib, so figures are the same on every machine
        "font.size": 8, "axes.titlesize": 8, "axes.labelsize": 8, "legend.fontsize": 7.5,
        "xtick.labelsize": 7, "ytick.labelsize": 7, "axes.titlelocation": "left", "legend.frameon": False,
        "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.6, "axes.edgecolor": "#333333",
        "grid.color": "#E3E3E3", "grid.linewidth": 0.5, "axes.axisbelow": True, "lines.linewidth": 1.4,
        "hatch.linewidth": 0.5, "pdf.fonttype": 42,  # real text in the pdf: searchable and editable
        "svg.hashsalt": "envsound", "text.parse_math": False,  # a class may be called $5
    }  # fmt: skip
    return matplotlib.rc_context(look)


def save_figure(fig: Figure, folder: str | Path, name: str, kinds: Sequence[str] = ("pdf", "png")) -> list[Path]:
    """Write `folder/name.pdf` and `folder/name.png` (200 dpi), or one of them, and return their paths.

    The same figure gives the same bytes: no date and no program version is written.
    """
    metadata = {"pdf": {"CreationDate": None, "Creator": None, "Producer": None}, "png": {"Software": None}}
    _plain_numbers(fig)
    paths = [Path(folder) / f"{name}.{kind}" for kind in kinds]
    with style():
        for path, kind in zip(paths, kinds, strict=True):
            with atomic_path(path) as temporary:
                fig.savefig(temporary, format=kind, dpi=PNG_DPI, metadata=metadata[kind])
                if kind == "png":
                    without_alpha(temporary, temporary)
    return paths


def without_alpha(source: Path, target: Path) -> None:
    """Write a png with the same colours and no transparency, which figures do not have: a third smaller."""
    with PIL.Image.open(source) as drawn:
        drawn.convert("RGB").save(target, "PNG", optimize=True, dpi=drawn.info.get("dpi"))


def _plain_numbers(fig: Figure) -> None:
    """Write the numbers of logarithmic axes as such: what stands between two dollar signs is no formula here."""
    for axis in (axis for ax in fig.axes for axis in (ax.xaxis, ax.yaxis)):
        if isinstance(axis.get_major_formatter(), LogFormatterMathtext):
            axis.set_major_formatter("{x:g}")
            axis.set_minor_formatter(NullFormatter())


def show_figure(paths: list[Path]) -> Image:
    """Return what `save_figure` wrote as a notebook shows it: the png, at half size for sharp screens."""
    return Image(filename=str(next(path for path in paths if path.suffix == ".png")), retina=True)


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of the given size in inches that arranges its own margins."""
    return Figure(figsize=(width, height), layout="constrained")


def empty_figure(words: str) -> Figure:
    """Return a small figure that says in words why there is nothing to draw."""
    with style():
        fig = new_figure(SINGLE_COLUMN, 0.6)
        fig.text(0.5, 0.5, words, ha="center", va="center", color=GREY)
        return fig


def level_colours(n_levels: int) -> list[tuple]:
    """Return one colour per level, dark (coarse) to light (fine); monotone in grey."""
    colours: Colormap = matplotlib.colormaps["viridis"]
    return [colours(position) for position in np.linspace(0.0, 0.88, n_levels)]


def training_curves(training: pd.DataFrame, warmup_fraction: float = 0.3, codebook_size: int = 1024) -> Figure:
    """Draw the loss over epochs, in total and per level, with the end of warm-up and a uniform guess marked.

    `training` has the columns of training.csv; `warmup_fraction` of its epochs is warm-up. The reference lines are
    ln(codebook_size), the loss of a model that knows nothing, and the loss of one that knows how often each code
    occurs, also marked for every level. Without the column `unigram` the losses are of no codes: see `_loss_curves`.
    """
    if "unigram" not in training:
        return _loss_curves(training.assign(level=training["level"].astype(str)))
    with style():
        fig = new_figure(DOUBLE_COLUMN, 2.7)
        total, levels = fig.subplots(1, 2, sharey=True)
        curves = training.assign(level=training["level"].astype(str))
        warmup_end = warmup_fraction * curves["epoch"].max()
        for split, line in (("train", (0, (3, 1.2))), ("validation", "-")):
            rows = curves[(curves["level"] == "all") & (curves["split"] == split)].sort_values("epoch")
            _curve(total, rows, color="#222222" if split == "validation" else GREY, ls=line, label=split)
        _level_curves(levels, curves[curves["split"] == "validation"])
        for ax in (total, levels):
            ax.axvline(warmup_end, color=GREY, lw=0.8, ls=DOTTED)
            ax.axhline(np.log(codebook_size), color=GREY, lw=0.8, ls=DOTTED)
        frequencies = curves[(curves["split"] == "validation") & (curves["level"] == "all")]["unigram"].iloc[-1]
        total.axhline(frequencies, color=GREY, lw=0.8, ls=DOTTED)
        references = {f"uniform guess, ln {codebook_size}": np.log(codebook_size), "code frequencies": frequencies}
        _name_references(total, warmup_end, references)
        total.set(title="All levels", xlabel="epoch", ylabel="cross-entropy (nat)")
        levels.set(title="By level, validation", xlabel="epoch")
        total.legend(loc="best", handlelength=2.4)
        return fig


def code_usage(counts: np.ndarray) -> Figure:
    """Draw how much of each level's codebook is used: codes in use with effective number, and their ranked
    shares.

    counts: int [n_levels, codebook_size], how often each code occurs. The effective number is exp(entropy):
    as many equally frequent codes would carry the same information.
    """
    counts = np.asarray(counts)
    n_levels, codebook_size = counts.shape
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    logs = np.log(shares, out=np.zeros_like(shares), where=shares > 0)
    effective = np.exp(-(shares * logs).sum(axis=1))
    colours = level_colours(n_levels)
    with style():
        fig = new_figure(DOUBLE_COLUMN, 2.6)
        bars, ranks = fig.subplots(1, 2)
        used = (counts > 0).sum(axis=1)
        bars.bar(range(n_levels), used, color=colours, width=0.72, alpha=0.45, label="in use")
        bars.plot(range(n_levels), effective, ls="", marker="D", ms=4, color="#222222", label="effective number")
        bars.axhline(codebook_size, color=GREY, lw=0.8, ls=DOTTED)
        bars.set(xlabel="level (0 is coarse)", ylabel="codes", xticks=range(n_levels), ylim=(0, codebook_size * 1.19))
        bars.legend(loc="upper left", ncols=2, handletextpad=0.5, columnspacing=1.2)
        bars.get_legend().legend_handles[-1].set_color(GREY)
        for level, colour in enumerate(colours):
            ranked = np.sort(shares[level])[::-1]
            ranks.plot(np.arange(1, codebook_size + 1), np.where(ranked > 0, ranked, np.nan), color=colour, lw=1.1)
        ranks.axhline(1 / codebook_size, color=GREY, lw=0.8, ls=DOTTED)
        if counts.any():
            ranks.set(xscale="log", yscale="log")
        ranks.set(xlabel="rank of the code within its level", ylabel="share of frames")
        _level_legend(ranks, colours, loc="lower left")
        return fig


def ks_bars(ks: pd.DataFrame) -> Figure:
    """Draw the KS distance of every metric and comparison in ks.csv, with thresholds and published values."""
    names = [name for name in METRICS if name in set(ks["metric"])]
    comparisons = [name for name in ("generated_vs_real", "codec_vs_real", "real_other_vs_real")
                   if name in set(ks["comparison"])]  # fmt: skip
    height = 0.8 / len(comparisons)
    with style():
        fig = new_figure(DOUBLE_COLUMN * 0.78, 0.8 + 0.15 * len(comparisons) * len(names))
        ax = fig.subplots()
        for row, comparison in enumerate(comparisons):
            rows = ks[ks["comparison"] == comparison].set_index("metric").reindex(names)
            centres = np.arange(len(names)) + (row - (len(comparisons) - 1) / 2) * height
            _ks_comparison(ax, rows, centres, height, LOOKS[comparison.removesuffix("_vs_real")])
        ax.set(xlabel="Kolmogorov–Smirnov distance D to the real clips", xlim=(0, 1), ylim=(len(names) - 0.5, -0.5))
        ax.set_yticks(range(len(names)), [METRICS[name].label for name in names])
        ax.tick_params(axis="y", length=0)
        ax.grid(axis="x")
        _name_degenerate(ax, ks, names)
        handles = dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))
        order = sorted(handles, key=lambda label: label not in {look.label for look in LOOKS.values()})
        fig.legend([handles[label] for label in order], order, loc="outside upper center", ncols=3, handlelength=1.6)
        return fig


def distance_figure(rows: pd.DataFrame, title: str) -> Figure:
    """Draw the kernel distance of every side to real clips with its interval, a row each, from the top; for a page.

    rows: columns side, words, kad, kad_low, kad_high. title: the message of the figure.
    """
    with style():
        fig = new_figure(5.2, 0.9 + 0.3 * len(rows))
        ax = fig.subplots()
        for place, row in enumerate(rows.itertuples()):
            colour, marker = LOOKS[row.side].colour if row.side in LOOKS else GREY, MARKERS.get(row.side, "o")
            ax.plot([row.kad_low, row.kad_high], [place, place], color=colour, lw=1.6)
            ax.plot(row.kad, place, color=colour, marker=marker, ms=6)
        ax.axvline(0, color=GREY, lw=0.8)
        ax.set_xscale("symlog", linthresh=1)
        ax.set_xlabel("kernel distance to held-out recordings (0: none)", fontsize=9)
        ax.set_yticks(range(len(rows)), rows["words"], fontsize=10)
        ax.set_ylim(len(rows) - 0.5, -0.5)
        ax.tick_params(axis="y", length=0)
        ax.grid(axis="x")
        fig.suptitle(title, fontsize=11, x=0.01, ha="left")
        return fig


def _curve(ax: Axes, rows: pd.DataFrame, **look: object) -> None:
    marker = "o" if len(rows) < 3 else None
    ax.plot(rows["epoch"], rows["loss"], marker=marker, ms=3, **look)


def _loss_curves(training: pd.DataFrame) -> Figure:
    """Draw the loss over epochs, a panel for the total ("all") and one for each of its parts, by their names."""
    parts = sorted(training["level"].unique(), key=lambda name: name != "all")
    with style():
        fig = new_figure(DOUBLE_COLUMN, 2.4)
        for ax, part in zip(np.atleast_1d(fig.subplots(1, len(parts))), parts, strict=True):
            for split, colour in (("train", GREY), ("validation", "#222222")):
                rows = training[(training["level"] == part) & (training["split"] == split)].sort_values("epoch")
                _curve(ax, rows, color=colour, ls=DOTTED if split == "train" else "-", label=split)
            ax.set(title="loss" if part == "all" else part.replace("_", " "), xlabel="epoch")
        ax.legend(loc="best", handlelength=2.4)
        return fig


def _level_curves(ax: Axes, curves: pd.DataFrame) -> None:
    levels = sorted(int(level) for level in curves["level"].unique() if level != "all")
    colours = level_colours(len(levels))
    for level, colour in zip(levels, colours, strict=True):
        rows = curves[curves["level"] == str(level)].dropna(subset=["loss"]).sort_values("epoch")
        _curve(ax, rows, color=colour, lw=1.1)
        ax.plot(rows["epoch"].iloc[-1:], rows["unigram"].iloc[-1:], marker="D", ms=4, mfc="white", color=colour)
    _level_legend(ax, colours, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _level_legend(ax: Axes, colours: list[tuple], **place: object) -> None:
    handles = [Line2D([], [], color=colour, lw=2) for colour in colours]
    ax.legend(handles, range(len(colours)), title="level", handlelength=1.0, labelspacing=0.15, **place)
    ax.get_legend().get_title().set_fontsize(7.5)


def _name_references(ax: Axes, warmup_end: float, references: dict[str, float]) -> None:
    look = {"textcoords": "offset points", "fontsize": 7, "color": GREY, "ha": "right"}
    ax.annotate("end of warm-up", (warmup_end, 0), xycoords=("data", "axes fraction"), xytext=(-3, 4), **look)
    for words, loss in references.items():
        ax.annotate(words, (1, loss), xycoords=("axes fraction", "data"), xytext=(0, 2), **look)


def _ks_comparison(ax: Axes, rows: pd.DataFrame, centres: np.ndarray, height: float, look: Look) -> None:
    bar = {"height": height * 0.88, "color": look.colour, "alpha": 0.85, "hatch": look.hatch, "label": look.label}
    ax.barh(centres, rows["statistic"], edgecolor="white", linewidth=0, **bar)
    ends = (centres - height / 2, centres + height / 2)
    ax.vlines(rows["threshold_5_percent"], *ends, color="#222222", lw=1.2, label="5% threshold of one test")
    published = rows["published_statistic"].astype(float)
    if published.notna().any():
        mark = {"marker": "D", "ms": 4.5, "mfc": "white", "mec": "#222222", "mew": 0.9, "clip_on": False}
        ax.plot(published, centres, ls="", label="generated, as published", zorder=5, **mark)


def _name_degenerate(ax: Axes, rows: pd.DataFrame, names: list[str]) -> None:
    for place, name in enumerate(names):
        notes = rows.loc[rows["metric"] == name, "note"].fillna("")
        if (notes != "").all():
            ax.annotate(notes.iloc[0], (0.25, place), fontsize=7, color=GREY, va="center")
