"""The tables of a report as csv files in one folder."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from envsound.base.files import write_csv


def write_tables(folder: str | Path, tables: Mapping[str, pd.DataFrame]) -> None:
    """Write each table as `folder`/<name>.csv, atomically, see `files.write_csv`."""
    for name, table in tables.items():
        write_csv(Path(folder) / f"{name}.csv", table)
