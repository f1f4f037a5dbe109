"""Figures of the evaluation and of listeners: every system and metric is in them; they survive what is undefined."""

import numpy as np
import pandas as pd
import pytest
from fakes.evaluations import OTHERS, SPACES, confusion, distances, nearest
from matplotlib.text import Text

from envsound.evaluation.controls import SYSTEMS
from envsound.evaluation.diversity import ALL, MEAN
from envsound.evaluation.diversity import COLUMNS as DIVERSITY_COLUMNS
from envsound.metrics.effects import COLUMNS
from envsound.metrics.extended import PER_CLIP
from envsound.report.figures_evaluation import (
    SYSTEM_LOOKS,
    confusion_pair,
    copied_runs,
    distance_dots,
    diversity_dots,
    nearest_curves,
    octave_curves,
    overview,
)

NUMBERS = [name for name in COLUMNS if name not in ("system", "run", "metric", "test", "note")]


@pytest.fixture
def table() -> pd.DataFrame:
    """Two runs of the model and one row for every metric of every other system."""
    rng = np.random.default_rng(0)
    sides = [*((name, "") for name in SYSTEMS if name != "generated"), ("generated", "seed 0"), ("generated", "seed 1")]
    rows = [
        {"system": system, "run": run, "metric": metric, "note": ""} | dict.fromkeys(NUMBERS, 0.5)
        for system, run in sides
        for metric in PER_CLIP
    ]
    made = pd.DataFrame(rows, columns=COLUMNS)
    made["cliffs_delta"], made["p_holm"] = rng.uniform(-1, 1, (2, len(made)))
    made.loc[made["system"] == "real", ["cliffs_delta", "wasserstein", "ks", "p_holm"]] = np.nan
    return made


def words(figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text)]


def test_the_overview_has_every_metric_of_every_system_and_marks_what_is_rejected(table):
    for place in (1, 2):  # colour, marker
        assert len({look[place] for look in SYSTEM_LOOKS.values()}) == len(SYSTEM_LOOKS) == len(SYSTEMS)
    figure = overview(table)
    found = words(figure)
    assert all(PER_CLIP[name].label in found for name in PER_CLIP)
    assert {"floor: other real clips", "ceiling: codec", "model, seed 0", "model, seed 1", "white noise"} <= set(found)
    deltas, distances = figure.axes
    cells = {(text.get_position()[1], text.get_position()[0]): text for text in deltas.texts}
    assert len(cells) == len(PER_CLIP) * 9
    row = table[(table["metric"] == "zcr") & (table["system"] == "real_other")].iloc[0]
    assert cells[(list(PER_CLIP).index("zcr"), 0)].get_text() == f"{row['cliffs_delta']:+.2f}"
    bold = sum(text.get_weight() == "bold" for text in cells.values())
    assert bold == (table["p_holm"] < 0.05).sum() > 0
    assert distances.get_xscale() == "log"
    figure.canvas.draw()
    table.loc[table["metric"] == "duration_s", "note"] = "degenerate"
    assert PER_CLIP["duration_s"].label not in words(overview(table))
    table["cliffs_delta"] = np.nan
    assert "no metric is defined on both sides" in words(overview(table))


def test_octaves_are_drawn_in_percent_for_real_and_model(table):
    table.loc[table["system"] == "noise", "median"] = 0.8
    energy, modulation = octave_curves(table).axes
    assert len(energy.lines) == len(modulation.lines) == 7  # the model has two runs
    assert energy.lines[0].get_ydata() == pytest.approx(50)
    assert energy.get_ylim()[0] == 0 and energy.get_ylim()[1] > 80  # the last curve has its place too


def test_diversity_names_classes_and_systems(table):
    rows = [
        {"system": system, "run": "", "category": category} | dict.fromkeys(DIVERSITY_COLUMNS[3:], 0.8)
        for system in SYSTEMS
        for category in (ALL, MEAN, "sea_waves")
    ]
    figure = diversity_dots(pd.DataFrame(rows))
    assert {ALL, MEAN, "sea waves", "model", "copied clip"} <= set(words(figure)) and "real" not in words(figure)
    assert "no class has two clips" in " ".join(words(diversity_dots(pd.DataFrame(rows).assign(ratio=np.nan))))


# Listeners


def test_distances_have_a_row_for_each_embedding_and_every_system_at_its_distance():
    figure = distance_dots(pd.concat([distances(), distances().assign(embedding="statistics")]))
    assert len(figure.axes) == 6 and {"cnn, 2 components", "statistics", "Kernel distance (KAD)"} <= set(words(figure))
    assert not any("AST" in text for text in words(figure))
    assert {SYSTEM_LOOKS[name][0] for name in OTHERS} <= set(words(figure))
    kad, fad, shares = distance_dots(distances()).axes
    dots = [line for line in kad.lines if line.get_marker() == SYSTEM_LOOKS["generated"][2]]
    place = [name for name in SYSTEM_LOOKS if name in OTHERS].index("generated")
    assert [tuple(line.get_xydata()[0]) for line in dots] == [(3.0, place)]
    marks = [line.get_xdata()[0] for line in fad.lines if len(line.get_xdata()) == 2]
    assert marks == [8, 16]  # floor and ceiling
    assert kad.get_xscale() == fad.get_xscale() == "symlog" and shares.get_xlim() == (-0.03, 1.03)
    assert "too few clips" in " ".join(words(distance_dots(distances().assign(kad=np.nan))))


def test_the_confusion_of_both_sides_is_in_numbers_of_clips_unless_classes_are_many():
    figure = confusion_pair(confusion())
    real, generated = figure.axes
    assert [text.get_text() for text in real.texts] == [text.get_text() for text in generated.texts] == ["8", "8"]
    assert [text.get_position() for text in real.texts] == [(0, 0), (1, 1)]
    assert [text.get_position() for text in generated.texts] == [(0, 0), (0, 1)]  # rain heard as dog
    assert real.get_title(loc="left") == "Real: 100% right" and generated.get_title(loc="left") == "Model: 50% right"
    names = [f"class_{number:02d}" for number in range(30)]
    many = pd.concat([
        pd.DataFrame({"side": side, "classifier": "cnn", "category": names, "heard": names, "n": 2})
        for side in ("real", "generated")
    ])  # fmt: skip
    assert not confusion_pair(many).axes[0].texts and "class 29" in words(confusion_pair(many))
    assert "no clip of the side generated has a class" in words(confusion_pair(confusion().query("side == 'real'")))


def test_copies_are_left_of_everything_in_each_space():
    figure = nearest_curves(nearest())
    assert [ax.get_title(loc="left") for ax in figure.axes] == list(SPACES)
    for ax in figure.axes:
        curves = {line.get_label(): line.get_xdata() for line in ax.lines}
        assert np.nanmax(curves["training clips themselves"][1:]) == 0 < curves["model"][-1] <= 1
    assert "nothing" not in words(figure) and len(figure.legends[0].get_texts()) == 4
    assert "no clip was compared with the training clips" in words(nearest_curves(nearest().iloc[:0]))


def test_the_longest_runs_of_every_side_are_cumulated_beside_the_goal():
    runs = {"real": [1, 2], "generated": [4, 30], "chain, copying": [20, 94], "chain, no copying": [2, 8]}
    rows = pd.DataFrame([(side, run) for side, both in runs.items() for run in both], columns=["side", "run"])
    (ax,) = copied_runs(rows).axes
    *curves, goal = ax.lines
    assert [line.get_label() for line in curves] == ["real, held out", "model", "chain, copying", "chain, no copying"]
    assert [sorted(set(line.get_xdata()[1:])) for line in curves] == list(runs.values())
    assert set(goal.get_xdata()) == {8}
