"""Figures of the audit: printed against result files, rates, the "SNR" under noise, padding, protocols, intervals."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from envsound.metrics.acoustic import METRICS
from envsound.report.style import DOTTED, DOUBLE_COLUMN, GREY, LOOKS, empty_figure, new_figure, style
from envsound.studies.audit.protocol import COMPARISONS
from envsound.studies.audit.rates import NOT_RUN
from envsound.studies.audit.snr import METRIC, NOISE, SLOPE
from envsound.studies.audit.statistics import SILENT

INK, BLUE, ORANGE = "#222222", LOOKS["real"].colour, LOOKS["generated"].colour
QUANTITIES = {"mean": ("o", "mean"), "sd": ("D", "standard deviation")}
VARIANT_LOOKS = {"masks": (BLUE, "frame masks"), "padded": (ORANGE, "padded with a valid code")}
BASIS_LOOKS = {"five folds": (BLUE, "o"), "one fold": (ORANGE, "s")}
DODGE = 0.13  # between two marks of one category


def agreement_figure(figures: pd.DataFrame) -> Figure:
    """Draw what is printed over what the result files hold, for every mean and standard deviation: 1 is agreement.

    Filled marks agree within rounding, open ones do not.
    """
    rows = figures[figures["check"] == "result_file"]
    if rows.empty:
        return empty_figure("no printed figure has a result file beside it")
    names = list(dict.fromkeys(zip(rows["item"], rows["side"], strict=True)))
    with style():
        fig = new_figure(DOUBLE_COLUMN * 0.8, 0.9 + 0.19 * len(names))
        ax = fig.subplots()
        for place, (quantity, (marker, words)) in enumerate(QUANTITIES.items()):
            for verdict, filled in (("agrees", True), ("differs", False)):
                mine = rows[(rows["quantity"] == quantity) & (rows["verdict"] == verdict)]
                if mine.empty:
                    continue
                at = [names.index(key) + (place - 0.5) * DODGE for key in zip(mine["item"], mine["side"], strict=True)]
                colour = (BLUE, ORANGE)[place]
                look = {"marker": marker, "ms": 5, "mec": colour, "mfc": colour if filled else "white", "ls": ""}
                ax.plot(mine["printed"] / mine["compared"], at, label=f"{words}, {verdict}", **look)
        ax.axvline(1, color=GREY, lw=0.8, ls=DOTTED)
        ax.set_yticks(range(len(names)), [f"{_label(item)}, {side}" for item, side in names])
        ax.set(xlabel="printed / result file", ylim=(len(names) - 0.5, -0.5))
        ax.grid(axis="x")
        ax.tick_params(axis="y", length=0)
        fig.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=2)
        return fig


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
        _shares(share, rates, places)
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
    present = set(protocol["comparison"])
    rows = protocol.set_index("comparison").loc[[name for name in COMPARISONS if name in present]]
    places, points = np.arange(len(rows)), 100 * rows[["difference", "low", "high"]].to_numpy(dtype=float)
    with style():
        fig = new_figure(DOUBLE_COLUMN * 0.8, 0.9 + 0.25 * len(rows))
        ax = fig.subplots()
        ends = np.abs([points[:, 0] - points[:, 1], points[:, 2] - points[:, 0]])
        ax.errorbar(points[:, 0], places, xerr=ends, ls="", marker="o", ms=4.5, color=INK, lw=1.1, capsize=2)
        ax.axvline(0, color=GREY, lw=0.8, ls=DOTTED)
        ax.set_yticks(places, list(rows.index))
        ax.set(xlabel="accuracy gained (percentage points)", ylim=(len(rows) - 0.5, -0.5))
        first = protocol.iloc[0]
        ax.set_title(f"{first['kind']}, {first['n_folds']} folds, {first['n_seeds']} seeds")
        ax.grid(axis="x")
        ax.tick_params(axis="y", length=0)
        return fig


def intervals_figure(ks: pd.DataFrame, classes: pd.DataFrame) -> Figure:
    """Draw the published distances and accuracies by class with the intervals their numbers of clips allow."""
    tests = ks[ks["verdict"] != SILENT]
    rows = classes[classes["group"] == "class"]
    names = list(rows.drop_duplicates("category").sort_values("accuracy", ascending=False)["category"])
    with style():
        fig = new_figure(DOUBLE_COLUMN, 1.1 + 0.26 * max(len(tests), len(names)))
        left, right = fig.subplots(1, 2)
        _interval_dots(left, np.arange(len(tests)), tests, "statistic", ("statistic_low", "statistic_high"), INK, "o")
        threshold = tests.iloc[0]["threshold_5_percent"]
        left.axvline(threshold, color=GREY, lw=0.8, ls=DOTTED, label="5% threshold of one test")
        left.set_yticks(range(len(tests)), [_label(name) for name in tests["metric"]])
        left.set(xlabel="published D, conservative 95% interval", xlim=(0, 1), ylim=(len(tests) - 0.5, -0.5))
        for place, (basis, (colour, marker)) in enumerate(BASIS_LOOKS.items()):
            mine = rows[rows["basis"] == basis].set_index("category").reindex(names).reset_index()
            at = np.arange(len(names)) + (place - 0.5) * 2 * DODGE
            words = f"{basis}, n = {mine['n'].iloc[0]}"
            _interval_dots(right, at, mine, "accuracy", ("low", "high"), colour, marker, words)
        right.set_yticks(range(len(names)), [name.replace("_", " ") for name in names])
        right.set(xlabel="published accuracy, Wilson 95% interval", xlim=(0, 1.02), ylim=(len(names) - 0.5, -0.5))
        for ax in (left, right):
            ax.grid(axis="x")
            ax.tick_params(axis="y", length=0)
        shown = [ax.get_legend_handles_labels() for ax in (left, right)]
        fig.legend(*(a + b for a, b in zip(*shown, strict=True)), loc="outside lower center", ncols=3)
        return fig


def _shares(ax: Axes, rates: pd.DataFrame, places: np.ndarray) -> None:
    """Draw the share of the published difference that the rate makes; words where it was not to be had."""
    ax.axvline(0, color=GREY, lw=0.8, ls=DOTTED)
    ax.set_xlabel("share of the published difference\nthat the rate alone makes (%)")
    if rates["share"].isna().all():
        ax.text(0.5, 0.5, str(rates.iloc[0]["note"]), ha="center", transform=ax.transAxes, color=GREY, wrap=True)
        return
    values, low, high = (100 * rates[name].to_numpy(dtype=float) for name in ("share", "share_low", "share_high"))
    ends = np.abs([values - low, high - values])
    ax.errorbar(values, places, xerr=ends, ls="", marker="o", ms=4.5, color=INK, lw=1.1, capsize=2)


def _interval_dots(
    ax: Axes,
    at: np.ndarray,
    rows: pd.DataFrame,
    value: str,
    ends: tuple[str, str],
    colour: str,
    marker: str,
    label: str = "",
) -> None:
    spread = np.abs([rows[value] - rows[ends[0]], rows[ends[1]] - rows[value]])
    look = {"ls": "", "marker": marker, "ms": 4.5, "color": colour, "lw": 1.1, "capsize": 2}
    ax.errorbar(rows[value], at, xerr=spread, label=label or None, **look)


def _label(name: str) -> str:
    return METRICS[name].label if name in METRICS else name.replace("_", " ")
