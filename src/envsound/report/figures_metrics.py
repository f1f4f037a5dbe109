"""Figures of clips: distributions of the acoustic metrics, pairs of clips, and sound itself side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from scipy import signal, stats

from envsound.base.errors import InputError
from envsound.base.files import read_csv
from envsound.evaluation.sides import from_rows, recordings_of, samples_of
from envsound.metrics.acoustic import METRICS
from envsound.report.style import DOUBLE_COLUMN, GREY, LOOKS, SINGLE_COLUMN, empty_figure, new_figure, style

SIX = ("snr_db", "zcr", "rms", "spectral_entropy", "spectral_centroid_hz", "spectral_rolloff_hz")
N_BINS = 24
WINDOW_SECONDS = 0.043  # about 1,024 samples at 24 kHz
DYNAMIC_RANGE = 80.0  # dB below the loudest bin of a figure
LOWEST_HZ = 60.0


@dataclass(frozen=True)
class Example:
    """A real and a generated clip to be shown side by side, float [n_samples] in [-1, 1], and their names."""

    real: np.ndarray
    generated: np.ndarray
    real_title: str
    generated_title: str


def metric_distributions(metrics: pd.DataFrame) -> Figure:
    """Draw each acoustic metric's distribution: a histogram of real and generated, below it cumulative
    shares.

    `metrics` has the columns of metrics.csv; metrics it lacks are left out. The vertical bar in the lower
    panel is the Kolmogorov-Smirnov distance D between generated and real.
    """
    names, sides = _names(metrics), _sides(metrics)
    if not names:
        return empty_figure("none of the six metrics was taken")
    n_columns = min(3, len(names))
    n_blocks = -(-len(names) // n_columns)
    with style():
        fig = new_figure(DOUBLE_COLUMN, 0.4 + 2.55 * n_blocks)
        axes = fig.subplots(2 * n_blocks, n_columns, squeeze=False, height_ratios=[1.0, 1.5] * n_blocks)
        for number, name in enumerate(names):
            block, column = divmod(number, n_columns)
            upper, lower = axes[2 * block, column], axes[2 * block + 1, column]
            lower.sharex(upper)
            _histograms(upper, metrics, name)
            _cumulative(lower, metrics, name, sides)
            upper.set_title(METRICS[name].label)
            lower.set_xlabel(METRICS[name].unit)
            upper.set_ylabel("density" if column == 0 else "")
            lower.set_ylabel("share of clips below" if column == 0 else "")
        _hide_unused(axes, 2 * len(names), n_columns)
        handles = [Line2D([], [], color=LOOKS[s].colour, ls=LOOKS[s].line, lw=1.6) for s in sides]
        fig.legend(handles, _labels(metrics, sides), loc="outside upper center", ncols=len(sides), handlelength=2.6)
        return fig


def metric_boxplots(metrics: pd.DataFrame) -> Figure:
    """Draw a boxplot of each acoustic metric for every side, with the clips as points.

    Boxes span the quartiles, whiskers reach the last clip within 1.5 interquartile ranges.
    """
    names, sides = _names(metrics), _sides(metrics)
    if not names:
        return empty_figure("none of the six metrics was taken")
    n_columns = min(3, len(names))
    n_rows = -(-len(names) // n_columns)
    with style():
        fig = new_figure(DOUBLE_COLUMN, 0.4 + 1.75 * n_rows)
        axes = fig.subplots(n_rows, n_columns, squeeze=False)
        for ax, name in zip(axes.flat, names, strict=False):
            _boxes(ax, metrics, name, sides)
            ax.set(title=METRICS[name].axis_label, xlabel="", ylabel="", xticks=[])
        for ax in axes.flat[len(names) :]:
            ax.set_visible(False)
        handles = [Patch(facecolor=LOOKS[s].colour, alpha=0.6, hatch=LOOKS[s].hatch, edgecolor="white") for s in sides]
        fig.legend(handles, _labels(metrics, sides), loc="outside upper center", ncols=len(sides), handlelength=1.6)
        return fig


def pairwise_scatter(pairs: pd.DataFrame, published: dict[str, float] | None = None) -> Figure:
    """Draw pairs of a real and a generated clip: durations, energies, and the two spectral distances.

    `pairs` has the columns of pairs.csv; a dot's area grows with the pairs that coincide. `published` gives
    the published mean of spectral_convergence and log_spectral_distance, if it is to be marked.
    """
    with style():
        fig = new_figure(DOUBLE_COLUMN, 2.15)
        durations, energies, convergence, distance = fig.subplots(1, 4)
        _identity_scatter(durations, pairs["real_duration_s"], pairs["generated_duration_s"])
        durations.set(title="Duration (s)", xlabel="real", ylabel="generated")
        _identity_scatter(energies, pairs["real_energy"], pairs["generated_energy"], log=True)
        energies.set(title="Energy Σx²", xlabel="real", ylabel="generated")
        for ax, name in ((convergence, "spectral_convergence"), (distance, "log_spectral_distance")):
            _pair_histogram(ax, pairs[name].dropna(), (published or {}).get(name))
            ax.set(title=METRICS[name].label, xlabel=METRICS[name].unit or "ratio")
        convergence.set_ylabel("pairs")
        return fig


def examples_of_run(run_dir: str | Path, n_examples: int, clip_seconds: float = 5.0) -> tuple[list[Example], int]:
    """Return `n_examples` pairs of a run, evenly spaced over its pairs.csv, and the rate (Hz) they were
    compared at.

    Clips are cut to `clip_seconds` (0: whole), as the metrics had them. Raises InputError when n_examples is
    below 1.
    """
    if n_examples < 1:
        raise InputError(f"n_examples={n_examples}: expected at least 1")
    run_dir = Path(run_dir)
    pairs = read_csv(run_dir / "pairs.csv")
    rate = int(read_csv(run_dir / "metrics.csv")["sample_rate_hz"].iloc[0])
    real = {source.name: source for source in from_rows(recordings_of(run_dir), clip_seconds)}
    generated = {source.name: source for source in from_rows(samples_of(run_dir), clip_seconds)}
    rows = np.unique(np.linspace(0, len(pairs) - 1, n_examples).round().astype(int))
    examples = []
    for row in pairs.iloc[rows].itertuples():
        x, y = real[row.real], generated[row.generated]
        titles = (x.category.replace("_", " ") or x.name, y.category.replace("_", " ") or y.name)
        examples.append(Example(x.load(rate), y.load(rate), *titles))
    return examples, rate


def waveform_spectrogram_pairs(examples: Sequence[Example], sample_rate: int) -> Figure:
    """Draw each example as a row: the real clip's waveform over its spectrogram, and the generated one's
    beside it.

    Spectrograms share one scale: dB below the loudest bin of the figure; frequency is logarithmic up to half
    the sample rate (Hz). Raises InputError when there is no example.
    """
    if not examples:
        raise InputError("examples: there are none, expected at least one pair of clips")
    spectra = [[_spectrogram(clip, sample_rate) for clip in (e.real, e.generated)] for e in examples]
    seconds = max(max(e.real.size, e.generated.size) for e in examples) / sample_rate
    loudest = max(levels.max() for row in spectra for _, _, levels in row)
    with style():
        fig = new_figure(DOUBLE_COLUMN, 0.35 + 1.75 * len(examples))
        axes = fig.subplots(2 * len(examples), 2, squeeze=False, sharex="col", height_ratios=[1, 2.2] * len(examples))
        for row, example in enumerate(examples):
            titles = (f"Real: {example.real_title}", f"Generated: {example.generated_title}")
            clips = (example.real, example.generated)
            for column, side in enumerate(("real", "generated")):
                upper, lower = axes[2 * row : 2 * row + 2, column]
                _waveform(upper, clips[column], sample_rate, LOOKS[side].colour, titles[column])
                image = _draw_spectrogram(lower, spectra[row][column], loudest, sample_rate)
                lower.set_ylabel("Hz" if column == 0 else "")
        for ax in axes[-1]:
            ax.set(xlabel="time (s)", xlim=(0, seconds))
        bar = fig.colorbar(image, ax=axes, shrink=0.5, aspect=40, pad=0.01)
        bar.set_label("level (dB re loudest)")
        bar.outline.set_linewidth(0.4)
        return fig


def _names(metrics: pd.DataFrame) -> list[str]:
    return [name for name in SIX if name in metrics.columns and metrics[name].notna().any()]


def _sides(metrics: pd.DataFrame) -> list[str]:
    return [side for side in LOOKS if (metrics["side"] == side).any()]


def _labels(metrics: pd.DataFrame, sides: list[str]) -> list[str]:
    return [f"{LOOKS[side].label} (n = {int((metrics['side'] == side).sum())})" for side in sides]


def _values(metrics: pd.DataFrame, name: str, side: str) -> np.ndarray:
    return metrics.loc[metrics["side"] == side, name].dropna().to_numpy(dtype=float)


def _histograms(ax: Axes, metrics: pd.DataFrame, name: str) -> None:
    both = metrics.loc[metrics["side"].isin(["real", "generated"]), name].dropna()
    edges = np.histogram_bin_edges(both, bins=N_BINS)
    real, generated = (_values(metrics, name, side) for side in ("real", "generated"))
    ax.hist(real, bins=edges, density=True, color=LOOKS["real"].colour, alpha=0.35)
    ax.hist(generated, bins=edges, density=True, histtype="step", color=LOOKS["generated"].colour, lw=1.2)
    ax.tick_params(labelbottom=False, labelleft=False, left=False)
    ax.spines["left"].set_visible(False)


def _cumulative(ax: Axes, metrics: pd.DataFrame, name: str, sides: list[str]) -> None:
    for side in reversed(sides):
        values, look = _values(metrics, name, side), LOOKS[side]
        seaborn.ecdfplot(x=values, ax=ax, color=look.colour, ls=look.line, lw=1.5 if side != "real_other" else 1.2)
    real, generated = _values(metrics, name, "real"), _values(metrics, name, "generated")
    ax.set(ylim=(0, 1.02), ylabel="", yticks=[0, 0.5, 1])
    if min(real.size, generated.size) == 0:
        return
    test = stats.ks_2samp(generated, real, method="asymp")
    at = test.statistic_location
    share = [np.mean(values <= at) for values in (real, generated)]
    ax.plot([at, at], share, color="#222222", lw=0.9, marker="_", ms=5)
    ax.annotate(f"D = {test.statistic:.2f}", (0.97, 0.06), xycoords="axes fraction", ha="right", fontsize=7.5)


def _boxes(ax: Axes, metrics: pd.DataFrame, name: str, sides: list[str]) -> None:
    palette = {side: LOOKS[side].colour for side in sides}
    look = {"data": metrics, "x": "side", "y": name, "order": sides, "hue": "side", "hue_order": sides,
            "palette": palette, "ax": ax, "legend": False}  # fmt: skip
    seaborn.boxplot(**look, width=0.62, showfliers=False, linewidth=0.8, boxprops={"alpha": 0.6},
                    medianprops={"color": "#111111", "linewidth": 1.4})  # fmt: skip
    for patch, side in zip(ax.patches, sides, strict=False):
        patch.set_hatch(LOOKS[side].hatch)
    jitter = np.random.default_rng(0)
    for place, side in enumerate(sides):
        values = _values(metrics, name, side)
        offsets = jitter.uniform(-0.2, 0.2, values.size)
        ax.plot(place + offsets, values, ls="", marker="o", ms=1.6, mec="none", color="#222222", alpha=0.35)


def _identity_scatter(ax: Axes, real: pd.Series, generated: pd.Series, log: bool = False) -> None:
    points = pd.DataFrame({"x": real.to_numpy(), "y": generated.to_numpy()})
    points = points[(points > 0).all(axis=1)] if log else points
    grouped = points.value_counts().reset_index()
    area = 9 * np.sqrt(grouped["count"])
    ax.scatter(grouped["x"], grouped["y"], s=area, color=LOOKS["generated"].colour, alpha=0.6, lw=0)
    low, high = points.to_numpy().min(initial=np.inf), points.to_numpy().max(initial=-np.inf)
    if low <= high:
        low, high = (low / 2, high * 2) if log else (min(low, 0), 1.1 * high)
        ax.plot([low, high], [low, high], color=GREY, lw=0.8, ls=(0, (1, 1.5)), zorder=0)
    if log and len(points):
        ax.set(xscale="log", yscale="log")
    ax.set_box_aspect(1)
    crowd = grouped["count"].max() if len(grouped) else 0
    if crowd > len(points) / 2:
        ax.annotate(f"{crowd} of {len(points)} pairs", (0.05, 0.95), xycoords="axes fraction", va="top", fontsize=7)


def _pair_histogram(ax: Axes, values: pd.Series, published: float | None) -> None:
    ax.hist(values, bins=16, color=LOOKS["generated"].colour, alpha=0.6)
    marks = [("mean", values.mean(), "-")] if len(values) else []
    marks += [("published", published, (0, (1, 1.2)))] if published else []
    for label, value, line in marks:
        ax.axvline(value, ymax=0.7, color="#222222", ls=line, lw=1.1, label=f"{label} {value:.2f}")
    ax.set_ylim(0, 1.4 * ax.get_ylim()[1])
    ax.set_box_aspect(1)
    if marks:
        ax.legend(loc="upper right", handlelength=1.4, borderaxespad=0.1, labelspacing=0.2)


def spectrogram(clip: np.ndarray, sample_rate: int) -> Figure:
    """Draw the spectrogram of a clip, float [n_samples], in dB below its loudest bin."""
    spectrum = _spectrogram(clip, sample_rate)
    with style():
        fig = new_figure(SINGLE_COLUMN, 1.6)
        ax = fig.subplots()
        _draw_spectrogram(ax, spectrum, float(spectrum[2].max()), sample_rate)
        ax.set(xlabel="time (s)", ylabel="Hz", xlim=(0, clip.size / sample_rate))
        return fig


def _hide_unused(axes: np.ndarray, n_used: int, n_columns: int) -> None:
    for number in range(n_used // 2, axes.size // 2):
        block, column = divmod(number, n_columns)
        axes[2 * block, column].set_visible(False)
        axes[2 * block + 1, column].set_visible(False)


def _spectrogram(clip: np.ndarray, sample_rate: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    size = min(clip.size, max(16, round(WINDOW_SECONDS * sample_rate)))
    frequency, time, power = signal.spectrogram(
        clip.astype(np.float64),
        sample_rate,
        nperseg=size,
        noverlap=size * 3 // 4,
        scaling="spectrum",
        detrend=False,
    )
    return frequency, time, 10 * np.log10(power + 1e-14)


def _waveform(ax: Axes, clip: np.ndarray, sample_rate: int, colour: str, title: str) -> None:
    step = max(1, clip.size // 1200)
    whole = clip[: clip.size // step * step].reshape(-1, step)
    time = np.arange(whole.shape[0]) * step / sample_rate
    ax.fill_between(time, whole.min(axis=1), whole.max(axis=1), color=colour, lw=0.3)
    peak = max(float(np.abs(clip).max()), 1e-3)
    ax.set(ylim=(-peak * 1.1, peak * 1.1), yticks=[])
    ax.set_title(title, pad=2)
    ax.annotate(f"peak {peak:.2f}", (0.995, 1.02), xycoords="axes fraction", ha="right", va="bottom", fontsize=6.5)
    ax.tick_params(labelbottom=False, bottom=False)
    for spine in ax.spines.values():
        spine.set_visible(False)


def _draw_spectrogram(ax: Axes, spectrum: tuple, loudest: float, sample_rate: int) -> QuadMesh:
    frequency, time, levels = spectrum
    kept = frequency >= LOWEST_HZ / 2
    look = {"vmin": -DYNAMIC_RANGE, "vmax": 0, "cmap": "magma", "shading": "nearest", "rasterized": True}
    image = ax.pcolormesh(time, frequency[kept], levels[kept] - loudest, **look)
    ax.set(yscale="log", ylim=(LOWEST_HZ, sample_rate / 2))
    ticks = [tick for tick in (100, 1000, 10000) if tick < sample_rate / 2]
    ax.set_yticks(ticks, [f"{tick // 1000}k" if tick >= 1000 else str(tick) for tick in ticks])
    ax.set_facecolor("black")
    return image
