"""The published study's figures as its table has them, and a run's own means beside them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from envsound.base.errors import InputError
from envsound.metrics.published import (
    PUBLISHED,
    TABLE_COLUMNS,
    published_ks,
    published_pair_means,
    published_value,
    read_published,
    summary_table,
)

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)


def test_published_values_come_from_the_most_exact_source(tmp_path):
    study = read_published(PUBLISHED)
    assert published_value(study, "snr_db", "generated") == 23.1849
    assert published_value(study, "snr_db", "generated", "sd") == 3.5028
    assert published_value(study, "snr_db", "difference") == 54.89
    assert np.isnan(published_value(study, "loudness", "real"))
    assert published_ks(study, "spectral_rolloff_hz") != published_ks(study, "snr_db") == 0.63
    assert published_pair_means() == {"spectral_convergence": 1.54, "log_spectral_distance": 2.03}
    (tmp_path / "study.csv").write_text("item,side,sd\nx,y,1\n")
    with pytest.raises(InputError, match="lacks the column source"):
        read_published(tmp_path / "study.csv")


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
