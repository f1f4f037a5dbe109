"""The book's page on speed: tables and figures from the published measurements, one machine after the other."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from envsound.base.files import read_csv, read_json, visible
from envsound.base.text import cell, markdown_table, number, wide
from envsound.report.facts import Facts
from envsound.report.fragments import Staging, field_list, not_published
from envsound.run.publish import ReportKind, kind_of

PAGE = "studies/speed.md"
REPORTS = (
    ReportKind(("bench.json",), "finished measurements of speed", ("growth.csv", "tokens.csv", "memory.csv"), "speed"),
    ReportKind(("growth.csv",), "finished measurements of speed", (), "speed"),
    ReportKind(("tokens.csv",), "finished measurements of speed", ("memory.csv",), "speed"),
    ReportKind(("evaluation_speed.json",), "a finished measurement of the evaluation", (), "evaluation_speed"),
)
TRAIN = "training step"  # a task of bench.json
VARIED = {"clip_seconds": "clip length (s)", "batch": "clips in a batch", "n_layers": "layers"}
GROWTH_WORDS = (
    "Median time of one run and peak memory against the length of a clip, the batch and the depth, on {machine}, "
    "in {precision}; vertical lines run from the fastest to the slowest run."
)


def stage(book: Staging) -> None:
    """Write the fragments that the page includes: executed/speed/bench.txt, growth.txt, tokens.txt and evaluation.txt.

    Without measurements each is a box that says so.
    """
    reports = [folder for folder in visible(book.published, "*/") if kind_of(folder, REPORTS)]
    for name, section, what in (
        ("bench", bench_section, "measurement beside the usual implementation"),
        ("growth", growth_section, "measurement of growth"),
        ("tokens", tokens_section, "measurement of the study's own tokens"),
        ("evaluation", evaluation_section, "measurement of the evaluation"),
    ):
        lines = [line for folder in reports for line in section(folder, book)]
        book.write(f"speed/{name}.txt", lines or not_published(what))


def facts(published: Path) -> Mapping[str, Any]:
    """Return `speed`, and of other machines `speed_<name>`: of each task the fastest of both sides, written out.

    task -> how many times as long the peer takes; "<task>, ms" -> our time; "100 epochs, min" -> how long so many of
    1,600 clips take by the time of a step.
    """
    found = Facts(speed=Facts(), speed_h200=Facts())
    for file in sorted(published.glob("speed*/bench.json")):
        result, told = read_json(file), Facts()
        for row in (row for row in result["rows"] if row["best"]):
            told |= {f"{row['task']}, ms": cell(1000 * row["ours_s"], 2)}
            told |= {row["task"]: cell(row["ratio"], 2)} if row["ratio"] else {}
            if row["task"] == TRAIN:
                told |= {"100 epochs, min": cell(100 * 1600 / result["work"]["batch"] * row["ours_s"] / 60, 2)}
        found |= {file.parent.name: told}
    return found


def bench_section(folder: Path, _: Staging) -> list[str]:
    """Return the Markdown lines of one machine's bench.json; none where there is no such file."""
    if not (folder / "bench.json").is_file():
        return []
    result = read_json(folder / "bench.json")
    sides = {name: words for name, words in result["sides"].items() if name != "compiled"}
    rates = result["rates"].items()
    fields = {
        "Threads": result["threads"],
        "System": f"{result['platform']}, Python {result['python']}, torch {result['torch']}",
        "Commit": result["commit"],
        "Sides": ", ".join(f"{words}, {number(result['n_parameters'][n])} parameters" for n, words in sides.items()),
        "Passes of the model for a clip": ", ".join(f"{name} {n}" for name, n in result["passes"].items()),
        "Runs": f"median of {result['n_runs']} of each side, in turn",
        "Fastest product": "; ".join(
            f"{rate['flops_per_second'] / 1e9:,.0f} GFLOP/s in {name} ({' × '.join(map(str, rate['shape']))})"
            for name, rate in rates
        ),
    }
    return [f"### {result['machine']}", "", *field_list(fields), *wide(bench_table(result))]


def bench_table(result: Mapping[str, Any]) -> list[str]:
    """Return the times, limits and peak memory of bench.json as a Markdown table."""
    header = ["task", "precision", "ours (s)", "peer (s)", "ratio", "limit (s)", "of it", "ours (MiB)", "peer (MiB)"]
    body = []
    for row in result["rows"]:
        cells = [cell(row["ours_s"]), cell(row["peer_s"]), cell(row["ratio"], 2), cell(row["limit_s"])]
        cells += [f"{row['share_of_limit']:.0%}", cell(row["ours_mib"]), cell(row["peer_mib"])]
        body.append([row["task"], f"**{row['precision']}**" if row["best"] else row["precision"], *cells])
    return markdown_table(header, body)


def growth_section(folder: Path, book: Staging) -> list[str]:
    """Return the Markdown lines of one machine's growth.csv: figure and table; none where there is no such file."""
    if not (folder / "growth.csv").is_file():
        return []
    rows = read_csv(folder / "growth.csv")
    machine, precision = rows.iloc[0][["machine", "precision"]]
    words = GROWTH_WORDS.format(machine=machine, precision=precision)
    picture = book.figure(folder / "figures" / "growth.png", words, PAGE, f"published-{folder.name}")
    commits = field_list({"Commit": ", ".join(rows["commit"].unique())})
    return [f"### {machine}: growth", "", *commits, *picture, *wide(growth_table(rows)),
            *book.downloads([folder / "growth.csv"], PAGE)]  # fmt: skip


def growth_table(rows: pd.DataFrame) -> list[str]:
    """Return growth.csv as a Markdown table, a line for each point: time and peak memory of both tasks."""
    tasks = list(rows["task"].unique())
    header = [*VARIED.values(), *(f"{task} ({unit})" for unit in ("s", "MiB") for task in tasks)]
    body = []
    for point, group in rows.groupby(list(VARIED), sort=False):
        cells = group.set_index("task").reindex(tasks)
        noted = cells[["seconds", "note"]].to_numpy()
        times = [note if note and note == note else cell(value) for value, note in noted]
        body.append([*(f"{value:g}" for value in point), *times, *map(cell, cells["peak_mib"])])
    return markdown_table(header, body)


def tokens_section(folder: Path, book: Staging) -> list[str]:
    """Return the Markdown lines of one machine's tokens.csv and memory.csv; none where there is no tokens.csv."""
    if not (folder / "tokens.csv").is_file():
        return []
    rows, shown = read_csv(folder / "tokens.csv"), {"tokens.csv": tokens_table, "memory.csv": memory_table}
    machine, commit = rows.iloc[0][["machine", "commit"]]
    files = [folder / name for name in shown if (folder / name).is_file()]
    tables = [line for file in files for line in wide(shown[file.name](read_csv(file)))]
    sources = book.downloads(files, PAGE)
    return [f"### {machine}: the study's own tokens", "", *field_list({"Commit": commit}), *tables, *sources]


def tokens_table(rows: pd.DataFrame) -> list[str]:
    """Return tokens.csv as a Markdown table."""
    header = ["task", "clips at once", "precision", "time (s)", "clips a second"]
    return markdown_table(header, [
        [row.task, str(row.batch), row.precision, cell(row.seconds), cell(row.clips_per_second, 2)]
        for row in rows.itertuples()
    ])  # fmt: skip


def memory_table(memory: pd.DataFrame) -> list[str]:
    """Return memory.csv as a Markdown table: resident memory at the first look, half-way and at the end."""
    header = ["sampled in one process", "clips", "after a tenth (MiB)", "half-way (MiB)", "at the end (MiB)"]
    body = []
    for name, part in memory.groupby("model", sort=False):
        looks = part["resident_mib"].iloc[[0, len(part) // 2, -1]]
        body.append([str(name), number(part["n_clips"].iloc[-1]), *map(cell, looks)])
    return markdown_table(header, body)


def evaluation_section(folder: Path, _: Staging) -> list[str]:
    """Return the Markdown lines of one machine's evaluation_speed.json; none where there is no such file."""
    if not (folder / "evaluation_speed.json").is_file():
        return []
    result = read_json(folder / "evaluation_speed.json")
    task, goal = result["task"], result.get("target_s")
    fields = {
        "Task": f"2 × {number(task['n_clips'])} clips of {task['seconds']:g} s in {task['n_classes']} classes, "
        f"{result['n_metrics']} metrics at {number(result['cold']['sample_rate_hz'])} Hz, "
        f"{number(task['n_resamples'])} resamples",
        "Processes that measure": result["n_jobs"],
        "Goal": f"under {goal:g} s on {result['target_cores']} cores" if goal else None,
        "Commit": result["commit"],
        "System": f"{result['platform']}, Python {result['python']}",
    }
    times = {"nothing measured before": result["cold"], "read from the cache": result["warm"]}
    parts = {"measure_s": "measuring (s)", "tables_s": "comparing (s)", "seconds": "together (s)"}
    rows = [[words, *(cell(found[name]) for name in parts)] for words, found in times.items()]
    memory = [[number(row["n_clips"]), cell(row["peak_mib"])] for row in result["memory"]]
    return [
        f"### {result['machine']}: evaluation", "", *field_list(fields),
        *wide(markdown_table(["", *parts.values()], rows)),
        *wide(markdown_table(["clips a side", "peak memory of one process (MiB)"], memory)),
    ]  # fmt: skip
