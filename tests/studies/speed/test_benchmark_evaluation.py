"""The benchmark of the evaluation: what it makes and what it writes; never how fast it is."""

from dataclasses import asdict

import numpy as np
import pytest

from envsound.base.errors import InputError
from envsound.base.files import read_json
from envsound.studies.speed import evaluation
from envsound.studies.speed.evaluation import RATES, Task, coloured_noise, evaluate_once, make_clips

TINY = Task(n_clips=4, seconds=0.5, n_classes=2, n_resamples=3)
MADE_UP = {"measure_s": 20.0, "tables_s": 5.0, "seconds": 25.0, "cpu_s": 40.0, "sample_rate_hz": 24_000}


def files(folder) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*.wav"))}


def test_one_seed_makes_one_set_of_clips_and_no_two_are_alike(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        make_clips(tmp_path / name, TINY, seed)
    first, again, other = (files(tmp_path / name) for name in "abc")
    assert first == again and len(first) == 2 * TINY.n_clips == len(set(first.values()))
    assert not set(first.values()) & set(other.values())
    noises = [coloured_noise(np.random.default_rng(seed), 4000) for seed in range(4)]
    assert [np.sqrt(np.mean(noise**2)) for noise in noises] == pytest.approx([1] * 4)


def test_an_evaluation_measures_every_clip_at_the_lower_rate(tmp_path):
    make_clips(tmp_path, TINY)
    table = evaluation.clip_table(tmp_path, TINY)
    assert table["path"].is_unique and table["category"].nunique() == 2
    found = evaluate_once(str(tmp_path), str(tmp_path / "cache"), 1, asdict(TINY))
    assert found["sample_rate_hz"] == min(RATES.values())
    assert len(list((tmp_path / "cache").iterdir())) == 2 * TINY.n_clips
    (tmp_path / "real" / "0000.wav").write_bytes(b"")
    with pytest.raises(InputError, match=r"0000\.wav"):
        evaluate_once(str(tmp_path), str(tmp_path / "cache"), 1, asdict(TINY))


def test_it_times_an_empty_and_a_full_cache_and_memory_with_a_quarter_of_the_clips(tmp_path):
    asked, lines = [], []

    def apart(**given):
        asked.append(given)
        return MADE_UP | {"peak_mib": 10.0 * given["task"]["n_clips"]}

    result = evaluation.time_evaluation(tmp_path, 2, TINY, on_line=lines.append, apart=apart)
    assert [given["n_jobs"] for given in asked] == [2, 2, 1, 1] and len(lines) == 5
    cold, warm, *fresh = (given["cache_dir"] for given in asked)
    assert cold == warm and len({cold, *fresh}) == 3
    assert [row["n_clips"] for row in result["memory"]] == [1, 4]
    assert [row["peak_mib"] for row in result["memory"]] == [10.0, 40.0]
    assert result == read_json(tmp_path / "evaluation_speed.json")
    record = read_json(tmp_path / "provenance.json")["steps"]["evaluation_speed"]
    assert record["parameters"]["n_clips"] == 4 and record["commit"] == result["commit"]
    with pytest.raises(InputError, match="n_clips=3"):
        evaluation.time_evaluation(tmp_path, 1, Task(n_clips=3))
