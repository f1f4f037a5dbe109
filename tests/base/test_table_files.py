"""Tables of a report as files."""

import pandas as pd

from envsound.base.files import read_csv
from envsound.base.table_files import write_tables


def test_each_table_has_a_file_of_its_name(tmp_path):
    tables = {"one": pd.DataFrame({"clip": ["a"], "ks": [1 / 3]}), "two": pd.DataFrame({"n": [2]})}
    write_tables(tmp_path / "new", tables)
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"one.csv", "two.csv"}
    assert all(read_csv(tmp_path / "new" / f"{name}.csv").equals(table) for name, table in tables.items())
