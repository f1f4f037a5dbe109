"""The figure of the transfer from speech: losses from either start, every seed a line."""

import pandas as pd
from matplotlib.figure import Figure

from envsound.report.style import DOTTED, DOUBLE_COLUMN, GREY, new_figure, style

START_LOOKS = {"random": ("#222222", (0, (3, 1.2)), "from random weights"), "speech": ("#CC79A7", "-", "from speech")}


def transfer_curves(losses: pd.DataFrame) -> Figure:
    """Draw the loss on watched clips over the epochs of fine-tuning, a panel for each target.

    `losses` has the columns of transfer.csv; the horizontal line is the loss of the code frequencies.
    """
    rows = losses[(losses["level"].astype(str) == "all") & losses["start"].isin(START_LOOKS)]
    targets = list(rows["target"].unique())
    with style():
        fig = new_figure(DOUBLE_COLUMN, 2.7)
        for ax, target in zip(fig.subplots(1, len(targets), sharey=True, squeeze=False)[0], targets, strict=True):
            of_target = rows[rows["target"] == target]
            for start, (colour, line, words) in START_LOOKS.items():
                for number, (_, curve) in enumerate(of_target[of_target["start"] == start].groupby("seed")):
                    label = words if number == 0 else None
                    ax.plot(curve["epoch"], curve["loss"], color=colour, ls=line, lw=1.1, label=label)
            frequencies = of_target["unigram"].iloc[0]
            ax.axhline(frequencies, color=GREY, lw=0.8, ls=DOTTED)
            ax.annotate("code frequencies", (1, frequencies), xycoords=("axes fraction", "data"), xytext=(0, 2),
                        textcoords="offset points", fontsize=7, color=GREY, ha="right")  # fmt: skip
            ax.set(title=target, xlabel="epoch of fine-tuning")
        fig.axes[0].set_ylabel("cross-entropy (nat)")
        fig.axes[0].legend(loc="best")
        return fig
