"""The published protocol runs: preset `paper` for one step, with stand-in weights on a few of the clips that ship.

The weights are random numbers in the file format of EnCodec's release; everything else is the preset as it stands.
"""

import papermill
import pytest
import torch

from envsound.base.files import read_csv, read_json, sha256_file, write_csv
from envsound.base.paths import MATERIAL, find_root
from envsound.codec.encodec_24khz import empty_model
from envsound.run.presets import load_preset
from envsound.run.settings import parameters_for

ROOT = find_root()
STEPS = ("01_encode_clips", "02_train_model", "03_sample_clips")  # the others are the same for every preset


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    state = empty_model().state_dict()
    for name, value in state.items():
        if name.endswith("_codebook.embed"):  # the package starts codebooks at zero: every code would be 0
            state[name] = 0.01 * torch.randn_like(value)
    path = tmp_path_factory.mktemp("weights") / "stand_in.th"
    torch.save(state, path)
    return path


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory, weights):
    folder = tmp_path_factory.mktemp("run")
    listing = read_csv(ROOT / MATERIAL / "meta" / "esc50.csv").groupby(["category", "fold"], as_index=False).first()
    write_csv(folder / "esc50.csv", listing)
    some = {"data_dir": str(ROOT / MATERIAL), "csv_name": str(folder / "esc50.csv")}
    shorter = some | {"clip_seconds": 1.0, "max_steps": 1, "n_samples": 2, "n_heard": 2}
    files = {"codec_weights": str(weights), "codec_weights_sha256": sha256_file(weights), "device": "cpu"}
    values = load_preset("paper") | shorter | files
    for step in STEPS:
        notebook = ROOT / "notebooks" / f"{step}.ipynb"
        given = parameters_for(notebook, values, run_dir=str(folder / "run"), preset="paper", fold=1, seed=0)
        quiet = {"kernel_name": "python3", "cwd": str(ROOT), "progress_bar": False}
        papermill.execute_notebook(str(notebook), str(folder / f"{step}.ipynb"), given, **quiet)
    return folder / "run"


def test_one_step_of_the_published_model_is_trained(run_dir):
    facts = read_json(run_dir / "provenance.json")["steps"]["02_train_model"]["facts"]
    assert facts["steps"] == 1 and facts["n_parameters"] == pytest.approx(23.5e6, rel=0.08)
    assert facts["n_train_clips"] == 40 and facts["n_validation_clips"] == 10


def test_codes_come_from_encodec_at_75_frames_a_second(run_dir):
    facts = read_json(run_dir / "provenance.json")["steps"]["01_encode_clips"]["facts"]
    assert facts["codec"] == "encodec_24khz" and facts["codec_bits_per_second"] == 6000
    assert (read_csv(run_dir / "codes.csv")["n_frames"] == 75).all()


def test_samples_have_no_class_and_the_published_schedule_and_lie_in_a_folder_of_their_own_request(run_dir):
    (folder,) = (run_dir / "requests").iterdir()  # two clips are fewer than the preset's
    samples = read_csv(folder / "samples.csv")
    assert (samples["category"] == "").all() and (samples["steps_per_level"] == "12 1 1 1 1 1 1 1").all()
    assert all((folder / "samples" / name).exists() for name in samples["filename"])
    assert not (run_dir / "samples.csv").exists() and folder.name.startswith("n_samples")
