"""A system of one's own goes through the whole study: notebooks 01 to 06 with a unigram of codes in place of ours."""

from fakes.notebooks import run_cells

from envsound.base.paths import find_root
from envsound.run.contract import TABLES, read_table

STEPS = ("01_encode_clips", "02_train_model", "03_sample_clips", "04_metrics", "05_ks_tests", "06_figures")
SETTINGS = {"system": "fakes.unigram:Recipe", "n_samples": 4, "n_real": 4, "n_examples": 1, "n_heard": 0}


def test_a_unigram_leaves_every_table_of_the_contract_beside_floor_and_ceiling(tmp_path):
    for step in STEPS:
        given = {"run_dir": str(tmp_path), "preset": "tiny", "settings": SETTINGS}
        given |= {"replace": True} if step.startswith("03") else {}  # as the pipeline asks, whose folder it is
        run_cells(find_root() / "notebooks" / f"{step}.ipynb", given)
    assert {name: read_table(tmp_path, name).empty for name in TABLES} == dict.fromkeys(TABLES, False)
    assert {"real", "generated", "codec"} <= set(read_table(tmp_path, "metrics")["side"])
    assert len(list((tmp_path / "samples").glob("*.wav"))) == 4
