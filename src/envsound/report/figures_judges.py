"""The figure of judges: what each hears on its way down the ladder, and in sound without a course in time."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from envsound.evaluation.decoys import HELD_BACK, LADDER, TIMELESS
from envsound.evaluation.ladder import ALL, NOT_RUN, TIMES_CHANCE, WITH_TIME, YES
from envsound.report.style import DOTTED, DOUBLE_COLUMN, GREY, empty_figure, new_figure, style

COLOURS, MARKERS = ("#0072B2", "#D98200", "#56B4E9", "#CC79A7", "#009E73"), "oDs^v"
WORDS = {  # under the axis
    "real": "real", "codec": "codec", "replaced_25": "25%\nreplaced", "replaced_50": "50%\nreplaced",
    "replaced_75": "75%\nreplaced", "bigram": "bigram", "unigram": "unigram", "shuffled": "columns\nshuffled",
    "blocks": "blocks\nshuffled", "halves": "halves\nmixed",
}  # fmt: skip
DODGE = 0.1  # between judges that share a place


def ladder_steps(ladder: pd.DataFrame) -> Figure:
    """Draw ladder.csv of one codec: shares heard as what was asked for, with Wilson's 95% intervals.

    Left: all classes, from real clips down to unigram codes. Right: classes with a course in time, as they are, and in
    sound that has none, where no judge may be above the dotted line; decoys that every judge is new to are on grey. A
    judge that was not admitted is drawn open.
    """
    here = ladder[ladder["admitted"] != NOT_RUN]
    if here.empty:
        return empty_figure("no judge is on this machine")
    with style():
        fig = new_figure(DOUBLE_COLUMN, 3.0)
        left, right = fig.subplots(1, 2, sharey=True, width_ratios=(len(LADDER), 3 + len(TIMELESS)))
        with_time = ["real", "codec", "unigram", *TIMELESS]
        n_judges = here["judge"].nunique()
        for number, (judge, rows) in enumerate(here.groupby("judge", sort=False)):
            looks = {"color": COLOURS[number % len(COLOURS)], "marker": MARKERS[number % len(MARKERS)]}
            for ax, part, kinds in ((left, ALL, list(LADDER)), (right, WITH_TIME, with_time)):
                mine = rows[rows["part"] == part].set_index("kind").reindex(kinds)
                shift = DODGE * (number - (n_judges - 1) / 2)
                _shares(ax, mine, looks, str(judge), shift, joined=ax is left)
        right.axhline(TIMES_CHANCE * here["chance"].iloc[0], color=GREY, lw=0.8, ls=DOTTED)
        at = [with_time.index(kind) for kind in HELD_BACK]
        right.axvspan(min(at) - 0.5, max(at) + 0.5, color="#EEEEEE", lw=0)
        for ax, kinds, title in ((left, LADDER, ALL), (right, with_time, WITH_TIME)):
            _label(ax, list(kinds), title)
        left.set(ylim=(-0.03, 1.03), ylabel="share heard as asked")
        fig.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=3)
        return fig


def _shares(ax: Axes, rows: pd.DataFrame, looks: dict[str, str], judge: str, shift: float, joined: bool) -> None:
    """Draw one judge's shares with their intervals; open markers where it was not admitted."""
    at, admitted = np.arange(len(rows)) + shift, (rows["admitted"].dropna() == YES).all()
    ends = [(rows["accuracy"] - rows["low"]).clip(lower=0), (rows["high"] - rows["accuracy"]).clip(lower=0)]
    words = judge if admitted else f"{judge}, not admitted"
    fill = looks["color"] if admitted else "white"
    line = "-" if joined else ""
    ax.errorbar(at, rows["accuracy"], yerr=ends, ls=line, lw=0.9, ms=4.5, mfc=fill, label=words, **looks)


def _label(ax: Axes, kinds: Sequence[str], title: str) -> None:
    ax.set_xticks(range(len(kinds)), [WORDS[kind] for kind in kinds])
    ax.set_title(title.capitalize())
    ax.grid(axis="y")
    ax.tick_params(axis="x", length=0)
