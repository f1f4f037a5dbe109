"""Figures of what listeners found: every system is in them, and they survive what was not run or not heard."""

import numpy as np
import pandas as pd
from fakes.evaluations import OTHERS, SPACES, confusion, distances, nearest
from matplotlib.text import Text

from envsound.report.figures_evaluation import SYSTEM_LOOKS
from envsound.report.figures_listeners import confusion_pair, distance_dots, nearest_curves
from envsound.report.style import save_figure


def words(figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text)]


def test_distances_have_a_row_for_each_embedding_that_was_run(tmp_path):
    table = pd.concat([distances(), distances().assign(embedding="statistics")])
    figure = distance_dots(table)
    assert len(figure.axes) == 6 and {"cnn, 2 components", "statistics", "Kernel distance (KAD)"} <= set(words(figure))
    assert not any("AST" in text for text in words(figure))
    assert {SYSTEM_LOOKS[name][0] for name in OTHERS} <= set(words(figure))
    assert all(path.stat().st_size > 1000 for path in save_figure(figure, tmp_path, "distances"))


def test_each_system_is_drawn_at_its_distance_and_floor_and_ceiling_are_marked():
    kad, fad, shares = distance_dots(distances()).axes
    dots = [line for line in kad.lines if line.get_marker() == SYSTEM_LOOKS["generated"][2]]
    place = [name for name in SYSTEM_LOOKS if name in OTHERS].index("generated")
    assert [tuple(line.get_xydata()[0]) for line in dots] == [(3.0, place)]
    marks = [line.get_xdata()[0] for line in fad.lines if len(line.get_xdata()) == 2]
    assert marks == [8, 16]  # floor and ceiling
    assert kad.get_xscale() == fad.get_xscale() == "symlog" and shares.get_xlim() == (-0.03, 1.03)


def test_the_confusion_of_both_sides_is_in_numbers_of_clips(tmp_path):
    figure = confusion_pair(confusion())
    real, generated = figure.axes
    assert [text.get_text() for text in real.texts] == [text.get_text() for text in generated.texts] == ["8", "8"]
    assert [text.get_position() for text in real.texts] == [(0, 0), (1, 1)]
    assert [text.get_position() for text in generated.texts] == [(0, 0), (0, 1)]  # rain heard as dog
    assert real.get_title(loc="left") == "Real: 100% right" and generated.get_title(loc="left") == "Model: 50% right"
    assert all(path.stat().st_size > 1000 for path in save_figure(figure, tmp_path, "confusion"))


def test_many_classes_bear_no_numbers():
    names = [f"class_{number:02d}" for number in range(30)]
    table = pd.concat([confusion().iloc[:0], *(
        pd.DataFrame({"side": side, "classifier": "cnn", "category": names, "heard": names, "n": 2})
        for side in ("real", "generated")
    )])  # fmt: skip
    assert not confusion_pair(table).axes[0].texts and "class 29" in words(confusion_pair(table))


def test_a_model_without_classes_has_no_confusion():
    assert "no clip of the side generated has a class" in words(confusion_pair(confusion().query("side == 'real'")))


def test_copies_are_left_of_everything_in_each_space():
    figure = nearest_curves(nearest())
    assert [ax.get_title(loc="left") for ax in figure.axes] == list(SPACES)
    for ax in figure.axes:
        curves = {line.get_label(): line.get_xdata() for line in ax.lines}
        assert np.nanmax(curves["training clips themselves"][1:]) == 0 < curves["model"][-1] <= 1
    assert "nothing" not in words(figure) and len(figure.legends[0].get_texts()) == 4
    assert "no clip was compared with the training clips" in words(nearest_curves(nearest().iloc[:0]))


def test_too_few_clips_leave_words():
    figure = distance_dots(distances().assign(kad=np.nan))
    assert "too few clips" in " ".join(words(figure))
