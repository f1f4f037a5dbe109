"""The figure of judges: each is in it, open where it was not admitted, and it says so where none is here."""

import numpy as np
import pandas as pd

from envsound.evaluation.decoys import KINDS, LADDER
from envsound.evaluation.ladder import ALL, NO, NOT_RUN, WITH_TIME, YES
from envsound.report.figures_judges import WORDS, ladder_steps
from envsound.report.style import save_figure


def made_ladder(**admitted: str) -> pd.DataFrame:
    """ladder.csv with the same shares for every judge."""
    parts = [(ALL, kind) for kind in LADDER] + [(WITH_TIME, kind) for kind in KINDS]
    rows = [
        {"judge": judge, "part": part, "kind": kind, "accuracy": share, "low": share - 0.1, "high": share + 0.1}
        for judge in admitted
        for (part, kind), share in zip(parts, np.linspace(0.9, 0.1, len(parts)), strict=True)
    ]
    table = pd.DataFrame(rows).assign(chance=0.1)
    return table.assign(admitted=table["judge"].map(admitted))


def test_every_judge_is_drawn_and_the_refused_are_open(tmp_path):
    fig = ladder_steps(made_ladder(a=YES, b=NO))
    left, right = fig.axes
    words = [text.get_text() for text in fig.legends[0].get_texts()]
    assert words == ["a", "b, not admitted"] and set(WORDS) == set(KINDS)
    fills = [line.get_markerfacecolor() for line in left.lines if len(line.get_xdata()) == len(LADDER)]
    assert [str(fill) for fill in fills].count("white") == 1
    assert len(right.get_xticks()) == 6 and len(save_figure(fig, tmp_path, "ladder")) == 2


def test_without_a_judge_the_figure_says_so():
    fig = ladder_steps(pd.DataFrame([{"judge": "a", "admitted": NOT_RUN}]))
    assert "no judge is on this machine" in fig.texts[0].get_text()
