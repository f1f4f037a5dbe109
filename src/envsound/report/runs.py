"""The book's page of sounds: generated clips beside real ones."""

import html
from pathlib import Path

import pandas as pd

from envsound.base.errors import InputError
from envsound.base.files import inside, read_csv
from envsound.data.folds import recorded
from envsound.report.assets import Assets
from envsound.report.facts import run_origin


class Run:
    """One finished run as the book sees it: its folder, its label, its tables, where its recordings are."""

    def __init__(self, run_dir: str | Path) -> None:
        self.folder = Path(run_dir)
        if not self.folder.is_dir():
            raise InputError(f"{run_dir}: no such run, expected a folder like data/runs/demo/fold1_seed0")
        self.label = f"{self.folder.parent.name}-{self.folder.name}"
        self.origin = run_origin(self.folder) if (self.folder / "provenance.json").is_file() else {}

    @property
    def title(self) -> str:
        """The run in words, such as "demo, fold 1, seed 0"."""
        name = self.folder.name.replace("_", ", ").replace("fold", "fold ").replace("seed", "seed ")
        return f"{self.folder.parent.name}, {name}"

    @property
    def synthetic(self) -> bool:
        """Whether the run's recordings are the project's own synthetic stand-in."""
        return self.origin.get("dataset") == "synthetic"

    @property
    def recordings(self) -> str:
        """What its real side is, in words."""
        return "synthetic stand-in recordings" if self.synthetic else "recordings"

    def table(self, name: str) -> pd.DataFrame:
        """Return one of the run's csv tables, empty when it is not there; no category is ""."""
        path = self.folder / name
        table = read_csv(path) if path.is_file() else pd.DataFrame()
        if "category" in table:  # a column without a single name is read as numbers
            table["category"] = table["category"].astype(object).fillna("").astype(str)
        return table


class SoundPage:
    """Writes executed/sounds.md; every clip shown is copied into the book and linked.

    `most` bounds the clips listed per run: the first ones in the order of samples.csv, nothing picked by ear.
    """

    def __init__(self, assets: Assets, page: Path, most: int = 40, per_class: int = 4) -> None:
        self.assets, self.page, self.most, self.per_class = assets, page, most, per_class

    def write(self, runs: list[Run]) -> str:
        """Return the page's Markdown."""
        lines = ["# Sounds", "", INTRODUCTION, ""]
        runs = [run for run in runs if not run.table("samples.csv").empty]
        if not runs:
            lines += [NOTHING, ""]
        for run in runs:
            lines += self.section(run)
        return "\n".join(lines) + "\n"

    def section(self, run: Run) -> list[str]:
        """Return one run's part of the page."""
        samples, real = run.table("samples.csv"), self.real_clips(run)
        lines = [f"## {run.title}", "", self.note(run, real), ""]
        categories = sorted(name for name in samples["category"].unique() if name)
        if not categories:
            return lines + self.unconditional(run, samples, real)
        for category in categories:
            of_class = samples[samples["category"] == category].head(self.per_class)
            beside = real[real["category"] == category] if len(real) else real
            lines += [f"### {category.replace('_', ' ')}", ""]
            lines += self.grid(self.generated(run, of_class), self.real(run, beside.head(self.per_class)), run)
        return lines

    def unconditional(self, run: Run, samples: pd.DataFrame, real: pd.DataFrame) -> list[str]:
        """Return the one table of a run without classes; a real clip is the partner the metrics gave the
        sample.
        """
        shown = samples.head(self.most)
        beside = real.iloc[:0]
        if len(real):
            partner = dict(run.table("pairs.csv").get(["generated", "real"], pd.DataFrame()).to_numpy())
            names = [partner.get(name, "") for name in shown["filename"]]
            beside = real.set_index("filename").reindex(names).reset_index()
        text = f"{len(shown)} of {len(samples)} clips, the first by number; none was picked by ear."
        return [text, "", *self.grid(self.generated(run, shown), self.real(run, beside), run)]

    def note(self, run: Run, real: pd.DataFrame) -> str:
        """Return what the reader must know of the real side: what it is, and whether it is here."""
        here = sum(self.assets.permits(path) for path in real["path"]) if len(real) else 0
        if run.synthetic:
            what = "The right-hand clips are **synthetic** stand-ins made by this project, not recordings."
        else:
            what = "The right-hand clips are recordings from the held-out fold."
        if here:
            return f"{what} They are linked from the data folder of the machine that built this book."
        where = str(run.origin.get("data_dir") or "the data folder")
        return f"{what} They are not on the machine that built this book ({where} is missing)."

    def real_clips(self, run: Run) -> pd.DataFrame:
        """Return the real clips the run was compared with: filename, category, path; empty when not measured
        yet.
        """
        metrics, codes = run.table("metrics.csv"), recorded(run.table("codes.csv"))
        if metrics.empty or codes.empty or "path" not in codes:
            return pd.DataFrame(columns=["filename", "category", "path"])
        held_out = metrics.loc[metrics["side"] == "real", ["clip"]].rename(columns={"clip": "filename"})
        return held_out.merge(codes[["filename", "category", "path"]].drop_duplicates("filename"), on="filename")

    def generated(self, run: Run, samples: pd.DataFrame) -> list[str]:
        """Return a player per sample. Raises InputError for a file name that leaves the run's folder."""
        cells = []
        for row in samples.to_dict("records"):
            path = inside(run.folder / "samples", str(row["filename"]))
            label = f"{Path(row['filename']).stem} · {float(row['seconds']):.1f} s · seed {row['seed']}"
            cells.append(self.assets.player(path, run.label, self.page, label) or absent(path.name))
        return cells

    def real(self, run: Run, clips: pd.DataFrame) -> list[str]:
        """Return a player per real clip, or words where the recording is not here."""
        cells = []
        for row in clips.fillna("").to_dict("records"):
            label = f"{row['filename']} · {str(row['category']).replace('_', ' ')}" if row["filename"] else ""
            play = self.assets.player(row["path"], f"{run.label}-real", self.page, label) if row["path"] else None
            cells.append(play or (absent(str(row["filename"])) if row["filename"] else ""))
        return cells

    def grid(self, left: list[str], right: list[str], run: Run) -> list[str]:
        """Return an HTML table, generated beside real (or synthetic), one pair a row."""
        rows = max(len(left), len(right))
        left, right = (cells + [""] * (rows - len(cells)) for cells in (left, right))
        body = [f"<tr><td>{a}</td><td>{b}</td></tr>" for a, b in zip(left, right, strict=True)]
        beside = "Synthetic" if run.synthetic else "Real"
        head = f"<thead><tr><th>Generated</th><th>{beside}</th></tr></thead>"
        return [f'<table class="sounds">{head}<tbody>', *body, "</tbody></table>", ""]


def absent(name: str) -> str:
    """Return words for a clip that is not on this machine."""
    return f'<em class="absent">{html.escape(name)}: not on this machine</em>'


INTRODUCTION = """Listen before you read the numbers: a distance can look good while nothing is recognisable.
Every player links to a file; nothing is loaded until you press play. Recordings are never part of this
repository: they are linked from your own data folder when the book is built."""

NOTHING = """:::{admonition} Nothing to hear yet
No run with samples was given to this build. `make study` makes the demo;
`make study PRESET=esc10 DATA=<folder>` uses real recordings.
:::"""
