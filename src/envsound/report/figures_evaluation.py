"""Figures of the extended evaluation and of listeners, by system.

Every metric at once, spectra in octaves, diversity; distances between embeddings, what was heard, how near training
clips are.
"""

from collections.abc import Sequence

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from envsound.evaluation.copies import CHAINS, GOAL_RUN
from envsound.evaluation.diversity import ALL, MEAN
from envsound.evaluation.memorisation import COPIED, THROUGH_CODEC
from envsound.metrics.extended import GROUPS, MODULATION, OCTAVES_HZ, PER_CLIP
from envsound.metrics.measures import MODULATION_EDGES_HZ
from envsound.metrics.tests import ALPHA
from envsound.report.fragments import SYSTEM_WORDS
from envsound.report.style import DOTTED, DOUBLE_COLUMN, GREY, LOOKS, SINGLE_COLUMN, empty_figure, new_figure, style

SYSTEM_LOOKS = {  # short words, colour, marker; the four sides as in every other figure
    "real": (SYSTEM_WORDS["real"], LOOKS["real"].colour, "s"),
    "real_other": (SYSTEM_WORDS["real_other"], LOOKS["real_other"].colour, "|"),
    "codec": (SYSTEM_WORDS["codec"], LOOKS["codec"].colour, "D"),
    "generated": (SYSTEM_WORDS["generated"], LOOKS["generated"].colour, "o"),
    "copy": (SYSTEM_WORDS["copy"], "#222222", "x"),
    "shuffled": (SYSTEM_WORDS["shuffled"], "#CC79A7", "^"),
    "bigram": (SYSTEM_WORDS["bigram"], "#56B4E9", "<"),
    "unigram": (SYSTEM_WORDS["unigram"], "#8B5FBF", ">"),
    "noise": (SYSTEM_WORDS["noise"], "#8C510A", "*"),
}
SHOWN_AS_ZERO = 0.01  # standard deviations; distances below it are drawn at the left edge
CURVES = ("real", "real_other", "codec", "generated", "shuffled", "noise")
DODGE = 0.06  # between systems that share a category
PANELS = {  # column of distances.csv: title, whether it has an interval
    "kad": ("Kernel distance (KAD)", True),
    "fad_infinity_both": ("Fréchet distance, infinite n", False),
    "precision": ("Precision; recall is open", True),
}
SHARES = ("precision", "recall")
LINEAR = 1.0  # distances up to here are drawn on a linear scale: unbiased ones may be below 0
TICKS = {-100: "−100", -10: "−10", -1: "−1", 0: "0", 1: "1", 10: "10", 100: "100", 1000: "1000"}
NEAREST = {  # sides of nearest.csv: words, colour, line
    "real": ("real, held out", LOOKS["real"].colour, LOOKS["real"].line),
    "generated": ("model", LOOKS["generated"].colour, LOOKS["generated"].line),
    THROUGH_CODEC: ("training clips, through the codec", "#222222", DOTTED),
    COPIED: ("training clips themselves", GREY, (0, (4, 1.2, 1, 1.2))),
}
COPIES = {"real": NEAREST["real"], "generated": NEAREST["generated"]}  # sides of copies_by_clip.csv, likewise
COPIES |= {name: (name, *NEAREST[like][1:]) for name, like in zip(CHAINS, (THROUGH_CODEC, COPIED), strict=True)}
MOST_NUMBERED = 20  # classes up to which the cells of a confusion matrix bear numbers


def overview(table: pd.DataFrame, alpha: float = ALPHA) -> Figure:
    """Draw every metric of every system against real clips, from a table of `effects.effect_table`.

    Left: Cliff's delta as colour and number, in bold where the Kolmogorov-Smirnov test rejects equality at `alpha`
    after Holm. Right: the Wasserstein distance in standard deviations of the real clips on a logarithmic axis, the
    model's with its 95% interval.
    """
    rows = table[(table["system"] != "real") & (table["note"] == "")].dropna(subset=["cliffs_delta"])
    names = [name for group in GROUPS.values() for name in group if (rows["metric"] == name).any()]
    if not names:
        return empty_figure("no metric is defined on both sides")
    columns = list(dict.fromkeys(zip(rows["system"], rows["run"], strict=True)))
    with style():
        fig = new_figure(DOUBLE_COLUMN, 1.5 + 0.19 * len(names))
        deltas, distances = fig.subplots(1, 2, sharey=True, width_ratios=(1.35, 1))
        _delta_matrix(deltas, rows, names, columns, alpha)
        for place, (system, run) in enumerate(columns):
            mine = rows[(rows["system"] == system) & (rows["run"] == run)].set_index("metric").reindex(names)
            first = [other for other, _ in columns].index(system) == place
            _distances(distances, mine, system, label=SYSTEM_LOOKS[system][0] if first else None)
        distances.set(xscale="log", xlabel="Wasserstein distance (sd of the real clips)")
        distances.grid(axis="both")
        distances.tick_params(axis="y", length=0)
        for ax in (deltas, distances):
            for end in _group_ends(names):
                ax.axhline(end, color="white" if ax is deltas else GREY, lw=2 if ax is deltas else 0.6)
        fig.legend(*distances.get_legend_handles_labels(), loc="outside lower center", ncols=4)
        return fig


def octave_curves(table: pd.DataFrame) -> Figure:
    """Draw the energy by octave and the envelope's power by octave of modulation: medians with 95% intervals.

    table: as for `overview`; of several runs of the model each has a line.
    """
    octaves = [f"octave_{hz}_hz" for hz in OCTAVES_HZ]
    low, high = (np.array(MODULATION_EDGES_HZ[place]) for place in (slice(None, -1), slice(1, None)))
    with style():
        fig = new_figure(DOUBLE_COLUMN, 3.0)
        energy, modulation = fig.subplots(1, 2)
        for system in CURVES:
            for number, (_, rows) in enumerate(table[table["system"] == system].groupby("run", sort=False)):
                label = SYSTEM_LOOKS[system][0] if number == 0 else None
                by_metric = rows.set_index("metric")
                _curve(energy, np.array(OCTAVES_HZ), by_metric.reindex(octaves), system, label)
                _curve(modulation, np.sqrt(low * high), by_metric.reindex(list(MODULATION)), system, label)
        energy.set(xlabel="octave at (Hz)", ylabel="share of the energy (%)", title="Spectrum")
        energy.set_xticks(OCTAVES_HZ, [f"{hz:g}" if hz < 1000 else f"{hz / 1000:g}k" for hz in OCTAVES_HZ])
        modulation.set(xlabel="modulation (Hz)", ylabel="share of the power (%)", title="Envelope")
        modulation.set_xticks(MODULATION_EDGES_HZ, [f"{hz:g}" for hz in MODULATION_EDGES_HZ])
        for ax in (energy, modulation):
            ax.set_ylim(bottom=0)  # at last: it keeps the top from growing
        fig.legend(*energy.get_legend_handles_labels(), loc="outside lower center", ncols=len(CURVES))
        return fig


def diversity_dots(table: pd.DataFrame) -> Figure:
    """Draw how far the clips of each class lie apart, real clips being 1, from `diversity.diversity_table`."""
    rows = table[(table["system"] != "real") & table["ratio"].notna()]
    if rows.empty:
        return empty_figure("no class has two clips on both sides")
    categories = [name for name in (ALL, MEAN) if (rows["category"] == name).any()]
    categories += sorted(set(rows["category"]) - {ALL, MEAN})
    systems = [name for name in SYSTEM_LOOKS if (rows["system"] == name).any()]
    with style():
        fig = new_figure(DOUBLE_COLUMN, 1.1 + 0.27 * len(categories))
        ax = fig.subplots()
        for place, system in enumerate(systems):
            words, colour, marker = SYSTEM_LOOKS[system]
            mine = rows[rows["system"] == system]
            at = [categories.index(name) + (place - len(systems) / 2) * DODGE for name in mine["category"]]
            ends = np.abs([mine["ratio"] - mine["ratio_low"], mine["ratio_high"] - mine["ratio"]])
            ax.errorbar(mine["ratio"], at, xerr=ends, ls="", marker=marker, ms=4, color=colour, lw=0.8, label=words)
        ax.axvline(1, color=LOOKS["real"].colour, lw=0.8, ls=DOTTED)
        ax.set_yticks(range(len(categories)), [name.replace("_", " ") for name in categories])
        ax.set(ylim=(len(categories) - 0.5, -0.5), xlabel="spread between clips, real clips = 1")
        ax.set_xlim(left=-0.03)
        ax.grid(axis="x")
        ax.tick_params(axis="y", length=0)
        fig.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=4)
        return fig


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
            for side, (label, colour, line) in NEAREST.items():
                values = nearest.loc[(nearest["space"] == space) & (nearest["side"] == side), "relative"]
                if len(values):
                    ax.ecdf(values, color=colour, ls=line, lw=1.3, label=label)
            ax.set(title=space, xlabel="relative distance", xlim=(-0.03, 1.03))
            ax.grid(axis="x")
        axes[0].set_ylabel("share of clips")
        fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
        return fig


def copied_runs(clips: pd.DataFrame) -> Figure:
    """Draw for how many columns on end clips of every side follow one training clip, cumulated over clips.

    clips: copies_by_clip.csv. A model that copies has a curve right of the held-out clips'.
    """
    with style():
        fig = new_figure(SINGLE_COLUMN, 2.7)
        ax = fig.subplots()
        for side, (label, colour, line) in COPIES.items():
            ax.ecdf(clips.loc[clips["side"] == side, "run"], color=colour, ls=line, lw=1.3, label=label)
        ax.axvline(GOAL_RUN, color=GREY, ls=DOTTED, lw=0.8)
        ax.set(xlabel="longest run (columns of codes)", ylabel="share of clips", xscale="symlog", xlim=(0, None))
        ax.xaxis.set_major_formatter("{x:g}")
        fig.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=2)
        return fig


def _delta_matrix(ax: Axes, rows: pd.DataFrame, names: list[str], columns: list[tuple[str, str]], alpha: float) -> None:
    cells = rows.set_index(["metric", "system", "run"])
    values = np.full((len(names), len(columns)), np.nan)
    colours = matplotlib.colormaps["PuOr_r"]
    for y, name in enumerate(names):
        for x, key in enumerate(columns):
            if (name, *key) not in cells.index:
                continue
            cell = cells.loc[(name, *key)]
            values[y, x] = cell["cliffs_delta"]
            weight = "bold" if cell["p_holm"] < alpha else "normal"
            ink = "white" if abs(values[y, x]) > 0.7 else "#222222"
            ax.text(x, y, f"{values[y, x]:+.2f}", ha="center", va="center", fontsize=5.5, weight=weight, color=ink)
    ax.imshow(values, cmap=colours, vmin=-1, vmax=1, aspect="auto")
    ax.set_yticks(range(len(names)), [PER_CLIP[name].label for name in names])
    words = [f"{SYSTEM_LOOKS[system][0]}, {run}" if run else SYSTEM_LOOKS[system][0] for system, run in columns]
    ax.set_xticks(range(len(columns)), words, rotation=40, ha="right", rotation_mode="anchor")
    ax.set_title("Cliff's delta: below 0 lower than real, above 0 higher")
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)


def _distances(ax: Axes, rows: pd.DataFrame, system: str, label: str | None) -> None:
    _, colour, marker = SYSTEM_LOOKS[system]
    places = np.arange(len(rows))
    values = rows["wasserstein_in_sd"].clip(lower=SHOWN_AS_ZERO).to_numpy()
    ax.plot(values, places, ls="", marker=marker, ms=4.5, color=colour, label=label)
    if system == "generated":
        scale = (rows["wasserstein_in_sd"] / rows["wasserstein"]).to_numpy()
        ends = [(rows[f"wasserstein{end}"] * scale).clip(lower=SHOWN_AS_ZERO) for end in ("_low", "_high")]
        ax.hlines(places, *ends, color=colour, lw=1)


def _curve(ax: Axes, places: np.ndarray, rows: pd.DataFrame, system: str, label: str | None) -> None:
    _, colour, marker = SYSTEM_LOOKS[system]
    line = LOOKS[system].line if system in LOOKS else DOTTED
    values, low, high = (100 * rows[f"median{end}"].to_numpy(dtype=float) for end in ("", "_low", "_high"))
    ax.plot(places, values, color=colour, marker=marker, ms=3.5, ls=line, lw=1.1, label=label)
    if system in ("real", "generated"):
        ax.fill_between(places, low, high, color=colour, alpha=0.18, lw=0)
    ax.set_xscale("log")
    ax.minorticks_off()
    ax.grid(axis="y")


def _group_ends(names: list[str]) -> list[float]:
    """Return where a line separates two groups of metrics, in rows."""
    group = {name: number for number, members in enumerate(GROUPS.values()) for name in members}
    return [place - 0.5 for place in range(1, len(names)) if group[names[place]] != group[names[place - 1]]]


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
