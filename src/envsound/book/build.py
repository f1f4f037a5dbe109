"""The book: stages executed notebooks, results and sounds as pages, and has jupyter-book render them.

Command line: `python -m envsound.book.build --runs data/runs/demo/fold1_seed0`.
"""

import argparse
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from envsound.base.errors import InputError
from envsound.base.files import write_text
from envsound.base.paths import go_to_root
from envsound.book.drawings import write_drawings
from envsound.book.engine import RULES, stage_rules, stage_runs
from envsound.book.evaluation import EvaluationChapter
from envsound.book.nearest import NearestPairsPage
from envsound.book.notebooks import NotebookStager, read_notebook
from envsound.book.published import PublishedPage, nothing_published, pick_own, study_table
from envsound.report.assets import Assets
from envsound.report.fragments import Staging
from envsound.report.runs import Run, SoundPage
from envsound.run.publish import kind_of
from envsound.studies.audit.page import AUDIT_REPORT, stage_audit
from envsound.studies.codec_report.page import CODEC_REPORT, CODEC_REPORTS, CodecClipsPage, stage_figures
from envsound.studies.listening.listening_page import stage_listening
from envsound.studies.recognition.page import RECOGNITION_REPORTS, stage_recognition
from envsound.studies.speed import page as speed_page
from envsound.studies.transfer.book_gap import GAP_REPORT, stage_gap
from envsound.studies.transfer.page import TRANSFER_REPORT, stage_transfer

PUBLISHED = Path("data") / "published"
RUNS = Path("data") / "runs"
TAIL = 40  # lines of the build's log shown when it fails
JUPYTER_BOOK = (sys.executable, "-c", "from jupyter_book.cli.main import main; main()", "build")


class BuildError(RuntimeError):
    """The book could not be rendered; the message ends with the last lines of the log."""


def stage(run_dirs: Sequence[str | Path], book_dir: str | Path = "book") -> Path:
    """Write every generated page, picture and sound of the book, and return the folder of the pages.

    Replaces `executed/`, `_static/audio/` and `_static/generated/` in `book_dir`. Works in the current
    folder, which must be the repository root. `run_dirs` are finished or half-finished runs; with none, the
    pages say so. Raises InputError for a run that is not there or a notebook that cannot be read.
    """
    book_dir, root = Path(book_dir), Path.cwd()
    runs = [Run(run_dir) for run_dir in run_dirs]
    data_dirs = [run.origin["data_dir"] for run in runs if run.origin.get("data_dir")]
    allowed = [root / "data", root / "notebooks", book_dir, *[run.folder for run in runs], *data_dirs]
    assets, pages = Assets(book_dir, allowed), book_dir / "executed"
    assets.clear()
    shutil.rmtree(pages, ignore_errors=True)
    write_drawings(book_dir / "_static" / "generated")
    _stage_notebooks(runs, assets, pages)
    _stage_published(runs, assets, pages)
    write_text(pages / "sounds.md", SoundPage(assets, pages / "sounds.md").write(runs))
    stage_figures(PUBLISHED / CODEC_REPORT, assets, book_dir)
    speed_page.stage(Staging(PUBLISHED, book_dir, assets, runs))
    stage_gap(PUBLISHED / GAP_REPORT, assets, book_dir)
    stage_transfer(PUBLISHED / TRANSFER_REPORT, assets, book_dir)
    stage_audit(PUBLISHED / AUDIT_REPORT, assets, book_dir)
    stage_recognition(PUBLISHED / RECOGNITION_REPORTS, assets, book_dir)
    stage_rules(PUBLISHED / RULES, book_dir)
    stage_runs(PUBLISHED, assets, book_dir)
    EvaluationChapter(PUBLISHED, assets, book_dir).stage()
    nearest = pages / "nearest_pairs.md"
    write_text(nearest, NearestPairsPage(assets, nearest).write(runs))
    clips = pages / "codec_clips.md"
    write_text(clips, CodecClipsPage(assets, clips).write(RUNS / CODEC_REPORT, run_dirs))
    stage_listening(PUBLISHED, RUNS / CODEC_REPORT, runs, assets, book_dir)
    return pages


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


def _stage_notebooks(runs: list[Run], assets: Assets, pages: Path) -> None:
    lines = ["# Your runs", "", RUNS_INTRODUCTION, ""]
    for run in runs:
        notebooks = sorted((run.folder / "notebooks").glob("*.ipynb"))
        bases = [Path.cwd(), run.folder / "notebooks", Path.cwd() / "notebooks", run.folder]
        caption = f"*Run: {run.title} ({run.recordings}).*"
        suffix = f" ({run.title})" if len(runs) > 1 else ""
        stager = NotebookStager(assets, run.label, bases)
        staged = stager.stage(notebooks, pages / "runs" / run.label, caption, suffix)
        lines += [
            f"## {run.title}",
            "",
            *[f"- [{_title(path)}](runs/{run.label}/{path.name})" for path in staged],
        ]
        lines += ["" if staged else "No notebook of this run has been executed yet.", ""]
    if not any(pages.glob("runs/*/*.ipynb")):
        lines += [NO_RUN, ""]
        write_text(pages / "runs" / "none" / "nothing_yet.md", f"# No executed notebook yet\n\n{NO_RUN}\n")
    write_text(pages / "runs.md", "\n".join(lines) + "\n")


def _stage_published(runs: list[Run], assets: Assets, pages: Path) -> None:
    reports = (*CODEC_REPORTS, GAP_REPORT, TRANSFER_REPORT, AUDIT_REPORT, RECOGNITION_REPORTS)
    speed_folders = (folder for folder in PUBLISHED.glob("*/") if kind_of(folder, speed_page.REPORTS))
    others = {*(PUBLISHED / name for name in reports), *speed_folders}
    folders = sorted(path for path in PUBLISHED.glob("*") if path.is_dir() and path not in others)
    for folder in folders:
        page = pages / f"published_{folder.name}.md"
        write_text(page, PublishedPage(folder, assets, page, pick_own(runs, folder.name)).write())
    if not folders:
        write_text(pages / "published_nothing.md", nothing_published())
    study = PUBLISHED / "published_study.csv"
    table = study_table(study) if study.is_file() else "*The table of published figures is not in this copy.*\n"
    write_text(pages / "study_table.txt", table)


def _title(path: Path) -> str:
    cells = read_notebook(path).cells
    return cells[0].source.lstrip("# ").splitlines()[0]


def main(arguments: Sequence[str] | None = None) -> int:
    """Stage and build the book; returns the exit status. Errors are one message on standard error."""
    parser = argparse.ArgumentParser(prog="python -m envsound.book.build", description="Build the book.")
    parser.add_argument("--runs", nargs="*", default=[], help="run folders, such as data/runs/demo/fold1_seed0")
    parser.add_argument("--book", default="book", help="the book's source folder")
    parser.add_argument("--stage-only", action="store_true", help="write the pages, render nothing")
    options = parser.parse_args(arguments)
    try:
        go_to_root()
        pages = stage(options.runs, options.book)
        print(pages if options.stage_only else build(options.book))
    except (InputError, BuildError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


RUNS_INTRODUCTION = """These pages are the notebooks exactly as they ran: parameters, outputs and findings.
Each is one step of [the study](../steps.md)."""

NO_RUN = """:::{admonition} Nothing has been run yet
`make study` runs the demo and rebuilds this book with its executed notebooks.
:::"""

if __name__ == "__main__":
    sys.exit(main())
