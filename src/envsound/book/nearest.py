"""The book's page of generated clips beside their nearest training clips, from the runs of the reader's machine."""

import html
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from envsound.base.errors import InputError
from envsound.base.files import inside, read_csv
from envsound.evaluation.memorisation import NEIGHBOURS
from envsound.evaluation.nearest_pairs import FOLDER
from envsound.report.assets import Assets
from envsound.report.runs import Run, absent

HOW = "`papermill notebooks/evaluation/17_evaluate_by_listeners.ipynb out.ipynb -k python3 --cwd . -p run_dir <run>`"


class NearestPairsPage:
    """Writes executed/nearest_pairs.md: the closest pairs of the book's runs, where the machine has them."""

    def __init__(self, assets: Assets, page: Path) -> None:
        self.assets, self.page = assets, page

    def write(self, runs: Sequence[Run]) -> str:
        """Return the page's Markdown."""
        shown = [line for run in runs for line in self.section(run)] or [NOTHING, ""]
        return "\n".join(["# Generated clips and their nearest training clips", "", INTRODUCTION, "", *shown]) + "\n"

    def section(self, run: Run) -> list[str]:
        """Return one run's part of the page, space by space; nothing when it has no pairs."""
        folder = run.folder / FOLDER
        pairs = read_csv(folder / "pairs.csv") if (folder / "pairs.csv").is_file() else pd.DataFrame()
        if pairs.empty:
            return []
        kind = "**synthetic** stand-ins made by this project" if run.synthetic else "recordings"
        lines = [f"## {run.title}", "", f"The right-hand clips are {kind}, of the folds the model learnt from.", ""]
        head = "<thead><tr><th></th><th>Generated</th><th>Nearest training clip</th><th>Relative</th></tr></thead>"
        for space, rows in pairs.groupby("space", sort=False):
            body = [self.row(folder, run, row) for row in rows.to_dict("records")]
            lines += [f"### {html.escape(str(space))}", "", f'<table class="sounds">{head}<tbody>']
            lines += [*body, "</tbody></table>", ""]
        return lines

    def row(self, folder: Path, run: Run, row: dict) -> str:
        """Return a row of the table. Raises InputError for a rank that is no number and a file outside the folder."""
        cells, rank = [], str(row["rank"])
        if not rank.isdecimal():
            raise InputError(f"{folder / 'pairs.csv'}: rank {rank!r}; expected a whole number")
        for column, category in (("clip", "category"), ("nearest", "nearest_category")):
            path = inside(folder, str(row[f"{column}_file"]))
            label = f"{str(row[category]).replace('_', ' ')} · {row[column]}"
            play = self.assets.player(path, f"{run.label}-pairs", self.page, label)
            cells.append(f"<td>{play or absent(path.name)}</td>")
        return f"<tr><td>{int(rank)}</td>{''.join(cells)}<td>{row['relative']:.2f}</td></tr>"


INTRODUCTION = f"""If a model had learnt clips by heart, they would be here: the generated clips that come closest to a
clip it learnt from, in each of the spaces in which [memorisation](../evaluation.md) is measured. *Relative* is the
distance to that clip over the mean distance to the {NEIGHBOURS} nearest: 0 for a copy, near 1 where none stands out.
Listen whether it is *the same* sound."""

NOTHING = f""":::{{admonition}} Not run here
No run of this build has such pairs. Notebook 17 writes them into a run's folder:
{HOW}.
:::"""
