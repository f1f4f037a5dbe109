"""The whole audit of a small folder of sound: tables, verdicts, figures."""

from dataclasses import replace

import matplotlib
import numpy as np
import pandas as pd
import pytest
from fake_audit import CPU, PADDING, PROTOCOL, SHAPE, audit_of, finished_audit, sounds
from fake_codecs import SampleCodec

from envsound import figures_audit
from envsound.audit import OPTIONAL, TABLES, AuditPlan, kind_of_clips, read_report, run_audit
from envsound.audit_padding import PaddingPlan
from envsound.audit_verdicts import HEADINGS, Verdict, verdict_list, verdicts
from envsound.errors import InputError
from envsound.figures import save_figure


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
    found = said(report, audit_rates=rates.assign(share=np.nan))
    assert stands(found, "unequal rates explain: not run here") is None
    snr = report["audit_snr"].assign(low=0.9, high=1.1)
    assert stands(said(report, audit_snr=snr), "The name SNR") is True
    protocol = report["audit_protocol"].assign(low=0.01)
    assert stands(said(report, audit_protocol=protocol), "best on the test fold (level 0)") is False
    assert stands(said(report, audit_protocol=protocol.assign(low=0.0)), "test fold (level 0)") is None


def test_padding_harms_where_every_seed_says_so(report):
    def with_difference(*by_seed: float) -> pd.DataFrame:
        table = report["audit_padding"].copy()
        last = (table["step"] > 0) & (table["targets"] == "real")
        for seed, value in enumerate(by_seed):
            table.loc[last & (table["seed"] == seed) & (table["variant"] == "masks"), "loss"] = 2.0
            table.loc[last & (table["seed"] == seed) & (table["variant"] == "padded"), "loss"] = 2.0 + value
        return table

    for differences, expected in (((0.1, 0.2), False), ((-0.1, -0.2), True), ((0.1, -0.2), None)):
        assert stands(said(report, audit_padding=with_difference(*differences)), "does the model no harm") is expected


def test_the_figures_say_what_they_show(report, tmp_path):
    drawn = {
        "agreement": figures_audit.agreement_figure(report["audit_figures"]),
        "rates": figures_audit.rates_figure(report["audit_rates"]),
        "snr": figures_audit.snr_figure(report["audit_snr"], report["audit_clips"]),
        "padding": figures_audit.padding_figure(report["audit_padding"], 8.2, 16),
        "protocol": figures_audit.protocol_figure(report["audit_protocol"]),
        "intervals": figures_audit.intervals_figure(report["audit_ks"], report["audit_classes"]),
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
    assert "not run here: the recordings" in words_of(figures_audit.rates_figure(absent))
    assert "two rates: not run here" in words_of(figures_audit.rates_figure(absent[:0]))


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
