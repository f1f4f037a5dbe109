"""Where clips come from: anybody's files, and a run's, of which no listener learns from the floor."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fakes.listened import SteadyCodec, make_listened_run

from envsound.base.errors import InputError
from envsound.base.files import read_csv, write_csv
from envsound.evaluation import sides as module
from envsound.evaluation.controls import SYSTEMS
from envsound.evaluation.sides import (
    CLIP_COLUMNS,
    Source,
    common_rate,
    from_folder,
    gather_clips,
    gather_sides,
    remembered,
    samples_of,
)
from envsound.run.record import read_runs


@pytest.fixture(autouse=True)
def codec(monkeypatch):
    monkeypatch.setattr(module, "load_codec", lambda *_: SteadyCodec())


def test_folders_without_sound_are_refused(tmp_path):
    with pytest.raises(InputError, match="is not a folder"):
        from_folder(tmp_path / "nowhere")
    with pytest.raises(InputError, match="holds no file that soundfile can read"):
        from_folder(tmp_path)
    (tmp_path / "bad.wav").write_bytes(b"x")
    with pytest.raises(InputError, match="no clip of either side"):
        common_rate(from_folder(tmp_path))


@pytest.mark.parametrize(("names", "words"), [([], "lists no sample"), (["../../secret.wav"], "leads outside")])
def test_a_run_without_samples_or_with_one_elsewhere_is_refused(tmp_path, names, words):
    table = pd.DataFrame({"filename": names, "category": "", "seed": 0, "seconds": 1.0})
    write_csv(tmp_path / "samples.csv", table)
    with pytest.raises(InputError, match=words):
        samples_of(tmp_path)


def test_floor_and_controls_know_the_training_folds_alone_and_no_side_an_altered_copy(tmp_path):
    run = make_listened_run(tmp_path / "run", per_class=2, train_folds=[2])
    table = read_csv(run / "codes.csv").assign(copy=0)
    write_csv(run / "codes.csv", pd.concat([table, table[table["fold"] == 2].assign(copy=1, path="altered.wav")]))
    clips = gather_clips(read_runs(run), SteadyCodec(), tmp_path / "controls", seed=0)
    assert list(clips.columns) == CLIP_COLUMNS and list(dict.fromkeys(clips["system"])) == list(SYSTEMS)
    folds = clips.groupby("system")["fold"].agg(set).to_dict()
    assert folds.pop("real") == folds.pop("codec") == {1} and folds.pop("generated") == {0}
    assert all(fold == {2} for fold in folds.values()) and "altered.wav" not in set(clips["path"])
    assert set(clips.groupby("system").size()) == {4}


@pytest.mark.parametrize(
    ("trained", "asked", "floor", "taught"),
    [
        ({}, 0, 4, {2, 3}),
        ({"validation_fold": 2}, 0, 2, {3, 4}),
        ({"validation_fold": 2}, 3, 3, {4}),
        ({"train_folds": [2]}, 0, 0, {2}),  # a single fold: it teaches, and there is no floor
    ],
)
def test_no_listener_learns_from_the_floor_which_is_the_validation_fold_or_the_one_asked_for(
    tmp_path, trained, asked, floor, taught
):
    run = make_listened_run(tmp_path / "run", n_folds=4, per_class=1, **trained)
    sides = gather_sides(run, floor_fold=asked, device="cpu")
    assert sides.floor_fold == floor and {source.fold for source in sides.taught} == taught
    assert {source.fold for source in sides.by_system["real"]} == {1}
    assert {source.fold for source in sides.by_system.get("real_other", [])} == {floor} - {0}
    assert 1 not in {source.fold for source in sides.training}
    with pytest.raises(InputError, match="floor_fold=1: expected 0 or one of the folds"):
        gather_sides(run, floor_fold=1, device="cpu")


def test_a_recording_is_read_once_at_each_rate_and_the_rates_of_a_side_are_said_in_words():
    asked = []
    sources = [Source("a", lambda rate: asked.append(rate) or np.zeros(3), category="dog", fold=2)]
    (kept,) = remembered(sources)
    assert [kept.load(rate).size for rate in (8000, 8000, 16_000, 8000)] == [3] * 4 and asked == [8000, 16_000]
    assert (kept.name, kept.category, kept.fold) == ("a", "dog", 2)
    sources = [Source(str(rate), lambda _: np.zeros(1), rate) for rate in (44_100, 48_000, 44_100, 0)]
    assert module.rates_of(sources) == "44100 and 48000 Hz" and module.rates_of(sources[-1:]) == "unknown Hz"
    assert module.from_file(Path("nowhere.wav")).sample_rate == 0
