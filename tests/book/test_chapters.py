"""What published runs show: a page each, and the tables of the page of results and of every number."""

import re
from pathlib import Path

import pandas as pd
import pytest
from fakes.runs import make_run, players, staging, tone, write_results

from envsound.base.files import read_csv, read_json, write_csv, write_json
from envsound.book.chapters import NO_RULES, NOTHING, PARTS, rules_list, stage_chapters
from envsound.book.published import stage_published

REPOSITORY = Path(__file__).parents[2]
RULE = {"rule": "Decoding: one seed", "file": "drawing.py", "before": "a  b", "after": "c", "test": "t.py::test_it",
        "passes_unchanged": True, "fails_mutated": True}  # fmt: skip


def chapters(root: Path) -> dict[str, str]:
    """Stage the chapters and return their parts by name."""
    stage_chapters(staging(root))
    folder = root / "book" / "executed"
    return {name: (folder / f"{name}.txt").read_text(encoding="utf-8") for name in (*PARTS, "numbers/runs", "rules")}


def table(columns: str, *rows: tuple) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=columns.split())


TABLES = {
    "evaluation": table(
        "system run metric n n_real cliffs_delta ks p_holm note",
        ("real", "", "zcr", 80, None, None, None, None, ""),
        *(("codec", "", metric, 80, 80, 0.1, 0.48, p, "") for metric, p in (("zcr", 0.001), ("rms", 1.0))),
        *(("generated", "esc10 seed 0", metric, 100, 80, -0.25, 0.47, p, note)
          for metric, p, note in (("zcr", 0.01, ""), ("rms", 0.9, ""), ("duration_s", 1.0, "not tested"))),
        ("generated", "esc10 seed 1", "zcr", 70, 80, -0.25, 0.47, 0.9, ""),
    ),
    "diversity": table(
        "system run category ratio ratio_low ratio_high",
        ("codec", "", "mean over classes", 0.3, 0.25, 0.35), ("codec", "", "rain", 1.0, 1.0, 1.0),
        ("generated", "esc10 seed 0", "mean over classes", 0.4, None, None),
    ),
    "distances": table(
        "embedding side n kad kad_low kad_high kad_chance fad fad_infinity fad_infinity_both precision recall",
        ("cnn", "generated", 80, 3.0, 2.5, 3.5, 0.4, 30, 27, 24, 0.5, 0.25), ("AST", "", *[None] * 10),
    ),
    "distances_by_class": table("embedding side category kad kad_p_adjusted", ("cnn", "generated", "rain", 3.0, 0.001),
                                ("cnn", "generated", "sea_waves", 1.0, 0.5), ("cnn", "noise", "rain", 9.0, 0.001)),
    "class_truth": table("role side classifier category n n_right accuracy low high",
                         ("reports", "real", "cnn", "", 16, 16, 1.0, 0.2, 0.9),
                         ("reports", "generated", "cnn", "rain", 8, 0, 0.0, 0.0, 0.4)),
    "class_training": table("classifier mix composition n_training n accuracy low high",
                            ("cnn", "generated", "5 generated", 10, 16, 0.375, 0.2, 0.6)),
    "memorisation": table(
        "side space n relative relative_held_out nearer n_nearest n_nearest_expected n_distinct p_holm copies_found",
        ("copied", "cnn", 10, 0.8, 0.85, 0.55, 4, 0.6, 3, 0.5, True), ("", "AST", *[None] * 9),
    ),
    "goals_by_class": table(
        "category run quantity value real real_other difference limit met",
        *(("sea_waves", "esc10 seed 0", *row) for row in (
            ("level_db", -20, -16, -18, -4.0, 3.0, "no"), ("envelope_correlation_s", 1.2, 1, 1, 0.2, 0.25, "yes"),
            ("modulation_8_16_hz", 0.5, 1, 1, -0.5, 0.25, "no"), ("ks_zcr", 0.7, 0, 0.3, 0.7, 0.6, "no"),
            ("ks_rms", 0.5, 0, 0.3, 0.5, 0.6, "yes"))),
    ),
    "copies": table(
        "side n share_median share_median_goal share_p90 run_median run_p90 run_p90_goal run_max run_median_s "
        "run_p90_s run_p90_s_goal run_max_s relative_median relative_p10 n_copies",
        ("real", 80, 0.1, None, 0.2, 1, 2, None, 3, 0.05, 0.11, None, 0.16, 0.9, 0.8, 0),
        ("generated", 200, 0.25, 0.12, 0.5, 4, 10.5, 8, 30, 0.21, 0.56, 0.43, 1.6, 0.7, 0.5, 17),
    ),
    "copies_by_clip": table(
        "side clip category share share_of run run_of relative nearest beyond",
        ("generated", "a.wav", "rain", 0.5, "x.ogg+3", 12, "x.ogg", 0.5, "y.ogg", True),
        ("generated", "b.wav", "rain", 0.1, "x.ogg", 2, "x.ogg", 0.9, "y.ogg", False),
        ("chain, copying", "c.wav", "rain", 0.9, "x.ogg", 90, "x.ogg", 0.1, "y.ogg", True),
    ),
    "listener_seeds": table("quantity judge seed_0 mean n_runs", ("accuracy", "cnn", 0.25, 0.375, 2),
                            ("kad", "cnn", 0.25, 0.375, 2)),
    "counting": table("u hidden columns level n_masked model unigram bigram",
                      (0.5, 0.707, "all", 1, 40, 3.0, 4.0, 5.0), (0.5, 0.707, "sounding", 1, 30, 3.5, 4.5, 5.5)),
    "training": table("epoch level split loss unigram seconds", *(
        (epoch, level, split, 7.0 - epoch / 2, 6.25 if split == "validation" else None, 60.0)
        for epoch in (1, 2) for split in ("train", "validation") for level in ("0", "all")
    )),
}  # fmt: skip


@pytest.fixture(scope="module")
def parts(tmp_path_factory) -> dict[str, str]:
    """The chapters of a run with every table, two training seeds of it among them."""
    root = tmp_path_factory.mktemp("root")
    folder = root / "data" / "published" / "esc10"
    write_results(folder, "esc10", "esc50")
    for name, rows in TABLES.items():
        write_csv(folder / f"{name}.csv", rows)
    (folder / "figures").mkdir()
    for name in ("evaluation_overview", "listener_distances"):
        (folder / "figures" / f"{name}.png").write_bytes(b"png")
    write_csv(folder.parent / "mutants.csv", pd.DataFrame([RULE]))
    (folder.parent / "other").mkdir()
    (folder.parent / "other" / "provenance.json").write_text("{}")  # of a study, not a run
    return chapters(root)


def test_pages_include_every_part():
    for page in ("results", "numbers", "rules"):
        text = (REPOSITORY / "book" / f"{page}.md").read_text(encoding="utf-8")
        found = set(re.findall(r"```{include} executed/(\S+).txt\n```", text))
        assert {name for name in (*PARTS, "numbers/runs", "rules") if name.startswith(page)} <= found


def test_without_a_published_run_the_pages_say_so(root):
    found = chapters(root)
    assert found.pop("rules") == f"{NO_RULES}\n" and set(found.values()) == {f"{NOTHING}\n"}
    assert (root / "book" / "executed" / "results" / "pitch.txt").read_text() == f"{NOTHING}\n"


@pytest.mark.parametrize(("part", "row"), [
    ("results/apart", "| ceiling: codec | 80 | 80 | 2 | 1 |"),
    ("results/apart", "| model, esc10 seed 0 | 100 | 80 | 2 | 1 |"),
    ("results/apart", "| model, esc10 seed 1 | 70 | 80 | 1 | 0 |"),
    ("results/claims", "| centroid, rolloff, zero crossings | 1 of 1 | 1 of 1; 0 of 1 | found in 1 of 2 trainings |"),
    ("results/claims", "| loudness and its spread | root mean square | 0 of 1 | 0 of 1 | not found here |"),
    ("results/ks", "| Spectral centroid | 0.63 | 0.31 | 0.31 | 0.31 | 0.3 | 0.04 |"),
    ("results/near", "| model | 3.00 (2.50 to 3.50) | 0.50 | 0.25 |"),
    ("results/variety", "| ceiling: codec | 0.30 (0.25 to 0.35) | – |"),
    ("results/variety", "| model, esc10 seed 0 | 0.40 | – |"),
    ("results/classes", "| rain | – | – | 0 of 8 | **3.00** |"),
    ("results/classes", "| sea waves | – | – | – | 1.00 |"),
    ("results/followed", "| real | 80 | 10.0% | 0.11 | 0.16 | 0 |"),
    ("results/followed", "| model | 200 | 25.0% (goal: at most 12.0%) | 0.56 (goal: at most 0.43) | 1.60 | 17 |"),
    ("numbers/goals", "| esc10 seed 0 | sea waves | **-4.0** | +20% | **-50%** | zcr 0.70 |"),
    ("numbers/failures", "| esc10 seed 0 | Zero-crossing rate | 0.47 | -0.25 | 0.48, told apart |"),
    ("numbers/distances", "| esc10 | cnn | model | 80 | 3.00 (2.50 to 3.50) | 0.4 | 30 | 27 | 24 | 0.50 | 0.25 |"),
    ("numbers/truth", "| esc10 | cnn (reports) | 100% (20% to 90%) | – |"),
    ("numbers/training", "| esc10 | cnn | generated | 5 generated | 10 | 16 | 38% (20% to 60%) |"),
    ("numbers/memorisation", "| training clips themselves | cnn | 10 | 0.80 | 0.85 | 0.55 | 4 (0.6) | 3 | 0.5 |"),
    ("numbers/copies", "| real | 80 | 10.0% | 20.0% | 1 | 2 | 0.11 | 0.16 | 0.90 | 0 |"),
    ("numbers/copies", "| model | 200 | 25.0% (goal: at most 12.0%) | 50.0% | 4 | 10.5 (goal: at most 8) | 0.56 "),
    ("numbers/copied", "| esc10 | a.wav | 50% | x.ogg+3 | 12 | x.ogg | 0.50 | y.ogg |"),
    ("numbers/seeds", "| esc10 | generated clips heard as asked | cnn | 25% | 38% |"),
    ("numbers/seeds", "| esc10 | KAD | cnn | 0.25 | 0.38 |"),
    ("numbers/counting", "| 1 | 71% | 30 | 3.50 | 4.50 | 5.50 |"),
    ("numbers/losses", "| 0 | 6.00 | 6.00 | 6.25 | -0.25 |"),
])  # fmt: skip
def test_tables_hold_a_row_for_everything(parts, part, row):
    assert row in parts[part]


def test_tables_of_the_page_of_results_are_at_most_eight_columns_wide_and_link_to_their_csv(parts):
    for name, text in parts.items():
        heads = re.findall(r"^\| .*\|\n(?=\| :--)", text, re.M)
        assert not name.startswith("results/") or max(head.count(" | ") + 1 for head in heads) <= 8, name
        file = PARTS[name][0] if name in PARTS else ""
        assert not file or re.search(rf'href="_static/generated/tables-esc10/\w+-{file}.csv" download', text), name


def test_origins_stand_in_a_table(parts):
    assert "[esc10](executed/published_esc10.md) | ten classes of made-up sound" in parts["numbers/runs"]
    assert "| 2 epochs in 2 minutes |" in parts["numbers/runs"]
    assert "### other" not in "".join(parts.values())


def test_a_figure_is_shown_once_and_where_there_is_one(parts):
    assert parts["numbers/failures"].count("{figure}") == 1 and "{figure}" in parts["numbers/distances"]
    assert "{figure}" not in parts["numbers/truth"]


def test_rules_are_shown_with_what_caught_them(parts):
    assert "1 of 1 mistakes are caught" in parts["rules"]
    assert "- **Decoding: one seed.** With `a b` made `c` in `drawing.py`, `test_it` fails." in parts["rules"]
    assert "**does not fail**" in rules_list(pd.DataFrame([RULE | {"fails_mutated": False}]))[2]


# Pages of published runs


def test_published_results_stand_beside_the_readers_run(root):
    folder = root / "data" / "published" / "esc10"
    write_results(folder, "esc10", dataset="esc50")
    tone(folder / "clips" / "rain_0.wav", 700)
    (folder / "figures").mkdir()
    (folder / "figures" / "boxplots.png").write_bytes(b"png")
    stage_published(staging(root, make_run(root)))
    page = root / "book" / "executed" / "published_esc10.md"
    text = page.read_text(encoding="utf-8")
    for fact in ("ten classes of made-up sound", "abc123", "CPU test, 1 threads", ":Seed: 5", "1.5 min"):
        assert fact in text
    assert "| Spectral centroid (Hz) | 1.5 ± 0.5 | 1.4 ± 0.4 | 1.25 ± 0.25 | -17% | 3.5 → 2.5 | 1.5 → 1.25 |" in text
    assert "yours: real" in text
    assert "| other real against real |" in text and "0.31" in text
    assert players(page)[0].is_file() and "{figure} ../_static/generated/published-esc10/" in text


def test_a_run_on_other_recordings_is_not_shown_beside_a_published_one(root):
    folder = root / "data" / "published" / "esc10"
    write_results(folder, "esc10", dataset="esc50")
    run = make_run(root)
    record = read_json(run / "provenance.json")
    record["steps"]["04_metrics"]["facts"]["data_cut"] = "other sounds"
    write_json(run / "provenance.json", record)
    stage_published(staging(root, run))
    assert "yours" not in (root / "book" / "executed" / "published_esc10.md").read_text(encoding="utf-8")


def test_what_was_not_measured_is_a_dash_or_said(root):
    folder = root / "data" / "published" / "esc10"
    write_results(folder, "esc10")
    (folder / "ks.csv").unlink()
    table = read_csv(folder / "table_metrics.csv").drop(columns=["codec_sd", "difference_percent", "published_real"])
    write_csv(folder / "table_metrics.csv", table.assign(codec_mean=float("nan")))
    write_csv(folder.parent / "published_study.csv", pd.DataFrame([
        {"item": "zcr", "side": "real", "value": 0.5, "sd": 0.25, "unit": "1", "source": "paper", "note": "a|b"}
    ]))  # fmt: skip
    stage_published(staging(root))
    text = (root / "book" / "executed" / "published_esc10.md").read_text(encoding="utf-8")
    assert "| Zero-crossing rate | 1.5 ± 0.5 | – | 1.25 ± 0.25 | – | 2.5 |" in text and "*not measured*" in text
    assert "| zcr, real | 0.5 ± 0.25 | paper | a\\|b |" in (root / "book" / "executed" / "study_table.txt").read_text()
