"""The book's chapter on speed: tables and figures from the published measurements, one machine after the other."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from envsound.base.files import read_csv, read_json, write_text
from envsound.base.text import markdown_table, number, wide
from envsound.report.assets import Assets
from envsound.run.publish import ReportKind, kind_of
from envsound.studies.speed.figures import VARIED
from envsound.studies.speed.goals import NOT_RUN

FRAGMENTS = "speed"  # the folder in executed/ whose files the chapter includes
REPORTS = (
    ReportKind(("bench.json",), "finished measurements of speed", ("growth.csv",), "speed"),
    ReportKind(("growth.csv",), "finished measurements of speed", (), "speed"),
    ReportKind(("evaluation_speed.json",), "a finished measurement of the evaluation", (), "evaluation_speed"),
)
PROFILE_ROWS = 6
NOTHING = """:::{{admonition}} Nothing published yet
This copy of the repository holds no {what}. The commands at the end of this page make one.
:::"""
GROWTH_WORDS = (
    "Median time of one run and peak memory against the length of a clip, the batch and the depth, on {machine}, "
    "in {precision}; vertical lines run from the fastest to the slowest run."
)


def speed_reports(published: str | Path) -> list[Path]:
    """Return the folders of `published`, data/published, that hold measurements of speed."""
    kinds = {folder: kind_of(folder, REPORTS) for folder in Path(published).glob("*/")}
    return sorted(folder for folder, kind in kinds.items() if kind)


def stage_speed(published: str | Path, assets: Assets, book_dir: str | Path) -> None:
    """Write the fragments that the chapter includes: executed/speed/bench.txt, growth.txt and evaluation.txt.

    Without measurements each is a box that says so.
    """
    book_dir, reports = Path(book_dir), speed_reports(published)
    bench = [line for folder in reports for line in bench_section(folder)]
    growth = [line for folder in reports for line in growth_section(folder, assets, book_dir / "speed.md")]
    evaluation = [line for folder in reports for line in evaluation_section(folder)]
    for name, lines, what in (
        ("bench", bench, "measurement beside the usual implementation"),
        ("growth", growth, "measurement of growth"),
        ("evaluation", evaluation, "measurement of the evaluation"),
    ):
        text = "\n".join(lines) if lines else NOTHING.format(what=what)
        write_text(book_dir / "executed" / FRAGMENTS / f"{name}.txt", text + "\n")


def bench_section(folder: Path) -> list[str]:
    """Return the Markdown lines of one machine's bench.json; none where there is no such file."""
    if not (folder / "bench.json").is_file():
        return []
    result = read_json(folder / "bench.json")
    return [f"### {result['machine']}", "", *origin(result), "", *wide(bench_table(result)), *goals_part(result, wide)]


def origin(result: dict[str, Any]) -> list[str]:
    """Return what bench.json was measured on and with, as a field list."""
    fields = {
        "Threads": result["threads"],
        "System": f"{result['platform']}, Python {result['python']}, torch {result['torch']}",
        "Commit": result["commit"],
        "Sides": ", ".join(
            f"{words}, {number(result['n_parameters'][name])} parameters"
            for name, words in result["sides"].items()
            if name != "compiled"
        ),
        "Passes of the model for a clip": ", ".join(f"{name} {n}" for name, n in result["passes"].items()),
        "Runs": f"median of {result['n_runs']} of each side, in turn",
        "Fastest product": "; ".join(
            f"{rate['flops_per_second'] / 1e9:,.0f} GFLOP/s in {name} ({' × '.join(map(str, rate['shape']))})"
            for name, rate in result["rates"].items()
        ),
    }
    return [f":{name}: {value}" for name, value in fields.items()]


def bench_table(result: dict[str, Any]) -> list[str]:
    """Return the times, limits and peak memory of bench.json as a Markdown table."""
    header = ["task", "precision", "ours (s)", "peer (s)", "ratio", "limit (s)", "of it", "ours (MiB)", "peer (MiB)"]
    body = []
    for row in result["rows"]:
        cells = [_cell(row["ours_s"]), _cell(row["peer_s"]), _cell(row["ratio"], 2), _cell(row["limit_s"])]
        cells += [f"{row['share_of_limit']:.0%}", _whole(row["ours_mib"]), _whole(row["peer_mib"])]
        words = f"**{row['precision']}**" if row["best"] else row["precision"]
        body.append([row["task"], words, *cells])
    return markdown_table(header, body)


def goals_table(result: dict[str, Any]) -> list[str]:
    """Return the goals of bench.json as a Markdown table."""
    rows = [
        [goal["goal"], goal["machine"], goal["target"],
         "–" if goal["met"] == NOT_RUN else f"{_cell(goal['value'])} {goal['unit']}", goal["met"]]
        for goal in result["goals"]
    ]  # fmt: skip
    return markdown_table(["goal", "set for", "target", "measured", "met"], rows)


def goals_part(
    result: dict[str, Any], wrap: Callable[[list[str]], list[str]] = lambda table: [*table, ""]
) -> list[str]:
    """Return the goals of bench.json, and where the time goes in what does not meet them; `wrap` ends every table."""
    if not result["goals"]:
        return ["No goals were set for a machine of this kind.", ""]
    lines = wrap(goals_table(result))
    profiles = {goal["task"]: goal["profile"] for goal in result["goals"] if "profile" in goal}
    for task, profile in profiles.items():
        busy = profile["gpu_busy"]
        waiting = "" if busy is None else f" The GPU computes {busy:.0%} of the time."
        lines += [f"Where the time of *{task}* goes ({profile['precision']}), which misses a goal.{waiting}", ""]
        rows = [[row["group"], f"{row['share']:.0%}", number(row["calls"])] for row in profile["groups"]]
        lines += wrap(markdown_table(["operators", "share of their time", "calls"], rows[:PROFILE_ROWS]))
    return lines


def growth_section(folder: Path, assets: Assets, page: Path) -> list[str]:
    """Return the Markdown lines of one machine's growth.csv: figure and table; none where there is no such file."""
    if not (folder / "growth.csv").is_file():
        return []
    rows = read_csv(folder / "growth.csv")
    first = rows.iloc[0]
    words = GROWTH_WORDS.format(machine=first["machine"], precision=first["precision"])
    lines = [f"### {first['machine']}: growth", "", f":Commit: {', '.join(rows['commit'].unique())}", ""]
    link = assets.link(folder / "figures" / "growth.png", f"published-{folder.name}", page)
    if link:
        lines += [f"```{{figure}} {link}", f":alt: {words}", ":width: 100%", "", words, "```", ""]
    return [*lines, *wide(growth_table(rows))]


def growth_table(rows: pd.DataFrame) -> list[str]:
    """Return growth.csv as a Markdown table, a line for each point: time and peak memory of both tasks."""
    tasks = list(rows["task"].unique())
    header = [*VARIED.values(), *(f"{task} ({unit})" for unit in ("s", "MiB") for task in tasks)]
    body = []
    for point, group in rows.groupby(list(VARIED), sort=False):
        cells = group.set_index("task").reindex(tasks)
        times, notes = list(cells["seconds"]), list(cells["note"])
        shown = [note if _is_text(note) else _cell(value) for value, note in zip(times, notes, strict=True)]
        body.append([*(f"{value:g}" for value in point), *shown, *(_whole(value) for value in cells["peak_mib"])])
    return markdown_table(header, body)


def evaluation_section(folder: Path) -> list[str]:
    """Return the Markdown lines of one machine's evaluation_speed.json; none where there is no such file."""
    if not (folder / "evaluation_speed.json").is_file():
        return []
    result = read_json(folder / "evaluation_speed.json")
    task, parts = result["task"], ("measure_s", "tables_s", "seconds")
    times = {"nothing measured before": result["cold"], "read from the cache": result["warm"]}
    rows = [[words, *(_cell(found[name]) for name in parts)] for words, found in times.items()]
    met = {True: "met", False: "not met", None: "set for another task or number of processes"}[result["met"]]
    fields = {
        "Task": f"2 × {number(task['n_clips'])} clips of {task['seconds']:g} s in {task['n_classes']} classes, "
        f"{result['n_metrics']} metrics at {number(result['cold']['sample_rate_hz'])} Hz, "
        f"{number(task['n_resamples'])} resamples",
        "Processes that measure": result["n_jobs"],
        "Goal": f"under {result['target_s']:g} s on {result['target_cores']} cores: {met}",
        "Commit": result["commit"],
        "System": f"{result['platform']}, Python {result['python']}",
    }
    memory = [[f"{number(row['n_clips'])}", _whole(row["peak_mib"])] for row in result["memory"]]
    return [
        f"### {result['machine']}: evaluation", "", *(f":{name}: {value}" for name, value in fields.items()), "",
        *wide(markdown_table(["", "measuring (s)", "comparing (s)", "together (s)"], rows)),
        *wide(markdown_table(["clips a side", "peak memory of one process (MiB)"], memory)),
    ]  # fmt: skip


def findings(result: dict[str, Any], growth: pd.DataFrame) -> str:
    """Return Markdown sentences on one's own measurement: goals met, and how sampling grows with length."""
    met: Sequence[str] = [goal["met"] for goal in result["goals"]]
    text = f"On **{result['machine']}** "
    text += f"{met.count('yes')} of {len(met)} goals are met" if met else "no goals were set"
    text += f", {met.count(NOT_RUN)} {NOT_RUN}. " if NOT_RUN in met else ". "
    rows = growth[(growth["task"] == "sampling") & growth["seconds"].notna()]
    rows = rows[(rows["batch"] == rows["batch"].min()) & (rows["n_layers"] == rows["n_layers"].min())]
    rows = rows.sort_values("clip_seconds")
    if len(rows) < 2:
        return text
    first, last = rows.iloc[0], rows.iloc[-1]
    return text + (
        f"A clip of {last['clip_seconds']:g} s is {last['clip_seconds'] / first['clip_seconds']:.1f} times as long as "
        f"one of {first['clip_seconds']:g} s; sampling it takes **{last['seconds'] / first['seconds']:.1f} times** as "
        f"long and {last['peak_mib'] / first['peak_mib']:.1f} times the memory."
    )


def _cell(value: float | None, digits: int = 3) -> str:
    return "–" if value is None or pd.isna(value) else number(float(value), digits)


def _whole(value: float | None) -> str:
    return "–" if value is None or pd.isna(value) else f"{value:,.0f}"


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""
