"""A run on synthetic clips never calls them real in a figure."""

import matplotlib.pyplot as plt
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


def test_figures_of_synthetic_runs_say_so_and_those_of_recordings_stay(tmp_path):
    assert not is_synthetic(tmp_path)
    run = run_on(tmp_path, "synthetic")
    said = words(relabel(figure(), run))
    assert {"Synthetic: dog", "D to the synthetic clips", "synthetic, other folds", "really"} <= said
    assert "Synthetic, not real" in notice(run)
    run = run_on(tmp_path, "esc50")
    assert "Real: dog" in words(relabel(figure(), run)) and notice(run) == ""
