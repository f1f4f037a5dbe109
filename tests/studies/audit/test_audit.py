"""The whole audit of a small folder of sound: tables, verdicts, figures."""

from dataclasses import replace

import matplotlib
import numpy as np
import pandas as pd
import pytest
from fakes.audit import CPU, PADDING, PROTOCOL, SHAPE, audit_of, finished_audit, sounds
from fakes.codecs import SampleCodec

from envsound.base.errors import InputError
from envsound.report.style import save_figure
from envsound.studies.audit import figures
from envsound.studies.audit.padding import PaddingPlan
from envsound.studies.audit.run import OPTIONAL, TABLES, AuditPlan, kind_of_clips, read_report, run_audit
from envsound.studies.audit.statistics import OPEN
from envsound.studies.audit.verdicts import (
    HEADINGS,
    LEAST_GAIN,
    NOTED_HEADING,
    Verdict,
    agreed_sign,
    verdict_list,
    verdicts,
)


@pytest.fixture
def report():
    return finished_audit()


def said(report, **changed) -> dict[str, bool | None]:
    return {v.words: v.stands for v in verdicts(replace(report, tables=report.tables | changed))}


def stands(found: dict[str, bool | None], part: str) -> bool | None:
    (verdict,) = {verdict for words, verdict in found.items() if part in words}
    return verdict


def words_of(fig) -> str:
    return " | ".join(text.get_text() for text in fig.findobj(matplotlib.text.Text))


def test_every_table_is_made_and_read_back(report, tmp_path):
    assert set(report.tables) == {*TABLES, *OPTIONAL} and report.rates == (44_100, 24_000)
    report.write(tmp_path)
    again = read_report(tmp_path, report.facts)
    for name in TABLES:
        assert len(again[name]) == len(report[name]) > 0, name
    assert {len(set(report[name]["kind"])) for name in ("audit_rates", "audit_snr", "audit_padding")} == {1}
    assert report.facts["data_cut"].startswith("ESC-50 folder") and report.facts["codebook_size"] == 16


def test_what_is_right_comes_before_what_is_not(report):
    found = verdicts(report)
    text = verdict_list(found)
    present = {v.stands for v in found}
    places = [text.index(f"### {heading}") for stands, heading in HEADINGS.items() if stands in present]
    assert places == sorted(places) and text.startswith("### What stands")
    assert "- 14 of 14 printed means agree" in text and "6 of 6 Kolmogorov-Smirnov tests" in text
    assert text.index("8 of 14 printed standard deviations") > text.index("### What does not stand")
    assert "###" not in verdict_list([]) and verdict_list([Verdict(None, "x")]).startswith("### What stays open")


def test_each_verdict_follows_its_table(report):
    rates = report["audit_rates"].assign(share=0.5, share_low=0.2, share_high=0.8)
    assert stands(said(report, audit_rates=rates), "size of the difference in Spectral centroid") is False
    rates = rates.assign(share=-0.5, share_low=-0.8, share_high=-0.2)
    found = said(report, audit_rates=rates)
    assert stands(found, "That Spectral centroid differs") is True
    assert any("at one rate it is 50% (20 to 80) larger" in words for words in found)
    rates = rates.assign(share=0.01, share_low=0.005, share_high=0.02)  # not by chance, but next to nothing
    assert stands(said(report, audit_rates=rates), "The difference in RMS") is True
    rates = rates.assign(share=0.25, share_low=-0.1, share_high=0.6)  # anything between: no result
    assert stands(said(report, audit_rates=rates), "The difference in RMS") is None
    found = said(report, audit_rates=rates.assign(share=np.nan))
    assert stands(found, "unequal rates explain: not run here") is None
    one = rates.assign(share=[np.nan, *[0.01] * 5], share_low=0.005, share_high=0.02, note="no clip")
    found = said(report, audit_rates=one)
    assert stands(found, "The difference in SNR; of it, the rate alone makes: unknown (no clip)") is None
    assert not any("nan" in words for words in found)


def test_what_is_not_excluded_is_left_open(report):
    snr = report["audit_snr"]
    for low, high, expected in ((0.2, 0.4, False), (0.96, 1.04, True), (0.5, 1.5, None), (0.96, 0.99, True)):
        assert stands(said(report, audit_snr=snr.assign(low=low, high=high)), "The name SNR") is expected
    classes = report["audit_classes"]
    best, worst = (classes["category"] == name for name in ("clock_tick", "helicopter"))
    assert stands(said(report), "recognised more often than helicopter, if the accuracies are over one fold") is None
    apart = classes.assign(low=np.where(best, 0.9, 0.1), high=np.where(worst, 0.2, 0.95))
    assert stands(said(report, audit_classes=apart), "if the accuracies are over one fold") is True
    ks = report["audit_ks"]
    one = ks.assign(verdict=[OPEN, *ks["verdict"][1:]])
    assert stands(said(report, audit_ks=one), "5 of 6 Kolmogorov-Smirnov tests") is None


def test_the_best_epoch_on_the_test_must_gain_more_than_a_point(report):
    for low, expected in ((LEAST_GAIN + 0.001, False), (LEAST_GAIN, None), (0.001, None)):
        protocol = report["audit_protocol"].assign(low=low)
        assert stands(said(report, audit_protocol=protocol), "best on the test fold (level 0)") is expected


def test_six_seeds_must_agree_in_sign():
    assert agreed_sign([0.1] * 6) == 1 and agreed_sign([-0.1] * 7) == -1
    for differences in ([0.1] * 5, [0.1] * 3, [0.1] * 6 + [-0.1], [0.0] * 6, []):
        assert agreed_sign(differences) == 0


def test_padding_is_judged_only_where_six_seeds_agree(report):
    def with_difference(*by_seed: float) -> pd.DataFrame:
        first = report["audit_padding"].query("seed == 0")
        parts = []
        for seed, value in enumerate(by_seed):
            part = first.assign(seed=seed)
            last, padded = part["step"] > 0, part["variant"] == "padded"
            part.loc[last & (part["targets"] == "real"), "loss"] = 2.0
            part.loc[last & padded & (part["targets"] == "real"), "loss"] = 2.0 + value
            part.loc[last & padded & (part["targets"] == "all"), "loss"] = 1.0
            parts.append(part)
        return pd.concat(parts)

    worse, better, mixed, few = [0.1] * 6, [-0.1] * 6, [0.1] * 5 + [-0.1], [0.1] * 3
    expected = ((worse, False, False), (better, True, False), (mixed, None, False), (few, None, None))
    for differences, harmless, honest in expected:
        found = said(report, audit_padding=with_difference(*differences))
        assert stands(found, "does the model no harm") is harmless
        assert stands(found, "padded clips as a loss of sound") is honest


def test_what_is_only_noted_stands_apart_from_what_is_judged(report):
    noted = [verdict for verdict in verdicts(report) if verdict.is_noted]
    assert any(verdict.words.startswith("pretraining: says LibriLight") for verdict in noted)
    text = verdict_list(verdicts(report))
    assert text.count("LibriLight") == 1 and text.index("LibriLight") > text.index(NOTED_HEADING)
    assert "### What stays open" not in verdict_list(noted)


def test_the_figures_say_what_they_show(report, tmp_path):
    drawn = {
        "agreement": figures.agreement_figure(report["audit_figures"]),
        "rates": figures.rates_figure(report["audit_rates"]),
        "snr": figures.snr_figure(report["audit_snr"], report["audit_clips"]),
        "padding": figures.padding_figure(report["audit_padding"], 8.2, 16),
        "protocol": figures.protocol_figure(report["audit_protocol"]),
        "intervals": figures.intervals_figure(report["audit_ks"], report["audit_classes"]),
    }
    assert "standard deviation, differs" in words_of(drawn["agreement"])
    assert "the same clips at 44.1 and 24 kHz" in words_of(drawn["rates"])
    assert "a signal-to-noise ratio" in words_of(drawn["snr"]) and "white noise alone" in words_of(drawn["snr"])
    assert "uniform guess, ln 16" in words_of(drawn["padding"]) and "published, first" in words_of(drawn["padding"])
    assert "published protocol" in words_of(drawn["protocol"])
    assert "Duration" not in words_of(drawn["intervals"]) and "five folds, n = 40" in words_of(drawn["intervals"])
    for name, fig in drawn.items():
        assert all(path.stat().st_size > 2000 for path in save_figure(fig, tmp_path, name))


def test_a_rate_that_was_not_run_is_said_in_the_figure(report):
    absent = report["audit_rates"].assign(share=np.nan, note="not run here: the recordings are at 32,000 Hz")
    assert "not run here: the recordings" in words_of(figures.rates_figure(absent))
    assert "two rates: not run here" in words_of(figures.rates_figure(absent[:0]))


def test_recordings_at_the_lower_rate_leave_that_part_out(tmp_path):
    report = audit_of(tmp_path, rate=24_000)
    assert report["audit_rates"].empty and len(report["audit_snr"]) > 0
    assert stands(said(report), "unequal rates explain: not run here") is None
    report.write(tmp_path / "out")
    assert read_report(tmp_path / "out", report.facts)["audit_rates"].empty


def test_a_model_for_other_codes_is_refused(tmp_path):
    other = PaddingPlan(replace(SHAPE, codebook_size=8), PADDING.training, 12, 4, (0,))
    plan = AuditPlan(other, PROTOCOL, (20, 0), n_noise_clips=2, n_resamples=5)
    with pytest.raises(InputError, match="padding: a model of another shape"):
        run_audit(sounds(tmp_path / "a"), SampleCodec(n_levels=2), plan, tmp_path, "x", CPU, tmp_path / "cache")


def test_synthetic_clips_are_called_synthetic():
    assert kind_of_clips("synthetic") == "synthetic clips" and kind_of_clips("esc50") == "recorded clips"
