"""What a run's records say of it, and which finished runs beside it differ in their training seed alone."""

import pytest
from fakes.listened import make_listened_run

from envsound.base.errors import InputError
from envsound.base.files import read_json, write_json
from envsound.run.record import other_seeds, read_runs, read_settings


def make_run(folder, seed=0):
    return make_listened_run(folder, n_folds=2, per_class=1, seed=seed)


def changed(run, step, **parameters):
    record = read_json(run / "provenance.json")
    record["steps"][step]["parameters"] |= parameters
    write_json(run / "provenance.json", record)
    return run


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path / "seed0")


def test_the_settings_of_a_run_are_those_of_its_records(run):
    settings = read_settings(run)
    assert (settings.fold, settings.seed, settings.codec, settings.clip_seconds) == (1, 0, "steady", 5.0)
    assert settings.name == "tiny seed 0"
    write_json(run / "provenance.json", {"steps": {}})
    with pytest.raises(InputError, match="lacks 01_encode_clips"):
        read_settings(run)


@pytest.mark.parametrize(
    ("step", "parameters", "words"),
    [
        ("02_train_model", {"seed": 0}, "training seeds"),
        ("02_train_model", {"fold": 2}, "fold 2"),
        ("02_train_model", {"preset": "x"}, "preset 'x'"),
        ("03_sample_clips", {"guidance_scale": 3.0}, "more_runs: .*other has guidance_scale 3.0, not 2.0"),
        ("01_encode_clips", {"clip_seconds": 4.0}, "more_runs: .*other has clip_seconds 4.0, not 5.0"),
    ],
)
def test_runs_that_differ_in_more_than_their_seed_are_refused(run, tmp_path, step, parameters, words):
    other = make_run(tmp_path / "other", 1)
    assert [one.seed for one in read_runs(run, [other])] == [0, 1]
    with pytest.raises(InputError, match=words):
        read_runs(run, [changed(other, step, **parameters)])


def test_finished_runs_of_other_seeds_are_found_beside_a_run(tmp_path):
    place = tmp_path / "tiny"
    first, *others = (make_run(place / f"fold1_seed{seed}", seed) for seed in (0, 10, 2))
    make_run(place / "fold2_seed3", 3)
    make_run(tmp_path / "other" / "fold1_seed4", 4)
    assert other_seeds(first) == ([path.as_posix() for path in sorted(others, key=lambda p: len(p.name))], [])
    assert other_seeds(first, taken=[others[1]]) == ([others[0].as_posix()], [])
    assert other_seeds(first, find=False) == ([], [])
    assert [run.seed for run in read_runs(first, other_seeds(first)[0])] == [0, 2, 10]


def test_runs_that_are_not_finished_or_differ_are_left_out_by_name(tmp_path):
    first, *others = (make_run(tmp_path / "tiny" / f"fold1_seed{seed}", seed) for seed in range(6))
    (others[0] / "provenance.json").unlink()
    record = read_json(others[1] / "provenance.json")
    del record["steps"]["03_sample_clips"]
    write_json(others[1] / "provenance.json", record)
    (others[2] / "samples" / "01.wav").unlink()
    changed(others[3], "03_sample_clips", guidance_scale=3.0)
    changed(others[4], "02_train_model", seed=0)
    found, left_out = other_seeds(first)
    assert found == []
    reasons = [words.partition(": ")[2] for words in left_out]
    assert reasons[0].startswith("not finished")
    assert reasons[1] == "not finished, 03_sample_clips has not run"
    assert reasons[2] == "lacks 1 of its 2 samples"
    assert reasons[3] == "has guidance_scale 3.0, not 2.0"
    assert reasons[4] == "has the training seed of another run, 0"
