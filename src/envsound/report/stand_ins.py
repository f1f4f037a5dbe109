"""Saying "synthetic" wherever a run's real side is not real: its notices and the words in its figures."""

import re
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.text import Text

from envsound.base.files import read_json

NOTICE = (
    "**Synthetic, not real.** This run learnt from synthetic stand-ins made by this project, and what the tables call "
    "*real* are synthetic clips too. It shows that the machinery works and says nothing about recorded sound."
)


def is_synthetic(run_dir: str | Path) -> bool:
    """Say whether a run's recordings are synthetic, as the record of its first step has it."""
    record = Path(run_dir) / "provenance" / "01_encode_clips.json"
    return record.is_file() and read_json(record)["parameters"].get("dataset") == "synthetic"


def notice(run_dir: str | Path) -> str:
    """Return a Markdown warning for a run on synthetic clips, "" for any other."""
    return NOTICE if is_synthetic(run_dir) else ""


def relabel(fig: Figure, run_dir: str | Path) -> Figure:
    """Return the figure, with "synthetic" for "real" in its words when the run's recordings are synthetic."""
    if is_synthetic(run_dir):
        for text in fig.findobj(Text):
            words = re.sub(r"\breal\b", "synthetic", text.get_text())
            text.set_text(re.sub(r"\bReal\b", "Synthetic", words))
    return fig
