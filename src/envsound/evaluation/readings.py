"""Reports of judges as they are published, and the log of what has been read of clips that nobody may learn from.

The held-out fold, and probe B, which was taught by it, are meant to be read once for a published row: whoever reads
them again and again, and keeps what looks best, has learnt from them. Nothing can forbid it; so readings are counted.
"""

from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from envsound.base.errors import InputError
from envsound.base.files import read_csv, read_json, write_csv
from envsound.run.publish import ReportKind

READINGS = Path("data") / "published" / "judge_readings.csv"
STEP = "18_judges"
LADDER, JUDGED, BY_CLASS = "ladder.csv", "judged.csv", "judged_by_class.csv"
COLUMNS = ["when", "report", "row", "judge", "judge_hash", "taught_by", "n", "reading", "commit"]


def log_readings(folder: Path, log: Path = READINGS) -> pd.DataFrame:
    """Append a line to `log` for each row that a published report in `folder` holds, and return the lines: COLUMNS.

    A row is a judge's ladder with one codec, or what a judge heard in one set of clips; n: the clips that were heard;
    when: UTC; taught_by: the judge's folds; reading: how often the log has this row of this judge, this time included.
    commit: of the report. Raises InputError when the report does not say who judged.
    """
    step = read_json(folder / "provenance.json").get("steps", {}).get(STEP, {})
    judges = step.get("facts", {}).get("judges")
    if judges is None:
        raise InputError(f"{folder}/provenance.json: lacks the judges of {STEP}; expected a report of that notebook")
    before = read_csv(log) if log.is_file() else pd.DataFrame(columns=COLUMNS)
    counts = before.groupby(["row", "judge"]).size().to_dict()
    when, lines = datetime.now(UTC).isoformat(timespec="seconds"), []
    for row in rows_read(folder).to_dict("records"):
        about = judges[row["judge"]]
        known = {"judge_hash": about["hash"], "taught_by": " ".join(map(str, about["taught_by"]))}
        reading = counts.get((row["row"], row["judge"]), 0) + 1
        lines.append({"when": when, "report": folder.name, "reading": reading, "commit": step["commit"]} | row | known)
    new = pd.DataFrame(lines, columns=COLUMNS)
    write_csv(log, new if before.empty else pd.concat([before, new], ignore_index=True))
    return new


def rows_read(folder: Path) -> pd.DataFrame:
    """Return what the tables of a report tell, a line for each judge: columns row, judge, n."""
    ladder = read_csv(folder / LADDER).dropna(subset="n")
    climbed = ladder.groupby(["codec", "judge"], sort=False)["n"].max().reset_index()
    found = [climbed.assign(row="ladder with " + climbed["codec"])]
    if (folder / JUDGED).is_file():
        judged = read_csv(folder / JUDGED)
        found.append(judged.assign(row=judged["system"]))
    return pd.concat([part[["row", "judge", "n"]] for part in found], ignore_index=True).astype({"n": int})


OPTIONAL = (JUDGED, BY_CLASS, "heard.csv")
REPORTS = (
    ReportKind((LADDER,), f"a finished report of {STEP}", OPTIONAL, "judges", keeps_name=True, then=log_readings),
)
