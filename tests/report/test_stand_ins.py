"""A run on synthetic clips never calls them real in a figure."""

import matplotlib.pyplot as plt
import pytest
from matplotlib.text import Text

from envsound.base.files import write_json
from envsound.report.stand_ins import is_synthetic, notice, relabel


def run_on(tmp_path, dataset):
    write_json(tmp_path / "provenance" / "01_encode_clips.json", {"parameters": {"dataset": dataset}})
    return tmp_path


def figure():
    fig, ax = plt.subplots()
    ax.plot([0, 1], label="real, other folds")
    ax.set(title="Real: dog", xlabel="D to the real clips", ylabel="really")
    ax.legend()
    plt.close(fig)
    return fig


def words(fig):
    return {text.get_text() for text in fig.findobj(Text)}


def test_figures_of_synthetic_runs_say_so(tmp_path):
    said = words(relabel(figure(), run_on(tmp_path, "synthetic")))
    assert {"Synthetic: dog", "D to the synthetic clips", "synthetic, other folds", "really"} <= said


@pytest.mark.parametrize("dataset", ["esc50", "folder"])
def test_figures_of_recordings_stay_as_they_are(tmp_path, dataset):
    assert "Real: dog" in words(relabel(figure(), run_on(tmp_path, dataset)))
    assert notice(tmp_path) == ""


def test_notice_is_for_synthetic_runs_only(tmp_path):
    assert not is_synthetic(tmp_path)
    assert "Synthetic, not real" in notice(run_on(tmp_path, "synthetic"))
