"""The look of all figures, and the figures of training, codes and tests."""

import matplotlib
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from envsound.metrics.tests import COMPARISONS, KS_COLUMNS
from envsound.report.figures_metrics import SIX
from envsound.report.style import (
    LOOKS,
    PNG_DPI,
    code_usage,
    ks_bars,
    level_colours,
    new_figure,
    save_figure,
    show_figure,
    style,
    training_curves,
    without_alpha,
)


@pytest.fixture(scope="module")
def training() -> pd.DataFrame:
    levels = [*map(str, range(4)), "all"]
    rows = [(e, level, s, 7 - 0.1 * e) for e in range(1, 11) for level in levels for s in ("train", "validation")]
    return pd.DataFrame(rows, columns=["epoch", "level", "split", "loss"]).assign(unigram=5.5)


def words(fig) -> str:
    return " | ".join(text.get_text() for text in fig.findobj(matplotlib.text.Text))


def test_a_saved_figure_is_pdf_and_png_and_always_the_same_bytes(tmp_path, training):
    before = dict(matplotlib.rcParams)
    first, second = (save_figure(training_curves(training), tmp_path / name, "curves") for name in "ab")
    assert [path.name for path in first] == ["curves.pdf", "curves.png"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    assert b"CreationDate" not in first[0].read_bytes()
    with Image.open(first[1]) as image:
        assert image.width == pytest.approx(7.2 * PNG_DPI, abs=1)
        assert "Software" not in image.info
    assert show_figure(first).data == first[1].read_bytes() and dict(matplotlib.rcParams) == before
    with style():
        assert matplotlib.rcParams["pdf.fonttype"] == 42


def test_sides_differ_in_grey_by_line_as_well_as_colour_and_levels_grow_lighter():
    assert len({look.colour for look in LOOKS.values()}) == len(LOOKS)
    assert len({str(look.line) for look in LOOKS.values()}) == len(LOOKS)
    luminance = [0.2126 * r + 0.7152 * g + 0.0722 * b for r, g, b, _ in level_colours(8)]
    assert (np.diff(luminance) > 0).all()


def test_training_curves_mark_the_warm_up_and_the_uniform_guess(training):
    fig = training_curves(training, warmup_fraction=0.3)
    total, levels = fig.axes
    marks = {(line.get_xdata()[0], line.get_ydata()[0]) for line in total.lines if len(line.get_xdata()) == 2}
    assert (3.0, 0) in marks
    assert any(y == pytest.approx(np.log(1024)) for _, y in marks) and any(y == 5.5 for _, y in marks)
    curves = [line for line in total.lines if len(line.get_xdata()) == 10]
    assert [line.get_label() for line in curves] == ["train", "validation"]
    assert len([line for line in levels.lines if len(line.get_xdata()) == 10]) == 4
    assert [line.get_xydata().tolist() for line in levels.lines if line.get_marker() == "D"] == [[[10.0, 5.5]]] * 4
    assert all(name in words(fig) for name in ("end of warm-up", "ln 1024", "code frequencies"))
    single = training_curves(training[training["epoch"] == 1])
    assert [line.get_marker() for line in single.axes[0].lines[:2]] == ["o", "o"]


def test_ks_bars_show_thresholds_and_published_values():
    rows = [
        (name, metric, 20, 20, 0, 0.1 + 0.1 * place, 0.5, 0.5, 0.43, 0.6 if place == 0 else np.nan, "")
        for place, name in enumerate(COMPARISONS)
        for metric in SIX
    ]
    rows.append((COMPARISONS[0], "duration_s", 20, 20, 0, 0.0, 1.0, 1.0, 0.43, 0.0, "degenerate"))
    fig = ks_bars(pd.DataFrame(rows, columns=KS_COLUMNS))
    widths = [bar.get_width() for bar in fig.axes[0].patches]
    assert len(widths) == 3 * 7 and np.nanmax(widths) == pytest.approx(0.3)
    legend = [text.get_text() for text in fig.legends[0].get_texts()]
    assert legend == [LOOKS[s].label for s in ("generated", "codec", "real_other")] + [
        "5% threshold of one test", "generated, as published"
    ]  # fmt: skip
    assert "degenerate" in words(fig)


def test_code_usage_counts_codes_and_their_effective_number():
    counts = np.zeros((2, 8), dtype=int)
    counts[0, :4] = 5  # four codes, equally often: worth four
    counts[1, 0] = 9
    fig = code_usage(counts)
    bars, ranks = fig.axes
    assert [bar.get_height() for bar in bars.patches] == [4, 1]
    assert bars.lines[0].get_ydata() == pytest.approx([4.0, 1.0])
    assert np.nansum(ranks.lines[0].get_ydata()) == pytest.approx(1)
    code_usage(np.zeros((8, 16), dtype=int)).canvas.draw()  # nothing to count does not fail


def test_numbers_of_logarithmic_axes_are_no_formulas(tmp_path):
    for scale in ({"xscale": "log"}, {"yscale": "symlog"}):
        with style():
            fig = new_figure(3, 2)
            ax = fig.subplots()
            ax.plot([1, 1000], [1, 1000])
            ax.set(**scale)
        save_figure(fig, tmp_path, "figure", ["png"])
        fig.canvas.draw()
        labels = [text.get_text() for axis in (ax.xaxis, ax.yaxis) for text in axis.get_ticklabels()]
        assert "100" in labels and not [text for text in labels if "$" in text]


def test_a_picture_has_no_transparency_and_the_colours_that_were_drawn(tmp_path):
    drawn = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(np.dstack([drawn, np.full((20, 30), 255, np.uint8)])).save(tmp_path / "a.png", dpi=(200, 200))
    without_alpha(tmp_path / "a.png", tmp_path / "b.png")
    with Image.open(tmp_path / "b.png") as made:
        assert made.mode == "RGB" and np.array_equal(np.asarray(made), drawn)
        assert made.info["dpi"] == pytest.approx((200, 200), abs=0.1)
