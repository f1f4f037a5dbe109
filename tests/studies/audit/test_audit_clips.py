"""Rates and the "SNR": known sounds, known consequences."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fakes.audit import PUBLISHED

from envsound.base.errors import InputError
from envsound.base.files import write_csv, write_wav
from envsound.data.recordings import Recordings, load_recordings
from envsound.studies.audit import clips as audit
from envsound.studies.audit.clips import METRIC, NOISE, RHO, SIX, SLOPE, audit_rates, audit_snr

STUDY = PUBLISHED / "published_study.csv"
RATES = (44_100, 24_000)
CENTROID = "spectral_centroid_hz"
GIVEN = {"kind": "recorded clips", "n_resamples": 40, "published": STUDY}


def sounds(folder: Path, rate: int = 44_100, n_samples: int = 6000) -> Recordings:
    """The recordings, at 24 kHz, of two classes in two folds: hums and hisses of different brightness."""
    rng, rows = np.random.default_rng(0), []
    for number in range(12):
        name, target = ("hum", "hiss")[number % 2], number % 2
        hz = rng.uniform(200, 900) if name == "hum" else rng.uniform(4000, 9000)
        tone = 0.3 * np.sin(2 * np.pi * hz * np.arange(n_samples) / rate)
        row = {"filename": f"{1 + number % 4 // 2}-{number}-A-{target}.wav", "fold": 1 + number % 4 // 2}
        write_wav(folder / "audio" / row["filename"], tone + 0.002 * rng.standard_normal(n_samples), rate)
        rows.append(row | {"target": target, "category": name, "esc10": True})
    write_csv(folder / "meta" / "esc50.csv", pd.DataFrame(rows))
    return load_recordings("esc50", data_dir=str(folder))


@pytest.fixture(scope="module")
def at_44(tmp_path_factory):
    recordings = sounds(tmp_path_factory.mktemp("a") / "sounds")
    return recordings, audit.measure_rates(recordings, RATES)


def rates_of_metric(name: str, high: list[float], low: list[float], rates=RATES, **given) -> dict:
    """The row of a metric with these values at either rate; every other metric is 1."""
    clips = pd.DataFrame({"rate_hz": np.repeat(rates, len(high)), "clip_id": [*range(len(high))] * 2})
    table = audit_rates(clips.assign(**dict.fromkeys(SIX, 1.0) | {name: [*high, *low]}), rates, **GIVEN | given)
    assert list(table.columns) == audit.RATE_COLUMNS and list(table["metric"]) == list(SIX)
    return table.set_index("metric").loc[name].to_dict()


def test_the_same_clips_are_measured_at_the_published_rates_where_they_hold_them(at_44, tmp_path):
    recordings, clips = at_44
    assert audit.rates_of(recordings, STUDY) == RATES
    assert audit.rates_of(sounds(tmp_path, rate=32_000), STUDY) == (32_000, 24_000)
    assert len(clips) == 2 * len(recordings.table) and set(clips["rate_hz"]) == set(RATES)
    high, low = (clips[clips["rate_hz"] == rate].set_index("clip_id") for rate in RATES)
    hums = recordings.table.loc[recordings.table["category"] == "hum", "clip_id"]
    assert (low.loc[hums, "zcr"] > high.loc[hums, "zcr"]).all()  # fewer samples a second: more crossings a sample
    assert low["rms"].to_numpy() == pytest.approx(high["rms"].to_numpy(), rel=0.1)


def test_the_share_is_the_change_over_the_published_difference():
    row = rates_of_metric(CENTROID, [3000.0, 2000.0], [2500.0, 1800.0])
    assert row["change"] == -350 and row["share"] == pytest.approx(350 / (3089.7409 - 1391.7807))
    assert row["share_low"] < row["share"] < row["share_high"] and row["change_low"] == -500
    assert row["ks"] == 0.5 and row["published_ks"] == 0.62
    row = rates_of_metric("snr_db", [20.0] * 6, [16.0] * 6)  # moves the other way: hides part of the difference
    assert row["share"] == pytest.approx(-4 / (23.1849 - 14.9688)) and row["share_high"] < 0
    row = rates_of_metric("rms", [1.0, 2.0], [1.0, 2.0])
    assert row["change"] == row["share"] == row["ks"] == 0


def study(folder: Path, sd: str) -> Path:
    """Write a table of published figures: a centroid 100 Hz lower in generated clips, both with a deviation of `sd`."""
    rows = ["item,side,value,sd,unit,source,note"]
    rows += [f"sample_rate,{side},{rate},,Hz,paper," for side, rate in zip(("real", "generated"), RATES, strict=True)]
    rows += [f"{CENTROID},real,500,{sd},Hz,paper table 2,", f"{CENTROID},generated,400,{sd},Hz,paper table 2,"]
    (folder / "study.csv").write_text("\n".join(rows) + "\n")
    return folder / "study.csv"


@pytest.mark.parametrize(
    ("sd", "z"),
    [("100", 1.96), ("0", 0), ("240", None), ("", None)],  # an error of 14.1 Hz; 33.9 Hz, of which 100 Hz are 2.9
)
def test_the_error_of_the_published_difference_is_in_the_interval_of_the_share(tmp_path, sd, z):
    given = {"n_resamples": 4000, "published": study(tmp_path, sd)}
    row = rates_of_metric(CENTROID, [60.0] * 5, [10.0] * 5, **given)  # the rate takes 50 Hz off, of every clip
    assert row["share"] == 0.5 and row["change_low"] == row["change_high"] == -50
    if z is None:
        assert np.isnan(row["share_low"]) and np.isnan(row["share_high"]) and "too near 0" in row["note"]
    else:
        ends = [50 / (100 + sign * z * np.sqrt(200)) for sign in (1, -1)]
        assert [row["share_low"], row["share_high"]] == pytest.approx(ends, rel=0.03)


def test_what_cannot_be_had_is_left_out_with_a_note(at_44):
    row = rates_of_metric("snr_db", [1.0, np.nan, 3.0], [2.0, 5.0, np.nan])
    assert (row["n"], row["n_undefined"], row["change"]) == (1, 2, 1.0)
    row = rates_of_metric("snr_db", [np.nan] * 3, [1.0] * 3)
    assert np.isnan(row["share"]) and "no clip is defined" in row["note"]

    row = rates_of_metric("rms", [1.0, 2.0], [1.0, 3.0], (32_000, 24_000))
    assert np.isnan(row["share"]) and row["change"] == 0.5 and "recordings are at 32,000 Hz" in row["note"]
    single = audit.measure_rates(at_44[0], (16_000, 24_000))
    assert set(single["rate_hz"]) == {16_000} and audit_rates(single, (16_000, 24_000), **GIVEN).empty


def test_noise_is_added_at_the_ratio_that_is_named(at_44, monkeypatch):
    recordings, _ = at_44
    heard = []
    monkeypatch.setattr(audit, "acoustic", lambda x, rate: heard.append(x) or {"snr_db": 0.0})
    audit.add_noise(recordings, recordings.table[:1], 24_000, (20, 0), seed=0)
    clean, *noisy = heard
    ratios = [10 * np.log10(np.mean(clean**2) / np.mean((one - clean) ** 2)) for one in noisy]
    assert ratios == pytest.approx([20, 0])


def test_the_snr_follows_the_centroid_and_not_the_noise(at_44):
    table = audit_snr(*at_44, true_snrs_db=(30, 20, 10), n_noise_clips=6, **GIVEN)
    assert audit._correlation(at_44[1][:2], np.random.default_rng(0), 5) == {"measure": RHO, "n": 2}  # too few
    rho = table[table["measure"] == RHO].set_index("rate_hz")
    assert (rho["value"] < -0.8).all() and (rho["low"] <= rho["value"]).all() and (rho["value"] <= rho["high"]).all()
    assert rho.loc[44_100, "published"] == -0.914 and np.isnan(rho.loc[24_000, "published"])
    assert (table.loc[table["measure"] == SLOPE, "high"] < 1).all()
    metric = table[(table["measure"] == METRIC) & (table["rate_hz"] == 24_000)]
    assert len(metric) == 4 and metric["true_snr_db"].isna().sum() == 1
    alone = table.loc[table["measure"] == NOISE, "value"].to_numpy()
    assert alone == pytest.approx([10 * np.log10(0.5)] * 2, abs=0.05)  # 1 over the 2 of a difference


def test_noise_goes_to_clips_of_each_class_in_turn(at_44):
    chosen = audit.noise_clips(*at_44, n=4, seed=3)
    assert chosen["category"].value_counts().to_dict() == {"hum": 2, "hiss": 2}
    with pytest.raises(InputError, match="n_noise_clips=0"):
        audit.noise_clips(*at_44, n=0, seed=3)
    with pytest.raises(InputError, match="two different ratios"):
        audit_snr(*at_44, true_snrs_db=(10, 10), n_noise_clips=2, **GIVEN)
