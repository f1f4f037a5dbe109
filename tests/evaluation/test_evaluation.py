import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from envsound.base.errors import InputError
from envsound.base.files import read_csv, write_csv, write_wav
from envsound.codec.codes import save_codes
from envsound.evaluation.compare import (
    compare,
    draw_real,
    evaluate_run,
    measure_pairs,
    measure_side,
    pair_clips,
    results_folder,
)
from envsound.evaluation.sides import Source, common_rate, from_folder
from envsound.evaluation.tables import TABLES
from envsound.metrics.acoustic import ACOUSTIC, acoustic, log_spectral_distance
from envsound.metrics.published import TABLE_COLUMNS, findings_figures, findings_metrics, readable, summary_table
from envsound.report.figures_audio import examples_of_run

ROOT = Path(__file__).parents[2]
RATE = 24_000


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)


def noise(seed: int, n_samples: int = 4800, level: float = 0.1) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, level, n_samples).clip(-1, 1).astype(np.float32)


class HalvingCodec:
    """A codec whose decoder gives 320 samples of 0.001 times the code of level 0 per frame."""

    name, sample_rate, frame_rate, n_levels, codebook_size, content_hash = "half", RATE, 75, 2, 1024, "a" * 64

    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        return (codes[:, 0].float() * 1e-3).repeat_interleave(320, dim=-1)


@pytest.fixture
def run(tmp_path, monkeypatch) -> Path:
    """A run: three folds of six clips of two classes at 48 kHz; eight samples at 24 kHz, the first silent."""
    monkeypatch.setattr(compare, "load_codec", lambda *_: HalvingCodec())
    folder, rows = tmp_path / "run", []
    for number in range(18):
        path, codes_file = (
            tmp_path / "audio" / f"{number:02d}.wav",
            tmp_path / "codes" / f"{number:02d}.safetensors",
        )
        write_wav(path, noise(number, 9600), 48_000)
        codes = np.random.default_rng(number).integers(0, 900, (2, 15))
        save_codes(codes_file, codes, HalvingCodec.content_hash, 4800)
        rows.append((number, path.name, path, number // 6 + 1, ("dog", "rain")[number % 2], 0, 15, 0.19, codes_file))
    names = ["clip_id", "filename", "path", "fold", "category", "target", "n_frames", "seconds", "codes_file"]
    write_csv(folder / "codes.csv", pd.DataFrame(rows, columns=names))
    samples = [(f"{number:04d}.wav", ("dog", "rain")[number % 2]) for number in range(8)]
    for number, (name, _) in enumerate(samples):
        write_wav(folder / "samples" / name, noise(100 + number, level=0.05 * (number > 0)), RATE)
    write_csv(folder / "samples.csv", pd.DataFrame(samples, columns=["filename", "category"]))
    return folder


def recordings(n: int = 30) -> pd.DataFrame:
    return pd.DataFrame({"filename": [f"{i}.wav" for i in range(n)], "fold": np.arange(n) % 3 + 1})


def side_rows(categories: list[str], prefix: str) -> pd.DataFrame:
    names = [f"{prefix}{number}" for number in range(len(categories))]
    return pd.DataFrame({"clip": names, "category": categories, "n_samples": 10})


def test_real_clips_are_drawn_from_the_folds_by_the_seed():
    table = recordings()
    drawn = draw_real(table, [1, 2], 12, seed=3)
    assert len(drawn) == 12 and set(drawn["fold"]) <= {1, 2}
    assert drawn["filename"].is_unique
    assert drawn.equals(draw_real(table, [1, 2], 12, seed=3))
    assert not drawn.equals(draw_real(table, [1, 2], 12, seed=4))
    assert list(draw_real(table, [3], 100, seed=0)["filename"]) == list(table[table["fold"] == 3]["filename"])


@pytest.mark.parametrize(("folds", "n", "words"), [([4], 5, "real_folds"), ([], 5, "folds"), ([1], 0, "n_real=0")])
def test_draws_that_cannot_be_made_are_refused(folds, n, words):
    with pytest.raises(InputError, match=words):
        draw_real(recordings(), folds, n, seed=0)


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
def test_unconditional_pairs_use_real_clips_evenly(n_generated, n_real, seed):
    pairs = pair_clips(side_rows([""] * n_generated, "g"), side_rows(["dog"] * n_real, "r"), seed)
    counts = pairs["real"].value_counts()
    assert len(pairs) == n_generated
    assert counts.max() == -(-n_generated // n_real)


def test_unreadable_clips_are_never_paired():
    real = side_rows(["", ""], "r").assign(n_samples=[0, 10])
    assert list(pair_clips(side_rows(["", ""], "g"), real, 0)["real"]) == ["r1", "r1"]
    with pytest.raises(InputError, match="no clip that can be read"):
        pair_clips(side_rows([""], "g"), real[:1], 0)


def test_a_side_is_measured_from_paths_arrays_and_sources(tmp_path):
    clip = noise(0)
    write_wav(tmp_path / "x.wav", clip, RATE)
    rows = measure_side([tmp_path / "x.wav", clip, Source("s", lambda rate: clip)], "real", RATE)
    expected = acoustic(clip, RATE)
    assert list(rows["clip"]) == ["x.wav", "clip 1", "s"]
    for name in ACOUSTIC:
        assert rows[name].iloc[1] == rows[name].iloc[2] == expected[name]
        assert rows[name].iloc[0] == pytest.approx(expected[name], rel=1e-3)  # 16 bits
    assert rows["peak"].iloc[1] == np.abs(clip).max()
    assert list(measure_side([clip], "real", RATE, ["rms"]).columns) == [
        "side", "clip", "category", "fold", "sample_rate_hz", "n_samples", "peak", "rms", "problem"
    ]  # fmt: skip


def test_a_clip_that_cannot_be_read_is_a_row_that_says_why(tmp_path):
    (tmp_path / "bad.wav").write_bytes(b"RIFF")
    rows = measure_side([tmp_path / "bad.wav", noise(0)], "generated", RATE)
    assert list(rows["n_samples"]) == [0, 4800]
    assert rows[list(ACOUSTIC)].iloc[0].isna().all()
    assert "bad.wav" in rows["problem"].iloc[0] and rows["problem"].iloc[1] == ""


def test_pairs_are_measured_by_hand():
    x, y = noise(0), noise(1, 2400)
    sides = [Source("x", lambda rate: x)], [Source("y", lambda rate: y)]
    pairs = measure_pairs(pd.DataFrame({"real": ["x"], "generated": ["y"], "category": [""]}), *sides, RATE)
    row = pairs.iloc[0]
    assert row["log_spectral_distance"] == log_spectral_distance(x, y)
    assert row["real_energy"] == pytest.approx((x.astype(float) ** 2).sum())
    assert (row["real_duration_s"], row["generated_duration_s"]) == (0.2, 0.1)


def test_a_run_is_evaluated_with_floor_and_ceiling(run):
    result = evaluate_run(run, fold=2, n_real=4, clip_seconds=5.0)
    rows = read_csv(run / "metrics.csv")
    assert rows["side"].value_counts().to_dict() == {"generated": 8, "real": 4, "codec": 4, "real_other": 4}
    assert set(rows.loc[rows["side"].isin(["real", "codec"]), "fold"]) == {2}
    assert set(rows.loc[rows["side"] == "real_other", "fold"]) <= {1, 3}
    assert set(rows["sample_rate_hz"]) == {RATE} and result.sample_rate == RATE
    assert "real 48000 Hz, generated 24000 Hz" in result.notes[0]
    real, codec = (rows[rows["side"] == side] for side in ("real", "codec"))
    assert list(real["clip"]) == list(codec["clip"])
    assert set(codec["n_samples"]) == {round(0.19 * RATE)}
    assert len(read_csv(run / "pairs.csv")) == 8
    table = read_csv(run / "table_metrics.csv").set_index("metric")
    assert table.loc["snr_db", ["n_real", "n_generated", "n_undefined_generated"]].tolist() == [4, 7, 1]
    assert table.loc["zcr", "published_difference_percent"] == -66.79
    assert run.as_posix() in result.report(run)
    assert result.facts["n_clips"]["codec"] == 4


def test_what_the_codec_makes_is_what_is_measured(run):
    rows = evaluate_run(run, fold=1, n_real=1).metrics.set_index("side")
    number = int(Path(rows.loc["codec", "clip"]).stem)
    codes = np.random.default_rng(number).integers(0, 900, (2, 15))
    decoded = (torch.from_numpy(codes[0]).float() * 1e-3).repeat_interleave(320).numpy()[: round(0.19 * RATE)]
    assert rows.loc["codec", "rms"] == pytest.approx(acoustic(decoded, RATE)["rms"], rel=1e-6)


def test_another_codec_is_refused(run, monkeypatch):
    codec = HalvingCodec()
    codec.content_hash = "b" * 64
    monkeypatch.setattr(compare, "load_codec", lambda *_: codec)
    with pytest.raises(InputError, match="codec"):
        evaluate_run(run)


def test_the_same_request_gives_the_same_tables(run):
    evaluate_run(run, n_real=3, real_seed=5)
    first = [(run / name).read_bytes() for name in ("metrics.csv", "pairs.csv", "table_metrics.csv")]
    evaluate_run(run, n_real=3, real_seed=5)
    assert first == [(run / name).read_bytes() for name in ("metrics.csv", "pairs.csv", "table_metrics.csv")]


def test_training_folds_limit_the_floor_and_no_codec_means_no_ceiling(run):
    result = evaluate_run(run, fold=1, train_folds=[3], codec="")
    rows = result.metrics
    assert set(rows["side"]) == {"real", "generated", "real_other"}
    assert set(rows.loc[rows["side"] == "real_other", "fold"]) == {3}
    assert set(result.table["n_codec"]) == {0}


def test_clips_are_cut(run):
    rows = evaluate_run(run, clip_seconds=0.1, codec="").metrics
    assert set(rows["duration_s"]) == {0.1}
    with pytest.raises(InputError, match="clip_seconds"):
        evaluate_run(run, clip_seconds=-1)


def test_any_two_folders_are_compared_at_the_lower_rate(tmp_path, monkeypatch):
    monkeypatch.setattr(compare, "results_folder", lambda *names: tmp_path / "out")
    write_wav(tmp_path / "x" / "dog" / "a.wav", noise(0), 16_000)
    soundfile.write(tmp_path / "x" / "stereo.flac", np.stack([noise(1), noise(2)], 1), 44_100)
    write_wav(tmp_path / "y" / "dog" / "b.wav", noise(3), 48_000)
    soundfile.write(tmp_path / "y" / "c.ogg", noise(4), 22_050)
    (tmp_path / "y" / "notes.txt").write_text("not audio")
    (tmp_path / "y" / "broken.wav").write_bytes(b"")
    given = {"generated_dir": str(tmp_path / "x"), "real_dir": str(tmp_path / "y"), "cache_dir": tmp_path / "cache"}
    result = evaluate_run("nowhere", **given, n_resamples=5)
    rows = result.metrics.set_index("clip")
    assert result.sample_rate == 16_000 and "16000 Hz" in result.notes[0]
    assert set(rows.index) == {"dog/a.wav", "stereo.flac", "dog/b.wav", "c.ogg"}
    assert any(note.startswith("Left out of real, 1 of 3: `broken.wav` (unreadable") for note in result.notes)
    assert dict(zip(result.pairs["generated"], result.pairs["real"], strict=True))["dog/a.wav"] == "dog/b.wav"
    assert rows.loc["stereo.flac", "duration_s"] == pytest.approx(4800 / 44_100, abs=1e-3)
    assert "2 of 2 pairs" in result.notes[-1]
    written = {path.stem for path in (tmp_path / "out").iterdir()}
    assert written == {"metrics", "pairs", "table_metrics", "skipped", *TABLES}


def test_a_folder_is_compared_with_the_clips_of_a_run(run, tmp_path, monkeypatch):
    monkeypatch.setattr(compare, "results_folder", lambda *names: tmp_path / "out")
    write_wav(tmp_path / "x" / "dog" / "a.wav", noise(0), RATE)
    result = evaluate_run(run, generated_dir=str(tmp_path / "x"), n_resamples=5, cache_dir=tmp_path / "cache")
    counts = {"real": 6, "generated": 1, "codec": 6, "real_other": 6}
    assert result.metrics["side"].value_counts().to_dict() == counts
    table = result.effects.evaluation.set_index(["system", "metric"])
    assert table.loc[("codec", "rms"), "n"] == 6
    codec = result.metrics[result.metrics["side"] == "codec"]
    assert table.loc[("codec", "rms"), "mean"] == pytest.approx(codec["rms"].mean())
    assert result.sides["generated"]["folder"].endswith("/x") and result.sides["real"]["folder"].endswith("/run")
    assert not (run / "metrics.csv").exists()


def test_folders_that_cannot_be_compared_are_refused(tmp_path):
    with pytest.raises(InputError, match="is not a folder"):
        from_folder(tmp_path / "nowhere")
    with pytest.raises(InputError, match="holds no file that soundfile can read"):
        from_folder(tmp_path)
    (tmp_path / "bad.wav").write_bytes(b"x")
    with pytest.raises(InputError, match="no clip of either side"):
        common_rate(from_folder(tmp_path))


def test_a_sample_outside_the_run_is_refused(run):
    write_csv(run / "samples.csv", pd.DataFrame({"filename": ["../../secret.wav"], "category": [""]}))
    with pytest.raises(InputError, match="leads outside"):
        evaluate_run(run)


def test_results_of_folders_do_not_overwrite_the_run(tmp_path):
    assert results_folder("data/runs/demo/fold1_seed0") == Path("data/runs/demo/fold1_seed0")
    folder = results_folder("data/runs/demo/fold1_seed0", str(tmp_path / "a" / "x"), "")
    assert re.fullmatch(r"data/runs/folders/a_x_against_demo_fold1_seed0-[0-9a-f]{6}", folder.as_posix())
    assert folder != results_folder("data/runs/demo/fold1_seed0", str(tmp_path / "b" / "a" / "x"), "")
    for awkward in ("/", str(tmp_path / ("long " * 60)), str(tmp_path / "звук"), str(tmp_path / "\udcff")):
        found = results_folder("run", awkward, awkward)
        assert found.parent == folder.parent and len(found.name) < 150 and found.name.isascii()


def test_the_summary_by_hand():
    rows = pd.DataFrame({"side": ["real"] * 3 + ["generated"] * 2, "rms": [1.0, 3.0, np.nan, 3.0, 5.0]})
    pairs = pd.DataFrame({"spectral_convergence": [1.0, 3.0], "log_spectral_distance": [2.0, np.nan]})
    table = summary_table(rows, pairs)
    assert list(table.columns) == TABLE_COLUMNS
    by_metric = table.set_index("metric")
    rms = by_metric.loc["rms"]
    assert (rms["n_real"], rms["n_undefined_real"], rms["real_mean"]) == (2, 1, 2.0)
    assert rms["real_sd"] == pytest.approx(np.sqrt(2))
    assert rms["difference_percent"] == pytest.approx(100.0)
    assert by_metric.loc["spectral_convergence", "generated_mean"] == 2.0
    assert by_metric.loc["log_spectral_distance", ["n_generated", "n_undefined_generated"]].tolist() == [1, 1]
    assert by_metric.loc["log_spectral_distance", "published_generated"] == 2.03
    text = findings_metrics(table)
    assert "**RMS** differs most: 1.41 sd, +100.0% (published -34.9%)" in text
    assert "n = 2 generated, 2 real" in text


def test_findings_without_any_acoustic_metric():
    pairs = pd.DataFrame({"spectral_convergence": [1.0], "log_spectral_distance": [2.0]})
    assert "No acoustic metric" in findings_metrics(summary_table(pd.DataFrame({"side": ["real"]}), pairs))


def test_readable_tables_have_no_nan_and_few_digits():
    shown = readable(pd.DataFrame({"a": [1.23456, np.nan, 0.0000123456, 123456.7], "n": [1, 2, 3, 4]}))
    assert list(shown["a"]) == ["1.235", "–", "1.235e-05", "123457"]
    assert list(shown["n"]) == [1, 2, 3, 4]


def test_findings_on_training_and_pairs():
    rows = [(e, level, "validation", 7.0 - e * (level == "0")) for e in (1, 2) for level in ("0", "1", "all")]
    training = pd.DataFrame(rows, columns=["epoch", "level", "split", "loss"])
    text = findings_figures(training, pd.DataFrame({"log_spectral_distance": [1.0, 3.0, np.nan]}))
    assert "between 5.00 (level 0) and 7.00 (level 1)" in text
    assert "Over 2 pairs the log spectral distance is 2.00 neper on average (published: 2.03)" in text


def test_examples_of_a_run_are_its_pairs(run):
    evaluate_run(run, fold=1, codec="")
    examples, rate = examples_of_run(run, 3)
    assert rate == RATE and len(examples) == 3
    assert examples[0].real_title == examples[0].generated_title == "dog"
    assert examples[0].generated.size == 4800
    assert len(examples_of_run(run, 100)[0]) == 8
    with pytest.raises(InputError, match="n_examples"):
        examples_of_run(run, 0)
