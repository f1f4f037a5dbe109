"""The page on speed and its figure, staged from measurements that were made up, and how those are published."""

import re
import warnings
from pathlib import Path

import matplotlib
import pytest
from fakes.speed import MACHINE, bench_result, growth, make_evaluation_speed, make_speed_report

from envsound.base.errors import InputError
from envsound.report.assets import Assets
from envsound.report.fragments import Staging
from envsound.run.publish import publish_any
from envsound.studies.speed import tokens
from envsound.studies.speed.figures import growth_figure
from envsound.studies.speed.page import REPORTS, bench_table, facts, growth_table, stage

REPOSITORY = Path(__file__).parents[3]


def publish(root: Path, name: str = "speed") -> Path:
    report = root / "data" / "runs" / "speed"
    if not report.exists():
        make_speed_report(report)
    return publish_any(report, REPORTS, root / "data" / "published" / name)


def staged(root: Path) -> dict[str, str]:
    stage(Staging(root / "data" / "published", root / "book", Assets(root / "book", [root / "data"])))
    return {path.stem: path.read_text() for path in (root / "book" / "executed" / "speed").iterdir()}


def test_the_page_includes_what_is_staged(root):
    found = staged(root)
    assert set(found) == {"bench", "growth", "tokens", "evaluation"}
    assert all("Nothing published yet" in text for text in found.values()) and not any(facts(root).values())
    page = (REPOSITORY / "book" / "studies" / "speed.md").read_text(encoding="utf-8")
    assert all(f"```{{include}} ../executed/speed/{name}.txt\n```" in page for name in found)


def test_hardware_commit_and_runs_stand_beside_the_numbers(root):
    publish(root)
    publish(root, "speed_other")
    text = staged(root)["bench"]
    assert text.count(f"### {MACHINE}") == 2 and ":Commit: abc123" in text and ":Threads: 2" in text
    assert "envsound, 22,000,000 parameters, other 0.6.1, 24,000,000 parameters" in text
    assert "200 GFLOP/s in float32 (2048 × 2048 × 2048)" in text and "ours 19, peer 19" in text
    found = facts(root / "data" / "published")
    assert found["speed"] == found["speed_other"] and not found["speed_h200"]
    assert {key: str(value) for key, value in found["speed"].items()} == {
        "training step": "2.5", "training step, ms": "2,000", "100 epochs, min": "667", "sample 1 clip": "6",
        "sample 1 clip, ms": "2,000", "sample a batch": "7", "sample a batch, ms": "2,000",
        "sample 30 s and decode, ms": "2,000",
    }  # fmt: skip


def test_tables_have_a_row_for_everything_and_a_dash_for_what_is_not_there():
    table = "\n".join(bench_table(bench_result()))
    assert "| training step | float32 | 2 | 5 | 2.5 | 1.5 | 75% | 400 | 1,500 |" in table
    assert "| sample 30 s and decode | **best: float32** | 2 | – | – | 1.5 | 75% | 400 | – |" in table
    rows = growth()
    rows.loc[0, ["note", "seconds", "peak_mib"]] = ["out of memory", float("nan"), float("nan")]
    assert "| 5 | 1 | 2 | out of memory | 0.5 | – | 100 |" in "\n".join(growth_table(rows))


def test_growth_and_the_evaluation_are_shown_with_their_machine(root):
    publish(root)
    publish_any(make_evaluation_speed(root / "data" / "runs" / "evaluation_speed"), REPORTS)
    text, evaluation = staged(root)["growth"], staged(root)["evaluation"]
    link = re.search(r"{figure} (\S+)", text)[1]
    assert (root / "book" / "studies" / link).resolve().read_bytes() == b"figure"
    assert MACHINE in text and "in bfloat16" in text and "| 60 | 1 | 2 | 216 | 72 | 1,200 | 1,200 |" in text
    assert f"### {MACHINE}: evaluation" in evaluation and ":Goal: under 60 s on 2 cores" in evaluation
    assert "2 × 400 clips of 5 s in 50 classes, 30 metrics at 24,000 Hz, 1000 resamples" in evaluation
    assert "| nothing measured before | 20 | 5 | 25 |" in evaluation and "| 100 | 190 |" in evaluation


def test_measurements_are_published_without_a_path(root):
    folder = publish(root)
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert names == {"bench.json", "growth.csv", "provenance.json", "figures/growth.png", "figures/growth.pdf"}
    assert str(root) not in (folder / "provenance.json").read_text()
    (root / "data/runs/speed/growth.csv").unlink()  # the benchmark alone
    assert not (publish(root) / "growth.csv").exists()


def line(ax, label: str):
    return next(line for line in ax.get_lines() if line.get_label() == label)


def test_time_and_memory_are_drawn_against_length_batch_and_depth_one_varied_at_a_time():
    figure = growth_figure(growth().iloc[::-1])
    axes = figure.axes
    assert len(axes) == 6 and [axes[0].get_ylabel(), axes[3].get_ylabel()] == ["time (s)", "peak memory (MiB)"]
    labels = [ax.get_xlabel() for ax in axes[3:]]
    assert labels == ["clip length (s)", "clips in a batch", "layers"] and figure.get_size_inches()[0] <= 7.2
    assert line(axes[0], "sampling").get_ydata().tolist() == pytest.approx([1.5, 6, 216])
    assert line(axes[1], "training step").get_ydata().tolist() == pytest.approx([0.5, 2])
    assert line(axes[2], "sampling").get_xdata().tolist() == [2, 12]
    assert line(axes[3], "sampling").get_ydata().tolist() == [100, 200, 1200]
    assert line(axes[0], "in proportion").get_ydata().tolist() == pytest.approx([1.5, 3, 18])
    assert {ax.get_xscale() for ax in axes} == {ax.get_yscale() for ax in axes} == {"log"}


def test_points_without_a_time_are_left_out_and_a_single_length_is_drawn_without_a_warning():
    rows = growth()
    rows.loc[rows["clip_seconds"] == 60, ["seconds", "fastest_s", "slowest_s", "peak_mib"]] = float("nan")
    assert line(growth_figure(rows).axes[0], "sampling").get_xdata().tolist() == [5, 10]
    words = growth_figure(rows.assign(seconds=float("nan"))).findobj(matplotlib.text.Text)
    assert "nothing was measured" in [text.get_text() for text in words]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        low, high = growth_figure(rows[rows["clip_seconds"] == 5]).axes[0].get_xlim()
    assert low < 5 < high


def test_the_studys_own_tokens_are_timed_and_their_memory_watched(root, monkeypatch):
    for name, value in {"BATCHES": (1, 2), "LEARNT": 2, "STEPS": 1, "SECONDS": 0.5}.items():
        monkeypatch.setattr(tokens, name, value)
    report = root / "data" / "runs" / "speed"
    table = tokens.measure_tokens(report, "cpu", n_runs=1)
    assert table["task"].tolist() == ["sample and decode", "sample and decode", "train"]
    assert (table["clips_per_second"] * table["seconds"]).tolist() == pytest.approx([1, 2, 2])
    publish(root)
    assert "| train | 2 |" in staged(root)["tokens"]  # memory need not be watched
    memory = tokens.measure_memory(report, "cpu", endless={"tiny": 20})
    assert memory["n_clips"].tolist() == [*range(2, 21, 2)] and (memory["resident_mib"] > 100).all()
    publish(root)
    text = staged(root)["tokens"]
    assert "| sample and decode | 1 |" in text and "a tiny model" in text and "tokens.csv" in text
    with pytest.raises(InputError, match="n_runs=0"):
        tokens.measure_tokens(report, n_runs=0)
