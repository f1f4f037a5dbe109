"""The figure of the decoding table: every setting with its distance, accuracy and diversity, and what it costs."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from envsound.report.style import DOTTED, DOUBLE_COLUMN, LOOKS, new_figure, style
from envsound.studies.decoding.contest import BASE, CEILING, FLOOR

PANELS = {  # column, words, factor
    "distance": ("mean |Cliff's delta|", 1),
    "accuracy": ("heard as asked (%)", 100),
    "diversity": ("spread, real = 1", 1),
}
MARKS = {FLOOR: "real_other", CEILING: "codec"}  # settings whose value is a line in every panel


def settings_figure(table: pd.DataFrame) -> Figure:
    """Draw a row for each setting of a table of `decoding_table.compare_settings`, with 95% intervals.

    Lines mark floor, ceiling and the base. The number of passes stands beside each setting.
    """
    rows = table[~table["setting"].isin(MARKS)].reset_index(drop=True)
    with style():
        fig = new_figure(DOUBLE_COLUMN, 1.1 + 0.2 * len(rows))
        for ax, (name, (words, factor)) in zip(fig.subplots(1, 3, sharey=True), PANELS.items(), strict=True):
            _panel(ax, rows, name, factor)
            for setting, look in MARKS.items():
                values = table.loc[table["setting"] == setting, name].to_numpy(float)
                if np.isfinite(values).any():
                    looks = dict(color=LOOKS[look].colour, ls=LOOKS[look].line, lw=1, label=setting)
                    ax.axvline(factor * values[0], **looks)
            ax.set_xlabel(words)
            ax.grid(axis="x")
        first = fig.axes[0]
        first.set_yticks(range(len(rows)), [_words(row) for _, row in rows.iterrows()])
        first.set_ylim(len(rows) - 0.5, -0.5)
        fig.legend(*first.get_legend_handles_labels(), loc="outside lower center", ncols=4)
        return fig


def _panel(ax: Axes, rows: pd.DataFrame, name: str, factor: float) -> None:
    value, low, high = (factor * rows[f"{name}{end}"].to_numpy(float) for end in ("", "_low", "_high"))
    ends = np.nan_to_num(np.clip([value - low, high - value], 0, None))
    ax.errorbar(value, range(len(rows)), xerr=ends, ls="", marker="o", ms=3.5, lw=0.9, color=LOOKS["generated"].colour)
    base = rows["control"] == BASE.control
    if base.any():
        ax.axvline(value[base.to_numpy()][0], color=LOOKS["generated"].colour, ls=DOTTED, lw=0.8, label="base")
    ax.tick_params(axis="y", length=0)


def _words(row: pd.Series) -> str:
    passes = f" ({row['passes']:.0f} passes)" if np.isfinite(row["passes"]) else ""
    return (BASE.control if row["control"] == BASE.control else f"{row['control']}: {row['setting']}") + passes
