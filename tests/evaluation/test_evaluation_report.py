"""A finished run evaluated: who is in the tables, at which rate, what is refused, and the notebook that shows it."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from envsound.base.errors import InputError
from envsound.base.files import read_csv, read_json, write_csv, write_json, write_wav
from envsound.codec.codes import save_codes
from envsound.evaluation.compare import tables
from envsound.evaluation.controls import SYSTEMS
from envsound.evaluation.diversity import ALL, MEAN
from envsound.evaluation.tables import (
    TABLES,
    describe_systems,
    evaluate_runs,
    findings_evaluation,
    gather_clips,
    measure_clips,
    telling_apart,
)
from envsound.metrics.effects import SUMMARY, seed_table
from envsound.metrics.extended import PER_CLIP
from envsound.metrics.tests import N_SWAPS, PAIRED
from envsound.run.record import other_seeds, read_runs, read_settings

ROOT = Path(__file__).parents[2]
RATE, SECONDS = 24_000, 0.19


class LoudnessCodec:
    """A codec whose decoder holds 320 samples at 0.001 times the code of level 0, in turns up and down."""

    name, sample_rate, frame_rate, n_levels, codebook_size, content_hash = "loud", RATE, 75, 2, 1024, "a" * 64

    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        return (codes[:, 0].float() * 1e-3).repeat_interleave(320, dim=-1) * (-1) ** torch.arange(codes.shape[2] * 320)


def noise(seed: int, n_samples: int, level: float = 0.1) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, level, n_samples)


def make_run(folder: Path, seed: int = 0, categories: tuple[str, str] = ("dog", "rain")) -> Path:
    """A run: three folds of four clips of two classes at 48 kHz; six samples at 24 kHz; fold 1 is held out."""
    rows, shared = [], folder.parent / "recordings"
    for number in range(12):
        path, codes_file = shared / f"{number:02d}.wav", shared / f"{number:02d}.safetensors"
        write_wav(path, noise(number, 9600), 48_000)
        codes = np.random.default_rng(number).integers(0, 900, (2, 15))
        save_codes(codes_file, codes, LoudnessCodec.content_hash, 4800)
        rows.append((path.name, path, number // 4 + 1, ("dog", "rain")[number % 2], 15, SECONDS, codes_file))
    names = ["filename", "path", "fold", "category", "n_frames", "seconds", "codes_file"]
    write_csv(folder / "codes.csv", pd.DataFrame(rows, columns=names))
    samples = pd.DataFrame({"filename": [f"{k}.wav" for k in range(6)], "category": categories * 3})
    for number, name in enumerate(samples["filename"]):
        write_wav(folder / "samples" / name, noise(100 + 10 * seed + number, 4800, 0.05), RATE)
    write_csv(folder / "samples.csv", samples)
    encoded = {"codec": "loud", "clip_seconds": 5.0, "dataset": "synthetic", "device": f"machine {seed}"}
    trained = {"preset": "tiny", "fold": 1, "seed": seed, "train_folds": [], "validation_fold": 0}
    sampled = {"seed": seed, "guidance_scale": 2.0, "checkpoint": f"seed{seed}/last.safetensors"}
    steps = {"01_encode_clips": encoded, "02_train_model": trained, "03_sample_clips": sampled}
    facts = {"codec_hash": LoudnessCodec.content_hash}
    records = {name: {"parameters": given, "facts": facts} for name, given in steps.items()}
    for name, record in records.items():
        write_json(folder / "provenance" / f"{name}.json", record)
    write_json(folder / "provenance.json", {"steps": records})
    return folder


@pytest.fixture(autouse=True)
def codec(monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(tables, "load_codec", lambda *_: LoudnessCodec())


@pytest.fixture
def run(tmp_path) -> Path:
    return make_run(tmp_path / "seed0")


def changed(run: Path, step: str, **parameters) -> Path:
    record = read_json(run / "provenance.json")
    record["steps"][step]["parameters"] |= parameters
    write_json(run / "provenance.json", record)
    return run


def test_the_settings_of_a_run_are_those_of_its_records(run):
    settings = read_settings(run)
    assert (settings.fold, settings.seed, settings.codec, settings.clip_seconds) == (1, 0, "loud", 5.0)
    assert settings.name == "tiny seed 0"
    write_json(run / "provenance.json", {"steps": {}})
    with pytest.raises(InputError, match="lacks 01_encode_clips"):
        read_settings(run)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [({"seed": 0}, "training seeds"), ({"seed": 1, "fold": 2}, "fold 2"), ({"seed": 1, "preset": "x"}, "preset 'x'")],
)
def test_runs_that_differ_in_more_than_their_seed_are_refused(run, tmp_path, parameters, words):
    other = changed(make_run(tmp_path / "other"), "02_train_model", **parameters)
    with pytest.raises(InputError, match=words):
        read_runs(run, [other])


@pytest.mark.parametrize(
    ("step", "parameters"), [("03_sample_clips", {"guidance_scale": 3.0}), ("01_encode_clips", {"clip_seconds": 4.0})]
)
def test_runs_that_are_named_are_held_to_everything_they_were_given(run, tmp_path, step, parameters):
    other = make_run(tmp_path / "other", 1)
    assert [one.seed for one in read_runs(run, [other])] == [0, 1]
    ((name, value),) = parameters.items()
    with pytest.raises(InputError, match=f"more_runs: .*other has {name} {value}, not .* but for the seed"):
        evaluate_runs(run, [changed(other, step, **parameters)], n_resamples=5, cache_dir=tmp_path)


def test_finished_runs_of_other_seeds_are_found_beside_a_run(tmp_path):
    place = tmp_path / "tiny"
    first, *others = (make_run(place / f"fold1_seed{seed}", seed) for seed in (0, 10, 2))
    make_run(place / "fold2_seed3", 3)
    make_run(tmp_path / "other" / "fold1_seed4", 4)
    assert other_seeds(first) == ([path.as_posix() for path in sorted(others, key=lambda p: len(p.name))], [])
    assert other_seeds(first, taken=[others[1]]) == ([others[0].as_posix()], [])
    assert other_seeds(first, find=False) == ([], [])
    runs = read_runs(first, other_seeds(first)[0])
    assert [run.seed for run in runs] == [0, 2, 10]


def test_runs_that_are_not_finished_or_differ_are_left_out_by_name(tmp_path):
    first, *others = (make_run(tmp_path / "tiny" / f"fold1_seed{seed}", seed) for seed in range(6))
    (others[0] / "provenance.json").unlink()
    record = read_json(others[1] / "provenance.json")
    del record["steps"]["03_sample_clips"]
    write_json(others[1] / "provenance.json", record)
    (others[2] / "samples" / "3.wav").unlink()
    changed(others[3], "03_sample_clips", guidance_scale=3.0)
    changed(others[4], "02_train_model", seed=0)
    found, left_out = other_seeds(first)
    assert found == []
    reasons = [words.partition(": ")[2] for words in left_out]
    assert reasons[0].startswith("not finished")
    assert reasons[1] == "not finished, 03_sample_clips has not run"
    assert reasons[2] == "lacks 1 of its 6 samples"
    assert reasons[3] == "has guidance_scale 3.0, not 2.0"
    assert reasons[4] == "has the training seed of another run, 0"


def test_the_spread_over_seeds_is_that_of_the_runs_own_numbers():
    rows = [("generated", f"tiny seed {seed}", "rms", 0.1 * seed) for seed in range(1, 4)]
    table = pd.DataFrame(rows, columns=["system", "run", "metric", "cliffs_delta"]).assign(
        **dict.fromkeys([*SUMMARY, "wasserstein", "ks"], 1.0)
    )
    (row,) = seed_table(table).to_dict("records")
    assert row["n_runs"] == 3 and row["cliffs_delta_mean"] == pytest.approx(0.2)
    assert row["cliffs_delta_sd"] == pytest.approx(0.1) and row["wasserstein_sd"] == 0
    assert (row["cliffs_delta_lowest"], row["cliffs_delta_highest"]) == pytest.approx((0.1, 0.3))


def test_floor_and_controls_know_the_training_folds_alone(run, tmp_path):
    changed(run, "02_train_model", train_folds=[2])
    clips = gather_clips(read_runs(run), LoudnessCodec(), tmp_path / "controls", seed=0)
    assert list(dict.fromkeys(clips["system"])) == list(SYSTEMS)
    folds = clips.groupby("system")["fold"].agg(set).to_dict()
    assert folds.pop("real") == folds.pop("codec") == {1} and folds.pop("generated") == {0}
    assert all(fold == {2} for fold in folds.values())
    assert set(clips.groupby("system").size().drop("generated")) == {4}


def test_everything_is_measured_at_the_lowest_rate(run, tmp_path):
    clips = gather_clips(read_runs(run), LoudnessCodec(), tmp_path / "controls", seed=0)
    measured, rate = measure_clips(clips, 0.1, tmp_path / "cache")
    assert rate == RATE and len(measured) == len(clips)
    assert set(measured["duration_s"]) == {0.1} and (measured["problem"] == "").all()
    copies = measured[measured["system"] == "copy"].groupby("category")[list(PER_CLIP)].nunique()
    assert (copies <= 1).all(axis=None)


def test_two_training_seeds_are_evaluated_together(run, tmp_path):
    other = make_run(tmp_path / "seed1", seed=1)
    report = evaluate_runs(run, [other], n_resamples=20, device="cpu", cache_dir=tmp_path / "cache")
    report.write(run)
    table = read_csv(run / "evaluation.csv")
    assert set(table.loc[table["test"] == PAIRED, "system"]) == {"codec"} and report.facts["n_swaps"] == N_SWAPS
    lengths = table[table["metric"] == "duration_s"]
    assert report.facts["n_metrics"] == len(PER_CLIP) - 1 and lengths[["ks", "p_value"]].isna().all(axis=None)
    assert lengths["mean"].notna().all()
    assert "duration_s" not in telling_apart(table, alpha=1.1)["apart"].sum()
    assert len(table) == (len(SYSTEMS) + 1) * len(PER_CLIP)
    assert set(table.loc[table["system"] == "generated", "run"]) == {"tiny seed 0", "tiny seed 1"}
    assert all((run / f"{name}.csv").is_file() for name in TABLES)
    assert set(read_csv(run / "evaluation_by_class.csv")["category"]) == {"dog", "rain"}
    assert set(read_csv(run / "evaluation_seeds.csv")["n_runs"]) == {2}
    diversity = report.diversity.set_index(["system", "run", "category"])["ratio"]
    assert diversity["copy", "", MEAN] == 0 < diversity["copy", "", ALL]
    assert report.facts["n_clips"]["generated tiny seed 1"] == 6 and report.facts["train_folds"] == [2, 3]
    text = describe_systems(report.evaluation_clips, ["fold1_seed2: not finished"])
    assert "`generated`: model, tiny seed 1; n = 6" in text and "- left out: fold1_seed2: not finished" in text
    text = findings_evaluation(report)
    assert "model, tiny seed 1 (6 clips): " in text and "Over 2 training seeds" in text and "as far apart" in text
    assert (
        "the codec (ceiling) (4 pairs): " in text and " from 4 real clips" in text and "finds smaller changes" in text
    )


def test_a_model_without_classes_is_compared_with_all_clips(tmp_path):
    run = make_run(tmp_path / "run", categories=("", ""))
    report = evaluate_runs(run, n_resamples=5, device="cpu", cache_dir=tmp_path / "cache")
    assert "generated" not in set(report.evaluation_by_class["system"])
    assert set(report.diversity.query("system == 'generated'")["category"]) == {ALL}
    assert "one training seed" in findings_evaluation(report)


def test_the_notebook_runs_on_a_finished_run_and_the_seed_beside_it(tmp_path):
    run = make_run(tmp_path / "fold1_seed0")
    make_run(tmp_path / "fold1_seed1", 1)
    cells = json.loads((ROOT / "notebooks" / "evaluation" / "14_evaluate.ipynb").read_text())["cells"]
    scope: dict = {}
    for cell in cells:
        if cell["cell_type"] != "code":
            continue
        exec("".join(cell["source"]), scope)  # as the kernel would, without starting one
        if "parameters" in cell["metadata"].get("tags", []):
            scope |= {"run_dir": str(run), "n_resamples": 5, "n_jobs": 1, "device": "cpu"}
            scope["evaluate_runs"] = lambda *a, real=evaluate_runs, **k: real(*a, **k, cache_dir=tmp_path / "cache")
    made = {path.name for path in (run / "figures").iterdir()}
    assert made == {f"evaluation_{n}.{k}" for n in ("overview", "octaves", "diversity") for k in ("pdf", "png")}
    record = read_json(run / "provenance" / "14_evaluate.json")
    assert record["parameters"]["n_resamples"] == 5 and record["facts"]["sample_rate_hz"] == RATE
    assert record["facts"]["training_seeds"] == [0, 1] and record["facts"]["runs_left_out"] == []
    assert set(read_csv(run / "evaluation_seeds.csv")["n_runs"]) == {2}
