"""Figures of sound itself: waveforms and spectrograms of real and generated clips side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from scipy import signal

from envsound.base.errors import InputError
from envsound.base.files import read_csv
from envsound.data.folds import recorded
from envsound.evaluation.sides import from_recordings, from_samples
from envsound.report.style import DOUBLE_COLUMN, LOOKS, new_figure, style

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


def examples_of_run(run_dir: str | Path, n_examples: int, clip_seconds: float = 5.0) -> tuple[list[Example], int]:
    """Return `n_examples` pairs of a run, evenly spaced over its pairs.csv, and the rate (Hz) they were
    compared at.

    Clips are cut to `clip_seconds` (0: whole), as the metrics had them. Raises InputError when n_examples is
    below 1.
    """
    if n_examples < 1:
        raise InputError(f"n_examples={n_examples}: expected at least 1")
    run_dir = Path(run_dir)
    pairs, clips = read_csv(run_dir / "pairs.csv"), recorded(read_csv(run_dir / "codes.csv"))
    rate = int(read_csv(run_dir / "metrics.csv")["sample_rate_hz"].iloc[0])
    real = {source.name: source for source in from_recordings(clips, clip_seconds)}
    generated = {source.name: source for source in from_samples(run_dir, clip_seconds)}
    rows = np.unique(np.linspace(0, len(pairs) - 1, n_examples).round().astype(int))
    examples = []
    for row in pairs.iloc[rows].itertuples():
        x, y = real[row.real], generated[row.generated]
        titles = (x.category or x.name, y.category or y.name)
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
