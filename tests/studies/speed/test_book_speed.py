"""The chapter on speed, staged from measurements that were made up, and how those are published."""

import re
from pathlib import Path

import pytest
from fakes.speed import MACHINE, bench_result, growth, make_evaluation_speed, make_speed_report

from envsound.base.errors import InputError
from envsound.book.build import build
from envsound.report.assets import Assets
from envsound.run.publish import kind_of, publish_report
from envsound.studies.speed.page import REPORTS, bench_table, findings, goals_part, growth_table, stage_speed

REPOSITORY = Path(__file__).parents[3]


def publish(root: Path, name: str = "speed") -> None:
    report = root / "data" / "runs" / "speed"
    if not report.exists():
        make_speed_report(report)
    publish_report(report, root / "data" / "published" / name, kind_of(report, REPORTS))


def staged(root: Path) -> dict[str, str]:
    stage_speed(root / "data" / "published", Assets(root / "book", [root / "data"]), root / "book")
    return {path.stem: path.read_text() for path in (root / "book" / "executed" / "speed").iterdir()}


def test_the_chapter_includes_what_is_staged():
    chapter = (REPOSITORY / "book" / "speed.md").read_text(encoding="utf-8")
    for name in ("bench", "growth", "evaluation"):
        assert f"```{{include}} executed/speed/{name}.txt\n```" in chapter


def test_without_measurements_the_chapter_says_so(root):
    found = staged(root)
    assert set(found) == {"bench", "growth", "evaluation"}
    assert all("Nothing published yet" in text for text in found.values())
    assert "{{" not in found["bench"]


def test_hardware_commit_and_runs_stand_beside_the_numbers(root):
    publish(root)
    text = staged(root)["bench"]
    assert f"### {MACHINE}" in text and ":Commit: abc123" in text and ":Threads: 2" in text
    assert "envsound, 22,000,000 parameters, other 0.6.1, 24,000,000 parameters" in text
    assert "200 GFLOP/s in float32 (2048 × 2048 × 2048)" in text and "ours 19, peer 19" in text


def test_tables_have_a_row_for_everything_and_a_dash_for_what_is_not_there():
    table = "\n".join(bench_table(bench_result()))
    assert "| training step | float32 | 2 | 5 | 2.5 | 1.5 | 75% | 400 | 1,500 |" in table
    assert "| sample 30 s and decode | **best: float32** | 2 | – | – | 1.5 | 75% | 400 | – |" in table


def test_a_goal_that_is_missed_is_followed_by_where_the_time_goes():
    text = "\n".join(goals_part(bench_result()))
    assert "| training step against the peer | two CPU cores | at least 3 times | 2.5 times | no |" in text
    assert "*training step* goes (float32)" in text and "| matrix products | 80% | 90 |" in text
    assert "Where the time" not in "\n".join(goals_part(bench_result(train_ratio=3.0)))


def test_growth_is_shown_with_its_machine(root):
    publish(root)
    text = staged(root)["growth"]
    link = re.search(r"{figure} (\S+)", text)[1]
    assert (root / "book" / link).read_bytes() == b"figure" and MACHINE in text and "in bfloat16" in text
    assert "| 60 | 1 | 2 | 216 | 72 | 1,200 | 1,200 |" in text
    rows = growth()
    rows.loc[0, ["note", "seconds", "peak_mib"]] = ["out of memory", float("nan"), float("nan")]
    assert "| 5 | 1 | 2 | out of memory | 0.5 | – | 100 |" in "\n".join(growth_table(rows))


def test_the_evaluation_is_shown_with_its_task_times_and_memory(root):
    report = make_evaluation_speed(root / "data" / "runs" / "evaluation_speed")
    publish_report(report, root / "data" / "published" / "evaluation_speed", kind_of(report, REPORTS))
    text = staged(root)["evaluation"]
    assert f"### {MACHINE}: evaluation" in text and ":Goal: under 60 s on 2 cores: met" in text
    assert "2 × 400 clips of 5 s in 50 classes, 30 metrics at 24,000 Hz, 1000 resamples" in text
    assert "| nothing measured before | 20 | 5 | 25 |" in text and "| read from the cache | 1 | 5 | 6 |" in text
    assert "| 100 | 90 |" in text and "| 400 | 100 |" in text
    assert not list(build.stage([]).glob("published_evaluation*"))


def test_each_machine_has_its_part_and_none_is_a_page_of_results(root):
    publish(root)
    publish(root, "speed_other")
    pages = build.stage([])
    assert (pages / "speed" / "bench.txt").read_text().count(f"### {MACHINE}") == 2
    assert not list(pages.glob("published_speed*")) and (pages / "published_nothing.md").is_file()


def test_findings_say_how_sampling_grows():
    text = findings(bench_result(), growth())
    assert "2 of 3 goals are met." in text
    assert "12.0 times as long as one of 5 s; sampling it takes **144.0 times** as long and 12.0 times" in text


def test_the_command_line_publishes_measurements_of_speed_without_a_path(root, capsys, monkeypatch):
    report = make_speed_report(root / "data/runs/speed")
    folder = publish_any("data/runs/speed", REPORTS)
    assert folder == Path("data/published/speed")
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    figures = {"figures/growth.png", "figures/growth.pdf"}
    assert names == {"bench.json", "growth.csv", "provenance.json"} | figures
    assert str(root) not in (folder / "provenance.json").read_text()
    (report / "growth.csv").unlink()  # the benchmark alone
    publish(root)
    assert not (folder / "growth.csv").exists()
    (report / "provenance.json").unlink()
    with pytest.raises(InputError, match=r"lacks provenance\.json"):
        publish(root)
