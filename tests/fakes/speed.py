"""Measurements of speed, made up: what the benchmark and the growth measurement write, with known numbers."""

from pathlib import Path

import pandas as pd

from envsound.base.files import write_csv, write_json
from envsound.studies.speed.sides import SAMPLE_BATCH, SAMPLE_LONG, SAMPLE_ONE, TRAIN

MACHINE = "Test processor, 2 cores"


def bench_result() -> dict:
    """Return a bench.json, each task with a ratio of its own."""
    rows = []
    for task, ratio in ((TRAIN, 2.5), (SAMPLE_ONE, 6.0), (SAMPLE_BATCH, 7.0), (SAMPLE_LONG, None)):
        row = {"task": task, "precision": "float32", "best": False, "ours_s": 2.0, "ours_mib": 400.0, "ratio": ratio}
        row |= {"peer_s": ratio and 2.0 * ratio, "peer_mib": ratio and 1500.0, "limit_s": 1.5, "share_of_limit": 0.75}
        rows += [row, row | {"best": True, "precision": "best: float32", "ours_precision": "float32"}]
    result = {"machine": MACHINE, "device": "CPU x86_64, 2 threads", "threads": 2, "platform": "Linux", "torch": "2.13"}
    result |= {"python": "3.12.1", "commit": "abc123", "n_runs": 3, "passes": {"ours": 19, "peer": 19}}
    result |= {"sides": {"ours": "envsound", "peer": "other 0.6.1"}, "n_parameters": {"ours": 22e6, "peer": 24e6}}
    result["rates"] = {"float32": {"flops_per_second": 2e11, "shape": [2048, 2048, 2048]}}
    return result | {"rows": rows, "work": {"batch": 8}}


def growth() -> pd.DataFrame:
    """Return a growth.csv: time grows with the square of the length and in proportion to batch and depth."""
    points = [(5.0, 1, 2), (10.0, 1, 2), (60.0, 1, 2), (5.0, 4, 2), (5.0, 1, 12)]
    rows = [
        {
            "task": task, "clip_seconds": seconds, "batch": batch, "n_layers": layers, "n_runs": 3, "dim": 512,
            "seconds": factor * (seconds / 5) ** 2 * batch * layers / 2, "peak_mib": 100.0 * seconds / 5,
            "precision": "bfloat16", "machine": MACHINE, "commit": "abc123", "note": "",
        }
        for seconds, batch, layers in points
        for task, factor in (("sampling", 1.5), ("training step", 0.5))
    ]  # fmt: skip
    frame = pd.DataFrame(rows)
    return frame.assign(fastest_s=0.9 * frame["seconds"], slowest_s=1.1 * frame["seconds"])


def make_speed_report(folder: Path) -> Path:
    """Write bench.json, growth.csv, a figure and the provenance into `folder` (data/runs/speed) and return it."""
    write_json(folder / "bench.json", bench_result())
    write_csv(folder / "growth.csv", growth())
    (folder / "figures").mkdir()
    for kind in ("png", "pdf"):
        (folder / "figures" / f"growth.{kind}").write_bytes(b"figure")
    step = {"step": "bench", "parameters": {"n_runs": 3}, "commit": "abc123", "device": "CPU x86_64, 2 threads"}
    write_json(folder / "provenance.json", {"run": str(folder), "steps": {"bench": step}})
    return folder


def make_evaluation_speed(folder: Path) -> Path:
    """Write evaluation_speed.json and its provenance into `folder` (data/runs/evaluation_speed) and return it."""
    times = {"measure_s": 20.0, "tables_s": 5.0, "seconds": 25.0, "sample_rate_hz": 24_000, "peak_mib": 100.0}
    result = {"machine": MACHINE, "platform": "Linux", "python": "3.12.1", "commit": "abc123", "n_jobs": 2}
    result |= {"task": {"n_clips": 400, "seconds": 5.0, "n_classes": 50, "n_resamples": 1000}, "n_metrics": 30}
    result |= {"cold": times, "warm": times | {"measure_s": 1.0, "seconds": 6.0}}
    result["memory"] = [{"n_clips": 100, "peak_mib": 190.0}, {"n_clips": 400, "peak_mib": 200.0}]
    result |= {"target_s": 60.0, "target_cores": 2, "met": True}
    write_json(folder / "evaluation_speed.json", result)
    write_json(folder / "provenance.json", {"run": str(folder), "steps": {}})
    return folder
