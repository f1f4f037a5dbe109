"""Tables of distances: every side and class that n allows, and a note on whatever a reader must know."""

import numpy as np
import pandas as pd
import pytest
from fakes.sources import as_sources

from envsound.base.errors import InputError
from envsound.evaluation.spaces.embeddings import Embedded, NotRun, StatisticsEmbedding
from envsound.evaluation.spaces.tables import DISTANCE_COLUMNS, distance_table, measure_distances

RATE = 16_000  # Hz


def gaussian(n: int, dim: int, seed: int, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, dim)) + shift


def embedded(points: np.ndarray, categories: list[str] | None = None, name: str = "g") -> Embedded:
    table = pd.DataFrame({"clip": [f"{name}{i}" for i in range(len(points))], "category": categories or "", "fold": 0})
    return Embedded(points, table)


def test_a_table_has_every_side_and_the_classes_that_n_allows():
    names = ["dog"] * 30 + ["rain"] * 6 + ["owl"] * 4
    sides = {name: embedded(gaussian(40, 3, i, shift=i), names, name) for i, name in enumerate(("real", "near", "far"))}
    table = distance_table(sides, "given")
    assert list(table.columns) == DISTANCE_COLUMNS and set(table["embedding"]) == {"given"}
    assert [tuple(row) for row in table[["side", "category"]].to_numpy()] == [
        (side, category) for side in ("near", "far") for category in ("", "dog", "owl", "rain")
    ]
    near, far = (table[table["side"] == side].set_index("category") for side in ("near", "far"))
    for name in ("fad", "fad_infinity", "fad_infinity_both", "kad"):
        assert near.loc["", name] < far.loc["", name]
    assert near.loc["", "precision"] > far.loc["", "precision"] and near.loc["dog", "n"] == 30
    assert near.loc["dog"].notna().sum() > near.loc["rain"].notna().sum() > near.loc["owl"].notna().sum()
    assert near.loc["rain", "note"] == "too few clips for precision_recall, fad, fad_infinity"
    assert near.loc["owl", ["fad", "kad", "precision"]].isna().all()
    assert near.loc["", "note"].startswith("not taken class by class")
    assert (far.loc[["dog", "rain"], "kad_p_adjusted"] >= far.loc[["dog", "rain"], "kad_p"]).all()


def test_clips_on_both_sides_and_too_many_dimensions_are_noted():
    points = gaussian(22, 30, 0)
    table = distance_table({"real": embedded(points), "codec": embedded(points + 0.1)}, "given")
    assert "no more clips than dimensions" in table["note"][0] and "has 22 clips of the reference" in table["note"][0]
    with pytest.raises(InputError, match="reference='held-out'"):
        distance_table({"real": embedded(points)}, "given", reference="held-out")


def test_equal_reference_points_leave_only_the_kernel_distance_out():
    table = distance_table({"real": embedded(np.ones((25, 2))), "other": embedded(gaussian(25, 2, 1), name="o")}, "one")
    assert np.isnan(table["kad"][0]) and table["fad"][0] > 0


def test_every_embedding_has_its_rows_and_those_not_run_here_say_so():
    rng = np.random.default_rng(0)
    sounds = [rng.standard_normal(2_000).astype(np.float32) * level for level in np.linspace(0.01, 0.3, 12)]
    sides = {
        "real": as_sources(sounds[::2], RATE, names=list("abcdef")),
        "generated": as_sources(sounds[1::2], RATE, names=list("ghijkl")),
    }
    embeddings = [StatisticsEmbedding(), NotRun("CLAP", "no weights"), StatisticsEmbedding(32, "coarse")]
    table = measure_distances(sides, embeddings)
    assert list(table["embedding"]) == ["statistics", "CLAP", "coarse"] and list(table.columns) == DISTANCE_COLUMNS
    assert table["note"][1] == "not run here: no weights" and np.isnan(table["kad"][1])
    assert table["dim"][0] == 168
    tested = table.loc[[0, 2], ["kad_p", "kad_p_adjusted"]]
    assert tested["kad_p_adjusted"].min() == pytest.approx(min(1, 2 * tested["kad_p"].min()))
    with pytest.raises(InputError, match="selected the model"):
        measure_distances(sides, embeddings, selected_by=[StatisticsEmbedding().content_hash])


def test_sides_with_enough_clips_of_the_same_classes_are_taken_class_by_class():
    names = ["dog"] * 20 + ["rain"] * 20
    apart = np.repeat([0.0, 8.0], 20)[:, None]
    sides = {name: embedded(gaussian(40, 2, i) + apart, names, name) for i, name in enumerate(("real", "other"))}
    whole = distance_table(sides, "given", by_class=False)
    assert whole["category"].tolist() == [""] and whole["note"].tolist() == [""]
    blind = {name: embedded(side.vectors, None, name) for name, side in sides.items()}
    assert whole["kad"][0] > distance_table(blind, "given")["kad"][0]
    assert whole["kad_chance"][0] < distance_table(blind, "given")["kad_chance"][0]
