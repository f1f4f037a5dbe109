import matplotlib
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from envsound.base.errors import InputError
from envsound.metrics.tests import COMPARISONS, KS_COLUMNS
from envsound.report.figures_audio import Example, waveform_spectrogram_pairs
from envsound.report.figures_metrics import SIX, metric_boxplots, metric_distributions, pairwise_scatter
from envsound.report.style import (
    LOOKS,
    PNG_DPI,
    code_usage,
    ks_bars,
    level_colours,
    save_figure,
    show_figure,
    style,
    training_curves,
)

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


@pytest.fixture(scope="module")
def training() -> pd.DataFrame:
    levels = [*map(str, range(4)), "all"]
    rows = [(e, level, s, 7 - 0.1 * e) for e in range(1, 11) for level in levels for s in ("train", "validation")]
    return pd.DataFrame(rows, columns=["epoch", "level", "split", "loss"]).assign(unigram=5.5)


@pytest.fixture(scope="module")
def ks() -> pd.DataFrame:
    rows = [
        (name, metric, 20, 20, 0, 0.1 + 0.1 * place, 0.5, 0.5, 0.43, 0.6 if place == 0 else np.nan, "")
        for place, name in enumerate(COMPARISONS)
        for metric in SIX
    ]
    rows.append((COMPARISONS[0], "duration_s", 20, 20, 0, 0.0, 1.0, 1.0, 0.43, 0.0, "degenerate"))
    return pd.DataFrame(rows, columns=KS_COLUMNS)


def example(seconds: float = 0.5) -> Example:
    time = np.arange(round(seconds * RATE)) / RATE
    tone = (0.5 * np.sin(2 * np.pi * 1000 * time)).astype(np.float32)
    return Example(tone, 0.1 * tone, "dog", "0000.wav")


def words(fig) -> str:
    found = [text.get_text() for text in fig.findobj(matplotlib.text.Text)]
    return " | ".join(found)


def test_a_saved_figure_is_pdf_and_png_and_always_the_same_bytes(tmp_path, metrics):
    first = save_figure(metric_boxplots(metrics), tmp_path / "a", "boxes")
    second = save_figure(metric_boxplots(metrics), tmp_path / "b", "boxes")
    assert [path.name for path in first] == ["boxes.pdf", "boxes.png"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    assert b"CreationDate" not in first[0].read_bytes()
    with Image.open(first[1]) as image:
        assert image.width == pytest.approx(7.2 * PNG_DPI, abs=1)
        assert "Software" not in image.info
    assert show_figure(first).data == first[1].read_bytes()


def test_pictures_of_sound_are_the_same_bytes_too(tmp_path):
    files = [save_figure(waveform_spectrogram_pairs([example()], RATE), tmp_path / n, "x") for n in "ab"]
    assert [path.read_bytes() for path in files[0]] == [path.read_bytes() for path in files[1]]


def test_drawing_leaves_matplotlib_as_it_was(training):
    before = dict(matplotlib.rcParams)
    training_curves(training)
    assert dict(matplotlib.rcParams) == before
    with style():
        assert matplotlib.rcParams["pdf.fonttype"] == 42


def test_sides_differ_in_grey_by_line_or_hatch_as_well_as_colour():
    assert len({look.colour for look in LOOKS.values()}) == len(LOOKS)
    assert len({str(look.line) for look in LOOKS.values()}) == len(LOOKS)


def test_levels_grow_lighter():
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


def test_one_epoch_is_drawn_as_points(training):
    fig = training_curves(training[training["epoch"] == 1])
    assert [line.get_marker() for line in fig.axes[0].lines[:2]] == ["o", "o"]


def test_distributions_show_every_side_and_the_distance(metrics):
    fig = metric_distributions(metrics)
    assert len(fig.axes) == 12
    cumulative = fig.axes[3]
    curves = [line for line in cumulative.lines if len(line.get_xdata()) > 2]
    assert {line.get_color() for line in curves} == {look.colour for look in LOOKS.values()}
    assert words(fig).count("D = ") == 6
    assert "generated (n = 20)" in words(fig)


def test_the_bar_marks_the_largest_gap():
    rows = {"side": ["real"] * 4 + ["generated"] * 4, "rms": [1.0, 2, 3, 4, 3.0, 4, 5, 6]}
    fig = metric_distributions(pd.DataFrame(rows))
    bar = fig.axes[1].lines[-1]
    assert np.ptp(bar.get_ydata()) == pytest.approx(0.5)
    assert "D = 0.50" in words(fig)


def test_boxplots_leave_out_undefined_values_and_missing_metrics(metrics):
    rows = metrics.drop(columns="zcr").copy()
    rows.loc[:3, "rms"] = np.nan
    fig = metric_boxplots(rows)
    shown = [ax for ax in fig.axes if ax.get_visible()]
    assert len(shown) == 5
    assert all(len(ax.patches) == len(LOOKS) for ax in shown)
    assert shown[1].get_title("left") == "RMS"


@pytest.mark.parametrize("draw", [metric_distributions, metric_boxplots])
def test_nothing_to_draw_is_said(draw):
    assert "none of the six" in words(draw(pd.DataFrame({"side": ["real"], "duration_s": [5.0]})))


def test_pairs_show_distances_means_and_published_values(pairs):
    fig = pairwise_scatter(pairs, {"spectral_convergence": 1.54})
    assert len(fig.axes) == 4
    assert "30 of 30 pairs" in words(fig)
    assert "published 1.54" in words(fig) and words(fig).count("published") == 1
    assert fig.axes[1].get_xscale() == fig.axes[1].get_yscale() == "log"
    bars = [patch.get_height() for patch in fig.axes[2].patches]
    assert sum(bars) == 30


def test_pairs_with_a_silent_clip_are_drawn(tmp_path, pairs):
    silent = pairs.assign(generated_energy=0.0, log_spectral_distance=np.nan)
    paths = save_figure(pairwise_scatter(silent), tmp_path, "pairs")
    assert all(path.stat().st_size > 0 for path in paths)


def test_ks_bars_show_thresholds_and_published_values(ks):
    fig = ks_bars(ks)
    widths = [bar.get_width() for bar in fig.axes[0].patches]
    assert len(widths) == 3 * 7
    assert max(width for width in widths if np.isfinite(width)) == pytest.approx(0.3)
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


def test_code_usage_of_nothing_does_not_fail(tmp_path):
    assert save_figure(code_usage(np.zeros((8, 16), dtype=int)), tmp_path, "none")[1].exists()


def test_sound_is_drawn_as_rows_of_two_on_one_scale():
    fig = waveform_spectrogram_pairs([example(0.5), example(0.25)], RATE)
    images = [mesh for ax in fig.axes for mesh in ax.collections if isinstance(mesh, matplotlib.collections.QuadMesh)]
    pictures = [mesh for mesh in images if mesh.axes in fig.axes[:8]]
    assert len(pictures) == 4
    assert {mesh.get_clim() for mesh in pictures} == {(-80.0, 0.0)}
    assert max(mesh.get_array().max() for mesh in pictures) == pytest.approx(0)
    assert pictures[1].get_array().max() == pytest.approx(-20, abs=0.01)  # the generated tone is 20 dB lower
    assert {ax.get_xlim() for ax in fig.axes[:8]} == {(0.0, 0.5)}
    assert "Real: dog" in words(fig) and "peak 0.50" in words(fig)


def test_silence_and_very_short_clips_are_drawn(tmp_path):
    quiet = Example(np.zeros(100, np.float32), np.zeros(3000, np.float32), "silence", "silence")
    assert save_figure(waveform_spectrogram_pairs([quiet], RATE), tmp_path, "quiet")[1].exists()


def test_no_example_is_refused():
    with pytest.raises(InputError, match="examples"):
        waveform_spectrogram_pairs([], RATE)
