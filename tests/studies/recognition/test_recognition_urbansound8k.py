"""UrbanSound8K from its own layout to scores: ten folds, and clips from a twentieth of a second to four seconds."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes.urbansound8k import urbansound8k

from envsound.base.files import read_csv
from envsound.codec import BUNDLED, load_codec
from envsound.codec.codes import load_codes
from envsound.data.recordings import load_recordings
from envsound.studies.recognition import report as report
from envsound.studies.recognition.recognisers import FOLDER, load_recognisers

ROOT = Path(__file__).parents[3]
ROWS = ["codec_probe", "mfcc_svm", "cnn_quick", "conformer_quick"]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """The stand-in's clips and its ten rounds, in a folder of their own."""
    place = tmp_path_factory.mktemp("place")
    for used in (BUNDLED.parent, FOLDER, Path("notebooks/presets")):
        shutil.copytree(ROOT / used, place / used)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        codec = load_codec("bundled", "", torch.device("cpu"))
        folder = urbansound8k(place / "UrbanSound8K")
        recordings = load_recordings("urbansound8k", str(folder), clip_seconds=4.0, sample_rate=codec.sample_rate)
        yield report.prepare(recordings, codec, device="cpu")


def test_the_ten_official_folds_are_the_rounds(prepared):
    clips, rounds = prepared
    assert [one.number for one in rounds] == list(range(1, 11))
    assert [len(one.test) for one in rounds] == [2] * 10 and all(len(one.train) == 16 for one in rounds)
    lengths = [load_codes(file).shape[1] for file in clips.codes_files]
    assert max(lengths) == 300 and min(lengths) <= 4  # frames, at 75 a second


def test_every_kind_of_recogniser_takes_clips_of_any_length(prepared, tmp_path):
    shared = {"codec": "bundled", "clip_seconds": 4.0, "device": "cpu"}
    report.run_report(load_recognisers(ROWS, shared), prepared[1][:1], tmp_path, n_resamples=20,
                      cited=ROOT / report.CITED, published=ROOT / report.PUBLISHED)  # fmt: skip
    folds = read_csv(tmp_path / "recognition_folds.csv")
    assert len(folds) == len(ROWS) and folds["n_test"].eq(2).all() and folds["accuracy"].between(0, 1).all()
    clips = read_csv(tmp_path / "recognition_clips.csv")
    assert np.isfinite(clips["confidence"]).all() and clips["clip"].nunique() == 2
