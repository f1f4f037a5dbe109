"""The added metrics on signals whose answers are known, and what must never change them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envsound.base.errors import InputError
from envsound.base.files import write_wav
from envsound.data.audio import read_clip
from envsound.metrics import extended as module
from envsound.metrics.acoustic import ACOUSTIC, acoustic, describe
from envsound.metrics.extended import (
    EXTENDED,
    GROUPS,
    OCTAVES_HZ,
    PER_CLIP,
    Request,
    extended,
    measure,
    measure_files,
    spectral_flux,
)

RATE, SECONDS = 24_000, 2
TIME = np.arange(RATE * SECONDS) / RATE
ENVELOPE = {"envelope_correlation_s", "envelope_repetition"} | {name for name in EXTENDED if "modulation" in name}
pytestmark = pytest.mark.filterwarnings("error")


def sine(hz: float, amplitude: float = 0.5) -> np.ndarray:
    return amplitude * np.sin(2 * np.pi * hz * TIME)


def noise(seed: int = 0, n_samples: int = TIME.size) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, n_samples)


def undefined(found: dict[str, float]) -> set[str]:
    return {name for name, value in found.items() if np.isnan(value)}


def test_a_sine_is_in_one_octave_with_a_crest_of_root_two_and_never_changes():
    found = extended(sine(1000), RATE)
    assert found["peak_dbfs"] == pytest.approx(20 * np.log10(0.5), abs=1e-9)
    assert found["crest_db"] == pytest.approx(10 * np.log10(2), abs=1e-9)
    assert found["octave_1000_hz"] == pytest.approx(1, abs=1e-12)
    assert sum(found[f"octave_{hz}_hz"] for hz in OCTAVES_HZ) == pytest.approx(1, abs=1e-12)
    assert found["share_above_5000_hz"] == pytest.approx(0, abs=1e-9)
    assert found["harmonicity"] == pytest.approx(1, abs=1e-6)
    assert found["spectral_flux"] == pytest.approx(0, abs=1e-12)
    assert undefined(found) == ENVELOPE
    both = extended(sine(500, 0.4) + sine(6000, 0.2), RATE)  # energy goes as the amplitude squared
    assert [both["octave_500_hz"], both["octave_8000_hz"]] == pytest.approx([0.8, 0.2], abs=1e-12)
    assert both["share_above_5000_hz"] == pytest.approx(0.2, abs=1e-6)


def test_a_square_wave_has_its_odd_harmonics_in_the_octaves_and_no_crest():
    period = 240  # samples, so 100 Hz
    found = extended(np.where(np.arange(TIME.size) % period < period // 2, 0.3, -0.3), RATE)
    share = {k: 8 / (period * np.sin(np.pi * k / period)) ** 2 for k in range(1, period // 2, 2)}
    assert found["crest_db"] == pytest.approx(0, abs=1e-9)
    assert found["octave_125_hz"] == pytest.approx(share[1], rel=1e-9)
    assert found["octave_250_hz"] == pytest.approx(share[3], rel=1e-9)
    assert found["octave_500_hz"] == pytest.approx(share[5] + share[7], rel=1e-9)
    assert found["octave_63_hz"] == pytest.approx(0, abs=1e-12)
    assert found["harmonicity"] == pytest.approx(1, abs=1e-9)


def test_an_impulse_is_flat_and_has_the_largest_crest_there_is():
    clip = np.zeros(TIME.size + 1)
    clip[clip.size // 2] = 0.8
    found = extended(clip, RATE)
    frequency = np.fft.rfftfreq(clip.size, 1 / RATE)[1:]
    for hz, centre in zip(OCTAVES_HZ, 1000 * 2.0 ** np.arange(-4, 4), strict=True):
        inside = (frequency >= centre / np.sqrt(2)) & (frequency < centre * np.sqrt(2))
        assert found[f"octave_{hz}_hz"] == pytest.approx(inside.mean(), rel=1e-9)
    assert found["crest_db"] == pytest.approx(10 * np.log10(clip.size), abs=1e-9)
    assert np.isnan(found["spectral_flux"])


def test_white_noise_measures_as_theory_says():
    found = extended(noise(n_samples=10 * RATE), RATE)
    assert found["spectral_flux"] == pytest.approx(1 - np.pi / 4, abs=0.005)
    assert found["share_above_5000_hz"] == pytest.approx(7 / 12, abs=0.01)
    assert found["octave_4000_hz"] == pytest.approx((4 * np.sqrt(2) - 4 / np.sqrt(2)) / 12, abs=0.01)
    assert found["harmonicity"] < 0.15 and found["envelope_repetition"] < 0.2
    assert found["envelope_correlation_s"] < 0.01


def test_a_tone_that_swells_and_a_clock_repeat_in_their_envelope_and_have_onsets():
    found = extended((1 + 0.8 * np.cos(2 * np.pi * 5 * TIME)) * sine(1000, 0.3), RATE)
    assert found["modulation_4_8_hz"] == pytest.approx(1, abs=1e-3)
    assert found["envelope_repetition"] == pytest.approx(1, abs=1e-3)
    assert found["envelope_correlation_s"] == pytest.approx(np.arccos(1 / np.e) / (2 * np.pi * 5), abs=5e-4)
    assert found["onset_rate_hz"] == pytest.approx(5, abs=0.5)
    clock = np.zeros(TIME.size)
    clock[RATE // 8 :: RATE // 4] = 0.7
    found = extended(clock, RATE)
    assert found["onset_rate_hz"] == 4 and found["envelope_repetition"] == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(("n_frames_each", "expected"), [(1, 1.0), (25, 1 / 49)])
def test_flux_is_the_share_of_moments_at_which_the_tone_changes(n_frames_each, expected):
    second = (np.arange(TIME.size) // (960 * n_frames_each)) % 2 == 1  # frames of 40 ms
    assert spectral_flux(np.where(second, sine(2000), sine(500)), RATE) == pytest.approx(expected, abs=1e-6)


def test_a_near_silence_counts_for_as_little_as_silence():
    tone, hiss = sine(500), noise(1) * 1e-5
    tone[RATE:] = 0
    assert spectral_flux(tone + hiss, RATE) == pytest.approx(spectral_flux(tone, RATE), abs=1e-3)


def test_what_silence_a_constant_a_short_or_a_slow_clip_leave_undefined():
    assert undefined(extended(np.zeros(RATE), RATE)) == set(EXTENDED)
    found = extended(np.full(RATE, 0.1), RATE)
    assert undefined(found) == set(EXTENDED) - {"peak_dbfs", "crest_db"}
    assert [found["peak_dbfs"], found["crest_db"]] == pytest.approx([-20, 0], abs=1e-9)
    assert undefined(extended(noise()[: RATE // 2], RATE)) == ENVELOPE
    assert undefined(extended(noise(), 16_000)) == {"octave_8000_hz"}
    above_telephone = {"share_above_5000_hz", "octave_4000_hz", "octave_8000_hz"}
    assert undefined(extended(noise(), 8_000)) == above_telephone


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 99), st.floats(0.01, 9), st.floats(-1, 1))
def test_gain_moves_the_peak_alone_and_a_constant_nothing_but_level(seed, gain, offset):
    clip = noise(seed, RATE)
    before, louder, moved = (extended(x, RATE) for x in (clip, gain * clip, clip + offset))
    assert louder["peak_dbfs"] == pytest.approx(before["peak_dbfs"] + 20 * np.log10(gain), abs=1e-9)
    for name in set(EXTENDED) - {"peak_dbfs"}:
        assert louder[name] == pytest.approx(before[name], rel=1e-6, abs=1e-9), name
    for name in set(EXTENDED) - {"peak_dbfs", "crest_db", "onset_rate_hz"}:  # an onset may stand at its threshold
        assert moved[name] == pytest.approx(before[name], rel=1e-5, abs=1e-8), name


def test_all_metrics_are_the_published_and_the_added_ones_and_bands_share_a_row_of_the_description():
    found = measure(noise(), RATE)
    assert tuple(found) == tuple(PER_CLIP) == tuple(name for group in GROUPS.values() for name in group)
    assert {name: found[name] for name in ACOUSTIC} == acoustic(noise(), RATE)
    assert all(type(value) is float for value in found.values())
    text = describe(EXTENDED)
    single = [name for name in EXTENDED if not name.startswith(("octave", "modulation"))]
    assert all(f"`{name}`" in text for name in single) and text.count("\n") == 1 + len(single) + 2
    assert "`octave_63_hz` … `octave_8000_hz`" in text and "`modulation_0.5_1_hz` … `modulation_32_64_hz`" in text


def test_bad_clips_and_rates_are_refused():
    with pytest.raises(InputError, match="no samples"):
        extended(np.array([]), RATE)
    for rate in (1_999, 24_000.5):
        with pytest.raises(InputError, match="at least 2000"):
            extended(noise(), rate)


# Files

REQUEST = Request(RATE)


@pytest.fixture
def files(tmp_path):
    paths = [tmp_path / f"{number}.wav" for number in range(3)]
    for number, path in enumerate(paths):
        write_wav(path, np.random.default_rng(number).normal(0, 0.1, 4800), RATE)
    return paths


@pytest.fixture
def measured(monkeypatch):
    """The files that were measured, in order."""
    seen, real = [], module.measure_file
    monkeypatch.setattr(module, "measure_file", lambda path, request: (seen.append(path.name), real(path, request))[1])
    return seen


def test_rows_are_what_the_metrics_give_in_the_order_of_the_files(files, tmp_path):
    table = measure_files(files[::-1], REQUEST, tmp_path / "cache")
    assert list(table.columns) == ["path", *PER_CLIP, "found_peak", "problem"]
    assert list(table["path"]) == [str(path) for path in files[::-1]]
    for path, row in zip(files[::-1], table.to_dict("records"), strict=True):
        expected = measure(read_clip(path, RATE), RATE)
        assert [row[name] for name in PER_CLIP] == pytest.approx(list(expected.values()), nan_ok=True, abs=0)


def test_a_file_is_measured_once_for_its_bytes_the_rate_and_the_length(files, tmp_path, measured):
    first = measure_files([*files, files[0]], REQUEST, tmp_path / "cache")
    again = measure_files([*files, files[0]], REQUEST, tmp_path / "cache")
    assert measured == ["0.wav", "1.wav", "2.wav"]
    assert first.equals(again)
    files[1].write_bytes(files[2].read_bytes())
    changed = measure_files(files, REQUEST, tmp_path / "cache")
    assert len(measured) == 3  # the bytes of file 2 are known
    assert changed["rms"].iloc[1] == changed["rms"].iloc[2]
    for count, request in enumerate((Request(16_000), Request(RATE, 0.1)), 4):
        table = measure_files(files[:1], request, tmp_path / "cache")
        assert len(measured) == count
    assert table["duration_s"].iloc[0] == pytest.approx(0.1)


@pytest.mark.parametrize("content", ["", '{"rms": 1}'])
def test_a_damaged_cache_file_is_made_again(files, tmp_path, measured, content):
    first = measure_files(files[:1], REQUEST, tmp_path / "cache")
    (kept,) = (tmp_path / "cache").iterdir()
    kept.write_text(content)
    with pytest.warns(UserWarning, match="damaged"):
        assert measure_files(files[:1], REQUEST, tmp_path / "cache").equals(first)
    assert len(measured) == 2


def test_a_file_that_cannot_be_measured_has_its_problem_in_words_and_a_silent_one_gaps(files, tmp_path):
    (tmp_path / "bad.wav").write_bytes(b"RIFF")
    write_wav(files[0], np.zeros(4800), RATE)
    for _ in range(2):  # the second time from the cache
        asked = [tmp_path / "bad.wav", files[0], tmp_path / "gone.wav"]
        table = measure_files(asked, REQUEST, tmp_path / "cache")
        assert table[list(PER_CLIP)].iloc[[0, 2]].isna().all(axis=None)
        assert "bad.wav" in table["problem"].iloc[0] and "no such file" in table["problem"].iloc[2]
        silent = table.iloc[1]
        assert np.isnan(silent["spectral_flux"]) and silent["rms"] == 0 and silent["problem"] == ""


def test_several_processes_give_the_same_table(files, tmp_path):
    alone, together = (measure_files(files, REQUEST, tmp_path / f"cache{n}", n_jobs=n) for n in (1, 2))
    assert alone.equals(together)
    with pytest.raises(InputError, match="n_jobs=0"):
        measure_files(files, REQUEST, tmp_path, n_jobs=0)
