"""The book's staging: pages made from a run's files, links that work, and nothing copied from elsewhere."""

import json
import os
import shutil
import sys
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from fakes.linked_players import players
from fakes.runs import make_run, tone, write_results

from envsound.base.errors import InputError
from envsound.base.files import write_csv
from envsound.base.text import number, slug
from envsound.book.build import build
from envsound.book.drawings import FIXED, MASKED, NEW, decoding_states, decoding_svg, write_drawings
from envsound.book.notebooks import NotebookStager, is_imports
from envsound.book.published import markdown_table
from envsound.report.assets import Assets
from envsound.report.facts import Facts, book_facts, card_table, facts, published_facts, run_origin
from envsound.systems.soundstorm.masking import n_masked_after

REPOSITORY = Path(__file__).parents[2]


def test_without_runs_every_page_of_the_toc_exists(root):
    pages = build.stage([])
    for name in (
        "sounds.md",
        "codec_clips.md",
        "runs.md",
        "published_nothing.md",
        "runs/none/nothing_yet.md",
        "study_table.txt",
    ):
        assert (pages / name).is_file()
    assert "Nothing has been run yet" in (pages / "runs.md").read_text()


def test_notebooks_are_staged_with_working_links(root):
    run = make_run(root)
    staged = build.stage([run]) / "runs" / "demo-fold1_seed0" / "01_encode_clips.ipynb"
    notebook = nbformat.read(staged, as_version=4)
    text = notebook.cells[0].source
    assert text.startswith("# Step 1\n\n*Run: demo, fold 1, seed 0 (synthetic stand-in recordings).*")
    assert "[the next](02_train_model.ipynb)" in text
    assert "README" in text and "](../README.md)" not in text
    assert "hide-input" in notebook.cells[1].metadata["tags"]
    html = notebook.cells[2].outputs[0]["data"]["text/html"]
    assert "not here: passwd.wav" in html and "etc" not in html
    (linked,) = players(staged)
    assert linked.read_bytes() == (run / "samples" / "000.wav").read_bytes()


def test_sounds_stand_beside_real_ones_of_their_class(root):
    page = build.stage([make_run(root)]) / "sounds.md"
    text = page.read_text(encoding="utf-8")
    assert text.index("### dog") < text.index("000 ·") < text.index("real-0.wav") < text.index("### rain")
    assert "synthetic" in text and "linked from the data folder" in text
    assert len(players(page)) == 4 and all(path.is_file() for path in players(page))


def test_an_unconditional_run_gets_one_table(root):
    text = (build.stage([make_run(root, categories=())]) / "sounds.md").read_text(encoding="utf-8")
    assert text.count('<table class="sounds">') == 1
    assert "###" not in text and "2 of 2 clips" in text and "real-1.wav" in text


def test_recordings_that_are_not_here_are_said_to_be_missing(root):
    run = make_run(root)
    shutil.rmtree(root / "data" / "raw")
    page = build.stage([run]) / "sounds.md"
    assert "not on the machine that built this book" in page.read_text(encoding="utf-8")
    assert len(players(page)) == 2  # the generated ones


@pytest.mark.parametrize("name", ["../../secret.wav", "/etc/hostname"])
def test_a_sample_name_that_leaves_the_run_is_refused(root, name):
    run = make_run(root)
    samples = pd.read_csv(run / "samples.csv")
    samples["filename"] = name
    write_csv(run / "samples.csv", samples)
    with pytest.raises(InputError, match="leads outside"):
        build.stage([run])


def test_only_sounds_and_pictures_inside_allowed_folders_are_copied(root, tmp_path_factory):
    outside = tone(tmp_path_factory.mktemp("outside") / "a.wav", 400)
    inside = tone(root / "data" / "a.wav", 400)
    (root / "data" / "keys.txt").write_text("secret")
    assets = Assets(root / "book", [root / "data"])
    assert assets.add(outside, "x") is None
    assert assets.add(root / "data" / ".." / ".." / outside.parent.name / "a.wav", "x") is None
    assert assets.add(root / "data" / "keys.txt", "x") is None
    assert assets.add(inside, "../../up").is_relative_to(root / "book" / "_static" / "audio")


def test_two_files_of_one_name_stay_apart(root):
    first, second = tone(root / "data" / "a" / "x.wav", 300), tone(root / "data" / "b" / "x.wav", 900)
    assets = Assets(root / "book", [root / "data"])
    assert assets.add(first, "g").read_bytes() != assets.add(second, "g").read_bytes()


def test_a_picture_in_markdown_is_copied_and_a_missing_one_becomes_words(root):
    (root / "data").mkdir()
    (root / "data" / "p.png").write_bytes(b"png")
    stager = NotebookStager(Assets(root / "book", [root / "data"]), "demo", [root])
    page = root / "book" / "executed" / "x.ipynb"
    link = stager.markdown("![curve](data/p.png)", page).split("(")[1].rstrip(")")
    assert Path(os.path.normpath(page.parent / link)).read_bytes() == b"png"
    assert stager.markdown("![curve](data/q.png) [web](https://example.org)", page) == (
        "*curve* [web](https://example.org)"
    )


def test_missing_runs_and_broken_notebooks_are_one_clear_error(root):
    with pytest.raises(InputError, match="no such run"):
        build.stage([root / "data" / "runs" / "nope"])
    run = make_run(root)
    (run / "notebooks" / "01_encode_clips.ipynb").write_text("{")
    with pytest.raises(InputError, match=r"01_encode_clips.ipynb: not a Jupyter notebook"):
        build.stage([run])


def test_published_results_stand_beside_the_readers_run(root):
    folder = root / "data" / "published" / "esc10"
    write_results(folder, "esc10", dataset="esc50")
    tone(folder / "clips" / "rain_0.wav", 700)
    (folder / "figures").mkdir()
    (folder / "figures" / "boxplots.png").write_bytes(b"png")
    page = build.stage([make_run(root)]) / "published_esc10.md"
    text = page.read_text(encoding="utf-8")
    for fact in ("ten classes of made-up sound", "abc123", "CPU test, 1 threads", ":Seed: 5", "1.5 min"):
        assert fact in text
    assert "| Spectral centroid (Hz) | 1.5 ± 0.5 | 1.4 ± 0.4 | 1.25 ± 0.25 | -17% | 3.5 → 2.5 | 1.5 → 1.25 |" in text
    assert "yours: real" in text and "Your run used synthetic stand-ins" in text
    assert "| other real against real |" in text and "0.31" in text
    assert players(page)[0].is_file() and "{figure} ../_static/generated/published-esc10/" in text


def test_staging_again_forgets_earlier_runs(root):
    build.stage([make_run(root)])
    pages = build.stage([])
    assert not (pages / "runs" / "demo-fold1_seed0").exists()
    assert not (root / "book" / "_static" / "audio").exists()


def test_a_failed_build_shows_the_end_of_its_log(root, monkeypatch):
    failing = (sys.executable, "-c", "print('WARNING: something is off'); raise SystemExit(3)")
    monkeypatch.setattr(build, "JUPYTER_BOOK", failing)
    with pytest.raises(build.BuildError, match="something is off"):
        build.build("book")
    assert "something is off" in (root / "book" / "_build" / "build.log").read_text()


def test_the_command_line_reports_a_missing_run_in_one_line(root, capsys):
    assert build.main(["--runs", "data/runs/nope", "--stage-only"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: data/runs/nope: no such run") and error.count("\n") == 1


def test_numbers_are_written_for_reading():
    assert [number(value) for value in (24_000, 1024, 3089.7409, 0.0673, float("nan"), 123_456.7, 1e-6)] == [
        "24,000", "1024", "3090", "0.0673", "–", "123,457", "1.00e-06",
    ]  # fmt: skip


def test_facts_nobody_measured_say_so_at_any_depth():
    tree = facts({"a": {"b": 0.5}, "none": None, "list": [12, 1]})
    assert (str(tree["a"]["b"]), str(tree["x"]["y"]["z"]), tree["none"], tree["list"]) == (
        "0.5", "not measured", "not measured", "12, 1",
    )  # fmt: skip
    assert "| held out: opus | 0.9 |" in card_table(facts({"held out": {"opus": 0.9}}))
    assert card_table(Facts()) == "*not measured*"


def test_published_facts_prefer_the_result_files(root):
    write_csv(root / "p.csv", pd.DataFrame([
        {"item": "zcr", "side": "real", "value": 0.0673, "sd": 0.0746, "source": "public result file"},
        {"item": "zcr", "side": "real", "value": 0.067, "sd": 0.075, "source": "paper table 2"},
    ]).assign(unit="1", note=""))  # fmt: skip
    assert published_facts(root / "p.csv")["zcr"]["real"]["value"] == "0.0673"


def test_facts_of_an_empty_repository_are_all_unmeasured(root):
    found = book_facts(root)
    assert str(found["codec"]["n_parameters"]) == "not measured"
    assert str(found["results"]["esc10"]["run"]["commit"]) == "not measured"
    assert found["steps"]["n03"] == "not run yet"


def test_a_provenance_file_of_another_shape_is_named(root):
    (root / "provenance.json").write_text(json.dumps(["?"]))
    with pytest.raises(InputError, match=r"provenance.json: no steps"):
        run_origin(root)


def test_table_cells_with_bars_stay_one_cell():
    assert markdown_table(["a", "b"], [["x|y", "1"]])[-1] == "| x\\|y | 1 |"


@pytest.mark.parametrize(("source", "expected"), [
    ("import os\n\nfrom envsound.base.paths import go_to_root\ngo_to_root()", True),
    ("import os\nos.remove('x')", False),
    ("# nothing\n", False),
])  # fmt: skip
def test_imports_cells_are_recognised(source, expected):
    assert is_imports(source) is expected


def test_file_names_are_made_safe():
    assert slug("../../a b/ü.wav") == "a-b-.wav" and slug("///") == "unnamed"


def test_the_drawn_decoding_follows_the_schedule():
    states = decoding_states([12, 1, 2], n_frames=40)
    assert states.shape == (16, 3, 40) and (states[0] == MASKED).all() and (states[-1] != MASKED).all()
    for step in range(13):
        assert (states[step, 0] == MASKED).sum() == n_masked_after(step, 12, 40)
    assert (states[13, 1] == NEW).all() and (states[13, 0] == FIXED).all() and (states[13, 2] == MASKED).all()
    masked = (states == MASKED).sum((1, 2))
    assert (np.diff(masked) <= 0).all()  # a code once fixed stays fixed


def test_the_drawings_are_small_and_follow_the_theme(root):
    paths = write_drawings(root / "drawings")
    for path in paths:
        text = path.read_text(encoding="utf-8")
        assert text.startswith("<svg") and "<title>" in text and "var(--es-ink" in text
        assert "#010203" not in text and len(text) < 60_000
    assert decoding_svg([2, 1], n_frames=8).count("<g transform") == 4


def test_every_page_of_the_toc_is_in_the_repository_or_staged():
    toc = (REPOSITORY / "book" / "_toc.yml").read_text()
    names = [line.split(": ")[1] for line in toc.splitlines() if "file: " in line or "root: " in line]
    assert len(names) >= 10
    for name in names:
        assert name.startswith("executed/") or (REPOSITORY / "book" / f"{name}.md").is_file()
