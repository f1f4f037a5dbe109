"""The book: stages executed notebooks, results and sounds as pages, and has jupyter-book render them."""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from envsound import studies
from envsound.base.files import visible, write_text
from envsound.book.chapters import stage_chapters
from envsound.book.home import home_facts, stage_home, strip_classes
from envsound.book.judges import stage_judges
from envsound.book.listen import stage_listen
from envsound.book.notebooks import NotebookStager, title_of
from envsound.book.published import stage_published
from envsound.book.scale import scale_facts, stage_scale
from envsound.book.sounds import stage_sounds
from envsound.report.assets import Assets
from envsound.report.comparison import comparison_lines
from envsound.report.facts import book_facts
from envsound.report.fragments import Staging, box
from envsound.report.runs import Run

PUBLISHED = Path("data") / "published"
TAIL = 40  # lines of the build's log shown when it fails
JUPYTER_BOOK = (sys.executable, "-c", "from jupyter_book.cli.main import main; main()", "build")
NO_RUN = "`make study` runs the demo and rebuilds this book with its executed notebooks."


class BuildError(RuntimeError):
    """The book could not be rendered; the message ends with the last lines of the log."""


def stage(
    run_dirs: Sequence[str | Path], book_dir: str | Path = "book", beside: Sequence[str | Path] = ()
) -> Path:
    """Write every generated page, picture and sound of the book, and return the folder of the pages.

    Replaces `executed/`, `_static/audio/` and `_static/generated/` in `book_dir`. Works in the current
    folder, which must be the repository root. `run_dirs` are finished or half-finished runs; with none, the
    pages say so. beside: finished runs, such as those of a preset's base, that these are compared with. Raises
    InputError for a run that is not there or a notebook that cannot be read.
    """
    book_dir, root = Path(book_dir), Path.cwd()
    runs, others = ([Run(run_dir) for run_dir in dirs] for dirs in (run_dirs, beside))
    data_dirs = [run.origin["data_dir"] for run in runs if run.origin.get("data_dir")]
    allowed = [root / "data", root / "notebooks", book_dir, *[run.folder for run in (*runs, *others)], *data_dirs]
    book = Staging(PUBLISHED, book_dir, Assets(book_dir, allowed), runs)
    book.assets.clear()
    shutil.rmtree(book_dir / "executed", ignore_errors=True)
    _stage_notebooks(book)
    book.write("compared.txt", comparison_lines(book, [*runs, *others], "runs.md"))
    book.write("beside.txt", _beside_the_pipeline(root / "notebooks"))
    stage_published(book)
    stage_chapters(book)
    stage_judges(book)
    stage_home(book)
    stage_listen(book, strip_classes(book.published))
    stage_sounds(book)
    stage_scale(book)
    for page in studies.modules_named("page").values():
        page.stage(book)
    return book_dir / "executed"


def build(book_dir: str | Path = "book", config: str | Path = "_config.yml") -> Path:
    """Render the staged book with warnings as errors and return `_build/html/index.html`.

    Raises BuildError with the end of the log when jupyter-book fails; the whole log is in `_build/build.log`.
    """
    book_dir = Path(book_dir)
    html = book_dir / "_build" / "html"
    shutil.rmtree(html, ignore_errors=True)  # pages of runs that are no longer part of the book
    command = [*JUPYTER_BOOK, str(book_dir), "--path-output", str(book_dir), "--config", str(config)]
    result = subprocess.run([*command, "-W", "--keep-going"], capture_output=True, text=True)
    log = result.stdout + result.stderr
    write_text(book_dir / "_build" / "build.log", log)
    index = html / "index.html"
    if result.returncode or not index.is_file():
        tail = "\n".join(log.splitlines()[-TAIL:])
        raise BuildError(f"the book could not be built (log: {book_dir}/_build/build.log); it ends with:\n{tail}")
    return index


def substitutions(root: str | Path) -> dict[str, Any]:
    """Return the facts that pages may name: those that belong to no study, and every study's own."""
    found, published = book_facts(root), Path(root) / PUBLISHED
    found |= {"home": home_facts(published), "scale": scale_facts(root)}
    for page in studies.modules_named("page").values():
        found |= page.facts(published)
    return found


def _stage_notebooks(book: Staging) -> None:
    """Write the executed notebooks of the reader's runs as pages, and the list of them that a page includes."""
    lines = []
    for run in book.runs:
        bases = [Path.cwd(), run.folder / "notebooks", Path.cwd() / "notebooks", run.folder]
        caption = f"*Run: {run.title}.*"
        suffix = f" ({run.title})" if len(book.runs) > 1 else ""
        folder = book.book_dir / "executed" / "runs" / run.label
        stager = NotebookStager(book.assets, run.label, bases)
        staged = stager.stage(visible(run.folder / "notebooks", "*.ipynb"), folder, caption, suffix)
        links = [f"- [{title_of(path)}](executed/runs/{run.label}/{path.name})" for path in staged]
        lines += [f"## {run.title}", "", *(links or ["No notebook of this run has been executed yet."]), ""]
    book.write("runs.txt", lines or box("Nothing has been run yet", NO_RUN))


def _beside_the_pipeline(notebooks: Path) -> list[str]:
    """Return a list of the notebooks in folders of their own, which no other step needs, by their titles."""
    paths = sorted(visible(notebooks, "*/*.ipynb"), key=lambda path: path.name)
    return [f"- {title_of(path)}: `{path.relative_to(notebooks.parent).as_posix()}`" for path in paths]
