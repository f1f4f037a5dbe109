"""Figures of the audit: two rates, the "SNR" under noise, padding, protocols."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from envsound.base.text import NOT_RUN
from envsound.metrics.acoustic import METRICS
from envsound.report.style import DOTTED, DOUBLE_COLUMN, GREY, LOOKS, empty_figure, new_figure, style
from envsound.studies.audit.clips import METRIC, NOISE, SLOPE

INK, BLUE, ORANGE = "#222222", LOOKS["real"].colour, LOOKS["generated"].colour
VARIANT_LOOKS = {"masks": (BLUE, "frame masks"), "padded": (ORANGE, "padded with a valid code")}
DODGE = 0.13  # between two marks of one category


def rates_figure(rates: pd.DataFrame) -> Figure:
    """Draw how far the rate alone moves each metric: KS distance beside the published one, and the share explained."""
    if rates.empty:
        return empty_figure(f"two rates: {NOT_RUN}, the recordings hold no higher one")
    first, places = rates.iloc[0], np.arange(len(rates))
    with style():
        fig = new_figure(DOUBLE_COLUMN, 2.8)
        distance, share = fig.subplots(1, 2, sharey=True)
        words = f"the same clips at {first['rate_high_hz'] / 1000:g} and {first['rate_low_hz'] / 1000:g} kHz"
        distance.barh(places - 0.2, rates["ks"], height=0.36, color=BLUE, label=words)
        distance.barh(places + 0.2, rates["published_ks"], height=0.36, color=ORANGE, hatch="//////", edgecolor="white",
                      lw=0, label="published: real and generated")  # fmt: skip
        distance.set(xlabel="Kolmogorov–Smirnov distance D", xlim=(0, 1), ylim=(len(rates) - 0.5, -0.5))
        distance.set_yticks(places, [METRICS[name].label for name in rates["metric"]])
        share.set_xlabel("share of the published difference\nthat the rate alone makes (%)")
        if rates["share"].isna().all():
            share.text(0.5, 0.5, str(first["note"]), ha="center", transform=share.transAxes, color=GREY, wrap=True)
        else:
            _percents(share, rates, ("share", "share_low", "share_high"))
        for ax in (distance, share):
            ax.grid(axis="x")
            ax.tick_params(axis="y", length=0)
        fig.suptitle(str(first["kind"]), fontsize=8, x=0.01, ha="left")
        fig.legend(*distance.get_legend_handles_labels(), loc="outside lower center", ncols=2)
        return fig


def snr_figure(snr: pd.DataFrame, clips: pd.DataFrame) -> Figure:
    """Draw the "SNR" against the centroid of every clip, and against the true ratio of added white noise.

    clips: audit_clips.csv. The dashed line is what a signal-to-noise ratio would be.
    """
    rate = int(snr["rate_hz"].max())
    with style():
        fig = new_figure(DOUBLE_COLUMN, 2.8)
        scatter, noise = fig.subplots(1, 2)
        shown = clips[clips["rate_hz"] == rate]
        scatter.plot(shown["spectral_centroid_hz"], shown["snr_db"], ls="", marker="o", ms=2.5, alpha=0.5, color=BLUE)
        scatter.set(xlabel="spectral centroid (Hz)", ylabel="“SNR” (dB)", title=f"Every clip, {rate / 1000:g} kHz")
        rows = snr[(snr["measure"] == METRIC) & (snr["rate_hz"] == rate)].sort_values("true_snr_db")
        clean, noisy = rows[rows["true_snr_db"].isna()].iloc[0], rows.dropna(subset=["true_snr_db"])
        at, value, sd = (noisy[name].to_numpy(dtype=float) for name in ("true_snr_db", "value", "sd"))
        noise.plot(at, at, color=GREY, ls=(0, (5, 1.5)), lw=1, label="a signal-to-noise ratio")
        look = {"color": BLUE, "marker": "o", "ms": 4, "capsize": 2}
        noise.errorbar(at, value, yerr=np.nan_to_num(sd), label="“SNR”: mean ± sd", **look)
        noise.axhline(clean["value"], color=BLUE, lw=0.8, ls=DOTTED, label="without added noise, mean")
        alone = snr[(snr["measure"] == NOISE) & (snr["rate_hz"] == rate)]["value"].iloc[0]
        noise.axhline(alone, color=ORANGE, lw=0.8, ls=DOTTED, label="white noise alone")
        slope = snr[(snr["measure"] == SLOPE) & (snr["rate_hz"] == rate)]["value"].iloc[0]
        noise.set(xlabel="true ratio of signal to added noise (dB)", ylabel="“SNR” (dB)")
        noise.set_title(f"{clean['n']} clips with white noise: {slope:.2f} dB a dB")
        noise.legend(loc="upper left", fontsize=6.5)
        return fig


def padding_figure(padding: pd.DataFrame, published_first: float, codebook_size: int = 1024) -> Figure:
    """Draw the losses of both ways to pad, before and after training, by what is asked for; every seed is a mark.

    published_first: the first training loss that the study printed (nat).
    """
    columns = [("masks", "real"), ("padded", "all"), ("padded", "real"), ("padded", "constant")]
    present = set(zip(padding["variant"], padding["targets"], strict=True))
    columns = [column for column in columns if column in present]
    with style():
        fig = new_figure(DOUBLE_COLUMN * 0.8, 2.8)
        ax = fig.subplots()
        for place, (variant, targets) in enumerate(columns):
            rows = padding[(padding["variant"] == variant) & (padding["targets"] == targets)]
            colour, words = VARIANT_LOOKS[variant]
            before, after = rows[rows["step"] == 0]["loss"], rows[rows["step"] > 0]["loss"]
            ax.plot([place - DODGE] * len(before), before, ls="", marker="o", ms=5, mfc="white", mec=colour)
            label = words if variant not in [name for name, _ in columns[:place]] else None
            ax.plot([place + DODGE] * len(after), after, ls="", marker="o", ms=5, color=colour, label=label)
        for value, words in ((np.log(codebook_size), f"uniform guess, ln {codebook_size}"),
                             (published_first, "published, first")):  # fmt: skip
            ax.axhline(value, color=GREY, lw=0.8, ls=DOTTED)
            ax.annotate(words, (1, value), xycoords=("axes fraction", "data"), xytext=(0, 2),
                        textcoords="offset points", fontsize=7, color=GREY, ha="right")  # fmt: skip
        words = {"all": "all targets", "real": "real frames", "constant": "padding"}
        ax.set_xticks(range(len(columns)), [words[targets] for _, targets in columns])
        ax.set(ylabel="cross-entropy (nat)", xlim=(-0.6, len(columns) + 0.3), ylim=(0, None))
        ax.set_title(f"Open: untrained; filled: after {int(padding['step'].max())} steps; one mark for each seed")
        ax.grid(axis="y")
        ax.legend(loc="lower left")
        return fig


def protocol_figure(protocol: pd.DataFrame) -> Figure:
    """Draw what each departure from a sound protocol adds to the accuracy, with its 95% interval."""
    with style():
        fig = new_figure(DOUBLE_COLUMN * 0.8, 0.9 + 0.25 * len(protocol))
        ax = fig.subplots()
        _percents(ax, protocol, ("difference", "low", "high"))
        ax.set_yticks(range(len(protocol)), list(protocol["comparison"]))
        ax.set(xlabel="accuracy gained (percentage points)", ylim=(len(protocol) - 0.5, -0.5))
        first = protocol.iloc[0]
        ax.set_title(f"{first['kind']}, {first['n_folds']} folds, {first['n_seeds']} seeds")
        ax.grid(axis="x")
        ax.tick_params(axis="y", length=0)
        return fig


def _percents(ax: Axes, rows: pd.DataFrame, columns: tuple[str, str, str]) -> None:
    """Draw a share with the ends of its interval for each row, in percent, from the top; a line stands at 0."""
    values, low, high = (100 * rows[name].to_numpy(dtype=float) for name in columns)
    ends = np.abs([values - low, high - values])
    ax.errorbar(values, np.arange(len(rows)), xerr=ends, ls="", marker="o", ms=4.5, color=INK, lw=1.1, capsize=2)
    ax.axvline(0, color=GREY, lw=0.8, ls=DOTTED)
