"""Figures of clips: every side is in them, numbers are those of the tables, and undefined values do no harm."""

import matplotlib
import numpy as np
import pandas as pd
import pytest

from envsound.base.errors import InputError
from envsound.report.figures_metrics import (
    SIX,
    Example,
    metric_boxplots,
    metric_distributions,
    pairwise_scatter,
    waveform_spectrogram_pairs,
)
from envsound.report.style import LOOKS

RATE = 24_000


@pytest.fixture(scope="module")
def metrics() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = {side: {name: rng.normal(size=20) for name in SIX} for side in LOOKS}
    return pd.concat([pd.DataFrame({"side": side} | values) for side, values in rows.items()], ignore_index=True)


@pytest.fixture(scope="module")
def pairs() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    names = ("real_energy", "generated_energy", "spectral_convergence", "log_spectral_distance")
    values = {name: rng.uniform(1, 9, 30) for name in names}
    return pd.DataFrame(values | {"real_duration_s": 5.0, "generated_duration_s": 5.0})


def example(seconds: float = 0.5) -> Example:
    time = np.arange(round(seconds * RATE)) / RATE
    tone = (0.5 * np.sin(2 * np.pi * 1000 * time)).astype(np.float32)
    return Example(tone, 0.1 * tone, "dog", "0000.wav")


def words(fig) -> str:
    return " | ".join(text.get_text() for text in fig.findobj(matplotlib.text.Text))


def test_distributions_show_every_side_and_a_bar_at_the_largest_gap(metrics):
    fig = metric_distributions(metrics)
    assert len(fig.axes) == 12
    curves = [line for line in fig.axes[3].lines if len(line.get_xdata()) > 2]
    assert {line.get_color() for line in curves} == {look.colour for look in LOOKS.values()}
    assert words(fig).count("D = ") == 6 and "generated (n = 20)" in words(fig)
    rows = {"side": ["real"] * 4 + ["generated"] * 4, "rms": [1.0, 2, 3, 4, 3.0, 4, 5, 6]}
    fig = metric_distributions(pd.DataFrame(rows))
    assert np.ptp(fig.axes[1].lines[-1].get_ydata()) == pytest.approx(0.5) and "D = 0.50" in words(fig)


def test_boxplots_leave_out_undefined_values_and_missing_metrics(metrics):
    rows = metrics.drop(columns="zcr").copy()
    rows.loc[:3, "rms"] = np.nan
    shown = [ax for ax in metric_boxplots(rows).axes if ax.get_visible()]
    assert [len(ax.patches) for ax in shown] == [len(LOOKS)] * 5
    assert shown[1].get_title("left") == "RMS"
    for draw in (metric_distributions, metric_boxplots):
        assert "none of the six" in words(draw(pd.DataFrame({"side": ["real"], "duration_s": [5.0]})))


def test_pairs_show_distances_means_and_published_values(pairs):
    fig = pairwise_scatter(pairs, {"spectral_convergence": 1.54})
    assert len(fig.axes) == 4
    assert "30 of 30 pairs" in words(fig)
    assert "published 1.54" in words(fig) and words(fig).count("published") == 1
    assert fig.axes[1].get_xscale() == fig.axes[1].get_yscale() == "log"
    assert sum(patch.get_height() for patch in fig.axes[2].patches) == 30


def test_sound_is_drawn_as_rows_of_two_on_one_scale():
    fig = waveform_spectrogram_pairs([example(0.5), example(0.25)], RATE)
    images = [mesh for ax in fig.axes for mesh in ax.collections if isinstance(mesh, matplotlib.collections.QuadMesh)]
    pictures = [mesh for mesh in images if mesh.axes in fig.axes[:8]]
    assert [mesh.get_clim() for mesh in pictures] == [(-80.0, 0.0)] * 4
    assert max(mesh.get_array().max() for mesh in pictures) == pytest.approx(0)
    assert pictures[1].get_array().max() == pytest.approx(-20, abs=0.01)  # the generated tone is 20 dB lower
    assert {ax.get_xlim() for ax in fig.axes[:8]} == {(0.0, 0.5)}
    assert "Real: dog" in words(fig) and "peak 0.50" in words(fig)


def test_silent_clips_are_drawn_and_no_example_is_refused(pairs):
    pairwise_scatter(pairs.assign(generated_energy=0.0, log_spectral_distance=np.nan)).canvas.draw()
    quiet = Example(np.zeros(100, np.float32), np.zeros(3000, np.float32), "silence", "silence")
    waveform_spectrogram_pairs([quiet], RATE).canvas.draw()
    with pytest.raises(InputError, match="examples"):
        waveform_spectrogram_pairs([], RATE)
