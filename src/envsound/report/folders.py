"""The report on anybody's two folders of audio: a notebook run on them, as an HTML file that any browser shows."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

import pandas as pd

from envsound.base.errors import InputError, exit_code
from envsound.base.files import write_text
from envsound.base.paths import find_root
from envsound.report.players import player

NAME, HELP = "evaluate", "compare two folders of sound and write a report on them"
EXAMPLE = "envsound evaluate made/ recorded/ --seconds 5"
NOTEBOOK = Path("notebooks") / "evaluation" / "evaluate_folders.ipynb"
REPORT = "report.html"


def add_arguments(parser: ArgumentParser) -> None:
    """Declare what `envsound evaluate` takes: two folders, and what is done to their files."""
    parser.add_argument("generated", metavar="GENERATED", help="folder of the clips that are judged")
    parser.add_argument("real", metavar="REAL", help="folder of the clips that they are compared with")
    parser.add_argument("--seconds", type=float, default=0.0, metavar="S", help="cut longer clips (0: whole)")
    parser.add_argument("--resamples", type=int, default=1000, metavar="N", help="of the clips, for the 95%% intervals")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="processes that measure")


def run(options: Namespace) -> int:
    """Write the report of two folders; return 1 when they cannot be compared, else 0."""
    from envsound.evaluation.folders import results_folder  # needs torch

    given = {"clip_seconds": options.seconds, "n_resamples": options.resamples, "n_jobs": options.jobs}
    done = find_root() / results_folder(options.generated, options.real) / REPORT
    return exit_code(lambda: write_report(options.generated, options.real, **given), f"The report: {done}")


def write_report(generated: str | Path, real: str | Path, **given: float) -> Path:
    """Run NOTEBOOK on two folders, with the parameters `given`, and return the HTML file made of it.

    It lies in `folders.results_folder` of the study, with the tables and figures; players link to the files where they
    are. Raises InputError when the folders cannot be compared.
    """
    import papermill
    from nbconvert import HTMLExporter

    from envsound.evaluation.folders import results_folder

    root = find_root()
    out = root / results_folder(generated, real)
    folders = {"generated": str(Path(generated).resolve()), "real": str(Path(real).resolve())}
    executed = out / "notebooks" / NOTEBOOK.name
    executed.parent.mkdir(parents=True, exist_ok=True)
    try:
        papermill.execute_notebook(root / NOTEBOOK, executed, folders | given, kernel_name="python3", cwd=str(root))
    except papermill.PapermillExecutionError as error:
        raise InputError(f"{error.evalue} (see {executed})") from None
    pages = HTMLExporter(exclude_input=True, exclude_output_prompt=True)
    write_text(out / REPORT, pages.from_filename(str(executed))[0])
    return out / REPORT


def clip_players(clips: pd.DataFrame, folder: str | Path, n_each: int = 4) -> str:
    """Return players of the first clips of each side of a table of clips, linked from a page in `folder`."""
    shown = clips.groupby("system", sort=False).head(n_each)
    players = [player(row.path, f"{row.system}: {Path(row.path).name}", folder) for row in shown.itertuples()]
    return f'<div class="players">{"".join(players)}</div>'
