"""The figures of the domain gap: what they draw and name."""

import matplotlib
import numpy as np
import pytest
from fakes.gaps import codes_table, gap_table

from envsound.metrics.measures import BANDS, MODULATION, SINGLE
from envsound.report.style import save_figure
from envsound.studies.transfer.figures_gap import DOMAIN_LOOKS, codes_figure, effects_figure, shares_figure


def words(fig) -> list[str]:
    return [text.get_text() for text in fig.findobj(matplotlib.text.Text)]


def line(ax, label: str):
    return next(line for line in ax.get_lines() if line.get_label() == label)


def test_effects_are_drawn_for_every_single_measure_with_their_intervals():
    gap = gap_table()
    fig = effects_figure(gap)
    ax = fig.axes[0]
    labels = [text.get_text() for text in ax.get_yticklabels()]
    assert len(labels) == len(BANDS) + len(SINGLE) and "Harmonicity" in labels
    assert not [text for text in labels if text.startswith("Modulation 0.5")]
    rows = gap[gap["measure"].isin([*BANDS, *SINGLE])]
    dots = ax.containers[0][0].get_xdata()
    assert dots.tolist() == rows["cliffs_delta"].tolist()
    bars = ax.containers[0][2][0].get_segments()
    assert bars[0][:, 0].tolist() == pytest.approx(rows.iloc[0][["cliffs_delta_low", "cliffs_delta_high"]].tolist())
    assert any("synthetic speech" in text and "recorded environmental sound" in text for text in words(fig))


def test_without_a_defined_measure_the_figure_says_so():
    assert "no measure is defined on both sides" in words(effects_figure(gap_table().assign(cliffs_delta=np.nan)))


def test_shares_of_both_domains_are_drawn_for_every_band():
    gap = gap_table()
    bands, modulation = shares_figure(gap).axes
    for ax, names in ((bands, BANDS), (modulation, MODULATION)):
        drawn = line(ax, "synthetic speech")
        expected = 100 * gap.set_index("measure").loc[list(names), "speech"]
        assert drawn.get_ydata().tolist() == pytest.approx(expected.tolist())
        assert drawn.get_color() == DOMAIN_LOOKS["speech"][0] != DOMAIN_LOOKS["environment"][0]
    assert [text.get_text() for text in modulation.get_xticklabels()][:2] == ["0.5–1", "1–2"]
    assert "(%)" in bands.get_ylabel() and "(Hz)" in bands.get_xlabel()


def test_codes_are_drawn_by_level_and_the_level_above_from_the_second():
    table = codes_table(n_levels=3)
    entropy, bits = codes_figure(table).axes
    shares = table[table["measure"] == "entropy_share"]
    drawn = line(entropy, "recorded environmental sound")
    assert drawn.get_ydata().tolist() == pytest.approx((100 * shares["environment"]).tolist())
    assert line(bits, "synthetic speech: level above").get_xdata().tolist() == [1, 2]
    assert line(bits, "synthetic speech: frame before").get_xdata().tolist() == [0, 1, 2]
    assert line(bits, "synthetic speech: nothing else").get_linestyle() == "-"
    assert "(bit)" in bits.get_ylabel()


def test_figures_are_saved_at_the_width_of_a_column(tmp_path):
    for name, fig in (("effects", effects_figure(gap_table())), ("shares", shares_figure(gap_table())),
                      ("codes", codes_figure(codes_table()))):  # fmt: skip
        assert fig.get_size_inches()[0] <= 7.2
        assert all(path.stat().st_size > 2000 for path in save_figure(fig, tmp_path, name))
