"""The figure of growth, from a table with known numbers."""

import warnings

import matplotlib
import pytest
from fakes.speed import growth

from envsound.report.style import save_figure
from envsound.studies.speed.figures import growth_figure, sweep


def line(ax, label: str):
    return next(line for line in ax.get_lines() if line.get_label() == label)


def test_a_sweep_varies_one_thing():
    rows = sweep(growth(), "sampling", "clip_seconds")
    assert rows["clip_seconds"].tolist() == [5, 10, 60] and set(rows["batch"]) == {1} and set(rows["n_layers"]) == {2}
    assert sweep(growth().iloc[::-1], "training step", "n_layers")["n_layers"].tolist() == [2, 12]


def test_time_and_memory_are_drawn_against_length_batch_and_depth():
    axes = growth_figure(growth()).axes
    assert len(axes) == 6 and [axes[0].get_ylabel(), axes[3].get_ylabel()] == ["time (s)", "peak memory (MiB)"]
    labels = [ax.get_xlabel() for ax in axes[3:]]
    assert labels == ["clip length (s)", "clips in a batch", "layers"]
    assert line(axes[0], "sampling").get_ydata().tolist() == pytest.approx([1.5, 6, 216])
    assert line(axes[1], "training step").get_ydata().tolist() == pytest.approx([0.5, 2])
    assert line(axes[2], "sampling").get_xdata().tolist() == [2, 12]
    assert line(axes[3], "sampling").get_ydata().tolist() == [100, 200, 1200]
    assert {ax.get_xscale() for ax in axes} == {ax.get_yscale() for ax in axes} == {"log"}


def test_the_dotted_line_grows_in_proportion():
    proportion = line(growth_figure(growth()).axes[0], "in proportion")
    assert proportion.get_ydata().tolist() == pytest.approx([1.5, 3, 18])


def test_a_point_without_memory_for_it_is_left_out_and_nothing_at_all_is_said():
    rows = growth()
    rows.loc[rows["clip_seconds"] == 60, ["seconds", "fastest_s", "slowest_s", "peak_mib"]] = float("nan")
    assert line(growth_figure(rows).axes[0], "sampling").get_xdata().tolist() == [5, 10]
    words = growth_figure(rows.assign(seconds=float("nan"))).findobj(matplotlib.text.Text)
    assert "nothing was measured" in [text.get_text() for text in words]


def test_a_single_length_is_drawn_without_a_warning():
    rows = growth()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fig = growth_figure(rows[rows["clip_seconds"] == 5])
    low, high = fig.axes[0].get_xlim()
    assert low < 5 < high


def test_the_figure_has_the_width_of_a_page(tmp_path):
    fig = growth_figure(growth())
    assert fig.get_size_inches()[0] <= 7.2
    assert all(path.stat().st_size > 2000 for path in save_figure(fig, tmp_path, "growth"))
