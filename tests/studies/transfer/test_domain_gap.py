"""The domain gap: statistics with known values, tables, and the whole measurement of two folders of sound."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from fakes.codecs import SampleCodec, noise, tone
from fakes.gaps import KINDS, clip_table, codes_table, gap_table
from hypothesis import given, settings
from hypothesis import strategies as st

from envsound.base.errors import InputError
from envsound.base.files import read_csv, write_csv, write_wav
from envsound.data.recordings import Recordings, load_recordings
from envsound.metrics.measures import MEASURES, measure_clip
from envsound.studies.transfer.domain_gap import (
    CODE_COLUMNS,
    CODE_MEASURES,
    GAP_COLUMNS,
    Kinds,
    acoustic_gap,
    cliffs_delta,
    code_gap,
    common_max_hz,
    compare,
    findings_gap,
    kinds_of,
    measure_gap,
)

SMALL = st.lists(st.integers(-3, 3), min_size=1, max_size=8)


def codes(n: int, n_frames: int, size: int, seed: int, n_levels: int = 2) -> list[np.ndarray]:
    return list(np.random.default_rng(seed).integers(0, size, (n, n_levels, n_frames)))


def value(table: pd.DataFrame, measure: str, level: int, column: str) -> float:
    return table.set_index(["level", "measure"]).loc[(level, measure), column]


# Statistics


@settings(max_examples=60, deadline=None)
@given(SMALL, SMALL)
def test_cliffs_delta_counts_pairs(a, b):
    pairs = [(x > y) - (x < y) for x in a for y in b]
    assert cliffs_delta(np.array(a), np.array(b)) == pytest.approx(sum(pairs) / len(pairs))
    assert cliffs_delta(np.array(b), np.array(a)) == pytest.approx(-cliffs_delta(np.array(a), np.array(b)))


def test_cliffs_delta_of_sets_apart_and_of_none():
    assert cliffs_delta(np.array([2, 3]), np.array([0, 1])) == 1
    assert np.isnan(cliffs_delta(np.array([]), np.array([1.0])))


def test_medians_stand_in_their_intervals_and_undefined_clips_are_counted():
    rng = np.random.default_rng(0)
    speech, environment = rng.normal(1, 1, 80), np.append(rng.normal(0, 1, 60), [np.nan] * 3)
    row = compare(speech, environment, np.random.default_rng(1), 400)
    assert (row["n_speech"], row["n_environment"], row["n_undefined_environment"]) == (80, 60, 3)
    assert row["speech"] == np.median(speech) and row["environment"] == np.nanmedian(environment)
    for name in ("speech", "environment", "cliffs_delta"):
        assert row[f"{name}_low"] < row[name] < row[f"{name}_high"]
    assert row["cliffs_delta"] == pytest.approx(0.52, abs=0.15)  # P(N(1, 1) > N(0, 1)) = 0.760
    # a median of 80 normal values has a standard error of about 1.25 / sqrt(80)
    assert row["speech_high"] - row["speech_low"] == pytest.approx(4 * 1.25 / np.sqrt(80), rel=0.4)


def test_one_seed_gives_one_interval():
    a, b = np.arange(20.0), np.arange(10.0)
    rows = [compare(a, b, np.random.default_rng(seed), 50) for seed in (0, 0, 1)]
    assert rows[0] == rows[1] != rows[2]


def test_a_measure_that_one_side_does_not_have_is_left_empty():
    row = compare(np.array([np.nan]), np.array([1.0]), np.random.default_rng(0), 10)
    assert "speech" not in row and row["n_undefined_speech"] == 1


# Tables


def test_the_acoustic_table_has_a_row_for_each_measure_and_says_what_the_sides_are():
    table = gap_table()
    assert list(table.columns) == GAP_COLUMNS and list(table["measure"]) == list(MEASURES)
    assert set(table["speech_kind"]) == {"synthetic speech"} and set(table["n_environment"]) == {40}
    rows = table.set_index("measure")
    assert rows.loc["harmonicity", "cliffs_delta"] > 0.6 and abs(rows.loc["onset_rate_hz", "cliffs_delta"]) < 0.01
    assert rows.loc["modulation_2_8_hz", "n_undefined_speech"] == 1


def test_equal_sets_have_no_gap():
    table = acoustic_gap(clip_table(30, 0, 0), clip_table(30, 0, 0), KINDS, n_resamples=20)
    assert (table["cliffs_delta"] == 0).all() and (table["speech"] == table["environment"]).all()


def test_the_table_of_codes_has_every_level_and_no_level_above_the_first():
    table = codes_table(n_levels=3)
    assert list(table.columns) == CODE_COLUMNS and len(table) == 3 * len(CODE_MEASURES) - 2
    assert set(table.loc[table["level"] == 0, "measure"]) == set(CODE_MEASURES) - {"bits_above", "gained_above"}
    for level in range(3):
        assert value(table, "entropy_bits", level, "speech") == pytest.approx(2, abs=0.02)
        assert value(table, "entropy_share", level, "environment") == pytest.approx(1, abs=0.02)
        assert value(table, "bits_alone", level, "cliffs_delta") == -1  # all of speech is easier
        assert np.isnan(value(table, "entropy_bits", level, "cliffs_delta"))
    entropy = table[table["measure"] == "entropy_bits"]
    assert (entropy["environment_low"] <= entropy["environment"]).all() and (entropy["environment_high"] <= 4).all()


def test_a_set_that_is_larger_does_not_look_more_varied_or_easier_to_guess():
    few, many = codes(10, 60, 256, 1), codes(100, 60, 256, 2)
    table = code_gap(many, few, KINDS, codebook_size=256, n_resamples=20)
    for name, tolerance in (("entropy_bits", 0.1), ("bits_alone", 0.2)):
        assert value(table, name, 0, "speech") == pytest.approx(value(table, name, 0, "environment"), abs=tolerance)
    assert value(table, "bits_alone", 0, "n_speech") == 50  # held-out clips are measured, all of them


def test_clips_of_one_group_are_not_fitted_to_and_measured():
    def one_code_a_group(groups):
        return [np.full((1, 40), group) for group in groups]

    groups = [group for group in range(8) for _ in range(5)]
    apart = code_gap(one_code_a_group(groups), codes(40, 40, 16, 0, 1), KINDS, (groups, range(40)), 16, n_resamples=10)
    mixed = code_gap(one_code_a_group(groups), codes(40, 40, 16, 0, 1), KINDS, None, 16, n_resamples=10)
    assert value(apart, "bits_alone", 0, "speech") > value(mixed, "bits_alone", 0, "speech") + 3


def test_codes_that_do_not_fit_together_are_refused():
    with pytest.raises(InputError, match="same codec"):
        code_gap(codes(4, 9, 16, 0, n_levels=2), codes(4, 9, 16, 0, n_levels=3), KINDS)
    with pytest.raises(InputError, match="environment: no codes"):
        code_gap(codes(4, 9, 16, 0), [], KINDS)


# Two folders of sound


def folder_of(tmp_path, name: str, clips: dict[str, np.ndarray]) -> Recordings:
    rows = []
    for place, (filename, clip) in enumerate(clips.items()):
        write_wav(tmp_path / name / "audio" / filename, clip, 24_000)
        rows.append({"filename": filename, "category": name, "fold": place % 2 + 1})
    write_csv(tmp_path / name / "list.csv", pd.DataFrame(rows))
    return load_recordings("folder", data_dir=str(tmp_path / name), csv_name="list.csv")


@pytest.fixture
def sides(tmp_path):
    """Tones as speech; noise as environmental sound, one clip padded with silence and one of nothing else."""
    speech = {f"{hz}.wav": tone(26_000, hz) for hz in (200, 300, 400)}
    environment = {f"{seed}.wav": noise(25_000, seed) for seed in range(3)}
    environment |= {"padded.wav": np.pad(noise(3000, 9), (2000, 3000)), "silent.wav": np.zeros(5000, np.float32)}
    return folder_of(tmp_path, "speech", speech), folder_of(tmp_path, "environment", environment)


def test_two_sets_of_recordings_are_measured_and_written(tmp_path, sides):
    codec = SampleCodec(n_levels=2)
    report = measure_gap(*sides, codec, KINDS, tmp_path / "cache", n_resamples=20)
    assert report.facts["n_speech"] == 3 and report.facts["n_environment"] == 4
    assert report.facts["n_silent_environment"] == 1 and report.facts["codec_hash"] == codec.content_hash
    assert report.facts["data_cut"] == sides[1].cut and report.facts["speech_cut"] == sides[0].cut
    rows = report.gap.set_index("measure")
    assert rows.loc["harmonicity", "cliffs_delta"] == 1 and rows.loc["share_above_5000_hz", "cliffs_delta"] == -1
    report.write(tmp_path / "out")
    pd.testing.assert_frame_equal(read_csv(tmp_path / "out" / "gap.csv").fillna(""), report.gap.fillna(""), rtol=1e-12)
    assert len(read_csv(tmp_path / "out" / "gap_codes.csv")) == 2 * len(CODE_MEASURES) - 2
    clips = read_csv(tmp_path / "out" / "clips.csv").set_index("filename")
    expected = measure_clip(sides[0].load("200"))["harmonicity"]
    assert clips.loc["200.wav", "harmonicity"] == expected and "silent.wav" not in clips.index
    assert clips.loc["padded.wav", "seconds"] == pytest.approx(3000 / 24_000, abs=0.001)


def test_frames_of_digital_silence_are_left_out(tmp_path, sides, monkeypatch):
    seen = {}
    watch = lambda speech, environment, *_: seen.update(codes=environment)  # noqa: E731
    monkeypatch.setattr("envsound.studies.transfer.domain_gap.code_gap", watch)
    measure_gap(*sides, SampleCodec(n_levels=2), KINDS, tmp_path / "cache", n_resamples=5)
    lengths = [clip.shape[1] for clip in seen["codes"]]
    assert lengths[:3] == pytest.approx([25_000] * 3, abs=20) and lengths[3] == pytest.approx(3000, abs=20)


def test_a_set_of_nothing_but_silence_is_refused(tmp_path, sides):
    silent = folder_of(tmp_path, "silence", {"a.wav": np.zeros(5000, np.float32)})
    with pytest.raises(InputError, match="every clip is digital silence"):
        measure_gap(sides[0], silent, SampleCodec(), KINDS, tmp_path / "cache")


def test_bands_reach_up_to_half_the_lowest_rate_of_all_usable_sources(sides):
    speech, environment = sides
    assert common_max_hz(speech, environment) == 12_000
    report = environment.report.copy()
    report.loc[0, "sample_rate_hz"] = 16_000
    assert common_max_hz(speech, replace(environment, report=report)) == 8000
    report["status"] = ["bad", *report["status"][1:]]
    assert common_max_hz(speech, replace(environment, report=report)) == 12_000


# Words


def test_findings_name_the_widest_gap_and_what_is_synthetic():
    text = findings_gap(gap_table(), codes_table())
    widest = gap_table().query("~measure.str.match(r'modulation_[0-9.]+_[0-9]+_hz') or measure == 'modulation_2_8_hz'")
    widest = widest.loc[widest["cliffs_delta"].abs().idxmax(), "measure"]
    assert f"**{MEASURES[widest].label}" in text and "narrowest in Onset rate" in text
    assert "Synthetic speech (n = 30) against recorded environmental sound (n = 40)" in text
    assert "These numbers are of **synthetic speech** and say nothing about recordings of it." in text
    assert "bits of entropy" in text and "level above saves" in text
    recorded = gap_table().assign(speech_kind="recorded speech")
    assert "say nothing" not in findings_gap(recorded, codes_table(n_levels=1))


def test_findings_of_measures_that_are_nowhere_defined_say_so():
    empty = gap_table().assign(cliffs_delta=np.nan)
    assert findings_gap(empty, codes_table()) == "No measure is defined on both sides, so no gap can be given."


def test_kinds_follow_what_was_loaded():
    assert kinds_of("synthetic speech", "esc50") == KINDS
    assert kinds_of("recorded speech", "synthetic") == Kinds("recorded speech", "synthetic environmental sound")
