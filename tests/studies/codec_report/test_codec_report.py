"""The tables of a codec's report, on a codec whose every answer is known."""

import numpy as np
import pandas as pd
import pytest
from fakes.codecs import RATE, SampleCodec, noise, tone

from envsound.base.errors import InputError
from envsound.codec import systems
from envsound.codec.systems import System
from envsound.evaluation.listeners.mfcc import train_recogniser
from envsound.metrics.tests import wilson
from envsound.studies.codec_report.measuring import (
    METRICS,
    by_class,
    by_system,
    codebook_use,
    measure_ceiling,
    measure_clips,
    measure_systems,
)
from envsound.studies.codec_report.tables import listeners_in, systems_table

SIX = 20 * np.log10(2)  # dB, 6.02


class LoudIsNoise:
    """Hears noise in loud clips and tones in others."""

    def predict(self, clips, sample_rate):
        assert sample_rate == RATE
        return ["noise" if np.sqrt(np.mean(clip**2)) > 0.15 else "tone" for clip in clips]


@pytest.fixture(scope="module")
def material() -> tuple[list[np.ndarray], list[str], list[str]]:
    """Two classes nobody can confuse, noise and tones, of unequal lengths: clips, names, categories."""
    clips = [noise(5000 + 500 * (n // 2), seed=n, rms=0.2) for n in range(4)]
    clips += [tone(5000 + 500 * n, 310 + 50 * n, level=0.15) for n in range(4)]
    return clips, [f"{n}.wav" for n in range(8)], ["noise"] * 4 + ["tone"] * 4


CHANGES = {"original": lambda clips: clips, "half": lambda clips: clips / 2, "nothing": np.zeros_like}
HALF = [System(name, change) for name, change in CHANGES.items()]


@pytest.fixture(scope="module")
def rows(material) -> pd.DataFrame:
    return measure_clips(HALF, *material, RATE, {"loudness": LoudIsNoise()})


@pytest.fixture(scope="module")
def table(rows) -> pd.DataFrame:
    return by_system(rows, HALF).set_index("system", drop=False)


def test_a_clip_at_half_its_level_is_six_decibels_away_and_its_waveform_is_kept(rows, material):
    assert rows["system"].tolist() == ["original"] * 8 + ["half"] * 8 + ["nothing"] * 8
    assert rows["clip"].tolist() == material[1] * 3 and rows["category"].tolist() == material[2] * 3
    half = rows[(rows["system"] == "half") & (rows["category"] == "noise")]
    assert half["log_mel_distance"].tolist() == pytest.approx([SIX] * 4, abs=1e-2)
    assert half["stft_distance"].tolist() == pytest.approx([np.log(2)] * 4, rel=0.02)
    assert (half["si_sdr_db"] > 200).all()
    original = rows[rows["system"] == "original"]
    assert (original[["log_mel_distance", "stft_distance"]] == 0).all(axis=None)
    assert (original["si_sdr_db"] == np.inf).all()


def test_a_listener_s_verdict_is_kept_with_what_it_heard(rows, material):
    verdicts = rows.groupby(["system", "category"])[["recognised_loudness"]].mean()["recognised_loudness"]
    assert verdicts["original"].tolist() == [1, 1] and verdicts["half"].tolist() == [0, 1]
    assert set(rows.loc[rows["system"] == "half", "heard_as_loudness"]) == {"tone"}
    assert listeners_in(rows) == ["loudness"]
    assert listeners_in(measure_clips(HALF[:1], *(part[:1] for part in material), RATE)) == []


def test_the_originals_agree_with_themselves(table, rows):
    original = table.loc["original"]
    assert (original[[f"ks_{name}" for name in METRICS]] == 0).all()
    assert original["recognised_loudness"] == 1 and original["n_clips"] == 8
    assert original["n_si_sdr_db"] == 0 and np.isnan(original["si_sdr_db"]) and original["si_sdr_db_median"] == np.inf
    with pytest.raises(InputError, match="no rows of the system 'original'"):
        by_system(rows[rows["system"] != "original"], HALF[1:2])


def test_only_the_rms_of_clips_at_half_their_level_differs(table):
    half = table.loc["half"]
    assert half["ks_rms"] == 1  # the loudest at half its level is quieter than the quietest was
    assert half[[f"ks_{name}" for name in METRICS if name != "rms"]].max() <= 0.125  # rounding moves one clip at most
    assert half["threshold_5_percent"] == pytest.approx(1.3581 * np.sqrt(2 / 8), rel=1e-4)
    assert half["log_mel_distance"] <= SIX + 0.01 and half["recognised_loudness"] == 0.5
    assert (half["recognised_loudness_low"], half["recognised_loudness_high"]) == wilson(4, 8)


def test_what_silence_leaves_undefined_is_counted(table):
    nothing = table.loc["nothing"]
    assert nothing["n_snr_db"] == 0 and np.isnan(nothing["ks_snr_db"]) and np.isnan(nothing["threshold_5_percent"])
    assert nothing["n_rms"] == nothing["n_clips"] == 8 and nothing["ks_rms"] == 1
    assert nothing["n_comb_share"] == nothing["n_si_sdr_db"] == 0


def test_by_class_has_every_system_and_class(rows):
    classes = by_class(rows)
    assert classes["system"].tolist() == ["original"] * 2 + ["half"] * 2 + ["nothing"] * 2
    assert classes["category"].tolist() == ["noise", "tone"] * 3
    half = classes[classes["system"] == "half"].set_index("category")
    assert half.loc["noise", "ks_max"] == 1 and half.loc["noise", "ks_max_metric"] == "rms"
    assert half["recognised_loudness"].tolist() == [0, 1] and half["n_clips"].tolist() == [4, 4]
    assert half.loc["noise", "threshold_5_percent"] == pytest.approx(1.3581 * np.sqrt(2 / 4), rel=1e-4)


def test_codebook_use_counts_codes_and_their_evenness():
    steps = ((np.arange(16) + 0.5) / 8 - 1).astype(np.float32)  # the middle of each of the 16 ranges
    clips = [np.repeat(steps, 10), np.repeat(steps[:8], 20)]
    used, finer = (row for _, row in codebook_use({"even": SampleCodec(2)}, clips[:1]).iterrows())
    assert (used["codes_used"], used["used_share"], used["n_frames"]) == (16, 1.0, 160)
    assert used["perplexity"] == pytest.approx(16) and finer["codes_used"] == 1  # nothing is left for it
    half, both = (codebook_use({"half": SampleCodec(1)}, some).iloc[0] for some in (clips[1:], clips))
    assert half["used_share"] == 0.5 and half["perplexity"] == pytest.approx(8) and both["perplexity"] < 16


def test_a_codec_that_halves_the_level_is_six_decibels_down_in_every_band(material):
    clips, _, categories = material
    found = measure_ceiling(SampleCodec(4, gain=0.5), clips[2:6], categories[2:6])
    noises = found[(found["n_levels"] == 4) & (found["category"] == "noise")]
    for name in ("level_difference_db", "level_difference_db_median"):
        assert noises[name].tolist() == pytest.approx([-SIX] * 7, abs=1e-2)
    assert noises["distance_db"].tolist() == pytest.approx([SIX] * 7, abs=0.05)


def test_the_ceiling_has_every_level_class_and_band_and_ks_for_all_clips_only(material):
    clips, _, categories = material
    found = measure_ceiling(SampleCodec(2), clips, categories)
    bands = ["0-300", "300-1000", "1000-3500", "3500-5000", "5000-8000", "8000-12000", "all"]
    assert found["n_levels"].tolist() == [1] * 21 + [2] * 21 and found["band"].tolist() == bands * 6
    assert found["category"].tolist() == (["all"] * 7 + ["noise"] * 7 + ["tone"] * 7) * 2
    with_ks = found[found["ks_rms"].notna()]
    assert with_ks[["category", "band"]].to_numpy().tolist() == [["all", "all"]] * 2
    log_mel = found.set_index(["band", "n_levels", "category"])["log_mel_distance"]
    assert log_mel["all", 2, "all"] < log_mel["all", 1, "all"] and log_mel.notna().sum() == 6
    tones = found.set_index(["n_levels", "category", "band"]).loc[(2, "tone", "300-1000")]
    assert tones[["n_clips", "n", "n_left_out"]].tolist() == [4, 4, 0]
    everyone = found[found["category"] == "all"]
    assert (everyone["n"] + everyone["n_left_out"] == 8).all() and (everyone["n_clips"] == 8).all()


def test_bands_without_sound_are_left_out_and_counted():
    silent = measure_ceiling(SampleCodec(1), [np.zeros(5000, np.float32)], ["noise"])
    assert (silent["n"] == 0).all() and (silent["n_left_out"] == 1).all() and silent["level_difference_db"].isna().all()


def test_measure_systems_is_the_table_of_one_listener(material, monkeypatch):
    monkeypatch.setattr(systems, "opus_available", lambda: False)
    clips, _, categories = material
    found = measure_systems(SampleCodec(2), clips, categories, train_recogniser(clips, categories, RATE))
    assert found["system"].tolist() == ["original", "sample, 2 levels", "sample, 1 level", "white noise"]
    assert found["recognised"][0] == 1 and found["recognised"][3] == 0.5  # only the noises
    assert found["log_mel_distance"].is_monotonic_increasing
    shown = systems_table(found)
    assert shown[0] == "| system | log-mel (dB) | STFT (nepers) | SI-SDR (dB) | recognised | comb | KS |"
    assert shown[2].startswith("| original | 0.00 | 0.00 | – | 100% |") and shown[-1].startswith("| white noise |")
    assert len({line.count("|") for line in shown}) == 1


def test_a_table_of_several_listeners_has_a_column_for_each(table):
    more = table.assign(recognised_cnn=0.25, recognised_cnn_low=0.1, recognised_cnn_high=0.5)
    assert listeners_in(more) == ["loudness", "cnn"]
    header, _, first, *_ = systems_table(more)
    assert "recognised (loudness) | recognised (cnn)" in header and "| 100% | 25% |" in first
