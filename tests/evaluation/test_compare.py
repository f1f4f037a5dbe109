"""Runs beside real clips: who is compared, at which rate, what is refused, and the notebook that shows it."""

from functools import partial
from inspect import signature
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fakes.codecs import noise
from fakes.listened import RATE, SteadyCodec, codes_of, make_listened_run
from fakes.notebooks import run_cells
from hypothesis import given, settings
from hypothesis import strategies as st

from envsound.base.errors import InputError
from envsound.base.files import read_csv, read_json, write_wav
from envsound.evaluation import compare as module
from envsound.evaluation.compare import (
    BESIDE_COLUMNS,
    Report,
    draw_real,
    evaluate_run,
    evaluate_runs,
    measure_pairs,
    measure_side,
    pair_clips,
    runs_beside,
    systems_in,
)
from envsound.evaluation.controls import SYSTEMS
from envsound.evaluation.diversity import ALL, MEAN
from envsound.evaluation.sides import Source, from_file
from envsound.metrics.acoustic import ACOUSTIC, acoustic, log_spectral_distance
from envsound.metrics.extended import PER_CLIP
from envsound.metrics.tests import N_SWAPS, PAIRED
from envsound.report.figures_metrics import examples_of_run

ROOT = Path(__file__).parents[2]
WRITTEN = ("metrics", "pairs", "table_metrics")
EXTENDED = ("evaluation", "evaluation_by_class", "evaluation_seeds", "diversity", "evaluation_clips", "goals_by_class")


@pytest.fixture(autouse=True)
def here(monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(module, "load_codec", lambda *_: SteadyCodec())


@pytest.fixture
def run(tmp_path) -> Path:
    """Three folds of four clips of two classes at 48 kHz; four samples at 24 kHz, the first silent."""
    folder = make_listened_run(tmp_path / "run", per_class=2, recorded_hz=48_000)
    write_wav(folder / "samples" / "00.wav", np.zeros(4800), RATE)
    return folder


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("measured")


def side_rows(categories: list[str], prefix: str) -> pd.DataFrame:
    names = [f"{prefix}{number}" for number in range(len(categories))]
    return pd.DataFrame({"clip": names, "category": categories, "n_samples": 10})


def test_real_clips_are_drawn_from_the_folds_by_the_seed():
    table = pd.DataFrame({"filename": [f"{i}.wav" for i in range(30)], "fold": np.arange(30) % 3 + 1})
    drawn = draw_real(table, [1, 2], 12, seed=3)
    assert len(drawn) == 12 and set(drawn["fold"]) <= {1, 2}
    assert drawn["filename"].is_unique
    assert drawn.equals(draw_real(table, [1, 2], 12, seed=3))
    assert not drawn.equals(draw_real(table, [1, 2], 12, seed=4))
    assert list(draw_real(table, [3], 100, seed=0)["filename"]) == list(table[table["fold"] == 3]["filename"])
    for folds, n, words in (([4], 5, "real_folds"), ([], 5, "folds"), ([1], 0, "n_real=0")):
        with pytest.raises(InputError, match=words):
            draw_real(table, folds, n, seed=0)


def test_pairs_keep_to_the_category_where_there_is_one():
    generated = side_rows(["dog", "rain", "dog", "", "cat"], "g")
    real = side_rows(["rain", "dog", "dog", "rain"], "r")
    pairs = pair_clips(generated, real, seed=0)
    by_name = dict(zip(real["clip"], real["category"], strict=True))
    assert list(pairs["generated"]) == list(generated["clip"])
    assert [by_name[name] for name in pairs["real"]][:3] == ["dog", "rain", "dog"]
    assert pairs["real"].iloc[0] != pairs["real"].iloc[2]
    assert pairs.equals(pair_clips(generated, real, seed=0))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 99))
def test_unconditional_pairs_use_real_clips_evenly_and_never_one_that_cannot_be_read(n_generated, n_real, seed):
    real = pd.concat([side_rows([""], "bad").assign(n_samples=0), side_rows(["dog"] * n_real, "r")])
    pairs = pair_clips(side_rows([""] * n_generated, "g"), real, seed)
    assert len(pairs) == n_generated and "bad0" not in set(pairs["real"])
    assert pairs["real"].value_counts().max() == -(-n_generated // n_real)
    with pytest.raises(InputError, match="no clip that can be read"):
        pair_clips(side_rows([""], "g"), real[:1], 0)


def test_every_clip_is_a_row_and_one_that_cannot_be_read_says_why(tmp_path):
    clip = noise(4800)
    write_wav(tmp_path / "x.wav", clip, RATE)
    (tmp_path / "bad.wav").write_bytes(b"RIFF")
    sources = [from_file(tmp_path / "x.wav"), Source("s", lambda rate: clip), from_file(tmp_path / "bad.wav")]
    rows, expected = measure_side(sources, "real", RATE), acoustic(clip, RATE)
    assert list(rows["clip"]) == ["x.wav", "s", "bad.wav"] and list(rows["n_samples"]) == [4800, 4800, 0]
    for name in ACOUSTIC:
        assert rows[name].iloc[1] == expected[name] == pytest.approx(rows[name].iloc[0], rel=1e-3)  # 16 bits
    assert rows["peak"].iloc[1] == np.abs(clip).max()
    assert rows[list(ACOUSTIC)].iloc[2].isna().all()
    assert "bad.wav" in rows["problem"].iloc[2] and rows["problem"].iloc[1] == ""
    assert list(measure_side(sources[:1], "real", RATE, ["rms"]).columns) == [
        "side", "clip", "category", "fold", "sample_rate_hz", "n_samples", "peak", "rms", "problem"
    ]  # fmt: skip


def test_pairs_are_measured_by_hand():
    x, y = noise(4800), noise(2400, 1)
    sides = [Source("x", lambda rate: x)], [Source("y", lambda rate: y)]
    pairs = measure_pairs(pd.DataFrame({"real": ["x"], "generated": ["y"], "category": [""]}), *sides, RATE)
    row = pairs.iloc[0]
    assert row["log_spectral_distance"] == log_spectral_distance(x, y)
    assert row["real_energy"] == pytest.approx((x.astype(float) ** 2).sum())
    assert (row["real_duration_s"], row["generated_duration_s"]) == (0.2, 0.1)


def test_a_run_is_evaluated_with_floor_and_ceiling(run):
    result = evaluate_run(run, fold=2, n_real=3)
    rows = read_csv(run / "metrics.csv")
    assert rows["side"].value_counts().to_dict() == {"generated": 4, "real": 3, "codec": 3, "real_other": 3}
    assert set(rows.loc[rows["side"].isin(["real", "codec"]), "fold"]) == {2}
    assert set(rows.loc[rows["side"] == "real_other", "fold"]) <= {1, 3}
    assert set(rows["sample_rate_hz"]) == {RATE} and result.facts["sample_rate_hz"] == RATE
    assert "real 48000 Hz, generated 24000 Hz" in result.notes[0] and result.listed().startswith("- Everything")
    real, codec = (rows[rows["side"] == side] for side in ("real", "codec"))
    assert list(real["clip"]) == list(codec["clip"])
    assert set(codec["n_samples"]) == {round(0.19 * RATE)}
    codes = codes_of(int(Path(codec["clip"].iloc[0]).stem.removeprefix("r")))[0]
    decoded = (np.repeat(codes, 320) * 1e-3 * (-1.0) ** np.arange(4800)).astype(np.float32)[: round(0.19 * RATE)]
    assert codec["rms"].iloc[0] == pytest.approx(acoustic(decoded, RATE)["rms"], rel=1e-6)
    assert len(read_csv(run / "pairs.csv")) == 4
    table = read_csv(run / "table_metrics.csv").set_index("metric")
    assert table.loc["snr_db", ["n_real", "n_generated", "n_undefined_generated"]].tolist() == [3, 3, 1]
    assert table.loc["zcr", "published_difference_percent"] == -66.79
    assert result.facts["n_clips"]["codec"] == 3
    first = [(run / f"{name}.csv").read_bytes() for name in WRITTEN]
    evaluate_run(run, fold=2, n_real=3)
    assert first == [(run / f"{name}.csv").read_bytes() for name in WRITTEN]
    examples, rate = examples_of_run(run, 3)
    assert rate == RATE and len(examples) == 3 and len(examples_of_run(run, 100)[0]) == 4
    assert examples[0].real_title == examples[0].generated_title == "dog" and examples[0].generated.size == 4800
    with pytest.raises(InputError, match="n_examples"):
        examples_of_run(run, 0)


def test_a_floor_of_other_folds_no_ceiling_and_what_is_refused(run, monkeypatch):
    result = evaluate_run(run, fold=1, train_folds=[3], codec="", clip_seconds=0.1)
    rows = result["metrics"]
    assert set(rows["side"]) == {"real", "generated", "real_other"} and set(rows["duration_s"]) == {0.1}
    assert set(rows.loc[rows["side"] == "real_other", "fold"]) == {3}
    assert set(result["table_metrics"]["n_codec"]) == {0}
    with pytest.raises(InputError, match="clip_seconds"):
        evaluate_run(run, clip_seconds=-1)
    monkeypatch.setattr(module, "load_codec", lambda *_: SteadyCodec("b" * 64))
    with pytest.raises(InputError, match="codec"):
        evaluate_run(run)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with two training seeds of one preset side by side."""
    folder = tmp_path_factory.mktemp("tiny")
    for seed in (0, 1):
        make_listened_run(folder / f"fold1_seed{seed}", per_class=2, seed=seed)
    return folder


@pytest.fixture(scope="module")
def both(place, cache_dir):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("envsound.evaluation.compare.load_codec", lambda *_: SteadyCodec())
        return evaluate_runs(place / "fold1_seed0", [place / "fold1_seed1"], n_resamples=20, cache_dir=cache_dir)


def test_two_training_seeds_are_evaluated_together(both, tmp_path):
    both.write(tmp_path)
    tables = {name: read_csv(tmp_path / f"{name}.csv") for name in EXTENDED}
    table = tables["evaluation"]
    assert set(table.loc[table["test"] == PAIRED, "system"]) == {"codec"} and both.facts["n_swaps"] == N_SWAPS
    lengths = table[table["metric"] == "duration_s"]
    assert both.facts["n_metrics"] == len(PER_CLIP) - 1 and lengths[["ks", "p_value"]].isna().all(axis=None)
    assert lengths["mean"].notna().all() and len(table) == (len(SYSTEMS) + 1) * len(PER_CLIP)
    assert set(table.loc[table["system"] == "generated", "run"]) == {"tiny seed 0", "tiny seed 1"}
    assert set(tables["evaluation_by_class"]["category"]) == {"dog", "rain"}
    goals = tables["goals_by_class"]
    assert set(goals["run"]) == {"tiny seed 0", "tiny seed 1"} and len(goals) == 2 * 2 * 9
    assert set(tables["evaluation_seeds"]["n_runs"]) == {2}
    diversity = both["diversity"].set_index(["system", "run", "category"])["ratio"]
    assert diversity["copy", "", MEAN] == 0 < diversity["copy", "", ALL]
    assert both.facts["n_clips"]["generated tiny seed 1"] == 4 and both.facts["train_folds"] == [2, 3]
    clips = both["evaluation_clips"]
    assert both.facts["sample_rate_hz"] == RATE and (clips["problem"] == "").all()
    copies = clips[clips["system"] == "copy"].groupby("category")[list(PER_CLIP)].nunique()
    assert (copies <= 1).all(axis=None)
    shown = systems_in(clips)
    assert shown.loc[shown["run"] == "tiny seed 1", ["system", "n"]].to_numpy().tolist() == [["generated", 4]]
    assert set(shown["system"]) == set(SYSTEMS) and shown["what"].notna().all()


def test_a_model_without_classes_is_compared_with_all_clips(tmp_path, cache_dir):
    run = make_listened_run(tmp_path / "run", per_class=2, told=False)
    report = evaluate_runs(run, n_resamples=5, cache_dir=cache_dir)
    assert "generated" not in set(report["evaluation_by_class"]["system"])
    assert set(report["diversity"].query("system == 'generated'")["category"]) == {ALL}


def test_runs_of_other_presets_and_folds_stand_beside_each_other(both, place, tmp_path, cache_dir):
    other = make_listened_run(tmp_path / "other", per_class=2, preset="wide", fold=2)
    table = runs_beside([place / "fold1_seed0", other], n_resamples=20, cache_dir=cache_dir)
    assert list(table.columns) == BESIDE_COLUMNS and len(table) == 2 * len(PER_CLIP)
    assert table.groupby("run", sort=False)["fold"].first().tolist() == [1, 2]
    assert table["run"].iloc[0] == f"{place.name}/fold1_seed0" and table["run"].iloc[-1].endswith("/other")
    names, expected = ["metric", "cliffs_delta", "wasserstein_in_sd", "ks", "p_holm"], both["evaluation"]
    expected = expected[expected["run"] == "tiny seed 0"][names].reset_index(drop=True)
    pd.testing.assert_frame_equal(table[table["fold"] == 1][names].reset_index(drop=True), expected)


def test_the_notebook_runs_on_a_finished_run_and_the_seed_beside_it(both, place, cache_dir):
    run, drawn = place / "fold1_seed0", []

    def evaluate(*given, **named) -> Report:
        assert signature(evaluate_runs).bind(*given, **named).arguments["more_runs"] == [f"{place}/fold1_seed1"]
        return both

    given = {
        "run_dir": str(run), "compared_runs": [str(place / "fold1_seed1")], "n_resamples": 5, "n_jobs": 1,
        "evaluate_runs": evaluate, "runs_beside": partial(runs_beside, cache_dir=cache_dir),
        "save_figure": lambda figure, folder, name: drawn.append((folder, name)), "show_figure": lambda _: None,
    }  # fmt: skip
    run_cells(ROOT / "notebooks" / "evaluation" / "14_evaluate.ipynb", given)
    assert drawn == [(run / "figures", f"evaluation_{name}") for name in ("overview", "octaves", "diversity")]
    record = read_json(run / "provenance" / "14_evaluate.json")
    assert record["parameters"]["n_resamples"] == 5 and record["facts"]["sample_rate_hz"] == RATE
    assert record["facts"]["training_seeds"] == [0, 1] and record["facts"]["runs_left_out"] == []
    assert set(read_csv(run / "evaluation_seeds.csv")["n_runs"]) == {2}
