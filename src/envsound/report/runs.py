"""Runs as the book sees them."""

from pathlib import Path

import pandas as pd

from envsound.base.errors import InputError
from envsound.base.files import read_csv
from envsound.data.folds import recorded
from envsound.report.facts import run_origin


class Run:
    """One finished run: its folder, its label, its tables, where its recordings are."""

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

    def table(self, name: str) -> pd.DataFrame:
        """Return one of the run's csv tables, empty when it is not there; no category is ""."""
        path = self.folder / name
        table = read_csv(path) if path.is_file() else pd.DataFrame()
        if "category" in table:  # a column without a single name is read as numbers
            table["category"] = table["category"].astype(object).fillna("").astype(str)
        return table

    def real_clips(self) -> pd.DataFrame:
        """Return the real clips the run was compared with: filename, category, path; empty when not measured yet."""
        metrics, codes = self.table("metrics.csv"), recorded(self.table("codes.csv"))
        if metrics.empty or codes.empty or "path" not in codes:
            return pd.DataFrame(columns=["filename", "category", "path"])
        held_out = metrics.loc[metrics["side"] == "real", ["clip"]].rename(columns={"clip": "filename"})
        return held_out.merge(codes[["filename", "category", "path"]].drop_duplicates("filename"), on="filename")
