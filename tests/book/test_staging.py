"""The book as a whole: staged with and without runs and studies, and what its pages may name."""

import re
import runpy
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
import yaml
from fakes.runs import make_run, players, write_results
from sphinx.errors import ExtensionError

from envsound import book, studies
from envsound.base.errors import InputError
from envsound.book import __main__ as command
from envsound.book import staging
from envsound.book.notebooks import NotebookStager, is_imports
from envsound.report.assets import Assets
from envsound.systems.soundstorm.masking import n_masked_after

REPOSITORY = Path(__file__).parents[2]
PAGES = sorted((REPOSITORY / "book").glob("*.md"))
ALL_PAGES = [*PAGES, *sorted((REPOSITORY / "book" / "studies").glob("*.md"))]


@pytest.fixture
def no_studies(monkeypatch):
    """A book without studies, whose own pages are tested beside them."""
    monkeypatch.setattr(studies, "study_names", list)


@pytest.fixture(scope="module")
def copied(tmp_path_factory):
    """A copy of what the book is made of, with one published run that was made up."""
    root = tmp_path_factory.mktemp("copy")
    shutil.copytree(REPOSITORY / "book", root / "book", ignore=shutil.ignore_patterns("_build", "executed", "audio"))
    write_results(root / "data" / "published" / "esc10", "esc10", "esc50")
    cards = ("codec/patches.json", "codec/patches.md", "generator/generator.md", "classifier/README.md")
    for name in (*cards, "published/published_study.csv"):
        name = f"data/{name}"
        (root / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(REPOSITORY / name, root / name)
    shutil.copytree(REPOSITORY / "notebooks", root / "notebooks")
    return root


@pytest.mark.parametrize("removed", ["", *studies.study_names()])
def test_a_study_can_be_removed_and_no_page_misses_it(removed, copied, monkeypatch):
    left = [name for name in studies.study_names() if name != removed]
    monkeypatch.setattr(studies, "study_names", lambda: left)
    monkeypatch.chdir(copied)
    book.stage([])
    known = set(book.substitutions(copied))
    pages = [page for name in left for page in (copied / "book" / "studies").glob(f"{name}*.md")]
    for page in [*(copied / "book").glob("*.md"), *pages]:
        text = page.read_text(encoding="utf-8")
        included = re.findall(r"{include} (\S+)", text)
        assert [name for name in included if not (page.parent / name).is_file()] == [], page.name
        assert set(re.findall(r"{{ *(\w+)", text)) <= known, page.name


def test_pages_link_to_studies_by_the_role_alone():
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        targets = re.findall(r"{study}`[^`<]+<(\w+)(?:#[\w-]+)?>`", text)
        assert text.count("{study}") == len(targets), page.name  # a study may be gone: its link is plain words then
        assert not re.search(r"\]\([^)]*studies/|include} [^\n]*studies/", text), page.name
    contents = (REPOSITORY / "book" / "_toc.yml").read_text(encoding="utf-8")
    named = [line for line in contents.splitlines() if "studies/" in line]
    assert named and all("- glob: " in line for line in named)  # a glob may find nothing
    for path in (REPOSITORY / "book" / "_ext").glob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert not [name for name in studies.study_names() if f"studies/{name}" in text or f"studies.{name}" in text]


def test_every_page_of_the_contents_is_there_and_every_page_is_in_the_contents():
    contents = (REPOSITORY / "book" / "_toc.yml").read_text(encoding="utf-8")
    assert set(re.findall(r"(?:root|file): (\w+)$", contents, re.M)) == {page.stem for page in PAGES}


def test_sources_that_are_cited_are_in_the_bibliography():
    cited = {key for page in ALL_PAGES for keys in re.findall(r"{cite(?::t)?}`([^`]+)`", page.read_text("utf-8"))
             for key in keys.split(",")}  # fmt: skip
    keys = re.findall(r"^@\w+{([^,]+),$", (REPOSITORY / "book" / "references.bib").read_text("utf-8"), re.M)
    assert cited <= set(keys) and len(keys) == len(set(keys))


def test_a_link_to_a_study_is_relative_to_its_page_and_plain_words_without_one(tmp_path):
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "one.md").touch()
    role = runpy.run_path(str(REPOSITORY / "book" / "_ext" / "results.py"))["StudyRole"]()
    builder = SimpleNamespace(get_relative_uri=lambda page, to: f"{'../' * page.count('/')}{to}.html")
    environment = SimpleNamespace(srcdir=tmp_path, docname="executed/runs", app=SimpleNamespace(builder=builder))
    settings = SimpleNamespace(env=environment)
    inliner = SimpleNamespace(document=SimpleNamespace(settings=settings))
    (link,), _ = role("study", "", "words <one#there>", 1, inliner)
    assert (link["refuri"], link.astext()) == ("../studies/one.html#there", "words")
    (plain,), _ = role("study", "", "words <other>", 1, inliner)
    assert plain.astext() == "words" and "refuri" not in plain


def test_the_book_is_staged_without_torch(copied):
    code = "import sys; from envsound import book; book.stage([]); assert 'torch' not in sys.modules"
    result = subprocess.run([sys.executable, "-c", code], cwd=copied, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


# Notebooks of the reader's runs


def test_without_runs_the_pages_say_so(root, no_studies):
    pages = book.stage([])
    assert "Nothing has been run yet" in (pages / "runs.txt").read_text()
    assert "Nothing to hear yet" in (pages / "sounds.txt").read_text()
    assert all("ot run here" in (pages / name).read_text() for name in ("listen.txt", "decoding.txt", "home/strip.txt"))
    assert "not measured" in (pages / "home" / "figure.txt").read_text()
    assert "Not run here" in (pages / "nearest_pairs.txt").read_text()
    assert (pages / "published_nothing.md").is_file() and not list((pages / "runs").glob("*"))


def test_notebooks_are_staged_with_working_links(root, no_studies):
    run = make_run(root)
    pages = book.stage([run])
    staged = pages / "runs" / "demo-fold1_seed0" / "01_encode_clips.ipynb"
    assert "[Step 1](executed/runs/demo-fold1_seed0/01_encode_clips.ipynb)" in (pages / "runs.txt").read_text()
    notebook = nbformat.read(staged, as_version=4)
    text = notebook.cells[0].source
    assert text.startswith("# Step 1\n\n*Run: demo, fold 1, seed 0.*")
    assert "[the next](02_train_model.ipynb)" in text
    assert "README" in text and "](../README.md)" not in text
    assert "hide-input" in notebook.cells[1].metadata["tags"]
    html = notebook.cells[2].outputs[0]["data"]["text/html"]
    assert "not here: passwd.wav" in html and "etc" not in html
    (linked,) = players(staged)
    assert linked.read_bytes() == (run / "samples" / "000.wav").read_bytes()
    assert not (book.stage([]) / "runs" / "demo-fold1_seed0").exists()
    assert not (root / "book" / "_static" / "audio").exists()


@pytest.mark.parametrize("above", ["**An error occurred.**", None])
def test_a_notebook_that_failed_or_has_no_title_gets_one(root, no_studies, above):
    path = make_run(root) / "notebooks" / "01_encode_clips.ipynb"
    cells = nbformat.read(path, as_version=4).cells
    new = [nbformat.v4.new_markdown_cell(above), *cells] if above else cells[1:]
    nbformat.write(nbformat.v4.new_notebook(cells=new), path)
    text = (book.stage([path.parents[1]]) / "runs.txt").read_text()
    assert f"- [{'Step 1' if above else '01_encode_clips'}](" in text


def test_a_picture_in_markdown_is_copied_and_a_missing_one_becomes_words(root):
    (root / "data").mkdir()
    (root / "data" / "p.png").write_bytes(b"png")
    stager = NotebookStager(Assets(root / "book", [root / "data"]), "demo", [root])
    page = root / "book" / "executed" / "x.ipynb"
    link = stager.markdown("![curve](data/p.png)", page).split("(")[1].rstrip(")")
    assert (page.parent / link).resolve().read_bytes() == b"png"
    assert stager.markdown("![curve](data/q.png) [web](https://example.org)", page) == (
        "*curve* [web](https://example.org)"
    )


def test_a_picture_of_a_notebook_is_described_by_its_caption_or_its_heading(root):
    new = nbformat.v4
    shown = [new.new_output("display_data", data={"image/png": "aGk="})]
    cells = [new.new_markdown_cell("# Figures\n\n## Curves"), new.new_code_cell("one()", outputs=shown)]
    cells += [new.new_markdown_cell("*Loss over\nepochs.* More."), new.new_code_cell("two()", outputs=shown)]
    found = NotebookStager(Assets(root / "book", []), "demo", [root]).rewrite(
        new.new_notebook(cells=cells), root / "book" / "x.ipynb"
    )
    alts = [cell.metadata["mystnb"]["image"]["alt"] for cell in found.cells if cell.cell_type == "code"]
    assert alts == ["Loss over epochs.", "Figure: Curves"]


def test_imports_cells_are_recognised():
    assert is_imports("import os\n\nfrom envsound.base.paths import go_to_root\ngo_to_root()")
    assert not is_imports("import os\nos.remove('x')") and not is_imports("# nothing\n")


def test_notebooks_beside_the_pipeline_are_listed_by_their_titles(copied):
    lines = staging._beside_the_pipeline(copied / "notebooks")
    assert len(lines) == len(list((REPOSITORY / "notebooks").glob("*/*.ipynb"))) and lines == sorted(lines)


# Errors


def test_missing_runs_and_broken_notebooks_are_one_clear_error(root, no_studies):
    with pytest.raises(InputError, match="no such run"):
        book.stage([root / "data" / "runs" / "nope"])
    run = make_run(root)
    (run / "notebooks" / "01_encode_clips.ipynb").write_text("{")
    with pytest.raises(InputError, match=r"01_encode_clips.ipynb: not a Jupyter notebook"):
        book.stage([run])


def test_a_failed_build_shows_the_end_of_its_log(root, monkeypatch):
    failing = (sys.executable, "-c", "print('WARNING: something is off'); raise SystemExit(3)")
    monkeypatch.setattr(staging, "JUPYTER_BOOK", failing)
    with pytest.raises(book.BuildError, match="something is off"):
        book.build("book")
    assert "something is off" in (root / "book" / "_build" / "build.log").read_text()


def test_the_command_line_reports_a_missing_run_in_one_line(root, no_studies, capsys):
    assert command.main(["--runs", "data/runs/nope", "--stage-only"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: data/runs/nope: no such run") and error.count("\n") == 1
    assert command.main(["--stage-only"]) == 0 and "executed" in capsys.readouterr().out


# Addresses and formulas


def test_old_addresses_lead_on_and_one_that_leads_nowhere_is_an_error(tmp_path):
    write = runpy.run_path(str(REPOSITORY / "book" / "_ext" / "redirects.py"))["write"]
    (tmp_path / "new.html").touch()
    (tmp_path / "studies").mkdir()
    config = SimpleNamespace(redirects={"old": "new#there", "studies/older": "new"})
    app = SimpleNamespace(outdir=tmp_path, config=config, builder=SimpleNamespace(format="html"))
    write(app, None)
    assert 'url=new.html#there"' in (tmp_path / "old.html").read_text()
    assert 'href="../new.html"' in (tmp_path / "studies" / "older.html").read_text()
    config.redirects = {"old": "gone"}
    with pytest.raises(ExtensionError, match="old leads to gone"):
        write(app, None)
    kept = yaml.safe_load((REPOSITORY / "_config.yml").read_text())["sphinx"]["config"]["redirects"]
    assert {"how_to_run", "judges", "evaluation", "methods"} <= set(kept)
    assert {new.partition("#")[0] for new in kept.values()} <= {page.stem for page in PAGES}


@pytest.mark.parametrize("block", [True, False])
def test_a_subscript_stands_beside_an_accented_letter_and_below_a_sum(block):
    to_mathml = runpy.run_path(str(REPOSITORY / "book" / "_ext" / "mathml.py"))["to_mathml"]
    text = to_mathml(r"\hat{z}_t = \sum_{q=0}^{Q} c_q", block)
    assert re.search(r"<msub>\s*<mover[^>]*>\s*<mi>z</mi>\s*<mo[^>]*>ˆ</mo>\s*</mover>\s*<mi>t</mi>", text)
    assert "<munderover>" in text  # of the sum


# Drawings


def test_the_drawn_schedule_is_the_one_that_decodes():
    text = (REPOSITORY / "book" / "_static" / "schedule.svg").read_text()
    drawn = [int(value) for value in re.findall(r"r=\"3\"><title>(\d+)", text)]
    assert drawn == [n_masked_after(step, 12, 375) for step in range(13)]
    fixed = [int(value) for value in re.findall(r"<rect[^>]*><title>(\d+)", text)]
    assert fixed == [before - after for before, after in pairwise(drawn)]


def test_the_drawn_decoding_fixes_as_many_codes_a_pass_as_the_schedule():
    text = (REPOSITORY / "book" / "_static" / "decoding.svg").read_text()
    cells = [round(sum(map(float, re.findall(r"z?M[\d.]+ [\d.]+h([\d.]+)v", path))) / 4.6)
             for path in re.findall(r'<path d="([^"]*)" fill="var\(--es-masked', text)]  # fmt: skip
    passes = [(level, step, n) for level, n in enumerate([12, 1, 1, 1, 1, 1, 1, 1]) for step in range(1, n + 1)]
    assert cells == [8 * 48, *[n_masked_after(step, n, 48) + (7 - level) * 48 for level, step, n in passes]]
