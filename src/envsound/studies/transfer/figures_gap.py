"""Figures of the gap between speech and environmental sound: effect sizes, shares by band, and codes by level."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from envsound.metrics.measures import BANDS, MEASURES, MODULATION, SINGLE
from envsound.report.style import DOTTED, DOUBLE_COLUMN, GREY, LOOKS, empty_figure, new_figure, style
from envsound.studies.transfer.domain_gap import DOMAINS

DOMAIN_LOOKS = {"speech": ("#CC79A7", "o"), "environment": (LOOKS["real"].colour, "s")}  # colour, marker
GUESSED_FROM = {
    "bits_alone": ("nothing else", "-"),
    "bits_previous": ("frame before", (0, (5, 1.5))),
    "bits_above": ("level above", (0, (1, 1.2))),
}
DODGE = 0.09  # between the two domains, in categories


def effects_figure(gap: pd.DataFrame) -> Figure:
    """Draw Cliff's delta with its 95% interval for each single measure of gap.csv, and no band of modulation."""
    rows = gap[gap["measure"].isin([*BANDS, *SINGLE])].dropna(subset=["cliffs_delta"])
    if rows.empty:
        return empty_figure("no measure is defined on both sides")
    kinds = rows.iloc[0]
    with style():
        fig = new_figure(DOUBLE_COLUMN * 0.8, 0.8 + 0.23 * len(rows))
        ax = fig.subplots()
        places = np.arange(len(rows))
        deltas = rows["cliffs_delta"].to_numpy()
        spread = np.abs(np.stack([deltas - rows["cliffs_delta_low"], rows["cliffs_delta_high"] - deltas]))
        ax.errorbar(deltas, places, xerr=spread, ls="", marker="o", ms=4.5, color="#222222", lw=1.1, capsize=2)
        ax.axvline(0, color=GREY, lw=0.8, ls=DOTTED)
        ax.set_yticks(places, [MEASURES[name].label for name in rows["measure"]])
        ax.set(xlim=(-1.05, 1.05), ylim=(len(rows) - 0.5, -0.5), xlabel="Cliff's delta")
        ax.set_title(f"Higher in {kinds['environment_kind']}  ←  →  higher in {kinds['speech_kind']}", loc="center")
        ax.grid(axis="x")
        ax.tick_params(axis="y", length=0)
        return fig


def shares_figure(gap: pd.DataFrame) -> Figure:
    """Draw the shares of energy by frequency band and of envelope power by octave of modulation: medians, intervals."""
    with style():
        fig = new_figure(DOUBLE_COLUMN, 2.7)
        bands, modulation = fig.subplots(1, 2, width_ratios=(4, 7))
        _shares(bands, gap, list(BANDS), ["< 300", "300–3500", "3500–5000", "> 5000"])
        edges = [name.split("_")[1:3] for name in MODULATION]
        _shares(modulation, gap, list(MODULATION), [f"{low}–{high}" for low, high in edges])
        bands.set(xlabel="frequency (Hz)", ylabel="share of the energy (%)", title="Spectrum")
        modulation.set(xlabel="modulation (Hz)", ylabel="share of the power (%)", title="Envelope")
        fig.legend(*bands.get_legend_handles_labels(), loc="outside lower center", ncols=2)
        return fig


def codes_figure(gap_codes: pd.DataFrame) -> Figure:
    """Draw the codes against the level: entropy as a share of the largest, and cross-entropies of held-out clips.

    `gap_codes` has the columns of gap_codes.csv; bars are 95% intervals.
    """
    with style():
        fig = new_figure(DOUBLE_COLUMN, 3.0)
        entropy, bits = fig.subplots(1, 2)
        for domain, (colour, marker) in DOMAIN_LOOKS.items():
            kind = gap_codes[f"{domain}_kind"].iloc[0]
            look = {"color": colour, "marker": marker, "ms": 4}
            _by_level(entropy, gap_codes, "entropy_share", domain, 100, {**look, "label": kind})
            for name, (words, line) in GUESSED_FROM.items():
                _by_level(bits, gap_codes, name, domain, 1, {**look, "ls": line, "label": f"{kind}: {words}"})
        levels = sorted(gap_codes["level"].unique())
        entropy.set(title="How evenly codes are used", ylabel="entropy (% of the largest)")
        bits.set(title="What a code costs, guessed from", ylabel="cross-entropy, held-out clips (bit)")
        for ax in (entropy, bits):
            ax.set(xlabel="level (0 is coarse)", xticks=levels)
            ax.grid(axis="y")
        fig.legend(*bits.get_legend_handles_labels(), loc="outside lower center", ncols=2, handlelength=3.0)
        return fig


def _shares(ax: Axes, gap: pd.DataFrame, names: list[str], labels: list[str]) -> None:
    rows = gap.set_index("measure").loc[names]
    for side, domain in zip((-1, 1), DOMAINS, strict=True):
        colour, marker = DOMAIN_LOOKS[domain]
        places = np.arange(len(names)) + side * DODGE
        _intervals(ax, places, rows, domain, 100, color=colour, marker=marker, ms=4.5, ls="",
                   label=rows[f"{domain}_kind"].iloc[0])  # fmt: skip
    ax.set_xticks(range(len(names)), labels)
    ax.set_ylim(bottom=0)
    ax.grid(axis="y")


def _by_level(ax: Axes, gap_codes: pd.DataFrame, name: str, domain: str, scale: float, look: dict) -> None:
    rows = gap_codes[gap_codes["measure"] == name].sort_values("level")
    _intervals(ax, rows["level"].to_numpy(), rows, domain, scale, **look)


def _intervals(ax: Axes, places: np.ndarray, rows: pd.DataFrame, domain: str, scale: float, **look: object) -> None:
    """Draw the values of a domain with their intervals, times `scale`."""
    values, low, high = (scale * rows[f"{domain}{part}"].to_numpy(dtype=float) for part in ("", "_low", "_high"))
    ax.plot(places, values, **look)
    ax.errorbar(places, values, yerr=np.abs([values - low, high - values]), ls="", color=look["color"], lw=1, capsize=2)
