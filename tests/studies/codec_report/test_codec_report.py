"""The tables of a codec's report, on a codec whose every answer is known."""

import numpy as np
import pandas as pd
import pytest
import torch
from fakes.codecs import RATE, SampleCodec, noise, tone

from envsound.base.errors import InputError
from envsound.codec import speed, systems
from envsound.codec.systems import Family, System, each, families
from envsound.evaluation.listeners.mfcc import mfcc_features, train_recogniser
from envsound.metrics.tests import wilson
from envsound.studies.codec_report.ceiling import ceiling_table, measure_ceiling
from envsound.studies.codec_report.goals import findings, goals
from envsound.studies.codec_report.report import (
    METRICS,
    by_class,
    by_system,
    codebook_use,
    codes_used,
    measure_clips,
    measure_systems,
)
from envsound.studies.codec_report.speed import measure_speed
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


HALF = [
    Family((System("original"),), lambda clips: iter([clips])),
    each(System("half"), lambda clip: clip / 2),
    Family((System("nothing"),), lambda clips: iter([np.zeros_like(clips)])),
]


@pytest.fixture(scope="module")
def rows(material) -> pd.DataFrame:
    return measure_clips(HALF, *material, RATE, {"loudness": LoudIsNoise()})


@pytest.fixture(scope="module")
def table(rows) -> pd.DataFrame:
    return by_system(rows, [system for family in HALF for system in family.systems])


# Clip by clip


def test_there_is_a_row_for_each_clip_and_system_in_order(rows, material):
    assert rows["system"].tolist() == ["original"] * 8 + ["half"] * 8 + ["nothing"] * 8
    assert rows["clip"].tolist() == material[1] * 3 and rows["category"].tolist() == material[2] * 3


def test_a_clip_at_half_its_level_is_six_decibels_away_and_its_waveform_is_kept(rows):
    half = rows[(rows["system"] == "half") & (rows["category"] == "noise")]
    assert half["log_mel_distance"].tolist() == pytest.approx([SIX] * 4, abs=1e-2)
    assert half["stft_distance"].tolist() == pytest.approx([np.log(2)] * 4, rel=0.02)
    assert (half["si_sdr_db"] > 200).all()
    original = rows[rows["system"] == "original"]
    assert (original[["log_mel_distance", "stft_distance"]] == 0).all(axis=None)
    assert (original["si_sdr_db"] == np.inf).all()


def test_a_listener_s_verdict_is_kept_with_what_it_heard(rows):
    verdicts = rows.groupby(["system", "category"])[["recognised_loudness"]].mean()["recognised_loudness"]
    assert verdicts["original"].tolist() == [1, 1] and verdicts["half"].tolist() == [0, 1]
    assert set(rows.loc[rows["system"] == "half", "heard_as_loudness"]) == {"tone"}
    assert listeners_in(rows) == ["loudness"]


def test_without_listeners_there_are_no_verdicts(material):
    assert listeners_in(measure_clips(HALF[:1], *material, RATE)) == []


# By system


def test_the_originals_agree_with_themselves(table):
    original = table.iloc[0]
    assert (original[[f"ks_{name}" for name in METRICS]] == 0).all()
    assert original["recognised_loudness"] == 1 and original["n_clips"] == 8
    assert original["n_si_sdr_db"] == 0 and np.isnan(original["si_sdr_db"]) and original["si_sdr_db_median"] == np.inf


def test_only_the_rms_of_clips_at_half_their_level_differs(table):
    half = table.set_index("system").loc["half"]
    assert half["ks_rms"] == 1  # the loudest at half its level is quieter than the quietest was
    assert half[[f"ks_{name}" for name in METRICS if name != "rms"]].max() <= 0.125  # rounding moves one clip at most
    assert half["threshold_5_percent"] == pytest.approx(1.3581 * np.sqrt(2 / 8), rel=1e-4)
    assert half["log_mel_distance"] <= SIX + 0.01


def test_what_silence_leaves_undefined_is_counted(table):
    nothing = table.set_index("system").loc["nothing"]
    assert nothing["n_snr_db"] == 0 and np.isnan(nothing["ks_snr_db"]) and np.isnan(nothing["threshold_5_percent"])
    assert nothing["n_rms"] == 8 and nothing["ks_rms"] == 1
    assert nothing["n_comb_share"] == 0 and nothing["n_si_sdr_db"] == 0 and nothing["n_clips"] == 8


def test_recognised_shares_have_wilson_s_interval(table):
    half = table.set_index("system").loc["half"]
    assert half["recognised_loudness"] == 0.5
    assert (half["recognised_loudness_low"], half["recognised_loudness_high"]) == wilson(4, 8)


@pytest.mark.parametrize("count", [0, 4, 8])
def test_wilson_s_interval_solves_its_equation(count):
    """Both ends p satisfy (share - p)^2 = z^2 p (1 - p) / n."""
    n, z = 8, 1.959963984540054
    for end in wilson(count, n):
        assert (count / n - end) ** 2 == pytest.approx(z**2 * end * (1 - end) / n, abs=1e-12)
    assert wilson(8, 10) == pytest.approx((0.4901625, 0.9433178), abs=1e-6)


def test_a_table_without_the_originals_is_refused(rows):
    with pytest.raises(InputError, match="no rows of the system 'original'"):
        by_system(rows[rows["system"] != "original"], [System("half")])


# By class


def test_by_class_has_every_system_and_class(rows):
    classes = by_class(rows)
    assert list(zip(classes["system"], classes["category"], strict=True)) == [
        (system, category) for system in ("original", "half", "nothing") for category in ("noise", "tone")
    ]
    half = classes[classes["system"] == "half"].set_index("category")
    assert half.loc["noise", "ks_max"] == 1 and half.loc["noise", "ks_max_metric"] == "rms"
    assert half["recognised_loudness"].tolist() == [0, 1] and half["n_clips"].tolist() == [4, 4]
    assert half.loc["noise", "threshold_5_percent"] == pytest.approx(1.3581 * np.sqrt(2 / 4), rel=1e-4)


# Codebooks


def test_codebook_use_counts_codes_and_their_evenness():
    steps = (np.arange(16) + 0.5) / 8 - 1  # the middle of each of the 16 ranges
    clips = [np.repeat(steps, 10).astype(np.float32), np.repeat(steps[:8], 20).astype(np.float32)]
    used = codebook_use({"even": SampleCodec(1)}, clips[:1]).iloc[0]
    assert (used["codes_used"], used["used_share"], used["n_frames"]) == (16, 1.0, 160)
    assert used["perplexity"] == pytest.approx(16)
    half = codebook_use({"half": SampleCodec(1)}, clips[1:]).iloc[0]
    assert half["used_share"] == 0.5 and half["perplexity"] == pytest.approx(8)
    assert codebook_use({"both": SampleCodec(1)}, clips).iloc[0]["perplexity"] < 16
    assert codes_used(SampleCodec(2), clips[:1]) == [16, 1]  # nothing is left for the second level


# Speed


def test_speed_has_one_row_for_each_codec_and_device(monkeypatch):
    devices = []
    makers = {name: lambda device: devices.append(device) or SampleCodec(1) for name in ("one", "other")}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    rows = measure_speed(makers, seconds=0.5, repeats=2)
    assert rows["codec"].tolist() == ["one", "other"] and devices == ["cpu", "cpu"]
    whole = rows["encode_seconds"] + rows["decode_seconds"]
    assert rows["real_time_factor"].tolist() == pytest.approx((0.5 / whole).tolist()) and (whole > 0).all()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(speed, "describe_device", lambda device: f"a {device.type}")
    rows = measure_speed(makers, seconds=0.1, repeats=1)
    assert rows["device_name"].tolist() == ["a cpu", "a cpu", "a cuda", "a cuda"]


# The ceiling


def test_a_codec_that_halves_the_level_is_six_decibels_down_in_every_band(material):
    clips, _, categories = material
    found = ceiling_table(*measure_ceiling(SampleCodec(4, gain=0.5), clips, categories))
    everyone = found[(found["n_levels"] == 4) & (found["category"] == "noise")]
    assert everyone["level_difference_db"].tolist() == pytest.approx([-SIX] * 7, abs=1e-2)
    assert everyone["level_difference_db_median"].tolist() == pytest.approx([-SIX] * 7, abs=1e-2)
    assert everyone["distance_db"].tolist() == pytest.approx([SIX] * 7, abs=0.05)


def test_bands_without_sound_are_left_out_and_counted(material):
    clips, _, categories = material
    found = ceiling_table(*measure_ceiling(SampleCodec(4), clips, categories)).set_index(
        ["n_levels", "category", "band"]
    )
    tones = found.loc[(4, "tone")]
    assert tones.loc["300-1000", ["n_clips", "n", "n_left_out"]].tolist() == [4, 4, 0]
    everyone = found.loc[(4, "all")]
    assert (everyone["n"] + everyone["n_left_out"] == 8).all() and (everyone["n_clips"] == 8).all()
    silent = ceiling_table(*measure_ceiling(SampleCodec(1), [np.zeros(5000, np.float32)], ["noise"]))
    assert (silent["n"] == 0).all() and (silent["n_left_out"] == 1).all() and silent["level_difference_db"].isna().all()


def test_the_ceiling_has_every_level_class_and_band_and_ks_for_all_clips_only(material):
    clips, _, categories = material
    found = ceiling_table(*measure_ceiling(SampleCodec(2), clips, categories))
    bands = ["0-300", "300-1000", "1000-3500", "3500-5000", "5000-8000", "8000-12000", "all"]
    assert found["n_levels"].tolist() == [1] * 21 + [2] * 21
    assert found["category"].tolist() == (["all"] * 7 + ["noise"] * 7 + ["tone"] * 7) * 2
    assert found["band"].tolist() == bands * 6
    with_ks = found[found["ks_rms"].notna()]
    assert with_ks[["category", "band"]].to_numpy().tolist() == [["all", "all"]] * 2
    log_mel = found.loc[found["band"] == "all"].set_index(["n_levels", "category"])["log_mel_distance"]
    assert (
        log_mel[(2, "all")] < log_mel[(1, "all")] and found.loc[found["band"] != "all", "log_mel_distance"].isna().all()
    )


# Goals and words


@pytest.fixture
def results() -> tuple[pd.DataFrame, pd.DataFrame]:
    shares = {"recognised_cnn": 0.9, "recognised_cnn_low": 0.8, "recognised_cnn_high": 0.95}
    ks = {f"ks_{name}": 0.1 for name in METRICS}
    known = {"codec": "", "n_levels": 0, "n_clips": 80}
    rows = [{"system": "original", "log_mel_distance": 0.0}, {"system": "mine, 8 levels", "log_mel_distance": 2.0}]
    rows += [
        {"system": "mine, 1 level", "log_mel_distance": 3.0},
        {"system": "Opus, 12 kbit/s", "log_mel_distance": 3.5},
    ]
    systems = pd.DataFrame([known | row | shares | ks for row in rows])
    systems.loc[[1, 2], ["codec", "n_levels"]] = [["mine", 8], ["mine", 1]]
    codebook = pd.DataFrame({"codec": ["mine", "mine", "other"], "level": [0, 1, 0], "used_share": [0.9, 0.71, 0.1]})
    return systems, codebook


def test_goals_that_are_met(results):
    found = goals(*results, "mine")
    assert found["met"].tolist() == ["yes"] * 4
    assert found["value"].tolist() == pytest.approx([0.1, 0, 71, 2.0])
    assert "listener cnn" in found["goal"][1] and found["target"][3] == "below Opus, 12 kbit/s (3.50 dB)"


@pytest.mark.parametrize(
    ("column", "value", "goal"),
    [
        ("ks_zcr", 0.16, 0),
        ("recognised_cnn", 0.84, 1),
        ("recognised_cnn", 0.96, 1),  # more than real is suspicious too
        ("log_mel_distance", 3.6, 3),
    ],
)
def test_goals_that_are_missed(results, column, value, goal):
    systems, codebook = results
    systems.loc[1, column] = value
    assert goals(systems, codebook, "mine")["met"].tolist() == ["no" if row == goal else "yes" for row in range(4)]


def test_a_goal_at_its_edge(results):
    systems, codebook = results
    systems.loc[1, ["ks_zcr", "recognised_cnn"]] = [0.15, 0.85]
    codebook.loc[1, "used_share"] = 0.70
    assert goals(systems, codebook, "mine")["met"].tolist() == ["yes", "yes", "no", "yes"]
    assert "Zero-crossing rate" in goals(systems, codebook, "mine")["goal"][0]


def test_goals_without_opus_or_a_listener_say_so(results):
    systems, codebook = results
    systems = systems[systems["system"] != "Opus, 12 kbit/s"].drop(columns="recognised_cnn")
    found = goals(systems[[c for c in systems if not c.startswith("recognised")]], codebook, "mine")
    assert found["met"].tolist() == ["yes", "not run here", "yes", "not run here"]
    assert found["value"].isna().tolist() == [False, True, False, True]


def test_goals_of_an_unknown_codec_are_refused(results):
    with pytest.raises(InputError, match="no row of the codec 'theirs'"):
        goals(*results, "theirs")


def test_findings_name_the_distance_the_listener_and_the_highest_band(results):
    systems, codebook = results
    ceiling = pd.DataFrame({
        "n_levels": [1, 8, 8, 8], "category": "all", "band": ["8000-12000", "0-300", "8000-12000", "all"],
        "n": [70, 80, 70, 80], "n_left_out": [10, 0, 10, 0], "level_difference_db": [-3.0, 0.0, -1.25, 0.1],
    })  # fmt: skip
    text = findings(systems, ceiling, goals(systems, codebook, "mine"), "mine")
    for words in ("2.00 dB", "3.50 dB for Opus at 12 kbit/s", "cnn names **90%**", "80% to 95%", "8000 to 12000 Hz",
                  "-1.2 dB", "n = 70, 10 without", "Goals met: 4 of 4."):  # fmt: skip
        assert words in text
    ceiling["n"] = 0
    assert "No clip has sound at 8000 to 12000 Hz" in findings(
        systems, ceiling, goals(systems, codebook, "mine"), "mine"
    )


# Recognising, and the short form that trains a codec's card


def test_features_are_finite_even_of_silence_and_short_clips():
    for clip in (np.zeros(5000, np.float32), noise(2100)):
        features = mfcc_features(clip, RATE)
        assert features.shape == (80,)
        assert np.isfinite(features).all()


@pytest.fixture(scope="module")
def recogniser(material):
    return train_recogniser(material[0], material[2], RATE)


def test_the_recogniser_tells_noise_from_tones(recogniser):
    clips = [noise(6000, seed=99), tone(6000, 410), noise(5500, seed=98), tone(5500, 330)]
    assert recogniser.predict(clips, RATE) == ["noise", "tone", "noise", "tone"]


def test_measure_systems_is_the_table_of_one_listener(material, recogniser, monkeypatch):
    monkeypatch.setattr(systems, "opus_available", lambda: False)
    clips, _, categories = material
    found = measure_systems(SampleCodec(2), clips, categories, recogniser)
    assert found["system"].tolist() == ["original", "sample, 2 levels", "sample, 1 level", "white noise"]
    assert found["recognised"][0] == 1 and found["recognised"][3] == 0.5  # only the noises
    assert found["log_mel_distance"].is_monotonic_increasing
    shown = systems_table(found).splitlines()
    assert shown[0] == "| system | log-mel (dB) | STFT (nepers) | SI-SDR (dB) | recognised | comb | KS |"
    assert shown[2].startswith("| original | 0.00 | 0.00 | – | 100% |") and shown[-1].startswith("| white noise |")
    assert len({line.count("|") for line in shown}) == 1


def test_a_table_of_several_listeners_has_a_column_for_each(table):
    more = table.assign(recognised_cnn=0.25, recognised_cnn_low=0.1, recognised_cnn_high=0.5)
    assert listeners_in(more) == ["loudness", "cnn"]
    header, _, first, *_ = systems_table(more).splitlines()
    assert "recognised (loudness) | recognised (cnn)" in header and "| 100% | 25% |" in first


def test_families_of_the_fake_are_what_the_report_measures(material, monkeypatch):
    monkeypatch.setattr(systems, "opus_available", lambda: False)
    measured = families({"sample": SampleCodec(4)})
    rows = measure_clips(measured, *material, RATE)
    found = by_system(rows, [system for family in measured for system in family.systems])
    assert found["n_levels"].tolist() == [0, 4, 2, 1, 0] and found["codec"].tolist() == ["", *["sample"] * 3, ""]
    assert found["si_sdr_db"][1] > found["si_sdr_db"][2] > found["si_sdr_db"][3] > found["si_sdr_db"][4]
