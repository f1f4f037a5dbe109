"""The figures of a codec's report: what they draw and name, from tables with known numbers."""

import matplotlib
import numpy as np
import pandas as pd
import pytest
from fakes.codec_reports import by_class, ceiling, codebook, systems

from envsound.report.style import LOOKS
from envsound.studies.codec_report.figures import band_heatmaps, class_bands, class_dots, codebook_figure, levels_figure


def words(fig) -> list[str]:
    return [text.get_text() for text in fig.findobj(matplotlib.text.Text)]


def line(ax, label: str):
    return next(line for line in ax.get_lines() if line.get_label() == label)


def test_levels_are_drawn_for_each_codec_with_opus_and_noise_across():
    distance, heard = levels_figure(systems()).axes
    assert line(distance, "mine").get_xdata().tolist() == [1, 8]
    assert line(distance, "mine").get_ydata().tolist() == [3.5, 2.25]
    assert line(distance, "mine").get_color() == LOOKS["codec"].colour != line(distance, "other").get_color()
    assert set(line(distance, "Opus, 12 kbit/s").get_ydata()) == {3.9}
    assert set(line(heard, "original").get_ydata()) == {95} and set(line(heard, "white noise").get_ydata()) == {10}
    assert "original" not in {item.get_label() for item in distance.get_lines()}
    bars = heard.collections[0].get_segments()  # of the first codec
    assert [bar[:, 1].tolist() for bar in bars] == [pytest.approx([55, 64]), pytest.approx([85, 94])]
    assert len(levels_figure(systems().filter(regex="^(?!recognised)")).axes) == 1  # without a listener


def test_heat_maps_show_bands_highest_first_against_levels():
    fig = band_heatmaps(ceiling())
    changed = fig.axes[0]
    assert [text.get_text() for text in changed.get_yticklabels()] == ["8000-12000", "0-300"]
    assert [text.get_text() for text in changed.get_xticklabels()] == [str(level) for level in range(1, 9)]
    values = changed.collections[0].get_array().reshape(2, 8)
    assert values[0].tolist() == [level - 9.5 for level in range(1, 9)] and (values[1] == 0.25).all()
    assert "-1.5" in words(fig) and "+0.2" in words(fig) and "5.0" in words(fig)
    low, high = changed.collections[0].get_clim()
    assert low == -high  # white is no change


def test_heat_maps_of_what_was_not_measured_say_so_or_stay_empty():
    assert "nothing was measured for cat" in words(band_heatmaps(ceiling(), "cat"))
    table = ceiling().assign(level_difference_db=np.nan)
    for fig in (band_heatmaps(table, "dog"), class_bands(table)):
        assert "8000-12000" in words(fig) and not [text for text in words(fig) if text.startswith(("+0", "-1"))]


def test_classes_by_bands_show_all_levels_with_all_classes_first():
    ax = class_bands(ceiling()).axes[0]
    assert [text.get_text() for text in ax.get_yticklabels()] == ["all", "dog", "rain"]
    assert ax.collections[0].get_array().reshape(3, 2)[:, 1].tolist() == [-1.5] * 3


def test_class_dots_show_whole_codecs_and_opus_ordered_by_the_first():
    table = by_class()
    ax = class_dots(table, systems()).axes[0]
    labels = [item.get_label() for item in ax.get_lines()]
    assert labels == ["mine, 8 levels", "other, 2 levels", "Opus, 6 kbit/s", "Opus, 12 kbit/s"]
    assert [text.get_text() for text in ax.get_yticklabels()] == ["dog", "rain"]
    assert line(ax, "mine, 8 levels").get_xdata().tolist() == [2.25, 3.25]
    assert "(dB)" in ax.get_xlabel()


def test_codebooks_have_a_panel_each_with_what_is_aimed_at():
    first, second = codebook_figure(codebook()).axes
    assert [bar.get_height() for bar in first.patches] == pytest.approx([100 * 900 / 1024] * 8)
    assert line(second, "perplexity").get_ydata().tolist() == pytest.approx([100 * 200 / 512] * 2)
    assert set(line(first, "aim for codes in use").get_ydata()) == {70}
    assert "mine: 1024 codes, 30,000 frames" in first.get_title(loc="left")
    three = pd.concat([codebook(), codebook().assign(codec="third")[lambda rows: rows["level"] == 0]])
    assert [ax.get_visible() for ax in codebook_figure(three).axes] == [True] * 3 + [False]


def test_figures_have_the_width_of_a_column():
    table = systems()
    figures = [levels_figure(table), band_heatmaps(ceiling()), class_bands(ceiling()), class_dots(by_class(), table)]
    assert all(fig.get_size_inches()[0] <= 7.2 for fig in [*figures, codebook_figure(codebook())])
