"""Anybody's folders: at which rate they are measured, what is left out and named, and that nothing is touched."""

import os
from contextlib import suppress

import numpy as np
import pytest
import soundfile

from envsound.base.errors import InputError
from envsound.base.files import write_wav
from envsound.base.text import code_span, printable
from envsound.evaluation.compare import folders, measure_side
from envsound.evaluation.folders import Measuring, effect_report, measure_sides, metric_rows, side_facts, skipped_notes
from envsound.evaluation.sides import Source, from_folder
from envsound.metrics.acoustic import ACOUSTIC
from envsound.metrics.extended import PER_CLIP

RATE = 16_000


def noise(seed: int, n_samples: int = 4800) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, n_samples).clip(-1, 1)


@pytest.fixture
def how(tmp_path) -> Measuring:
    return Measuring(cache_dir=tmp_path / "cache")


@pytest.fixture
def sides(tmp_path) -> dict[str, list[Source]]:
    """Real: 48 kHz wav, 22.05 kHz stereo ogg. Generated: 44.1 kHz flac and 16 kHz wav in folders, names with spaces."""
    write_wav(tmp_path / "real" / "a.wav", noise(0, 14_400), 48_000)
    soundfile.write(tmp_path / "real" / "b b.ogg", np.stack([noise(1), noise(2)], 1), 22_050)
    (tmp_path / "made" / "deep er" / "ж").mkdir(parents=True)
    soundfile.write(tmp_path / "made" / "deep er" / "ж" / "дождь 1.flac", noise(3), 44_100)
    write_wav(tmp_path / "made" / "c.wav", noise(4), RATE)
    return {"real": from_folder(tmp_path / "real"), "generated": from_folder(tmp_path / "made")}


def contents(folder) -> dict:
    return {path: (path.stat().st_mtime_ns, path.is_file() and path.read_bytes()) for path in folder.rglob("*")}


def test_all_is_measured_at_the_lowest_rate_and_nothing_is_written_there(sides, how, tmp_path):
    before = contents(tmp_path / "real") | contents(tmp_path / "made")
    measured = measure_sides(sides, how)
    assert measured.sample_rate == RATE and measured.skipped.empty
    assert list(measured.clips["clip"]) == ["a.wav", "b b.ogg", "c.wav", "deep er/ж/дождь 1.flac"]
    assert list(measured.clips["category"]) == ["", "", "", "deep er/ж"]
    assert measured.clips["duration_s"].to_numpy() == pytest.approx([0.3, 4800 / 22_050, 0.3, 4800 / 44_100], abs=1e-4)
    assert contents(tmp_path / "real") | contents(tmp_path / "made") == before


def test_rows_are_those_of_the_serial_measurement(sides, how):
    rows = metric_rows(measure_sides(sides, how), ACOUSTIC)
    expected = measure_side(sides["real"], "real", RATE)
    for name in expected.columns:
        mine = rows.loc[rows["side"] == "real", name].tolist()
        assert mine == (pytest.approx(expected[name].tolist()) if name == "peak" else expected[name].tolist()), name
    assert list(rows.columns) == list(expected.columns)


def test_what_cannot_be_compared_is_named_with_its_reason_and_has_no_say_in_the_rate(sides, how, tmp_path):
    made = tmp_path / "made"
    for name in ("empty.wav", "empty too.wav"):
        (made / name).write_bytes(b"")
    write_wav(made / "silent.wav", np.zeros(2400), 8_000)
    write_wav(made / "hiss.wav", np.full(4800, 2.0**-16), 48_000)
    write_wav(made / "short.wav", noise(5, 800), RATE)
    write_wav(made / "telegraph.wav", noise(6, 500), 1_000)
    measured = measure_sides(sides | {"generated": from_folder(made)}, how)
    reasons = measured.skipped.set_index("clip")["reason"]
    assert set(measured.skipped["side"]) == {"generated"} and measured.sample_rate == RATE
    assert set(reasons.index) == {"empty.wav", "empty too.wav", "silent.wav", "hiss.wav", "short.wav", "telegraph.wav"}
    assert reasons["silent.wav"] == reasons["hiss.wav"] == "silent"
    assert reasons["short.wav"] == "too short: 0.05 s, below 0.1 s"
    assert reasons["telegraph.wav"] == "stored at 1000 Hz, below 2000 Hz"
    assert "unreadable" in reasons["empty too.wav"] and "empty" not in reasons["empty too.wav"]
    (note,) = skipped_notes(measured)
    assert note.startswith("Left out of generated, 6 of 8: `empty too.wav` (unreadable") and "\n" not in note
    facts = side_facts(measured, {"generated": "made"})["generated"]
    assert (facts["n_found"], facts["n_compared"], facts["stored_rates_hz"]) == (8, 2, [RATE, 44_100])


def test_clips_are_judged_by_the_part_that_is_compared(sides, how, tmp_path):
    write_wav(tmp_path / "made" / "late.wav", np.append(np.zeros(RATE), noise(7)), RATE)
    sides = {"real": sides["real"], "generated": from_folder(tmp_path / "made", 0.2)}
    cut = measure_sides(sides, Measuring(0.2, 0.1, 1, how.cache_dir))
    assert cut.skipped["reason"].tolist() == ["silent in its first 0.2 s"]
    assert measure_sides(sides, how).skipped.empty


def test_a_side_with_nothing_left_is_an_error_that_names_it(sides, how, tmp_path):
    write_wav(tmp_path / "none" / "a.wav", np.zeros(4800), RATE)
    with pytest.raises(InputError, match=r"generated_dir: none of its 1 files .*a\.wav: silent"):
        measure_sides({"real": sides["real"], "generated": from_folder(tmp_path / "none")}, how)
    (tmp_path / "void").mkdir()
    with pytest.raises(InputError, match="void: holds no file"):
        from_folder(tmp_path / "void")


def test_clips_of_one_name_on_both_sides_are_resampled_by_themselves(sides, how, tmp_path):
    for side, first in (("real", 10), ("made", 20)):
        for number in range(6):
            write_wav(tmp_path / "twins" / side / f"{number}.wav", noise(first + number) * (1 + number), RATE)
    twins = {side: from_folder(tmp_path / "twins" / name) for side, name in (("real", "real"), ("generated", "made"))}
    report = effect_report(measure_sides(twins, how), "made", n_resamples=40)
    names = report.evaluation_clips.groupby("system")["clip"].agg(set)
    assert len(names["real"]) == 6 and not names["real"] & names["generated"]
    assert set(report.evaluation["run"]) == {"", "made"} and report.evaluation_seeds.empty
    assert report.diversity["ratio"].notna().any()


def test_one_clip_a_side_leaves_diversity_out(sides, how):
    measured = measure_sides({side: sources[:1] for side, sources in sides.items()}, how)
    report = effect_report(measured, "made", n_resamples=5)
    assert report.diversity.empty and len(report.evaluation) == 2 * len(PER_CLIP)


def test_more_subfolders_than_a_table_holds_are_compared_as_one(sides, how, tmp_path, monkeypatch):
    for number in range(8):
        write_wav(tmp_path / "many" / f"class {number % 2}" / f"{number}.wav", noise(30 + number), RATE)
    both = {"real": from_folder(tmp_path / "many"), "generated": from_folder(tmp_path / "many")}
    measured = measure_sides(both, how)
    assert set(effect_report(measured, "", n_resamples=5).evaluation_by_class["category"]) == {"class 0", "class 1"}
    monkeypatch.setattr(folders, "MOST_CLASSES", 1)
    assert effect_report(measured, "", n_resamples=5).evaluation_by_class.empty


def test_what_is_decoded_is_measured_beside_files(sides, how):
    decoded = Source("decoded", lambda rate: noise(8, rate).astype(np.float32), 24_000)
    measured = measure_sides(sides | {"codec": [decoded]}, how)
    row = measured.clips[measured.clips["side"] == "codec"].iloc[0]
    assert row["duration_s"] == 1 and row["path"] == ""


def test_names_that_are_no_text_or_no_line_are_shown_as_escapes(sides, how, tmp_path):
    assert printable("a\nb\udcff\u202eж") == r"a\nb\udcff\u202eж"
    assert code_span("`<b>`") == "`'<b>'`"
    write_wav(tmp_path / "made" / "two\nlines.wav", noise(9), RATE)
    with suppress(OSError):  # not every file system takes such a name
        (tmp_path / "made" / os.fsdecode(b"bad \xff.wav")).write_bytes((tmp_path / "made" / "c.wav").read_bytes())
    measured = measure_sides(sides | {"generated": from_folder(tmp_path / "made")}, how)
    assert r"two\nlines.wav" in set(measured.clips["clip"])
    assert all(text.isprintable() for text in (*measured.skipped["clip"], *measured.skipped["reason"]))
