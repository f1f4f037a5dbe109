"""Rates and the "SNR": known sounds, known consequences."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fakes.audit import STUDY, sounds

from envsound.base.errors import InputError
from envsound.studies.audit.rates import (
    EXPLAINS,
    HIDES,
    LITTLE,
    NOT_RUN,
    SIX,
    UNDECIDED,
    UNKNOWN,
    audit_rates,
    findings_rates,
    measure_rates,
    rates_of,
    share_verdict,
)
from envsound.studies.audit.snr import METRIC, NOISE, RHO, SLOPE, add_noise, audit_snr, findings_snr, noise_clips

RATES = (44_100, 24_000)
GIVEN = {"kind": "recorded clips", "n_resamples": 40, "published": STUDY}


def clip_table(high: dict[str, list[float]], low: dict[str, list[float]], rates=RATES) -> pd.DataFrame:
    parts = []
    for rate, values in zip(rates, (high, low), strict=True):
        n = len(next(iter(values.values())))
        part = pd.DataFrame({name: values.get(name, [1.0] * n) for name in SIX})
        parts.append(part.assign(clip_id=[f"c{i}" for i in range(n)], rate_hz=rate))
    return pd.concat(parts, ignore_index=True)


@pytest.fixture(scope="module")
def at_44(tmp_path_factory):
    recordings = sounds(tmp_path_factory.mktemp("a") / "sounds")
    return recordings, measure_rates(recordings, RATES)


def test_the_rates_are_the_published_ones_where_the_recordings_hold_them(at_44, tmp_path):
    assert rates_of(at_44[0], STUDY) == RATES
    assert rates_of(sounds(tmp_path / "b", rate=32_000), STUDY) == (32_000, 24_000)


def test_the_same_clips_are_measured_at_both_rates(at_44):
    recordings, clips = at_44
    assert len(clips) == 2 * len(recordings.table) and set(clips["rate_hz"]) == set(RATES)
    high, low = (clips[clips["rate_hz"] == rate].set_index("clip_id") for rate in RATES)
    hums = recordings.table.loc[recordings.table["category"] == "hum", "clip_id"]
    # crossings are counted by sample: fewer samples a second make more of them
    assert (low.loc[hums, "zcr"] > high.loc[hums, "zcr"]).all()
    assert (low.loc[hums, "snr_db"] < high.loc[hums, "snr_db"]).mean() > 0.5
    assert low["rms"].to_numpy() == pytest.approx(high["rms"].to_numpy(), rel=0.1)


def test_the_share_is_the_change_over_the_published_difference():
    # published centroid: 3089.7409 real, 1391.7807 generated
    name = "spectral_centroid_hz"
    table = audit_rates(clip_table({name: [3000.0, 2000.0]}, {name: [2500.0, 1800.0]}), RATES, **GIVEN)
    table = table.set_index("metric")
    row = table.loc[name]
    assert row["change"] == -350 and row["share"] == pytest.approx(350 / 1697.9602)
    assert row["share_low"] < row["share"] < row["share_high"] and row["change_low"] == -500
    assert row["ks"] == 0.5 and row["published_ks"] == 0.62
    assert table.loc["rms", "change"] == 0 and table.loc["rms", "share"] == 0 and table.loc["rms", "ks"] == 0


def test_a_rate_that_moves_the_other_way_hides_part_of_the_difference():
    lower = clip_table({"snr_db": [20.0] * 6}, {"snr_db": [16.0] * 6})
    table = audit_rates(lower, RATES, **GIVEN)
    assert table.set_index("metric").loc["snr_db", "share"] == pytest.approx(-4 / (23.1849 - 14.9688))
    assert "**hides** part of it, SNR -49% (" in findings_rates(table, RATES)


def study(folder: Path, sd: str) -> Path:
    """Write a table of published figures: a centroid 100 Hz lower in generated clips, both with a deviation of `sd`."""
    rows = ["item,side,value,sd,unit,source,note", "ks_rms,pair,0.3,,D,paper table 3,n=100 a side"]
    rows += [f"sample_rate,{side},{rate},,Hz,paper," for side, rate in zip(("real", "generated"), RATES, strict=True)]
    rows += [f"spectral_centroid_hz,{side},{mean},{sd},Hz,paper table 2," for side, mean in
             (("real", 500), ("generated", 400))]  # fmt: skip
    (folder / "study.csv").write_text("\n".join(rows) + "\n")
    return folder / "study.csv"


def centroid_share(folder: Path, sd: str, n_resamples: int = 4000) -> dict:
    name = "spectral_centroid_hz"
    clips = clip_table({name: [60.0] * 5}, {name: [10.0] * 5})  # the rate takes 50 Hz off, of every clip
    given = GIVEN | {"n_resamples": n_resamples, "published": study(folder, sd)}
    return audit_rates(clips, RATES, **given).set_index("metric", drop=False).loc[name].to_dict()


def test_the_error_of_the_published_difference_is_in_the_interval_of_the_share(tmp_path):
    row = centroid_share(tmp_path, "100")  # an error of sqrt(2 x 100^2 / 100) = 14.1 Hz
    assert row["share"] == 0.5 and row["change_low"] == row["change_high"] == -50
    ends = [50 / (100 + z * np.sqrt(200)) for z in (1.96, -1.96)]
    assert [row["share_low"], row["share_high"]] == pytest.approx(ends, rel=0.03)
    exact = centroid_share(tmp_path, "0")
    assert exact["share_low"] == exact["share_high"] == 0.5


@pytest.mark.parametrize("sd", ["240", ""])  # an error of 33.9 Hz: 100 Hz are 2.9 of it; or none published
def test_a_published_difference_near_zero_gives_a_share_without_an_interval(tmp_path, sd):
    row = centroid_share(tmp_path, sd)
    assert row["share"] == 0.5 and np.isnan(row["share_low"]) and np.isnan(row["share_high"])
    assert share_verdict(row) == UNDECIDED
    table = pd.DataFrame([row])
    text = findings_rates(table, RATES)
    assert "**left open**, Spectral centroid 50%, without an interval: the published difference is too near 0" in text
    assert np.isfinite(centroid_share(tmp_path, "230")["share_low"])


def test_an_interval_around_zero_is_little_only_if_both_ends_are():
    for low, high, verdict in ((0.06, 0.4, EXPLAINS), (-0.4, -0.06, HIDES), (-0.04, 0.05, LITTLE),
                               (-0.1, 0.6, UNDECIDED), (0.0, 0.06, UNDECIDED), (-0.2, 0.2, UNDECIDED)):  # fmt: skip
        assert share_verdict({"share": 0.0, "share_low": low, "share_high": high}) == verdict
    assert share_verdict({"share": np.nan, "share_low": np.nan, "share_high": np.nan}) == UNKNOWN


def test_a_metric_without_a_share_is_named_and_has_no_percent():
    table = audit_rates(clip_table({"snr_db": [np.nan] * 3}, {"snr_db": [1.0] * 3}), RATES, **GIVEN)
    text = findings_rates(table, RATES)
    assert "no share can be given, SNR unknown (no clip is defined at both rates)" in text and "nan" not in text


def test_clips_undefined_at_a_rate_are_left_out_and_counted():
    table = audit_rates(clip_table({"snr_db": [1.0, np.nan, 3.0]}, {"snr_db": [2.0, 5.0, np.nan]}), RATES, **GIVEN)
    row = table.set_index("metric").loc["snr_db"]
    assert (row["n"], row["n_undefined"], row["change"]) == (1, 2, 1.0)


def test_recordings_of_another_rate_get_no_share_and_those_of_a_low_one_no_table(at_44):
    table = audit_rates(
        clip_table({"rms": [1.0, 2.0]}, {"rms": [1.0, 3.0]}, (32_000, 24_000)), (32_000, 24_000), **GIVEN
    )
    assert table["share"].isna().all() and table["change"].notna().all()
    assert f"{NOT_RUN}: the recordings are at 32,000 Hz" in findings_rates(table, (32_000, 24_000))
    single = measure_rates(at_44[0], (16_000, 24_000))
    assert set(single["rate_hz"]) == {16_000}
    empty = audit_rates(single, (16_000, 24_000), **GIVEN)
    assert empty.empty and "not above 24,000 Hz" in findings_rates(empty, (16_000, 24_000))


# The "SNR"


def test_white_noise_alone_has_the_value_of_white_noise_whatever_its_level(at_44):
    table = audit_snr(*at_44, true_snrs_db=(40, 0), n_noise_clips=4, **GIVEN)
    alone = table[table["measure"] == NOISE]["value"]
    assert alone.to_numpy() == pytest.approx([10 * np.log10(0.5)] * 2, abs=0.05)  # 1 over the 2 of a difference


def test_noise_is_added_at_the_ratio_that_is_named(at_44, monkeypatch):
    recordings, _ = at_44
    heard = []
    monkeypatch.setattr("envsound.studies.audit.snr.acoustic", lambda x, rate: heard.append(x) or {"snr_db": 0.0})
    add_noise(recordings, recordings.table[:1], 24_000, (20, 0), seed=0)
    clean, twenty, none = heard
    for noisy, ratio in ((twenty, 20), (none, 0)):
        assert 10 * np.log10(np.mean(clean**2) / np.mean((noisy - clean) ** 2)) == pytest.approx(ratio)


def test_it_follows_the_centroid_and_not_the_noise(at_44):
    table = audit_snr(*at_44, true_snrs_db=(30, 20, 10), n_noise_clips=6, **GIVEN)
    rho = table[table["measure"] == RHO].set_index("rate_hz")
    assert (rho["value"] < -0.8).all() and (rho["low"] <= rho["value"]).all() and (rho["value"] <= rho["high"]).all()
    assert rho.loc[44_100, "published"] == -0.914 and np.isnan(rho.loc[24_000, "published"])
    slope = table[table["measure"] == SLOPE]
    assert (slope["value"] < 0.9).all() and (slope["high"] < 1).all()
    metric = table[(table["measure"] == METRIC) & (table["rate_hz"] == 24_000)]
    assert len(metric) == 4 and metric["true_snr_db"].isna().sum() == 1
    text = findings_snr(table)
    assert "(published: -0.914 at 44,100 Hz)" in text and "would move by 1" in text and "true ratio of 30 dB" in text


def test_clips_of_another_rate_are_not_beside_the_published_correlation(at_44):
    recordings, clips = at_44
    table = audit_snr(recordings, clips[clips["rate_hz"] == 24_000], true_snrs_db=(20, 0), n_noise_clips=2, **GIVEN)
    assert "published" not in findings_snr(table)


def test_noise_goes_to_clips_of_each_class_in_turn(at_44):
    chosen = noise_clips(*at_44, n=4, seed=3)
    assert chosen["category"].value_counts().to_dict() == {"hum": 2, "hiss": 2}
    with pytest.raises(InputError, match="n_noise_clips=0"):
        noise_clips(*at_44, n=0, seed=3)
    with pytest.raises(InputError, match="two different ratios"):
        audit_snr(*at_44, true_snrs_db=(10, 10), n_noise_clips=2, **GIVEN)
