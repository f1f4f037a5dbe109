"""A system of one's own goes through the whole study: notebooks 01 to 06 with a unigram of codes in place of ours."""

import papermill
import pytest

from envsound.base.paths import find_root
from envsound.run.contract import TABLES, read_table

STEPS = ("01_encode_clips", "02_train_model", "03_sample_clips", "04_metrics", "05_ks_tests", "06_figures")
SETTINGS = {"system": "fakes.unigram:Recipe", "n_samples": 4, "n_real": 4, "n_examples": 1, "n_heard": 0}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a finished run of the unigram system, and the notebooks as executed."""
    folder, root = tmp_path_factory.mktemp("run"), find_root()
    quiet = {"kernel_name": "python3", "cwd": root, "progress_bar": False}
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PYTHONPATH", str(root / "tests"))
        for step in STEPS:
            given = {"run_dir": str(folder), "preset": "tiny", "settings": SETTINGS}
            given |= {"replace": True} if step.startswith("03") else {}  # as the pipeline asks, whose folder it is
            executed = folder / "notebooks" / f"{step}.ipynb"
            executed.parent.mkdir(exist_ok=True)
            papermill.execute_notebook(root / "notebooks" / f"{step}.ipynb", executed, given, **quiet)
    return folder


def test_it_leaves_every_table_of_the_contract(run):
    assert {name: read_table(run, name).empty for name in TABLES} == dict.fromkeys(TABLES, False)


def test_its_clips_are_compared_with_floor_and_ceiling(run):
    assert {"real", "generated", "codec"} <= set(read_table(run, "metrics")["side"])
    assert len(list((run / "samples").glob("*.wav"))) == 4
