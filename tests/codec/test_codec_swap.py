"""Swapping the codec is one line of a preset: codes are made anew, and a model never meets another codec's codes."""

from pathlib import Path

import papermill
import pytest
import torch
from papermill.exceptions import PapermillExecutionError

from envsound.base.files import read_csv, read_json, sha256_file
from envsound.codec.fourier import FourierCodec, FourierConfig
from envsound.codec.stored import save_codec
from envsound.run.pipeline import codec_fingerprint
from envsound.run.presets import load_preset, parameters_for

ROOT = Path(__file__).parents[2]
TOY = FourierConfig(dim=8, hidden=8, n_encoder_blocks=1, n_decoder_blocks=1, latent_dim=4)


@pytest.fixture(scope="module")
def codecs(tmp_path_factory) -> list[Path]:
    """Two codecs of the same shape and different weights."""
    folder = tmp_path_factory.mktemp("codecs")
    paths = [folder / "one.safetensors", folder / "other.safetensors"]
    with torch.random.fork_rng():
        for seed, path in enumerate(paths):
            torch.manual_seed(seed)
            save_codec(path, FourierCodec(TOY))
    return paths


def values(codec: Path) -> dict:
    return load_preset("tiny") | {"codec": str(codec), "device": "cpu", "num_epochs": 1}


def execute(step: str, folder: Path, codec: Path, **changes) -> None:
    notebook = ROOT / "notebooks" / f"{step}.ipynb"
    wiring = {"run_dir": str(folder), "preset": "tiny", "fold": 1, "seed": 0}
    given = parameters_for(notebook, values(codec) | changes, **wiring)
    quiet = {"kernel_name": "python3", "cwd": str(ROOT), "progress_bar": False}
    papermill.execute_notebook(str(notebook), str(folder / f"{step}.ipynb"), given, **quiet)


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory, codecs) -> Path:
    """A run trained on the codes of the first codec."""
    folder = tmp_path_factory.mktemp("run")
    for step in ("01_encode_clips", "02_train_model"):
        execute(step, folder, codecs[0])
    return folder


def test_a_model_is_refused_another_codec(run_dir, codecs):
    facts = read_json(run_dir / "provenance.json")["steps"]["01_encode_clips"]["facts"]
    assert facts["codec_hash"] == sha256_file(codecs[0])
    refusal = f"trained on codes of codec {sha256_file(codecs[0])}, but the codec is"
    with pytest.raises(PapermillExecutionError, match=refusal):
        execute("03_sample_clips", run_dir, codecs[1])


def test_another_codec_makes_codes_of_its_own(run_dir, codecs, tmp_path):
    execute("01_encode_clips", tmp_path, codecs[1])
    mine, other = (set(read_csv(folder / "codes.csv").codes_file) for folder in (run_dir, tmp_path))
    assert mine and mine.isdisjoint(other)


def test_another_codec_is_another_fingerprint(codecs):
    prints = {codec_fingerprint(values(path)) for path in codecs} | {codec_fingerprint(load_preset("tiny"))}
    assert len(prints) == 3


def test_the_controls_notebook_plays_on_a_run(run_dir, codecs):
    short = {"clip_seconds": 0.4, "long_seconds": 1.0, "category": "rain", "order": "random"}
    execute("09_hear_controls", run_dir, codecs[0], **short)
    heard, together, edited = (read_csv(run_dir / f"{name}.csv") for name in ("controls", "classes", "edits"))
    written = {path.name for path in (run_dir / "controls").iterdir()}
    assert written == {*heard.filename, *together.filename, *edited.filename}
    assert set(together.control) == {"every class in one batch"} and "rain" in set(together.setting)
    assert {"guidance", "steps at level 0"} <= set(heard.control) and "inpainting" in set(edited.control)
    assert "09_hear_controls" in read_json(run_dir / "provenance.json")["steps"]
