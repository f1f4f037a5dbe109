"""The page of the listening test: stages the sounds that are on this machine, and says what its test consists of."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from envsound.base.text import markdown_table
from envsound.report.fragments import Staging, field_list
from envsound.run.publish import ReportKind
from envsound.studies.listening.material import (
    FOLDER,
    TASKS,
    Sound,
    clips_to_judge,
    clips_to_match,
    codec_trials,
    example_folders,
    published_trials,
    write_listening,
)

REPORTS: tuple[ReportKind, ...] = ()
PAGE = Path("_static") / "listening" / "index.html"  # in the book's folder


def stage(book: Staging) -> None:
    """Write the listening test of what is on this machine, and what the page includes, executed/listening/contents.txt.

    Sounds, material.mjs and key.json go to _static/generated/listening/ of the book. The versions of the codec task are
    those in data/runs, beside `book.published`, else published ones. Raises InputError for a sound that cannot be read.
    """
    reports = book.published.parent / "runs" / "codec"
    trials = codec_trials(example_folders(reports, book.runs)) or published_trials(book.published, book.assets)
    clips = clips_to_judge(book.published, book.runs, trials, book.assets)
    told = clips_to_match(book.published, book.assets)
    material = write_listening(clips, trials, book.book_dir / FOLDER, told)
    book.write("listening/contents.txt", contents(material, [*clips, *told], [trial[0] for trial in trials]))


def facts(published: Path) -> Mapping[str, Any]:
    """Return nothing: no answer of a listener is published."""
    return {}


def contents(material: Mapping[str, Any], clips: Sequence[Sound], references: Sequence[Sound]) -> list[str]:
    """Return the link to this build's test, its tasks, which sounds they are about, and what is left out, and why."""
    tasks = [[TASKS[task["task"]], str(len(task["trials"]))] for task in material["tasks"]]
    lines = []
    if tasks:
        link = f'<p><a href="../{PAGE.as_posix()}"><strong>Open the listening test</strong></a></p>'
        lines += ["```{raw} html", link, "```", "", *markdown_table(["task", "trials"], tasks), ""]
    lines += field_list({"To be judged": _origins(clips), "References of the codec task": _origins(references)})
    return [*lines, *(f"- *{TASKS[part['task']]}* is left out. {part['why']}" for part in material["left_out"])]


def _origins(sounds: Sequence[Sound]) -> str | None:
    counts = Counter(sound.origin for sound in sounds)
    return ", ".join(f"{n} × {origin}" for origin, n in counts.items()) or None
